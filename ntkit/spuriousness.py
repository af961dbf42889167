"""Which neurons drive spurious predictions: scores and masks as pure functions of arrays.

The formulas are those of NeuronTune (Zheng, Ye, Zhang, ICML 2025, arXiv 2505.24048): a neuron whose
activation is higher on the misclassified samples of a class than on its correctly classified ones
is biased.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError

__all__ = [
    "change_scores",
    "spuriousness_scores",
    "suppressed_neurons",
]

_BLOCK_BYTES = 1 << 27  # of columns at a time
_ROWS = 1024  # at a time
_BLOCK = 64  # columns at a time
_MUCH = 1 << 21  # activations
Transform = Callable[[Array, Array, slice], Array]


def non_constant_neurons(Z: Array, sample_weight: Array | None = None) -> Array:
    """Mask of the neurons that vary over the samples of positive weight: bool, shape (D,)."""
    samples = np.arange(len(Z)) if sample_weight is None else np.flatnonzero(sample_weight > 0)
    varies = np.zeros(Z.shape[1], dtype=bool)
    for start in range(0, len(samples), _ROWS):  # nearly all neurons vary within the first rows
        rest = np.flatnonzero(~varies)
        rows = samples[start : start + _ROWS]
        varies[rest] = (Z[np.ix_(rows, rest)] != Z[samples[0], rest]).any(axis=0)
    return varies


def for_each_block(function: Callable[[slice], None], Z: Array) -> None:
    """Call a function for blocks of columns, on all cores if there is enough work."""
    # A block is so small that its copy fits into a cache, and that all simultaneous blocks fit into
    # `_BLOCK_BYTES`.
    threads = _usable_cores() if Z.size > _MUCH else 1
    width = max(1, min(_BLOCK, _BLOCK_BYTES // (threads * max(1, len(Z) * Z.itemsize))))
    blocks = [slice(start, start + width) for start in range(0, Z.shape[1], width)]
    if threads == 1:
        for block in blocks:
            function(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, blocks))


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def neurons_of(
    Z: Array, samples: Array, columns: slice, transform: Transform | None = None
) -> Array:
    """Copy of a few columns at some rows, with one contiguous row for each column."""
    # Copied before the transposition: transposing the matrix itself takes seven times as long.
    neurons = np.ascontiguousarray(Z[samples, columns].T)
    return neurons if transform is None else transform(neurons, samples, columns)


def median_of_rows(rows: Array, weight: Array) -> Array:
    """Weighted median of each row."""
    if not (weight == weight[0]).all():
        return _weighted_median_of_rows(rows, weight)
    n, lowest = rows.shape[1], rows.min(axis=1)
    median = lowest.astype(np.result_type(rows.dtype, np.float32))
    # After a ReLU, many neurons have their minimum for more than half of the samples.
    rest = np.flatnonzero(np.count_nonzero(rows == lowest[:, None], axis=1) <= n // 2)
    # NumPy sorts contiguous rows with vector instructions, ten times faster than np.median.
    ordered = np.sort(rows[rest], axis=1)
    median[rest] = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
    return np.asarray(median)


def _weighted_median_of_rows(rows: Array, weight: Array) -> Array:
    order = np.argsort(rows, axis=1, kind="stable")
    mass = np.cumsum(weight[order], axis=1)
    # Sums of weights in another order differ in the last digits; half of the weight must still
    # count as half.
    half, slack = mass[:, -1:] / 2, 1e-12 * mass[:, -1:]
    lower = (mass < half - slack).sum(axis=1, keepdims=True)
    upper = (mass <= half + slack).sum(axis=1, keepdims=True)
    ordered = np.take_along_axis(rows, order, axis=1)
    at = [np.take_along_axis(ordered, np.asarray(i), axis=1)[:, 0] for i in (lower, upper)]
    return np.asarray((at[0] + at[1]) / 2)


def row_means(rows: Array, weight: Array) -> Array:
    """Weighted mean of each row."""
    return np.asarray(np.average(rows, axis=1, weights=weight))


def std_of_rows(rows: Array, weight: Array) -> Array:
    """Weighted standard deviation of each row; exactly 0 for a constant one."""
    rows = np.asarray(rows, dtype=np.float64)
    mean = np.average(rows, axis=1, weights=weight)
    variance = np.average((rows - mean[:, None]) ** 2, axis=1, weights=weight)
    # Because of rounding, a constant neuron has a tiny variance instead of 0.
    varies = np.asarray(rows.max(axis=1) > rows.min(axis=1))
    return np.where(varies, np.sqrt(variance), 0.0)


_ROUNDING = 1e-13  # of a mean, relative


def spuriousness_scores(
    Z: Array,
    y: Array,
    misclassified: Array,
    classes: Array,
    *,
    sample_weight: Array | None = None,
    statistic: Literal["median", "mean"] = "median",
    standardize: bool = False,
    min_misclassified: int = 1,
    transform: Transform | None = None,
) -> Array:
    r"""Spuriousness score of every class and neuron.

    .. math:: \delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)

    where :math:`\bar V_i^y` and :math:`\hat V_i^y` are the activations of neuron i over the samples
    of class y that were misclassified and correctly classified (arXiv 2505.24048).

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Activations of the validation set, or other values to score.
    y : ndarray of shape (N,)
        True classes.
    misclassified : ndarray of bool, shape (N,)
        Whether the classifier misclassified the sample.
    classes : ndarray of shape (C,)
        Classes to score, in the order of the returned rows.
    sample_weight : ndarray of shape (N,), optional
        Integer weights count as repetitions; a sample of weight 0 counts as absent.
    statistic : {"median", "mean"}
        Statistic that is compared between misclassified and correct samples.
    standardize : bool
        Divide by the neuron's standard deviation over all samples; a constant neuron scores 0.
    min_misclassified : int
        A class with fewer misclassified samples is not scored.
    transform : callable, optional
        Function that is applied to a block of activations before scoring, so that no second array
        of all activations is needed. Arguments: activations (neurons, samples), row numbers of the
        samples in ``Z``, and the slice of columns.

    Returns
    -------
    ndarray of shape (C, D)
        Scores in units of the activation, or of its standard deviation. A class without enough
        misclassified samples, or without a correct one, has a row of NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import spuriousness_scores
    >>> Z = np.array([[1.0, 5.0], [2.0, 0.0], [3.0, 1.0], [9.0, 9.0]])
    >>> wrong = np.array([True, False, False, False])
    >>> spuriousness_scores(Z, np.array([0, 0, 0, 1]), wrong, np.array([0, 1]))
    array([[-1.5,  4.5],
           [ nan,  nan]])
    """
    weight = np.ones(len(Z)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    present = weight > 0
    center = {"median": median_of_rows, "mean": row_means}[statistic]
    sides = list[tuple[int, Array, Array]]()
    for row, label in enumerate(classes):
        wrong = np.flatnonzero(present & (y == label) & misclassified)
        right = np.flatnonzero(present & (y == label) & ~misclassified)
        if len(wrong) >= max(1, min_misclassified) and len(right):
            sides.append((row, wrong, right))
    scores = np.full((len(classes), Z.shape[1]), np.nan, dtype=np.result_type(Z.dtype, np.float32))
    samples = np.flatnonzero(present)

    def fill(columns: slice) -> None:
        for row, *parts in sides:
            of_wrong, of_right = (
                center(neurons_of(Z, part, columns, transform), weight[part]).astype(scores.dtype)
                for part in parts
            )
            # Weighted means of equal values differ in their last digits; that must not flag a
            # neuron.
            equal = np.abs(of_wrong - of_right) <= _ROUNDING * np.abs(of_wrong)
            scores[row, columns] = np.where(equal, 0, of_wrong - of_right)
        if standardize:
            scale = std_of_rows(neurons_of(Z, samples, columns, transform), weight[samples])
            scaled = np.where(np.isnan(scores[:, columns]), np.nan, 0.0)
            np.divide(scores[:, columns], scale, out=scaled, where=scale > 0)
            scores[:, columns] = scaled

    for_each_block(fill, Z)
    return scores


def change_scores(
    X: Array,
    X_changed: Array,
    sample_weight: Array | None = None,
    standardize: bool = True,
) -> Array:
    r"""Root mean square change of each neuron between samples and their changed copies.

    .. math::

        \delta_i = \frac{1}{\sigma_i} \sqrt{ \frac{1}{N'} \sum_n \frac{1}{R_n} \sum_r
        (z_{nr,i}' - z_{n,i})^2 }

    over the N' samples that have copies :math:`z_{nr}'` by a change that must not alter the right
    answer. The score needs neither labels nor errors.

    Parameters
    ----------
    X : ndarray of shape (N, D)
        Activations.
    X_changed : ndarray of shape (N, D) or (N, R, D)
        Activations of the same samples after the change, or of R copies of each. A row of NaN means
        that the sample has no copy.
    sample_weight : ndarray of shape (N,), optional
        Integer weights count as repetitions; a sample of weight 0 counts as absent.
    standardize : bool, default=True
        Divide by the neuron's standard deviation :math:`\sigma_i` over all samples, with or without
        copies; a constant neuron scores 0. False sets :math:`\sigma_i = 1`.

    Returns
    -------
    ndarray of shape (D,)
        Scores in standard deviations of the activation, or in its units.

    Raises
    ------
    InputError
        If no sample of positive weight has a copy, or shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import change_scores
    >>> X = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    >>> X_changed = np.array([[0.0, 4.0], [2.0, -3.0], [np.nan, np.nan]])
    >>> change_scores(X, X_changed, standardize=False)
    array([0.        , 3.53553391])
    """
    copies = X_changed[:, None] if X_changed.ndim == 2 else X_changed
    if copies.ndim != 3 or (len(copies), copies.shape[2]) != X.shape:
        raise InputError(
            f"X_changed must have a row for each row of X, shape {X.shape} or ({len(X)}, R, "
            f"{X.shape[1]}); got {X_changed.shape}."
        )
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    of, copy = np.nonzero(~np.isnan(copies[:, :, 0]) & (weight[:, None] > 0))
    if not len(of):
        raise InputError(
            "X_changed has no copy of any sample: all of its rows are NaN, or belong to samples of "
            "weight 0. Pass embeddings of changed inputs."
        )
    mass = weight[of] / np.bincount(of)[of]
    scores = np.zeros(X.shape[1], dtype=np.result_type(X.dtype, np.float32))
    samples = np.flatnonzero(weight > 0)

    def fill(columns: slice) -> None:
        changed = np.ascontiguousarray(copies[of, copy, columns].T)
        change = changed - neurons_of(X, of, columns).astype(np.float64)
        score = np.sqrt(row_means(change**2, mass))
        if standardize:
            scale = std_of_rows(neurons_of(X, samples, columns), weight[samples])
            score = np.divide(score, scale, out=np.zeros_like(score), where=scale > 0)
        scores[columns] = score

    for_each_block(fill, X)
    return scores


def sfit(scores: Array) -> float:
    r"""SFit of a head, :math:`\sum_{y, i} |\delta_i^y|` over the scored classes."""
    return float(np.nansum(np.abs(scores), dtype=float))


Aggregation = Literal["union", "intersection", "per_class"]


def suppressed_neurons(
    scores: Array,
    *,
    threshold: float = 0.0,
    aggregation: Aggregation = "union",
    max_suppressed: float = 1.0,
    non_constant: Array | None = None,
) -> Array:
    r"""Mask of the neurons whose score exceeds the threshold.

    ``union``: :math:`S = \{ i : \delta_i^y > \lambda \text{ for any scored class } y \}`.
    ``intersection``: the same for every scored class. ``per_class``: one set for each class,
    applied to that class's row of the head. Classes without scores (NaN) do not count.

    Parameters
    ----------
    scores : ndarray of shape (C, D)
        From :func:`spuriousness_scores`.
    threshold : float
        λ, in the units of the scores.
    aggregation : {"union", "intersection", "per_class"}
        How the classes are combined.
    max_suppressed : float in [0, 1]
        Largest share of the non-constant neurons to suppress; the highest scores are suppressed
        first.
    non_constant : ndarray of bool, shape (D,), optional
        Mask of the neurons that vary. A constant neuron is never suppressed, because it acts only
        as a bias.

    Returns
    -------
    ndarray of bool, shape (D,), or (C, D) with ``per_class``
        True for a neuron to suppress.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import suppressed_neurons
    >>> scores = np.array([[0.5, -1.0, 0.2], [-0.1, -2.0, 0.3]])
    >>> suppressed_neurons(scores)
    array([ True, False,  True])
    >>> suppressed_neurons(scores, aggregation="intersection")
    array([False, False,  True])
    """
    non_constant = np.ones(scores.shape[1], dtype=bool) if non_constant is None else non_constant
    compared = severity(scores, aggregation)
    flagged = (compared > threshold) & non_constant
    if max_suppressed < 1:
        most = int(max_suppressed * non_constant.sum())
        ranked = np.argsort(np.where(flagged, -compared, np.inf), axis=-1, kind="stable")
        top = np.zeros_like(flagged)
        np.put_along_axis(top, ranked[..., :most], True, axis=-1)
        flagged &= top
    return np.asarray(flagged)


def spare_neurons(
    suppressed: Array, scores: Array, *, aggregation: Aggregation, non_constant: Array
) -> Array:
    """Mask that keeps at least one non-constant neuron, that with the smallest score."""
    compared = np.broadcast_to(severity(scores, aggregation), suppressed.shape)
    spared = np.atleast_2d(suppressed.copy())
    for row, rank in zip(spared, np.atleast_2d(compared), strict=True):
        if non_constant.any() and row[non_constant].all():
            row[np.where(non_constant, rank, np.inf).argmin()] = False
    return spared.reshape(suppressed.shape)


def severity(scores: Array, aggregation: str) -> Array:
    """Score that is compared with λ: (D,), or (C, D) per class; -inf without a score."""
    scored = np.asarray(~np.isnan(scores).all(axis=1))
    if aggregation == "per_class":
        return np.where(scored[:, None], scores, -np.inf)
    if not scored.any():
        return np.full(scores.shape[1], -np.inf)
    combine = np.min if aggregation == "intersection" else np.max
    return np.asarray(combine(scores[scored], axis=0))
