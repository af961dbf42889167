"""Group labels and concept labels as a user gives them: checked, and as indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.study._rows import Rows

__all__ = ["encoded_groups", "encoded_labels"]

Array = NDArray[Any]


def encoded_groups(groups: Any, rows: Rows, name: str) -> tuple[Array, Array]:
    """Group labels and the index of each row's group.

    Raises
    ------
    InputError
        If the groups are missing or not usable labels, or a group has no sample of positive
        weight.
    """
    if groups is None:
        raise InputError(
            f"{name} needs the group of every sample; pass groups= to fit, such as one label for "
            "every pair of class and spurious attribute (groups=y balances the classes alone)."
        )
    labels, index = encoded_labels(groups, len(rows.y_index), "groups")
    empty = np.bincount(index, weights=rows.weight) <= 0
    if empty.any():
        raise InputError(
            f"The group {labels[empty].tolist()[0]!r} has no sample of positive weight; leave its "
            "samples out."
        )
    return labels, index


def encoded_labels(values: Any, n_samples: int, name: str) -> tuple[Array, Array]:
    """Distinct labels of any type, sorted, and the index of each sample's.

    Raises
    ------
    InputError
        If they are not one label per sample, some are missing, or their types do not compare.
    """
    values = np.asarray(values)
    if values.shape == (n_samples, 1):
        values = values[:, 0]
    if values.shape != (n_samples,):
        raise InputError(
            f"{name} must hold one label per sample, shape ({n_samples},); got shape "
            f"{values.shape}."
        )
    absent = _missing(values)
    if absent.any():
        raise InputError(
            f"{name} has {int(absent.sum())} missing value(s), the first in row "
            f"{int(absent.argmax())}; label every sample, or leave it out."
        )
    try:
        labels, index = np.unique(values, return_inverse=True)
    except TypeError as error:
        raise InputError(
            f"{name} mixes labels of types that do not compare; use one type, such as strings."
        ) from error
    return labels, index


def _missing(values: Array) -> Array:
    """Where there is None, NaN, NaT or pandas.NA."""
    if values.dtype.kind in "fcmM":
        return np.isnan(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    # pandas.NA equals nothing and is neither true nor false.
    return np.array([v is None or type(v).__name__ == "NAType" or v != v for v in values])
