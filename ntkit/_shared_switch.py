"""A setting of the process that several threads share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedSwitch(Generic[T]):
    """A setting that the first thread in need of it switches on, and the last one switches off."""

    # A thread that saved the setting by itself would undo the change of another thread. `off` gets
    # the value that `on` returned.

    def __init__(self, on: Callable[[], T], off: Callable[[T], object]) -> None:
        self._on, self._off = on, off
        self._lock, self._users, self._before = Lock(), 0, list[T]()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Context in which the setting is on."""
        with self._lock:
            if not self._users:
                self._before.append(self._on())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                if self._users == 1:
                    self._off(self._before.pop())
                self._users = max(0, self._users - 1)  # 0 in a child process forked meanwhile

    def _after_fork(self) -> None:
        """In a child process no other thread is left to switch it off or to release a lock."""
        self._lock, self._users = Lock(), 0
        while self._before:
            self._off(self._before.pop())
