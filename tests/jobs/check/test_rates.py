"""Recall, false positive rate and precision of a class: their counts, and limits on them."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
import skl2onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime import InferenceSession
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import precision_score, recall_score

import ntkit
from ntkit import FrozenModel
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.jobs.check import Limits, check_predictions
from ntkit.jobs.check._judge import POWER, judged, outcomes
from ntkit.jobs.check.files import summary_of, write_check
from ntkit.jobs.check.from_tables import check_tables
from ntkit.jobs.tables import TableRoles
from ntkit.metrics.rows import ClassRate
from tests.several_labels import LABELS

EVERY = {
    "min_recall": 50, "max_recall_drop": 50, "max_false_positive_rate": 50,
    "max_false_positive_increase": 50, "min_precision": 50, "max_precision_drop": 50,
}  # fmt: skip


def by_class(classes):
    return {limit: dict.fromkeys(classes, bound) for limit, bound in EVERY.items()}


def expected(y, pred, value):
    """Recall, false positive rate and precision by scikit-learn; NaN without samples."""
    if not len(y):
        return dict.fromkeys(("recall", "false positive rate", "precision"), np.nan)
    options = {"labels": [value], "average": None, "zero_division": np.nan}
    others = {"y_true": y != value, "y_pred": pred != value, "zero_division": np.nan}
    return {
        "recall": recall_score(y, pred, **options)[0],
        "false positive rate": 1 - recall_score(**others, pos_label=True),
        "precision": precision_score(y, pred, **options)[0],
    }


@pytest.mark.more
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 4))
def test_rates_are_those_of_scikit_learn(seed, n, k):
    rng = np.random.default_rng(seed)
    names = np.array(["a", "b", "c", "d"])[:k]
    y, old, new = names[rng.integers(0, rng.integers(1, k + 1, size=(3, 1)), size=(3, n))]
    groups, inside = rng.integers(0, 2, n), rng.integers(-1, 2, n)
    limits = {**by_class(names), "groups": by_class(names), "slices": {"s": by_class(names)}}
    found = check_predictions(
        y, new, y_pred_before=old, groups=groups, slices={"s": inside}, classes=names, limits=limits
    )
    members = {"": np.full(n, True), ", s": inside == 1}
    members |= {f", group {g}": groups == g for g in np.unique(groups)}
    assert len(found.rates) == 3 * k * len(members)
    for where, rows in members.items():
        for value in names:
            now, before = (expected(y[rows], pred[rows], value) for pred in (new, old))
            for rate, share in now.items():
                row = found.row(f"{rate} of {value}{where}")
                assert (row.value, row.before) == pytest.approx((share, before[rate]), nan_ok=True)
                assert np.isnan(share) or row.interval[0] <= share <= row.interval[1]
                for v in row.verdicts:
                    assert np.isnan(v.value) or v.interval[0] <= v.value <= v.interval[1]
                    alike = np.array_equal(new, old)
                    assert row.n > 1 or alike or v.outcome in ("too few", "unchanged")


def test_labels_have_each_their_rates():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (500, 5)).astype(float)
    Y[::3, 1] = np.nan
    pred = np.where(rng.random((500, 5)) < 0.1, 1 - np.nan_to_num(Y), np.nan_to_num(Y)).astype(int)
    limits = {"min_recall": 70, "min_precision": {"even": 70, "not large": 70}}
    found = check_predictions(Y, pred, labels=LABELS, limits=limits)
    assert len(found.rates) == len(LABELS) + 2
    for i, name in enumerate(LABELS):
        known = Y[:, i] == Y[:, i]
        row = found.row(f"recall of {name}")
        assert row.value == pytest.approx(recall_score(Y[known, i], pred[known, i]))
    i = LABELS.index("large")
    known = Y[:, i] == Y[:, i]
    assert found.row("precision of not large").value == pytest.approx(
        precision_score(Y[known, i], pred[known, i], pos_label=0)
    )
    assert found.passed


# -- where limits hold --------------------------------------------------------------------------

Y = np.repeat(["fine", "toxic"], [600, 400])
GROUPS = np.tile(["A", "B"], 500)
MISSED = np.where((GROUPS == "B") & (np.arange(1000) >= 800), "fine", Y)  # half of B's positives


def check(limits, pred=MISSED, before=None, **options):
    return check_predictions(Y, pred, y_pred_before=before, limits=limits, **options)


def test_a_number_is_of_the_second_class_and_of_all_samples():
    found = check({"min_recall": 60}, groups=GROUPS)
    assert [row.title for row in found.rates] == ["recall of toxic"]
    assert (found.rates[0].n, found.rates[0].value, found.outcome) == (400, 0.75, "pass")
    limits = {"min_recall": {"fine": 90}, "groups": {"min_recall": {"toxic": 60}}}
    found = check(limits, groups=GROUPS)
    outcomes_of = {row.title: row.outcome for row in found.rates}
    assert outcomes_of == {
        "recall of fine": "pass", "recall of toxic, group A": "pass",
        "recall of toxic, group B": "fail",
    }  # fmt: skip
    assert found.n_comparisons == 3
    assert "recall of toxic, group B: at least 60 %, measured 50.0 [" in summary_of(found)
    named = check({"min_recall": 60}, classes=["toxic", "fine"])  # the model's own order
    assert named.rates[0].title == "recall of fine"


def test_drops_hold_in_groups_and_slices_unless_over_names_others():
    options = {"before": Y, "groups": GROUPS, "slices": {"s": GROUPS == "B"}}
    found = check({"max_recall_drop": 30}, **options)
    outcomes_of = {row.title: row.outcome for row in found.rates}
    assert outcomes_of == {
        "recall of toxic": "pass", "recall of toxic, group A": "pass",
        "recall of toxic, group B": "fail", "recall of toxic, s": "fail",
    }  # fmt: skip
    found = check({"max_recall_drop": 30, "over": "average"}, **options)
    assert [row.title for row in found.rates] == ["recall of toxic"]
    assert check({"max_recall_drop": 9, "over": "class"}, before=Y).outcome == "fail"
    with pytest.raises(InputError, match="samples have no slice"):
        check({"max_recall_drop": 9, "over": "slice"}, before=Y)
    own = {"max_recall_drop": 30, "over": ["average", "slice"],
           "slices": {"s": {"max_recall_drop": {"toxic": 70}}}}  # fmt: skip
    found = check(own, **options)
    assert [(row.title, row.outcome) for row in found.rates] == [
        ("recall of toxic", "pass"), ("recall of toxic, s", "pass")
    ]  # fmt: skip


CLASS_AND_SITE = np.char.add(np.char.add(Y, " at "), GROUPS)
RARELY = np.where(np.arange(1000) % 50 == 0, np.where(Y == "fine", "toxic", "fine"), Y)


def told(found):
    return {row.title: row.outcome for row in found.rates}


@pytest.mark.parametrize(
    ("limits", "titles", "said"),
    [
        ({"max_recall_drop": 10}, ["recall of toxic, group toxic at A"], "recall of toxic in 2"),
        ({"max_false_positive_increase": 10}, ["false positive rate of toxic, group fine at A"],
         "false positive rate of toxic in 2"),
        ({"groups": {"min_recall": {"fine": 90, "toxic": 90}}},
         ["recall of fine, group fine at B", "recall of toxic, group toxic at B"],
         "recall of toxic in 2 groups, recall of fine in 2"),
        ({"max_precision_drop": 10}, ["precision of toxic"], "precision of toxic in 4"),
    ],
)  # fmt: skip
def test_class_and_value_is_judged_by_the_rates_that_it_has(limits, titles, said):
    found = check(limits, RARELY, Y, groups=CLASS_AND_SITE)
    assert {*told(found).values()} == {"pass"}
    assert {*titles} <= {*told(found)}
    assert all(row.n for row in found.rates)
    (note,) = [note for note in found.notes if "one class" in note]
    assert note == f"Not judged where all samples are of one class: {said} groups."
    failed = check(limits, np.where(GROUPS == "B", "fine", "toxic"), Y, groups=CLASS_AND_SITE)
    assert failed.outcome == "fail"


def test_slices_of_answers_are_judged_by_the_rates_that_they_have():
    slices = {f"{k} × site B": f"{k} at B" == CLASS_AND_SITE for k in ("fine", "toxic")}
    found = check({"max_recall_drop": 10}, RARELY, Y, slices=slices)
    assert told(found) == {"recall of toxic": "pass", "recall of toxic, toxic × site B": "pass"}
    empty = {**slices, "toxic × site B": np.zeros(1000)}  # no sample is in it
    assert check({"max_recall_drop": 10}, RARELY, Y, slices=empty).outcome == "too few"
    mixed = {"site B": CLASS_AND_SITE == "fine at B"}  # nothing says that it is class × value
    assert check({"max_recall_drop": 10}, RARELY, Y, slices=mixed).outcome == "too few"


def test_a_limit_on_a_rate_never_passes_because_nothing_has_it():
    slices = {"fine × site B": CLASS_AND_SITE == "fine at B"}
    for limits, message in (
        ({"groups": {"min_precision": 5}}, "min_precision of 'toxic' .* in any group: .* 0 or 100"),
        ({"max_recall_drop": 5, "groups": {"max_precision_drop": {"fine": 5}}}, "0 or 100 %"),
        ({"max_precision_drop": 5, "over": "group"}, "max_precision_drop of 'toxic' cannot be"),
        ({"slices": {"fine × site B": {"min_recall": 5}}}, "slice 'fine × site B': no sample"),
    ):
        with pytest.raises(InputError, match=f"{message}.*Set it for all samples"):
            check(limits, RARELY, Y, groups=CLASS_AND_SITE, slices=slices)
    with pytest.raises(InputError, match="min_recall of 'rare' cannot be judged in any group"):
        check(
            {"groups": {"min_recall": {"rare": 5, "fine": 5}}}, RARELY, groups=CLASS_AND_SITE,
            classes=["fine", "rare", "toxic"],
        )  # fmt: skip
    # A site that lacks one class is not class × site: more samples are needed.
    lost = np.where(CLASS_AND_SITE == "toxic at A", "B", GROUPS)
    assert check({"max_recall_drop": 10}, RARELY, Y, groups=lost).outcome == "too few"
    of_class = np.where(Y == "toxic", "B", "A")  # each site has one class left
    assert check({"max_recall_drop": 10}, RARELY, Y, groups=of_class).outcome == "too few"


def test_false_alarms_and_their_increase():
    alarms = np.where(np.arange(1000) < 60, "toxic", Y)  # 10 % of the others
    found = check({"max_false_positive_rate": 20, "max_false_positive_increase": 2}, alarms, Y)
    (row,) = found.rates
    assert (row.n, row.value, row.before) == (600, 0.1, 0.0)
    assert [v.outcome for v in row.verdicts] == ["pass", "fail"]
    assert row.verdicts[1].value == pytest.approx(0.1)


def test_a_class_that_no_model_predicts_has_too_few_samples_for_precision():
    fine = np.full(1000, "fine")
    found = check({"min_precision": 50, "max_precision_drop": 5}, fine, Y)
    (row,) = found.rates
    assert (row.n, row.outcome, row.before, found.exit_code) == (0, "too few", 1.0, 3)
    assert np.isnan(row.value)
    said = summary_of(found)
    assert "precision of toxic: at least 50 %, measured no samples predicted as toxic; 5 s" in said
    assert "would decide if all are right" in said
    assert found.n_comparisons == 2  # whatever the model predicts
    assert json.loads(found.to_json())["rates"][0]["value"] is None


def test_a_class_that_the_old_model_never_predicts_has_no_precision_to_drop_from():
    found = check({"max_precision_drop": 5}, Y, np.full(1000, "fine"))
    (row,) = found.rates
    (verdict,) = row.verdicts
    assert (row.n, row.value, verdict.outcome, verdict.n) == (400, 1.0, "too few", 0)
    assert np.isnan(verdict.value)
    said = summary_of(found)
    assert "measured no samples that the old model predicts as toxic." in said
    assert "would decide" not in said


def test_files_hold_the_rates(tmp_path):
    found = check({"min_recall": 90, "max_recall_drop": 5}, before=Y)
    write_check(found, junit=tmp_path / "c.xml", markdown=tmp_path / "c.md")
    assert 'name="recall of toxic: at least 90 %"' in (tmp_path / "c.xml").read_text()
    assert "| recall of toxic | 400 | 100.0 | 75.0 [" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"min_recall": {"toxc": 80}}, "the class 'toxc', which is not one; did you mean 'toxic'"),
        ({"min_recall": 0.8}, "in percent. Write 80"),
        ({"min_recall": {"toxic": 0.8}}, "min_recall of 'toxic' = 0.8 means 0.8 %"),
        ({"min_recall": "80"}, r"or one for each class: \{ CLASS = 80 \}"),
        ({"min_recall": {"toxic": 180}}, "min_recall of 'toxic' must be a percentage"),
        ({"max_recall_drop": 2}, "max_recall_drop compares two models"),
        ({"groups": {"max_precision_drop": 2}}, "max_precision_drop compares two models"),
        ({"groups": {"min_recall": 2}}, "groups needs group labels"),
        ({"groups": 3}, r"groups must be a table, such as \{ min_recall = 70 \}"),
        ({"groups": {"min_recal": 2}}, "'min_recal' is not a limit; did you mean 'min_recall'"),
        ({"min_recal": 2}, "'min_recal' is not a limit; did you mean 'min_recall'"),
    ],
)
def test_refused(limits, told):
    with pytest.raises(InputError, match=told):
        check(limits)


def test_a_number_needs_two_classes():
    with pytest.raises(InputError, match=r"there are 3, .*--min-recall CLASS=PERCENT"):
        check_predictions([0, 1, 2], [0, 1, 2], limits={"min_recall": 80})


# -- how many would do --------------------------------------------------------------------------

LOOKS = [
    ("min_recall", 0.8, (27, None, None, 30, None)),
    ("min_recall", 0.8, (10, None, None, 14, None)),
    ("min_precision", 0.5, (4, None, None, 5, None)),
    ("max_false_positive_rate", 0.05, (98, None, None, 100, None)),
    ("max_recall_drop", 0.05, (95, 2, 1, 100, None)),
    ("max_false_positive_increase", 0.02, (80, 5, 0, 100, None)),
    ("max_precision_drop", 0.1, (45, None, None, 50, (36, 40))),
    ("max_precision_drop", 0.02, (30, None, None, 40, (19, 20))),
]


@pytest.mark.parametrize(("limit", "bound", "counts"), LOOKS)
def test_so_many_samples_decide_four_times_out_of_five(limit, bound, counts):
    """Of samples that are as the first ones, 400 times."""
    right, lost, gained, n, before = counts
    rate = {"min_precision": "precision", "max_precision_drop": "precision"}.get(limit, "recall")
    options = {"rate": rate, "of_class": "1", "limits": {limit: bound}}

    def part(n, right, lost, gained, before):
        return ClassRate("average", "average", n, right, lost, gained, separate=before, **options)

    ((verdict,),) = (
        row.verdicts for row in judged([part(n, right, lost, gained, before)], Limits())
    )
    assert verdict.outcome == "too few"
    rng, size, draws = np.random.default_rng(0), verdict.enough, 400
    changed = np.array([lost or 0, gained or 0]) / n
    decided = 0
    for _ in range(draws):
        a, b, _ = rng.multinomial(size, [*changed, 1 - changed.sum()]).tolist()
        old = before and round(size * before[1] / n)
        again = before and (int(rng.binomial(old, before[0] / before[1])), old)
        seen = int(rng.binomial(size, right / n))
        two = (None, None) if lost is None else (a, b)
        decided += outcomes([part(size, seen, *two, again)], Limits()) != [["too few"]]
    assert decided / draws >= POWER - 3 * np.sqrt(POWER * (1 - POWER) / draws)


# -- thresholds ---------------------------------------------------------------------------------


def test_a_threshold_moves_recall_against_false_alarms():
    digits = load_marked_digits()
    data = [part[:400] for part in (digits.X_test, digits.y_test)]
    model = FrozenModel.load(marked_digits_model_path())
    scores = ntkit.predict(model, data[0], device="cpu").probabilities[:, 1]
    limits = {"min_recall": 1.5, "max_false_positive_rate": 99}
    for threshold, levels in ((0.2, (0.2, 0.2)), ((0.5, 0.9), (0.5, 0.9))):
        found = ntkit.check(model, model, tuple(data), limits=limits, threshold=threshold,
                            device="cpu")  # fmt: skip
        before, now = (expected(data[1], (scores > level).astype(int), 1) for level in levels)
        for rate in ("recall", "false positive rate"):
            row = found.row(f"{rate} of 1")
            assert (row.before, row.value) == pytest.approx((before[rate], now[rate]))
        assert any("1 is predicted above the threshold" in note for note in found.notes)
    for threshold, told in ((1.5, "from 0 to 1"), ((0.1, 0.2, 0.3), "one for each of 2")):
        with pytest.raises(InputError, match=told):
            ntkit.check(model, model, tuple(data), threshold=threshold, device="cpu")


def test_a_threshold_is_of_one_class_whatever_its_place():
    """Two files with one function and two orders of their classes are checked alike."""
    digits = load_marked_digits()
    data = digits.X_test[:400], np.where(digits.y_test[:400], "yes", "no")
    model = FrozenModel.load(marked_digits_model_path(), classes=["no", "yes"])
    turned = replace(model.head, coef=model.head.coef[::-1], intercept=model.head.intercept[::-1])
    other = FrozenModel.load(marked_digits_model_path(), classes=["yes", "no"])
    other = other.with_head(replace(turned, classes=np.array(["yes", "no"])))
    new = model.with_head(model.head.scaled(np.arange(64) > 20))
    limits = {"max_drop": 5, "min_recall": {"yes": 2}}
    for threshold in (0.9, (0.2, 0.7)):
        options = {"limits": limits, "threshold": threshold, "device": "cpu"}
        one, two = (ntkit.check(old, new, data, **options) for old in (model, other))
        assert one.rows == two.rows
        assert one.row("recall of yes") == two.row("recall of yes")
        assert any("'yes' is predicted above the threshold" in note for note in two.notes)
        turned_new, straight = ntkit.check(model, other, data, **options), one
        assert turned_new.average.before != straight.average.before  # 'no' is its second class
        assert any("'no' is predicted above" in note for note in turned_new.notes)


# -- whole checks -------------------------------------------------------------------------------


def shares_of(limits, recalls, draws=400):
    """Shares of checks that pass and that fail, if each group has a recall, and 5 % of the rest."""
    rng, said = np.random.default_rng(0), []
    sizes = (3, 20, 60, 400, 1500)[-len(recalls) :]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    recall = np.repeat(recalls, sizes)
    for _ in range(draws):
        y = rng.random(len(groups)) < 0.4
        pred = rng.random(len(groups)) < np.where(y, recall, 0.05)
        said.append(check_predictions(y, pred, groups=groups, limits=limits).outcome)
    return [said.count(each) / draws for each in ("pass", "fail")]


@pytest.mark.more
def test_a_whole_check_is_wrong_no_more_often_than_alpha():
    at_most = 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    limits = {"max_false_positive_rate": 5, "min_precision": 80}  # the precision is 91.4 %
    limits |= {"groups": {"min_recall": 80, "max_false_positive_rate": 5}}
    passes, failures = shares_of(limits, [0.8] * 5)  # ten limits are exactly reached
    assert (passes, failures <= at_most) == (0, True)
    limits = {"groups": {"min_recall": 80, "min_precision": 50}}
    passes, _ = shares_of(limits, [0.95, 0.799])  # one is just beyond
    assert 0.01 < passes <= at_most
    passes, failures = shares_of(limits, [0.95, 0.9])
    assert (passes > 0.9, failures) == (True, 0)


def test_a_probability_equal_to_the_threshold_is_not_above_it(tmp_path):
    """Shares of ten trees, which the model gives in single precision."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=300) > 0).astype(int)
    forest = RandomForestClassifier(10, random_state=0).fit(X[:100], y[:100])
    proto = skl2onnx.to_onnx(forest, X[:1], options={"zipmap": False})
    onnx.save(proto, path := tmp_path / "forest.onnx")
    shares = forest.predict_proba(X)[:, 1].round(1)
    given = InferenceSession(path).run(None, {"X": X})[1][:, 1]
    ties = 0
    for threshold in (0.1, 0.3, 0.6, 0.9):
        options = {"limits": {"average": 2}, "threshold": threshold, "device": "cpu"}
        found = ntkit.check(None, path, (X, y), **options)
        above = (shares > threshold).astype(int)
        assert found.average.value == (above == y).mean()
        table = pd.DataFrame({"label": y, "prob_1": given})
        table.to_csv(file := tmp_path / "p.csv", index=False)
        roles, at = TableRoles(scores=["prob_1"]), {"threshold": threshold}
        again = check_tables(file, file, roles, limits=Limits(average=2), **at)
        assert again.average.value == found.average.value
        ties += (shares == threshold).sum()
    assert ties > 20
