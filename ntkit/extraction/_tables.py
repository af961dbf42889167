"""Tables as columns of values: CSV, TSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import importlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError, MissingDependencyError

__all__ = ["TABLES", "Table", "open_parquet", "read_parquet", "read_table"]

Array = NDArray[Any]

_MOST_CHARACTERS = 2**31 - 1  # of a cell; the csv module's own limit is 131072
_BUFFER = 1 << 20  # bytes
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class Table:
    """Columns of a file, and where its records stand in it.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    columns : dict of str to ndarray of shape (N,)
        Values by column: numbers where the file has a type for them, else Python objects, None
        where there is none.
    rows : ndarray of int, shape (N,)
        Position of each record, from 1 on: the row of a CSV file as a spreadsheet counts it, the
        line of a JSON lines file, the row of a Parquet file.
    """

    path: Path
    columns: dict[str, Array]
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str, option: str) -> Array:
        """Return a column that an option names."""
        if name not in self.columns:
            raise InputError(
                f"{self.path} has no column {name!r}; its columns are {list(self.columns)}. Name "
                f"it with {option} (in Python: ntkit.extraction.read_samples(…, "
                f"{option.strip('-').replace('-', '_')}=…))."
            )
        return self.columns[name]

    def at(self, index: Any) -> str:
        """Where a record stands, for a sentence about it."""
        return f"{self.path}, row {self.rows[index]}"

    def numbers(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Return columns as a matrix, (N, number of columns)."""
        X = np.empty((len(self), len(names)), dtype=np.float32)
        for j, name in enumerate(names):
            if not name:
                raise InputError(
                    f"{self.path} has a column without a name; name it, or leave it out (with "
                    "pandas: to_csv(..., index=False))."
                )
            X[:, j] = self._numbers(name)
        return X

    def _numbers(self, name: str) -> Array:
        values = self.columns[name]
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            numbers = np.asarray([_number(value) for value in values])
        with np.errstate(over="ignore"):
            numbers = numbers.astype(np.float32)
        bad = ~np.isfinite(numbers)
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(
                f"{self.at(i)}: {_shown(values[i])} in column {name!r} is not a finite number; "
                "leave the column out, or if it is the label, name it with --label-column."
            )
        return numbers

    def texts(self, name: str) -> list[str]:
        """Return a column of texts, none of them missing or blank."""
        values = self.columns[name]
        for i, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise InputError(
                    f"{self.at(i)}: {_shown(value)} in the text column {name!r} is no text; fill "
                    "it or remove the row."
                )
        return list(values)

    def text_columns(self) -> list[str]:
        """Names of the columns that hold texts, and not only numbers written as text."""
        return [name for name, values in self.columns.items() if name and _holds_text(values)]

    def labels(self, name: str, what: str) -> Array:
        """Return a column of labels (or groups): whole numbers or texts, none of them missing.

        Truth values become 0 and 1.
        """
        values = self.columns[name]
        for i, value in enumerate(values):
            if _is_missing(value) or value == "":
                raise InputError(
                    f"{self.at(i)} has no {what} in {name!r}; fill it or remove the row."
                )
        texts = np.asarray([isinstance(value, str) for value in values])
        if texts.all():
            return np.asarray(values.tolist())
        whole = np.asarray([_is_whole(value) for value in values])
        if whole.all():
            return np.asarray([int(value) for value in values], dtype=np.int64)
        i = int(np.argmin(texts if texts.any() else whole))
        kind = "a text, as others are" if texts.any() else "a whole number or a text"
        raise InputError(
            f"{self.at(i)}: the {what} {_shown(values[i])} in {name!r} is not {kind}; write all of "
            "them in one way."
        )


