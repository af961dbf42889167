"""What to_onnx writes predicts in ONNX Runtime what the estimator predicts in Python."""

import json
import os
import pickle

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from ntkit import FrozenModel, LinearHead, NeuronTuneClassifier, OnnxEmbedder
from ntkit.estimators import BalancedClassifier
from ntkit.exceptions import InputError, ModelError
from ntkit.export import to_onnx, write_onnx

# A mask on noise costs accuracy; here it is there to be exported.
pytestmark = pytest.mark.filterwarnings("ignore:Mean class accuracy fell")

LABELS = {
    "int": [3, -1, 7, 20],
    "text": ["ant", "bée", "cow", ""],
    "bool": [False, True],
    "float": [3.0, -1.0, 2.0, 1e9],
    "int8": np.asarray([1, 2, 3, 4], np.int8),
    "object": np.asarray(["b", "a", "d", "c"], object),
}
CASES = [(kind, n) for kind in LABELS for n in (2, 4) if n <= len(LABELS[kind])]


def data(classes, n_samples=120, n_neurons=5, dtype=np.float32):
    rng = np.random.default_rng(0)
    index = np.arange(n_samples) % len(classes)
    Z = rng.normal(size=(n_samples, n_neurons)) + np.eye(len(classes), n_neurons)[index]
    return Z.astype(dtype), np.asarray(classes)[index]


def classifier():
    return NeuronTuneClassifier.as_described(
        solver="optimum", identification="train", max_suppressed=0.4, C=1.0
    )


def fitted(classes, dtype=np.float32):
    Z, y = data(classes, dtype=dtype)
    return Z, classifier().fit(Z, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "n_classes"), CASES)
def test_labels_probabilities_and_logits(zoo, kind, n_classes, dtype):
    Z, clf = fitted(LABELS[kind][:n_classes], dtype)
    for estimator in (clf, clf.head_):
        model = to_onnx(estimator)
        onnx.checker.check_model(model, full_check=True)
        out = zoo.run(model, Z.astype(np.float32))
        margin = np.sort(clf.predict_proba(Z), axis=1)
        clear = margin[:, -1] - margin[:, -2] > 1e-5
        label = out["label"].astype(clf.classes_.dtype)
        assert_array_equal(label[clear], clf.predict(Z)[clear])
        assert clear.sum() > 100
        assert_allclose(out["probabilities"], clf.predict_proba(Z), atol=1e-5)
        decisions = clf.decision_function(Z)
        logits = out["logits"]
        assert logits.shape == (len(Z), n_classes)
        found = logits[:, 1] if n_classes == 2 else logits
        assert_allclose(found, decisions, rtol=1e-4, atol=1e-4)


def test_any_number_of_samples(zoo):
    Z, clf = fitted(["a", "b", "c"])
    for n_samples in (0, 1, 2):
        out = zoo.run(to_onnx(clf), Z[:n_samples])
        assert [len(v) for v in out.values()] == [n_samples] * 3


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_head(zoo, data):
    n_classes, rows = data.draw(st.sampled_from([(2, 1), (2, 2), (3, 3), (5, 5)]))
    floats = st.floats(-100, 100, width=32)
    head = LinearHead(
        data.draw(hnp.arrays(np.float32, (rows, 4), elements=floats)),
        data.draw(hnp.arrays(np.float32, rows, elements=floats)),
        np.arange(n_classes)[::-1],
    )
    Z = data.draw(hnp.arrays(np.float32, (3, 4), elements=floats))
    out = zoo.run(to_onnx(head), Z)
    assert_allclose(out["probabilities"], head.predict_proba(Z), atol=2e-2)
    assert_allclose(out["logits"], head.logits(Z.astype(float)), rtol=1e-4, atol=0.1)


def test_the_file_format_is_one_that_runtimes_have_had_for_years(tmp_path):
    clf = fitted(["a", "b"])[1]
    model = to_onnx(clf)
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert {node.op_type for node in model.graph.node} == {"Gemm", "Softmax", "ArgMax", "Gather"}
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    wide = {"probabilities": ["N", 2], "logits": ["N", 2]}
    assert shapes == {"embedding": ["N", 5], "label": ["N"], **wide}
    props = {p.key: p.value for p in model.metadata_props}
    assert props["ntkit.method"] == "NeuronTuneClassifier"
    assert json.loads(props["ntkit.parameters"])["identification"] == "train"
    assert json.loads(props["ntkit.classes"]) == ["a", "b"]
    suppressed = np.flatnonzero(clf.suppressed_).tolist()
    assert suppressed
    assert json.loads(props["ntkit.suppressed_neurons"]) == suppressed
    assert "ntkit.version" in props
    for classes in (["a", "b", "c"], [4, 5]):
        clf = fitted(classes)[1]
        path = write_onnx(to_onnx(clf), tmp_path / "head.onnx", force=True)
        assert FrozenModel.load(path).head == clf.head_.with_logits(len(classes))


