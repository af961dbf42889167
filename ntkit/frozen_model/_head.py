"""A head: the last linear layer of a classifier, or an affine region that amounts to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.affine import LinearLayer, Source
from ntkit.frozen_model._after_head import AfterHead

__all__ = ["Head"]


@dataclass(frozen=True)
class Head:
    """The last linear layer of a classifier, and what becomes of its logits.

    Attributes
    ----------
    layer : LinearLayer
        The layer itself.
    after : AfterHead
        What follows it.
    weight, bias : ndarray
        (K, D) and (K,): the layer's, times the scale after it.
    """

    layer: LinearLayer
    after: AfterHead

    @property
    def weight(self) -> NDArray[Any]:
        return _times(self.layer.weight, self.after.scale)

    @property
    def bias(self) -> NDArray[Any]:
        return _times(self.layer.bias, self.after.scale)

    @property
    def sources(self) -> tuple[Source, ...] | None:
        """What the embedding is made of; None where it is the tensor that the layer reads."""
        if self.layer.region is not None:
            return self.layer.region.sources
        if self.layer.rank == 2:
            return None
        shape = (1, self.layer.weight.shape[1], *[1] * ((self.layer.rank or 2) - 2))
        return (Source(self.layer.source, shape, 1, self.after.choosing),)

    @property
    def identity(self) -> int:
        """What two findings of the same layer have in common."""
        region = self.layer.region
        return id(self.layer.weight_at[0] if region is None else region.end)

    @property
    def reads(self) -> list[ir.Value]:
        """The tensors that the layer reads."""
        region = self.layer.region
        return [self.layer.source] if region is None else [s.value for s in region.sources]


def _times(array: NDArray[Any], scale: float) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):  # infinite weights are refused on loading
        return array * scale
