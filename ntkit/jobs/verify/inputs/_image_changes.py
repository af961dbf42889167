"""What services do otherwise with images, by the steps that ntkit takes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.inputs import FILTERS, ImagePreprocessing
from ntkit.jobs.verify._change import Change
from ntkit.jobs.verify.inputs._resampling import PICKING

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
_SHARES = (224 / 256, 0.9, 0.95, 0.96, 0.8, 224 / 232, 299 / 320, 0.75)  # kept by a centre crop
_USUAL_SIDES = (224, 256, 299, 384, 512)


def image_changes(steps: ImagePreprocessing, size: Size) -> list[Change]:
    """What a service may do otherwise than these steps, one thing at a time."""
    # `size` is that of the model's input, where it is fixed or the steps end in it.
    return [
        *_resamplings(steps),
        *_channel_orders(steps),
        *_geometries(steps, size),
        *_values(steps),
        Change("EXIF rotation", "does not turn images as their EXIF orientation says",
               {"upright": False}),
        *_layouts(steps),
        Change("transparency", "puts transparent images on white", {"background": 255}),
        Change("transparency", "puts transparent images on black", {"background": 0}),
    ]  # fmt: skip


def usual_pipelines(steps: ImagePreprocessing, size: Size) -> list[tuple[Change, ...]]:
    """What comes together: geometry, filter and values, or values and the order of channels."""
    geometries = [(steps.resize, steps.crop)]
    if size is not None:
        side = min(size)
        geometries += [(size, None), (side, size)]
        geometries += [(int(side / share), size) for share in _SHARES[:2]]
    sides = [_geometry(steps, *geometry) for geometry in geometries]
    filters = [_resample(steps, name) for name in ("bilinear", "bicubic")]
    values = [_value(steps, 1 / 255, *pair) for pair in (IMAGENET, HALF, CLIP, _NONE)]
    together = list[tuple[Change, ...]]()
    for value, side_change, filtering in product(values, sides, filters):
        parts = tuple(_existing((side_change, filtering, value)))
        if len(parts) > 1 and parts not in together:
            together.append(parts)
    orders = [change for change in _channel_orders(steps) if change.what == "channel order"]
    return [*together, *product(_values(steps), orders)]


def array_changes(axis: int) -> list[Change]:
    """What may be done otherwise to arrays of images with their channels on this axis."""
    heights, other = ((2, 3), (0, 2, 3, 1)) if axis == 1 else ((1, 2), (0, 3, 1, 2))

    def refolded(X: Array) -> Array:
        return np.ascontiguousarray(X.transpose(other)).reshape(X.shape)

    table: list[tuple[str, str, Any]] = [
        ("channel order", "the channels of these arrays in the other order",
         lambda X: np.flip(X, axis)),
        ("layout", "these arrays with the axes renamed instead of moved", refolded),
        ("layout", "these arrays with height and width exchanged",
         lambda X: X.swapaxes(*heights)),
        ("scale", "these arrays multiplied by 255", _normalised((0.0,), (1 / 255,), axis)),
        ("scale", "these arrays divided by 255", _normalised((0.0,), (255.0,), axis)),
    ]  # fmt: skip
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
    return [Change(what, f"feeds {words}", {"after": step}) for what, words, step in table]


def _normalised(mean: Numbers, std: Numbers, axis: int) -> Any:
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    shift, divisor = (np.reshape(v, shape).astype(np.float32) for v in (mean, std))
    return lambda X: (X.astype(np.float32) - shift) / divisor


def _existing(changes: Iterable[Change | None]) -> list[Change]:
    return [change for change in changes if change is not None]


# -- the filter ---------------------------------------------------------------------------------


def _resamplings(steps: ImagePreprocessing) -> list[Change]:
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
            Change("resample", f"resizes {how}, not {here}",
                   {"picking": picking, "rounded": rounded}, group="filter")
            for how, picking, rounded in table
        ),
        Change("rounding", words, {"rounded": False}, usual=1),
    ]  # fmt: skip


def _resample(steps: ImagePreprocessing, name: str) -> Change | None:
    if steps.resize is None or FILTERS[name] == steps.resample:
        return None
    words = f"resizes with the filter {name}, not {_filter_name(steps)}"
    usual = 0 if name in ("nearest", "bilinear", "bicubic") else 1
    values = {"resample": FILTERS[name]}
    return Change("resample", words, values, f"--resample {name}", usual, "filter")


def _filter_name(steps: ImagePreprocessing) -> str:
    return next(name for name, number in FILTERS.items() if number == steps.resample)


# -- size and crop ------------------------------------------------------------------------------


def _geometries(steps: ImagePreprocessing, size: Size) -> list[Change]:
    """Other ways to the model's size; where it takes any, other sizes."""
    changes = list[Change | None]()
    for height, width in [size] if size is not None else [(n, n) for n in _sides(steps)]:
        side, whole = min(height, width), {"resize": (height, width), "crop": None}
        larger = sorted({n for share in _SHARES for n in (int(side / share), round(side / share))})
        resizes: list[Any] = [side, *larger]
        resizes += [(round(height * n / side), round(width * n / side)) for n in larger]
        changes.append(_geometry(steps, (height, width), None))
        changes += [_geometry(steps, resize, (height, width)) for resize in (*resizes, None)]
        if height == width:
            words = "cuts out the largest square in the middle and resizes that"
            changes.append(Change("crop", words, {**whole, "frame": "square"}, "", 2, "geometry"))
        for name, value in (("black", 0), ("grey", 114), ("white", 255)):
            words = f"resizes the whole image into the input and fills up with {name} margins"
            values = {**whole, "frame": "padded", "margin": value}
            changes.append(Change("resize", words, values, "", 2, "geometry"))
    if steps.crop is not None:
        other = "even" if steps.crop_rounding == "down" else "down"
        words = "rounds where the crop begins otherwise (by half a pixel)"
        changes += [
            Change("crop", "crops at the upper left, not in the middle", {"corner": True}),
            Change("crop", words, {"crop_rounding": other}, usual=1),
        ]
    elif size is not None:
        words = f"crops {size[0]} x {size[1]} at the upper left without resizing"
        values = {"corner": True, "resize": None, "crop": size}
        changes.append(Change("crop", words, values, "", 1, "geometry"))
    return _existing(changes)


