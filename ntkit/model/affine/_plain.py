"""An affine region, and the plain layer that it equals: one product, with or without a bias."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.graph import Shapes, attribute, constant_of, evaluator, is_constant
from ntkit.model.affine._operators import NotAffine, Product, called, carriers, product

_KEEPING = frozenset(
    ["Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear", "Mul", "Div"]
)


class SeveralPositions(NotAffine):
    """A tensor does not have one number per sample and class, but may get there."""


@dataclass(frozen=True)
class Source:
    """A tensor that a region reads."""

    value: ir.Value  # the tensor
    shape: tuple[int, ...]  # its axes, open ones with some size; the first is that of the samples
    axis: int | None  # the axis of neurons; None if all axes but the samples' are
    # Operators after the product that choose or average positions: the embedding is their result
    # for the tensor.
    chain: tuple[ir.Node, ...] = ()
    # Scale and zero point of a quantised tensor; empty for floats.
    scale: tuple[ir.Value, ...] = ()

    @property
    def is_embedding(self) -> bool:
        """Whether the tensor itself has one row of neurons per sample."""
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
    """A region of one product, with or without a bias, that keeps every class: edited in place."""

    # "Gemm", "MatMul", "Conv" or "MatMulInteger" (dynamic quantisation), with " + Add" if the bias
    # is a separate node.
    kind: str
    # The node that multiplies; for a dynamically quantised layer the one that scales the result.
    product: ir.Node
    # The node that adds the bias, and the input with the bias; None for a bare MatMul. A Gemm or
    # Conv may lack the input.
    bias_at: tuple[ir.Node, int] | None
    output: ir.Value  # output, bias included
    weight: Array  # (K, D)
    bias: Array  # (K,)
    class_axis: int  # axis of ``output`` with the classes, and number of axes
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
    sources: tuple[Source, ...]  # inputs; concatenated they are the embedding
    nodes: tuple[ir.Node, ...]  # its operators, in order
    weight: Array  # (K, D)
    bias: Array  # (K,)
    class_axis: int  # axis of ``end`` with the scores, and number of axes
    rank: int
    plain: Plain | None = None  # place of its weights, if it is a plain layer

    @property
    def kind(self) -> str:
        """Name of the layer, or of the region and its operators."""
        if self.plain is not None:
            return self.plain.kind
        return f"affine region ({', '.join(dict.fromkeys(n.op_type for n in self.nodes))})"


def moved_shape(target: Array, source: Source, n_scores: int) -> list[int]:
    """Shape of a Reshape after a product, for neurons instead of scores."""
    sides = [int(n) for n in target.ravel()]
    if sides and sides[-1] == n_scores:
        sides[-1] = source.width
    return sides


_MOST_NODES = 300
_MOST_SHARED = 8
_TAKING = frozenset(["Slice", "Gather", "Split"])
_MANY = 2**31 + 1  # samples, none of which a slice may leave out


class Cut:
    """The operators between some tensors and an end, in order."""

    # Without `stops` the search goes back to the input of the first product on each branch.

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
        """A branch without a product is allowed if it starts from the input of another one."""
        if self.stops or value is self.end:
            raise why
        self.problem = self.problem or why


def _chooses_samples(node: ir.Node, shape_of: Shapes) -> bool:
    """Whether constant positions are taken from an open first axis, which has the samples."""
    shape = shape_of(node.inputs[0]) if node.op_type in _TAKING and node.inputs[0] else None
    if shape is None or not shape or isinstance(shape[0], int):
        return False
    if node.op_type != "Slice":
        places = node.op_type == "Split" or is_constant(node.inputs[1])
        return places and not attribute(node, "axis", 0)
    many = np.broadcast_to(np.float32(0), (_MANY, *[1] * (len(shape) - 1)))
    return len(evaluator(node)([many, *map(constant_of, node.inputs[1:])])[0]) != _MANY


def shared(sources: list[ir.Value], shape_of: Shapes) -> list[ir.Value]:
    """Sources without those that others lead to by linear layers alone (LoRA)."""
    # If two lead to a third tensor, by layers of their own, the third replaces them.
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
            before_it = Cut(source, [], shape_of).sources
            cut = _between(source, before_it, shape_of) if len(before_it) == 1 else None
            if cut is None:
                continue
            first, known = before.setdefault(id(before_it[0]), (source, cut))
            layers = {id(node) for node, _ in known.products}
            if first is not source and not any(id(node) in layers for node, _ in cut.products):
                kept = [s for s in sources if s is not first and s is not source]
                return [*kept, before_it[0]]
    return None


def _between(end: ir.Value, stops: list[ir.Value], shape_of: Shapes) -> Cut | None:
    """The affine operators from ``stops`` to ``end``; None if another tensor is needed too."""
    try:
        return Cut(end, stops, shape_of)
    except NotAffine:
        return None


NO_OPS = frozenset(["Identity", "Cast", "Dropout"])
_NEARLY_NO_OPS = NO_OPS | {"QuantizeLinear", "DequantizeLinear"}
# Each acts in the same way on all positions (pixels, tokens) and classes.
_MOVING = frozenset(
    {
        *("Squeeze", "Unsqueeze", "Transpose", "Flatten", "Reshape", "GlobalAveragePool"),
        *("AveragePool", "ReduceMean", "Gather", "GatherND", "Slice"),
    }
)


def plain_layer(cut: Cut, source: Source) -> Plain | None:
    """The plain layer that the operators of a cut are; None if they are more than that."""
    product = cut.products[0][0]
    layer = _product(*cut.products[0], len(source.shape))
    if layer is None:
        return None
    moved, between = False, True  # whether positions have been chosen; before the bias
    for node in _onwards(cut, product):
        if (factor := constant_factor(node)) is not None and layer.product is not node:
            layer, between = replace(layer, scale=layer.scale * factor[1]), False
        elif node.op_type in ("Add", "Sum") and between:
            added = _with_bias(layer, node)
            if added is None or not _read_once(node, product):
                return None
            layer, between = added, False
            continue
        elif node.op_type in _MOVING:
            moved, between = True, False
        elif node.op_type not in _NEARLY_NO_OPS:
            return None
        layer = replace(layer, after=(*layer.after, node))
    others = {id(n) for n in cut.nodes} - {id(n) for n in _onwards(cut, product)} - {id(product)}
    return None if others or (moved and layer.quantised) else layer


def _onwards(cut: Cut, node: ir.Node) -> Iterator[ir.Node]:
    """The operators from a node to the end, one after the other."""
    value = node.outputs[0]
    while value is not cut.end and (after := cut.reader.get(id(value))) is not None:
        yield after
        value = after.outputs[0]


def _product(node: ir.Node, product: Product, rank: int) -> Plain | None:
    """The layer of a product alone, with the bias that is an input of its own."""
    at_each_position = product.matrix is not None and product.axis is not None
    if not at_each_position or not attribute(node, "alpha", 1.0):
        return None
    kind = "MatMulInteger" if node.op_type == "Mul" else node.op_type
    matrix = product.matrix.astype(np.float32) if node.op_type == "Mul" else product.matrix
    weight = scaled(_float(matrix), attribute(node, "alpha", 1.0))
    at = (node, 2) if node.op_type in ("Gemm", "Conv") else None
    zeros = np.zeros(len(weight), np.float32)
    axis = (product.axis or 0) % rank
    layer = Plain(kind, node, at, node.outputs[0], weight, zeros, axis, rank)
    if at is not None and len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant_of(node.inputs[2])
        vector = None if bias is None else _one_per_class(bias, layer, after=0)
        if vector is None:
            return None
        layer = replace(layer, bias=scaled(vector, attribute(node, "beta", 1.0)))
    return layer


def _with_bias(layer: Plain, node: ir.Node) -> Plain | None:
    """The layer with a constant added, one for each class; None if there is no such Add."""
    constants = [(i, constant_of(value)) for i, value in enumerate(node.inputs)]
    index, added = next(((i, c) for i, c in constants if c is not None), (0, None))
    if len(constants) != 2 or added is None or added.ndim > layer.rank:
        return None
    vector = _one_per_class(added, layer, after=layer.rank - 1 - layer.class_axis)
    if vector is None:
        return None
    return replace(
        layer,
        kind=f"{layer.kind} + Add",
        bias_at=(node, index),
        output=node.outputs[0],
        bias=layer.bias + vector,
        after=(),
    )


def _one_per_class(bias: Array, layer: Plain, after: int) -> Array | None:
    """A bias as a vector, with ``after`` axes after the classes; None if it is not one."""
    rows = len(layer.weight)
    sides = bias.shape[bias.ndim - after :] if after else ()
    axis = bias.shape[bias.ndim - after - 1] if bias.ndim > after else 1
    if bias.size != 1 and (bias.size != rows or axis != rows or any(s != 1 for s in sides)):
        return None
    return np.broadcast_to(_float(bias).ravel(), (rows,))


def _read_once(node: ir.Node, product: ir.Node) -> bool:
    """Whether a product has no other readers, up to the node that adds its bias."""
    value = next((v for v in node.inputs if v is not None and constant_of(v) is None), None)
    while value is not None:
        if len(value.uses()) > 1 or value.is_graph_output():
            return False
        before = value.producer()
        if before is product or before is None:
            break
        value = before.inputs[0]
    return True


def constant_factor(node: ir.Node) -> tuple[ir.Value, float] | None:
    """Data of a Mul or Div by a constant number, and the factor; None for all others."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    for data, other in ((first, second), (second, first)):
        number = constant_of(other)
        if data is None or number is None or number.size != 1 or number.dtype.kind not in "fiu":
            continue
        factor = float(number.item())
        if not factor or not np.isfinite(factor):
            continue
        if node.op_type == "Mul":
            return data, factor
        if data is first:
            return data, 1 / factor
    return None


def scaled(array: Array, factor: float) -> Array:
    """An array times a factor, in its own precision."""
    if factor == 1:
        return array
    with np.errstate(over="ignore", invalid="ignore"):  # loading refuses infinite weights
        return array * np.float32(factor)


def _float(array: Array) -> Array:
    """A copy, because the source may be a memory-mapped file that saving closes."""
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)
