"""Page for labelling samples, and its CSV file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._html import brief, cells_of, offline_page
from ntkit._labels import guarded_cell
from ntkit._output import check_folder, new_folder
from ntkit.exceptions import InputError
from ntkit.samples.looks import Inputs, thumbnail_of

__all__ = ["write_label_page"]


def csv_of(names: Iterable[str], attribute: str) -> str:
    r"""A CSV to fill in: all samples, without labels."""
    lines = [f"id,{name_cell(attribute)}", *(f"{name_cell(name)}," for name in names)]
    return "\r\n".join(lines) + "\r\n"


def name_cell(name: str) -> str:
    """A name or title as a cell, with an apostrophe if it would be taken for a formula."""
    return quoted_cell(guarded_cell(name))


def quoted_cell(text: str) -> str:
    """A text as a cell."""
    if text == text.strip() and not any(c in text for c in '",;\r\n'):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


_MOST = 1000  # samples; a person does not label more at once
_MANY = 100  # with more samples, images are smaller
_LARGE, _SMALL = 448, 224  # pixels of an image
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
    """Write a page and a table for labelling samples: ``label.html`` and ``label.csv``.

    The page shows one sample at a time or a grid, and takes one key press per sample. It works
    offline. The browser keeps the labels, and a button saves them as ``labels.csv`` with the
    columns ``id`` and ``attribute``. A missing label is empty; ? means that the person cannot tell.
    A name that a spreadsheet would take for a formula has an apostrophe before it. ``label.csv``
    is a table of the same samples to fill in.

    Parameters
    ----------
    path : path-like
        Output folder.
    question : str
        Question about a sample, such as "Is there water behind the bird?".
    rows : sequence of int
        Rows of the samples, in the order of the page.
    inputs : Inputs
        Raw inputs of all samples, by row. Without ``ids``, the name of a sample is its row,
        counted from 0.
    values : sequence of str
        Two to nine possible labels; key 1 is the first.
    attribute : str
        Column of the labels in the CSV.
    {force}

    Raises
    ------
    InputError
        If there are no samples or too many, if rows or names repeat, or if the folder cannot be
        written.

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
    """The HTML page for labelling samples."""
    # `csv` names the table to fill in if the browser runs no scripts. `more` is a further column of
    # the saved file, with a cell for each row. `then` tells the person what to do with the file.
    values, rows = [str(value).strip() for value in values], [int(row) for row in rows]
    if not 2 <= len(values) <= _KEYS:
        raise InputError(f"Pass two to {_KEYS} values. Got {len(values)}.")
    if len({*values} - {""}) < len(values):
        raise InputError("Two values are equal, or one is empty. Pass different values.")
    names = _names(rows, inputs)
    for text in (*names, *values, attribute):
        try:
            text.encode()
        except UnicodeEncodeError:  # a file name in another encoding can hold half a character
            raise InputError(
                f"The name {text!r:.80} cannot be written as text. Pass other ids."
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
                "header": ",".join([*columns, name_cell(attribute)]),
                "values": values,
                "cells": [quoted_cell(value) for value in values],
                "then": then and f" {then}",
            }
        ),
    )


def _names(rows: Sequence[int], inputs: Inputs) -> list[str]:
    """Names of the samples, which must be unique."""
    if not rows:
        raise InputError("There are no samples to label. Pass some rows.")
    if len(rows) > _MOST:
        raise InputError(f"{len(rows)} samples are too many for a page. Pass at most {_MOST}.")
    if len(set(rows)) < len(rows) or min(rows) < 0:
        raise InputError("rows must be unique row numbers, counted from 0.")
    n_samples = inputs.n_samples
    if n_samples is not None:
        inputs.check(n_samples)
        if max(rows) >= n_samples:
            raise InputError(
                f"There is no row {max(rows)}: rows of {n_samples} samples are counted from 0."
            )
    names = [str(row if inputs.ids is None else inputs.ids[row]) for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Two samples have the name {twice!r}. Pass unique ids.")
    return names


def _samples(
    rows: Sequence[int], names: Sequence[str], cells: Sequence[str], inputs: Inputs
) -> list[dict[str, Any]]:
    """Content of the page, sample by sample; ``cell`` identifies the sample in the CSV."""
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
