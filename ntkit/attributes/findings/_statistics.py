"""Predictions under audit, and how attributes are correlated with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ntkit._checks import labels_of_one_type
from ntkit._types import Array
from ntkit.metrics.contrasts import Marks

NAMELESS = ("layer", "embedding", "input")
"""Kinds whose attributes have only numbers as names: no person can say what they mean."""


@dataclass(frozen=True, eq=False)
class AuditedPredictions:
    """True and predicted classes of N samples that the model was not trained on."""

    classes: Array
    y_index: Array
    pred_index: Array
    weight: Array

    @classmethod
    def of(cls, y: ArrayLike, pred: ArrayLike, weight: Array) -> AuditedPredictions:
        """Predictions from class labels."""
        y, pred = labels_of_one_type(y, pred=pred)
        classes, index = np.unique(np.concatenate([y, pred]), return_inverse=True)
        return cls(classes, index[: len(y)], index[len(y) :], weight)

    @property
    def wrong(self) -> Array:
        """Whether the predicted class is wrong: bool, (N,)."""
        return np.asarray(self.pred_index != self.y_index)

    def marks(self, known: Array | None = None) -> Marks:
        """Classes and errors of all samples, or of those with known values."""
        weight = self.weight if known is None else self.weight * known
        return Marks.of(self.y_index, self.pred_index, weight, len(self.classes))


ALIKE = 0.35
"""Correlation within classes above which attributes count as one; unrelated words are below."""
_AGREE, _POSSIBLE = 0.15, 0.7
_ROWS = 1 << 14


def within_class_correlation(values: Array, y_index: Array, weight: Array) -> Array:
    """Correlation of attributes within classes, summed over the classes."""
    # Two attributes that are correlated with a class are correlated with each other for that reason
    # alone. Within classes, a shortcut and the true content of the classes are not.
    return _within_classes(values, y_index, weight)[0]


def one_shortcut(values: Array, y_index: Array, weight: Array) -> tuple[Array, Array]:
    """Correlation of attributes within classes, and which pairs of them are one shortcut."""
    # A bright border makes half of the image brighter than the median: as far as the two can agree,
    # they do, but the correlation is small because one is more frequent. So 70 % of the largest
    # correlation that is possible with their frequencies count as well as a large correlation.
    # Of 2000 made-up pairs that agree with a class in 95 % of 500 samples, and are independent
    # within classes, at most 0.05 % reach both bounds, and at most 0.7 % of 300 samples.
    correlation, most = _within_classes(values, y_index, weight)
    size = np.abs(correlation)
    nested = (size >= _AGREE) & (size >= _POSSIBLE * most)
    return correlation, (size >= ALIKE) | nested


def _within_classes(values: Array, y_index: Array, weight: Array) -> tuple[Array, Array]:
    """Correlation within classes, and the largest of the same sign with the same frequencies."""
    n_classes = int(y_index.max()) + 1
    mass, sums = np.zeros((2, n_classes, values.shape[1]))
    parts = [slice(start, start + _ROWS) for start in range(0, len(values), _ROWS)]
    for part in parts:
        known, n = (values[part] >= 0) * weight[part, None], len(y_index[part])
        of_class = sparse.csr_array((np.ones(n), (y_index[part], np.arange(n))), (n_classes, n))
        mass += of_class @ known
        sums += of_class @ (known * values[part])
    mean = np.divide(sums, mass, out=np.zeros_like(sums), where=mass > 0)
    gram = np.zeros((values.shape[1], values.shape[1]))
    for part in parts:
        centred = np.where(values[part] >= 0, values[part] - mean[y_index[part]], 0.0)
        centred *= np.sqrt(weight[part])[:, None]
        gram += centred.T @ centred
    deviation = np.sqrt(np.diag(gram))
    scale = np.outer(deviation, deviation)
    most = np.zeros_like(gram)
    for n, share in zip(mass, mean, strict=True):
        one, other = share[:, None], share[None]
        lowest, highest = np.maximum(0, one + other - 1), np.minimum(one, other)
        possible = np.where(gram < 0, one * other - lowest, highest - one * other)
        most += possible * np.sqrt(np.outer(n, n))
    correlation, largest = (
        np.divide(each, scale, out=np.zeros_like(gram), where=scale > 0) for each in (gram, most)
    )
    return correlation, largest
