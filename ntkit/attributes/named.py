"""An attribute by its name, computed for other samples than those it was found on."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np

from ntkit._join import columns_of
from ntkit._key import MISSING, Key, conditions_in, marked, names_apart, shown
from ntkit._labels import TRUTHS, composed, listed, meant_instead, plain_label
from ntkit._types import Array
from ntkit.attributes.column_values import Column, number_of, read_column, seconds_of
from ntkit.attributes.feature_set import FeatureSet
from ntkit.attributes.image_statistics import STATISTICS
from ntkit.attributes.word_lists import holding
from ntkit.exceptions import InputError

_MOST_NAMES = 20  # in a sentence


class NobodyHas(InputError):
    """None of the samples has an attribute that they could have."""


def attribute_named(
    name: str,
    *,
    texts: Sequence[str] | None = None,
    table: Any = None,
    metadata: Any = None,
    images: FeatureSet | None = None,
    files: Any = None,
    numbers: FeatureSet | None = None,
) -> Array:
    """One attribute by the name that an audit gives it, read from raw inputs of any samples."""
    # On the samples of the audit the result equals Audit.values. On other samples a word counts at
    # any frequency, and "image:brightness high" is the highest quarter of these samples. Feature
    # sets stand for images and rows of numbers.
    key = Key.of(name)
    if key.kind == "input" and numbers is not None:
        return numbers.values(name)
    inputs = {"word": texts, "column": table, "metadata": metadata, "image": images, "file": files}
    read_from = inputs.get(key.kind) if key.what else None
    if read_from is None:
        raise InputError(_unreadable(key, inputs))
    if key.kind == "word":
        return _of_texts(key, read_from)
    if key.kind == "image":
        values: Array = read_from.values(name)
        return values
    return _of_columns(key, columns_of(read_from))


def column_notes(names: Iterable[str], tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on how the columns were read that attributes name; tables by their kinds."""
    names, notes = [*names], list[str]()
    for kind, table in tables.items():
        called = dict(zip(names_apart([*table]), table, strict=True))
        for name, values in values_named(names, kind, called).items():
            notes += read_column(np.asarray(table[called[name]])).notes(kind, name, values)
    return notes


def values_named(names: Iterable[str], kind: str, columns: Collection[str]) -> dict[str, list[str]]:
    """Each column that attributes of a kind name, with their values and thresholds."""
    parts = {part for name in names for part in (name, *chain(*conditions_in(name)))}
    keys = [key for key in map(Key.of, parts) if key.kind == kind]
    readings = [reading for key in keys for reading in key.readings(columns)]
    named = {reading.what for reading in readings}
    return {
        name: [reading.value for reading in readings if reading.what == name]
        for name in columns
        if name in named
    }


def _unreadable(key: Key, given: Mapping[str, Any]) -> str:
    name, whole = str(key), f"{key.what}{key.condition}"
    kind, rest = (key.kind, whole) if key.colon == ":" else (name, "")
    there = [other for other, inputs in given.items() if inputs is not None]
    could = (
        f"these samples have {' and '.join(f'{other}:…' for other in there)}"
        if there
        else "these samples have no raw inputs"
    )
    if kind in given and rest:
        needed = {"word": "texts", "column": "a table", "metadata": "metadata", "image": "images"}
        needed["file"] = "image files"
        return f"The attribute {name!r} needs {needed[kind]}, and {could}."
    meant = meant_instead(kind, [k for k in given if k != "file" or k in there])  # not for film
    hint = f"; did you mean {meant[1:-1]}:{rest or '…'}?" if meant and kind not in given else ""
    if not hint and not rest:
        hint = _full_names(name, given)
    return (
        f"The attribute {name!r} cannot be read from raw inputs (word:…, column:…, metadata:…, "
        f"image:… and file:… can){hint or '.'}"
    )


def _full_names(name: str, given: Mapping[str, Any]) -> str:
    """Hint at the probable meaning of a name without a kind, or at the names that exist."""
    full = dict[str, str]()
    if given["image"] is not None:
        whats = ("above the median", "low", "high")
        full |= {f"{s} {what}": f"image:{s} {what}" for s in STATISTICS for what in whats}
        full |= {s: f"image:{s} high" for s in STATISTICS}
    for kind in ("metadata", "column"):
        table = {} if given[kind] is None else columns_of(given[kind])
        full |= {shown(column): f"{kind}:{shown(column)}" for column in table}
    there = list(dict.fromkeys(full.values()))
    if given["word"] is not None:
        has, known = holding(given["word"], name)
        full = {word: f"word:{word}" for word in ([name] if has.any() else known)} | full
    asked = Key.of(f"column:{name}")  # as if it were a column
    if asked.what in full:
        return f"; did you mean {full[asked.what] + asked.condition!r}?"
    near = meant_instead(name, list(full))
    if near is not None:
        return f"; did you mean {full[ast.literal_eval(near)]!r}?"
    return f"; there are {listed(there, _MOST_NAMES, near=name)}." if there else ""


def _of_texts(key: Key, texts: Sequence[str]) -> Array:
    name, word = str(key), key.what
    values, known = holding(texts, word)
    if values.any():
        return values
    meant = meant_instead(word, known)
    hint = f"; did you mean {f'word:{meant[1:-1]}'!r}?" if meant and meant[1:-1] != word else "."
    raise NobodyHas(f"None of the {len(texts)} texts has {name!r} as a word of its own{hint}")


