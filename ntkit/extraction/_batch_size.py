"""The fastest batch size, measured on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.extraction._batches import Inputs

__all__ = ["BATCH_SIZES", "fastest", "few_samples", "repeated"]

Feed = dict[str, NDArray[Any]]
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_AS_GOOD = 0.02
_HOPELESS = 1.5  # a size this much slower than the best is not timed again
_ROWS = 32
_MEMORY = 1 << 27  # bytes of the largest batch that is timed


def fastest(
    run: Callable[[int], object],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    *,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Batch size of the most rows per second.

    Every size is run in turn, round after round, so that what else the machine does meets all
    alike, and its fastest run counts. Sizes grow until time is up or two doublings bring nothing.

    Parameters
    ----------
    run : callable
        Called with a batch size, runs one batch, or one on every core at a time. An exception of
        it, such as for lack of memory, counts as infinitely slow.
    batch_sizes : sequence of int
        What to try, in growing order.
    seconds : float
        No run that is expected to end later than this begins, but the very first.
    clock : callable
        Tells the time in seconds.

    Returns
    -------
    int
        Of sizes within 2 % of the fastest, the smallest.

    Examples
    --------
    >>> from ntkit.extraction._batch_size import fastest
    >>> now = [0.0]
    >>> def run(batch_size):
    ...     now[0] += 0.01 + batch_size * 0.001
    >>> fastest(run, seconds=60, clock=lambda: now[0])
    256
    """
    begin = clock()
    best: dict[int, float] = {}  # seconds per row

    def timed(size: int) -> float:
        started = clock()
        try:
            run(size)
        except Exception:  # whatever it is: this size cannot be used
            return np.inf
        return (clock() - started) / size

    rates = list[float]()
    for size in batch_sizes:
        known = min(rates, default=np.inf)
        if known < np.inf and clock() + 2 * size * known > begin + seconds / 2:
            break  # the second half is for the rounds
        if rates and (np.isinf(rates[-1]) or _has_levelled(rates)):
            break
        rates.append(timed(size))
        if clock() < begin + seconds / 2:  # the first run of a shape also allocates
            rates[-1] = min(rates[-1], timed(size))
        best[size] = rates[-1]
    while True:
        bearable = _HOPELESS * min(best.values())
        left = [size for size, rate in best.items() if rate <= bearable < np.inf]
        duration = sum(best[size] * size for size in left)
        if duration <= 0 or clock() + duration > begin + seconds:
            break
        for size in left:
            best[size] = min(best[size], timed(size))
    limit = min(best.values()) * (1 + _AS_GOOD)
    return min(size for size, rate in best.items() if rate <= limit)


def few_samples(inputs: Inputs) -> Feed:
    """The first samples; of those with lengths, one of the median length."""
    rows = min(_ROWS * (8 if inputs.windowed else 1), inputs.n_samples)
    parts = inputs.parts(0, rows, 1 if inputs.windowed else rows)
    return inputs.load(parts[len(parts) // 2]).feed


def repeated(feed: Feed, n_samples: int) -> dict[int, Feed]:
    """Batches of every size up to ``n_samples``: they cost the same whatever the samples are."""
    rows = len(next(iter(feed.values())))
    row_bytes = sum(array.nbytes for array in feed.values()) // rows
    most = min(n_samples, _MEMORY // max(1, row_bytes))
    sizes = [size for size in BATCH_SIZES if size <= most] or [BATCH_SIZES[0]]
    return {n: {name: a[np.arange(n) % rows] for name, a in feed.items()} for n in sizes}


def _has_levelled(rates: Sequence[float]) -> bool:
    return len(rates) > 2 and min(rates[-2:]) > rates[-3] * (1 - _AS_GOOD)
