"""The ``ntkit`` command: its verbs, and what happens when one fails."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Annotated

import typer

from ntkit._version import __version__
from ntkit.cli import (
    audit,
    bench,
    check,
    debias,
    demo,
    doctor,
    embed,
    export,
    fit,
    inspect,
    label,
    merge,
    predict,
    report,
    verify,
)
from ntkit.cli._interrupt import interruptible

__all__ = ["app", "main"]

app = typer.Typer(
    name="ntkit",
    help="Debias a frozen ONNX classifier: silence its spurious neurons, retrain its last layer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    debias, audit, label, check, predict, demo, inspect, embed, merge, fit, export, verify, report,
    doctor,
):  # fmt: skip
    app.command(name=verb.__name__.rsplit(".", 1)[-1])(interruptible(verb.command))
app.command(  # what follows the benchmark's name is left to it
    name="bench", context_settings={"allow_extra_args": True, "allow_interspersed_args": False}
)(interruptible(bench.command))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"ntkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Global options; the real work is in the verbs."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error is one sentence on stderr and exit code 2, Ctrl-C 130."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    warnings.showwarning = _show_warning
    _say_what_can_be_said()
    try:
        app(args=arguments, prog_name="ntkit")
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if debug:
            raise
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)


def _say_what_can_be_said() -> None:
    """A sign that the output's encoding lacks becomes a question mark: Windows' pipes lack many."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.echo(f"Warning: {message}", err=True)
