"""Differences of labels in words: both lists of classes, and the probable meaning."""

from __future__ import annotations

from difflib import SequenceMatcher, get_close_matches
from typing import Any

import numpy as np

from ntkit import _text

_SHOWN = 6
# What a spreadsheet takes for a formula, and the apostrophe that keeps it from doing so.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def listed(labels: Any, most: int = _SHOWN, *, near: str | None = None) -> str:
    """Labels as a program would write them, the first few of them."""
    distinct = _distinct(labels)
    if near is not None:
        distinct.sort(key=lambda label: -_likeness(plain_label(near), plain_label(label)))
    return _shown(distinct, most)


def _likeness(one: str, other: str) -> float:
    """From 0 to 1; a label within the other is like it, however long that is."""
    within = min(len(one), len(other)) > 2 and (one in other or other in one)
    return max(SequenceMatcher(None, one, other).ratio(), 0.6 * within)


def _shown(distinct: list[Any], most: int = _SHOWN) -> str:
    return _text.listed(map(repr, distinct), most, " ({})")


def meant_instead(label: Any, known: Any) -> str | None:
    """Name the known label that another one was probably meant to be."""
    plain: dict[str, Any] = {}
    for other in _distinct(known):
        plain.setdefault(plain_label(other), other)
    near = get_close_matches(plain_label(label), plain, n=1, cutoff=0.6)
    exact = plain_label(label) in plain
    # Numbers that share a digit are not near each other.
    if not near or not (exact or (isinstance(label, str) and isinstance(plain[near[0]], str))):
        return None
    return repr(plain[near[0]])


def unknown_labels(labels: Any, known: Any, *, what: str, where: str, fix: str) -> str | None:
    """Say that some labels are none of the known ones."""
    have, may = _distinct(labels), _distinct(known, ordered=False)
    foreign = [label for label in have if label not in set(may)]
    if not foreign:
        return None
    first, more = foreign[0], len(foreign) - 1
    also = f" (and {more} more)" if more else ""
    sentence = (
        f"{what} ({listed(have)}) has the class {first!r}{also}, which {where} ({_shown(may)}) "
        "lacks"
    )
    meant = meant_instead(first, may)
    if meant is None:
        return f"{sentence}; {fix}{_twins(have)}"
    return f"{sentence}; did you mean {meant}?{_only(first, may)}"


def differing_classes(labels: Any, known: Any, *, what: str, where: str, fix: str) -> str | None:
    """Say that two sets of labels do not hold the same classes, in either direction."""
    sentence = unknown_labels(labels, known, what=what, where=where, fix=fix)
    have = _distinct(labels)
    may = _distinct(known, ordered=False)
    missing = [label for label in may if label not in set(have)]
    if sentence is not None or not missing:
        return sentence
    also = f" (and of {len(missing) - 1} more)" if len(missing) > 1 else ""
    return (
        f"{what} ({listed(have)}) has no sample of class {missing[0]!r}{also} of {where} "
        f"({_shown(may)}); {fix}"
    )


def _distinct(labels: Any, *, ordered: bool = True) -> list[Any]:
    """Labels once each, in their own order or in one that does not need them to compare."""
    values = labels if isinstance(labels, list | tuple) else np.asarray(labels).ravel().tolist()
    plain = (v.item() if isinstance(v, np.generic) else v for v in values)
    distinct = list(dict.fromkeys(plain))
    if not ordered:
        return distinct
    try:
        return sorted(distinct)
    except TypeError:  # texts and numbers
        return sorted(distinct, key=lambda value: (type(value).__name__, str(value)))


def guarded_cell(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula: with an apostrophe before it."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def unguarded_cell(cell: Any) -> Any:
    """The text that :func:`guarded_cell` made a cell of; what is no text is left as it is."""
    guarded = isinstance(cell, str) and cell[:1] == "'" and cell[1:].startswith(_FORMULA)
    return cell[1:] if guarded else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def plain_label(label: Any) -> str:
    """A label without what people write differently: spaces, case, 1, 1.0 and "1"."""
    text = " ".join(str(label).split()).casefold()
    try:
        number = float(text)
    except ValueError:
        return text
    return repr(int(number)) if number.is_integer() else repr(number)


def _twins(labels: list[Any]) -> str:
    """Two labels of one sample that were probably meant to be one."""
    seen: dict[str, Any] = {}
    for label in labels:
        other = seen.setdefault(plain_label(label), label)
        if other is not label:
            return f" (Are {other!r} and {label!r} one class?{_only(label, [other])})"
    return ""


def _only(label: Any, known: list[Any]) -> str:
    """Difference of a label and the nearest known one, if that is a matter of writing only."""
    other = next((other for other in known if plain_label(other) == plain_label(label)), None)
    if other is None:
        return ""
    if type(label) is not type(other):
        kinds = {str: "text", int: "a whole number", float: "a number", bool: "a truth value"}
        one, two = (kinds.get(type(v), type(v).__name__) for v in (label, other))
        return f" One is {one}, the other {two}; write labels in one way in all sets."
    if not isinstance(label, str):
        return ""
    if label.casefold() == other.casefold():
        return " They differ in upper and lower case only."
    if label.split() == other.split():
        return " They differ in spaces only."
    return " They differ in the way they are written only."
