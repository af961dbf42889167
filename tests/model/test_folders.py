"""Models in folders, as exporters lay them out, and in Hugging Face's cache, behind links."""

import hashlib
import json
import pickle

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.cli._app import app
from ntkit.exceptions import ModelError
from ntkit.extraction import TextPreprocessing
from ntkit.model.frozen_model import inspected
from ntkit.verification import save_verified, verify
from tests.texts import text_model, word_pieces

NAMES = {0: "cow", 1: "ant", 2: "bee"}


def cached(source, root, subfolder=""):
    """Move a folder's files into a cache; the folder of links."""
    blobs, snapshot = root / "blobs", root / "snapshots" / "0123abcd" / subfolder
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    up = "../" * (3 if subfolder else 2)
    for file in source.iterdir():
        name = hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blobs / name)
        (snapshot / file.name).symlink_to(f"{up}blobs/{name}")
    return snapshot


@pytest.fixture(params=["plain", "external"])
def source(request, zoo, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    save = zoo.save if request.param == "plain" else zoo.save_external
    save(zoo.classifier(3), folder / "model.onnx")
    (folder / "config.json").write_text(json.dumps({"id2label": NAMES}))
    return folder


@pytest.mark.parametrize("subfolder", ["", "onnx"])
def test_a_cached_model_is_read_run_and_written(zoo, source, tmp_path, subfolder):
    X = zoo.inputs()
    before = FrozenModel.load(source / "model.onnx")
    digest = before.sha256()
    Z = OnnxEmbedder(before, device="cpu").transform(X)
    snapshot = cached(source, tmp_path / "models--someone--classifier", subfolder)
    model = FrozenModel.load(snapshot / "model.onnx")
    assert model.path == snapshot / "model.onnx"
    assert FrozenModel.load(snapshot.parent if subfolder else snapshot).path == model.path
    assert model.head.classes.tolist() == ["cow", "ant", "bee"]  # next to the link
    assert model.sha256() == digest
    for copy in (model, pickle.loads(pickle.dumps(model)), model.with_classes(["a", "b", "c"])):
        np.testing.assert_array_equal(OnnxEmbedder(copy, device="cpu").transform(X), Z)
    head = LinearHead(*zoo.weights(3, seed=4), ["ant", "bee", "cow"])
    new = tmp_path / "new.onnx"
    assert save_verified(model.with_head(head), new, original=model, X=X, device="cpu").passed
    assert verify(snapshot / "model.onnx", new, X, device="cpu").passed
    onnx.checker.check_model(str(new))
    assert np.array_equal(OnnxEmbedder(new, device="cpu").transform(X), Z)


def test_a_link_to_a_model_whose_weights_lie_beside_it(zoo, tmp_path):
    (tmp_path / "real").mkdir()
    path = zoo.save_external(zoo.classifier(3), tmp_path / "real" / "model.onnx")
    link, X = tmp_path / "link.onnx", zoo.inputs()
    link.symlink_to(path)
    one, other = (OnnxEmbedder(each, device="cpu").transform(X) for each in (path, link))
    np.testing.assert_array_equal(other, one)
    assert verify(link, path, X, device="cpu").passed
    path.with_name("model.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx\.data, which is missing"):
        FrozenModel.load(path)


@pytest.mark.parametrize("location", ["../../blobs/secret", "{blobs}/secret", "elsewhere"])
def test_only_links_into_the_models_own_folder_are_followed(zoo, tmp_path, location):
    source = tmp_path / "source"
    source.mkdir()
    path = zoo.save_external(zoo.classifier(3), source / "model.onnx")
    weights = path.with_name("model.onnx.data").read_bytes()
    proto = onnx.load(path, load_external_data=False)
    root = tmp_path / "cache"
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location.format(blobs=root / "blobs")
    path.write_bytes(proto.SerializeToString())
    snapshot = cached(source, root)
    (root / "blobs" / "secret").write_bytes(weights)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_bytes(weights)
    (snapshot / "elsewhere").symlink_to(tmp_path / "other" / "secret")
    with pytest.raises(ModelError, match=r"outside its own folder|not a valid|missing"):
        FrozenModel.load(snapshot / "model.onnx")


def test_the_tokenizer_beside_the_link_is_found(tmp_path):
    text_model(tmp_path / "source")
    word_pieces().save(str(tmp_path / "source" / "tokenizer.json"))
    (tmp_path / "source" / "tokenizer_config.json").write_text('{"model_max_length": 9}')
    snapshot = cached(tmp_path / "source", tmp_path / "cache")
    model = FrozenModel.load(snapshot / "model.onnx", embedding="hidden", pooling="mean")
    steps = TextPreprocessing.for_model(model)
    assert steps.tokenizer == snapshot / "tokenizer.json"
    assert steps.max_length == 9


# -- a model that is named by its folder ---------------------------------------------------------


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_a_folder_is_the_model_in_it(source, place):
    (source / "onnx").mkdir()
    for file in ("model.onnx", "model.onnx.data"):
        if "/" in place and (source / file).exists():
            (source / file).rename(source / "onnx" / file)
    (source / "onnx" / "model_quantized.onnx").write_bytes(b"another form of it")
    model = FrozenModel.load(source)
    assert model.path == source / place
    assert model.head.classes.tolist() == ["cow", "ant", "bee"]
    assert model.sha256() == FrozenModel.load(source / place).sha256()
    assert inspected(source)[1]["refused"] is None


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


def test_commands_take_the_folder(source, tmp_path):
    (tmp_path / "images" / "cow").mkdir(parents=True)
    for command in ("inspect", "doctor"):
        done = CliRunner().invoke(app, [command, str(source)])
        assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app, ["inspect", str(tmp_path / "images")]).exit_code
