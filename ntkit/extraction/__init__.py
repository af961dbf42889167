"""From samples to embeddings: ONNX Runtime sessions, the embedder, and its engines."""

from ntkit import graph  # noqa: F401 - says what is missing without ONNX
from ntkit.extraction.embedder import OnnxEmbedder
from ntkit.inputs.image_files import ImageFiles
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.inputs.raw import RawInputs
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.samples.read import read_samples
from ntkit.samples.samples import Samples

__all__ = [
    "ImageFiles",
    "ImagePreprocessing",
    "OnnxEmbedder",
    "RawInputs",
    "Samples",
    "TextPreprocessing",
    "Texts",
    "read_samples",
]
