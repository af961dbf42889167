"""Label columns that the metrics can use: one-dimensional, complete, of equal length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit.exceptions import InputError

__all__ = ["check_embeddings", "check_labels", "check_predictions"]

Array = NDArray[Any]


def check_labels(**columns: ArrayLike) -> list[Array]:
    """Columns as arrays of one length, shape (N,); the keywords name them in errors.

    Raises
    ------
    InputError
        If a column is empty, two-dimensional or longer than another, or an entry is missing
        (None, NaN).
    """
    arrays = {name: _column(name, values) for name, values in columns.items()}
    first = next(iter(arrays))
    for name, array in arrays.items():
        if len(array) != len(arrays[first]):
            raise InputError(
                f"{name} holds {len(array)} labels but {first} holds {len(arrays[first])}; "
                "give one per sample."
            )
    return list(arrays.values())


def check_predictions(y_true: ArrayLike, **columns: ArrayLike) -> list[Array]:
    """As :func:`check_labels`, for columns of class labels: ``y_true`` and predictions of it."""
    truth, *rest = check_labels(y_true=y_true, **columns)
    for name, array in zip(columns, rest, strict=True):
        if _is_text(array) != _is_text(truth):
            raise InputError(
                f"One of y_true and {name} holds text and the other does not; use the same labels."
            )
    return [truth, *rest]


def check_embeddings(Z: ArrayLike, n: int) -> Array:
    """Embeddings as a numeric array of shape (n, D) without NaN."""
    Z = np.asarray(Z)
    if Z.ndim != 2 or len(Z) != n:
        raise InputError(f"Embeddings of shape ({n}, D) are needed; got {Z.shape}.")
    if Z.dtype.kind not in "fiub":
        raise InputError(f"Embeddings must be numbers; got an array of type {Z.dtype}.")
    if not np.isfinite(Z).all():
        raise InputError("The embeddings contain NaN or infinite values.")
    return Z if Z.dtype in (np.float32, np.float64) else Z.astype(np.float64)


def _column(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{name} must have shape (N,), one label per sample; got {array.shape}.")
    if len(array) == 0:
        raise InputError(f"{name} is empty.")
    missing = (
        any(map(_is_missing, array))
        if array.dtype == object
        else array.dtype.kind == "f" and np.isnan(array).any()
    )
    if missing:
        raise InputError(f"{name} contains NaN or missing entries; give every sample a label.")
    if array.dtype == object:  # as pandas hands out text and nullable integers
        plain = np.array(array.tolist())
        return plain if plain.ndim == 1 else array
    return array


def _is_missing(label: object) -> bool:
    # pandas.NA == pandas.NA is neither true nor false; NaN and NaT differ from themselves.
    return label is None or (label == label) is not True


def _is_text(array: Array) -> bool:
    return array.dtype.kind in "US"
