"""Read a node of a graph as a linear layer, in the forms exporters write one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.affine._dynamic_quantisation import dynamically_quantised, integer_product
from ntkit.affine._operators import called
from ntkit.affine._region import Region
from ntkit.graph import constant_of, float_type, is_standard

__all__ = ["NO_OPS", "Ambiguous", "Final", "LinearLayer", "as_layer", "read_layer"]

Array = NDArray[Any]

NO_OPS = frozenset(["Identity", "Cast", "Dropout"])
_NEARLY_NO_OPS = NO_OPS | {"QuantizeLinear", "DequantizeLinear"}
_UNREADABLE = frozenset(
    [
        *("QGemm", "QLinearMatMul", "QLinearConv", "MatMulInteger", "ConvInteger", "MatMulNBits"),
        *("QLinearSoftmax", "QLinearSigmoid"),
    ]
)
_TREES = "decision trees, which have no linear layer; ntkit needs a network with one"
_KERNELS = "a support vector machine on its inputs, not a network with a linear last layer"
_WITHOUT_LAYERS = {
    **dict.fromkeys(["TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"], _TREES),
    **dict.fromkeys(["SVMClassifier", "SVMRegressor"], _KERNELS),
    "LinearRegressor": "a regression, which tells no classes apart",
}
_FUSED = frozenset(["FusedGemm", "FusedMatMul", "FusedConv", "NhwcFusedConv"])


class Final(str):
    """A reason that no option mends: the model has no layer to exchange."""

    __slots__ = ()


class Ambiguous(str):
    """A reason that holds whatever other outputs show: there is no one head to exchange."""

    __slots__ = ()


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer in a graph.

    Attributes
    ----------
    kind : str
        "Gemm", "MatMul", "Conv" or "MatMulInteger" (dynamic quantisation), with " + Add" where
        the bias is a node of its own.
    source, output : onnx_ir.Value
        What the layer reads and what it computes.
    weight_at : tuple of (onnx_ir.Node, int)
        The node that multiplies, and which of its inputs holds the weights.
    bias_at : tuple of (onnx_ir.Node, int) or None
        The node that adds the bias, and which input holds it; None for a bare MatMul. A Gemm or
        Conv may lack the input.
    weight, bias : ndarray
        (K, D) and (K,): what the layer computes.
    class_axis : int
        Axis of ``output`` that holds the logits; -1 is the last.
    rank : int or None
        Number of axes of ``output``; None where the kind of layer does not settle it.
    quantised : bool
        Whether other weights need another kind of node.
    region : Region or None
        The affine region that amounts to this layer, where it is more than a plain one.
    """

    kind: str
    source: ir.Value
    output: ir.Value
    weight_at: tuple[ir.Node, int]
    bias_at: tuple[ir.Node, int] | None
    weight: Array
    bias: Array
    class_axis: int = -1
    rank: int | None = None
    quantised: bool = False
    region: Region | None = None


def as_layer(region: Region) -> LinearLayer:
    """A region as the one layer that it amounts to."""
    first = region.sources[0].value
    dtype = np.float64 if float_type(first) == ir.DataType.DOUBLE else np.float32
    kinds = list(dict.fromkeys(node.op_type for node in region.nodes))
    return LinearLayer(
        f"affine region ({', '.join(kinds)})",
        first,
        region.end,
        (region.nodes[-1], 0),
        None,
        region.weight.astype(dtype),
        region.bias.astype(dtype),
        region.class_axis,
        region.rank,
        region=region,
    )


def read_layer(value: ir.Value, node: ir.Node) -> LinearLayer | str | None:
    """The linear layer that ends in ``value``; a reason why it cannot be used; or None."""
    if node.op_type in _WITHOUT_LAYERS:
        return Final(f"comes from {called(node)}, {_WITHOUT_LAYERS[node.op_type]}")
    if node.op_type == "LinearClassifier":
        return Final(
            f"comes from {called(node)}, a linear model on the inputs themselves: there are no "
            "neurons to silence; fit an ntkit estimator on these inputs instead"
        )
    if node.op_type in ("Add", "Sum") and len(node.inputs) == 2 and is_standard(node):
        return _with_added_bias(value, node)
    return _product(value, node)


def _product(value: ir.Value, node: ir.Node) -> LinearLayer | str | None:
    if node.op_type in _UNREADABLE:
        return (
            f"comes from {called(node)}, a quantised head; debias the float model and quantise "
            "the result"
        )
    if node.op_type in _FUSED:
        return (
            f"comes from {called(node)}, an operator of ONNX Runtime's optimiser; debias the "
            "model as it was exported"
        )
    if not is_standard(node):
        return None
    if node.op_type == "Gemm":
        return _gemm(value, node)
    if node.op_type == "MatMul":
        return _matmul(value, node)
    if node.op_type == "Conv":
        return _conv(value, node)
    if node.op_type == "Mul":
        return _dynamically_quantised(value, node)
    return None


def _with_added_bias(value: ir.Value, node: ir.Node) -> LinearLayer | str | None:
    """A product and an Add of one constant per logit; no-ops or quantisation in between."""
    for data_index, bias_index in ((0, 1), (1, 0)):
        bias = constant_of(node.inputs[bias_index])
        product = _through_no_ops(node.inputs[data_index])
        if bias is None or product is None:
            continue
        layer = _product(value, product)
        if not isinstance(layer, LinearLayer):
            return layer
        if not _read_once(node.inputs[data_index], product):
            return Ambiguous(
                f"comes from {called(product)} whose product is read before its bias is added"
            )
        added = _one_per_row(bias, layer)
        if added is None:
            return f"comes from an Add of shape {bias.shape} after {product.op_type}, not a bias"
        total = layer.bias + added
        return replace(layer, kind=f"{layer.kind} + Add", bias_at=(node, bias_index), bias=total)
    return None


