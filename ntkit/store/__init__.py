"""Embeddings on disk: written, resumed, merged, matched to their model."""

from ntkit.store._contents import fingerprint, row_range
from ntkit.store._embedding_store import EmbeddingStore
