"""One page in one file that opens offline, and may load nothing and run nothing but its own."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

# What no page may hold, and what turns the direction of all that follows.
_NO_TEXT = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\u202a-\u202e\u2066-\u2069]"
)
_HERE = Path(__file__).parent


def offline_page(
    template: str,
    /,
    *,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **values: Any,
) -> str:
    """Render a template with the style beside it, and the script if there is one."""
    # Its policy lets the browser load nothing, send nothing, and run no script but that one. A page
    # with a script also has the style that such pages share. Values are escaped, and characters
    # that no page may hold are replaced.
    style, script = _read(f"{template}.css"), ""
    allowed = "'none'"
    if (_HERE / f"{template}.js").is_file():
        style, script = _read("offline.css") + style, _read(f"{template}.js")
        allowed = f"'{_digest(script)}'"
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=without_controls
    )
    environment.filters |= filters or {}
    return environment.from_string(_read(f"{template}.html.jinja")).render(
        policy=policy, style=Markup(style), script=Markup(script), **values
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def without_controls(value: Any) -> Any:
    """Text without the characters that no page may hold; anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", value).replace("\r", " ")
    return value
