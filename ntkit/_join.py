"""Tables joined by name: the whole path of a sample, or its name without folders."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ntkit._labels import cell_name, spelling
from ntkit._types import Array
from ntkit.exceptions import InputError

KEYS = ("file_name", "id")
"""Columns that name samples by default: of images, and of tables."""
INDEX = ("", "Unnamed: 0", "index", "row")
"""Columns of row numbers, as pandas and ``ntkit predict`` write them."""
_PROBED = 300  # values of a column
OWN_NAMES = (
    "Put the rows into the table or the metadata.csv of the set that they describe, or name "
    "another column with --id-column"
)
"""The fix if a name of a table is that of several samples."""
NAMELESS = (
    "Another set has no names to match by. Sort the rows as the samples are, the training samples "
    "first, or name the samples of every set."
)
"""The fix if names say that rows are in another order, and only some sets have names."""
BY_COLUMN = (
    "Match by it with --id-column {} (key= in Python) if it names each sample once. Else sort the "
    "rows, or rename the column."
)
"""The fix if a column, whose name goes in, says that rows are in another order."""


class NameIndex:
    """Rows of samples by name in one spelling: the whole path, or without folders."""

    def __init__(self, names: Sequence[Any]) -> None:
        self._whole, self._short = dict[str, list[int]](), dict[str, list[int]]()
        for row, name in enumerate(names):
            whole = spelling(name)
            self._whole.setdefault(whole, []).append(row)
            self._short.setdefault(spelling(whole.rpartition("/")[2]), []).append(row)
        self._n = len(names)

    def __len__(self) -> int:
        """Number of samples."""
        return self._n

    @cached_property
    def counted(self) -> bool:
        """Whether the names are numbers that leave few others between them."""
        numbers = [int(name) for name in self._whole if re.fullmatch(r"\d{1,15}", name)]
        dense = bool(numbers) and max(numbers) - min(numbers) < 2 * len(numbers)
        return dense and 2 * len(numbers) > self._n

    def rows(self, name: Any) -> list[int]:
        """Rows of the samples with this name."""
        one = spelling(name)
        return self._whole.get(one) or self._short.get(one, [])


def samples_named(
    written: Sequence[str], names: Sequence[str], where: str, key: str, fix: str = OWN_NAMES
) -> Array:
    """Sample of each row of a table by its name, −1 if there is none."""
    # Every table of names is matched with samples here, so that all are equally strict.
    index, samples = NameIndex(names), np.full(len(written), -1)
    earlier = dict[int | str, str]()
    for row, name in enumerate(written):
        found = index.rows(name)
        if len(found) > 1:
            raise InputError(
                f"{where} names {name!r:.60}, and {len(found)} samples have this name. {fix}."
            )
        place = found[0] if found else spelling(name)
        if place in earlier:
            also = f", also as {earlier[place]!r:.60}" * (earlier[place] != name)
            raise InputError(
                f"{where} names {name!r:.60} twice in {key!r}{also}; leave one row for each."
            )
        earlier[place] = name
        samples[row] = found[0] if found else -1
    return samples


def rows_named(written: Sequence[str], names: Sequence[str], where: str, key: str) -> Array:
    """Row of a table for each sample by its name, −1 if there is none."""
    samples, rows = samples_named(written, names, where, key), np.full(len(names), -1)
    named = np.flatnonzero(samples >= 0)
    rows[samples[named]] = named
    return rows


def check_positions(
    columns: Mapping[str, Array],
    names: Sequence[str] | None,
    own: Mapping[str, Array],
    where: str,
    n_rows: int,
    *,
    here: slice = slice(0, None),
    nameless: Collection[str] = (),
    fix: str = BY_COLUMN,
) -> None:
    """Raise an error if a column says that rows and samples are in different orders.

    The samples are those of the rows ``here``. Another set has no names in ``nameless`` columns.
    """
    # Most of it are names of the samples, or the samples' own table has the same column, or it
    # numbers the rows, of which some may have been left out. A single name that is repeated or
    # spelt in another way must not hide the order of the others.
    index = None if names is None else NameIndex(names)
    stems = None if names is None else NameIndex([PurePosixPath(name).stem for name in names])
    ids = _columns_of_names(columns, own)
    start = here.start
    for title, values in columns.items():
        if values.ndim != 1:
            continue
        is_key = title in KEYS and title in nameless  # then any name counts
        known, row = ids.get(title, index) if is_key else index, None
        if known is not None:
            row = row_of_another_name(values, known, start, any_name=is_key)
        if row is None:
            row = _row_of_other_content(title, values[here], own.get(title), start, n_rows)
        if row is not None:
            raise InputError(
                f"{where} has the samples in another order, by its column {title!r} (first in row "
                f"{row + 1}: {str(values[row])!r:.60}). "
                f"{NAMELESS if title in nameless else fix.format(title)}"
            )
        by_stem = title in KEYS or (stems is not None and not stems.counted)  # ranks are none
        if names and stems and by_stem and row_of_another_name(values, stems, start) is not None:
            raise InputError(
                f"{where} has the samples in another order, by its column {title!r}, which lacks "
                f"the ending of their files (such as {str(names[0])!r:.60}). Write whole names, or "
                "sort the rows."
            )
        for name, known in () if title in own else ids.items():
            of_names = title in KEYS or name in (*KEYS, *INDEX)  # under any other title
            if of_names and row_of_another_name(values, known, start) is not None:
                raise InputError(
                    f"{where} has the samples in another order, by its column {title!r}. The "
                    f"samples have these names in {name!r}. Give both columns one name."
                )


def _columns_of_names(
    columns: Mapping[str, Array], own: Mapping[str, Array]
) -> dict[str, NameIndex]:
    """Names in those columns of samples that hold names, also by the columns of a table."""
    keys = [NameIndex(columns[name].tolist()) for name in KEYS if name in columns]
    named = [n for n in own if n in (*KEYS, *INDEX) or any(_names_some(own[n], k) for k in keys)]
    return {name: NameIndex(own[name].tolist()) for name in named}


def _names_some(values: Array, index: NameIndex) -> bool:
    """Whether one of some values, drawn at random, is a name; a wide table has few such columns."""
    if len(values) > _PROBED:
        values = values[np.random.default_rng(0).integers(len(values), size=_PROBED)]
    return values.ndim == 1 and any(index.rows(value) for value in values.tolist())


def row_of_another_name(
    values: Array, index: NameIndex, start: int = 0, *, any_name: bool = False
) -> int | None:
    """First row with the name of another sample, if values name more than half of them, or any.

    The samples with these names begin at the row ``start``; those of other sets may have the same.
    """
    n = len(index)
    own, theirs = range(start, start + n), values[start : start + n]
    if not (any_name or _names_some(theirs, index) or _names_some(values, index)):
        return None
    if not (any_name or _are_many(theirs) or _are_many(values)):
        return None
    # Ages or ranks of another set may be among numbers that are names here.
    rows = own if index.counted and not any_name else range(len(values))
    found = {row: index.rows(value) for row, value in enumerate(values.tolist()) if row in rows}
    n_named = len({sample for samples in found.values() for sample in samples})
    if not any_name and (2 * n_named <= n or (index.counted and n_named < n)):
        return None
    for row, samples in found.items():
        in_place = any(found[start + sample] == samples for sample in samples)
        if samples and row - start not in samples and (row in own or not in_place):
            return row
    return None


def _are_many(values: Array) -> bool:
    """Whether more than half of the values that are known are different."""
    known = [text for value in values.tolist() if (text := cell_name(value))]
    return 2 * len({*known}) > len(known)


def _row_of_other_content(
    title: str, values: Array, own: Array | None, start: int, n_rows: int
) -> int | None:
    """First row, of all sets, with another value than the samples' own column, or of an index."""
    row = None
    if own is not None and own.ndim == 1:
        row = _row_of_another_value(values, own)
    elif title in INDEX:
        row = _row_of_smaller_number(values, n_rows)
    return None if row is None else start + row


