"""Partial groups through scikit-learn's metadata routing: pipelines, searches, scorers."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit.estimators import DFRClassifier, GroupDROClassifier, GroupInference
from ntkit.exceptions import InputError
from ntkit.metrics import (
    adjusted_accuracy,
    get_scorer,
    worst_group_accuracy,
    worst_group_scorer,
)

QUICK = GroupInference(penalties=[("l2", 0.1)], cv=2, random_state=0)
CV = StratifiedKFold(2)
OFF = {"groups": False, "attribute": False, "feature_sets": False, "sample_weight": False}
CLASSIFIERS = {
    "DFR": (DFRClassifier(variant="weighted", group_inference=QUICK), "C", (1e-4, 1.0)),
    "DFR, published": (
        DFRClassifier(Cs=[0.1], n_retrains=2, group_inference=QUICK, random_state=0),
        "n_retrains",
        (1, 2),
    ),
    "Group DRO": (GroupDROClassifier(C=0.01, tol=0.05, group_inference=QUICK), "eta", (0.1, 1.0)),
}


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def data(n=300, n_known=90):
    """A mark that a third of the samples are known to have or not to have."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    mark = np.where(rng.random(n) < 0.8, y, 1 - y)
    X = rng.normal(size=(n, 4))
    X[:, 0] += 1.5 * y
    X[:, 1] += 4 * mark
    known = rng.permutation(n) < n_known
    return X, y, np.where(known, mark, -1), np.where(known, 2 * y + mark, -1)


def by_hand(pipe, X, y, labels, groups, score):
    """A score of the fold that is left out, by the samples of it whose group is known."""
    found = []
    for train, test in CV.split(X, y):
        scaled = StandardScaler().fit(X[train])
        clf = clone(pipe[-1])
        given = {name: values[train] for name, values in labels.items()}
        clf.fit(scaled.transform(X[train]), y[train], **given)
        pred, known = clf.predict(scaled.transform(X[test])), groups[test] >= 0
        found.append(score(y[test][known], pred[known], groups=groups[test][known]))
    return found


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("what", ["groups", "attribute"])
def test_a_search_over_a_pipeline(kind, what):
    X, y, mark, groups = data()
    clf, parameter, values = CLASSIFIERS[kind]
    labels = {what: groups if what == "groups" else mark}
    pipe = make_pipeline(StandardScaler(), clone(clf).set_fit_request(**(OFF | {what: True})))
    name = f"{type(clf).__name__.lower()}__{parameter}"
    search = GridSearchCV(
        pipe, {name: values}, scoring=worst_group_scorer(), cv=CV, error_score="raise"
    )
    search.fit(X, y, sensitive=groups, **labels)
    expected = [
        np.mean(
            by_hand(pipe.set_params(**{name: value}), X, y, labels, groups, worst_group_accuracy)
        )
        for value in values
    ]
    assert search.cv_results_["mean_test_score"] == pytest.approx(expected)
    chosen = search.best_estimator_[-1]
    assert chosen.group_inference_.n_known_ == (mark >= 0).sum()
    own = clone(chosen).fit(StandardScaler().fit_transform(X), y, **labels)
    assert np.array_equal(chosen.coef_, own.coef_)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_cross_validation_with_scorers_of_partial_groups(kind):
    X, y, mark, groups = data()
    clf = clone(CLASSIFIERS[kind][0]).set_fit_request(**(OFF | {"attribute": True}))
    pipe = make_pipeline(StandardScaler(), clf)
    unknown = np.where(groups < 0, None, groups.astype(str).astype(object))
    found = cross_validate(
        pipe,
        X,
        y,
        scoring={
            "worst": worst_group_scorer(name="of"),
            "adjusted": get_scorer("adjusted_accuracy"),
        },
        params={"attribute": mark, "sensitive": groups, "of": unknown},
        cv=CV,
        error_score="raise",
    )
    for name, score in (("worst", worst_group_accuracy), ("adjusted", adjusted_accuracy)):
        expected = by_hand(pipe, X, y, {"attribute": mark}, groups, score)
        assert found[f"test_{name}"] == pytest.approx(expected)


def test_views_are_cut_with_the_folds():
    """A matrix of the same rows predicts what the scaled embedding does not."""
    X, y, mark, groups = data()
    mute = np.column_stack([X[:, 0], np.random.default_rng(1).normal(size=(len(y), 2))])
    on = OFF | {"attribute": True, "feature_sets": True}
    for clf in (CLASSIFIERS["DFR"][0], CLASSIFIERS["Group DRO"][0]):
        pipe = make_pipeline(StandardScaler(), clone(clf).set_fit_request(**on))
        found = cross_validate(
            pipe,
            mute,
            y,
            scoring=worst_group_scorer(),
            params={"attribute": mark, "feature_sets": X[:, 1:2], "sensitive": groups},
            cv=CV,
            return_estimator=True,
            error_score="raise",
        )
        for fitted, (train, _) in zip(found["estimator"], CV.split(X, y), strict=True):
            inference = fitted[-1].group_inference_
            own = clone(QUICK).fit(X[train, 1:2], y[train], mark[train])
            assert np.array_equal(inference.transduction_, own.transduction_)


def test_what_is_not_routed_is_named():
    X, y, mark, groups = data()
    pipe = make_pipeline(StandardScaler(), clone(CLASSIFIERS["DFR"][0]))
    with pytest.raises(Exception, match="attribute"):
        pipe.fit(X, y, attribute=mark)  # neither asked for nor declined
    declined = make_pipeline(StandardScaler(), clone(pipe[-1]).set_fit_request(**OFF))
    search = GridSearchCV(declined, {}, scoring=worst_group_scorer(), cv=CV, error_score="raise")
    with pytest.raises(InputError, match=r"needs group labels|pass groups"):
        search.fit(X, y, sensitive=groups)
