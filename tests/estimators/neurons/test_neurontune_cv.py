"""NeuronTuneClassifierCV gives the choice and the head of GridSearchCV over the same grid."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from ntkit import LinearHead, NeuronTuneClassifier, NeuronTuneClassifierCV
from ntkit.scorers import get_scorer
from tests.estimators.samples import labelled

data = partial(labelled, n=300, width=12, relu=True)

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")


@pytest.mark.more
@pytest.mark.parametrize("solver", ["optimum", "sgd"])
def test_same_choice_and_head_as_grid_search(solver):
    scoring = "worst_class_correctness_group_accuracy"
    X, y = data(n_classes=3)
    thresholds = [0.0, 0.5, float("inf")]
    shared = {"solver": solver, "random_state": 0}
    search = GridSearchCV(
        NeuronTuneClassifier(**shared, max_cost=None),
        {"threshold": thresholds},
        cv=3,
        scoring=get_scorer(scoring),
    ).fit(X, y)
    clf = NeuronTuneClassifierCV(thresholds, cv=3, scoring=scoring, **shared).fit(X, y)
    theirs = np.column_stack([search.cv_results_[f"split{i}_test_score"] for i in range(3)])
    assert np.array_equal(clf.scores_, theirs)
    assert clf.threshold_ == search.best_params_["threshold"]
    assert np.array_equal(clf.coef_, search.best_estimator_.coef_)
    assert clf.best_params_ == search.best_params_
    assert clf.best_score_ == search.best_score_
    theirs = {k: v for k, v in search.cv_results_.items() if not k.endswith("_time")}
    assert [*clf.cv_results_] == [*theirs]
    for name, values in theirs.items():
        ours = clf.cv_results_[name]
        assert np.array_equal(ours, values)
        assert type(ours) is type(values)
        assert np.asarray(ours).dtype == np.asarray(values).dtype
    assert len(pd.DataFrame(clf.cv_results_)) == len(thresholds)


def test_splitters_threads_and_names():
    X, y = data(1)
    clf = NeuronTuneClassifierCV(
        [0.0, 0.5],
        cv=StratifiedKFold(3, shuffle=True, random_state=1),
        random_state=0,
        n_jobs=2,
    ).fit(pd.DataFrame(X, columns=[*"abcdefghijkl"]), y)
    assert clf.best_estimator_.feature_names_in_.tolist() == [*"abcdefghijkl"]
    assert clf.scores_.shape == (2, 3)
    assert clf.best_score_ == pytest.approx(clf.scores_.mean(axis=1).max())
    assert np.array_equal(clf.suppressed_, clf.best_estimator_.suppressed_)


@pytest.mark.more
def test_identification_set_and_given_head():
    X, y = data(2, n=600)
    X, X_val, y, y_val = X[:400], X[400:], y[:400], y[400:]
    head = LinearHead(np.random.default_rng(0).normal(size=(1, 12)), [0.0], [0, 1])
    clf = NeuronTuneClassifierCV([0.0, 0.3, 0.6], head=head, random_state=0)
    clf.fit(X, y, X_val=X_val, y_val=y_val)
    again = NeuronTuneClassifier(clf.threshold_, max_cost=None, head=head, random_state=0).fit(
        X, y, X_val=X_val, y_val=y_val
    )
    assert np.array_equal(clf.coef_, again.coef_)
