"""No command writes over what it reads, over a folder, or where there is no room."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.export import to_onnx, write_onnx
from ntkit.verification import save_verified
from tests.models import contents

N = 120


def run(capsys, *arguments):
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def made(tmp_path_factory, digits):
    """A user's only copies."""
    root = tmp_path_factory.mktemp("user")
    shutil.copy(marked_digits_model_path(), root / "model.onnx")
    X, y = digits.X_validation[:N], digits.y_validation[:N]
    np.savez(root / "data.npz", X=X, y=y)
    (root / "arrays").mkdir()
    np.save(root / "arrays" / "X.npy", X)
    np.save(root / "arrays" / "y.npy", y)
    for i, (image, label) in enumerate(zip(X[:8], y[:8], strict=True)):
        path = root / "images" / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(path)
    model = FrozenModel.load(root / "model.onnx")
    write_onnx(to_onnx(model.head), root / "head.onnx")
    model.with_head(model.head).save(root / "new.onnx")
    (root / "embeddings").mkdir()
    np.save(root / "embeddings" / "X.npy", X.reshape(len(X), -1)[:, :24])
    np.save(root / "embeddings" / "y.npy", y)
    (root / "thesis.txt").write_text("precious")
    with pytest.raises(SystemExit) as end:
        main(["embed", str(root / "model.onnx"), str(root / "data.npz"), "-o", str(root / "store")])
    assert not end.value.code
    return root


@pytest.fixture
def user(made, tmp_path):
    shutil.copytree(made, tmp_path / "user")
    (tmp_path / "user" / "link.onnx").symlink_to("model.onnx")
    (tmp_path / "user" / "same.onnx").hardlink_to(tmp_path / "user" / "model.onnx")
    return tmp_path / "user"


EXPORT = ("export", "model.onnx", "head.onnx")
CHECK = ("check", "model.onnx", "new.onnx")
FIT = ("fit", "store", "--method", "jtt")
DEBIAS = ("debias", "model.onnx", "--train", "data.npz", "--validation")
CASES = [
    *((*EXPORT, "-o", name) for name in ("model.onnx", "link.onnx", "same.onnx", "head.onnx")),
    *((*EXPORT, "-o", name) for name in ("images", "store")),
    (*EXPORT, "--data", "data.npz", "-o", "data.npz"),
    ("export", "link.onnx", "head.onnx", "-o", "model.onnx"),
    *((*CHECK, "data.npz", "--report", name) for name in ("data.npz", "model.onnx", "same.onnx")),
    *((*CHECK, "arrays", "--report", f"arrays/{name}.npy") for name in "Xy"),
    (*CHECK, "arrays/X.npy", "--report", "arrays/y.npy"),
    (*CHECK, "images", "--report", "images/0/2.png"),
    (*CHECK, "store", "--report", "store/labels.npy"),
    (*FIT, "-o", "store/labels.npy"),
    (*FIT, "-o", "store"),
    (*FIT, "--validation", "store", "-o", "store/manifest.json"),
    ("fit", "embeddings/X.npy", "--method", "jtt", "-o", "embeddings/y.npy"),
    ("fit", "embeddings", "--method", "jtt", "-o", "embeddings/X.npy"),
    *((*DEBIAS, "data.npz", "-o", name) for name in (".", "..", "store", "thesis.txt", "images")),
    (*DEBIAS, "data.npz", "--test", "images", "-o", "images"),
    (*DEBIAS, "data.npz", "--test", "images/..", "-o", "images"),
    (*DEBIAS, "arrays", "-o", "arrays"),
    *(("embed", "model.onnx", "arrays", "-o", name) for name in ("arrays", ".", "model.onnx")),
    ("embed", "model.onnx", "images", "-o", "images"),
    ("embed", "model.onnx", "images", "-o", "images/0"),
    ("merge", "store", "-o", "store"),
    ("merge", "store", "-o", "images"),
]  # fmt: skip


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_nothing_is_lost(capsys, user, monkeypatch, arguments, force):
    monkeypatch.chdir(user)
    before = contents(user)
    code, _, err = run(capsys, *arguments, *force)
    assert code == 2
    told, error = err.splitlines()[:-1], err.splitlines()[-1]
    assert error.startswith("Error: "), err
    assert all(line.startswith(("Images: ", "Note: ")) for line in told), err
    assert contents(user) == before
    assert os.readlink(user / "link.onnx") == "model.onnx"


def test_the_original_is_safe_in_python_too(user):
    model = FrozenModel.load(user / "model.onnx")
    before = contents(user)
    X = np.load(user / "arrays" / "X.npy")[:8]
    with pytest.raises(InputError, match=r"same\.onnx is an input of this job"):
        save_verified(
            model.with_head(model.head), user / "same.onnx", original=model, X=X, force=True
        )
    assert contents(user) == before


@pytest.mark.parametrize(
    "arguments",
    [
        (*DEBIAS, "data.npz", "-o", "out"), (*EXPORT, "-o", "out.onnx"),
        (*CHECK, "data.npz", "--report", "out.html"),
        ("embed", "model.onnx", "data.npz", "-o", "out"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_room_and_no_permission_are_found_before_the_work(capsys, user, monkeypatch, arguments):
    monkeypatch.chdir(user)
    before = contents(user)
    for name in ("transform", "iter_batches", "settings"):
        monkeypatch.setattr(OnnxEmbedder, name, lambda *_, **__: pytest.fail("it began to work"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
        code, _, err = run(capsys, *arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert "There is not enough disk space for out" in err

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    code, _, err = run(capsys, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be written (Permission denied); choose another path." in err
    assert contents(user) == before
