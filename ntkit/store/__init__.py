"""Embeddings on disk: written, resumed, merged, matched to their model."""

from ntkit.store._embedding_store import EmbeddingStore, fingerprint, row_range
