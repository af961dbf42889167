"""From samples to embeddings: ONNX Runtime sessions, the embedder, and its engines."""

from ntkit.extraction._doctor import diagnosis as diagnosis
from ntkit.extraction._embedder import MOST_LAYERS as MOST_LAYERS
from ntkit.extraction._embedder import Embedded as Embedded
from ntkit.extraction._embedder import OnnxEmbedder
from ntkit.extraction._embedder import embedded_with_layers as embedded_with_layers
from ntkit.extraction._embedder import keep as keep
from ntkit.extraction._embedder import kept_or_computed as kept_or_computed
from ntkit.extraction._embedder import layer_names as layer_names
from ntkit.extraction._runner import SessionInputs as SessionInputs  # for other packages
from ntkit.extraction._runner import run_batches as run_batches
from ntkit.extraction._session import available_cpus as available_cpus
from ntkit.extraction._session import device_of as device_of
from ntkit.extraction._session import import_onnxruntime as import_onnxruntime
from ntkit.extraction._session import make_session as make_session
from ntkit.inputs import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from ntkit.samples import Samples, read_samples
from ntkit.store import EmbeddingStore

__all__ = [
    "EmbeddingStore",
    "ImageFiles",
    "ImagePreprocessing",
    "OnnxEmbedder",
    "Samples",
    "TextPreprocessing",
    "Texts",
    "read_samples",
]
