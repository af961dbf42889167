"""Embeddings on disk: written, resumed, merged, matched to their model."""

from ntkit.store._embedding_store import EmbeddingStore
from ntkit.store._from_samples import fingerprint
from ntkit.store._manifest import (
    MANIFEST,
    check_alike,
    check_made_with,
    facts_of,
    is_finished,
    origin_of,
    origin_of_head,
    read_manifest,
)

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
