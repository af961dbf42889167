"""Which layer is the head, and the names that the graph itself gives its classes."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import HeadNotFoundError
from tests import models as zoo
from tests.model.test_heads import ARRAYS, B1, W1, K, near, probabilities

NAMES = ["ant", "bee", "cow"]
INDEX = "p = Softmax(logits)\nindex = ArgMax(p, axis=1, keepdims=0)\n"
LOOKUPS = {
    "Gather": "label = Gather(NAMES, index)",
    "ArrayFeatureExtractor": "label = Reshape(ArrayFeatureExtractor([NAMES], index), [-1])",
    "LabelEncoder": "label = LabelEncoder(index, keys_int64s=[0, 1, 2], values_strings=NAMES)",
}


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize("shown", [{"p": ["batch", K]}, {}])
def test_class_names_in_the_graph_are_found(lookup, shown, tmp_path):
    outputs = {**shown, "label": (["batch"], TensorProto.STRING)}
    text = INDEX + LOOKUPS[lookup]
    proto, X = zoo.built(text, "classifier", outputs, arrays={"NAMES": NAMES}), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert model.has_class_names
    assert model.head.classes.tolist() == NAMES
    Z = zoo.embedding(proto, X)
    assert_array_equal(model.head.predict(Z), zoo.run(proto, X)["label"])
    head = LinearHead(*zoo.weights(K, seed=8), ["cow", "ant", "bee"])
    new = model.with_head(head).save(tmp_path / "new.onnx")
    assert_array_equal(zoo.run(new, X)["label"], head.predict(Z))
    for exchanged in (model, FrozenModel.load(new), model.with_head(head)):
        for other in (["ant", "bee", "dog"], ["ant", "bee"], range(3)):
            with pytest.raises(ValueError, match="maps its logits to the labels"):
                exchanged.with_head(LinearHead(*zoo.weights(len(other)), other))


def test_labels_that_several_logits_share_are_no_class_names(tmp_path):
    outputs = {"label": (["batch"], TensorProto.STRING)}
    text = INDEX + 'label = Gather(["dog", "dog", "cat"], index)'
    path = zoo.save(zoo.built(text, "classifier", outputs), tmp_path / "m.onnx")
    model = FrozenModel.load(path)
    assert (model.has_class_names, model.head.classes.tolist()) == (False, [0, 1, 2])


# -- which layer ------------------------------------------------------------------------------


def test_a_linear_embedding_output_that_feeds_the_head_is_not_the_head(tmp_path):
    text = "projected = Gemm(z, np.eye(5)[:4], transB=1)\n"
    text += "logits = Gemm(projected, np.ones((3, 4)), transB=1)"
    outputs = {"projected": ["batch", 4], "logits": ["batch", K]}
    path = zoo.save(zoo.built(text, outputs=outputs), tmp_path / "m.onnx")
    for model in (FrozenModel.load(path), FrozenModel.load(path, embedding="projected")):
        assert (model.embedding.name, model.logits.name) == ("projected", "logits")


def test_two_heads_are_listed_and_one_is_chosen(tmp_path):
    outputs = {"logits": ["batch", K], "domain": ["batch", 2]}
    for reads in ("h", "z"):
        text = f"domain = Gemm({reads}, np.ones((2, 5)), transB=1)"
        path = zoo.save(zoo.built(text, "classifier", outputs), tmp_path / f"{reads}.onnx")
        with pytest.raises(HeadNotFoundError, match=r"'logits' .*'domain' .*--logits"):
            FrozenModel.load(path)
        X = zoo.inputs()
        before = zoo.run(path, X)
        for chosen, other, width in (("logits", "domain", K), ("domain", "logits", 2)):
            model = FrozenModel.load(path, logits=chosen)
            assert model.head.n_logits == width
            head = LinearHead(*zoo.weights(width, seed=3), range(width))
            out = zoo.run(model.with_head(head).save(tmp_path / f"{reads}{chosen}.onnx"), X)
            assert_array_equal(out[other], before[other])
            assert not np.allclose(out[chosen], before[chosen])
    with pytest.raises(HeadNotFoundError, match=r"'logits' .*'domain' "):
        FrozenModel.load(path, embedding="z")
    assert FrozenModel.load(path, embedding="z", logits="domain").head.n_logits == 2
    path = tmp_path / "h.onnx"
    assert FrozenModel.load(path, embedding="z").logits.name == "logits"
    assert FrozenModel.load(path, embedding="h").logits.name == "domain"
    with pytest.raises(HeadNotFoundError, match="reads 'h', not 'z'"):
        FrozenModel.load(path, embedding="z", logits="domain")


def test_an_embedding_named_before_a_no_op_still_finds_the_head(tmp_path):
    for op in ("Cast(z, to=FLOAT)", "Identity(z)", "Flatten(z)", "Dropout(z)"):
        proto = zoo.built(f"y = {op}\nlogits = Gemm(y, np.ones((3, 5)), transB=1)")
        model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), embedding="z")
        assert (model.embedding.name, model.head.n_logits) == ("y", K)
        assert [o.name for o in model.with_head(model.head).outputs] == ["logits"]


# -- a classifier of its own kind on the embedding ----------------------------------------------


CLASSIFIER = "label, scores = LinearClassifier({}, coefficients=W, intercepts=b, post_transform={})"


def with_classifier(folder, transform, names, W=W1, b=B1, *, source="z", label=True):
    """A model that ends in a LinearClassifier."""
    key, labels = next(iter(names.items()))
    text = CLASSIFIER.format(source, repr(transform)).replace(")", f", {key}={labels})")
    kind = TensorProto.STRING if "strings" in key else TensorProto.INT64
    outputs = {"label": (["batch"], kind)} if label else {}
    outputs["scores"] = ["batch", len(labels)]
    arrays = {"W": np.ravel(W).tolist(), "b": np.ravel(b).tolist()}
    proto = zoo.built(text, outputs=outputs, arrays=arrays)
    return proto, zoo.save(proto, folder / "m.onnx")


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX"])
@pytest.mark.parametrize("names", [{"classlabels_strings": NAMES}, {"classlabels_ints": [4, 2, 7]}])
def test_a_linear_classifier_on_a_networks_embedding_is_a_head(transform, names, tmp_path):
    proto, path = with_classifier(tmp_path, transform, names)
    model, X = FrozenModel.load(path), zoo.inputs()
    near(model.head.coef, W1, 1e-6)
    near(model.head.intercept, B1, 1e-6)
    labels = next(iter(names.values()))
    assert model.head.classes.tolist() == labels
    Z, shown = zoo.embedding(proto, X), probabilities if transform == "SOFTMAX" else lambda z: z
    head = LinearHead(*zoo.weights(K, seed=9), labels)
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    assert_array_equal(out["label"], head.predict(Z))
    near(out["scores"], shown(head.decision_function(Z)))
    _, path = with_classifier(tmp_path, transform, {"classlabels_ints": [0, 1, 2]}, label=False)
    wide = LinearHead(*zoo.weights(K + 1, seed=9), range(K + 1))  # nothing reads the label
    out = zoo.run(FrozenModel.load(path).with_head(wide).save(tmp_path / "wide.onnx"), X)
    near(out["scores"], shown(wide.decision_function(Z)))


def test_a_linear_classifier_of_two_mirrored_rows_is_one_unit(tmp_path):
    rows, names = (np.vstack([-W1[:1], W1[:1]]), [-B1[0], B1[0]]), {"classlabels_ints": [0, 1]}
    proto, path = with_classifier(tmp_path, "LOGISTIC", names, *rows)
    model, X = FrozenModel.load(path), zoo.inputs()
    Z = zoo.embedding(proto, X)
    assert model.head.n_logits == 1
    near(model.head.predict_proba(Z), zoo.run(proto, X)["scores"])
    head = LinearHead(*zoo.weights(1, seed=9), [0, 1])
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    near(out["scores"], head.predict_proba(Z))
    assert_array_equal(out["label"], head.predict(Z))


def test_other_linear_models_are_refused_for_what_they_are(tmp_path):
    unusual = r"LinearClassifier .*NONE, SOFTMAX or LOGISTIC"
    for rows, transform in ((K, "PROBIT"), (K, "SOFTMAX_ZERO"), (1, "LOGISTIC")):
        names = {"classlabels_ints": list(range(max(2, rows)))}
        _, path = with_classifier(tmp_path, transform, names, W1[:rows], B1[:rows])
        with pytest.raises(HeadNotFoundError, match=unusual):
            FrozenModel.load(path)
    W = np.ones((K, zoo.N_FEATURES))
    names = {"classlabels_ints": [0, 1, 2]}
    _, path = with_classifier(tmp_path, "NONE", names, W, source="x")
    text = "scores = LinearRegressor(z, coefficients=W1.ravel(), intercepts=B1, targets=3)"
    other = zoo.save(zoo.built(text, arrays=ARRAYS), tmp_path / "other.onnx")
    for file, words in ((path, "inputs themselves"), (other, "regression")):
        with pytest.raises(HeadNotFoundError, match=words) as error:
            FrozenModel.load(file)
        assert "--logits" not in str(error.value)


# -- control flow -----------------------------------------------------------------------------


def test_a_body_with_control_flow_is_cut_with_what_its_branches_read(tmp_path):
    graph = zoo.body()
    graph.write("h2 = Identity(z)")
    graph.branch("h2", "e", "Relu", "Abs")
    graph.write("logits = Gemm(e, W1, transB=1)", W1=W1)
    graph.output("logits", ["batch", K])
    proto, X = graph.model(), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert_array_equal(zoo.run(model.body(), X)["e"], zoo.embedding(proto, X))
