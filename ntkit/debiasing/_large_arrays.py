"""Embeddings that may be too large to copy: scratch files, and parts of some rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._disk import check_room, saying_what_failed
from ntkit.solver import rows_per_chunk

__all__ = ["parts_of", "scratch_for"]

Array = NDArray[Any]


def scratch_for(Z: Array) -> Array:
    """Room for as much, in a file that nobody sees and that goes when the array goes."""
    with saying_what_failed(Path(tempfile.gettempdir())):
        check_room(Path(tempfile.gettempdir()), Z.nbytes)
        with tempfile.TemporaryFile(prefix="ntkit-") as file:
            return np.memmap(file, dtype=Z.dtype, shape=Z.shape, mode="w+")


def parts_of(Z: Array) -> Iterator[Array]:
    """Views of some rows at a time: what is computed on them is small."""
    step = max(1, rows_per_chunk(Z, 0) // 8)
    for start in range(0, len(Z), step):
        yield Z[start : start + step]
