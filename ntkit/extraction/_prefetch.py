"""Work done ahead in threads, its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetched"]

T = TypeVar("T")
R = TypeVar("R")
_MEMORY = 1 << 28  # bytes of finished work that may wait


def prefetched(
    function: Callable[[T], R],
    tasks: Iterable[T],
    *,
    workers: int,
    at_once: bool = False,
    size_of: Callable[[R], int] = lambda _: 0,
) -> Generator[R, None, None]:
    """Yield ``function(task)`` for every task in order, each computed once and ahead of its turn.

    An exception comes out in the turn of its task. Closing the generator ends the threads.

    Parameters
    ----------
    function : callable
        Called in the threads, several at a time.
    tasks : iterable
        Read a few tasks ahead.
    workers : int
        Most threads; 0 computes each task in its turn, in the caller's thread.
    at_once : bool
        Take all threads from the start, and not only as many as the caller does not wait for.
    size_of : callable
        Bytes of a result: what waits is kept under 256 MB, but for two results.

    Yields
    ------
    object
        The results.
    """
    if not workers:
        yield from map(function, tasks)
        return
    remaining, waiting = iter(tasks), deque[Future[R]]()
    ahead, most, begun = workers + 1 if at_once else 2, workers + 1, False
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ntkit-prepare")
    try:
        while True:
            while len(waiting) < ahead and (task := next(remaining, None)) is not None:
                waiting.append(pool.submit(function, task))
            if not waiting:
                return
            late = begun and not waiting[0].done()
            result, begun = waiting.popleft().result(), True
            most = max(2, min(workers + 1, _MEMORY // max(1, size_of(result))))
            # More at a time only where one is not enough: they take cores from the caller.
            ahead = min(ahead + late, most)
            yield result
            del result  # a batch less in memory while the next one is awaited
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
