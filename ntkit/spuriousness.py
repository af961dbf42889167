"""Which neurons drive spurious predictions: scores and masks as pure functions of arrays.

The formulas are those of NeuronTune (Zheng, Ye, Zhang, ICML 2025, arXiv 2505.24048): a neuron whose
activation is higher on the misclassified samples of a class than on its correctly classified ones
is biased.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError

__all__ = [
    "contributions",
    "live_neurons",
    "sfit",
    "spare_neurons",
    "spuriousness_scores",
    "suppressed_neurons",
    "weighted_median",
]

Aggregation = Literal["union", "intersection", "per_class"]
Array = NDArray[Any]
_BLOCK = 64  # columns at a time: medians of contiguous rows are twice as fast as of strided columns


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
) -> Array:
    r"""Spuriousness score of every class and neuron.

    .. math:: \delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)

    where :math:`\bar V_i^y` and :math:`\hat V_i^y` are the activations of neuron i over the
    identification samples of class y that were misclassified and correctly classified
    (arXiv 2505.24048, Sec. 4).

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Activations (or contributions) of the identification set.
    y : ndarray of shape (N,)
        True classes.
    misclassified : ndarray of bool, shape (N,)
        Whether the classifier got the sample wrong.
    classes : ndarray of shape (C,)
        The classes to score, in the order of the rows returned.
    sample_weight : ndarray of shape (N,), optional
        Integer weights count as repetitions; a sample of weight 0 counts as absent.
    statistic : {"median", "mean"}
        What is compared.
    standardize : bool
        Divide by the neuron's standard deviation over all samples given; a constant neuron
        scores 0.
    min_misclassified : int
        A class with fewer misclassified samples is not scored.

    Returns
    -------
    ndarray of shape (C, D)
        Scores in units of the activation, or of its standard deviation. A class that is not
        scored (too few misclassified samples, or no correct one) has a row of NaN.

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
    center = {"median": weighted_median, "mean": _weighted_mean}[statistic]
    scores = np.full((len(classes), Z.shape[1]), np.nan, dtype=np.result_type(Z.dtype, np.float32))
    for row, label in enumerate(classes):
        wrong = present & (y == label) & misclassified
        right = present & (y == label) & ~misclassified
        if wrong.sum() >= max(1, min_misclassified) and right.any():
            scores[row] = center(Z[wrong], weight[wrong]) - center(Z[right], weight[right])
    if standardize:
        scale = _weighted_std(Z[present], weight[present])
        scores = np.divide(
            scores, scale, out=np.where(np.isnan(scores), np.nan, 0.0), where=scale > 0
        )
    return scores


def contributions(Z: Array, y_index: Array, coef: Array, logits: Array) -> Array:
    r"""Push of each neuron toward the strongest wrong logit: gradient times activation.

    For a linear head the gradient of (wrong logit - true logit) with respect to the embedding is
    a difference of weight rows, so neuron i of sample n contributes
    :math:`z_{ni} (w_{r_n i} - w_{y_n i})`, with :math:`r_n` the largest logit other than
    :math:`y_n`. Unlike the plain activation its sign means the same for every class: positive
    is toward the error.

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Embeddings.
    y_index : ndarray of int, shape (N,)
        Row of the true class in ``coef``.
    coef : ndarray of shape (C, D)
        Weights, one row per class.
    logits : ndarray of shape (N, C)
        Logits of the same head.

    Returns
    -------
    ndarray of shape (N, D)
        In units of the logits.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import contributions
    >>> Z, coef = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> contributions(Z, np.array([0]), coef, Z @ coef.T)
    array([[-1.,  2.]])
    """
    others = np.array(logits, dtype=float)
    others[np.arange(len(others)), y_index] = -np.inf
    rival = others.argmax(axis=1)
    return np.asarray(Z * (coef[rival] - coef[y_index]))


