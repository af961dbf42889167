"""Threads of BLAS while heads are fitted: one for SciPy's own, and one for small passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import scipy
from threadpoolctl import OpenBLASController, ThreadpoolController

from ntkit._shared_switch import SharedSwitch

SMALL = 4_000_000
"""Size of the embeddings below which threads do not speed up a pass.

With other programs running on two cores, 2 000 x 256 took 16 times as long with two threads as with
one."""


@contextmanager
def one_scipy_thread(size: int = SMALL + 1) -> Iterator[None]:
    """Keep SciPy's own BLAS to one thread while NumPy's computes the passes."""
    # The optimiser's vectors are short, and two alternating thread pools wait for each other: a fit
    # of 1600 x 1280 takes many times longer with both. Simultaneous fits share one limit: the first
    # fit sets it, and the last one restores the previous value.
    with _LIMIT(), nullcontext() if size > SMALL else _LIMIT_OF_ALL():
        yield


def paths_of_scipy(libraries: Iterable[str]) -> list[str]:
    """BLAS libraries that are part of SciPy's package and serve it alone."""
    # Names do not help: NumPy's own is called libscipy_openblas64_. If both use one library, as
    # from conda or the system, there is one pool, no waiting, and nothing to limit.
    package = Path(scipy.__file__).resolve().parent
    homes = (package, package.with_name("scipy.libs"))
    return [
        path
        for path in libraries
        if any(Path(path).resolve().is_relative_to(home) for home in homes)
    ]


@contextmanager
def _in_control() -> Iterator[None]:
    """Let this thread set limits, and any thread afterwards."""
    clear = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    clear(force=True)
    try:
        yield
    finally:
        clear(force=True)


@cache
def _blas(*, of_scipy: bool) -> ThreadpoolController:
    blas = ThreadpoolController().select(user_api="blas")
    # With OpenMP a limit belongs to the thread that sets it, so the last fit could not remove it.
    paths = [
        lib.filepath
        for lib in blas.lib_controllers
        if getattr(lib, "threading_layer", "") != "openmp"
    ]
    return blas.select(filepath=paths_of_scipy(paths) if of_scipy else paths)


def _limit(*, of_scipy: bool) -> SharedSwitch[Any]:
    """One limit for all fits of the process; threadpoolctl is not thread-safe."""
    # Each of its contexts restores the value that it saw on entry. If two overlap, the second one
    # saw the limit of the first, and would leave it in place. Newer versions let only one thread
    # set limits and ignore the others, so each thread that sets or restores here takes over that
    # right.

    def on() -> Any:
        with _in_control():
            return _blas(of_scipy=of_scipy).limit(limits=1)

    def off(limiter: Any) -> None:
        with _in_control():
            limiter.restore_original_limits()

    return SharedSwitch(on, off)


_LIMIT_OF_ALL, _LIMIT = _limit(of_scipy=False), _limit(of_scipy=True)
