"""Names of attributes in the words of somebody who never saw one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ntkit.report._looks import shortened

__all__ = ["Wording", "class_name", "column_of", "quoted", "wording"]

_LONGEST = 60  # characters of a column that names of attributes show
_OF_A_TABLE = ("column", "metadata", "file")
_HEIGHT = {
    "high": ("the highest quarter", "is lower"),
    "low": ("the lowest quarter", "is higher"),
    "above the median": ("the upper half", "is below the median"),
}
_CLUSTER = re.compile(r" cluster \d+$")
_INFERRED = (
    "This was measured by a program, and nobody wrote it down. What it stands for is for you to "
    "see in the examples: what do those on one side have in common?"
)


@dataclass(frozen=True)
class Wording:
    """An attribute in words.

    Attributes
    ----------
    title : str
        What it is.
    having, lacking : str
        Samples that have it, and samples that have it not: "with the word …", "without …".
    hint : str
        What else a reader should know of such attributes; may be empty.
    """

    title: str
    having: str
    lacking: str
    hint: str = ""


def wording(name: str, kind: str, columns: Iterable[str] = ()) -> Wording:
    """Put an attribute in words.

    Parameters
    ----------
    name : str
        As ``word:film``.
    kind : str
        Of the view that it is from, as ``word``.
    columns : iterable of str
        Names of the columns of the tables at hand.

    Returns
    -------
    Wording

    Examples
    --------
    >>> from ntkit.report.audit._plain_words import wording
    >>> wording("word:film", "word").title
    'The word “film”'
    >>> wording("column:age>=37", "column").having
    'where “age” is 37 or more'
    >>> wording("picture:brightness high", "picture").title
    'Brightness of the picture: high'
    """
    rest = name[len(kind) + 1 :] if name.startswith((f"{kind}:", f"{kind} ")) else name
    if kind == "word":
        return _of_a_word(rest)
    if kind in _OF_A_TABLE:
        return _of_a_column(name, kind, rest, columns)
    height = next((h for h in _HEIGHT if rest.endswith(f" {h}")), None)
    if height is not None:
        return _of_a_number(rest.removesuffix(f" {height}"), kind, height)
    if _CLUSTER.search(rest):
        return _of_a_cluster(rest, kind)
    what = f"{kind} {quoted(rest)}" if rest != name else quoted(rest)
    return Wording(_capital(what), f"with {what}", f"without {what}")


def _of_a_word(word: str) -> Wording:
    kind = "tag" if word.startswith("<") else "words" if " " in word else "word"
    what = f"the {kind} {quoted(word)}"
    return Wording(_capital(what), f"with {what}", f"without {what}")


def _of_a_column(name: str, kind: str, rest: str, columns: Iterable[str]) -> Wording:
    column, condition = column_of(name, kind, columns) or _parts(rest)
    what = quoted(column)
    if condition == " missing":
        return Wording(f"{what} is missing", f"where {what} is missing", f"where {what} is known")
    if condition.startswith(">="):
        limit = condition[2:]
        return Wording(
            f"{what} is {limit} or more",
            f"where {what} is {limit} or more",
            f"where {what} is less than {limit}",
        )
    if condition.startswith("="):
        value = quoted(condition[1:])
        return Wording(
            f"{what} is {value}", f"where {what} is {value}", f"where {what} is something else"
        )
    return Wording(what, f"with {what}", f"without {what}")


def column_of(attribute: str, kind: str, names: Iterable[str]) -> tuple[str, str] | None:
    """The column that an attribute is read from, and what it says of it; None if it is none.

    Examples
    --------
    >>> from ntkit.report.audit._plain_words import column_of
    >>> column_of("column:age>=37", "column", ["sex", "age"])
    ('age', '>=37')
    """
    found = [
        (name, attribute.removeprefix(start))
        for name, start in ((name, f"{kind}:{_as_in_names(name)}") for name in names)
        if attribute.startswith((f"{start}=", f"{start}>=")) or attribute == f"{start} missing"
    ]
    return max(found, key=lambda one: len(one[0]), default=None)


def _as_in_names(column: str) -> str:
    """A column as names of attributes have it, which cut long ones."""
    return column if len(column) <= _LONGEST else f"{column[: _LONGEST - 1]}…"


def _parts(rest: str) -> tuple[str, str]:
    """A column and what is said of it, where no column is at hand."""
    parts = re.fullmatch(r"(?s)(.+?)(>=.*|=.*| missing)", rest)
    return (parts[1], parts[2]) if parts else (rest, "")


def _of_a_number(what: str, kind: str, height: str) -> Wording:
    which, otherwise = _HEIGHT[height]
    if kind == "picture":
        title, hint = f"{_capital(what)} of the picture: {height}", ""
    else:
        what = f"{kind} {quoted(what)}"
        title, hint = f"{_capital(what)}: {height}", _INFERRED
    return Wording(title, f"whose {what} is {height} ({which})", f"whose {what} {otherwise}", hint)


def _of_a_cluster(cluster: str, kind: str) -> Wording:
    what = f"the group {quoted(cluster)}"
    title = f"A group that looks alike to the model: {kind} {quoted(cluster)}"
    return Wording(title, f"in {what}", f"outside {what}", _INFERRED)


def quoted(text: str) -> str:
    """A text in quotation marks, cut where it is long."""
    return f"“{shortened(text)}”"


def class_name(label: Any) -> str:
    """A class in quotation marks."""
    return quoted(str(label.item() if hasattr(label, "item") else label))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
