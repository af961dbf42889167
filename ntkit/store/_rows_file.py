"""``embeddings.npy`` under construction: one writer, rows written where they belong."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._disk import has_name, locked
from ntkit.exceptions import InputError

__all__ = ["RowFile", "array_header", "read_rows"]

Array = NDArray[Any]


class RowFile:
    """A ``.npy`` file of shape (rows, D), locked against a second writer and filled by row ranges.

    It is created empty, gets its header and full size when the width is known, and is written
    through the file, not through a memory map: a full disk is an OSError then, not a SIGBUS. The
    lock is on the file itself, so that it dies with the process and leaves nothing behind.

    Parameters
    ----------
    path : pathlib.Path
        The file; an empty one is made if there is none.

    Raises
    ------
    InputError
        If another process has it.
    OSError
        If it cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = locked(path)
        self._begin = 0  # of the rows
        self.shape: tuple[int, int] | None = None
        self.dtype = np.dtype(np.float32)

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file.closed:  # another writer was quicker in ``renew``
            return
        with self._file, suppress(OSError):
            if not os.fstat(self._file.fileno()).st_size and has_name(self._file, self.path):
                self._remove()  # nothing was embedded

    def renew(self) -> None:
        """Start with an empty file; who has mapped the old one keeps it."""
        if os.fstat(self._file.fileno()).st_size:
            with self._file:
                self._remove()
                self._file = locked(self.path)
        self.shape = None

    def create(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """Give the empty file its header and its full size."""
        content = BytesIO()
        described = np.lib.format.header_data_from_array_1_0(np.empty((0, shape[1]), dtype))
        np.lib.format.write_array_header_1_0(content, {**described, "shape": shape})
        self.shape, self.dtype, self._begin = shape, dtype, content.tell()
        self._write(0, content.getvalue())
        self._file.truncate(self._begin + self._row_bytes * shape[0])

    def resume(self) -> None:
        """Take shape and dtype from the file; a ValueError if it is cut or not an array."""
        self.shape, self.dtype, self._begin = array_header(self.path)

    def write(self, row: int, batch: Array) -> None:
        """Write a batch from a row on."""
        self._write(self._begin + row * self._row_bytes, batch.tobytes())

    def flush(self) -> None:
        """Wait until the rows are on the disk, in the file that has the name.

        Raises
        ------
        InputError
            If somebody replaced or removed the file meanwhile.
        """
        os.fsync(self._file.fileno())
        if not has_name(self._file, self.path):
            raise InputError(
                f"{self.path} was replaced or removed while it was being written; embed again "
                "with --force."
            )

    def _remove(self) -> None:
        if sys.platform == "win32":  # which removes no open file
            self._file.close()
        self.path.unlink()

    @property
    def _row_bytes(self) -> int:
        assert self.shape is not None
        return self.shape[1] * self.dtype.itemsize

    def _write(self, offset: int, content: bytes) -> None:
        self._file.seek(offset)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]  # a nearly full disk takes a part


def array_header(path: Path) -> tuple[tuple[int, int], np.dtype[Any], int]:
    """Shape, dtype and offset of a table's rows; a ValueError if the file is no whole table."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path.name} has the .npy version {version}")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        begin, size = file.tell(), os.fstat(file.fileno()).st_size
    if len(shape) != 2 or fortran_order or dtype.kind != "f":
        raise ValueError(f"{path.name} is no table of floating-point rows")
    expected = begin + shape[0] * shape[1] * dtype.itemsize
    if size != expected:
        raise ValueError(f"{path.name} has {size} bytes instead of {expected}")
    return (shape[0], shape[1]), dtype, begin


def read_rows(path: Path, start: int, stop: int) -> Array:
    """Read a range of rows, through the file."""
    (_, width), dtype, begin = array_header(path)
    offset = begin + start * width * dtype.itemsize
    count = (stop - start) * width
    return np.fromfile(path, dtype, count, offset=offset).reshape(stop - start, width)
