import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from ntkit.exceptions import InputError
from ntkit.metrics import (
    accuracy_by,
    adjusted_accuracy,
    afr_weighted_accuracy,
    class_accuracy_gap,
    correctness_group_accuracy,
    group_report,
    named_score,
    sfit_score,
    weighted_average_accuracy,
    worst_class_accuracy,
    worst_class_correctness_group_accuracy,
    worst_group_accuracy,
)


@given(st.integers(0, 2**32 - 1))
def test_against_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 50))
    y, pred, groups = rng.integers(0, 3, n), rng.integers(0, 3, n), rng.choice(["a", "b", "c"], n)
    recalls = recall_score(y, pred, labels=np.unique(y), average=None)
    assert worst_class_accuracy(y, pred) == pytest.approx(recalls.min())
    by = {g: accuracy_score(y[groups == g], pred[groups == g]) for g in set(groups.tolist())}
    assert accuracy_by(y, pred, groups) == pytest.approx(by)
    assert worst_group_accuracy(y, pred, groups=groups) == pytest.approx(min(by.values()))


@given(st.integers(0, 2**32 - 1))
def test_worst_cell_is_the_worst_class_and_correctness_cell(seed):
    rng = np.random.default_rng(seed)
    y, pred, reference = rng.integers(0, 2, (3, 40))
    cells = [
        np.mean(pred[(y == c) & ((reference == y) == right)] == c)
        for c in (0, 1)
        for right in (True, False)
        if ((y == c) & ((reference == y) == right)).any()
    ]
    expected = (2 * worst_class_accuracy(y, pred) + min(cells)) / 3
    found = worst_class_correctness_group_accuracy(y, pred, reference_pred=reference)
    assert found == pytest.approx(expected)


def test_a_faultless_reference_leaves_the_worst_class():
    y, pred = [0, 0, 1, 1], [0, 1, 1, 1]
    assert worst_class_correctness_group_accuracy(y, pred, reference_pred=y) == 0.5


def test_lengths_must_match():
    with pytest.raises(ValueError, match="groups has 1 labels but y_true has 2"):
        worst_group_accuracy([0, 1], [0, 1], groups=["a"])


