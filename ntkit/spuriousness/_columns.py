"""Statistics of columns, a cache-sized block of them at a time, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError

__all__ = [
    "for_each_block",
    "live_neurons",
    "mean_of_rows",
    "median_of_rows",
    "neurons_of",
    "std_of_rows",
    "weighted_median",
]

Array = NDArray[Any]
_BLOCK_BYTES = 1 << 27  # of columns at a time
_ROWS = 1024  # at a time
_BLOCK = 64  # columns at a time
_MUCH = 1 << 21  # activations


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
    samples = np.arange(len(Z)) if sample_weight is None else np.flatnonzero(sample_weight > 0)
    varies = np.zeros(Z.shape[1], dtype=bool)
    for start in range(0, len(samples), _ROWS):  # nearly all neurons vary in the first few rows
        rest = np.flatnonzero(~varies)
        rows = samples[start : start + _ROWS]
        varies[rest] = (Z[np.ix_(rows, rest)] != Z[samples[0], rest]).any(axis=0)
    return varies


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
    medians = np.empty(values.shape[1], dtype=np.result_type(values.dtype, np.float32))
    rows = np.arange(len(values))

    def fill(columns: slice) -> None:
        medians[columns] = median_of_rows(neurons_of(values, rows, columns), weight)

    for_each_block(fill, values)
    return medians


def for_each_block(function: Callable[[slice], None], Z: Array) -> None:
    """Call a function for blocks of columns, on all cores where there is much to do.

    A block is small enough for its copy to fit into a cache, and for all of them at a time to fit
    into ``_BLOCK_BYTES``.
    """
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


def neurons_of(Z: Array, samples: Array, columns: slice) -> Array:
    """A few columns at some rows, one contiguous row for each column.

    Copied before they are turned: turning the matrix itself takes seven times as long.
    """
    return np.ascontiguousarray(Z[samples, columns].T)


def median_of_rows(rows: Array, weight: Array) -> Array:
    if not (weight == weight[0]).all():
        return _weighted_median_of_rows(rows, weight)
    n, lowest = rows.shape[1], rows.min(axis=1)
    median = lowest.astype(np.result_type(rows.dtype, np.float32))
    # Behind a ReLU, many neurons are at their lowest for more than half of the samples.
    rest = np.flatnonzero(np.count_nonzero(rows == lowest[:, None], axis=1) <= n // 2)
    # NumPy sorts contiguous rows with vector instructions, ten times faster than np.median.
    ordered = np.sort(rows[rest], axis=1)
    median[rest] = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
    return np.asarray(median)


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


def mean_of_rows(rows: Array, weight: Array) -> Array:
    return np.asarray(np.average(rows, axis=1, weights=weight))


def std_of_rows(rows: Array, weight: Array) -> Array:
    rows = np.asarray(rows, dtype=np.float64)
    mean = np.average(rows, axis=1, weights=weight)
    variance = np.average((rows - mean[:, None]) ** 2, axis=1, weights=weight)
    # Rounding leaves a constant neuron a variance of its last digits, not of 0.
    varies = np.asarray(rows.max(axis=1) > rows.min(axis=1))
    return np.where(varies, np.sqrt(variance), 0.0)
