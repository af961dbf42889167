"""Metadata tables of the benchmarks: the columns asked for, row by row, checked cell by cell."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError

__all__ = ["Metadata", "read_csv"]


@dataclass(frozen=True)
class Metadata:
    """Some columns of a table, as they are written.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    columns : dict of str to list of str
        Cells by column; every column has the same length.
    first_row : int
        Row of the file that holds the first record, counted from 1.
    """

    path: Path
    columns: dict[str, list[str]]
    first_row: int = 2

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def codes(self, name: str, code_of: Mapping[str, int]) -> NDArray[np.int64]:
        """Return a column of coded values, shape (N,).

        Parameters
        ----------
        name : str
            The column.
        code_of : mapping of str to int
            The values it may hold.

        Raises
        ------
        InputError
            If a cell holds another value.
        """
        cells = self.columns[name]
        codes = [code_of.get(cell) for cell in cells]
        if None in codes:
            i = codes.index(None)
            raise InputError(
                f"{self.at(i)}: {cells[i][:80]!r} in column {name!r} is none of "
                f"{', '.join(code_of)}; the file is damaged or another one."
            )
        return np.asarray(codes, dtype=np.int64)

    def shares(self, name: str, *, empty: float = np.nan) -> NDArray[np.float64]:
        """Return a column of numbers, shape (N,); ``empty`` stands for a cell without one.

        Raises
        ------
        InputError
            If a cell holds no number.
        """
        shares = np.empty(len(self))
        for i, cell in enumerate(self.columns[name]):
            try:
                shares[i] = float(cell) if cell else empty
            except ValueError:
                shares[i] = np.nan
            if np.isnan(shares[i]):
                raise InputError(
                    f"{self.at(i)}: {cell[:80]!r} in column {name!r} is no number; the file is "
                    "damaged or another one."
                )
        return shares

    def at(self, i: int) -> str:
        """Where a record stands, for a sentence about it."""
        return f"{self.path}, row {i + self.first_row}"


def read_csv(path: Path, names: Sequence[str], mend: str) -> Metadata:
    """Read some columns of a CSV file; the others are not kept in memory.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    names : sequence of str
        The columns.
    mend : str
        What to do about a damaged file: the end of an error's sentence.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, has no rows or a row of another length.
    """
    columns: dict[str, list[str]] = {name: [] for name in names}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            missing = [name for name in names if name not in header]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r}; its columns are {header[:50]}: {mend}."
                )
            kept = [(columns[name], header.index(name)) for name in names]
            for row, record in enumerate(reader, start=2):
                if not record:
                    continue  # an empty line
                if len(record) != len(header):
                    raise InputError(
                        f"{path}, row {row} has {len(record)} cells where the header has "
                        f"{len(header)}, so the file is cut off or damaged: {mend}."
                    )
                for cells, j in kept:
                    cells.append(record[j])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable table ({error}): {mend}.") from error
    if not columns[names[0]]:
        raise InputError(f"{path} has no rows: {mend}.")
    return Metadata(path, columns)
