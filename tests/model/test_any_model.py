"""Models without a linear last layer are read by their own scores and labels."""

import json
import pickle
import warnings

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor, StackingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ntkit import FrozenModel, OnnxEmbedder, audit_model, check, debias, predict
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError, VerificationError
from ntkit.extraction.head_check import check_head
from ntkit.extraction.session import make_session
from ntkit.model.frozen_model import inspected
from tests import any_models as zoo
from tests import models as networks

LABELLED = [kind for kind in zoo.KINDS if kind != "scores only"]
PROBABLE = [kind for kind in zoo.KINDS if not kind.endswith("labels only")]
PROBABLE.remove("support vectors")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The path of a model of each kind, and its outputs in ONNX Runtime, batch by batch."""
    # Trees of ONNX Runtime round differently in batches of other sizes.
    folder, made = tmp_path_factory.mktemp("any"), {}
    for kind in zoo.KINDS:
        path = zoo.write(kind, folder / f"{kind}.onnx")
        parts = [
            zoo.of_onnxruntime(path, zoo.feed(kind, slice(at, at + 60)))
            for at in range(0, len(zoo.X), 60)
        ]
        columns = zip(*parts, strict=True)
        made[kind] = path, *(None if c[0] is None else np.concatenate(c) for c in columns)
    return made


def predicted(path, kind, **options):
    model = FrozenModel.load(path, any_scores=True, **options)
    return predict(model, zoo.feed(kind), device="cpu", batch_size=60)


def test_one_label_is_refused_with_what_works(models):
    with pytest.raises(HeadNotFoundError, match=r"no label 'a'\. Without --label .*ntkit check"):
        FrozenModel.load(models["labels only"][0], label="a", any_scores=True)


@pytest.mark.parametrize("kind", LABELLED)
def test_labels_are_those_of_the_model(models, kind):
    path, labels, _ = models[kind]
    assert_array_equal(predicted(path, kind).labels, labels)
    assert len({*labels.tolist()}) >= 2


@pytest.mark.parametrize("kind", PROBABLE)
def test_probabilities_are_those_of_the_model(models, kind):
    path, _, scores = models[kind]
    found = predicted(path, kind)
    assert_allclose(found.probabilities, scores, atol=1e-6)
    ordered = np.sort(scores, axis=1)
    assert_allclose(found.margins, ordered[:, -1] - ordered[:, -2], atol=1e-6)


def test_raw_scores_become_probabilities_by_softmax_and_labels_are_certain(models):
    path, _, scores = models["support vectors"]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = odds / odds.sum(axis=1, keepdims=True)
    assert_allclose(predicted(path, "support vectors").probabilities, expected, atol=1e-6)
    certain = predicted(models["labels only"][0], "labels only")
    assert {*certain.probabilities.ravel().tolist()} == {0.0, 1.0}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("clf", [LogisticRegression(), GradientBoostingClassifier(n_estimators=3)])
def test_decision_values_give_the_probabilities_of_scikit_learn(clf, n_classes, tmp_path):
    """skl2onnx writes −s and s for two classes, whose probability is sigmoid(s)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    y = np.digitize(X[:, 0] + rng.normal(size=300), [0, 1][: n_classes - 1])
    clf.fit(X, y)
    options = {id(clf): {"raw_scores": True, "zipmap": False}}
    path = tmp_path / "raw.onnx"
    path.write_bytes(to_onnx(clf, X[:1], options=options).SerializeToString())
    expected = clf.predict_proba(X)
    assert_allclose(predict(path, X, device="cpu").probabilities, expected, atol=1e-5)
    if n_classes == 2:
        found = check(None, path, (X, y), limits={"average": 5}, threshold=0.7, device="cpu")
        assert found.average.value == np.mean((expected[:, 1] > 0.7) == y)


def two_columns(path, above):
    """A model of p, one number: columns (1 - p, p), and the label 1 from a threshold on."""
    return written(
        path,
        [("Sub", ["one", "x"], "q"), ("Concat", ["q", "x"], "p", {"axis": 1}),
         ("Less", ["x", "level"], "below"), ("Not", ["below"], "l"),
         ("Cast", ["l"], "i", {"to": TensorProto.INT64}), ("Squeeze", ["i", "axes"], "label")],
        {"label": (TensorProto.INT64, ["n"]), "p": (TensorProto.FLOAT, ["n", 2])},
        one=np.ones(1, np.float32), level=np.full(1, above, np.float32), axes=np.array([1]),
    )  # fmt: skip


