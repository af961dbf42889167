"""The command that runs: its line, arguments and settings, and words of the next command."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTINGS_FILE = "settings.toml"
"""Name of the file with the settings of a command, in the folder that the command writes."""


@dataclass(frozen=True)
class Started:
    """The running command: its command line, its arguments for JSON, its settings as TOML."""

    command: str | None = None
    arguments: Mapping[str, Any] | None = None
    settings: str | None = None


_STARTED: ContextVar[Started] = ContextVar("started")


@contextmanager
def started_by(
    command: str | None,
    arguments: Mapping[str, Any] | None = None,
    settings: str | None = None,
) -> Iterator[None]:
    """Record the command line, its arguments and settings in the files written inside."""
    token = _STARTED.set(Started(command, arguments, settings))
    try:
        yield
    finally:
        _STARTED.reset(token)


def arguments() -> Mapping[str, Any] | None:
    """Arguments of the running command, for JSON."""
    return _STARTED.get(Started()).arguments


def settings_files() -> dict[str, str]:
    """The file of settings of the running command, by its name; empty in Python."""
    settings = _STARTED.get(Started()).settings
    return {} if settings is None else {SETTINGS_FILE: settings}


def from_here(path: object) -> Path:
    """A path as a person in the working directory types it."""
    absolute, here = Path(os.path.abspath(str(path))), Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else Path(str(path))


def options_again(typed: Mapping[str, Any], folder: Path | None) -> str:
    """Options that read model and samples again: the settings of a run, or if None as typed."""
    given = {**typed.get("model_options", {}), **typed.get("data_options", {})}
    given = {n: v for n, v in given.items() if v not in (None, False) and _DEFAULTS.get(n) != v}
    if given and folder is not None:
        return f"--settings {quoted(from_here(folder / SETTINGS_FILE))}"
    words = list[str]()
    for name in _TYPED:
        if (value := given.get(name)) is not None:
            value = value["path"] if isinstance(value, Mapping) else value
            words += [f"--{name.replace('_', '-')}", quoted(value)]
    return " ".join(words)


def quoted(word: object) -> str:
    """A word of a command line, quoted for this machine's shell."""
    return subprocess.list2cmdline([str(word)]) if os.name == "nt" else shlex.quote(str(word))


_TYPED = (
    *("label", "embedding", "classes", "label_column", "text_column", "columns"),
    *("preprocessing", "settings"),
)
"""Options of reading that the commands show."""
_DEFAULTS = {"label_column": "label", "group_column": "group"}


def commands() -> list[str]:
    """The running command line, in a list; empty if there is none."""
    return [*filter(None, [_STARTED.get(Started()).command])]
