"""Constant tensors of a graph, read through the no-ops exporters put in front of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["constant_of", "dtype_of"]

_NO_OPS = ("Identity", "Cast", "Transpose")


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """Value of a constant tensor, or None if it depends on the model's inputs.

    Follows Identity, Cast and Transpose only: the walk is a line, never a tree.
    """
    if value is None:
        return None
    if value.const_value is not None:
        return _array(value.const_value)
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Constant":
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else _array(tensor)
    if node.op_type not in _NO_OPS:
        return None
    inner = constant_of(node.inputs[0])
    if inner is None or node.op_type == "Identity":
        return inner
    if node.op_type == "Cast":
        return _array(ir.Tensor(inner.astype(ir.DataType(node.attributes["to"].as_int()).numpy())))
    permutation = node.attributes.get("perm")
    return inner.transpose(permutation.as_ints() if permutation else None)


def dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """Element type of a tensor, read off the constant behind it where the graph does not say."""
    if value is None:
        return None
    if value.dtype is not None:
        return value.dtype
    if value.const_value is not None:
        return value.const_value.dtype
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Constant":
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.dtype
    if node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int())
    return dtype_of(node.inputs[0]) if node.op_type in _NO_OPS else None


def _array(tensor: ir.TensorProtocol) -> NDArray[Any]:
    array = tensor.numpy()
    if array.dtype.kind in "fiubOUS":
        return array
    return array.astype(np.float32)  # bfloat16 and the like
