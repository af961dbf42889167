"""What services do otherwise with images, by the steps that ntkit takes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from ntkit.inputs import FILTERS, ImagePreprocessing
from ntkit.jobs.verify._change import Change
from ntkit.jobs.verify.inputs._image_settings import ImageSettings
from ntkit.jobs.verify.inputs._resampling import PICKING

Numbers = tuple[float, ...]
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


def image_changes(steps: ImagePreprocessing, size: tuple[int, int] | None) -> list[Change]:
    """What a service may do otherwise than these steps, one thing at a time."""
    changes = [
        *_resamplings(steps),
        *_channel_orders(steps),
        *_geometries(steps, size),
        *_values(steps),
        _changed("EXIF rotation", "does not turn images as their EXIF orientation says",
                 upright=False),
        *_layouts(steps),
        *(
            _changed("transparency", f"puts transparent images on {name}", background=value)
            for name, value in (("white", 255), ("black", 0))
        ),
    ]  # fmt: skip
    return changes


def usual_pipelines(
    steps: ImagePreprocessing, size: tuple[int, int] | None
) -> list[tuple[Change, ...]]:
    """What comes together: geometry, filter and values, or values and the order of channels."""
    found = list[tuple[Change, ...]]()
    sides = [_geometry(steps, resize, crop) for resize, crop in _usual_geometries(steps, size)]
    filters = [_resample(steps, name) for name in ("bilinear", "bicubic")]
    values = [_value(steps, 1 / 255, *pair) for pair in (IMAGENET, HALF, CLIP, _NONE)]
    for value in values:
        for side in sides:
            for filtering in filters:
                parts = tuple(part for part in (side, filtering, value) if part is not None)
                if len(parts) > 1 and parts not in found:
                    found.append(parts)
    orders = [change for change in _channel_orders(steps) if change.what == "channel order"]
    return [*found, *product(_values(steps), orders)]


def _changed(what: str, words: str, *, usual: int = 0, group: str = "", **values: Any) -> Change:
    def apply(settings: ImageSettings) -> ImageSettings:
        return replace(settings, **values)

    return Change(what, words, apply, usual=usual, group=group)


def _with_steps(
    what: str,
    words: str,
    fix: str,
    usual: int = 0,
    others: Any = None,
    *,
    group: str = "",
    **values: Any,
) -> Change:
    def apply(settings: ImageSettings) -> ImageSettings:
        return replace(settings, steps=replace(settings.steps, **values), **(others or {}))

    return Change(what, words, apply, fix, usual=usual, group=group)


# -- the filter ---------------------------------------------------------------------------------


def _resamplings(steps: ImagePreprocessing) -> list[Change]:
    if steps.resize is None:
        return []
    found = [_resample(steps, name) for name in FILTERS]
    here = _name_of(steps)
    own = [
        _changed(
            "resample",
            f"resizes with the filter {name} without antialiasing (as {library}), not {here}",
            picking=name,
            rounded=rounded,
            group="filter",
        )
        for name in PICKING
        for library, rounded in (("OpenCV", True), ("PyTorch with antialias=False", False))
    ]
    corner = _changed(
        "resample",
        f"resizes by nearest neighbours counted from the corner (as OpenCV), not {here}",
        picking="nearest corner",
        group="filter",
    )
    words = "does not round resized pixels to whole numbers (as PyTorch on floats)"
    whole = _changed("rounding", words, rounded=False, usual=1)
    return [*(change for change in found if change is not None), *own, corner, whole]


def _resample(steps: ImagePreprocessing, name: str) -> Change | None:
    if steps.resize is None or FILTERS[name] == steps.resample:
        return None
    words = f"resizes with the filter {name}, not {_name_of(steps)}"
    usual = 0 if name in ("nearest", "bilinear", "bicubic") else 1
    return _with_steps(
        "resample",
        words,
        f"--resample {name}",
        usual,
        group="filter",
        resample=FILTERS[name],
    )


def _name_of(steps: ImagePreprocessing) -> str:
    return next(name for name, number in FILTERS.items() if number == steps.resample)


# -- size and crop ------------------------------------------------------------------------------


def _usual_geometries(
    steps: ImagePreprocessing, size: tuple[int, int] | None
) -> list[tuple[Any, Any]]:
    if size is None:
        return [(steps.resize, steps.crop)]
    side = min(size)
    return [
        (steps.resize, steps.crop),
        (size, None),
        (side, size),
        (int(side / _SHARES[0]), size),
        (int(side / _SHARES[1]), size),
    ]


def _geometries(steps: ImagePreprocessing, size: tuple[int, int] | None) -> list[Change]:
    """Other ways to the model's size; where it takes any, other sizes."""
    found = list[Change | None]()
    for height, width in [size] if size is not None else [(n, n) for n in _sides(steps)]:
        side = min(height, width)
        larger = sorted({n for share in _SHARES for n in _rounded(side / share)})
        found.append(_geometry(steps, (height, width), None))
        for n in (side, *larger):
            found.append(_geometry(steps, n, (height, width)))
        for n in larger:
            square = (round(height * n / side), round(width * n / side))
            found.append(_geometry(steps, square, (height, width)))
        found.append(_geometry(steps, None, (height, width)))
        if height == width:
            words = "cuts out the largest square in the middle and resizes that"
            found.append(_framed("crop", words, (height, width), frame="square"))
        for name, value in (("black", 0), ("grey", 114), ("white", 255)):
            words = f"resizes the whole image into the input and fills up with {name} margins"
            found.append(_framed("resize", words, (height, width), frame="padded", margin=value))
    if steps.crop is not None:
        found.append(_changed("crop", "crops at the upper left, not in the middle", corner=True))
        other = "even" if steps.crop_rounding == "down" else "down"
        words = "rounds where the crop begins otherwise (by half a pixel)"
        found.append(_with_steps("crop", words, "", 1, crop_rounding=other))
    elif size is not None:
        words = f"crops {size[0]} x {size[1]} at the upper left without resizing"
        found.append(
            _with_steps(
                "crop", words, "", 1, {"corner": True}, group="geometry", resize=None, crop=size
            )
        )
    return [change for change in found if change is not None]


