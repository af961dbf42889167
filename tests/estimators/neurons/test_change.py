"""Neurons found by what a change does to them, in the classifier, its search and the selector."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from ntkit import NeuronTuneClassifier, NeuronTuneClassifierCV
from ntkit.estimators import SpuriousNeuronSelector, retrain_head
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.spuriousness import change_scores
from ntkit.study import Rows, Study

OPTIONS = {"statistic": "change", "C": 1.0}


def data(seed=0, n=400, width=8, n_classes=2, n_copies=1):
    """Neurons 1 and 2 read a mark that copies change; the last one is constant."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    mark = np.where(rng.random(n) < 0.9, y, rng.integers(0, n_classes, n))
    X = 10 * rng.normal(size=(n, width)) + 1
    X[:, 0] += 20 * y
    X[:, 1:3] += 40 * mark[:, None]
    X[:, -1] = 7
    copies = np.repeat(X[:, None], n_copies, axis=1) + rng.normal(size=(n, n_copies, width))
    copies[:, :, 1:3] += 40 * (rng.permutation(mark)[:, None, None] - mark[:, None, None])
    copies[rng.random((n, n_copies)) < 0.5] = np.nan
    return X, y, copies


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_neurons_that_change_are_suppressed(n_classes):
    X, y, copies = data(n_classes=n_classes, n_copies=3)
    clf = NeuronTuneClassifier(0.5, **OPTIONS)
    weight = np.random.default_rng(9).integers(0, 3, len(y))
    clf.fit(X, y, weight, X_changed=copies)
    scores = change_scores(X, copies, weight)
    assert (clf.spuriousness_scores_ == scores).all()
    assert clf.spuriousness_scores_.shape == (n_classes, X.shape[1])
    suppressed = np.isin(np.arange(X.shape[1]), [1, 2])
    assert np.array_equal(clf.suppressed_, suppressed)
    assert np.array_equal(clf.suppressed_per_class_, np.tile(suppressed, (n_classes, 1)))
    head = retrain_head(X, y, sample_weight=weight, suppressed=suppressed)
    assert clf.coef_ == pytest.approx(head.coef, abs=1e-4)


def test_its_options_hold():
    X, y, copies = data()
    clf = NeuronTuneClassifier(max_suppressed=0.15, **OPTIONS).fit(X, y, X_changed=copies)
    assert clf.suppressed_.sum() == 1
    per_class = NeuronTuneClassifier(aggregation="per_class", **OPTIONS)
    assert per_class.fit(X, y, X_changed=copies).suppressed_.sum() == 2


def test_copies_can_be_samples_too():
    X, y, _ = data()
    copies = X.copy()
    copies[:, 1:3] = 42 - X[:, 1:3]
    clf = NeuronTuneClassifier(**OPTIONS)
    clf.fit(np.vstack([X, copies]), np.append(y, y), X_changed=np.vstack([copies, X]))
    assert np.flatnonzero(clf.suppressed_).tolist() == [1, 2]


def test_a_study_gives_the_copies_of_its_training_rows():
    X, y, copies = data()
    rows = [Rows.of(X[part], y[part]) for part in (slice(200), slice(200, None))]
    study = Study(*rows, changed=copies)
    clf = NeuronTuneClassifier(**OPTIONS, random_state=0).fit_study(study)
    scores = change_scores(X[:200], copies[:200])
    assert (clf.spuriousness_scores_ == scores).all()
    with pytest.warns(SuppressionWarning, match="No class has 10 errors"):  # copies are left alone
        NeuronTuneClassifier(random_state=0).fit_study(study)
    both = NeuronTuneClassifier(**OPTIONS).fit_study(study.on("both"))
    assert (both.spuriousness_scores_ == change_scores(X, copies)).all()


def test_the_search_is_that_of_scikit_learn():
    X, y, copies = data(n_copies=2)
    thresholds = [0.01, 0.5, 9.0]
    with (
        warnings.catch_warnings(action="ignore", category=SuppressionWarning),
        sklearn.config_context(enable_metadata_routing=True),
    ):
        clf = NeuronTuneClassifier(**OPTIONS, random_state=0).set_fit_request(X_changed=True)
        search = GridSearchCV(clf, {"threshold": thresholds}, scoring="accuracy")
        search.fit(X, y, X_changed=copies)
    cv = NeuronTuneClassifierCV(thresholds, scoring="accuracy", random_state=0, **OPTIONS)
    with warnings.catch_warnings(action="ignore", category=SuppressionWarning):
        cv.fit(X, y, X_changed=copies)
    assert cv.threshold_ == search.best_params_["threshold"]
    assert cv.scores_.mean(axis=1) == pytest.approx(search.cv_results_["mean_test_score"])
    assert np.array_equal(cv.suppressed_, search.best_estimator_.suppressed_)


def test_the_selector_in_a_pipeline_that_scales_copies():
    X, y, copies = data()
    selector = SpuriousNeuronSelector(threshold=0.5, statistic="change")
    alone = selector.fit(X, y, X_changed=copies)
    assert np.flatnonzero(alone.suppressed_).tolist() == [1, 2]
    with sklearn.config_context(enable_metadata_routing=True):
        selector = SpuriousNeuronSelector(threshold=0.5, statistic="change")
        selector.set_fit_request(X_changed=True)
        steps = (StandardScaler(), selector, LinearSVC())
        pipeline = make_pipeline(*steps, transform_input=["X_changed"])
        pipeline.fit(X, y, X_changed=copies[:, 0])
    assert np.flatnonzero(pipeline[1].suppressed_).tolist() == [1, 2]


@pytest.mark.parametrize(
    "cls", [NeuronTuneClassifier, NeuronTuneClassifierCV, SpuriousNeuronSelector]
)
def test_copies_and_the_statistic_need_each_other(cls):
    X, y, copies = data()
    for statistic, changed, message in (
        ("median", copies, "set statistic='change'"),
        ("change", None, "pass X_changed"),
        ("change", np.full_like(X, np.nan), "no copy of any sample"),
        ("change", copies[1:], "a row for each row of X"),
    ):
        with pytest.raises(InputError, match=message):
            cls(statistic=statistic).fit(X, y, X_changed=changed)
