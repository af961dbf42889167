"""What a ``preprocessor_config.json`` says, read as Hugging Face's image processors read it.

Each processor has rules of its own, most of which its file does not state: what a size of one
number is, whether it crops, which channel comes first. Only those whose pixels were compared with
the library's are read; anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ntkit.preprocessing._config_values import (
    channels_of,
    flag,
    number,
    refuse_unknown,
    resample_of,
    side,
)

__all__ = ["processor_name", "processor_steps"]

Config = Mapping[str, Any]
Size = int | tuple[int, int]


@dataclass(frozen=True)
class _Processor:
    """What a processor does that its file need not say.

    Parameters
    ----------
    square : bool or None
        Whether a size of one number is that of both sides rather than of the shorter one.
    crops : bool or None
        Value of ``do_center_crop`` where it is missing.
    own : tuple of str
        Keys that other processors do not have.

    None stands for what has changed from one version of the library to the next.
    """

    square: bool | None
    crops: bool | None = False
    own: tuple[str, ...] = ()


_CLIP = _Processor(square=False, crops=True)
_PROCESSORS = {
    "vit": _Processor(square=True),
    "deit": _Processor(square=True, crops=True),
    "beit": _Processor(square=True, crops=None),
    "pvt": _Processor(square=True),
    "segformer": _Processor(square=True),
    "siglip": _Processor(square=None),
    "clip": _CLIP,
    "chineseclip": _CLIP,
    "bit": _CLIP,
    "mobilenetv1": _CLIP,
    "mobilenetv2": _CLIP,
    "levit": _CLIP,
    "dinov3vit": _Processor(square=True),
    "convnext": _Processor(square=False, own=("crop_pct",)),
    "poolformer": _Processor(square=False, crops=True, own=("crop_pct",)),
    "efficientnet": _Processor(square=True, own=("include_top", "rescale_offset")),
    "mobilevit": _Processor(square=False, crops=True, own=("do_flip_channel_order",)),
}
# Of no processor: a file that somebody wrote for a model of their own.
_PLAIN = _Processor(square=None)

_TYPES = ("image_processor_type", "feature_extractor_type")
_READ = frozenset(
    {
        *("do_resize", "size", "resample", "do_center_crop", "crop_size", "default_to_square"),
        *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "do_pad"),
    }
)
# About other things than the pixels of an RGB image: names, segmentation maps, tensors, devices.
_HARMLESS = frozenset(
    {
        *(*_TYPES, "processor_class", "_processor_class", "transformers_version"),
        *("_valid_processor_keys", "_valid_kwargs_names", "model_input_names"),
        *("do_convert_rgb", "do_reduce_labels", "reduce_labels", "pad_size"),
        *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping"),
    }
)


def processor_name(config: Config) -> str | None:
    """Name of the image processor a file is for, if it gives one."""
    return next((str(config[key]) for key in _TYPES if config.get(key) is not None), None)


def processor_steps(config: Config) -> dict[str, Any]:
    """Read a file's content as parameters of ``ImagePreprocessing``.

    Parameters
    ----------
    config : mapping
        Content of a ``preprocessor_config.json``.

    Returns
    -------
    dict
        Parameters by name; without layout and channels, of which the file says nothing.

    Raises
    ------
    ValueError
        If it asks for something that is not known exactly; the message says what, to go on with
        "the file is not usable: ".

    Examples
    --------
    >>> from ntkit.preprocessing._hugging_face_images import processor_steps
    >>> steps = processor_steps({
    ...     "image_processor_type": "LevitImageProcessor", "size": 224, "crop_size": 224,
    ...     "resample": 3, "do_normalize": False,
    ... })
    >>> steps["resize"], steps["crop"]
    (256, (224, 224))
    """
    name = processor_name(config)
    kind = re.sub(r"(featureextractor|imageprocessor(fast|pil)?)$", "", (name or "").lower())
    processor = _PROCESSORS.get(kind) if name is not None else _PLAIN
    if processor is None:
        raise ValueError(f"ntkit does not know what a {name} does to an image")
    refuse_unknown(config, _READ | _HARMLESS | set(processor.own))
    if flag(config, "do_pad", False):
        raise ValueError("it pads images ('do_pad'), which ntkit does not")
    resize, crop = _resize_and_crop(config, processor, kind)
    steps: dict[str, Any] = {"resize": resize, "crop": crop}
    if resize is not None and (name is not None or config.get("resample") is not None):
        steps["resample"] = resample_of(config.get("resample"), "resample")
    if kind == "dinov3vit" and steps.get("resample", 2) != 2:
        # It resizes numbers that are not whole: only without overshoot does that come to the same.
        raise ValueError(f"a {name} resizes otherwise than Pillow if 'resample' is not bilinear")
    rescales = flag(config, "do_rescale", True)
    steps["scale"] = number(config, "rescale_factor", 1 / 255) if rescales else 1.0
    steps["mean"], steps["std"] = _mean_and_std(config, kind, rescales)
    if kind == "mobilevit" and flag(config, "do_flip_channel_order", True):
        steps["channel_order"] = "BGR"
    return steps


# -- the geometry -------------------------------------------------------------------------------


def _resize_and_crop(
    config: Config, processor: _Processor, kind: str
) -> tuple[Size | None, tuple[int, int] | None]:
    crops = flag(config, "do_center_crop", processor.crops)
    crop = _both_sides(config.get("crop_size"), "crop_size") if crops else None
    asks = kind != "" or config.get("size") is not None
    if not flag(config, "do_resize", asks):
        return None, crop
    resize = _size(config, _is_square(config, processor, kind, crops))
    if kind == "levit" and isinstance(resize, int):
        resize = int((256 / 224) * resize)
    if kind == "poolformer":
        resize = _enlarged(resize, number(config, "crop_pct", 0.9))
    if kind != "convnext":
        return resize, crop
    if crops or not isinstance(resize, int):
        raise ValueError("a ConvNextImageProcessor takes a shortest edge, and no crop of its own")
    if resize >= 384:
        return (resize, resize), None
    return int(resize / number(config, "crop_pct", 224 / 256)), (resize, resize)


def _is_square(config: Config, processor: _Processor, kind: str, crops: bool) -> bool | None:
    """Whether a size of one number is that of both sides; None where nobody can say."""
    if config.get("default_to_square") is not None:
        return flag(config, "default_to_square", None)
    if kind == "" and not crops:
        return True  # the library's rule where a processor has none of its own
    return processor.square


def _size(config: Config, square: bool | None) -> Size:
    size = config.get("size")
    if isinstance(size, dict):
        size = {key: value for key, value in size.items() if value is not None}
        if size.keys() == {"shortest_edge"}:
            return side(size["shortest_edge"], "size")
        if size.keys() == {"height", "width"}:
            return _both_sides(size, "size")
        raise ValueError(f"ntkit cannot resize to {sorted(size)} ('size')")
    if isinstance(size, list):
        return _both_sides(size, "size")
    length = side(size, "size")
    if square is None:
        raise ValueError(
            f"its size of {length} may be that of the shorter side or of both, and it names no "
            "image processor that would tell"
        )
    return (length, length) if square else length


def _both_sides(size: Any, key: str) -> tuple[int, int]:
    if isinstance(size, dict):
        size = {name: value for name, value in size.items() if value is not None}
        if size.keys() != {"height", "width"}:
            raise ValueError(f"its key {key!r} has {sorted(size)}, not height and width")
        return side(size["height"], key), side(size["width"], key)
    if isinstance(size, list) and len(size) == 2:
        return side(size[0], key), side(size[1], key)
    return (side(size, key),) * 2


def _enlarged(resize: Size, share: float) -> Size:
    """The size of which a crop keeps a share."""
    if isinstance(resize, int):
        return int(resize / share)
    height, width = (int(length / share) for length in resize)
    return height if resize[0] == resize[1] else (height, width)


# -- the values ---------------------------------------------------------------------------------


def _mean_and_std(
    config: Config, kind: str, rescales: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What is subtracted and divided by, all steps in one."""
    normalizes = flag(config, "do_normalize", kind != "mobilevit")
    if kind == "mobilevit" and normalizes:
        raise ValueError("a MobileViTImageProcessor does not normalise ('do_normalize')")
    mean = channels_of(config, "image_mean") if normalizes else (0.0,)
    std = channels_of(config, "image_std") if normalizes else (1.0,)
    if kind != "efficientnet":
        return mean, std
    if rescales and flag(config, "rescale_offset", False):
        mean = tuple(value + 1.0 for value in mean)  # (x - 1 - mean) / std
    if flag(config, "include_top", True):  # divided by it again
        again = channels_of(config, "image_std")
        first = std * len(again) if len(std) == 1 else std
        std = tuple(a * b for a, b in zip(first, again, strict=True))
    return mean, std
