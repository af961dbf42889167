"""Cells of a CSV of labels: names of samples, which may be anything, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterable

from ntkit._labels import guarded_cell

__all__ = ["csv_of", "name_cell", "quoted_cell"]


def csv_of(names: Iterable[str], attribute: str) -> str:
    r"""A CSV to fill in: all samples, no labels.

    Examples
    --------
    >>> from ntkit.report.label._cells import csv_of
    >>> csv_of(["a.png", "b, c.png"], "water").split("\r\n")
    ['id,water', 'a.png,', '"b, c.png",', '']
    """
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
