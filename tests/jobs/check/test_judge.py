"""Whole checks: how often they are wrong, and that few samples never pass."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ntkit.exceptions import InputError
from ntkit.jobs.check import Limits, check_predictions, summary_of
from ntkit.jobs.check._judge import Subset, judged, outcomes

LIMITS = Limits(max_drop=2, worst_group=70)


def parts(groups, sizes, rng):
    """Average and groups, from the shares (new errors, errors fixed, right after) of each group."""
    counts = []
    for (new_errors, fixed, right), n in zip(groups, sizes, strict=True):
        kept = right - fixed
        counts.append(rng.multinomial(n, [new_errors, fixed, kept, 1 - new_errors - fixed - kept]))
    rows = [("average", "average", np.sum(counts, axis=0))]
    rows += [("group", str(i), each) for i, each in enumerate(counts)]
    return [
        Subset(kind, name, int(c.sum()), int(c[1] + c[2]), int(c[0]), int(c[1]))
        for kind, name, c in rows
    ]


def outcome(groups, sizes, rng):
    found = [each for own in outcomes(parts(groups, sizes, rng), LIMITS) for each in own]
    return next(each for each in ("fail", "too few", "pass") if each in found)


FINE = (0.0, 0.0, 0.9)
WITHIN = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("limit", [(0.02, 0.0, 0.9), (0.03, 0.01, 0.9), (0.0, 0.0, 0.7)])
def test_wrong_failures_are_rare(limit):
    """Every group stands exactly at a limit, which holds: groups of 0, 1, 5, 30 and more."""
    rng = np.random.default_rng(0)
    sizes = (0, 1, 5, 30, 150, 400)
    found = [outcome([limit] * len(sizes), sizes, rng) for _ in range(300)]
    assert found.count("fail") / 300 <= WITHIN
    assert "pass" not in found  # some groups are too small for that


@pytest.mark.parametrize("beyond", [(0.0201, 0.0, 0.9), (0.0301, 0.01, 0.9), (0.0, 0.0, 0.699)])
@pytest.mark.parametrize("n", [5, 30, 150, 600])
def test_wrong_passes_are_rare(beyond, n):
    """One group is just beyond a limit."""
    rng = np.random.default_rng(0)
    found = [outcome([FINE, beyond], (400, n), rng) for _ in range(300)]
    assert found.count("pass") / 300 <= WITHIN


def test_it_decides_where_it_can():
    rng = np.random.default_rng(0)
    assert outcome([FINE, FINE], (400, 160), rng) == "pass"
    assert outcome([FINE, (0.1, 0.0, 0.85)], (400, 400), rng) == "fail"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1), st.data())
def test_no_or_one_sample_is_too_few_for_anything(n, data):
    right = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - right))
    gained = data.draw(st.integers(0, right))
    limits = Limits(
        max_drop=data.draw(st.floats(0, 100)),
        worst_group=data.draw(st.floats(1.1, 100)),
        max_new_errors=data.draw(st.floats(0, 100)),
    )
    (row,) = judged([Subset("group", "g", n, right, lost, gained)], limits)
    assert {v.outcome for v in row.verdicts} == {"too few"}
    assert all(v.enough is None or v.enough >= 2 for v in row.verdicts)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 300), st.data())
def test_verdict_and_interval_agree(n, data):
    right = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - right))
    gained = data.draw(st.integers(0, right))
    limits = Limits(max_drop=data.draw(st.sampled_from([0, 1, 5, 20])), worst_group=60)
    (row,) = judged([Subset("group", "g", n, right, lost, gained)], limits)
    for v in row.verdicts:
        low, high = v.interval
        good = low >= v.bound if v.limit == "accuracy" else high <= v.bound
        bad = high < v.bound if v.limit == "accuracy" else low >= v.bound
        assert v.outcome == ("pass" if good else "fail" if bad else "too few") or low == v.bound
        assert low <= v.value <= high


def test_more_comparisons_make_failures_harder_and_passes_no_easier():
    fails = Subset("group", "bad", 60, 40, 9, 0)
    passes = Subset("group", "good", 200, 190, 0, 2)
    few = {row.name: row.outcome for row in judged([fails, passes], Limits(max_drop=2))}
    assert few == {"bad": "fail", "good": "pass"}
    others = [Subset("group", str(i), 60, 50, 0, 0) for i in range(300)]
    many = {row.name: row.outcome for row in judged([fails, passes, *others], Limits(max_drop=2))}
    assert many["bad"] == "too few"
    assert many["good"] == "pass"


# -- of predictions -----------------------------------------------------------------------------


Y = np.tile([0, 1], 200)
BROKEN = np.where(np.arange(400) < 40, 1 - Y, Y)  # the first forty
GROUPS = np.where(np.arange(400) < 50, "few", "many")


def test_rows_count_what_changed():
    found = check_predictions(
        Y, BROKEN, y_pred_before=Y, groups=GROUPS, limits={"max_drop": 5}, slices={"odd": Y == 1}
    )
    assert [row.title for row in found.rows] == [
        "average", "class 0", "class 1", "group few", "group many", "odd",
    ]  # fmt: skip
    few = found.row("group few")
    assert (few.n, few.new_errors, few.fixed, few.before, few.accuracy) == (50, 40, 0, 1.0, 0.2)
    assert found.worst_group is few
    assert few.outcome == "fail"
    assert found.row("group many").outcome == "pass"
    assert (found.outcome, found.exit_code, found.passed) == ("fail", 1, False)
    assert found.new_errors.tolist() == list(range(40))
    with pytest.raises(KeyError):
        found.row("group none")


def test_a_class_without_samples_does_not_pass():
    found = check_predictions(Y, Y, classes=[0, 1, 2], limits={"worst_class": 90})
    assert found.row("class 2").outcome == "too few"
    assert (found.row("class 0").outcome, found.exit_code) == ("pass", 3)
    assert found.as_dict()["rows"][3]["accuracy"] is None


def test_groups_that_are_not_known_are_in_none():
    groups = np.where(np.arange(400) < 100, -1, np.arange(400) % 2)
    found = check_predictions(Y, BROKEN, groups=groups, limits={"worst_group": 90})
    assert [row.n for row in found.rows if row.kind == "group"] == [150, 150]
    assert found.passed  # the broken ones are in none


def test_slices_hold_those_that_are_known_to_be_in_them():
    inside = np.where(np.arange(400) < 40, -1, 1)
    found = check_predictions(
        Y, BROKEN, slices={"s": inside}, limits={"slices": {"s": {"accuracy": 95}}}
    )
    assert (found.row("s").n, found.passed) == (360, True)


def test_a_drop_may_be_looked_at_for_some_rows_only():
    limits = Limits(max_drop=5, over=("average",))
    found = check_predictions(Y, Y, y_pred_before=Y, groups=GROUPS, limits=limits)
    assert [row.outcome for row in found.rows] == ["pass", None, None, None, None]


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, "No limit is set"),
        ({"max_drop": 2}, "Pass both models"),
        ({"max_new_errors": 2}, "Pass both models"),
        ({"slices": {"s": {"max_drop": 2}}}, "Pass both models"),
        ({"worst_group": 80}, "have none"),
        ({"average": 80, "slices": ["s"]}, "the slice 's'"),
    ],
)
def test_what_cannot_be_told_is_refused(limits, told):
    with pytest.raises(InputError, match=told):
        check_predictions(Y, Y, limits=limits)


def test_labels_of_two_types_are_refused():
    with pytest.raises(InputError, match="numbers"):
        check_predictions(Y, Y.astype(str), limits={"average": 80})
    with pytest.raises(InputError, match="groups holds 3 labels for 400"):
        check_predictions(Y, Y, groups=[1, 2, 3], limits={"average": 80})
    with pytest.raises(InputError, match="shape"):
        check_predictions(Y, Y, slices={"s": [1, 0]}, limits={"average": 80})


# -- one limit that is exactly reached: chances of errors by enumeration ---------------------------


def said(n, lost, gained, alpha):
    """Outcome of a drop of at most 2 points, of n samples of which so many changed."""
    y, after, before = (np.zeros(n, dtype=int) for _ in range(3))
    after[:lost] = before[lost : lost + gained] = 1
    limits = Limits(max_drop=2, over=("average",), alpha=alpha)
    return check_predictions(y, after, y_pred_before=before, limits=limits).outcome


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("n", [3, 12, 30])
def test_wrong_outcomes_are_no_more_frequent_than_alpha(n, alpha):
    """The drop is 2 points, for any share of errors fixed."""
    passes, fails, gained = [0], [0], np.arange(n + 1)
    for fixed in gained.tolist():  # from how many lost samples on it no longer passes, or fails
        for edges, holds in ((passes, lambda o: o == "pass"), (fails, lambda o: o != "fail")):
            edge = edges[-1]
            while edge <= n - fixed and holds(said(n, edge, fixed, alpha)):
                edge += 1
            edges.append(edge)
    shares = 0.49 * np.linspace(0, 1, 80)[:, None] ** 2
    weights, lost = binom.pmf(gained, n, shares), (shares + 0.02) / (1 - shares)
    passed = weights * binom.cdf(np.array(passes[1:]) - 1, n - gained, lost)
    failed = weights * binom.sf(np.array(fails[1:]) - 1, n - gained, lost)
    assert passed.sum(axis=1).max() <= alpha
    assert failed.sum(axis=1).max() <= alpha


def test_many_samples_are_summed_one_by_one():
    """45 new errors of 1750 are likely with 2 % new errors and no error fixed."""
    assert binom.sf(44, 1750, 0.02) > 0.05
    assert said(1750, 45, 0, 0.05) == "too few"
    assert binom.sf(45, 1750, 0.02) < 0.05
    assert said(1750, 47, 0, 0.05) == "fail"


def test_a_class_may_not_lose_within_a_slice_what_another_gains():
    """In the slice class 0 gains what class 1 loses, and elsewhere the reverse."""
    y, i = np.tile([0, 1], 2000), np.arange(4000)
    inside = i < 2000
    lost, gained = inside == (y == 1), inside == (y == 0)
    before = np.where(gained & (i % 20 < 2), 1 - y, y)
    after = np.where(lost & (i % 20 < 2), 1 - y, y)
    options = {"y_pred_before": before, "limits": {"max_drop": 5}}
    assert check_predictions(y, after, **options).passed  # nor does any class lose as a whole
    found = check_predictions(y, after, **options, slices={"s": inside})
    outcomes_of = {row.name: row.outcome for row in found.rows if row.kind == "slice"}
    assert outcomes_of == {"s": "pass", "s, class 0": "pass", "s, class 1": "fail"}
    assert found.n_comparisons == 6
    assert "each class within it" in summary_of(found)
    one = check_predictions(y, after, **options, slices={"s": inside & (y == 1)})
    assert [row.name for row in one.rows if row.kind == "slice"] == ["s"]  # one class is itself
    few = check_predictions(y, y, y_pred_before=y, limits={"max_drop": 5}, slices={"s": i < 100})
    assert few.row("s, class 1").outcome == "too few"
