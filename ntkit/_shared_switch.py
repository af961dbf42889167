"""A setting of the process that several threads share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock


class SharedSwitch:
    """A setting that the first thread in need of it switches on, and the last one switches off."""

    # A thread that saved the setting by itself would undo the change of another thread. `setting`
    # makes a context in which it is on.

    def __init__(self, setting: Callable[[], AbstractContextManager[object]]) -> None:
        self._setting, self._lock, self._users = setting, Lock(), 0
        self._on = list[AbstractContextManager[object]]()  # at most one
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Context in which the setting is on."""
        with self._lock:
            if not self._users:
                context = self._setting()
                context.__enter__()
                self._on.append(context)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                if self._users == 1:
                    self._on.pop().__exit__(None, None, None)
                self._users = max(0, self._users - 1)  # 0 in a child process forked meanwhile

    def _after_fork(self) -> None:
        """In a child process no other thread is left to switch it off or to release a lock."""
        self._lock, self._users = Lock(), 0
        while self._on:
            self._on.pop().__exit__(None, None, None)
