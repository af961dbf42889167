"""Tables from files: CSV, TSV, JSON lines, Parquet."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._extras import install_extra
from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.samples._delimited_text import read_delimited
from ntkit.samples._table import Table, distinct, objects

__all__ = ["TABLES", "Table", "open_parquet", "read_parquet", "read_table"]

Array = NDArray[Any]

_BUFFER = 1 << 20  # bytes
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_table(path: Path, delimiter: str | None = None, expected: Collection[str] = ()) -> Table:
    """Read a table; the extension of the file says which kind.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    delimiter : str, optional
        What separates the cells of a CSV or TSV file; by default a tab in a ``.tsv`` file, and in
        a ``.csv`` file what its header says.
    expected : collection of str
        Names that its header may hold.

    Returns
    -------
    Table
        With at least one record.

    Raises
    ------
    InputError
        If its extension is not one of ``TABLES``, or the file is not a table, or an irregular one;
        the message names the row.
    MissingDependencyError
        If a Parquet file is read without the package pyarrow.
    """
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
    if _is_number(kind) and not column.null_count:
        return np.asarray(column.to_numpy())
    if is_list(kind) and _is_number(kind.value_type) and len(column) and not column.null_count:
        lengths = importlib.import_module("pyarrow.compute").list_value_length(column)
        if len(lengths.unique()) == 1 and (length := lengths[0].as_py()):
            flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
            return np.concatenate(flat).reshape(len(column), length)
    return objects(column.to_pylist())


def is_list(kind: Any) -> bool:
    """Whether the cells of a column are lists."""
    types = importlib.import_module("pyarrow").types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
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
