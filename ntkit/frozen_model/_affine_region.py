"""The affine region before some scores: where it is cut, and the weights it amounts to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.frozen_model._affine_ops import NotAffine, Product, called, carriers, fixed, product
from ntkit.frozen_model._constants import constant_of
from ntkit.frozen_model._graph import Shapes
from ntkit.frozen_model._run_node import Runner

__all__ = ["Region", "SeveralPositions", "Source", "moved_shape", "read_region"]

Array = NDArray[Any]

# Operators that may as well come before a product that treats every position alike.
_MOVABLE = frozenset(
    {
        *("GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceSum", "Gather", "GatherND"),
        *("GatherElements", "Slice", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Flatten"),
    }
)
_INDEXED = frozenset(["Gather", "Slice"])
_MOST_NODES = 300
_CHUNK = 4_000_000  # elements of the rows that run at a time
_TOLERANCE = 1e-8  # float64 all along, but stored scales have seven digits at best


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
    """

    value: ir.Value
    shape: tuple[int, ...]
    axis: int | None
    chain: tuple[ir.Node, ...] = ()

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


def read_region(end: ir.Value, shape_of: Shapes) -> Region:
    """Read the affine map that ends in a tensor of scores, cut where its last products read.

    Raises
    ------
    NotAffine
        If it is not affine; the message names the operator that is not.
    SeveralPositions
        If it is not one number per sample and class.
    """
    cut = _Cut(end, [], shape_of)
    if not cut.products:
        raise NotAffine(cut.problem)
    ways = [cut.sources]
    shared = _shared(cut.sources, shape_of)
    if shared != cut.sources:
        ways.insert(0, shared)
    problem = NotAffine("is not linear")
    for number, stops in enumerate(ways):
        try:
            return _read(_Cut(end, stops, shape_of), shape_of)
        except NotAffine as error:
            if not number or len(ways) == 1:
                problem = error
    raise problem


class _Cut:
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
        self._found(_unquantised(layer.data))
        return [data for data in inputs if data is not layer.data]

    def _found(self, value: ir.Value) -> None:
        if all(value is not known for known in self.sources):
            self.sources.append(value)

    def _ends(self, value: ir.Value, why: str) -> None:
        """A branch without a product is fine where it starts from what another one reads."""
        if self.stops or value is self.end:
            raise NotAffine(why)
        self.problem = self.problem or why


def _unquantised(value: ir.Value) -> ir.Value:
    """What was quantised for an integer product."""
    node = value.producer()
    if node is not None and node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear"):
        return node.inputs[0] or value
    return value


def _shared(sources: list[ir.Value], shape_of: Shapes) -> list[ir.Value]:
    """Sources with those left out that other ones lead to by linear layers alone (LoRA).

    Where two lead to a third tensor, it takes their place.
    """
    for _ in range(8):
        deeper = {}
        for source in sources if len(sources) > 1 else ():
            others = [s for s in sources if s is not source]
            with suppress(NotAffine):
                found = _Cut(source, [], shape_of).sources
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
        return _Cut(end, stops, shape_of).sources if stops else []
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


def _read(cut: _Cut, shape_of: Shapes) -> Region:
    unused = [s for s in cut.stops.values() if all(s is not found for found in cut.sources)]
    if unused:
        raise NotAffine(f"does not come from {unused[0].name!r} alone")
    problem: NotAffine | None = None
    for whole in (False, True):
        sources = [_source(value, cut, shape_of, whole=whole) for value in cut.sources]
        try:
            return _Reader(cut, sources, shape_of).region()
        except NotAffine as error:
            problem = problem or error
            if isinstance(error, SeveralPositions) or all(len(s.shape) == 2 for s in sources):
                break
    raise problem if problem is not None else NotAffine("is not linear")


def _source(value: ir.Value, cut: _Cut, shape_of: Shapes, *, whole: bool) -> Source:
    """The tensor with a size for each axis, and which one holds the neurons."""
    layers = [p for p in cut.products if _unquantised(p[1].data) is value or p[1].data is value]
    shape = shape_of(value)
    node, layer = layers[0] if layers else (None, None)
    rank = len(shape) if shape is not None else 2
    if shape is None and node is not None and node.op_type == "Conv":
        rank = constant_of(node.inputs[1]).ndim  # type: ignore[union-attr]
    sizes: list[int | None] = [n if isinstance(n, int) else None for n in shape or (None,) * rank]
    for axis, size in layer.sizes.items() if layer is not None else ():
        if not -rank <= axis < rank:
            raise NotAffine(f"has {rank} axes where {called(node)} reads more")  # type: ignore[arg-type]
        sizes[axis] = size
    axis_found = layer.axis if layer is not None else None
    if rank < 2:
        raise NotAffine(f"comes from a tensor of shape {shape}")
    if rank == 2 and sizes[1] is None:
        raise NotAffine(f"comes from {value.name!r}, whose width is not known")
    open_size = _open_size(cut.nodes)
    if axis_found is None or whole or rank == 2:
        if any(n is None for n in sizes[1:]):
            raise NotAffine(f"comes from {value.name!r} of shape {shape}, whose sizes are open")
        filled = tuple(n or open_size for n in sizes)
        return Source(value, filled, None)
    filled = tuple(n or open_size for n in sizes)
    axis = axis_found % rank
    if all(n == 1 for i, n in enumerate(filled) if i not in (0, axis)):
        return Source(value, filled, None)
    return Source(value, filled, axis, tuple(_chain(node, cut)))  # type: ignore[arg-type]


