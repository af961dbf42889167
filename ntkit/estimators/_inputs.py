"""Checks of the arrays that estimators are fitted to."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight, _num_samples

from ntkit._types import Array
from ntkit._warn import warn
from ntkit.exceptions import InputError


def kept_dtypes(X: Any) -> list[Any]:
    """Element types for fitting; embeddings of another type are converted to the first."""
    # Half precision, as in a store, becomes single precision without loss.
    half = getattr(X, "dtype", None) == np.float16
    return [np.float32, np.float64] if half else [np.float64, np.float32]


def checked_weight(sample_weight: Any, X: Any, name: str = "sample_weight") -> Array:
    """One weight for each row of X, 1 by default; negative weights raise an error."""
    weight = np.asarray(_check_sample_weight(sample_weight, X, dtype=np.float64))
    if (weight < 0).any():
        raise InputError(f"{name} contains negative values; weights must be >= 0.")
    return weight


def checked_copies(X_changed: Any, X: Array) -> Array:
    """Changed copies of the rows of X, shape (N, R, D), NaN for a missing copy."""
    fix = (
        f"X_changed must have a row for each row of X: shape {X.shape} or, with R copies, "
        f"({X.shape[0]}, R, {X.shape[1]}), with NaN for a missing copy"
    )
    try:
        copies = np.asarray(X_changed).astype(X.dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"X_changed does not contain numbers; {fix}.") from error
    shape = copies.shape
    if copies.ndim == 2:
        copies = copies[:, None]
    if copies.ndim != 3 or (len(copies), copies.shape[2]) != X.shape or not copies.shape[1]:
        raise InputError(f"{fix}; got shape {shape}.")
    if np.isinf(copies).any():
        raise InputError(f"X_changed contains infinite values; {fix}.")
    missing = np.isnan(copies).sum(axis=2)
    partial = (missing > 0) & (missing < X.shape[1])
    if partial.any():
        row = int(partial.any(axis=1).argmax())
        raise InputError(f"Row {row} of X_changed is NaN in some columns only; {fix}.")
    of, number = np.nonzero(~np.isnan(copies[:, :, 0]))
    looked_at = slice(None, None, max(1, len(of) // _ROWS))
    warn_of_another_scale(X[of[looked_at]], copies[of, number][looked_at], "X_changed")
    return copies


_ROWS = 2000  # rows that are tested
_LEAST_ROWS = 20  # with fewer rows the scale is unknown
_NEAR = 0.3  # difference from mean 0 and deviation 1 of a standardised sample
_SHIFT, _RATIO = 0.5, 2.5  # in the training set's deviations, if that is standardised
_FAR_SHIFT, _FAR_RATIO = 5.0, 20.0  # and if it is not: no shift of a distribution is so large


def warn_of_another_scale(X: Array, X_val: Array, name: str = "X_val") -> None:
    """Warn if the columns of the two sets have different scales."""
    # A pipeline's scaler transforms X, but not an array that is passed along to a later step, and
    # nothing else would show the mistake: the head decides by neurons that the scale makes large. A
    # standardised X reveals it.
    if min(len(X), len(X_val)) < _LEAST_ROWS:
        return
    rows = [np.asarray(Z[:: -(-len(Z) // _ROWS)], dtype=np.float64) for Z in (X, X_val)]
    varies = rows[0].std(axis=0) > 0
    if not varies.any():
        return
    (mean, std), (mean_val, std_val) = ((Z.mean(axis=0), Z.std(axis=0)) for Z in rows)
    shift = float(np.median(np.abs(mean_val - mean)[varies] / std[varies]))
    ratio = float(np.median(std_val[varies] / std[varies]))
    standardized = [_is_standardized(Z) for Z in rows]
    most, widest = (_SHIFT, _RATIO) if any(standardized) else (_FAR_SHIFT, _FAR_RATIO)
    scaled, other = rows if standardized[0] else rows[::-1]
    # After a ReLU nothing is negative; centred data are negative in nearly every column.
    signs = any(standardized) and (other >= 0).all()
    signs = signs and (scaled.min(axis=0)[varies] < 0).mean() > 0.5
    if shift <= most and 1 / widest <= ratio <= widest and not signs:
        return
    warn(
        f"{name} does not have the scale of X: its column means differ from X's by {shift:.2g} "
        f"standard deviations, and its deviations are {ratio:.2g} times as large (medians). "
        f"Transform {name} like X; a Pipeline does so only with metadata routing and "
        f"transform_input=['{name}'].",
        UserWarning,
    )


def _is_standardized(rows: Array) -> bool:
    """Whether means are near 0 and deviations near 1, in half of the non-constant columns."""
    std = rows.std(axis=0)
    varies = std > 0
    return bool(
        varies.any()
        and np.median(np.abs(rows.mean(axis=0)[varies])) < _NEAR
        and np.median(np.abs(std[varies] - 1)) < _NEAR
    )


_FITS_A_FOLD = {"_fit_and_score", "_fit_and_predict"}


def warn_if_split(n: int, n_val: int) -> None:
    """Warn if scikit-learn's cross-validation has split X_val as if it were a part of X."""
    # It splits every array with as many rows as X. Both then have the same length again, so only
    # the call that fits the fold tells: it holds the arrays as they were before.
    frame = sys._getframe() if n == n_val else None
    while frame is not None and not (
        frame.f_code.co_name in _FITS_A_FOLD
        and frame.f_globals.get("__name__") == "sklearn.model_selection._validation"
    ):
        frame = frame.f_back
    if frame is None or frame.f_back is None:
        return
    call = frame.f_back.f_locals
    arguments = (*call.get("args", ()), *call.get("kwargs", {}).values())
    metadata = [value for each in arguments if isinstance(each, dict) for value in each.values()]
    lengths = {_num_samples(value) for value in metadata if np.ndim(value)}
    if lengths and n_val not in lengths:
        warn(
            "scikit-learn's cross-validation has split X_val into folds, because it has as many "
            "rows as X. Each fit got only a part of it. Leave out one row: X_val[1:], y_val[1:].",
            UserWarning,
        )
