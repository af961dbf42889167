"""From samples to embeddings: ONNX Runtime sessions, the embedder, its engines."""

from ntkit.extraction._doctor import diagnosis
from ntkit.extraction._embedder import OnnxEmbedder
from ntkit.extraction._layer_embedder import Embedded as Embedded
from ntkit.extraction._layer_embedder import embedded_with_layers as embedded_with_layers
from ntkit.extraction._layer_embedder import keep as keep
from ntkit.extraction._layer_embedder import kept_or_computed as kept_or_computed
from ntkit.extraction._layer_embedder import layer_names as layer_names
from ntkit.extraction._layer_outputs import MOST_LAYERS as MOST_LAYERS
from ntkit.extraction._read_samples import input_notes as input_notes  # for other rooms
from ntkit.extraction._read_samples import is_image_folder as is_image_folder
from ntkit.extraction._read_samples import preprocessing_for as preprocessing_for
from ntkit.extraction._read_samples import read_samples
from ntkit.extraction._runner import run_batches
from ntkit.extraction._session import available_cpus, device_of, make_session
from ntkit.extraction._session import import_onnxruntime as import_onnxruntime
from ntkit.inputs import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from ntkit.samples import Samples
from ntkit.samples import with_plain_texts as with_plain_texts
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
    "make_session",
    "read_samples",
    "run_batches",
]
