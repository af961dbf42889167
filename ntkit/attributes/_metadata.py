"""Metadata beside the samples: a table matched by name, or by row."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from ntkit.attributes._columns import columns, columns_of
from ntkit.attributes._view import View
from ntkit.exceptions import InputError

__all__ = ["matched", "metadata"]


def metadata(table: Any, ids: Sequence[str] | None = None, *, key: str = "file_name") -> View:
    """View of a table that says more about the samples: where from, by which device, when.

    Parameters
    ----------
    table : DataFrame or mapping of str to array-like
        Values by column.
    ids : sequence of str, length N, optional
        Name of each sample, such as its file; rows of the table are matched by the column ``key``.
        A sample without a row is missing in every column. Without names, row by row.
    key : str, default="file_name"
        Column of names.

    Returns
    -------
    View

    Raises
    ------
    InputError
        If there is no such column, it names a sample twice, or no name matches.

    Examples
    --------
    >>> from ntkit.attributes import metadata
    >>> ids = [f"{i}.png" for i in range(20)]
    >>> table = {"file_name": ids[5:], "site": ["A"] * 7 + ["B"] * 8}
    >>> view = metadata(table, ids)
    >>> [name for block in view.blocks() for name in block.names]
    ['metadata:site=A', 'metadata:site=B', 'metadata:site missing']
    """
    return columns(matched(table, ids, key), kind="metadata")


def matched(table: Any, ids: Sequence[str] | None, key: str) -> dict[str, Any]:
    """Columns of a table in the order of some samples; None where it has no row for one.

    Raises
    ------
    InputError
        As :func:`metadata` does.
    """
    given = columns_of(table)
    if ids is None:
        return dict(given)
    if key not in given:
        raise InputError(
            f"The metadata has no column {key!r} to match samples by; its columns are "
            f"{list(given)}. Name the column with key=."
        )
    names = [_composed(name) for name in given.pop(key).tolist()]
    row_of = {name: row for row, name in enumerate(names)}
    if len(row_of) < len(names):
        twice = next(name for row, name in enumerate(names) if row_of[name] != row)
        raise InputError(f"The metadata names {twice!r} twice in {key!r}; leave one row for each.")
    rows = np.asarray([row_of.get(_composed(name), -1) for name in ids], dtype=np.int64)
    if (rows < 0).all():
        raise InputError(
            f"None of the {len(rows)} samples, the first of them {str(ids[0])!r}, is named in the "
            f"metadata's column {key!r}, the first of which is {names[:1]}; write names in one way."
        )
    return {
        name: np.fromiter((values[row] if row >= 0 else None for row in rows), object, len(rows))
        for name, values in given.items()
    }


def _composed(name: Any) -> str:
    """One spelling of letters with accents: file systems and spreadsheets differ."""
    return unicodedata.normalize("NFC", str(name))
