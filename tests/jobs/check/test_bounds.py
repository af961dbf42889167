"""Bounds of paired differences and of shares: they keep their level at any number of samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial, norm

from ntkit.jobs.check._judge import enough_for_drop, enough_for_share
from ntkit.metrics import below, drop_bounds, share_bounds


def chance_of_saying_below(n, drop, gained, level):
    """That ``below`` is said where the drop is exactly the one asked about; by enumeration."""
    lost = gained + drop
    counts = [(b, c, n - b - c) for b in range(n + 1) for c in range(n + 1 - b)]
    said = [c for c in counts if below(c[0], c[1], n, drop, level)]
    if not said:
        return 0.0
    shares = [lost, gained, max(0.0, 1 - lost - gained)]
    return multinomial.pmf(said, n, shares).sum()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 14),
    drop=st.sampled_from([-0.3, -0.02, 0.0, 0.01, 0.02, 0.1, 0.3]),
    place=st.floats(0, 1),
    level=st.sampled_from([0.2, 0.05, 0.005]),
)
def test_the_level_is_kept_whatever_the_share_of_mended_samples(n, drop, place, level):
    least, most = max(0.0, -drop), (1 - drop) / 2
    gained = least + place**3 * (most - least)
    assert chance_of_saying_below(n, drop, gained, level) <= level + 1e-9


def test_it_is_said_at_all():
    """Twenty samples can show that the drop is small, at more than half of what is allowed."""
    assert chance_of_saying_below(20, 0.1, 0.05, 0.05) > 0.025


@pytest.mark.parametrize("n", [1, 2, 7, 40, 149, 150, 151])
def test_without_changes_it_is_the_rule_of_three(n):
    """So many samples without one that broke, at the level that is not spent on the interval."""
    assert below(0, 0, n, 0.02, 0.05) == (0.98**n + 0.001 <= 0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.data())
def test_bounds_hold_what_is_observed_and_mirror_each_other(n, data):
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    low, high = drop_bounds(lost, gained, n, upper_level=0.05, lower_level=0.01)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert low < high
    mirrored = drop_bounds(gained, lost, n, upper_level=0.01, lower_level=0.05)
    assert (-mirrored[1], -mirrored[0]) == (low, high)
    wider = drop_bounds(lost, gained, n, upper_level=0.01, lower_level=0.001)
    assert wider[0] <= low
    assert high <= wider[1]


def test_with_many_samples_it_is_the_normal_interval():
    n, lost, gained = 40_000, 2_400, 1_200
    change, deviation = (lost - gained) / n, np.sqrt((lost + gained) / n - 0.03**2) / np.sqrt(n)
    low, high = drop_bounds(lost, gained, n, upper_level=0.05, lower_level=0.05)
    z = norm.ppf(0.95)
    assert [low, high] == pytest.approx(
        [change - z * deviation, change + z * deviation], abs=0.03 * deviation + 1e-4
    )


@given(st.integers(0, 30), st.floats(0.001, 0.999), st.sampled_from([0.05, 0.004]))
def test_bounds_of_shares_keep_their_level(n, share, level):
    counts = np.arange(n + 1)
    bounds = np.array([share_bounds(k, n, lower_level=level, upper_level=level) for k in counts])
    chances = binom.pmf(counts, n, share)
    assert chances[bounds[:, 0] > share].sum() <= level + 1e-9
    assert chances[bounds[:, 1] < share].sum() <= level + 1e-9


# -- how many would do --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "gained", "limit"),
    [(0, 0, 0.02), (0.01, 0, 0.02), (0.03, 0.05, 0.02), (0.1, 0.09, 0.05), (0.06, 0.01, 0.02),
     (0.2, 0, 0.02), (0, 0.05, 0.02), (0.005, 0.001, 0.01)],
)  # fmt: skip
def test_so_many_samples_decide_about_a_drop_four_times_out_of_five(lost, gained, limit):
    n = enough_for_drop(lost, gained, limit, good_level=0.05, bad_level=0.004)
    draws = np.random.default_rng(0).multinomial(n, [lost, gained, 1 - lost - gained], size=400)
    if lost - gained < limit:
        decided = [below(b, c, n, limit, 0.05) for b, c, _ in draws.tolist()]
    else:
        decided = [below(c, b, n, -limit, 0.004) for b, c, _ in draws.tolist()]
    assert np.mean(decided) >= 0.8 - 3 * np.sqrt(0.8 * 0.2 / 400)
    fewer = np.random.default_rng(1).multinomial(
        n // 2, [lost, gained, 1 - lost - gained], size=200
    )
    if lost - gained < limit:
        decided = [below(b, c, n // 2, limit, 0.05) for b, c, _ in fewer.tolist()]
    else:
        decided = [below(c, b, n // 2, -limit, 0.004) for b, c, _ in fewer.tolist()]
    assert np.mean(decided) < 0.8  # it does not ask for twice as many as it takes


@pytest.mark.parametrize("least", [True, False])
@pytest.mark.parametrize(
    ("share", "limit"), [(1, 0.7), (0.9, 0.7), (0.6, 0.7), (0.2, 0.7), (0, 0.01), (0.03, 0.01)]
)
def test_so_many_samples_decide_about_a_share_four_times_out_of_five(share, limit, least):
    n = enough_for_share(share, limit, least=least, good_level=0.05, bad_level=0.004)
    level = 0.05 if (share > limit) == least else 0.004
    counts = np.arange(n + 1)
    bounds = np.array([share_bounds(k, n, lower_level=level, upper_level=level) for k in counts])
    decided = bounds[:, 0] >= limit if share > limit else bounds[:, 1] <= limit
    assert binom.pmf(counts, n, share)[decided].sum() >= 0.8 - 1e-9


def test_at_the_limit_no_number_decides():
    assert enough_for_drop(0.03, 0.01, 0.02, good_level=0.05, bad_level=0.05) is None
    assert enough_for_share(0.7, 0.7, least=True, good_level=0.05, bad_level=0.05) is None
    assert enough_for_share(0.0, 0.0, least=False, good_level=0.05, bad_level=0.05) is None
