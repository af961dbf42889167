"""A shortcut's errors or noise: error recovery rate, weights of groups, penalties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.study import (
    LEAST_ERRORS,
    MOST_WEIGHT,
    CellsTried,
    Outcome,
    checked_alphas,
    correctness_balanced,
    correctness_groups,
    error_recovery_rate,
)


def outcome(margin):
    return Outcome(np.asarray(margin, dtype=float), np.asarray(margin) < 0)


def sample(seed, n=2000, share_wrong=0.1):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    size = rng.exponential(1, n)
    wrong = rng.random(n) < share_wrong
    return rng, y, np.where(wrong, -size, size), np.ones(n)


def test_errors_all_mended_and_nothing_broken_is_one():
    _, y, margin, ones = sample(0)
    learned = error_recovery_rate(y, outcome(margin), outcome(np.abs(margin)), ones)
    assert learned.share == 1
    assert 0.9 < learned.low < 1


@given(st.integers(0, 10**6), st.floats(0.1, 3))
@settings(max_examples=30)
def test_a_head_that_is_shaken_or_turned_learns_nothing(seed, noise):
    """Samples change sides by their distance from the boundary alone."""
    rng, y, margin, ones = sample(seed)
    shaken = outcome(margin + noise * rng.normal(size=len(y)))
    assert error_recovery_rate(y, outcome(margin), shaken, ones).low < 0.05
    turned = outcome(-margin)
    assert abs(error_recovery_rate(y, outcome(margin), turned, ones).share) < 1e-9


def test_unmatched_counts_all_that_was_right():
    _, y, margin, ones = sample(1)
    after = outcome(np.where(margin < 0, 1.0, margin - 0.1))
    given_up = np.mean([(after.wrong & (margin > 0))[y == k].sum() / ((margin > 0)[y == k].sum())
                        for k in (0, 1)])  # fmt: skip
    learned = error_recovery_rate(y, outcome(margin), after, ones, matched=False)
    assert learned.share == pytest.approx(1 - given_up)


def test_unmatched_many_classes_of_few_errors_are_looked_at_together():
    y = np.arange(2000) % 20
    margin = np.where(np.arange(2000) < 100, -1.0, 1.0)  # five errors of each class
    half = np.where(np.arange(2000) < 50, 1.0, margin)
    assert np.isnan(error_recovery_rate(y, outcome(margin), outcome(half), np.ones(2000)).share)
    learned = error_recovery_rate(y, outcome(margin), outcome(half), np.ones(2000), matched=False)
    assert learned.share == pytest.approx(0.5)
    none = error_recovery_rate(y, outcome(half + 3), outcome(half), np.ones(2000), matched=False)
    assert np.isnan(none.share)


def test_too_few_errors_say_nothing():
    margin = np.ones(1000)
    y = np.arange(1000) % 2
    margin[:: 1000 // (2 * LEAST_ERRORS - 4)] = -1
    margin[: 2 * LEAST_ERRORS][y[: 2 * LEAST_ERRORS] == 0] = -1  # enough in one class only
    learned = error_recovery_rate(y, outcome(margin), outcome(np.abs(margin)), np.ones(1000))
    assert np.isnan(learned.share)
    assert np.isnan(learned.low)
    assert not CellsTried(learned.low, learned.low).worth_it
    assert not CellsTried(0.5, learned.low).worth_it


@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
@settings(max_examples=20)
def test_the_scale_of_weights_does_not_matter(seed, scale):
    rng, y, margin, _ = sample(seed, n=600)
    weight = rng.integers(0, 4, 600).astype(float)
    after = outcome(margin + rng.normal(size=600))
    one = error_recovery_rate(y, outcome(margin), after, weight)
    other = error_recovery_rate(y, outcome(margin), after, scale * weight)
    assert one.share == pytest.approx(other.share, nan_ok=True)
    assert one.low == pytest.approx(other.low, nan_ok=True)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(0, 5)), min_size=1, max_size=200)
)
def test_balanced_cells_keep_class_totals_and_cap_what_a_sample_counts(rows):
    y, wrong, weight = (np.array(column) for column in zip(*rows, strict=True))
    balanced = correctness_balanced(weight, y, wrong)
    cells = correctness_groups(y, wrong, weight)
    for k in np.unique(y):
        assert balanced[y == k].sum() == pytest.approx(weight[y == k].sum())
        sizes = [((y == k) & (wrong == side) & (weight > 0)).sum() for side in (False, True)]
        if min(sizes) < LEAST_ERRORS:  # a handful of wrong labels moves nothing
            assert np.allclose(balanced[y == k], weight[y == k])
            assert len(np.unique(cells[(y == k)])) == 1
    assert (balanced <= MOST_WEIGHT * weight * (1 + 1e-9) + 1e-12).all()


def test_one_error_does_not_carry_half_of_its_class():
    y, wrong = np.repeat([0, 1], 1000), np.zeros(2000, dtype=bool)
    wrong[0] = True
    assert np.array_equal(correctness_balanced(np.ones(2000), y, wrong), np.ones(2000))


@pytest.mark.parametrize("alphas", [(), (0.1, -1), (0.0,), (np.inf,), (np.nan,), "many", None])
def test_penalties_must_be_positive_numbers(alphas):
    with pytest.raises(ValueError, match="alphas must be positive"):
        checked_alphas(alphas)
