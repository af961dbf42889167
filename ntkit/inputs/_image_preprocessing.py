"""How an image becomes a model input: resized, cropped, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit.exceptions import InputError
from ntkit.inputs._image_configs import Said, read_image_config, said_beside
from ntkit.inputs._pixels import (
    FILTERS,
    center_crop,
    eight_bits,
    filter_of,
    in_colours,
    orientation_of,
    resized,
    upright,
)
from ntkit.model import FrozenModel

_ASSUMED = (
    "assumed from the model's input, as neither a preprocessor_config.json nor timm's config.json "
    "lies beside the model: compare with how the model was trained"
)
_LATE = ("channel_order", "crop_rounding")  # stores of before these came lack them
_ESSENTIAL = {"resize", "mean", "std"}  # what an unusable file must not be asked for


@dataclass(frozen=True)
class ImagePreprocessing:
    """How an image file becomes a model input, in this order.

    Parameters
    ----------
    resize : int, (height, width) or None
        New size in pixels; an int is the length of the shorter side. None keeps the size.
    crop : (height, width) or None
        Centre crop, in pixels.
    scale : float
        Factor on the pixel values 0 … 255.
    mean, std : tuple of float
        Subtracted and divided by, per channel, after scaling; one value serves all channels.
    layout : {"NCHW", "NHWC"}
        Order of the axes.
    channels : {1, 3}
        Grey or RGB.
    resample : int or str
        Pillow's resampling filter: "nearest", "lanczos", "bilinear", "bicubic", "box",
        "hamming", or its number; kept as the number.
    channel_order : {"RGB", "BGR"}
        Which of three channels comes first; mean and std are in this order.
    crop_rounding : {"down", "even"}
        Where the crop begins if the middle is half a pixel: rounded down, as Hugging Face's
        library does, or to an even number, as torchvision and timm do.
    source : str
        Where the values come from, as the end of a sentence. It is not compared.

    Raises
    ------
    InputError
        If a value is none of these.

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
                raise InputError(f"{name} is {known}; got {getattr(self, name)!r}.")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("resize", "crop"):
            sides = getattr(self, name)
            if sides is not None and np.min(sides) < 1:
                raise InputError(f"{name} is in pixels, at least 1; got {sides}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, self.channels):
                raise InputError(
                    f"{name} has {len(values)} values for {self.channels} channel(s); give one a "
                    f"channel, or one for all (--{name})."
                )
        numbers = [self.scale, *self.mean, *self.std]
        if not np.isfinite(numbers).all() or not self.scale or not all(self.std):
            raise InputError("scale, mean and std are finite numbers, scale and std not zero.")

    @classmethod
    def from_config(cls, path: str | Path) -> ImagePreprocessing:
        """Read a Hugging Face ``preprocessor_config.json``, or timm's ``config.json``.

        Layout and channels, which the file does not say, are three channels in NCHW.

        Raises
        ------
        InputError
            If the file is not one; if it holds a key, or is for an image processor, of which it
            is not known what they do to an image.
        """
        return cls()._with(read_image_config(path), {})

    @classmethod
    def for_input(cls, shape: Sequence[Any] | None, dtype: str = "float32") -> ImagePreprocessing:
        """Guess from a model's input shape: layout, channels and size; pixels scaled to 0 … 1.

        A model whose input is of unsigned integers takes the pixels as they are, 0 … 255.

        Parameters
        ----------
        shape : sequence of length 4
            Axes of the input; names or None if they are open: then the size is kept.
        dtype : str
            Element type of the input, as :class:`~ntkit.model.TensorInfo` names it.

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
        """Find how images go into a model.

        Values come from ``config``, or from a ``preprocessor_config.json`` or a ``config.json`` of
        timm's beside the model (or in the folder above one that is named ``onnx``), or from what
        ntkit noted in the model's metadata; layout and channels always from the model's input,
        and everything from it if nothing else is found. :meth:`describe` says which.

        Parameters
        ----------
        model : FrozenModel
            The model.
        config : path-like, optional
            One of these files, if it lies elsewhere.
        **given
            Parameters that go before all of these. With ``resize``, ``mean`` and ``std`` a file
            that is not usable does no harm.

        Returns
        -------
        ImagePreprocessing or None
            None if the model does not take images: one input of four axes.

        Raises
        ------
        InputError
            If the file is not usable, or makes images of another size than the model takes.

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
            found = [read_image_config(config)] if config is not None else [*said_beside(model)]
        except InputError:
            if not given.keys() >= _ESSENTIAL:
                raise
            found = []
        first = guess._with(found[0] if found else None, given)
        for other in found[1:]:
            if _differ(guess._with(found[0], {}), guess._with(other, {})):
                differs = f"{first.source}, not {other.source}, which differs"
                first = replace(first, source=differs)
        by_file = found and not given.keys() & {"resize", "crop"}
        first._check_fits(guess.resize, found[0].source if by_file else None)
        return first

    def _with(self, said: Said | None, given: dict[str, Any]) -> ImagePreprocessing:
        """These steps with what a file says, and what is given by hand, in place of them."""
        source = said.source if said is not None else self.source
        if given.keys() >= _ESSENTIAL:
            source = "as given"
        elif given:
            source += f" (but for {' and '.join(sorted(given))}, as given)"
        steps = {**(said.steps if said is not None else {})}
        for name in ("mean", "std"):
            values = set(steps.get(name, ()))
            if given.get("channels", self.channels) == 1 and len(values) == 1:
                steps[name] = tuple(values)  # of a grey image, from a file for three channels
        layout = {"layout": self.layout, "channels": self.channels}
        try:
            return replace(self, **{**steps, **layout, **given}, source=source)
        except (TypeError, ValueError) as error:
            said_so = f"The image preprocessing, {source}, is not usable"
            raise InputError(f"{said_so}: {error}") from error

    def _check_fits(self, size: int | tuple[int, int] | None, said: str | None) -> None:
        """Refuse steps that end in another size than the model's own."""
        mine = self.crop or self.resize
        if isinstance(mine, tuple) and isinstance(size, tuple) and mine != size:
            raise InputError(
                f"Images would come to {mine[0]} x {mine[1]} pixels{f', {said}' if said else ''}, "
                f"but the model takes {size[0]} x {size[1]}; give --resize and --crop."
            )

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an image into an array of shape (C, H, W) or (H, W, C)."""
        orientation = orientation_of(image)
        image = in_colours(eight_bits(image), "L" if self.channels == 1 else "RGB")
        image = upright(image, orientation)
        if self.resize is not None:
            image = resized(image, self.resize, filter_of(self.resample))
        return self.after_resizing(np.asarray(image, dtype=np.float32))

    def after_resizing(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Model input, (C, H, W) or (H, W, C), of resized pixels: cropped, scaled, in its layout.

        The pixels are float32 of shape (H, W) or (H, W, C), from 0 to 255, in grey or RGB.

        Raises
        ------
        InputError
            If there are fewer pixels than the crop needs.
        """
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if self.crop is not None:
            pixels = center_crop(pixels, self.crop, self.crop_rounding)
        if self.channel_order == "BGR":
            pixels = pixels[:, :, ::-1]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        pixels = (pixels * np.float32(self.scale) - mean) / std
        return np.asarray(pixels.transpose(2, 0, 1) if self.layout == "NCHW" else pixels)

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all that decides about the pixels, for a manifest; not the source."""
        values = asdict(self)
        values.pop("source")
        unset = with_defaults({})
        return {k: v for k, v in values.items() if k not in unset or v != unset[k]}

    def describe(self) -> str:
        """Sentence on what happens to an image, and who says so."""
        return _described(self)


def with_defaults(steps: dict[str, Any]) -> dict[str, Any]:
    """Add what :meth:`ImagePreprocessing.as_dict` leaves out, as it does nothing unless set."""
    unset = {f.name: f.default for f in fields(ImagePreprocessing) if f.name in _LATE}
    return unset | steps


def _differ(one: ImagePreprocessing, two: ImagePreprocessing) -> bool:
    """Whether two files mean other pixels, by more than half a pixel of the crop."""
    a, b = ({**steps.as_dict(), "crop_rounding": None} for steps in (one, two))
    if not np.isclose(a.pop("scale"), b.pop("scale")):
        return True
    for name in ("mean", "std"):
        if not np.allclose(a.pop(name), b.pop(name)):
            return True
    return a != b


def _described(steps: ImagePreprocessing) -> str:
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