def test_ties_have_the_label_of_the_model(tmp_path):
    """Samples with equal scores have the second class in this model."""
    path = two_columns(tmp_path / "m.onnx", 0.5)
    model = FrozenModel.load(path, any_scores=True, classes=["no", "yes"])
    x = np.array([[0.5], [0.25], [0.5], [0.75]], np.float32)
    assert predict(model, x, device="cpu").labels.tolist() == ["yes", "no", "yes", "yes"]


@pytest.mark.parametrize("size", [1e-3, 1e9])
def test_ties_of_scores_of_any_size_have_the_label_of_the_model(size, tmp_path):
    path = written(
        tmp_path / "m.onnx",
        [("Mul", ["x", "size"], "p"), ("Greater", ["x", "zero"], "above"),
         ("Cast", ["above"], "i", {"to": TensorProto.INT64}),
         ("ReduceMax", ["i"], "label", {"axes": [1], "keepdims": 0})],
        {"label": (TensorProto.INT64, ["n"]), "p": (TensorProto.FLOAT, ["n", 2])},
        width=2, size=np.full(1, size, np.float32), zero=np.zeros(1, np.float32),
    )  # fmt: skip
    model = FrozenModel.load(path, any_scores=True)
    x = np.array([[1, 1], [-1, -1], [0, 2]], np.float32)
    assert predict(model, x, device="cpu").labels.tolist() == [1, 0, 1]


def test_another_label_than_that_of_the_largest_score_is_refused(tmp_path):
    """Decided at 0.75: the label alone is read instead."""
    path, options = two_columns(tmp_path / "m.onnx", 0.75), {"classes": ["no", "yes"]}
    x = np.array([[0.2], [0.6], [0.8]], np.float32)
    model = FrozenModel.load(path, any_scores=True, **options)
    words = r"1 sample \(rows 1\).*largest score is not .*--logits label "
    with pytest.raises(InputError, match=words):
        predict(model, x, device="cpu")
    model = FrozenModel.load(path, any_scores=True, logits="label", **options)
    assert predict(model, x, device="cpu").labels.tolist() == ["no", "no", "yes"]


@pytest.mark.parametrize("level", [0.5, 0.2])
def test_a_threshold_after_a_layer_leaves_it_the_head_only_if_it_decides_alike(tmp_path, level):
    rng = np.random.default_rng(0)
    path = written(
        tmp_path / "m.onnx",
        [("Relu", ["x"], "h"), ("MatMul", ["h", "W"], "z"), ("Softmax", ["z"], "y", {"axis": 1}),
         ("Gather", ["y", "one"], "p", {"axis": 1}), ("Greater", ["p", "level"], "g"),
         ("Cast", ["g"], "label", {"to": TensorProto.INT64})],
        {"y": (TensorProto.FLOAT, ["n", 2]), "label": (TensorProto.INT64, ["n"])},
        width=3, W=rng.normal(size=(3, 2)).astype(np.float32), one=np.array(1),
        level=np.array(level, np.float32),
    )  # fmt: skip
    x = rng.normal(size=(90, 3)).astype(np.float32)
    model = FrozenModel.load(path, any_scores=True)
    assert (model.scores is None) == (level == 0.5)
    assert FrozenModel.load(path).scores is None
    if level == 0.5:
        assert {*predict(path, x, device="cpu").labels.tolist()} == {0, 1}
        return
    for read in (path, FrozenModel.load(path)):
        with pytest.raises(InputError, match="To take the label alone: --logits label"):
            predict(read, x, device="cpu")
        with pytest.raises(InputError, match="To take the label alone: --logits label"):
            check(read, read, (x, np.arange(90) % 2), limits={"average": 5}, device="cpu")


@pytest.mark.parametrize("n", [1, 2])
def test_probabilities_are_those_of_every_softmax(tmp_path, n):
    rng = np.random.default_rng(0)
    path = written(
        tmp_path / "m.onnx",
        [("Relu", ["x"], "h"), ("MatMul", ["h", "W"], "z"), ("Softmax", ["z"], "p", {"axis": 1}),
         ("Softmax", ["p"], "q", {"axis": 1}), ("Identity", [" pq"[n]], "y")],
        {"y": (TensorProto.FLOAT, ["n", 2])},
        width=3, W=rng.normal(size=(3, 2)).astype(np.float32),
    )  # fmt: skip
    x = rng.normal(size=(90, 3)).astype(np.float32)
    (wanted,) = make_session(str(path), device="cpu").run(None, {"x": x})
    assert_allclose(predict(path, x, device="cpu").probabilities, wanted, atol=1e-6)


