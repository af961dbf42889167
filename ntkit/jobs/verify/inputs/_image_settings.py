"""How an image becomes an input, with what services do otherwise than any file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs import (
    ImagePreprocessing,
    decode,
    eight_bits,
    in_colours,
    orientation_of,
    resized,
    upright,
)
from ntkit.jobs.verify._change import LazyBatches, Settings, Subject
from ntkit.jobs.verify.inputs._image_changes import image_changes, usual_pipelines
from ntkit.jobs.verify.inputs._resampling import averaged, picked

_KEPT = 64  # decoded images


def image_subject(
    images: Sequence[Any], steps: ImagePreprocessing, size: tuple[int, int] | None
) -> Subject:
    """Image files or decoded images, for a model with inputs of this size, where it is fixed."""
    size = size or steps.crop
    if size is None and isinstance(steps.resize, tuple):
        size = steps.resize

    @lru_cache(_KEPT)
    def image(row: int) -> Image.Image:
        source = images[row]
        return decode(source) if isinstance(source, Path) else Image.fromarray(np.asarray(source))

    def inputs(settings: ImageSettings, rows: Sequence[int]) -> Any:
        return LazyBatches(
            len(rows), lambda index: _stacked([settings(image(row)) for row in rows[index]])
        )

    return Subject(
        len(images),
        inputs,
        ImageSettings(steps),
        partial(image_changes, steps, size),
        partial(usual_pipelines, steps, size),
    )


def _stacked(pixels: list[Array]) -> Array:
    if len({one.shape for one in pixels}) > 1:
        raise InputError("The images differ in size; give one with --resize HEIGHT,WIDTH.")
    return np.asarray(np.stack(pixels))


@dataclass(frozen=True)
class ImageSettings(Settings):
    """Steps from an image to an input: ntkit's, and what it never does."""

    upright: bool = True  # as the EXIF orientation says
    background: int | None = None  # a grey under transparent pixels
    grey: Literal["luma", "luma of BGR", "mean"] = "luma"
    picking: str | None = None  # resize without averaging, see picked
    rounded: bool = True  # resized pixels
    frame: Literal["whole", "square", "padded"] = "whole"  # "square": the largest in the middle
    margin: int = 0  # grey of what is padded
    corner: bool = False  # crop at the upper left
    reversed_last: bool = False  # channels, after mean and std
    refolded: bool = False  # axes renamed instead of moved
    turned: bool = False  # rows and columns exchanged

    def __call__(self, image: Image.Image) -> Array:
        """Turn an image into an input, without the batch axis."""
        if self == ImageSettings(self.steps):
            return np.asarray(self.steps(image))
        steps = self.steps
        pixels = self._framed(np.asarray(self._in_colours(image), np.float32))
        if steps.resize is not None and self.frame != "padded":
            pixels = self._resized(pixels, steps.resize)
        if self.corner and steps.crop is not None:
            pixels = pixels[: steps.crop[0], : steps.crop[1]]
        return self._rearranged(steps.after_resizing(pixels))

    def _in_colours(self, image: Image.Image) -> Image.Image:
        """Grey or RGB of eight bits, without any further note."""
        orientation, image = orientation_of(image), eight_bits(image)
        if self.background is not None and image.has_transparency_data:
            ground = Image.new("RGBA", image.size, (*[self.background] * 3, 255))
            image = Image.alpha_composite(ground, image.convert("RGBA"))
        if self.steps.channels == 1 and self.grey == "luma":
            image = in_colours(image, "L")
        else:
            image = in_colours(image, "RGB")
        if self.steps.channels == 1 and self.grey == "mean":
            image = Image.fromarray(np.asarray(image).mean(axis=2).astype(np.uint8))
        elif self.steps.channels == 1 and self.grey == "luma of BGR":
            image = Image.merge("RGB", image.split()[::-1]).convert("L")
        return upright(image, orientation) if self.upright else image

    def _framed(self, pixels: Array) -> Array:
        height, width = pixels.shape[:2]
        if self.frame == "square":
            side = min(width, height)
            top, left = (height - side) // 2, (width - side) // 2
            return pixels[top : top + side, left : left + side]
        target = self.steps.resize
        if self.frame != "padded" or not isinstance(target, tuple):
            return pixels
        factor = min(target[0] / height, target[1] / width)
        inner = max(1, round(factor * height)), max(1, round(factor * width))
        framed = np.full((*target, *pixels.shape[2:]), self.margin, np.float32)
        top, left = (target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2
        framed[top : top + inner[0], left : left + inner[1]] = self._resized(pixels, inner)
        return framed

    def _resized(self, pixels: Array, to: int | tuple[int, int]) -> Array:
        if isinstance(to, int):  # rounded down, as torchvision and Hugging Face do
            height, width = (to * side // min(pixels.shape[:2]) for side in pixels.shape[:2])
            to = height, width
        if self.picking is not None:
            found = picked(pixels, to, self.picking)
        elif self.rounded:  # as Pillow does it with bytes
            image = Image.fromarray(pixels.astype(np.uint8))
            return np.asarray(resized(image, to, int(self.steps.resample)), np.float32)
        else:
            found = averaged(pixels, to, int(self.steps.resample))
        return np.clip(np.rint(found), 0, 255) if self.rounded else found

    def _rearranged(self, values: Array) -> Array:
        nchw = self.steps.layout == "NCHW"
        if self.reversed_last:
            values = values[::-1] if nchw else values[:, :, ::-1]
        if self.turned:
            values = values.swapaxes(1, 2) if nchw else values.swapaxes(0, 1)
        if self.refolded:
            other = values.transpose(1, 2, 0) if nchw else values.transpose(2, 0, 1)
            values = np.ascontiguousarray(other).reshape(values.shape)
        return values
