"""Ways in which images, texts and arrays become inputs of a model, ntkit's and those of others."""

from ntkit.jobs.verify.inputs._image_changes import array_changes
from ntkit.jobs.verify.inputs._image_settings import image_subject
from ntkit.jobs.verify.inputs._texts import text_subject

__all__ = ["array_changes", "image_subject", "text_subject"]
