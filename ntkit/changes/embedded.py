"""Embeddings of changed copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ntkit._types import Array
from ntkit.changes.change import Change
from ntkit.extraction import OnnxEmbedder
from ntkit.samples.samples import Samples
from ntkit.store import EmbeddingStore


@dataclass(frozen=True, eq=False)
class Copies:
    """Changed copies with embeddings Z (n, D), and the rows of their originals and donors (n,)."""

    change: Change
    samples: Samples
    rows: Array
    donors: Array  # −1 without a donor
    Z: Array

    def in_place(self, n: int) -> Array:
        """Embeddings in the rows of the n originals, (n, D); NaN without a copy."""
        placed = np.full((n, self.Z.shape[1]), np.nan, dtype=self.Z.dtype)
        placed[self.rows] = self.Z
        return placed


def copies_to_store(
    samples: Samples,
    change: Change,
    rows: Sequence[int] | Array | None = None,
    *,
    seed: int = 0,
    folds: Array | None = None,
) -> tuple[Samples, Array]:
    """Copies for an embedding store, and the rows of their originals.

    The id of a copy is the name of its original, or ``row 5`` if that is missing or not unique.
    The preprocessing in the store's manifest identifies the copies: ``change``, ``seed``, the
    number of ``originals`` and ``named_by``, the kind of their names.
    """
    copies, at = change.copies(samples, rows, seed=seed, folds=folds)
    names = samples.unique_names
    named_by = samples.named_by if names == samples.names else "row"
    steps = {**(copies.preprocessing or {}), "originals": len(samples), "named_by": named_by}
    return replace(copies, ids=np.asarray(names, dtype=str)[at], preprocessing=steps), at


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
    """Make copies and embed them in batches; with a store, interrupted work can resume."""
    copies, at = copies_to_store(samples, change, rows, seed=seed, folds=folds)
    if not len(at):
        Z = np.empty((0, embedder.frozen_model.n_neurons or 0), np.float32)
    elif store is None:
        Z = embedder.transform(copies.X)
    else:
        Z = EmbeddingStore.write(store, embedder, copies).X
    donors = change.donors(samples, seed=seed, folds=folds)[at]
    return Copies(change, copies, at, donors, Z)
