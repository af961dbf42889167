"""A sample as a page shows it beside a suspicion: what it is about is marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ntkit.report._inputs import Inputs
from ntkit.report._looks import Cell, Part, cells_of, shortened, snippet_of
from ntkit.report.audit._plain_words import class_name, column_of
from ntkit.suspicions import Predictions, Suspicion

__all__ = ["Look", "look_of"]


@dataclass(frozen=True)
class Look:
    """A sample on a page.

    Attributes
    ----------
    row : int
        Which.
    name : str
        What it is called.
    right : bool or None
        Whether the model is right; None where nobody knows.
    predicted : str
        What the model says.
    picture : str or None
        As a data URI.
    text : tuple of Part
        A piece of the text.
    cells : tuple of Cell
        Some columns; ``n_more`` are left out.
    """

    row: int
    name: str
    right: bool | None
    predicted: str
    picture: str | None = None
    text: tuple[Part, ...] = ()
    cells: tuple[Cell, ...] = ()
    n_more: int = 0


def look_of(
    row: int,
    suspicion: Suspicion,
    predictions: Predictions | None,
    inputs: Inputs,
    picture: str | None,
) -> Look:
    """How a sample looks beside a suspicion."""
    tables = inputs.tables
    marks = _columns_of(suspicion, tables)
    if inputs.samples == "cases":
        cells, n_more = cells_of(tables, row, marks)
    else:
        of_this = sum(mark == "this" for mark in marks.values())
        cells, n_more = cells_of(tables, row, marks, of_this)[0], 0
    text = str(inputs.texts[row]) if inputs.texts is not None else ""
    right, predicted = None, ""
    if predictions is not None:
        right = bool(predictions.y_index[row] == predictions.pred_index[row])
        predicted = class_name(predictions.classes[predictions.pred_index[row]])
    this = _words_of((suspicion.name, *suspicion.same))
    return Look(
        row=row,
        name=shortened(str(inputs.ids[row])) if inputs.ids is not None else f"row {row + 1}",
        right=right,
        predicted=predicted,
        picture=picture,
        text=snippet_of(text, this, _words_of(suspicion.opposed)) if text else (),
        cells=cells,
        n_more=n_more,
    )


def _words_of(names: Sequence[str]) -> list[str]:
    """What to mark in a text: of whatever kind, if the text does not hold it, nothing is."""
    return [rest for name in names if (rest := name.partition(":")[2])]


def _columns_of(suspicion: Suspicion, tables: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Columns that a family is read from, with their marks."""
    names = (suspicion.name, *suspicion.same, *suspicion.opposed)
    columns = [column for table in tables for column in table]
    marks = dict[str, str]()
    for name in names:
        for kind in ("column", "metadata"):
            found = column_of(name, kind, columns)
            if found:
                marks.setdefault(found[0], "this" if name == suspicion.name else "other")
    return marks
