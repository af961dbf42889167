"""What a method looks at: a training set, perhaps a held-out one, and what is known of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import hypergeom, norm

from ntkit._types import Array
from ntkit.study._rows import Rows


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
_FEW = 20  # rows that say nothing of a scale
_NEAR = 0.3  # of 0 and 1: what a standardised sample has for mean and standard deviation
_SHIFT, _RATIO = 0.5, 2.5  # in the training set's deviations, where that is standardised
_FAR_SHIFT, _FAR_RATIO = 5.0, 20.0  # and where it is not: no shift of a distribution is so large


def warn_of_another_scale(X: Array, X_val: Array) -> None:
    """Warn where the columns of the two sets are on scales of their own."""
    # A pipeline's scaler transforms X and not what is passed along to a later step, and nothing
    # else would show: the head decides by neurons that the scale makes large. A standardised X
    # gives that away.
    if min(len(X), len(X_val)) < _FEW:
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
