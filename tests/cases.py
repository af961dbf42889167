"""A user's folder: models, arrays, image folders, tables and stores, made once for all tests.

``user`` and ``reviews`` are read only. A test that writes next to these files asks for ``own``.
"""

import csv
import io
import json
import runpy
import shutil
import subprocess
import sys
import tempfile
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from data_made_up import KINDS, write_samples
from ntkit import FrozenModel
from ntkit.cli import main
from ntkit.cli._settings import READING
from ntkit.datasets import marked_digits_model_path
from ntkit.export import to_onnx, write_onnx

N, N_IMAGES, N_BARE = 600, 160, 20
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
CLASSES = ("small", "zlarge")  # names of the image folders, for 0 and 1


def ntkit(*arguments):
    """Run a command in this process; its exit code, output and error output."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


def done(*arguments):
    """The output and the error output of a command that succeeds."""
    code, out, err = ntkit(*arguments)
    assert code == 0, err
    return out, err


def refused(*arguments, says=()):
    """The error of a command: exit code 2, and one sentence that says these words."""
    code, _, err = ntkit(*arguments)
    assert code == 2, (arguments, err)
    told, error = err.splitlines()[:-1], err.splitlines()[-1]
    assert error.startswith("Error: "), err
    assert all(line.startswith(("Images: ", "Texts: ", "Note: ")) for line in told), err
    for words in (says,) if isinstance(says, str) else says:
        assert words in error, (arguments, err)
    return error


def printed_by(program, *arguments, folder="."):
    """Lines that a Python program prints, run in a folder; the program passes the linter."""
    if find_spec("ruff"):
        lint = [sys.executable, "-m", "ruff", "check", "--config", PROJECT, "--no-cache", "--quiet"]
        lint += ["--extend-ignore", "T20,D,ANN", program]  # it prints, and is short
        ended = subprocess.run(lint, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"
    shown, before = io.StringIO(), sys.argv
    sys.argv = [str(program), *map(str, arguments)]
    try:
        with chdir(folder), redirect_stdout(shown):
            runpy.run_path(str(program), run_name="__main__")
    finally:
        sys.argv = before
    return shown.getvalue().splitlines()


def write_rows(path, rows, separator=",", encoding="utf-8"):
    """A table of rows, the first of which is its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path


def write_csv(path, columns, separator=",", encoding="utf-8"):
    """A table of columns by name."""
    rows = [columns, *zip(*columns.values(), strict=True)]
    return write_rows(path, rows, separator, encoding)


def read_csv(path):
    """Rows of a table."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write_images(folder, X, y=None, names=CLASSES, groups=None):
    """Images in a folder for each class, or in the folder itself without labels."""
    lines = ["file_name,group"]
    for i, image in enumerate(X):
        name = f"{i:04}.png" if y is None else f"{names[int(y[i])]}/{i:04}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(folder / name)
        lines.append(f"{name},{None if groups is None else groups[i]}")
    if groups is not None:
        (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def with_other_body(path, out):
    """The same model with another convolution, so that its embeddings differ."""
    model = onnx.load(path)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(each for each in model.graph.initializer if each.name == conv.input[1])
    changed = onnx.numpy_helper.to_array(weight) * np.float32(1.5)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    onnx.save(model, out)
    return out


@pytest.fixture(scope="session")
def user(tmp_path_factory, digits):
    """The folder of somebody with a model of digits, which relies on a bright patch.

    ``model.onnx``; ``worse.onnx`` with half of the neurons; ``other.onnx`` with another body;
    ``head.onnx``. For train, validation and test: ``PART.npz`` with X, y, groups (N rows), an image
    folder ``PART/`` of the first N_IMAGES with ``metadata.csv``, and for the first two
    ``PART.store``. Without labels: ``bare.npz`` and the image folder ``bare/`` of N_BARE.
    """
    root = tmp_path_factory.mktemp("user")
    shutil.copy(marked_digits_model_path(), root / "model.onnx")
    model = FrozenModel.load(root / "model.onnx")
    model.with_head(model.head.scaled(np.arange(64) % 2 == 0)).save(root / "worse.onnx")
    with_other_body(root / "model.onnx", root / "other.onnx")
    write_onnx(to_onnx(model.head), root / "head.onnx")
    for part in ("train", "validation", "test"):
        rows = np.random.default_rng(0).permutation(len(digits[f"y_{part}"]))[:N]
        X, y, groups = (digits[f"{name}_{part}"][rows] for name in ("X", "y", "groups"))
        np.savez(root / f"{part}.npz", X=X, y=y, groups=groups)
        write_images(root / part, X[:N_IMAGES], y, groups=groups)
        if part != "test":
            done("embed", root / "model.onnx", root / f"{part}.npz", "-o", root / f"{part}.store",
                 "--device", "cpu", "--quiet")  # fmt: skip
    np.savez(root / "bare.npz", X=X[:N_BARE])
    write_images(root / "bare", X[:N_BARE])
    return root


@pytest.fixture
def own(user, tmp_path):
    """A copy of the user's folder, to write in."""
    return shutil.copytree(user, tmp_path / "own")


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A network of texts that relies on film and movie, and tables of texts with that bias.

    ``model.onnx`` with ``tokenizer.json``, ``train.csv`` and ``val.csv`` with text and label.
    """
    folder = tmp_path_factory.mktemp("reviews")
    kind, rng = KINDS["texts"], np.random.default_rng(0)
    train = kind.draw("train", 1500, [0.92], rng)
    with warnings.catch_warnings(action="ignore"):  # a network that has not converged will do
        kind.train(train.X, train.y, 0, folder / "model.onnx")
    write_samples(train, folder / "train.csv")
    write_samples(kind.draw("validation", 500, [0.92], rng), folder / "val.csv")
    return folder


def settings(command="debias", **keys):
    """The option that names a settings file of these keys, of reading or of a command."""
    place = Path(tempfile.mkdtemp()) / "settings.toml"
    lines = {name: f"{name} = {json.dumps(value)}" for name, value in keys.items()}
    top = [line for name, line in lines.items() if name in READING]
    own = [line for name, line in lines.items() if name not in READING]
    place.write_text("\n".join([*top, f"[{command}]", *own]), encoding="utf-8")
    return "--settings", place