def written(path, nodes, outputs, width=1, **constants):
    """A graph of (operator, inputs, output, attributes) on x (n, width)."""
    nodes = [helper.make_node(op, i, [o], **dict(*more)) for op, i, o, *more in nodes]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])
    graph = helper.make_graph(
        nodes, "g", [x],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def bent(last, *outputs):
    """Two layers of which the last one is followed by a square, then these operators."""
    layers = [("MatMul", ["x", "w"], "raw"), ("Mul", ["raw", "raw"], "squares")]
    return [*layers, *last], outputs or (("y", (TensorProto.FLOAT, ["n", 3])),)


def test_outputs_that_tell_no_class_are_refused_with_the_reason(tmp_path):
    weights = {"w": np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)}
    soft = [("Softmax", ["squares"], "y")]
    again = [*soft, ("Identity", ["y"], "z")]
    each = (TensorProto.FLOAT, ["n", 3])
    tokens = [("Unsqueeze", ["squares", "axes"], "y")]
    for last, outputs, options, words in [
        (soft, (), {}, None),
        ([("Identity", ["squares"], "y")], (), {}, "numbers without a label.*--classes"),
        ([("Identity", ["squares"], "y")], (), {"classes": ["a", "b", "c"]}, None),
        (again, (("y", each), ("z", each)), {}, "several: 'y', 'z'.*--logits"),
        (again, (("y", each), ("z", each)), {"logits": "z"}, None),
        (tokens, (("y", (TensorProto.FLOAT, ["n", 1, 3])),), {}, "more than a row of scores"),
        ([("Cast", ["squares"], "y", {"to": TensorProto.INT64})],
         (("y", (TensorProto.INT64, ["n", 3])),), {}, "'y' gives each sample 3 labels"),
    ]:  # fmt: skip
        nodes, shown = bent(last, *outputs)
        path = written(tmp_path / "m.onnx", nodes, dict(shown), 2, axes=np.array([1]), **weights)
        with pytest.raises(HeadNotFoundError) as alone:
            FrozenModel.load(path, **options)
        assert str(alone.value).endswith("predict take the model as it is.") == (words is None)
        if words is None:
            assert len(FrozenModel.load(path, any_scores=True, **options).head.classes) == 3
        else:
            with pytest.raises(HeadNotFoundError, match=f"Its outputs do not .*{words}"):
                FrozenModel.load(path, any_scores=True, **options)


def test_regressions_and_several_labels_are_refused(tmp_path):
    both = np.column_stack([zoo.X[:, 0] > 0, zoo.X[:, 1] > 0]).astype(int)
    for estimator, words in [
        (RandomForestRegressor(3).fit(zoo.X, zoo.Y), "one number, as of a regression"),
        (OneVsRestClassifier(zoo.forest()).fit(zoo.X, both), "gives each sample 2 labels"),
    ]:
        path = tmp_path / "m.onnx"
        options = {"options": {"zipmap": False}} if "labels" in words else {}
        path.write_bytes(to_onnx(estimator, zoo.X[:1], **options).SerializeToString())
        with pytest.raises(HeadNotFoundError, match=words):
            FrozenModel.load(path, any_scores=True)


def test_the_model_itself_stays_as_it_is(models, tmp_path):
    path, labels, _ = models["forest"]
    model = FrozenModel.load(path, any_scores=True)
    Z = OnnxEmbedder(model, device="cpu").transform(zoo.X)
    with pytest.raises(InputError, match="no linear last layer to replace"):
        model.with_head(model.head.scaled(2 * np.ones(3)))
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.head.predict(OnnxEmbedder(again, device="cpu").transform(zoo.X)),
                       model.head.predict(Z))  # fmt: skip
    assert model.class_names == again.class_names == ("high", "low", "middle")
    assert (model.layers(), model.not_single_label, model.label_names) == ((), None, ())
    assert model.sha256() == again.sha256()
    shown = model.outputs
    assert [output.name for output in shown] == ["output_label", "output_probability"]
    named = FrozenModel.load(path, any_scores=True, classes=["c", "a", "b"])
    order = dict(zip(("high", "low", "middle"), ("c", "a", "b"), strict=True))
    assert named.head.predict(Z).tolist() == [order[label] for label in labels]


