"""Samples as a person sees them: texts, rows of tables, images and names."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs.image_files import decode
from ntkit.inputs.image_preprocessing import as_viewed

_CHANNELS = (1, 3)
_SIDE = 176  # pixels of a small image


@dataclass(frozen=True, eq=False)
class Inputs:
    """Raw inputs of N samples, if they are available; a page shows some of them.

    Parameters
    ----------
    texts : sequence of str, length N, optional
        Texts.
    table, metadata : mapping of str to sequence of length N, optional
        Columns of a table, and additional ones, in their order.
    images : sequence or iterable, optional
        N images: arrays of shape (H, W) or (H, W, 1, 3 or 4), Pillow's images, or paths of image
        files. Only the shown ones are read; an iterable without an index is read once.
    ids : sequence of str, length N, optional
        Names.
    rows : sequence of int, length N, optional
        Row of each sample in the user's data, from 0 on, if some of these were left out.

    Examples
    --------
    >>> from ntkit.jobs.audit import Inputs
    >>> Inputs(texts=["a film", "a movie"], ids=["1.txt", "2.txt"]).samples
    'texts'
    """

    texts: Sequence[str] | None = None
    table: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    images: Any = None
    ids: Sequence[Any] | None = None
    rows: Sequence[int] | Array | None = None

    def name(self, i: int) -> Any:
        """Name of a sample; without names, its row in the user's data as an integer."""
        if self.ids is not None:
            return self.ids[i]
        return i if self.rows is None else int(self.rows[i])

    def title(self, i: int) -> str:
        """Name of a sample for a person."""
        return f"row {self.name(i)}" if self.ids is None else str(self.ids[i])

    @property
    def samples(self) -> str:
        """Word for the samples in sentences of a page."""
        if self.images is not None:
            return "images"
        return "texts" if self.texts is not None else "cases"

    @property
    def n_samples(self) -> int | None:
        """Number of samples; None if there is no input."""
        return next((len(values) for _, values in self._sized()), None)

    def check(self, n_samples: int) -> None:
        """Raise an InputError for inputs of another number of samples."""
        for name, values in self._sized():
            if len(values) != n_samples:
                raise InputError(
                    f"The page got {len(values)} of {name} for {n_samples} samples; pass one for "
                    "each, in their order."
                )

    def _sized(self) -> list[tuple[str, Sized]]:
        inputs = {
            "texts": self.texts,
            "images": self.images,
            "ids": self.ids,
            **{f"the column {name!r}": v for name, v in (self.table or {}).items()},
            **{f"the metadata {name!r}": v for name, v in (self.metadata or {}).items()},
        }
        return [(name, values) for name, values in inputs.items() if isinstance(values, Sized)]

    @property
    def tables(self) -> list[Mapping[str, Any]]:
        """Columns of the table, and of the metadata."""
        return [self.table or {}, self.metadata or {}]

    def images_of(self, rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """The images of some rows, one by one; unreadable ones are left out."""
        if self.images is None:
            return
        if not hasattr(self.images, "__getitem__"):
            wanted = {*rows}
            for row, image in zip(range(max(rows, default=-1) + 1), self.images, strict=False):
                if row in wanted:
                    yield row, image
            return
        for row in dict.fromkeys(rows):
            with suppress(InputError, OSError):
                yield row, self.images[row]


@dataclass(frozen=True, eq=False)
class Images:
    """Images of samples as people see them; each is made on request."""

    n: int
    image: Callable[[int], Array]

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Array]:
        return map(self.image, range(self.n))

    def __getitem__(self, i: int) -> Array:
        return self.image(range(self.n)[i])


def images_in_files(paths: Sequence[str | Path]) -> Images:
    """Image files: upright, in grey or RGB."""
    return Images(len(paths), lambda i: np.asarray(as_viewed(decode(Path(paths[i])))))


def images_in_array(X: Any) -> Images | None:
    """Model inputs of shape (N, C, H, W) or (N, H, W, C) with C 1 or 3; None for all others."""
    sides: tuple[int, ...] = X.shape[1:] if isinstance(X, np.ndarray) and X.ndim == 4 else ()
    if not sides or (sides[0] in _CHANNELS) == (sides[-1] in _CHANNELS):
        return None

    def image(i: int) -> Array:
        pixels = np.moveaxis(X[i], 0, -1) if sides[0] in _CHANNELS else np.asarray(X[i])
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    return Images(len(X), image)


_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Samples without labels, and which of them have the attributes of findings."""

    n_samples: int
    values: Mapping[str, Array]
    inputs: Inputs

    def counts(self, name: str) -> tuple[int, int] | None:
        """Number of samples with an attribute, and with a known value; None if unreadable."""
        values = self.values.get(name)
        return None if values is None else (int((values == 1).sum()), int((values >= 0).sum()))

    def examples(self, name: str) -> list[int]:
        """Rows of some random samples with the attribute."""
        rows = np.flatnonzero(self.values[name] == 1)
        drawn = np.random.default_rng(0).permutation(rows)[:_EXAMPLES]
        return [int(row) for row in np.sort(drawn)]


def thumbnail_of(image: Any, side: int = _SIDE) -> str | None:
    """A small image as a data URI; None if there is no image to show."""
    try:
        if isinstance(image, str | os.PathLike):
            image = decode(Path(image))
        if not isinstance(image, Image.Image):
            image = Image.fromarray(_pixels(np.asarray(image)))
        image = ImageOps.exif_transpose(image).convert("RGB")
        if max(image.size) < side:  # enlarge a tiny image by a whole factor
            factor = side // max(image.size)
            size = image.width * factor, image.height * factor
            image = image.resize(size, Image.Resampling.NEAREST)
        image.thumbnail((side, side))
        content = BytesIO()
        image.save(content, "WEBP", quality=80)
        return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    except (OSError, ValueError, TypeError):  # missing or damaged file, or not an image
        return None


def _pixels(image: Any) -> Any:
    """Grey or RGB bytes; values from 0 to 1 are scaled, other ranges are stretched."""
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ValueError("not an image")
    if image.ndim == 3:
        image = image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]
    if image.dtype == np.uint8:
        return image
    values = np.nan_to_num(image.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    most = 255.0 if image.dtype.kind in "iu" else 1.0
    if low < 0 or high > most:
        values, most = values - low, max(high - low, 1e-12)
    return (255 * (values / most)).astype(np.uint8)