def suppressed_neurons(
    scores: Array,
    *,
    threshold: float = 0.0,
    aggregation: Aggregation = "union",
    max_suppressed: float = 1.0,
    live: Array | None = None,
) -> Array:
    r"""Neurons whose score exceeds the threshold.

    ``union``: :math:`S = \{ i : \delta_i^y > \lambda \text{ for any scored class } y \}`;
    ``intersection``: for every scored class; ``per_class``: one set for each class's row of the
    head. Classes that are not scored (NaN) neither vote nor veto.

    Parameters
    ----------
    scores : ndarray of shape (C, D)
        From :func:`spuriousness_scores`.
    threshold : float
        λ, in the units of the scores.
    aggregation : {"union", "intersection", "per_class"}
        How the classes are combined.
    max_suppressed : float in [0, 1]
        Largest share of live neurons to suppress; the highest scores go first.
    live : ndarray of bool, shape (D,), optional
        Neurons that vary at all. A constant neuron is never suppressed: only the bias feels it.

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
    >>> suppressed_neurons(scores, max_suppressed=0.34)
    array([ True, False, False])
    """
    live = np.ones(scores.shape[1], dtype=bool) if live is None else live
    severity = _severity(scores, aggregation)
    flagged = (severity > threshold) & live
    if max_suppressed < 1:
        most = int(max_suppressed * live.sum())
        ranked = np.argsort(np.where(flagged, -severity, np.inf), axis=-1, kind="stable")
        top = np.zeros_like(flagged)
        np.put_along_axis(top, ranked[..., :most], True, axis=-1)
        flagged &= top
    return np.asarray(flagged)


def spare_neurons(
    suppressed: Array,
    scores: Array,
    *,
    aggregation: Aggregation = "union",
    min_neurons: int = 1,
    live: Array | None = None,
) -> Array:
    """Take neurons out of a mask until at least ``min_neurons`` live ones are kept.

    The neurons with the smallest scores are spared first, so the head never becomes constant.

    Parameters
    ----------
    suppressed : ndarray of bool, shape (D,) or (C, D)
        From :func:`suppressed_neurons`.
    scores : ndarray of shape (C, D)
        As there.
    aggregation : {"union", "intersection", "per_class"}
        As there.
    min_neurons : int
        Live neurons to keep (all of them, where there are fewer).
    live : ndarray of bool, shape (D,), optional
        As there.

    Returns
    -------
    ndarray of bool, the shape of ``suppressed``
        The mask that is left.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import spare_neurons
    >>> spare_neurons(np.array([True, True, True]), np.array([[0.5, 0.1, 0.2]]))
    array([ True, False,  True])
    """
    live = np.ones(scores.shape[1], dtype=bool) if live is None else live
    severity = np.broadcast_to(_severity(scores, aggregation), suppressed.shape)
    spared = np.atleast_2d(suppressed.copy())
    for row, rank in zip(spared, np.atleast_2d(severity), strict=True):
        missing = min(min_neurons, int(live.sum())) - int((live & ~row).sum())
        if missing > 0:
            candidates = np.flatnonzero(row & live)
            row[candidates[np.argsort(rank[candidates], kind="stable")[:missing]]] = False
    return spared.reshape(suppressed.shape)


def live_neurons(Z: Array, sample_weight: Array | None = None) -> Array:
    """Neurons that are not constant over the samples of positive weight: bool, shape (D,).

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Activations.
    sample_weight : ndarray of shape (N,), optional
        Weights; by default all samples count.

    Returns
    -------
    ndarray of bool, shape (D,)
        True for a neuron that varies.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import live_neurons
    >>> live_neurons(np.array([[0.0, 1.0], [2.0, 1.0]]))
    array([ True, False])
    """
    Z = Z if sample_weight is None else Z[sample_weight > 0]
    return np.asarray(Z.max(axis=0) > Z.min(axis=0))