def _sides(steps: ImagePreprocessing) -> tuple[int, ...]:
    if steps.crop is not None:
        return (min(steps.crop), *_USUAL_SIDES)
    if steps.resize is not None:
        side = steps.resize if isinstance(steps.resize, int) else min(steps.resize)
        return (side, *_USUAL_SIDES)
    return _USUAL_SIDES


def _rounded(length: float) -> tuple[int, ...]:
    return (int(length), round(length))


def _geometry(steps: ImagePreprocessing, resize: Any, crop: Any) -> Change | None:
    """Another size, another crop, or both."""
    if isinstance(resize, tuple) and resize == crop:
        crop = None
    if (resize, crop) == (steps.resize, steps.crop):
        return None
    if resize == steps.resize:
        what = "crop"
    else:
        what = "resize" if (crop is None) == (steps.crop is None) else "resize and crop"
    words = f"{_in_words(resize, crop)}, where ntkit {_in_words(steps.resize, steps.crop)}"
    fix = [f"--resize {_option(resize)}"] if resize is not None else []
    fix += [f"--crop {_option(crop)}"] if crop is not None else []
    # An option cannot take a crop away that a file asks for.
    possible = resize is not None and (crop is not None or steps.crop is None)
    usual = 0 if not isinstance(resize, tuple) or crop is None else 1
    return _with_steps(
        what,
        words,
        " ".join(fix) if possible else "",
        usual,
        group="geometry",
        resize=resize,
        crop=crop,
    )


def _framed(what: str, words: str, size: tuple[int, int], **others: Any) -> Change:
    return _with_steps(what, words, "", 2, others, group="geometry", resize=size, crop=None)


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
            _changed(
                "channel order", "makes grey of channels in the order BGR", grey="luma of BGR"
            ),
            _changed("grey", "makes grey by the mean of the channels", grey="mean", usual=1),
        ]
    other = "BGR" if steps.channel_order == "RGB" else "RGB"
    words = f"gives channels in the order {other}, not {steps.channel_order}"
    return [
        _with_steps("channel order", words, "", channel_order=other),
        _changed("channel order", f"{words}, swapped after mean and std", reversed_last=True,
                 usual=1),
    ]  # fmt: skip


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
    found = [_value(steps, factor, *pair) for factor, pair in candidates]
    return [*(change for change in found if change is not None), _inverted(steps)]


def _inverted(steps: ImagePreprocessing) -> Change:
    """Take 255 - x for x, by a factor below 0."""
    mean = tuple(value - 255 * steps.scale for value in steps.mean)
    words = "inverts images: white is 0"
    return _with_steps("scale", words, "", 1, group="values", scale=-steps.scale, mean=mean)


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
    return _with_steps(what, words, fix, group="values", scale=scale, mean=mean, std=std)


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
    found = [_changed("layout", "exchanges height and width", turned=True)]
    if steps.channels == 3:
        other = "NHWC" if steps.layout == "NCHW" else "NCHW"
        words = f"feeds pixels in the order {other} under the shape of {steps.layout}"
        found.insert(0, _changed("layout", words, refolded=True))
    return found
