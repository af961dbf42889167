"""Labels of which some are unknown, in scikit-learn's semi-supervised manner."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit._types import Array
from ntkit.exceptions import InputError

UNKNOWN = -1
"""The mark of an unknown label, as in ``sklearn.semi_supervised``."""


def known_labels(values: ArrayLike, name: str) -> tuple[Array, NDArray[np.bool_]]:
    """Tell the labels that are known from those that are not."""
    # Unknown is the number -1, None, NaN, NaT and pandas.NA, among labels of any type.
    array = np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{name} must have shape (N,), one label per sample; got {array.shape}.")
    known = ~_unknown(array)
    labels = array[known]
    if labels.dtype == object and len(labels):
        plain = np.array(labels.tolist())
        if plain.ndim != 1:
            raise InputError(f"{name} must have shape (N,), one label per sample.")
        if plain.dtype.kind in "US" and not all(isinstance(x, str | bytes) for x in labels):
            raise InputError(
                f"{name} mixes labels of types that do not compare; use one type, such as strings."
            )
        labels = plain
    if labels.dtype.kind == "U" and (labels == str(UNKNOWN)).any():
        raise InputError(
            f"{name} holds the text '-1', which NumPy makes of the number -1 beside text; mark "
            "unknown labels by None, or use an array of type object."
        )
    only_one = labels.dtype.kind in "iuf" and set(labels.tolist()) == {1}
    if only_one and not known.all() and (array[~known] == UNKNOWN).all():
        raise InputError(
            f"{name} holds -1 and 1 alone, and -1 means unknown; if it is meant as a label, use "
            "other labels, such as 0 and 1."
        )
    return labels, known


def _unknown(array: Array) -> NDArray[np.bool_]:
    if array.dtype.kind in "mM":
        return np.isnat(array)
    if array.dtype.kind in "fc":
        return np.asarray(np.isnan(array) | (array == UNKNOWN))
    if array.dtype.kind == "i":
        return np.asarray(array == UNKNOWN)
    if array.dtype.kind != "O":
        return np.zeros(len(array), dtype=bool)
    return np.array([_is_unknown(label) for label in array], dtype=bool)


def _is_unknown(label: object) -> bool:
    if label is None or type(label).__name__ == "NAType":
        return True
    if isinstance(label, bool | np.bool_ | str | bytes):
        return False
    # NaN and NaT differ from themselves.
    return bool(label != label) or bool(label == UNKNOWN)
