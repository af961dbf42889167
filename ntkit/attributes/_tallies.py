"""Counts of attributes by class and by error, many attributes at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ntkit.attributes._predictions import Predictions
from ntkit.attributes._view import Block

__all__ = ["Tallies", "tallies"]

Array = NDArray[Any]
_BYTES = 64 << 20  # of a product of dense values


@dataclass(frozen=True, eq=False)
class Tallies:
    """Counts of B attributes and C classes, each class at its effective number of samples.

    Weights count within a class by their effective number, the square of their sum over the sum of
    their squares; without weights these are plain counts.

    Attributes
    ----------
    having, wrong, taken_for : ndarray of shape (B, C)
        Samples of the class that have the attribute; those of them that are wrong; and samples of
        the other classes that have it and are taken for this one.
    size : ndarray of shape (C,)
        Samples of the class.
    confusion : ndarray of shape (C, C)
        Samples of class i that are taken for class j; 0 on the diagonal.
    unit : ndarray of shape (C,)
        Mean weight of a sample of the class, that makes numbers of classes comparable.
    """

    having: Array
    wrong: Array
    taken_for: Array
    size: Array
    confusion: Array
    unit: Array


def tallies(block: Block, predictions: Predictions) -> Tallies:
    """Count the attributes of a block, among the samples of which they are known."""
    y, pred, wrong = predictions.y_index, predictions.pred_index, predictions.wrong
    weight, C = predictions.weight, len(predictions.classes)
    if block.known is not None:
        weight = weight * block.known
    total = np.bincount(y, weights=weight, minlength=C)
    squares = np.bincount(y, weights=weight**2, minlength=C)
    present = total > 0
    unit = np.divide(squares, total, out=np.ones(C), where=present)
    relative = weight / unit[y]
    rows = np.arange(len(y))
    marks = sparse.csr_array(
        (
            np.concatenate([relative, relative[wrong], relative[wrong]]),
            (
                np.concatenate([rows, rows[wrong], rows[wrong]]),
                np.concatenate([y, C + y[wrong], 2 * C + pred[wrong]]),
            ),
        ),
        shape=(len(y), 3 * C),
    )
    having, errors, taken_for = np.split(_product(block.values, marks), 3, axis=1)
    confusion = np.zeros((C, C))
    np.add.at(confusion, (y[wrong], pred[wrong]), relative[wrong])
    size = np.bincount(y, weights=relative, minlength=C)
    return Tallies(having, errors, taken_for, size, confusion, unit)


def _product(values: Any, marks: Any) -> Array:
    """Transposed values (B, N) times marks (N, M), dense."""
    if sparse.issparse(values):
        return np.asarray((values.T @ marks).toarray(), dtype=np.float64)
    step = max(1, _BYTES // max(1, 8 * len(values)))
    parts = [
        (marks.T @ values[:, start : start + step].astype(np.float64)).T
        for start in range(0, values.shape[1], step)
    ]
    return np.concatenate(parts)