def _sides(steps: ImagePreprocessing) -> tuple[int, ...]:
    sides = steps.crop or steps.resize
    if sides is None:
        return _USUAL_SIDES
    return (sides if isinstance(sides, int) else min(sides), *_USUAL_SIDES)


def _geometry(steps: ImagePreprocessing, resize: Any, crop: Any) -> Change | None:
    """Another size, another crop, or both."""
    if isinstance(resize, tuple) and resize == crop:
        crop = None
    if (resize, crop) == (steps.resize, steps.crop):
        return None
    what = "resize" if (crop is None) == (steps.crop is None) else "resize and crop"
    if resize == steps.resize:
        what = "crop"
    words = f"{_in_words(resize, crop)}, where ntkit {_in_words(steps.resize, steps.crop)}"
    # An option cannot take a crop away that a file asks for.
    fix = ""
    if resize is not None and (crop is not None or steps.crop is None):
        fix = f"--resize {_option(resize)}" + (f" --crop {_option(crop)}" if crop else "")
    usual = 0 if not isinstance(resize, tuple) or crop is None else 1
    return Change(what, words, {"resize": resize, "crop": crop}, fix, usual, "geometry")


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
    return f"{sized} {joined} {crop[0]} x {crop[1]} in the middle"


def _option(sides: Any) -> str:
    return str(sides) if isinstance(sides, int) else f"{sides[0]},{sides[1]}"


# -- channels and values ------------------------------------------------------------------------


def _channel_orders(steps: ImagePreprocessing) -> list[Change]:
    if steps.channels == 1:
        return [
            Change("channel order", "makes grey of channels in the order BGR",
                   {"grey": "luma of BGR"}),
            Change("grey", "makes grey by the mean of the channels", {"grey": "mean"}, usual=1),
        ]  # fmt: skip
    other = "BGR" if steps.channel_order == "RGB" else "RGB"
    words = f"gives channels in the order {other}, not {steps.channel_order}"
    late = f"{words}, swapped after mean and std"
    return [
        Change("channel order", words, {"channel_order": other}),
        Change("channel order", late, {"reversed_last": True}, usual=1),
    ]


def _values(steps: ImagePreprocessing) -> list[Change]:
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
    inverted = Change(
        "scale", "inverts images: white is 0", {"scale": -scale, "mean": turned}, "", 1, "values"
    )
    return [*_existing(_value(steps, by, *pair) for by, pair in candidates), inverted]


def _value(steps: ImagePreprocessing, scale: float, mean: Numbers, std: Numbers) -> Change | None:
    if steps.channels == 1 and max(len(mean), len(std)) == 3:
        return None
    if _affine(scale, mean, std) == _affine(steps.scale, steps.mean, steps.std):
        return None
    words = f"{_range(scale, mean, std)}, where ntkit {_range(steps.scale, steps.mean, steps.std)}"
    # A range is a scale, however it is written; statistics of a data set are mean and std.
    ranges = all(len(set(values)) == 1 for values in (mean, std, steps.mean, steps.std))
    what = "scale" if ranges or (mean, std) == (steps.mean, steps.std) else "mean and std"
    listed = ",".join
    fix = (
        f"--scale {scale:.10g} --mean {listed(f'{v:.10g}' for v in mean)} "
        f"--std {listed(f'{v:.10g}' for v in std)}"
    )
    values = {"scale": scale, "mean": mean, "std": std}
    return Change(what, words, values, fix, group="values")


def _affine(scale: float, mean: Numbers, std: Numbers) -> tuple[tuple[float, float], ...]:
    """Factor and shift of each channel."""
    triple = [values * 3 if len(values) == 1 else values for values in (mean, std)]
    return tuple((round(scale * 255 / s, 9), round(m / s, 9)) for m, s in zip(*triple, strict=True))


def _range(scale: float, mean: Numbers, std: Numbers) -> str:
    names = {IMAGENET: "ImageNet's mean and std", CLIP: "CLIP's mean and std"}
    whole = f"gives values from 0 to {255 * scale:.4g}"
    if (mean, std) == _NONE:
        return whole
    if (mean, std) == HALF and scale == 1 / 255:
        return "gives values from -1 to 1"
    name = names.get((mean, std)) or f"mean {_few(mean)} and std {_few(std)}"
    return f"{whole}, normalised with {name}"


def _few(values: Numbers) -> str:
    texts = [f"{value:.4g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


# -- axes ---------------------------------------------------------------------------------------


def _layouts(steps: ImagePreprocessing) -> list[Change]:
    turned = Change("layout", "exchanges height and width", {"turned": True})
    if steps.channels != 3:
        return [turned]
    other = "NHWC" if steps.layout == "NCHW" else "NCHW"
    words = f"feeds pixels in the order {other} under the shape of {steps.layout}"
    return [Change("layout", words, {"refolded": True}), turned]