def _of_columns(key: Key, table: Mapping[str, Array]) -> Array:
    """Values of a column that fit a condition: a category, a threshold, or missing values."""
    name, kind, first_error = str(key), key.kind, None
    named = dict(zip(names_apart([*table]), table, strict=True))
    for reading in key.readings(named):
        column, value = read_column(table[named[reading.what]]), reading.value
        try:
            if reading.condition == MISSING:
                return (~column.known).astype(np.int8)
            if reading.sign == ">=":
                return _at_least(name, value, column)
            if reading.sign == "=":
                codes, at = column.categories[0], _place_of(name, reading.origin, value, column)
                return np.where(codes < 0, -1, codes == at).astype(np.int8)
        except InputError as error:  # the name of another column may begin with this one's
            first_error = first_error or error
    if first_error is not None:
        raise first_error
    asked = composed(key.what)
    meant = meant_instead(asked, list(table))
    if asked in map(composed, table):
        raise InputError(
            f"{name!r} has no condition on the column {asked!r}; write {kind}:{asked}=VALUE, "
            f"{kind}:{asked}>=NUMBER or {kind}:{asked} missing."
        )
    raise InputError(
        f"There is no column {asked!r} for {name!r}"
        + (
            f"; did you mean {meant}?"
            if meant
            else f"; the columns are {listed(list(table), _MOST_NAMES, near=asked)}."
        )
    )


def _at_least(name: str, cut: str, column: Column) -> Array:
    threshold = _number_of(cut, column)
    if np.isnan(threshold):
        if column.dates:
            raise InputError(
                f"{name!r} has the threshold {cut!r}, but the column has dates; write a date such "
                "as 2026-11-30."
            )
        if not np.isnan(seconds_of(cut)):
            _, cells = column.categories
            other = next((each for each in cells if np.isnan(seconds_of(each))), "")
            raise InputError(
                f"{name!r} has a date, but the column has cells such as {other!r:.40}, which are "
                "not read as dates. Write all dates such as 2026-11-30."
            )
        raise InputError(
            f"{name!r} has the threshold {cut!r}, which is not a number; write a number."
        )
    numbers = _numbers(column)
    if np.isnan(numbers).all():
        raise InputError(
            f"{name!r} has a threshold, but the column has no numbers; name a value with '='."
        )
    labels = [] if column.numbers is not None else [*map(str, column.labels)]
    odd = [
        each
        for each in labels
        if np.isnan(_number_of(each, column)) and any(map(str.isdigit, each))
    ]
    if odd:  # "40,5" or ">70", not "unknown"
        raise InputError(
            f"{name!r} has a threshold, but the column has cells such as {odd[0]!r:.40}. Write "
            "numbers with a decimal point and without separators of thousands."
        )
    return np.where(np.isnan(numbers), -1, numbers >= threshold).astype(np.int8)


def _numbers(column: Column) -> Array:
    """A column's values as numbers; NaN if a value is not a number."""
    if column.numbers is not None:
        return column.numbers
    assert column.codes is not None
    of_label = column.of_labels
    if of_label is None:
        of_label = np.asarray([*map(_number_of, column.labels)])
    return np.append(of_label, np.nan)[column.codes]


def _number_of(text: str, column: Column | None = None) -> float:
    """A text as a number, or as a date if the column has dates; NaN if it is neither."""
    return seconds_of(text) if column is not None and column.dates else number_of(text)


def value_named(name: str, table: Mapping[str, Any]) -> str:
    """The name of a column's value as the whole column has it; others are returned unchanged."""
    called = dict(zip(names_apart([*table]), table, strict=True))
    for key in Key.of(name).readings(called):
        if key.sign == "=":
            cells = read_column(np.asarray(table[called[key.what]]))
            with suppress(InputError):
                place = _place_of(name, name, key.value, cells)
                return f"{key.origin}={names_apart(cells.categories[1])[place]}"
    return name


def _place_of(name: str, prefix: str, value: str, column: Column) -> int:
    """Place of a value among the categories of a column."""
    (_, labels), value = column.categories, composed(value)
    fits = [i for i, label in enumerate(labels) if label == value]
    fits = fits or [i for i, label in enumerate(labels) if value in (shown(label), marked(label))]
    if (truth := plain_label(value)) in TRUTHS:  # true in a file of JSON, TRUE in a spreadsheet
        fits = fits or [i for i, label in enumerate(labels) if plain_label(label) == truth]
    # 3 and 3.0 are the same number, in whichever table.
    numbers = [*map(_number_of, labels)] if column.of_labels is None else column.of_labels
    fits = fits or np.flatnonzero(np.asarray(numbers) == _number_of(value, column)).tolist()
    if len(fits) == 1:
        return int(fits[0])
    if fits:
        raise InputError(
            f"{len(fits)} values of the column are called {name!r}; write the value in full."
        )
    meant = meant_instead(value, labels)
    hint = (
        f"did you mean {f'{prefix}={meant[1:-1]}'!r}?"
        if meant
        else f"it has {listed(labels, _MOST_NAMES, near=value) or 'no known value'}."
    )
    raise NobodyHas(f"No sample has {name!r}; {hint}")