def test_one_score_of_two_classes(tmp_path):
    """A Sigmoid decides at one half; another number needs the names of the classes."""
    w = np.random.default_rng(0).normal(size=(2, 1)).astype(np.float32)
    for op, options in (("Sigmoid", {}), ("Identity", {"classes": ["no", "yes"]})):
        nodes, shown = bent([("Sub", ["squares", "one"], "s"), (op, ["s"], "y")],
                            ("y", (TensorProto.FLOAT, ["n", 1])))  # fmt: skip
        path = written(tmp_path / "m.onnx", nodes, dict(shown), 2, w=w, one=np.ones(1, np.float32))
        model = FrozenModel.load(path, any_scores=True, **options)
        found = predict(model, zoo.X[:, :2], device="cpu")
        raw = (zoo.X[:, :2] @ w).ravel() ** 2 - 1
        assert_allclose(found.probabilities[:, 1], 1 / (1 + np.exp(-raw)), atol=1e-6)
        assert_array_equal(found.labels == model.head.classes[1], raw > 0)


def test_a_probability_in_limits_is_no_logit(tmp_path):
    nodes = [("Mul", ["x", "x"], "q"), ("Sigmoid", ["q"], "s"), ("Sub", ["one", "s"], "r"),
             ("Sin", ["r"], "t"), ("Sigmoid", ["t"], "u"), ("Clip", ["u"], "y")]  # fmt: skip
    shown = {"y": (TensorProto.FLOAT, ["n", 1])}
    path = written(tmp_path / "m.onnx", nodes, shown, one=np.zeros(1, np.float32))
    model = FrozenModel.load(path, any_scores=True, classes=["no", "yes"])
    found = predict(model, np.ones((2, 1), np.float32), device="cpu")
    assert found.labels.tolist() == ["no", "no"]
    assert (found.probabilities[:, 1] < 0.5).all()


def test_sigmoids_of_one_class_need_the_word_of_the_user(tmp_path):
    nodes, shown = bent([("Sigmoid", ["squares"], "y")])
    w = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    path = written(tmp_path / "m.onnx", nodes, dict(shown), 2, w=w)
    (tmp_path / "config.json").write_text('{"id2label": {"0": "a", "1": "b", "2": "c"}}')
    assert FrozenModel.load(path, any_scores=True).label_names == ("a", "b", "c")
    model = FrozenModel.load(path, any_scores=True, classes=["a", "b", "c"])
    assert (len(model.head.classes), model.label_names) == (3, ())


LABELS = ("spam", "urgent", "billing")
_OWN = "".join(
    f"h{i} = MatMul(x, W{i}) e{i} = Relu(h{i}) z{i} = MatMul(e{i}, w{i}) " for i in range(3)
)
_EACH = "".join(f"p{i} = Sigmoid(z{i}) " for i in range(3))
SEVERAL_LABELS = {  # operators, and whether each label has a layer that `label` finds
    "joined": (f"{_OWN}{_EACH}probs = Concat<axis = 1>(p0, p1, p2)", True),
    "stacked": (
        _OWN
        + _EACH
        + "".join(f"u{i} = Unsqueeze(p{i}, axes) " for i in range(3))
        + "s = Concat<axis = 1>(u0, u1, u2) t = Transpose<perm = [0, 2, 1]>(s) "
        "probs = Reshape(t, shape)",
        False,
    ),
    "hard": (_OWN + _EACH.replace("Sigmoid", "HardSigmoid")
             + "probs = Concat<axis = 1>(p0, p1, p2)", False),
    "written out": (
        f"{_OWN}z = Concat<axis = 1>(z0, z1, z2) a = MatMul(e0, V) b = Add(z, a) "
        "c = Tanh(b) d = Neg(c) e = Exp(d) f = Add(e, one) probs = Reciprocal(f)",
        False,
    ),
    "mean": (
        "h0 = MatMul(x, W0) e0 = Relu(h0) a = MatMul(e0, V) b = Tanh(h0) c = MatMul(b, V) "
        "p = Sigmoid(a) q = Sigmoid(c) s = Add(p, q) probs = Mul(s, half)",
        False,
    ),
    "product": (
        "h0 = MatMul(x, W0) e0 = Relu(h0) a = MatMul(e0, V) b = MatMul(h0, w0) "
        "p = Sigmoid(a) q = Sigmoid(b) probs = Mul(p, q)",
        False,
    ),
}  # fmt: skip


def of_labels(form, path, outputs="float[n, 3] probs", **metadata):
    """A model of three labels without one linear layer for all of them."""
    rng = np.random.default_rng(1)
    weights = {f"W{i}": rng.normal(size=(4, 8)) for i in range(3)}
    weights |= {f"w{i}": rng.normal(size=(8, 1)) for i in range(3)}
    weights |= {"V": rng.normal(size=(8, 3)), "one": np.ones(()), "half": np.array(0.5)}
    model = networks.parsed(f"(float[n, 4] x) => ({outputs}) {{ {form} }}", **weights)
    for name, numbers in (("axes", [1]), ("shape", [-1, 3])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(numbers), name))
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    return networks.save(model, path)


