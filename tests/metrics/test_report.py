import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.metrics import accuracy_score

from ntkit.exceptions import InputError
from ntkit.metrics import accuracy_by, group_report, worst_class_accuracy, worst_group_accuracy
from ntkit.scorers import adjusted_accuracy


def labels(seed, n=300):
    rng = np.random.default_rng(seed)
    y, attribute = rng.integers(0, 2, (2, n))
    before = np.where(rng.random(n) < 0.6 + 0.3 * (y == attribute), y, 1 - y)
    after = np.where(rng.random(n) < 0.85, y, 1 - y)
    return y, attribute, before, after


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_figures_are_those_of_the_metrics(seed):
    y, attribute, before, after = labels(seed, 40)
    groups = 2 * y + attribute
    report = group_report(y, after, groups=groups, y_pred_before=before)
    by_class = {r.name: r.value for r in report.rows if r.kind == "class"}
    by_group = {r.name: r.before for r in report.rows if r.kind == "group"}
    assert by_class == pytest.approx(accuracy_by(y, after, y))
    assert by_group == pytest.approx(accuracy_by(y, before, groups))
    assert report.summary("average").value == pytest.approx(accuracy_score(y, after))
    assert report.summary("worst class").value == pytest.approx(worst_class_accuracy(y, after))
    worst = report.worst_group
    assert worst.value == pytest.approx(worst_group_accuracy(y, after, groups=groups))
    assert worst.before == pytest.approx(worst_group_accuracy(y, before, groups=groups))
    assert by_group.keys() >= {worst.which}
    mean = report.summary("mean of groups")
    assert mean.value == pytest.approx(adjusted_accuracy(y, after, groups=groups))
    for row in report.rows:
        assert 0 <= row.interval[0] <= row.interval[1] <= 1
        assert row.change_interval[0] <= row.change_interval[1]


def test_the_interval_of_a_change_is_about_that_of_resampled_samples():
    y, _, before, after = labels(0)
    report = group_report(y, after, groups=np.zeros_like(y), y_pred_before=before)
    rng, change = np.random.default_rng(0), (after == y) * 1.0 - (before == y)
    draws = [rng.choice(change, len(change)).mean() for _ in range(2000)]
    expected = np.quantile(draws, [0.025, 0.975])
    assert report.summary("average").change_interval == pytest.approx(expected, abs=0.012)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.data())
def test_the_interval_of_an_accuracy_is_wilsons(n, data):
    right = data.draw(st.integers(0, n))
    confidence = data.draw(st.sampled_from([0.5, 0.8, 0.95, 0.999]))
    report = group_report(np.ones(n), np.arange(n) < right, confidence=confidence)
    exact = binomtest(right, n).proportion_ci(confidence, method="wilson")
    for row in report.rows:  # of one class, the worst is that one
        assert row.interval == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("right", [0, 1])
def test_no_interval_has_width_0(right):
    y = np.repeat([0, 1], [30, 3])
    pred = y if right else 1 - y
    report = group_report(y, pred, groups=np.arange(33) % 4, y_pred_before=pred)
    for row in report.rows:
        assert row.value == right
        for low, high in (row.interval, row.change_interval):
            assert high - low > 0.05
        assert row.change_interval[0] < 0 < row.change_interval[1]


