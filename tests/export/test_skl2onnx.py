"""What holds an ntkit estimator becomes ONNX that predicts the same: by skl2onnx and by to_onnx."""

import numpy as np
import onnx
import pandas as pd
import pytest
import skl2onnx
from numpy.testing import assert_allclose, assert_array_equal
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder, check, predict
from ntkit.estimators import (
    BalancedClassifier,
    DFRClassifier,
    GroupInference,
    InvariantClassifier,
    SpuriousNeuronSelector,
)
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import to_onnx, write_onnx
from ntkit.export._skl2onnx import register_converters
from ntkit.extraction.session import make_session

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
TYPES = {np.float32: FloatTensorType, np.float64: DoubleTensorType, np.int64: Int64TensorType}


def data(classes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    index = np.arange(150) % len(classes)
    Z = rng.normal(size=(150, 5)) + np.eye(len(classes), 5)[index]
    return (3 * Z + 1).astype(dtype), np.asarray(classes)[index]


def classifier(C=1.0):
    options = {"identification": "train", "max_suppressed": 0.4, "random_state": 0}
    return NeuronTuneClassifier.as_described(solver="optimum", **options, C=C)


def scaled():
    return make_pipeline(StandardScaler(), classifier())


def search():
    return GridSearchCV(classifier(), {"C": [0.1, 1.0]}, cv=2)


def columns():
    halves = [("a", StandardScaler(), [2, 0, 1]), ("b", MinMaxScaler(), [3])]
    return make_pipeline(ColumnTransformer(halves, remainder="passthrough"), classifier())


def calibrated(estimator, method="sigmoid", **options):
    return CalibratedClassifierCV(estimator, method=method, cv=2, **options)


BUILD = {
    "alone": classifier,
    "pipeline": scaled,
    "invariant": lambda: InvariantClassifier(C=1.0, random_state=0),
    "search": search,
    "pipeline of search": lambda: make_pipeline(StandardScaler(), search()),
}
COMPOSITE = {
    "sigmoid": lambda: calibrated(classifier()),
    "sigmoid without ensemble": lambda: calibrated(classifier(), ensemble=False),
    "sigmoid of a pipeline": lambda: calibrated(scaled()),
    "sigmoid of a search": lambda: calibrated(search()),
    "sigmoid of columns": lambda: calibrated(columns()),
    "isotonic": lambda: calibrated(classifier(), "isotonic"),
    "isotonic of a pipeline": lambda: calibrated(scaled(), "isotonic"),
    "temperature": lambda: calibrated(classifier(), "temperature"),
    "temperature of PCA": lambda: calibrated(make_pipeline(PCA(3), classifier()), "temperature"),
    "search of calibrations": lambda: GridSearchCV(
        calibrated(scaled()), {"method": ["sigmoid", "isotonic"]}, cv=2
    ),
    "scaler in front": lambda: make_pipeline(StandardScaler(), calibrated(classifier())),
    "columns": columns,
    "PCA": lambda: make_pipeline(PCA(3), classifier()),
    "soft vote": lambda: VotingClassifier(
        [("a", scaled()), ("b", LogisticRegression()), ("c", calibrated(classifier()))],
        voting="soft",
    ),
    "hard vote": lambda: VotingClassifier(
        [("a", scaled()), ("b", LogisticRegression()), ("c", classifier(0.1))]
    ),
    "stack": lambda: StackingClassifier([("a", scaled()), ("b", LogisticRegression())], cv=2),
    "top of a stack": lambda: StackingClassifier(
        [("a", LogisticRegression())], final_estimator=classifier(), cv=2
    ),
    "one against rest": lambda: OneVsRestClassifier(scaled()),
    "bag": lambda: BaggingClassifier(classifier(), n_estimators=3, random_state=0),
    "selector": lambda: make_pipeline(SpuriousNeuronSelector(random_state=0), LogisticRegression()),
}


def convert(estimator, dtype=np.float32, target_opset=17, **options):
    return skl2onnx.convert_sklearn(
        estimator,
        initial_types=[("embedding", TYPES[dtype]([None, 5]))],
        options={"zipmap": False, **options},
        target_opset=target_opset,
    )


@pytest.mark.more
@pytest.mark.parametrize("build", BUILD)
@pytest.mark.parametrize(("kind", "n_classes"), CASES)
def test_labels_and_probabilities(zoo, kind, n_classes, build):
    for dtype in (np.float32, np.float64) if build in ("alone", "pipeline") else [np.float32]:
        Z, y = data(LABELS[kind][:n_classes], dtype)
        estimator = BUILD[build]().fit(Z, y)
        model = convert(estimator, dtype)
        onnx.checker.check_model(model)
        label, probabilities = zoo.run(model, Z).values()
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        assert_allclose(probabilities, estimator.predict_proba(Z), atol=tolerance)
        assert_array_equal(label.astype(y.dtype), estimator.predict(Z))


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


def test_raw_scores_and_class_labels_as_an_output(zoo):
    for classes in (LABELS["text"][:2], LABELS["text"], LABELS["int"]):
        Z, y = data(classes)
        clf = classifier().fit(Z, y)
        label, scores = zoo.run(convert(clf, raw_scores=True), Z).values()
        margins = scores[:, 1] - scores[:, 0] if len(classes) == 2 else scores
        assert_allclose(margins, clf.decision_function(Z), rtol=1e-4, atol=1e-4)
        assert_array_equal(label, clf.predict(Z))
        *_, names = zoo.run(convert(clf, output_class_labels=True), Z).values()
        assert_array_equal(names, clf.classes_)


def test_other_input_types_are_cast(zoo):
    Z, y = data(["a", "b"])
    Z = (Z * 10).round()
    clf = classifier().fit(Z, y)
    options = {"options": {"zipmap": False}, "target_opset": 17}
    of_a_sample = skl2onnx.to_onnx(clf, Z[:1], **options)
    for model, X in ((convert(clf, np.int64), Z.astype(np.int64)), (of_a_sample, Z)):
        _, probabilities = zoo.run(model, X).values()
        assert_allclose(probabilities, clf.predict_proba(Z), atol=1e-5)


OPSETS = (9, 11, 13, 15, 17, 18, 21, 22)


@pytest.mark.more
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_in_other_estimators_and_every_operator_set_users_ask_for(zoo, dtype):
    Z, y = data(LABELS["text"], dtype)
    for estimator, opsets in (
        (scaled(), OPSETS),
        (GridSearchCV(scaled(), {"neurontuneclassifier__C": [0.1, 1.0]}, cv=2), OPSETS[2::2]),
        (calibrated(classifier()), OPSETS[2::2]),
        (make_pipeline(StandardScaler(), calibrated(classifier())), OPSETS[2::2]),
        (make_pipeline(ColumnTransformer([("a", StandardScaler(), [3, 0])]), classifier()), (17,)),
        (StackingClassifier([("a", classifier())], cv=2), (13, 22)),
        (OneVsRestClassifier(classifier()), (13, 22)),
    ):
        estimator.fit(Z, y)
        for opset in opsets:
            target = {"": opset, "ai.onnx.ml": 1 if opset < 13 else 3}
            model = convert(estimator, dtype, target_opset=target)
            assert next(o.version for o in model.opset_import if not o.domain) <= opset
            label, probabilities = zoo.run(model, Z).values()
            assert_allclose(probabilities, estimator.predict_proba(Z), atol=1e-5)
            assert_array_equal(label, estimator.predict(Z))


def test_the_selector_keeps_its_neurons(zoo):
    Z, y = data(LABELS["int"])
    selector = SpuriousNeuronSelector(identification="train", max_suppressed=0.4).fit(Z, y)
    for kept in ([0], [4], [1, 3], [0, 1, 2, 3, 4]):
        selector.suppressed_ = ~np.isin(np.arange(5), kept)
        assert selector.get_support(indices=True).tolist() == kept
        for opset in (9, 13, 22):
            model = skl2onnx.convert_sklearn(
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
    assert (list(after.node), list(after.initializer)) == (
        list(before.node), list(before.initializer)
    )  # fmt: skip
    assert DFRClassifier in sklearn_operator_name_map
    assert GroupInference not in sklearn_operator_name_map  # it has no head


# -- to_onnx, which checks what skl2onnx wrote ---


@pytest.mark.more
@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
@pytest.mark.parametrize(("n_classes", "kind"), [(2, "int"), (3, "text")])
@pytest.mark.parametrize("build", COMPOSITE)
def test_to_onnx_gives_labels_and_probabilities(zoo, build, n_classes, kind):
    labels = LABELS[kind][:n_classes]
    if "temperature" in build and kind == "int":
        # scikit-learn 1.9 takes numbers as positions of the classes, unchecked, for this method.
        labels = [1, 0, 2][:n_classes]
    Z, y = data(labels)
    estimator = COMPOSITE[build]().fit(Z, y)
    model = to_onnx(estimator, Z)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    fresh = data(labels, seed=1)[0]
    out = zoo.run(model, {"embedding": fresh}, ["label", "probabilities"])
    assert_array_equal(out["label"], estimator.predict(fresh))
    if hasattr(estimator, "predict_proba"):
        # Isotonic steps are steep: rounding of the logits moves them.
        assert_allclose(out["probabilities"], estimator.predict_proba(fresh), atol=1e-4)


def test_a_large_mean_costs_a_calibrated_pipeline_nothing(zoo):
    Z, y = data(LABELS["text"], np.float64)
    Z += 1e4
    for method in ("sigmoid", "isotonic", "temperature"):
        estimator = calibrated(scaled(), method).fit(Z, y)
        X = Z.astype(np.float32)
        out = zoo.run(to_onnx(estimator, X), X, ["label", "probabilities"])
        expected = estimator.predict_proba(X.astype(np.float64))
        assert_allclose(out["probabilities"], expected, atol=1e-4)


def test_the_estimator_itself_is_not_changed_and_named():
    Z, y = data(LABELS["text"])
    estimator = COMPOSITE["soft vote"]().fit(Z, y)
    before = estimator.predict_proba(Z)
    props = {p.key: p.value for p in to_onnx(estimator, Z).metadata_props}
    assert props["ntkit.method"] == "VotingClassifier"
    assert "ntkit.version" in props
    assert estimator.flatten_transform
    assert_array_equal(estimator.predict_proba(Z), before)


def test_embeddings_may_be_a_list_or_a_frame_and_the_estimator_frozen(zoo):
    Z, y = data(LABELS["text"])
    estimator = calibrated(scaled()).fit(Z, y)
    assert to_onnx(estimator, Z.tolist()).graph == to_onnx(estimator, Z).graph
    frame = pd.DataFrame(Z, columns=list("abcde"))
    frozen = CalibratedClassifierCV(FrozenEstimator(scaled().fit(Z, y)))
    for estimator, X in ((calibrated(scaled()), frame), (frozen, Z)):
        out = zoo.run(to_onnx(estimator.fit(X, y), X), Z, ["label", "probabilities"])
        assert_allclose(out["probabilities"], estimator.predict_proba(X), atol=1e-6)


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_what_cannot_be_exported_is_refused(model):
    Z, y = data(LABELS["text"])
    projected, selected = (COMPOSITE[name]().fit(Z, y) for name in ("PCA", "selector"))
    foreign = LogisticRegression(), calibrated(LogisticRegression()), make_pipeline(PCA(2), PCA(1))
    sine = make_pipeline(FunctionTransformer(np.sin), classifier()).fit(Z, y)
    embedder = OnnxEmbedder(model, device="cpu")
    X = np.hstack([Z, Z[:, :1]])
    whole = make_pipeline(embedder, PCA(3), classifier()).fit(X, y)
    shape, no_head = r"X needs embeddings of shape \(N, D\)", "not a fitted ntkit estimator"
    for estimator, given, words in [
        *((one, None, "pass some embeddings as X") for one in (projected, selected)),
        *((one, wrong, shape) for one in (projected, selected) for wrong in (Z[:0], Z[:, 0])),
        *((one.fit(Z, y), Z, no_head) for one in foreign),
        *((one, Z, no_head) for one in (calibrated(scaled()), columns())),
        (sine, Z, "skl2onnx cannot convert the Pipeline"),
        (whole, X, "the later steps alone"),
    ]:
        with pytest.raises(InputError, match=words) as error:
            to_onnx(estimator, given)
        assert "\n" not in str(error.value)
    to_onnx(whole[1:], embedder.transform(X))


@pytest.mark.parametrize("wrong", ["probabilities", "label"])
def test_a_conversion_that_is_wrong_is_not_handed_out(monkeypatch, wrong):
    """skl2onnx silently converts some compositions wrongly; a stand-in for the next one."""
    Z, y = data(LABELS["text"])

    def build():
        if wrong == "probabilities":
            return calibrated(classifier())
        parts = [("a", classifier()), ("b", LogisticRegression())]
        return VotingClassifier(parts, flatten_transform=False)

    estimator, other = build().fit(Z, y), build().fit(Z, np.roll(y, 1))
    monkeypatch.setattr("ntkit.export._composite._simplified", lambda value, done: other)
    with pytest.raises(VerificationError, match=f"{wrong}.*use scikit-learn for") as error:
        to_onnx(estimator, Z)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: TunedThresholdClassifierCV(BalancedClassifier(), scoring="f1", cv=3),
        lambda: FixedThresholdClassifier(BalancedClassifier(), threshold=0.8),
        lambda: FixedThresholdClassifier(BalancedClassifier(), threshold=0.8, pos_label="ham"),
        lambda: FixedThresholdClassifier(make_pipeline(StandardScaler(), BalancedClassifier())),
        lambda: make_pipeline(
            StandardScaler(), FixedThresholdClassifier(BalancedClassifier(), threshold=0.7)
        ),
        lambda: FixedThresholdClassifier(
            CalibratedClassifierCV(BalancedClassifier(), cv=3), threshold=0.3
        ),
    ],
)
def test_labels_follow_the_threshold_of_scikit_learn(build):
    """skl2onnx itself drops a tuned threshold."""
    rng = np.random.default_rng(0)
    spam = rng.random(900) < 0.15
    X = rng.normal(size=(900, 3)).astype(np.float32) + spam[:, None]
    classifier = build()
    pos_label = getattr(classifier, "scoring", None) == "f1"  # that of f1 is 1
    classifier.fit(X, spam.astype(int) if pos_label else np.where(spam, "spam", "ham"))
    session = make_session(to_onnx(classifier, X[:5]).SerializeToString(), device="cpu")
    label, probabilities = session.run(None, {"embedding": X})
    assert_array_equal(label, classifier.predict(X))
    assert_allclose(probabilities, classifier.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_labels_of_a_threshold_are_the_predictions_or_refused(tmp_path, reverse):
    """Whichever rows are first: the file's labels count, not the largest probability."""
    rng = np.random.default_rng(0)
    latent = rng.random(400) < 0.5
    X = rng.normal(size=(400, 3)).astype(np.float32) + latent[:, None]
    y = np.where(latent, "spam", "ham")
    classifier = FixedThresholdClassifier(BalancedClassifier(), threshold=0.7, pos_label="spam")
    path, wanted = tmp_path / "m.onnx", classifier.fit(X, y).predict(X)
    write_onnx(to_onnx(classifier, X[:5]), path)
    odd = classifier.estimator_.predict(X) != wanted
    assert odd.any()
    order = np.argsort(odd, kind="stable")[:: -1 if reverse else 1]
    X, y, wanted, odd = X[order], y[order], wanted[order], odd[order]
    assert_array_equal(predict(path, X[~odd], device="cpu").labels, wanted[~odd])
    refused = pytest.raises(InputError, match=r"not that of the class in 'label'.*--logits label")
    with refused:
        predict(path, X, device="cpu")
    with refused:
        check(None, path, (X, y), limits={"average": 50}, device="cpu")
    model = FrozenModel.load(path, any_scores=True, logits="label")
    assert_array_equal(predict(model, X, device="cpu").labels, wanted)
    found = check(None, model, (X, y), limits={"average": 50}, device="cpu")
    assert found.average.value == np.mean(wanted == y)


def test_probabilities_of_isotonic_regression_are_those_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = rng.normal(size=(400, 3)).astype(np.float32) + y[:, None]
    classifier = CalibratedClassifierCV(BalancedClassifier(), method="isotonic", cv=3).fit(X, y)
    path, wanted = tmp_path / "m.onnx", classifier.predict_proba(X)
    write_onnx(to_onnx(classifier, X[:5]), path)
    assert_allclose(predict(path, X, device="cpu").probabilities, wanted, atol=1e-5)
    options = {"limits": {"average": 50}, "threshold": 0.7, "device": "cpu"}
    found = check(None, path, (X, y), **options).average.value
    assert found == np.mean((wanted[:, 1] > 0.7) == y)


def test_a_threshold_of_other_scores_than_probabilities_is_refused():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    options = {"threshold": 1.0, "response_method": "decision_function"}
    classifier = FixedThresholdClassifier(BalancedClassifier(), **options).fit(X, y)
    with pytest.raises(InputError, match="is one of decision_function; fit it with response_met"):
        to_onnx(classifier, X)
