"""Embeddings computed by Ray: actors on many cores, GPUs or machines, in the order of the rows."""

from __future__ import annotations

import copy
import logging
import mmap
import os
import pickle
import platform
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ntkit._need_ray import import_ray, start_ray, without_ray_warnings
from ntkit._types import Array
from ntkit.exceptions import DeviceError, InputError, NtkitError
from ntkit.inputs import ImageFiles, Texts

if TYPE_CHECKING:
    from ntkit.extraction._embedder import OnnxEmbedder


def shipped(X: Any) -> Any:
    """Samples as what is small to send, or is kept once for all processes of a machine."""
    if isinstance(X, Mapping):
        return {name: shipped(part) for name, part in X.items()}
    if isinstance(X, ImageFiles):
        files = map(os.path.abspath, X.paths)  # another process may stand in another folder
        return _changed(X, paths=_Packed(map(os.fsencode, files), len(X), _path))
    if isinstance(X, Texts):
        pack, unpack = (_pair_to_bytes, _pair) if X.paired else (_text_to_bytes, _text)
        texts = map(pack, X.texts)
        steps = X.preprocessing
        if steps.tokenizer is not None:
            steps = replace(steps, tokenizer=steps.tokenizer_path.absolute())
        return _changed(X, texts=_Packed(texts, len(X), unpack), preprocessing=steps)
    if isinstance(X, np.memmap):
        return _MappedFile.of(X) if _is_whole_file(X) else np.asarray(X)
    return X


def opened(X: Any) -> Any:
    """Turn what :func:`shipped` returned into samples again."""
    if isinstance(X, Mapping):
        return {name: opened(part) for name, part in X.items()}
    return X.open() if isinstance(X, _MappedFile) else X


class _Packed:
    """Many strings in two arrays: a slice gives a list of them."""

    # Arrays can be shared between the processes of a machine, and millions of objects cannot.

    def __init__(
        self, strings: Iterable[bytes], length: int, unpack: Callable[[bytes], Any]
    ) -> None:
        letters, self.ends = bytearray(), np.zeros(length + 1, np.int64)
        for i, string in enumerate(strings, start=1):
            letters += string
            self.ends[i] = len(letters)
        self.letters = np.frombuffer(letters, np.uint8)
        self.unpack = unpack

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: slice) -> list[Any]:
        rows = range(*index.indices(len(self)))
        return [self.unpack(self.letters[self.ends[i] : self.ends[i + 1]].tobytes()) for i in rows]


