"""Exchanging the head: what changes, and everything that must not."""

import json
import pickle
import unicodedata

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto
from sklearn.base import clone

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import InputError

K = 3


@pytest.fixture
def proto(zoo):
    return zoo.classifier(K)


def exchanged(zoo, proto, folder, head=None, **options):
    """The model, and the same with another head, saved, whose logits are those of the head."""
    model = FrozenModel.load(zoo.save(proto, folder / "m.onnx"), **options)
    head = head or LinearHead(*zoo.weights(K, seed=4), range(K))
    new = model.with_head(head)
    path, X = new.save(folder / "new.onnx"), zoo.inputs()
    onnx.checker.check_model(path, full_check=True)
    wanted = head.aligned_to(new.head.classes).decision_function(zoo.embedding(proto, X))
    assert_allclose(zoo.run(path, X)["logits"], wanted, rtol=1e-5, atol=1e-6)
    return model, new, onnx.load(path)


def test_with_as_many_classes_only_the_heads_initialisers_change(zoo, proto, tmp_path):
    _, _, new = exchanged(zoo, proto, tmp_path)
    assert zoo.node_list(new) == zoo.node_list(proto)
    for part in ("input", "output"):
        old = [v.SerializeToString() for v in getattr(proto.graph, part)]
        assert [v.SerializeToString() for v in getattr(new.graph, part)] == old
    assert new.ir_version == proto.ir_version
    assert list(map(str, new.opset_import)) == list(map(str, proto.opset_import))
    assert (new.producer_name, new.graph.name) == (proto.producer_name, proto.graph.name)
    assert new.graph.doc_string == proto.graph.doc_string
    old, now = zoo.initializers(proto), zoo.initializers(new)
    assert {name for name in now if now[name] != old[name]} == {"fc.weight", "fc.bias"}


def is_kept(name):
    """Whether a file keeps a name as it is: others are written in the composed form."""
    return "\0" not in name and unicodedata.is_normalized("NFC", name)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture],
          deadline=None)  # fmt: skip
@given(data=st.data())
def test_any_head_of_the_models_width_comes_back_out_of_the_file(zoo, model, tmp_path, data):
    n_classes = data.draw(st.integers(2, 5))
    floats = st.floats(-1e6, 1e6, width=32)
    rows = 1 if n_classes == 2 and data.draw(st.booleans()) else n_classes
    head = LinearHead(
        data.draw(hnp.arrays(np.float32, (rows, 5), elements=floats)),
        data.draw(hnp.arrays(np.float32, rows, elements=floats)),
        data.draw(
            st.one_of(
                st.lists(st.integers(), min_size=n_classes, max_size=n_classes, unique=True),
                st.lists(st.text(max_size=5).filter(is_kept),
                         min_size=n_classes, max_size=n_classes, unique=True),
            )
        ),
    )  # fmt: skip
    read = FrozenModel.load(model.with_head(head).save(tmp_path / "new.onnx", force=True)).head
    wanted = head.with_logits(len(head.classes)).aligned_to(read.classes)
    assert read.classes.tolist() == wanted.classes.tolist()
    assert read == wanted


@pytest.mark.parametrize("n_classes", [2, 4, 7])
@pytest.mark.parametrize("fixed_batch", [None, 3])
def test_another_number_of_classes_changes_the_width_and_nothing_else(
    zoo, n_classes, fixed_batch, tmp_path
):
    batch = fixed_batch or "batch"
    text = "probabilities = Softmax(logits, axis=1)\n"
    text += "label = ArgMax(probabilities, axis=1, keepdims=0)"
    outputs = {name: [batch, K] for name in ("logits", "probabilities")}
    outputs["label"] = ([batch], TensorProto.INT64)  # its length is the batch, also where 3 = K
    proto = zoo.built(text, "classifier", outputs, batch=batch)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(n_classes, seed=4), range(n_classes))
    new = model.with_head(head)
    assert [o.shape for o in new.outputs] == [(batch, n_classes), (batch, n_classes), (batch,)]
    assert new.nodes == model.nodes
    path = new.save(tmp_path / "new.onnx")
    onnx.checker.check_model(path, full_check=True)
    X = zoo.inputs(fixed_batch or 40)
    z, out = zoo.embedding(proto, X), zoo.run(path, X)
    assert_allclose(out["logits"], head.decision_function(z), rtol=1e-5, atol=1e-6)
    assert_allclose(out["probabilities"], head.predict_proba(z), atol=1e-6)
    assert_array_equal(out["label"], head.predict(z))


