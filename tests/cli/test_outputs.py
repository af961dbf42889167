"""No command writes over what it reads, over a folder, or where there is no room."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.verification import save_verified
from tests.cases import ntkit, refused, write_images
from tests.models import contents

N = 120


@pytest.fixture(scope="module")
def precious(user, tmp_path_factory):
    """Somebody's only copies, in every form."""
    root = tmp_path_factory.mktemp("precious")
    for name in ("model.onnx", "head.onnx"):
        shutil.copy(user / name, root)
    shutil.copy(user / "worse.onnx", root / "new.onnx")
    shutil.copytree(user / "train.store", root / "store")
    with np.load(user / "train.npz") as arrays:
        X, y = arrays["X"][:N], arrays["y"][:N]
    np.savez(root / "data.npz", X=X, y=y)
    write_images(root / "images", X[:8], y, "01")
    for name, rows in (("arrays", X), ("embeddings", X.reshape(N, -1)[:, :24])):
        (root / name).mkdir()
        np.save(root / name / "X.npy", rows)
        np.save(root / name / "y.npy", y)
    (root / "thesis.txt").write_text("precious")
    (root / "link.onnx").symlink_to("model.onnx")
    (root / "same.onnx").hardlink_to(root / "model.onnx")
    return root, contents(root)


CASES = """
export model.onnx head.onnx -o | model.onnx link.onnx same.onnx head.onnx images store
export model.onnx head.onnx --data data.npz -o | data.npz
export link.onnx head.onnx -o | model.onnx
check model.onnx new.onnx data.npz --report | data.npz model.onnx same.onnx
check model.onnx new.onnx arrays --report | arrays/X.npy arrays/y.npy
check model.onnx new.onnx arrays/X.npy --report | arrays/y.npy
check model.onnx new.onnx images --report | images/1/0002.png
check model.onnx new.onnx store --report | store/labels.npy
fit store --method jtt -o | store/labels.npy store
fit store --method jtt --validation store -o | store/manifest.json
fit embeddings/X.npy --method jtt -o | embeddings/y.npy
fit embeddings --method jtt -o | embeddings/X.npy
debias model.onnx --train data.npz --validation data.npz -o | . .. store thesis.txt images
debias model.onnx --train data.npz --validation data.npz --test images -o | images
debias model.onnx --train data.npz --validation data.npz --test images/.. -o | images
debias model.onnx --train data.npz --validation arrays -o | arrays
embed model.onnx arrays -o | arrays . model.onnx
embed model.onnx images -o | images images/0
merge store -o | store images
audit model.onnx data.npz -o | . store thesis.txt
"""
ROWS = [line.split(" | ") for line in CASES.strip().splitlines()]


@pytest.mark.parametrize(("command", "outputs"), ROWS)
def test_nothing_is_lost(precious, monkeypatch, command, outputs):
    root, before = precious
    monkeypatch.chdir(root)
    for out in outputs.split():
        for force in ([], ["--force"]):
            refused(*command.split(), out, *force)
    assert contents(root) == before
    assert os.readlink(root / "link.onnx") == "model.onnx"


def test_the_original_is_safe_in_python_too(precious):
    root, before = precious
    model = FrozenModel.load(root / "model.onnx")
    new, X = model.with_head(model.head), np.load(root / "arrays" / "X.npy")[:8]
    with pytest.raises(InputError, match=r"same\.onnx is an input of this job"):
        save_verified(new, root / "same.onnx", original=model, X=X, force=True)
    assert contents(root) == before


@pytest.mark.parametrize(
    "command",
    [
        "debias model.onnx --train data.npz --validation data.npz -o out",
        "export model.onnx head.onnx -o out.onnx",
        "check model.onnx new.onnx data.npz --report out.html",
        "embed model.onnx data.npz -o out",
    ],
)
def test_no_room_and_no_permission_are_found_before_the_work(precious, monkeypatch, command):
    root, before = precious
    monkeypatch.chdir(root)
    for name in ("transform", "iter_batches", "settings"):
        monkeypatch.setattr(OnnxEmbedder, name, lambda *_, **__: pytest.fail("it began to work"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
        code, _, err = ntkit(*command.split())
        assert (code, err.count("\n")) == (2, 1)
        assert "There is not enough disk space for out" in err

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    code, _, err = ntkit(*command.split())
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be written (Permission denied); choose another path." in err
    assert contents(root) == before
