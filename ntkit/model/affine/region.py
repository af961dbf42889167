"""An affine region: its operators, its weights, and the embedding that it reads.

Weights are read from a plain layer's own tensors, or by running the region on zero and on basis
vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.graph.rewrite import Nodes
from ntkit.graph.tensors import (
    Shapes,
    attribute,
    constant_of,
    dtype_of,
    evaluator,
    float_type,
    is_constant,
)
from ntkit.model.affine.operators import NotAffine, Product, called, carriers, product
from ntkit.model.affine.run import Runner, spread_of

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
        waiting = [(end, False)]
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
    onwards, value = list[ir.Node](), product.outputs[0]  # to the end, one after the other
    while value is not cut.end and (reader := cut.reader.get(id(value))) is not None:
        onwards.append(reader)
        value = reader.outputs[0]
    for node in onwards:
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
    others = {id(n) for n in cut.nodes} - {id(n) for n in (product, *onwards)}
    return None if others or (moved and layer.quantised) else layer


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


_MOST_NUMBERS = 50_000_000  # of all sources, for the number of samples that the model requires
_MOST_WEIGHTS = 100_000_000
_CHUNK = 4_000_000  # elements of the rows that run at once
_ROUNDING = 1e-6
_TOLERANCE = 1e-8  # computed in float64, but stored scales have seven digits at best


def region_of(cut: Cut, sources: list[Source], shape_of: Shapes, *, whole: bool) -> Region:
    """Read operators as a plain layer, or run them."""
    with np.errstate(all="ignore"):  # infinite values raise an error
        plain = None
        if not whole and len(sources) == 1 and len(cut.products) == 1:
            plain = plain_layer(cut, sources[0])
        if plain is not None and plain.rank == 2 and not plain.moves:
            weight, bias = scaled(plain.weight, plain.scale), scaled(plain.bias, plain.scale)
            nodes, axis = tuple(cut.nodes), plain.class_axis
            return Region(cut.end, tuple(sources), nodes, weight, bias, axis, plain.rank, plain)
        reader = Reader(cut, sources, shape_of, whole=whole)
        try:
            region = None if plain is None else reader.plain_region(plain)
        except SeveralPositions:
            raise
        except NotAffine:  # what is said of the region tells more
            region = None
        return reader.region() if region is None else region


class Reader:
    """Reads the weights of a region by running it."""

    def __init__(self, cut: Cut, sources: list[Source], shape_of: Shapes, *, whole: bool) -> None:
        self._whole = whole
        self._cut, self._sources = cut, sources
        self._shape_of, self._runner = shape_of, Runner(shape_of)
        self._batch: int | None = None
        self._width = sum(source.width for source in sources)
        self._n_scores = 0

    def plain_region(self, plain: Plain) -> Region | None:
        """A plain layer's region; None if operators after it do not keep classes in a known way."""
        # This is tested by running it on possible outputs of the layer, not on inputs.
        weight, bias = scaled(plain.weight, plain.scale), scaled(plain.bias, plain.scale)
        rng, n = np.random.default_rng(0), self._native_batch() or 2
        sides = [n, *self._sources[0].shape[1:]]
        sides[plain.class_axis] = 1
        positions, classes, neurons = (
            rng.uniform(1, 2, size)
            for size in (sides, *(_along(width, plain) for width in plain.weight.shape))
        )
        values = self._after(plain, positions * classes)
        axis, scores = self._class_axis(values[id(self._cut.end)], n), self._scores_of(values, n)
        self._n_scores = len(plain.weight)
        self._sources = [self._shortened(self._sources[0], values, n)]
        even = self._scores_of(self._after(plain, np.ones_like(positions) * classes), n)
        embedding = self._embedding(self._sources[0], positions * neurons)
        rank = values[id(self._cut.end)].ndim
        if scores.shape[1] != len(plain.weight) or not _are_classes(even, classes, plain):
            return None
        seen = embedding / neurons.ravel()  # the rest of the positions of each sample
        if np.ptp(seen, axis=1).max() > _ROUNDING:
            return None
        same = _are_classes(scores / seen[:, :1], classes, plain)
        return self._made(weight, bias, axis, rank, plain) if same else None

    def _after(self, plain: Plain, output: Array) -> dict[int, Array]:
        """Results of the operators after a layer for a possible output."""
        values = {id(plain.output): output}
        self._runner.samples, self._runner.alike = len(output), False
        self._runner.run(list(plain.after), values, native=True)
        return values

    def _scores_of(self, values: dict[int, Array], n: int) -> Array:
        return values[id(self._cut.end)].reshape(n, -1)

    def _native_batch(self) -> int | None:
        """The number of samples that the model requires; None for any."""
        known = filter(None, (self._shape_of(source.value) for source in self._sources))
        batches = [shape[0] for shape in known if isinstance(shape[0], int)]
        return max(batches, default=None)

    def _made(
        self, weight: Array, bias: Array, axis: int, rank: int, plain: Plain | None
    ) -> Region:
        end, nodes = self._cut.end, tuple(self._cut.nodes)
        return Region(end, tuple(self._sources), nodes, weight, bias, axis, rank, plain)

    def region(self) -> Region:
        """Run the operators on zero and on basis vectors."""
        self._batch = self._native_batch()
        n = self._batch or 2
        if n * sum(math.prod(source.shape[1:]) for source in self._sources) > _MOST_NUMBERS:
            raise NotAffine(f"comes from {self._sources[0].value.name!r}, too large for a head")
        rows = np.zeros((n, self._width))
        values = self._values(rows, self._sources, self._cut.nodes, native=True)
        first = values[id(self._cut.end)]
        axis, rank = self._class_axis(first, n), first.ndim
        self._sources = [self._shortened(source, values, n) for source in self._sources]
        if self._width * self._n_scores > _MOST_WEIGHTS:
            raise NotAffine(
                f"comes from {self._width} numbers by {self._n_scores} scores, too many for a head"
            )
        widths = [layer.n_scores for _, layer in self._cut.products if layer.axis is not None]
        if self._whole and widths and self._n_scores not in widths:
            raise SeveralPositions("scores every position of a sample, not the sample")
        bias = self._scores(first, n)[0]
        weight = self._weight(values) / self._gains()
        scale = np.abs(weight).sum() + np.abs(bias).sum()
        if not np.isfinite(scale) or not weight.any():
            how = "weights that are all 0" if np.isfinite(scale) else "infinite weights or biases"
            raise NotAffine(f"comes from {called(self._cut.last)}, linear with {how}")
        region = self._made(weight, bias, axis, rank, None)
        if not self._agrees(region):
            raise NotAffine(
                f"comes from {called(self._cut.last)}, which is not one linear map of "
                f"{', '.join(repr(s.value.name) for s in self._sources)}"
            )
        double = float_type(self._sources[0].value) == ir.DataType.DOUBLE
        stored = np.float64 if double else np.float32
        return replace(region, weight=weight.astype(stored), bias=bias.astype(stored))

    def _shortened(self, source: Source, values: dict[int, Array], n: int) -> Source:
        """A source whose chain ends at a single position: only classes follow."""
        widths = [p.n_scores for _, p in self._cut.products if p.source is source.value]
        for number, node in enumerate(source.chain, start=1):
            if widths and values[id(node.outputs[0])].size == n * widths[0]:
                return replace(source, chain=source.chain[:number])
        return source

    def _class_axis(self, scores: Array, n: int) -> int:
        wide = [i for i, size in enumerate(scores.shape) if i and size != 1]
        if not scores.ndim or scores.shape[0] != n:
            raise SeveralPositions(f"comes from {called(self._cut.last)}, which mixes samples")
        if len(wide) > 1:
            raise SeveralPositions("scores every position of a sample, not the sample")
        self._n_scores = scores.size // n
        return wide[0] if wide else min(1, scores.ndim - 1)

    def _scores(self, output: Array, n: int) -> Array:
        if output.size != n * self._n_scores:
            raise NotAffine(f"comes from {called(self._cut.last)}, which mixes samples")
        return output.reshape(n, self._n_scores)

    def _weight(self, values: dict[int, Array]) -> Array:
        """(K, D): read from the products themselves, times the effect of the rest."""
        lifted = self._lifted(values)
        if not lifted:
            return self._responses(self._sources, self._cut.nodes)
        made = {id(entry.value) for _, _, entry in lifted}
        after = [node for node in self._cut.nodes if id(node.outputs[0]) not in made]
        rest = self._responses([entry for _, _, entry in lifted], after)
        parts = {id(s.value): np.zeros((self._n_scores, s.width)) for s in self._sources}
        start = 0
        for source, matrix, _ in lifted:
            parts[id(source.value)] += rest[:, start : start + len(matrix)] @ matrix
            start += len(matrix)
        return np.concatenate([parts[id(s.value)] for s in self._sources], axis=1)

    def _lifted(self, values: dict[int, Array]) -> list[tuple[Source, Array, Source]]:
        """Sources with the matrices that read them, and their products; none if others do."""
        sources = {id(s.value): s for s in self._sources}
        layers = {id(node): layer for node, layer in self._cut.products}
        lifted = []
        for node in self._cut.nodes:
            read = [v for v in self._cut.reads[id(node)] if id(v) in sources]
            if not read:
                continue
            layer, source = layers.get(id(node)), sources[id(read[0])]
            matrix = None if layer is None or layer.data is not read[0] else layer.matrix
            if matrix is None or len(self._cut.reads[id(node)]) > 1:
                return []  # another branch is added by the same Gemm
            if matrix.shape[1] != source.width:
                return []
            shape = values[id(node.outputs[0])].shape
            axis = None if len(shape) == 2 else 1 if node.op_type == "Conv" else len(shape) - 1
            matrix = matrix.astype(np.float64) * attribute(node, "alpha", 1.0)
            lifted.append((source, matrix, Source(node.outputs[0], shape, axis)))
        return lifted

    def _responses(self, entries: list[Source], nodes: list[ir.Node]) -> Array:
        """(K, D): scores of the basis vectors of some tensors, minus those of zeros."""
        width = sum(entry.width for entry in entries)
        row = sum(int(np.prod(entry.shape[1:])) for entry in entries)
        step = max(1, _CHUNK // max(row, 1))

        def run(rows: Array) -> Array:
            values = self._values(rows, entries, nodes, native=False)
            return self._scores(values[id(self._cut.end)], len(rows))

        zero = run(np.zeros((1, width)))
        result = np.empty((self._n_scores, width))
        for start in range(0, width, step):
            n = min(step, width - start)
            rows = np.zeros((n, width))
            rows[np.arange(n), start + np.arange(n)] = 1
            result[:, start : start + n] = (run(rows) - zero).T
        return result

    def _gains(self) -> Array:
        """Results of the chains for ones: a mean keeps them, a sum over positions does not."""
        parts = []
        for source in self._sources:
            ones = np.ones((self._batch or 2, source.width))
            self._runner.samples, self._runner.alike = len(ones), True
            parts.append(self._embedding(source, source.filled(ones))[0])
        gains = np.concatenate(parts)
        if not gains.all():
            raise NotAffine("has an embedding that is always 0")
        return gains

    def _embedding(self, source: Source, tensor: Array) -> Array:
        """Result of a source's chain of operators: one row of neurons per sample."""
        values: dict[int, Array] = {}
        current = tensor
        for node in source.chain:
            values[id(node.inputs[0])] = current
            if node.op_type == "Reshape":
                target = moved_shape(self._runner.target(node), source, self._n_scores)
                current = current.reshape(
                    [n if n else current.shape[i] for i, n in enumerate(target)]
                )
            else:
                self._runner.run([node], values, native=True)
                current = values[id(node.outputs[0])]
        flat: Array = current.reshape(len(current), -1)
        if flat.shape[1] != source.width:
            raise SeveralPositions("scores every position of a sample, not the sample")
        return flat

    def _values(
        self, rows: Array, entries: list[Source], nodes: list[ir.Node], *, native: bool
    ) -> dict[int, Array]:
        values: dict[int, Array] = {}
        start, self._runner.samples, self._runner.alike = 0, len(rows), True
        for entry in entries:
            real = entry.filled(rows[:, start : start + entry.width])
            values[id(entry.value)] = self._stored(entry, real)
            start += entry.width
        self._runner.run(nodes, values, native=native)
        return values

    def _stored(self, source: Source, real: Array) -> Array:
        """A tensor in the graph's form: quantised, but not rounded."""
        if not source.scale:
            return real
        scale, *zero = (self._runner.constant(v) for v in source.scale)
        if scale is None or scale.size > 1:
            raise NotAffine(f"reads {source.value.name!r}, whose scale is not one number")
        return real / scale + (zero[0] if zero and zero[0] is not None else 0.0)

    def _agrees(self, region: Region) -> bool:
        """Compare with the region itself at random points that differ at every position."""
        rng = np.random.default_rng(0)
        for n in (self._batch,) if self._batch else (2, 3):
            self._runner.samples, self._runner.alike = n, False
            values, parts = {}, []
            for source in self._sources:
                real = rng.normal(size=(n, *source.shape[1:]))
                values[id(source.value)] = self._stored(source, real)
                parts.append(self._embedding(source, real))
            expected = np.concatenate(parts, axis=1) @ region.weight.T + region.bias
            self._runner.run(self._cut.nodes, values, native=True)
            got = values[id(self._cut.end)]
            if len(got) != n or got.size != expected.size:
                raise NotAffine(f"comes from {called(self._cut.last)}, which mixes samples")
            error = np.abs(got.reshape(expected.shape) - expected).max()
            if not error <= _TOLERANCE * (1 + np.abs(expected).max()):
                return False
        return True


def _along(size: int, plain: Plain) -> list[int]:
    """A shape with this size along the axis of classes, one along others."""
    return [size if axis == plain.class_axis else 1 for axis in range(plain.rank)]


def _are_classes(scores: Array, classes: Array, plain: Plain) -> bool:
    """Whether each score equals that of its class, times the layer's factor."""
    difference = np.abs(scores / plain.scale - classes.ravel()).max()
    return bool(difference <= _ROUNDING)


# Operators that may also come before a product with the same weights at every position.
_MOVING_BEFORE = frozenset(["Squeeze", "Unsqueeze", "Transpose", "Reshape", "Flatten"])
_CHOOSING = frozenset(
    {
        *("GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceSum"),
        *("Gather", "GatherND", "GatherElements", "Slice"),
    }
)
_QUANTISING = frozenset(["QuantizeLinear", "QLinearMatMul", "QLinearAdd"])
_SCALE_OF_QGEMM = 7  # inputs; one more for the scale of the result
_INDEXED = frozenset(["Gather", "Slice"])


def read_region(end: ir.Value, shape_of: Shapes) -> Region:
    """Read the affine map of a tensor of scores, starting at the inputs of its last products."""
    cut = Cut(end, [], shape_of)
    if cut.last.op_type in _QUANTISING or (
        cut.last.op_type == "QGemm" and len(cut.last.inputs) > _SCALE_OF_QGEMM
    ):
        raise SeveralPositions(f"comes from {called(cut.last)}, which are quantised scores")
    if not cut.products:
        raise cut.problem or NotAffine("is not linear")
    if len(cut.products) == 1 and cut.sources == [cut.products[0][1].data] and not cut.problem:
        return _read(cut, shape_of)  # as nearly all heads are
    ways = [cut.sources]
    fewer = shared(cut.sources, shape_of)
    if fewer != cut.sources:
        ways.insert(0, fewer)
    problem = NotAffine("is not linear")
    for number, stops in enumerate(ways):
        try:
            return _read(Cut(end, stops, shape_of), shape_of)
        except NotAffine as error:
            if not number or len(ways) == 1:
                problem = error
    raise problem


def _read(cut: Cut, shape_of: Shapes) -> Region:
    unused = [s for s in cut.stops.values() if all(s is not found for found in cut.sources)]
    if unused:
        raise NotAffine(f"does not come from {unused[0].name!r} alone")
    problem: NotAffine | None = None
    for whole in (False, True):
        sources = [_source(value, cut, shape_of, whole=whole) for value in cut.sources]
        try:
            region = region_of(cut, sources, shape_of, whole=whole)
            if region.plain is None:
                _refuse_counting(region, cut, shape_of, whole=whole)
            return region
        except NotAffine as error:
            problem = problem or error
            if isinstance(error, SeveralPositions):
                break
    raise problem or NotAffine("is not linear")


def _refuse_counting(region: Region, cut: Cut, shape_of: Shapes, *, whole: bool) -> None:
    """Raise an error if a region's weights depend on an open number of positions."""
    sources = [_source(value, cut, shape_of, whole=whole, more=1) for value in cut.sources]
    if all(a.shape[1:] == b.shape[1:] for a, b in zip(sources, region.sources, strict=True)):
        return
    wider = region_of(cut, sources, shape_of, whole=whole)
    if not (np.allclose(wider.weight, region.weight) and np.allclose(wider.bias, region.bias)):
        raise SeveralPositions(
            f"comes from {called(cut.last)}, which depends on how many positions a sample has"
        )


_READS_QUANTISED = ("QGemm", "QLinearMatMul")


def _source(value: ir.Value, cut: Cut, shape_of: Shapes, *, whole: bool, more: int = 0) -> Source:
    """The tensor with a size for each axis, and the axis of the neurons."""
    layers = [p for p in cut.products if p[1].source is value]
    node, layer = layers[0] if layers else (None, None)
    sizes = _sizes(value, node, layer, shape_of)
    rank, axis_found = len(sizes), layer.axis if layer is not None else None
    # A size for open axes that includes every chosen position.
    indices = [constant_of(v) for n in cut.nodes if n.op_type in _INDEXED for v in n.inputs[1:2]]
    largest = max((int(np.abs(i).max()) for i in indices if i is not None and i.size), default=0)
    open_size = min(largest, 4096) + 3 + more
    filled = tuple(n or open_size for n in sizes)
    scale: tuple[ir.Value, ...] = ()  # with the zero point, if a product reads quantised numbers
    if node is not None and node.op_type in _READS_QUANTISED and node.inputs[0] is value:
        scale = tuple(v for v in node.inputs[1:3] if v is not None)
    if node is None or axis_found is None or whole or rank == 2:
        if any(n is None for n in sizes[1:]):
            raise NotAffine(
                f"comes from {value.name!r} of shape {shape_of(value)}, whose sizes are open"
            )
        return Source(value, filled, None, (), scale)
    axis = axis_found % rank
    if all(n == 1 for i, n in enumerate(filled) if i not in (0, axis)):
        return Source(value, filled, None, (), scale)
    return Source(value, filled, axis, _chain(node, cut), scale)


def _sizes(
    value: ir.Value, node: ir.Node | None, layer: Product | None, shape_of: Shapes
) -> list[int | None]:
    """Sizes of a tensor's axes, by its shape and by the product that reads it; None if open."""
    # For a Gemm the weights determine it; inferring shapes takes time.
    shape = None if node is not None and node.op_type == "Gemm" else shape_of(value)
    rank = len(shape) if shape is not None else 2
    if shape is None and node is not None and node.op_type == "Conv":
        rank = constant_of(node.inputs[1]).ndim  # type: ignore[union-attr]
    sizes: list[int | None] = [n if isinstance(n, int) else None for n in shape or (None,) * rank]
    for axis, size in layer.sizes.items() if layer is not None else ():
        if not -rank <= axis < rank:
            raise NotAffine(f"has {rank} axes where {called(node)} reads more")  # type: ignore[arg-type]
        sizes[axis] = size
    if rank < 2:
        raise NotAffine(f"comes from a tensor of shape {shape}")
    if rank == 2 and sizes[1] is None:
        raise NotAffine(f"comes from {value.name!r}, whose width is not known")
    return sizes


def _chain(node: ir.Node, cut: Cut) -> tuple[ir.Node, ...]:
    """Operators after a product that choose positions, and operators that move axes before them."""
    value, chain, chosen = node.outputs[0], list[ir.Node](), 0
    while value is not cut.end and (after := cut.reader.get(id(value))) is not None:
        chain += [after] * (after.op_type in _CHOOSING | _MOVING_BEFORE)
        chosen = len(chain) if after.op_type in _CHOOSING else chosen
        value = after.outputs[0]
    return tuple(chain[:chosen])


EMBEDDING = "ntkit.embedding"


class EmbeddingNodes(Nodes):
    """Adds operators to a graph; ``in_graph`` returns its tensor for one of the model's."""

    def __init__(
        self, add: Callable[[ir.Node], object], in_graph: Callable[[ir.Value], ir.Value]
    ) -> None:
        super().__init__(add, EMBEDDING)
        self.in_graph = in_graph

    def known(self, value: ir.Value | None) -> ir.Value | None:
        """A tensor that an operator of the model reads besides its data."""
        constant = constant_of(value)
        if value is None or constant is None:
            return None if value is None else self.in_graph(value)
        return self.constant(constant, dtype_of(value))


def side_by_side(
    nodes: EmbeddingNodes, sources: Sequence[Source], n_scores: int, runner: Runner
) -> ir.Value:
    """One row of neurons per sample, (N, D): the sources, flattened and concatenated."""
    parts = [_row(nodes, source, n_scores, runner) for source in sources]
    result = parts[0] if len(parts) == 1 else nodes.node("Concat", parts, {"axis": 1})
    if len(parts) > 1 or not sources[0].is_embedding:
        result.name = EMBEDDING
        result.type = ir.TensorType(float_type(sources[0].value))
        width = sum(source.width for source in sources)
        result.shape = ir.Shape([ir.SymbolicDim(None), width])
    return result


def found_by_the_model(chain: Sequence[ir.Node]) -> list[ir.Value]:
    """Positions that the model computes, such as that of the last token."""
    inputs = list[ir.Value | None]()
    for node in chain:
        if node.op_type == "GatherElements":
            inputs.append(spread_of(node))
        elif node.op_type != "Reshape":
            inputs += node.inputs[1:]
    return list({id(v): v for v in inputs if v is not None and constant_of(v) is None}.values())


def _row(nodes: EmbeddingNodes, source: Source, n_scores: int, runner: Runner) -> ir.Value:
    value = nodes.in_graph(source.value)
    if source.scale:
        value = nodes.node("DequantizeLinear", [value, *map(nodes.known, source.scale)])
    for node in source.chain:
        value = _moved(nodes, value, node, source, n_scores, runner)
    if len(source.shape) == 2 and not source.chain:
        return value  # already of one row per sample
    return nodes.node("Flatten", [value], {"axis": 1})


def _moved(
    nodes: EmbeddingNodes,
    value: ir.Value,
    node: ir.Node,
    source: Source,
    n_scores: int,
    runner: Runner,
) -> ir.Value:
    """A copy of an operator that moves or chooses positions, for neurons instead of scores."""
    if node.op_type == "Reshape":
        sides = moved_shape(runner.target(node), source, n_scores)
        return nodes.node("Reshape", [value, nodes.constant(np.asarray(sides, np.int64))])
    index = spread_of(node) if node.op_type == "GatherElements" else None
    if index is not None and constant_of(node.inputs[1]) is None:
        first = nodes.constant(np.asarray(0, np.int64))
        at = nodes.node("Gather", [nodes.in_graph(index), first], {"axis": 2})
        return nodes.node("GatherND", [value, at], {"batch_dims": 1})
    others = [nodes.known(v) for v in node.inputs[1:]]
    return nodes.node(node.op_type, [value, *others], node.attributes.values())
