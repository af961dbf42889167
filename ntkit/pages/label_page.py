"""Page on which a person labels samples, and its CSV."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._labels import guarded_cell
from ntkit._output import check_folder, new_folder
from ntkit.exceptions import InputError
from ntkit.pages._offline import brief, cells_of, offline_page, thumbnail_of
from ntkit.samples import Inputs

__all__ = ["write_label_page"]


def csv_of(names: Iterable[str], attribute: str) -> str:
    r"""A CSV to fill in: all samples, no labels."""
    lines = [f"id,{quoted_cell(attribute)}", *(f"{name_cell(name)}," for name in names)]
    return "\r\n".join(lines) + "\r\n"


def name_cell(name: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula: with an apostrophe before it."""
    return quoted_cell(guarded_cell(name))


def quoted_cell(text: str) -> str:
    """A text as a cell."""
    if text == text.strip() and not any(c in text for c in '",;\r\n'):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


_MOST = 1000  # samples; nobody labels more in one go
_MANY = 100  # samples from which on pictures are smaller
_LARGE, _SMALL = 448, 224  # pixels of a picture
_LONGEST_TEXT = 3000
_COLUMNS = 40
CSV_FILE = "label.csv"
_KEYS = 9  # values, one digit each


@documented
def write_label_page(
    path: StrPath,
    question: str,
    rows: Sequence[int],
    inputs: Inputs,
    *,
    values: Sequence[str] = ("yes", "no"),
    attribute: str = "attribute",
    force: bool = False,
) -> None:
    """Write ``label.html`` and ``label.csv`` into a folder: the same samples to label.

    The page asks for one keystroke for each sample, and shows them one at a time or as a grid. It
    opens offline, keeps the labels in the browser, and saves them as ``labels.csv``: names of
    samples (``id``) and labels, empty if there is none and ? if nobody can tell. A name that
    a spreadsheet would take for a formula has an apostrophe before it. ``label.csv`` is the same to
    fill in without a page.

    Parameters
    ----------
    path : path-like
        The folder.
    question : str
        What is asked about each, as "Is there water behind the bird?".
    rows : sequence of int
        Which samples, in the order to ask about them.
    inputs : Inputs
        Raw inputs of all samples, by row. Without ``ids`` samples are called after their rows,
        from 0 on.
    values : sequence of str
        What can be answered, two to nine; the first is key 1. Nobody has to answer.
    attribute : str
        Column of the labels in the CSV.
    {force}

    Raises
    ------
    InputError
        If there is nothing to ask about, or too much, rows or names occur twice, or the folder
        cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.jobs.audit import Inputs
    >>> from ntkit.pages.label_page import write_label_page
    >>> texts = Inputs(texts=["a film", "a movie", "a film and a movie"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_label_page(folder, "Is it about a film?", [2, 0], texts, force=True)
    ...     (Path(folder) / "label.csv").read_text(encoding="utf-8-sig").split()
    ['id,attribute', '2,', '0,']
    """
    check_folder(path, force=force)
    rows, attribute = [int(row) for row in rows], attribute.strip()
    shown = label_html(question, rows, inputs, values=values, attribute=attribute)
    with new_folder(path, force=force) as folder:
        (folder / "label.html").write_text(shown, encoding="utf-8")
        filled_in = csv_of(_names(rows, inputs), attribute)
        (folder / CSV_FILE).write_bytes(filled_in.encode("utf-8-sig"))


def label_html(
    question: str,
    rows: Sequence[int],
    inputs: Inputs,
    *,
    values: Sequence[str],
    attribute: str,
    csv: str = CSV_FILE,
    more: tuple[str, Sequence[str]] | None = None,
    then: str = "",
) -> str:
    """The page alone."""
    # `csv` is the file to fill in where a browser runs no scripts, `more` another column of the
    # file that is saved, with a cell for each of the rows, and `then` says what to do with it.
    values, rows = [str(value).strip() for value in values], [int(row) for row in rows]
    if not 2 <= len(values) <= _KEYS:
        raise InputError(f"Give two to {_KEYS} values to choose from; got {len(values)}.")
    if len({*values} - {""}) < len(values):
        raise InputError("The values to choose from must differ, and none may be empty.")
    names = _names(rows, inputs)
    for text in (*names, *values, attribute):
        try:
            text.encode()
        except UnicodeEncodeError:  # half a character, as of a file name in another encoding
            raise InputError(
                f"The name {text!r:.80} cannot be written as a text; give ids that can."
            ) from None
    columns, cells = ["id"], [name_cell(name) for name in names]
    if more is not None:
        columns.append(more[0])
        cells = [f"{one},{quoted_cell(two)}" for one, two in zip(cells, more[1], strict=True)]
    shown = json.dumps([question, cells, values, attribute])
    return offline_page(
        "label",
        question=question,
        samples=_samples(rows, names, cells, inputs),
        what=inputs.samples,
        values=values,
        csv=csv,
        settings=json.dumps(
            {
                "digest": hashlib.sha256(shown.encode()).hexdigest()[:16],
                "header": ",".join([*columns, quoted_cell(attribute)]),
                "values": values,
                "cells": [quoted_cell(value) for value in values],
                "then": then and f" {then}",
            }
        ),
    )


def _names(rows: Sequence[int], inputs: Inputs) -> list[str]:
    """Names of the samples, which must tell them apart."""
    if not rows:
        raise InputError("There is nothing to label; give some rows.")
    if len(rows) > _MOST:
        raise InputError(f"{len(rows)} samples are too many for a page; give {_MOST} at most.")
    if len(set(rows)) < len(rows) or min(rows) < 0:
        raise InputError("rows must be row numbers from 0 on, each once.")
    n_samples = inputs.n_samples
    if n_samples is not None:
        inputs.check(n_samples)
        if max(rows) >= n_samples:
            raise InputError(f"There is no row {max(rows)} (from 0 on) of {n_samples} samples.")
    names = [str(row if inputs.ids is None else inputs.ids[row]) for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Two samples are called {twice!r}; give ids that tell them apart.")
    return names


def _samples(
    rows: Sequence[int], names: Sequence[str], cells: Sequence[str], inputs: Inputs
) -> list[dict[str, Any]]:
    """Content of the page, sample by sample; ``cell`` tells a sample from others in the CSV."""
    side = _LARGE if len(rows) <= _MANY else _SMALL
    images = {row: thumbnail_of(image, side) for row, image in inputs.images_of(rows)}
    samples = list[dict[str, Any]]()
    for row, name, cell in zip(rows, names, cells, strict=True):
        text = str(inputs.texts[row]) if inputs.texts is not None else ""
        columns, n_more = cells_of(inputs.tables, row, {}, _COLUMNS)
        samples.append(
            {
                "name": brief(name),
                "cell": json.dumps(cell),
                "image": images.get(row),
                "text": text[:_LONGEST_TEXT],
                "cut": len(text) > _LONGEST_TEXT,
                "cells": columns,
                "n_more": n_more,
            }
        )
    return samples