def _row_of_smaller_number(values: Array, n_rows: int) -> int | None:
    """First row with a smaller number than the row before, if most values number the rows."""
    cells = [*map(spelling, values.tolist())]
    numbers = {row: int(cell) for row, cell in enumerate(cells) if re.fullmatch(r"\d{1,15}", cell)}
    numbers = {row: number for row, number in numbers.items() if number <= n_rows}
    if len({*numbers.values()}) < 0.9 * len(cells):
        return None
    pairs = pairwise(numbers.items())
    return next((row for (_, before), (row, number) in pairs if number < before), None)


def _row_of_another_value(values: Array, own: Array) -> int | None:
    """First row in which columns differ, if most values of one are among those of the other."""
    one, other = ([*map(_comparable, column.tolist())] for column in (values, own))
    known = {*one} - {"", None}
    if 2 * len(known & {*other}) <= len(known):  # other facts, or the same in other words
        return None
    numbers = [x for x in other if isinstance(x, float) and math.isfinite(x)]
    rounding = 1e-3 * (max(numbers, default=0.0) - min(numbers, default=0.0))
    pairs = enumerate(zip(one, other, strict=True))
    return next((row for row, pair in pairs if _differ(*pair, rounding)), None)


def _differ(one: float | str | None, other: float | str | None, rounding: float) -> bool:
    """Whether both cells have a value, but not the same; tables round fractions."""
    if one == other or {one, other} & {"", None}:
        return False
    if isinstance(one, float) and isinstance(other, float):
        whole = one.is_integer() and other.is_integer()
        return whole or not math.isclose(one, other, abs_tol=rounding)
    return True


