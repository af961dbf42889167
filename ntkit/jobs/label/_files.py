"""Questions as a table for a person to fill in, and the answers back from it."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit._disk import StrPath
from ntkit._labels import guarded_cell, listed, meant_instead
from ntkit._output import check_file, new_file
from ntkit.exceptions import InputError
from ntkit.samples import TABLES, read_table

CONTENT = "ntkit_content"
"""The column of a table that holds the contents' digests."""
_PREFIX = "b2-"  # keeps a spreadsheet from reading a digest as a number


class Entry(NamedTuple):
    """An answer on one sample, as a file gives it."""

    name: str
    answer: str | None
    content: str | None = None
    at: str = ""


def content_cell(digest: str) -> str:
    """A digest as a cell of a table."""
    return _PREFIX + digest


def content_in(cell: str) -> str | None:
    """The digest in a cell of a table; None where there is none."""
    return cell.removeprefix(_PREFIX) if cell.startswith(_PREFIX) else None


def check_alike(entries: Iterable[Entry]) -> None:
    """Refuse two answers on one sample, be it under two names."""
    said = dict[tuple[str | None, str], Entry]()
    for entry in entries:
        if entry.answer is not None:
            key = (entry.content, "" if entry.content else entry.name)
            before = said.setdefault(key, entry)
            if before.answer != entry.answer:
                raise contradiction(before, entry)


def contradiction(before: Entry, entry: Entry) -> InputError:
    """The error that two answers on one sample are."""
    other = before.name != entry.name
    there = f" in {before.at}" * (before.at != entry.at)
    there = f"as {before.name!r:.60}{there}" if other else "above"
    why = ", and both are one sample by their contents" * other
    return InputError(
        f"{entry.at}: {entry.name!r:.60} is answered {entry.answer!r} here and {before.answer!r} "
        f"{there}{why}; leave one of them."
    )


def contents_here(
    where: StrPath, entries: Iterable[Entry], digests: Collection[str], *, match_names: bool
) -> tuple[set[str], str]:
    """Contents of answers that are among some samples."""
    contents = {entry.content for entry in entries if entry.content is not None}
    here = contents.intersection(digests)
    if here or not contents:
        return here, ""
    n = len(contents)
    if match_names:
        return here, f"{where}: none of {n} contents is one of these samples; matched by name."
    raise InputError(
        f"None of {n} contents in {where} is one of these samples; give the samples that were "
        "labelled, or match by name if these are the same, saved again: --match-names "
        "(match_names=True in Python)."
    )


ID = "id"
UNSURE = ("", "?", "unsure", "unknown", "-1", "none", "nan")
"""What counts as no answer, in lower case."""


def write_questions(
    path: StrPath,
    index: ArrayLike,
    *,
    ids: ArrayLike,
    question: str = "attribute",
    columns: Mapping[str, ArrayLike] | None = None,
    force: bool = False,
) -> None:
    """Write a CSV file with a row for each sample to ask about, and an empty column to fill in.

    The file appears under its name when it is complete. Text that a spreadsheet would take for a
    formula is written with an apostrophe before it, which :func:`read_answers` takes off.

    Parameters
    ----------
    path : path-like
        File to write.
    index : array-like of int
        Row numbers of the samples to ask about, such as from :func:`next_questions`.
    ids : array-like of shape (N,)
        What names each of all samples: a file name, a number; each once.
    question : str, default="attribute"
        Name of the column to fill in.
    columns : dict of str to array-like of shape (N,), optional
        More to show, such as the text, or the class.
    force : bool, default=False
        Whether a file that exists may be replaced: it may hold answers.

    Raises
    ------
    InputError
        If the file exists (without ``force``) or cannot be written, ids repeat, or lengths differ.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.jobs.label import read_answers, write_questions
    >>> ids = ["a.png", "b.png", "c.png"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "questions.csv"
    ...     write_questions(path, [2, 0], ids=ids, question="a hand is seen")
    ...     filled_in = path.read_text().replace("c.png,", "c.png,yes")
    ...     _ = path.write_text(filled_in)
    ...     read_answers(path, ids, question="a hand is seen")
    array([None, None, 'yes'], dtype=object)
    """
    names = _names(ids)
    rows = np.asarray(index, dtype=np.intp).ravel()
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(names)):
        raise InputError(f"index holds row numbers beyond the {len(names)} samples of ids.")
    shown = {ID: names}
    for name, values in (columns or {}).items():
        shown[name] = [str(value) for value in np.asarray(values, dtype=object)]
        if len(shown[name]) != len(names):
            raise InputError(
                f"The column {name!r} holds {len(shown[name])} values for {len(names)} samples."
            )
    if question in shown:
        raise InputError(f"The question cannot be called {question!r}: that is a column already.")
    path = check_file(path, force=force)
    table = [[*shown, question], *([*(shown[c][i] for c in shown), ""] for i in rows)]
    with new_file(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [[guarded_cell(cell.replace("\x00", "")) for cell in row] for row in table]
        )


