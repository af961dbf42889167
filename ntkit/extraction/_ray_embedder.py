"""Ray embeds parts of the samples on many cores, GPUs or machines at once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np

from ntkit._extras import MappedFile, import_ray, start_ray
from ntkit._process import progress_bar
from ntkit._types import Array
from ntkit.exceptions import DeviceError, NtkitError
from ntkit.samples.kinds import by_input

_PART_ROWS = 4096  # at most, so that little is lost if an actor dies
_PARTS_PER_ACTOR = 8  # at least, so that the others wait little for the slowest actor
_TRIES = 3
_ENGINE = "The engine 'ray'"


class RayEmbedder:
    """Embeds like an OnnxEmbedder, in Ray actors: one per GPU, or per machine."""

    # Ray is started on first use, unless it is running, and keeps running, as with Ray's own
    # libraries. The embedder is an OnnxEmbedder, whose module imports this one.

    def __init__(self, embedder: Any) -> None:
        self._ray = import_ray(_ENGINE)
        start_ray(self._ray)
        self._verbose = embedder.verbose
        sent = copy.copy(embedder)
        sent.model, sent.verbose = embedder.frozen_model, False
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if _takes_gpu(embedder, nodes):
            self._n_actors = max(1, sum(int(node.get("GPU", 0)) for node in nodes))
            self._resources = {"num_cpus": 1, "num_gpus": 1}
        else:
            self._n_actors, sent.threads = actors_for(nodes, embedder.threads)
            self._resources = {"num_cpus": sent.threads}
        self._embedder = self._ray.put(sent)
        self._actors = list[Any]()
        self._samples: tuple[Any, Any] = None, None

    @cached_property
    def device_(self) -> str:
        """Device of the actors' sessions: "cuda", "tensorrt" or "cpu"."""
        return str(self._result(self._pool(1)[0].device.remote()))

    def settings(self, X: Any) -> dict[str, int]:
        """Run settings, as :meth:`~ntkit.OnnxEmbedder.settings` returns them where actors run."""
        return dict(self._result(self._pool(1)[0].settings.remote(self._reference(X))))

    def iter_batches(
        self, X: Any, start: int, stop: int, settings: Mapping[str, int]
    ) -> Generator[Array, None, None]:
        """Yield the embeddings of consecutive samples, a part at a time."""
        # `start` is a multiple of the window. The embedder's errors are raised at the samples that
        # caused them.
        parts = parts_of(start, stop, settings["window"], self._n_actors)
        waiting, results, busy = iter(parts), dict[Any, Any](), dict[Any, Any]()

        def give_work(actor: Any) -> None:
            for part in islice(waiting, 1):
                results[part] = actor.embed.remote(*part, self._reference(X), dict(settings))
                busy[results[part]] = actor

        bar = progress_bar(
            shown=self._verbose, desc="embedding", total=stop, unit=" samples", initial=start,
            leave=True,
        )  # fmt: skip
        try:
            for actor in self._pool(min(self._n_actors, len(parts))):
                give_work(actor)
            with bar:
                for part in parts:
                    while results[part] in busy:
                        ready, _ = self._ray.wait([*busy], num_returns=1)
                        give_work(busy.pop(ready[0]))
                    begin, end = part
                    batch = self._result(results.pop(part), f"samples {begin} to {end - 1}")
                    bar.update(len(batch))
                    yield batch
        finally:  # a traceback with this frame would keep them running
            while self._actors:
                self._ray.kill(self._actors.pop())

    def _pool(self, size: int) -> Sequence[Any]:
        """Processes of the cluster, which Ray restarts if they die, and their part."""
        remote = self._ray.remote(**self._resources, max_restarts=-1, max_task_retries=_TRIES - 1)
        while len(self._actors) < size:
            self._actors.append(remote(_Actor).remote([self._embedder]))
        return self._actors[:size]

    def _reference(self, X: Any) -> list[Any]:
        """Samples in Ray's memory, which are put there once; in a list they remain a reference."""

        def sent(part: Any) -> Any:  # to another working folder: memory-mapped files by path
            if hasattr(part, "with_absolute_paths"):
                return part.with_absolute_paths()
            mapped = isinstance(part, np.memmap)
            return MappedFile.of(part) or (np.asarray(part) if mapped else part)

        if self._samples[0] is not X:
            self._samples = X, self._ray.put(by_input(X, sent))
        return [self._samples[1]]

    def _result(self, reference: Any, samples: str = "samples") -> Any:
        """Result of an actor; its warnings and its error are raised here."""
        errors = self._ray.exceptions
        try:
            result, messages = self._ray.get(reference)
        except errors.RayTaskError:  # a programming error, whose traceback shows the place
            raise
        except errors.RayActorError as error:
            raise DeviceError(
                f"The process that embeds the {samples} died {_TRIES} times, perhaps for lack of "
                "memory; use a smaller batch size, or look into Ray's logs."
            ) from error
        except errors.RayError as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise DeviceError(
                f"Ray lost the actors that compute embeddings: {reason}. Look into Ray's logs, and "
                "run the same command again, which continues from here."
            ) from error
        for message in messages:
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        if isinstance(result, NtkitError):
            raise result
        return result


