"""Constant tensors of a graph, read through the arithmetic exporters put in front of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.graph._evaluate import evaluator, largest_size
from ntkit.graph._tensors import is_standard

__all__ = ["axes_of", "constant_of", "dtype_of", "float_type", "is_constant"]

Array = NDArray[Any]

_FOLDED = frozenset(
    {
        *("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout"),
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Neg", "Abs", "Sqrt", "Exp", "Clip"),
        *("ReduceL2", "ReduceSum", "ReduceMean", "Cast", "CastLike", "DequantizeLinear"),
        *("Expand", "Shape", "Concat", "ConstantOfShape"),
    }
)
# Exporters write a handful of operators between a stored tensor and its use; more is no exporter's.
_MOST_NODES = 64
_SMALL = 1024
_MOST_FILLED = 1_000_000


def constant_of(value: ir.Value | None) -> Array | None:
    """Value of a constant tensor, or None if it depends on the model's inputs.

    Folds what exporters leave between the stored tensor and its use: changes of type and of
    shape, normalisation, DequantizeLinear. No result is larger than the largest stored tensor.
    """
    if value is None:
        return None
    stored = _stored(value)
    if stored is not None:
        return _array(stored)
    nodes = _constant_nodes(value)
    if nodes is None:
        return None
    known: dict[int, Array | None] = {}
    most = _SMALL
    for node in nodes:  # operands come before the nodes that read them
        operands = [_operand(v, known) for v in node.inputs]
        most = max(most, *(o.size for o in operands if o is not None))
        filled = node.op_type == "ConstantOfShape"
        if largest_size(node, operands) > (_MOST_FILLED if filled else most):
            return None
        known[id(node.outputs[0])] = _plain(evaluator(node)(operands)[0])
    return known[id(value)]


def is_constant(value: ir.Value | None) -> bool:
    """Whether a tensor does not depend on the model's inputs, without computing it."""
    if value is None:
        return False
    return _stored(value) is not None or _constant_nodes(value) is not None


def dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """Element type of a tensor, read off the constant behind it where the graph does not say."""
    for _ in range(_MOST_NODES):
        if value is None:
            return None
        stored = _stored(value)
        if stored is not None:
            return stored.dtype  # what the graph declares may be wrong
        if value.dtype is not None:
            return value.dtype
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "Cast":
            return ir.DataType(node.attributes["to"].as_int())
        if node.op_type == "ConstantOfShape":
            filling = node.attributes.get("value")
            return ir.DataType.FLOAT if filling is None else filling.as_tensor().dtype
        if node.op_type == "DequantizeLinear":
            value = node.inputs[1]
        elif node.op_type in _FOLDED:
            value = node.inputs[0]
        else:
            return None
    return None


def float_type(value: ir.Value | None) -> ir.DataType:
    """Type of floats in a tensor, read off what it is computed from where the graph does not say.

    Where nothing says, it is float32, as nearly everywhere.
    """
    for _ in range(_MOST_NODES):
        dtype = dtype_of(value)
        if dtype is not None and dtype.is_floating_point():
            return dtype
        node = value.producer() if value is not None else None
        if node is None:
            break
        known = (dtype_of(v) for v in node.inputs if is_constant(v))
        floats = [d for d in known if d is not None and d.is_floating_point()]
        if floats:
            return floats[0]
        value = next((v for v in node.inputs if v is not None and not is_constant(v)), None)
    return ir.DataType.FLOAT


def axes_of(node: ir.Node) -> tuple[int, ...] | None:
    """The ``axes`` of an operator: an attribute in old operator sets, an input in new ones.

    None if they are not given, or not constant.
    """
    if "axes" in node.attributes:
        return tuple(node.attributes["axes"].as_ints())
    given = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if given is None else tuple(int(axis) for axis in given.ravel())


def _stored(value: ir.Value) -> ir.TensorProtocol | None:
    if value.const_value is not None:
        return value.const_value
    node = value.producer()
    if node is None or node.op_type != "Constant" or not is_standard(node):
        return None
    return ir.convenience.get_const_tensor(value)


def _constant_nodes(value: ir.Value) -> list[ir.Node] | None:
    """The operators a value is computed from, in order; None if an input is among its sources."""
    order: dict[int, ir.Node] = {}
    waiting: list[tuple[ir.Value, bool]] = [(value, False)]
    while waiting:
        current, operands_done = waiting.pop()
        node = current.producer()
        if node is None or node.op_type not in _FOLDED or not is_standard(node):
            return None
        if operands_done:
            order.setdefault(id(node), node)
        elif id(node) not in order:
            if len(order) + len(waiting) > _MOST_NODES:
                return None
            waiting.append((current, True))
            inner = [v for v in node.inputs if v is not None and _stored(v) is None]
            if any(v is current for v in inner):
                return None
            waiting += [(v, False) for v in inner]
    return list(order.values())


def _operand(value: ir.Value | None, known: dict[int, Array | None]) -> Array | None:
    stored = None if value is None else _stored(value)
    return known.get(id(value)) if stored is None else _array(stored)


def _array(tensor: ir.TensorProtocol) -> Array:
    return _plain(tensor.numpy(), floating=tensor.dtype.is_floating_point())


def _plain(array: Array, *, floating: bool = True) -> Array:
    """Numbers that NumPy computes with: bfloat16 and the like as floats, 4 bits as 8."""
    if array.dtype.kind in "fiubcOUS":
        return array
    floating = floating and not array.dtype.name.startswith(("int", "uint"))
    return array.astype(np.float32 if floating else np.int8)
