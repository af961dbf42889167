"""Rows of two arrays, one after the other, without a copy of either."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.solver._loss import is_mapped

__all__ = ["stacked"]

Array = NDArray[Any]


def stacked(first: Array, second: Array) -> Any:
    """Join two arrays of rows: a copy where both are in memory, else a view that reads as one."""
    if is_mapped(first) or is_mapped(second):
        return _Stacked(first, second)
    return np.concatenate([first, second])


class _Stacked:
    """What passes and folds ask of an array: a shape, and rows by slice or by index."""

    has_mapped = True

    def __init__(self, first: Array, second: Array) -> None:
        self._first, self._second = first, second
        self.dtype = np.result_type(first, second)
        self.shape = (len(first) + len(second), first.shape[1])
        self.nbytes = first.nbytes + second.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __getitem__(self, index: slice | Array) -> Array:
        cut = len(self._first)
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            skipped = max(0, -(-(cut - start) // step)) * step  # rows of the first array
            first = self._first[start : min(stop, cut) : step]
            second = self._second[max(0, start + skipped - cut) : max(0, stop - cut) : step]
            if not len(second):
                return first
            return np.concatenate([first, second]) if len(first) else second
        before = index < cut
        rows = np.empty((len(index), self.shape[1]), dtype=self.dtype)
        rows[before] = self._first[index[before]]
        rows[~before] = self._second[index[~before] - cut]
        return rows
