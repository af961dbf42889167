"""Products that ONNX Runtime quantises dynamically: with a scale of their own for each batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.graph import constant_of, is_standard

__all__ = ["dynamically_quantised", "integer_product"]

_NO_OPS = frozenset(["Identity", "Cast", "Dropout"])


def integer_product(node: ir.Node) -> ir.Node | None:
    """The MatMulInteger whose result a Mul scales; None if it is no such Mul."""
    if node.op_type != "Mul" or len(node.inputs) != 2 or not is_standard(node):
        return None
    products = (_through_no_ops(value) for value in node.inputs)
    return next((p for p in products if p is not None and p.op_type == "MatMulInteger"), None)


def dynamically_quantised(node: ir.Node) -> tuple[ir.Value, NDArray[Any]] | None:
    """What a Mul of DynamicQuantizeLinear, MatMulInteger and Cast multiplies, and by what (D, K).

    None unless the scales and zero points are those of that very quantisation.
    """
    product = integer_product(node)
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
