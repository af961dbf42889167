"""Labelled embeddings, and what was computed on them: heads, covariance, scale."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from sklearn.preprocessing import StandardScaler

from ntkit._disk import scratch
from ntkit._types import Array
from ntkit.solver import (
    FittedHead,
    covariance_of,
    fit_linear_heads,
    is_mapped,
    passes_over,
    rows_per_chunk,
    stacked,
)

T = TypeVar("T")
LARGE = 1 << 25  # bytes of mapped rows, above which a copy of them is not kept in memory
_FEW = 1 << 22  # bytes of rows taken of mapped ones, that are kept in memory
_REMEMBERED = 64 << 20  # bytes of heads


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled embeddings: X (N, D), class index (N,), weight (N,)."""

    # Whoever shares one shares what was computed on it: nothing is fitted twice.

    X: Array
    y_index: Array
    weight: Array
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def covariance(self) -> Array:
        """Weighted covariance (D, D), from a sample: all fits to these rows start from it."""
        weight = self.weight / self.weight.sum()
        data = passes_over(self.X, self.y_index, weight, kept=np.arange(self.X.shape[1]))
        return covariance_of(data, data.mean())

    @cached_property
    def deviations(self) -> Array:
        """Weighted standard deviation of each neuron, (D,); 1 for a constant one."""
        return np.asarray(scaler_of(self).scale_)

    def take(self, index: Array) -> Rows:
        """Return the rows with these indices; many of mapped ones go into a file again."""
        numbers = np.arange(len(self.weight))[index]
        y_index, weight = self.y_index[numbers], self.weight[numbers]
        shape = (len(numbers), self.X.shape[1])
        if not is_mapped(self.X) or int(np.prod(shape)) * self.X.itemsize <= _FEW:
            return Rows(self.X[numbers], y_index, weight)
        X = scratch(shape, self.X.dtype)
        step = rows_per_chunk(self.X, 0)
        for start in range(0, len(X), step):
            X[start : start + step] = self.X[numbers[start : start + step]]
        return Rows(X, y_index, weight)

    def and_then(self, other: Rows) -> Rows:
        """These rows and others after them; mapped ones are not copied."""
        return Rows(
            stacked(self.X, other.X),
            np.concatenate([self.y_index, other.y_index]),
            np.concatenate([self.weight, other.weight]),
        )

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What ``compute`` gives, computed the first time only."""
        if key not in self._known:
            self._known[key] = compute()
        found: T = self._known[key]
        return found

    def heads(
        self,
        weights: Sequence[Array],
        *,
        classes: Array,
        Cs: Sequence[float],
        gains: Array | None = None,
        tol: float,
        max_iter: int,
        device: str = "cpu",
    ) -> list[FittedHead]:
        """Fit a head for each row of weights, all at once; those that are known are not fitted."""
        options = (tuple(classes.tolist()), digest(gains), tol, max_iter, device)
        keys = [("head", digest(w), float(C), *options) for w, C in zip(weights, Cs, strict=True)]
        found: dict[Hashable, FittedHead] = {k: self._known[k] for k in keys if k in self._known}
        new = {key: i for i, key in enumerate(keys) if key not in found}
        if new:
            fitted = fit_linear_heads(
                self.X,
                self.y_index,
                [weights[i] for i in new.values()],
                classes=classes,
                Cs=[Cs[i] for i in new.values()],
                gains=gains,
                tol=tol,
                max_iter=max_iter,
                covariance=lambda: self.covariance,
                device=device,
            )
            found |= dict(zip(new, fitted, strict=True))
            if (len(self._known) + len(new)) * fitted[0].coef.nbytes < _REMEMBERED:
                self._known.update(zip(new, fitted, strict=True))
        return [found[key] for key in keys]


def digest(array: Array | None) -> bytes | None:
    """What tells one array from another, without holding either."""
    if array is None:
        return None
    kind = f"{array.dtype} {array.shape}".encode()
    return blake2b(np.ascontiguousarray(array).data, digest_size=16, key=kind[:64]).digest()


def scaler_of(rows: Rows) -> StandardScaler:
    """A StandardScaler fitted to weighted rows, some at a time, at any scale of the weights."""
    # Scikit-learn's own takes their sum for the number of samples, and the larger that is, the
    # larger a variance it takes for rounding.
    scaler, relative = StandardScaler(), rows.weight / rows.weight.mean()
    present = np.flatnonzero(rows.weight > 0)
    step = max(1, rows_per_chunk(rows.X, 1) // 8)  # each part becomes several in float64
    for start in range(0, len(present), step):
        chunk = present[start : start + step]
        scaler.partial_fit(rows.X[chunk], sample_weight=relative[chunk])
    return scaler
