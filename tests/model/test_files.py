"""Reading and writing files: external data, interruptions, hostile content."""

import os
import pickle

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import helper

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import InputError, ModelError

K = 3


@pytest.fixture
def head(zoo):
    return LinearHead(*zoo.weights(K, seed=4), range(K))


# -- saving -----------------------------------------------------------------------------------


def test_saving_returns_the_path_and_leaves_only_the_file(model, tmp_path):
    (tmp_path / "out").mkdir()
    assert model.save(str(tmp_path / "out" / "n.onnx")) == tmp_path / "out" / "n.onnx"
    assert os.listdir(tmp_path / "out") == ["n.onnx"]


def test_places_where_nothing_is_written(model, tmp_path):
    (tmp_path / "there.onnx").write_text("precious")
    (tmp_path / "folder.onnx").mkdir()
    folder = r"folder\.onnx exists; choose another name\.$"
    for name, force, words in [
        ("there.onnx", False, r"there\.onnx exists; .*--force"),
        ("folder.onnx", False, folder),
        ("folder.onnx", True, folder),
        ("nowhere/n.onnx", False, "nowhere does not exist"),
    ]:
        with pytest.raises(InputError, match=words):
            model.save(tmp_path / name, force=force)
    assert (tmp_path / "there.onnx").read_text() == "precious"
    model.save(tmp_path / "there.onnx", force=True)
    assert FrozenModel.load(tmp_path / "there.onnx").head == model.head


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("external", [False, True])
def test_when_the_check_fails_nothing_has_happened(zoo, model, existing, external, tmp_path):
    if external:
        (tmp_path / "source").mkdir()
        path = zoo.save_external(zoo.classifier(K), tmp_path / "source" / "e.onnx")
        model = FrozenModel.load(path)
    if existing:
        (tmp_path / "n.onnx").write_text("precious")
        (tmp_path / "n.onnx.data").write_text("precious data")
    before = zoo.contents(tmp_path)
    seen = []

    def check(path):
        seen.append(FrozenModel.load(path).head)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match=r"^no$"):
        model.save(tmp_path / "n.onnx", verify=check, force=existing)
    assert seen == [model.head]
    assert zoo.contents(tmp_path) == before
    assert not [p for p in os.listdir(tmp_path) if p.startswith(".ntkit")]


def test_a_model_the_checker_refuses_is_not_written(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.nodes[-1].attribute.append(helper.make_attribute("colour", "red"))
    graph.output("logits", ["batch", K])
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match=r"n\.onnx was not written.*colour"):
        model.save(tmp_path / "n.onnx")
    assert os.listdir(tmp_path) == ["m.onnx"]


# -- external data ----------------------------------------------------------------------------


@pytest.fixture
def big(zoo, tmp_path):
    """A classifier whose weights lie in files of their own: more than a kilobyte of them."""
    rng = np.random.default_rng(0)
    arrays = {"WIDE": rng.normal(size=(5, 80)) / 5, "W": rng.normal(size=(K, 80))}
    text = "w0 = MatMul(z, WIDE)\nwide_z = Relu(w0)\nlogits = Gemm(wide_z, W, np.ones(3), transB=1)"
    (tmp_path / "source").mkdir()
    proto = zoo.built(text, outputs={"logits": ["batch", K]}, arrays=arrays)
    return proto, zoo.save_external(proto, tmp_path / "source" / "big.onnx")


@pytest.fixture
def wide_head():
    return LinearHead(np.random.default_rng(4).normal(size=(K, 80)), np.zeros(K), range(K))


def test_external_data_go_with_the_file(zoo, big, wide_head, tmp_path):
    proto, path = big
    before = zoo.contents(tmp_path)
    model = FrozenModel.load(path)
    X = zoo.inputs()
    z = zoo.embedding(proto, X, "wide_z")
    assert_allclose(model.head.decision_function(z), zoo.run(path, X)["logits"], rtol=1e-4)
    (tmp_path / "elsewhere").mkdir()
    new = model.with_head(wide_head).save(tmp_path / "elsewhere" / "new.onnx")
    assert sorted(os.listdir(new.parent)) == ["new.onnx", "new.onnx.data"]
    onnx.checker.check_model(new, full_check=True)
    after = zoo.contents(tmp_path)
    assert {name: after[name] for name in before} == before
    for file in before:
        (tmp_path / file).unlink()  # the new file stands alone
    logits = zoo.run(new, X)["logits"]
    assert_allclose(logits, wide_head.decision_function(z), rtol=1e-4, atol=1e-4)
    assert FrozenModel.load(new).nodes == model.nodes
    path = zoo.save_external(zoo.classifier(K, dtype=np.float64), tmp_path / "double.onnx")
    double = FrozenModel.load(path)
    assert double.head.coef.dtype == np.float64
    saved = double.save(tmp_path / "saved.onnx")  # after its head was read
    assert_array_equal(FrozenModel.load(saved).head.coef, double.head.coef)


def test_external_data_overwrite_no_file_of_that_name_and_not_what_is_read(zoo, big, tmp_path):
    model, X = FrozenModel.load(big[1]), zoo.inputs()
    (tmp_path / "n.onnx.data").write_text("precious")
    before = zoo.contents(tmp_path)
    with pytest.raises(InputError, match=r"big\.onnx\.data has weights that the model reads"):
        model.save(big[1], force=True)
    assert zoo.contents(tmp_path) == before
    model.save(tmp_path / "n.onnx")
    assert (tmp_path / "n.onnx.data").read_text() == "precious"
    assert_array_equal(zoo.run(tmp_path / "n.onnx", X)["logits"], zoo.run(big[1], X)["logits"])


def test_external_data_are_found_from_any_folder(zoo, big, wide_head, tmp_path, monkeypatch):
    proto, path = big
    X = zoo.inputs()
    z = zoo.embedding(proto, X, "wide_z")
    monkeypatch.chdir(path.parent)
    model = FrozenModel.load(path.name)
    copies = [
        model,
        pickle.loads(pickle.dumps(model)),
        model.with_head(wide_head),
        pickle.loads(pickle.dumps(model.with_head(wide_head))),
    ]
    monkeypatch.chdir(tmp_path)
    for i, copy in enumerate(copies[1:]):
        assert_array_equal(OnnxEmbedder(copy, device="cpu").transform(X), z)
        assert zoo.run(copy.save(tmp_path / f"{i}.onnx"), X)["logits"].shape == (40, K)


def test_the_fingerprint_covers_external_data_and_their_end_is_missed(zoo, big):
    path = big[1]
    before = FrozenModel.load(path).sha256()
    data = path.with_name("big.onnx.data")
    content = bytearray(data.read_bytes())
    content[3] ^= 1
    data.write_bytes(content)
    assert FrozenModel.load(path).sha256() != before
    data.write_bytes(content[:100])
    with pytest.raises(ModelError, match=r"big\.onnx is not a valid ONNX model"):
        FrozenModel.load(path)


# -- files that are odd -----------------------------------------------------------------------


def test_the_name_of_a_file_does_not_change_what_it_is(zoo, tmp_path):
    for suffix in ("json", "textproto", "txt"):
        path = tmp_path / f"m.{suffix}"
        path.write_bytes(zoo.classifier(K).SerializeToString())
        try:
            assert FrozenModel.load(path).head.n_logits == K
        except ModelError as error:
            assert path.name in str(error)  # noqa: PT017 - either will do
    with pytest.raises(ModelError, match="no outputs"):
        FrozenModel.load(zoo.save(zoo.body().model(), tmp_path / "m.onnx"))
