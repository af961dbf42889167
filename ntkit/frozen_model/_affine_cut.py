"""Walk back from scores through what is affine, to the tensors that the last products read."""

from __future__ import annotations

from contextlib import suppress

import onnx_ir as ir

from ntkit.frozen_model._affine_ops import NotAffine, Product, carriers, product
from ntkit.frozen_model._graph import Shapes

__all__ = ["Cut", "shared"]

_MOST_NODES = 300
_MOST_SHARED = 8


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
        self.problem = ""
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
                self._ends(value, "is an input that no linear layer reads")
            else:
                waiting.append((value, True))
                waiting += [(data, False) for data in self._before(value, node)[::-1]]

    def _before(self, value: ir.Value, node: ir.Node) -> list[ir.Value]:
        try:
            inputs = carriers(value, node)
        except NotAffine as error:
            if value is self.end or self.stops:
                raise
            self._ends(value, str(error))
            return []
        for data in inputs:
            self.reader.setdefault(id(data), node)
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

    def _ends(self, value: ir.Value, why: str) -> None:
        """A branch without a product is fine where it starts from what another one reads."""
        if self.stops or value is self.end:
            raise NotAffine(why)
        self.problem = self.problem or why


def shared(sources: list[ir.Value], shape_of: Shapes) -> list[ir.Value]:
    """Sources with those left out that other ones lead to by linear layers alone (LoRA).

    Where two lead to a third tensor, it takes their place.
    """
    for _ in range(_MOST_SHARED):
        deeper = {}
        for source in sources if len(sources) > 1 else ():
            others = [s for s in sources if s is not source]
            with suppress(NotAffine):
                found = Cut(source, [], shape_of).sources
                inner = _closed(source, others, shape_of) or _closed(source, found, shape_of)
                deeper[id(source)] = inner
        known = {id(s) for s in sources}
        for source in sources:
            inner = deeper.get(id(source), [])
            if inner and all(id(s) in known for s in inner):
                sources = [s for s in sources if s is not source]
                break
        else:
            pair = _same(deeper, sources)
            if pair is None:
                return sources
            sources = pair
    return sources


def _closed(end: ir.Value, stops: list[ir.Value], shape_of: Shapes) -> list[ir.Value]:
    """Those of ``stops`` that ``end`` is affine in; none if it needs another tensor besides."""
    try:
        return Cut(end, stops, shape_of).sources if stops else []
    except NotAffine:
        return []


def _same(deeper: dict[int, list[ir.Value]], sources: list[ir.Value]) -> list[ir.Value] | None:
    for first in sources:
        for second in sources:
            inner = deeper.get(id(first), [])
            other = deeper.get(id(second), [])
            if first is not second and inner and set(map(id, inner)) == set(map(id, other)):
                kept = [s for s in sources if s is not first and s is not second]
                return [*kept, *[s for s in inner if all(s is not k for k in kept)]]
    return None