@dataclass(frozen=True)
class _MappedFile:
    """Where a memory map comes from."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    order: Any

    @classmethod
    def of(cls, X: np.memmap[Any, Any]) -> _MappedFile:
        order = "C" if X.flags.c_contiguous else "F"
        return cls(os.path.abspath(str(X.filename)), X.dtype, X.shape, X.offset, order)

    def open(self) -> Array:
        options = {"mode": "r", "offset": self.offset, "shape": self.shape, "order": self.order}
        try:
            return np.memmap(self.path, self.dtype, **options)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} cannot be read on {platform.node()} ({error}); put it where all "
                "machines of the cluster find it."
            ) from error


def _is_whole_file(X: np.memmap[Any, Any]) -> bool:
    """Whether this is what a file holds: no part of another map, and nothing written to it."""
    return X.mode == "r" and isinstance(X.base, mmap.mmap)


def _changed(X: Any, **fields: Any) -> Any:
    other = copy.copy(X)
    vars(other).update(fields)
    return other


def _path(name: bytes) -> Path:
    return Path(os.fsdecode(name))


def _text_to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def _pair_to_bytes(pair: tuple[str, str]) -> bytes:
    first, second = map(_text_to_bytes, pair)
    return b"%d:" % len(first) + first + second


def _pair(packed: bytes) -> tuple[str, str]:
    length, _, both = packed.partition(b":")
    return _text(both[: int(length)]), _text(both[int(length) :])


_TASK_ROWS = 4096  # enough that the first batch of a task, which nobody prepares ahead, is little
_TASKS_PER_ACTOR = 8  # so that the slowest actor keeps the others waiting for an eighth at most
_TRIES = 3  # Ray starts an actor again for ever, also where its rows end any process
_LOGGED = {  # Ray Data tells of each data set, and of progress bars that are switched off
    "ray.data._internal.execution.streaming_executor": logging.WARNING,
    "ray.data._internal.execution.streaming_executor_state": logging.CRITICAL,  # raised as well
    "ray.data._internal.progress": logging.ERROR,
}


@dataclass(frozen=True)
class Pool:
    """How many actors there are, and what each of them is given."""

    actors: int
    num_cpus: int
    num_gpus: int = 0


class RayEmbedder:
    """What :class:`~ntkit.OnnxEmbedder` does, done by Ray."""

    # Ray is started on first use, unless it runs already, and is left running as Ray's own
    # libraries leave it.

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self._ray = import_ray("The engine 'ray'")
        start_ray(self._ray)
        self._verbose = embedder.verbose
        self._on_gpu = _takes_gpu(embedder, self._nodes())
        sent = copy.copy(embedder)
        sent.model, sent.verbose = embedder.frozen_model, False
        self._pool = pool_for(self._nodes(), embedder.threads, self._on_gpu)
        if not self._on_gpu:
            sent.threads = self._pool.num_cpus
        self._embedder = self._ray.put(sent)
        self._sent: tuple[Any, Any] | None = None

    @cached_property
    def device_(self) -> str:
        """Where the actors' sessions run: "cuda", "tensorrt" or "cpu"."""
        device: str = self._asked(_device, self._embedder)
        return device

    def settings(self, X: Any) -> dict[str, int]:
        """Run settings, as :meth:`~ntkit.OnnxEmbedder.settings` finds them where actors run."""
        found: dict[str, int] = self._asked(_settings, self._embedder, self._samples(X))
        return found

    def iter_batches(
        self, X: Any, start: int, stop: int, settings: Mapping[str, int]
    ) -> Generator[Array, None, None]:
        """Yield the embeddings of consecutive samples, some windows at a time."""
        tasks = task_ranges(start, stop, settings["window"], self._pool.actors)
        progress = tqdm(
            total=stop,
            initial=start,
            unit=" samples",
            desc="embedding",
            delay=1,
            disable=None if self._verbose else True,
        )
        with _in_order(self._ray.data), _quiet(), progress:
            rows = iter(self._mapped(X, tasks, settings).iter_rows())
            # Closed by name: a traceback that holds this frame would keep the actors at work.
            with closing(rows):
                for begin, end in tasks:
                    row = self._next(rows)
                    if row is None or row["begin"] != begin:
                        raise DeviceError(
                            f"Ray did not return the samples {begin} to {end - 1} in their turn; "
                            "run the same command again, or use engine='local'."
                        )
                    batch = _told(pickle.loads(row["outcome"]))
                    progress.update(len(batch))
                    yield batch

    # -- inside -----------------------------------------------------------------------------

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _samples(self, X: Any) -> Any:
        """Reference to the samples in Ray's memory, where they are put once."""
        if self._sent is None or self._sent[0] is not X:
            self._sent = X, self._ray.put(shipped(X))
        return self._sent[1]

    def _asked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns on a machine of the cluster."""
        task = self._ray.remote(num_cpus=1, num_gpus=int(self._on_gpu))(function)
        return _told(self._ray.get(task.remote(*arguments)))

    def _mapped(self, X: Any, tasks: Sequence[tuple[int, int]], settings: Mapping[str, int]) -> Any:
        pool = self._pool
        data, items = self._ray.data, [{"begin": begin, "end": end} for begin, end in tasks]
        counter = self._ray.remote(num_cpus=0)(_Attempts).remote()
        with without_ray_warnings():
            return data.from_items(items, override_num_blocks=len(items)).map_batches(
                _Actor,
                # In a list they stay references, which outlive an actor that is started again.
                fn_constructor_args=([self._embedder, self._samples(X)], dict(settings), counter),
                batch_size=1,
                compute=data.ActorPoolStrategy(
                    min_size=1, max_size=pool.actors, initial_size=pool.actors
                ),
                num_cpus=pool.num_cpus,
                num_gpus=pool.num_gpus,
            )

    def _next(self, rows: Iterator[Any]) -> Any:
        errors = self._ray.exceptions
        try:
            with without_ray_warnings():
                return next(rows, None)
        except errors.RayTaskError:  # a mistake in code, whose place its traceback shows
            raise
        except errors.RayError as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise DeviceError(
                f"Ray lost the actors that compute embeddings: {reason}; look into Ray's logs, and "
                "run the same command again, which goes on where this one stopped."
            ) from error


def pool_for(nodes: Sequence[Mapping[str, float]], threads: int | None, on_gpu: bool) -> Pool:
    """Actors that fill a cluster: one per GPU, or per as many cores as an embedder has threads."""
    if on_gpu:
        return Pool(max(1, sum(int(node.get("GPU", 0)) for node in nodes)), 1, 1)
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]
    each = min(cores) if threads is None else min(threads, max(cores))
    return Pool(sum(n // each for n in cores), each)


def task_ranges(start: int, stop: int, window: int, actors: int) -> list[tuple[int, int]]:
    """Rows of each task: whole windows, several tasks for every actor."""
    fair = (stop - start) // (window * actors * _TASKS_PER_ACTOR)
    rows = window * max(1, min(_TASK_ROWS // window, fair))
    return [(begin, min(begin + rows, stop)) for begin in range(start, stop, rows)]


# -- in other processes -------------------------------------------------------------------------


class _Actor:
    """Keeps a session, and turns ranges of rows into embeddings."""

    def __init__(self, references: list[Any], settings: dict[str, int], attempts: Any) -> None:
        self.references = references
        self.settings = settings
        self.attempts = attempts

    def __call__(self, ranges: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        begin, end = int(ranges["begin"][0]), int(ranges["end"][0])
        outcome = _outcome(lambda: self._embeddings(begin, end))
        return {"begin": [begin], "outcome": [pickle.dumps(outcome)]}

    @cached_property
    def _inputs(self) -> tuple[OnnxEmbedder, Any]:
        embedder, X = import_ray("The engine 'ray'").get(self.references)
        return embedder, opened(X)

    def _embeddings(self, begin: int, end: int) -> Array:
        if import_ray("The engine 'ray'").get(self.attempts.begin.remote(begin)) > _TRIES:
            raise DeviceError(
                f"The process that embeds the samples {begin} to {end - 1} died {_TRIES} times, "
                "perhaps for lack of memory; take a smaller batch size, or look into Ray's logs."
            )
        embedder, X = self._inputs
        return np.concatenate([*embedder.iter_batches(X, begin, end, self.settings)])


class _Attempts:
    """Counts how often the work on rows was begun."""

    def __init__(self) -> None:
        self.counts = Counter[int]()

    def begin(self, row: int) -> int:
        self.counts[row] += 1
        return self.counts[row]


def _device(embedder: OnnxEmbedder) -> Any:
    return _outcome(lambda: embedder.device_)


def _settings(embedder: OnnxEmbedder, X: Any) -> Any:
    return _outcome(lambda: embedder.settings(opened(X)))


def _outcome(work: Callable[[], Any]) -> tuple[Any, list[str]]:
    """A result, or the error that ntkit raised on purpose, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            result = work()
        except NtkitError as error:
            result = error
    return result, [str(w.message) for w in caught if w.category is RuntimeWarning]


