"""Donors: another sample of the same fold, its class drawn uniformly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from ntkit.changes._donors import donors


def drawn(n, y=None, folds=None, seed=0, unlike=None):
    return donors(n, y, folds, np.random.default_rng(seed), unlike=unlike)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_donor_is_another_sample_of_the_same_fold_wherever_there_is_one(data):
    n = data.draw(st.integers(0, 12))
    y = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    folds = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    unlike = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n) | st.none())
    value = range(n) if unlike is None else unlike
    of = drawn(n, np.array(y, int), np.array(folds, int), data.draw(st.integers(0, 99)),
               None if unlike is None else np.array(unlike, int))  # fmt: skip
    for i, donor in enumerate(of.tolist()):
        may = [j for j in range(n) if folds[j] == folds[i] and value[j] != value[i]]
        assert donor in may if may else donor == -1


@pytest.mark.parametrize("unlike", [None, pytest.param(np.arange(30) % 2, marks=pytest.mark.more)])
def test_the_class_is_drawn_uniformly_and_the_donor_uniformly_within_it(unlike):
    y = np.array([0] * 20 + [1] * 7 + [2] * 3)
    of = np.array([drawn(30, y, seed=seed, unlike=unlike) for seed in range(1000)])
    for row in (0, 19, 22, 28):
        classes = np.bincount(y[of[:, row]], minlength=3)
        assert chisquare(classes).pvalue > 1e-4
        for label in range(3):
            value = np.arange(30) if unlike is None else unlike
            may = np.flatnonzero((y == label) & (value != value[row]))
            counts = np.bincount(of[:, row], minlength=30)
            assert counts[may].sum() == classes[label]
            assert len(may) == 1 or chisquare(counts[may]).pvalue > 1e-4


def test_labels_of_any_type_and_none():
    names = np.array(["cat", "dog", "cat", "dog"], dtype=object)
    np.testing.assert_array_equal(drawn(4, names), drawn(4, [0, 1, 0, 1]))
    assert {*drawn(2, None).tolist()} == {0, 1}
    assert drawn(1, [0]).tolist() == [-1]
    assert drawn(0, []).tolist() == []
    assert drawn(3, [0, 0, 0], [0, 0, 1]).tolist() == [1, 0, -1]
