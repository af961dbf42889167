"""What a sample looks like, small enough for a page: a thumbnail or a snippet of text."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, Texts
from ntkit.preprocessing import decode

__all__ = ["Picture", "TableRows", "data_uri", "picture_of"]

_SIDE = 112  # pixels of a thumbnail
_SNIPPET = 160  # characters
_UNUSUAL = 3  # values of a row of a table


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, or a text; neither where a sample has no look."""

    image: str | None = None
    text: str | None = None


class TableRows:
    """Rows of a table of numbers, shown by what is unusual about them.

    Parameters
    ----------
    X : ndarray of shape (N, columns)
        The numbers.
    columns : sequence of str
        Names.
    """

    def __init__(self, X: NDArray[Any], columns: Sequence[str]) -> None:
        self.X, self.columns = X, columns
        self._mean, deviation = X.mean(axis=0, dtype=float), X.std(axis=0, dtype=float)
        self._deviation = np.where(deviation > 0, deviation, np.inf)

    def text(self, i: int) -> str:
        """The values furthest from the mean, in standard deviations."""
        distance = np.abs(self.X[i] - self._mean) / self._deviation
        unusual = np.argsort(-distance, kind="stable")[:_UNUSUAL]
        return ", ".join(f"{self.columns[j]} = {self.X[i, j]:.4g}" for j in unusual)

    def in_common(self, rows: NDArray[Any]) -> str:
        """The columns in which the mean of some rows is furthest from that of all."""
        distance = (self.X[rows].mean(axis=0, dtype=float) - self._mean) / self._deviation
        furthest = np.argsort(-np.abs(distance), kind="stable")[:_UNUSUAL]
        return ", ".join(f"{self.columns[j]} ({distance[j]:+.1f} sd)" for j in furthest)


def picture_of(X: Any, i: int) -> Picture:
    """Show one sample.

    Parameters
    ----------
    X : ImageFiles, Texts, TableRows, ndarray or mapping of these
        Inputs: arrays of shape (N, channels, H, W), (N, H, W, channels) or (N, H, W) are images.
        Of several inputs the first that can be shown is.
    i : int
        Which sample.

    Returns
    -------
    Picture
        Empty for embeddings, columns without names and files that are no longer there.
    """
    if isinstance(X, Mapping):
        shown = (picture_of(array, i) for array in X.values())
        return next((p for p in shown if p.image or p.text), Picture())
    if isinstance(X, Texts):
        parts = [X.texts[i]] if isinstance(X.texts[i], str) else X.texts[i]  # a text, or a pair
        text = " / ".join(" ".join(part.split()) for part in parts)
        return Picture(text=text if len(text) <= _SNIPPET else f"{text[: _SNIPPET - 1]}…")
    if isinstance(X, TableRows):
        return Picture(text=X.text(i))
    if isinstance(X, ImageFiles):
        try:
            image = ImageOps.exif_transpose(decode(X.paths[i])).convert("RGB")
        except InputError:
            return Picture()
        return Picture(image=data_uri(image))
    if isinstance(X, np.ndarray) and X.ndim in (3, 4):
        pixels = _as_pixels(np.asarray(X[i]))
        return Picture() if pixels is None else Picture(image=data_uri(Image.fromarray(pixels)))
    return Picture()


def _as_pixels(image: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Grey or RGB bytes; the smallest value becomes black, the largest white."""
    if image.ndim == 3 and image.shape[0] in (1, 3) and min(image.shape[1:]) > 4:
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[-1] != 3:
        return None
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        return None
    return np.asarray(255 * (values - low) / max(high - low, 1e-12), dtype=np.uint8)


def data_uri(image: Image.Image, side: int = _SIDE) -> str:
    """A picture as a data URI, no larger than ``side`` pixels; one of few pixels shows them."""
    if max(image.size) < side:
        factor = side // max(image.size)
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST
        )
    image.thumbnail((side, side))
    content = BytesIO()
    image.save(content, "WEBP", quality=80)
    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