def test_a_tied_weight_is_never_changed_for_its_other_reader(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("MatMul", ["z", "tied"], "side")
    graph.add("Transpose", ["fc.weight"], "tied")
    graph.nodes[-1], graph.nodes[-2] = graph.nodes[-2], graph.nodes[-1]
    graph.add("Relu", ["side"], "reconstruction")
    graph.output("logits", ["batch", K])
    graph.output("reconstruction", ["batch", K])
    graph.output("fc.bias", [K])  # the bias is an output of the graph as well
    model, new, written = exchanged(zoo, graph.model(), tmp_path, logits="logits")
    assert [op for _, op in new.nodes] == [op for _, op in model.nodes]
    before, after = (zoo.run(one, zoo.inputs()) for one in (graph.model(), written))
    assert_array_equal(after["reconstruction"], before["reconstruction"])
    assert_array_equal(after["fc.bias"], before["fc.bias"])


def test_an_initialiser_that_is_also_an_input_stays_one(zoo, tmp_path):
    inputs = [zoo.value("x", ["batch", zoo.N_FEATURES]), zoo.value("fc.weight", [K, zoo.N_NEURONS])]
    proto = zoo.classifier(K, inputs=inputs)
    model, _, written = exchanged(zoo, proto, tmp_path)
    assert [i.name for i in model.inputs] == ["x"]
    assert [i.name for i in written.graph.input] == ["x", "fc.weight"]
    assert set(zoo.initializers(written)) == set(zoo.initializers(proto))


def test_names_already_taken_are_not_taken_again(zoo, tmp_path):
    graph = zoo.body()
    graph.constant("logits.ntkit.product", np.ones(2))
    graph.constant("ntkit.head.bias", np.ones(5))
    graph.add("Mul", ["z", "ntkit.head.bias"], "ntkit.head.weight")
    graph.add("MatMul", ["ntkit.head.weight", graph.constant("w", np.ones((5, K)))], "logits")
    graph.output("logits", ["batch", K])
    exchanged(zoo, graph.model(), tmp_path)


def test_classes_in_another_order_keep_the_models_order(zoo, proto, tmp_path):
    head = LinearHead(*zoo.weights(K, seed=4), ["c", "a", "b"])
    _, new, _ = exchanged(zoo, proto, tmp_path, head, classes=["a", "b", "c"])
    assert new.head.classes.tolist() == ["a", "b", "c"]
    z = zoo.embedding(proto, zoo.inputs())
    assert_array_equal(new.head.predict(z), head.predict(z))


def test_heads_that_the_model_cannot_hold_are_refused(zoo, proto, tmp_path):
    cube = zoo.built("map = Unsqueeze(z, [2])", outputs={"map": ["batch", 5, 1]})
    wide, half = np.full((K, 5), 1e5), zoo.classifier(K, np.float16)
    for number, (one, options, coef, words) in enumerate([
        (half, {}, wide, r"1\.0e\+05, too large for the model's float16"),
        (proto, {}, np.ones((K, 4)), "reads 4 neurons, .* 'z' has 5"),
        (proto, {}, np.ones((K, 6)), "reads 6 neurons, .* 'z' has 5"),
        (cube, {"embedding": "map"}, np.ones((K, 1)), "'map' has the shape"),
    ]):  # fmt: skip
        path = zoo.save(one, tmp_path / f"{number}.onnx")
        with pytest.raises(InputError, match=words):
            FrozenModel.load(path, **options).with_head(LinearHead(coef, np.zeros(K), range(K)))


@pytest.mark.parametrize(
    "classes",
    [["a", "ü", "c"], [3, 1, 2], [0.5, 1.5, 2.5], np.asarray([7, 8, 9], np.int32), [False, True]],
)
def test_classes_survive_saving_and_loading(zoo, classes, tmp_path):
    n_logits = 1 if len(classes) == 2 else K
    model = FrozenModel.load(zoo.save(zoo.classifier(n_logits), tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(n_logits), classes)
    read = FrozenModel.load(model.with_head(head).save(tmp_path / "new.onnx"))
    assert read.head.classes.tolist() == list(classes)
    assert read.has_class_names
    assert read.head.classes.dtype.kind == np.asarray(classes).dtype.kind


def test_a_model_is_a_value(zoo, model, proto, tmp_path):
    before, bytes_before = model.head, model.to_proto().SerializeToString()
    own, head = dict(model.metadata), LinearHead(*zoo.weights(3), ["a", "b", "c"])
    noted = model.with_head(head, provenance={"method": "NeuronTune", "λ": "0.5"})
    props = {p.key: p.value for p in onnx.load(noted.save(tmp_path / "p.onnx")).metadata_props}
    added = {"method": "NeuronTune", "λ": "0.5", "classes": json.dumps(["a", "b", "c"])}
    assert props == own | {f"ntkit.{key}": value for key, value in added.items()}
    assert model.metadata == own == {"author": "someone", "trained": "2024"}
    model.with_classes(["a", "b", "c"])
    model.body(logits=True)
    model.save(tmp_path / "copy.onnx")
    assert model.head is before
    assert model.to_proto().SerializeToString() == bytes_before
    assert (tmp_path / "m.onnx").read_bytes() == proto.SerializeToString()
    new = model.with_head(LinearHead(*zoo.weights(K, seed=4), range(K)))
    assert new.path is None
    assert new.sha256() != model.sha256()
    assert model.with_classes(["a", "b", "c"]).path == model.path


# -- backbones --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("n_logits", [1, 3])
def test_a_backbone_gets_a_head(zoo, dtype, n_logits, tmp_path):
    proto, X = zoo.built(outputs={"z": ["batch", 5]}, dtype=dtype), zoo.inputs(dtype=dtype)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), embedding="z")
    assert (model.head, model.logits) == (None, None)
    with pytest.raises(ValueError, match="backbone without a head, --embedding NAME"):
        FrozenModel.load(model.path)
    head = LinearHead(*zoo.weights(n_logits), range(max(2, n_logits)))
    new = model.with_head(head)
    assert [(o.name, o.shape) for o in new.outputs] == [
        ("z", ("batch", 5)),
        ("logits", ("batch", max(2, n_logits))),
    ]
    path = new.save(tmp_path / "new.onnx")
    onnx.checker.check_model(path, full_check=True)
    out = zoo.run(path, X)
    assert_array_equal(out["z"], zoo.run(proto, X)["z"])
    logits = head.logits(out["z"].astype(float))
    tolerance = 2e-2 if dtype == np.float16 else 1e-5
    assert_allclose(out["logits"], logits, rtol=tolerance, atol=tolerance)
    assert new.with_head(head).head == new.head
    assert FrozenModel.load(path).head == new.head


