"""Threads of BLAS while heads are fitted: one for SciPy's own, and one where more gain nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import scipy
from threadpoolctl import OpenBLASController, ThreadpoolController

SMALL = 4_000_000
"""Elements of the embeddings up to which a pass gains nothing from threads: they wait instead.

Beside other work on two cores, 2 000 x 256 took 16 times as long with two threads as with one."""


@contextmanager
def one_scipy_thread(size: int = SMALL + 1) -> Iterator[None]:
    """Keep SciPy's own BLAS to one thread while NumPy's does the passes."""
    # The optimiser's vectors are short, and two thread pools that take turns wait for each other: a
    # fit of 1600 x 1280 takes many times longer with both. Fits in several threads share one limit:
    # the first one sets it, and the last one puts back what it found.
    limits = [_LIMIT] if size > SMALL else [_LIMIT, _LIMIT_OF_ALL]
    for limit in limits:
        limit.enter()
    try:
        yield
    finally:
        for limit in reversed(limits):
            limit.leave()


def paths_of_scipy(libraries: Iterable[str]) -> list[str]:
    """Of these BLAS libraries, those that came inside SciPy's package and serve it alone."""
    # Not by their names: NumPy's own is called libscipy_openblas64_. Where both use one library, as
    # from conda or the system, there is one pool, no waiting, and nothing to limit.
    package = Path(scipy.__file__).resolve().parent
    homes = (package, package.with_name("scipy.libs"))
    return [
        path
        for path in libraries
        if any(Path(path).resolve().is_relative_to(home) for home in homes)
    ]


class _SharedLimit:
    """One limit for all fits of the process; threadpoolctl is not made for several threads."""

    # Each of its contexts restores what it saw on entry; of two that overlap, the second saw the
    # limit of the first, and would leave it behind for good. Its newer versions let one thread
    # alone set limits and ignore the others, so whoever sets or restores here takes that over.

    limiter: Any

    def __init__(self, controller: Callable[[], ThreadpoolController]) -> None:
        self.controller = controller
        self.forget()

    def forget(self) -> None:
        self.lock, self.fits, self.limiter = Lock(), 0, None

    def enter(self) -> None:
        with self.lock:
            if self.fits == 0:
                with _in_control():
                    self.limiter = self.controller().limit(limits=1)
            self.fits += 1

    def leave(self) -> None:
        with self.lock:
            self.fits -= 1
            if self.fits == 0:
                self.restore()

    def restore(self) -> None:
        with _in_control():
            self.limiter.restore_original_limits()
        self.limiter = None

    def after_fork(self) -> None:
        """In the child no fit is running: the threads that ran them stayed in the parent."""
        limiter = self.limiter
        self.forget()
        if limiter is not None:
            self.limiter = limiter
            self.restore()


@contextmanager
def _in_control() -> Iterator[None]:
    """Let this thread set limits, and afterwards any."""
    clear = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    clear(force=True)
    try:
        yield
    finally:
        clear(force=True)


@cache
def _blas() -> ThreadpoolController:
    blas = ThreadpoolController().select(user_api="blas")
    # With OpenMP a limit belongs to the thread that sets it, and the last fit could not lift it.
    paths = [
        lib.filepath
        for lib in blas.lib_controllers
        if getattr(lib, "threading_layer", "") != "openmp"
    ]
    return blas.select(filepath=paths)


@cache
def _blas_of_scipy() -> ThreadpoolController:
    paths = paths_of_scipy(lib.filepath for lib in _blas().lib_controllers)
    return _blas().select(filepath=paths)


_LIMIT, _LIMIT_OF_ALL = _SharedLimit(_blas_of_scipy), _SharedLimit(_blas)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIMIT_OF_ALL.after_fork)
    os.register_at_fork(after_in_child=_LIMIT.after_fork)
