"""Constant tensors of a graph, read through the arithmetic exporters put in front of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.graph._tensors import is_standard

__all__ = ["axes_of", "constant_of", "dtype_of", "float_type", "is_constant"]

Array = NDArray[Any]

_SAME_TYPE = frozenset(["Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"])
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": np.maximum,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
}
_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceL2": lambda x, **over: np.sqrt((x * x).sum(**over)),
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
}
_FOLDED = (
    _SAME_TYPE
    | _ARITHMETIC.keys()
    | _REDUCTIONS.keys()
    | {"Cast", "CastLike", "Dropout", "DequantizeLinear", "Clip", "Expand", "Shape", "Concat"}
    | {"ConstantOfShape"}
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
        if any(o is None for o in operands):
            return None
        most = max(most, *(o.size for o in operands if o is not None))
        if _size(node.op_type, operands) > most:
            return None
        known[id(node.outputs[0])] = _folded(node, operands)
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
    if value is None:
        return np.empty(0)  # an optional input left out
    stored = _stored(value)
    return known.get(id(value)) if stored is None else _array(stored)


def _size(op: str, operands: list[Any]) -> int:
    """Number of elements of a result, before it is made."""
    if op in _ARITHMETIC:
        return _n(np.broadcast_shapes(*(o.shape for o in operands)))
    if op == "Expand":
        return _n(np.broadcast_shapes(operands[0].shape, tuple(operands[1].astype(int))))
    if op == "ConstantOfShape":
        sides = [int(side) for side in operands[0].ravel()]
        fits = all(side >= 0 for side in sides) and math.prod(sides) <= _MOST_FILLED
        return 0 if fits else sys.maxsize
    return 0 if op == "Shape" else sum(o.size for o in operands) if op == "Concat" else 1


def _n(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _folded(node: ir.Node, operands: list[Any]) -> Any:
    op, data = node.op_type, operands[0]
    attribute = {name: a.value for name, a in node.attributes.items()}
    if op in _ARITHMETIC:
        with np.errstate(all="ignore"):
            return _ARITHMETIC[op](*operands).astype(data.dtype)
    if op in _REDUCTIONS:
        keep = bool(attribute.get("keepdims", 1))
        return np.asarray(_REDUCTIONS[op](data, axis=axes_of(node), keepdims=keep), data.dtype)
    if op in _SAME_TYPE:
        return _reshaped(node, attribute, operands)
    if op == "Cast":
        to = ir.DataType(attribute["to"])
        return _array(ir.Tensor(data.astype(to.numpy()), dtype=to))
    if op == "CastLike":
        return data.astype(operands[1].dtype)
    if op == "DequantizeLinear":
        return _dequantised(attribute, operands)
    if op == "Clip":
        below, above = [*operands[1:], None, None][:2]
        below = attribute.get("min") if below is None or not below.size else below
        above = attribute.get("max") if above is None or not above.size else above
        return np.clip(data, below, above)
    if op == "Expand":
        return np.broadcast_to(
            data, np.broadcast_shapes(data.shape, tuple(operands[1].astype(int)))
        )
    if op == "Shape":
        return np.asarray(data.shape[attribute.get("start", 0) : attribute.get("end")], np.int64)
    if op == "ConstantOfShape":
        value = attribute["value"].numpy() if "value" in attribute else np.zeros(1, np.float32)
        return np.full(tuple(data.astype(int)), value.ravel()[0], value.dtype)
    if op == "Concat":
        return np.concatenate(operands, axis=attribute["axis"])
    return data  # Dropout


def _reshaped(node: ir.Node, attribute: dict[str, Any], operands: list[Any]) -> Any:
    op, data = node.op_type, operands[0]
    if op == "Transpose":
        return data.transpose(attribute.get("perm"))
    if op == "Reshape":
        sides = operands[1].astype(int).tolist()
        return data.reshape([data.shape[i] if s == 0 else s for i, s in enumerate(sides)])
    if op == "Flatten":
        return data.reshape(_n(data.shape[: attribute.get("axis", 1)]), -1)
    if op == "Squeeze":
        return np.squeeze(data, axes_of(node))
    if op == "Unsqueeze":
        return np.expand_dims(data, axes_of(node) or ())
    return data  # Identity


def _dequantised(attribute: dict[str, Any], operands: list[Array]) -> Array:
    """ONNX's DequantizeLinear: per tensor, per channel, or per block along an axis."""
    data, scale, *rest = operands
    zero = rest[0] if rest and rest[0].size else np.zeros_like(scale)
    axis, block = attribute.get("axis", 1), attribute.get("block_size", 0)

    def spread(per_group: Array) -> Array:
        if block:
            return np.repeat(per_group, block, axis).take(range(data.shape[axis]), axis)
        if per_group.size == 1:
            return per_group.reshape(())
        sides = [1] * data.ndim
        sides[axis] = -1
        return per_group.reshape(sides)

    difference = data.astype(np.int64) - spread(zero.astype(np.int64))
    dequantised: Array = (difference * spread(scale)).astype(scale.dtype)
    return dequantised


def _array(tensor: ir.TensorProtocol) -> Array:
    array = tensor.numpy()
    if array.dtype.kind in "fiubcOUS":
        return array
    floating = tensor.dtype.is_floating_point()  # bfloat16 and the like; else integers of 4 bits
    return array.astype(np.float32 if floating else np.int8)
