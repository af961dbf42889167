"""X_val in pipelines and searches: on the scale of X, or said not to be."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import NeuronTuneClassifier
from ntkit.estimators import LABEL_FREE
from ntkit.exceptions import SuppressionWarning

WITH_X_VAL = ["neurontune", "auto", "afr", "self", "evals", "leace", "leia"]


def data(seed, n=200, width=12, relu=True):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    mark = np.where(rng.random(n) < 0.8, y, 1 - y)
    X = rng.normal(size=(n, width)) + 0.3
    X[:, 0] += y
    X[:, 1] += 2 * mark
    scale = np.exp(np.random.default_rng(99).normal(size=width))
    return (np.maximum(X, 0) if relu else X) * scale, y


def quick(name):
    estimator = LABEL_FREE[name]()
    own = {"random_state": 0, "alphas": (1.0,), "Cs": (1.0,), "n_selected": (20,)}
    if name == "self":
        own["n_selected"] = 60
    return estimator.set_params(**{k: v for k, v in own.items() if k in estimator.get_params()})


@pytest.fixture(autouse=True)
def no_words_of_masks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuppressionWarning)
        yield


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", WITH_X_VAL)
def test_a_pipeline_that_scales_only_X_is_warned_of(name, relu):
    (X, y), (X_val, y_val) = data(0, relu=relu), data(1, relu=relu)
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", quick(name))])
    with pytest.warns(
        UserWarning, match=r"does not have the scale of X.*transform_input=\['X_val'\]"
    ):
        pipeline.fit(X, y, clf__X_val=X_val, clf__y_val=y_val)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", WITH_X_VAL)
def test_what_was_scaled_alike_is_not(name, relu):
    (X, y), (X_val, y_val) = data(0, relu=relu), data(1, n=60, relu=relu)
    quick(name).fit(X, y, X_val=X_val, y_val=y_val)
    scaler = StandardScaler().fit(X)
    quick(name).fit(scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val)


@pytest.mark.parametrize(
    "harm",
    [
        lambda X, scaler: 255 * X,
        lambda X, scaler: X / 255,
        lambda X, scaler: scaler.transform(X),
        lambda X, scaler: X + 100,
    ],
)
def test_other_scales_are_warned_of(harm):
    (X, y), (X_val, y_val) = data(0), data(1)
    with pytest.warns(UserWarning, match="does not have the scale of X"):
        quick("neurontune").fit(X, y, X_val=harm(X_val, StandardScaler().fit(X)), y_val=y_val)


def test_a_shift_of_the_classes_and_marks_is_none_of_scale():
    (X, y), (X_val, y_val) = data(0, relu=False), data(1, n=900, relu=False)
    scaler = StandardScaler().fit(X)
    for kept in (y_val == 1) | (np.arange(900) % 10 == 0), X_val[:, 1] > np.median(X_val[:, 1]):
        quick("neurontune").fit(
            scaler.transform(X), y, X_val=scaler.transform(X_val[kept]), y_val=y_val[kept]
        )


@pytest.mark.parametrize("cut", [(5, 200), (200, 5)])
def test_a_few_rows_say_nothing(cut):
    (X, y), (X_val, y_val) = data(0), data(1)
    clf = NeuronTuneClassifier(identification="train", random_state=0)
    rows = np.r_[np.flatnonzero(y == 0)[:3], np.flatnonzero(y == 1)[: cut[0] - 3]]
    clf.fit(X[rows], y[rows], X_val=99 * X_val[: cut[1]], y_val=y_val[: cut[1]])


def test_a_pipeline_scales_the_validation_set_where_it_is_told_to():
    """scikit-learn's own way: transform_input, with metadata routing."""
    (X, y), (X_val, y_val) = data(0), data(1)
    scaler = StandardScaler().fit(X)
    by_hand = quick("neurontune").fit(
        scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val
    )
    with sklearn.config_context(enable_metadata_routing=True):
        clf = quick("neurontune").set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), clf, transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
    assert pipeline[-1].head_ == by_hand.head_


@pytest.mark.parametrize("n_val", [60, 200])
def test_a_search_that_cuts_the_validation_set_into_folds(n_val):
    """One of as many rows as X is cut as X is; one of another length is passed whole."""
    (X, y), (X_val, y_val) = data(0), data(1, n=n_val)
    seen = []

    class Spy(NeuronTuneClassifier):
        def fit(self, X, y, X_val=None, y_val=None):
            seen.append(len(X_val))
            return super().fit(X, y, X_val=X_val, y_val=y_val)

    grid = {"threshold": [0.0]}
    search = GridSearchCV(Spy(random_state=0), grid, cv=2, refit=False, error_score="raise")
    search.fit(X, y, X_val=X_val, y_val=y_val)
    assert seen == ([100, 100] if n_val == 200 else [60, 60])
