"""A head: the affine region before a classifier's scores, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.model.affine import Region, scaled

PROBABILITIES = frozenset(["Softmax", "LogSoftmax", "Sigmoid"])


class Unclear(Exception):
    """What follows the logits does not keep one score per sample and class; says why."""


@dataclass(frozen=True)
class AfterHead:
    """What a path from the logits has made of them so far."""

    n_logits: int  # how many there are
    # Number of axes, and which of them holds the classes; past the last where a single logit has
    # none. All others but the first are of length one.
    rank: int = 2
    classes: int = 1
    # Whether the model takes one sample at a time, so that its axis may go.
    one_sample: bool = False
    scale: float = 1.0  # constant factor of the logits
    bent_by: str = ""  # the last operator behind which a factor no longer scales the logits
    rising: float = 1.0  # the factor since
    decided: bool = False  # whether this is a class, no longer scores
    post_processing: tuple[str, ...] = ()  # the operators, in order
    labels: tuple[Any, ...] | None = None  # class labels, where the graph maps indices to them
    quantised: tuple[ir.Value, ...] = ()  # scores that the graph quantises


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
