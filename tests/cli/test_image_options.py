"""What the commands say about images, and the options on preparing images."""

import json
import shutil

import numpy as np
import pytest

from ntkit import FrozenModel
from ntkit.extraction import ImagePreprocessing
from ntkit.store import EmbeddingStore
from tests.cases import done, ntkit, refused

CONFIG = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 20},
    "resample": 3, "do_normalize": False,
}  # fmt: skip


@pytest.fixture
def embed(user, tmp_path):
    """A command on images; a test writes a configuration next to the model."""
    shutil.copy(user / "model.onnx", tmp_path)
    return ("embed", tmp_path / "model.onnx", user / "bare", "-o", tmp_path / "store")


@pytest.mark.more
def test_commands_that_read_images_tell_what_they_assumed(user, tmp_path):
    model, test, out = user / "model.onnx", user / "test", tmp_path / "out"
    sets = ("--train", user / "train", "--validation", user / "validation", "--quiet")
    ordered = ("--method", "class-balanced", "--even-if-worse", "--verbose", "-o", out)
    printed, _ = done("debias", model, *sets, *ordered)
    assert printed.count("assumed from the model's input") == 1
    result = json.loads((out / "result.json").read_text())
    (note,) = [n for n in result["notes"] if n.startswith("Images: ")]
    assert "resized to 20 x 20 (bilinear), values / 255" in note
    assert "images as inputs" in (out / "report.html").read_text(encoding="utf-8")
    debiased = out / "debiased.onnx"
    for command in (
        ["embed", model, test, "-o", tmp_path / "store"],
        ["verify", model, debiased, test],
        ["check", model, debiased, test, "--report", tmp_path / "page.html"],
        ["export", model, debiased, "--data", test, "-o", tmp_path / "again.onnx"],
    ):
        code, printed, err = ntkit(*command)
        assert code == 0 or (command[0], code) == ("check", 3), err  # too few samples
        assert err.count("assumed from the model's input") == 1, command
        assert "assumed" not in printed, command
    manifest = EmbeddingStore.open(tmp_path / "store").manifest
    assert "assumed" in manifest["preprocessing_source"]
    steps = json.loads(FrozenModel.load(debiased).metadata["ntkit.preprocessing"])
    assert steps["resize"] == [20, 20]


def test_nothing_is_said_of_images_where_there_are_none(embed, user, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text("damaged")
    _, err = done(*embed[:2], user / "bare.npz", *embed[3:])
    assert "Images" not in err
    assert EmbeddingStore.open(tmp_path / "store").manifest["preprocessing_source"] is None


def test_a_file_is_named_and_mended_by_options(embed, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**CONFIG, "do_sharpen": 1}))
    refused(*embed, says="'do_sharpen'")
    assert not (tmp_path / "store").exists()
    _, err = done(*embed, "--preprocessing", "resize=20,20 mean=0 std=1")
    assert "as given" in err
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CONFIG))
    _, err = done(*embed, "--scale", 1 / 128, "--force")
    assert "as preprocessor_config.json (ViTImageProcessor) says (but for scale, as given)" in err


def test_resample(embed, tmp_path):
    for name in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"):
        _, err = done(*embed, "--force", "--resize", "20,20", "--resample", name)
        assert f"resized to 20 x 20 ({name})" in err
        made = EmbeddingStore.open(tmp_path / "store").manifest["preprocessing"]
        assert made["resample"] == ImagePreprocessing(resample=name).resample
    refused(*embed, "--resample", "sharp", says="--resample is one of nearest, lanczos, bilinear")
    assert np.load(tmp_path / "store" / "embeddings.npy").shape[1] == 64
