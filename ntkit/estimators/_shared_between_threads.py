"""What scikit-learn's fits share between threads: the filters of warnings, liblinear's dice."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from sklearn.exceptions import ConvergenceWarning


@contextmanager
def without_convergence_warnings() -> Iterator[None]:
    """Hide that a fit did not converge, while any thread asks for that."""
    # `warnings.catch_warnings` puts back the list of filters it found: of two threads that overlap,
    # the second found the first one's, and would leave it behind for good.
    _HIDDEN.enter()
    try:
        yield
    finally:
        _HIDDEN.leave()


@contextmanager
def alone_with_liblinear() -> Iterator[None]:
    """Fit with liblinear in one thread at a time: all its fits draw from one random generator."""
    with _LIBLINEAR[0]:
        yield


class _Hidden:
    """One filter for all threads: the first one sets it, the last one takes it out again."""

    def __init__(self) -> None:
        self.forget()

    filters: list[Any]

    def forget(self) -> None:
        self.lock, self.users, self.filters, self.own = Lock(), 0, [], False

    def enter(self) -> None:
        with self.lock:
            if self.users == 0:
                self.own = _ENTRY not in warnings.filters
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.filters = warnings.filters  # type: ignore[assignment]
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0 and self.own:
                # Another list stands there while someone else's catch_warnings is open.
                for filters in (self.filters, warnings.filters):
                    if _ENTRY in filters:
                        filters.remove(_ENTRY)  # type: ignore[union-attr]
                self.filters = []


_ENTRY = ("ignore", None, ConvergenceWarning, None, 0)
_HIDDEN = _Hidden()
_LIBLINEAR = [Lock()]


def _after_fork() -> None:
    """In the child no other thread is left to give a lock back."""
    _HIDDEN.forget()
    _LIBLINEAR[0] = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
