"""Numbers, names and tables as text, for people and for programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

# Characters that a terminal executes, that end a line, or that change the direction of a text.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")
NONE = "–"
RUN_ON = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Letters of scripts that write no spaces between words, for a class of a regular expression.

Thai, Lao, Burmese, Khmer, Japanese and Chinese.
"""


def percent(share: float | None, digits: int = 1, *, sign: str = "", unit: str = " %") -> str:
    """A share in percent; a dash if it is unknown."""
    if share is None or share != share:
        return NONE
    return f"{100 * share:{sign}.{digits}f}{unit}"


def interval(bounds: Sequence[float] | None, digits: int = 1, *, sign: str = "") -> str:
    """The two ends of an interval in percent, in brackets; dashes if they are unknown."""
    if bounds is None or bounds[0] != bounds[0]:
        return NONE
    low, high = (percent(bound, digits, sign=sign, unit="") for bound in bounds)
    return f"[{low}, {high}]"


def with_interval(
    share: float | None, bounds: Sequence[float] | None, n: int = 1, *, sign: str = ""
) -> str:
    """A share of n samples in percent with its interval; a dash if it is unknown."""
    if not n or share is None:
        return NONE
    return f"{percent(share, sign=sign, unit='')} {interval(bounds, sign=sign)}"


def counted(n: int, noun: str) -> str:
    """A number of things: "1 sample", "2 samples"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def listed(items: Iterable[Any], most: int, total: str = "") -> str:
    """The first items, separated by commas; if there are more, "…" and the number of all."""
    items = [*items]
    more = f", …{total.format(len(items))}" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def shortened(text: str, most: int) -> str:
    """A text cut to so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def without_controls(text: str) -> str:
    """A text with a space for each control character other than tabs and line breaks."""
    return _CONTROLS.sub(" ", text)


def one_line(text: str) -> str:
    """A text on one line, with every run of white space replaced by one space."""
    return " ".join(text.split())


def printable(text: str) -> str:
    """A text that is safe to print in a terminal: control characters are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def escaped(text: str) -> str:
    """A text escaped for Markdown, also in a table."""
    return _SPECIAL.sub(r"\\\1", text)


class Markdown(str):
    """A table in Markdown, which a notebook displays, and its rows with the header first."""

    rows: Sequence[Sequence[str]] = ()

    def _repr_markdown_(self) -> str:
        return str(self)


def table(rows: Sequence[Sequence[str]], align: str = "", *, padded: bool = False) -> Markdown:
    """Rows as a Markdown table, the header first; ``align`` has "<" or ">" for each column."""
    cells = rows
    rule = f"| {' | '.join('---' + ':' * (each == '>') for each in align)} |"
    if padded:
        rows = aligned(rows, align)
        rule = f"|{'|'.join('-' * (len(cell) + 2) for cell in rows[0])}|"
    lines = [f"| {' | '.join(row)} |" for row in rows]
    text = Markdown("\n".join([lines[0], rule, *lines[1:]]))
    text.rows = cells
    return text


def plain_table(rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Rows as columns for a terminal."""
    return "\n".join("  ".join(row).rstrip() for row in aligned(rows, align))


def aligned(rows: Sequence[Sequence[str]], align: str = "") -> list[list[str]]:
    """Cells padded with spaces to the widths of their columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = align or "<" * len(widths)
    return [
        [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]
        for row in rows
    ]


def plain(value: Any) -> Any:
    """A value in JSON's types: dataclasses as mappings, arrays as lists, NaN as None."""
    if hasattr(value, "as_dict") and not isinstance(value, type):
        return plain(value.as_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(content: Any, indent: int | None = 2) -> str:
    """A value as strictly valid JSON; a value of any other type is written as text."""
    return json.dumps(plain(content), indent=indent, default=str, allow_nan=False)


def named_apart(paths: Sequence[Path | None], default: Sequence[str]) -> list[str]:
    """Names of files, the old one first; with their folders if both have one name."""
    names = [name if path is None else path.name for path, name in zip(paths, default, strict=True)]
    if len({*names}) < len(names):
        names = [str(Path(p.resolve().parent.name, p.name)) for p in paths if p is not None]
    return names if len({*names}) == len(paths) else [*default]
