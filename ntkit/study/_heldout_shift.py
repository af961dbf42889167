"""Does a head err more on one set than on another? An exact test, in a class or over all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, norm

from ntkit.study._rows import Rows

__all__ = ["shift_pvalue"]

Array = NDArray[Any]


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
    """How many rows and errors there are in each class: whole numbers, for an exact test.

    Weights count relative to their mean: their scale says nothing.
    """
    present = rows.weight[rows.weight > 0]
    relative = rows.weight / (present.mean() if len(present) else 1.0)
    return [
        np.rint(np.bincount(rows.y_index, weights=weight, minlength=n_classes))
        for weight in (relative, relative * wrong)
    ]