@given(st.integers(0, 2**32 - 1))
def test_a_matrix_of_groups_that_do_not_overlap(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    y, pred, groups = rng.integers(0, 3, (3, n))
    members = groups[:, None] == np.arange(4)  # the last one is empty
    assert accuracy_by(y, pred, members) == accuracy_by(y, pred, groups)


def test_overlapping_groups():
    y, pred = [0, 0, 1, 1], [0, 1, 1, 0]
    members = [[True, True], [True, False], [False, True], [False, False]]
    assert accuracy_by(y, pred, members) == {0: 0.5, 1: 1.0}
    assert worst_group_accuracy(y, pred, groups=members) == 0.5
    assert accuracy_by(y, pred, np.asarray(members, dtype=int)) == {0: 0.5, 1: 1.0}
    assert adjusted_accuracy(y, pred, groups=members) == 0.75
    with pytest.raises(InputError, match="groups has 3 labels but y_true has 4"):
        accuracy_by(y, pred, members[:3])
    with pytest.raises(InputError, match="have True and False"):
        accuracy_by(y, pred, 2 * np.asarray(members, dtype=int))
    with pytest.raises(InputError, match="have True and False"):
        accuracy_by(y, pred, np.where(members, 1.0, np.nan))
    with pytest.raises(InputError, match="No sample of positive weight is in any group"):
        worst_group_accuracy(y, pred, groups=np.zeros((4, 2), dtype=bool))


def test_names_of_overlapping_groups():
    pd = pytest.importorskip("pandas")
    members = pd.DataFrame({"male": [True, True, False], "muslim": [0, 1, 1], "none": [0, 0, 0]})
    assert accuracy_by([0, 0, 1], [0, 1, 1], members) == {"male": 0.5, "muslim": 0.5}
    report = group_report([0, 0, 1], [0, 1, 1], groups=members)
    assert [row.label for row in report.rows if row.kind == "group"] == ["male", "muslim", "none"]
    assert report.worst_group.which in ("male", "muslim")


METRICS = [
    lambda y, pred, groups, **w: tuple(accuracy_by(y, pred, groups, **w).items()),
    lambda y, pred, groups, **w: worst_group_accuracy(y, pred, groups=groups, **w),
    lambda y, pred, groups, **w: adjusted_accuracy(y, pred, groups=groups, **w),
    lambda y, pred, groups, **w: weighted_average_accuracy(
        y, pred, groups=groups, train_groups=[0, 1, 1], **w
    ),
    lambda y, pred, groups, **w: worst_class_accuracy(y, pred, **w),
    lambda y, pred, groups, **w: worst_class_correctness_group_accuracy(
        y, pred, reference_pred=1 - y, **w
    ),
    lambda y, pred, groups, **w: correctness_group_accuracy(
        y, pred, reference_pred=groups % 2, **w
    ),
    lambda y, pred, groups, **w: class_accuracy_gap(y, pred, **w),
    lambda y, pred, groups, **w: afr_weighted_accuracy(
        y, pred, reference_proba=np.stack([groups / 3, 1 - groups / 3], 1), classes=[0, 1], **w
    ),
    lambda y, pred, groups, **w: sfit_score(
        np.stack([groups, groups**2 % 5 + pred], 1), y, pred, **w
    ),
    lambda y, pred, groups, **w: named_score("class_accuracy_gap", y, pred, **w),
    lambda y, pred, groups, **w: named_score("adjusted_accuracy", y, pred, groups=groups, **w),
    lambda y, pred, groups, **w: (
        group_report(y, pred, groups=groups, y_pred_before=1 - pred, **w).worst_group.change
    ),
]


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_weights_are_repetitions_at_any_scale(metric, seed):
    rng = np.random.default_rng(seed)
    y, pred = rng.integers(0, 2, (2, 24))
    weight, groups = rng.integers(0, 3, 24), rng.integers(0, 4, 24)
    y[:2], weight[:2] = (0, 1), 1
    again = np.repeat(np.arange(24), weight)
    try:
        expected = metric(y[again], pred[again], groups[again])
    except InputError:  # all weight in one sample, or a group of training rows without others
        return
    # A sample of weight 0 may change neither the groups that count nor their accuracies.
    for scale in (1, 1000, 0.001):
        found = metric(y, pred, groups, sample_weight=scale * weight)
        assert np.ravel(found) == pytest.approx(np.ravel(expected))


@pytest.mark.parametrize("weight", [[1, -1], [1, np.nan], [0, 0], [1], [[1, 1]], ["a", "b"]])
def test_weights_that_are_none(weight):
    with pytest.raises(InputError, match="sample_weight"):
        worst_class_accuracy([0, 1], [0, 1], sample_weight=weight)


@pytest.mark.parametrize(
    ("y", "pred"),
    [
        ([1, 0], ["1", "0"]),
        (["1", "0"], [1, 0]),
        (np.array([1, 0], dtype=object), ["1", "0"]),
        ([b"1", b"0"], ["1", "0"]),
        ([1, "0"], ["1", "0"]),
    ],
)
def test_labels_of_another_type(y, pred):
    for score in (worst_class_accuracy, class_accuracy_gap, lambda a, b: accuracy_by(a, b, [0, 1])):
        with pytest.raises(InputError, match="labels of one type"):
            score(y, pred)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize(
    "groups",
    [
        [0.0, np.nan, 2.0],
        [0, -1, 2],
        np.array([0, -1, 2]),
        ["a", None, "b"],
        ["a", np.nan, "b"],
        ["a", -1, "b"],
    ],
)
def test_samples_of_unknown_group_are_left_out(groups, order):
    right, wrong = ([0, 1, 1], [0, 0, 1]), ([0, 1, 1], [0, 1, 0])  # the second one's is unknown
    for score in (worst_group_accuracy, adjusted_accuracy):
        assert score(*(side[order] for side in right), groups=groups[order]) == 1
        assert score(*(side[order] for side in wrong), groups=groups[order]) < 1


@pytest.mark.parametrize("groups", [[-1, -1], [None, np.nan], [np.nan, np.nan]])
def test_some_group_must_be_known(groups):
    with pytest.raises(InputError, match="groups is unknown for all samples"):
        worst_group_accuracy([0, 1], [0, 1], groups=groups)


def test_minus_one_that_may_be_a_label_is_not_taken_for_unknown():
    with pytest.raises(InputError, match="only -1 and 1"):
        worst_group_accuracy([0, 1], [0, 1], groups=[-1, 1])
    with pytest.raises(InputError, match="the text '-1'"):
        worst_group_accuracy([0, 1], [0, 1], groups=np.array(["a", "-1"]))


@pytest.mark.parametrize("classes", [(-1, 1), (-1, 0, 1), (0, 1, 2)])
def test_a_class_called_minus_one_is_a_class(classes):
    """Unknown groups are called -1; a class of that name is known, and may be the worst."""
    rng = np.random.default_rng(0)
    y = np.repeat(classes, 50)
    pred = np.where((y == classes[0]) & (rng.random(len(y)) < 0.6), classes[1], y)
    named = np.array(["a", "b", "c"])
    worst = np.mean(pred[y == classes[0]] == classes[0])
    assert worst_class_accuracy(y, pred) == worst
    names = [named[np.searchsorted(classes, v)] for v in (y, pred)]
    for score in (worst_class_accuracy, class_accuracy_gap):
        assert score(y, pred) == pytest.approx(score(*names))
    beside = worst_class_correctness_group_accuracy(y, pred, reference_pred=y)
    assert beside == pytest.approx(
        worst_class_correctness_group_accuracy(*names, reference_pred=names[0])
    )
