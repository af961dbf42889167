"""Inputs of a model's shape, where there are no samples to verify on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.frozen_model import FrozenModel, TensorInfo

__all__ = ["random_inputs"]

Array = NDArray[Any]
_FLOATS = ("float16", "float32", "double")
_IDS = ("int32", "int64")
_PIXELS = ("uint8", "int8")
_LENGTH = 16
_SIDE = 224  # of images


def random_inputs(model: FrozenModel, n_samples: int = 8) -> dict[str, Array]:
    """Make inputs of the model's shape, to verify on where there are no samples.

    Parameters
    ----------
    model : FrozenModel
        What the inputs are for.
    n_samples : int
        Samples to make.

    Returns
    -------
    dict of str to ndarray, shape (n_samples, ...)
        The same at every call: numbers in [0, 1) for floats, 0 … 7 for ids (int32, int64),
        0 … 127 for pixels (uint8, int8), True for bool; ones for an input with "mask" in its
        name, zeros for token types, 0, 1, … for positions. An open axis is 224 long where there
        are four (images), else 16.

    Raises
    ------
    InputError
        If the model leaves the width of a row of floats open, or an input is of another type,
        such as text.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.verification import random_inputs
    >>> inputs = random_inputs(FrozenModel.load(marked_digits_model_path()))
    >>> {name: array.shape for name, array in inputs.items()}
    {'image': (8, 1, 20, 20)}
    """
    rng = np.random.default_rng(0)
    return {tensor.name: _random(tensor, n_samples, rng) for tensor in model.inputs}


def _random(tensor: TensorInfo, n_samples: int, rng: np.random.Generator) -> Array:
    if tensor.dtype not in (*_FLOATS, *_IDS, *_PIXELS, "bool"):
        raise InputError(
            f"The model's input {tensor} takes no plain numbers; give samples to verify on "
            "(--data)."
        )
    shape = _shape(tensor, n_samples)
    name = tensor.name.lower()
    if tensor.dtype == "bool":
        return np.ones(shape, dtype=bool)
    if "mask" in name:
        return np.ones(shape, dtype=np.float32 if tensor.dtype in _FLOATS else np.int64)
    if tensor.dtype in _FLOATS:
        return rng.random(shape, dtype=np.float32)
    if "type" in name or "segment" in name:  # there may be two types of tokens only
        return np.zeros(shape, dtype=np.int64)
    if "position" in name and len(shape) > 1:
        return np.broadcast_to(np.arange(shape[-1]), shape).copy()
    return rng.integers(0, 8 if tensor.dtype in _IDS else 128, shape)


def _shape(tensor: TensorInfo, n_samples: int) -> tuple[int, ...]:
    sides = (tensor.shape or ())[1:]
    row_of_floats = tensor.dtype in (*_FLOATS, *_PIXELS) and len(sides) < 2
    if not tensor.shape or (row_of_floats and not all(isinstance(side, int) for side in sides)):
        raise InputError(
            f"The model's input {tensor} leaves its size open; give samples to verify on (--data)."
        )
    length = _SIDE if len(sides) == 3 else _LENGTH
    return n_samples, *(side if isinstance(side, int) else length for side in sides)
