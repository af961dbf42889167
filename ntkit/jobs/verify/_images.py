"""Make model inputs from images, by ntkit's preprocessing and with differences of services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs.image_files import decode
from ntkit.inputs.image_preprocessing import (
    FILTERS,
    ImagePreprocessing,
    eight_bits,
    in_colours,
    upright,
)
from ntkit.jobs.verify._cause import Cause, LazyBatches, Settings, Subject, done


def picked(pixels: Array, size: tuple[int, int], how: str) -> Array:
    """Resize without antialiasing, with the edge pixels repeated."""
    # Pillow widens its filters by the factor by which an image shrinks. These filters always read
    # as many neighbours as for enlarging.
    result = pixels.astype(np.float64)
    for axis, n_new in enumerate(size):
        n_old = result.shape[axis]
        if how == "nearest corner":
            at = np.floor(np.arange(n_new) * (n_old / n_new)).astype(np.intp)
            result = np.take(result, np.minimum(at, n_old - 1), axis)
            continue
        reach, weights = PICKING[how]
        centres = (np.arange(n_new) + 0.5) * (n_old / n_new) - 0.5
        first = np.floor(centres).astype(np.intp) - reach + 1
        shape = [-1 if i == axis else 1 for i in range(result.ndim)]
        parts = [
            weights(np.abs(centres - at)).reshape(shape)
            * np.take(result, np.clip(at, 0, n_old - 1), axis)
            for at in (first + k for k in range(2 * reach))
        ]
        result = np.sum(parts, axis=0)
    return np.asarray(result, np.float32)


def averaged(pixels: Array, size: tuple[int, int], resample: int, *, rounded: bool) -> Array:
    """Resize with a filter of Pillow, which rounds 8-bit images."""
    planes = np.atleast_3d(pixels.astype(np.uint8 if rounded else np.float32)).transpose(2, 0, 1)
    how = Image.Resampling(resample)
    made = [np.asarray(Image.fromarray(plane).resize(size[::-1], how)) for plane in planes]
    return np.stack(made, axis=-1).reshape(*size, *pixels.shape[2:]).astype(np.float32)


def _cubic(distance: Array, a: float = -0.75) -> Array:
    """Keys' cubic convolution, with the constant of OpenCV and PyTorch."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.asarray(np.where(distance <= 1, near, np.where(distance < 2, far, 0)))


# Neighbours on each side, and their weights by distance.
PICKING: dict[str, tuple[int, Callable[[Array], Array]]] = {
    "bilinear": (1, lambda distance: np.maximum(1 - distance, 0)),
    "bicubic": (2, _cubic),
}


Numbers = tuple[float, ...]
Size = tuple[int, int] | None
IMAGENET: tuple[Numbers, Numbers] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: tuple[Numbers, Numbers] = ((0.5,), (0.5,))
CLIP: tuple[Numbers, Numbers] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_CAFFE: tuple[Numbers, Numbers] = ((123.68, 116.779, 103.939), (1.0,))
_NONE: tuple[Numbers, Numbers] = ((0.0,), (1.0,))
_SHARES = (224 / 256, 0.9, 0.95, 0.96, 0.8, 224 / 232, 299 / 320, 0.75)  # usual centre crops
_USUAL_SIDES = (224, 256, 299, 384, 512)


def image_changes(steps: ImagePreprocessing, size: Size) -> list[Cause]:
    """Single differences of a service from these preprocessing steps."""
    # `size` is the size of the model's input, if it is fixed or the steps end in it.
    return [
        *_resamplings(steps),
        *_axes(steps),
        *_geometries(steps, size),
        *_values(steps),
        Cause("EXIF rotation", "does not rotate images by their EXIF orientation",
              {"upright": False}),
        Cause("transparency", "puts transparent images on white", {"background": 255}),
        Cause("transparency", "puts transparent images on black", {"background": 0}),
    ]  # fmt: skip


