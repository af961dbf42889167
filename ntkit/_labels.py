"""Labels and names: one Unicode form, and messages about those that differ."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import Any

import numpy as np

from ntkit import _text
from ntkit._types import Array
from ntkit.exceptions import InputError

_SHOWN = 6
# Texts that mean "not known", as plain_label writes them.
_UNKNOWN = ("", "?", "unsure", "unknown", "-1", "na", "n/a", "<na>", "nan", "null")
_NO_NUMBER = (*_UNKNOWN, "none", "missing", "-", "--", "–", "—", ".", "#n/a", "#n/v")
# Spreadsheets read cells with these first characters as formulas; an apostrophe prevents it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def listed(labels: Any, most: int = _SHOWN, *, near: str | None = None) -> str:
    """The first few labels in sorted order, written as in code."""
    distinct = _distinct(labels)
    if near is not None:
        distinct.sort(key=lambda label: -_likeness(plain_label(near), plain_label(label)))
    return _text.listed(map(repr, distinct), most, " ({})")


def listed_in_order(labels: Any, most: int = _SHOWN) -> str:
    """The first few labels in the order that they have, written as in code."""
    return _text.listed(map(repr, _distinct(labels, ordered=False)), most, " ({})")


def _likeness(one: str, other: str) -> float:
    """Similarity from 0 to 1; a label that contains the other is similar at any length."""
    within = min(len(one), len(other)) > 2 and (one in other or other in one)
    return max(SequenceMatcher(None, one, other).ratio(), 0.6 * within)


def meant_instead(label: Any, known: Any) -> str | None:
    """Return the known label that was probably meant."""
    plain: dict[str, Any] = {}
    for other in _distinct(known):
        plain.setdefault(plain_label(other), other)
    near = get_close_matches(plain_label(label), plain, n=1, cutoff=0.6)
    exact = plain_label(label) in plain
    # Numbers that share a digit are not similar.
    if not near or not (exact or (isinstance(label, str) and isinstance(plain[near[0]], str))):
        return None
    return repr(plain[near[0]])


def unknown_labels(labels: Any, known: Any, *, what: str, where: str, fix: str) -> str | None:
    """Return a message: some labels are not among the known ones."""
    have, may = _distinct(labels), _distinct(known, ordered=False)
    foreign = [label for label in have if label not in set(may)]
    if not foreign:
        return None
    first, more = foreign[0], len(foreign) - 1
    also = f" (and {more} more)" if more else ""
    sentence = (
        f"{what} ({listed(have)}) has the class {first!r}{also}, which {where} "
        f"({listed_in_order(may)}) lacks"
    )
    meant = meant_instead(first, may)
    if meant is None:
        return f"{sentence}; {fix}{_twins(have)}"
    return f"{sentence}; did you mean {meant}?{_only(first, may)}"


def differing_classes(labels: Any, known: Any, *, what: str, where: str, fix: str) -> str | None:
    """Return a message: two sets of labels do not have the same classes, in either direction."""
    sentence = unknown_labels(labels, known, what=what, where=where, fix=fix)
    have = _distinct(labels)
    may = _distinct(known, ordered=False)
    missing = [label for label in may if label not in set(have)]
    if sentence is not None or not missing:
        return sentence
    also = f" (and of {len(missing) - 1} more)" if len(missing) > 1 else ""
    return (
        f"{what} ({listed(have)}) has no sample of class {missing[0]!r}{also} of {where} "
        f"({listed_in_order(may)}); {fix}"
    )


def _distinct(labels: Any, *, ordered: bool = True) -> list[Any]:
    """Unique labels, sorted if possible."""
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
    """A text as a spreadsheet cell that is not read as a formula: with an apostrophe first."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def spreadsheet(rows: Iterable[Iterable[str]]) -> str:
    """Rows of cells as a CSV table, in which a spreadsheet reads no text as a formula."""
    file = io.StringIO(newline="")
    cells = ([guarded_cell(_in_utf8(cell)) for cell in row] for row in rows)
    csv.writer(file).writerows(cells)
    return file.getvalue()


