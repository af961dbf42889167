"""CSV and TSV files, whatever separates their cells."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ntkit.exceptions import InputError
from ntkit.samples._table import Table, distinct, objects

__all__ = ["named_delimiter", "read_delimited"]

_MOST_CHARACTERS = 2**31 - 1  # of a cell; the csv module's own limit is 131072
_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_SPELT = {"tab": "\t", "\\t": "\t"}
_LOOKED_AT = 100  # records, where the header alone does not tell


def named_delimiter(delimiter: str | None) -> str | None:
    r"""Return what a user gives as a delimiter: one character, or "tab".

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> from ntkit.samples._delimited_text import named_delimiter
    >>> named_delimiter("tab"), named_delimiter(";")
    ('\t', ';')
    """
    if delimiter is None:
        return None
    delimiter = _SPELT.get(delimiter.lower(), delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n ' or not delimiter.isascii():
        raise InputError(
            f"A delimiter is one character such as ',' or ';', or tab; got {delimiter!r}."
        )
    return delimiter


def read_delimited(path: Path, delimiter: str | None, expected: Collection[str]) -> Table:
    """Read a table whose cells a delimiter separates; None finds it from the header.

    Parameters
    ----------
    path : pathlib.Path
        The file, in UTF-8.
    delimiter : str or None
        What separates the cells.
    expected : collection of str
        Names that its header may hold, which decide where the header alone does not.

    Returns
    -------
    Table
        Cells as text.

    Raises
    ------
    InputError
        If the file is not such a table; the message names the row.
    """
    cells, rows, header = list[list[str]](), list[int](), list[str]()
    notes: tuple[str, ...] = ()
    reader = None
    try:
        with _long_cells():
            if delimiter is None:
                delimiter = _found_delimiter(path, expected)
                if delimiter != ",":
                    notes = (f"{path}: cells are separated by {_NAMES[delimiter]}.",)
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, delimiter=delimiter, strict=True)
                for row, record in enumerate(reader, start=1):
                    if not record:  # an empty line
                        if len(header) != 1:
                            continue
                        record = [""]  # the empty cell of the only column, as most programs write
                    if not header:
                        header = distinct(path, record)
                        continue
                    if len(record) != len(header):
                        raise InputError(_ragged(path, row, len(record), header, delimiter))
                    cells.append(record)
                    rows.append(row)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_line_not_in_utf8(path)} is not UTF-8; save the table as UTF-8."
        ) from error
    except csv.Error as error:
        raise InputError(
            f"{path} is not a readable table: {error} (line {reader.line_num if reader else 1}); "
            "quotes inside a quoted cell are doubled."
        ) from error
    except OSError as error:
        raise InputError(f"{path} is not a readable table: {error}.") from error
    columns = {name: objects([r[j] for r in cells]) for j, name in enumerate(header)}
    return Table(path, columns, np.asarray(rows, dtype=np.int64), delimiter, notes)


# -- which delimiter ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """The beginning of a file, cut at one delimiter."""

    delimiter: str
    header: list[str]
    even: bool  # all of its records are as long as the header


def _found_delimiter(path: Path, expected: Collection[str]) -> str:
    """The delimiter that cuts the header; of several the one that fits the records and names."""
    tried = (_tried(path, delimiter) for delimiter in _NAMES)
    readings = [reading for reading in tried if reading is not None and len(reading.header) > 1]
    if not readings:
        return ","

    def likely(reading: _Reading) -> tuple[bool, int, bool, int]:
        known = len(set(expected) & set(reading.header))
        return reading.even, known, reading.delimiter == ",", len(reading.header)

    return max(readings, key=likely).delimiter


def _tried(path: Path, delimiter: str) -> _Reading | None:
    """Cells within quotes are left whole, whatever they hold; None where quotes do not fit."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        records = filter(None, csv.reader(file, delimiter=delimiter, strict=True))
        try:
            header = next(records, [])
        except csv.Error:
            return None
        try:
            even = all(len(record) == len(header) for record in islice(records, _LOOKED_AT))
        except csv.Error:
            even = False
    return _Reading(delimiter, header, even)


# -- what is wrong with a file ------------------------------------------------------------------


@contextmanager
def _long_cells() -> Iterator[None]:
    """Lift the csv module's limit on the length of a cell, which holds for the whole process."""
    before = csv.field_size_limit(_MOST_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _ragged(path: Path, row: int, have: int, header: list[str], delimiter: str) -> str:
    want = len(header)
    if want == 1:
        return (
            f"{path}, row {row} has {have} cells, but the header is one, {header[0]!r}; say what "
            "separates cells with --delimiter."
        )
    if have > want:
        return (
            f"{path}, row {row} has more cells than the {want} columns; put quotes around a cell "
            f"that holds {delimiter!r}."
        )
    return f"{path}, row {row} has {have} cells, but there are {want} columns; fill the row."


def _line_not_in_utf8(path: Path) -> int:
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                break
    return number
