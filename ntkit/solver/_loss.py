"""One pass over the rows: the weighted loss of a linear head and its gradient, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from mmap import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from sklearn import get_config

__all__ = ["NumpyPasses", "Passes", "is_mapped", "rows_per_chunk"]

Array = NDArray[Any]
_CHUNK = 16  # MiB at most: memory-mapped rows are read once for both products


class Passes(Protocol):
    """What the solver asks of the rows: N of them, of which only ``width`` columns count."""

    n_rows: int
    width: int
    dtype: Any

    def mean(self) -> Array:
        """Weighted mean of the rows, shape (width,)."""

    def sample(self, n_rows: int) -> tuple[Array, Array]:
        """About ``n_rows`` rows at equal distances, and their weights."""

    def loss(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """Weighted loss of the logits ``z W^T + b``; its derivatives by b, (K,), and W."""


def is_mapped(X: Any) -> bool:
    """Whether an array is a view of a mapped file, and so perhaps larger than memory."""
    while isinstance(X, np.ndarray):
        X = X.base
    return isinstance(X, mmap) or getattr(X, "has_mapped", False)


def rows_per_chunk(X: Array, n_logits: int) -> int:
    """Rows that with their logits take 16 MiB, or scikit-learn's ``working_memory`` if less."""
    row_bytes = X.shape[1] * X.itemsize + 4 * 8 * n_logits
    memory = min(_CHUNK, float(get_config()["working_memory"]))
    return max(1, int(memory * 2**20 // row_bytes))


class NumpyPasses:
    """Passes on the CPU, over an array or a memory map.

    Products run in the precision of the rows, sums over chunks in double precision.
    """

    def __init__(
        self, X: Array, y_index: Array, weight: Array, kept: Array, offset: Array | None = None
    ) -> None:
        self.n_rows, self.width, self.dtype = len(X), len(kept), X.dtype
        self.columns: Array | None = None
        if len(kept) < X.shape[1]:
            if is_mapped(X):
                self.columns = kept  # picked from results: never copied from the rows
            else:
                X = X[:, kept]
        self.X, self.y_index, self.weight, self.offset = X, y_index, weight, offset

    def mean(self) -> Array:
        total = np.zeros(self.X.shape[1])
        for rows in self._chunks(1):
            total += self.weight[rows].astype(self.dtype) @ self.X[rows]
        return total if self.columns is None else total[self.columns]

    def sample(self, n_rows: int) -> tuple[Array, Array]:
        step = max(1, self.n_rows // n_rows)
        rows = np.asarray(self.X[::step])
        return rows if self.columns is None else rows[:, self.columns], self.weight[::step]

    def loss(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        loss = _sigmoid_loss if len(W) == 1 else _softmax_loss
        operand = np.ascontiguousarray(self._over_all_columns(W).T, dtype=self.dtype)
        value, slope, gradient = 0.0, np.zeros(len(W)), np.zeros((len(W), self.X.shape[1]))
        for rows in self._chunks(len(W)):
            chunk = self.X[rows]
            logits = (chunk @ operand).astype(np.float64) + b
            if self.offset is not None:
                logits += self.offset[rows]
            part, residual = loss(logits, self.y_index[rows], self.weight[rows])
            value += part
            slope += residual.sum(axis=0)
            gradient += (chunk.T @ residual.astype(self.dtype)).T
        return value, slope, gradient if self.columns is None else gradient[:, self.columns]

    def with_weight(self, weight: Array) -> NumpyPasses:
        """The same rows with other weights, of sum 1."""
        other = copy(self)
        other.weight = weight
        return other

    def means(self, weights: Array) -> Array:
        """Mean of the rows for each row of weights, shape (B, width), in one pass."""
        total = np.zeros((len(weights), self.X.shape[1]))
        for rows in self._chunks(len(weights)):
            total += weights[:, rows].astype(self.dtype) @ self.X[rows]
        return total if self.columns is None else total[:, self.columns]

    def variances(self, weights: Array, means: Array) -> Array:
        """Variance of each column for each row of weights, shape (B, width), in one pass."""
        total = np.zeros((len(weights), self.X.shape[1]))
        center = means.mean(axis=0) if self.columns is None else 0.0
        for rows in self._chunks(len(weights)):
            total += weights[:, rows] @ (self.X[rows].astype(np.float64) - center) ** 2
        if self.columns is not None:
            total = total[:, self.columns]
        return np.maximum(total - (means - center) ** 2, 0.0)

    def losses(
        self, weights: Array, which: Array, W: Array, b: Array
    ) -> tuple[Array, Array, Array]:
        """What ``loss`` gives for B heads with weights of their own, in one pass.

        Parameters
        ----------
        weights : ndarray of shape (S, N)
            Of the rows; heads of several penalties share them.
        which : ndarray of int, shape (B,)
            The row of ``weights`` that is each head's.
        W, b : ndarray of shape (B, K, width) and (B, K)
            The heads.

        Returns
        -------
        values, slopes, gradients : ndarray of shape (B,), (B, K) and (B, K, width)
        """
        n_heads, n_logits = b.shape
        flat = self._over_all_columns(W.reshape(n_heads * n_logits, -1))
        operand = np.ascontiguousarray(flat.T, dtype=self.dtype)
        values, slopes = np.zeros(n_heads), np.zeros((n_heads, n_logits))
        gradients = np.zeros((n_heads * n_logits, self.X.shape[1]))
        for rows in self._chunks(n_heads * n_logits):
            chunk, labels = self.X[rows], self.y_index[rows]
            logits = (chunk @ operand).astype(np.float64) + b.ravel()
            own = weights[which, rows]
            if n_logits == 1:
                sign = np.where(labels == 1, 1.0, -1.0)[:, None]
                values -= np.einsum("bn,nb->b", own, log_expit(sign * logits))
                residuals = own.T * -sign * expit(-sign * logits)
            else:
                residuals = np.empty_like(logits)
                for i in range(n_heads):
                    block = slice(i * n_logits, (i + 1) * n_logits)
                    value, residuals[:, block] = _softmax_loss(logits[:, block], labels, own[i])
                    values[i] += value
            slopes += residuals.sum(axis=0).reshape(slopes.shape)
            gradients += (chunk.T @ residuals.astype(self.dtype)).T
        if self.columns is not None:
            gradients = gradients[:, self.columns]
        return values, slopes, gradients.reshape(W.shape)

    def _over_all_columns(self, W: Array) -> Array:
        if self.columns is None:
            return W
        whole = np.zeros((len(W), self.X.shape[1]))
        whole[:, self.columns] = W
        return whole

    def _chunks(self, n_logits: int) -> Iterator[slice]:
        n_rows = rows_per_chunk(self.X, n_logits)
        for start in range(0, self.n_rows, n_rows):
            yield slice(start, min(start + n_rows, self.n_rows))


def _sigmoid_loss(logits: Array, y_index: Array, weight: Array) -> tuple[float, Array]:
    """Weighted loss of one logit per row, and its derivative by the logits, both (N, 1)."""
    sign = np.where(y_index == 1, 1.0, -1.0)[:, None]
    value = -float(weight @ log_expit(sign * logits)[:, 0])
    return value, weight[:, None] * -sign * expit(-sign * logits)


def _softmax_loss(logits: Array, y_index: Array, weight: Array) -> tuple[float, Array]:
    """Weighted loss of one logit per class, and its derivative by the logits, both (N, K)."""
    rows = np.arange(len(logits))
    residual = logits - logits.max(axis=1, keepdims=True)
    own = residual[rows, y_index]
    np.exp(residual, out=residual)
    residual[rows, y_index] = 0  # apart: beside the 1 of a sure sample the others would be lost
    others = residual.sum(axis=1)
    total = others + np.exp(own)
    value = float(weight @ np.where(own < 0, np.log(total) - own, np.log1p(others)))
    residual *= (weight / total)[:, None]
    residual[rows, y_index] = -weight * (others / total)
    return value, residual
