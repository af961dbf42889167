"""Statistics of an image that do not depend on its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import islice, product
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ntkit._contents import Digests, digests_of_rows
from ntkit._types import Array
from ntkit.attributes.feature_set import QUANTILES, FeatureSet, Rule, inferred
from ntkit.exceptions import InputError

SIDE = 128
"""Images are shrunk by a whole factor if their shorter side has at least twice as many pixels."""
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
_GRID = 8  # rows and columns of cells
CELLS = {
    f"row {row} column {column} of {_GRID} brightness": " ".join(
        names[3 * (2 * n - 1) // (2 * _GRID)] for names, n in ((_ROWS, row), (_COLUMNS, column))
    )
    for row, column in product(range(1, _GRID + 1), repeat=2)
}
"""Statistics of cells, which show a mark too small for the nine parts, and the part around each."""
OF_CELL = "image:row "
"""The names of attributes of cells begin so."""
_COLOURS = {
    "red": "e50000 ff474c 840000",
    "orange": "f97306 fdaa48 c65102",
    "yellow": "ffff14 fffe7a d5b60a",
    "green": "15b01a 96f97b 033500",
    "blue": "0343df 95d0fc 00035b",
    "purple": "7e1e9c bf77f6 35063e",
    "pink": "ff81c0 ffd1df cb416b",
    "brown": "653700 ad8150 341c02",
    "": "929591 d8dcd6 363737 000000 ffffff",
}
"""The basic colour terms of Berlin and Kay (1969), with grey, black and white as none.

