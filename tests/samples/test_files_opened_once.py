"""A command opens each image once: it is hashed and measured while the model reads it."""

import os
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import ntkit
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.extraction import EmbeddingStore, OnnxEmbedder, read_samples
from ntkit.inputs import ImagePreprocessing

N = 160  # images of each set
opened = None  # a Counter of paths, while somebody counts


def _count(event, args):
    if opened is not None and event == "open" and isinstance(args[0], str | os.PathLike):
        opened[os.fspath(args[0])] += 1


sys.addaudithook(_count)  # which can't be taken away


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model, and its digits as image files: a folder for each set and class."""
    path, digits = tmp_path_factory.mktemp("digits"), load_marked_digits()
    for part in ("train", "validation"):
        X, y = digits[f"X_{part}"][:N], digits[f"y_{part}"][:N]
        for i, (image, label) in enumerate(zip(X, y, strict=True)):
            file = path / part / f"{label}" / f"{i:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * image[0]).round().astype(np.uint8)).save(file)
    shutil.copy(marked_digits_model_path(), path / "model.onnx")
    return path


@pytest.fixture
def opens():
    """How often files of a suffix are opened by a call, on average and at most."""
    global opened

    def counted(call, suffix=".png"):
        global opened
        opened = Counter()
        try:
            call()
        finally:
            found, opened = opened, None
        times = [n for name, n in found.items() if name.endswith(suffix)]
        return sum(times), len(times)

    yield counted
    opened = None


def test_debias_and_its_repair_open_each_image_once(folder, opens, tmp_path):
    sets = folder / "model.onnx", folder / "train", folder / "validation"
    out = tmp_path / "out"
    times, files = opens(lambda: ntkit.debias(*sets, out=out, device="cpu"))
    assert files == 2 * N
    assert times <= 1.1 * files
    again = {"resume": out, "method": "neurontune", "device": "cpu"}
    times, files = opens(lambda: ntkit.debias(*sets, **again))
    assert files == 2 * N
    assert times <= N * 2 + N * 1.1  # the first training images check the head


def test_audit_opens_each_image_once(folder, opens):
    path = folder / "validation"
    times, files = opens(
        lambda: ntkit.audit_model(folder / "model.onnx", path, changes=0, device="cpu")
    )
    assert files == N
    assert times <= 1.1 * files


def test_embed_opens_each_image_once(folder, opens, tmp_path):
    model = ntkit.FrozenModel.load(folder / "model.onnx")
    steps = ImagePreprocessing.for_model(model)
    samples = read_samples(folder / "train", preprocessing=steps)
    embedder = OnnxEmbedder(model, device="cpu")
    times, files = opens(lambda: EmbeddingStore.write(tmp_path / "store", embedder, samples))
    assert times == files == N
