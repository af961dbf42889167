"""Whole checks of predictions: how often they are wrong, and that few samples never pass."""

from unicodedata import normalize

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from ntkit.exceptions import InputError
from ntkit.jobs.check import Limits, check_predictions
from ntkit.jobs.check._judge import judged, outcomes
from ntkit.jobs.check._limits import ChangeLimits
from ntkit.jobs.check.files import summary_of
from ntkit.metrics import Row
from ntkit.metrics.rows import RATES, ClassRate

LIMITS = Limits(max_drop=2, worst_group=70)
CHANGE = {"c": ChangeLimits()}


def drawn(groups, sizes, rng):
    """Outcome of a check, from the shares (new errors, errors fixed, right after) of each group."""
    counts = []
    for (new_errors, fixed, right), n in zip(groups, sizes, strict=True):
        kept = right - fixed
        counts.append(rng.multinomial(n, [new_errors, fixed, kept, 1 - new_errors - fixed - kept]))
    rows = [("average", np.sum(counts, axis=0)), *(("group", each) for each in counts)]
    parts = [
        Row(kind, str(i), int(c.sum()), int(c[1] + c[2]), int(c[0]), int(c[1]))
        for i, (kind, c) in enumerate(rows)
    ]
    found = [each for own in outcomes(parts, LIMITS) for each in own]
    return next(each for each in ("fail", "too few", "pass") if each in found)


FINE = (0.0, 0.0, 0.9)
SIZES = (0, 1, 5, 30, 150, 400)


def shares_of(groups, sizes, draws):
    rng = np.random.default_rng(0)
    found = [drawn(groups, sizes, rng) for _ in range(draws)]
    return [found.count(each) / draws for each in ("pass", "fail")]


def at_most(draws, alpha=0.05):
    return alpha + 3 * np.sqrt(alpha * (1 - alpha) / draws)


@pytest.mark.parametrize(
    ("limit", "beyond", "n", "draws"),
    [((0.03, 0.01, 0.9), (0.0301, 0.01, 0.9), 150, 60),
     *[pytest.param(*each, 300, marks=pytest.mark.more) for each in (
         ((0.02, 0.0, 0.9), (0.0201, 0.0, 0.9), 5),
         ((0.03, 0.01, 0.9), (0.0301, 0.01, 0.9), 30),
         ((0.0, 0.0, 0.7), (0.0, 0.0, 0.699), 150),
         ((0.0, 0.0, 0.7), (0.0201, 0.0, 0.9), 600))]],
)  # fmt: skip
def test_wrong_outcomes_are_rare(limit, beyond, n, draws):
    """Groups of 0, 1, 5, 30 and more stand exactly at a limit; one group is just beyond."""
    passes, failures = shares_of([limit] * len(SIZES), SIZES, draws)
    assert failures <= at_most(draws)
    assert not passes  # some groups are too small for that
    passes, _ = shares_of([FINE, beyond], (400, n), draws)
    assert passes <= at_most(draws)


def test_it_decides_where_it_can():
    rng = np.random.default_rng(0)
    assert drawn([FINE, FINE], (400, 160), rng) == "pass"
    assert drawn([FINE, (0.1, 0.0, 0.85)], (400, 400), rng) == "fail"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.data())
def test_verdict_and_interval_agree(n, data):
    right = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - right))
    gained = data.draw(st.integers(0, right))
    limits = Limits(max_drop=data.draw(st.sampled_from([0, 1, 5, 20])), worst_group=60)
    (row,) = judged([Row("group", "g", n, right, lost, gained)], limits)
    for v in row.verdicts:
        low, high = v.interval
        good = low >= v.bound if v.limit == "accuracy" else high <= v.bound
        bad = high < v.bound if v.limit == "accuracy" else low >= v.bound
        if n < 2:  # no or one sample is too few for anything
            good = bad = False
        assert v.outcome == ("pass" if good else "fail" if bad else "too few") or low == v.bound
        assert n == 0 or low <= v.value <= high
        assert v.enough is None or v.enough > max(1, n)


