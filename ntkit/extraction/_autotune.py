"""The fastest batch size and thread count, measured on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.extraction._inputs import Inputs

__all__ = ["BATCH_SIZES", "fastest", "few_samples", "repeated", "thread_counts"]

Feed = dict[str, NDArray[Any]]
BATCH_SIZES = (8, 16, 32, 64, 128, 256)
_AS_GOOD = 0.02
_HOPELESS = 1.5  # a setting this much slower than the best is not timed again
_ROWS = 32
_MEMORY = 1 << 27  # bytes of the largest batch that is timed
Setting = tuple[int, int]


def fastest(
    run: Callable[[int, int], object],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: Sequence[int] = (1,),
    *,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Setting:
    """Batch size and thread count of the most rows per second.

    Every setting is run in turn, round after round, so that what else the machine does meets all
    alike, and its fastest run counts. Sizes grow until time is up or two doublings bring nothing.

    Parameters
    ----------
    run : callable
        Called with a batch size and a thread count, runs one batch. An exception of it, such as
        for lack of memory, counts as infinitely slow.
    batch_sizes, threads : sequence of int
        What to try, in growing order.
    seconds : float
        No run that is expected to end later than this begins, but the very first.
    clock : callable
        Tells the time in seconds.

    Returns
    -------
    batch_size, threads : int
        Of settings within 2 % of the fastest, the smaller batch.

    Examples
    --------
    >>> from ntkit.extraction._autotune import fastest
    >>> now = [0.0]
    >>> def run(batch_size, threads):
    ...     now[0] += 0.01 + batch_size * 0.001 / threads
    >>> fastest(run, threads=(1, 2), seconds=60, clock=lambda: now[0])
    (256, 2)
    """
    begin = clock()
    best: dict[Setting, float] = {}  # seconds per row

    def timed(setting: Setting) -> float:
        started = clock()
        try:
            run(*setting)
        except Exception:  # whatever it is: this setting cannot be used
            return np.inf
        return (clock() - started) / setting[0]

    for turn, count in enumerate(sorted(threads, reverse=True), start=1):
        until = begin + seconds * turn / (len(threads) + 1)  # the last share is for the rounds
        rates = list[float]()
        for size in batch_sizes:
            known = min(rates or best.values(), default=np.inf)
            if known < np.inf and clock() + 2 * size * known > until:
                break
            if rates and (np.isinf(rates[-1]) or _has_levelled(rates)):
                break
            rates.append(timed((size, count)))
            if clock() < until:  # the first run of a shape also allocates
                rates[-1] = min(rates[-1], timed((size, count)))
            best[size, count] = rates[-1]
    while True:
        bearable = _HOPELESS * min(best.values())
        left = [s for s, rate in best.items() if rate <= bearable < np.inf]
        duration = sum(best[s] * s[0] for s in left)
        if duration <= 0 or clock() + duration > begin + seconds:
            break
        for setting in left:
            best[setting] = min(best[setting], timed(setting))
    limit = min(best.values()) * (1 + _AS_GOOD)
    return min((s for s, rate in best.items() if rate <= limit), key=lambda s: (s[0], best[s]))


def thread_counts(cpus: int) -> tuple[int, ...]:
    """One, half of the cores and all of them."""
    return tuple(sorted({1, max(1, cpus // 2), cpus}))


def few_samples(inputs: Inputs) -> Feed:
    """The first samples; of those with lengths, one of the median length."""
    rows = min(_ROWS * (8 if inputs.windowed else 1), inputs.n_samples)
    batches = inputs.prepare(0, rows, 1 if inputs.windowed else rows)
    return batches[len(batches) // 2].feed


def repeated(feed: Feed, n_samples: int) -> dict[int, Feed]:
    """Batches of every size worth trying: it costs the same whatever the samples are."""
    rows = len(next(iter(feed.values())))
    row_bytes = sum(array.nbytes for array in feed.values()) // rows
    most = min(n_samples, _MEMORY // max(1, row_bytes))
    sizes = [size for size in BATCH_SIZES if size <= most] or [BATCH_SIZES[0]]
    return {n: {name: a[np.arange(n) % rows] for name, a in feed.items()} for n in sizes}


def _has_levelled(rates: Sequence[float]) -> bool:
    return len(rates) > 2 and min(rates[-2:]) > rates[-3] * (1 - _AS_GOOD)
