"""What happens to an image, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntkit.preprocessing._pixels import FILTERS, filter_of

if TYPE_CHECKING:
    from ntkit.preprocessing._image_preprocessing import ImagePreprocessing

__all__ = ["described"]


def described(steps: ImagePreprocessing) -> str:
    """One sentence: the steps in their order, and where they come from."""
    words = []
    if steps.resize is not None:
        name = {number: name for name, number in FILTERS.items()}[filter_of(steps.resample)]
        if isinstance(steps.resize, int):
            words.append(f"shorter side to {steps.resize} pixels ({name})")
        else:
            words.append(f"resized to {steps.resize[0]} x {steps.resize[1]} ({name})")
    if steps.crop is not None:
        words.append(f"centre crop {steps.crop[0]} x {steps.crop[1]}")
    words.append(f"values {_factor(steps.scale)}")
    if any(steps.mean):
        words.append(f"minus {_numbers(steps.mean)}")
    if any(value != 1 for value in steps.std):
        words.append(f"divided by {_numbers(steps.std)}")
    colours = "grey" if steps.channels == 1 else steps.channel_order
    return f"Images: {', '.join([*words, colours, steps.layout])}; {steps.source}."


def _factor(scale: float) -> str:
    if scale == 1:
        return "0 to 255 as they are"
    return f"/ {1 / scale:.6g}" if scale < 1 else f"x {scale:.6g}"


def _numbers(values: tuple[float, ...]) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
