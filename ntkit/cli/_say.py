"""All printing of the commands."""

from __future__ import annotations

import typer

from ntkit._text import without_controls


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text without control characters, which may come from names in a model or a file."""
    typer.echo(without_controls(str(text)), err=err, nl=nl)
