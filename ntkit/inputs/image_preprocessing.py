"""Steps from an image to a model input, set by a user or by the files next to a model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit._text import shortened
from ntkit.exceptions import InputError

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.model import FrozenModel

# Pillow's numbers of the filters, which the files of Hugging Face's library use as well.
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}

_ORIENTATION = 0x0112  # EXIF tag, and the rotation that makes the image upright
_TURNS: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def filter_of(resample: Any) -> int:
    """Pillow's number of a resampling filter, from the number or the name."""
    known: Any = FILTERS.get(resample.lower()) if isinstance(resample, str) else resample
    if isinstance(known, bool) or known not in FILTERS.values():
        names = ", ".join(f"{name} ({number})" for name, number in FILTERS.items())
        raise InputError(f"resample must be one of {names}; got {resample!r}.")
    return int(known)


def upright(image: Image.Image) -> Image.Image:
    """An image of 8 bits, rotated by its EXIF orientation."""
    turn = None
    with suppress(Exception):  # damaged metadata of a sound image: viewers show it without rotation
        turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    image = eight_bits(image)  # loses the metadata
    return image if turn is None else image.transpose(turn)


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


def as_viewed(image: Image.Image) -> Image.Image:
    """An image as a viewer shows it: upright, in grey or RGB of 8 bits."""
    image = upright(image)
    return in_colours(image, "L" if image.mode in ("1", "L", "LA") else "RGB")


