"""Donors: another sample of the same fold, its class drawn uniformly."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from ntkit.changes import change_from, change_named
from ntkit.changes._donors import donors
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, read_samples
from tests.cases import write_csv


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


def digits(n=30, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, 1, 12, 12), dtype=np.float32)
    return Samples(X, rng.integers(0, 2, n))


@pytest.mark.parametrize("name", ["image:border", "image:top left"])
def test_the_part_of_a_copy_is_that_of_its_donor(name):
    samples, folds = digits(), np.arange(30) % 3
    change = change_named(name)
    of = change.donors(samples, seed=2, folds=folds)
    copies, at = change.copies(samples, seed=2, folds=folds)
    corner = np.asarray(copies.X[:])[:, 0, 0, 0]
    np.testing.assert_allclose(corner, samples.X[of[at], 0, 0, 0], atol=1e-6)
    assert (folds[of] == folds).all()
    assert (of != np.arange(30)).all()


def test_the_value_of_a_changed_column_is_that_of_its_donor():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 4, (40, 2)).astype(np.float32), rng.integers(0, 2, 40)
    samples = Samples(X, y, columns=("age", "sex"))
    change = change_named("column:age")
    of = change.donors(samples, seed=1)
    copies, at = change.copies(samples, seed=1)
    np.testing.assert_array_equal(copies.X[:, 0], X[of[at], 0])
    assert (change_named("column:age=1|2").donors(samples) == -1).all()
    frame = Samples(pd.DataFrame(X, columns=["age", "sex"]), y)
    np.testing.assert_array_equal(change.donors(frame, seed=1), of)


def test_a_function_gets_the_donor_that_is_told():
    samples = digits()
    change = change_from(lambda image, donor: donor, "donor", donor=True)
    of = change.donors(samples, seed=3)
    copies, at = change.copies(samples, seed=3)
    np.testing.assert_allclose(np.asarray(copies.X[:]), samples.X[of[at]], atol=1e-6)
    assert (change_from(lambda image: image, "none").donors(samples) == -1).all()


def test_copies_in_a_folder_name_their_donors(tmp_path):
    rows = {"id": [*"abcdef"], "x": range(6), "label": [0, 1] * 3}
    made = {"id": [*"fdcba"], "x": range(5), "donor": ["a", "", "b", "unknown", "c"]}
    write_csv(tmp_path / "a.csv", rows)
    write_csv(tmp_path / "b.csv", made)
    samples = read_samples(tmp_path / "a.csv", columns=["x"])
    change = change_named(f"folder:{tmp_path / 'b.csv'}")
    assert change.donors(samples).tolist() == [2, -1, 1, -1, -1, 0]
    write_csv(tmp_path / "b.csv", made | {"donor": ["a", "", "b", "x", "c"]})
    with pytest.raises(InputError, match=r"the donor 'x' of the copy 'b' is the name of 0 samples"):
        change.donors(samples)
