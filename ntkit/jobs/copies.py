"""Copies of samples, embedded: what the audit, the repair and the check share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntkit._types import Array
from ntkit.changes import Change
from ntkit.extraction import OnnxEmbedder
from ntkit.samples import Samples
from ntkit.store import EmbeddingStore


@dataclass(frozen=True, eq=False)
class Copies:
    """Embeddings Z (n, D) of copies by a change, and the row of each one's original, (n,)."""

    change: Change
    samples: Samples
    rows: Array
    Z: Array

    def in_place(self, n: int) -> Array:
        """Their embeddings by row of n samples, (n, D); NaN where there is no copy."""
        placed = np.full((n, self.Z.shape[1]), np.nan, dtype=self.Z.dtype)
        placed[self.rows] = self.Z
        return placed


def embedded_copies(
    embedder: OnnxEmbedder,
    samples: Samples,
    change: Change,
    rows: Sequence[int] | Array | None = None,
    *,
    seed: int = 0,
    folds: Array | None = None,
    store: Path | None = None,
) -> Copies:
    """Make copies and embed them, in batches; with a store, interrupted work resumes there."""
    copies, at = change.copies(samples, rows, seed=seed, folds=folds)
    if not len(at):
        width = embedder.frozen_model.n_neurons or 0
        return Copies(change, copies, at, np.empty((0, width), np.float32))
    if store is None:
        return Copies(change, copies, at, embedder.transform(copies.X))
    return Copies(change, copies, at, EmbeddingStore.write(store, embedder, copies).X)
