"""Images and texts as model inputs."""

from ntkit.inputs._image_files import ImageFiles, MeasuredImages, decode, image_extensions
from ntkit.inputs._image_preprocessing import (
    FILTERS,
    ImagePreprocessing,
    as_viewed,
    eight_bits,
    in_colours,
    resized,
    upright,
    with_defaults,
)
from ntkit.inputs._text_preprocessing import TextPreprocessing, saved_settings
from ntkit.inputs._texts import Texts
