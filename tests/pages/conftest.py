"""A repair whose report the tests of pages share."""

import shutil
from pathlib import Path

import pytest

from ntkit import debias
from ntkit.datasets import marked_digits_model_path


@pytest.fixture(scope="session")
def asked(tmp_path_factory, digits):
    """A repair by a named shortcut: its folder, its result, and the original model."""
    folder = tmp_path_factory.mktemp("asked")
    original, out = shutil.copy(marked_digits_model_path(), folder / "model.onnx"), folder / "out"
    train, validation, test = (
        (digits[f"X_{name}"][:n], digits[f"y_{name}"][:n])
        for name, n in (("train", 2000), ("validation", 1500), ("test", 800))
    )
    named = "image:top left brightness above the median"
    options = {"test": test, "out": out, "spurious": named, "device": "cpu"}
    return out, debias(original, train, validation, **options), Path(original)
