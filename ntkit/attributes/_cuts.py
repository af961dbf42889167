"""Numbers as yes or no: cut at quantiles, each cut one value that occurs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.attributes._view import common_enough

__all__ = ["at_least", "cuts_of"]

Array = NDArray[Any]
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def cuts_of(values: Array) -> Array:
    """Thresholds at quantiles of the values that are there; each once, smallest first.

    Parameters
    ----------
    values : ndarray of float, shape (N,)
        NaN is left out.

    Returns
    -------
    ndarray of float
        Those that enough samples reach, and enough do not.
    """
    there = values[~np.isnan(values)]
    if not len(there):
        return np.empty(0)
    found = np.unique(np.quantile(there, _QUANTILES, method="higher"))
    counts = (there[:, None] >= found).sum(axis=0)
    return np.asarray(found[common_enough(counts, len(there))])


def at_least(values: Array, cuts: Array) -> Array:
    """Whether each value reaches each cut: bool, (N, cuts). NaN reaches none."""
    return np.asarray(values[:, None] >= cuts)
