"""What is known of some samples of a job, by answers or groups, matched by content, name or row."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._labels import listed
from ntkit._partial_labels import known_labels
from ntkit._types import Array
from ntkit.attributes import columns_of
from ntkit.exceptions import InputError
from ntkit.jobs.audit import Answers
from ntkit.jobs.debias.groups._pool import Pool
from ntkit.jobs.label import (
    CONTENT,
    Entry,
    answer_in,
    cell_text,
    check_alike,
    content_in,
    contents_here,
    kind_of_json,
    name_text,
    read_labels,
)
from ntkit.samples import TABLES, read_table

_KEYS = ("file_name", "id")
_MOST_VALUES = 9  # that may be nearly as many as the samples: the keys of a page
_BY_CONTENTS = (
    "answers.json of ntkit label tells samples apart by their contents, if it was run on these "
    "very files, arrays or stores"
)


@dataclass(frozen=True, eq=False)
class KnownOfSome:
    """An attribute, or groups, known of some samples."""

    what: str
    title: str
    values: Array
    answers: bool = False
    left: str = ""

    @property
    def given_as(self) -> str:
        """What one known value is called, in the plural."""
        return "answers" if self.answers else "samples"

    def trail(self, digests: Sequence[bytes]) -> dict[str, Any]:
        """What was known, for the record: how many, and what tells them from others."""
        known = [
            [digest.hex(), value]
            for digest, value in zip(digests, self.values, strict=True)
            if value is not None
        ]
        sha256 = hashlib.sha256(json.dumps(sorted(known)).encode()).hexdigest()
        return {"name": self.title, self.given_as: len(known), "sha256": sha256}

    @property
    def balanced_by(self) -> str:
        """What balancing over it is called in the table."""
        return f"group-balanced by {'answers' if self.answers else f'the {self.what} given'}"


def holds_labels(answers: Any) -> bool:
    """Whether a file has answers on single samples, rather than on the findings of an audit."""
    if answers is None or isinstance(answers, Answers):
        return False
    path = Path(answers)
    return path.suffix.lower() in TABLES or kind_of_json(path) == "labels"


def known_of_some(
    pool: Pool,
    *,
    answers: Any = None,
    attribute: Any = None,
    groups: Any = None,
    key: str | None,
    match_names: bool = False,
) -> KnownOfSome | None:
    """Match what is known of some samples."""
    options = {"answers": answers, "attribute": attribute, "groups": groups}
    given = {name: value for name, value in options.items() if value is not None}
    if len(given) > 1:
        raise InputError(f"Of {' and '.join(given)} one at a time is taken; give one of them.")
    found = next((_matched(pool, *one, key, match_names) for one in given.items()), None)
    if found is not None:
        _check_same(found, pool)
        classes = np.concatenate([samples.y for samples in pool.sets])
        _check_crossed(found.title, classes, found.values)
    return found


def _matched(pool: Pool, name: str, value: Any, key: str | None, match_names: bool) -> KnownOfSome:
    """What :func:`known_of_some` is given, by row."""
    what = "groups" if name == "groups" else "attribute"
    title = "the groups given" if name == "groups" else "the attribute given"
    if name == "answers" and Path(value).suffix.lower() not in TABLES:
        labels = read_labels(value)
        found, left = _by_entries(value, labels.entries, labels.left_out, pool, "id", match_names)
        return KnownOfSome(what, repr(labels.question), found, answers=True, left=left)
    if isinstance(value, str | os.PathLike) or _is_table(value):
        column, found, left = _by_table(value, what.removesuffix("s"), pool, key, match_names)
        title = repr(column) if what == "attribute" else title
        return KnownOfSome(what, title, found, answers=name == "answers", left=left)
    labels_given, known = known_labels(value, name)
    n = sum(map(len, pool.sets))
    if len(known) != n:
        raise InputError(
            f"{name} holds {len(known)} values, and there are {n} training and held-out samples; "
            "give one for each, the training samples first."
        )
    if not known.any():
        raise InputError(f"{name} is known of no sample; give some.")
    found = np.full(n, None, dtype=object)
    found[known] = [str(each) for each in labels_given.tolist()]
    return KnownOfSome(what, title, found)


def alike_in_case(values: Iterable[str | None]) -> list[str | None]:
    """Values that differ in upper and lower case alone, as the first of them is spelt."""
    spelling = dict[str, str]()
    return [v if v is None else spelling.setdefault(v.casefold(), v) for v in values]


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "columns")


def _by_entries(
    where: Any,
    entries: Sequence[Entry],
    left_out: Sequence[Entry],
    pool: Pool,
    key: str,
    match_names: bool,
) -> tuple[Array, str]:
    """Answers by the contents of the samples, or by names where they have none."""
    # Also what is said of them: what is left, and whether names had to do.
    everything = [*left_out, *entries]
    digests = pool.digests if any(entry.content for entry in everything) else []
    here, note = contents_here(where, everything, {*digests}, match_names=match_names)
    by_content = {e.content: e.answer for e in everything if e.answer is not None}
    found = np.full(sum(map(len, pool.sets)), None, dtype=object)
    for row, digest in enumerate(digests):
        found[row] = by_content.get(digest)
    by_name = [e for e in entries if note or e.content is None]
    said = {e.name: e.answer for e in sorted(by_name, key=lambda e: e.answer is not None)}
    rows = _rows(pool, key, said, str(where)) if said else {}
    for name, row in rows.items():
        found[row] = said[name]
    placed = {e for e in everything if e.content in here} | {e for e in by_name if e.name in rows}
    told = [note, _left(where, everything, placed)]
    return _some(found, where, len(placed)), " ".join(filter(None, told))


def _by_table(
    given: Any, wanted: str, pool: Pool, key: str | None, match_names: bool
) -> tuple[str, Array, str]:
    """A column of a table, its values by contents, names or rows, and what is left of them."""
    name, columns = _read(given, wanted)
    key = key or next((k for k in _KEYS if k in columns), None)
    rest = [column for column in columns if column not in (key, CONTENT)]
    if wanted not in rest and len(rest) != 1:
        raise InputError(
            f"{name} has no column {wanted!r}, and {listed(rest, 20) if rest else 'none'} beside "
            "the names of samples; leave one column there, or call it so."
        )
    column = wanted if wanted in rest else rest[0]
    values = alike_in_case(answer_in(value) for value in columns[column].tolist())
    n = sum(map(len, pool.sets))
    found, left = np.full(n, None, dtype=object), ""
    if key is not None and key in columns:
        names = map(name_text, columns[key].tolist())
        contents = map(cell_text, columns.get(CONTENT, np.full(len(values), None)).tolist())
        entries = [
            Entry(each, value, content_in(content), name)
            for each, value, content in zip(names, values, contents, strict=True)
        ]
        check_alike(entries)
        found, left = _by_entries(name, entries, (), pool, key, match_names)
    elif key is None and len(values) == n:
        found[:] = values
    else:
        raise InputError(
            f"{name} names no samples by a column {' or '.join(map(repr, _KEYS))} (or that of "
            f"--id-column), and has {len(values)} rows for {n} training and held-out samples; name "
            "the samples, or give a row for each, the training samples first."
        )
    return column, _some(found, name), left


def _read(given: Any, wanted: str) -> tuple[str, dict[str, Array]]:
    """What a table is called, and its columns."""
    if not isinstance(given, str | os.PathLike):
        return "The table", columns_of(given)
    table = read_table(Path(given), None, (*_KEYS, wanted))
    columns = {n: v for n, v in table.columns.items() if table.list_length(n) is None}
    return str(given), columns


def _rows(pool: Pool, key: str, said: Mapping[str, str | None], where: str) -> dict[str, int]:
    """Row of each sample that is named; a file may be named without its folders."""
    names = [pool.names(i, key) for i in range(len(pool.sets))]
    if any(own is None for own in names):
        raise InputError(
            f"{where} names samples, and these have no names ({key!r}); {_BY_CONTENTS}, or give a "
            "table with a row for each, and without that column."
        )
    rows_of, short, stripped = (dict[str, list[int]]() for _ in range(3))
    for row, one in enumerate(one for own in names for one in own or ()):
        rows_of.setdefault(one, []).append(row)
        short.setdefault(one.rpartition("/")[2], []).append(row)
        stripped.setdefault(one.strip(), []).append(row)
    found = dict[str, int]()
    for name in said:
        plain = name.removeprefix("'")
        rows = next((d[n] for d in (rows_of, short) for n in (name, plain) if n in d), [])
        rows = rows or stripped.get(plain.strip(), [])
        if len(rows) > 1 and said[name] is not None:
            raise InputError(
                f"{where} says something of {name!r:.60}, and {len(rows)} samples are called so; "
                f"{_BY_CONTENTS}."
            )
        if rows:
            found[name] = rows[0]
    return found


def _left(where: Any, entries: Sequence[Entry], placed: Set[Entry]) -> str:
    """What goes with no sample, in a sentence."""
    known = [entry for entry in entries if entry.answer is not None]
    strange = {entry.name for entry in known if entry not in placed}
    if not strange:
        return ""
    n = len(strange)
    return (
        f"{n} of the {len({entry.name for entry in known})} that {where} tells of "
        f"{'is' if n == 1 else 'are'} no training or held-out sample, and left out: "
        f"{listed(sorted(strange))}."
    )


def _some(found: Array, where: Any, n_here: int = 0) -> Array:
    if all(value is None for value in found):
        if n_here:
            raise InputError(
                f"{where} has {n_here} of the training and held-out samples, and of none of them "
                "could anybody tell; answer on others."
            )
        raise InputError(
            f"{where} knows nothing of any training or held-out sample; are these the samples that "
            "were labelled?"
        )
    return found


def _check_same(found: KnownOfSome, pool: Pool) -> None:
    """Refuse two values of one image or text; rows of numbers may lack what they differ in."""
    if pool.inputs[0].samples == "cases":
        return
    classes = np.concatenate([samples.y for samples in pool.sets]).tolist()
    names = [pool.names(i, "id") or [*map(str, range(len(s)))] for i, s in enumerate(pool.sets)]
    called = [
        f"{name!r:.60} ({which})"
        for which, own in zip(("training", "held-out"), names, strict=True)
        for name in own
    ]
    first, pairs = dict[tuple[str, Any], int](), list[tuple[int, int]]()
    for row in np.flatnonzero([value is not None for value in found.values]).tolist():
        group_of = classes[row] if found.what == "groups" else None  # groups are of a class
        before = first.setdefault((pool.digests[row], group_of), row)
        if found.values[before] != found.values[row]:
            pairs.append((before, row))
    if pairs:
        one, two = (f"{found.values[row]!r} for {called[row]}" for row in pairs[0])
        more = f" (and {len(pairs) - 1} more such pairs)" * (len(pairs) > 1)
        raise InputError(
            f"{found.title} is {one} and {two}, and both are one sample by their contents{more}; "
            "leave one of them."
        )


def _check_crossed(title: str, classes: Array, values: Array) -> None:
    """Refuse what has one value in each class, or another in nearly each sample."""
    said = [(y, value) for y, value in zip(classes.tolist(), values, strict=True) if value]
    n_values = len({value for _, value in said})
    if n_values > _MOST_VALUES and 2 * n_values > len(said):
        raise InputError(
            f"{title} has {n_values} values in {len(said)} samples of which it is known, as names "
            "or measurements have; give an attribute of a few values."
        )
    pairs = {*said}
    if len(pairs) <= len({y for y, _ in pairs}):
        shown = ", ".join(f"{label!r}: {value!r}" for label, value in sorted(pairs, key=str)[:4])
        raise InputError(
            f"All samples of a class of which {title} is known have one value ({shown}), so no "
            "group can be told from its class; answer on more, misclassified ones above all."
        )
