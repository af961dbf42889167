"""The formulas of the paper, against their plainest reading."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ntkit.exceptions import InputError
from ntkit.spuriousness import (
    change_scores,
    median_of_rows,
    non_constant_neurons,
    sfit,
    spare_neurons,
    spuriousness_scores,
    suppressed_neurons,
)

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)


def sample(seed, n=60, width=9, n_classes=3):
    rng = np.random.default_rng(seed)
    Z = np.maximum(rng.normal(size=(n, width)), rng.choice([0, -9], size=width)).round(2)
    return Z, rng.integers(0, n_classes, n), rng.random(n) < 0.3, np.arange(n_classes)


@few
@given(seeds)
def test_scores_are_median_of_misclassified_minus_median_of_correct(seed):
    Z, y, wrong, classes = sample(seed)
    scores = spuriousness_scores(Z, y, wrong, classes)
    for c in classes:
        bad, good = Z[(y == c) & wrong], Z[(y == c) & ~wrong]
        if len(bad) and len(good):
            assert np.allclose(scores[c], np.median(bad, 0) - np.median(good, 0))
        else:
            assert np.isnan(scores[c]).all()


@few
@given(seeds, st.sampled_from(["median", "mean"]), st.booleans())
def test_integer_weights_are_repetitions_and_zero_is_absence(seed, statistic, standardize):
    Z, y, wrong, classes = sample(seed)
    weight = np.random.default_rng(seed).integers(0, 4, len(Z))
    options = {"statistic": statistic, "standardize": standardize}
    weighted = spuriousness_scores(Z, y, wrong, classes, sample_weight=weight, **options)
    again = np.repeat(np.arange(len(Z)), weight)
    repeated = spuriousness_scores(Z[again], y[again], wrong[again], classes, **options)
    assert np.allclose(weighted, repeated, equal_nan=True)


@few
@given(seeds, st.floats(0.1, 50), st.floats(-5, 5))
def test_standardised_scores_do_not_depend_on_scale_or_offset(seed, factor, offset):
    Z, y, wrong, classes = sample(seed)
    scores = spuriousness_scores(Z, y, wrong, classes, standardize=True)
    plain = spuriousness_scores(Z, y, wrong, classes)
    assert np.array_equal(suppressed_neurons(plain), suppressed_neurons(scores))
    moved = spuriousness_scores(factor * Z + offset, y, wrong, classes, standardize=True)
    assert np.allclose(scores, moved, atol=1e-6, equal_nan=True)


def test_min_misclassified_leaves_a_class_unscored():
    Z, y, wrong, classes = sample(3)
    wrong = (y == 0) & (np.cumsum(y == 0) <= 2)
    assert not np.isnan(spuriousness_scores(Z, y, wrong, classes, min_misclassified=2)[0]).any()
    assert np.isnan(spuriousness_scores(Z, y, wrong, classes, min_misclassified=3)).all()


@few
@given(seeds, st.floats(-1, 1))
def test_union_intersection_and_per_class(seed, threshold):
    Z, y, wrong, classes = sample(seed)
    scores = spuriousness_scores(Z, y, wrong, classes)
    scored = scores[~np.isnan(scores).all(axis=1)]
    union = suppressed_neurons(scores, threshold=threshold)
    intersection = suppressed_neurons(scores, threshold=threshold, aggregation="intersection")
    per_class = suppressed_neurons(scores, threshold=threshold, aggregation="per_class")
    if len(scored):
        assert np.array_equal(union, (scored > threshold).any(axis=0))
        assert np.array_equal(intersection, (scored > threshold).all(axis=0))
    else:
        assert not union.any()
        assert not intersection.any()
    assert np.array_equal(union, per_class.any(axis=0))
    assert not per_class[np.isnan(scores).all(axis=1)].any()


@few
@given(seeds, st.floats(0, 1))
def test_max_suppressed_takes_the_highest_scores(seed, share):
    rng = np.random.default_rng(seed)
    scores, non_constant = rng.normal(size=(2, 20)), rng.random(20) < 0.8
    mask = suppressed_neurons(scores, max_suppressed=share, non_constant=non_constant)
    every = suppressed_neurons(scores, non_constant=non_constant)
    assert mask.sum() == min(every.sum(), int(share * non_constant.sum()))
    assert not (mask & ~every).any()
    severity = scores.max(axis=0)
    if mask.any() and (every & ~mask).any():
        assert severity[mask].min() >= severity[every & ~mask].max()


@few
@given(seeds, st.sampled_from(["union", "per_class"]))
def test_spare_neurons_keeps_the_smallest_score_of_all(seed, aggregation):
    rng = np.random.default_rng(seed)
    rule = {"aggregation": aggregation, "non_constant": rng.random(20) < 0.7}
    scores, alive = rng.random(size=(2, 20)), rule["non_constant"]
    mask = suppressed_neurons(scores, **rule)
    assert np.array_equal(np.atleast_2d(mask).all(axis=0), alive)  # every score is positive
    spared = spare_neurons(mask, scores, **rule)
    for row, of_row in zip(
        np.atleast_2d(spared),
        scores if aggregation == "per_class" else [scores.max(axis=0)],
        strict=True,
    ):
        kept = np.flatnonzero(alive & ~row)
        assert kept.tolist() == ([np.where(alive, of_row, 2).argmin()] if alive.any() else [])
    fewer = suppressed_neurons(scores, max_suppressed=0.5, **rule)
    if alive.sum() > 1:
        assert np.array_equal(spare_neurons(fewer, scores, **rule), fewer)


@few
@given(seeds, st.sampled_from([np.float32, np.float64, np.int16, np.int64]))
def test_weighted_median_of_even_weights_is_the_median(seed, dtype):
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 30), 70)
    # From far apart to mostly tied at the lowest, as behind a ReLU.
    values = np.maximum(rng.normal(rng.normal(size=70), 1, shape) * 9, 0).astype(dtype)
    medians = median_of_rows(values.T, np.full(len(values), 0.7))
    assert medians.dtype == np.result_type(dtype, np.float32)
    assert np.array_equal(medians, np.median(values, axis=0))


@few
@given(seeds)
def test_contribution_sums_to_the_margin_of_the_strongest_wrong_logit(seed):
    rng = np.random.default_rng(seed)
    Z, W = rng.normal(size=(15, 6)), rng.normal(size=(4, 6))
    y, logits = rng.integers(0, 4, 15), Z @ W.T
    others = logits.copy()
    others[np.arange(15), y] = -np.inf
    push = Z * (W[others.argmax(axis=1)] - W[y])  # what statistic="contribution" scores
    assert np.allclose(push.sum(axis=1), others.max(axis=1) - logits[np.arange(15), y])


@few
@given(seeds, st.booleans(), st.booleans())
def test_change_scores_are_root_mean_squares_of_standardised_changes(seed, standardize, weighted):
    rng = np.random.default_rng(seed)
    Z = sample(seed)[0]
    copies = Z[:, None] + rng.normal(size=(len(Z), 3, Z.shape[1]))
    copies[rng.random((len(Z), 3)) < 0.6] = np.nan
    weight = rng.integers(0, 3, len(Z)) if weighted else np.ones(len(Z), dtype=int)
    assume(((weight > 0) & ~np.isnan(copies[:, :, 0]).all(axis=1)).any())
    scores = change_scores(Z, copies, weight if weighted else None, standardize)
    squares = [
        np.mean((copies[n][~np.isnan(copies[n, :, 0])] - Z[n]) ** 2, axis=0)
        for n in np.repeat(np.arange(len(Z)), weight)
        if not np.isnan(copies[n, :, 0]).all()
    ]
    expected = np.sqrt(np.mean(squares, axis=0))
    if standardize:
        std = np.repeat(Z, weight, axis=0).std(axis=0)
        expected = np.divide(expected, std, out=np.zeros_like(std), where=std > 1e-12)
    assert np.allclose(scores, expected)
    assert change_scores(Z.astype(np.float32), copies.astype(np.float32)).dtype == np.float32


def test_sfit_constant_neurons_and_empty_medians():
    assert sfit(np.array([[1.0, -2.0], [np.nan, np.nan]])) == 3
    assert sfit(np.full((2, 2), np.nan)) == 0
    Z = np.array([[0.0, 1.0, 5.0], [0.0, 2.0, 5.0], [0.0, 2.0, 6.0]])
    assert non_constant_neurons(Z).tolist() == [False, True, True]
    assert non_constant_neurons(Z, np.array([1, 1, 0])).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        (np.full((60, 9), np.nan), "no copy of any sample"),
        (np.ones((59, 9)), r"shape \(60, 9\) or \(60, R, 9\)"),
        (np.ones((60, 2, 8)), r"got \(60, 2, 8\)"),
    ],
)
def test_copies_that_do_not_fit_are_refused(copies, message):
    with pytest.raises(InputError, match=message):
        change_scores(sample(0)[0], copies)
