"""Sides of an attribute that was named: film against movie, or every value of a column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ntkit._types import Array
from ntkit.attributes._columns import read_column, shown
from ntkit.attributes._feature_set import FEWEST
from ntkit.exceptions import InputError


def sides_of_names(
    sides: Sequence[Sequence[str]], read: Callable[[str], Array]
) -> tuple[Array, tuple[str, ...]]:
    """Side that each sample is on, where attributes are named for each side."""
    having = list[Array]()
    for names in sides:
        values = np.stack([read(name) for name in names], axis=1)
        known = (values >= 0).all(axis=1) | (values == 1).any(axis=1)
        having.append(np.where(known, (values == 1).any(axis=1), -1))
    first = tuple(names[0] for names in sides)
    if len(sides) == 1:
        on, called = having[0].astype(np.int64), [f"not {first[0]}", first[0]]
    else:
        on_each = np.stack(having, axis=1) == 1
        on = np.where(on_each.sum(axis=1) == 1, on_each.argmax(axis=1), -1)
        called = list(first)
    counts = np.bincount(on[on >= 0], minlength=len(called))
    if not counts.all():
        raise InputError(
            f"No sample is on the side {called[int(np.argmin(counts))]!r}, so there is nothing to "
            "balance; name an attribute that some samples have and others have not."
        )
    return on, tuple(called)


def sides_of_column(
    name: str, tables: Mapping[str, Mapping[str, Array]]
) -> tuple[Array, tuple[str, ...]] | None:
    """Sides of a column that is named as a whole, as ``metadata:site``: each of its values."""
    kind, _, column = name.partition(":")
    found = next((own for own in tables.get(kind, ()) if shown(own) == column), None)
    if found is None:
        return None
    values = read_column(tables[kind][found])
    if values.codes is None:
        raise InputError(
            f"{name!r} holds many different numbers; say where to cut it: {name}>=NUMBER."
        )
    codes = values.codes
    counts = np.bincount(codes[codes >= 0], minlength=len(values.labels))
    kept = np.flatnonzero(counts >= FEWEST)
    if len(kept) < 2:
        raise InputError(
            f"{name!r} has no two values that {FEWEST} samples have each, so there is nothing to "
            "balance; name another attribute."
        )
    number = np.full(len(values.labels) + 1, -1)
    number[kept] = np.arange(len(kept))
    return number[codes], tuple(f"{name}={shown(values.labels[i])}" for i in kept)