def _in_utf8(text: str) -> str:
    """A text without the characters that a file of UTF-8, or a spreadsheet, cannot hold."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def unguarded_cell(cell: Any) -> Any:
    """The text of a cell made by :func:`guarded_cell`; other values are returned unchanged."""
    guarded = isinstance(cell, str) and cell[:1] == "'" and cell[1:].startswith(_FORMULA)
    return cell[1:] if guarded else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, NaT or pandas.NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    # NaN and NaT differ from themselves.
    return not isinstance(value, str | bytes) and bool(value != value)


def cell_name(value: object) -> str:
    """Name of a sample in a cell; empty if the cell has no value."""
    return "" if is_missing(value) else str(value)


def means_unknown(value: object) -> bool:
    """Whether a cell of an attribute, a label of a few samples or a group says "not known"."""
    return is_missing(value) or plain_label(value) in _UNKNOWN


def replaces_number(cell: str) -> bool:
    """Whether a cell of a column of numbers or dates says that there is none."""
    return plain_label(cell) in _NO_NUMBER


def none_if_unknown(values: Any) -> Any:
    """Texts or objects (N,) with None for those that mean "not known"; other values unchanged.

    Texts get one Unicode form.
    """
    if values is None or np.ndim(values) != 1 or np.asarray(values).dtype.kind not in "UO":
        return values
    array = np.array(values, dtype=object)
    form = {
        text: None if means_unknown(text) else composed(text)
        for text in {value for value in array.tolist() if isinstance(value, str)}
    }
    for row, value in enumerate(array.tolist()):
        if isinstance(value, str):
            array[row] = form[value]
        elif means_unknown(value):
            array[row] = None
    return array


def unknown_note(values: Any, where: str, what: str = "group") -> list[str]:
    """A note on the texts among groups (N,) that mean "not known", or none."""
    if values is None or np.ndim(values) != 1 or np.asarray(values).dtype.kind not in "UO":
        return []
    texts = [value for value in np.array(values, dtype=object).tolist() if isinstance(value, str)]
    counts = Counter(text for text in texts if text.strip() and means_unknown(text))
    written = _text.listed([f"{n} {text!r}" for text, n in counts.most_common()], _SHOWN)
    return [f"{where}: these texts mean that the {what} is unknown: {written}."] if counts else []


def alike_note(values: Iterable[Any], what: str) -> list[str]:
    """A note on values that differ only in the way they are written, which stay apart, or none."""
    alike = dict[str, dict[str, None]]()
    for value in map(str, values):
        alike.setdefault(plain_value(value), {})[value] = None
    shown = [" and ".join(map(repr, each)) for each in alike.values() if len(each) > 1]
    differ = f"{what} that differ only in writing count separately"
    return [f"{differ}: {_text.listed(shown, _SHOWN)}."] if shown else []


def plain_label(label: Any) -> str:
    """A label without differences of writing: spaces, case, Unicode form, and 1, 1.0 or "1"."""
    text = composed(" ".join(str(label).split()).casefold())
    try:
        number = float(text)
    except ValueError:
        return text
    if "_" in text:  # a name, which Python takes for a number
        return text
    return repr(int(number)) if number.is_integer() else repr(number)


TRUTHS = {"true": "1", "false": "0"}


def plain_value(value: Any) -> str:
    """A value without differences of writing; true and false are 1 and 0."""
    plain = plain_label(value)
    return TRUTHS.get(plain, plain)


def _twins(labels: list[Any]) -> str:
    """Two labels of one set that probably mean the same class."""
    seen: dict[str, Any] = {}
    for label in labels:
        other = seen.setdefault(plain_label(label), label)
        if other is not label:
            return f" (Are {other!r} and {label!r} one class?{_only(label, [other])})"
    return ""


def _only(label: Any, known: list[Any]) -> str:
    """Difference between a label and the nearest known one, if it is only a matter of writing."""
    other = next((other for other in known if plain_label(other) == plain_label(label)), None)
    if other is None:
        return ""
    if type(label) is not type(other):
        kinds = {str: "text", int: "a whole number", float: "a number", bool: "a truth value"}
        one, two = (kinds.get(type(v), type(v).__name__) for v in (label, other))
        return f" One is {one}, the other {two}; write labels the same way in all sets."
    return " They differ only in the way they are written." if isinstance(label, str) else ""


def composed(name: Any) -> str:
    """A text in one Unicode form: file systems and spreadsheets spell accents differently."""
    return unicodedata.normalize("NFC", str(name))


def spelling(name: Any) -> str:
    """A name in the one spelling that names are compared in."""
    # Without spaces around it, and without the apostrophe that keeps a spreadsheet from reading it
    # as a formula.
    return composed(name).strip().lstrip("'").strip()


def spelt_as(labels: Any, known: Any = (), *, where: str = "The labels") -> Array:
    """Labels spelt like known ones of the same Unicode text; all others in its composed form."""
    # Labels are compared as they are everywhere else, so this is done once, where they come in.
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "UO":
        return array
    spelling = _by_text(known)
    if not spelling and _is_ascii(array):
        return array
    values = array.tolist()
    distinct = [value for value in dict.fromkeys(values) if isinstance(value, str)]
    new = {value: spelling.get(text := composed(value), text) for value in distinct}
    refuse_twins(distinct, where)
    if all(old == one for old, one in new.items()):
        return array
    kind = object if array.dtype == object else str
    return np.asarray([new.get(value, value) for value in values], dtype=kind)


def refuse_twins(names: Iterable[Any], where: str) -> None:
    """Raise an error if two names are one text in two Unicode forms."""
    first = dict[str, Any]()
    for name in names:
        if isinstance(name, str) and (other := first.setdefault(composed(name), name)) != name:
            raise InputError(
                f"{where}: {other!a} and {name!a} are one name in two Unicode forms. "
                "Write it in one form, or rename one of the classes."
            )


def same_names(one: Iterable[Any], other: Iterable[Any]) -> bool:
    """Whether two lists have the same names in the same order, in any Unicode form."""
    return [*map(one_form, one)] == [*map(one_form, other)]


def one_form(name: Any) -> Any:
    """A name in the composed form; other values as they are."""
    return composed(name) if isinstance(name, str) else name


def without_case(text: str) -> str:
    """A text in lower case and in the composed form, to compare answers."""
    return composed(text.casefold())


def _by_text(known: Any) -> dict[str, str]:
    """Names that have more than one Unicode form, by their composed form."""
    names = known.tolist() if isinstance(known, np.ndarray) else known
    return {
        composed(name): name
        for name in dict.fromkeys(names)
        if isinstance(name, str) and not name.isascii()
    }


def _is_ascii(array: Array) -> bool:
    """Whether texts have only characters with one form."""
    if array.dtype == object:
        return all(not isinstance(value, str) or value.isascii() for value in array.tolist())
    return not array.size or int(np.ascontiguousarray(array).view(np.uint32).max()) < 128