# -- pipelines --------------------------------------------------------------------------------


@pytest.fixture
def embedder(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(3), tmp_path / "m.onnx"))
    return OnnxEmbedder(model, device="cpu")


SCALERS = {
    "none": [],
    "mean and std": [StandardScaler()],
    "mean": [StandardScaler(with_std=False)],
    "std": [StandardScaler(with_mean=False)],
    "neither": [StandardScaler(with_mean=False, with_std=False)],
    "two": [StandardScaler(with_std=False), StandardScaler(with_mean=False)],
    "passthrough": ["passthrough", StandardScaler(), None],
    "nested": [make_pipeline(StandardScaler(), "passthrough")],
}


@pytest.mark.parametrize("scalers", SCALERS)
def test_a_pipeline_from_inputs_or_embeddings_to_classes(zoo, embedder, scalers):
    X = zoo.inputs(120)
    for classes in ([0, 1], ["a", "b", "c"]):
        Z, y = data(classes)
        pipeline = make_pipeline(embedder, *SCALERS[scalers], classifier()).fit(X, y)
        model = to_onnx(pipeline)
        onnx.checker.check_model(model, full_check=True)
        assert_allclose(
            softmax(zoo.run(model, X)["logits"], axis=1), pipeline.predict_proba(X), atol=1e-5
        )
        if len(classes) == 3:
            nodes = [(n.name, n.op_type) for n in model.graph.node]
            assert nodes == list(embedder.frozen_model.nodes)
        props = {p.key: p.value for p in model.metadata_props}
        assert props["author"] == "someone"
        assert props["ntkit.method"] == "NeuronTuneClassifier"
        Z = Z * 3 + 10
        pipeline = make_pipeline(*SCALERS[scalers], classifier()).fit(Z, y)
        out = zoo.run(to_onnx(pipeline), Z)
        assert_allclose(out["probabilities"], pipeline.predict_proba(Z), atol=1e-4)


def test_searches_inside_and_outside_of_pipelines(zoo, embedder):
    X, (_, y) = zoo.inputs(120), data(["a", "b", "c"])
    clf = classifier()
    inner = make_pipeline(embedder, StandardScaler(), GridSearchCV(clf, {"C": [0.1, 1]}, cv=2))
    outer = GridSearchCV(
        Pipeline([("e", embedder), ("s", StandardScaler()), ("c", clf)]), {"c__C": [0.1, 1]}, cv=2
    )
    for search in (inner.fit(X, y), outer.fit(X, y), pickle.loads(pickle.dumps(inner))):
        out = zoo.run(to_onnx(search), X)
        assert_allclose(softmax(out["logits"], axis=1), search.predict_proba(X), atol=1e-5)


def test_a_pipeline_whose_model_keeps_its_weights_beside_it(zoo, tmp_path):
    (tmp_path / "source").mkdir()
    path = zoo.save_external(zoo.classifier(3), tmp_path / "source" / "e.onnx")
    X, (_, y) = zoo.inputs(120), data(["a", "b", "c"])
    embedder = OnnxEmbedder(FrozenModel.load(path), device="cpu")
    pipeline = make_pipeline(embedder, StandardScaler(), classifier()).fit(X, y)
    wanted = pipeline.predict_proba(X)
    for inputs in (X, {"x": X}, None):  # inputs to check on
        new = write_onnx(to_onnx(pipeline, inputs), tmp_path / "new.onnx", force=True)
        assert_allclose(softmax(zoo.run(new, X)["logits"], axis=1), wanted, atol=1e-5)


# -- folding ----------------------------------------------------------------------------------


def far_from_zero(mean):
    """A fitted pipeline of a scaler and a classifier on 512 neurons of this mean, in float64."""
    Z, y = data(["a", "b", "c"], n_samples=400, n_neurons=512)
    Z = Z + np.float32(mean)
    return Z, make_pipeline(StandardScaler(), BalancedClassifier()).fit(Z.astype(np.float64), y)


