"""Run a session over samples, batch by batch, the next ones prepared meanwhile."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from ntkit._types import Array
from ntkit.exceptions import DeviceError, InputError
from ntkit.extraction._batches import Batch, Inputs, Part
from ntkit.extraction._session import available_cpus, sent_to_gpu

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
    """Yield ``function(task)`` for every task in order, computed once and ahead of its turn."""
    # An exception comes out in the turn of its task. Closing the generator ends the threads.
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


Run = tuple[Part, list[Array]]
BATCHES_PER_WINDOW = 64  # of texts: about 3 % of what is computed is padding; 14 % with 16
_MOST_WORKERS = 8
_OUT_OF_MEMORY = (
    "failed to allocate memory",
    "smaller than requested bytes",
    "alloc_failed",
    "out of memory",
    "out_of_memory",
    "bad_alloc",
    "bad allocation",
)


def run_batches(
    session: Any,
    X: Any,
    *,
    batch_size: int = 64,
    start: int = 0,
    stop: int | None = None,
    window: int | None = None,
    on_gpu: bool = False,
    streams: int = 1,
    verbose: bool = False,
    per_sample: bool = False,
) -> Generator[list[Array], None, None]:
    """Yield the session's outputs for consecutive samples, a batch or a window at a time.

    Batches are cut at multiples of the window, counted from sample 0 whatever ``start`` and
    ``stop`` are: the outputs of a sample are the same bytes in any part of a job. Parts that
    begin and end at multiples of the window compute nothing twice.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        What to run.
    X : array-like, lazy sequence, mapping of str to these, or windowed sequence
        Model inputs. A lazy sequence has a length and gives an array, or a mapping of arrays,
        for a slice; a mapping holds one entry per input of a model with several. A windowed
        sequence has a length, and its ``window(start, stop)`` gives an object with the
        ``lengths`` of these samples and ``batch(rows)``, which makes a mapping of arrays of some
        of them. Slices and windows are taken in several threads at a time, ahead of the session.
    batch_size : int
        Samples per run; a model with a fixed batch size keeps its own, and the last batch is
        padded. It is halved when memory runs out.
    start, stop : int
        First sample, and the one after the last; None for the end of X.
    window : int, optional
        Samples that are prepared together, and sorted by length if X is windowed; the default
        is 64 batches then, else one.
    on_gpu : bool
        Whether the session runs on a GPU: every batch is padded to ``batch_size``, so that it
        sees one shape only, and copied to it while the one before is computed.
    streams : int
        Batches that run at a time, in threads; for a session that takes a single thread for each.
    verbose : bool
        Show a progress bar when it takes longer than a second.
    per_sample : bool
        Whether every output must have one row per sample.

    Yields
    ------
    list of ndarray
        The outputs for the next samples, in the session's order.

    Raises
    ------
    InputError
        If the samples do not fit the model's inputs, or an output its samples.
    ModelError
        If the model has no inputs.
    DeviceError
        If memory runs out on a single sample, or on a batch of fixed size.

    Warns
    -----
    RuntimeWarning
        If memory runs out and the batch size is halved.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.extraction import make_session, run_batches
    >>> session = make_session(str(marked_digits_model_path()), device="cpu")
    >>> X = np.zeros((5, 1, 20, 20), dtype=np.float32)
    >>> [logits.shape for (logits,) in run_batches(session, X, batch_size=2)]
    [(2, 2), (2, 2), (1, 2)]
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}.")
    inputs = Inputs(session, X)
    runner = _Runner(session, inputs, batch_size, on_gpu, per_sample)
    size, n_samples = runner.cut, inputs.n_samples
    window = window or size * (BATCHES_PER_WINDOW if inputs.windowed else 1)
    stop = n_samples if stop is None else min(stop, n_samples)
    windows = [
        (begin, min(begin + window, n_samples))
        for begin in range(start - start % window, stop, window)
    ]
    computed = _computed(runner, inputs, windows, streams)
    progress = tqdm(
        total=n_samples,
        initial=windows[0][0] if windows else start,
        unit=" samples",
        desc="embedding",
        delay=1,
        disable=None if verbose else True,
    )
    with progress, closing(computed):
        for begin, end in windows:
            runs = list[Run]()
            while sum(len(part) for part, _ in runs) < end - begin:
                runs.append(next(computed))
                progress.update(len(runs[-1][0]))
            first, last = max(start, begin), min(stop, end)
            yield [_cut(o, end - begin, first - begin, last - begin) for o in _in_order(runs)]


def _computed(
    runner: _Runner, inputs: Inputs, windows: list[tuple[int, int]], streams: int
) -> Generator[Run, None, None]:
    """Outputs of each part in turn: read ahead of the session, or read and run in one thread."""
    cpus = available_cpus()  # a single core that also runs the session prepares nothing ahead
    workers = min(cpus, _MOST_WORKERS) if cpus > 1 or runner.on_gpu else 0
    with closing(
        prefetched(
            lambda rows: inputs.parts(*rows, runner.cut),
            windows,
            workers=workers if inputs.windowed else 0,
        )
    ) as cut:
        parts = (part for window in cut for part in window)
        if streams > 1:
            with closing(
                prefetched(
                    lambda part: runner.run(runner.load(part)), parts, workers=streams, at_once=True
                )
            ) as runs:
                yield from runs
            return
        ahead = 0 if inputs.instant and not runner.on_gpu else workers
        with closing(
            prefetched(runner.load, parts, workers=ahead, size_of=lambda batch: batch.nbytes)
        ) as batches:
            yield from map(runner.run, batches)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of ONNX Runtime says that memory ran out."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(mark in message for mark in _OUT_OF_MEMORY)


