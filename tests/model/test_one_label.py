"""One label of several, in every form of head: its row changes, the others stay to the bit."""

import json
import pickle
import warnings

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper
from scipy.special import expit, logit
from sklearn.neural_network import MLPClassifier

from ntkit import FrozenModel, LinearHead, OnnxEmbedder, predict
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.model.frozen_model import head_of_labels
from ntkit.model.model_pair import load_pair
from ntkit.verification import save_verified, verify
from tests import models as zoo
from tests.model import test_heads as heads

LABELS, AT = ("a", "b", "c"), dict(zip("abc", range(3), strict=True))
NAMES = {"names": json.dumps(LABELS)}
FORMS = {**heads.REGIONS, **heads.AT_POSITIONS, **heads.QUANTISED, **heads.POSITIONS}


def another(model, seed):
    """A new head of one label."""
    weight, bias = np.random.default_rng(seed).normal(size=(2, 1, model.head.n_neurons))
    return LinearHead(weight, bias[:, 0], model.head.classes)


def changed_columns(before, after):
    """Names of labels whose column differs, by a bit, in any output."""
    columns = [before[name] != after[name] for name in before]
    return {LABELS[i] for each in columns for i in np.flatnonzero(each.any(axis=0))}


def repaired_in_turn(proto, X, folder, tolerance):
    """Repair one label, the same again, another one: each a file of its own; numbers of nodes."""
    model = FrozenModel.load(zoo.save(proto, folder / "m.onnx"))
    Z, n_nodes = OnnxEmbedder(model, device="cpu").transform(X), []
    for step, label in enumerate("bbab"):
        one = model.of_label(label)
        head = another(one, step)
        new = one.with_head(head)
        before, path = zoo.run(model.path, X), new.save(folder / f"{step}.onnx")
        onnx.checker.check_model(onnx.load(path), full_check=True)
        after = zoo.run(path, X)
        assert changed_columns(before, after) == {label}
        wanted = head.decision_function(Z.astype(np.float64)) + logit(one.thresholds[label])
        heads.near(after["logits"][:, AT[label]], wanted, tolerance)
        model = FrozenModel.load(path)
        again = pickle.loads(pickle.dumps(model.of_label(label)))
        heads.near(again.head.coef, head.coef, tolerance)
        assert (again.label, again.label_names) == (label, LABELS)
        n_nodes.append(len(model.nodes))
    assert n_nodes[0] == n_nodes[1]  # the same row again adds nothing
    assert n_nodes[2] == n_nodes[3]
    return n_nodes


def of_labels(text, start="body", dtype=np.float32):
    outputs = {"logits": ["batch", 3], "p": ["batch", 3]}
    names = NAMES | {"thresholds": json.dumps([0.5, 0.3, 0.5])}
    text = f"{text}\np = Sigmoid(logits)"
    return zoo.built(text, start, outputs, arrays=heads.ARRAYS, dtype=dtype, metadata=names)


