import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from ntkit.exceptions import InputError
from ntkit.metrics import (
    accuracy_by,
    adjusted_accuracy,
    group_report,
    worst_class_accuracy,
    worst_group_accuracy,
)


def labels(seed, n=300):
    rng = np.random.default_rng(seed)
    y, attribute = rng.integers(0, 2, (2, n))
    before = np.where(rng.random(n) < 0.6 + 0.3 * (y == attribute), y, 1 - y)
    after = np.where(rng.random(n) < 0.85, y, 1 - y)
    return y, attribute, before, after


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_figures_are_those_of_the_metrics(seed):
    y, attribute, before, after = labels(seed, 40)
    groups = 2 * y + attribute
    report = group_report(y, after, groups=groups, y_pred_before=before, n_resamples=20)
    by_class = {r.label: r.accuracy for r in report.rows if r.kind == "class"}
    by_group = {r.label: r.accuracy_before for r in report.rows if r.kind == "group"}
    assert by_class == pytest.approx(accuracy_by(y, after, y))
    assert by_group == pytest.approx(accuracy_by(y, before, groups))
    assert report.summary("average").accuracy == pytest.approx(accuracy_score(y, after))
    assert report.summary("worst class").accuracy == pytest.approx(worst_class_accuracy(y, after))
    worst = report.worst_group
    assert worst.accuracy == pytest.approx(worst_group_accuracy(y, after, groups=groups))
    assert worst.accuracy_before == pytest.approx(worst_group_accuracy(y, before, groups=groups))
    assert by_group.keys() >= {worst.which}
    mean = report.summary("mean of groups")
    assert mean.accuracy == pytest.approx(adjusted_accuracy(y, after, groups=groups))
    for row in report.rows:
        assert 0 <= row.interval[0] <= row.interval[1] <= 1
        assert row.change_interval[0] <= row.change_interval[1]


def test_intervals_cover():
    """In 95 of 100 experiments or so, the interval holds the accuracy the data were drawn with."""
    covered = []
    for seed in range(200):
        y, _, _, after = labels(seed)
        low, high = group_report(y, after, n_resamples=200).summary("average").interval
        covered.append(low <= 0.85 <= high)
    assert 0.9 <= np.mean(covered) <= 0.99


def test_the_interval_is_that_of_resampled_samples():
    y, _, before, after = labels(0)
    report = group_report(y, after, groups=np.zeros_like(y), y_pred_before=before)
    rng, change = np.random.default_rng(0), (after == y) * 1.0 - (before == y)
    parts = [change[y == c] for c in (0, 1)]
    draws = [
        np.concatenate([rng.choice(part, len(part)) for part in parts]).mean() for _ in range(2000)
    ]
    expected = np.quantile(draws, [0.025, 0.975])
    assert report.summary("average").change_interval == pytest.approx(expected, abs=0.012)


def test_higher_confidence_is_wider():
    y, _, _, after = labels(0)
    widths = [
        np.diff(group_report(y, after, confidence=c).worst_group.interval)[0] for c in (0.5, 0.99)
    ]
    assert widths[0] < widths[1]


def test_the_seed_decides():
    y, _, _, after = labels(0)
    assert group_report(y, after) == group_report(y, after, random_state=0)
    assert group_report(y, after) != group_report(y, after, random_state=1)


def test_empty_groups_do_not_count():
    y = np.array([0, 0, 1, 1])
    report = group_report(y, [0, 0, 1, 0], attribute=["a", "a", "b", "b"])
    empty = [r for r in report.rows if r.count == 0]
    assert [r.label for r in empty] == ["0 × b", "1 × a"]
    assert report.worst_group.accuracy == 0.5
    assert report.worst_group.which == "1 × b"
    assert report.summary("mean of groups").accuracy == 0.75
    assert "| group 0 × b | 0 | – | – |" in report.table()
    rows = json.loads(json.dumps(report.as_dict(), allow_nan=False))["rows"]
    assert next(r for r in rows if r["label"] == "0 × b")["accuracy"] is None


def test_without_groups_the_worst_class_stands_in_and_it_says_so():
    report = group_report(["cat", "cat", "dog"], ["cat", "dog", "dog"])
    assert report.worst_group.label == "worst class"
    assert report.worst_group.which == "cat"
    assert not report.grouped
    assert report.as_dict()["worst_group_is"] == "worst class"
    assert report.table().endswith("the worst group is the worst class.")
    assert "no group labels" in repr(report)
    assert "before" not in report.table()
    with pytest.raises(InputError, match="no summary 'worst group', only average, worst class"):
        report.summary("worst group")


def test_the_table_is_markdown():
    y, attribute, before, after = labels(0)
    report = group_report(y, after, attribute=np.array(["a|b", "c"])[attribute],
                          y_pred_before=before)  # fmt: skip
    lines = str(report).splitlines()
    assert len(lines) == 2 + len(report.rows)
    assert {line.replace("\\|", "").count("|") for line in lines} == {9}
    assert "was 0." in repr(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [0]}, "groups holds 1 labels"),
        ({"attribute": [0, np.nan]}, "attribute contains NaN"),
        ({"groups": [0, 1], "attribute": [0, 1]}, "groups or attribute, not both"),
        ({"y_pred_before": [0]}, "y_pred_before holds 1 labels"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
        ({"n_resamples": 0}, "n_resamples must be at least 1"),
    ],
)
def test_unusable_input(options, message):
    with pytest.raises(InputError, match=message):
        group_report([0, 1], [0, 1], **options)
