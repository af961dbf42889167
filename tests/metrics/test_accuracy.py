import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from ntkit.metrics import (
    accuracy_by,
    worst_class_accuracy,
    worst_class_cell_accuracy,
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
    expected = worst_class_accuracy(y, pred) + 0.5 * min(cells)
    found = worst_class_cell_accuracy(y, pred, reference_pred=reference)
    assert found == pytest.approx(expected)


def test_a_faultless_reference_leaves_the_worst_class():
    y, pred = [0, 0, 1, 1], [0, 1, 1, 1]
    assert worst_class_cell_accuracy(y, pred, reference_pred=y) == 0.75


def test_lengths_must_match():
    with pytest.raises(ValueError, match="inconsistent"):
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
    with pytest.raises(ValueError, match="inconsistent"):
        accuracy_by(y, pred, members[:3])
    with pytest.raises(ValueError, match="1d"):
        accuracy_by(y, pred, np.asarray(members, dtype=int))
    with pytest.raises(ValueError, match="empty"):
        worst_group_accuracy(y, pred, groups=np.zeros((4, 2), dtype=bool))
