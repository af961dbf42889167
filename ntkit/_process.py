"""What ntkit does to its process: progress and warnings on stderr, and settings of threads."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from tqdm import tqdm

SECONDS = 10  # between two lines where no bar can be shown
_LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {rate_fmt}, {elapsed} so far, {remaining} left"
_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {rate_fmt}, {elapsed} so far"

# A warning that points into a library tells the reader nothing, and Python then shows it only once.
_PACKAGES = {"ntkit", "sklearn", "joblib", "threading", "concurrent", "multiprocessing"}


class _Lines:
    """A bar's file where nothing can be overwritten: each state is a line."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class _Nowhere:
    """A bar's file if a watcher alone sees the bar."""

    def write(self, text: str) -> None:
        """Write nothing."""

    def flush(self) -> None:
        """Write nothing."""


@dataclass
class OfCommand:
    """Whether the command line shows the reading of tables; in Python each call says it."""

    shown: bool = False


OF_COMMAND = OfCommand()


Watcher = Callable[[str, float, float | None], None]
"""Takes what is done, how much of it, and how much there is; nothing is done by the name ""."""
_WATCHERS = list[Watcher]()


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher of all progress inside, whether or not bars are shown."""
    _WATCHERS.append(watcher)
    try:
        yield
    finally:
        _WATCHERS.remove(watcher)


class _Watched(tqdm):
    """A bar that tells the watchers what it shows, and shows it if it has a file."""

    def display(self, *args: Any, **kwargs: Any) -> Any:
        """Tell the state."""
        for watcher in _WATCHERS:
            watcher(self.desc.removesuffix(": "), self.n, self.total)
        return super().display(*args, **kwargs)

    def close(self) -> None:
        """Tell that it is over."""
        ends = not self.disable  # it may be closed twice
        super().close()
        for watcher in _WATCHERS if ends else ():
            watcher("", 0, None)


def progress_bar(
    steps: Iterable[Any] | None = None,
    *,
    shown: bool,
    desc: str,
    total: int | None = None,
    unit: str,
    initial: int = 0,
    leave: bool = False,
) -> Any:
    """A bar of tqdm over the steps, on stderr; hidden unless shown, and in the first second."""
    options = {"desc": desc, "total": total, "unit": unit, "initial": initial}
    if _WATCHERS and not (shown and sys.stderr.isatty()):
        return _Watched(steps, **options, file=_Nowhere(), leave=False)
    bar = _Watched if _WATCHERS else tqdm
    if not shown:
        return tqdm(steps, **options, disable=True)
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        return bar(steps, **options, delay=0 if _WATCHERS else 1, leave=leave)
    endless = total is None and not hasattr(steps, "__len__")
    lines: Any = _Lines()
    return tqdm(
        steps, **options, file=lines, bar_format=_LINE_WITHOUT_TOTAL if endless else _LINE,
        delay=SECONDS, mininterval=SECONDS, leave=False, position=0,
    )  # fmt: skip


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside ntkit and scikit-learn, such as the caller's ``fit``."""
    frame, level = sys._getframe(), 1
    while frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        if frame.f_back is None:  # a thread has no caller
            level = 2
            break
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


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
