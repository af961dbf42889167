"""How a sample looks on a page: a small picture, a piece of its text, some of its columns."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ntkit.attributes import places_of
from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, Texts
from ntkit.inputs import decode

_SIDE = 112  # pixels of a thumbnail
_SNIPPET = 160  # characters
_UNUSUAL = 3  # values of a row of a table


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, or a text; neither where a sample has no look."""

    image: str | None = None
    text: str | None = None


class TableRows:
    """Rows of a table of numbers, shown by what is unusual about them."""

    def __init__(self, X: NDArray[Any], columns: Sequence[str]) -> None:
        self.X, self.columns = X, columns
        self._mean, deviation = X.mean(axis=0, dtype=float), X.std(axis=0, dtype=float)
        self._deviation = np.where(deviation > 0, deviation, np.inf)

    def text(self, i: int) -> str:
        """The values furthest from the mean, in standard deviations."""
        distance = np.abs(self.X[i] - self._mean) / self._deviation
        unusual = np.argsort(-distance, kind="stable")[:_UNUSUAL]
        return ", ".join(f"{self.columns[j]} = {self.X[i, j]:.4g}" for j in unusual)

    def in_common(self, rows: NDArray[Any]) -> str:
        """The columns in which the mean of some rows is furthest from that of all."""
        distance = (self.X[rows].mean(axis=0, dtype=float) - self._mean) / self._deviation
        furthest = np.argsort(-np.abs(distance), kind="stable")[:_UNUSUAL]
        return ", ".join(f"{self.columns[j]} ({distance[j]:+.1f} sd)" for j in furthest)


def picture_of(X: Any, i: int) -> Picture:
    """Show one sample."""
    if isinstance(X, Mapping):
        shown = (picture_of(array, i) for array in X.values())
        return next((p for p in shown if p.image or p.text), Picture())
    if isinstance(X, Texts):
        parts = [X.texts[i]] if isinstance(X.texts[i], str) else X.texts[i]  # a text, or a pair
        text = " / ".join(" ".join(part.split()) for part in parts)
        return Picture(text=text if len(text) <= _SNIPPET else f"{text[: _SNIPPET - 1]}…")
    if isinstance(X, TableRows):
        return Picture(text=X.text(i))
    if isinstance(X, ImageFiles):
        try:
            image = ImageOps.exif_transpose(decode(X.paths[i])).convert("RGB")
        except InputError:
            return Picture()
        return Picture(image=data_uri(image))
    if isinstance(X, np.ndarray) and X.ndim in (3, 4):
        pixels = _as_pixels(np.asarray(X[i]))
        return Picture() if pixels is None else Picture(image=data_uri(Image.fromarray(pixels)))
    return Picture()