def usual_pipelines(steps: ImagePreprocessing, size: Size) -> list[tuple[Cause, ...]]:
    """Combinations of changes: geometry, filter and values, or values and channel order."""
    geometries = [(steps.resize, steps.crop)]
    if size is not None:
        side = min(size)
        geometries += [(size, None), (side, size)]
        geometries += [(int(side / share), size) for share in _SHARES[:2]]
    sides = [_geometry(steps, *geometry) for geometry in geometries]
    filters = [_resample(steps, name) for name in ("bilinear", "bicubic")]
    values = [_value(steps, 1 / 255, *pair) for pair in (IMAGENET, HALF, CLIP, _NONE)]
    together = list[tuple[Cause, ...]]()
    for value, side_change, filtering in product(values, sides, filters):
        parts = tuple(_existing((side_change, filtering, value)))
        if len(parts) > 1 and parts not in together:
            together.append(parts)
    orders = [change for change in _axes(steps) if change.what == "channel order"]
    return [*together, *product(_values(steps), orders)]


def array_changes(axis: int) -> list[Cause]:
    """Differences of a service for arrays of images with the channels on this axis."""
    flipped, refolded, turned = _rearrangements(axis)
    table: list[tuple[str, str, Any]] = [
        ("channel order", "the channels of these arrays in the other order", flipped),
        ("layout", "these arrays with the axes renamed instead of moved", refolded),
        ("layout", "these arrays with height and width exchanged", turned),
        ("scale", "these arrays multiplied by 255", _normalised((0.0,), (1 / 255,), axis)),
        ("scale", "these arrays divided by 255", _normalised((0.0,), (255.0,), axis)),
    ]
    for what, words, (mean, std) in (
        ("scale", "brought from 0 … 1 to -1 … 1", HALF),
        ("mean and std", "normalised with ImageNet's mean and std", IMAGENET),
        ("mean and std", "normalised with CLIP's mean and std", CLIP),
    ):
        back = tuple(-m / s for m, s in zip(mean, std, strict=True)), tuple(1 / s for s in std)
        table += [
            (what, f"these arrays {words}", _normalised(mean, std, axis)),
            (what, f"these arrays before they were {words}", _normalised(*back, axis)),
        ]
    return [Cause(what, f"feeds {words}", {"after": step}) for what, words, step in table]


def _rearrangements(axis: int) -> tuple[Any, Any, Any]:
    """Functions of a batch: channels reversed; axes renamed, not moved; rows as columns."""
    heights, other = ((2, 3), (0, 2, 3, 1)) if axis == 1 else ((1, 2), (0, 3, 1, 2))
    return (
        lambda X: np.flip(X, axis),
        lambda X: np.ascontiguousarray(X.transpose(other)).reshape(X.shape),
        lambda X: X.swapaxes(*heights),
    )


def _normalised(mean: Numbers, std: Numbers, axis: int) -> Any:
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    shift, divisor = (np.reshape(v, shape).astype(np.float32) for v in (mean, std))
    return lambda X: (X.astype(np.float32) - shift) / divisor


def _existing(changes: Iterable[Cause | None]) -> list[Cause]:
    return [change for change in changes if change is not None]


# -- the filter ---------------------------------------------------------------------------------


def _resamplings(steps: ImagePreprocessing) -> list[Cause]:
    if steps.resize is None:
        return []
    here = _filter_name(steps)
    table = [
        (f"with the filter {name} without antialiasing (as {library})", name, rounded)
        for name in PICKING
        for library, rounded in (("OpenCV", True), ("PyTorch with antialias=False", False))
    ]
    table.append(
        ("by nearest neighbours counted from the corner (as OpenCV)", "nearest corner", True)
    )
    words = "does not round resized pixels to whole numbers (as PyTorch on floats)"
    return [
        *_existing(_resample(steps, name) for name in FILTERS),
        *(
            Cause("resample", f"resizes {how}, not {here}",
                  {"picking": picking, "rounded": rounded}, group="filter")
            for how, picking, rounded in table
        ),
        Cause("rounding", words, {"rounded": False}, usual=1),
    ]  # fmt: skip


def _resample(steps: ImagePreprocessing, name: str) -> Cause | None:
    if steps.resize is None or FILTERS[name] == steps.resample:
        return None
    words = f"resizes with the filter {name}, not {_filter_name(steps)}"
    usual = 0 if name in ("nearest", "bilinear", "bicubic") else 1
    values = {"resample": FILTERS[name]}
    return Cause("resample", words, values, f"resample={name}", usual, "filter")