def _open_size(nodes: Iterable[ir.Node]) -> int:
    """A size for open axes that holds every position the operators choose."""
    indices = [constant_of(v) for n in nodes if n.op_type in _INDEXED for v in n.inputs[1:2]]
    largest = max((int(np.abs(i).max()) for i in indices if i is not None and i.size), default=0)
    return min(largest, 4096) + 3


def _chain(node: ir.Node, cut: _Cut) -> Iterator[ir.Node]:
    """Operators after a product that move or choose positions."""
    value = node.outputs[0]
    while value is not cut.end:
        after = cut.reader.get(id(value))
        if after is None:
            return
        if after.op_type in _MOVABLE:
            yield after
        value = after.outputs[0]


def moved_shape(target: Array, source: Source, n_scores: int) -> list[int]:
    """What a Reshape after a product asks for, with neurons in the place of scores."""
    sides = [int(n) for n in target.ravel()]
    if sides and sides[-1] == n_scores:
        sides[-1] = source.width
    return sides


class _Reader:
    """Reads the weights of a region by running it."""

    def __init__(self, cut: _Cut, sources: list[Source], shape_of: Shapes) -> None:
        self._cut, self._sources = cut, sources
        self._runner = Runner(shape_of)
        batches = {
            shape[0] for s in sources if (shape := shape_of(s.value)) and isinstance(shape[0], int)
        }
        self._batch: int | None = max(batches) if batches else None
        self._width = sum(source.width for source in sources)
        self._n_scores = 0

    def region(self) -> Region:
        """Run the operators on zero and on basis vectors."""
        with np.errstate(all="ignore"):  # what is infinite is refused
            return self._region()

    def _region(self) -> Region:
        n = self._batch or 2
        first = self._run(np.zeros((n, self._width)), native=True)
        axis, rank = self._class_axis(first, n), first.ndim
        gains = self._gains()
        bias = self._scores(first, n)[0]
        weight = np.concatenate(list(self._columns(bias))).T / gains
        region = Region(
            self._cut.end,
            tuple(self._sources),
            tuple(self._cut.nodes),
            weight,
            bias,
            axis,
            rank,
        )
        self._check(region)
        return region

    def _class_axis(self, scores: Array, n: int) -> int:
        wide = [i for i, size in enumerate(scores.shape) if i and size != 1]
        if not scores.ndim or scores.shape[0] != n or len(wide) > 1:
            raise SeveralPositions("scores every position of a sample, not the sample")
        self._n_scores = scores.size // n
        return wide[0] if wide else min(1, scores.ndim - 1)

    def _scores(self, output: Array, n: int) -> Array:
        if output.size != n * self._n_scores:
            raise NotAffine(f"comes from {called(self._cut.last)}, which mixes samples")
        return output.reshape(n, self._n_scores)

    def _columns(self, bias: Array) -> Iterator[Array]:
        row = sum(int(np.prod(source.shape[1:])) for source in self._sources)
        step = max(1, _CHUNK // max(row, 1))
        for start in range(0, self._width, step):
            n = min(step, self._width - start)
            rows = np.zeros((n, self._width))
            rows[np.arange(n), start + np.arange(n)] = 1
            yield self._scores(self._run(rows), n) - bias

    def _gains(self) -> Array:
        """What the chains make of ones: a mean keeps them, a sum over positions does not."""
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
        """What the chain of operators makes of a source: one row of neurons per sample."""
        values: dict[int, Array] = {}
        current = tensor
        for node in source.chain:
            values[id(node.inputs[0])] = current
            if node.op_type == "Reshape":
                target = moved_shape(self._runner.target(node), source, self._n_scores)
                current = current.reshape(
                    [current.shape[i] if not n else n for i, n in enumerate(target)]
                )
            else:
                self._runner.run([node], values, native=True)
                current = values[id(node.outputs[0])]
        flat: Array = current.reshape(len(current), -1)
        if flat.shape[1] != source.width:
            raise SeveralPositions("scores every position of a sample, not the sample")
        return flat

    def _run(self, rows: Array, *, native: bool = False) -> Array:
        values: dict[int, Array] = {}
        start, self._runner.samples, self._runner.alike = 0, len(rows), True
        for source in self._sources:
            values[id(source.value)] = source.filled(rows[:, start : start + source.width])
            start += source.width
        return self._through(values, native)

    def _through(self, values: dict[int, Array], native: bool) -> Array:
        self._runner.run(self._cut.nodes, values, native=native)
        return values[id(self._cut.end)]

    def _check(self, region: Region) -> None:
        """Compare with the region itself at random points, other at every position."""
        rng = np.random.default_rng(0)
        scale = np.abs(region.weight).sum() + np.abs(region.bias).sum()
        if not np.isfinite(scale) or not region.weight.any():
            raise NotAffine("is linear with weights that are all 0, or not finite")
        for n in (self._batch,) if self._batch else (2, 3):
            values = {id(s.value): rng.normal(size=(n, *s.shape[1:])) for s in self._sources}
            self._runner.samples, self._runner.alike = n, False
            parts = [self._embedding(s, values[id(s.value)]) for s in self._sources]
            expected = np.concatenate(parts, axis=1) @ region.weight.T + region.bias
            got = self._through(dict(values), True)
            if len(got) != n or got.size != expected.size:
                raise NotAffine("mixes samples")
            error = np.abs(got.reshape(expected.shape) - expected).max()
            if not error <= _TOLERANCE * (1 + np.abs(expected).max()):
                raise NotAffine(
                    f"comes from {called(self._cut.last)}, which is not one linear map of "
                    f"{', '.join(repr(s.value.name) for s in self._sources)}"
                )
