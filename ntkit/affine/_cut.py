"""Walk back from scores through what is affine, to the tensors that the last products read."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import onnx_ir as ir

from ntkit.affine._operators import NotAffine, called, carriers
from ntkit.affine._products import Product, product
from ntkit.graph import Shapes, attribute, constant_of, evaluator, is_constant

__all__ = ["Cut", "shared"]

_MOST_NODES = 300
_MOST_SHARED = 8
_TAKING = frozenset(["Slice", "Gather", "Split"])
_MANY = 2**31 + 1  # samples, of which a slice may not leave any out


class Cut:
    """The operators between some tensors and an end, in order.

    Without ``stops`` the walk back goes on to the input of the first product on each branch.
    """

    def __init__(self, end: ir.Value, stops: list[ir.Value], shape_of: Shapes) -> None:
        self.end = end
        self.stops = {id(value): value for value in stops}
        self.sources: list[ir.Value] = []
        self.products: list[tuple[ir.Node, Product]] = []
        self.nodes: list[ir.Node] = []
        self.reader: dict[int, ir.Node] = {}  # on the way from a tensor to the end
        self.reads: dict[int, list[ir.Value]] = {}  # the data of each operator
        self.problem: NotAffine | None = None
        self._shape_of = shape_of
        self._seen = set[int]()
        node = end.producer()
        if node is None:
            raise NotAffine("is an input or a constant")
        self.last = node
        self._visit(end)

    def _visit(self, start: ir.Value) -> None:
        waiting = [(start, False)]
        while waiting:
            value, done = waiting.pop()
            node = value.producer()
            if done and node is not None:
                self.nodes += [node] * all(node is not n for n in self.nodes)
                continue
            if id(value) in self._seen:
                continue
            self._seen.add(id(value))
            if len(self._seen) > _MOST_NODES:
                raise NotAffine(f"comes from more than {_MOST_NODES} operators after any layer")
            if id(value) in self.stops:
                self._found(value)
            elif node is None:
                why = f"comes from the input {value.name!r}, which no linear layer reads"
                self._ends(value, NotAffine(why))
            else:
                waiting.append((value, True))
                waiting += [(data, False) for data in self._before(value, node)[::-1]]

    def _before(self, value: ir.Value, node: ir.Node) -> list[ir.Value]:
        try:
            inputs = carriers(value, node)
        except NotAffine as error:
            if value is self.end or self.stops:
                raise
            self._ends(value, error)
            return []
        self.reads[id(node)] = inputs
        for data in inputs:
            self.reader.setdefault(id(data), node)
        if _chooses_samples(node, self._shape_of):
            raise NotAffine(f"comes from {called(node)}, which chooses samples")
        layer = product(node, self._shape_of)
        if layer is None:
            return inputs
        self.products.append((node, layer))
        if self.stops:
            return inputs
        self._found(layer.source)
        return [data for data in inputs if data is not layer.data]

    def _found(self, value: ir.Value) -> None:
        if all(value is not known for known in self.sources):
            self.sources.append(value)

    def _ends(self, value: ir.Value, why: NotAffine) -> None:
        """A branch without a product is fine where it starts from what another one reads."""
        if self.stops or value is self.end:
            raise why
        self.problem = self.problem or why


def _chooses_samples(node: ir.Node, shape_of: Shapes) -> bool:
    """Whether constant places are taken of a first axis of open size, which holds the samples."""
    shape = shape_of(node.inputs[0]) if node.op_type in _TAKING and node.inputs[0] else None
    if shape is None or not shape or isinstance(shape[0], int):
        return False
    if node.op_type != "Slice":
        places = node.op_type == "Split" or is_constant(node.inputs[1])
        return places and not attribute(node, "axis", 0)
    many = np.broadcast_to(np.float32(0), (_MANY, *[1] * (len(shape) - 1)))
    return len(evaluator(node)([many, *map(constant_of, node.inputs[1:])])[0]) != _MANY


def shared(sources: list[ir.Value], shape_of: Shapes) -> list[ir.Value]:
    """Sources with those left out that other ones lead to by linear layers alone (LoRA).

    Where two lead to a third tensor, by layers of their own, it takes their place.
    """
    for _ in range(_MOST_SHARED):
        fewer = _without_one(sources, shape_of) or _with_one_for_two(sources, shape_of)
        if fewer is None:
            break
        sources = fewer
    return sources


def _without_one(sources: list[ir.Value], shape_of: Shapes) -> list[ir.Value] | None:
    for source in sources:
        others = [s for s in sources if s is not source]
        if others and _between(source, others, shape_of) is not None:
            return others
    return None


def _with_one_for_two(sources: list[ir.Value], shape_of: Shapes) -> list[ir.Value] | None:
    before: dict[int, tuple[ir.Value, Cut]] = {}  # by the tensor that a source comes from
    for source in sources if len(sources) > 1 else ():
        with suppress(NotAffine):
            found = Cut(source, [], shape_of).sources
            cut = _between(source, found, shape_of) if len(found) == 1 else None
            if cut is None:
                continue
            first, known = before.setdefault(id(found[0]), (source, cut))
            layers = {id(node) for node, _ in known.products}
            if first is not source and not any(id(node) in layers for node, _ in cut.products):
                kept = [s for s in sources if s is not first and s is not source]
                return [*kept, found[0]]
    return None


def _between(end: ir.Value, stops: list[ir.Value], shape_of: Shapes) -> Cut | None:
    """What makes ``end`` of ``stops``, if that is affine; None if it needs another tensor too."""
    try:
        return Cut(end, stops, shape_of)
    except NotAffine:
        return None