def _filter_name(steps: ImagePreprocessing) -> str:
    return next(name for name, number in FILTERS.items() if number == steps.resample)


# -- size and crop ------------------------------------------------------------------------------


def _geometries(steps: ImagePreprocessing, size: Size) -> list[Cause]:
    """Other ways to the model's input size; if the model takes any size, other sizes."""
    changes = list[Cause | None]()
    here = steps.crop or steps.resize
    own = () if here is None else (here if isinstance(here, int) else min(here),)
    sizes = [size] if size is not None else [(n, n) for n in (*own, *_USUAL_SIDES)]
    for height, width in sizes:
        side, whole = min(height, width), {"resize": (height, width), "crop": None}
        larger = sorted({n for share in _SHARES for n in (int(side / share), round(side / share))})
        resizes: list[Any] = [side, *larger]
        resizes += [(round(height * n / side), round(width * n / side)) for n in larger]
        changes.append(_geometry(steps, (height, width), None))
        changes += [_geometry(steps, resize, (height, width)) for resize in (*resizes, None)]
        if height == width:
            words = "crops the largest central square and resizes it"
            changes.append(Cause("crop", words, {**whole, "squared": True}, "", 2, "geometry"))
        for name, value in (("black", 0), ("grey", 114), ("white", 255)):
            words = f"resizes the whole image to fit and pads with {name} margins"
            values = {**whole, "margin": value}
            changes.append(Cause("resize", words, values, "", 2, "geometry"))
    if steps.crop is not None:
        other = "even" if steps.crop_rounding == "down" else "down"
        words = "rounds the position of the crop differently (by half a pixel)"
        changes += [
            Cause("crop", "crops at the upper left, not in the centre", {"corner": True}),
            Cause("crop", words, {"crop_rounding": other}, usual=1),
        ]
    elif size is not None:
        words = f"crops {size[0]} x {size[1]} at the upper left without resizing"
        values = {"corner": True, "resize": None, "crop": size}
        changes.append(Cause("crop", words, values, "", 1, "geometry"))
    return _existing(changes)


def _geometry(steps: ImagePreprocessing, resize: Any, crop: Any) -> Cause | None:
    """Another size, another crop, or both."""
    if isinstance(resize, tuple) and resize == crop:
        crop = None
    if (resize, crop) == (steps.resize, steps.crop):
        return None
    what = "resize" if (crop is None) == (steps.crop is None) else "resize and crop"
    if resize == steps.resize:
        what = "crop"
    words = f"{_in_words(resize, crop)}, but ntkit {_in_words(steps.resize, steps.crop)}"
    # No option removes a crop that a file of the model sets.
    fix = ""
    if resize is not None and (crop is not None or steps.crop is None):
        fix = f"resize={_option(resize)}" + (f" crop={_option(crop)}" if crop else "")
    usual = 0 if not isinstance(resize, tuple) or crop is None else 1
    return Cause(what, words, {"resize": resize, "crop": crop}, fix, usual, "geometry")


def _in_words(resize: Any, crop: Any) -> str:
    if resize is None:
        sized = "does not resize"
    elif isinstance(resize, int):
        sized = f"resizes the shorter side to {resize}"
    else:
        sized = f"resizes to {resize[0]} x {resize[1]}"
    if crop is None:
        return sized if isinstance(resize, tuple) or resize is None else f"{sized} without a crop"
    joined = "but crops" if resize is None else "and crops"
    return f"{sized} {joined} the central {crop[0]} x {crop[1]}"


def _option(sides: Any) -> str:
    return str(sides) if isinstance(sides, int) else f"{sides[0]},{sides[1]}"


# -- channels and values ------------------------------------------------------------------------


