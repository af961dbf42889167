"""Put other weights into a linear layer, leaving the rest of the graph as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.frozen_model._constants import constant_of, dtype_of
from ntkit.frozen_model._linear_layer import LinearLayer

__all__ = ["append_head", "replace_weights"]

Array = NDArray[Any]

# Operators after the logits that keep one column per class, whatever the number of classes.
_ELEMENTWISE = frozenset(
    {
        *("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Dropout", "Clip", "Exp", "Log"),
        *("Mul", "Div", "Normalizer", "Flatten"),
    }
)


def replace_weights(graph: ir.Graph, layer: LinearLayer, coef: Array, intercept: Array) -> None:
    """Write ``coef`` (K, D) and ``intercept`` (K,) into the layer, in place.

    The node list stays the same, unless a bias has to be added to a bare MatMul. With another
    number of classes the shapes of everything downstream follow.

    Raises
    ------
    InputError
        If what follows the layer is made for the old number of classes.
    """
    before, after = len(layer.weight), len(coef)
    if before != after:
        _refuse_fixed_width(layer, before, after)
    coef = coef.astype(np.float64) / layer.scale
    intercept = intercept.astype(np.float64) / layer.scale
    product, index = layer.weight_at
    attribute = {name: a.value for name, a in product.attributes.items()}
    stored = coef / attribute.get("alpha", 1.0)
    _set_constant(graph, product, index, stored if attribute.get("transB", 0) else stored.T)
    if layer.bias_at is not None and layer.bias_at[0] is not product:
        if product.op_type == "Gemm" and len(product.inputs) > 2:
            _set_constant(graph, product, 2, np.zeros_like(intercept))
        _set_constant(graph, *layer.bias_at, intercept)
    elif product.op_type == "Gemm":
        if attribute.get("beta", 1.0) != 1:
            product.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
        if intercept.any() or len(product.inputs) > 2:
            _set_constant(graph, product, 2, intercept)
    elif intercept.any():
        _add_bias(graph, product, layer.logits, intercept)
    if before != after:
        for value in (product.outputs[0], layer.logits):
            _retype_downstream(value, before, after)


def append_head(graph: ir.Graph, embedding: ir.Value, coef: Array, intercept: Array) -> None:
    """Give a backbone a head: a Gemm on ``embedding`` and a new graph output ``logits``."""
    if embedding.shape is not None and len(embedding.shape) != 2:
        raise InputError(
            f"The embedding {embedding.name!r} has the shape {embedding.shape}, not one vector per "
            "sample; name another tensor with --embedding NAME."
        )
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
    like = next((v for v in (old, *node.inputs) if dtype_of(v) is not None), None)
    new = _new_initializer(graph, name, array, like)
    node.resize_inputs(max(index + 1, len(node.inputs)))
    node.replace_input_with(index, new)


def _overwrite(graph: ir.Graph, value: ir.Value, array: Array) -> bool:
    """Change the constant behind ``value``, through no-ops; False if something else reads it."""
    if len(value.uses()) != 1 or value.is_graph_output():
        return False
    node = value.producer()
    if node is None:
        dtype = dtype_of(value)
        known = graph.initializers.get(value.name) if value.name else None
        if dtype is None or known is not value or value.is_graph_input():
            return False
        if not dtype.is_floating_point():
            return False
        value.const_value = _tensor(array, dtype, value.name)
    elif node.op_type == "Constant" and "value" in node.attributes:
        dtype = node.attributes["value"].as_tensor().dtype
        if not dtype.is_floating_point():
            return False
        node.attributes["value"] = ir.AttrTensor("value", _tensor(array, dtype, value.name))
        value.const_value = None
    elif node.op_type == "Transpose" and node.inputs[0] is not None:
        permutation = node.attributes.get("perm")
        back = np.argsort(permutation.as_ints()) if permutation else None
        if not _overwrite(graph, node.inputs[0], array.transpose(back)):
            return False
    elif node.op_type in ("Identity", "Cast") and node.inputs[0] is not None:
        stored, wanted = dtype_of(node.inputs[0]), dtype_of(value)
        if stored is None or wanted is None or stored.bitwidth < wanted.bitwidth:
            return False  # the constant behind a Cast cannot hold the new values
        if not _overwrite(graph, node.inputs[0], array):
            return False
    else:
        return False
    value.shape = ir.Shape(array.shape)
    return True


def _new_initializer(graph: ir.Graph, name: str, array: Array, like: ir.Value | None) -> ir.Value:
    name = _free_name(graph, name)
    dtype = dtype_of(like) or ir.DataType.FLOAT
    value = ir.val(name, const_value=_tensor(array, dtype, name))
    graph.register_initializer(value)
    return value


def _tensor(array: Array, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array).astype(dtype.numpy())
    if not np.isfinite(stored.astype(np.float64)).all():
        raise InputError(
            f"The head has weights up to {np.abs(array).max():.1e}, too large for the model's "
            f"{dtype.name.lower()}; retrain with a smaller C."
        )
    return ir.Tensor(stored, dtype=dtype, name=name)


def _add_bias(graph: ir.Graph, layer_end: ir.Node, logits: ir.Value, intercept: Array) -> None:
    typed = next((v for v in (logits, *layer_end.inputs) if dtype_of(v) is not None), None)
    bias = _new_initializer(graph, "ntkit.head.bias", intercept, typed)
    node = ir.node("Add", [logits, bias], name="ntkit/head/Add")
    graph.insert_after(layer_end, node)
    total, name = node.outputs[0], logits.name
    total.type, total.shape = logits.type, logits.shape
    ir.convenience.replace_all_uses_with(logits, total, replace_graph_outputs=True)
    node.replace_input_with(0, logits)
    logits.name, total.name = _free_name(graph, f"{name}.ntkit.product"), name


def _per_class(logits: ir.Value) -> tuple[list[ir.Value], list[ir.Node]]:
    """The tensors after (and with) the logits that hold a column per class, and their readers."""
    found, readers = [logits], list[ir.Node]()
    for value in found:
        for use in value.uses():
            readers.append(use.node)
            if use.node.op_type in _ELEMENTWISE or _keeps_last_axis(use.node):
                found += [out for out in use.node.outputs if not any(out is v for v in found)]
    return found, readers


def _keeps_last_axis(node: ir.Node) -> bool:
    if node.op_type != "Reshape":
        return False
    shape = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return shape is not None and shape.size == 2 and shape[-1] == -1


def _refuse_fixed_width(layer: LinearLayer, before: int, after: int) -> None:
    mend = f"give it a head of {max(2, before)} classes, or export the model without that operator"
    for node in _per_class(layer.logits)[1]:
        fits = node.op_type in _ELEMENTWISE or node.op_type == "ArgMax" or _keeps_last_axis(node)
        if node.op_type in ("Mul", "Div"):
            factors = [constant_of(value) for value in node.inputs]
            fits = any(factor is not None and factor.size == 1 for factor in factors)
        if node.op_type == "TopK":
            fits = after > before
        if not fits:
            raise InputError(
                f"The model's {before} logit(s) go into {node.op_type} (node {node.name!r}), "
                f"which does not take {after}; {mend}."
            )
        if before == 1 and node.op_type == "Sigmoid":
            raise InputError(
                f"The model ends in the Sigmoid of one logit, which cannot tell {after} classes "
                f"apart; {mend}."
            )


def _retype_downstream(logits: ir.Value, before: int, after: int) -> None:
    for value in _per_class(logits)[0]:
        if value.shape is not None and len(value.shape) > 1 and value.shape[-1] == before:
            value.shape = ir.Shape([*value.shape[:-1], after])


def _free_name(graph: ir.Graph, wanted: str) -> str:
    taken: set[str | None] = set(graph.initializers)
    taken |= {value.name for value in graph.inputs}
    taken |= {value.name for node in graph.all_nodes() for value in node.outputs}
    name, count = wanted, 1
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name
