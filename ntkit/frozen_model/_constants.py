"""Constant tensors of a graph, read through the no-ops exporters put in front of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["constant_of"]


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
    if node.op_type not in ("Identity", "Cast", "Transpose"):
        return None
    inner = constant_of(node.inputs[0])
    if inner is None or node.op_type != "Transpose":
        return inner
    permutation = node.attributes.get("perm")
    return inner.transpose(permutation.as_ints() if permutation else None)


def _array(tensor: ir.TensorProtocol) -> NDArray[Any]:
    array = tensor.numpy()
    if array.dtype.kind in "fiubOUS":
        return array
    return array.astype(np.float32)  # bfloat16 and the like
