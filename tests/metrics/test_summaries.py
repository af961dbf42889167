"""Summaries of rows: identities, and levels that are sums over all outcomes."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from ntkit.exceptions import InputError
from ntkit.metrics import Row, compare, mean_of_rows, unrelated_shares, worst_of_rows
from ntkit.metrics.rows import ClassRate

N = 6
LEVEL = 0.05
SHARES = (0.3, 0.7)
RATES = (*np.linspace(0.02, 0.98, 33), 1.0)
CHANGES = ((0.0, 0.0), (0.1, 0.0), (0.3, 0.1), (0.5, 0.0), (0.2, 0.3), (0.6, 0.4), (0.0, 0.15))


def group(n, right, lost=None, gained=None, name="a", row=Row, **more):
    return row("group", name, n, right, lost, gained, **more)


def two_models(*counts):
    """Rows with (n, right, lost, gained)."""
    return [group(*each, name=str(i)) for i, each in enumerate(counts)]


# -- identities --------------------------------------------------------------------------------


def test_equal_shares_are_the_mean():
    rows = two_models((20, 15, 1, 3), (10, 9, 0, 2), (5, 5, 0, 0))
    mean = mean_of_rows(rows)
    assert mean.value == pytest.approx(np.mean([row.value for row in rows]))
    assert mean.before == pytest.approx(np.mean([row.before for row in rows]))
    assert mean.change == pytest.approx(mean.value - mean.before)
    assert (mean.kind, mean.n, mean.right, mean.lost, mean.gained) == ("summary", 35, 29, 1, 5)
    same = mean_of_rows(rows, [7, 7, 7])
    assert (same.interval, same.change_interval) == (mean.interval, mean.change_interval)


def test_shares_may_be_numbers_of_samples():
    rows = two_models((20, 15, 1, 3), (10, 9, 0, 2))
    some = mean_of_rows(rows, [30, 10])
    assert some.value == pytest.approx(0.75 * 15 / 20 + 0.25 * 9 / 10)
    assert some == mean_of_rows(rows, [0.75, 0.25])


@pytest.mark.parametrize("summary", [mean_of_rows, worst_of_rows])
def test_the_summary_of_one_group_has_its_exact_bounds(summary):
    (row,) = rows = two_models((20, 15, 1, 4))
    found = summary(rows)
    exact = binomtest(15, 20).proportion_ci(0.95, method="exact")
    assert found.interval == pytest.approx((exact.low, exact.high))
    low, high = row.drop_bounds(upper_level=0.025, lower_level=0.025)
    assert found.change_interval == pytest.approx((-high, -low))
    assert (found.value, found.before) == pytest.approx((row.value, row.before))
    assert found.change == pytest.approx(row.change)


def test_shares_like_the_samples_are_one_binomial():
    mean = mean_of_rows([group(10, 8), group(30, 26)], [10, 30])
    exact = binomtest(34, 40).proportion_ci(0.95, method="exact")
    assert mean.interval == pytest.approx((exact.low, exact.high))


def test_all_right_has_the_bound_of_the_likeliest_accuracies():
    # (1 - q)^5 (1 - r)^20 = level, at the least favourable q and r of half of the samples each.
    mean = mean_of_rows([group(5, 5), group(20, 20)])
    q = np.linspace(0, 1 - 0.025 ** (1 / 5), 2001)
    r = 1 - (0.025 / (1 - q) ** 5) ** (1 / 20)
    assert mean.interval[0] == pytest.approx(1 - (q + r).max() / 2, abs=3e-3)
    assert mean.interval[0] <= 1 - (q + r).max() / 2
    assert mean.interval[1] == 1


def test_a_group_without_samples():
    rows = two_models((20, 15, 1, 3), (0, 0, 0, 0))
    assert mean_of_rows(rows).interval == mean_of_rows(rows[:1]).interval
    assert worst_of_rows(rows).interval == worst_of_rows(rows[:1]).interval
    known, unknown = mean_of_rows(rows[:1]), mean_of_rows(rows, [0.8, 0.2])
    assert unknown.value == pytest.approx(known.value)
    low, high = known.interval
    assert unknown.interval == pytest.approx((0.8 * low, 0.8 * high + 0.2))
    low, high = known.change_interval
    assert unknown.change_interval == pytest.approx((0.8 * low - 0.2, 0.8 * high + 0.2))


@pytest.mark.parametrize("summary", [mean_of_rows, worst_of_rows])
def test_no_group_has_samples(summary):
    found = summary(two_models((0, 0, 0, 0), (0, 0, 0, 0)))
    assert np.isnan(found.value)
    assert found.interval == (0, 1)
    assert found.change_interval == (-1, 1)


def test_a_table_of_class_and_value_with_a_missing_cell():
    shares = unrelated_shares([60, 40], [30, 70])
    assert shares == pytest.approx(np.array([[0.18, 0.42], [0.12, 0.28]]))
    rows = [group(50, 45), group(10, 6), group(0, 0), group(40, 38)]
    mean = mean_of_rows(rows, shares.ravel(), name="if class and value were unrelated")
    assert mean.title == "if class and value were unrelated"
    known = 0.18 * 0.9 + 0.42 * 0.6 + 0.28 * 0.95
    assert mean.value == pytest.approx(known / 0.88)
    assert mean.interval[0] < known < known + 0.12 < mean.interval[1]


def test_the_worst_may_be_two_groups():
    worst = worst_of_rows(two_models((20, 18, 0, 10), (20, 15, 3, 0)))
    assert (worst.before, worst.value) == (0.4, 0.75)
    assert worst.change == pytest.approx(0.35)
    low, high = worst.change_interval
    assert low < worst.change < high


def test_rates_of_errors_are_not_those_of_rights():
    rows = [
        group(20, 19, 0, 1, row=ClassRate, rate="false positive rate", of_class="cat"),
        group(10, 7, 1, 0, row=ClassRate, rate="false positive rate", of_class="cat"),
    ]
    as_rights = [group(20, 19, 0, 1), group(10, 7, 1, 0)]
    for summary in (mean_of_rows, worst_of_rows):
        errors, rights = summary(rows), summary(as_rights)
        assert errors.value == pytest.approx(1 - rights.value)
        assert errors.interval == pytest.approx(tuple(1 - x for x in rights.interval[::-1]))
        assert errors.change == pytest.approx(rights.change)
        assert errors.change_interval == rights.change_interval


def test_one_model_has_no_change():
    rng = np.random.default_rng(0)
    right, inside = rng.random(50) < 0.8, np.arange(50) < 20
    rows = compare([right], [("group", "a", inside), ("group", "b", ~inside)])
    for found in (mean_of_rows(rows), worst_of_rows(rows)):
        assert found.before is found.change is found.change_interval is None
        assert found.interval[0] < found.value < found.interval[1]


# -- properties --------------------------------------------------------------------------------


@pytest.mark.parametrize("summary", [mean_of_rows, worst_of_rows])
def test_the_change_may_be_0_if_nothing_changed(summary):
    low, high = summary(two_models((20, 18, 0, 0), (5, 5, 0, 0), (30, 12, 0, 0))).change_interval
    assert low < 0 < high


def test_more_right_samples_raise_both_bounds():
    bounds = [mean_of_rows([group(10, right), group(30, 20)], SHARES).interval
              for right in range(11)]  # fmt: skip
    assert (np.diff(bounds, axis=0) >= -1e-3).all()
    assert (np.diff(bounds, axis=0).sum(axis=0) > 0.1).all()


def test_more_lost_samples_lower_both_bounds_of_the_change():
    bounds = [
        mean_of_rows(two_models((10, 10 - lost, lost, 0), (30, 20, 2, 1)), SHARES).change_interval
        for lost in range(11)
    ]
    assert (np.diff(bounds, axis=0) <= 1e-3).all()
    assert (np.diff(bounds, axis=0).sum(axis=0) < -0.1).all()


def test_a_higher_confidence_is_wider_and_many_samples_are_narrower():
    rows = [group(10, 8), group(30, 26)]
    (low, high), (lower, higher) = (mean_of_rows(rows, confidence=c).interval for c in (0.8, 0.99))
    assert lower < low < high < higher
    many = mean_of_rows([group(1000, 800), group(3000, 2600)]).interval
    assert np.ptp(many) < np.ptp(mean_of_rows(rows).interval) / 5


def test_many_groups_take_no_other_path_of_results():
    rows = [group(10 + i, 8 + i) for i in range(20)]
    mean = mean_of_rows(rows)
    sizes, rates = np.array([row.n for row in rows]), np.array([row.value for row in rows])
    half = 1.96 * np.sqrt((rates * (1 - rates) / sizes).sum()) / 20
    assert mean.value - 2 * half < mean.interval[0] < mean.value - 0.8 * half
    assert mean.value + 0.8 * half < mean.interval[1] < mean.value + 2 * half


# -- levels, as sums over all outcomes ---------------------------------------------------------


def errors_of_value(summary, truth):
    """Largest chance that a bound is on the wrong side of the true value: lower, and upper."""
    outcomes = list(product(range(N + 1), repeat=2))
    bounds = [summary([group(N, a), group(N, b)]).bounds(LEVEL, LEVEL) for a, b in outcomes]
    low, high = np.array(bounds).T
    worst = np.zeros(2)
    for rates in product(RATES, repeat=2):
        chances = np.prod(binom.pmf(outcomes, N, rates), axis=1)
        wrong = low > truth(rates) + 1e-9, high < truth(rates) - 1e-9
        worst = np.maximum(worst, [chances[each].sum() for each in wrong])
    return worst


@pytest.mark.more
def test_the_mean_holds_its_level():
    worst = errors_of_value(lambda rows: mean_of_rows(rows, SHARES), lambda p: np.dot(p, SHARES))
    assert (worst <= LEVEL).all()
    assert (worst > LEVEL / 4).all()


def test_the_worst_group_holds_its_level():
    worst = errors_of_value(worst_of_rows, min)
    assert (worst <= LEVEL).all()
    assert (worst > LEVEL / 4).all()


@pytest.mark.parametrize("shares", [(0.5, 0.5), SHARES])
def test_the_change_of_the_mean_holds_its_level(shares):
    changes = [(a, b) for a, b in product(range(N + 1), repeat=2) if a + b <= N]
    outcomes = list(product(changes, repeat=2))
    some = mean_of_rows(two_models((N, 0, 0, 0), (N, 0, 0, 0)), shares)
    bounds = np.array([
        mean_of_rows(two_models(*((N, gained, lost, gained) for lost, gained in each)), shares)
        .drop_bounds(upper_level=LEVEL, lower_level=LEVEL)
        for each in outcomes
    ])  # fmt: skip
    assert some.change == 0
    worst = np.zeros(2)
    for truths in product(CHANGES, repeat=2):
        each = [
            dict(zip(changes, multinomial.pmf(
                [(a, b, N - a - b) for a, b in changes], N, [lost, gained, 1 - lost - gained]
            ), strict=True))
            for lost, gained in truths
        ]  # fmt: skip
        chances = np.array([each[0][a] * each[1][b] for a, b in outcomes])
        drop = np.dot(shares, [lost - gained for lost, gained in truths])
        wrong = bounds[:, 0] > drop + 1e-9, bounds[:, 1] < drop - 1e-9
        worst = np.maximum(worst, [chances[one].sum() for one in wrong])
    assert (worst <= LEVEL).all()


def test_the_change_of_the_worst_group_holds_its_level():
    rng = np.random.default_rng(0)
    for rates in [((0.9, 0.9), (0.9, 0.5)), ((0.5, 0.5), (0.9, 0.5)), ((0.8, 0.9), (0.5, 0.9))]:
        (old, new), wrong = rates, np.zeros(2)
        for _ in range(200):
            draws = rng.random((2, 12))  # the same samples, so the models are alike
            before, after = (draws < np.array(p)[:, None] for p in (old, new))
            rows = two_models(*(
                (12, int(b.sum()), int((a & ~b).sum()), int((b & ~a).sum()))
                for a, b in zip(before, after, strict=True)
            ))  # fmt: skip
            low, high = worst_of_rows(rows).drop_bounds(upper_level=LEVEL, lower_level=LEVEL)
            wrong += [low > min(old) - min(new) + 1e-9, high < min(old) - min(new) - 1e-9]
        assert (wrong / 200 <= LEVEL).all()


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_of_rows([]), "at least one row"),
        (lambda: worst_of_rows([]), "at least one row"),
        (lambda: mean_of_rows([group(5, 4)], [1, 2]), "2 shares for 1 rows"),
        (lambda: mean_of_rows([group(5, 4)], [-1]), "not negative"),
        (lambda: mean_of_rows([group(5, 4)], [0]), "positive"),
        (lambda: mean_of_rows([group(5, 4)], [float("nan")]), "finite"),
        (lambda: unrelated_shares([1, -1], [1]), "not negative"),
        (lambda: mean_of_rows([group(5, 4), group(5, 4, 0, 0)]), "count the same"),
        (lambda: worst_of_rows([group(5, 4), Row("change", "blur", 5, 4)]), "count the same"),
        (lambda: mean_of_rows([mean_of_rows([group(5, 4)])]), "not of precision or summaries"),
        (
            lambda: mean_of_rows([group(5, 4, row=ClassRate, separate=(3, 4))]),
            "not of precision or summaries",
        ),
        (lambda: worst_of_rows([group(5, 4)], confidence=1), "between 0 and 1"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()