def _comparable(value: Any) -> float | str | None:
    """A number in six digits, or a text; None or empty if it is not known."""
    try:
        number = float(f"{float(value):.6g}")
    except (TypeError, ValueError):
        return None if value is None or type(value).__name__ == "NAType" else spelling(value)
    return None if number != number else number


def matching_rows(
    columns: Mapping[str, Array],
    *sets: Sequence[str],
    key: str,
    where: str = "The metadata",
) -> Array:
    """Row of a table for each sample of several sets, matched by a column; −1 if there is none."""
    if key not in columns:
        raise no_column(columns, key, where)
    written = [*map(cell_name, columns[key].tolist())]
    rows = rows_named(written, [name for names in sets for name in names], where, key)
    start = 0
    for names in sets:
        if (rows[start : start + len(names)] < 0).all():
            raise InputError(
                f"None of the {len(names)} samples (first: {str(names[0])!r}) is named in the "
                f"column {key!r} of {where.replace('The ', 'the ')} (first: {written[:1]}). Use "
                "the same names in both."
            )
        start += len(names)
    return rows


def no_column(columns: Mapping[str, Array], key: str, where: str) -> InputError:
    return InputError(
        f"{where} has no column {key!r} to match samples by; its columns are {list(columns)}. Name "
        "the column with --id-column (key= in Python)."
    )


def joined(columns: Mapping[str, Array], rows: Array, key: str) -> dict[str, Array]:
    """Columns of a table in the order of the samples; None for a sample without a row."""
    return {
        name: np.fromiter((values[row] if row >= 0 else None for row in rows), object, len(rows))
        for name, values in columns.items()
        if name != key
    }


def in_order(table: Any, names: Sequence[str] | None, key: str) -> dict[str, Array]:
    """Columns of a table in the order of the samples, or unchanged if the samples have no names."""
    columns = columns_of(table, key)
    if names is None:
        return columns
    return joined(columns, matching_rows(columns, names, key=key), key)


def pooled(parts: Sequence[Mapping[str, Array] | None]) -> dict[str, Array] | None:
    """Concatenated columns that all parts have; None if a part has no columns."""
    tables = [part for part in parts if part is not None]
    if not tables or len(tables) < len(parts):
        return None
    both = [name for name in tables[0] if all(name in table for table in tables)]
    columns = dict[str, Array]()
    for name in both:
        arrays = [np.asarray(table[name]) for table in tables]
        kinds = {array.dtype.kind for array in arrays}
        if len(arrays) > 1 and not (kinds <= {*"fiu"} or kinds in ({"M"}, {"m"})):
            # Texts have their own widths, and dates in nanoseconds would become whole numbers.
            arrays = [a.astype("M8[us]") if a.dtype.kind == "M" else a for a in arrays]
            arrays = [array.astype(object) for array in arrays]
        columns[name] = np.concatenate(arrays)
    return columns


def columns_of(table: Any, *keys: str) -> dict[str, Array]:
    """Columns of a DataFrame or a mapping as arrays of one length."""
    # The index of a DataFrame is a column if it is called like a column that names samples.
    if {*getattr(getattr(table, "index", None), "names", ())} & {*keys}:
        table = table.reset_index()
    if not isinstance(table, Mapping) and not hasattr(table, "items"):
        raise InputError(
            f"A table must be a DataFrame or a mapping of columns; got {type(table).__name__}. "
            "Pass arrays as arrays={'name': X}."
        )
    twice = [name for name, n in Counter(str(name) for name, _ in table.items()).items() if n > 1]
    if twice:
        raise InputError(f"The table has two columns of the same name, {twice[0]!r}; rename one.")
    # Texts in lists become objects, because NumPy pads texts to one width.
    arrays: dict[str, Array] = {
        str(name): np.fromiter(values, dtype=object, count=len(values))
        if isinstance(values, list | tuple)
        else np.asarray(values)
        for name, values in table.items()
    }
    sizes = {len(values) if values.ndim == 1 else -1 for values in arrays.values()}
    if len(sizes) > 1 or -1 in sizes:
        shapes = ", ".join(f"{name!r} {values.shape}" for name, values in list(arrays.items())[:6])
        raise InputError(f"The columns of a table need one shape, (N,); got {shapes}.")
    return arrays
