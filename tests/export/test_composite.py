"""Whole scikit-learn objects that hold an ntkit estimator become ONNX that predicts the same."""

import numpy as np
import onnx
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder
from ntkit.estimators import SpuriousNeuronSelector
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import to_onnx

# A mask on noise costs accuracy; here it is there to be exported.
pytestmark = pytest.mark.filterwarnings("ignore:Mean class accuracy fell")


def classifier(C=1.0):
    return NeuronTuneClassifier.as_published(identification="train", max_suppressed=0.4, C=C)


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
LABELS = {"text": ["ant", "bée", "cow"], "int": [5, -2, 9]}


def data(classes, n_samples=150, seed=0):
    rng = np.random.default_rng(seed)
    index = np.arange(n_samples) % len(classes)
    Z = rng.normal(size=(n_samples, 5)) + np.eye(len(classes), 5)[index]
    return (3 * Z + 1).astype(np.float32), np.asarray(classes)[index]


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
@pytest.mark.parametrize(("n_classes", "kind"), [(2, "int"), (3, "text")])
@pytest.mark.parametrize("build", BUILD)
def test_labels_and_probabilities(zoo, build, n_classes, kind):
    labels = LABELS[kind][:n_classes]
    if "temperature" in build and kind == "int":
        # scikit-learn 1.9 takes numbers as positions of the classes, unchecked, for this method.
        labels = [1, 0, 2][:n_classes]
    Z, y = data(labels)
    estimator = BUILD[build]().fit(Z, y)
    model = to_onnx(estimator, Z)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    fresh = data(labels, seed=1)[0]
    out = zoo.run(model, {"embedding": fresh}, ["label", "probabilities"])
    assert_array_equal(out["label"], estimator.predict(fresh))
    if hasattr(estimator, "predict_proba"):
        # Isotonic steps are steep: rounding of the logits moves them.
        assert_allclose(out["probabilities"], estimator.predict_proba(fresh), atol=1e-4)


def test_a_calibrated_classifier_that_is_frozen(zoo):
    Z, y = data(LABELS["text"])
    frozen = FrozenEstimator(scaled().fit(Z, y))
    estimator = CalibratedClassifierCV(frozen).fit(Z, y)
    out = zoo.run(to_onnx(estimator, Z), Z, ["label", "probabilities"])
    assert_allclose(out["probabilities"], estimator.predict_proba(Z), atol=1e-6)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_a_large_mean_costs_a_calibrated_pipeline_nothing(zoo, method):
    Z, y = data(LABELS["text"])
    Z = Z + np.float32(1e4)
    estimator = calibrated(scaled(), method).fit(Z.astype(np.float64), y)
    out = zoo.run(to_onnx(estimator, Z), Z, ["label", "probabilities"])
    expected = estimator.predict_proba(Z.astype(np.float64))
    assert_allclose(out["probabilities"], expected, atol=1e-4)


def test_the_estimator_itself_is_not_changed_and_named():
    Z, y = data(LABELS["text"])
    estimator = BUILD["soft vote"]().fit(Z, y)
    before = estimator.predict_proba(Z)
    props = {p.key: p.value for p in to_onnx(estimator, Z).metadata_props}
    assert props["ntkit.method"] == "VotingClassifier"
    assert "ntkit.version" in props
    assert estimator.flatten_transform
    assert_array_equal(estimator.predict_proba(Z), before)


def test_embeddings_may_be_a_list_or_a_frame(zoo):
    Z, y = data(LABELS["text"])
    estimator = calibrated(scaled()).fit(Z, y)
    expected = to_onnx(estimator, Z).graph
    assert to_onnx(estimator, Z.tolist()).graph == expected
    frame = pd.DataFrame(Z, columns=list("abcde"))
    estimator = calibrated(scaled()).fit(frame, y)
    out = zoo.run(to_onnx(estimator, frame), Z, ["label", "probabilities"])
    assert_allclose(out["probabilities"], estimator.predict_proba(frame), atol=1e-6)


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
@pytest.mark.parametrize("build", ["PCA", "selector"])
def test_embeddings_to_check_on_are_asked_for(build):
    Z, y = data(LABELS["text"])
    estimator = BUILD[build]().fit(Z, y)
    with pytest.raises(InputError, match="pass some embeddings as X"):
        to_onnx(estimator)
    for wrong in (Z[:0], Z[:, 0]):
        with pytest.raises(InputError, match=r"X needs embeddings of shape \(N, D\)"):
            to_onnx(estimator, wrong)


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), calibrated(LogisticRegression()), make_pipeline(PCA(2), PCA(1))],
)
def test_what_holds_no_ntkit_estimator_is_refused(estimator):
    Z, y = data(LABELS["text"])
    with pytest.raises(InputError, match="not a fitted ntkit estimator"):
        to_onnx(estimator.fit(Z, y), Z)


def test_what_is_not_fitted_is_refused():
    Z, _ = data(LABELS["text"])
    for estimator in (calibrated(scaled()), columns()):
        with pytest.raises(InputError, match="not a fitted ntkit estimator"):
            to_onnx(estimator, Z)


def test_what_skl2onnx_cannot_convert_is_refused_in_one_sentence():
    Z, y = data(LABELS["text"])
    step = FunctionTransformer(np.sin)
    with pytest.raises(InputError, match="skl2onnx cannot convert the Pipeline") as error:
        to_onnx(make_pipeline(step, classifier()).fit(Z, y), Z)
    assert "\n" not in str(error.value)


def test_what_follows_an_embedder_is_to_be_converted_alone(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(3), tmp_path / "m.onnx"))
    X, (_, y) = zoo.inputs(150), data(LABELS["text"])
    pipeline = make_pipeline(OnnxEmbedder(model, device="cpu"), PCA(3), classifier()).fit(X, y)
    with pytest.raises(InputError, match="the later steps alone"):
        to_onnx(pipeline, X)
    to_onnx(pipeline[1:], pipeline[0].transform(X))


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
