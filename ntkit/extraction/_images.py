"""Image files as model inputs: decoded, resized, cropped, normalised, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit.exceptions import InputError
from ntkit.frozen_model import FrozenModel

__all__ = ["ImageFiles", "ImagePreprocessing", "decode", "image_extensions"]

# Pillow opens these by running another program, or not at all.
_NO_PICTURES = frozenset(["BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"])
_ORIENTATION = 0x0112  # the EXIF tag, and how to turn an image that has it upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    resample : int
        Pillow's resampling filter: 2 bilinear, 3 bicubic, …

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
    resample: int = 2

    @classmethod
    def from_config(cls, path: str | Path) -> ImagePreprocessing:
        """Read a Hugging Face ``preprocessor_config.json``.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        ImagePreprocessing
            Layout and channels are the defaults, RGB in NCHW: the file does not say them.

        Raises
        ------
        InputError
            If the file is not one.
        """
        try:
            config = json.loads(Path(path).read_text(encoding="utf-8"))
            resize, crop = _resize_and_crop(config)
            normalize = config.get("do_normalize", True)
            return cls(
                resize=resize,
                crop=crop,
                scale=config.get("rescale_factor", 1 / 255)
                if config.get("do_rescale", True)
                else 1.0,
                mean=_per_channel(config["image_mean"]) if normalize else (0.0,),
                std=_per_channel(config["image_std"]) if normalize else (1.0,),
                resample=int(Image.Resampling(config.get("resample", 2))),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a usable preprocessor_config.json: {error!r}; give the "
                "preprocessing itself (--resize, --crop, --mean, --std)."
            ) from error

    @classmethod
    def for_input(cls, shape: Sequence[Any] | None, dtype: str = "float32") -> ImagePreprocessing:
        """Guess from a model's input shape: layout, channels and size; pixels scaled to 0 … 1.

        A model whose input is of unsigned integers takes the pixels as they are, 0 … 255.

        Parameters
        ----------
        shape : sequence of length 4
            Axes of the input; names or None where they are open.
        dtype : str
            Element type of the input, as :class:`~ntkit.frozen_model.TensorInfo` names it.

        Returns
        -------
        ImagePreprocessing
            Without resizing where the input leaves its size open.

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
        )

    @classmethod
    def for_model(
        cls, model: FrozenModel, config: str | Path | None = None
    ) -> ImagePreprocessing | None:
        """Find how images go into a model.

        Values come from ``config``, or from a ``preprocessor_config.json`` beside the model;
        layout and channels always from the model's input, and everything from it where there is
        no such file.

        Parameters
        ----------
        model : FrozenModel
            The model.
        config : path-like, optional
            A Hugging Face ``preprocessor_config.json``.

        Returns
        -------
        ImagePreprocessing or None
            None if the model does not take images: one input of four axes.

        Raises
        ------
        InputError
            If the file is not usable.
        """
        shape = model.inputs[0].shape if len(model.inputs) == 1 else None
        if shape is None or len(shape) != 4:
            return None
        guess = cls.for_input(shape, model.inputs[0].dtype)
        beside = model.path.with_name("preprocessor_config.json") if model.path else None
        if config is None and beside is not None and beside.exists():
            config = beside
        if config is None:
            return guess
        return replace(cls.from_config(config), layout=guess.layout, channels=guess.channels)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an image into an array of shape (C, H, W) or (H, W, C).

        Parameters
        ----------
        image : PIL.Image.Image
            Of any mode but those of 32 bits a channel; its EXIF orientation is applied, and
            transparency ignored, as torchvision's loader does.

        Returns
        -------
        ndarray of float32
            The model input, without the batch axis.

        Raises
        ------
        InputError
            If the image is smaller than the crop, or its pixels have 32 bits.
        """
        orientation = _orientation(image)
        image = _in_colours(_eight_bits(image), "L" if self.channels == 1 else "RGB")
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
        if self.resize is not None:
            image = image.resize(_target(image.size, self.resize), Image.Resampling(self.resample))
        pixels = np.asarray(image, dtype=np.float32)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if self.crop is not None:
            pixels = _center_crop(pixels, self.crop)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        pixels = (pixels * np.float32(self.scale) - mean) / std
        return np.asarray(pixels.transpose(2, 0, 1) if self.layout == "NCHW" else pixels)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest.

        Returns
        -------
        dict
            Parameters by name.
        """
        return asdict(self)


