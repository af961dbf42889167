"""One thing that a service may do otherwise than ntkit, and the samples that it does it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

BATCH_SIZE = 8


@dataclass(frozen=True)
class Change:
    """One thing that a service may do otherwise: "resample", "channel order"."""

    # `words` end a sentence that begins with "the service". `values` are the settings that change,
    # by name; without any of them only outputs are others, and embeddings the same. `mend` are
    # options with which ntkit does the same. Changes of one `place` exclude each other. The smaller
    # `usual` is named where two explain as much.

    what: str
    words: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fix: str = ""
    usual: int = 0
    group: str = ""

    @property
    def inside(self) -> bool:
        """Whether the model's inputs, and so its embeddings, are others."""
        return bool(self.values)

    @property
    def place(self) -> str:
        """Name of its group."""
        return self.group or self.what


@dataclass(frozen=True)
class Settings:
    """ntkit's steps to inputs of a model, and what is done to a batch of them."""

    steps: Any = None
    after: tuple[Callable[[Any], Any], ...] = ()
    batch_size: int = BATCH_SIZE


def changed(settings: Settings, changes: Sequence[Change]) -> Settings:
    """Settings, or their steps, with other values; a function goes to those already there."""
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
    """Samples, how they become inputs by some settings, and what may be done otherwise."""

    # `inputs` gives what `run_batches` takes, of some of the samples; None where the settings do
    # not apply. `pipelines` are changes that usually come together.

    n_samples: int
    inputs: Callable[[Any, Sequence[int]], Any]
    settings: Settings = field(default_factory=Settings)
    changes: Callable[[], Sequence[Change]] = tuple
    pipelines: Callable[[], Sequence[tuple[Change, ...]]] = tuple
    embedded: bool = False


class LazyBatches:
    """A lazy sequence of inputs: a slice is made when it is asked for."""

    def __init__(self, n_samples: int, batch: Callable[[slice], Any]) -> None:
        self._n_samples, self._batch = n_samples, batch

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, index: slice) -> Any:
        return self._batch(index)
