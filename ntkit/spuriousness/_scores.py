"""Spuriousness scores of neurons, and what the whole of them says of a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit.spuriousness._columns import (
    for_each_block,
    mean_of_rows,
    median_of_rows,
    neurons_of,
    std_of_rows,
)

__all__ = ["sfit", "spuriousness_scores", "strongest_wrong"]

Array = NDArray[Any]
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
    transform: Callable[[Array, Array, slice], Array] | None = None,
) -> Array:
    r"""Spuriousness score of every class and neuron.

    .. math:: \delta_i^y = \mathrm{Med}(\bar V_i^y) - \mathrm{Med}(\hat V_i^y)

    where :math:`\bar V_i^y` and :math:`\hat V_i^y` are the activations of neuron i over the
    identification samples of class y that were misclassified and correctly classified
    (arXiv 2505.24048, Sec. 4).

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Activations of the identification set, or what else is to be scored.
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
    transform : callable, optional
        Applied to the activations of a few neurons before they are scored, so that no second
        array of all of them is made: called with activations (neurons, samples), the samples'
        rows in ``Z``, and the neurons as a slice of its columns.

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
    center = {"median": median_of_rows, "mean": mean_of_rows}[statistic]
    sides = list[tuple[int, Array, Array]]()
    for row, label in enumerate(classes):
        wrong = np.flatnonzero(present & (y == label) & misclassified)
        right = np.flatnonzero(present & (y == label) & ~misclassified)
        if len(wrong) >= max(1, min_misclassified) and len(right):
            sides.append((row, wrong, right))
    scores = np.full((len(classes), Z.shape[1]), np.nan, dtype=np.result_type(Z.dtype, np.float32))
    samples = np.flatnonzero(present)

    def values(rows: Array, columns: slice) -> Array:
        neurons = neurons_of(Z, rows, columns)
        return neurons if transform is None else transform(neurons, rows, columns)

    def fill(columns: slice) -> None:
        for row, wrong, right in sides:
            of_wrong = center(values(wrong, columns), weight[wrong]).astype(scores.dtype)
            of_right = center(values(right, columns), weight[right]).astype(scores.dtype)
            # Weighted means of equal values differ in their last digits; no neuron is flagged so.
            equal = np.abs(of_wrong - of_right) <= _ROUNDING * np.abs(of_wrong)
            scores[row, columns] = np.where(equal, 0, of_wrong - of_right)
        if standardize:
            scale = std_of_rows(values(samples, columns), weight[samples])
            scaled = np.where(np.isnan(scores[:, columns]), np.nan, 0.0)
            np.divide(scores[:, columns], scale, out=scaled, where=scale > 0)
            scores[:, columns] = scaled

    for_each_block(fill, Z)
    return scores


def strongest_wrong(logits: Array, y_index: Array) -> Array:
    """Column of the largest logit other than the true class's.

    Parameters
    ----------
    logits : ndarray of shape (N, C)
        Logits of C >= 2 classes.
    y_index : ndarray of int, shape (N,)
        Column of the true class.

    Returns
    -------
    ndarray of int, shape (N,)
        Indices of classes.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.spuriousness import strongest_wrong
    >>> strongest_wrong(np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]]), np.array([0, 1]))
    array([2, 0])
    """
    others = np.array(logits, dtype=float)
    others[np.arange(len(others)), y_index] = -np.inf
    return np.asarray(others.argmax(axis=1))


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
