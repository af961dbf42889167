"""Labelled embeddings and what was computed on them, and the sets that methods look at."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from scipy.stats import hypergeom, norm
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


def shift_pvalue(train: Rows, wrong: Array, held: Rows, wrong_held: Array) -> float:
    """How likely so many errors on the held-out set are, in a class or in all, without a shift."""
    n_classes = int(train.y_index.max()) + 1
    n_train, bad_train = _rows_and_errors(train, wrong, n_classes)
    n_held, bad_held = _rows_and_errors(held, wrong_held, n_classes)
    n, bad = np.maximum(n_train + n_held, 1), bad_train + bad_held
    in_a_class = hypergeom.sf(bad_held - 1, n, bad, n_held)
    expected = bad * n_held / n
    variance = expected * (1 - bad / n) * (n - n_held) / np.maximum(n - 1, 1)
    spread = np.sqrt(variance.sum())
    excess = (bad_held - expected).sum() / spread if spread > 0 else 0.0
    return float(min(1.0, (n_classes + 1) * min(in_a_class.min(), norm.sf(excess))))


def _rows_and_errors(rows: Rows, wrong: Array, n_classes: int) -> list[Array]:
    """How many rows and errors there are in each class: whole numbers, for an exact test."""
    # Weights count relative to their mean: their scale says nothing.
    present = rows.weight[rows.weight > 0]
    relative = rows.weight / (present.mean() if len(present) else 1.0)
    return [
        np.rint(np.bincount(rows.y_index, weights=weight, minlength=n_classes))
        for weight in (relative, relative * wrong)
    ]


_ROWS = 2000  # looked at
_LEAST_ROWS = 20  # fewer say nothing of a scale
_NEAR = 0.3  # of 0 and 1: what a standardised sample has for mean and standard deviation
_SHIFT, _RATIO = 0.5, 2.5  # in the training set's deviations, where that is standardised
_FAR_SHIFT, _FAR_RATIO = 5.0, 20.0  # and where it is not: no shift of a distribution is so large


def warn_of_another_scale(X: Array, X_val: Array) -> None:
    """Warn where the columns of the two sets are on scales of their own."""
    # A pipeline's scaler transforms X and not what is passed along to a later step, and nothing
    # else would show: the head decides by neurons that the scale makes large. A standardised X
    # gives that away.
    if min(len(X), len(X_val)) < _LEAST_ROWS:
        return
    train, held = _Look.at(X), _Look.at(X_val)
    non_constant = train.std > 0
    if not non_constant.any():
        return
    shift = float(np.median(np.abs(held.mean - train.mean)[non_constant] / train.std[non_constant]))
    ratio = float(np.median(held.std[non_constant] / train.std[non_constant]))
    scaled, other = (train, held) if train.standardized else (held, train)
    most, widest = (_SHIFT, _RATIO) if scaled.standardized else (_FAR_SHIFT, _FAR_RATIO)
    # Behind a ReLU nothing is negative; what was centred is, in nearly every column.
    signs = (
        scaled.standardized
        and (other.low >= 0).all()
        and (scaled.low[non_constant] < 0).mean() > 0.5
    )
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
        non_constant = self.std > 0
        return bool(
            non_constant.any()
            and np.median(np.abs(self.mean[non_constant])) < _NEAR
            and np.median(np.abs(self.std[non_constant] - 1)) < _NEAR
        )


@dataclass(frozen=True, eq=False)
class Study:
    """Training rows and held-out rows, shared by all methods that look at them."""

    classes: Array
    train: Rows
    held: Rows | None = None
    sides: Array | None = None
    _with: dict[Any, Study] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def both(self) -> Rows:
        """The training rows, then the held-out ones, if there are any."""
        return self.train if self.held is None else self.train.and_then(self.held)

    def on(self, rows: str) -> Study:
        """The study whose training rows are "train", "validation" or "both" of this one."""
        if rows == "train":
            return self
        if rows not in self._with:
            if rows == "both" or self.held is None:
                self._with[rows] = replace(self, train=self.both, held=None)
            else:
                sides = None if self.sides is None else self.sides[len(self.train.weight) :]
                own = replace(self, train=self.held, held=None, sides=sides)
                self._with[rows] = own
        return self._with[rows]