@pytest.mark.parametrize("form", SEVERAL_LABELS)
def test_sigmoids_before_other_operators_are_several_labels(form, tmp_path):
    """Not classes, one of which has the largest probability."""
    levels = {"urgent": 0.3, "spam": 0.7, "billing": 0.5}
    operators, has_layers = SEVERAL_LABELS[form]
    path = of_labels(operators, tmp_path / "m.onnx", names=LABELS, thresholds=levels)
    X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    expected = networks.run(path, X)["probs"]
    found = predict(path, X, device="cpu")
    assert found.classes.tolist() == [*LABELS]
    assert_allclose(found.probabilities, expected, atol=1e-6)
    above = expected > [levels[name] for name in LABELS]
    assert_array_equal(found.labels, above)
    one = predict(path, X, label="spam", device="cpu")
    assert_array_equal(one.labels == "spam", above[:, 0])
    assert_allclose(one.probabilities[:, 1], expected[:, 0], atol=1e-6)
    Y = np.where(np.random.default_rng(1).random(above.shape) < 0.1, ~above, above).astype(int)
    for label in (None, "urgent"):
        rows = check(path, path, (X, Y), limits={"max_drop": 5}, label=label, device="cpu")
        name = "average" if label else "urgent: average"
        assert rows.row(name).value == np.mean(Y[:, 1] == above[:, 1])
    audits = audit_model(path, (X, Y), device="cpu")
    assert audits.audits["urgent"].as_dict()["accuracy"] == np.mean(Y[:, 1] == above[:, 1])
    assert "embedding" not in audits.audits["urgent"].n_looked_at
    assert audits.audits["urgent"].repairable == has_layers
    facts = inspected(path)[1]
    assert (facts["labels"], facts["classes"]) == ({k: levels[k] for k in LABELS}, None)
    way_out = r"--label NAME \(label=\): spam, urgent, billing" if has_layers else "as it is"
    with pytest.raises(HeadNotFoundError, match=way_out):
        FrozenModel.load(path)


def test_an_output_for_each_label_without_a_common_layer(tmp_path):
    form = _OWN + "".join(f"{name} = Sigmoid(z{i}) " for i, name in enumerate(LABELS))
    outputs = ", ".join(f"float[n, 1] {name}" for name in LABELS)
    path = of_labels(form, tmp_path / "m.onnx", outputs)
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    found, given = predict(path, X, device="cpu"), networks.run(path, X)
    assert found.classes.tolist() == [*LABELS]
    for i, name in enumerate(LABELS):
        assert_allclose(found.probabilities[:, i], given[name].ravel(), atol=1e-6)
    alone = FrozenModel.load(path, logits="spam", any_scores=True)
    assert (alone.label_names, alone.head.n_logits) == ((), 1)


def test_a_new_row_of_a_label_with_its_own_layer_gives_no_warning(tmp_path, recwarn):
    path = of_labels(SEVERAL_LABELS["joined"][0], tmp_path / "m.onnx", names=LABELS,
                     thresholds={"urgent": 0.3, "spam": 0.7, "billing": 0.5})  # fmt: skip
    one = FrozenModel.load(path, label="urgent")
    new = one.with_head(one.head.scaled(np.arange(8) % 2)).save(tmp_path / "new.onnx")
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    before, after = (predict(file, X, device="cpu") for file in (path, new))
    changed = (before.probabilities != after.probabilities).any(axis=0)
    assert changed.tolist() == [False, True, False]
    assert FrozenModel.load(new, any_scores=True).thresholds["spam"] == 0.7
    assert not recwarn.list


@pytest.mark.parametrize("form", [
    "p = Sigmoid(a) probs = Softmax(p)",
    'p = Sigmoid(a) probs = ai.onnx.ml.Normalizer<norm = "L1">(p)',
])  # fmt: skip
def test_sigmoids_that_are_normalised_are_one_class(form, tmp_path):
    path = of_labels(f"h0 = MatMul(x, W0) e0 = Relu(h0) a = MatMul(e0, V) {form}",
                     tmp_path / "m.onnx", names=LABELS)  # fmt: skip
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    found, expected = predict(path, X, device="cpu"), networks.run(path, X)["probs"]
    assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.labels.tolist() == [LABELS[i] for i in expected.argmax(axis=1)]


def test_a_sum_of_sigmoids_is_no_probability(tmp_path):
    form = SEVERAL_LABELS["mean"][0].replace("Mul(s, half)", "Identity(s)")
    path = of_labels(form, tmp_path / "m.onnx", names=LABELS)
    with pytest.raises(HeadNotFoundError, match=r"as for several labels.*--classes"):
        FrozenModel.load(path, any_scores=True)