def _axes(steps: ImagePreprocessing) -> list[Cause]:
    """Other orders of channels and axes."""
    flipped, refolded, turned = _rearrangements(1 if steps.layout == "NCHW" else 3)
    exchanged = Cause("layout", "swaps height and width", {"after": turned})
    if steps.channels == 1:
        bgr, mean = "channels in the order BGR", "the mean of the channels"
        return [
            Cause("channel order", f"computes grey from {bgr}", {"grey": "luma of BGR"}),
            Cause("grey", f"computes grey as {mean}", {"grey": "mean"}, usual=1),
            exchanged,
        ]
    other = "BGR" if steps.channel_order == "RGB" else "RGB"
    words = f"feeds channels in the order {other}, not {steps.channel_order}"
    late = f"{words}, swapped after mean and std"
    layout = "NHWC" if steps.layout == "NCHW" else "NCHW"
    renamed = f"feeds pixels in the order {layout} under the shape of {steps.layout}"
    return [
        Cause("channel order", words, {"channel_order": other}),
        Cause("channel order", late, {"after": flipped}, usual=1),
        Cause("layout", renamed, {"after": refolded}),
        exchanged,
    ]


def _values(steps: ImagePreprocessing) -> list[Cause]:
    mean, std, scale = steps.mean, steps.std, steps.scale
    candidates: list[tuple[float, tuple[Numbers, Numbers]]] = [
        *((1 / 255, pair) for pair in (_NONE, HALF, IMAGENET, CLIP)),
        (1.0, _NONE),
        (1.0, (mean, std)),
        (1 / 255, (mean, std)),
        (scale / 255, (mean, std)),
        (scale, _NONE),
        (scale, (mean, (1.0,))),
        (scale, ((0.0,), std)),
        (scale, (mean[::-1], std[::-1])),
        (1.0, _CAFFE),
        (1.0, (_CAFFE[0][::-1], (1.0,))),
        (1.0, IMAGENET),
        (1 / 255, (IMAGENET[0], (1.0,))),
        (1 / 255, (tuple(IMAGENET[0][::-1]), tuple(IMAGENET[1][::-1]))),
        (1.0, ((128.0,), (128.0,))),
        (1 / 256, _NONE),
    ]
    # 255 - x for x, by a factor below 0.
    turned = tuple(value - 255 * scale for value in mean)
    inverted = Cause(
        "scale", "inverts images: white is 0", {"scale": -scale, "mean": turned}, "", 1, "values"
    )
    return [*_existing(_value(steps, by, *pair) for by, pair in candidates), inverted]


def _value(steps: ImagePreprocessing, scale: float, mean: Numbers, std: Numbers) -> Cause | None:
    if steps.channels == 1 and max(len(mean), len(std)) == 3:
        return None
    if _affine(scale, mean, std) == _affine(steps.scale, steps.mean, steps.std):
        return None
    words = f"{_range(scale, mean, std)}, but ntkit {_range(steps.scale, steps.mean, steps.std)}"
    # Equal values in all channels are a range, reported as "scale". Others are "mean and std".
    ranges = all(len(set(values)) == 1 for values in (mean, std, steps.mean, steps.std))
    what = "scale" if ranges or (mean, std) == (steps.mean, steps.std) else "mean and std"
    listed = ",".join
    fix = (
        f"scale={scale:.10g} mean={listed(f'{v:.10g}' for v in mean)} "
        f"std={listed(f'{v:.10g}' for v in std)}"
    )
    values = {"scale": scale, "mean": mean, "std": std}
    return Cause(what, words, values, fix, group="values")


def _affine(scale: float, mean: Numbers, std: Numbers) -> tuple[tuple[float, float], ...]:
    """Factor and shift of each channel."""
    triple = [values * 3 if len(values) == 1 else values for values in (mean, std)]
    return tuple((round(scale * 255 / s, 9), round(m / s, 9)) for m, s in zip(*triple, strict=True))


def _range(scale: float, mean: Numbers, std: Numbers) -> str:
    names = {IMAGENET: "ImageNet's mean and std", CLIP: "CLIP's mean and std"}
    whole = f"feeds values from 0 to {255 * scale:.4g}"
    if (mean, std) == _NONE:
        return whole
    if (mean, std) == HALF and scale == 1 / 255:
        return "feeds values from -1 to 1"
    name = names.get((mean, std)) or f"mean {_few(mean)} and std {_few(std)}"
    return f"{whole}, normalised with {name}"