def read_answers(
    path: StrPath, ids: ArrayLike, *, question: str = "attribute", delimiter: str | None = None
) -> NDArray[np.object_]:
    """Read what a person filled in, as the attribute of every sample.

    Takes what spreadsheets make of the file: semicolons or tabs between cells, a byte-order mark,
    other line ends, more columns, other order. Answers that differ in upper and lower case alone
    are one.

    Parameters
    ----------
    path : path-like
        A CSV, TSV, JSON lines or Parquet file with the columns "id" and the question.
    ids : array-like of shape (N,)
        What names each of all samples; each once.
    question : str, default="attribute"
        Name of the column with the answers.
    delimiter : str, optional
        What separates cells; None finds it.

    Returns
    -------
    ndarray of object, shape (N,)
        Answers as text; None where there is none, or it is "?", "unsure", "unknown" or -1.

    Raises
    ------
    InputError
        If the file is no such table, names a sample that is not there, or answers one sample in
        two ways.
    """
    names = RowsByName(_names(ids))
    answers, said = np.full(len(names.rows), None, dtype=object), dict[int, Entry]()
    for entry in read_filled_in(path, question=question, delimiter=delimiter):
        row = names.row(entry)
        if entry.answer is None:
            continue
        if said.setdefault(row, entry).answer != entry.answer:
            raise contradiction(said[row], entry)
        answers[row] = entry.answer
    return answers


def read_filled_in(
    path: StrPath, *, question: str, key: str = ID, delimiter: str | None = None
) -> list[Entry]:
    """Read the rows of a table that a person filled in, as :func:`read_answers` does."""
    path = Path(path)
    if path.suffix.lower() not in TABLES:
        raise InputError(f"{path} is no table; answers are read from {', '.join(TABLES)} files.")
    table = read_table(path, delimiter, expected=[key, question])
    for column in (key, question):
        if column not in table.columns:
            raise InputError(
                f"{path} has no column {column!r}; its columns are "
                f"{listed(list(table.columns), 20, near=column)}."
            )
    columns = [table.columns[key], table.columns[question]]
    columns.append(table.columns.get(CONTENT, np.full(len(table), None)))
    entries, spelling = list[Entry](), dict[str, str]()
    for row, (name, value, content) in enumerate(zip(*columns, strict=True)):
        answer = answer_in(value)
        if answer is not None:
            answer = spelling.setdefault(answer.casefold(), answer)
        elif cell_text(value) == "":
            continue
        digest = content_in(cell_text(content))
        entries.append(Entry(name_text(name), answer, digest, table.at(row)))
    check_alike(entries)
    return entries


class RowsByName:
    """Rows of samples by name, as it is written; else without blanks around, where one is meant."""

    def __init__(self, names: Sequence[str]) -> None:
        self.rows = {name: row for row, name in enumerate(names)}
        self._stripped = dict[str, list[int]]()
        for row, name in enumerate(names):
            self._stripped.setdefault(name.strip(), []).append(row)

    def get(self, name: str) -> int | None:
        """Row of the sample of a name, before which an apostrophe may stand."""
        for one in (name, name.removeprefix("'")):
            if one in self.rows:
                return self.rows[one]
        meant = self._stripped.get(name.removeprefix("'").strip(), [])
        return meant[0] if len(meant) == 1 else None

    def row(self, entry: Entry) -> int:
        """Row of the sample that an answer names."""
        row = self.get(entry.name)
        if row is None:
            known = list(self.rows)
            near = meant_instead(entry.name, known) if len(known) < 10_000 else None
            hint = f" (did you mean {near}?)" if near else ""
            raise InputError(f"{entry.at}: no sample is called {entry.name!r:.60}{hint}.")
        return row


def _names(ids: ArrayLike) -> list[str]:
    values = np.asarray(ids, dtype=object)
    if values.ndim != 1:
        raise InputError(f"ids must have shape (N,), one per sample; got {values.shape}.")
    names = [name_text(value) for value in values]
    seen = set[str]()
    for name in names:
        if name in seen:
            raise InputError(f"ids hold {name!r} twice; give every sample a name of its own.")
        seen.add(name)
    return names


def cell_text(value: Any) -> str:
    """A cell as text, numbers as they were written before a table made floats of them."""
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def name_text(value: Any) -> str:
    """A cell that names a sample: as :func:`cell_text`, but blanks around are of the name."""
    return value if isinstance(value, str) else cell_text(value)


def answer_in(value: Any) -> str | None:
    """What a cell answers; None where it is empty, or says that nobody can tell."""
    text = cell_text(value)
    return None if text.lower() in UNSURE else text
