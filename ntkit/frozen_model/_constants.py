"""Constant tensors of a graph, read through the arithmetic exporters put in front of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.frozen_model._graph import is_standard

__all__ = ["axes_of", "constant_of", "dtype_of"]

Array = NDArray[Any]

_SAME_TYPE = frozenset(["Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"])
_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}
_FOLDED = _SAME_TYPE | {"Cast", "Dropout", "DequantizeLinear", *_BINARY}
# Exporters write a handful of operators between a stored tensor and its use; more is no exporter's.
_MOST_NODES = 64


def constant_of(value: ir.Value | None) -> Array | None:
    """Value of a constant tensor, or None if it depends on the model's inputs.

    Folds what exporters leave between the stored tensor and its use: changes of type and of
    shape, arithmetic, DequantizeLinear. No result is larger than the tensors it is made of.
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
    for node in nodes:  # operands come before the nodes that read them
        operands = [_operand(v, known) for v in node.inputs]
        result = None if any(o is None for o in operands) else _folded(node, operands)
        if result is None:
            return None
        known[id(node.outputs[0])] = result
    return known[id(value)]


def dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """Element type of a tensor, read off the constant behind it where the graph does not say."""
    for _ in range(_MOST_NODES):
        if value is None:
            return None
        stored = _stored(value)
        if value.dtype is not None or stored is not None:
            return value.dtype if value.dtype is not None else stored.dtype  # type: ignore[union-attr]
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "Cast":
            return ir.DataType(node.attributes["to"].as_int())
        if node.op_type == "DequantizeLinear":
            value = node.inputs[1]
        elif node.op_type in _SAME_TYPE or node.op_type in _BINARY:
            value = node.inputs[0]
        else:
            return None
    return None


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
    if value is None:
        return np.empty(0)  # an optional input left out
    stored = _stored(value)
    return known.get(id(value)) if stored is None else _array(stored)


def _folded(node: ir.Node, operands: list[Any]) -> Any:
    op, data = node.op_type, operands[0]
    if op in ("Identity", "Dropout"):
        return data
    if op == "Cast":
        to = ir.DataType(node.attributes["to"].as_int())
        return _array(ir.Tensor(data.astype(to.numpy()), dtype=to))
    if op == "Transpose":
        permutation = node.attributes.get("perm")
        return data.transpose(permutation.as_ints() if permutation else None)
    if op == "Reshape":
        sides = operands[1].astype(int).tolist()
        return data.reshape([data.shape[i] if s == 0 else s for i, s in enumerate(sides)])
    if op == "Flatten":
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
        return data.reshape(int(np.prod(data.shape[:axis])), -1)
    if op == "Squeeze":
        return np.squeeze(data, axes_of(node))
    if op == "Unsqueeze":
        return np.expand_dims(data, axes_of(node) or ())
    if op == "DequantizeLinear":
        return _dequantised(node, operands)
    return _arithmetic(op, data, operands[1])


def _arithmetic(op: str, first: Array, second: Array) -> Array | None:
    if np.broadcast_shapes(first.shape, second.shape) not in (first.shape, second.shape):
        return None  # a product of two vectors can be of any size
    with np.errstate(all="ignore"):
        return _BINARY[op](first, second)


def _dequantised(node: ir.Node, operands: list[Array]) -> Array | None:
    data, scale = operands[:2]
    zero = operands[2] if len(operands) > 2 and operands[2].size else np.zeros((), data.dtype)
    if scale.size > 1:
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
        if scale.ndim != 1 or data.shape[axis] != scale.size:
            return None  # blocked quantisation
        sides = [1] * data.ndim
        sides[axis] = -1
        scale, zero = scale.reshape(sides), zero.reshape(sides if zero.size > 1 else ())
    difference = data.astype(np.int64) - zero.astype(np.int64)
    return (difference * scale.reshape(scale.shape if scale.size > 1 else ())).astype(scale.dtype)


def _array(tensor: ir.TensorProtocol) -> Array:
    array = tensor.numpy()
    if array.dtype.kind in "fiubOUS":
        return array
    return array.astype(np.float32)  # bfloat16 and the like