@pytest.mark.parametrize("end", [
    "r = Mul(p, q) probs = Sqrt(r)",
    "np = Sub(one, p) nq = Sub(one, q) r = Mul(np, nq) probs = Sub(one, r)",
    "t = Greater(p, q) r = Mul(q, half) probs = Where(t, p, r)",
    "a3 = Unsqueeze(p, axes) b3 = Unsqueeze(q, axes) j = Concat<axis = 1>(a3, b3) "
    "r = ReduceSum<keepdims = 0>(j, axes) probs = Mul(r, half)",
])  # fmt: skip
def test_sigmoids_in_a_way_that_is_not_known_need_the_word_of_the_user(end, tmp_path):
    """Their largest is not a class: a sample may have several labels, or none."""
    start = SEVERAL_LABELS["mean"][0].partition("s = Add")[0]
    path = of_labels(start + end, tmp_path / "m.onnx", names=LABELS)
    with pytest.raises(HeadNotFoundError, match=r"several labels.*--classes"):
        FrozenModel.load(path, any_scores=True)
    told = FrozenModel.load(path, any_scores=True, classes=LABELS)
    assert (told.label_names, len(told.head.classes)) == ((), 3)


def test_the_larger_of_two_sigmoids_is_a_probability_of_each_label(tmp_path):
    start = SEVERAL_LABELS["mean"][0].partition("s = Add")[0]
    end = (
        "a3 = Unsqueeze(p, axes) b3 = Unsqueeze(q, axes) j = Concat<axis = 1>(a3, b3) "
        "probs = ReduceMax<axes = [1], keepdims = 0>(j)"
    )
    path = of_labels(start + end, tmp_path / "m.onnx", names=LABELS)
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    found = predict(path, X, device="cpu")
    assert_allclose(found.probabilities, networks.run(path, X)["probs"], atol=1e-6)
    assert_array_equal(found.labels, found.probabilities > 0.5)


def test_a_gate_before_the_last_product_is_no_label(tmp_path):
    form = "h0 = MatMul(x, W0) g = Sigmoid(h0) e0 = Mul(h0, g) a = MatMul(e0, V) probs = Sin(a)"
    path = of_labels(form, tmp_path / "m.onnx", names=LABELS)
    assert FrozenModel.load(path, any_scores=True).label_names == ()


@pytest.mark.parametrize(("ops", "n_scores"), [
    (("Sigmoid", "Sigmoid"), 1), (("Sigmoid", "Sigmoid"), 3),
    (("Softmax", "Sigmoid"), 3), (("LogSoftmax", "Sigmoid"), 3),
])  # fmt: skip
def test_a_sigmoid_of_probabilities_is_what_the_file_shows(ops, n_scores, tmp_path):
    """Above one half for all samples, or below it, whatever the logits are."""
    first, second = ops
    text = f"(float[N, 4] x) => (float[N, {n_scores}] y) {{ z = MatMul(x, W) p = {first}(z) "
    model = networks.parsed(f"{text} y = {second}(p) }}", W=np.eye(4, n_scores))
    path = networks.save(model, tmp_path / "m.onnx")
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    found, shown = predict(path, X, device="cpu"), networks.run(path, X)["y"]
    if n_scores == 1:
        assert_allclose(found.probabilities[:, 1:], shown, atol=1e-6)
        assert_array_equal(np.asarray(found.labels), (shown[:, 0] > 0.5).astype(int))
    else:
        assert_allclose(found.probabilities, shown, atol=1e-6)
        assert_array_equal(found.labels, shown > 0.5)


def test_a_table_with_keys_in_another_order_is_followed(tmp_path):
    """Whatever samples come first."""
    text = "(float[N, 3] x) => (int64[N] label) { z = MatMul(x, W) "
    text += "i = ArgMax<axis = 1, keepdims = 0>(z) label = ai.onnx.ml.LabelEncoder"
    text += "<keys_int64s = [1, 2, 0], values_int64s = [0, 1, 2]>(i) }"
    path = networks.save(networks.parsed(text, W=np.eye(3)), tmp_path / "m.onnx")
    X = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], 30)]
    found = predict(path, X, device="cpu").labels.tolist()
    assert found == networks.run(path, X)["label"].tolist()


def test_a_softmax_of_one_score_tells_no_class(tmp_path):
    text = "(float[N, 4] x) => (float[N, 1] y) { z = MatMul(x, W) y = Softmax(z) }"
    path = networks.save(networks.parsed(text, W=np.eye(4, 1)), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match="Softmax of one score"):
        FrozenModel.load(path)


