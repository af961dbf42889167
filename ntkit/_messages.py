"""What a user sees while it works: progress, and warnings that point at the caller's line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
"""Takes what is done, how much of it, and how much there is."""
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