@pytest.mark.more
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", heads.PLAIN)
def test_a_plain_layer_changes_one_row_of_its_tensors(name, dtype, tmp_path):
    heads.ARRAYS["tensor"] = lambda a: numpy_helper.from_array(a.astype(dtype))
    text = heads.PLAIN[name].replace("KIND", str(zoo.FLOAT[np.dtype(dtype)]))
    proto, X = of_labels(text, dtype=dtype), zoo.inputs(dtype=dtype)
    n_nodes = repaired_in_turn(proto, X, tmp_path, 2e-2 if dtype == np.float16 else 1e-5)
    assert set(n_nodes) == {len(proto.graph.node)}
    before, after = zoo.initializers(proto), onnx.load(tmp_path / "0.onnx").graph.initializer
    for tensor in after:
        if before.get(tensor.name) != tensor.SerializeToString():
            old = onnx.TensorProto.FromString(before[tensor.name])
            old, new = map(numpy_helper.to_array, (old, tensor))
            assert (old.reshape(-1) != new.reshape(-1)).sum() <= max(1, old.size // 3)


@pytest.mark.more
@pytest.mark.parametrize("name", FORMS)
def test_another_head_gets_a_column(name, tmp_path):
    row = FORMS[name]
    proto, X = of_labels(row.text, row.start), zoo.samples(row.start, 12)
    repaired_in_turn(proto, X, tmp_path, 1e-5)


@pytest.mark.parametrize("form", ["dynamic", "static"])
def test_other_labels_of_a_quantised_model_stay_to_the_bit(form, tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization")
    proto, X = of_labels("logits = Gemm(z, W1, B1, transB=1)"), zoo.inputs(200)
    plain, path = zoo.save(proto, tmp_path / "plain.onnx"), tmp_path / "m.onnx"
    if form == "dynamic":
        quantization.quantize_dynamic(plain, path)
    else:
        rows = iter([{"x": X}])
        get_next = {"get_next": lambda self: next(rows, None)}
        reader = type("Rows", (quantization.CalibrationDataReader,), get_next)
        quantization.quantize_static(plain, path, reader())
    one = FrozenModel.load(path, label="b")
    head = LinearHead(3 * one.head.coef, one.head.intercept + 9, one.head.classes)
    before, after = (zoo.run(p, X) for p in (path, one.with_head(head).save(tmp_path / "o.onnx")))
    assert changed_columns(before, after) == {"b"}
    Z = OnnxEmbedder(one, device="cpu").transform(X)
    wanted = head.decision_function(Z) + logit(0.3)
    assert wanted.max() > before["logits"].max() + 5  # which the old scale would clip
    assert_allclose(after["logits"][:, 1], wanted, atol=0.02 * np.abs(wanted).max())


# -- a layer for each label -----------------------------------------------------------------------

UNIT = "{name} = {of}(Gemm(z, W1[{i}:{i} + 1], B1[{i}:{i} + 1], transB=1))"
UNITS = "\n".join(UNIT.format(name=n, i=i, of="Sigmoid") for n, i in AT.items())
RAW = UNITS.replace("Sigmoid", "Identity")
EACH = {name: ["batch", 1] for name in LABELS}
WHOLE = {"p": ["batch", 3]}
COLUMNS = ", ".join(f"Unsqueeze(Gather({name}, 0, axis=1), [1])" for name in LABELS)
LAYERS = {
    "outputs": (UNITS, EACH),
    "raw outputs": (RAW, EACH),
    "columns of one output": (f"{UNITS}\np = Concat(a, b, c, axis=1)", WHOLE),
    "a stack": (f"{UNITS}\np = Concat({COLUMNS}, axis=1)", WHOLE),
    "columns of logits": (f"{RAW}\np = Sigmoid(Concat(a, b, c, axis=1))", WHOLE),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_for_each_label(name, tmp_path):
    text, outputs = LAYERS[name]
    proto, X = zoo.built(text, outputs=outputs, arrays=heads.ARRAYS, metadata=NAMES), zoo.inputs()
    path = zoo.save(proto, tmp_path / "m.onnx")
    if "raw" in name:
        with pytest.raises(
            HeadNotFoundError, match=r"label that a sample has or not, with --label"
        ):
            FrozenModel.load(path)
    else:
        model = FrozenModel.load(path)
        assert model.label_names == LABELS
        assert "--label NAME" in model.not_single_label
        with pytest.raises(InputError):
            model.with_head(another(model, 0))
    one = FrozenModel.load(path, label="b")
    assert one.label_names == LABELS
    if name != "columns of logits":
        assert FrozenModel.load(path, label=one.logits.name).label == "b"
    heads.near(one.head.coef, heads.W1[1:2])
    heads.near(one.of_label("c").head.coef, heads.W1[2:])
    head = LinearHead(one.head.coef * 1.3, one.head.intercept + 0.2, one.head.classes)
    out = tmp_path / "out.onnx"
    assert save_verified(one.with_head(head), out, original=one, X=X, head=head).passed
    before, after = zoo.run(path, X), zoo.run(out, X)
    joined = [np.hstack([*values.values()]) for values in (before, after)]
    assert changed_columns(*({"p": array} for array in joined)) == {"b"}
    scores = head.decision_function(zoo.embedding(proto, X))
    assert_allclose(joined[1][:, 1], scores if "raw" in name else expit(scores), atol=1e-6)
    first, second = load_pair(path, out, label="b")
    assert verify(first, second, X, latency=False).passed
    heads.near(pickle.loads(pickle.dumps(second)).head.coef, head.coef)


def test_layers_that_read_different_tensors_are_changed_one_label_at_a_time(tmp_path):
    """The written file holds the joined embedding, and is read and verified again."""
    read = "\n".join(
        f"z{name} = {of}(z)" for name, of in zip(LABELS, ("Relu", "Tanh", "Neg"), strict=True)
    )
    layers = "\n".join(
        UNIT.format(name=n, i=i, of="Identity").replace("(z,", f"(z{n},") for n, i in AT.items()
    )
    text = f"{read}\n{layers}\np = Sigmoid(Concat(a, b, c, axis=1))"
    proto, X = zoo.built(text, outputs=WHOLE, arrays=heads.ARRAYS, metadata=NAMES), zoo.inputs()
    path = before = zoo.save(proto, tmp_path / "m.onnx")
    for name in LABELS:
        one = FrozenModel.load(before, label=name)
        head = LinearHead(one.head.coef * 1.3, one.head.intercept + 0.2, one.head.classes)
        after = tmp_path / f"{name}.onnx"
        assert save_verified(one.with_head(head), after, original=one, X=X, head=head).passed
        assert changed_columns(zoo.run(before, X), zoo.run(after, X)) == {name}
        before = after
    old, new = (logit(zoo.run(each, X)["p"]) for each in (path, after))
    assert_allclose(np.diff(new, axis=0), 1.3 * np.diff(old, axis=0), atol=1e-4)


@pytest.mark.parametrize("kind", ["FLOAT", "INT64", "BOOL"])
@pytest.mark.parametrize("first", LABELS)
@pytest.mark.parametrize("joined", [False, True])
def test_thresholds_in_the_graph_are_those_of_labels_with_a_layer_each(
    kind, first, joined, tmp_path
):
    levels = dict(zip(LABELS, (0.3, 0.5, 0.7), strict=True))
    order = [first, *(name for name in LABELS if name != first)]
    number = getattr(onnx.TensorProto, kind)
    text, shown = UNITS, {}
    for name in order:
        cast = f"Cast(t{name}, to={number})" if kind != "BOOL" else f"Identity(t{name})"
        text += f"\nt{name} = Greater({name}, level{name})\nd{name} = {cast}"
    scores = {name: ["batch", 1] for name in order}
    if joined:
        text, scores = f"{text}\np = Concat({', '.join(order)}, axis=1)", {"p": ["batch", 3]}
    shown = scores | {f"d{name}": (["batch", 1], number) for name in order}
    arrays = heads.ARRAYS | {f"level{n}": np.array([t], np.float32) for n, t in levels.items()}
    names = {"names": json.dumps(order)}
    proto = zoo.built(text, outputs=shown, arrays=arrays, metadata=names)
    path, X = zoo.save(proto, tmp_path / "m.onnx"), zoo.inputs()
    found, given = predict(path, X, device="cpu"), zoo.run(path, X)
    assert found.classes.tolist() == order
    for at, name in enumerate(order):
        assert FrozenModel.load(path, label=name).threshold[0] == pytest.approx(levels[name])
        assert_array_equal(found.labels[:, at], given[f"d{name}"].ravel())
    text = json.dumps(dict.fromkeys(LABELS, 0.5))
    onnx.helper.set_model_props(proto, names | {"thresholds": text})
    with pytest.raises(ModelError, match=r"graph decides on the label .* correct one of them"):
        FrozenModel.load(zoo.save(proto, tmp_path / "w.onnx"), label=LABELS[0])


def test_only_heads_of_labels_are_chosen(tmp_path):
    text = f"{UNITS}\nkind = Softmax(Gemm(z, W2, B2, transB=1), axis=1)"
    proto = zoo.built(text, outputs=EACH | {"kind": ["batch", 3]}, arrays=heads.ARRAYS)
    path = zoo.save(proto, tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match="--label NAME"):
        FrozenModel.load(path)
    assert FrozenModel.load(path, label="c").label_names == LABELS
    with pytest.raises(InputError, match="has no label 'kind'; its labels are a, b, c"):
        FrozenModel.load(path, label="kind")


# -- labels by the word of the user ---------------------------------------------------------------

SOFTMAX = "p = Softmax(logits, axis=1)"
REFUSED = {
    "a Softmax": (SOFTMAX, {}, "one class for each sample .a Softmax in its graph"),
    "a class": ("p = ArgMax(logits, axis=1, keepdims=0)", {}, "ArgMax in its graph"),
    "a regression": ("p = Identity(logits)", {"problem_type": "regression"}, "is regression"),
    "one label": ("p = Identity(logits)", {"problem_type": "single_label_classification"},
                  "is single_label_classification .metadata"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_classes_and_regressions_have_no_labels(name, tmp_path):
    text, metadata, says = REFUSED[name]
    kind = zoo.INT64 if "ArgMax" in text else zoo.TensorProto.FLOAT
    proto = zoo.built(text, "classifier", {"p": (None, kind)}, metadata=NAMES | metadata)
    path = zoo.save(proto, tmp_path / "m.onnx")
    with pytest.raises(InputError, match=f"{says}.* has no label 'b'"):
        FrozenModel.load(path, label="b")
    assert FrozenModel.load(path).label_names == ()


def test_bare_logits_are_labels_if_the_user_names_one(tmp_path):
    path, X = zoo.save(zoo.classifier(metadata=NAMES), tmp_path / "m.onnx"), zoo.inputs()
    assert FrozenModel.load(path).label_names == ()
    one = FrozenModel.load(path, label="b")
    out, head = tmp_path / "out.onnx", another(one, 0)
    save_verified(one.with_head(head), out, original=one, X=X, head=head)
    assert changed_columns(zoo.run(path, X), zoo.run(out, X)) == {"b"}
    assert FrozenModel.load(out).label_names == LABELS  # the file says so now
    renamed = FrozenModel.load(path, classes=["x", "y", "z"], label="y")
    assert renamed.label_names == ("x", "y", "z")
    assert renamed.with_head(another(renamed, 0)).label_names == ("x", "y", "z")


# -- thresholds -----------------------------------------------------------------------------------

DECIDED = "p = Sigmoid(logits)\nd = "
INT, BOOL = zoo.INT64, zoo.TensorProto.BOOL
IN_GRAPH = {  # a program that decides, the type of the decision, the thresholds
    "one for all": ("Greater(p, 0.4)", BOOL, [0.4] * 3),
    "one for each": ("Cast(Greater(p, [0.2, 0.3, 0.6]), to=INT64)", INT, [0.2, 0.3, 0.6]),
    "at least": ("GreaterOrEqual(p, [[0.2, 0.3, 0.6]])", BOOL, [0.2, 0.3, 0.6]),
    "of logits": ("Greater(logits, [0.0, 1.0, -1.0])", BOOL, expit([0, 1, -1])),
    "of percent": ("Greater(Mul(p, 100.0), 40.0)", BOOL, [0.4] * 3),
    "as scikit-learn": ("Binarizer(p, threshold=0.4)", zoo.TensorProto.FLOAT, [0.4] * 3),
}


@pytest.mark.parametrize("shown", [True, False], ids=["with scores", "alone"])
@pytest.mark.parametrize("name", IN_GRAPH)
def test_the_decision_of_the_graph_is_the_label(name, shown, tmp_path, monkeypatch):
    monkeypatch.setitem(zoo.DOMAINS, "Binarizer", "ai.onnx.ml")
    text, kind, thresholds = IN_GRAPH[name]
    outputs = {"d": (["batch", 3], kind)} | ({"p": ["batch", 3]} if shown else {})
    proto = zoo.built(DECIDED + text, "classifier", outputs, metadata=NAMES)
    path, X = zoo.save(proto, tmp_path / "m.onnx"), zoo.inputs(200)
    model = FrozenModel.load(path)
    assert_allclose([*model.thresholds.values()], thresholds, atol=1e-6)
    Z, out = zoo.embedding(proto, X), tmp_path / "out.onnx"
    one = model.of_label("b")
    assert one.threshold[1] == "of the graph"
    head = another(one, 0)
    centre = np.median(head.decision_function(Z))
    head = LinearHead(head.coef, head.intercept - centre, head.classes)
    for file, now in ((path, one.head), (out, head)):
        if file is out:
            result = save_verified(one.with_head(head), out, original=one, X=X, head=head)
            assert result.decision_agreement == 1
        given = zoo.run(file, X)["d"][:, 1] != 0
        assert_array_equal(given, now.predict(Z) == "b")
    assert given.mean() == 0.5
    assert changed_columns(zoo.run(path, X), zoo.run(out, X)) == {"b"}


@pytest.mark.parametrize(("metadata", "config", "threshold"), [
    ({"thresholds": "[0.1, 0.2, 0.3]"}, {"thresholds": 0.7}, 0.2),
    ({"thresholds": "0.1, 0.2, 0.3"}, {}, 0.2),
    ({"threshold": "0.35"}, {}, 0.35),
    ({"model_info multilabel": "True", "model_info confidence_threshold": "0.45"}, {}, 0.45),
    ({}, {"thresholds": {"c": 0.3, "b": 0.6, "a": 0.5}}, 0.6),
    ({}, {"threshold": 0.25}, 0.25),
    ({"threshold": "[0.1, 0.2, 0.3]"}, {}, 0.2),
    ({"threshold": '{"a": 0.1, "b": 0.2, "c": 0.3}'}, {}, 0.2),
    ({}, {"threshold": [0.1, 0.2, 0.3]}, 0.2),
    ({"threshold": "high"}, {"threshold": 300}, 0.5),
])  # fmt: skip
def test_thresholds_of_files(metadata, config, threshold, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    proto = zoo.built("p = Sigmoid(logits)", "classifier", metadata=NAMES | metadata)
    one = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), label="b")
    assert one.threshold[0] == threshold
    Z = zoo.embedding(proto, zoo.inputs())
    given = zoo.run(proto, zoo.inputs())["p"][:, 1] > threshold
    assert_array_equal(given, one.head.predict(Z) == "b")


@pytest.mark.parametrize("metadata", [
    {"thresholds": "[0.3]"}, {"thresholds": "[0.5, 0.3]"}, {"threshold": "0.3"},
    {"threshold": "0.5"}, {},
])  # fmt: skip
def test_thresholds_of_a_model_that_chooses_one_class_are_not_used(metadata, tmp_path):
    """As they are of labels; this is said, and 0.5 changes nothing."""
    proto = zoo.classifier(2, metadata={"names": json.dumps(["no", "yes"])} | metadata)
    path = zoo.save(proto, tmp_path / "m.onnx")
    if "0.3" in str(metadata):
        with pytest.warns(UserWarning, match=r"are not used, because the model chooses one class"):
            model = FrozenModel.load(path)
    else:
        model = FrozenModel.load(path)
    assert model.thresholds == {}
    X = zoo.inputs(50)
    given = zoo.run(proto, X)["logits"].argmax(axis=1)
    assert predict(model, X, device="cpu").labels.tolist() == [["no", "yes"][i] for i in given]


def test_a_number_of_thresholds_other_than_that_of_the_labels_is_refused(tmp_path):
    proto = zoo.built("p = Sigmoid(logits)", "classifier", metadata=NAMES | {"thresholds": "[0.3]"})
    path = zoo.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="for each of its 3 labels"):
        FrozenModel.load(path, label="b")


def test_contradictory_thresholds_are_refused(tmp_path):
    outputs = {"p": ["batch", 3], "d": (["batch", 3], BOOL)}
    text = f"{DECIDED}Greater(p, 0.4)"
    meta = NAMES | {"thresholds": "[0.4, 0.5, 0.4]"}
    path = zoo.save(zoo.built(text, "classifier", outputs, metadata=meta), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"label 'b' at 0.4, but metadata 'thresholds' says 0.5"):
        FrozenModel.load(path, label="b")


def test_a_decision_of_other_labels_does_not_pass(tmp_path):
    """An output that exchanges two labels contradicts the head, and so does a changed row."""
    text = f"{DECIDED}Greater(Gather(p, [1, 0, 2], axis=1), 0.4)"
    outputs = {"p": ["batch", 3], "d": (["batch", 3], BOOL)}
    proto, X = zoo.built(text, "classifier", outputs, metadata=NAMES), zoo.inputs(200)
    one = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), label="b")
    assert verify(one, one.with_head(one.head), X, latency=False).decision_agreement < 1
    plain = FrozenModel.load(
        zoo.save(zoo.classifier(metadata=NAMES), tmp_path / "p.onnx"), label="b"
    )
    other = plain.of_label("a")
    result = verify(plain, other.with_head(another(other, 0)), X, latency=False)
    assert "changes the outputs of other labels" in result.failures()


@pytest.mark.parametrize("zipmap", [True, False])
def test_scikit_learns_network_of_several_labels(zipmap, tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    X = zoo.inputs(200)
    Y = (X[:, :3] + np.random.default_rng(0).normal(size=(200, 3)) > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = MLPClassifier((8,), max_iter=50, random_state=0).fit(X, Y)
    proto = skl2onnx.to_onnx(network, X[:1], options={"zipmap": zipmap})
    path = zoo.save(proto, tmp_path / "m.onnx")
    one = FrozenModel.load(path, label=1, classes=None)
    assert one.label_names == ("0", "1", "2")
    head = another(one, 0)
    out = tmp_path / "out.onnx"
    assert save_verified(one.with_head(head), out, original=one, X=X, head=head).passed
    before, after = (zoo.run(p, X)[proto.graph.output[0].name] for p in (path, out))
    assert_array_equal(before, network.predict(X))
    assert {*np.flatnonzero((before != after).any(axis=0))} == {1}
    named = FrozenModel.load(path, classes=LABELS, label="b")
    assert named.label_names == LABELS


def test_shapes_that_contradict_each_other_are_not_printed(tmp_path, caplog):
    """onnx-ir would log a traceback."""
    arrays = {"W": np.ones((4, 6)), "a": np.ones((6, 1)), "b": np.ones((6, 1))}
    model = zoo.parsed(
        """(float[batch, 4] x) => (float[batch, 1] urgent, float[batch, 1] billing) {
            h = MatMul(x, W) z = Relu(h)
            la = MatMul(z, a) urgent = Sigmoid(la)
            lb = MatMul(z, b) billing = Sigmoid(lb)
        }""",
        **arrays,
    )
    model.graph.value_info.append(zoo.value("W", [9, 9]))
    one = FrozenModel.load(zoo.save(model, tmp_path / "m.onnx"), label="urgent")
    assert head_of_labels(one) is not None
    assert head_of_labels(one.whole).n_neurons == 6
    assert not caplog.records
