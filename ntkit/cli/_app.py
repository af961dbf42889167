"""The ``ntkit`` command: its commands, and what happens when one fails."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ntkit._process import OF_COMMAND
from ntkit._version import __version__
from ntkit.cli._help import Command, as_shown, unwrapped
from ntkit.cli._say import say

GROUPS = {
    "Look": {
        "audit": "Find what the model's errors depend on.",
        "label": "Ask a person to label some samples.",
        "inspect": "Show a model's inputs, outputs and head.",
    },
    "Repair": {
        "debias": "Find shortcuts and retrain the last layer.",
        "open": "Go on with a run in your browser.",
        "export": "Write a head into a model.",
    },
    "Check": {
        "check": "Check whether a model may replace another.",
        "watch": "Watch a deployed model by its traffic.",
        "predict": "Write a model's predictions as a table.",
        "verify": "Check that only the head was changed.",
        "parity": "Compare ntkit with a service's outputs.",
    },
    "Steps": {
        "embed": "Compute the embeddings of samples.",
        "merge": "Join the parts of an embedding store.",
        "fit": "Retrain a head without spurious neurons.",
    },
    "Help": {
        "demo": "Try every step on handwritten digits.",
        "doctor": "Show what ONNX Runtime uses here.",
    },
}
SUMMARIES = {name: line for group in GROUPS.values() for name, line in group.items()}
_HELP = """\
Find and repair shortcuts in trained ONNX classifiers by retraining the last layer.

Begin with ntkit demo, which needs no files. Then find what your own model relies on.

Example: ntkit audit classifier.onnx images/val -o audit/
"""
_INTERRUPTED = 130  # as shells have it
_GO_ON = (
    "Interrupted: no damaged file is left. The same command without --force continues an embedding "
    "store that was begun, and ntkit debias --from FOLDER a run whose findings are written."
)


class _Commands(Mapping[str, Any]):
    """Commands by name; importing one takes seconds of scikit-learn and ONNX Runtime."""

    def __init__(self) -> None:
        self._imported = dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in SUMMARIES:
            raise KeyError(name)
        if name not in self._imported:
            self._imported[name] = _imported(name)
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SUMMARIES)

    def __len__(self) -> int:
        return len(SUMMARIES)


class _Group(TyperGroup):
    """The commands, each imported when it is called; their list imports none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = as_shown(self)
        shown.commands = {
            name: TyperCommand(name, help=summary, rich_help_panel=group)
            for group, summaries in GROUPS.items()
            for name, summary in summaries.items()
        }
        super(_Group, shown).format_help(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, SUMMARIES))  # else each group has its own
        for group, summaries in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(n.ljust(width), line) for n, line in summaries.items()])

    def invoke(self, ctx: Any) -> Any:
        """Run a command; typer would end Ctrl-C and a closed pipe with 1, which means worse."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say(_GO_ON, err=True)
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # else Python complains when it flushes
            raise typer.Exit(2) from None


def _imported(name: str) -> Any:
    single = typer.Typer(rich_markup_mode=None, add_completion=False)
    command = import_module(f"ntkit.cli.{name}").command
    text = unwrapped(command.__doc__ or "")
    single.command(name=name, cls=Command, help=text)(command)
    return typer.main.get_command(single)


app = typer.Typer(
    name="ntkit",
    cls=_Group,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        say(f"ntkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Global options; the real work is in the commands."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error is one sentence on stderr and exit code 2, Ctrl-C 130."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    OF_COMMAND.shown = "--quiet" not in arguments
    warnings.showwarning = _show_each_once()
    _say_what_can_be_said()
    try:
        app(args=arguments, prog_name="ntkit")
    except Exception as error:
        if debug:
            traceback.print_exc()
        say(_sentence(error), err=True)
        sys.exit(2)  # never 1, as Python would: to scripts that means a model that is not better


def _sentence(error: Exception) -> str:
    if isinstance(error, ValueError | OSError | RuntimeError | ImportError):
        return " ".join([f"Error: {error}", *getattr(error, "__notes__", ())])
    why = f": {error}" * bool(str(error))
    return (
        f"Unexpected error ({type(error).__name__}{why}); run the same command with --debug, and "
        "report what it shows."
    )


def _say_what_can_be_said() -> None:
    """A sign that the output's encoding lacks becomes a question mark: Windows' pipes lack many."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _show_each_once() -> Callable[..., None]:
    """A function that shows each warning once; several fits of one run warn of the same."""
    shown = set[str]()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in shown:
            say(f"Warning: {message}", err=True)
        shown.add(str(message))

    return show
