"""How a command shows its help: framed panels in a terminal, plain sections elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from copy import copy
from typing import Any

from typer.core import TyperCommand

from ntkit.cli._settings import explain, note_former

ARGUMENTS, FIRST, LIMITS = "Arguments", "Options", "Limits"
DATA, IMAGES, TEXT, TABLES = "Data", "Images", "Text", "Tables"
MODEL, METHOD, OUTPUT = "Model", "Method", "Output"
PANELS = (ARGUMENTS, FIRST, LIMITS, DATA, IMAGES, TEXT, TABLES, MODEL, METHOD, OUTPUT)
"""Panels in their order; an option without one is in FIRST, which holds at most twelve."""
_NARROWEST = 80  # columns; panels in fewer cut off the names of options


class Command(TyperCommand):
    """A command whose help says the same in a terminal, with frames, and in a pipe, without."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what a key of settings was before is refused or noted."""
        note_former(ctx)
        try:
            return super().invoke(ctx)
        except ValueError as error:
            explain(ctx, error)
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super(Command, as_shown(self)).format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [_called(p) for p in self.params if p.param_type_name == "argument"]
        needed = [
            f"{p.opts[0]} {p.metavar}"
            for p in self.params
            if p.required and p.param_type_name == "option"
        ]
        return [*arguments, *needed, "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for panel, params in by_panel(self.get_params(ctx)).items():
            rows = [record for p in params if (record := p.get_help_record(ctx)) is not None]
            with formatter.section(panel):
                formatter.write_dl(rows)


def as_shown(command: Any) -> Any:
    """A copy of a command for its help: options in the order of panels, in few columns."""
    shown: Any = copy(command)
    shown.rich_markup_mode = None
    if shows_panels():
        from typer import rich_utils

        rich_utils.STYLE_HELPTEXT = ""  # typer shows all but the first sentence in grey
        shown.rich_markup_mode = "rich"
    shown.get_params = lambda ctx: sorted(
        (_in_few_columns(p) for p in command.get_params(ctx) if not getattr(p, "hidden", False)),
        key=lambda param: PANELS.index(panel_of(param)),
    )
    return shown


def by_panel(params: Iterable[Any]) -> dict[str, list[Any]]:
    """Parameters by their panel."""
    panels = dict[str, list[Any]]()
    for each in params:
        panels.setdefault(panel_of(each), []).append(each)
    return panels


def panel_of(param: Any) -> str:
    """Panel of an option or argument."""
    default = ARGUMENTS if param.param_type_name == "argument" else FIRST
    return getattr(param, "rich_help_panel", None) or default


def shows_panels() -> bool:
    """Whether the help goes to a terminal that has room for frames."""
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return is_terminal and shutil.get_terminal_size().columns >= _NARROWEST


def unwrapped(docstring: str) -> str:
    """A docstring with one line for each paragraph, for a terminal of any width."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    return "\n\n".join(" ".join(each.split()) for each in paragraphs)


def _in_few_columns(param: Any) -> Any:
    """A parameter without its type, and with both names of a switch in one."""
    shown = copy(param)
    if param.param_type_name == "argument":
        shown.display_type_rich = lambda ctx: None
    elif param.is_flag:
        shown.metavar = ""
        if param.secondary_opts:
            shown.opts = [param.opts[0].replace("--", "--[no-]", 1)]
            shown.secondary_opts = []
    return shown


def _called(argument: Any) -> str:
    """Name of an argument in the line of usage."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"
