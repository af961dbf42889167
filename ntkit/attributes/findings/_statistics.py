"""Predictions under audit, and how attributes are correlated with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

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
_ROWS = 1 << 14


def within_class_correlation(values: Array, y_index: Array, weight: Array) -> Array:
    """Correlation of attributes within classes, summed over the classes."""
    # Two attributes that are correlated with a class are correlated with each other for that reason
    # alone. Within classes, a shortcut and the true content of the classes are not.
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
    return np.asarray(np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0))
