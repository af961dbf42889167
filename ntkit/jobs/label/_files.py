"""Questions as a table for a person to fill in, and the answers back from it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._join import NameIndex
from ntkit._labels import guarded_cell, listed, meant_instead
from ntkit._output import check_file, new_file
from ntkit.attributes import Entry, contradiction, entries_of_table, name_text
from ntkit.exceptions import InputError
from ntkit.samples import TABLES, read_table

ID = "id"


@documented
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

    Text that a spreadsheet would take for a formula is written with an apostrophe before it, which
    :func:`read_answers` takes off.

    Parameters
    ----------
    path : path-like
        File to write, complete or not at all.
    index : array-like of int
        Row numbers of the samples to ask about, such as from :func:`next_questions`.
    {ids, question}
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
        Name of each of all samples, such as its file; each once.
    question : str, default="attribute"
        Name of the column with the answers.
    delimiter : str, optional
        Character between cells; None finds it.

    Returns
    -------
    ndarray of object, shape (N,)
        Answers as text; None without one, or if it is "?", "unsure", "unknown" or -1.

    Raises
    ------
    InputError
        If the file is no such table, names a sample that is not there, or answers one sample in
        two ways.
    """
    index, said = NameIndex(_names(ids)), dict[int, Entry]()
    answers = np.full(len(index.names), None, dtype=object)
    for entry in read_filled_in(path, question=question, delimiter=delimiter):
        row = row_named(index, entry)
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
    return entries_of_table(table.columns, key, question, table.at)


def row_named(index: NameIndex, entry: Entry) -> int:
    """Row of the sample that an answer names."""
    rows = index.rows(entry.name)
    if len(rows) == 1:
        return rows[0]
    near = meant_instead(entry.name, index.names) if len(index.names) < 10_000 else None
    hint = f" (did you mean {near}?)" if near else ""
    raise InputError(f"{entry.at}: no sample is called {entry.name!r:.60}{hint}.")


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
