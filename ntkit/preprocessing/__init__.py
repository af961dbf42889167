"""How images and texts become model inputs."""

from ntkit.preprocessing._image_files import ImageFiles, decode, image_extensions
from ntkit.preprocessing._image_preprocessing import ImagePreprocessing, with_defaults
from ntkit.preprocessing._pixels import FILTERS
from ntkit.preprocessing._pixels import eight_bits as eight_bits  # for other rooms
from ntkit.preprocessing._pixels import in_colours as in_colours
from ntkit.preprocessing._pixels import orientation_of as orientation_of
from ntkit.preprocessing._pixels import resized as resized
from ntkit.preprocessing._pixels import shown as shown
from ntkit.preprocessing._pixels import upright as upright
from ntkit.preprocessing._text_preprocessing import TextPreprocessing
from ntkit.preprocessing._text_preprocessing import saved_settings as saved_settings
from ntkit.preprocessing._texts import Texts

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