def size_after(size: tuple[int, int], resize: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height after a resize to (height, width), or of the shorter side to a length."""
    if isinstance(resize, int):
        # Rounded down, as torchvision and Hugging Face do.
        return resize * size[0] // min(size), resize * size[1] // min(size)
    return resize[1], resize[0]


def resized(image: Image.Image, resize: int | tuple[int, int], resample: int) -> Image.Image:
    """Resize to (height, width), or the shorter side to a length."""
    return image.resize(size_after(image.size, resize), Image.Resampling(resample))


Config = Mapping[str, Any]
Size = int | tuple[int, int]

# The keys that ntkit reads, and the library's values for keys that a file omits. None: the key must
# be there if its step is done.
_DEFAULTS: Config = {
    **dict.fromkeys(["size", "crop_size", "resample", "default_to_square"]),
    **dict.fromkeys(["image_mean", "image_std"]),
    **dict.fromkeys(["do_rescale", "do_normalize"], True),
    **dict.fromkeys(["do_center_crop", "do_pad"], False),
    "rescale_factor": 1 / 255,
}
_SQUARE: Config = {"default_to_square": True}
_SHORTER: Config = {"default_to_square": False}
_CLIP: Config = {**_SHORTER, "do_center_crop": True}
# Own values of image processors, and own keys. None: files that somebody wrote for their own model.
_PROCESSORS: dict[str | None, Config] = {
    None: {},
    "siglip": {},
    **dict.fromkeys(["vit", "pvt", "segformer", "dinov3vit"], _SQUARE),
    "deit": {**_SQUARE, "do_center_crop": True},
    "beit": {**_SQUARE, "do_center_crop": None},
    **dict.fromkeys(["clip", "chineseclip", "bit", "mobilenetv1", "mobilenetv2", "levit"], _CLIP),
    "convnext": {**_SHORTER, "crop_pct": 224 / 256},
    "poolformer": {**_CLIP, "crop_pct": 0.9},
    "efficientnet": {**_SQUARE, "include_top": True, "rescale_offset": False},
    "mobilevit": {**_CLIP, "do_flip_channel_order": True, "do_normalize": False},
}
_TYPES = ("image_processor_type", "feature_extractor_type")
# Keys that do not affect the pixels of an RGB image: names, segmentation maps, tensors, devices.
_HARMLESS = (
    *(*_TYPES, "processor_class", "_processor_class", "transformers_version"),
    *("_valid_processor_keys", "_valid_kwargs_names", "model_input_names"),
    *("do_convert_rgb", "do_reduce_labels", "reduce_labels", "pad_size"),
    *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping"),
)
_TIMM_DEFAULTS: Config = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
# Source of weights, names of the classes, and possible adaptations of the network. timm uses the
# test size only on request.
_TIMM_HARMLESS = (
    *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture"),
    *("tag", "custom_load", "test_input_size", "test_crop_pct", "test_pool_size"),
    *("min_input_size", "fixed_input_size", "num_classes", "num_features", "global_pool"),
    *("label_offset", "label_names", "label_descriptions", "labels", "pool_size"),
    *("first_conv", "classifier", "license", "description", "origin_url", "paper_name"),
    *("paper_ids", "notes", "model_args", "library_name", "version"),
)


def _entries(config: Config, defaults: Config, harmless: Iterable[str]) -> Config:
    """Values of all known keys; a key without a value has the default."""
    given = {key: value for key, value in config.items() if value is not None}
    for key in sorted(given.keys() - defaults.keys() - {*harmless}):  # might change the pixels
        raise ValueError(
            f"ntkit does not know what its key {key!r} ({_short(given[key])}) does to an image"
        )
    return {**defaults, **given}


def _wrong(entries: Config, key: str, wanted: str) -> ValueError:
    return ValueError(f"its key {key!r} is {_short(entries[key])}, not {wanted}")


def _flag(entries: Config, key: str) -> bool:
    if not isinstance(entries[key], bool):
        raise _wrong(entries, key, "true or false")
    return bool(entries[key])


def _number(entries: Config, key: str) -> float:
    if not _is_number(entries[key]) or entries[key] <= 0:
        raise _wrong(entries, key, "a number above 0")
    return float(entries[key])


def _channels(entries: Config, key: str) -> tuple[float, ...]:
    """One number for each channel, or one for all."""
    value = entries[key]
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(map(_is_number, values)):
        raise _wrong(entries, key, "a number a channel")
    return tuple(map(float, values))


def _filter(entries: Config, key: str) -> int:
    try:
        return filter_of(entries[key])
    except InputError:
        raise _wrong(entries, key, "a filter of Pillow's") from None


def _side(value: Any, key: str) -> int:
    """A length in pixels."""
    if not _is_number(value) or value != int(value) or value < 1:
        raise ValueError(f"its key {key!r} has {_short(value)}, not a number of pixels")
    return int(value)


def _size(value: Any, key: str, square: bool | None = True) -> Any:
    """Height and width, or the shorter side; `square`: a single number is that of both sides."""
    if isinstance(value, dict):
        value = {name: length for name, length in value.items() if length is not None}
        if value.keys() == {"shortest_edge"} and key == "size":
            return _side(value["shortest_edge"], key)
        if value.keys() != {"height", "width"}:
            raise ValueError(f"its key {key!r} has {sorted(value)}, not height and width")
        value = [value["height"], value["width"]]
    if isinstance(value, list) and len(value) == 2:
        return _side(value[0], key), _side(value[1], key)
    length = _side(value, key)
    if square is None:
        raise ValueError(
            f"its size of {length} may be that of the shorter side or of both sides, and it does "
            "not name an image processor"
        )
    return (length, length) if square else length


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    return shortened(repr(value), 40)


def _processor_steps(config: Config, name: str | None) -> dict[str, Any]:
    """Parameters of ``ImagePreprocessing`` from a file of Hugging Face's library."""
    kind = name
    if name is not None:
        kind = re.sub(r"(featureextractor|imageprocessor(fast|pil)?)$", "", name.lower())
    if kind not in _PROCESSORS:
        raise ValueError(f"ntkit does not know what a {name} does to an image")
    resizes = name is not None or config.get("size") is not None
    defaults = {**_DEFAULTS, "do_resize": resizes, **_PROCESSORS[kind]}
    entries = _entries(config, defaults, _HARMLESS)
    if _flag(entries, "do_pad"):
        raise ValueError("it pads images ('do_pad'), which ntkit does not")
    resize, crop = _resize_and_crop(entries, kind)
    steps: dict[str, Any] = {"resize": resize, "crop": crop}
    if resize is not None and (name is not None or entries["resample"] is not None):
        steps["resample"] = _filter(entries, "resample")
    if kind == "dinov3vit" and steps.get("resample", 2) != 2:
        # It resizes numbers that are not whole; only without overshoot the result is the same.
        raise ValueError(f"a {name} resizes differently from Pillow if 'resample' is not bilinear")
    if kind == "mobilevit" and _flag(entries, "do_normalize"):
        raise ValueError("a MobileViTImageProcessor does not normalise ('do_normalize')")
    if kind == "mobilevit" and _flag(entries, "do_flip_channel_order"):
        steps["channel_order"] = "BGR"
    return steps | _scale_and_shift(entries, kind)


def _scale_and_shift(entries: Config, kind: str | None) -> dict[str, Any]:
    """How pixels become numbers: a factor, then the mean and the deviation of each channel."""
    normalizes, rescales = _flag(entries, "do_normalize"), _flag(entries, "do_rescale")
    scale = _number(entries, "rescale_factor") if rescales else 1.0
    mean = _channels(entries, "image_mean") if normalizes else (0.0,)
    std = _channels(entries, "image_std") if normalizes else (1.0,)
    if kind == "efficientnet" and rescales and _flag(entries, "rescale_offset"):
        mean = tuple(value + 1.0 for value in mean)  # (x - 1 - mean) / std
    if kind == "efficientnet" and _flag(entries, "include_top"):  # divided by it again
        again = _channels(entries, "image_std")
        first = std * len(again) if len(std) == 1 else std
        std = tuple(a * b for a, b in zip(first, again, strict=True))
    return {"scale": scale, "mean": mean, "std": std}


def _resize_and_crop(
    entries: Config, kind: str | None
) -> tuple[Size | None, tuple[int, int] | None]:
    crops = _flag(entries, "do_center_crop")
    crop = _size(entries["crop_size"], "crop_size") if crops else None
    if not _flag(entries, "do_resize"):
        return None, crop
    square = entries["default_to_square"]
    if square is not None:
        square = _flag(entries, "default_to_square")
    elif kind is None and not crops:
        square = True  # the library's rule for a processor without its own
    resize = _size(entries["size"], "size", square)
    if kind == "levit" and isinstance(resize, int):
        resize = int((256 / 224) * resize)
    if kind == "poolformer":  # the crop takes a share of the size
        share = _number(entries, "crop_pct")
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
    return int(resize / _number(entries, "crop_pct")), (resize, resize)


def _is_timm(config: Config) -> bool:
    """Whether a ``config.json`` is timm's, in its present form or in that before 2023."""
    return "pretrained_cfg" in config or {"architecture", "input_size"} <= config.keys()


def _timm_steps(config: Config) -> dict[str, Any]:
    """Parameters of ``ImagePreprocessing`` from a file of timm's."""
    config = config.get("pretrained_cfg", config)
    if not isinstance(config, Mapping):
        raise ValueError("its key 'pretrained_cfg' is not an object")
    entries = _entries(config, _TIMM_DEFAULTS, _TIMM_HARMLESS)
    sizes, mode = entries["input_size"], entries["crop_mode"]
    if not isinstance(sizes, list) or len(sizes) != 3:
        raise ValueError("its key 'input_size' is not channels, height and width")
    height, width = _size(sizes[1:], "input_size")
    share = _number(entries, "crop_pct")
    larger = math.floor(height / share), math.floor(width / share)
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
        "mean": _channels(entries, "mean"),
        "std": _channels(entries, "std"),
        "resample": _filter(entries, "interpolation"),
    }


