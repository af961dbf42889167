"""skl2onnx converts what holds an ntkit estimator, with every option users pass it."""

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import NeuronTuneClassifier
from ntkit.estimators import (
    DFRClassifier,
    GroupInference,
    InvariantClassifier,
    SpuriousNeuronSelector,
)
from ntkit.export._skl2onnx import register_converters

# A mask on noise costs accuracy; here it is there to be exported.
pytestmark = pytest.mark.filterwarnings("ignore:Mean class accuracy fell")

LABELS = {
    "int": [5, -2, 9],
    "text": ["ant", "bée", "cow"],
    "bool": [True, False],
    "float": [1.0, -2.0, 7.0],
    "int8": np.asarray([3, 1, 2], np.int8),
}
CASES = [(kind, n) for kind in LABELS for n in (2, 3) if n <= len(LABELS[kind])]
TYPES = {np.float32: FloatTensorType, np.float64: DoubleTensorType}


def data(classes, dtype=np.float32):
    rng = np.random.default_rng(0)
    index = np.arange(120) % len(classes)
    Z = rng.normal(size=(120, 5)) + np.eye(len(classes), 5)[index]
    return Z.astype(dtype), np.asarray(classes)[index]


def classifier(C=1.0):
    return NeuronTuneClassifier.as_published(identification="train", max_suppressed=0.4, C=C)


BUILD = {
    "alone": classifier,
    "pipeline": lambda: make_pipeline(StandardScaler(), classifier()),
    "invariant": lambda: InvariantClassifier(C=1.0),
    "search": lambda: GridSearchCV(classifier(), {"C": [0.1, 1.0]}, cv=2),
    "pipeline of search": lambda: make_pipeline(
        StandardScaler(), GridSearchCV(classifier(), {"C": [0.1, 1.0]}, cv=2)
    ),
}


def convert(estimator, dtype=np.float32, target_opset=17, **options):
    return convert_sklearn(
        estimator,
        initial_types=[("embedding", TYPES[dtype]([None, 5]))],
        options={"zipmap": False, **options},
        target_opset=target_opset,
    )


@pytest.mark.parametrize("build", BUILD)
@pytest.mark.parametrize(("kind", "n_classes"), CASES)
def test_labels_and_probabilities(zoo, kind, n_classes, build):
    for dtype in TYPES if build in ("alone", "pipeline") else [np.float32]:
        Z, y = data(LABELS[kind][:n_classes], dtype)
        estimator = BUILD[build]().fit(Z, y)
        model = convert(estimator, dtype)
        onnx.checker.check_model(model)
        label, probabilities = zoo.run(model, Z).values()
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        assert_allclose(probabilities, estimator.predict_proba(Z), atol=tolerance)
        assert_array_equal(label.astype(y.dtype), estimator.predict(Z))


def test_every_operator_set_users_ask_for(zoo):
    Z, y = data(["a", "b", "c"])
    estimator = BUILD["pipeline"]().fit(Z, y)
    for opset in (9, 11, 13, 15, 17, 18, 21, 22):
        model = convert(estimator, target_opset={"": opset, "ai.onnx.ml": 1 if opset < 13 else 3})
        assert next(o.version for o in model.opset_import if not o.domain) <= opset
        label, probabilities = zoo.run(model, Z).values()
        assert_allclose(probabilities, estimator.predict_proba(Z), atol=1e-5)
        assert_array_equal(label, estimator.predict(Z))


