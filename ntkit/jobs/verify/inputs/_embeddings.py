"""Embeddings that were computed before: nothing about their inputs can be tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ntkit.jobs.verify._change import BATCH_SIZE, Change


class Embeddings:
    """Rows of embeddings."""

    def __init__(self, Z: Any) -> None:
        self.Z = Z
        self.settings: Any = ()

    def __len__(self) -> int:
        return len(self.Z)

    def changes(self) -> list[Change]:
        """Nothing."""
        return []

    def pipelines(self) -> list[tuple[Change, ...]]:
        """Nothing."""
        return []

    def inputs(self, settings: Any, rows: Sequence[int]) -> Any:
        """Some of the embeddings."""
        return np.asarray(self.Z[np.asarray(rows)])

    def batch_size(self, settings: Any) -> int:
        """Rows that run together."""
        return BATCH_SIZE