# -- cutting ----------------------------------------------------------------------------------


def test_the_body_computes_the_original_files_tensors(zoo, tmp_path):
    for dtype in (np.float32, np.float64, np.float16):
        proto = zoo.built("p = Softmax(logits)", "classifier", {"p": ["batch", K]}, dtype=dtype)
        X = zoo.inputs(dtype=dtype)
        body = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx")).body(logits=True)
        onnx.checker.check_model(body, full_check=True)
        cut, whole = zoo.run(body, X), zoo.run(zoo.with_outputs(proto, "z", "logits"), X)
        assert list(cut) == ["z", "logits"]
        for name, values in cut.items():
            assert_array_equal(values, whole[name])
    inputs = [zoo.value(name, ["batch", 6]) for name in ("u", "x")]
    graph = zoo.classifier(K, output=False)
    graph.add("Relu", ["u"], "unrelated")  # the body needs only what the embedding needs
    graph.output("logits", ["batch", K])
    graph.output("unrelated", ["batch", 6])
    path = zoo.save(graph.model(inputs), tmp_path / "m.onnx")
    assert [i.name for i in FrozenModel.load(path, logits="logits").body().graph.input] == ["x"]


# -- copies -----------------------------------------------------------------------------------


def test_pickling_keeps_everything(zoo, proto, tmp_path):
    path = zoo.save(proto, tmp_path / "m.onnx")
    named = FrozenModel.load(path, classes=["a", "b", "c"])
    for model in (
        named,
        FrozenModel.load(path),
        FrozenModel.load(path, logits="logits"),
        FrozenModel.load(path, embedding="h"),
        named.with_head(LinearHead(*zoo.weights(4), range(4))),
    ):
        copy = pickle.loads(pickle.dumps(model))
        assert copy.head == model.head
        assert copy.to_proto() == model.to_proto()
        for part in ("path", "embedding", "logits", "has_class_names", "located_by", "metadata"):
            assert getattr(copy, part) == getattr(model, part)
        assert clone(OnnxEmbedder(model)).model.head == model.head


# -- labels of a sample -----------------------------------------------------------------------


def test_matching_labels(zoo, model, tmp_path):
    assert model.matched_to([2, 1, 0, 0]) is model
    assert model.matched_to(["b", "a", "c"]).head.classes.tolist() == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"no sample of class 2 .*add samples of this class"):
        model.matched_to([0, 1])
    with pytest.raises(InputError, match=r"\('a', 'b'\) has the class 'a' .* \(0, 1, 2\) lacks"):
        model.matched_to(["a", "b"])
    named = model.with_classes(["a", "b", "c"])
    with pytest.raises(InputError, match=r"'x', which the model's head .* lacks; .*--classes"):
        named.matched_to(["a", "b", "x"])
    with pytest.raises(InputError, match="3 classes, but 2 class labels"):
        model.with_classes(["a", "b"])


def test_describe_is_plain_and_complete(zoo, model, tmp_path):
    assert json.loads(json.dumps(model.describe()))["neurons"] == 5
    silent = model.with_head(model.head.scaled([1, 0, 1, 0, 1]))
    assert silent.describe()["silent_neurons"] == 2
    assert "in memory" in repr(silent)
    assert "m.onnx" in repr(model)
