"""Tables joined by name: samples are called as a whole file, or as one without its folders."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError


class NameIndex:
    """Rows of samples by name, as it is written, or else without folders, or blanks around."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._rows: tuple[dict[str, list[int]], ...] = ({}, {}, {})
        for row, name in enumerate(map(composed, names)):
            for rows, one in zip(
                self._rows, (name, name.rpartition("/")[2], name.strip()), strict=True
            ):
                rows.setdefault(one, []).append(row)

    def rows(self, name: str) -> list[int]:
        """Rows of the samples that are called so; an apostrophe may stand before a name."""
        written, plain = composed(name), composed(name).removeprefix("'")
        whole, short, stripped = self._rows
        tried = (whole.get(written), whole.get(plain), short.get(written), short.get(plain))
        return next((rows for rows in tried if rows), stripped.get(plain.strip(), []))


def rows_named(written: Sequence[str], names: Sequence[str], where: str, key: str) -> Array:
    """Row of a table that is about each sample, −1 where none is."""
    twice = next((n for n, count in Counter(map(composed, written)).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{where} names {twice!r} twice in {key!r}; leave one row for each.")
    index, rows = NameIndex(names), np.full(len(names), -1)
    for row, name in enumerate(written):
        samples = index.rows(name)
        if len(samples) > 1:
            raise InputError(
                f"{where} say something of {name!r:.60}, and {len(samples)} samples are called "
                "so; put them into the table or the metadata.csv of the set that they are of, or "
                "name another column with --id-column."
            )
        rows[samples] = row
    return rows


def matching_rows(
    columns: Mapping[str, Array],
    *sets: Sequence[str],
    key: str,
    where: str = "The metadata",
) -> Array:
    """Row of a table that a column names each sample of some sets in, −1 where none does."""
    if key not in columns:
        raise no_column(columns, key, where)
    written = [str(name) for name in columns[key].tolist()]
    rows = rows_named(written, [name for names in sets for name in names], where, key)
    start = 0
    for names in sets:
        if (rows[start : start + len(names)] < 0).all():
            raise InputError(
                f"None of the {len(names)} samples, the first of them {str(names[0])!r}, is named "
                f"in the column {key!r} of {where[:1].lower() + where[1:]}, the first of which is "
                f"{written[:1]}; write names in one way."
            )
        start += len(names)
    return rows


def no_column(columns: Mapping[str, Array], key: str, where: str) -> InputError:
    return InputError(
        f"{where} has no column {key!r} to match samples by; its columns are {list(columns)}. "
        "Name the column with --id-column (key= in Python)."
    )


def joined(columns: Mapping[str, Array], rows: Array, key: str) -> dict[str, Array]:
    """Columns of a table by its row for each sample; None where it has none."""
    return {
        name: np.fromiter((values[row] if row >= 0 else None for row in rows), object, len(rows))
        for name, values in columns.items()
        if name != key
    }


def in_order(table: Any, names: Sequence[str] | None, key: str) -> dict[str, Array]:
    """Columns of a table in the order of some samples, or as they are where these have no names."""
    columns = columns_of(table)
    if names is None:
        return columns
    return joined(columns, matching_rows(columns, names, key=key), key)


def pooled(parts: Sequence[Mapping[str, Array] | None]) -> dict[str, Array] | None:
    """Columns that all parts have, one after the other; None where a part has none at all."""
    tables = [part for part in parts if part is not None]
    if not tables or len(tables) < len(parts):
        return None
    both = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: _one_after_the_other([np.asarray(t[name]) for t in tables]) for name in both}


def _one_after_the_other(parts: list[Array]) -> Array:
    """Numbers stay numbers where all are; else a text must not become as long as the longest."""
    if len(parts) == 1:
        return parts[0]
    numbers = all(part.dtype.kind in "fiu" for part in parts)
    return np.concatenate(parts if numbers else [part.astype(object) for part in parts])


def columns_of(table: Any) -> dict[str, Array]:
    """Columns of a DataFrame or a mapping as arrays of one length."""
    if not isinstance(table, Mapping) and not hasattr(table, "items"):
        raise InputError(
            f"A table is a DataFrame or a mapping of columns; got {type(table).__name__}; pass "
            "arrays as arrays={'name': X}."
        )
    arrays = {str(name): _array(values) for name, values in table.items()}
    sizes = {len(values) if values.ndim == 1 else -1 for values in arrays.values()}
    if len(sizes) > 1 or -1 in sizes:
        shapes = ", ".join(f"{name!r} {values.shape}" for name, values in list(arrays.items())[:6])
        raise InputError(f"The columns of a table need one shape, (N,); got {shapes}.")
    return arrays


def _array(values: Any) -> Array:
    """Values as an array; texts stay objects, for NumPy's take the room of the longest."""
    if isinstance(values, list | tuple):
        return np.fromiter(values, dtype=object, count=len(values))
    return np.asarray(values)


def composed(name: Any) -> str:
    """One spelling of letters with accents: file systems and spreadsheets differ."""
    return unicodedata.normalize("NFC", str(name))
