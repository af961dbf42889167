"""The affine region before some scores: where it is cut, and the weights it amounts to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.frozen_model._affine_cut import Cut, shared, unquantised
from ntkit.frozen_model._affine_ops import NotAffine, called
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
_QUANTISING = frozenset(["QuantizeLinear", "QLinearMatMul", "QLinearAdd"])
_SCALE_OF_QGEMM = 7
_INDEXED = frozenset(["Gather", "Slice"])
_MOST_WEIGHTS = 100_000_000
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


def read_region(end: ir.Value, shape_of: Shapes) -> Region:
    """Read the affine map that ends in a tensor of scores, cut where its last products read.

    Raises
    ------
    NotAffine
        If it is not affine; the message names the operator that is not.
    SeveralPositions
        If it is not one number per sample and class.
    """
    cut = Cut(end, [], shape_of)
    if cut.last.op_type in _QUANTISING or (
        cut.last.op_type == "QGemm" and len(cut.last.inputs) > 7
    ):
        raise SeveralPositions(f"comes from {called(cut.last)}, which are quantised scores")
    if not cut.products:
        raise NotAffine(cut.problem)
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
            return _Reader(cut, sources, shape_of, whole=whole).region()
        except NotAffine as error:
            problem = problem or error
            if isinstance(error, SeveralPositions) or all(len(s.shape) == 2 for s in sources):
                break
    raise problem if problem is not None else NotAffine("is not linear")


def _source(value: ir.Value, cut: Cut, shape_of: Shapes, *, whole: bool) -> Source:
    """The tensor with a size for each axis, and which one holds the neurons."""
    layers = [p for p in cut.products if unquantised(p[1].data) is value or p[1].data is value]
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
    filled = tuple(n or open_size for n in sizes)
    scale = _scale(value, node)
    if node is None or axis_found is None or whole or rank == 2:
        if any(n is None for n in sizes[1:]):
            raise NotAffine(f"comes from {value.name!r} of shape {shape}, whose sizes are open")
        return Source(value, filled, None, (), scale)
    axis = axis_found % rank
    if all(n == 1 for i, n in enumerate(filled) if i not in (0, axis)):
        return Source(value, filled, None, (), scale)
    return Source(value, filled, axis, tuple(_chain(node, cut)), scale)


def _scale(value: ir.Value, node: ir.Node | None) -> tuple[ir.Value, ...]:
    """Scale and zero point of quantised numbers that a product reads as they are."""
    if (
        node is None
        or node.op_type not in ("QGemm", "QLinearMatMul")
        or node.inputs[0] is not value
    ):
        return ()
    return tuple(v for v in node.inputs[1:3] if v is not None)


def _open_size(nodes: Iterable[ir.Node]) -> int:
    """A size for open axes that holds every position the operators choose."""
    indices = [constant_of(v) for n in nodes if n.op_type in _INDEXED for v in n.inputs[1:2]]
    largest = max((int(np.abs(i).max()) for i in indices if i is not None and i.size), default=0)
    return min(largest, 4096) + 3


def _chain(node: ir.Node, cut: Cut) -> Iterator[ir.Node]:
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

    def __init__(self, cut: Cut, sources: list[Source], shape_of: Shapes, *, whole: bool) -> None:
        self._whole = whole
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
        if self._width * self._n_scores > _MOST_WEIGHTS:
            raise NotAffine(
                f"comes from {self._width} numbers by {self._n_scores} scores, too many for a head"
            )
        if self._whole and not self._scores_classes():
            raise SeveralPositions("scores every position of a sample, not the sample")
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

    def _scores_classes(self) -> bool:
        """Whether there are as many scores as a product has, not one for each position too."""
        widths = [layer.n_scores for _, layer in self._cut.products if layer.axis is not None]
        return not widths or self._n_scores in widths

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
                    [n if n else current.shape[i] for i, n in enumerate(target)]
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
            real = source.filled(rows[:, start : start + source.width])
            values[id(source.value)] = self._stored(source, real)
            start += source.width
        return self._through(values, native)

    def _stored(self, source: Source, real: Array) -> Array:
        """A tensor as the graph holds it: quantised, but not rounded."""
        if not source.scale:
            return real
        scale, *zero = (self._runner.constant(v) for v in source.scale)
        if scale is None or scale.size > 1:
            raise NotAffine(f"reads {source.value.name!r}, whose scale is not one number")
        return real / scale + (zero[0] if zero and zero[0] is not None else 0.0)

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
            self._runner.samples, self._runner.alike = n, False
            values, parts = {}, []
            for source in self._sources:
                real = rng.normal(size=(n, *source.shape[1:]))
                values[id(source.value)] = self._stored(source, real)
                parts.append(self._embedding(source, real))
            expected = np.concatenate(parts, axis=1) @ region.weight.T + region.bias
            got = self._through(values, True)
            if len(got) != n or got.size != expected.size:
                raise NotAffine("mixes samples")
            error = np.abs(got.reshape(expected.shape) - expected).max()
            if not error <= _TOLERANCE * (1 + np.abs(expected).max()):
                raise NotAffine(
                    f"comes from {called(self._cut.last)}, which is not one linear map of "
                    f"{', '.join(repr(s.value.name) for s in self._sources)}"
                )
