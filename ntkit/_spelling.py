"""Names in one Unicode form: file systems and programs spell accents differently."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from ntkit._join import composed
from ntkit._types import Array
from ntkit.exceptions import InputError


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


def pattern_of(text: str) -> str:
    """Regular expression that finds a text in both Unicode forms."""
    forms = [(each, unicodedata.normalize("NFD", each)) for each in composed(text)]
    escaped = [(re.escape(one), re.escape(other)) for one, other in forms]
    return "".join(one if one == other else f"(?:{one}|{other})" for one, other in escaped)


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