@pytest.mark.parametrize(("kind", "n_classes"), CASES)
@pytest.mark.parametrize("build", ["alone", "pipeline"])
def test_zipmap(zoo, kind, n_classes, build):
    Z, y = data(LABELS[kind][:n_classes])
    estimator = BUILD[build]().fit(Z, y)
    P = estimator.predict_proba(Z)
    _, rows = zoo.run(convert(estimator, zipmap=True), Z).values()
    classes = estimator.classes_.tolist()
    assert_allclose([[row[c] for c in classes] for row in rows], P, atol=1e-5)
    _, *columns = zoo.run(convert(estimator, zipmap="columns"), Z).values()
    assert_allclose(np.stack(columns, axis=1), P, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_raw_scores(zoo, n_classes):
    Z, y = data(LABELS["text"][:n_classes])
    clf = classifier().fit(Z, y)
    label, scores = zoo.run(convert(clf, raw_scores=True), Z).values()
    margins = scores[:, 1] - scores[:, 0] if n_classes == 2 else scores
    assert_allclose(margins, clf.decision_function(Z), rtol=1e-4, atol=1e-4)
    assert_array_equal(label, clf.predict(Z))


@pytest.mark.parametrize("kind", ["int", "text"])
def test_class_labels_as_an_output(zoo, kind):
    Z, y = data(LABELS[kind])
    clf = classifier().fit(Z, y)
    out = list(zoo.run(convert(clf, output_class_labels=True), Z).values())
    assert_array_equal(out[-1], clf.classes_)


def test_other_input_types_are_cast(zoo):
    Z, y = data(["a", "b"])
    Z = (Z * 10).round()
    clf = classifier().fit(Z, y)
    model = convert_sklearn(
        clf,
        initial_types=[("embedding", Int64TensorType([None, 5]))],
        options={"zipmap": False},
        target_opset=17,
    )
    _, probabilities = zoo.run(model, Z.astype(np.int64)).values()
    assert_allclose(probabilities, clf.predict_proba(Z), atol=1e-5)
    model = to_onnx(clf, Z[:1], options={"zipmap": False}, target_opset=17)  # types of a sample
    _, probabilities = zoo.run(model, Z).values()
    assert_allclose(probabilities, clf.predict_proba(Z), atol=1e-5)


@pytest.mark.parametrize("dtype", TYPES, ids=lambda d: d.__name__)
def test_in_other_estimators_as_skl2onnx_takes_them(zoo, dtype):
    Z, y = data(LABELS["text"], dtype)
    for estimator in (
        GridSearchCV(BUILD["pipeline"](), {"neurontuneclassifier__C": [0.1, 1.0]}, cv=2),
        CalibratedClassifierCV(classifier(), cv=2),
        make_pipeline(StandardScaler(), CalibratedClassifierCV(classifier(), cv=2)),
        make_pipeline(ColumnTransformer([("a", StandardScaler(), [3, 0])]), classifier()),
        StackingClassifier([("a", classifier())], cv=2),
        OneVsRestClassifier(classifier()),
    ):
        estimator.fit(Z, y)
        for opset in (13, 17, 22):
            model = convert(estimator, dtype, target_opset={"": opset, "ai.onnx.ml": 3})
            label, probabilities = zoo.run(model, Z).values()
            assert_allclose(probabilities, estimator.predict_proba(Z), atol=1e-5)
            assert_array_equal(label, estimator.predict(Z))


@pytest.mark.parametrize("opset", [9, 13, 22])
@pytest.mark.parametrize("kept", [[0], [4], [1, 3], [0, 1, 2, 3, 4]])
def test_the_selector_keeps_its_neurons(zoo, kept, opset):
    Z, y = data(LABELS["int"])
    selector = SpuriousNeuronSelector(identification="train", max_suppressed=0.4).fit(Z, y)
    selector.suppressed_ = ~np.isin(np.arange(5), kept)
    assert selector.get_support(indices=True).tolist() == kept
    model = convert_sklearn(
        selector,
        initial_types=[("embedding", FloatTensorType([None, 5]))],
        target_opset={"": opset, "ai.onnx.ml": 1 if opset < 13 else 3},
    )
    (selected,) = zoo.run(model, Z).values()
    assert_array_equal(selected, Z[:, kept])


def test_registering_twice_changes_nothing(zoo):
    Z, y = data(["a", "b"])
    clf = classifier().fit(Z, y)
    before = convert(clf).graph
    register_converters()
    after = convert(clf).graph
    assert list(after.node) == list(before.node)
    assert list(after.initializer) == list(before.initializer)


def test_what_has_no_head_is_not_converted_as_one():
    register_converters()
    assert DFRClassifier in sklearn_operator_name_map
    assert GroupInference not in sklearn_operator_name_map