def test_more_comparisons_make_failures_harder_and_passes_no_easier():
    fails = Row("group", "bad", 60, 40, 9, 0)
    passes = Row("group", "good", 200, 190, 0, 2)
    flips = Row("change", "c", 400, 384, 12, 4)
    limits = Limits(max_drop=2, max_flip_rate=2, changes=CHANGE)
    assert outcomes([fails, passes], limits) == [["fail"], ["pass"]]
    assert outcomes([flips], limits) == [["fail", "fail"]]
    others = [Row("group", str(i), 60, 50, 0, 0) for i in range(300)]
    many = outcomes([fails, passes, flips, *others], limits)
    assert many[:3] == [["too few"], ["pass"], ["too few", "pass"]]


# -- one limit that is exactly reached: chances of errors by enumeration ---------------------------


def levels(**alternatives):
    """Rows of a table; the slow ones run in ``make test-more``."""
    return [pytest.param(*values, id=name, marks=[pytest.mark.more] * name.startswith("slow"))
            for name, values in alternatives.items()]  # fmt: skip


def rate_part(limit, bound, n, right, lost=None, gained=None, before=None):
    """The samples that a limit of a class applies to, and their counts."""
    return ClassRate("average", "average", n, right, lost, gained, rate=RATES[limit], of_class="1",
                  limits={limit: bound}, separate=before)  # fmt: skip


@pytest.mark.parametrize(
    ("n", "alpha", "limit"),
    levels(
        few=(3, 0.05, "max_drop"), some=(12, 0.01, "max_drop"), slow_some=(12, 0.05, "max_drop"),
        slow=(30, 0.05, "max_drop"), slow_1=(30, 0.01, "max_drop"),
        recall=(5, 0.05, "max_recall_drop"), slow_recall=(30, 0.05, "max_recall_drop"),
        false_positives=(5, 0.05, "max_false_positive_increase"),
        slow_false_positives=(30, 0.05, "max_false_positive_increase"),
    ),
)  # fmt: skip
def test_wrong_outcomes_are_no_more_frequent_than_alpha(n, alpha, limit):
    """The drop is 2 points, for any share of errors fixed."""
    limits = Limits(max_drop=2, over=("average",), alpha=alpha)

    def said(lost, fixed):
        part = Row("average", "average", n, n - lost, lost, fixed)
        if limit != "max_drop":
            part = rate_part(limit, 0.02, n, n - lost, lost, fixed)
        return outcomes([part], limits)[0][0]

    passes, fails, gained = [0], [0], np.arange(n + 1)
    for fixed in gained.tolist():  # from how many lost samples on it no longer passes, or fails
        for edges, holds in ((passes, lambda o: o == "pass"), (fails, lambda o: o != "fail")):
            edge = edges[-1]
            while edge <= n - fixed and holds(said(edge, fixed)):
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
    limits = Limits(max_drop=2, over=("average",))
    for lost, outcome in ((45, "too few"), (47, "fail")):
        part = Row("average", "average", 1750, 1750 - lost, lost, 0)
        assert outcomes([part], limits) == [[outcome]]
    assert binom.sf(44, 1750, 0.02) > 0.05 > binom.sf(45, 1750, 0.02)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("n", [2, 30, 200])
@pytest.mark.parametrize("rate", [0, 2, 10])
def test_a_flip_rate_at_its_limit_is_wrongly_judged_no_more_often_than_alpha(n, rate, alpha):
    limits = Limits(max_flip_rate=rate, changes=CHANGE, alpha=alpha)
    said = [outcomes([Row("change", "c", n, n - flips)], limits)[0][0] for flips in range(n + 1)]
    chances = binom.pmf(np.arange(n + 1), n, rate / 100)
    assert chances[np.array(said) == "fail"].sum() <= alpha + 1e-12
    assert rate == 0 or chances[np.array(said) == "pass"].sum() <= alpha + 1e-12
    assert said[-1] == "fail" or n == 2


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("n", [0, 1, 2, 30, 300])
@pytest.mark.parametrize(
    ("limit", "bound"),
    [("min_recall", 0.8), ("min_precision", 0.5), ("max_false_positive_rate", 0.05)],
)
def test_a_rate_at_its_limit_is_wrongly_judged_no_more_often_than_alpha(limit, bound, n, alpha):
    limits, right = Limits(alpha=alpha), np.arange(n + 1)
    parts = [rate_part(limit, bound, n, k) for k in right.tolist()]
    said = np.array([outcomes([part], limits)[0][0] for part in parts])
    chances = binom.pmf(right, n, bound if limit.startswith("min") else 1 - bound)
    for wrong in ("pass", "fail"):
        assert chances[said == wrong].sum() <= alpha + 1e-12
    assert n < 300 or (said[0], said[-1]) == ("fail", "pass")
    assert n > 1 or {*said} == {"too few"}


