"""What the commands say about images, and the options on preparing images."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ntkit import FrozenModel
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import EmbeddingStore, ImagePreprocessing

CONFIG = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 20},
    "resample": 3, "do_normalize": False,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, digits):
    """A model, and images of its two classes: 40 to train, 30 to find, 20 to test."""
    shutil.copy(marked_digits_model_path(), tmp_path / "model.onnx")
    for part, n in (("train", 200), ("validation", 160), ("test", 60)):
        for i, (image, label) in enumerate(
            zip(digits[f"X_{part}"][:n], digits[f"y_{part}"][:n], strict=True)
        ):
            path = tmp_path / part / ("small", "zlarge")[int(label)] / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(path)
    return tmp_path


def run(capsys, *arguments):
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_commands_that_read_images_tell_what_they_assumed(capsys, folder):
    debias = ["debias", folder / "model.onnx", "--train", folder / "train"]
    debias += ["--validation", folder / "validation", "-o", folder / "out", "--quiet"]
    debias += ["--method", "auto", "--even-if-worse", "--verbose"]
    code, out, err = run(capsys, *debias)
    assert code == 0, err
    assert out.count("assumed from the model's input") == 1
    result = json.loads((folder / "out" / "result.json").read_text())
    (note,) = [n for n in result["notes"] if n.startswith("Images: ")]
    assert "resized to 20 x 20 (bilinear), values / 255" in note
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "images as inputs" in page

    model, debiased, test = folder / "model.onnx", folder / "out" / "debiased.onnx", folder / "test"
    commands = {
        "embed": ["embed", model, test, "-o", folder / "store"],
        "verify": ["verify", model, debiased, test],
        "check": ["check", model, debiased, test, "--report", folder / "page.html"],
        "export": ["export", model, debiased, "--data", test, "-o", folder / "again.onnx"],
    }
    for command, arguments in commands.items():
        code, out, err = run(capsys, *arguments)
        assert code == 0 or (command, code) == ("check", 3), (command, err)  # too few samples
        assert err.count("assumed from the model's input") == 1, command
        assert "assumed" not in out, command
    assert "assumed" in EmbeddingStore.open(folder / "store").manifest["preprocessing_source"]
    steps = json.loads(FrozenModel.load(debiased).metadata["ntkit.preprocessing"])
    assert steps["resize"] == [20, 20]


def test_nothing_is_said_of_images_where_there_are_none(capsys, folder, digits):
    np.savez(folder / "test.npz", X=digits["X_test"][:20], y=digits["y_test"][:20])
    (folder / "preprocessor_config.json").write_text("damaged")
    embed = ["embed", folder / "model.onnx", folder / "test.npz", "-o", folder / "store"]
    code, _, err = run(capsys, *embed)
    assert code == 0, err
    assert "Images" not in err
    assert EmbeddingStore.open(folder / "store").manifest["preprocessing_source"] is None


def test_the_file_that_was_used_is_named(capsys, folder):
    (folder / "preprocessor_config.json").write_text(json.dumps(CONFIG))
    embed = ["embed", folder / "model.onnx", folder / "test", "-o", folder / "store"]
    code, _, err = run(capsys, *embed, "--scale", 1 / 128)
    assert code == 0, err
    assert "as preprocessor_config.json (ViTImageProcessor) says (but for scale, as given)" in err


def test_a_refused_file_is_mended_by_options(capsys, folder):
    (folder / "preprocessor_config.json").write_text(json.dumps({**CONFIG, "do_sharpen": 1}))
    embed = ["embed", folder / "model.onnx", folder / "test", "-o", folder / "store"]
    code, _, err = run(capsys, *embed)
    assert code == 2
    assert "'do_sharpen'" in err
    assert len(err.strip().splitlines()) == 1
    assert not (folder / "store").exists()
    code, _, err = run(capsys, *embed, "--resize", "20,20", "--mean", 0, "--std", 1)
    assert code == 0, err
    assert "as given" in err


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_resample(capsys, folder, name):
    embed = ["embed", folder / "model.onnx", folder / "test", "-o", folder / "store"]
    code, _, err = run(capsys, *embed, "--resize", "20,20", "--resample", name)
    assert code == 0, err
    assert f"resized to 20 x 20 ({name})" in err
    made = EmbeddingStore.open(folder / "store").manifest["preprocessing"]
    assert made["resample"] == ImagePreprocessing(resample=name).resample


def test_no_such_filter(capsys, folder):
    embed = ["embed", folder / "model.onnx", folder / "test", "-o", folder / "store"]
    code, _, err = run(capsys, *embed, "--resample", "sharp")
    assert code == 2
    assert "--resample is one of nearest, lanczos, bilinear" in err