def _as_pixels(image: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Grey or RGB bytes; the smallest value becomes black, the largest white."""
    if image.ndim == 3 and image.shape[0] in (1, 3) and min(image.shape[1:]) > 4:
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[-1] != 3:
        return None
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        return None
    return np.asarray(255 * (values - low) / max(high - low, 1e-12), dtype=np.uint8)


def data_uri(image: Image.Image, side: int = _SIDE) -> str:
    """A picture as a data URI, no larger than ``side`` pixels; one of few pixels shows them."""
    if max(image.size) < side:
        factor = side // max(image.size)
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST
        )
    image.thumbnail((side, side))
    content = BytesIO()
    image.save(content, "WEBP", quality=80)
    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"


_THUMBNAIL = 176  # pixels of a picture
_AROUND = 130  # characters before and after the word
_MOST_COLUMNS = 6
_LONGEST, _LONGEST_VALUE = 60, 40  # characters
_LOOKED_FOR = 8  # words of a family, to find the piece that is shown
_NEAR, _TRIES = 100, 1000  # characters about a place that may be a word; places to look at


@dataclass(frozen=True)
class Part:
    """A piece of a text; ``mark`` is "", "this" (the attribute) or "other" (of its family)."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Cell:
    """A value of a row; ``mark`` is "", "this" (the attribute's column) or "other" (its family)."""

    column: str
    value: str
    mark: str = ""


def thumbnail_of(image: Any, side: int = _THUMBNAIL) -> str | None:
    """A small picture as a data URI; None where there is nothing to show."""
    try:
        if isinstance(image, str | os.PathLike):
            image = decode(Path(image))
        if not isinstance(image, Image.Image):
            image = Image.fromarray(_pixels(np.asarray(image)))
        return data_uri(ImageOps.exif_transpose(image).convert("RGB"), side)
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


def snippet_of(text: str, this: Iterable[str], other: Iterable[str] = ()) -> tuple[Part, ...]:
    """A piece of a text around the first of some words, with all of them marked."""
    marks = dict.fromkeys(this, "this")
    marks = {**marks, **{word: "other" for word in other if word not in marks}}
    start = _start(text, marks)
    low, high = max(0, start - _AROUND), start + _AROUND
    low, high = _between_words(text, low, high)
    piece = text[low:high]
    lower = piece.lower()
    places = sorted(
        (begin, end, mark)
        for word, mark in marks.items()
        if _beginning(word) in lower
        for begin, end in places_of(piece, word)
    )
    parts, at = [Part("… ")] if low else [], 0
    for begin, end, mark in places:
        if begin >= at:
            parts += [Part(_one_line(piece[at:begin])), Part(_one_line(piece[begin:end]), mark)]
            at = end
    parts.append(Part(_one_line(piece[at:]) + (" …" if high < len(text) else "")))
    return tuple(part for part in parts if part.text)


def _start(text: str, marks: Mapping[str, str]) -> int:
    """Where the first word of the best kind is; 0 where there is none."""
    lower = text.lower()
    if len(lower) != len(text):  # places would not agree
        lower = text
    for kind in ("this", "other"):
        words = [word for word, mark in marks.items() if mark == kind][:_LOOKED_FOR]
        places = (_first(text, lower, word) for word in words)
        found = [place for place in places if place is not None]
        if found:
            return min(found)
    return 0


def _first(text: str, lower: str, word: str) -> int | None:
    """Where a text first holds a word, by its letters: to read a long text word by word is slow."""
    for at in islice(_places_alone(lower, _beginning(word)), _TRIES):
        low = max(0, at - _NEAR)
        window = text[low : at + len(word) + _NEAR]
        if any(low + begin == at for begin, _ in places_of(window, word)):
            return at
    return None


def _places_alone(lower: str, word: str) -> Iterator[int]:
    """Where a word stands that is no part of a longer one."""
    at = lower.find(word)
    while at >= 0:
        end = at + len(word)
        before, after = lower[at - 1 : at] if at else "", lower[end : end + 1]
        if not after.isalnum() and not (before.isalnum() and word[0].isalnum()):
            yield at
        at = lower.find(word, end)


def _beginning(word: str) -> str:
    """The first word of a run."""
    return word.partition(" ")[0]


def _between_words(text: str, low: int, high: int) -> tuple[int, int]:
    """Limits of a piece, moved to a space if one is near, so that no word is cut."""
    if low:
        low += max(0, text[low : low + 20].find(" ") + 1)
    space = text.rfind(" ", high - 20, high)
    return low, (high if high >= len(text) or space < 0 else space)


def _one_line(text: str) -> str:
    """White space as single spaces, at both ends too."""
    line = " ".join(text.split())
    before = " " if text[:1].isspace() and line else ""
    return before + line + (" " if text[-1:].isspace() else "")


def cells_of(
    tables: Sequence[Mapping[str, Any]],
    row: int,
    marks: Mapping[str, str],
    most: int = _MOST_COLUMNS,
) -> tuple[tuple[Cell, ...], int]:
    """Some columns of a row, the marked ones first, and how many are left out."""
    columns = [item for table in tables for item in table.items()]
    order = {"this": 0, "other": 1}
    columns.sort(key=lambda item: order.get(marks.get(item[0], ""), 2))
    cells = [
        Cell(shortened(name, _LONGEST_VALUE), _value(values[row]), marks.get(name, ""))
        for name, values in columns[:most]
    ]
    return tuple(cells), len(columns) - len(cells)


def _value(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return shortened(str(value), _LONGEST_VALUE) or "–"


def shortened(text: str, longest: int = _LONGEST) -> str:
    """The beginning of a text that is long, on one line."""
    line = " ".join(text[: 2 * longest].split()) or text[:longest]
    return line if len(line) <= longest and len(text) <= 2 * longest else f"{line[:longest]}…"
