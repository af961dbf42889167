"""Tables joined by name: the whole path of a sample, or its name without folders."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError


class NameIndex:
    """Rows of samples by name: as it is written, without folders, or without spaces around it."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._rows: tuple[dict[str, list[int]], ...] = ({}, {}, {})
        for row, name in enumerate(map(composed, names)):
            for rows, one in zip(
                self._rows, (name, name.rpartition("/")[2], name.strip()), strict=True
            ):
                rows.setdefault(one, []).append(row)

    def rows(self, name: str) -> list[int]:
        """Rows of the samples with this name; an apostrophe may precede it."""
        written, plain = composed(name), composed(name).removeprefix("'")
        whole, short, stripped = self._rows
        tried = (whole.get(written), whole.get(plain), short.get(written), short.get(plain))
        return next((rows for rows in tried if rows), stripped.get(plain.strip(), []))


def rows_named(written: Sequence[str], names: Sequence[str], where: str, key: str) -> Array:
    """Row of a table for each sample, −1 if there is none."""
    twice = next((n for n, count in Counter(map(composed, written)).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{where} names {twice!r} twice in {key!r}; leave one row for each.")
    index, rows = NameIndex(names), np.full(len(names), -1)
    for row, name in enumerate(written):
        samples = index.rows(name)
        if len(samples) > 1:
            raise InputError(
                f"{where} name {name!r:.60}, and {len(samples)} samples have this name. Put the "
                "rows into the table or the metadata.csv of the set that they describe, or name "
                "another column with --id-column."
            )
        rows[samples] = row
    return rows


def matching_rows(
    columns: Mapping[str, Array],
    *sets: Sequence[str],
    key: str,
    where: str = "The metadata",
) -> Array:
    """Row of a table for each sample of several sets, matched by a column; −1 if there is none."""
    if key not in columns:
        raise no_column(columns, key, where)
    written = [str(name) for name in columns[key].tolist()]
    rows = rows_named(written, [name for names in sets for name in names], where, key)
    start = 0
    for names in sets:
        if (rows[start : start + len(names)] < 0).all():
            raise InputError(
                f"None of the {len(names)} samples (first: {str(names[0])!r}) is named in the "
                f"column {key!r} of {where[:1].lower() + where[1:]} (first: {written[:1]}). Use "
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
    columns = columns_of(table)
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
        if len(arrays) > 1 and not all(array.dtype.kind in "fiu" for array in arrays):
            arrays = [array.astype(object) for array in arrays]  # texts have their own widths
        columns[name] = np.concatenate(arrays)
    return columns


def columns_of(table: Any) -> dict[str, Array]:
    """Columns of a DataFrame or a mapping as arrays of one length."""
    if not isinstance(table, Mapping) and not hasattr(table, "items"):
        raise InputError(
            f"A table must be a DataFrame or a mapping of columns; got {type(table).__name__}. "
            "Pass arrays as arrays={'name': X}."
        )
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


def composed(name: Any) -> str:
    """A text in one Unicode form: file systems and spreadsheets spell accents differently."""
    return unicodedata.normalize("NFC", str(name))
