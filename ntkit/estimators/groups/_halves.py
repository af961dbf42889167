"""Halves of samples in groups: one to fit on, one to judge by."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.study import Rows

__all__ = ["halves", "means_by_group"]

Array = NDArray[Any]


def halves(rows: Rows, group: Array, rng: np.random.RandomState) -> tuple[Array, Array]:
    """Random halves, each with its share of every cell of group and class."""
    cell = group * (int(rows.y_index.max()) + 1) + rows.y_index
    order = np.lexsort((rng.permutation(len(cell)), cell))
    halves = order[::2], order[1::2]
    n_groups, n_classes = len(np.unique(group)), len(np.unique(rows.y_index))
    if all(
        len(np.unique(group[half])) == n_groups and len(np.unique(rows.y_index[half])) == n_classes
        for half in halves
    ):
        return halves
    warnings.warn(
        "A group or class has a single sample, which cannot be in both halves; C is chosen on the "
        "samples it is fitted on. Pass more samples of it, or a single value in Cs.",
        UserWarning,
        stacklevel=5,
    )
    return order, order


def means_by_group(values: Array, weight: Array, group: Array) -> Array:
    mass = np.bincount(group, weights=weight)
    return np.asarray(np.bincount(group, weights=weight * values) / mass)
