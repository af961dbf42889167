"""Resizing as OpenCV and PyTorch do it: without averaging, or without rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from ntkit._types import Array

Weights = Callable[[Array], Array]


def picked(pixels: Array, size: tuple[int, int], how: str) -> Array:
    """Resize without averaging before an image is made smaller."""
    # Pillow widens its filters by the factor by which an image shrinks; these ones always read as
    # many neighbours as when it grows.
    if how == "nearest corner":
        rows, columns = (_corners(n, m) for n, m in zip(pixels.shape[:2], size, strict=True))
        return np.asarray(pixels[rows][:, columns])
    reach, weights = PICKING[how]
    result = pixels.astype(np.float64)
    for axis in (0, 1):
        result = _along(result, axis, size[axis], reach, weights)
    return np.asarray(result, np.float32)


def averaged(pixels: Array, size: tuple[int, int], resample: int) -> Array:
    """Resize with a filter of Pillow's, without rounding."""
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)
    how = Image.Resampling(resample)
    made = [np.asarray(Image.fromarray(plane).resize(size[::-1], how)) for plane in planes]
    return np.asarray(np.stack(made, axis=-1).reshape(*size, *pixels.shape[2:]))


def _corners(n_old: int, n_new: int) -> Array:
    at = np.floor(np.arange(n_new) * (n_old / n_new)).astype(np.intp)
    return np.asarray(np.minimum(at, n_old - 1))


def _along(pixels: Array, axis: int, n_new: int, reach: int, weights: Weights) -> Array:
    """Interpolate along one axis; beyond the edge the last pixel goes on."""
    n_old = pixels.shape[axis]
    at = (np.arange(n_new) + 0.5) * (n_old / n_new) - 0.5
    first = np.floor(at).astype(np.intp) - reach + 1
    moved = np.moveaxis(pixels, axis, 0)
    result = np.zeros((n_new, *moved.shape[1:]))
    for k in range(2 * reach):
        shares = weights(np.abs(at - (first + k))).reshape(-1, *[1] * (moved.ndim - 1))
        result += shares * moved[np.clip(first + k, 0, n_old - 1)]
    return np.asarray(np.moveaxis(result, 0, axis))


def _linear(distance: Array) -> Array:
    return np.asarray(np.maximum(1 - distance, 0))


def _cubic(distance: Array, a: float = -0.75) -> Array:
    """Keys' cubic convolution, with the constant of OpenCV and PyTorch."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.asarray(np.where(distance <= 1, near, np.where(distance < 2, far, 0)))


PICKING: dict[str, tuple[int, Weights]] = {"bilinear": (1, _linear), "bicubic": (2, _cubic)}
"""Neighbours on each side, and their weights by distance."""
