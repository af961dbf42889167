"""Another number of classes: what follows the logits takes it, or is refused by name."""

from __future__ import annotations

import onnx_ir as ir

from ntkit.affine import called, constant_factor
from ntkit.exceptions import InputError
from ntkit.graph import constant_of
from ntkit.head_search import Head, written_out

__all__ = ["refuse_fixed_width", "retype"]

# Operators after the logits that keep one column per class, whatever the number of classes.
_ELEMENTWISE = frozenset(
    {
        *("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Dropout", "Clip", "Exp", "Log"),
        *("Mul", "Div", "Normalizer", "Flatten", "QuantizeLinear", "DequantizeLinear"),
    }
)


def _per_class(starts: list[ir.Value]) -> tuple[list[ir.Value], list[ir.Node]]:
    """Tensors that hold a column per class, from the logits on, and what reads them."""
    found, readers = list({id(value): value for value in starts}.values()), list[ir.Node]()
    softmax = _softmax_nodes(starts)
    for value in found:
        for use in value.uses():
            if id(use.node) not in softmax:
                readers.append(use.node)
            of_softmax = softmax.get(id(use.node), "") in ("Sub", "Exp", "Div")
            if use.node.op_type in _ELEMENTWISE or of_softmax or _keeps_last_axis(use.node):
                found += [out for out in use.node.outputs if not any(out is v for v in found)]
    return found, readers


def _softmax_nodes(starts: list[ir.Value]) -> dict[int, str]:
    """Operators of each Softmax that is written out, but not for one number of classes."""
    graph = next((v.producer().graph for v in starts if v.producer() is not None), None)  # type: ignore[union-attr]
    ends = map(written_out, graph or ())
    nodes = [node for end in ends if end is not None for node in end.nodes]
    return {id(n): n.op_type for n in nodes if n.op_type not in ("Reshape", "Expand")}


def _keeps_last_axis(node: ir.Node) -> bool:
    if node.op_type != "Reshape":
        return False
    shape = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return shape is not None and shape.size == 2 and shape[-1] == -1


def refuse_fixed_width(head: Head, before: int, after: int) -> None:
    """Refuse another number of classes where what follows the logits is made for the old one."""
    mend = f"give it a head of {max(2, before)} classes, or export the model without that operator"
    if head.region.rank != 2:
        raise InputError(f"The model's logits have {head.region.rank} axes; {mend}.")
    if any(value.is_graph_output() or len(value.uses()) > 1 for value in _moved(head)):
        raise InputError(
            f"The model's outputs show the head's {before} logits at every position; {mend}."
        )
    for node in _per_class([head.logits])[1]:
        if not _takes(node, more=after > before):
            raise InputError(
                f"The model's {before} logit(s) go into {called(node)}, "
                f"which does not take {after}; {mend}."
            )
        if before == 1 and node.op_type == "Sigmoid":
            raise InputError(
                f"The model ends in the Sigmoid of one logit, which cannot tell {after} classes "
                f"apart; {mend}."
            )


def _takes(node: ir.Node, *, more: bool) -> bool:
    """Whether an operator takes another number of classes."""
    if node.op_type in ("Mul", "Div"):
        return constant_factor(node) is not None
    if node.op_type == "TopK":
        return more
    return node.op_type in _ELEMENTWISE or node.op_type == "ArgMax" or _keeps_last_axis(node)


def _moved(head: Head) -> list[ir.Value]:
    """Tensors from the layer's output up to the logits, where positions are chosen in between."""
    plain = head.region.plain
    if plain is None or not plain.moves:
        return []
    chosen = (node.outputs[0] for node in plain.after)
    return [value for value in (plain.output, *chosen) if value is not head.logits]


def retype(head: Head, starts: list[ir.Value], before: int, after: int) -> None:
    """Give every tensor with a column per class its new width."""
    moved = _moved(head)
    for value in moved:
        value.shape = None  # the axis of classes is not the last one everywhere here
    for value in _per_class([head.logits] if moved else [*starts, head.logits])[0]:
        if value.shape is not None and len(value.shape) > 1 and value.shape[-1] == before:
            value.shape = ir.Shape([*value.shape[:-1], after])
