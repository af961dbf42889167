"""Habits of people who use scikit-learn: each is met, or the documentation says what to do."""

import inspect
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import NeuronTuneClassifier
from ntkit.datasets import make_spurious_classification
from ntkit.estimators import BalancedClassifier, DFRClassifier, InvariantClassifier
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.export import to_onnx
from ntkit.scorers import get_scorer
from tests.estimators.samples import biased

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "estimators.md"


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logarithms_of_probabilities(n_classes):
    X, y, mark = biased(n_classes=n_classes, dtype=np.float32)
    for clf in (BalancedClassifier().fit(X, y), DFRClassifier().fit(X, y, attribute=mark)):
        logs = clf.predict_log_proba(X)
        assert logs.dtype == np.float32
        assert np.exp(logs) == pytest.approx(clf.predict_proba(X), abs=1e-6)
        far = clf.predict_log_proba(1e4 * X)  # probabilities would be 0 there
        assert np.isfinite(far).all()
        assert far.min() < -1000


def costly():
    """Samples on which masks cost much accuracy."""
    return make_spurious_classification(2000, n_core=20, n_spurious=10, random_state=0)[:2]


def warned(fit, X, y, category=SuppressionWarning):
    """The sentences of all warnings of a kind."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(X, y)
    return [str(each.message) for each in caught if issubclass(each.category, category)]


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.more)])
def test_a_search_by_accuracy_says_once_why_thresholds_tie(n_jobs):
    X, y = costly()
    clf = NeuronTuneClassifier(C=1.0, random_state=0)
    search = GridSearchCV(clf, {"threshold": [0.25, 0.5]}, cv=3, n_jobs=n_jobs)
    (told,) = warned(search.fit, X, y)
    assert told.startswith("Kept all neurons")
    assert "are not applied tie" in told
    assert "max_cost=None" in told
    assert "scoring=CorrectnessGroupScorer()" in told
    assert np.ptp(search.cv_results_["mean_test_score"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuppressionWarning)
        search.set_params(estimator__max_cost=None).fit(X, y)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    text = inspect.getdoc(NeuronTuneClassifier)
    assert "``max_cost=None`` and ``scoring=CorrectnessGroupScorer()``" in text


def test_outside_of_a_search_every_fit_warns_without_a_word_on_searches():
    X, y = costly()
    clf = NeuronTuneClassifier(C=1.0, random_state=0)
    (alone,) = warned(clf.fit, X, y)  # and does not say that the mask suppresses most neurons
    assert alone.startswith("Kept all neurons")
    assert "tie" not in alone
    assert len(warned(lambda *data: cross_val_score(clf, *data, cv=3), X, y)) == 3


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_a_validation_set_with_names_is_the_one_that_the_warning_names():
    X, y, _ = biased(n=300)
    X = StandardScaler().fit_transform(X)  # so that the scales do not tell
    frame = pd.DataFrame(X, columns=[*"abcdef"])
    pipeline = make_pipeline(StandardScaler(), NeuronTuneClassifier(C=1.0, max_cost=None))
    known = {"neurontuneclassifier__X_val": frame, "neurontuneclassifier__y_val": y}
    with pytest.warns(UserWarning, match=r"^X_val has feature names.*transform_input=\['X_val'\]"):
        pipeline.fit(frame, y, **known)
    with pytest.warns(UserWarning, match=r"^X has feature names, but X_val has none"):
        pipeline[-1].fit(frame, y, X_val=X, y_val=y)
    with pytest.warns(UserWarning, match="^X_changed has feature names, but X has none"):
        InvariantClassifier(alphas=(1.0,)).fit(X, y, X_changed=frame + 0.1)
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline[-1].fit(frame, y, X_val=frame[[*"fedcba"]], y_val=y)
    with pytest.raises(InputError, match="X_val has 5 columns, but X has 6"):
        pipeline[-1].fit(X, y, X_val=X[:, 1:], y_val=y)
    with pytest.raises(ValueError, match="X_val contains NaN"):
        pipeline[-1].fit(X, y, X_val=np.full_like(X, np.nan), y_val=y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", SuppressionWarning)
        pipeline[-1].fit(frame, y, X_val=frame, y_val=y)
        pipeline[-1].fit(X, y, X_val=X, y_val=y)


def test_sparse_arrays_are_refused_as_documented():
    X, y, _ = biased(n=100)
    for clf in (BalancedClassifier(), NeuronTuneClassifier(C=1.0, max_cost=None)):
        with pytest.raises(TypeError, match="toarray"):
            clf.fit(csr_matrix(X), y)
        assert "Sparse arrays are refused: pass ``X.toarray()``" in inspect.getdoc(clf.fit)
    assert "Of a sparse `X`, pass `X.toarray()`" in TUTORIAL.read_text()


def test_scorers_have_names_by_get_scorer_as_documented():
    X, y, _ = biased(n=100)
    clf = BalancedClassifier()
    with pytest.raises(ValueError, match="worst_class_accuracy"):
        cross_val_score(clf, X, y, scoring="worst_class_accuracy")
    cross_val_score(clf, X, y, scoring=get_scorer("worst_class_accuracy"))
    assert 'Pass `get_scorer("worst_class_accuracy")`, not the name' in TUTORIAL.read_text()


def test_a_calibrated_classifier_is_converted_with_rows_as_documented():
    X, y, _ = biased(n=200)
    clf = CalibratedClassifierCV(BalancedClassifier(), cv=2).fit(X, y)
    with pytest.raises(InputError, match="pass some embeddings as X"):
        to_onnx(clf)
    assert "probabilities" in [output.name for output in to_onnx(clf, X).graph.output]
    assert "composite classifier needs rows as the second argument" in TUTORIAL.read_text()