def test_clipped_logits_before_a_sigmoid_are_those_of_the_head(tmp_path):
    text = "(float[N, 4] x) => (float[N, 1] y) { z = MatMul(x, W) c = Clip(z, low, high) "
    arrays = {"W": np.eye(4, 1), "low": np.array(-9.0), "high": np.array(9.0)}
    model = networks.parsed(f"{text} y = Sigmoid(c) }}", **arrays)
    path = networks.save(model, tmp_path / "m.onnx")
    assert FrozenModel.load(path).head.n_logits == 1


@pytest.mark.parametrize(("decision", "share"), [
    ("d = Greater(y, level) label = Cast<to = 1>(d)", 0.3),
    ("d = Less(y, level) c = Cast<to = 1>(d) label = Sub(one, c)", 0.3),
    ("d = Greater(y, level) label = Cast<to = 1>(d)", 0.5),
])  # fmt: skip
def test_a_decision_in_floating_point_is_a_decision(decision, share, tmp_path):
    """As ``return p, (p > 0.3).float()`` exports it."""
    text = "(float[N, 4] x) => (float[N, 1] y, float[N, 1] label) { z = MatMul(x, W) y = Sigmoid(z)"
    arrays = {"W": np.eye(4, 1), "level": np.array(share), "one": np.ones(1)}
    model = networks.parsed(f"{text} {decision} }}", **arrays)
    path = networks.save(model, tmp_path / "m.onnx")
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    if share == 0.5:
        assert predict(path, X, device="cpu").labels.tolist() == (X[:, 0] > 0).tolist()
        return
    with pytest.raises(InputError, match=r"not that of the class\s+in 'label'.*--logits label"):
        predict(path, X, device="cpu")
    how = {"logits": "label", "any_scores": True, "classes": ["no", "yes"]}
    alone = predict(FrozenModel.load(path, **how), X, device="cpu")
    assert_array_equal(alone.labels == "yes", networks.run(path, X)["label"][:, 0] == 1)
    with pytest.raises((HeadNotFoundError, VerificationError)):
        check_head(OnnxEmbedder(FrozenModel.load(path), device="cpu"), X)


@pytest.mark.parametrize("end", [
    "f = Cast<to = 1>(top) label = Where(sure, f, none)",  # no class for unsure samples
    "label = Where(sure, one, none)",
])  # fmt: skip
def test_a_class_that_is_rejected_is_not_forgotten(end, tmp_path):
    text = "(float[N, 2] x) => (float[N, 2] y, float[N] label) { z = MatMul(x, W) y = Softmax(z) "
    text += "top = ArgMax<axis = 1, keepdims = 0>(y) m = ReduceMax<axes = [1], keepdims = 0>(y) "
    arrays = {"W": np.eye(2), "level": np.array(0.9), "none": np.array([-1]), "one": np.ones(1)}
    model = networks.parsed(f"{text} sure = Greater(m, level) {end} }}", **arrays)
    path = networks.save(model, tmp_path / "m.onnx")
    X = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    with pytest.raises(InputError, match="'label'"):
        predict(path, X, device="cpu")


def test_a_decision_next_to_several_scores_is_not_forgotten(tmp_path):
    """Whatever the order of the samples: none of the first is between the two thresholds."""
    text = "(float[N, 1] x) => (float[N, 1] z, float[N, 1] y, int64[N, 1] label) { "
    text += "z = MatMul(x, W) y = Sigmoid(z) d = Greater(y, level) label = Cast<to = 7>(d) }"
    arrays = {"W": np.eye(1), "level": np.array(0.3)}
    path = networks.save(networks.parsed(text, **arrays), tmp_path / "m.onnx")
    X = np.repeat([3.0, -3.0, -0.4], [400, 400, 100]).astype(np.float32)[:, None]
    X += np.linspace(0, 0.1, len(X), dtype=np.float32)[:, None]
    y = (X[:, 0] > 0).astype(int)
    with pytest.raises(InputError, match="not that of the class in 'label'"):
        predict(path, X, device="cpu")
    with pytest.raises(InputError, match="not that of the class in 'label'"):
        check(path, path, (X, y), limits={"average": 40}, device="cpu")
    with pytest.raises(VerificationError, match=r"decides differently .* not close"):
        debias(path, (X[::2], y[::2]), (X[1::2], y[1::2]), method="auto", device="cpu")


def test_estimators_of_scikit_learn_predict_the_same(models):
    estimator = LogisticRegression().fit(zoo.X, zoo.NAMES[zoo.Y])
    found = predicted(models["logistic regression"][0], "logistic regression")
    assert (found.labels == estimator.predict(zoo.X)).mean() > 0.99


