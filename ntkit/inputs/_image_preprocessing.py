"""Steps from an image to a model input, set by a user or by the files next to a model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit._text import shortened
from ntkit.exceptions import InputError
from ntkit.model import PREPROCESSING, FrozenModel, folders_of

# Pillow's numbers of the filters, which the files of Hugging Face's library use as well.
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}

_ORIENTATION = 0x0112  # EXIF tag, and the rotation that makes the image upright
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
        raise InputError(f"resample must be one of {names}; got {resample!r}.")
    return int(known)


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """Rotate an image by its EXIF orientation."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def orientation_of(image: Image.Image) -> int | None:
    """EXIF orientation of an image, which some conversions lose."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata of a sound image: viewers show it without rotation
        return None
    return orientation if isinstance(orientation, int) else None


def in_colours(image: Image.Image, mode: str) -> Image.Image:
    """Convert to grey or RGB; Pillow warns if it drops the transparency of a palette."""
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
    """Cut the centre from an array of shape (H, W, C)."""
    height, width = pixels.shape[:2]
    if height < crop[0] or width < crop[1]:
        raise InputError(
            f"An image of {height} x {width} is smaller than the crop of {crop[0]} x {crop[1]}; "
            "resize first (--resize)."
        )
    over = height - crop[0], width - crop[1]
    top, left = (round(n / 2) if rounding == "even" else n // 2 for n in over)
    return pixels[top : top + crop[0], left : left + crop[1]]


Config = Mapping[str, Any]


def refuse_unknown(config: Config, known: Iterable[str]) -> None:
    """Raise an error for a key that might change the pixels; a key without a value does nothing."""
    for key in sorted(config.keys() - set(known)):
        if config[key] is not None:
            raise ValueError(
                f"ntkit does not know what its key {key!r} ({_short(config[key])}) does to an image"
            )


def flag(config: Config, key: str, default: bool | None) -> bool:
    """True or false; null or a missing key gives the default, if there is one."""
    value = default if config.get(key) is None else config[key]
    if not isinstance(value, bool):
        raise ValueError(f"its key {key!r} is {_short(config.get(key))}, not true or false")
    return value


def number(config: Config, key: str, default: float) -> float:
    """A number above zero; null or a missing key gives the default."""
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
        raise ValueError(f"its key {key!r} is {_short(value)}, not a filter of Pillow's") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    return shortened(repr(value), 40)


Size = int | tuple[int, int]


@dataclass(frozen=True)
class _Processor:
    """Defaults of an image processor for keys that its file may omit."""

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
# Keys without a processor: in files that somebody wrote for their own model.
_PLAIN = _Processor(square=None)

_TYPES = ("image_processor_type", "feature_extractor_type")
_READ = frozenset(
    {
        *("do_resize", "size", "resample", "do_center_crop", "crop_size", "default_to_square"),
        *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "do_pad"),
    }
)
# Keys that do not affect the pixels of an RGB image: names, segmentation maps, tensors, devices.
_HARMLESS = frozenset(
    {
        *(*_TYPES, "processor_class", "_processor_class", "transformers_version"),
        *("_valid_processor_keys", "_valid_kwargs_names", "model_input_names"),
        *("do_convert_rgb", "do_reduce_labels", "reduce_labels", "pad_size"),
        *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping"),
    }
)


def processor_name(config: Config) -> str | None:
    """Name of a file's image processor, if it gives one."""
    return next((str(config[key]) for key in _TYPES if config.get(key) is not None), None)


def processor_steps(config: Config) -> dict[str, Any]:
    """Parameters of ``ImagePreprocessing`` from a file's content."""
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
        # It resizes numbers that are not whole; only without overshoot the result is the same.
        raise ValueError(f"a {name} resizes differently from Pillow if 'resample' is not bilinear")
    rescales = flag(config, "do_rescale", True)
    steps["scale"] = number(config, "rescale_factor", 1 / 255) if rescales else 1.0
    steps["mean"], steps["std"] = _mean_and_std(config, kind, rescales)
    if kind == "mobilevit" and flag(config, "do_flip_channel_order", True):
        steps["channel_order"] = "BGR"
    return steps


