"""Attributes as ``fit`` is given them: the sides that the groups class × attribute are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ntkit.exceptions import InputError
from ntkit.study import Study

__all__ = ["with_attributes"]

Array = NDArray[Any]


def with_attributes(study: Study, own: Any, val: Any) -> Study:
    """A study, with attributes of its rows that a right answer must not depend on.

    Parameters
    ----------
    study : Study
        The rows.
    own, val : array-like or sparse array of shape (N, A) and (M, A)
        Attributes of the training and of the held-out rows.

    Raises
    ------
    InputError
        If they do not fit.
    """
    parts = [_checked(own, len(study.train.weight), "attributes")]
    if study.held is not None:
        if val is None:
            raise InputError("X_val needs its attributes; pass attributes_val as well.")
        parts.append(_checked(val, len(study.held.weight), "attributes_val"))
        if parts[0].shape[1] != parts[1].shape[1]:
            raise InputError(
                f"attributes has {parts[0].shape[1]} columns and attributes_val "
                f"{parts[1].shape[1]}; give the same attributes in the same order."
            )
    some_sparse = any(map(sparse.issparse, parts))
    matrix = sparse.vstack(parts, "csc") if some_sparse else np.concatenate(parts)
    return replace(study, sides=_sides(matrix))


def _checked(attributes: Any, n_samples: int, which: str) -> Any:
    """Attributes as a matrix of −1, 0, 1 and so on, one row per sample; sparse ones stay so."""
    matrix = attributes
    if not sparse.issparse(matrix):
        matrix = np.asarray(matrix)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[0] != n_samples or matrix.dtype.kind not in "biuf":
        raise InputError(
            f"{which} must be numbers, one row for each of {n_samples} samples and one column for "
            f"each attribute; got {matrix.dtype} of shape {matrix.shape}."
        )
    values = matrix.data if sparse.issparse(matrix) else matrix
    if values.size and not (np.isfinite(values) & (values == np.round(values))).all():
        raise InputError(
            f"{which} holds values that are no whole numbers; give 1 where a sample has an "
            "attribute, 0 where not, −1 where that is not known."
        )
    return matrix.tocsc() if sparse.issparse(matrix) else matrix.astype(np.int64)


def _sides(matrix: Any) -> Array:
    """Attributes that were named, as sides: int, (N, A); all below 0 is not known."""
    dense = matrix.toarray() if sparse.issparse(matrix) else matrix
    return np.maximum(np.asarray(dense, dtype=np.int64), -1)