def relative_error(logits, pipeline, Z):
    expected = pipeline.decision_function(Z.astype(np.float64))
    return np.abs(logits - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(("mean", "stays"), [(0, False), (10, False), (1000, True), (1e5, True)])
def test_a_scaler_stays_a_node_where_folding_would_cost_accuracy(zoo, mean, stays, given):
    Z, pipeline = far_from_zero(mean)
    model = to_onnx(pipeline, Z if given else None)
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    assert (operators[:2] == ["Sub", "Mul"]) == stays
    assert operators.count("Gemm") == 1
    out = zoo.run(model, Z)
    assert relative_error(out["logits"], pipeline, Z) < 1e-5
    assert_array_equal(out["label"], pipeline.predict(Z.astype(np.float64)))


def test_two_scalers_and_a_selector_stay_nodes_too(zoo):
    Z, y = data(["a", "b", "c"], n_samples=400, n_neurons=64)
    Z = 5 * Z + np.float32(1e5)
    kept = VarianceThreshold().fit(Z)
    kept.variances_[::3] = 0  # it drops every third neuron
    pipeline = make_pipeline(StandardScaler(with_mean=False), kept, StandardScaler(), classifier())
    Z64 = Z.astype(np.float64)
    inner = pipeline[0].fit_transform(Z64)
    pipeline[-1].fit(pipeline[2].fit_transform(kept.transform(inner)), y)
    model = to_onnx(pipeline)
    assert [node.op_type for node in model.graph.node][:2] == ["Sub", "Mul"]
    assert relative_error(zoo.run(model, Z)["logits"], pipeline, Z) < 1e-5


def test_the_rows_given_decide_whether_a_scaler_is_folded():
    Z, pipeline = far_from_zero(1000)
    assert to_onnx(pipeline, Z).graph.node[0].op_type == "Sub"
    # Where the embeddings are far away, the folded head is as good as any in float32.
    assert to_onnx(pipeline, Z * 1e6).graph.node[0].op_type == "Gemm"
    for wrong in (Z[:, 1:], Z[:0], Z[0]):
        with pytest.raises(InputError, match=r"X needs embeddings of shape \(N, 512\)"):
            to_onnx(pipeline, wrong)


def test_folding_is_done_in_float64():
    Z, y = data(["a", "b", "c"])
    pipeline = make_pipeline(StandardScaler(), classifier()).fit(Z + np.float32(100), y)
    assert pipeline[-1].head_.coef.dtype == np.float32
    gains = 1 / pipeline[0].scale_
    head = pipeline[-1].head_
    W, b = head.coef.astype(np.float64) * gains, head.intercept.astype(np.float64)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in to_onnx(pipeline).graph.initializer}
    assert_array_equal(tensors["head.weight"], W.astype(np.float32))
    assert_array_equal(tensors["head.bias"], (b - W @ pipeline[0].mean_).astype(np.float32))


@pytest.mark.parametrize("given", [True, False])
def test_a_model_whose_nodes_must_stay_warns_of_a_costly_fold(zoo, tmp_path, given):
    text = "embedding = Add(z, 1e5)\nlogits = Gemm(embedding, np.eye(3, 5), np.ones(3), transB=1)"
    model = FrozenModel.load(zoo.save(zoo.built(text), tmp_path / "m.onnx"))
    X, (_, y) = zoo.inputs(120), data(["a", "b", "c"])
    pipeline = make_pipeline(OnnxEmbedder(model, device="cpu"), StandardScaler(), classifier())
    pipeline.fit(X, y)
    with pytest.warns(RuntimeWarning, match=r"Folding the scaler .*Fit without the scaler"):
        proto = to_onnx(pipeline, X if given else None)
    assert [(n.name, n.op_type) for n in proto.graph.node] == list(model.nodes)


def test_what_cannot_be_exported_is_refused():
    head, scaler = fitted([0, 1])[1], StandardScaler()
    steps = (PCA(3), Normalizer(), OnnxEmbedder("m.onnx"))
    without = [
        NeuronTuneClassifier(),
        LogisticRegression(),
        GridSearchCV(NeuronTuneClassifier(), {}),
        make_pipeline(StandardScaler(), NeuronTuneClassifier()),
        make_pipeline(GridSearchCV(NeuronTuneClassifier(), {})),
        "text",
        None,
    ]
    for estimator, words in [
        *((make_pipeline(scaler, step, head), rf"step {type(step).__name__} cannot be folded")
          for step in steps),
        *((one, "is not a fitted ntkit estimator") for one in without),
        (make_pipeline(scaler, head), "StandardScaler is not fitted"),
        (Pipeline([("a", "passthrough")]), "no estimator"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            to_onnx(estimator)


# -- writing ----------------------------------------------------------------------------------


def test_writing_is_all_or_nothing(zoo, tmp_path, monkeypatch):
    model = to_onnx(fitted(["a", "b"])[1])
    path = write_onnx(model, tmp_path / "head.onnx")
    assert os.listdir(tmp_path) == ["head.onnx"]
    assert path.read_bytes() == model.SerializeToString()
    with pytest.raises(InputError, match=r"head\.onnx exists; .*--force"):
        write_onnx(model, path)
    other = to_onnx(fitted([0, 1, 2])[1])
    before = zoo.contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(InputError, match=r"head\.onnx cannot be written \(disk full\)"):
            write_onnx(other, path, force=True)
    other.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match=r"head\.onnx was not written.*NoSuchOperator"):
        write_onnx(other, path, force=True)
    for place, words in ((tmp_path, "is a folder"), (tmp_path / "no" / "h.onnx", "does not exist")):
        with pytest.raises(InputError, match=words):
            write_onnx(model, place, force=True)
    assert zoo.contents(tmp_path) == before
