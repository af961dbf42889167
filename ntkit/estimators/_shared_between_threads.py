"""What scikit-learn's fits share between threads: the filters of warnings, liblinear's dice."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from ntkit._shared_switch import SharedSwitch

_ENTRY = ("ignore", None, ConvergenceWarning, None, 0)


def without_convergence_warnings() -> AbstractContextManager[None]:
    """Hide that a fit did not converge, while any thread asks for that."""
    # `warnings.catch_warnings` puts back the list of filters it found: of two threads that overlap,
    # the second found the first one's, and would leave it behind for good.
    return _HIDDEN()


@contextmanager
def alone_with_liblinear() -> Iterator[None]:
    """Fit with liblinear in one thread at a time: all its fits draw from one random generator."""
    with _LIBLINEAR[0]:
        yield


def _hide() -> Any:
    """The list of filters that one was added to; None where it was there already."""
    own = _ENTRY not in warnings.filters
    warnings.simplefilter("ignore", ConvergenceWarning)
    return warnings.filters if own else None


def _show(changed: Any) -> None:
    # Another list stands there while someone else's catch_warnings is open.
    for filters in () if changed is None else (changed, warnings.filters):
        if _ENTRY in filters:
            filters.remove(_ENTRY)  # type: ignore[union-attr]


_HIDDEN = SharedSwitch(_hide, _show)
_LIBLINEAR = [Lock()]


def _renew_lock() -> None:
    """In a forked child no other thread is left to give the lock back."""
    _LIBLINEAR[0] = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
