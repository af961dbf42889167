"""Embeddings on disk: written, resumed, merged, matched to their model."""

from ntkit.store._embedding_store import EmbeddingStore
from ntkit.store._from_samples import fingerprint
from ntkit.store._parts import row_range as row_range

__all__ = ["EmbeddingStore", "fingerprint"]
