"""Conjunctions: the injected one is found, and a single condition is not told again as one."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import fisher_exact, hypergeom

from ntkit._key import conditions_in
from ntkit.attributes import columns
from ntkit.attributes.findings import AuditedPredictions
from ntkit.metrics.contrasts import _exact
from tests.attributes.findings.builders import findings_in, view_of

PAIR = "column:device=mobile and column:hour=night"


def conjunctions(feature_sets, predictions):
    return [one for one in findings_in(feature_sets, predictions).findings if one.conditions]


def predictions_of(y, chance, rng, n_classes=2):
    """Predictions that are wrong with a chance for each sample."""
    other = (y + rng.integers(1, n_classes, len(y))) % n_classes
    pred = np.where(rng.random(len(y)) < chance, other, y)
    return AuditedPredictions(np.arange(n_classes), y, pred, np.ones(len(y)))


def phones(seed, n=4000, n_classes=2, share=0.4):
    """Samples of class 0 are wrong if the device is mobile and the hour is night."""
    rng = np.random.default_rng(seed)
    device, hour = rng.integers(0, 3, n), rng.integers(0, 3, n)
    table = {
        "device": np.array(["mobile", "desktop", "tablet"])[device],
        "hour": np.array(["night", "day", "evening"])[hour],
        "age": rng.integers(18, 80, n),
        **{f"other {i}": rng.integers(0, 4, n).astype(str) for i in range(5)},
    }
    y = rng.integers(0, n_classes, n)
    chance = np.where((device == 0) & (hour == 0) & (y == 0), share, 0.06)
    return table, predictions_of(y, chance, rng, n_classes)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_injected_pair_is_a_finding_like_others(n_classes):
    table, p = phones(0, 8000, n_classes)
    found = findings_in([columns(table)], p)
    at = next(i for i, one in enumerate(found.findings) if one.conditions)
    one = found.findings[at]
    assert (one.name, one.conditions) == (PAIR, tuple(PAIR.split(" and ")))
    assert (one.feature_set, one.exact, one.values) == ("conjunction", True, ((PAIR,),))
    rows = (table["device"] == "mobile") & (table["hour"] == "night")
    assert (found.values[:, at] == rows).all()
    worst = one.worst
    assert (worst.name, worst.which, worst.n) == (0, True, (rows & (p.y_index == 0)).sum())
    assert worst.value == pytest.approx(1 - p.wrong[rows & (p.y_index == 0)].mean())
    assert 0 < one.p_value <= 0.05
    assert one.goes_with != 0
    assert "Neither condition alone explains this" in str(one)


def test_unknown_values_are_unknown():
    table, p = phones(0, 8000)
    rng = np.random.default_rng(1)
    table["hour"] = np.where(rng.random(8000) < 0.2, None, table["hour"])
    (one,) = conjunctions([columns(table)], p)
    mobile = table["device"] == "mobile"
    unknown = mobile & (table["hour"] == None)  # noqa: E711
    assert one.name == PAIR
    assert one.n_known == 8000 - unknown.sum()


def single(rng, n=1500):
    """Errors depend on condition 0; conditions 1 to 9 are correlated with it, the others not."""
    y = (rng.random(n) < 0.3).astype(int)
    latent = rng.normal(size=n)
    has = rng.random((n, 40)) < rng.uniform(0.02, 0.6, 40)
    has[:, :10] = 0.8 * latent[:, None] + 0.6 * rng.normal(size=(n, 10)) > rng.uniform(
        -0.5, 1.5, 10
    )
    has[:, 0] = latent > 1
    return y, has, np.where(has[:, 0], 0.4, 0.05)


def two_singles(rng, n=1500):
    """Both conditions add errors to samples of the other class, whether the other holds or not."""
    y = rng.integers(0, 2, n)
    has = rng.random((n, 40)) < rng.uniform(0.05, 0.6, 40)
    has[:, :2] = rng.random((n, 2)) < np.where(y == 1, 0.6, 0.4)[:, None]
    return y, has, 0.03 + 0.25 * (has[:, :2] == (y == 0)[:, None]).sum(axis=1)


def none(rng, n=1500):
    """Errors depend on nothing; the classes are unbalanced, and some conditions are rare."""
    y = (rng.random(n) < 0.1).astype(int)
    return y, rng.random((n, 60)) < rng.uniform(0.01, 0.6, 60), np.where(y == 1, 0.4, 0.05)


def thresholds(rng, n=1500):
    """Errors depend on one threshold of a number; two more numbers are correlated with it."""
    y, x = rng.integers(0, 2, n), rng.normal(size=(n, 8))
    x[:, 1:3] += np.array([1, -1]) * x[:, [0]]
    cuts = np.quantile(x, [0.1, 0.25, 0.5, 0.75, 0.9], axis=0)
    has = (x[:, None, :] >= cuts).reshape(n, -1)
    return y, has, np.where(has[:, 24], 0.35, 0.05)


@pytest.mark.parametrize("made", [single, two_singles, none, thresholds])
@pytest.mark.parametrize(("n", "most"), [(6, 1), pytest.param(300, 21, marks=pytest.mark.more)])
def test_without_a_conjunction_none_is_found(made, n, most):
    """At most 5 % of the draws: of 300, 15 are expected at most; 5 % of such tests show 22."""
    alarms = 0
    for seed in range(n):
        rng = np.random.default_rng(seed)
        y, has, chance = made(rng)
        alarms += bool(conjunctions([view_of(has)], predictions_of(y, chance, rng)))
    assert alarms <= most


def test_the_number_of_tests_does_not_depend_on_the_errors():
    counts = set()
    for share in (0.1, 0.4):
        table, p = phones(0, 2000, share=share)
        n = len([name for block in columns(table).blocks() for name in block.names])
        counts.add(findings_in([columns(table)], p).n_conjunctions)
    (count,) = counts  # both classes may be predicted wrongly
    assert 20 < count <= n * (n - 1)


def test_of_many_conditions_at_most_twenty_pairs_are_tested_on_other_samples():
    y, _, chance = none(rng := np.random.default_rng(0))
    has = rng.random((len(y), 400)) < 0.3
    p = predictions_of(y, chance, rng)
    assert 0 < findings_in([view_of(has)], p).n_conjunctions <= 20


def test_few_samples_are_not_tested():
    table, p = phones(0, 60)
    assert findings_in([columns(table)], p).n_conjunctions == 0


def test_neurons_are_no_conditions():
    rng = np.random.default_rng(0)
    y, has, _ = none(rng)
    p = predictions_of(y, 0.3, rng)
    found = findings_in([view_of(has, kind="layer", exact=False)], p)
    assert found.n_conjunctions == 0


def test_the_p_value_is_fishers_and_its_sum_over_classes():
    one = _exact(*(np.array([v]) for v in (9.0, 20.0, 12.0, 90.0)))
    table = [[9, 11], [12, 78]]
    assert one == pytest.approx(fisher_exact(table, alternative="greater").pvalue)
    errors, n, others, n_others = np.array([[4, 3], [12, 9], [5, 1], [40, 30]], dtype=float)
    law = [
        hypergeom(int(a + b), int(e + o), int(a))
        for e, a, o, b in zip(errors, n, others, n_others, strict=True)
    ]
    exact = sum(
        law[0].pmf(i) * law[1].pmf(j) for i, j in product(range(13), range(10)) if i + j >= 7
    )
    assert _exact(errors, n, others, n_others) == pytest.approx(exact)


def test_a_name_splits_where_both_parts_are_attributes():
    assert conditions_in("word:rock and roll") == []
    assert conditions_in(PAIR) == [tuple(PAIR.split(" and "))]
    (pair,) = conditions_in("column:music=rock and roll and column:age>=40")
    assert pair == ("column:music=rock and roll", "column:age>=40")
