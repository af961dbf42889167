"""Single steps from a decoded image to its pixels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit.exceptions import InputError

# Pillow numbers its filters so, and so do the files that Hugging Face's library writes.
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}

_ORIENTATION = 0x0112  # the EXIF tag, and how to turn an image that has it upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def filter_of(resample: int | str) -> int:
    """Pillow's number of a resampling filter, from the number or the name."""
    known = FILTERS.get(resample.lower()) if isinstance(resample, str) else resample
    if known is None or isinstance(known, bool) or known not in FILTERS.values():
        names = ", ".join(f"{name} ({number})" for name, number in FILTERS.items())
        raise InputError(f"resample is one of {names}; got {resample!r}.")
    return int(known)


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """Turn an image as its EXIF orientation says."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def orientation_of(image: Image.Image) -> int | None:
    """EXIF orientation of an image, which some conversions lose."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata of a sound image: viewers show it as it is stored
        return None
    return orientation if isinstance(orientation, int) else None


def in_colours(image: Image.Image, mode: str) -> Image.Image:
    """Convert to grey or RGB; Pillow warns where it drops the transparency of a palette."""
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit pixels to 0 … 255; Pillow's own conversion clips them."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise InputError("its pixels have 32 bits and no known range; save it with 8 or 16 bits.")
    return image


def shown(image: Image.Image) -> Image.Image:
    """An image as a viewer shows it: upright, in grey or RGB of 8 bits."""
    orientation, image = orientation_of(image), eight_bits(image)
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return upright(in_colours(image, mode), orientation)


def resized(image: Image.Image, resize: int | tuple[int, int], resample: int) -> Image.Image:
    """Resize to (height, width), or the shorter side to a length."""
    if isinstance(resize, int):
        # Rounded down, as torchvision and Hugging Face do.
        width, height = (resize * side // min(image.size) for side in image.size)
    else:
        height, width = resize
    return image.resize((width, height), Image.Resampling(resample))


def center_crop(
    pixels: NDArray[Any], crop: tuple[int, int], rounding: Literal["down", "even"]
) -> NDArray[Any]:
    """Cut out the middle of an array of shape (H, W, C)."""
    height, width = pixels.shape[:2]
    if height < crop[0] or width < crop[1]:
        raise InputError(
            f"An image of {height} x {width} is smaller than the crop of {crop[0]} x {crop[1]}; "
            "resize first (--resize)."
        )
    over = height - crop[0], width - crop[1]
    top, left = (round(n / 2) if rounding == "even" else n // 2 for n in over)
    return pixels[top : top + crop[0], left : left + crop[1]]
