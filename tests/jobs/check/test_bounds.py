"""Bounds of paired differences and of shares: they keep their level at any number of samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial, norm

from ntkit.jobs.check._judge import enough_for_drop, enough_for_separate_drop, enough_for_share
from ntkit.metrics.bounds import below, drop_bounds, separate_drop_bounds, share_bounds


def chance_of_saying_below(n, drop, gained, level):
    """That ``below`` is said where the drop is exactly the one asked about; by enumeration."""
    lost = gained + drop
    counts = [(b, c, n - b - c) for b in range(n + 1) for c in range(n + 1 - b)]
    said = [c for c in counts if below(c[0], c[1], n, drop, level)]
    if not said:
        return 0.0
    shares = [lost, gained, max(0.0, 1 - lost - gained)]
    return multinomial.pmf(said, n, shares).sum()


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 10),
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
    for n in (1, 2, 7, 40, 149, 150, 151):  # the rule of three, at the level that is not spent
        assert below(0, 0, n, 0.02, 0.05) == (0.98**n + 0.001 <= 0.05)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 100), st.data())
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


def bounds_of(n, level):
    return np.array(
        [share_bounds(k, n, lower_level=level, upper_level=level) for k in range(n + 1)]
    )


@settings(max_examples=30)
@given(st.integers(0, 30), st.floats(0.001, 0.999), st.sampled_from([0.05, 0.004]))
def test_bounds_of_shares_keep_their_level(n, share, level):
    bounds, chances = bounds_of(n, level), binom.pmf(np.arange(n + 1), n, share)
    assert chances[bounds[:, 0] > share].sum() <= level + 1e-9
    assert chances[bounds[:, 1] < share].sum() <= level + 1e-9


# -- how many would do --------------------------------------------------------------------------


def shares_decided(lost, gained, limit):
    """How often so many samples decide about a drop, and half as many."""
    n = enough_for_drop(lost, gained, limit, good_level=0.05, bad_level=0.004)
    for seed, (size, draws) in enumerate([(n, 400), (n // 2, 200)]):
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(size, [lost, gained, 1 - lost - gained], size=draws).tolist()
        if lost - gained < limit:
            yield np.mean([below(b, c, size, limit, 0.05) for b, c, _ in counts])
        else:
            yield np.mean([below(c, b, size, -limit, 0.004) for b, c, _ in counts])


SLOW = [(0.03, 0.05, 0.02), (0.1, 0.09, 0.05), (0.06, 0.01, 0.02), (0.005, 0.001, 0.01)]


@pytest.mark.parametrize(
    ("lost", "gained", "limit"),
    [(0, 0, 0.02), (0.01, 0, 0.02), (0.2, 0, 0.02), (0, 0.05, 0.02), (0.2, 0.02, 0.05),
     *[pytest.param(*each, marks=pytest.mark.more) for each in SLOW]],
)  # fmt: skip
def test_so_many_samples_decide_about_a_drop_four_times_out_of_five(lost, gained, limit):
    enough, half = shares_decided(lost, gained, limit)
    assert enough >= 0.8 - 3 * np.sqrt(0.8 * 0.2 / 400)
    assert half < 0.8  # it does not ask for twice as many as it takes


@pytest.mark.parametrize("least", [True, False])
@pytest.mark.parametrize(
    ("share", "limit"), [(1, 0.7), (0.9, 0.7), (0.6, 0.7), (0.2, 0.7), (0, 0.01), (0.03, 0.01)]
)
def test_so_many_samples_decide_about_a_share_four_times_out_of_five(share, limit, least):
    n = enough_for_share(share, limit, least=least, good_level=0.05, bad_level=0.004)
    bounds = bounds_of(n, 0.05 if (share > limit) == least else 0.004)
    decided = bounds[:, 0] >= limit if share > limit else bounds[:, 1] <= limit
    assert binom.pmf(np.arange(n + 1), n, share)[decided].sum() >= 0.8 - 1e-9


@pytest.mark.parametrize(
    ("before", "after", "ratio", "limit"),
    [
        (1, 1, 1, 0.02),
        (0.9, 0.9, 1, 0.1),
        (0.8, 0.5, 0.5, 0.1),
        (0.6, 0.8, 3, 0.05),
        (1, 0.9, 1, 0),
    ],
)
def test_so_many_samples_decide_about_separate_shares_four_times_out_of_five(
    before, after, ratio, limit
):
    """Whether the two counts are independent, or go up together, or one up and the other down."""
    levels = {"good_level": 0.05, "bad_level": 0.004}
    n = enough_for_separate_drop(before, after, ratio, limit, **levels)
    old = round(n * ratio)
    u = (np.arange(2000) + 0.5) / 2000
    k_old = binom.ppf(u, old, before).astype(int)
    for other in (np.random.default_rng(0).permutation(u), u, u[::-1]):
        counts = zip(k_old.tolist(), binom.ppf(other, n, after).astype(int).tolist(), strict=True)
        bounds = [separate_drop_bounds((a, old), (b, n), upper_level=0.05, lower_level=0.004)
                  for a, b in counts]  # fmt: skip
        passes = before - after < limit
        assert np.mean([high <= limit if passes else low > limit for low, high in bounds]) >= 0.799


def test_at_the_limit_no_number_decides():
    assert enough_for_separate_drop(0.75, 0.5, 1, 0.25, good_level=0.05, bad_level=0.05) is None
    assert enough_for_drop(0.03, 0.01, 0.02, good_level=0.05, bad_level=0.05) is None
    assert enough_for_share(0.7, 0.7, least=True, good_level=0.05, bad_level=0.05) is None
    assert enough_for_share(0.0, 0.0, least=False, good_level=0.05, bad_level=0.05) is None