STACK = StackingClassifier([("l", LogisticRegression()), ("f", zoo.forest())])
TWO, APART = {"options": {"zipmap": False}}, np.array(["no", "no", "yes"])


@pytest.mark.parametrize(
    ("estimator", "labels", "options"),
    [
        (make_pipeline(StandardScaler(), RidgeClassifier()), APART, {}),
        (RidgeClassifier(), np.array([7, 3, 3]), {}),
        (RidgeClassifier(), zoo.NAMES, {}),
        (STACK, APART, TWO),
        (STACK, np.array([3, 7, 7]), TWO),
        (STACK, zoo.NAMES, TWO),
        (SVC(), APART, {}),
        (SVC(), np.array([3, 7, 7]), TWO),
        (SVC(decision_function_shape="ovo"), zoo.NAMES, TWO),
        (OneVsOneClassifier(LogisticRegression()), np.arange(3), TWO),
    ],
)
def test_labels_are_those_of_scikit_learn(estimator, labels, options, tmp_path):
    """Scores of two classes in one column, names in a table, and decisions of pairs of classes."""
    estimator.fit(zoo.X, labels[zoo.Y])
    path = exported(estimator, tmp_path, **options)
    found = predicted(path, "forest")
    assert_array_equal(found.labels, estimator.predict(zoo.X))
    if hasattr(estimator, "predict_proba"):
        assert_allclose(found.probabilities, estimator.predict_proba(zoo.X), atol=1e-5)


def exported(estimator, folder, **options):
    path = folder / "model.onnx"
    with warnings.catch_warnings(action="ignore"):
        path.write_bytes(to_onnx(estimator, zoo.X[:1], **options).SerializeToString())
    return path


@pytest.mark.parametrize("labels", [APART[::-1], zoo.NAMES])
def test_the_label_decides_over_probabilities_that_were_fitted_apart(labels, tmp_path):
    """Platt's probabilities of support vectors contradict the label of samples near a boundary."""
    with warnings.catch_warnings(action="ignore"):
        estimator = SVC(probability=True, random_state=0).fit(zoo.X, labels[zoo.Y])
    path = exported(estimator, tmp_path, **TWO)
    own, scores = zoo.of_onnxruntime(path, zoo.feed("forest"))
    found = predicted(path, "forest")
    ordered = np.unique(labels)
    agree = ordered[scores.argmax(axis=1)] == own
    assert 0 < (~agree).sum() < 20
    assert_array_equal(found.labels, own)
    assert_allclose(found.probabilities[agree], scores[agree], atol=1e-6)
    assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)


def test_clusters_are_no_classes_unless_the_user_names_them(tmp_path):
    for estimator in (GaussianMixture(2, random_state=0), KMeans(2, n_init=1, random_state=0)):
        path = exported(estimator.fit(zoo.X), tmp_path)
        with pytest.raises(HeadNotFoundError, match=r"'label' has numbers of clusters.*--classes"):
            FrozenModel.load(path, any_scores=True)
    path = exported(GaussianMixture(2, random_state=0).fit(zoo.X), tmp_path)
    found = predicted(path, "forest", classes=["a", "b"])
    assert_array_equal(found.labels == "b", zoo.of_onnxruntime(path, zoo.feed("forest"))[0] == 1)


def test_outputs_of_another_shape_than_declared_are_not_blamed_on_the_inputs(tmp_path):
    nodes = [("Sigmoid", ["x"], "p")]
    path = written(tmp_path / "m.onnx", nodes, {"p": (TensorProto.FLOAT, ["n", 1])})
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2
    onnx.save(model, path)
    model = FrozenModel.load(path, any_scores=True, classes=["a", "b"])
    with pytest.raises(ModelError, match="other shapes than its file declares"):
        predict(model, np.ones((8, 1), np.float32), device="cpu")


def test_names_that_the_exporter_lost_are_missed(tmp_path):
    estimator = OneVsOneClassifier(LogisticRegression()).fit(zoo.X, zoo.NAMES[zoo.Y])
    with pytest.raises(HeadNotFoundError, match="'label' is declared as texts, but has positions"):
        FrozenModel.load(exported(estimator, tmp_path, **TWO), any_scores=True)


def test_a_linear_model_on_other_models_is_no_model_on_the_inputs(tmp_path):
    path = exported(STACK.fit(zoo.X, APART[zoo.Y]), tmp_path, **TWO)
    with pytest.raises(HeadNotFoundError, match="on the outputs of other models") as refused:
        FrozenModel.load(path)
    assert "for a label" not in str(refused.value)
