"""Changes of images, as pixels from 0 to 255 of shape (H, W, C)."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from ntkit._labels import meant_instead
from ntkit._types import Array
from ntkit.exceptions import InputError

Pixels = NDArray[np.float32]

_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
PARTS = tuple(f"{row} {column}" for row in _ROWS for column in _COLUMNS)
"""Names of the nine parts, as in the statistics of images."""
_INSIDE = 72.0  # % of the sides: the ellipse is the centre, and the border is around it
_SOFT = 0.16  # of its radius: the edge of the ellipse
_FEATHER = 0.05  # of the shorter side: the edge of a part


@dataclass(frozen=True)
class ImageChange:
    """Changed image: as a file (``stored``), and as the model sees it (``seen``)."""

    seen: Callable[[Pixels, Pixels | None, np.random.Generator], Pixels] | None = None
    stored: Callable[[Image.Image], Image.Image] | None = None
    donor: bool = False


def ellipse(height: int, width: int, share: float) -> Pixels:
    """1 inside a centred ellipse, 0 outside, with a soft edge; (H, W, 1)."""
    down, right = np.mgrid[:height, :width]
    radii = np.maximum(np.array([height, width]) / 2 * share / 100, 1e-9)
    distance = np.hypot((down - height / 2 + 0.5) / radii[0], (right - width / 2 + 0.5) / radii[1])
    inside = np.clip((1 + _SOFT / 2 - distance) / _SOFT, 0, 1)[..., None]
    return np.asarray(inside, dtype=np.float32)


def rectangle(height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
    """1 inside a rectangle, falling to 0 around it; (H, W, 1)."""
    feather = max(_FEATHER * min(height, width), 1e-9)
    outside = [
        np.maximum(np.maximum(start - at, at - (stop - 1)), 0)
        for at, (start, stop) in ((np.arange(height), rows), (np.arange(width), columns))
    ]
    distance = np.maximum(outside[0][:, None], outside[1][None, :])
    return np.clip(1 - distance / feather, 0, 1)[..., None].astype(np.float32)


def _blend(mask: Pixels, inside: Pixels, outside: Pixels) -> Pixels:
    return np.asarray(mask * inside + (1 - mask) * outside, dtype=np.float32)


def _of_another(mask_of: Callable[[int, int, np.random.Generator], Pixels]) -> ImageChange:
    """Take the pixels under a mask from the donor."""

    def seen(image: Pixels, donor: Pixels | None, rng: np.random.Generator) -> Pixels:
        assert donor is not None
        mask = mask_of(image.shape[0], image.shape[1], rng)
        return _blend(mask, _sized(donor, image), image)

    return ImageChange(seen, donor=True)


def _sized(donor: Pixels, like: Pixels) -> Pixels:
    """A donor resized to an image."""
    if donor.shape == like.shape:
        return donor
    height, width = like.shape[:2]
    channels = [
        np.asarray(
            Image.fromarray(donor[..., c]).resize((width, height), Image.Resampling.BILINEAR)
        )
        for c in range(donor.shape[2])
    ]
    resized = np.stack(channels, axis=2)
    if resized.shape[2] != like.shape[2]:
        resized = np.broadcast_to(resized.mean(axis=2, keepdims=True), like.shape)
    return np.asarray(resized, dtype=np.float32)


def _bounds(length: int, part: int, n: int = 3) -> tuple[int, int]:
    """First row of a part and the one after its last, as numpy.array_split cuts."""
    sizes = [len(each) for each in np.array_split(np.arange(length), n)]
    start = sum(sizes[:part])
    return start, start + max(1, sizes[part]) if length else 0


def _part(row: int, column: int) -> ImageChange:
    def mask(height: int, width: int, rng: np.random.Generator) -> Pixels:
        return rectangle(height, width, _bounds(height, row), _bounds(width, column))

    return _of_another(mask)


def _elsewhere(rng: np.random.Generator, length: int) -> tuple[int, int]:
    size = max(1, round(length / 3))
    start = int(rng.integers(0, max(1, length - size + 1)))
    return start, start + size


def part_elsewhere() -> ImageChange:
    """A part of the same size at a random position: the control of the nine parts."""

    def mask(height: int, width: int, rng: np.random.Generator) -> Pixels:
        return rectangle(height, width, _elsewhere(rng, height), _elsewhere(rng, width))

    return _of_another(mask)


def _high_frequencies(sigma: float) -> ImageChange:
    def seen(image: Pixels, donor: Pixels | None, rng: np.random.Generator) -> Pixels:
        assert donor is not None
        other = _sized(donor, image)
        return np.asarray(_blurred(image, sigma) + other - _blurred(other, sigma))

    return ImageChange(seen, donor=True)


def _blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(gaussian_filter(image, (sigma, sigma, 0)), dtype=np.float32)


def _of_pixels(change: Callable[[Pixels, np.random.Generator], Array]) -> ImageChange:
    return ImageChange(lambda image, _, rng: np.asarray(change(image, rng), dtype=np.float32))


def _grey(image: Pixels) -> Pixels:
    if image.shape[2] != 3:
        return image
    grey = image @ np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def _jpeg(quality: float) -> ImageChange:
    def stored(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=round(quality))
        with Image.open(file) as again:
            again.load()
            return again

    return ImageChange(stored=stored)


def _resized_and_back(factor: float) -> ImageChange:
    def stored(image: Image.Image) -> Image.Image:
        size = tuple(max(1, round(side * factor)) for side in image.size)
        return image.resize(size, Image.Resampling.BICUBIC).resize(  # type: ignore[arg-type]
            image.size, Image.Resampling.BICUBIC
        )

    return ImageChange(stored=stored)


@dataclass(frozen=True)
class _Kind:
    """A change of images by name: its function of a number, the default and the range."""

    make: Callable[[float], ImageChange]
    default: float
    low: float
    high: float
    meaning: str


_KINDS: dict[str, _Kind] = {
    "border": _Kind(
        lambda share: _of_another(lambda h, w, rng: 1 - ellipse(h, w, share)),
        *(_INSIDE, 1, 200, "% of the sides that the ellipse inside it takes"),
    ),
    "centre": _Kind(
        lambda share: _of_another(lambda h, w, rng: ellipse(h, w, share)),
        *(_INSIDE, 1, 200, "% of the sides that its ellipse takes"),
    ),
    "blur": _Kind(
        lambda sigma: _of_pixels(lambda image, rng: _blurred(image, sigma)),
        *(2, 0.1, 1000, "deviation in pixels"),
    ),
    "jpeg": _Kind(_jpeg, 75, 1, 100, "quality"),
    "grey": _Kind(lambda _: _of_pixels(lambda image, rng: _grey(image)), 1, 1, 1, ""),
    "brightness": _Kind(
        lambda factor: _of_pixels(lambda image, rng: image * np.float32(factor)),
        *(1.2, 0, 100, "factor"),
    ),
    "contrast": _Kind(
        lambda f: _of_pixels(lambda image, rng: image.mean() + (image - image.mean()) * f),
        *(1.3, 0, 100, "factor"),
    ),
    "resize": _Kind(_resized_and_back, 0.5, 0.01, 10, "factor, and back"),
    "noise": _Kind(
        lambda share: _of_pixels(
            lambda image, rng: image + 255 * share * rng.standard_normal(image.shape)
        ),
        *(0.1, 0.001, 10, "deviation, as a share of the range of pixels"),
    ),
    "high frequencies": _Kind(
        _high_frequencies, 1.5, 0.1, 1000, "deviation in pixels, below which frequencies are low"
    ),
}
NAMES = (*PARTS, *_KINDS)
"""Names after ``image:``."""


def image_change(name: str, text: str) -> ImageChange:
    """The change of a text such as "top left" or "blur=2"."""
    what, equals, how = (part.strip() for part in text.partition("="))
    if what in PARTS and not equals:
        return _part(*divmod(PARTS.index(what), 3))
    if what not in _KINDS:
        if what in PARTS:
            raise InputError(f"{name!r} takes no number; write image:{what}.")
        meant = meant_instead(what, list(NAMES))
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(NAMES)}."
        raise InputError(f"There is no change {name!r} of images; {hint}")
    kind = _KINDS[what]
    if not equals:
        return kind.make(kind.default)
    if not kind.meaning:
        raise InputError(f"{name!r} takes no number; write image:{what}.")
    try:
        number = float(how)
    except ValueError:
        number = float("nan")
    if not kind.low <= number <= kind.high:
        takes = f"a number from {kind.low:g} to {kind.high:g} ({kind.meaning})"
        raise InputError(f"{name!r}: {what} takes {takes}; write image:{what}={kind.default:g}.")
    return kind.make(number)
