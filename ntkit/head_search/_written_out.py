"""A Softmax or a Sigmoid written out in operators, as JAX and tf2onnx write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ntkit.graph import axes_of, constant_of

__all__ = ["WrittenOut", "written_out"]

# Operators that give the sum or the largest score the shape of the scores again.
_SHAPING = frozenset(["Identity", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Cast", "Max"])
_MOST_SHAPING = 6


@dataclass(frozen=True)
class WrittenOut:
    """A Softmax, LogSoftmax or Sigmoid of several operators."""

    op: str  # which of the three
    scores: ir.Value  # what it reads
    # Along which axes it is normalised; None where that is not constant, and of a Sigmoid.
    axes: tuple[int, ...] | None
    nodes: tuple[ir.Node, ...]  # its operators


def written_out(node: ir.Node) -> WrittenOut | None:
    """The function that ends in a node: in a Div, in a Sub (LogSoftmax), in a Reciprocal."""
    return _sigmoid(node) or _softmax(node)


def _sigmoid(node: ir.Node) -> WrittenOut | None:
    """1 / (1 + exp(-x)), or exp(x) / (1 + exp(x))."""
    if node.op_type not in ("Div", "Reciprocal"):
        return None
    total, shares = node.inputs[-1], node.inputs[0]
    add = total.producer() if total is not None else None
    power = _added_to_one(add)
    exp = power.producer() if power is not None else None
    if add is None or exp is None or exp.op_type != "Exp" or exp.inputs[0] is None:
        return None
    if node.op_type == "Div" and shares is power:
        return WrittenOut("Sigmoid", exp.inputs[0], None, (node, add, exp))
    negated = exp.inputs[0].producer()
    scores = negated.inputs[0] if negated is not None and negated.op_type == "Neg" else None
    if negated is None or scores is None or (node.op_type == "Div" and not _is_one(shares)):
        return None
    return WrittenOut("Sigmoid", scores, None, (node, add, exp, negated))


def _added_to_one(node: ir.Node | None) -> ir.Value | None:
    if node is None or node.op_type != "Add" or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    return second if _is_one(first) else first if _is_one(second) else None


def _is_one(value: ir.Value | None) -> bool:
    one = constant_of(value)
    return one is not None and one.size == 1 and one.item() == 1


def _softmax(node: ir.Node) -> WrittenOut | None:
    if node.op_type not in ("Div", "Sub") or len(node.inputs) != 2:
        return None
    data, total = node.inputs
    way = list(_back(total, "ReduceSum", {"Log"} if node.op_type == "Sub" else set()))
    if data is None or not way or way[-1].op_type != "ReduceSum":
        return None
    if node.op_type == "Sub" and all(n.op_type != "Log" for n in way):
        return None
    powers = way[-1].inputs[0]
    exp = powers.producer() if powers is not None else None
    if exp is None or exp.op_type != "Exp" or exp.inputs[0] is None:
        return None
    if data is not (powers if node.op_type == "Div" else exp.inputs[0]):
        return None
    scores, shifting = _unshifted(exp.inputs[0])
    op = "Softmax" if node.op_type == "Div" else "LogSoftmax"
    return WrittenOut(op, scores, axes_of(way[-1]), (node, *way, exp, *shifting))


def _unshifted(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """Scores before their largest was subtracted, which changes nothing but rounding."""
    node = value.producer()
    if node is None or node.op_type != "Sub" or node.inputs[0] is None:
        return value, []
    way = list(_back(node.inputs[1], "ReduceMax", set()))
    if not way or way[-1].op_type != "ReduceMax" or way[-1].inputs[0] is not node.inputs[0]:
        return value, []
    return node.inputs[0], [node, *way]


def _back(value: ir.Value | None, to: str, more: set[str]) -> Iterator[ir.Node]:
    """Operators from a tensor back to a reduction."""
    for _ in range(_MOST_SHAPING):
        node = value.producer() if value is not None else None
        if node is None:
            return
        yield node
        if node.op_type == to or node.op_type not in _SHAPING | more:
            return
        computed = [v for v in node.inputs if v is not None and constant_of(v) is None]
        value = computed[0] if computed else None