def _gemm(value: ir.Value, node: ir.Node) -> LinearLayer | str:
    attribute = {name: a.value for name, a in node.attributes.items()}
    source, weight, given = _inputs(node, 3)
    array, offset = constant_of(weight), constant_of(given)
    if source is None or not _is_matrix(array) or attribute.get("transA", 0):
        return f"comes from {called(node)} whose weights are not constant floats"
    if given is not None and offset is None:
        return f"comes from {called(node)} whose bias is not a constant"
    if not attribute.get("alpha", 1.0):
        return f"comes from {called(node)} whose alpha is 0"
    array = _float(array if attribute.get("transB", 0) else array.T)
    array = _times(array, attribute.get("alpha", 1.0))
    bias: Array = np.zeros(len(array), np.float32)
    layer = LinearLayer("Gemm", source, value, (node, 1), (node, 2), array, bias, rank=2)
    if offset is None:
        return layer
    added = _one_per_row(offset, layer)
    if added is None:
        return f"comes from {called(node)} with C {offset.shape}, not a bias"
    return replace(layer, bias=_times(added, attribute.get("beta", 1.0)))


def _matmul(value: ir.Value, node: ir.Node) -> LinearLayer | str:
    source, weight = _inputs(node, 2)
    array = constant_of(weight)
    if source is None or not _is_matrix(array):
        return f"comes from {called(node)} whose right side is not a constant float matrix"
    array = _float(array.T)
    bias = np.zeros(len(array), np.float32)
    return LinearLayer("MatMul", source, value, (node, 1), None, array, bias)


def _conv(value: ir.Value, node: ir.Node) -> LinearLayer | str:
    """A convolution that looks at one position at a time is a linear layer at each."""
    attribute = {name: a.value for name, a in node.attributes.items()}
    source, weight, given = _inputs(node, 3)
    array, offset = constant_of(weight), constant_of(given)
    if source is None or array is None or array.ndim < 3 or array.dtype.kind != "f":
        return f"comes from {called(node)} whose weights are not constant floats"
    if given is not None and offset is None:
        return f"comes from {called(node)} whose bias is not a constant"
    ones = all(n == 1 for n in (*array.shape[2:], *attribute.get("strides", ())))
    if not ones or attribute.get("group", 1) != 1 or any(attribute.get("pads", ())):
        how = ", ".join(f"{key} {value}" for key, value in attribute.items())
        return (
            f"comes from {called(node)} with a kernel of {array.shape[2:]} ({how}), which mixes "
            "positions or keeps channels apart; only a plain 1×1 convolution is a linear layer"
        )
    array = _float(array.reshape(array.shape[:2]))
    bias = np.zeros(len(array), np.float32) if offset is None else _float(offset.ravel())
    if bias.shape != (len(array),):
        return f"comes from {called(node)} with a bias of shape {bias.shape}"
    rank = constant_of(weight).ndim  # type: ignore[union-attr]
    return LinearLayer("Conv", source, value, (node, 1), (node, 2), array, bias, 1, rank)


def _dynamically_quantised(value: ir.Value, node: ir.Node) -> LinearLayer | str | None:
    product = integer_product(node)
    if product is None:
        return None
    known = dynamically_quantised(node)
    if known is None:
        return f"comes from {called(product)}, which is not quantised as ONNX Runtime does it"
    source, weight = known
    weights = weight.astype(np.float32).T
    bias = np.zeros(len(weights), np.float32)
    at = (product, 1)
    return LinearLayer("MatMulInteger", source, value, at, None, weights, bias, quantised=True)


def _inputs(node: ir.Node, count: int) -> list[ir.Value | None]:
    given = list(node.inputs[:count])
    return given + [None] * (count - len(given))


def _read_once(value: ir.Value | None, product: ir.Node) -> bool:
    """Whether nothing but the next operator reads a product, up to ``value``."""
    while value is not None and value.producer() is not None:
        if len(value.uses()) > 1 or value.is_graph_output():
            return False
        node = value.producer()
        if node is product:
            break
        value = node.inputs[0] if node is not None else None
    return True


def _is_matrix(array: Array | None) -> TypeGuard[Array]:
    return array is not None and array.ndim == 2 and array.dtype.kind == "f"


def _one_per_row(bias: Array, layer: LinearLayer) -> Array | None:
    """A bias as a vector; None if it is anything but one number per logit, or one for all."""
    rows = len(layer.weight)
    after = 0 if layer.class_axis == -1 else (layer.rank or 4) - 2
    sides = bias.shape[bias.ndim - after :] if after else ()
    axis = bias.shape[bias.ndim - after - 1] if bias.ndim > after else 1
    if bias.size != 1 and (bias.size != rows or axis != rows or any(s != 1 for s in sides)):
        return None
    return np.broadcast_to(_float(bias).ravel(), (rows,))


def _through_no_ops(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    while node is not None and is_standard(node) and node.op_type in _NEARLY_NO_OPS:
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node


def _times(array: Array, factor: float) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # infinite weights are refused on loading
        return array * np.float32(factor)


def _float(array: Array) -> Array:
    return array if array.dtype == np.float64 else array.astype(np.float32)
