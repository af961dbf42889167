"""Pages and programs from the templates in this folder; a page opens offline and runs nothing else.

The policy of a page lets the browser load nothing, send nothing, and run no script but its own.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from ntkit._text import one_line, percent

# What no page may hold, and what turns the direction of all that follows.
_NO_TEXT = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\u202a-\u202e\u2066-\u2069]"
)
_MARKS = re.compile(r"[\\`*\[\]<#~$|]|&(?=[#a-zA-Z])|(?<![^\W_])_|_(?![^\W_])|:(?=//)")
_ENTITIES = {"<": "&lt;", "&": "&amp;", "|": "&#124;"}  # a backslash is not enough everywhere
_HERE = Path(__file__).parent


def offline_page(template: str, /, **values: Any) -> str:
    """Render a page with the style beside its template, and the script if there is one."""
    # A page with a script also has the style that such pages share. Values are escaped, and
    # characters that no page may hold are replaced.
    style, script, allowed = _read(f"{template}.css"), "", "'none'"
    if (_HERE / f"{template}.js").is_file():
        style, script = _read("offline.css") + style, _read(f"{template}.js")
        allowed = f"'{_digest(script)}'"
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )
    values |= {"policy": policy, "style": Markup(style), "script": Markup(script)}
    return rendered(f"{template}.html.jinja", **values)


def rendered(template: str, /, **values: Any) -> str:
    """Render a template; only pages are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.filters |= {
        "code_block": _code_block,
        "json": lambda value: json.dumps(value, ensure_ascii=False),
        "markdown": markdown,
        "path": _svg_path,
        "percent": page_percent,
        "repr": repr,
        "signed": lambda share: percent(share, sign="+", unit="").replace("-", "−"),
    }
    return environment


def page_percent(share: float | None) -> str:
    """A share in percent, in one piece where a line ends."""
    return percent(share, unit="\N{NO-BREAK SPACE}%")


@pass_eval_context
def _finalized(context: EvalContext, value: Any) -> Any:
    return without_controls(value) if context.autoescape else value


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def without_controls(value: Any) -> Any:
    """Text without the characters that no page may hold; anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", value).replace("\r", " ")
    return value


def markdown(value: object) -> str:
    """Any text as a line of Markdown that shows it: names may hold mark-up that is not to act."""
    line = one_line(without_controls(str(value)))
    return _MARKS.sub(lambda mark: _ENTITIES.get(mark[0], f"\\{mark[0]}"), line)


def _code_block(text: str, language: str = "") -> str:
    """A block of code that no backticks within it end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _svg_path(heights: Sequence[float], width: float, height: float) -> str:
    """An outline of bars, as the d of an SVG path that begins and ends on the ground."""
    step = width / len(heights)
    points = [(0.0, height)]
    for i, value in enumerate(heights):
        top = height * (1 - value)
        points += [(i * step, top), ((i + 1) * step, top)]
    points.append((width, height))
    return "M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in points)