@pytest.mark.parametrize(("n", "n_old"), [(2, 2), (40, 40), (300, 150), (60, 300)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 1.0])
def test_a_drop_of_precision_is_wrongly_judged_no_more_often_than_alpha(n, n_old, share):
    """The two counts are independent, or go up together, or one up and the other down."""
    limits, bound, old, new = Limits(), 0.08, np.arange(n_old + 1), np.arange(n + 1)

    def said(k_old, k):
        part = rate_part("max_precision_drop", bound, n, k, before=(k_old, n_old))
        return outcomes([part], limits)[0][0]

    first_pass, first_not_fail = [0], [0]
    for k_old in old.tolist():
        for edges, holds in ((first_pass, lambda o: o == "pass"),
                             (first_not_fail, lambda o: o != "fail")):  # fmt: skip
            edge = edges[-1]
            while edge <= n and not holds(said(k_old, edge)):
                edge += 1
            edges.append(edge)
    passes, fails = np.array(first_pass[1:]), np.array(first_not_fail[1:])
    weights, of_new = binom.pmf(old, n_old, share), binom.pmf(new, n, share - bound)
    independent = [weights @ binom.sf(passes - 1, n, share - bound),
                   weights @ binom.cdf(fails - 1, n, share - bound)]  # fmt: skip
    assert max(independent) <= 0.05
    for order in (1, -1):  # quantiles of both at the same or the opposite place
        u = (np.arange(20_000) + 0.5) / 20_000
        k_old = np.searchsorted(np.cumsum(weights), u).clip(max=n_old)
        k = np.searchsorted(np.cumsum(of_new), u[::order]).clip(max=n)
        assert np.mean(k >= passes[k_old]) <= 0.0502
        assert np.mean(k < fails[k_old]) <= 0.0502
    assert said(n_old, n) == ("pass" if n > 50 else "too few")
    assert said(n_old, 0) == ("fail" if n > 2 else "too few")


@pytest.mark.parametrize(
    ("n", "alpha"), levels(two=(2, 0.05), few=(9, 0.05), few_1=(9, 0.01), slow=(25, 0.05))
)
def test_as_many_flips_as_before_fail_no_more_often_than_alpha(n, alpha):
    limits = Limits(changes=CHANGE, alpha=alpha)
    counts = [(more, fewer) for more in range(n + 1) for fewer in range(n + 1 - more)]
    parts = {c: Row("change", "c", n, 0, *c) for c in counts}
    failed = [c for c, part in parts.items() if outcomes([part], limits)[0] == ["fail"]]
    assert (0, n) not in failed
    assert n == 2 or (n, 0) in failed
    cells = np.array([[more, fewer, n - more - fewer] for more, fewer in failed]).reshape(-1, 3)
    for share in np.linspace(0.01, 0.5, 30):
        chances = multinomial.pmf(cells, n, [share, share, max(0, 1 - 2 * share)])
        assert chances.sum() <= alpha + 1e-12


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
    assert (few.n, few.lost, few.gained, few.before, few.value) == (50, 40, 0, 1.0, 0.2)
    assert found.worst_group is few
    assert few.outcome == "fail"
    assert found.row("group many").outcome == "pass"
    assert (found.outcome, found.exit_code, found.passed) == ("fail", 1, False)
    assert found.new_errors.tolist() == list(range(40))
    with pytest.raises(KeyError):
        found.row("group none")


def test_samples_count_where_they_are_known_to_be():
    wrong = check_predictions(Y, 1 - Y, y_pred_before=Y, limits={"max_new_errors": 100})
    assert (wrong.average.lost, wrong.passed) == (400, True)  # the bound is the limit
    absent = check_predictions(Y, Y, classes=[0, 1, 2], limits={"worst_class": 90})
    assert absent.row("class 2").outcome == "too few"
    assert (absent.row("class 0").outcome, absent.exit_code) == ("pass", 3)
    assert absent.as_dict()["rows"][3]["accuracy"] is None
    groups = np.where(np.arange(400) < 100, -1, np.arange(400) % 2)
    found = check_predictions(Y, BROKEN, groups=groups, limits={"worst_group": 90})
    assert [row.n for row in found.rows if row.kind == "group"] == [150, 150]
    assert found.passed  # the broken ones are in none
    inside = np.where(np.arange(400) < 40, -1, 1)
    found = check_predictions(
        Y, BROKEN, slices={"s": inside}, limits={"slices": {"s": {"accuracy": 95}}}
    )
    assert (found.row("s").n, found.passed) == (360, True)
    limits = Limits(max_drop=5, over=("average",))
    found = check_predictions(Y, Y, y_pred_before=Y, groups=GROUPS, limits=limits)
    assert [row.outcome for row in found.rows] == ["pass", None, None, None, None]


