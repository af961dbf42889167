"""Render pages and programs from the templates of ntkit.pages, and what notebooks show.

A page works offline: its security policy lets the browser load nothing, send nothing, and run only
the page's own script.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from ntkit import _text
from ntkit._text import one_line, percent

# Characters that HTML forbids, and those that change the direction of the following text.
_NO_TEXT = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\u202a-\u202e\u2066-\u2069]"
)
_MARKS = re.compile(r"[\\`*\[\]<#~$|]|&(?=[#a-zA-Z])|(?<![^\W_])_|_(?![^\W_])|:(?=//)")
_ENTITIES = {"<": "&lt;", "&": "&amp;", "|": "&#124;"}  # a backslash is not enough everywhere
_HERE = Path(__file__).parent / "pages"
_MOST_COLUMNS = 6
_LONGEST, _LONGEST_VALUE = 60, 40  # characters


def offline_page(template: str, /, **values: Any) -> str:
    """Render a page with the style and the script of the same name, if there is a script."""
    # Pages with a script share a further style. Values are escaped.
    style, script, policy = page_parts(template)
    values = {"policy": policy, "style": Markup(style), "script": Markup(script)} | values
    return rendered(f"{template}.html.jinja", **values)


def page_parts(*templates: str) -> tuple[str, str, str]:
    """Style and script of the last page, and the policy that lets all pages run theirs alone."""
    styles, scripts = list[str](), list[str]()
    for template in templates:
        styles.append((_HERE / f"{template}.css").read_text(encoding="utf-8"))
        if (_HERE / f"{template}.js").is_file():
            styles[-1] = (_HERE / "offline.css").read_text(encoding="utf-8") + styles[-1]
            scripts.append((_HERE / f"{template}.js").read_text(encoding="utf-8"))
    of_styles, of_scripts = (
        " ".join(f"'sha256-{b64encode(sha256(each.encode()).digest()).decode()}'" for each in parts)
        for parts in (styles, scripts)
    )
    of_scripts = of_scripts or "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {of_styles}; "
        f"script-src {of_scripts}; base-uri 'none'; form-action 'none'"
    )
    return styles[-1], "".join(scripts[-1:]), policy


def rendered(template: str, /, **values: Any) -> str:
    """Render a template without forbidden characters; values are escaped only in HTML pages."""
    return _ENVIRONMENT.get_template(template).render(**values)


def notebook_html(lines: Sequence[str], tables: Sequence[Any]) -> str:
    """Lines and tables of a result as HTML for the output of a notebook's cell."""
    style = Markup((_HERE / "notebook.css").read_text(encoding="utf-8"))
    return rendered("notebook.html.jinja", lines=lines, tables=tables, style=style)


def page_percent(share: float | None) -> str:
    """A share in percent, with a space that does not break the line."""
    return percent(share, unit="\N{NO-BREAK SPACE}%")


def shown_text(value: Any) -> Any:
    """Text without forbidden characters; other values unchanged."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", value).replace("\r", " ")
    return value


def markdown(value: object) -> str:
    """Any text as one line of Markdown with special characters escaped."""
    line = one_line(_text.without_controls(shown_text(str(value))))
    return _MARKS.sub(lambda mark: _ENTITIES.get(mark[0], f"\\{mark[0]}"), line)


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
    finalize=shown_text,
)
_ENVIRONMENT.filters |= {
    "fence": lambda text: max([*re.findall("`+", text), "``"], key=len) + "`",
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    "markdown": markdown,
    "path": _svg_path,
    "percent": page_percent,
    "repr": repr,
    "signed": lambda share: percent(share, sign="+", unit="").replace("-", "−"),
}


# -- samples ---------------------------------------------------------------------------------------


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
