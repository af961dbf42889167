"""Views that an attribute may be read from: matrices of the same samples, dense or sparse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_array

from ntkit.exceptions import InputError
from ntkit.solver import rows_per_chunk
from ntkit.study import Rows, scaler_of

__all__ = ["View", "named_views", "view_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class View:
    """A matrix (N, D) and the units its columns are read in.

    Attributes
    ----------
    X : ndarray or sparse matrix by row, shape (N, D)
    mean, scale : ndarray of shape (D,)
        Columns are read as ``(X - mean) / scale``; a sparse one keeps its zeros, so its mean is 0.
    """

    X: Any
    mean: Array
    scale: Array

    def rows(self, index: Array) -> Any:
        """Some rows, in those units."""
        if sparse.issparse(self.X):
            return self.X[index] @ sparse.diags(1 / self.scale)
        return (np.asarray(self.X[index], dtype=np.float64) - self.mean) / self.scale

    def logits(self, coef: Array, intercept: Array) -> Array:
        """Of a head (K, D), (K,) that reads those units, for every row: shape (N, K)."""
        W = coef / self.scale
        b = intercept - W @ self.mean
        found = np.empty((self.X.shape[0], len(W)))
        step = self.X.shape[0] if sparse.issparse(self.X) else rows_per_chunk(self.X, len(W))
        for start in range(0, len(found), max(1, step)):
            rows = slice(start, start + step)
            found[rows] = self.X[rows] @ W.T + b
        return found

    def of(self, X: Any) -> View:
        """The same units for other samples."""
        return View(X, self.mean, self.scale)


def named_views(views: Any) -> dict[Any, Any]:
    """Check views: one matrix, or several by name or in order.

    Raises
    ------
    InputError
        If there is none, one is no finite matrix, or they have different numbers of rows.
    """
    if sparse.issparse(views):  # one kind of them is a mapping as well
        return {0: _checked(views, "X")}
    if isinstance(views, Mapping):
        given = dict(views)
    elif isinstance(views, list | tuple) and all(np.ndim(v) == 2 or _is_table(v) for v in views):
        given = dict(enumerate(views))
    else:
        return {0: _checked(views, "X")}
    if not given:
        raise InputError("No view was given; pass at least one matrix of shape (N, D).")
    found = {name: _checked(X, f"the view {name!r}") for name, X in given.items()}
    sizes = {name: X.shape[0] for name, X in found.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name!r}: {n}" for name, n in sizes.items())
        raise InputError(f"The views have different numbers of samples ({listed}).")
    return found


def view_of(X: Any) -> View:
    """A view in the units of its columns: deviations, or the largest value of a sparse one."""
    if sparse.issparse(X):
        largest = abs(X).max(axis=0).toarray().ravel()
        return View(X, np.zeros(X.shape[1]), np.where(largest > 0, largest, 1.0))
    scaler = scaler_of(Rows(X, np.zeros(len(X), dtype=int), np.ones(len(X))))
    return View(X, scaler.mean_, scaler.scale_)


def _checked(X: Any, name: str) -> Any:
    return check_array(
        X, accept_sparse="csr", dtype=[np.float64, np.float32], input_name=name, copy=False
    )


def _is_table(view: Any) -> bool:
    return hasattr(view, "shape") and len(view.shape) == 2
