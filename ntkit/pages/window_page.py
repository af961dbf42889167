"""The window of a run: the empty page that asks for the others, and the steps to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ntkit._html import offline_page, page_parts

_SHOWN = 8  # groups of a step


_PAGES = ("window", "audit", "label", "report", "steps")
WINDOW_POLICY = f"{page_parts(*_PAGES)[-1]}; connect-src 'self'"
"""What the window may do: what its pages may, and ask the server that it comes from."""


def window_html() -> str:
    """The page that asks the run for its state and shows the run's pages; it tells nothing."""
    return offline_page("window", policy=WINDOW_POLICY)


def steps_html(title: str, steps: Sequence[Mapping[str, Any]]) -> str:
    """The page on which a person moves between the original and the new head, and keeps one."""
    # All numbers are of validation samples, cross-fitted.
    chosen = next(number for number, step in enumerate(steps) if step["chosen"])
    return offline_page("steps", title=title, steps=steps, chosen=chosen, most=_SHOWN)
