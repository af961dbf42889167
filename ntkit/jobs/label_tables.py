"""A table of answers, matched with samples by content, name or row."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ntkit._disk import StrPath
from ntkit._join import columns_of, samples_named
from ntkit._labels import listed
from ntkit._types import Array
from ntkit.attributes.answers import (
    CONTENT,
    Entry,
    cell_text,
    contents_here,
    contradiction,
    entries_of_table,
    note_on_names,
    note_on_unknown,
    note_on_writing,
)
from ntkit.exceptions import InputError
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.samples.join import KEYS, check_order, left_out_in_words, names_of
from ntkit.samples.table import read_table

_BY_CONTENTS = (
    "Use answers.json of ntkit label on the same files, arrays or stores, which matches samples by "
    "content"
)


class AnswerTable(NamedTuple):
    """A table that holds the attribute of samples in a column; ``key`` names the samples."""

    where: str
    columns: Mapping[str, Array]
    at: Callable[[int], str]
    key: str | None
    column: str
    source: Any

    @classmethod
    def read(cls, source: Any, wanted: str, key: str | None) -> AnswerTable:
        """Read a file or a DataFrame; the attribute is the column ``wanted``, or the only one."""
        where, columns = "The table", {}
        if isinstance(source, str | os.PathLike):
            table = read_table(Path(source), None, (*KEYS, wanted))
            where, at = str(source), table.at
            columns = {n: v for n, v in table.columns.items() if table.list_length(n) is None}
        else:
            named_by = (*KEYS, *filter(None, [key]))
            columns, at = columns_of(source, *named_by), lambda index: f"The table, row {index + 1}"
        key = key or key_in(columns)
        rest = [column for column in columns if column not in (key, CONTENT)]
        if wanted not in rest and len(rest) != 1:
            raise InputError(
                f"{where} has no column {wanted!r}. Besides the names of samples it has "
                f"{listed(rest, 20) if rest else 'no column'}. Rename the column, or keep only one."
            )
        return cls(where, columns, at, key, wanted if wanted in rest else rest[0], source)

    def labels(self, reader: AttributeReader, match_names: bool) -> tuple[Array, str]:
        """Value of each sample, None if the table has none, and a note on unused rows."""
        where, columns, at, key, column, source = self
        left, unknown = "", note_on_unknown(where, columns[column])
        case = note_on_writing(where, columns[column])
        if key is not None and key in columns:
            entries = entries_of_table(columns, key, column, at)
            if CONTENT not in columns:
                named_rows(reader, key, [*map(cell_text, columns[key])], where)
            values, left = labels_of_entries(where, entries, (), reader, key, match_names)
        elif key is None and (
            (rows := reader.positions(len(columns[column]), source, "attribute")) is not None
        ):
            numbered = {"": np.arange(len(columns[column])), column: columns[column]}
            values = np.full(len(columns[column]), None, dtype=object)
            for entry in entries_of_table(numbered, "", column, at):
                values[int(entry.name)] = entry.answer
            values, left = values[rows], f"{where} is matched row by row."
            check_order({n: v[rows] for n, v in columns.items()}, reader.sets, where)
        else:
            first = ", the training samples first" * (len(reader.sets) > 1)
            raise InputError(
                f"{where} has {len(columns[column])} rows for {reader.n_given} {_these(reader)}"
                f"{left_out_in_words(reader.sets)}, and no "
                f"column {' or '.join(map(repr, KEYS))} (or --id-column). Add the names of the "
                f"samples, or one row per sample{first}."
            )
        return _some(values, where, reader), " ".join(filter(None, [left, unknown, case]))


def key_in(columns: Collection[str]) -> str | None:
    """The column that names samples in a table of labels; None if there is none."""
    return next((key for key in (*KEYS, CONTENT) if key in columns), None)


def labels_of_entries(
    where: str,
    entries: Sequence[Entry],
    left_out: Sequence[Entry],
    reader: AttributeReader,
    key: str,
    match_names: bool,
) -> tuple[Array, str]:
    """Labels matched by content, or by name without content, and notes on the matching."""
    digests = list[str]()
    if any(entry.content for entry in (*left_out, *entries)):
        known, digests = reader.identified, reader.identified.digests
        entries, left_out = (
            [e._replace(content=known.meant(e.content, e.name)) for e in some]
            for some in (entries, left_out)
        )
    everything = [*left_out, *entries]
    here, note = contents_here(where, everything, {*digests}, match_names=match_names)
    by_name = [e for e in entries if note or e.content is None]
    rows = named_rows(reader, key, [e.name for e in by_name], where) if by_name else ()
    named = [(row, e) for row, e in zip(rows, by_name, strict=True) if row >= 0]
    by_content = {e.content: e for e in everything if e.answer is not None}
    of_row = {row: by_content[d] for row, d in enumerate(digests) if d in by_content}
    for row, entry in named:
        before = of_row.setdefault(int(row), entry)
        if entry.answer not in (before.answer, None):
            raise contradiction(before, entry._replace(at=entry.at or where))
    values = np.full(reader.n, None, dtype=object)
    values[[*of_row]] = [entry.answer for entry in of_row.values()]
    placed = {e for e in everything if e.content in here} | {e for _, e in named}
    names = _names(reader, key) if here else None
    on_names = "" if names is None else note_on_names(where, everything, names, digests)
    notes = [note, on_names, _left(where, everything, placed, reader)]
    return _some(values, where, reader, len(placed)), " ".join(filter(None, notes))


def _names(reader: AttributeReader, key: str) -> list[str] | None:
    """Names of the samples of all sets; None if one has no names."""
    names = [names_of(samples, key) for samples in reader.sets]
    return None if None in names else [name for of_set in names for name in of_set or ()]


def nameless(where: StrPath, key: str, otherwise: str = "") -> InputError:
    """Error for a table of names and samples without names."""
    return InputError(
        f"{where} names samples, but these samples have no names ({key!r}). "
        f"{_BY_CONTENTS}{otherwise}."
    )


def named_rows(reader: AttributeReader, key: str, written: Sequence[str], where: str) -> Array:
    """Sample of each name in a table, −1 if there is none."""
    of_sets = [names_of(samples, key) for samples in reader.sets]
    if not any(of_sets):
        raise nameless(where, key, ", or a table with one row per sample and without that column")
    # Samples without names keep their places, and no cell of a table has these names.
    names = [
        name
        for i, (of, samples) in enumerate(zip(of_sets, reader.sets, strict=True))
        for name in of or [f"\0{i} {row}" for row in range(len(samples))]
    ]
    return samples_named(written, names, where, key, _BY_CONTENTS)


def _left(where: str, entries: Sequence[Entry], placed: Set[Entry], reader: AttributeReader) -> str:
    """A sentence on labels without a sample."""
    known = [entry for entry in entries if entry.answer is not None]
    strange = {entry.name for entry in known if entry not in placed}
    if not strange:
        return ""
    n = len(strange)
    return (
        f"ntkit left out {n} of {len({entry.name for entry in known})} labels of {where}, which "
        f"{'belongs' if n == 1 else 'belong'} to none of the {_these(reader)}: "
        f"{listed(sorted(strange))}."
    )


def _some(values: Array, where: str, reader: AttributeReader, n_here: int = 0) -> Array:
    if any(value is not None for value in values):
        return values
    if n_here:
        raise InputError(
            f"{where} names {n_here} of the {_these(reader)}, but none has a label. Label others."
        )
    raise InputError(
        f"{where} has no label of any of the {_these(reader)}. Pass the samples that were labelled."
    )


def _these(reader: AttributeReader) -> str:
    return "training and validation samples" if len(reader.sets) > 1 else "samples"
