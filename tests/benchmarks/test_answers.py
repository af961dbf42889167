"""SSA and GSR of the benchmark: the formulas of their papers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from gsr import CLASSES, gsr, influences, target_gradient
from ntkit.metrics import worst_group_accuracy
from ntkit.solver.fit_head import fit_linear_head
from ssa import LEAST_CONFIDENCE, confident, halves, ssa


def data(seed=0, n=400, share=0.93):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < share, y, 1 - y)
    return np.column_stack([1.5 * y, 4 * a]) + rng.normal(size=(n, 2)), y, a


def test_an_influence_is_what_a_sample_more_does_to_the_target_loss():
    X, y, a = data(n=120)
    target, y_target, groups = X[:40], y[:40], 2 * y[:40] + a[:40]
    X, y = X[40:], y[40:]
    alpha, weight = 0.1, np.full(80, 1 / 80)
    names = np.unique(groups)
    share = np.arange(1, len(names) + 1) / sum(range(1, len(names) + 1))

    def fitted(weight):
        # The objective is the weighted sum, so C is one over the penalty.
        return fit_linear_head(X, y, weight, classes=CLASSES, C=1 / alpha, tol=1e-12)

    def loss(head):
        p = expit(head.decision_function(target))
        each = -np.log(np.where(y_target == 1, p, 1 - p))
        return sum(s * each[groups == g].mean() for g, s in zip(names, share, strict=True))

    head = fitted(weight)
    found = influences(head, X, y, weight, alpha) @ target_gradient(
        head, target, y_target, groups, names, share
    )
    for i in (0, 7, 33):
        step = np.zeros(80)
        step[i] = 1e-4
        slope = (loss(fitted(weight + step)) - loss(fitted(weight - step))) / 2e-4
        assert slope == pytest.approx(-found[i], rel=1e-3, abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_no_group_has_more_confident_samples_than_the_smallest(seed):
    rng = np.random.default_rng(seed)
    groups, confidence = rng.integers(0, 4, 200), 1 - rng.random(200) ** 2 / 2
    labelled = np.concatenate([np.arange(4), rng.integers(0, 4, 20)])
    taken = confident(groups, confidence, labelled)
    assert (confidence[taken] >= LEAST_CONFIDENCE).all()
    own = np.bincount(labelled, minlength=4)
    sure = np.bincount(groups[confidence >= LEAST_CONFIDENCE], minlength=4)
    smallest = (own + sure).min()
    total = own + np.bincount(groups[taken], minlength=4)
    assert (total <= np.maximum(smallest, own)).all()


def test_halves_hold_every_group():
    groups = np.repeat([0, 1, 2, 3], 6)
    first, second = halves(groups, np.arange(24), np.random.default_rng(0))
    assert np.bincount(groups[first]).tolist() == np.bincount(groups[second]).tolist()
    assert not set(first) & set(second)


def test_both_find_what_the_groups_tell():
    X, y, a = data()
    X_test, y_test, a_test = data(seed=1, n=2000, share=0.5)
    known = np.zeros(len(y), dtype=bool)
    for g in range(4):
        known[np.flatnonzero(2 * y + a == g)[:12]] = True
    erm = fit_linear_head(X, y, np.ones(len(y)), classes=CLASSES, C=1.0)

    def worst(head):
        return worst_group_accuracy(y_test, head.predict(X_test), groups=2 * y_test + a_test)

    assert worst(ssa(X, y, known, a, X, 0)) > worst(erm) + 0.1
    assert worst(gsr(X, y, known, 2 * y + a, 0)) > worst(erm) + 0.1