def _resize_and_crop(
    config: Config, processor: _Processor, kind: str
) -> tuple[Size | None, tuple[int, int] | None]:
    crops = flag(config, "do_center_crop", processor.crops)
    crop = _both_sides(config.get("crop_size"), "crop_size") if crops else None
    asks = kind != "" or config.get("size") is not None
    if not flag(config, "do_resize", asks):
        return None, crop
    square = processor.square  # whether a size of one number is that of both sides
    if config.get("default_to_square") is not None:
        square = flag(config, "default_to_square", None)
    elif kind == "" and not crops:
        square = True  # the library's rule for a processor without its own
    resize = _size(config, square)
    if kind == "levit" and isinstance(resize, int):
        resize = int((256 / 224) * resize)
    if kind == "poolformer":  # the crop takes a share of the size
        share = number(config, "crop_pct", 0.9)
        if isinstance(resize, int):
            return int(resize / share), crop
        height, width = (int(length / share) for length in resize)
        return height if resize[0] == resize[1] else (height, width), crop
    if kind != "convnext":
        return resize, crop
    if crops or not isinstance(resize, int):
        raise ValueError("a ConvNextImageProcessor takes a shortest edge, and no crop of its own")
    if resize >= 384:
        return (resize, resize), None
    return int(resize / number(config, "crop_pct", 224 / 256)), (resize, resize)


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
            f"its size of {length} may be that of the shorter side or of both sides, and it does "
            "not name an image processor"
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


def _mean_and_std(
    config: Config, kind: str, rescales: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Numbers to subtract and to divide by, with all steps combined."""
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
# Source of weights, names of the classes, and possible adaptations of the network. timm uses the
# test size only on request.
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
    """Whether a ``config.json`` is timm's, in its present form or in that before 2023."""
    return "pretrained_cfg" in config or {"architecture", "input_size"} <= config.keys()


def timm_steps(config: Config) -> dict[str, Any]:
    """Parameters of ``ImagePreprocessing`` from a file's content."""
    entries = config.get("pretrained_cfg", config)
    if not isinstance(entries, Mapping):
        raise ValueError("its key 'pretrained_cfg' is not an object")
    refuse_unknown(entries, _TIMM_READ | _TIMM_HARMLESS)
    settings = {**_IMAGENET, **{key: value for key, value in entries.items() if value}}
    sizes = settings.get("input_size", [3, 224, 224])
    if not isinstance(sizes, list) or len(sizes) != 3:
        raise ValueError("its key 'input_size' is not channels, height and width")
    height, width = (side(length, "input_size") for length in sizes[1:])
    share = number(settings, "crop_pct", 0.875)
    larger = math.floor(height / share), math.floor(width / share)
    mode = settings.get("crop_mode", "center")
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
        "mean": channels_of(settings, "mean"),
        "std": channels_of(settings, "std"),
        "resample": resample_of(settings.get("interpolation", "bicubic"), "interpolation"),
    }


_HUGGING_FACE, _TIMM = "preprocessor_config.json", "config.json"
_MEND = (
    "pass the preprocessing itself (--resize, --mean and --std; --crop, --scale and --resample if "
    "they are not none, 1/255 and bilinear)"
)


@dataclass(frozen=True)
class Steps:
    """Parameters of ``ImagePreprocessing``, and their source."""

    steps: dict[str, Any]
    source: str


def read_image_config(path: str | Path) -> Steps:
    """Read a ``preprocessor_config.json``, or a ``config.json`` of timm's."""
    path = Path(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it does not contain an object")
        if is_timm_config(config):
            return Steps(timm_steps(config), f"as {path.name} (timm) says")
        name = processor_name(config)
        return Steps(processor_steps(config), f"as {path.name}{f' ({name})' if name else ''} says")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a usable description of image preprocessing: {error}; {_MEND}."
        ) from error