@pytest.mark.parametrize("odd", [2, 0.9, "True", "1"])
def test_flips_and_slices_are_yes_no_or_unknown(odd):
    with pytest.raises(InputError, match="1 or True"):
        check_predictions(Y, Y, flips={"a": np.full(len(Y), odd)}, limits={"max_flip_rate": 5})
    values = np.where(np.arange(len(Y)) % 2, odd, type(odd)(1))
    with pytest.raises(InputError, match="1 or True"):
        check_predictions(Y, Y, slices={"a": values}, limits={"average": 5})


@pytest.mark.parametrize("kind", [bool, np.int8, np.float64, object])
def test_yes_and_no_may_have_any_type(kind):
    flips = np.arange(len(Y)) % 2 == 0
    values = flips.astype(kind)
    options = {"flips": {"a": values}, "slices": {"a": values}, "limits": {"max_flip_rate": 5}}
    found = check_predictions(Y, Y, **options)
    assert (found.changes[0].value, found.row("a").n) == (flips.mean(), flips.sum())
    if kind in (float, object):
        values[0] = np.nan
        assert check_predictions(Y, Y, **options).changes[0].n == len(Y) - 1


def test_a_class_may_not_lose_within_a_slice_what_another_gains():
    """In the slice class 0 gains what class 1 loses, and elsewhere the reverse."""
    y, i = np.tile([0, 1], 500), np.arange(1000)
    inside = i < 500
    lost, gained = inside == (y == 1), inside == (y == 0)
    before = np.where(gained & (i % 10 < 2), 1 - y, y)
    after = np.where(lost & (i % 10 < 2), 1 - y, y)
    options = {"y_pred_before": before, "limits": {"max_drop": 10}}
    assert check_predictions(y, after, **options).passed  # nor does any class lose as a whole
    found = check_predictions(y, after, **options, slices={"s": inside})
    outcomes_of = {row.name: row.outcome for row in found.rows if row.kind == "slice"}
    assert outcomes_of == {"s": "pass", "s, class 0": "pass", "s, class 1": "fail"}
    assert found.n_comparisons == 6
    assert "each class within it" in summary_of(found)
    one = check_predictions(y, after, **options, slices={"s": inside & (y == 1)})
    assert [row.name for row in one.rows if row.kind == "slice"] == ["s"]  # one class is itself
    after = np.where(i == 999, 1 - y, y)
    few = check_predictions(
        y, after, y_pred_before=y, limits={"max_drop": 5}, slices={"s": i < 100}
    )
    assert few.row("s, class 1").outcome == "unchanged"
    assert few.passed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"limits": {}}, "No limit is set"),
        ({"limits": {"max_drop": 2}}, "Pass both models"),
        ({"limits": {"max_new_errors": 2}}, "Pass both models"),
        ({"limits": {"slices": {"s": {"max_drop": 2}}}}, "Pass both models"),
        ({"limits": {"worst_group": 80}}, "have none"),
        ({"limits": {"average": 80, "slices": ["s"]}}, "the slice 's'"),
        ({"limits": {"max_flip_rate": 2}}, "none is named. Name one: --invariant"),
        ({"limits": {"changes": ["c"]}}, "The change 'c' has no limit. Set the share"),
        ({"limits": {"changes": {"c": 2}}}, "flips holds no values of the change 'c' for 400"),
        ({"limits": {"max_flip_rate": 2}, "flips": {"c": [0]}}, r"flips holds .* shape \(1,\) of"),
        ({"limits": {"max_flip_rate": 2}, "flips": {"c": Y}, "y_pred_before": Y},
         "flips_before holds no values of the change 'c'"),
        ({"y_pred": Y.astype(str)}, "numbers"),
        ({"groups": [1, 2, 3]}, "groups holds 3 labels for 400"),
        ({"groups": np.full(400, -1)}, "No sample has a known group"),
        ({"slices": {"s": [1, 0]}}, "shape"),
        *[({"limits": {"max_drop": 2, "over": (kind, "average")}, "y_pred_before": Y},
           f"samples have no {kind}") for kind in ("slice", "group")],
    ],
)  # fmt: skip
def test_refused(change, told):
    with pytest.raises(InputError, match=told):
        check_predictions(Y, **{"y_pred": Y, "limits": {"average": 80}} | change)