class _Runner:
    """A session, and the batch size that its memory bears."""

    def __init__(
        self, session: Any, inputs: Inputs, batch_size: int, on_gpu: bool, per_sample: bool
    ) -> None:
        self.session = session
        self.inputs = inputs
        self.fixed = inputs.fixed_size is not None
        self.cut: int = inputs.fixed_size or batch_size
        self.size = self.cut
        self.on_gpu = on_gpu
        self.pad = on_gpu or self.fixed
        self.per_sample = per_sample

    def load(self, part: Part) -> Batch:
        """Read a part, and copy it to the GPU if the session runs there."""
        batch, size = self.inputs.load(part), self.size
        texts = any(array.dtype.hasobject for array in batch.feed.values())  # the session copies
        if not self.on_gpu or texts or len(part) > size:  # to run in pieces, after memory ran out
            return batch
        sent = sent_to_gpu(self.session, _padded(batch.feed, size))
        return replace(batch, sent=sent, sent_rows=size)

    def run(self, batch: Batch) -> Run:
        """Outputs for one batch, in as many runs as memory needs."""
        part, parts, lengths, at = batch.part, list[list[Array]](), list[int](), 0
        while at < len(part):
            piece = {name: array[at : at + self.size] for name, array in batch.feed.items()}
            n_rows = len(next(iter(piece.values())))
            fits = at == 0 and batch.sent_rows == self.size
            sent = batch.sent if fits else None
            outputs = self._run(piece, sent, n_rows, f"samples {part.begin} to {part.end - 1}")
            if outputs is not None:
                parts.append(outputs)
                lengths.append(n_rows)
                at += n_rows
        return part, _joined(parts, lengths)

    def _run(
        self, feed: dict[str, Array], sent: dict[str, Any] | None, n_rows: int, which: str
    ) -> list[Array] | None:
        """Outputs of one run; None if memory ran out, and the size is halved."""
        fed = self.size if self.pad else n_rows
        try:
            outputs = self._outputs(_padded(feed, fed), sent)
        except Exception as error:  # ONNX Runtime's own exceptions share no other base class
            if not is_out_of_memory(error):
                reason = str(error).strip().splitlines()[0].rstrip(".")
                raise InputError(
                    f"ONNX Runtime failed on {which}: {reason}; check these inputs."
                ) from error
            if self.fixed or self.size == 1:
                raise DeviceError(
                    f"Memory ran out on {which} with a batch of {fed}, the smallest there is; free "
                    "some memory, or use device='cpu'."
                ) from error
        else:
            return self._checked(outputs, fed, n_rows)
        self.size = min(self.size, max(1, fed // 2))
        warnings.warn(
            f"Memory ran out on {which}; going on with a batch size of {self.size}.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None

    def _outputs(self, feed: dict[str, Array], sent: dict[str, Any] | None) -> list[Array]:
        if sent is not None:
            return [output.numpy() for output in self.session.run_with_ort_values(None, sent)]
        return [np.asarray(output) for output in self.session.run(None, feed)]

    def _checked(self, outputs: list[Array], fed: int, n_rows: int) -> list[Array]:
        bad = next((o for o in outputs if not _is_per_row(o, fed)), None)
        if self.per_sample and bad is not None:
            raise InputError(
                f"The model turned {fed} samples into an output of shape {bad.shape}, not one "
                "row per sample; name another tensor with --embedding NAME."
            )
        return [_cut(o, fed, 0, n_rows) for o in outputs]


def _in_order(runs: list[Run]) -> list[Array]:
    """Outputs for the samples of a window, in the order of the samples."""
    outputs = _joined([outputs for _, outputs in runs], [len(part) for part, _ in runs])
    order = [part.rows for part, _ in runs if part.rows is not None]
    if not order:
        return outputs
    places = np.argsort(np.concatenate(order))
    return [o[places] if _is_per_row(o, len(places)) else o for o in outputs]


def _is_per_row(output: Array, n_rows: int) -> bool:
    return output.ndim > 0 and len(output) == n_rows


def _cut(output: Array, n_rows: int, first: int, last: int) -> Array:
    whole = (first, last) == (0, n_rows) or not _is_per_row(output, n_rows)
    return output if whole else output[first:last]


def _joined(parts: list[list[Array]], lengths: list[int]) -> list[Array]:
    """Outputs of several runs as those of one."""
    if len(parts) == 1:
        return parts[0]
    for pieces in zip(*parts, strict=True):
        apart = not all(map(_is_per_row, pieces, lengths))
        if apart or len({piece.shape[1:] for piece in pieces}) > 1:
            raise InputError(
                f"The model's outputs have the shapes {sorted({p.shape for p in pieces})[:3]} in "
                "different runs and cannot be put together, one row per sample; name another "
                "tensor with --embedding NAME."
            )
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _padded(feed: dict[str, Array], size: int) -> dict[str, Array]:
    """Repeat the last row until there are ``size``."""
    missing = size - len(next(iter(feed.values())))
    if missing <= 0:
        return feed
    return {n: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for n, a in feed.items()}
