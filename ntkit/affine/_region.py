"""An affine region: the tensors it reads, and the one layer that it amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.affine._operators import NotAffine

__all__ = ["Region", "SeveralPositions", "Source", "moved_shape"]

Array = NDArray[Any]


class SeveralPositions(NotAffine):
    """What ends here is not one number per sample and class, but may become that."""


@dataclass(frozen=True)
class Source:
    """A tensor that a region reads.

    Attributes
    ----------
    value : onnx_ir.Value
        The tensor.
    shape : tuple of int
        Its axes, the open ones at some size; the first is that of the samples.
    axis : int or None
        The axis of neurons; None where all axes but the samples' are.
    chain : tuple of onnx_ir.Node
        Operators after the product that choose positions, or average them: the embedding is what
        they make of the tensor.
    scale : tuple of onnx_ir.Value
        Scale and zero point of a tensor of quantised numbers; empty for one of floats.
    """

    value: ir.Value
    shape: tuple[int, ...]
    axis: int | None
    chain: tuple[ir.Node, ...] = ()
    scale: tuple[ir.Value, ...] = ()

    @property
    def is_embedding(self) -> bool:
        """Whether the tensor, as it is, holds one row of neurons per sample."""
        return len(self.shape) == 2 and not self.chain and not self.scale

    @property
    def width(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape[1:])) if self.axis is None else self.shape[self.axis]

    def filled(self, rows: Array) -> Array:
        """The tensor with each row of neurons, the same at every position."""
        if self.axis is None:
            return rows.reshape(len(rows), *self.shape[1:])
        sides = [1] * len(self.shape)
        sides[0], sides[self.axis] = rows.shape
        return np.broadcast_to(rows.reshape(sides), (len(rows), *self.shape[1:]))


@dataclass(frozen=True)
class Region:
    """An affine map from some tensors to scores.

    Attributes
    ----------
    end : onnx_ir.Value
        The scores.
    sources : tuple of Source
        What it reads; side by side they are the embedding.
    nodes : tuple of onnx_ir.Node
        Its operators, in order.
    weight, bias : ndarray of float64
        (K, D) and (K,).
    class_axis, rank : int
        Which of how many axes of ``end`` holds the scores.
    """

    end: ir.Value
    sources: tuple[Source, ...]
    nodes: tuple[ir.Node, ...]
    weight: Array
    bias: Array
    class_axis: int
    rank: int


def moved_shape(target: Array, source: Source, n_scores: int) -> list[int]:
    """What a Reshape after a product asks for, with neurons in the place of scores."""
    sides = [int(n) for n in target.ravel()]
    if sides and sides[-1] == n_scores:
        sides[-1] = source.width
    return sides