@pytest.mark.parametrize("limit", [2.3, 2.5, 2.9])
def test_a_large_number_that_would_decide_has_two_digits(limit):
    y = np.arange(300) % 2
    after = np.where(np.arange(300) < 8, 1 - y, y)
    found = check_predictions(y, after, y_pred_before=y, limits={"max_drop": limit})
    enough = found.row("average").verdicts[0].enough
    assert enough >= 1000
    assert set(str(enough)[2:]) == {"0"}


@pytest.mark.parametrize(
    ("y", "predicted"),
    [
        (np.arange(60) % 2 + 0.5, np.linspace(0.01, 0.99, 60)),
        (np.arange(60) % 2 + 1, np.arange(60) % 2 + 3),
        (np.array(["no", "yes"] * 30), np.array(["no ", "yes "] * 30)),
    ],
)
def test_scores_and_other_classes_are_not_predictions(y, predicted):
    """Both models would be wrong on all samples, and nothing would get worse."""
    for models in ({"y_pred": predicted}, {"y_pred": y, "y_pred_before": predicted}):
        with pytest.raises(InputError, match="which y_true"):
            check_predictions(y, **models, limits={"average": 10})
    assert check_predictions(y, y, y_pred_before=y, limits={"average": 10}).passed


def test_groups_and_slices_that_differ_only_in_writing_are_told():
    y = np.arange(400) % 2
    eu = np.array(["EU", "eu", "US", " EU"])[np.arange(400) // 2 % 4]
    slices = {f"column:site={value}": eu == value for value in ("EU", "eu", "US")}
    options = {"limits": {"average": 50}}
    found = check_predictions(y, y, groups=eu, slices=slices, **options)
    assert [note for note in found.notes if "differ only" in note] == [
        "Groups that differ only in writing count separately: ' EU' and 'EU' and 'eu'.",
        "Slices that differ only in writing count separately: "
        "'column:site=EU' and 'column:site=eu'.",
    ]
    assert {row.name for row in found.rows if row.kind == "group"} == {" EU", "EU", "eu", "US"}
    assert check_predictions(y, y, groups=np.where(y, "EU", "US"), **options).notes == ()
    (told,) = check_predictions(y, y, groups=np.array(["1", "1.0"] * 200), **options).notes
    assert told == "Groups that differ only in writing count separately: '1' and '1.0'."
    unknown = check_predictions(y, y, groups=[None, "EU"] * 200, **options)
    assert unknown.notes == ("200 of 400 samples have an unknown group.",)


def test_groups_in_two_unicode_forms_are_one_and_texts_for_unknown_are_told():
    """In Python as in tables; the note names the texts, of which one may be a real group."""
    y = np.arange(400) % 2
    café = np.array([normalize(form, "café") for form in ("NFC", "NFD")])[np.arange(400) // 2 % 2]
    found = check_predictions(y, y, groups=café, limits={"average": 50})
    assert [row.name for row in found.rows if row.kind == "group"] == [café[0]]
    country = np.array(["NA", "DE", "NA", "?"])[np.arange(400) // 2 % 4]
    for groups in (country, country.astype(object), country.tolist()):
        found = check_predictions(y, y, groups=groups, limits={"average": 50})
        assert [row.name for row in found.rows if row.kind == "group"] == ["DE"]
        assert found.notes == (
            "300 of 400 samples have an unknown group.",
            "Groups: these texts mean that the group is unknown: 200 'NA', 100 '?'.",
        )
    assert check_predictions(y, y, groups=country == "DE", limits={"average": 50}).notes == ()


@pytest.mark.parametrize(
    ("slices", "sizes"),
    [
        ({"a": pd.array([True, False, None] * 20, dtype="boolean")}, {"a": 20}),
        ({"a": pd.Series([1, None, None] * 20, dtype="Int64")}, {"a": 20}),
        ({"a": [True, None] * 30}, {"a": 30}),
        (pd.DataFrame({"a": [True, False] * 30, 1: [0, 1, 1] * 20}), {"a": 30, "1": 40}),
        ({"a": np.array([1, 0, np.nan] * 20)}, {"a": 20}),
    ],
)
def test_slices_of_pandas_and_with_missing_values(slices, sizes):
    y = np.arange(60) % 2
    found = check_predictions(y, y, slices=slices, limits={"average": 5})
    assert {row.name: row.n for row in found.rows if row.kind == "slice"} == sizes


@pytest.mark.parametrize("slices", [pd.Series([1, 0] * 30), np.ones(60), ["a"], "a"])
def test_slices_without_names_are_refused(slices):
    y = np.arange(60) % 2
    with pytest.raises(InputError, match="slices must be a mapping or a DataFrame; got"):
        check_predictions(y, y, slices=slices, limits={"average": 5})


@pytest.mark.parametrize("classes", [None, ["ham", "spam"]])
@pytest.mark.parametrize("wrong", ["upper", "numbered"])
def test_predictions_that_are_no_labels_are_refused_with_and_without_classes(classes, wrong):
    y = np.where(np.arange(60) % 2, "spam", "ham")
    limits = {"max_drop": 5}
    if wrong == "upper":
        before = np.char.upper(y)
    else:
        y = (y == "spam").astype(int)
        classes = None if classes is None else [0, 1]
        before = y + 1
    with pytest.raises(InputError, match=r"y_pred_before.* has the class"):
        check_predictions(y, y, y_pred_before=before, classes=classes, limits=limits)
    found = check_predictions(y, y, y_pred_before=y, classes=classes, limits=limits)
    assert found.average.before == 1


def test_classes_without_samples_may_be_predicted_and_others_have_the_labels_type():
    y = np.array([0, 1] * 30)
    limits = {"average": 5}
    found = check_predictions(y, np.full(60, 2), classes=[0, 1, 2], limits=limits)
    assert found.average.right == 0
    with pytest.raises(InputError, match="y_true has numbers and classes has text"):
        check_predictions(y, y, classes=["a", "b"], limits=limits)


def test_names_flips_and_labels_of_pandas_are_those_of_the_same_samples():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": rng.integers(0, 2, 90)}, index=rng.permutation(200)[:90])
    frame["new"] = np.where(rng.random(90) < 0.3, 1 - frame.y, frame.y)
    frame["id"] = [f"n{i}" for i in range(90)]
    wanted = frame.id[frame.new != frame.y].tolist()
    arguments = {"y_true": frame.y, "y_pred": frame.new, "y_pred_before": frame.y}
    for names in (frame.id, frame.id.tolist(), frame.set_index("id").index):
        found = check_predictions(**arguments, names=names, limits={"max_drop": 5})
        assert list(found.new_error_names) == wanted
    other = frame.sample(frac=1, random_state=0)
    flips, limits = {"c": frame.y == 1}, {"max_flip_rate": 20}
    for wrong in ({"names": other.id}, {"flips": {"c": other.y}}):
        with pytest.raises(InputError, match="has the samples of y_true in another order"):
            check_predictions(**{**arguments, "flips": flips, **wrong}, limits=limits)
    with pytest.raises(InputError, match="names holds 2 names for 90 samples"):
        check_predictions(**arguments, names=["a", "b"], limits={"max_drop": 5})


def test_labels_of_several_count_by_their_names():
    rng, names = np.random.default_rng(1), ["urgent", "spam", "billing"]
    Y = pd.DataFrame(rng.random((200, 3)) < [0.5, 0.2, 0.7], columns=names).astype(int)
    pred = Y.where(rng.random((200, 3)) < [0.95, 0.8, 0.6], 1 - Y)
    flips = pd.DataFrame(rng.random((200, 3)) < [0.1, 0.2, 0.3], columns=names)
    options = {"labels": names, "limits": {"average": 5, "max_flip_rate": 50}}
    wanted = check_predictions(
        Y.to_numpy(), pred.to_numpy(), flips={"c": flips.to_numpy()}, **options
    )
    order = ["spam", "billing", "urgent"]
    found = check_predictions(Y[order], pred, flips={"c": flips[order[::-1]]}, **options)
    assert found.rows == wanted.rows
    assert found.changes == wanted.changes
    with pytest.raises(InputError, match=r"y_pred has no column 'urgent'\. Its columns are"):
        check_predictions(Y, pred.rename(columns=str.upper), flips={"c": flips}, **options)
