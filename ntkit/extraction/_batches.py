"""Samples as what a session takes: checked, cast and cut into batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._types import Array
from ntkit.exceptions import InputError, ModelError
from ntkit.samples import by_input

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
    """Samples that are to run together, not read yet."""

    begin: int
    end: int
    rows: Array | None = None
    window: Any = None

    def __len__(self) -> int:
        return self.end - self.begin if self.rows is None else len(self.rows)


@dataclass(frozen=True)
class Batch:
    """What one run of the session is fed."""

    part: Part
    feed: dict[str, Array]
    sent: dict[str, Any] | None = None
    sent_rows: int = 0

    @property
    def nbytes(self) -> int:
        """int: Bytes of the arrays."""
        return sum(array.nbytes for array in self.feed.values())


class Inputs:
    """Samples for a session, given a window of rows at a time."""

    def __init__(self, session: Any, X: Any) -> None:
        self.specs = {spec.name: spec for spec in session.get_inputs()}
        if not self.specs:
            raise ModelError("What the model computes depends on none of its inputs.")
        self.X = _selected(X, list(self.specs)) if isinstance(X, Mapping) else _array(X)
        parts = self.X if isinstance(self.X, dict) else {next(iter(self.specs)): self.X}
        self.n_samples = _common_length(parts)
        sizes = (n for spec in self.specs.values() for n in spec.shape[:1])
        self.fixed_size = next((n for n in sizes if isinstance(n, int)), None)
        self.windowed = hasattr(self.X, "window")
        # Slices of an array in memory cost nothing; a memory map waits for the disk.
        self.instant = all(type(part) is np.ndarray for part in parts.values())

    def parts(self, begin: int, end: int, batch_size: int) -> list[Part]:
        """Cut the rows ``begin`` to ``end`` - 1 into parts of at most ``batch_size`` rows."""
        # Texts, and whatever else knows its lengths, come sorted by length: the longest first, so
        # that memory is at its peak at once or never. Those that must not be padded share a part
        # with others of their length only.
        cuts = range(0, end - begin, batch_size)
        if not self.windowed:
            return [Part(begin + i, min(begin + i + batch_size, end)) for i in cuts]
        window = self.X.window(begin, end)  # type: ignore[union-attr]
        lengths, apart = np.asarray(window.lengths), getattr(window, "unpadded", False)
        order = np.argsort(-lengths, kind="stable")
        ends = np.flatnonzero(np.diff(lengths[order])) + 1 if apart else np.empty(0, np.intp)
        return [
            Part(begin, end, alike[i : i + batch_size], window)
            for alike in np.split(order, ends)
            for i in range(0, len(alike), batch_size)
        ]

    def load(self, part: Part) -> Batch:
        """Read the samples of a part."""
        if part.rows is None:
            values = by_input(self.X, lambda array: array[part.begin : part.end])
        else:
            values = part.window.batch(part.rows)
        return Batch(part, self._checked(values, len(part)))

    def _checked(self, values: Any, n_rows: int) -> dict[str, Array]:
        names = list(self.specs)
        if isinstance(values, Mapping):
            values = _selected(values, names)
        elif len(names) == 1:
            values = {names[0]: values}
        else:
            raise InputError(f"The model has the inputs {names}; pass a mapping of arrays.")
        feed = {name: _cast(self.specs[name], values[name]) for name in names}
        for name, array in feed.items():
            if len(array) != n_rows:
                raise InputError(
                    f"The samples gave {len(array)} rows for the model's input {name!r} where "
                    f"{n_rows} were asked for."
                )
        return feed


def shown_shape(shape: Sequence[Any]) -> str:
    """Write a shape as text, with ? for what is unknown."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def _selected(X: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    missing = [name for name in names if name not in X]
    if missing:
        raise InputError(
            f"The model also needs the input {missing[0]!r}; the samples give {[*X]}. (For texts, "
            "TextPreprocessing.for_model(model) finds what a model needs.)"
        )
    return {name: _array(X[name]) for name in names}


def _array(values: Any) -> Any:
    if isinstance(values, list | tuple):
        return np.asarray(values)
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def _common_length(parts: dict[str, Any]) -> int:
    for name, part in parts.items():
        if not hasattr(part, "__len__") or getattr(part, "shape", None) == ():
            raise InputError(
                f"The model's input {name!r} needs an array with one row per sample; got "
                f"{type(part).__name__}."
            )
    lengths = {len(part) for part in parts.values()}
    if len(lengths) > 1:
        raise InputError("The arrays for the model's inputs differ in length.")
    return lengths.pop()


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
        return _as_strings(spec, array)
    if array.dtype.kind not in "fiub":
        raise InputError(f"The model's input {spec.name!r} is numeric; got {array.dtype} values.")
    dtype = np.dtype(_DTYPES[spec.type])
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(array, dtype=dtype)
    if isinstance(array, np.memmap) and np.shares_memory(cast, array):
        cast = np.array(cast)  # read here, ahead in a thread, and not while the session waits
    if dtype.kind != "f" and dtype != array.dtype and not np.array_equal(cast, array):
        raise InputError(
            f"The model's input {spec.name!r} takes {dtype} values, which the samples "
            f"({array.dtype}, {array.min():g} to {array.max():g}) are not; preprocess them as the "
            "model expects."
        )
    return cast


def _as_strings(spec: Any, array: Array) -> Array:
    strings = np.ascontiguousarray(array, dtype=object)
    odd = next((value for value in strings.ravel() if not isinstance(value, str)), None)
    if odd is not None or array.dtype.kind not in "OUT":
        raise InputError(f"The model's input {spec.name!r} takes texts; got {odd!r}.")
    return strings


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
    """Batch size of the most rows per second."""
    # Every size is run in turn, round after round, so that what else the machine does meets all
    # alike, and its fastest run counts. Sizes grow until time is up or two doublings bring nothing.
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
        levelled = len(rates) > 2 and min(rates[-2:]) > rates[-3] * (1 - _AS_GOOD)
        if levelled or (rates and np.isinf(rates[-1])):
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
