"""A head: the affine region before a classifier's scores, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.affine import Region, scaled
from ntkit.head_search._after_head import AfterHead

__all__ = ["Head"]


@dataclass(frozen=True)
class Head:
    """The last linear layer of a classifier, and what becomes of its logits."""

    region: Region  # the layer, or the affine region that amounts to one
    after: AfterHead  # what follows it

    @property
    def weight(self) -> NDArray[Any]:
        """(K, D): the region's, times the scale after it."""
        return scaled(self.region.weight, self.after.scale)

    @property
    def bias(self) -> NDArray[Any]:
        """(K,): the region's, times the scale after it."""
        return scaled(self.region.bias, self.after.scale)

    @property
    def logits(self) -> ir.Value:
        """The first tensor with one number per sample and class."""
        return self.region.end

    @property
    def scale(self) -> float:
        """The factor between what is edited and the scores that count."""
        plain = self.region.plain
        return self.after.scale * (1.0 if plain is None else plain.scale)

    @property
    def output(self) -> ir.Value:
        """What the layer computes, maybe at several positions."""
        plain = self.region.plain
        return self.region.end if plain is None else plain.output

    @property
    def source(self) -> ir.Value:
        """The (first) tensor that the layer reads."""
        return self.region.sources[0].value

    @property
    def reads_rows(self) -> bool:
        """Whether what the layer reads holds one row of neurons per sample, as it is."""
        return len(self.region.sources) == 1 and self.region.sources[0].is_embedding

    @property
    def positions(self) -> tuple[ir.Node, ...]:
        """Operators that choose or average positions, between the layer and the logits."""
        return self.region.sources[0].chain

    @property
    def identity(self) -> int:
        """What two findings of the same layer have in common."""
        plain = self.region.plain
        return id(self.region.end if plain is None else plain.product)

    @property
    def reads(self) -> list[ir.Value]:
        """The tensors that the layer reads."""
        return [source.value for source in self.region.sources]
