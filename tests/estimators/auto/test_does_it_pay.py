"""Balancing over an attribute pays if its groups gain: by plain rates, and by their errors."""

import numpy as np
import pytest

from ntkit.estimators.auto._does_it_pay import payment
from ntkit.study import Outcome


def outcome(right):
    return Outcome(np.where(right, 1.0, -1.0), ~np.asarray(right))


def rates(groups, right):
    return float(np.mean([right[groups == g].mean() for g in np.unique(groups[groups >= 0])]))


@pytest.mark.parametrize("seed", range(3))
def test_groups_count_alike_and_weights_are_repetitions(seed):
    rng = np.random.default_rng(seed)
    groups = rng.choice([-1, 0, 1, 2, 3], 500, p=[0.1, 0.5, 0.05, 0.05, 0.3])
    was, now, times = rng.random(500) < 0.6, rng.random(500) < 0.7, rng.integers(0, 4, 500)
    paid = payment(groups, np.ones(500), outcome(was), outcome(now))
    assert paid.before == pytest.approx(rates(groups, was))
    assert paid.after == pytest.approx(rates(groups, now))
    assert paid.low < paid.after - paid.before
    weighted = payment(groups, times.astype(float), outcome(was), outcome(now))
    rows = np.repeat(np.arange(500), times)
    assert weighted.before == pytest.approx(rates(groups[rows], was[rows]))
    assert weighted.after == pytest.approx(rates(groups[rows], now[rows]))


def test_what_only_errs_elsewhere_does_not_pay():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2, 3], [900, 60, 60, 900])
    paying = 0
    for _ in range(400):
        was, now = rng.random((2, len(groups))) < 0.6
        paying += payment(groups, np.ones(len(groups)), outcome(was), outcome(now)).low > 0
    assert paying <= 30  # 20 are expected of 400; 30 or fewer in 99 % of such trials
    better = rng.random(len(groups)) < np.where(np.isin(groups, [1, 2]), 0.9, 0.6)
    assert payment(groups, np.ones(len(groups)), outcome(was), outcome(better)).low > 0
