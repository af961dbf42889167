"""Embeddings on disk: written, resumed, merged, matched to their model."""

from ntkit.store._embedding_store import EmbeddingStore
from ntkit.store._kept_samples import fingerprint
from ntkit.store._made_with import check_alike, check_made_with, facts_of, origin_of, origin_of_head
from ntkit.store._manifest import MANIFEST, is_finished, read_manifest

__all__ = [
    "MANIFEST",
    "EmbeddingStore",
    "check_alike",
    "check_made_with",
    "facts_of",
    "fingerprint",
    "is_finished",
    "origin_of",
    "origin_of_head",
    "read_manifest",
]
