"""How a job was started, for its page: whoever starts it says so around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["arguments", "commands", "started_by"]

_COMMAND: ContextVar[str | None] = ContextVar("command", default=None)
_ARGUMENTS: ContextVar[Mapping[str, Any] | None] = ContextVar("arguments", default=None)


@contextmanager
def started_by(command: str | None, arguments: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Let what is written inside say which command line wrote it, and with what to go on."""
    tokens = _COMMAND.set(command), _ARGUMENTS.set(arguments)
    try:
        yield
    finally:
        _COMMAND.reset(tokens[0])
        _ARGUMENTS.reset(tokens[1])


def arguments() -> Mapping[str, Any] | None:
    """Arguments of the command that is at work, as JSON holds them."""
    return _ARGUMENTS.get()


def commands() -> list[str]:
    """The command line that is at work, if there is one."""
    command = _COMMAND.get()
    return [command] if command else []
