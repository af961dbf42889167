"""Sample weights that balance classes, and correctness within a class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from ntkit.study._learned_share import LEAST_ERRORS

__all__ = ["MOST_WEIGHT", "class_weighted", "correctness_balanced", "correctness_cells"]

Array = NDArray[Any]
MOST_WEIGHT = 50.0


def class_weighted(
    sample_weight: Array, y_index: Array, classes: Array, class_weight: Any
) -> Array:
    """Sample weights times scikit-learn's ``class_weight`` ("balanced", a dict or None)."""
    if class_weight is None:
        return sample_weight
    factor = compute_class_weight(
        class_weight, classes=classes, y=classes[y_index], sample_weight=sample_weight
    )
    return np.asarray(sample_weight * factor[y_index])


def correctness_cells(y_index: Array, misclassified: Array, sample_weight: Array) -> Array:
    """Number of the class × correctness cell of each sample: 2 y, or 2 y + 1 for an error.

    A class with fewer than ``LEAST_ERRORS`` errors, or correct samples, of positive weight is one
    cell.
    """
    cells = 2 * y_index + misclassified
    sizes = np.bincount(cells[sample_weight > 0], minlength=2 * (int(y_index.max()) + 1))
    told_apart = sizes.reshape(-1, 2).min(axis=1) >= LEAST_ERRORS
    return np.asarray(np.where(told_apart[y_index], cells, 2 * y_index))


def correctness_balanced(sample_weight: Array, y_index: Array, misclassified: Array) -> Array:
    """Share each class's weight equally between its correct and its misclassified samples.

    Every class keeps its total. A class with fewer than ``LEAST_ERRORS`` errors, or correct
    samples, keeps its weights, and no sample counts more than ``MOST_WEIGHT`` times what it did: a
    handful of wrong labels must not outweigh thousands of right ones.
    """
    cells = correctness_cells(y_index, misclassified, sample_weight)
    mass = np.bincount(cells, weights=sample_weight, minlength=2 * (int(y_index.max()) + 1))
    mass = mass.reshape(-1, 2)
    total, lesser = mass.sum(axis=1, keepdims=True), mass.min(axis=1, keepdims=True)
    share = np.minimum(total / 2, MOST_WEIGHT * lesser)
    target = np.where(mass == lesser, share, total - share)
    target = np.where(mass[:, :1] == mass[:, 1:], mass, target)  # nothing to move
    factor = np.divide(target, mass, out=np.ones_like(mass), where=(mass > 0) & (lesser > 0))
    return np.asarray(sample_weight * factor.ravel()[cells])
