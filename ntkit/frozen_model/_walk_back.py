"""Walk back from a tensor to the layer it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from ntkit.affine import (
    Ambiguous,
    Final,
    LinearLayer,
    NotAffine,
    SeveralPositions,
    as_layer,
    carriers,
    read_layer,
    read_region,
)
from ntkit.frozen_model._after_head import Unclear, data_input, follow
from ntkit.frozen_model._head import Head
from ntkit.graph import Shapes, constant_of

__all__ = ["Blocked", "walk_back"]

_MOST_STEPS = 200


@dataclass(frozen=True)
class Blocked:
    """Where the walk from an output ended without a linear layer."""

    output: str
    reason: str
    after_a_layer: bool = False


def walk_back(start: ir.Value, shape_of: Shapes) -> Head | Blocked:
    value, path = start, list[tuple[ir.Node, ir.Value]]()
    name = start.name or ""
    while (node := value.producer()) is not None:
        layer = read_layer(value, node)
        if isinstance(layer, Ambiguous | Final):
            return Blocked(name, layer)
        if isinstance(layer, str):
            return _before(name, value, path, shape_of, layer)
        if layer is not None:
            try:
                layer = _with_rank(layer, shape_of)
                return Head(layer, follow(layer, path[::-1], shape_of))
            except Unclear as reason:
                longer = _before(name, value, path, shape_of)
                blocked = Blocked(name, str(reason), after_a_layer=True)
                return longer if isinstance(longer, Head) else blocked
        if len(path) > _MOST_STEPS:
            return Blocked(name, f"comes from more than {_MOST_STEPS} operators after any layer")
        path.append((node, value))
        before = data_input(node)
        if before is None:
            return _before(name, value, path[:-1], shape_of)
        value = before
    return Blocked(name, "is an input or a constant")


def _before(
    name: str,
    value: ir.Value,
    path: list[tuple[ir.Node, ir.Value]],
    shape_of: Shapes,
    known: str | None = None,
) -> Head | Blocked:
    """The affine region that ends where the walk back could not go on, or further on.

    ``path`` is what comes after ``value``, last first; ``known`` says why there is no plain layer.
    """
    rest, unclear = path[::-1], ""
    while True:
        try:
            layer = as_layer(read_region(value, shape_of))
            return Head(layer, follow(layer, rest, shape_of))
        except SeveralPositions as reason:  # the operators after it may choose one
            unclear = unclear or str(reason)
        except Unclear as reason:  # or move the classes
            unclear = str(reason)
        except NotAffine as reason:
            return Blocked(name, unclear or known or str(reason), after_a_layer=bool(unclear))
        if not rest or not _is_affine(*rest[0]):
            return Blocked(name, unclear, after_a_layer=True)
        value, rest = rest[0][1], rest[1:]


def _is_affine(node: ir.Node, output: ir.Value) -> bool:
    try:
        return bool(carriers(output, node))
    except NotAffine:
        return False


def _with_rank(layer: LinearLayer, shape_of: Shapes) -> LinearLayer:
    """A MatMul maps the last of any number of axes; what it reads tells how many."""
    if layer.rank is not None:
        return layer
    shape = shape_of(layer.source)
    rank = 2 if shape is None else len(shape)
    bias = constant_of(layer.bias_at[0].inputs[layer.bias_at[1]]) if layer.bias_at else None
    if rank < 2 or (bias is not None and bias.ndim > rank):
        raise Unclear(f"comes from {layer.kind} on a tensor of shape {shape}")
    return replace(layer, rank=rank)