@pytest.mark.parametrize("n", [5, pytest.param(100, marks=pytest.mark.more)])
def test_a_clear_change_is_one_that_mcnemars_exact_test_sees(n):
    """One that the interval calls clear has a mid-p below 0.1; one below 0.02 is always clear."""
    for changed in range(1, n + 1, 1 + n // 50):
        for gained in range(changed + 1):
            before = np.arange(n) < changed - gained
            after = (np.arange(n) >= changed - gained) & (np.arange(n) < changed)
            report = group_report(np.ones(n, int), after, y_pred_before=before.astype(int))
            low, high = report.summary("average").change_interval
            p = binomtest(gained, changed).pvalue - binom.pmf(gained, changed, 0.5)
            assert p < 0.1 if low > 0 or high < 0 else p > 0.02


@pytest.mark.more
@pytest.mark.parametrize(
    ("sizes", "before", "gained", "lost"),
    [
        ([50] * 4, [0.9] * 4, [0.3] * 4, [0.03] * 4),
        ([60] * 4, [0.995] * 4, [0.1] * 4, [0.0] * 4),
        ([1000, 100, 100, 40], [0.99, 0.95, 0.95, 0.6], [0.1, 0.1, 0.1, 0.8], [0.01, 0.02, 0.1, 0]),
        ([30] * 8, [0.9] * 8, [0.3] * 8, [0.033] * 8),
    ],
)
def test_intervals_of_groups_cover(sizes, before, gained, lost):
    """95 of 100 experiments: groups, their mean, the worst of them, and what changed."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    p, up, down = (np.asarray(share) for share in (before, gained, lost))
    then = p + (1 - p) * up - p * down
    truth = {
        "worst group": (then.min(), then.min() - p.min()),
        "mean of groups": (then.mean(), (then - p).mean()),
        **{g: (then[g], then[g] - p[g]) for g in range(len(sizes))},
    }
    held = {label: np.zeros(2) for label in truth}
    for _ in range(200):
        right = rng.random(len(groups)) < p[groups]
        change = rng.random(len(groups)) < np.where(right, down[groups], up[groups])
        options = {"groups": groups, "y_pred_before": right.astype(int)}
        report = group_report(np.ones(len(groups), int), (right ^ change).astype(int), **options)
        for row in report.rows:
            if row.name in truth and row.kind != "class":
                low, high = np.transpose([row.interval, row.change_interval])
                inside = (low - 1e-9 <= truth[row.name]) & (truth[row.name] <= high + 1e-9)
                held[row.name] += inside
    for label, (accuracy, change) in held.items():
        assert accuracy / 200 >= 0.86, label  # Wilson's own coverage close to 1, of 60 samples
        assert change / 200 >= 0.91, label


def test_overlapping_groups_in_a_report():
    y, _, before, after = labels(0)
    members = np.random.default_rng(0).random((len(y), 3)) < [0.5, 0.2, 0.0]
    report = group_report(y, after, groups=members, y_pred_before=before)
    worst = worst_group_accuracy(y, after, groups=members)
    assert report.worst_group.value == worst
    assert report.summary("mean of groups").value == adjusted_accuracy(y, after, groups=members)
    assert [row.n for row in report.rows if row.kind == "group"] == members.sum(0).tolist()
    assert report.summary("mean of groups").n == members.any(axis=1).sum() < len(y)
    twice = group_report(y, after, groups=members[:, [0, 0]], y_pred_before=before)
    one = group_report(y, after, groups=members[:, [0]], y_pred_before=before)
    # The same group twice is no more certain than once.
    mean = twice.summary("mean of groups")
    assert mean.interval == pytest.approx(one.summary("mean of groups").interval)
    assert mean.change_interval == pytest.approx(one.summary("mean of groups").change_interval)


def test_weights_in_a_report():
    y, attribute, before, after = labels(0)
    options = {"attribute": attribute, "y_pred_before": before}
    plain = group_report(y, after, **options)
    assert group_report(y, after, sample_weight=np.full(len(y), 1000.0), **options) == plain
    weight = np.where(np.arange(len(y)) % 2, 1.0, 0.0)
    halved = {"attribute": attribute[1::2], "y_pred_before": before[1::2]}
    assert group_report(y, after, sample_weight=weight, **options) == group_report(
        y[1::2], after[1::2], **halved
    )
    uneven = group_report(y, after, sample_weight=weight + 0.01, **options)
    width = [np.diff(r.summary("average").interval)[0] for r in (plain, uneven)]
    assert width[0] < width[1]


def test_empty_groups_do_not_count():
    y = np.array([0, 0, 1, 1])
    report = group_report(y, [0, 0, 1, 0], attribute=["a", "a", "b", "b"])
    empty = [r for r in report.rows if r.n == 0]
    assert [r.name for r in empty] == ["0 × b", "1 × a"]
    assert report.worst_group.value == 0.5
    assert report.worst_group.which == "1 × b"
    assert report.summary("mean of groups").value == 0.75
    assert "| group 0 × b | 0 | – | – |" in report.table()
    piped = group_report(y, y, attribute=["a|b", "c", "c", "c"], y_pred_before=y)
    assert "group 0 × a|b" in str(piped)
    lines = piped.table().splitlines()
    assert {line.replace("\\|", "").count("|") for line in lines} == {9}
    assert "was 1." in repr(piped)
    rows = json.loads(json.dumps(report.as_dict(), allow_nan=False))["rows"]
    assert next(r for r in rows if r["label"] == "0 × b")["accuracy"] is None


def test_without_groups_the_worst_class_stands_in_and_it_says_so():
    report = group_report(["cat", "cat", "dog"], ["cat", "dog", "dog"])
    assert report.worst_group.name == "worst class"
    assert report.worst_group.which == "cat"
    assert not report.grouped
    assert report.as_dict()["worst_group_is"] == "worst class"
    assert report.table().endswith("the worst class takes the place of the worst group.")
    assert "no group labels" in repr(report)
    assert "before" not in report.table()
    with pytest.raises(InputError, match="no summary 'worst group'; use one of average, worst c"):
        report.summary("worst group")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [0]}, "groups has 1 labels"),
        ({"attribute": [None, np.nan]}, "attribute is unknown for all"),
        ({"groups": [0, 1], "attribute": [0, 1]}, "groups or attribute, not both"),
        ({"y_pred_before": [0]}, "y_pred_before has 1 labels"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
        ({"sample_weight": [1, -1]}, "sample_weight contains negative"),
    ],
)
def test_unusable_input(options, message):
    with pytest.raises(InputError, match=message):
        group_report([0, 1], [0, 1], **options)


def test_samples_of_unknown_group_are_counted_and_left_out():
    y, pred = [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0]
    known = [0, 1, 3, 4]
    groups = [7, 7, -1, 8, 8, None]
    report = group_report(y, pred, groups=groups)
    told = group_report(
        [y[i] for i in known], [pred[i] for i in known], groups=[groups[i] for i in known]
    )
    for label in ("worst group", "mean of groups"):
        assert report.summary(label) == told.summary(label)
    assert report.summary("average").n == 6
    assert report.n_unknown == report.as_dict()["n_unknown"] == 2
    assert told.n_unknown == 0
    assert "The group of 2 sample(s) is unknown" in report.table()
    assert "not known" not in told.table()
    assert "2 sample(s)" in repr(report)
    by_attribute = group_report(y, pred, attribute=["sea", "land", -1, "sea", "sea", None])
    assert by_attribute.n_unknown == 2
    labels = [row.name for row in by_attribute.rows if row.kind == "group"]
    assert labels == ["0 × land", "0 × sea", "1 × land", "1 × sea"]
    weighted = group_report(y, pred, groups=groups, sample_weight=[1, 1, 0, 1, 1, 1])
    assert weighted.n_unknown == 1
