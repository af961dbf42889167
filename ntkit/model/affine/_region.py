"""An affine region: the tensors it reads, and the one linear layer that it amounts to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.model.affine._operators import NotAffine

_KEEPING = frozenset(
    ["Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear", "Mul", "Div"]
)


class SeveralPositions(NotAffine):
    """What ends here is not one number per sample and class, but may become that."""


@dataclass(frozen=True)
class Source:
    """A tensor that a region reads."""

    value: ir.Value  # the tensor
    shape: tuple[int, ...]  # its axes, the open ones at some size; the first is that of the samples
    axis: int | None  # the axis of neurons; None where all axes but the samples' are
    # Operators after the product that choose positions, or average them: the embedding is what they
    # make of the tensor.
    chain: tuple[ir.Node, ...] = ()
    # Scale and zero point of a tensor of quantised numbers; empty for one of floats.
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
class Plain:
    """A region that is one product, perhaps a bias, and what keeps every class: edited in place."""

    # "Gemm", "MatMul", "Conv" or "MatMulInteger" (dynamic quantisation), with " + Add" where the
    # bias is a node of its own.
    kind: str
    # The node that multiplies; of a dynamically quantised layer the one that scales the result.
    product: ir.Node
    # The node that adds the bias, and which input holds it; None for a bare MatMul. A Gemm or Conv
    # may lack the input.
    bias_at: tuple[ir.Node, int] | None
    output: ir.Value  # what it computes, bias included
    weight: Array  # (K, D)
    bias: Array  # (K,)
    class_axis: int  # which of how many axes of ``output`` holds the classes
    rank: int
    scale: float = 1.0  # constant factor between ``output`` and the end of the region
    after: tuple[ir.Node, ...] = ()  # operators from ``output`` to the end of the region

    @property
    def moves(self) -> bool:
        """Whether positions are chosen, or axes moved, after it."""
        return any(node.op_type not in _KEEPING for node in self.after)

    @property
    def quantised(self) -> bool:
        """Whether other weights need another kind of node."""
        return self.product.op_type == "Mul"


@dataclass(frozen=True)
class Region:
    """An affine map from some tensors to scores."""

    end: ir.Value  # the scores
    sources: tuple[Source, ...]  # what it reads; side by side they are the embedding
    nodes: tuple[ir.Node, ...]  # its operators, in order
    weight: Array  # (K, D)
    bias: Array  # (K,)
    class_axis: int  # which of how many axes of ``end`` holds the scores
    rank: int
    plain: Plain | None = None  # where its weights lie, if it is a plain layer

    @property
    def kind(self) -> str:
        """What it is, in a few words."""
        if self.plain is not None:
            return self.plain.kind
        return f"affine region ({', '.join(dict.fromkeys(n.op_type for n in self.nodes))})"


def moved_shape(target: Array, source: Source, n_scores: int) -> list[int]:
    """What a Reshape after a product asks for, with neurons in the place of scores."""
    sides = [int(n) for n in target.ravel()]
    if sides and sides[-1] == n_scores:
        sides[-1] = source.width
    return sides
