"""Run a session over samples in batches, and check that each sample's output is its own."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from joblib import cpu_count
from onnx import TensorProto

from ntkit._process import progress_bar
from ntkit._types import Array
from ntkit.exceptions import DeviceError, InputError, ModelError, NtkitError
from ntkit.extraction.session import device_of, sent_to_gpu
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import name_of
from ntkit.samples.kinds import by_input, first_rows

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


@dataclass(frozen=True)
class Part:
    """Samples that run together; with their inputs once these are read."""

    begin: int
    end: int
    rows: Array | None = None
    window: Any = None
    feed: dict[str, Array] = field(default_factory=dict)
    sent: dict[str, Any] | None = None
    sent_rows: int = 0

    def __len__(self) -> int:
        return self.end - self.begin if self.rows is None else len(self.rows)

    @property
    def nbytes(self) -> int:
        """int: Bytes of the inputs."""
        return sum(array.nbytes for array in self.feed.values())


class SessionInputs:
    """Samples for a session, returned by windows of rows."""

    def __init__(self, session: Any, X: Any) -> None:
        self.specs = {spec.name: spec for spec in session.get_inputs()}
        if not self.specs:
            raise ModelError("The model's output depends on none of its inputs; export it again.")
        self.X = _selected(X, list(self.specs)) if isinstance(X, Mapping) else _array(X)
        parts = self.X if isinstance(self.X, dict) else {next(iter(self.specs)): self.X}
        for name, part in parts.items():
            if not hasattr(part, "__len__") or getattr(part, "shape", None) == ():
                raise InputError(
                    f"The model's input {name!r} needs an array with one row per sample; got "
                    f"{type(part).__name__}."
                )
        lengths = {len(part) for part in parts.values()}
        if len(lengths) > 1:
            raise InputError(
                "The arrays for the model's inputs differ in length; pass one row per sample in "
                "each."
            )
        self.n_samples = lengths.pop()
        sizes = (n for spec in self.specs.values() for n in spec.shape[:1])
        self.fixed_size = next((n for n in sizes if isinstance(n, int)), None)
        self.windowed = hasattr(self.X, "window")
        # Slices of an array in memory cost nothing; a memory map waits for the disk.
        self.instant = all(type(part) is np.ndarray for part in parts.values())

    def parts(self, window: tuple[int, int], batch_size: int) -> list[Part]:
        """Cut the rows of a window, from one to before another, into parts of at most this size."""
        # Texts, and other samples with lengths, are sorted by length, the longest first, so that a
        # lack of memory shows at once. Samples that must not be padded share a part only with
        # others of their length.
        begin, end = window
        cuts = range(0, end - begin, batch_size)
        if not self.windowed:
            return [Part(begin + i, min(begin + i + batch_size, end)) for i in cuts]
        texts = self.X.window(begin, end)  # type: ignore[union-attr]
        lengths, apart = np.asarray(texts.lengths), getattr(texts, "unpadded", False)
        order = np.argsort(-lengths, kind="stable")
        ends = np.flatnonzero(np.diff(lengths[order])) + 1 if apart else np.empty(0, np.intp)
        return [
            Part(begin, end, alike[i : i + batch_size], texts)
            for alike in np.split(order, ends)
            for i in range(0, len(alike), batch_size)
        ]

    def load(self, part: Part) -> Part:
        """Read the samples of a part."""
        if part.rows is None:
            values = by_input(self.X, lambda array: array[part.begin : part.end])
        else:
            values = part.window.batch(part.rows)
        names = list(self.specs)
        if isinstance(values, Mapping):
            values = _selected(values, names)
        elif len(names) == 1:
            values = {names[0]: values}
        else:
            raise InputError(f"The model has the inputs {names}; pass a mapping of arrays.")
        feed = {name: _cast(self.specs[name], values[name]) for name in names}
        for name, array in feed.items():
            if len(array) != len(part):
                raise InputError(
                    f"The samples gave {len(array)} rows for the model's input {name!r} instead of "
                    f"{len(part)}; return one row per sample."
                )
        return replace(part, feed=feed)


def shown_shape(shape: Sequence[Any]) -> str:
    """Write a shape as text, with ? for what is unknown."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def _selected(X: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    missing = [name for name in names if name not in X]
    if missing:
        raise InputError(
            f"The model also needs the input {missing[0]!r}, but the samples have {[*X]}. (For "
            "texts, TextPreprocessing.for_model(model) finds the inputs of a model.)"
        )
    return {name: _array(X[name]) for name in names}