def actors_for(nodes: Sequence[Mapping[str, float]], threads: int | None) -> tuple[int, int]:
    """Number of actors that use the cores of a cluster, and the cores of each."""
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]
    each = min(cores) if threads is None else min(threads, max(cores))
    return sum(n // each for n in cores), each


def parts_of(start: int, stop: int, window: int, actors: int) -> list[tuple[int, int]]:
    """First row of each remaining part, and the one after its last."""
    rows = stop - start
    most = -(-rows // window)
    n = min(most, max(actors * _PARTS_PER_ACTOR, -(-rows // _PART_ROWS)))
    firsts = [start + most * i // n * window for i in range(n)]
    return [*pairwise([*firsts, stop])]


def _takes_gpu(embedder: Any, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether sessions run on GPUs: if they may, and the cluster has some."""
    if embedder.providers is not None:
        names = [p if isinstance(p, str) else p[0] for p in embedder.providers]
        wanted = any(name != "CPUExecutionProvider" for name in names)
    else:
        wanted = embedder.device != "cpu"
    there = any(node.get("GPU", 0) >= 1 for node in nodes)
    if embedder.providers is None and embedder.device in ("cuda", "tensorrt") and not there:
        raise DeviceError(
            f"device={embedder.device!r} needs a GPU, but the Ray cluster has none; use "
            "device='cpu' or 'auto'."
        )
    return wanted and there


# -- in other processes -------------------------------------------------------------------------


class _Actor:
    """Keeps a session, and computes embeddings for ranges of rows."""

    def __init__(self, embedder: list[Any]) -> None:
        self.ray = import_ray(_ENGINE)
        self.embedder: Any = self.ray.get(embedder[0])
        self.samples: tuple[Any, Any] = None, None

    def device(self) -> Any:
        return _outcome(lambda: self.embedder.device_)

    def settings(self, X: list[Any]) -> Any:
        return _outcome(lambda: self.embedder.settings(self._opened(*X)))

    def embed(self, begin: int, end: int, X: list[Any], settings: dict[str, int]) -> Any:
        def work() -> Array:
            batches = self.embedder.iter_batches(self._opened(*X), begin, end, settings)
            return np.concatenate([*batches])

        return _outcome(work)

    def _opened(self, reference: Any) -> Any:
        if self.samples[0] != reference:
            self.samples = reference, _opened(self.ray.get(reference))
        return self.samples[1]


def _opened(X: Any) -> Any:
    return by_input(X, lambda part: part.open() if isinstance(part, MappedFile) else part)


def _outcome(work: Callable[[], Any]) -> tuple[Any, list[str]]:
    """A result, or an error that ntkit raised on purpose, with the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            result = work()
        except NtkitError as error:
            result = error
    return result, [str(w.message) for w in caught if w.category is RuntimeWarning]
