"""Names of attributes and of changes, taken apart in one place: kind, what, condition."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from typing import Any

from ntkit._labels import composed, plain_label, plain_value
from ntkit._text import shortened
from ntkit.exceptions import InputError

HEIGHTS = (" above the median", " high", " low")
"""Conditions on numbers that have no named threshold."""
MISSING = " missing"
"""Condition of samples without a value."""
OF_A_TABLE = ("column", "metadata", "file")
"""Kinds whose attributes are columns, with conditions such as ``=Female`` and ``>=37``."""
OF_A_LAYER = ("layer", "embedding")
"""Kinds whose attributes are numbers that a network computes."""
_KIND = re.compile(r"(?s)([^:\s]+)([: ])(.*)")
_COLUMN = re.compile(r"(?s)(.+?)(>=.*|=.*| missing)")
_VALUES = re.compile(r"\|(?=[a-z]+:)")
_LONGEST = 60  # characters of a column or of a category in a name


def shown(text: str) -> str:
    """A text for a name; a long one is cut."""
    return shortened(text, _LONGEST)


def marked(text: str) -> str:
    """A text for a name, with a digest of the whole if it is cut."""
    short = shown(text)
    return short if short == text else f"{short} ({sha256(text.encode()).hexdigest()[:8]})"


def names_apart(texts: Iterable[str]) -> list[str]:
    """Texts for names, the same in every set: a long one is cut, and gets a digest of the whole."""
    return [*map(marked, texts)]


@dataclass(frozen=True)
class Key:
    """Name of an attribute: its kind, what it is about, and a condition with its sign.

    ``word:film`` has no condition. ``column:age>=37``, ``column:sex=Female``, ``column:age
    missing``, ``image:brightness high`` and ``embedding #5 low`` have one. ``metadata:site`` is a
    whole column.
    """

    kind: str
    what: str
    condition: str = ""
    colon: str = ":"

    @classmethod
    def of(cls, name: str | Key, columns: Collection[str] = ()) -> Key:
        """Take a name apart; the longest of the columns that fits tells where a condition begins.

        A name that no attribute has is all ``what``.
        """
        if isinstance(name, Key):
            return name
        match = _KIND.fullmatch(name)
        if match is None:
            return cls("", name, colon="")
        key = cls(match[1], match[3], "", match[2])
        if key.kind == "word":
            return key
        if key.kind not in OF_A_TABLE:
            height = next((each for each in HEIGHTS if name.endswith(each)), "")
            return replace(key, what=key.what.removesuffix(height), condition=height)
        readings = key.readings(names_apart(columns))
        if readings:
            return max(readings, key=lambda reading: len(reading.what))
        parts = _COLUMN.fullmatch(key.what)
        return key if parts is None else replace(key, what=parts[1], condition=parts[2])

    def readings(self, columns: Iterable[str]) -> list[Key]:
        """Every way to read this name as one of some columns, as they are called in names."""
        whole, found = composed(self.what + self.condition), list[Key]()
        for column in columns:
            condition = whole.removeprefix(composed(column))
            known = condition.startswith(("=", ">=")) or condition in ("", MISSING)
            if whole.startswith(composed(column)) and known:
                found.append(replace(self, what=column, condition=condition))
        return found

    @property
    def origin(self) -> str:
        """Name of what the attribute was made from: itself without the condition."""
        return f"{self.kind}{self.colon}{self.what}"

    @property
    def sign(self) -> str:
        """``=``, ``>=``, or the whole of another condition."""
        return next((s for s in ("=", ">=") if self.condition.startswith(s)), self.condition)

    @property
    def value(self) -> str:
        """The value or threshold after the sign."""
        return self.condition.removeprefix(self.sign)

    def __str__(self) -> str:
        return f"{self.origin}{self.condition}"


def conditions_in(name: str) -> list[tuple[str, str]]:
    """The ways to read a name as a conjunction, such as ``column:a=x and column:b=y``."""
    words = name.split(AND)  # a value may contain the word as well
    pairs = [(AND.join(words[:at]), AND.join(words[at:])) for at in range(1, len(words))]
    kinds = [[part.partition(":")[:2] for part in pair] for pair in pairs]
    named = [all(colon and " " not in kind for kind, colon in of_pair) for of_pair in kinds]
    return [pair for pair, are in zip(pairs, named, strict=True) if are]


AND = " and "
"""Joins the names of two conditions."""


def lacking(name: str) -> str:
    """Name of the samples without an attribute."""
    return f"not ({name})" if conditions_in(name) else f"not {name}"


def values_in(name: str) -> tuple[str, ...]:
    """Names of the values that a name has: ``word:film|word:movie`` has two.

    ``not word:film`` has the one of ``word:film``, whose samples are the others. It raises an
    InputError for a whole column: every sample has one of its values.
    """
    names = _VALUES.split(name)
    if len(names) > 1:
        return tuple(each.strip() for each in names)
    lacked = name.removeprefix("not ")
    had = next((each for each in (lacked, lacked[1:-1]) if name == lacking(each)), name)
    key = Key.of(had)
    if had != name and key.kind in OF_A_TABLE and not key.condition:
        raise InputError(
            f"{name!r} names no samples, because {had!r} is a whole column. Name one of its "
            f"values: 'not {had}=VALUE'."
        )
    return (had,)


def value_name(names: Sequence[str]) -> str:
    """Name of a value: the first of its names, with the others that are values of its column."""
    first, *others = map(Key.of, names)
    apart = first.kind in OF_A_TABLE and first.sign == "="
    same = [str(k) for k in others if apart and (k.origin, k.sign) == (first.origin, "=")]
    return " or ".join([names[0], *same])


def group_name(*parts: Any) -> str:
    """Name of a group, class × values; a part that has the sign in it is in quotation marks."""
    texts = map(str, parts)
    return TIMES.join(repr(text) if TIMES in text else text for text in texts)


TIMES = " × "
"""Joins the class and the values of a group."""


def written_otherwise(names: Iterable[str], others: Collection[str]) -> tuple[str, str] | None:
    """A name that the others lack, and the one whose value differs only in the way it is written.

    They are names of values, such as ``column:sex=Female``, or of groups.
    """

    def plain(name: str) -> tuple[str, ...]:
        keys = map(Key.of, name.split(TIMES))
        parts = [(plain_label(f"{k.origin}{k.sign}"), plain_value(k.value)) for k in keys]
        return tuple(chain(*parts))

    twins = {plain(other): other for other in others if other not in {*names}}
    missing = (name for name in names if name not in others)
    return next(((name, twins[plain(name)]) for name in missing if plain(name) in twins), None)


def parts_of_change(name: str) -> tuple[Key, ...]:
    """What a change alters, from its text form; the values or the strength are the condition.

    ``word:film|word:movie`` has two parts, ``column:a+column:b`` as well, ``word:film=both``,
    ``column:sex=Female|Male``, ``image:blur=2`` and ``append:a=b`` have one.
    """
    match = _KIND.fullmatch(name)
    if match is None or match[2] != ":":
        return (Key("", name, colon=""),)
    kind, whole = match[1], match[3]
    if kind in ("append", "prepend"):  # any text
        return (Key(kind, whole),)
    joined = {"word": r"\|", "column": r"\+"}.get(kind)
    parts = [whole] if joined is None else re.split(rf"{joined}\s*{kind}:", whole)
    if len(parts) > 1:
        return tuple(Key(kind, part.strip()) for part in parts)
    what, sign, how = (part.strip() for part in whole.partition("="))
    return (Key(kind, what, sign + how),)


def touches_subject(name: str) -> bool:
    """Whether a change of images replaces the centre, or more than three quarters of the area."""
    key = parts_of_change(name)[0]
    if key.kind != "image" or key.what != "border":
        return key.kind == "image" and key.what in ("centre", "middle centre", "high frequencies")
    inside = float(key.value) / 100 if key.value else 0.0  # sides of an ellipse; 72 by default
    return inside > 0 and math.pi / 4 * inside**2 < 0.25
