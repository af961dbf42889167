"""Tables: columns of values from CSV, TSV, JSON lines and Parquet files."""

from __future__ import annotations

import csv
import importlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._extras import install_extra
from ntkit._labels import meant_instead, plain_value, unguarded_cell
from ntkit._process import OF_COMMAND, progress_bar
from ntkit._text import RUN_ON, shortened
from ntkit._types import Array
from ntkit.exceptions import InputError, MissingDependencyError

# Columns of a table that are not inputs: row numbers, keys, earlier predictions, splits, targets.
_ASIDE = re.compile(
    r"(?:.*[\W_])?ids?|index|idx|level_0|row|row_?(?:number|names?)|unnamed(?:: ?\d+)?|"
    r"(?:y_?)?pred(?:s|icted|ictions?)?(?:[\W_].*)?|split|fold|labels?|groups?|target|class|file_?name|path",
    re.IGNORECASE,
)
# Cells that pandas reads as missing; R writes NA.
_NA = ("", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaN", "nan", "NULL", "null", "None")
_CAMEL_ID = re.compile(r".*[a-z]I[dD]")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")


class NoRows(InputError):
    """A table that has no rows."""


@dataclass(frozen=True)
class Table:
    """Columns of a file, and the positions of its records."""

    path: Path
    columns: dict[str, Array]
    rows: Array
    delimiter: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str, option: str) -> Array:
        """Return the column that an option names."""
        if name not in self.columns and len(self.columns) == 1 and self.delimiter is not None:
            raise InputError(
                f"{self.path} has no column {name!r}: with the separator {self.delimiter!r} its "
                f"only column is {next(iter(self.columns))!r}. Name the separator with "
                f"--delimiter, or the column with {option}."
            )
        if name not in self.columns:
            meant = meant_instead(name, list(self.columns))
            raise InputError(
                f"{self.path} has no column {name!r}; its columns are {list(self.columns)}"
                f"{f' (did you mean {meant}?)' if meant else ''}. Name "
                f"it with {option} (in Python: ntkit.extraction.read_samples(…, "
                f"{option.strip('-').replace('-', '_')}=…))."
            )
        return self.columns[name]

    def at(self, index: Any) -> str:
        """Position of a record, for a sentence."""
        return f"{self.path}, row {self.rows[index]}"

    # -- numbers ----------------------------------------------------------------------------

    def list_length(self, name: str) -> int | None:
        """Numbers in each cell of a column of lists; None for any other column."""
        values = self.columns[name]
        if values.ndim == 2:
            return int(values.shape[1])
        first = values[0] if len(values) and values.dtype == object else None
        return len(first) if isinstance(first, list | tuple | np.ndarray) else None

    def numbers(
        self, names: Sequence[str], dtype: Any = np.float32, *, may_be_missing: bool = False
    ) -> Array:
        """Return columns as a matrix, (N, number of columns), or one of lists, (N, D)."""
        # An empty cell is NaN if it may be missing, else an error that names it.
        if not all(names):
            raise InputError(
                f"{self.path} has a column without a name; name it, or leave it out (with pandas: "
                "to_csv(..., index=False))."
            )
        parts = [
            self._numbers(name, dtype, may_be_missing)[:, None]
            if self.list_length(name) is None
            else self._lists(name, dtype)
            for name in names
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def whole_numbers(self, names: Sequence[str]) -> Array:
        """Return columns of whole numbers as int64 with all their digits."""
        X = np.empty((len(self), len(names)), dtype=np.int64)
        for i, name in enumerate(names):
            for row, value in enumerate(self.columns[name]):
                try:
                    X[row, i] = int(value)
                except (TypeError, ValueError, OverflowError) as error:
                    wanted = "a whole number of at most 64 bits, as the model needs"
                    raise self._not(wanted, row, name) from error
        return X

    def _not(self, wanted: str, i: int, name: str, kind: str = "column") -> InputError:
        """An error for a cell that is not what is wanted."""
        cell = f"{self.at(i)}: {_shown(self.columns[name][i])}"
        return InputError(f"{cell} in {kind} {name!r} is not {wanted}.")

    def _numbers(self, name: str, dtype: Any, may_be_missing: bool) -> Array:
        values = self.columns[name]
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            truths = {"true": 1.0, "false": 0.0, "": np.nan}  # as pandas and spreadsheets write
            cells = ["" if is_empty(value) else str(value).strip().lower() for value in values]
            if {*cells} <= {*truths}:
                numbers = np.asarray([*map(truths.get, cells)])
            else:
                numbers = np.asarray([_number(value) for value in values])
        with np.errstate(over="ignore"):
            numbers = numbers.astype(dtype)
        bad = ~np.isfinite(numbers)
        if bad.any() and may_be_missing:
            bad[bad] = [not is_empty(value) for value in values[bad]]
        if bad.any():
            i = int(np.argmax(bad))
            fix = "leave the column out, or if it is the label, name it with --label-column"
            if _DECIMAL_COMMA.fullmatch(str(values[i])):
                fix = "write a decimal point instead of the comma (pandas: read_csv(decimal=','))"
            raise self._not(f"a finite number; {fix}", i, name)
        return numbers

    def _lists(self, name: str, dtype: Any) -> Array:
        values, width = self.columns[name], self.list_length(name)
        if values.ndim == 1:
            for i, value in enumerate(values):
                length = len(value) if isinstance(value, list | tuple | np.ndarray) else None
                if length != width:
                    have = "no list" if length is None else f"{length} numbers"
                    raise InputError(
                        f"{self.at(i)} has {have} in column {name!r} instead of {width} numbers; "
                        "embeddings must have one length."
                    )
            values = np.asarray([[_number(v) for v in value] for value in values])
        with np.errstate(over="ignore"):
            X = np.asarray(values, dtype=dtype)
        bad = ~np.isfinite(X).all(axis=1)
        if bad.any():
            raise InputError(
                f"{self.at(int(np.argmax(bad)))} has a value in column {name!r} that is not a "
                "finite number; correct or remove the row."
            )
        return X

    # -- texts and labels -------------------------------------------------------------------

    def texts(self, name: str) -> list[str]:
        """Return a column of texts, none of them missing or blank."""
        for i, value in enumerate(self.columns[name]):
            if not isinstance(value, str) or not value.strip():
                raise self._not("a text; fill it or remove the row", i, name, "the text column")
        return list(self.columns[name])

    def strings(self, name: str) -> Array:
        """Return a column as texts, for a model's input of strings; empty ones are allowed."""
        for i, value in enumerate(self.columns[name]):
            if not isinstance(value, str | int | np.integer) or isinstance(value, bool):
                wanted = "a text, as the model needs; fill it or remove the row"
                raise self._not(wanted, i, name)
        return objects([str(value) for value in self.columns[name]])

    def text_columns(self) -> list[str]:
        """Names of the columns that contain texts, and not only numbers written as text."""
        return [name for name, values in self.columns.items() if name and _holds_text(values)]

    def labels(self, name: str, what: str) -> Array:
        """Return a column of labels (or groups): whole numbers or texts, none of them missing."""
        # Truth values become 0 and 1.
        values, other = self.columns[name], f"name another column with --{what}-column"
        if what == "label":
            values = _empty_among_numbers(values)
        if values.ndim > 1:
            raise InputError(
                f"{self.path}: the column {name!r} contains lists, but a {what} must be a whole "
                f"number or a text; {other}."
            )
        missing = [i for i, value in enumerate(values) if is_empty(value)]
        if missing and len(missing) == len(values):
            raise InputError(
                f"{self.path} has no {what} in any of its {len(values)} rows: the column {name!r} "
                f"is empty; fill it, or {other}."
            )
        if missing:
            some = f" ({len(missing)} of {len(values)} rows have none)" if len(missing) > 1 else ""
            raise InputError(
                f"{self.at(missing[0])} has no {what} in {name!r}{some}; fill it or remove the "
                f"row, or {other}."
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
            "them the same way."
        )

    def truth(self, name: str, label: str) -> Array:
        """A column of 0 and 1 as whole numbers; an empty cell, an unknown value, is −1."""
        if name not in self.columns:
            meant = meant_instead(name, list(self.columns))
            raise InputError(
                f"{self.path} has no column {name!r} with 0 and 1 for the label {label!r}; its "
                f"columns are {list(self.columns)}{f' (is it {meant}?)' if meant else ''}. Name "
                "the column like the label, or with --label-column."
            )
        values = self.columns[name]
        if values.ndim > 1:
            raise self._not("0, 1 or empty", 0, name)
        texts = all(isinstance(value, str) for value in values)
        of_text = {value: _truth(value) for value in {*values.tolist()}} if texts else {}
        each = map(of_text.__getitem__ if texts else _truth, values.tolist())
        found = np.fromiter(each, np.int8, len(values))
        if (found < -1).any():
            raise self._not("0, 1 or empty, as a label must be", int((found < -1).argmax()), name)
        return found

    def same(self, first: str, second: str) -> bool:
        """Whether two columns of 0 and 1 have the same known values, and the same empty cells."""
        pairs = zip(self.columns[first], self.columns[second], strict=True)
        return all(_truth(one) == _truth(two) for one, two in pairs)


def _empty_among_numbers(values: Array) -> Array:
    """Labels without cells such as NA if all others are numbers; among names, NA is a class."""
    if values.ndim != 1 or not all(isinstance(cell, str) for cell in values.tolist()):
        return values
    cells = {*values.tolist()}
    none = {cell for cell in cells if cell.strip() in _NA}
    numbers = [_number(cell) for cell in cells - none]
    if not none or not numbers or not all(map(math.isfinite, numbers)):
        return values
    return objects(["" if cell in none else cell for cell in values.tolist()])


def labelled(values: Array) -> Array:
    """Which cells of a column of labels hold one (N,); lists count as labels, to be refused."""
    if values.ndim > 1:
        return np.ones(len(values), bool)
    return np.asarray([not is_empty(cell) for cell in _empty_among_numbers(values)], bool)


def _truth(value: Any) -> int:
    """0 or 1, also as a text or a truth value; −1 for an empty cell, −2 for anything else."""
    if is_empty(value) or (isinstance(value, str) and not value.strip()):
        return -1
    number = _number(plain_value(value) if isinstance(value, str) else value)  # TRUE is 1
    return int(number) if number in (0, 1) else -2


def _is_whole(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return float(value).is_integer() and abs(float(value)) < 2**53
    return isinstance(value, int | np.integer | np.bool_) and abs(int(value)) < 2**63


def named_once(path: Path | str, header: list[str]) -> list[str]:
    """Return a header, unless it has a column twice."""
    if len(set(header)) < len(header):
        raise InputError(f"{path} has two columns of the same name in {header}; rename one.")
    return header


def objects(values: Sequence[Any]) -> Array:
    """Values as they are; NumPy's texts would all have the size of the longest one."""
    return np.fromiter(iter(values), dtype=object, count=len(values))


def is_empty(value: Any) -> bool:
    """Whether a cell has no value."""
    missing = value is None or (isinstance(value, float | np.floating) and value != value)
    return missing or (isinstance(value, str) and not value)


def _number(value: Any) -> float:
    try:
        return float("nan" if isinstance(value, str) and "_" in value else value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def is_prose(values: Array) -> bool:
    """Whether a column holds texts rather than categories; empty cells tell nothing."""
    some = [value for value in values[:1000].tolist() if isinstance(value, str) and value.strip()]
    enough = sum(len(_WORD.findall(value[:1000])) for value in some) >= _PROSE * len(some)
    return bool(some) and enough and len(set(some)) > len(some) / 2


def _holds_text(values: Array) -> bool:
    if values.dtype != object:
        return False
    cells = [value for value in values if not is_empty(value)]
    if not all(isinstance(value, str) for value in cells):
        return False
    return any(
        not (math.isfinite(_number(value)) or _DECIMAL_COMMA.fullmatch(value)) for value in cells
    )


def _shown(value: Any) -> str:
    return shortened(repr(value.item() if isinstance(value, np.generic) else value), 80)


def is_aside(name: str) -> bool:
    """Whether a column has the name of something other than an input: a key, a split, a target."""
    plain = name.strip()
    return not plain or bool(_ASIDE.fullmatch(plain) or _CAMEL_ID.fullmatch(plain))


_PROSE = 3  # a column with at least so many words per entry holds texts, not categories
_WORD = re.compile(rf"[{RUN_ON}]{{1,2}}|[^\s{RUN_ON}]+")
_MOST_CHARACTERS = 2**31 - 1  # characters of a cell; the csv module's own limit is 131072
_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_SPELT = {"tab": "\t", "\\t": "\t"}


def named_delimiter(delimiter: str | None) -> str | None:
    r"""A user's delimiter: one character, or "tab"."""
    if delimiter is None:
        return None
    delimiter = _SPELT.get(delimiter.lower(), delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n ' or not delimiter.isascii():
        raise InputError(
            f"A delimiter must be one character such as ',' or ';', or tab; got {delimiter!r}."
        )
    return delimiter


def read_delimited(path: Path, delimiter: str | None, expected: Collection[str]) -> Table:
    """Read a table with a delimiter between cells; None finds it from the header."""
    cells, rows, header = list[list[str]](), list[int](), list[str]()
    notes: tuple[str, ...] = ()
    reader = None
    try:
        with _long_cells():
            if delimiter is None:
                delimiter = _likely_delimiter(path, expected)
                if delimiter != ",":
                    notes = (f"{path}: cells are separated by {_NAMES[delimiter]}.",)
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, delimiter=delimiter, strict=True)
                bar = progress_bar(
                    reader, shown=OF_COMMAND.shown, desc=f"reading {path.name}", unit=" rows"
                )
                for row, record in enumerate(bar, start=1):
                    if not record:  # an empty line
                        if len(header) != 1:
                            continue
                        record = [""]  # the empty cell of an only column, as most programs write it
                    if not header:
                        header = named_once(path, [*map(unguarded_cell, record)])
                        continue
                    if len(record) != len(header):
                        raise InputError(_ragged(path, row, len(record), header, delimiter))
                    cells.append(record)
                    rows.append(row)
    except UnicodeDecodeError as error:
        lines = path.read_bytes().split(b"\n")
        line = next(n for n, t in enumerate(lines, 1) if t.decode(errors="ignore").encode() != t)
        raise InputError(f"{path}, line {line} is not UTF-8; save the table as UTF-8.") from error
    except (csv.Error, OSError) as error:
        where = "."
        if isinstance(error, csv.Error):
            line = reader.line_num if reader else 1
            where = f" (line {line}); quotes inside a quoted cell are doubled."
        raise InputError(f"{path} is not a readable table: {error}{where}") from error
    columns = {name: objects([r[j] for r in cells]) for j, name in enumerate(header)}
    return Table(path, columns, np.asarray(rows, dtype=np.int64), delimiter, notes)


def _likely_delimiter(path: Path, expected: Collection[str]) -> str:
    """The delimiter of the header: with most expected names, else a comma, else most cells."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = next((line for line in file if line.strip()), "")
    headers = {mark: next(csv.reader([first], delimiter=mark), []) for mark in _NAMES}

    def likely(mark: str) -> tuple[int, bool, int]:
        names = {*map(unguarded_cell, headers[mark])}
        return len({*expected} & names), mark == ",", len(headers[mark])

    return max((mark for mark in headers if len(headers[mark]) > 1), key=likely, default=",")


@contextmanager
def _long_cells() -> Iterator[None]:
    """Remove the csv module's limit on the length of a cell, which holds for the whole process."""
    before = csv.field_size_limit(_MOST_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _ragged(path: Path, row: int, have: int, header: list[str], delimiter: str) -> str:
    want = len(header)
    if want == 1:
        return (
            f"{path}, row {row} has {have} cells, but the header has one, {header[0]!r}; name the "
            "separator with --delimiter."
        )
    if have > want:
        return (
            f"{path}, row {row} has more cells than the {want} columns; put quotes around a cell "
            f"that contains {delimiter!r}."
        )
    return (
        f"{path}, row {row} has {have} cells, but there are {want} columns separated by "
        f"{_NAMES.get(delimiter, delimiter)}; fill the row, or name the separator with --delimiter."
    )


_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_table(path: Path, delimiter: str | None = None, expected: Collection[str] = ()) -> Table:
    """Read a table; the file's extension determines the format."""
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        table = read_delimited(path, delimiter or ("\t" if kind == ".tsv" else None), expected)
    elif kind not in _OTHERS:
        raise InputError(
            f"{path} is not a table that ntkit can read; save it as one of {', '.join(TABLES)}."
        )
    else:
        table = _OTHERS[kind](path)
    if not len(table):
        raise NoRows(f"{path} has no rows{' below its header' * bool(table.columns)}; add some.")
    return table


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
                    raise ValueError("it is not an object of columns and values")
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


def _read_parquet(path: Path) -> Table:
    try:
        pyarrow, parquet = (importlib.import_module(f"pyarrow{part}") for part in ("", ".parquet"))
    except ImportError as error:
        raise MissingDependencyError(
            f"{path}: Parquet files need the package pyarrow; install it with: "
            f"{install_extra('text')}"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:  # one file, whatever its folder's name means
            read = file.read()
        names = named_once(path, read.column_names)
        columns = {name: _from_arrow(read.column(name)) for name in names}
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}.") from error
    index = [name for name in names if _PANDAS_INDEX.fullmatch(name)]
    for i, name in enumerate(index):  # as reset_index names them; row numbers say nothing
        title, values = "index" if len(index) == 1 else f"level_{i}", columns.pop(name)
        if title not in columns and any(isinstance(value, str) for value in values):
            columns[title] = values
    return Table(path, columns, np.arange(1, len(read) + 1))


def _from_arrow(column: Any) -> Array:
    """Values of a column; lists of numbers of one length become a matrix."""
    types = importlib.import_module("pyarrow").types

    def is_number(kind: Any) -> bool:
        return bool(types.is_floating(kind) or types.is_integer(kind))

    kind = column.type
    if is_number(kind) and not column.null_count:
        return np.asarray(column.to_numpy())
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if is_list and is_number(kind.value_type) and len(column) and not column.null_count:
        lengths = importlib.import_module("pyarrow.compute").list_value_length(column)
        if len(lengths.unique()) == 1 and (length := lengths[0].as_py()):
            flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
            return np.concatenate(flat).reshape(len(column), length)
    return objects(column.to_pylist())


_OTHERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
TABLES = (".csv", ".tsv", *_OTHERS)
"""Extensions of the files that are read as tables."""