def _few(values: Numbers) -> str:
    texts = [f"{value:.4g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


_KEPT = 64  # decoded images


def image_subject(images: Sequence[Any], steps: ImagePreprocessing, size: Any) -> Subject:
    """Image files or decoded images, for a model with this input size; None if any size fits."""
    size = size or steps.crop
    if size is None and isinstance(steps.resize, tuple):
        size = steps.resize

    @lru_cache(_KEPT)
    def image(row: int) -> Image.Image:
        source = images[row]
        return decode(source) if isinstance(source, Path) else Image.fromarray(np.asarray(source))

    def inputs(settings: ImageSettings, rows: Sequence[int]) -> Any:
        def batch(index: slice) -> Any:
            pixels = [settings(image(row)) for row in rows[index]]
            if len({one.shape for one in pixels}) > 1:
                raise InputError(
                    "The images differ in size. Set one size: --preprocessing resize=HEIGHT,WIDTH"
                )
            return done(settings.after, np.stack(pixels))

        return LazyBatches(len(rows), batch)

    return Subject(
        len(images),
        inputs,
        ImageSettings(steps),
        partial(image_changes, steps, size),
        partial(usual_pipelines, steps, size),
    )


@dataclass(frozen=True)
class ImageSettings(Settings):
    """Steps from an image to an input, with steps of services that ntkit does not use."""

    upright: bool = True  # rotated by the EXIF orientation
    background: int | None = None  # grey value behind transparent pixels
    grey: Literal["luma", "luma of BGR", "mean"] = "luma"
    picking: str | None = None  # filter for resizing without antialiasing
    rounded: bool = True  # resized pixels are whole numbers
    squared: bool = False  # the largest central square is resized
    margin: int | None = None  # grey value of margins around the whole image
    corner: bool = False  # crop at the upper left

    def __call__(self, image: Image.Image) -> Array:
        """Turn an image into an input, without the batch axis."""
        if self == ImageSettings(self.steps):
            return np.asarray(self.steps(image))
        steps = self.steps
        pixels = np.asarray(self._in_colours(image), np.float32)
        height, width = pixels.shape[:2]
        if self.squared:
            pixels = _middle(pixels, (min(height, width),) * 2)
        if self.margin is not None:
            factor = min(steps.resize[0] / height, steps.resize[1] / width)
            inner = max(1, round(factor * height)), max(1, round(factor * width))
            whole = np.full((*steps.resize, *pixels.shape[2:]), self.margin, np.float32)
            _middle(whole, inner)[:] = self._resized(pixels, inner)
            pixels = whole
        elif steps.resize is not None:
            pixels = self._resized(pixels, steps.resize)
        if self.corner and steps.crop is not None:
            pixels = pixels[: steps.crop[0], : steps.crop[1]]
        return np.asarray(steps.finished(steps.cropped(pixels)))

    def _in_colours(self, image: Image.Image) -> Image.Image:
        """Eight-bit grey or RGB."""
        image = upright(image) if self.upright else eight_bits(image)
        if self.background is not None and image.has_transparency_data:
            ground = Image.new("RGBA", image.size, (*[self.background] * 3, 255))
            image = Image.alpha_composite(ground, image.convert("RGBA"))
        if self.steps.channels != 1:
            return in_colours(image, "RGB")
        if self.grey == "luma":
            return in_colours(image, "L")
        image = in_colours(image, "RGB")
        if self.grey == "mean":
            return Image.fromarray(np.asarray(image).mean(axis=2).astype(np.uint8))
        return Image.merge("RGB", image.split()[::-1]).convert("L")

    def _resized(self, pixels: Array, to: int | tuple[int, int]) -> Array:
        if isinstance(to, int):  # rounded down, as torchvision and Hugging Face do
            height, width = (to * side // min(pixels.shape[:2]) for side in pixels.shape[:2])
            to = height, width
        if self.picking is not None:
            values = picked(pixels, to, self.picking)
        else:
            values = averaged(pixels, to, self.steps.resample, rounded=self.rounded)
        return np.clip(np.rint(values), 0, 255) if self.rounded else values


def _middle(pixels: Array, size: tuple[int, int]) -> Array:
    top, left = ((whole - part) // 2 for whole, part in zip(pixels.shape, size, strict=False))
    return pixels[top : top + size[0], left : left + size[1]]
