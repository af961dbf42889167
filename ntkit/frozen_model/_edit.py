"""Put other weights into a linear layer, leaving the rest of the graph as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.frozen_model._linear_layer import LinearLayer

__all__ = ["append_head", "replace_weights"]

Array = NDArray[Any]


def replace_weights(graph: ir.Graph, layer: LinearLayer, coef: Array, intercept: Array) -> None:
    """Write ``coef`` (K, D) and ``intercept`` (K,) into the layer, in place.

    The node list stays the same, unless a bias has to be added to a bare MatMul. With another
    number of classes the shapes of everything downstream follow.
    """
    coef, intercept = coef / layer.scale, intercept / layer.scale
    product, index = layer.weight_at
    attribute = {name: a.value for name, a in product.attributes.items()}
    stored = coef / attribute.get("alpha", 1.0)
    _set_constant(graph, product, index, stored if attribute.get("transB", 0) else stored.T)
    if product.op_type == "Gemm":
        if attribute.get("beta", 1.0) != 1:
            product.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
        if intercept.any() or len(product.inputs) > 2:
            _set_constant(graph, product, 2, intercept)
    elif layer.bias_at is not None:
        _set_constant(graph, *layer.bias_at, intercept)
    elif intercept.any():
        _add_bias(graph, product, layer.logits, intercept)
    if len(coef) != len(layer.weight):
        _retype_downstream(layer.logits, len(layer.weight), len(coef))


def append_head(graph: ir.Graph, embedding: ir.Value, coef: Array, intercept: Array) -> None:
    """Give a backbone a head: a Gemm on ``embedding`` and a new graph output ``logits``."""
    weight = _new_initializer(graph, "ntkit.head.weight", coef, embedding)
    bias = _new_initializer(graph, "ntkit.head.bias", intercept, embedding)
    node = ir.node("Gemm", [embedding, weight, bias], {"transB": 1}, name="ntkit/head/Gemm")
    graph.append(node)
    logits = node.outputs[0]
    logits.name = _free_name(graph, "logits")
    batch = embedding.shape[0] if embedding.shape is not None else ir.SymbolicDim("batch")
    logits.shape = ir.Shape([batch, len(coef)])
    logits.type = embedding.type or ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(logits)


def _set_constant(graph: ir.Graph, node: ir.Node, index: int, array: Array) -> None:
    """Make ``array`` a constant input of a node: in place of the old values if only it uses them.

    A tensor that something else reads too is never changed; a new initialiser takes its place
    here. A Gemm without a bias gets one.
    """
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and _overwrite(graph, old, array):
        return
    name = "ntkit.head.weight" if index == 1 and node.op_type != "Add" else "ntkit.head.bias"
    new = _new_initializer(graph, name, array, old if old is not None else node.inputs[0])
    node.resize_inputs(max(index + 1, len(node.inputs)))
    node.replace_input_with(index, new)


def _overwrite(graph: ir.Graph, value: ir.Value, array: Array) -> bool:
    """Change the constant behind ``value``, through no-ops; False if something else reads it."""
    if len(value.uses()) != 1 or value.is_graph_output():
        return False
    node = value.producer()
    if node is None:
        if value.name not in graph.initializers or value.is_graph_input():
            return False
        value.const_value = _tensor(array, value.dtype or ir.DataType.FLOAT, value.name)
    elif node.op_type == "Constant" and "value" in node.attributes:
        dtype = value.dtype or node.attributes["value"].as_tensor().dtype
        node.attributes["value"] = ir.AttrTensor("value", _tensor(array, dtype, value.name))
        value.const_value = None
    elif node.op_type == "Transpose" and node.inputs[0] is not None:
        if not _overwrite(graph, node.inputs[0], array.T):
            return False
    elif node.op_type in ("Identity", "Cast") and node.inputs[0] is not None:
        if not _overwrite(graph, node.inputs[0], array):
            return False
    else:
        return False
    value.shape = ir.Shape(array.shape)
    return True


def _new_initializer(graph: ir.Graph, name: str, array: Array, like: ir.Value | None) -> ir.Value:
    name = _free_name(graph, name)
    dtype = like.dtype if like is not None and like.dtype is not None else ir.DataType.FLOAT
    value = ir.val(name, const_value=_tensor(array, dtype, name))
    graph.register_initializer(value)
    return value


def _tensor(array: Array, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
    return ir.Tensor(np.ascontiguousarray(array).astype(dtype.numpy()), dtype=dtype, name=name)


def _add_bias(graph: ir.Graph, layer_end: ir.Node, logits: ir.Value, intercept: Array) -> None:
    bias = _new_initializer(graph, "ntkit.head.bias", intercept, logits)
    node = ir.node("Add", [logits, bias], name="ntkit/head/Add")
    graph.insert_after(layer_end, node)
    total, name = node.outputs[0], logits.name
    total.type, total.shape = logits.type, logits.shape
    ir.convenience.replace_all_uses_with(logits, total, replace_graph_outputs=True)
    node.replace_input_with(0, logits)
    logits.name, total.name = _free_name(graph, f"{name}.ntkit.product"), name


def _retype_downstream(logits: ir.Value, before: int, after: int) -> None:
    waiting, seen = [logits], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if value.shape is not None and len(value.shape) and value.shape[-1] == before:
            value.shape = ir.Shape([*value.shape[:-1], after])
        waiting += [out for use in value.uses() for out in use.node.outputs]


def _free_name(graph: ir.Graph, wanted: str) -> str:
    taken: set[str | None] = set(graph.initializers)
    taken |= {value.name for value in graph.inputs}
    taken |= {value.name for node in graph for value in node.outputs}
    name, count = wanted, 1
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name
