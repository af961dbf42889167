"""Ways in which images, texts and arrays become inputs of a model, ntkit's and those of others."""

from ntkit.parity.inputs._arrays import Arrays
from ntkit.parity.inputs._embeddings import Embeddings
from ntkit.parity.inputs._images import Images
from ntkit.parity.inputs._texts import TextSamples

__all__ = ["Arrays", "Embeddings", "Images", "TextSamples"]
