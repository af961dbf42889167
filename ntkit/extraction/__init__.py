"""From samples to embeddings: ONNX Runtime sessions, the embedder, its engines."""

from ntkit.extraction._doctor import diagnosis
from ntkit.extraction._embedder import OnnxEmbedder
from ntkit.extraction._found_preprocessing import (
    image_note,
    is_image_folder,
    preprocessing_for,
)
from ntkit.extraction._read_samples import read_samples
from ntkit.extraction._runner import run_batches
from ntkit.extraction._session import available_cpus, device_of, make_session
from ntkit.preprocessing import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from ntkit.samples import Samples
from ntkit.store import EmbeddingStore

__all__ = [
    "EmbeddingStore",
    "ImageFiles",
    "ImagePreprocessing",
    "OnnxEmbedder",
    "Samples",
    "TextPreprocessing",
    "Texts",
    "available_cpus",
    "device_of",
    "diagnosis",
    "image_note",
    "is_image_folder",
    "make_session",
    "preprocessing_for",
    "read_samples",
    "run_batches",
]