_HUGGING_FACE, _TIMM = "preprocessor_config.json", "config.json"
_MEND = (
    "pass the preprocessing itself (--resize, --mean and --std; --crop, --scale and --resample if "
    "they are not none, 1/255 and bilinear)"
)
Steps = dict[str, Any]
"""Parameters of ``ImagePreprocessing``, their source among them."""


def _read_config(path: str | Path) -> Steps:
    """Read a ``preprocessor_config.json``, or a ``config.json`` of timm's."""
    path = Path(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it does not contain an object")
        if _is_timm(config):
            return {**_timm_steps(config), "source": f"as {path.name} (timm) says"}
        name = next((str(config[key]) for key in _TYPES if config.get(key) is not None), None)
        source = f"as {path.name}{f' ({name})' if name else ''} says"
        return {**_processor_steps(config, name), "source": source}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a usable description of image preprocessing: {error}; {_MEND}."
        ) from error


def _steps_beside(model: FrozenModel) -> Iterator[Steps]:
    """Preprocessing of a model's images: from the files next to it, then from its metadata."""
    # The files are next to the model, or in the parent of a folder named `onnx`.
    from ntkit.model.class_names import folders_of
    from ntkit.model.frozen_model import PREPROCESSING

    for folder in folders_of(model.path):
        if (folder / _HUGGING_FACE).exists():
            yield _read_config(folder / _HUGGING_FACE)
        config: Any = None
        with suppress(OSError, ValueError, RecursionError):  # most describe only a network
            config = json.loads((folder / _TIMM).read_text(encoding="utf-8"))
        if isinstance(config, dict) and _is_timm(config):
            yield _read_config(folder / _TIMM)
    if PREPROCESSING in model.metadata and model.inputs[0].columns is None:
        try:
            steps = json.loads(model.metadata[PREPROCESSING]).items()
        except (ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"The model's metadata {PREPROCESSING!r} are damaged ({error}); {_MEND}."
            ) from error
        read = {name: tuple(v) if isinstance(v, list) else v for name, v in steps}
        yield {**read, "source": f"as the model's metadata ({PREPROCESSING}) say"}


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
        return cls()._with(_read_config(path), {})

    @classmethod
    def for_input(cls, shape: Sequence[Any] | None, dtype: str = "float32") -> ImagePreprocessing:
        """Guess from a model's input shape: layout, channels and size; pixels scaled to 0 … 1.

        If the model's input has integers that hold 255, the pixels stay 0 … 255.

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
            scale=1.0 if "int" in dtype and dtype != "int8" else 1 / 255,
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
            steps = [_read_config(config)] if config is not None else [*_steps_beside(model)]
        except InputError:
            if not given.keys() >= _ESSENTIAL:
                raise
            steps = []
        first = guess._with(steps[0] if steps else {}, given)
        for other in steps[1:]:
            if _differ(guess._with(steps[0], {}), guess._with(other, {})):
                differs = f"{first.source}, not {other['source']}, which differs"
                first = replace(first, source=differs)
        by_file = (
            f", {steps[0]['source']}" if steps and not given.keys() & {"resize", "crop"} else ""
        )
        mine, size = first.crop or first.resize, guess.resize
        if isinstance(mine, tuple) and isinstance(size, tuple) and mine != size:
            raise InputError(
                f"Images would have {mine[0]} x {mine[1]} pixels{by_file}, but the model needs "
                f"{size[0]} x {size[1]}; set --resize and --crop."
            )
        return first

    def _with(self, read: Steps, by_hand: dict[str, Any]) -> ImagePreprocessing:
        """These steps with the values of a file, overridden by values set by hand."""
        source = read.get("source", self.source)
        if by_hand.keys() >= _ESSENTIAL:
            source = "as given"
        elif by_hand:
            source += f" (but for {' and '.join(sorted(by_hand))}, as given)"
        own = {"layout": self.layout, "channels": self.channels, **by_hand, "source": source}
        steps = {**read, **own}
        try:
            for name in {"mean", "std"} & (read.keys() - by_hand.keys()):
                values = {*read[name]}
                if steps["channels"] == 1 and len(values) == 1:
                    steps[name] = tuple(values)  # for a grey image, from a file for three channels
            return replace(self, **steps)
        except (TypeError, ValueError) as error:
            said_so = f"The image preprocessing, {source}, is not usable"
            raise InputError(f"{said_so}: {error}") from error

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an image into an array of shape (C, H, W) or (H, W, C)."""
        return self.finished(self.seen(image))

    def seen(self, image: Image.Image) -> NDArray[np.float32]:
        """Pixels of the model's input, (H, W, C) from 0 to 255 in grey or RGB: resized, cropped."""
        image = in_colours(upright(image), "L" if self.channels == 1 else "RGB")
        if self.resize is not None:
            image = resized(image, self.resize, filter_of(self.resample))
        return self.cropped(np.asarray(image, dtype=np.float32))

    def cropped(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The centre of resized pixels, (H, W) or (H, W, C); an InputError if it is larger."""
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if self.crop is None:
            return pixels
        sides = pixels.shape[:2]
        over = sides[0] - self.crop[0], sides[1] - self.crop[1]
        if min(over) < 0:
            raise InputError(
                f"An image of {sides[0]} x {sides[1]} is smaller than the crop of {self.crop[0]} x "
                f"{self.crop[1]}; resize first (--resize)."
            )
        top, left = (round(n / 2) if self.crop_rounding == "even" else n // 2 for n in over)
        return pixels[top : top + self.crop[0], left : left + self.crop[1]]

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