def _array(values: Any) -> Any:
    if isinstance(values, list | tuple):
        return np.asarray(values)
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def _cast(spec: Any, values: Any) -> Array:
    array, wanted = np.asarray(values), spec.shape
    if spec.type == "tensor(string)" and array.ndim and array.size == len(array):
        array = array.reshape((-1, 1)[: len(wanted)])  # one of each sample, (N,) or (N, 1)
    fits = array.ndim == len(wanted) and all(
        not isinstance(want, int) or want == have
        for want, have in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"The model's input {spec.name!r} has shape {shown_shape(wanted)}, but the samples "
            f"have shape {shown_shape(('N', *array.shape[1:]))}; preprocess them as the model "
            "expects."
        )
    if spec.type not in _DTYPES:
        raise InputError(
            f"The model's input {spec.name!r} is a {spec.type}, which is not supported."
        )
    if spec.type == "tensor(string)":
        strings = np.ascontiguousarray(array, dtype=object)
        odd = next((value for value in strings.ravel() if not isinstance(value, str)), None)
        if odd is not None or array.dtype.kind not in "OUT":
            raise InputError(f"The model's input {spec.name!r} has texts; got {odd!r}.")
        return strings
    if array.dtype.kind not in "fiub":
        raise InputError(f"The model's input {spec.name!r} is numeric; got {array.dtype} values.")
    dtype = np.dtype(_DTYPES[spec.type])
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(array, dtype=dtype)
    if isinstance(array, np.memmap) and np.shares_memory(cast, array):
        cast = np.array(cast)  # read here, ahead in a thread, so that the session does not wait
    if dtype.kind != "f" and dtype != array.dtype and not np.array_equal(cast, array):
        raise InputError(
            f"The model's input {spec.name!r} has type {dtype}, which does not fit the samples "
            f"({array.dtype}, {array.min():g} to {array.max():g}); preprocess them as the model "
            "expects."
        )
    return cast


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
    """Yield ``function(task)`` for every task in order, computed once and ahead of time."""
    # An exception is raised at its task. Closing the generator ends the threads.
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
            # More threads only if one is not enough: they take cores from the caller.
            ahead = min(ahead + late, most)
            yield result
            del result  # one batch less in memory while waiting for the next
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


Run = tuple[Part, list[Array]]
BATCHES_PER_WINDOW = 64  # for texts: about 3 % of the computation is padding; 14 % with 16
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
    """Outputs of a session for consecutive samples, one batch or window at a time."""
    # The outputs of a sample have the same bytes in any part of a job. A lazy sequence returns an
    # array, or a mapping, for a slice; a windowed one has window(start, stop), whose batch(rows)
    # returns a mapping. Several threads read both ahead of the session. A session on a GPU sees
    # only one shape. If memory runs out, the batch size is halved with a RuntimeWarning.
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}.")
    inputs = SessionInputs(session, X)
    size, n_samples = inputs.fixed_size or batch_size, inputs.n_samples
    runner = _Runner(session, inputs, size, on_gpu, per_sample)
    window = window or size * (BATCHES_PER_WINDOW if inputs.windowed else 1)
    stop = n_samples if stop is None else min(stop, n_samples)
    windows = [
        (begin, min(begin + window, n_samples))
        for begin in range(start - start % window, stop, window)
    ]
    computed = _computed(runner, windows, size, streams)
    bar = progress_bar(
        shown=verbose, desc="running", total=n_samples, unit=" samples",
        initial=windows[0][0] if windows else start, leave=True,
    )  # fmt: skip
    with bar, closing(computed):
        for begin, end in windows:
            runs = list[Run]()
            while sum(len(part) for part, _ in runs) < end - begin:
                runs.append(next(computed))
                bar.update(len(runs[-1][0]))
            first, last = max(start, begin), min(stop, end)
            outputs = _joined([outputs for _, outputs in runs], [len(part) for part, _ in runs])
            order = [part.rows for part, _ in runs if part.rows is not None]
            if order:  # back into the order of the samples
                places, n = np.argsort(np.concatenate(order)), end - begin
                outputs = [o[places] if _is_per_row(o, n) else o for o in outputs]
            yield [_cut(o, end - begin, first - begin, last - begin) for o in outputs]


