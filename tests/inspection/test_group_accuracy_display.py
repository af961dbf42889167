"""The accuracies drawn are scikit-learn's, the intervals and the worst group group_report's."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from ntkit import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.inspection import GroupAccuracyDisplay
from ntkit.metrics import group_report

pytestmark = pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")


def points(container):
    return container.lines[0].get_xdata()


def intervals(container):
    (bars,) = container.lines[2]
    return np.array([segment[:, 0] for segment in bars.get_segments()])


def names(display):
    return [tick.get_text() for tick in display.ax_.get_yticklabels()]


def test_before_and_after(two):
    Z, y, groups = two.Z[two.test], two.y[two.test], two.groups[two.test]
    display = GroupAccuracyDisplay.from_estimator(two.clf, Z, y, groups=groups)
    before, after = two.clf.erm_head_.predict(Z), two.clf.predict(Z)
    labels = np.unique(groups)
    expected = [
        [accuracy_score(y[groups == g], pred[groups == g]) for g in labels]
        for pred in (before, after)
    ]
    assert points(display.before_) == pytest.approx(expected[0])
    assert points(display.after_) == pytest.approx(expected[1])
    assert names(display) == [f"{g}  ({(groups == g).sum()})" for g in labels]
    report = group_report(y, after, groups=groups, y_pred_before=before)
    rows = [row for row in report.rows if row.kind == "group"]
    assert intervals(display.after_) == pytest.approx(np.array([r.interval for r in rows]))
    assert intervals(display.before_) == pytest.approx(np.array([r.interval_before for r in rows]))
    for mark, accuracies in zip(
        (display.worst_before_, display.worst_after_), expected, strict=True
    ):
        assert mark.get_xdata()[0] == pytest.approx(min(accuracies))
        assert round(mark.get_ydata()[0]) == int(np.argmin(accuracies))
    title = display.ax_.get_title(loc="left")
    assert title == f"worst group: {100 * min(expected[0]):.1f} % → {100 * min(expected[1]):.1f} %"


def test_what_to_compare_with(two):
    Z, y, groups = two.Z[two.test], two.y[two.test], two.groups[two.test]
    other = LogisticRegression().fit(two.Z[two.train], two.y[two.train])
    for before, predictions in (
        (other, other.predict(Z)),
        (two.clf.erm_head_, two.clf.erm_head_.predict(Z)),
    ):
        display = GroupAccuracyDisplay.from_estimator(two.clf, Z, y, groups=groups, before=before)
        by_hand = GroupAccuracyDisplay.from_predictions(
            y, two.clf.predict(Z), groups=groups, y_pred_before=predictions
        )
        assert display.report == by_hand.report
    alone = GroupAccuracyDisplay.from_estimator(two.clf, Z, y, groups=groups, before=None)
    assert alone.before_ is None
    assert alone.worst_before_ is None
    assert "→" not in alone.ax_.get_title(loc="left")
    plain = GroupAccuracyDisplay.from_estimator(other, Z, y, groups=groups)
    assert plain.before_ is None  # it started from no head
    head = GroupAccuracyDisplay.from_estimator(two.clf.head_, Z, y, groups=groups)
    assert head.report == alone.report


def test_of_many_groups_the_worst_are_drawn(rng):
    y_true = rng.integers(0, 2, 5000)
    groups = rng.integers(0, 100, 5000)
    y_pred = np.where(rng.random(5000) < groups / 100, y_true, 1 - y_true)
    display = GroupAccuracyDisplay.from_predictions(
        y_true, y_pred, groups=groups, y_pred_before=y_true[::-1]
    )
    accuracies = sorted(
        accuracy_score(y_true[groups == g], y_pred[groups == g]) for g in range(100)
    )
    assert points(display.after_) == pytest.approx(accuracies[:12])
    assert "12 worst of 100 groups" in display.ax_.get_title(loc="left").replace("\n", " ")
    assert display.worst_after_.get_xdata()[0] == accuracies[0]
    worst_before = min(row.accuracy_before for row in display.report.rows if row.kind == "group")
    drawn = points(display.before_).min()
    assert (display.worst_before_ is not None) == (drawn == worst_before)


def test_a_diamond_is_not_drawn_for_a_group_that_is_not():
    y_true, groups = [0] * 6, ["a", "a", "b", "b", "c", "c"]
    display = GroupAccuracyDisplay.from_predictions(
        y_true,
        [1, 1, 0, 1, 0, 0],
        groups=groups,
        y_pred_before=[0, 0, 0, 0, 1, 1],
        max_groups=2,
    )
    assert [row.label for row in display.shown_] == ["a", "b"]
    assert display.worst_before_ is None  # c was the worst


def test_errors(two):
    Z, y, groups = two.Z, two.y, two.groups
    with pytest.raises(InputError, match="needs group labels; pass groups"):
        GroupAccuracyDisplay.from_predictions(y, y, groups=None)
    with pytest.raises(InputError, match="made without group labels"):
        GroupAccuracyDisplay(group_report(y, y)).plot()
    with pytest.raises(InputError, match="groups has 2 labels but y_true has 900"):
        GroupAccuracyDisplay.from_estimator(two.clf, Z, y, groups=groups[:2])
    with pytest.raises(NotFittedError):
        GroupAccuracyDisplay.from_estimator(NeuronTuneClassifier(), Z, y, groups=groups)
    with pytest.raises(NotFittedError):
        GroupAccuracyDisplay.from_estimator(
            two.clf, Z, y, groups=groups, before=LogisticRegression()
        )
    with pytest.raises(InputError, match='before must be "auto"'):
        GroupAccuracyDisplay.from_estimator(two.clf, Z, y, groups=groups, before="erm")
    with pytest.raises(InputError, match="needs classifiers or heads; got int"):
        GroupAccuracyDisplay.from_estimator(two.clf, Z, y, groups=groups, before=3)
