"""Embeddings on disk: written, resumed, merged, matched to their model."""

from ntkit.store._embedding_store import EmbeddingStore
from ntkit.store._embedding_store import fingerprint as fingerprint

__all__ = ["EmbeddingStore"]
