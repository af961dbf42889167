"""From inputs to embeddings: samples, ONNX Runtime sessions, the embedder, the store."""

from ntkit.extraction._doctor import diagnosis
from ntkit.extraction._embedder import OnnxEmbedder
from ntkit.extraction._image_files import ImageFiles
from ntkit.extraction._image_preprocessing import ImagePreprocessing
from ntkit.extraction._runner import run_batches
from ntkit.extraction._samples import Samples, read_samples
from ntkit.extraction._session import available_cpus, device_of, make_session
from ntkit.extraction._store import EmbeddingStore
from ntkit.extraction._text import Texts
from ntkit.extraction._text_preprocessing import TextPreprocessing

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
    "make_session",
    "read_samples",
    "run_batches",
]
