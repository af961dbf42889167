"""The labelled samples of a repair, numbered in one order."""

from __future__ import annotations

import numpy as np

from ntkit._types import Array
from ntkit.solver.loss import is_mapped
from ntkit.study import Rows


class Pool:
    """Rows that fit heads, and rows that judge them; of a single set, both are the same rows."""

    # The numbers of all samples are those of the training rows, then those of the validation rows.
    # A single set has its own numbers; folds of it keep apart what fits and what judges. `sets`
    # has each set once, and `slices` says where values of all samples have those of each set.

    def __init__(self, train: Rows, validation: Rows) -> None:
        self.train, self.validation, self.one_set = train, validation, train is validation
        self.sets = [train] if self.one_set else [train, validation]
        ends = np.cumsum([0, *map(len, self.sets)]).tolist()
        self.slices = [*map(slice, ends[:-1], ends[1:])]
        self.of_train, self.of_validation = self.slices[0], self.slices[-1]
        self.y: Array = np.concatenate([rows.y for rows in self.sets])

    def numbers(self, train: Array | None = None, validation: Array | None = None) -> Array:
        """Numbers of some rows of each set, of all rows by default."""
        some = [validation] if self.one_set else [train, validation]
        parts = zip(self.slices, some, strict=True)
        every = np.arange(len(self.y))
        return np.concatenate([every[at][slice(None) if s is None else s] for at, s in parts])

    def scaled(self, mean: Array, std: Array) -> Pool:
        """The same with standardised rows."""
        first = self.train.X
        outs: list[Array | None] = [None for _ in self.sets]
        if not is_mapped(first) and first.dtype == self.validation.X.dtype:
            # Neighbours in one array, so that joining both takes no copy.
            every = np.empty((len(self.y), first.shape[1]), first.dtype)
            outs = [every[at] for at in self.slices]
        parts = zip(self.sets, outs, strict=True)
        scaled = [rows.scaled(mean, std, out) for rows, out in parts]
        return Pool(scaled[0], scaled[-1])
