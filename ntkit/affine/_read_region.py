"""The affine region before some scores: where it is cut, and the weights it amounts to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from ntkit.affine._cut import Cut, shared
from ntkit.affine._operators import NotAffine, called
from ntkit.affine._region import Region, SeveralPositions, Source
from ntkit.affine._weights import Reader
from ntkit.graph import Shapes, constant_of

__all__ = ["read_region"]

# Operators that may as well come before a product that treats every position alike.
_MOVING = frozenset(["Squeeze", "Unsqueeze", "Transpose", "Reshape", "Flatten"])
_CHOOSING = frozenset(
    {
        *("GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceSum"),
        *("Gather", "GatherND", "GatherElements", "Slice"),
    }
)
_QUANTISING = frozenset(["QuantizeLinear", "QLinearMatMul", "QLinearAdd"])
_SCALE_OF_QGEMM = 7  # inputs; one more is the scale of what it makes
_INDEXED = frozenset(["Gather", "Slice"])


def read_region(end: ir.Value, shape_of: Shapes) -> Region:
    """Read the affine map that ends in a tensor of scores, cut where its last products read."""
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
            region = Reader(cut, sources, shape_of, whole=whole).region()
            _refuse_counting(region, cut, shape_of, whole=whole)
            return region
        except NotAffine as error:
            problem = problem or error
            if isinstance(error, SeveralPositions):
                break
    raise problem or NotAffine("is not linear")


def _refuse_counting(region: Region, cut: Cut, shape_of: Shapes, *, whole: bool) -> None:
    """Refuse a region whose weights depend on a number of positions that is left open."""
    if region.plain is not None:
        return
    sources = [_source(value, cut, shape_of, whole=whole, more=1) for value in cut.sources]
    if all(a.shape[1:] == b.shape[1:] for a, b in zip(sources, region.sources, strict=True)):
        return
    wider = Reader(cut, sources, shape_of, whole=whole).region()
    if not (np.allclose(wider.weight, region.weight) and np.allclose(wider.bias, region.bias)):
        raise SeveralPositions(
            f"comes from {called(cut.last)}, which depends on how many positions a sample has"
        )


def _source(value: ir.Value, cut: Cut, shape_of: Shapes, *, whole: bool, more: int = 0) -> Source:
    """The tensor with a size for each axis, and which one holds the neurons."""
    layers = [p for p in cut.products if p[1].source is value]
    node, layer = layers[0] if layers else (None, None)
    # Of a Gemm the weights tell; inferring shapes takes time.
    shape = None if node is not None and node.op_type == "Gemm" else shape_of(value)
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
    open_size = _open_size(cut.nodes) + more
    filled = tuple(n or open_size for n in sizes)
    scale = _scale(value, node)
    if node is None or axis_found is None or whole or rank == 2:
        if any(n is None for n in sizes[1:]):
            raise NotAffine(f"comes from {value.name!r} of shape {shape}, whose sizes are open")
        return Source(value, filled, None, (), scale)
    axis = axis_found % rank
    if all(n == 1 for i, n in enumerate(filled) if i not in (0, axis)):
        return Source(value, filled, None, (), scale)
    return Source(value, filled, axis, _chain(node, cut), scale)


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


def _chain(node: ir.Node, cut: Cut) -> tuple[ir.Node, ...]:
    """Operators after a product that choose positions, and what moves axes before one that does."""
    value, found, chosen = node.outputs[0], list[ir.Node](), 0
    while value is not cut.end and (after := cut.reader.get(id(value))) is not None:
        found += [after] * (after.op_type in _CHOOSING | _MOVING)
        chosen = len(found) if after.op_type in _CHOOSING else chosen
        value = after.outputs[0]
    return tuple(found[:chosen])