def sfit(scores: Array) -> float:
    r"""SFit of a head, :math:`\sum_{y, i} |\delta_i^y|` over the scored classes.

    The paper's label-free selection score (arXiv 2505.24048), larger is better; 0 if no class is
    scored. It rewards heads with few, noisy errors: read it as a diagnostic.

    Parameters
    ----------
    scores : ndarray of shape (C, D)
        From :func:`spuriousness_scores`.

    Returns
    -------
    float
        In the units of the scores.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import sfit
    >>> sfit(np.array([[0.5, -1.0], [np.nan, np.nan]]))
    1.5
    """
    return float(np.nansum(np.abs(scores), dtype=float))


def weighted_median(values: Array, weight: Array) -> Array:
    """Median of each column; integer weights count as repetitions of a row.

    Parameters
    ----------
    values : ndarray of shape (n, D), n >= 1
        Rows of weight > 0.
    weight : ndarray of shape (n,)
        Positive weights.

    Returns
    -------
    ndarray of shape (D,)
        In the units of ``values``.

    Raises
    ------
    InputError
        If there is no row, or a weight is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import weighted_median
    >>> weighted_median(np.array([[1.0], [5.0], [9.0]]), np.array([1, 1, 2]))
    array([7.])
    """
    if len(values) == 0 or (weight <= 0).any():
        raise InputError("weighted_median needs at least one row, and positive weights.")
    even = (weight == weight[0]).all()
    medians = np.empty(values.shape[1], dtype=np.result_type(values.dtype, np.float32))
    for start in range(0, values.shape[1], _BLOCK):
        block = np.ascontiguousarray(values[:, start : start + _BLOCK].T)
        medians[start : start + _BLOCK] = (
            _median_of_rows(block) if even else _weighted_median_of_rows(block, weight)
        )
    return medians


def _median_of_rows(rows: Array) -> Array:
    # NumPy sorts contiguous rows with vector instructions, ten times faster than np.median.
    ordered = np.sort(rows, axis=1)
    n = rows.shape[1]
    return np.asarray((ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2)


def _weighted_median_of_rows(rows: Array, weight: Array) -> Array:
    order = np.argsort(rows, axis=1, kind="stable")
    mass = np.cumsum(weight[order], axis=1)
    # Sums of weights in another order differ in the last digits; half of them must still be half.
    half, slack = mass[:, -1:] / 2, 1e-12 * mass[:, -1:]
    lower = (mass < half - slack).sum(axis=1, keepdims=True)
    upper = (mass <= half + slack).sum(axis=1, keepdims=True)
    ordered = np.take_along_axis(rows, order, axis=1)
    at = [np.take_along_axis(ordered, np.asarray(i), axis=1)[:, 0] for i in (lower, upper)]
    return np.asarray((at[0] + at[1]) / 2)


def _weighted_mean(values: Array, weight: Array) -> Array:
    return np.asarray(np.average(values, axis=0, weights=weight))


def _weighted_std(values: Array, weight: Array) -> Array:
    values = np.asarray(values, dtype=np.float64)
    mean = np.average(values, axis=0, weights=weight)
    variance = np.average((values - mean) ** 2, axis=0, weights=weight)
    # Rounding leaves a constant column a variance of its last digits, not of 0.
    varies = np.asarray(values.max(axis=0) > values.min(axis=0))
    return np.where(varies, np.sqrt(variance), 0.0)


def _severity(scores: Array, aggregation: Aggregation) -> Array:
    """Score that is compared with λ: (D,), or (C, D) per class; -inf where nothing is scored."""
    scored = np.asarray(~np.isnan(scores).all(axis=1))
    if aggregation == "per_class":
        return np.where(scored[:, None], scores, -np.inf)
    if not scored.any():
        return np.full(scores.shape[1], -np.inf)
    combine = {"union": np.max, "intersection": np.min}[aggregation]
    return np.asarray(combine(scores[scored], axis=0))
