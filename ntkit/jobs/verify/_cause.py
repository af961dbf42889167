"""Differences between a service's preprocessing and ntkit's, and the samples to try them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any


@dataclass(frozen=True)
class Cause:
    """One possible difference of a service: "resample", "channel order"."""

    # `words` completes a sentence that begins with "the service". `values` holds the settings that
    # change, by name; without values only outputs change, and embeddings do not. `fix` holds
    # options with which ntkit does the same. Changes with the same `place` exclude each other. If
    # two changes explain the outputs equally well, ntkit reports the one with the smaller `usual`.

    what: str
    words: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fix: str = ""
    usual: int = 0
    group: str = ""

    @property
    def inside(self) -> bool:
        """Whether the model's inputs, and so its embeddings, differ."""
        return bool(self.values)

    @property
    def place(self) -> str:
        """Name of the group of changes that exclude each other."""
        return self.group or self.what


@dataclass(frozen=True)
class Settings:
    """Preprocessing steps, and functions applied to each batch."""

    steps: Any = None
    after: tuple[Callable[[Any], Any], ...] = ()
    batch_size: int = 8


def done(steps: Sequence[Callable[[Any], Any]], value: Any) -> Any:
    """Result of all steps, one after the other."""
    return reduce(lambda before, step: step(before), steps, value)


def changed(settings: Settings, changes: Sequence[Cause]) -> Settings:
    """Settings, or their steps, with other values; functions are appended."""
    for change in changes:
        outer, steps = dict[str, Any](), dict[str, Any]()
        for name, value in change.values.items():
            if callable(value):
                outer[name] = (*getattr(settings, name), value)
            else:
                (outer if hasattr(settings, name) else steps)[name] = value
        if steps:
            outer["steps"] = replace(settings.steps, **steps)
        settings = replace(settings, **outer)
    return settings


@dataclass(frozen=True)
class Subject:
    """Samples, a function that makes model inputs from them, and the changes to try."""

    # `inputs` returns inputs of some samples for `run_batches`; None if the settings do not apply.
    # `pipelines` lists changes that usually occur together.

    n_samples: int
    inputs: Callable[[Any, Sequence[int]], Any]
    settings: Settings = field(default_factory=Settings)
    changes: Callable[[], Sequence[Cause]] = tuple
    pipelines: Callable[[], Sequence[tuple[Cause, ...]]] = tuple
    embedded: bool = False


class LazyBatches:
    """A lazy sequence of inputs, which makes each slice on access."""

    def __init__(self, n_samples: int, batch: Callable[[slice], Any]) -> None:
        self._n_samples, self._batch = n_samples, batch

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, index: slice) -> Any:
        return self._batch(index)
