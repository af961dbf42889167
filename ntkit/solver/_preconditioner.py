"""Variables in which the head's objective is well-conditioned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from ntkit._types import Array
from ntkit.solver._loss import Passes

_ROWS_PER_NEURON = 2  # fewer, and the Hessian at W = 0 is no guide
_SAMPLE_PER_NEURON = 4  # rows that estimate the covariance well enough to precondition with
_SAMPLE = 1000  # and these, however few neurons there are
_OWN_SHARE = 100  # neurons of less than a hundredth of the mean variance are far below the others


class Dense:
    """Variables U = W L for H = L Lᵀ, the same for every logit."""

    def __init__(self, hessian: Array) -> None:
        self.factor = cholesky(hessian, lower=True, check_finite=False, overwrite_a=True)

    def weights(self, U: Array) -> Array:
        return self._solved(U, "T")

    def gradient(self, G: Array) -> Array:
        return self._solved(G, "N")

    def variables(self, W: Array) -> Array:
        return np.asarray(W @ self.factor)

    def _solved(self, rows: Array, trans: str) -> Array:
        return np.asarray(
            solve_triangular(self.factor, rows.T, lower=True, trans=trans, check_finite=False).T
        )


class Diagonal:
    """Variables U = W d; an infinite d pins the weight to zero."""

    def __init__(self, hessian: Array) -> None:
        self.inverse = 1 / np.sqrt(hessian)

    def weights(self, U: Array) -> Array:
        return np.asarray(U * self.inverse)

    def gradient(self, G: Array) -> Array:
        return np.asarray(G * self.inverse)

    def variables(self, W: Array) -> Array:
        return np.divide(W, self.inverse, out=np.zeros_like(W), where=self.inverse > 0)


def preconditioner(
    data: Passes,
    mean: Array,
    inner: float,
    penalty: Array,
    gains: Array,
    covariance: Callable[[], Array] | None = None,
    variance: Array | None = None,
) -> Dense | Diagonal:
    """The Hessian at W = 0, factored where that pays."""
    # With few rows per neuron the classes are nearly separable, the Hessian at the optimum has
    # little to do with the one at W = 0, and factoring costs more than it saves: there, and with
    # gains of their own for each class, the average variance of the neurons times their gains
    # serves.
    rounding = 10 * np.finfo(data.dtype).eps
    if not factored(data, gains):
        if variance is None:
            centered = _centered(data, mean)
            variance = np.einsum("ij,ij->j", centered, centered, dtype=np.float64)
        average = (variance * gains**2).sum(axis=1, keepdims=True) / max(1, data.width)
        with np.errstate(divide="ignore"):
            return Diagonal(penalty + np.maximum(inner * average, rounding) / gains**2)
    hessian = inner * (covariance_of(data, mean) if covariance is None else covariance())
    diagonal = np.einsum("ii->i", hessian)
    # A share of their sum alone would drown neurons of a scale far below the others'.
    own = np.maximum(diagonal, inner * (rounding * mean) ** 2)
    most = np.minimum(diagonal.sum(), _OWN_SHARE * data.width * own)
    diagonal += penalty[0] + rounding * np.maximum(most, 1e-30)
    return Dense(hessian)


def factored(data: Passes, gains: Array) -> bool:
    """Whether the Hessian is worth a factorisation: rows enough, and one for all logits."""
    return len(gains) == 1 and data.n_rows >= _ROWS_PER_NEURON * data.width


def covariance_of(data: Passes, mean: Array) -> Array:
    """Weighted covariance (D, D), from a sample of the rows."""
    centered = _centered(data, mean)
    return np.asarray((centered.T @ centered).astype(np.float64))


def _centered(data: Passes, mean: Array) -> Array:
    """Rows whose product with themselves is a covariance."""
    sample, weight = data.sample(_SAMPLE_PER_NEURON * data.width + _SAMPLE)
    root = np.sqrt(weight / weight.sum())[:, None].astype(data.dtype)
    return np.asarray((sample - mean.astype(data.dtype)) * root)
