"""Quantised operators as what they stand for: real numbers, without their rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.graph import constant_of, is_standard

__all__ = ["QUANTISED", "dynamically_quantised"]

_NO_OPS = frozenset(["Identity", "Cast", "Dropout"])


def _integer_product(node: ir.Node) -> ir.Node | None:
    """The MatMulInteger whose result a Mul scales; None if it is no such Mul."""
    if node.op_type != "Mul" or len(node.inputs) != 2 or not is_standard(node):
        return None
    products = (_through_no_ops(value) for value in node.inputs)
    return next((p for p in products if p is not None and p.op_type == "MatMulInteger"), None)


def dynamically_quantised(node: ir.Node) -> tuple[ir.Value, NDArray[Any]] | None:
    """What a Mul of DynamicQuantizeLinear, MatMulInteger and Cast multiplies, and by what (D, K).

    None unless the scales and zero points are those of that very quantisation.
    """
    product = _integer_product(node)
    if product is None or len(product.inputs) < 3:
        return None
    source, weight, source_zero, *rest = product.inputs
    scales = next((v for v in node.inputs if _through_no_ops(v) is not product), None)
    quantiser = source.producer() if source is not None else None
    scaler = scales.producer() if scales is not None else None
    array, zero = constant_of(weight), constant_of(rest[0]) if rest else None
    factors = [] if scaler is None or scaler.op_type != "Mul" else list(scaler.inputs)
    scale = next((s for s in map(constant_of, factors) if s is not None), None)
    if (
        quantiser is None
        or quantiser.op_type != "DynamicQuantizeLinear"
        or source is not quantiser.outputs[0]
        or source_zero is not quantiser.outputs[2]
        or not any(factor is quantiser.outputs[1] for factor in factors)
        or quantiser.inputs[0] is None
        or array is None
        or array.ndim != 2
        or scale is None
    ):
        return None
    difference = array.astype(np.int64) - (0 if zero is None else zero.astype(np.int64))
    return quantiser.inputs[0], difference * scale


def _through_no_ops(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _NO_OPS and is_standard(node):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node


def _along(array: Any, data: Any, axis: int) -> Any:
    """A scale or zero point per tensor or per channel, to be broadcast."""
    array = np.asarray(0.0 if array is None else array, np.float64)
    if array.size == 1:
        return array.reshape(())
    return array.reshape([-1 if i == axis % data.ndim else 1 for i in range(data.ndim)])


def _quantised(attributes: dict[str, Any], data: Any, scale: Any, zero: Any = None) -> Any:
    axis = attributes.get("axis", 1)
    return data / _along(scale, data, axis) + _along(zero, data, axis)


def _dequantised(attributes: dict[str, Any], data: Any, scale: Any, zero: Any = None) -> Any:
    axis = attributes.get("axis", 1)
    return (data - _along(zero, data, axis)) * _along(scale, data, axis)


def _of_integers(_: dict[str, Any], a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    return (a - _along(a_zero, a, -2)) @ (b - _along(b_zero, b, -1))


def _qgemm(attributes: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
           c: Any = None, sy: Any = None, zy: Any = None) -> Any:  # fmt: skip
    b = b.T if attributes.get("transB", 0) else b
    product = (a - _along(za, a, 1)) @ (b - _along(zb, b, 1)) + (0.0 if c is None else c)
    real = product * _along(sa, a, 1) * _along(sb, product, 1) * attributes.get("alpha", 1.0)
    return real if sy is None else _quantised({}, real, sy, zy)


def _qmatmul(_: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
             sy: Any, zy: Any) -> Any:  # fmt: skip
    real = _of_integers({}, a, b, za, zb) * _along(sa, a, -2)
    return _quantised({}, real * _along(sb, real, -1), sy, zy)


def _qadd(_: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
          sy: Any, zy: Any = None) -> Any:  # fmt: skip
    real = _dequantised({}, a, sa, za) + _dequantised({}, b, sb, zb)
    return _quantised({}, real, sy, zy)


def _of_few_bits(attributes: dict[str, Any], a: Any, packed: Any, scales: Any, zeros: Any = None,
                 groups: Any = None, bias: Any = None) -> Any:  # fmt: skip
    """MatMulNBits: rows of blocks of 2, 4 or 8 bits, each with a scale and a zero point."""
    rows, columns, bits = attributes["N"], attributes["K"], attributes.get("bits", 4)
    block = attributes["block_size"]
    blocks = -(-columns // block)
    groups = np.arange(blocks * block) // block if groups is None else groups[:columns]
    whole = _unpacked(packed.reshape(rows, -1), bits)[:, : len(groups)]
    if zeros is None:
        offset: Any = np.full((rows, blocks), float(2 ** (bits - 1)))
    elif zeros.dtype == np.uint8:
        offset = _unpacked(zeros.reshape(rows, -1), bits)[:, :blocks]
    else:
        offset = zeros.reshape(rows, blocks)
    weight = (whole - offset[:, groups]) * scales.reshape(rows, blocks)[:, groups]
    return a @ weight[:, :columns].T + (0.0 if bias is None else bias)


def _unpacked(packed: Any, bits: int) -> Any:
    parts = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(packed), -1).astype(np.float64)


QUANTISED: dict[str, Any] = {
    "QuantizeLinear": _quantised,
    "DequantizeLinear": _dequantised,
    "MatMulInteger": _of_integers,
    "QGemm": _qgemm,
    "QLinearMatMul": _qmatmul,
    "QLinearAdd": _qadd,
    "MatMulNBits": _of_few_bits,
}
