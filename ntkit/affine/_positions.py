"""Positions that a model finds for each sample, such as that of the last token of a text."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ntkit.graph import Shapes, attribute, constant_of

__all__ = ["ALL", "EACH", "ROW", "choice", "spread_of"]

EACH, ROW, ALL = "one of each sample", "a row of all samples", "one for all samples"
_SHAPING = frozenset(["Unsqueeze", "Squeeze", "Reshape", "Flatten", "Expand", "Cast", "Identity"])
_MOST_STEPS = 12


def choice(node: ir.Node, rank: int, shape_of: Shapes) -> str | None:
    """How an operator with computed indices chooses positions of data with so many axes.

    None where it may choose anything else: a class, or a position of another sample.
    """
    op, index, axis = node.op_type, node.inputs[1], attribute(node, "axis", 0)
    shape = None if index is None else shape_of(index)
    if op == "GatherElements":
        spread = spread_of(node)
        before = None if spread is None else shape_of(spread)
        one = before is not None and before[1:] == (1, 1) and (shape or ())[1:2] == (1,)
        return EACH if rank > 2 and axis == 1 and one else None
    if op == "GatherND":
        one = shape is None or shape[1:] == (1,)
        if attribute(node, "batch_dims", 0):
            return EACH if rank > 2 and shape is not None and one else None
        numbered = _numbers_samples(_first_part(index))
        whole = len(shape_of(node.outputs[0]) or ()) == rank - 1
        return EACH if rank > 2 and numbered and (whole or (shape or ())[1:] == (2,)) else None
    if shape in ((), (1,)) and axis % rank > 0:
        return ALL
    flat = shape is not None and len(shape) == 1 and axis == 0 and rank == 2
    return ROW if flat and _starts_at_samples(index) else None


def spread_of(node: ir.Node) -> ir.Value | None:
    """The indices behind those of a GatherElements that are the same for every channel."""
    spreading = _producer(node.inputs[1])
    return spreading.inputs[0] if spreading is not None and spreading.op_type == "Expand" else None


def _first_part(index: ir.Value | None) -> ir.Value | None:
    joined = _producer(index)
    return joined.inputs[0] if joined is not None and joined.op_type == "Concat" else None


def _starts_at_samples(index: ir.Value | None) -> bool:
    """Whether an index is a position plus 0, T, 2T, … one for each sample."""
    total = _producer(_unshaped(index))
    if total is None or total.op_type != "Add":
        return False
    parts = [part for part in map(_producer, total.inputs) if part is not None]
    return any(_numbers_samples(v) for part in parts if part.op_type == "Mul" for v in part.inputs)


def _numbers_samples(value: ir.Value | None) -> bool:
    """Whether a tensor is 0, 1, 2, … one for each sample."""
    value = _unshaped(value)
    known, counting = constant_of(value), _producer(value)
    if known is not None:
        return bool((known.ravel() == np.arange(known.size)).all())
    if counting is None or counting.op_type != "Range":
        return False
    start, _, step = map(constant_of, counting.inputs)
    return start is not None and step is not None and (start.item(), step.item()) == (0, 1)


def _unshaped(value: ir.Value | None) -> ir.Value | None:
    """A tensor before operators that change its shape alone."""
    for _ in range(_MOST_STEPS):
        node = _producer(value)
        if node is None or node.op_type not in _SHAPING:
            break
        value = node.inputs[0]
    return value


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()