class ImageFiles:
    """A lazy sequence of image files: a slice gives an array of preprocessed images.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files, N of them.
    preprocessing : ImagePreprocessing
        Applied to each image.

    Raises
    ------
    InputError
        On slicing, if a file does not decode or the images differ in size.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from ntkit.extraction import ImageFiles, ImagePreprocessing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "white.png"
    ...     Image.new("RGB", (6, 4), "white").save(path)
    ...     X = ImageFiles([path, path], ImagePreprocessing())[:]
    >>> X.shape, float(X.max())
    ((2, 3, 4, 6), 1.0)
    """

    def __init__(self, paths: Sequence[Path], preprocessing: ImagePreprocessing) -> None:
        self.paths = list(paths)
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: slice) -> NDArray[np.float32]:
        images = [self._input(path) for path in self.paths[index]]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise InputError(
                f"The images differ in size ({sorted(shapes)[:3]}); give one with --resize "
                "HEIGHT,WIDTH."
            )
        return np.stack(images)

    def _input(self, path: Path) -> NDArray[np.float32]:
        image = decode(path)
        try:
            return self.preprocessing(image)
        except ValueError as error:
            raise InputError(f"{path} cannot be preprocessed: {error}") from error


def decode(path: Path) -> Image.Image:
    """Open and decode an image file.

    Raises
    ------
    InputError
        If it is no image, or a broken one.
    """
    try:
        if not path.is_file():
            raise OSError("it is no file")  # a pipe would be waited for
        with Image.open(path, formats=_formats()) as image:
            image.load()
            return image
    except Exception as error:  # every decoder of Pillow's has its own way to fail
        raise InputError(
            f"{path} cannot be decoded as an image ({error}); remove it or pass --skip-bad."
        ) from error


@cache
def image_extensions() -> frozenset[str]:
    """Extensions of image files, in lower case."""
    known = Image.registered_extensions().items()
    return frozenset(extension for extension, kind in known if kind in _formats())


@cache
def _formats() -> tuple[str, ...]:
    """Names of the kinds of files that Pillow opens by itself."""
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _NO_PICTURES)


def _orientation(image: Image.Image) -> int | None:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata of a sound image: viewers show it as it is stored
        return None
    return orientation if isinstance(orientation, int) else None


def _in_colours(image: Image.Image, mode: str) -> Image.Image:
    """Convert to grey or RGB; Pillow warns where it drops the transparency of a palette."""
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit pixels to 0 … 255; Pillow's own conversion clips them."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise InputError("its pixels have 32 bits and no known range; save it with 8 or 16 bits.")
    return image


def _resize_and_crop(
    config: dict[str, Any],
) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    resize = _size(config.get("size")) if config.get("do_resize", True) else None
    cropped = config.get("do_center_crop", False)
    crop = _size(config.get("crop_size")) if cropped else None
    if isinstance(crop, int):
        crop = (crop, crop)
    share = config.get("crop_pct")
    if share and isinstance(resize, int):  # the ConvNeXt and ResNet processors
        if resize >= 384:
            return (resize, resize), crop
        return int(resize / share), (resize, resize)
    if isinstance(config.get("size"), int) and isinstance(resize, int) and not cropped:
        return (resize, resize), None  # an int without a crop is a square, as ViT reads it
    return resize, crop


def _per_channel(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values)) if isinstance(values, list) else (float(values),)


def _size(size: Any) -> int | tuple[int, int] | None:
    if size is None or isinstance(size, int):
        return size
    if isinstance(size, dict):
        if "shortest_edge" in size:
            return int(size["shortest_edge"])
        return int(size["height"]), int(size["width"])
    return int(size[0]), int(size[1])


def _target(size: tuple[int, int], resize: int | tuple[int, int]) -> tuple[int, int]:
    """New (width, height)."""
    if not isinstance(resize, int):
        return resize[1], resize[0]
    # Rounded down, as torchvision and Hugging Face do.
    width, height = (resize * side // min(size) for side in size)
    return width, height


def _center_crop(pixels: NDArray[Any], crop: tuple[int, int]) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    if height < crop[0] or width < crop[1]:
        raise InputError(
            f"An image of {height} x {width} is smaller than the crop of {crop[0]} x {crop[1]}; "
            "resize first (--resize)."
        )
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    return pixels[top : top + crop[0], left : left + crop[1]]