def steps_beside(model: FrozenModel) -> Iterator[Steps]:
    """Preprocessing of a model's images: from the files next to it, then from its metadata."""
    # The files are next to the model, or in the parent of a folder named `onnx`.
    for folder in folders_of(model.path):
        if (folder / _HUGGING_FACE).exists():
            yield read_image_config(folder / _HUGGING_FACE)
        config: Any = None
        with suppress(OSError, ValueError, RecursionError):  # most describe only a network
            config = json.loads((folder / _TIMM).read_text(encoding="utf-8"))
        if isinstance(config, dict) and is_timm_config(config):
            yield read_image_config(folder / _TIMM)
    if PREPROCESSING in model.metadata and model.inputs[0].columns is None:
        yield _recorded(model.metadata[PREPROCESSING])


def _recorded(text: str) -> Steps:
    """Preprocessing that ntkit wrote into a model of images."""
    try:
        steps = json.loads(text)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in steps.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The model's metadata {PREPROCESSING!r} are damaged ({error}); {_MEND}."
        ) from error
    return Steps(values, f"as the model's metadata ({PREPROCESSING}) say")


_ASSUMED = (
    "assumed from the model's input, because there is no preprocessor_config.json or timm's "
    "config.json next to the model: compare with how the model was trained"
)
_LATE = ("channel_order", "crop_rounding")  # stores of older versions lack them
_ESSENTIAL = {"resize", "mean", "std"}  # parameters that are not read from an unusable file


