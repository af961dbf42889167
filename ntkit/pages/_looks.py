"""How a sample looks on a page: a small image, a piece of its text, some of its columns."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ntkit._text import one_line
from ntkit.attributes import places_of
from ntkit.inputs import decode

_SIDE = 176  # pixels of an image
_AROUND = 130  # characters before and after the word
_MOST_COLUMNS = 6
_LONGEST, _LONGEST_VALUE = 60, 40  # characters
_LOOKED_FOR = 8  # words of a family, to find the piece that is shown
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_NEAR, _TRIES = 100, 1000  # characters about a place that may be a word; places to look at


def thumbnail_of(image: Any, side: int = _SIDE) -> str | None:
    """A small picture as a data URI; None where there is nothing to show."""
    try:
        if isinstance(image, str | os.PathLike):
            image = decode(Path(image))
        if not isinstance(image, Image.Image):
            image = Image.fromarray(_pixels(np.asarray(image)))
        image = ImageOps.exif_transpose(image).convert("RGB")
        if max(image.size) < side:  # one of few pixels shows them
            factor = side // max(image.size)
            size = image.width * factor, image.height * factor
            image = image.resize(size, Image.Resampling.NEAREST)
        image.thumbnail((side, side))
        content = BytesIO()
        image.save(content, "WEBP", quality=80)
        return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    except (OSError, ValueError, TypeError):  # gone, broken, or no picture
        return None


def _pixels(image: Any) -> Any:
    """Grey or RGB bytes: as they are, or of 0 … 1; any other scale goes from black to white."""
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ValueError("no picture")
    if image.ndim == 3:
        image = image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]
    if image.dtype == np.uint8:
        return image
    values = np.nan_to_num(image.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    most = 255.0 if image.dtype.kind in "iu" else 1.0
    if low < 0 or high > most:
        values, most = values - low, max(high - low, 1e-12)
    return (255 * (values / most)).astype(np.uint8)


def snippet_of(text: str, this: Iterable[str], other: Iterable[str] = ()) -> list[tuple[str, str]]:
    """A piece of a text around the first of some words: parts of it, and how each is marked."""
    # The mark is "", "this" (an attribute) or "other" (of its family); … stands where it was cut.
    marks = dict.fromkeys(this, "this")
    marks = {**marks, **{word: "other" for word in other if word not in marks}}
    start = _start(text, marks)
    low, high = _between_words(text, max(0, start - _AROUND), start + _AROUND)
    piece = text[low:high]
    lower = piece.lower()
    places = sorted(
        (begin, end, mark)
        for word, mark in marks.items()
        if _beginning(word) in lower
        for begin, end in places_of(piece, word)
    )
    parts, at = [("… ", "")] if low else [], 0
    for begin, end, mark in places:
        if begin >= at:
            parts += [(_spaced(piece[at:begin]), ""), (_spaced(piece[begin:end]), mark)]
            at = end
    parts.append((_spaced(piece[at:]) + (" …" if high < len(text) else ""), ""))
    return [part for part in parts if part[0]]


def _start(text: str, marks: Mapping[str, str]) -> int:
    """Where the first word of the best kind is; 0 where there is none."""
    lower = text.lower()
    if len(lower) != len(text):  # places would not agree
        lower = text
    for kind in ("this", "other"):
        words = [word for word, mark in marks.items() if mark == kind][:_LOOKED_FOR]
        places = [_first(text, lower, word) for word in words]
        if any(place is not None for place in places):
            return min(place for place in places if place is not None)
    return 0


def _first(text: str, lower: str, word: str) -> int | None:
    """Where a text first holds a word, by its letters: to read a long text word by word is slow."""
    beginning = _beginning(word)
    alone = rf"{_NO_LETTER_BEFORE if beginning[:1].isalnum() else ''}{re.escape(beginning)}"
    for match in islice(re.finditer(alone + _NO_LETTER_AFTER, lower), _TRIES):
        at = match.start()
        low = max(0, at - _NEAR)
        window = text[low : at + len(word) + _NEAR]
        if any(low + begin == at for begin, _ in places_of(window, word)):
            return at
    return None


def _beginning(word: str) -> str:
    """The first word of a run."""
    return word.partition(" ")[0]


def _between_words(text: str, low: int, high: int) -> tuple[int, int]:
    """Limits of a piece, moved to a space if one is near, so that no word is cut."""
    if low:
        low += max(0, text[low : low + 20].find(" ") + 1)
    space = text.rfind(" ", high - 20, high)
    return low, (high if high >= len(text) or space < 0 else space)


def _spaced(text: str) -> str:
    """White space as single spaces, at both ends too."""
    line = one_line(text)
    before = " " if text[:1].isspace() and line else ""
    return before + line + (" " if text[-1:].isspace() else "")


def cells_of(
    tables: Sequence[Mapping[str, Any]],
    row: int,
    marks: Mapping[str, str],
    most: int = _MOST_COLUMNS,
) -> tuple[list[tuple[str, str, str]], int]:
    """Name, value and mark of some columns, the marked ones first; how many are left out."""
    columns = [item for table in tables for item in table.items()]
    order = {"this": 0, "other": 1}
    columns.sort(key=lambda item: order.get(marks.get(item[0], ""), 2))
    cells = [
        (brief(name, _LONGEST_VALUE), _value(values[row]), marks.get(name, ""))
        for name, values in columns[:most]
    ]
    return cells, len(columns) - len(cells)


def _value(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return brief(str(value), _LONGEST_VALUE) or "–"


def brief(text: str, longest: int = _LONGEST) -> str:
    """The beginning of a text that is long, on one line."""
    line = one_line(text[: 2 * longest]) or text[:longest]
    return line if len(line) <= longest and len(text) <= 2 * longest else f"{line[:longest]}…"
