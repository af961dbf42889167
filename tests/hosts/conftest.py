"""Models in folders, debiased by commands, and ntkit's predictions with them."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ntkit.cli._app import app
from tests.hosts import checkpoints


@dataclass
class Case:
    """A debiased model in its folder, and the validation samples with ntkit's predictions."""

    kind: str
    service: Path
    samples: list[Any]  # texts, or paths of images
    labels: list[str]
    probabilities: np.ndarray

    def check(self, labels, probabilities):
        assert list(labels) == self.labels
        np.testing.assert_allclose(probabilities, self.probabilities, rtol=0, atol=1e-5)


def run(*words):
    """Run a command as a shell would."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def debiased(kind, exported, data):
    """The folder for the service, and ``ntkit predict`` on the validation samples."""
    suffix = ".csv" if kind == "texts" else ""
    train, validation = data / f"train{suffix}", data / f"validation{suffix}"
    service, table = exported.with_name("service"), exported.with_name("predictions.csv")
    quick = ("--method", "class-balanced", "--even-if-worse", "--device", "cpu", "--quiet")
    sets = ("--train", train, "--validation", validation)
    run("debias", exported, *sets, "-o", exported.with_name("out"), "--deploy", service, *quick)
    run("predict", service, validation, "-o", table, "--device", "cpu", "--quiet")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if kind == "texts":
        with validation.open(encoding="utf-8", newline="") as file:
            samples = [row["text"] for row in csv.DictReader(file)]
    else:
        samples = [validation / row["file_name"] for row in rows]
    labels = [row["prediction"] for row in rows]
    assert set(labels) == set(checkpoints.NAMES)
    shares = [[float(row[f"prob_{name}"]) for name in checkpoints.NAMES] for row in rows]
    return Case(kind, service, samples, labels, np.asarray(shares))


@pytest.fixture(scope="session", params=["texts", "images"])
def checkpoint(request, tmp_path_factory):
    """A checkpoint of transformers next to its samples, and their kind."""
    for needed in ("torch", "transformers"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, getattr(checkpoints, request.param)(folder)


@pytest.fixture(scope="session")
def hub(checkpoint, tmp_path_factory):
    """A repository of the hub with ``onnx/model.onnx``, debiased."""
    pytest.importorskip("onnxscript")
    kind, folder = checkpoint
    exported = checkpoints.exported(folder, tmp_path_factory.mktemp("hub") / "repository")
    return debiased(kind, exported, folder.parent)


@pytest.fixture(scope="session")
def optimum(checkpoint, tmp_path_factory):
    """A folder that Optimum exported, debiased."""
    main_export = pytest.importorskip("optimum.exporters.onnx").main_export
    kind, folder = checkpoint
    exported = tmp_path_factory.mktemp("optimum") / "exported"
    task = {"texts": "text-classification", "images": "image-classification"}[kind]
    main_export(str(folder), exported, task=task)
    return debiased(kind, exported, folder.parent)
