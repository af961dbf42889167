"""Sample weights that balance the groups class × attribute, some of them unknown, empty or tiny."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.study._learned_share import LEAST_ERRORS
from ntkit.study._sample_weights import MOST_WEIGHT

__all__ = ["group_balanced", "group_numbers", "judged_groups"]

Array = NDArray[Any]


def group_numbers(y_index: Array, sides: Array) -> Array:
    """Number of the group of each sample: its class and its side of every attribute.

    Parameters
    ----------
    y_index : ndarray of int, shape (N,)
        Classes.
    sides : ndarray of int, shape (N, A)
        Side of each attribute; −1 where it is on none, or that is not known.

    Returns
    -------
    ndarray of int, shape (N,)
        From 0 on, in the order of the classes; −1 where a side is.
    """
    number = np.asarray(y_index, dtype=np.int64)
    for side in sides.T:
        number = np.unique(number * (side.max() + 2) + side + 1, return_inverse=True)[1]
    known = (sides >= 0).all(axis=1)
    numbers = np.full(len(number), -1)
    numbers[known] = np.unique(number[known], return_inverse=True)[1]
    return numbers


def group_balanced(sample_weight: Array, y_index: Array, sides: Array) -> Array:
    """Equal mass for every class, and within it for every side of each attribute.

    Samples on no side, or of which it is not known, keep their share of the class. Of several
    attributes, all combinations of sides that occur in a class count alike. No sample counts more
    than ``MOST_WEIGHT`` times what it does where classes alone are balanced: a handful of samples
    must not outweigh thousands.

    Parameters
    ----------
    sample_weight : ndarray of shape (N,)
        Weights; a sample of weight 0 counts as absent.
    y_index, sides
        As :func:`group_numbers` takes them.

    Returns
    -------
    ndarray of shape (N,)
        Of the same sum.
    """
    weight = np.asarray(sample_weight, dtype=np.float64)
    balanced = np.zeros(len(weight))
    classes = np.unique(y_index[weight > 0])
    for label in classes:
        rows = np.flatnonzero((y_index == label) & (weight > 0))
        own = weight[rows] / weight[rows].sum()
        combinations, at = np.unique(sides[rows], axis=0, return_inverse=True)
        mass = np.bincount(at.ravel(), weights=own)
        balanced[rows] = own * _factors(_shares(combinations, mass), mass)[at.ravel()]
    return np.asarray(balanced * weight.sum() / len(classes))


def judged_groups(
    sample_weight: Array, y_index: Array, sides: Array, least: int = LEAST_ERRORS
) -> Array:
    """Groups that are large enough to judge a head by: their numbers, and −1 for other samples.

    Where a class has none of at least so many samples, all of its samples are one.
    """
    numbers = group_numbers(y_index, sides)
    sizes = np.bincount(numbers[(numbers >= 0) & (sample_weight > 0)], minlength=numbers.max() + 1)
    small = np.append(sizes < least, True)  # the last is that of −1
    judged = np.where(small[numbers], -1, numbers)
    for label in np.unique(y_index):
        rows = y_index == label
        if (judged[rows] < 0).all():
            judged[rows] = judged.max() + 1
    kept = np.unique(judged[judged >= 0])
    return np.asarray(np.where(judged >= 0, np.searchsorted(kept, judged), -1))


def _shares(combinations: Array, mass: Array) -> Array:
    """Share of a class that each combination of sides (K, A) is to have."""
    shares = np.ones(len(mass))
    for side in combinations.T:
        unknown = float(mass[side < 0].sum())
        n_sides = len(np.unique(side[side >= 0]))
        shares *= np.where(side < 0, unknown, (1 - unknown) / max(1, n_sides))
    return np.asarray(shares / shares.sum())


def _factors(shares: Array, mass: Array) -> Array:
    """What gives parts of this mass these shares; what a part may not get goes to the others."""
    free, factor = np.ones(len(mass), dtype=bool), shares / mass
    while (factor[free] > MOST_WEIGHT).any():
        free &= factor <= MOST_WEIGHT
        left = 1 - MOST_WEIGHT * mass[~free].sum()
        factor = np.where(free, left * shares / (shares[free].sum() * mass), MOST_WEIGHT)
    return np.asarray(factor)
