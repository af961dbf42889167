"""One thing that a service may do otherwise than ntkit, and what both make inputs of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

BATCH_SIZE = 8


@dataclass(frozen=True)
class Change:
    """One thing that a service may do otherwise than ntkit."""

    what: str
    words: str
    apply: Callable[[Any], Any]
    fix: str = ""
    inside: bool = True
    group: str = ""
    usual: int = 0

    @property
    def place(self) -> str:
        """Name of its group."""
        return self.group or self.what


class Subject(Protocol):
    """Samples, and the ways in which they may become inputs of the model."""

    settings: Any

    def __len__(self) -> int:
        """Number of samples."""

    def changes(self) -> list[Change]:
        """What a service may do otherwise with such samples."""

    def pipelines(self) -> list[tuple[Change, ...]]:
        """Several changes that usually come together."""

    def inputs(self, settings: Any, rows: Sequence[int]) -> Any:
        """Inputs of the model for some of the samples, as ``run_batches`` takes them."""
        # None where a change does not apply.

    def batch_size(self, settings: Any) -> int:
        """Samples that run together."""


def changed(settings: Any, changes: Sequence[Change]) -> Any:
    """Settings with all of these changes; None where one does not apply."""
    for change in changes:
        if settings is None:
            return None
        settings = change.apply(settings)
    return settings
