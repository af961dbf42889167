"""Ways in which images, texts and arrays become inputs of a model, ntkit's and those of others."""

from ntkit.jobs.verify.inputs._arrays import Arrays
from ntkit.jobs.verify.inputs._embeddings import Embeddings
from ntkit.jobs.verify.inputs._images import Images
from ntkit.jobs.verify.inputs._texts import TextSamples

__all__ = ["Arrays", "Embeddings", "Images", "TextSamples"]
