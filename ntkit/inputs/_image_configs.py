"""The files beside a model that say how images go into it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkit._text import shortened
from ntkit.exceptions import InputError
from ntkit.inputs._pixels import filter_of
from ntkit.inputs._text_preprocessing import folders_of
from ntkit.model import PREPROCESSING, FrozenModel

Config = Mapping[str, Any]


def refuse_unknown(config: Config, known: Iterable[str]) -> None:
    """Refuse a key that might change the pixels; one without a value does nothing."""
    for key in sorted(config.keys() - set(known)):
        if config[key] is not None:
            raise ValueError(
                f"ntkit does not know what its key {key!r} ({_short(config[key])}) does to an image"
            )


def flag(config: Config, key: str, default: bool | None) -> bool:
    """True or false; the default for null or nothing, where there is one."""
    value = default if config.get(key) is None else config[key]
    if not isinstance(value, bool):
        raise ValueError(f"its key {key!r} is {_short(config.get(key))}, not true or false")
    return value


def number(config: Config, key: str, default: float) -> float:
    """A number above zero; the default for null or nothing."""
    value = default if config.get(key) is None else config[key]
    if not _is_number(value) or value <= 0:
        raise ValueError(f"its key {key!r} is {_short(config[key])}, not a number above 0")
    return float(value)


def side(value: Any, key: str) -> int:
    """A length in pixels."""
    if not _is_number(value) or value != int(value) or value < 1:
        raise ValueError(f"its key {key!r} has {_short(value)}, not a number of pixels")
    return int(value)


def channels_of(config: Config, key: str) -> tuple[float, ...]:
    """One number for each channel, or one for all."""
    value = config.get(key)
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(map(_is_number, values)):
        raise ValueError(f"its key {key!r} is {_short(value)}, not a number a channel")
    return tuple(map(float, values))


def resample_of(value: Any, key: str) -> int:
    """Pillow's number of a filter."""
    try:
        return filter_of(value)
    except (InputError, AttributeError, TypeError):
        raise ValueError(f"its key {key!r} is {_short(value)}, no filter of Pillow's") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any, most: int = 40) -> str:
    return shortened(repr(value), most)


Size = int | tuple[int, int]


@dataclass(frozen=True)
class _Processor:
    """What a processor does that its file need not say."""

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
    """Read a file's content as parameters of ``ImagePreprocessing``."""
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


_TIMM_READ = frozenset({"input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std"})
# Where weights come from, what the classes are, what the network can be adapted to. The test size
# is one that timm does not use unless asked to.
_TIMM_HARMLESS = frozenset(
    {
        *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture"),
        *("tag", "custom_load", "test_input_size", "test_crop_pct", "test_pool_size"),
        *("min_input_size", "fixed_input_size", "num_classes", "num_features", "global_pool"),
        *("label_offset", "label_names", "label_descriptions", "labels", "pool_size"),
        *("first_conv", "classifier", "license", "description", "origin_url", "paper_name"),
        *("paper_ids", "notes", "model_args", "library_name", "version"),
    }
)
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def is_timm_config(config: Config) -> bool:
    """Whether a ``config.json`` is timm's, in its present form or the one of before 2023."""
    return "pretrained_cfg" in config or {"architecture", "input_size"} <= config.keys()


def timm_steps(config: Config) -> dict[str, Any]:
    """Read a file's content as parameters of ``ImagePreprocessing``."""
    given = config.get("pretrained_cfg", config)
    if not isinstance(given, Mapping):
        raise ValueError("its key 'pretrained_cfg' is no object")
    refuse_unknown(given, _TIMM_READ | _TIMM_HARMLESS)
    found = {**_IMAGENET, **{key: value for key, value in given.items() if value}}
    sizes = found.get("input_size", [3, 224, 224])
    if not isinstance(sizes, list) or len(sizes) != 3:
        raise ValueError("its key 'input_size' is not channels, height and width")
    height, width = (side(length, "input_size") for length in sizes[1:])
    share = number(found, "crop_pct", 0.875)
    larger = math.floor(height / share), math.floor(width / share)
    mode = found.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise ValueError(f"ntkit does not crop so: 'crop_mode' {mode!r}")
    if mode == "center" and height != width:
        raise ValueError(f"ntkit does not resize to {height} x {width} with 'crop_mode' 'center'")
    if min(larger) < 1 or larger[0] < height or larger[1] < width:
        raise ValueError("its key 'crop_pct' is more than 1: it pads images, which ntkit does not")
    return {
        "resize": larger if mode == "squash" else larger[0],
        "crop": (height, width),
        "crop_rounding": "even",
        "scale": 1 / 255,
        "mean": channels_of(found, "mean"),
        "std": channels_of(found, "std"),
        "resample": resample_of(found.get("interpolation", "bicubic"), "interpolation"),
    }


_HUGGING_FACE, _TIMM = "preprocessor_config.json", "config.json"
_MEND = (
    "give the preprocessing itself (--resize, --mean and --std; --crop, --scale and --resample "
    "where they are not none, 1/255 and bilinear)"
)


@dataclass(frozen=True)
class Said:
    """Parameters of ``ImagePreprocessing``, and where they come from."""

    steps: dict[str, Any]
    source: str


def read_image_config(path: str | Path) -> Said:
    """Read a ``preprocessor_config.json``, or a ``config.json`` of timm's."""
    path = Path(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no object")
        if is_timm_config(config):
            return Said(timm_steps(config), f"as {path.name} (timm) says")
        name = processor_name(config)
        return Said(processor_steps(config), f"as {path.name}{f' ({name})' if name else ''} says")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a usable description of image preprocessing: {error}; {_MEND}."
        ) from error


def said_beside(model: FrozenModel) -> Iterator[Said]:
    """What is said of a model's images: by the files beside it, then by its own metadata."""
    # Files lie beside the model, or in the folder above one that is named `onnx`.
    for folder in folders_of(model):
        if (folder / _HUGGING_FACE).exists():
            yield read_image_config(folder / _HUGGING_FACE)
        if _is_timms(folder / _TIMM):
            yield read_image_config(folder / _TIMM)
    if PREPROCESSING in model.metadata and model.inputs[0].columns is None:
        yield _recorded(model.metadata[PREPROCESSING])


def _is_timms(path: Path) -> bool:
    """Whether a ``config.json`` is timm's; most are about a network, and say nothing of images."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and is_timm_config(config)


def _recorded(text: str) -> Said:
    """What ntkit wrote into a model whose head it found on images."""
    try:
        steps = json.loads(text)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in steps.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The model's metadata {PREPROCESSING!r} are damaged ({error}); {_MEND}."
        ) from error
    return Said(values, f"as the model's metadata ({PREPROCESSING}) say")
