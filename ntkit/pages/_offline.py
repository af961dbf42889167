"""Render pages and programs from the templates in this folder, and show samples on a page.

A page works offline: its security policy lets the browser load nothing, send nothing, and run only
the page's own script.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup
from PIL import Image, ImageOps

from ntkit import _text
from ntkit._text import one_line, percent
from ntkit.attributes.word_lists import places_of
from ntkit.inputs.image_files import decode

# Characters that HTML forbids, and those that change the direction of the following text.
_NO_TEXT = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\u202a-\u202e\u2066-\u2069]"
)
_MARKS = re.compile(r"[\\`*\[\]<#~$|]|&(?=[#a-zA-Z])|(?<![^\W_])_|_(?![^\W_])|:(?=//)")
_ENTITIES = {"<": "&lt;", "&": "&amp;", "|": "&#124;"}  # a backslash is not enough everywhere
_HERE = Path(__file__).parent
_SIDE = 176  # pixels of an image
_AROUND = 130  # characters before and after the word
_MOST_COLUMNS = 6
_LONGEST, _LONGEST_VALUE = 60, 40  # characters


def offline_page(template: str, /, **values: Any) -> str:
    """Render a page with the style and the script of the same name, if there is a script."""
    # Pages with a script share a further style. Values are escaped, and forbidden characters are
    # replaced.
    style, script = (_HERE / f"{template}.css").read_text(encoding="utf-8"), ""
    if (_HERE / f"{template}.js").is_file():
        style = (_HERE / "offline.css").read_text(encoding="utf-8") + style
        script = (_HERE / f"{template}.js").read_text(encoding="utf-8")
    of_style, of_script = (
        f"'sha256-{b64encode(sha256(each.encode()).digest()).decode()}'" for each in (style, script)
    )
    of_script = of_script if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {of_style}; "
        f"script-src {of_script}; base-uri 'none'; form-action 'none'"
    )
    values |= {"policy": policy, "style": Markup(style), "script": Markup(script)}
    return rendered(f"{template}.html.jinja", **values)


def rendered(template: str, /, **values: Any) -> str:
    """Render a template; values are escaped only in HTML pages."""
    return _ENVIRONMENT.get_template(template).render(**values)


def page_percent(share: float | None) -> str:
    """A share in percent, with a space that does not break the line."""
    return percent(share, unit="\N{NO-BREAK SPACE}%")


@pass_eval_context
def _finalized(context: EvalContext, value: Any) -> Any:
    return shown_text(value) if context.autoescape else value


def shown_text(value: Any) -> Any:
    """Text without forbidden characters; other values unchanged."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", value).replace("\r", " ")
    return value


def markdown(value: object) -> str:
    """Any text as one line of Markdown with special characters escaped."""
    line = one_line(_text.without_controls(shown_text(str(value))))
    return _MARKS.sub(lambda mark: _ENTITIES.get(mark[0], f"\\{mark[0]}"), line)


def _code_block(text: str, language: str = "") -> str:
    """A block of code with a fence longer than any backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _svg_path(heights: Sequence[float], width: float, height: float) -> str:
    """The outline of bars as the d attribute of an SVG path."""
    step = width / len(heights)
    points = [(0.0, height)]
    for i, value in enumerate(heights):
        top = height * (1 - value)
        points += [(i * step, top), ((i + 1) * step, top)]
    points.append((width, height))
    return "M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in points)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_HERE),
    autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_finalized,
)
_ENVIRONMENT.filters |= {
    "code_block": _code_block,
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    "markdown": markdown,
    "path": _svg_path,
    "percent": page_percent,
    "repr": repr,
    "signed": lambda share: percent(share, sign="+", unit="").replace("-", "−"),
}


# -- samples ---------------------------------------------------------------------------------------


def thumbnail_of(image: Any, side: int = _SIDE) -> str | None:
    """A small image as a data URI; None if there is no image to show."""
    try:
        if isinstance(image, str | os.PathLike):
            image = decode(Path(image))
        if not isinstance(image, Image.Image):
            image = Image.fromarray(_pixels(np.asarray(image)))
        image = ImageOps.exif_transpose(image).convert("RGB")
        if max(image.size) < side:  # enlarge a tiny image by a whole factor
            factor = side // max(image.size)
            size = image.width * factor, image.height * factor
            image = image.resize(size, Image.Resampling.NEAREST)
        image.thumbnail((side, side))
        content = BytesIO()
        image.save(content, "WEBP", quality=80)
        return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    except (OSError, ValueError, TypeError):  # missing or damaged file, or not an image
        return None


def _pixels(image: Any) -> Any:
    """Grey or RGB bytes; values from 0 to 1 are scaled, other ranges are stretched."""
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ValueError("not an image")
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
    """A piece of a text around the first of some words, as parts with marks."""
    # The mark is "", "this" (the attribute) or "other" (an opposite one); … marks a cut.
    marks = dict.fromkeys(this, "this")
    marks = {**marks, **{word: "other" for word in other if word not in marks}}
    places = [*places_of(text, marks)]
    first = [begin for begin, _, word in places if marks[word] == "this"]
    start = next(iter(first or [begin for begin, *_ in places]), 0)
    low, high = _between_words(text, max(0, start - _AROUND), start + _AROUND)
    parts, at = [("… ", "")] if low else [], low
    for begin, end, word in places:
        if max(low, at) <= begin and end <= high:
            parts += [(_spaced(text[at:begin]), ""), (_spaced(text[begin:end]), marks[word])]
            at = end
    parts.append((_spaced(text[at:high]) + (" …" if high < len(text) else ""), ""))
    return [part for part in parts if part[0]]


def _between_words(text: str, low: int, high: int) -> tuple[int, int]:
    """Limits of a piece, moved to the nearest space, so that no word is cut."""
    if low:
        low += max(0, text[low : low + 20].find(" ") + 1)
    space = text.rfind(" ", high - 20, high)
    return low, (high if high >= len(text) or space < 0 else space)


def _spaced(text: str) -> str:
    """White space as single spaces, also at both ends."""
    line = one_line(text)
    before = " " if text[:1].isspace() and line else ""
    return before + line + (" " if text[-1:].isspace() else "")


def cells_of(
    tables: Sequence[Mapping[str, Any]],
    row: int,
    marks: Mapping[str, str],
    most: int = _MOST_COLUMNS,
) -> tuple[list[tuple[str, str, str]], int]:
    """Name, value and mark of some columns, marked ones first, and the number of others."""
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
    """A text on one line, cut if it is long."""
    line = one_line(text[: 2 * longest]) or text[:longest]
    return line if len(line) <= longest and len(text) <= 2 * longest else f"{line[:longest]}…"
