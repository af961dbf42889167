"""Folds go by content: copies of a sample are never on both sides."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.model_selection import StratifiedKFold

import ntkit
from ntkit import study as _study
from ntkit.estimators import (
    AFRClassifier,
    AutoDebiasClassifier,
    JTTClassifier,
    NeuronTuneClassifier,
    NeuronTuneClassifierCV,
)
from ntkit.scorers import CorrectnessGroupScorer
from ntkit.study import Rows, folds_of, n_distinct, split_in_two, stratified_folds

contents_and_strata = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=4, max_size=80
)


@given(contents_and_strata, st.integers(2, 5), st.integers(0, 99))
def test_no_content_is_on_both_sides(pairs, n_splits, seed):
    contents, strata = np.array(pairs).T
    folds = stratified_folds(strata, n_splits, seed, contents)
    sizes = n_distinct(strata, contents)
    assert len(folds) == (most if (most := min(n_splits, sizes[sizes > 0].min())) > 1 else 0)
    for train, test in folds:
        assert {*contents[train]}.isdisjoint(contents[test])
        assert_array_equal(np.sort(np.append(train, test)), np.arange(len(pairs)))
    if folds:
        tested = np.concatenate([test for _, test in folds])
        assert_array_equal(np.sort(tested), np.arange(len(pairs)))


@given(st.integers(2, 5), st.integers(0, 99))
def test_without_copies_they_are_those_of_scikit_learn(n_splits, seed):
    strata = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2], [9, 14, 30]))
    ours = stratified_folds(strata, n_splits, seed, np.arange(len(strata)))
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    for fold, theirs in zip(ours, splitter.split(strata, strata), strict=True):
        for one, two in zip(fold, theirs, strict=True):
            assert_array_equal(one, two)


def copied(rng, times=3, n=300):
    """Embeddings of two classes that overlap, in random order, each sample so often."""
    X = rng.normal(size=(n, 4)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] + rng.normal(size=n) > 0).astype(int)
    rows = rng.permutation(np.repeat(np.arange(n), times))
    return X[rows], y[rows]


def test_rows_know_their_contents(rng):
    X, y = copied(rng)
    rows = Rows.of(X, y)
    assert n_distinct(rows.y_index, rows.contents).sum() == 300
    part = rows.take(np.arange(0, len(X), 2))
    assert_array_equal(part.contents, rows.contents[::2])
    rest, share = split_in_two(0.3, rows, 0)
    assert {*rows.contents[rest]}.isdisjoint(rows.contents[share])
    assert folds_of(5, Rows.of(np.repeat(X[:1], 9, axis=0), y[:9]), 0) is None


METHODS = [
    NeuronTuneClassifier(random_state=0),
    NeuronTuneClassifier(random_state=0, identification=0.5),
    NeuronTuneClassifierCV(random_state=0, thresholds=[1.0]),
    AutoDebiasClassifier(random_state=0),
    AFRClassifier(random_state=0),
    JTTClassifier(random_state=0),
]


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
@pytest.mark.parametrize("clf", METHODS, ids=lambda clf: type(clf).__name__)
def test_estimators_never_judge_a_copy_of_what_they_fitted(clf, rng, monkeypatch):
    n_seen = 0
    hold_out, of_fold = _study._hold_out, NeuronTuneClassifierCV._scores_of_fold

    def apart(X, train, test):
        nonlocal n_seen
        n_seen += 1
        assert {x.tobytes() for x in X[train]}.isdisjoint({x.tobytes() for x in X[test]})

    logits_of_folds = _study.logits_of_folds

    def spied(rows, folds, heads):
        for train, test in folds:
            apart(rows.X, train, test)
        return logits_of_folds(rows, folds, heads)

    monkeypatch.setattr(_study, "logits_of_folds", spied)

    def spied_hold_out(share, y_index, contents, seed):
        split = hold_out(share, y_index, contents, seed)
        if split is not None:
            apart(contents, *split)
        return split

    monkeypatch.setattr(_study, "_hold_out", spied_hold_out)

    def spied_fold(self, study, train, test, scorer):
        apart(study.train.X, train, test)
        return of_fold(self, study, train, test, scorer)

    monkeypatch.setattr(NeuronTuneClassifierCV, "_scores_of_fold", spied_fold)
    clf.fit(*copied(rng))
    assert n_seen > 0


def test_scores_of_copies_are_those_of_heads_without_them(rng):
    """A label drawn at random cannot be predicted, however often its sample is there."""
    X, y = rng.normal(size=(40, 30)).astype(np.float32), np.tile([0, 1], 20)
    rows = np.repeat(np.arange(40), 6)
    scorer = CorrectnessGroupScorer().for_samples(X[rows], y[rows])
    assert scorer is not None
    proba = ntkit.scorers.cross_fitted_proba(X[rows], y[rows], 0, None)
    assert np.mean(proba.argmax(axis=1) == y[rows]) < 0.75


def test_only_one_module_makes_folds():
    """Folds that another module made would not go by content."""
    made = ("KFold", "train_test_split", "ShuffleSplit")
    root = Path(ntkit.__file__).parent
    for path in root.rglob("*.py"):
        imports = [line for line in path.read_text("utf-8").splitlines() if "import" in line]
        if any(name in line for line in imports for name in made):
            assert path.relative_to(root).as_posix() == "study.py"
