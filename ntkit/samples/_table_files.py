"""Tables from files: CSV, TSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._extras import install_extra
from ntkit._types import Array
from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.samples._table import Table, distinct, objects

_MOST_CHARACTERS = 2**31 - 1  # of a cell; the csv module's own limit is 131072
_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_SPELT = {"tab": "\t", "\\t": "\t"}
_LOOKED_AT = 100  # records, where the header alone does not tell


def named_delimiter(delimiter: str | None) -> str | None:
    r"""Return what a user gives as a delimiter: one character, or "tab"."""
    if delimiter is None:
        return None
    delimiter = _SPELT.get(delimiter.lower(), delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n ' or not delimiter.isascii():
        raise InputError(
            f"A delimiter is one character such as ',' or ';', or tab; got {delimiter!r}."
        )
    return delimiter


def read_delimited(path: Path, delimiter: str | None, expected: Collection[str]) -> Table:
    """Read a table whose cells a delimiter separates; None finds it from the header."""
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


_BUFFER = 1 << 20  # bytes
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_table(path: Path, delimiter: str | None = None, expected: Collection[str] = ()) -> Table:
    """Read a table; the extension of the file says which kind."""
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        table = read_delimited(path, delimiter or ("\t" if kind == ".tsv" else None), expected)
    elif kind not in _OTHERS:
        raise InputError(
            f"{path} is no table that can be read here; save it as one of {', '.join(TABLES)}."
        )
    else:
        table = _OTHERS[kind](path)
    if not len(table):
        raise InputError(f"{path} has no rows{' but its header' * bool(table.columns)}.")
    return table


# -- JSON lines ---------------------------------------------------------------------------------


def _read_jsonl(path: Path) -> Table:
    records, rows = list[dict[str, Any]](), list[int]()
    row = 0
    try:
        with path.open("rb") as file:
            for row, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if row == 1 else "utf-8")
                if not text.strip():
                    continue
                record = json.loads(text)
                if not isinstance(record, dict):
                    raise ValueError("it is no object of columns and values")
                records.append(record)
                rows.append(row)
    except OSError as error:
        raise InputError(f"{path} is not a readable table: {error}.") from error
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise InputError(
            f'{path}, row {row} is not a line of JSON like {{"text": "…", "label": 0}}: {reason}.'
        ) from error
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: objects([record.get(name) for record in records]) for name in names}
    return Table(path, columns, np.asarray(rows, dtype=np.int64))


# -- Parquet ------------------------------------------------------------------------------------


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """Open a file as pyarrow's ParquetFile; what it raises while it is read becomes a sentence."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(
            f"{path}: Parquet files need the package pyarrow; install it with: "
            f"{install_extra('text')}"
        ) from error
    try:
        # One file, whatever its folder's name means; not read ahead, which takes all of its rows.
        with parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # damaged files raise pyarrow's classes, OSError and others
        raise InputError(f"{path} is not a readable Parquet file: {error}.") from error


def read_parquet(path: Path, names: Sequence[str] | None = None) -> Table:
    """Read a Parquet file, or some columns of it."""
    with open_parquet(path) as file:
        read = file.read(names)
        columns = {n: _from_arrow(read.column(n)) for n in distinct(path, read.column_names)}
    columns = {n: v for n, v in columns.items() if not _PANDAS_INDEX.fullmatch(n)}
    return Table(path, columns, np.arange(1, len(read) + 1))


def _from_arrow(column: Any) -> Array:
    kind = column.type
    if is_number(kind) and not column.null_count:
        return np.asarray(column.to_numpy())
    if is_list(kind) and is_number(kind.value_type) and len(column) and not column.null_count:
        lengths = importlib.import_module("pyarrow.compute").list_value_length(column)
        if len(lengths.unique()) == 1 and (length := lengths[0].as_py()):
            flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
            return np.concatenate(flat).reshape(len(column), length)
    return objects(column.to_pylist())


def is_list(kind: Any) -> bool:
    """Whether the cells of a column are lists."""
    types = importlib.import_module("pyarrow").types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_number(kind: Any) -> bool:
    """Whether the cells of a column are numbers."""
    types = importlib.import_module("pyarrow").types
    return bool(types.is_floating(kind) or types.is_integer(kind))


_OTHERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": read_parquet,
    ".pq": read_parquet,
}
TABLES = (".csv", ".tsv", *_OTHERS)
"""Extensions of the files that are read as tables."""