Each has its colour, a light and a dark one of the survey of xkcd (Munroe 2010, xkcd.com/color/rgb).
"""
_CHROMATIC = tuple(filter(None, _COLOURS))
_CHROMA = 15  # of the palest colour in CIELAB
_ROUNDING = 0.01  # of values from 0 to 1
_LEVELS = 32  # of a channel, for which the nearest colour is kept
STATISTICS = (
    "brightness",
    "contrast",
    "colourfulness",
    "redness",
    "blueness",
    "sharpness",
    "size",
    "aspect ratio",
    "border brightness",
    "border evenness",
    *(f"{row} {column} brightness" for row in _ROWS for column in _COLUMNS),
    *CELLS,
    *(f"border {colour}" for colour in _CHROMATIC),
    *_CHROMATIC,
)
"""Names of the statistics, in the order of :func:`statistics_of_image`."""
CHANGES = {
    **{name: f"image:{name.removesuffix(' brightness')}" for name in STATISTICS[10:19]},
    **{name: f"image:{part}" for name, part in CELLS.items()},
    **{name: f"image:{name}" for name in ("brightness", "contrast")},
    **dict.fromkeys(("colourfulness", "redness", "blueness", *_CHROMATIC), "image:grey"),
    **{name: "image:border" for name in STATISTICS if name.startswith("border ")},
    "sharpness": "image:blur",
}
"""Name of the change that removes what a statistic tells; size and aspect ratio have none."""
# Rules in answers.json count on this order: add new ones at the end.
_NAMES = [f"image:{name}" for name in STATISTICS]
OF_COLOUR = frozenset(_NAMES[-2 * len(_CHROMATIC) :])
"""Attributes of colours by name, without their heights."""
OF_IMAGES = frozenset(f"{name} {what}" for name in _NAMES for what in QUANTILES)
"""Names of the attributes that are read from these statistics."""


SEVERAL_SIZES = "image"
"""Scale of statistics of images of several sizes."""


def measured_image_statistics(statistics: Array, scale: str = SEVERAL_SIZES) -> FeatureSet:
    """The feature set of image statistics that were already computed, (N, S)."""
    return image_feature_set(lambda: statistics, len(statistics), lambda: scale)


def image_statistics(statistics: Array) -> FeatureSet:
    """Feature set of statistics of images in their own sizes, (N, S)."""
    return measured_image_statistics(statistics, scale_of_statistics(statistics))


def measured(images: Iterable[Any], n_samples: int) -> tuple[Array, Digests]:
    """Statistics of images, (N, S), and the content of each; an iterator is read once."""
    rows, contents = list[Array](), list[bytes]()
    for image in islice(images, n_samples + 1):
        pixels = np.asarray(image)
        rows.append(statistics_of_image(pixels))
        contents += digests_of_rows(pixels[None])
    if len(rows) != n_samples:
        raise InputError(
            f"There are {'more' if len(rows) > n_samples else len(rows)} images for "
            f"{n_samples} samples; pass one for each sample."
        )
    return np.asarray(rows), np.asarray(contents)


def image_feature_set(
    statistics: Callable[[], Array], n_samples: int, scale: Callable[[], str], *, cells: bool = True
) -> FeatureSet:
    """The same feature set from functions that return the statistics, (N, S), and their scale.

    Without cells, it is of the whole image, its border and its nine parts.
    """
    names = [name for name in _NAMES if cells or not name.startswith(OF_CELL)]
    at = np.asarray([*map(_NAMES.index, names)])
    of_images = inferred("image", names, n_samples, lambda: statistics()[:, at])

    def rule(name: str) -> Rule | None:
        of = of_images.rule(name)
        return None if of is None else replace(of, layer=scale(), columns=at[of.columns])

    return replace(of_images, rule=rule)


def scale_of_side(pixels: int) -> str:
    """Scale of statistics of images of one shorter side: contrast and sharpness depend on it."""
    return f"image with a shorter side of {pixels}"


def scale_of_statistics(statistics: Array) -> str:
    """The same from the statistics of images in their own sizes."""
    area, ratio = statistics[:, [STATISTICS.index("size"), STATISTICS.index("aspect ratio")]].T
    sides = {*np.rint(np.sqrt(area * np.minimum(ratio, 1 / ratio))).astype(int).tolist()}
    return scale_of_side(*sides) if len(sides) == 1 else SEVERAL_SIZES


def _reduced(pixels: Array, factor: int) -> Array:
    """Means of squares of pixels."""
    if factor == 1:
        return pixels
    sums, sizes = pixels.astype(np.float64), list[Array]()
    for axis in (0, 1):
        starts = np.arange(0, pixels.shape[axis], factor)
        sizes.append(np.diff([*starts, pixels.shape[axis]]))
        sums = np.add.reduceat(sums, starts, axis=axis)
    means: Array = sums / np.outer(*sizes)[:, :, None]
    return means


def _in_lab(rgb: Array) -> Array:
    """Colours of sRGB, (N, 3), in CIELAB (illuminant D65), where near colours look alike.

    Lightness is halved: light and dark tones of a colour have one name.
    """
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    of_white = linear @ np.asarray(to_xyz) / (0.9505, 1.0, 1.089)
    dark = of_white <= (6 / 29) ** 3
    x, y, z = np.where(dark, of_white * 841 / 108 + 4 / 29, np.cbrt(of_white)).T
    return np.stack([(116 * y - 16) / 2, 500 * (x - y), 200 * (y - z)], axis=1)


@cache
def _name_of_colour() -> Array:
    """Number of the name of each colour in steps of a channel; the last one is for no colour."""
    known = [(n, bytes.fromhex(h)) for n, of in enumerate(_COLOURS.values()) for h in of.split()]
    steps = (np.indices((_LEVELS,) * 3).reshape(3, -1).T + 0.5) / _LEVELS
    centres = _in_lab(np.asarray([[*rgb] for _, rgb in known]) / 255)
    of_steps = _in_lab(steps)
    numbers: Array = np.asarray([n for n, _ in known])[cdist(of_steps, centres).argmin(axis=1)]
    numbers[np.hypot(*of_steps.T[1:]) < _CHROMA] = len(_CHROMATIC)
    return numbers


def _shares_of_colours(rgb: Array) -> Array:
    """Shares of pixels, (H, W, 3), of each colour with a name; NaN without black and white.

    The pixels on both sides must have the name as well, because noise has colours.
    """
    if rgb.min() < -_ROUNDING or rgb.max() > 1 + _ROUNDING:
        return np.full(len(_CHROMATIC), np.nan)
    at = np.clip((rgb * _LEVELS).astype(np.intp), 0, _LEVELS - 1) @ (_LEVELS**2, _LEVELS, 1)
    names = _name_of_colour()[at]
    alike = names[:, 1:] == names[:, :-1]
    kept = names[:, 1:-1][alike[:, 1:] & alike[:, :-1]]
    shares: Array = np.bincount(kept, minlength=len(_COLOURS))[:-1] / max(1, names[:, 1:-1].size)
    return shares


def statistics_of_image(image: Any, size: tuple[int, int] | None = None) -> Array:
    """The statistics of one image, in the order of ``STATISTICS``; ``size`` is that of its file."""
    # Brightness and contrast are the mean and deviation of the grey values. Colourfulness is that
    # of Hasler and Süsstrunk (2003). Redness and blueness are how far these channels exceed the
    # mean of all. Sharpness is the deviation of the Laplacian. Evenness of the border is minus its
    # deviation. The brightness of nine parts, three by three, shows the place of a mark or a stamp,
    # and that of cells, eight by eight, of a small one. Colours are shares of pixels by the name of
    # the nearest colour. They are unknown if black and white are.
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise InputError(
            "An image must have the shape (height, width) or (height, width, 3); got "
            f"{pixels.shape}."
        )
    width, height = size or pixels.shape[1::-1]
    scale = 255.0 if pixels.dtype.kind in "iu" else 1.0
    pixels = _reduced(pixels, max(1, min(pixels.shape[:2]) // SIDE))
    rgb = np.broadcast_to(pixels[:, :, :3], (*pixels.shape[:2], 3)).astype(np.float32)
    rgb /= np.float32(scale)
    red, green, blue = rgb.transpose(2, 0, 1)
    grey = rgb.mean(axis=2)
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    one, two = red - green, (red + green) / 2 - blue
    spread, shift = np.hypot(one.std(), two.std()), np.hypot(one.mean(), two.mean())
    sharpness = 0.0
    if min(grey.shape) >= 3:
        around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
        sharpness = float((around - 4 * grey[1:-1, 1:-1]).std())
    parts = [
        float(part.mean() if part.size else grey.mean())
        for row in np.array_split(grey, len(_ROWS), axis=0)
        for part in np.array_split(row, len(_COLUMNS), axis=1)
    ]
    cells, sizes = grey, list[Array]()
    for axis, n in enumerate(grey.shape):
        starts = np.arange(_GRID) * n // _GRID
        sizes.append(np.maximum(np.diff(starts, append=n), 1))
        cells = np.add.reduceat(cells, starts, axis=axis)
    colours = np.zeros((2, len(_CHROMATIC)))
    if pixels.shape[2] > 1:
        edges = np.concatenate([rgb[0], rgb[-1], rgb[1:-1, 0], rgb[1:-1, -1]])[None]
        some = rgb[:: max(1, 3 * min(grey.shape) // SIDE)]  # rows enough for shares
        colours = np.stack([*map(_shares_of_colours, (edges, some))])
    return np.asarray(
        [
            grey.mean(),
            grey.std(),
            float(spread + 0.3 * shift),
            (red - grey).mean(),
            (blue - grey).mean(),
            sharpness,
            width * height,
            width / height,
            border.mean(),
            -border.std(),
            *parts,
            *(cells / np.outer(*sizes)).ravel(),
            *colours.ravel(),
        ]
    )
