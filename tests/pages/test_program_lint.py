"""The programs of model cards and of folders for a service pass the project's linter."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from ntkit.extraction import ImagePreprocessing
from ntkit.model import TensorInfo
from ntkit.pages._offline import rendered
from ntkit.pages._usage import _all_rows, _one_at_a_time

pytest.importorskip("ruff")
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
NOT_FOR_PROGRAMS = "T20,D,ANN"  # they print, and are too short for docstrings and annotations
STRINGS = "scores = outputs.reshape(len(outputs), -1)"
TEXTS = {
    "ids": "input_ids",
    "mask": "attention_mask",
    "types": "token_type_ids",
    "positions": "position_ids",
    "dtype": "int64",
    "max_length": 128,
    "truncation": "right",
    "padding": "left",
    "fixed_length": 128,
    "unpadded": False,
}
KINDS = {
    "images": ("images", {"steps": ImagePreprocessing(224, (224, 200), channel_order="BGR")}),
    "images of one size": (
        "images",
        {
            "steps": ImagePreprocessing(
                (299, 299), layout="NHWC", mean=(0.48145466, 0.4578275, 0.40821073)
            )
        },
    ),
    "grey images": (
        "images",
        {"steps": ImagePreprocessing(32, (28, 28), channels=1, mean=(0.2,), std=(0.7,))},
    ),
    "texts": ("texts", {"steps": SimpleNamespace(**TEXTS), "pad": (0, "[PAD]"), "paired": False}),
    "pairs": (
        "texts",
        {
            "steps": SimpleNamespace(
                **TEXTS | {"types": None, "positions": None, "unpadded": True}
            ),
            "pad": (0, "[PAD]"),
            "paired": True,
        },
    ),
    "strings": ("strings", {}),
    "table": ("table", {"columns": [f"a column of the table, number {i}" for i in range(8)]}),
    "array": ("arrays", {}),
    "arrays": ("arrays", {"kinds": {"first": "float32", "second": "int64"}}),
}


@pytest.mark.parametrize("batch", ["N", 4], ids=["any batch", "fixed batch"])
@pytest.mark.parametrize("place", ["", "HERE"], ids=["on a card", "as a file"])
@pytest.mark.parametrize("kind", KINDS)
def test_programs_pass_the_linter(kind, place, batch):
    template, values = KINDS[kind]
    info = TensorInfo("input", "float32", (batch, 6))
    program = rendered(
        f"predict_{template}.py.jinja",
        **{
            "place": place,
            "path_of": lambda name: f'str({place} / "{name}")' if place else f'"{name}"',
            "file": "debiased.onnx",
            "output": "logits",
            "decide": [STRINGS, "return [classes[i] for i in scores.argmax(axis=1)]"],
            "info": info,
            "dtype": "float32",
            "kinds": {"input": "float32"},
            "one": partial(_one_at_a_time, info),
            "all_rows": partial(_all_rows, info),
            **values,
        },
    )
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", PROJECT, "--no-cache", "--quiet",
         "--extend-ignore", NOT_FOR_PROGRAMS, "--stdin-filename", "predict.py", "-"],
        input=program.rstrip() + "\n",
        cwd=PROJECT.parent,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{program}"