@dataclass(frozen=True)
class ImagePreprocessing:
    """Preprocessing of images: how an image file becomes a model input, in this order.

    Parameters
    ----------
    resize : int, (height, width) or None
        New size in pixels; an int is the length of the shorter side. None keeps the size.
    crop : (height, width) or None
        Centre crop, in pixels.
    scale : float
        Factor on the pixel values 0 … 255.
    mean, std : tuple of float
        Values to subtract and to divide by, per channel, after scaling; one value applies to all
        channels.
    layout : {"NCHW", "NHWC"}
        Order of the axes.
    channels : {1, 3}
        Color mode: grey or RGB.
    resample : int or str
        Pillow's resampling filter: "nearest", "lanczos", "bilinear", "bicubic", "box",
        "hamming", or its number; kept as the number.
    channel_order : {"RGB", "BGR"}
        Order of three channels; mean and std are in this order.
    crop_rounding : {"down", "even"}
        Start of the crop if the middle is half a pixel: rounded down, as in Hugging Face's library,
        or to an even number, as in torchvision and timm.
    source : str
        Source of the values, as the end of a sentence. It is not compared.

    Raises
    ------
    InputError
        If a value is not valid.

    Examples
    --------
    >>> from PIL import Image
    >>> from ntkit.extraction import ImagePreprocessing
    >>> steps = ImagePreprocessing(resize=16, crop=(12, 12), mean=(0.5,), std=(0.5,))
    >>> steps(Image.new("RGB", (30, 20))).shape
    (3, 12, 12)
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channels: int = 3
    resample: int | str = 2
    channel_order: Literal["RGB", "BGR"] = "RGB"
    crop_rounding: Literal["down", "even"] = "down"
    source: str = field(default="as given", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resample", filter_of(self.resample))
        allowed: dict[str, tuple[Any, ...]] = {
            "layout": ("NCHW", "NHWC"),
            "channels": (1, 3),
            "channel_order": ("RGB", "BGR"),
            "crop_rounding": ("down", "even"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                known = " or ".join(map(repr, values))
                raise InputError(f"{name} must be {known}; got {getattr(self, name)!r}.")
        for name in ("resize", "crop"):
            sides = getattr(self, name)
            if sides is not None and np.min(sides) < 1:
                raise InputError(f"{name} must be in pixels, at least 1; got {sides}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, self.channels):
                raise InputError(
                    f"{name} has {len(values)} values for {self.channels} channel(s); pass one per "
                    f"channel, or one for all (--{name})."
                )
        numbers = [self.scale, *self.mean, *self.std]
        if not np.isfinite(numbers).all() or not self.scale or not all(self.std):
            raise InputError("scale, mean and std must be finite numbers, scale and std not zero.")

    @classmethod
    def from_config(cls, path: str | Path) -> ImagePreprocessing:
        """Read a Hugging Face ``preprocessor_config.json``, or timm's ``config.json``.

        The file does not contain layout and channels; they are three channels in NCHW.

        Raises
        ------
        InputError
            If the file is not of this format, or contains a key or an image processor with an
            unknown effect on images.
        """
        return cls()._with(read_image_config(path), {})

    @classmethod
    def for_input(cls, shape: Sequence[Any] | None, dtype: str = "float32") -> ImagePreprocessing:
        """Guess from a model's input shape: layout, channels and size; pixels scaled to 0 … 1.

        If the model's input has unsigned integers, the pixels stay 0 … 255.

        Parameters
        ----------
        shape : sequence of length 4
            Axes of the input; names or None if they are open: then the size is kept.
        dtype : str
            Element type of the input, as in ``FrozenModel.inputs``.

        Raises
        ------
        InputError
            If the input does not have four axes.
        """
        if shape is None or len(shape) != 4:
            raise InputError(
                f"Images need a model input of four axes; this model's input has shape {shape}. "
                "Pass arrays (.npz) instead."
            )
        nhwc = shape[3] in (1, 3) and shape[1] not in (1, 3)
        channels, height, width = shape[3 if nhwc else 1], *(shape[1:3] if nhwc else shape[2:4])
        fixed = isinstance(height, int) and isinstance(width, int)
        return cls(
            resize=(height, width) if fixed else None,
            scale=1.0 if dtype.startswith("uint") else 1 / 255,
            layout="NHWC" if nhwc else "NCHW",
            channels=channels if channels in (1, 3) else 3,
            source=_ASSUMED,
        )

    @classmethod
    def for_model(
        cls, model: FrozenModel, config: str | Path | None = None, **given: Any
    ) -> ImagePreprocessing | None:
        """Find how a model's images are preprocessed.

        Values come from the first of these: ``config``; a ``preprocessor_config.json`` or timm's
        ``config.json`` next to the model (or in the parent of a folder named ``onnx``); ntkit's
        record in the model's metadata. Layout and channels always come from the model's input, and
        so does everything else without such a file. :meth:`describe` names the source.

        Parameters
        ----------
        model : FrozenModel
            The model.
        config : path-like, optional
            One of these files, if it is elsewhere.
        **given
            Parameters that override all of these. With ``resize``, ``mean`` and ``std`` an unusable
            file is ignored.

        Returns
        -------
        ImagePreprocessing or None
            None if the model does not read images: one input of four axes.

        Raises
        ------
        InputError
            If the file is not usable, or makes images of another size than the model's.

        Examples
        --------
        >>> from ntkit import FrozenModel
        >>> from ntkit.datasets import marked_digits_model_path
        >>> from ntkit.extraction import ImagePreprocessing
        >>> model = FrozenModel.load(marked_digits_model_path())
        >>> ImagePreprocessing.for_model(model).resize
        (20, 20)
        """
        shape = model.inputs[0].shape if len(model.inputs) == 1 else None
        if shape is None or len(shape) != 4:
            return None
        guess = cls.for_input(shape, model.inputs[0].dtype)
        try:
            steps = [read_image_config(config)] if config is not None else [*steps_beside(model)]
        except InputError:
            if not given.keys() >= _ESSENTIAL:
                raise
            steps = []
        first = guess._with(steps[0] if steps else None, given)
        for other in steps[1:]:
            if _differ(guess._with(steps[0], {}), guess._with(other, {})):
                differs = f"{first.source}, not {other.source}, which differs"
                first = replace(first, source=differs)
        by_file = steps and not given.keys() & {"resize", "crop"}
        mine, size = first.crop or first.resize, guess.resize
        if isinstance(mine, tuple) and isinstance(size, tuple) and mine != size:
            raise InputError(
                f"Images would have {mine[0]} x {mine[1]} pixels"
                f"{f', {steps[0].source}' if by_file else ''}, but the model needs {size[0]} x "
                f"{size[1]}; set --resize and --crop."
            )
        return first

    def _with(self, read: Steps | None, by_hand: dict[str, Any]) -> ImagePreprocessing:
        """These steps with the values of a file, overridden by values set by hand."""
        source = read.source if read is not None else self.source
        if by_hand.keys() >= _ESSENTIAL:
            source = "as given"
        elif by_hand:
            source += f" (but for {' and '.join(sorted(by_hand))}, as given)"
        steps = {**(read.steps if read is not None else {})}
        for name in ("mean", "std"):
            values = set(steps.get(name, ()))
            if by_hand.get("channels", self.channels) == 1 and len(values) == 1:
                steps[name] = tuple(values)  # for a grey image, from a file for three channels
        layout = {"layout": self.layout, "channels": self.channels}
        try:
            return replace(self, **{**steps, **layout, **by_hand}, source=source)
        except (TypeError, ValueError) as error:
            said_so = f"The image preprocessing, {source}, is not usable"
            raise InputError(f"{said_so}: {error}") from error

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an image into an array of shape (C, H, W) or (H, W, C)."""
        return self.finished(self.seen(image))

    def seen(self, image: Image.Image) -> NDArray[np.float32]:
        """Pixels of the model's input, (H, W, C) from 0 to 255 in grey or RGB: resized, cropped."""
        orientation = orientation_of(image)
        image = in_colours(eight_bits(image), "L" if self.channels == 1 else "RGB")
        image = upright(image, orientation)
        if self.resize is not None:
            image = resized(image, self.resize, filter_of(self.resample))
        return self._cropped(np.asarray(image, dtype=np.float32))

    def after_resizing(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Model input, (C, H, W) or (H, W, C), of resized pixels: cropped, scaled, in its layout.

        The pixels are float32 of shape (H, W) or (H, W, C), from 0 to 255, in grey or RGB.

        Raises
        ------
        InputError
            If there are fewer pixels than the crop needs.
        """
        return self.finished(self._cropped(pixels))

    def _cropped(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        return pixels if self.crop is None else center_crop(pixels, self.crop, self.crop_rounding)

    def finished(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Model input from its pixels: scaled, in its channel order and layout."""
        if self.channel_order == "BGR":
            pixels = pixels[:, :, ::-1]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        pixels = (pixels * np.float32(self.scale) - mean) / std
        return np.asarray(pixels.transpose(2, 0, 1) if self.layout == "NCHW" else pixels)

    def as_dict(self) -> dict[str, Any]:
        """Plain values of everything that affects the pixels, for a manifest; not the source."""
        values = asdict(self)
        values.pop("source")
        unset = with_defaults({})
        return {k: v for k, v in values.items() if k not in unset or v != unset[k]}

    def describe(self) -> str:
        """Sentence on the preprocessing of an image, and its source."""
        words = []
        if self.resize is not None:
            name = {number: name for name, number in FILTERS.items()}[filter_of(self.resample)]
            if isinstance(self.resize, int):
                words.append(f"shorter side to {self.resize} pixels ({name})")
            else:
                words.append(f"resized to {self.resize[0]} x {self.resize[1]} ({name})")
        if self.crop is not None:
            words.append(f"centre crop {self.crop[0]} x {self.crop[1]}")
        factor = f"/ {1 / self.scale:.6g}" if self.scale < 1 else f"x {self.scale:.6g}"
        words.append(f"values {'0 to 255 as they are' if self.scale == 1 else factor}")
        if any(self.mean):
            words.append(f"minus {_numbers(self.mean)}")
        if any(value != 1 for value in self.std):
            words.append(f"divided by {_numbers(self.std)}")
        colours = "grey" if self.channels == 1 else self.channel_order
        return f"Images: {', '.join([*words, colours, self.layout])}; {self.source}."


def with_defaults(steps: dict[str, Any]) -> dict[str, Any]:
    """Add the entries that :meth:`ImagePreprocessing.as_dict` omits at their defaults."""
    unset = {f.name: f.default for f in fields(ImagePreprocessing) if f.name in _LATE}
    return unset | steps


def _differ(one: ImagePreprocessing, two: ImagePreprocessing) -> bool:
    """Whether two files mean different pixels, by more than half a pixel of the crop."""
    a, b = ({**steps.as_dict(), "crop_rounding": None} for steps in (one, two))
    if not np.isclose(a.pop("scale"), b.pop("scale")):
        return True
    for name in ("mean", "std"):
        if not np.allclose(a.pop(name), b.pop(name)):
            return True
    return a != b


def _numbers(values: tuple[float, ...]) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
