"""Sample weights that balance classes, and correctness within a class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

__all__ = ["class_weighted", "correctness_balanced"]

Array = NDArray[Any]


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


def correctness_balanced(sample_weight: Array, y_index: Array, misclassified: Array) -> Array:
    """Share each class's weight equally between its correct and its misclassified samples.

    A class where one of the two is empty keeps its weights, so every class keeps its total.
    """
    cell = 2 * y_index + misclassified
    mass = np.bincount(cell, weights=sample_weight, minlength=2 * (int(y_index.max()) + 1))
    mass = mass.reshape(-1, 2)
    target = mass.sum(axis=1, keepdims=True) / np.maximum(1, (mass > 0).sum(axis=1, keepdims=True))
    factor = np.divide(target, mass, out=np.ones_like(mass), where=mass > 0)
    return np.asarray(sample_weight * factor.ravel()[cell])
