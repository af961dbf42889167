"""Names of samples, and their metadata."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ntkit._checks import check_index, index_of, numbers_rows
from ntkit._join import KEYS as KEYS
from ntkit._join import (
    NAMELESS,
    NameIndex,
    check_positions,
    columns_of,
    joined,
    matching_rows,
    no_column,
    pooled,
    row_of_another_name,
    rows_named,
)
from ntkit._labels import cell_name, none_if_unknown
from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples.columns import named_like_a_prediction
from ntkit.samples.copies import Places, note_on_copies
from ntkit.samples.samples import Samples
from ntkit.samples.table import read_table

_OF_A_MODEL = ("margin", "changed")  # as ntkit predict names them
MADE_OF_CLASSES = ("label", "group")
"""Columns that repeat the class."""


def is_made_of_classes(name: str) -> bool:
    """Whether a column is a label, a group or a prediction by its name."""
    return name in MADE_OF_CLASSES or named_like_a_prediction(name)


def without_classes(which: str, columns: Mapping[str, Array]) -> tuple[dict[str, Array], list[str]]:
    """Columns without labels, groups and predictions, and a note on these."""
    left = [*filter(is_made_of_classes, columns)]
    kept = {name: values for name, values in columns.items() if name not in left}
    if not kept:  # a person who passes nothing else means them
        return dict(columns), []
    note = (
        f"The {which} has {listed(map(repr, left), 8)} by name of labels, groups or predictions, "
        "which ntkit does not test."
    )
    return kept, [note] * bool(left)


def table_of(samples: Samples) -> Mapping[str, Array] | None:
    """All columns of single values of the table that samples were read from, file or DataFrame."""
    if samples.table is not None:
        return _single(samples.table.columns)
    if not (samples.index or samples.further):
        return None
    more = dict(samples.further or {}) | samples.index_columns
    return (samples.data.table() or {}) | more if more else None


def _single(columns: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values for name, values in columns.items() if values.ndim == 1}


def _named_columns(samples: Samples) -> dict[str, Array]:
    """Columns by which tables are matched: of a table, or of a DataFrame and its index."""
    if samples.table is not None:
        return _single(samples.table.columns) | samples.index_columns
    inputs = (samples.data.table() or {}).items()
    # Fractions name no sample, and 5.0 is not written like the 5 of another table.
    columns = {name: values for name, values in inputs if values.dtype.kind != "f"}
    return columns | dict(samples.further or {}) | samples.index_columns


def names_of(samples: Samples, key: str | None = None) -> list[str] | None:
    """Names of samples, by a column of their table or as files; None if there are none."""
    table = _named_columns(samples)
    column = key or ("" if samples.ids is not None else "id")
    if column in table:
        return [*map(cell_name, table[column].tolist())]
    return None if samples.ids is None else [str(name) for name in samples.ids]


def named_by_column(samples: Samples, key: str) -> Samples:
    """The samples with the names in a column of their table; files keep their names."""
    table = _named_columns(samples)
    if key in table:
        return replace(samples, ids=np.asarray([*map(cell_name, table[key].tolist())]))
    if samples.ids is not None:
        return samples
    raise InputError(
        f"{samples.called('The set of samples')} has no column {key!r} that names samples; its "
        f"columns are {[*table]}. Correct --id-column (key= in Python), or leave it out."
    )


def positions_in(sets: Sequence[Samples], n: int, source: Any, name: str) -> Array | None:
    """Place of each sample in ``n`` values, one for each sample as it was given; else None.

    Samples that were left out because their label is unknown have a value as well. A pandas
    ``source`` of the values must not have the samples of any set in another order, by their index
    or their names. If its index has the names of all, these tell the places.
    """
    if (by_name := _places_by_name(sets, n, source, name)) is not None:
        return by_name
    starts = _starts(sets)
    if n != starts[-1]:
        return None
    _check_index_in(source, sets, starts, name)
    rows = (np.arange(len(each)) if each.rows is None else each.rows for each in sets)
    places = np.concatenate([one + start for one, start in zip(rows, starts, strict=False)])
    written = _names_in_index(source, n)
    if written is None or numbers_rows(written):
        return places
    here = np.array(written, dtype=object)[places]
    ends = np.cumsum([0, *map(len, sets)])
    for samples, start in zip(sets, ends, strict=False):
        if (names := names_of(samples, _key_of(sets))) is None:
            continue
        row = row_of_another_name(here, NameIndex(names), start, any_name=True)
        if row is not None:
            raise InputError(
                f"{name} has the samples in another order, by its index (first in row "
                f"{places[row] + 1}: {here[row]!r:.60}). {NAMELESS}"
            )
    return places


def position_notes(source: Any, sets: Sequence[Samples], name: str) -> list[str]:
    """Notes on the values of each sample that are matched by position though indexes differ."""
    if _places_by_name(sets, len(source), source, name) is not None:
        return []
    return _check_index_in(source, sets, _starts(sets), name)


def _starts(sets: Sequence[Samples]) -> Array:
    """The place of the first sample of each set as it was given, and their number."""
    return np.cumsum([0, *(len(each) + each.n_left_out for each in sets)])


def _check_index_in(source: Any, sets: Sequence[Samples], starts: Array, name: str) -> list[str]:
    """Raise an error if a pandas object has samples of sets with an index in another order."""
    notes = list[str]()
    if isinstance(source, Mapping):
        for title, column in source.items():
            notes += _check_index_in(column, sets, starts, f"{name}[{title!r}]")
        return notes
    if (index := index_of(source)) is None or len(index) != starts[-1]:
        return notes
    cells = [*index]
    numbered = numbers_rows([*map(cell_name, cells)])
    for part in ("X", "y", "groups"):
        indexes = {i: (each.index or {}).get(part) for i, each in enumerate(sets)}
        own = {i: [*of_set] for i, of_set in indexes.items() if of_set is not None}
        # Together, as a sample may be among those of another set; and each set by itself.
        for some in ([*own], *([i] for i in own)):
            theirs = [*chain(*(own[i] for i in some))]
            here = [*chain(*(cells[starts[i] : starts[i + 1]] for i in some))]
            if numbered and Counter(map(cell_name, here)) != Counter(map(cell_name, theirs)):
                continue  # it may name no samples
            both = {part: SimpleNamespace(index=theirs), name: SimpleNamespace(index=here)}
            notes += check_index(**both)
    return [*dict.fromkeys(notes)]


def _names_in_index(source: Any, n: int) -> list[str] | None:
    """Names in the index of a pandas object of ``n`` rows; None if it only numbers the rows."""
    index: Any = getattr(source, "index", None)
    if not hasattr(source, "iloc") or len(index) != n or hasattr(index, "levels"):
        return None
    if hasattr(index, "start") and index.start == 0:
        return None
    return [*map(cell_name, index.tolist())]


def _places_by_name(sets: Sequence[Samples], n: int, source: Any, name: str) -> Array | None:
    """Place of each sample by the names in the index of a pandas object; else None."""
    written, key = _names_in_index(source, n), _key_of(sets)
    names = [each for samples in sets if (each := names_of(samples, key)) is not None]
    if written is None or len(names) < len(sets):
        return None
    known = NameIndex([*chain(*names)])
    if not any(known.rows(each) for each in written):
        return None
    rows = rows_named(written, [*chain(*names)], f"the index of {name}=", key)
    if (unnamed := int((rows < 0).sum())) > 0:
        raise InputError(
            f"The index of {name}= names {len(rows) - unnamed} of {len(rows)} samples. Name all, "
            "or pass the values without an index, one for each sample."
        )
    return rows


def _key_of(sets: Sequence[Samples]) -> str:
    """The column that names the samples of all sets by default."""
    return KEYS[any(samples.ids is None for samples in sets)]


def check_order(columns: Mapping[str, Array], sets: Sequence[Samples], where: str) -> None:
    """Raise an error if a column says that rows are in another order than the samples."""
    facts = {
        name: values
        for name, values in columns.items()
        if not named_like_a_prediction(name) and not name.startswith(_OF_A_MODEL)
    }
    n_given = sum(len(each) + each.n_left_out for each in sets)
    own_tables = [_named_columns(samples) for samples in sets]
    tables = [
        own if each.table is not None else (each.data.table() or {}) | own
        for own, each in zip(own_tables, sets, strict=True)
    ]
    nameless = set[str]()
    for own, each in zip(own_tables, sets, strict=True):
        if len(sets) > 1 and each.ids is None:
            nameless |= {*facts} - {*own}
    ends = np.cumsum([0, *map(len, sets)]).tolist()
    # Together, as a row may be that of a sample of another set. Then each set by itself, as others
    # may have no names or other columns.
    parts = [slice(0, len(sets))]
    parts += [slice(i, i + 1) for i in range(len(sets)) if len(sets) > 1]
    for part in parts:
        ids = [samples.ids for samples in sets[part]]
        files = [*chain(*(each for each in ids if each is not None))]
        table = pooled(tables[part]) or {}
        both = {name: none_if_unknown(table[name]) for name in facts if name in table}
        check_positions(
            facts | {name: none_if_unknown(facts[name]) for name in both},
            files if all(each is not None for each in ids) else None,
            table | both,
            where,
            n_given,
            here=slice(ends[part.start], ends[part.stop]),
            nameless=nameless,
        )


def left_out_in_words(sets: Sequence[Samples]) -> str:
    """The end of a sentence on a number of samples: those that were left out count as well."""
    n = sum(each.n_left_out for each in sets)
    return f" ({n} of them left out: copies, or of unknown label)" if n else ""


@dataclass(frozen=True, eq=False)
class Metadata:
    """Columns of metadata in the order of the samples, and a sentence on the matching."""

    columns: Mapping[str, Array]
    note: str = ""

    def take(self, rows: Array) -> Metadata:
        """Metadata of some of the samples."""
        return Metadata({name: values[rows] for name, values in self.columns.items()}, self.note)

    def without_copies(self, places: Places) -> Metadata:
        """Metadata of the distinct samples; a note names columns in which copies differ."""
        columns, n_different = dict[str, Array](), dict[str, int]()
        for name, values in self.columns.items():
            columns[name], n_different[name] = places.of(values)
        return Metadata(columns, " ".join([self.note, *note_on_copies(n_different)]).strip())

    @classmethod
    def of(cls, metadata: Any, sets: Sequence[Samples], key: str | None) -> Metadata | None:
        """Read and match metadata of one or several sets, in their order."""
        if isinstance(metadata, Metadata):
            return metadata
        # By default, the `metadata.csv` of image folders is read.
        if metadata is None:
            return _in_folders(sets, key)
        name = str(metadata) if isinstance(metadata, str | os.PathLike) else "The metadata"
        columns = _columns(metadata, *KEYS, *filter(None, [key]))
        chosen = key or _key_of(sets)
        names = [names_of(samples, chosen) for samples in sets]
        named = [each for each in names if each is not None]
        look = {n: v for n, v in columns.items() if n == chosen or n not in MADE_OF_CLASSES}
        if not set(look) - {chosen}:
            raise InputError(
                f"{name} has no columns to use; its columns are {list(columns)}. Add "
                "one with facts about the samples."
            )
        if len(named) == len(sets) and (key is not None or chosen in columns):
            rows = matching_rows(look, *named, key=chosen, where=name)
            n = int((rows >= 0).sum())
            note = (
                f"{name} is matched by its column {chosen!r}: it names {n} of {len(rows)} samples."
            )
            return cls(joined(look, rows, chosen), note + _ON_FEW * (2 * n < len(rows)))
        if key is not None:
            raise InputError(
                f"The samples have no column {key!r} to match metadata by; leave --id-column "
                "(key=) out to match them row by row."
            )
        sizes = {len(values) for values in columns.values()}
        places = None
        if len(sizes) == 1:
            places = positions_in(sets, sizes.pop(), metadata, "metadata")
        if places is None:
            if all(samples.ids is not None for samples in sets):
                raise no_column(look, chosen, name)
            first = ", the training samples first" if len(sets) > 1 else ""
            n = sum(len(each) + each.n_left_out for each in sets)
            raise InputError(
                f"{name} has {max(map(len, columns.values()), default=0)} rows and there are {n} "
                f"samples{left_out_in_words(sets)}. Name the column with the samples' names with "
                f"--id-column (key= in Python), or pass a row for each{first}."
            )
        look = {title: values[places] for title, values in look.items()}
        own = pooled([_named_columns(samples) for samples in sets]) or {}
        classes = {n: columns[n][places] for n in MADE_OF_CLASSES if n in columns and n in own}
        moved = {n: v for n, v in classes.items() if _counts(v) == _counts(own[n])}
        check_order(look | moved, sets, name)
        who = "not every set has" if named else "the samples have no"
        unused = f", because {who} names for its column {chosen!r}"
        return cls(look, f"{name} is matched row by row{unused * (chosen in look)}.")


def _counts(values: Array) -> Counter[str]:
    """How often each value occurs: equal for the same values in another order."""
    return Counter(map(cell_name, values.tolist()))


_ON_FEW = (
    " If these were not drawn at random, accuracies of its groups are not those of all samples."
)


def _in_folders(sets: Sequence[Samples], key: str | None) -> Metadata | None:
    """The ``metadata.csv`` of each image folder, if every set has one with usable columns."""
    parts = list[Metadata]()
    for samples in sets:
        beside = [path / "metadata.csv" for path in samples.sources if path.is_dir()]
        if samples.ids is None or not beside or not beside[0].is_file():
            return None
        if not {*_columns(beside[0])} - {key or KEYS[0], *MADE_OF_CLASSES}:
            return None
        one = Metadata.of(beside[0], [samples], key or KEYS[0])
        assert one is not None
        parts.append(one)
    columns = pooled([one.columns for one in parts])
    return Metadata(columns or {}, " ".join(one.note for one in parts))


def _columns(source: Any, *keys: str) -> dict[str, Array]:
    """Columns of a file, a DataFrame or a mapping."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
        table = read_table(path, None, KEYS)
        return {n: v for n, v in table.columns.items() if table.list_length(n) is None}
    return columns_of(source, *keys)
