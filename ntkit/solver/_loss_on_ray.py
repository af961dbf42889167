"""Passes over rows that lie in Ray actors: each sums over its share, K·D numbers come back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._need_ray import import_ray, start_ray
from ntkit.solver._loss import NumpyPasses

__all__ = ["RayPasses"]

Array = NDArray[Any]


class RayPasses:
    """Passes on a Ray cluster, one actor for each core that is free.

    An array is sent to the actors once per fit. A mapped file is not: they open it by its path,
    which must be the same on all machines.
    """

    def __init__(
        self, X: Array, y_index: Array, weight: Array, kept: Array, offset: Array | None = None
    ) -> None:
        self._ray = import_ray("device='ray'")
        start_ray(self._ray)
        self.n_rows, self.width, self.dtype = len(X), len(kept), X.dtype
        free = int(self._ray.available_resources().get("CPU", 0))
        n_actors = min(max(1, free), self.n_rows)
        cuts = np.linspace(0, self.n_rows, n_actors + 1).astype(int)
        remote = self._ray.remote(num_cpus=min(1, free), scheduling_strategy="SPREAD")(_Share)
        file = _file_of(X)
        self._actors = [
            remote.remote(
                X[start:stop] if file is None else (*file, start, stop),
                y_index[start:stop],
                weight[start:stop],
                kept,
                None if offset is None else offset[start:stop],
            )
            for start, stop in pairwise(cuts)
        ]

    def mean(self) -> Array:
        return np.asarray(sum(self._asked("mean")))

    def sample(self, n_rows: int) -> tuple[Array, Array]:
        shares = self._asked("sample", -(-n_rows // len(self._actors)))
        rows, weights = zip(*shares, strict=True)
        return np.concatenate(rows), np.concatenate(weights)

    def loss(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        values, slopes, gradients = zip(*self._asked("loss", W, b), strict=True)
        return float(sum(values)), np.asarray(sum(slopes)), np.asarray(sum(gradients))

    def _asked(self, method: str, *arguments: Any) -> list[Any]:
        sent = [self._ray.put(argument) for argument in arguments]
        return list(self._ray.get([getattr(a, method).remote(*sent) for a in self._actors]))


class _Share(NumpyPasses):
    """The rows of one actor."""

    def __init__(self, rows: Any, *others: Any) -> None:
        if isinstance(rows, tuple):
            path, dtype, shape, offset, start, stop = rows
            rows = np.memmap(path, dtype, "r", offset, shape)[start:stop]
        super().__init__(rows, *others)


def _file_of(X: Array) -> tuple[str, str, tuple[int, ...], int] | None:
    """Path, type, shape and offset of a file that X maps from its first row to its last."""
    if not isinstance(X, np.ndarray):
        return None
    view: Any = X
    while isinstance(view, np.ndarray):
        whole, view = view, view.base
    same = X.shape == whole.shape and X.dtype == whole.dtype and X.flags.c_contiguous
    if not isinstance(whole, np.memmap) or not same or whole.filename is None:
        return None
    if X.__array_interface__["data"][0] != whole.__array_interface__["data"][0]:
        return None
    return str(whole.filename), X.dtype.str, X.shape, whole.offset
