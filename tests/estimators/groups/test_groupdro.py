"""GroupDROClassifier against an independent solution of the same convex problem."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ntkit.estimators import GroupDROClassifier
from tests.estimators.samples import grouped

data = partial(grouped, n=400, width=4)


def group_losses(head, X, y, groups):
    loss = -np.log(head.predict_proba(X)[np.arange(len(y)), y])
    return np.array([loss[groups == g].mean() for g in np.unique(groups)])


def objective(head, X, y, groups, C=1.0):
    ridge = (head.coef**2).sum() / (2 * C * len(y))
    return group_losses(head, X, y, groups).max() + ridge


def epigraph_optimum(X, y, groups, C):
    """Smallest t + ridge with every group's loss at most t, two classes, by SLSQP."""
    members = [groups == g for g in np.unique(groups)]
    sign = 2 * y - 1

    def losses(v):
        loss = np.logaddexp(0, -sign * (X @ v[:-2] + v[-2]))
        return np.array([loss[m].mean() for m in members])

    result = minimize(
        lambda v: v[-1] + (v[:-2] ** 2).sum() / (2 * C * len(y)),
        np.append(np.zeros(X.shape[1] + 1), 1.0),
        constraints={"type": "ineq", "fun": lambda v: v[-1] - losses(v)},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-10},
    )
    assert result.success
    return result.fun


@pytest.mark.parametrize(("seed", "C"), [(0, 1.0), (1, 0.01)])
def test_it_reaches_the_optimum_of_the_minimax_problem(seed, C):
    X, y, groups = data(seed)
    X = X - X.mean(axis=0)
    clf = GroupDROClassifier(eta=0.1, C=C, tol=1e-4).fit(X, y, groups=groups)
    optimum = epigraph_optimum(X, y, groups, C)
    assert -1e-6 < objective(clf.head_, X, y, groups, C) - optimum < 3e-4


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
@settings(max_examples=5, deadline=None)
def test_the_worst_group_is_better_off_than_under_erm(seed, n_classes):
    X, y, groups = data(seed, n_classes=n_classes)
    clf = GroupDROClassifier(eta=0.1).fit(X, y, groups=groups)
    losses = group_losses(clf.head_, X, y, groups)
    assert np.allclose(clf.group_losses_, losses)
    erm = group_losses(clf.erm_head_, X, y, groups)
    assert losses.max() <= erm.max() + 1e-3
    assert objective(clf.head_, X, y, groups) <= objective(clf.erm_head_, X, y, groups)
    assert clf.group_weights_.sum() == pytest.approx(1)
    assert (clf.group_weights_ >= 0).all()


def test_the_published_step_gets_to_the_same_place():
    X, y, groups = data(5)
    published = GroupDROClassifier().fit(X, y, groups=groups)
    larger = GroupDROClassifier(eta=0.2).fit(X, y, groups=groups)
    assert published.n_iter_ > 5 * larger.n_iter_
    assert published.group_losses_.max() == pytest.approx(larger.group_losses_.max(), abs=3e-3)
    erm = group_losses(published.erm_head_, X, y, groups)
    assert published.group_losses_.max() < 0.8 * erm.max()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_with_one_group_it_is_erm(n_classes):
    X, y, _ = data(n_classes=n_classes)
    clf = GroupDROClassifier(C=0.3).fit(X, y, groups=np.zeros(len(y)))
    erm = LogisticRegression(C=0.3, tol=1e-10, max_iter=10_000).fit(X, y)
    assert np.allclose(clf.predict_proba(X), erm.predict_proba(X), atol=1e-4)
    assert clf.group_weights_.tolist() == [1.0]


def test_more_neurons_than_samples():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 100)).astype(np.float32), np.arange(40) % 3
    clf = GroupDROClassifier(eta=0.1, C=0.1).fit(X, y, groups=y)
    assert (clf.predict(X) == y).all()


def test_too_few_steps_are_told_and_never_harm():
    X, y, groups = data()
    clf = GroupDROClassifier(max_iter=20)
    with pytest.warns(ConvergenceWarning, match="raise eta or max_iter"):
        clf.fit(X, y, groups=groups)
    assert clf.n_iter_.tolist() == [20]
    assert objective(clf.head_, X, y, groups) <= objective(clf.erm_head_, X, y, groups)