# -- in the caller's process --------------------------------------------------------------------


def _told(outcome: tuple[Any, list[str]]) -> Any:
    """Raise and warn here of what happened there."""
    result, warned = outcome
    for message in warned:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    if isinstance(result, NtkitError):
        raise result
    return result


def _takes_gpu(embedder: OnnxEmbedder, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether sessions run on GPUs: if they may, and the cluster has some."""
    if embedder.providers is not None:
        names = [p if isinstance(p, str) else p[0] for p in embedder.providers]
        wanted = any(name != "CPUExecutionProvider" for name in names)
    else:
        wanted = embedder.device != "cpu"
    there = any(node.get("GPU", 0) >= 1 for node in nodes)
    if embedder.providers is None and embedder.device in ("cuda", "tensorrt") and not there:
        raise DeviceError(
            f"device={embedder.device!r} was asked for, but the Ray cluster has no GPU; use "
            "device='cpu' or 'auto'."
        )
    return wanted and there


@contextmanager
def _in_order(data: Any) -> Iterator[None]:
    """Have Ray Data return results in order, and show no progress bars of its own."""
    with without_ray_warnings():
        options = data.DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,  # a task may take its time
    }
    before = {name: getattr(options, name) for name in wanted if hasattr(options, name)}
    in_order = options.execution_options.preserve_order
    try:
        options.execution_options.preserve_order = True
        for name in before:
            setattr(options, name, wanted[name])
        yield
    finally:
        options.execution_options.preserve_order = in_order
        for name, value in before.items():
            setattr(options, name, value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data's accounts of itself off the screen."""
    loggers = {logging.getLogger(name): level for name, level in _LOGGED.items()}
    before = {logger: logger.level for logger in loggers}
    try:
        for logger, level in loggers.items():
            logger.setLevel(level)
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
