"""Inputs of a model's shape, to verify without samples."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import TextPreprocessing
from ntkit.graph.tensors import TensorInfo
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import body_nodes

_FLOATS = ("float16", "float32", "double")
_IDS = ("int32", "int64")
_PIXELS = ("uint8", "int8")
_LENGTH = 16
_SECOND = 16_000  # samples of sound
_MAKING_CHANNELS = frozenset(["Unsqueeze", "Reshape", "STFT", "Pad", "Shape"])
_SIDE = 224  # pixels of images


def random_inputs(model: FrozenModel, n_samples: int = 8) -> dict[str, Array]:
    """Inputs of the model's shape, the same at every call, to verify without samples."""
    # Ids are 0 … 7, masks 1, positions 0, 1, …. An open axis has 224 pixels for images, 16 000
    # values for a second of sound, else 16. A model of texts gets runs of 16 words from its
    # vocabulary.
    rng = np.random.default_rng(0)
    if TextPreprocessing.for_strings(model.inputs) is not None:
        # The vocabulary stands in attributes of layers before the head, such as a TF-IDF's.
        attributes = [each for node in body_nodes(model) for each in node.attributes.values()]
        texts = [each for each in attributes if each.type == ir.AttributeType.STRINGS]
        known = [word for each in texts for word in each.as_strings()] or ["one", "two", "three"]
        words = rng.choice(known, (n_samples, _LENGTH)).tolist()
        return {model.inputs[0].name: np.asarray([[" ".join(some)] for some in words], object)}
    for tensor in model.inputs:
        if not tensor.shape or (_is_open_row(tensor) and not _slides_over(model, tensor.name)):
            raise InputError(
                f"The model's input {tensor} has an open size; pass samples to verify on (--data)."
            )
    return {tensor.name: _random(tensor, n_samples, rng) for tensor in model.inputs}


def _is_open_row(tensor: TensorInfo) -> bool:
    sides = (tensor.shape or ())[1:]
    row = tensor.dtype in (*_FLOATS, *_PIXELS) and len(sides) < 2
    return row and not all(isinstance(side, int) for side in sides)


def _slides_over(model: FrozenModel, name: str) -> bool:
    """Whether a model of sound reads an input: an axis of channels is added first."""
    readers = [
        node.op_type
        for node in body_nodes(model)
        if any(value is not None and value.name == name for value in node.inputs)
    ]
    return bool(readers) and all(op in _MAKING_CHANNELS for op in readers)


def _random(tensor: TensorInfo, n_samples: int, rng: np.random.Generator) -> Array:
    if tensor.dtype not in (*_FLOATS, *_IDS, *_PIXELS, "bool"):
        raise InputError(
            f"The model's input {tensor} does not have plain numbers; pass samples to verify on "
            "(--data)."
        )
    sides = (tensor.shape or ())[1:]
    length = _SECOND if _is_open_row(tensor) else _SIDE if len(sides) == 3 else _LENGTH
    shape = n_samples, *(side if isinstance(side, int) else length for side in sides)
    name = tensor.name.lower()
    if tensor.dtype == "bool":
        return np.ones(shape, dtype=bool)
    if "mask" in name:
        return np.ones(shape, dtype=np.float32 if tensor.dtype in _FLOATS else np.int64)
    if tensor.dtype in _FLOATS:
        return rng.random(shape, dtype=np.float32)
    if "type" in name or "segment" in name:  # there may be only two types of tokens
        return np.zeros(shape, dtype=np.int64)
    if "position" in name and len(shape) > 1:
        return np.broadcast_to(np.arange(shape[-1]), shape).copy()
    return rng.integers(0, 8 if tensor.dtype in _IDS else 128, shape)
