"""Counts of attributes by class and by error, many attributes at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ntkit.attributes import Block
from ntkit.suspicions._predictions import Predictions

__all__ = ["Marks", "Tallies", "product_of", "tallies"]

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


@dataclass(frozen=True, eq=False)
class Marks:
    """Class and error of each sample, as a matrix that attributes are multiplied with.

    Attributes
    ----------
    matrix : scipy sparse array of shape (N, 3 C)
        The weight of each sample at its class, and of the wrong ones at C plus their class and at
        2 C plus the class that they are taken for.
    size, confusion, unit : ndarray
        As :class:`Tallies` has them.
    """

    matrix: Any
    size: Array
    confusion: Array
    unit: Array

    @classmethod
    def of(cls, predictions: Predictions, known: Array | None = None) -> Marks:
        """Of all samples, or of those that are known."""
        y, pred, wrong = predictions.y_index, predictions.pred_index, predictions.wrong
        weight, C = predictions.weight, len(predictions.classes)
        if known is not None:
            weight = weight * known
        total = np.bincount(y, weights=weight, minlength=C)
        squares = np.bincount(y, weights=weight**2, minlength=C)
        unit = np.divide(squares, total, out=np.ones(C), where=total > 0)
        relative = weight / unit[y]
        rows = np.arange(len(y))
        marks = np.concatenate([relative, relative[wrong], relative[wrong]])
        at = np.concatenate([rows, rows[wrong], rows[wrong]])
        columns = np.concatenate([y, C + y[wrong], 2 * C + pred[wrong]])
        matrix = sparse.csr_array((marks, (at, columns)), shape=(len(y), 3 * C))
        confusion = np.zeros((C, C))
        np.add.at(confusion, (y[wrong], pred[wrong]), relative[wrong])
        return cls(matrix, np.bincount(y, weights=relative, minlength=C), confusion, unit)


def tallies(block: Block, marks: Marks) -> Tallies:
    """Count the attributes of a block by class and by error."""
    having, wrong, taken_for = np.split(product_of(block.values, marks.matrix), 3, axis=1)
    return Tallies(having, wrong, taken_for, marks.size, marks.confusion, marks.unit)


def product_of(values: Any, marks: Any) -> Array:
    """Transposed values (B, N) times marks (N, M), dense."""
    if sparse.issparse(values):
        return np.asarray((values.T @ marks).toarray(), dtype=np.float64)
    step = max(1, _BYTES // max(1, 8 * len(values)))
    product = np.empty((values.shape[1], marks.shape[1]))
    for start in range(0, len(product), step):
        part = values[:, start : start + step].astype(np.float64)
        product[start : start + step] = (marks.T @ part).T
    return product
