"""How a job was started, for its page: whoever starts it says so around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["commands", "started_by"]

_COMMAND: ContextVar[str | None] = ContextVar("command", default=None)


@contextmanager
def started_by(command: str | None) -> Iterator[None]:
    """Let pages written inside say that this command line wrote them."""
    token = _COMMAND.set(command)
    try:
        yield
    finally:
        _COMMAND.reset(token)


def commands() -> list[str]:
    """The command line that is at work, if there is one."""
    command = _COMMAND.get()
    return [command] if command else []
