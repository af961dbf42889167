"""Whether a held-out set was scaled like the training set."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["warn_of_another_scale"]

Array = NDArray[Any]
_ROWS = 2000  # looked at
_FEW = 20  # rows that say nothing of a scale
_NEAR = 0.3  # of 0 and 1: what a standardised sample has for mean and standard deviation
_SHIFT, _RATIO = 0.5, 2.5  # in the training set's deviations, where that is standardised
_FAR_SHIFT, _FAR_RATIO = 5.0, 20.0  # and where it is not: no shift of a distribution is so large


def warn_of_another_scale(X: Array, X_val: Array) -> None:
    """Warn where the columns of the two sets are on scales of their own.

    A pipeline's scaler transforms X and not what is passed along to a later step, and nothing
    else would show: the head decides by neurons that the scale makes large. A standardised X
    gives that away.

    Parameters
    ----------
    X, X_val : ndarray of shape (N, D) and (M, D)
        Training and held-out set; a sample of their rows is looked at.
    """
    if min(len(X), len(X_val)) < _FEW:
        return
    train, held = _Look.at(X), _Look.at(X_val)
    live = train.std > 0
    if not live.any():
        return
    shift = float(np.median(np.abs(held.mean - train.mean)[live] / train.std[live]))
    ratio = float(np.median(held.std[live] / train.std[live]))
    scaled, other = (train, held) if train.standardized else (held, train)
    most, widest = (_SHIFT, _RATIO) if scaled.standardized else (_FAR_SHIFT, _FAR_RATIO)
    # Behind a ReLU nothing is negative; what was centred is, in nearly every column.
    signs = scaled.standardized and (other.low >= 0).all() and (scaled.low[live] < 0).mean() > 0.5
    if shift <= most and 1 / widest <= ratio <= widest and not signs:
        return
    warnings.warn(
        f"X_val is not on the scale of X: the means of its columns lie {shift:.2g} standard "
        f"deviations from those of X, and its own deviations are {ratio:.2g} times as large "
        "(medians). Transform X_val as X; a Pipeline does so only with metadata routing and "
        "transform_input=['X_val'].",
        UserWarning,
        stacklevel=4,
    )


@dataclass(frozen=True)
class _Look:
    """Mean, standard deviation and minimum of each column."""

    mean: Array
    std: Array
    low: Array

    @classmethod
    def at(cls, X: Array) -> _Look:
        rows = np.asarray(X[:: -(-len(X) // _ROWS)], dtype=np.float64)
        return cls(rows.mean(axis=0), rows.std(axis=0), rows.min(axis=0))

    @property
    def standardized(self) -> bool:
        """Whether means are near 0 and deviations near 1, in half of the columns that vary."""
        live = self.std > 0
        return bool(
            live.any()
            and np.median(np.abs(self.mean[live])) < _NEAR
            and np.median(np.abs(self.std[live] - 1)) < _NEAR
        )
