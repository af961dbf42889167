"""A command opens each image once: it is hashed and measured while the model reads it.

Larger files whose size another file has are opened once more, because they may be copies.
"""

import os
import shutil
import sys
from collections import Counter
from functools import partial

import numpy as np
import pytest
from PIL import Image

import ntkit
from ntkit import DebiasSettings
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.extraction import OnnxEmbedder, read_samples
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.store import EmbeddingStore

N = 160  # images of each set
# A look tests the change of the first question. Each copy and each control, a part at a random
# place, has a subject and a donor, and copies on the page are opened again.
OF_A_CHANGE = 3.4 * N
_CORNER = "image:top left brightness above the median"
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
            with file.open("ab") as ends:  # files of one size are read once more, to compare them
                ends.write(bytes(1000 * (2 * i + (part == "train"))))
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


@pytest.mark.more
def test_each_image_is_opened_once(folder, opens, tmp_path):
    sets, out = [folder / name for name in ("model.onnx", "train", "validation")], tmp_path / "out"
    model = ntkit.FrozenModel.load(sets[0])
    samples = read_samples(sets[1], preprocessing=ImagePreprocessing.for_model(model))
    embedder = OnnxEmbedder(model, device="cpu")
    again = {"settings": DebiasSettings(resume=out), "method": "neurontune"}
    for call, files, most in (
        (lambda: ntkit.debias(*sets, out=out, device="cpu"), 2 * N, 2.2 * N + OF_A_CHANGE),
        # The first training images check the head.
        (lambda: ntkit.debias(*sets, **again, device="cpu"), 2 * N, 3.1 * N),
        (lambda: ntkit.debias(*sets, spurious=_CORNER, device="cpu"), 2 * N, 2.2 * N),
        (lambda: ntkit.audit_model(sets[0], sets[2], changes=0, device="cpu"), N, 1.1 * N),
        (lambda: EmbeddingStore.write(tmp_path / "store", embedder, samples), N, N),
    ):
        times, n_files = opens(call)
        assert n_files == files
        assert times <= most


@pytest.mark.more
@pytest.mark.parametrize(("size", "most"), [(1 << 12, 2.2 * N), (1 << 15, 4.2 * N)])
def test_large_images_of_one_size_are_opened_once_more(folder, opens, tmp_path, size, most):
    for part in ("train", "validation"):
        for file in (folder / part).rglob("*.png"):
            copy = tmp_path / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes().rstrip(b"\0").ljust(size, b"\0"))
    sets = folder / "model.onnx", tmp_path / "train", tmp_path / "validation"
    for spurious in (None, _CORNER):
        times, n_files = opens(partial(ntkit.debias, *sets, spurious=spurious, device="cpu"))
        assert n_files == 2 * N
        assert times <= most + (spurious is None) * OF_A_CHANGE