def read_table(path: Path) -> Table:
    """Read a table; the extension of the file says which kind.

    Parameters
    ----------
    path : pathlib.Path
        A file with one of the extensions in ``TABLES``.

    Returns
    -------
    Table
        With at least one record.

    Raises
    ------
    InputError
        If the file is not a table, or an irregular one; the message names the row.
    MissingDependencyError
        If a Parquet file is read without the package pyarrow.
    """
    table = TABLES[path.suffix.lower()](path)
    if not len(table):
        raise InputError(f"{path} has no rows.")
    return table


# -- CSV and TSV --------------------------------------------------------------------------------


def _read_csv(path: Path) -> Table:
    return _delimited(path, ",")


def _read_tsv(path: Path) -> Table:
    return _delimited(path, "\t")


def _delimited(path: Path, delimiter: str) -> Table:
    cells, rows, header = list[list[str]](), list[int](), list[str]()
    try:
        with _long_cells(), path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row, record in enumerate(reader, start=1):
                if not record:
                    continue  # an empty line
                if not header:
                    header = _distinct(path, record)
                    continue
                if len(record) != len(header):
                    raise InputError(_ragged(path, row, len(record), len(header)))
                cells.append(record)
                rows.append(row)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_line_not_in_utf8(path)} is not UTF-8; save the table as UTF-8."
        ) from error
    except csv.Error as error:
        raise InputError(
            f"{path} is not a readable table: {error} (line {reader.line_num}); quotes inside a "
            "quoted cell are doubled."
        ) from error
    except OSError as error:
        raise InputError(f"{path} is not a readable table: {error}.") from error
    columns = {name: _objects([r[j] for r in cells]) for j, name in enumerate(header)}
    return Table(path, columns, np.asarray(rows, dtype=np.int64))


@contextmanager
def _long_cells() -> Iterator[None]:
    """Lift the csv module's limit on the length of a cell, which holds for the whole process."""
    before = csv.field_size_limit(_MOST_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _ragged(path: Path, row: int, have: int, want: int) -> str:
    if have > want:
        return f"{path}, row {row} has more cells than the {want} columns."
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
    columns = {name: _objects([record.get(name) for record in records]) for name in names}
    return Table(path, columns, np.asarray(rows, dtype=np.int64))


# -- Parquet ------------------------------------------------------------------------------------


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """Open a file as pyarrow's ParquetFile; what it raises while it is read becomes a sentence."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(
            f"{path}: Parquet files need the package pyarrow; install it with: pip install "
            "'ntkit[text]'"
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
        columns = {n: _from_arrow(read.column(n)) for n in _distinct(path, read.column_names)}
    columns = {n: v for n, v in columns.items() if not _PANDAS_INDEX.fullmatch(n)}
    return Table(path, columns, np.arange(1, len(read) + 1))


def _from_arrow(column: Any) -> Array:
    arrow = importlib.import_module("pyarrow")
    kind = column.type
    plain = arrow.types.is_integer(kind) or arrow.types.is_floating(kind)
    if plain and not column.null_count:
        return np.asarray(column.to_numpy())
    return _objects(column.to_pylist())


TABLES: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": read_parquet,
    ".pq": read_parquet,
}


# -- values -------------------------------------------------------------------------------------


def _distinct(path: Path, header: list[str]) -> list[str]:
    if len(set(header)) < len(header):
        raise InputError(f"{path} has two columns of one name in {header}; rename one.")
    return header


def _objects(values: list[Any]) -> Array:
    """Values as they are; NumPy's texts would all take the room of the longest one."""
    return np.fromiter(values, dtype=object, count=len(values))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and value != value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _is_whole(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return float(value).is_integer() and abs(float(value)) < 2**53
    return isinstance(value, int | np.integer | np.bool_) and -(2**63) <= int(value) < 2**63


def _holds_text(values: Array) -> bool:
    if values.dtype != object:
        return False
    given = [value for value in values if not _is_missing(value) and value != ""]
    if not all(isinstance(value, str) for value in given):
        return False
    return any(not math.isfinite(_number(value)) for value in given)


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 80 else f"{text[:77]}…"
