"""SciPy's own BLAS kept to one thread while heads are fitted, whatever fits run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import scipy
from threadpoolctl import OpenBLASController, ThreadpoolController

__all__ = ["one_scipy_thread", "paths_of_scipy"]


@contextmanager
def one_scipy_thread() -> Iterator[None]:
    """Keep SciPy's own BLAS to one thread while NumPy's does the passes.

    The optimiser's vectors are short, and two thread pools that take turns wait for each other:
    a fit of 1600 x 1280 takes many times longer with both. Fits in several threads share one
    limit: the first one sets it, and the last one puts back what it found.
    """
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


def paths_of_scipy(libraries: Iterable[str]) -> list[str]:
    """Of these BLAS libraries, those that came inside SciPy's package and serve it alone.

    Not by their names: NumPy's own is called libscipy_openblas64_. Where both use one library,
    as from conda or the system, there is one pool, no waiting, and nothing to limit.

    Parameters
    ----------
    libraries : iterable of str
        Paths of loaded libraries.

    Returns
    -------
    list of str

    Examples
    --------
    >>> paths_of_scipy(["/usr/lib/libopenblas.so", "/env/numpy.libs/libscipy_openblas64_.so"])
    []
    """
    package = Path(scipy.__file__).resolve().parent
    homes = (package, package.with_name("scipy.libs"))
    return [
        path
        for path in libraries
        if any(Path(path).resolve().is_relative_to(home) for home in homes)
    ]


class _SharedLimit:
    """One limit for all fits of the process: threadpoolctl's own is not made for several threads.

    Each of its contexts restores what it saw on entry; of two that overlap, the second saw the
    limit of the first, and would leave it behind for good. Its newer versions let one thread
    alone set limits and ignore the others, so whoever sets or restores here takes that over.
    """

    limiter: Any

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.lock, self.fits, self.limiter = Lock(), 0, None

    def enter(self) -> None:
        with self.lock:
            if self.fits == 0:
                with _in_control():
                    self.limiter = _blas_of_scipy().limit(limits=1)
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


_LIMIT = _SharedLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIMIT.after_fork)


@cache
def _blas_of_scipy() -> ThreadpoolController:
    blas = ThreadpoolController().select(user_api="blas")
    # With OpenMP a limit belongs to the thread that sets it, and the last fit could not lift it.
    paths = [
        lib.filepath
        for lib in blas.lib_controllers
        if getattr(lib, "threading_layer", "") != "openmp"
    ]
    return blas.select(filepath=paths_of_scipy(paths))
