"""How images and texts become model inputs."""

from ntkit.inputs._image_files import ImageFiles, decode, image_extensions
from ntkit.inputs._image_files import MeasuredImages as MeasuredImages
from ntkit.inputs._image_preprocessing import ImagePreprocessing, with_defaults
from ntkit.inputs._pixels import FILTERS
from ntkit.inputs._pixels import eight_bits as eight_bits  # for other rooms
from ntkit.inputs._pixels import in_colours as in_colours
from ntkit.inputs._pixels import orientation_of as orientation_of
from ntkit.inputs._pixels import resized as resized
from ntkit.inputs._pixels import shown as shown
from ntkit.inputs._pixels import upright as upright
from ntkit.inputs._text_preprocessing import TextPreprocessing
from ntkit.inputs._text_preprocessing import folders_of as folders_of
from ntkit.inputs._text_preprocessing import saved_settings as saved_settings
from ntkit.inputs._texts import Texts

__all__ = [
    "FILTERS",
    "ImageFiles",
    "ImagePreprocessing",
    "TextPreprocessing",
    "Texts",
    "decode",
    "image_extensions",
    "with_defaults",
]
