"""Embeddings on disk: written, resumed, merged, matched to their model."""

from ntkit.store._embedding_store import EmbeddingStore
from ntkit.store._jobs import fingerprint, row_range