def _computed(
    runner: _Runner, windows: list[tuple[int, int]], size: int, streams: int
) -> Generator[Run, None, None]:
    """Outputs of each part in turn: read ahead of the session, or read and run in one thread."""
    inputs = runner.inputs
    cpus = cpu_count()  # a single core that also runs the session prepares nothing ahead
    workers = min(cpus, _MOST_WORKERS) if cpus > 1 or runner.on_gpu else 0
    ahead = 0 if inputs.instant and not runner.on_gpu else workers
    cut = partial(inputs.parts, batch_size=size)
    cuts = prefetched(cut, windows, workers=workers if inputs.windowed else 0)
    parts = (part for window in cuts for part in window)
    if streams > 1:
        runs = prefetched(
            lambda part: runner.run(runner.load(part)), parts, workers=streams, at_once=True
        )
        with closing(cuts), closing(runs):
            yield from runs
    else:
        loaded = prefetched(runner.load, parts, workers=ahead, size_of=lambda part: part.nbytes)
        with closing(cuts), closing(loaded):
            yield from map(runner.run, loaded)


@dataclass(eq=False)
class _Runner:
    """A session, and the batch size that fits into its memory."""

    session: Any
    inputs: SessionInputs
    size: int
    on_gpu: bool
    per_sample: bool

    def load(self, part: Part) -> Part:
        """Read a part, and copy it to the GPU if the session runs there."""
        part, size = self.inputs.load(part), self.size
        texts = any(array.dtype.hasobject for array in part.feed.values())  # the session copies it
        # A part is larger than the size after memory ran out; it is run in pieces.
        if not self.on_gpu or texts or len(part) > size:
            return part
        sent = sent_to_gpu(self.session, _padded(part.feed, size))
        return replace(part, sent=sent, sent_rows=size)

    def run(self, part: Part) -> Run:
        """Outputs for one part, in as many runs as memory requires."""
        parts, lengths, at = list[list[Array]](), list[int](), 0
        while at < len(part):
            piece = {name: array[at : at + self.size] for name, array in part.feed.items()}
            n_rows = len(next(iter(piece.values())))
            fits = at == 0 and part.sent_rows == self.size
            sent = part.sent if fits else None
            outputs = self._run(piece, sent, n_rows, f"samples {part.begin} to {part.end - 1}")
            if outputs is not None:
                parts.append(outputs)
                lengths.append(n_rows)
                at += n_rows
        # Outputs wait for those of their window; inputs need not.
        return replace(part, feed={}, sent=None), _joined(parts, lengths)

    def _run(
        self, feed: dict[str, Array], sent: dict[str, Any] | None, n_rows: int, which: str
    ) -> list[Array] | None:
        """Outputs of one run; None if memory ran out, after halving the size."""
        fixed = self.inputs.fixed_size is not None
        fed = self.size if self.on_gpu or fixed else n_rows
        try:
            if sent is not None:
                outputs = [o.numpy() for o in self.session.run_with_ort_values(None, sent)]
            else:
                outputs = [np.asarray(o) for o in self.session.run(None, _padded(feed, fed))]
        except Exception as error:  # ONNX Runtime's own exceptions have no other common base class
            message = str(error).lower()
            if not (isinstance(error, MemoryError) or any(m in message for m in _OUT_OF_MEMORY)):
                reason = str(error).strip().splitlines()[0].rstrip(".")
                if "Name:'ntkit" in reason:
                    raise ModelError(
                        "The model's outputs have other shapes than its file declares, so ntkit "
                        f"cannot read them; export it again. ({reason})"
                    ) from error
                raise InputError(
                    f"ONNX Runtime failed on {which}: {reason}; check these inputs."
                ) from error
            if fixed or self.size == 1:
                raise DeviceError(
                    f"Memory ran out on {which} with a batch of {fed}, the smallest possible; free "
                    "some memory, or use device='cpu'."
                ) from error
        else:
            bad = next((o for o in outputs if not _is_per_row(o, fed)), None)
            if self.per_sample and bad is not None:
                raise InputError(
                    f"The model turned {fed} samples into an output of shape {bad.shape}, not one "
                    "row per sample; name another tensor with --embedding NAME."
                )
            return [_cut(o, fed, 0, n_rows) for o in outputs]
        self.size = min(self.size, max(1, fed // 2))
        warnings.warn(
            f"Memory ran out on {which}; continuing with a batch size of {self.size}.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _is_per_row(output: Array, n_rows: int) -> bool:
    return output.ndim > 0 and len(output) == n_rows


def _cut(output: Array, n_rows: int, first: int, last: int) -> Array:
    whole = (first, last) == (0, n_rows) or not _is_per_row(output, n_rows)
    return output if whole else output[first:last]


def _joined(parts: list[list[Array]], lengths: list[int]) -> list[Array]:
    """Outputs of several runs, concatenated."""
    if len(parts) == 1:
        return parts[0]
    for pieces in zip(*parts, strict=True):
        apart = not all(map(_is_per_row, pieces, lengths))
        if apart or len({piece.shape[1:] for piece in pieces}) > 1:
            raise InputError(
                f"The model's outputs have the shapes {sorted({p.shape for p in pieces})[:3]} in "
                "different runs and cannot be joined with one row per sample; name another tensor "
                "with --embedding NAME."
            )
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _padded(feed: dict[str, Array], size: int) -> dict[str, Array]:
    """Repeat the last row until there are ``size`` rows."""
    missing = size - len(next(iter(feed.values())))
    if missing <= 0:
        return feed
    return {n: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for n, a in feed.items()}


_TRIED = 4  # samples

# Differences of one sample in two batches, relative to the largest value. Measured: 0 to 1e-5 for
# float32; up to 2e-2 for 8 bits whose range is that of the batch (DynamicQuantizeLinear).
_ROUNDING, _COARSE_ROUNDING = 1e-3, 0.2

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

_SMALLEST = 1e-3  # a largest value below it may be rounding itself


def check_steady(model: FrozenModel, session: Any, X: Any, batch_size: int) -> None:
    """Refuse a model whose output for a sample is random, or depends on others in its batch."""
    inputs, on_gpu = SessionInputs(session, X), device_of(session) != "cpu"
    size = inputs.fixed_size or max(2, batch_size)

    def run(some: Any) -> Array:
        batches = run_batches(session, some, batch_size=size, on_gpu=on_gpu, per_sample=True)
        return np.concatenate([embedding for embedding, *_ in batches])

    try:
        some = first_rows(inputs.X, _TRIED)
        n = len(next(iter(some.values())) if isinstance(some, dict) else some)
        rows = [by_input(some, lambda part, i=i: part[i : i + 1]) for i in range(n)]  # type: ignore[misc]
        if not rows:
            return
        alone, together, within = np.concatenate([run(row) for row in rows]), run(some), _ROUNDING
        if _differ(alone, together, within):
            weights = model.body().graph.initializer
            halves = any(tensor.data_type in _HALVES for tensor in weights)
            within = _COARSE_ROUNDING if halves or model.quantisation is not None else within
        if not _differ(alone, together, within):
            return
        random = size == 1 or _differ(together, run(some), within)  # of one, there are no others
    except NtkitError:  # the run of all samples says what is wrong
        return
    name = name_of(model, "The model")
    if random:
        raise ModelError(
            f"{name} gives a sample another output in each run, as dropout, random numbers or a "
            "batch norm in training mode do. Export it in evaluation mode."
        )
    raise ModelError(
        f"{name} gives a sample another output among other samples, as a mean over the batch "
        "does. Export it in evaluation mode, or for batches of one sample."
    )


def _differ(one: Array, other: Array, within: float) -> bool:
    """Whether outputs of most samples differ by more than rounding; one label may be a tie."""
    if one.shape != other.shape or not one.size:
        return False
    one, other = (each.reshape(len(each), -1).astype(np.float64) for each in (one, other))
    largest = max(_SMALLEST, np.abs(one).max(), np.abs(other).max())
    with np.errstate(invalid="ignore"):
        return bool((np.abs(one - other).max(axis=1) > within * largest).mean() >= 0.5)
