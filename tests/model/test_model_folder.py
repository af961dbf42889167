"""A model that is named by its folder, as exporters and the hub lay it out."""

import json

import pytest
from typer.testing import CliRunner

from ntkit import FrozenModel
from ntkit.cli._app import app
from ntkit.exceptions import ModelError
from ntkit.model import inspected


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_a_folder_is_the_model_in_it(zoo, tmp_path, place):
    folder = tmp_path / "exported"
    (folder / place).parent.mkdir(parents=True)
    zoo.save(zoo.classifier(3), folder / place)
    (folder / "onnx").mkdir(exist_ok=True)
    (folder / "onnx" / "model_quantized.onnx").write_bytes(b"another form of it")
    names = {"0": "cow", "1": "ant", "2": "bee"}
    (folder / "config.json").write_text(json.dumps({"id2label": names}))
    model = FrozenModel.load(folder)
    assert model.path == folder / place
    assert model.head.classes.tolist() == ["cow", "ant", "bee"]
    assert model.sha256() == FrozenModel.load(folder / place).sha256()
    assert inspected(folder)[1]["refused"] is None


def test_no_model_two_models_and_other_names_are_refused_in_a_sentence(zoo, tmp_path):
    with pytest.raises(
        ModelError, match=r"without a model\.onnx; give the path of an ONNX model\.$"
    ):
        FrozenModel.load(tmp_path)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "decoder.onnx").touch()
    with pytest.raises(ModelError, match=r"such as one of those in it: decoder\.onnx\.$"):
        FrozenModel.load(tmp_path)
    for place in ("model.onnx", "onnx/model.onnx"):
        zoo.save(zoo.classifier(3), tmp_path / place)
    with pytest.raises(ModelError, match="a folder with two models"):
        inspected(tmp_path)
    (tmp_path / "model.onnx").unlink()
    assert FrozenModel.load(tmp_path).head is not None


def test_verbs_take_the_folder(zoo, tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    zoo.save(zoo.classifier(3), folder / "model.onnx")
    for verb in ("inspect", "doctor"):
        done = CliRunner().invoke(app, [verb, str(folder)])
        assert done.exit_code == 0, done.output
    images = tmp_path / "images" / "cow"
    images.mkdir(parents=True)
    done = CliRunner().invoke(app, ["inspect", str(images.parent)])
    assert done.exit_code != 0
