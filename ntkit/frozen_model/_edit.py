"""Put other weights into a linear layer, leaving the rest of the graph as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.affine import LinearLayer, Nodes, Region, Runner, side_by_side
from ntkit.exceptions import InputError
from ntkit.frozen_model._head import Head
from ntkit.frozen_model._written_out import written_out
from ntkit.graph import (
    Shapes,
    constant_of,
    dtype_of,
    float_type,
    forget,
    free_name,
    new_initializer,
    opset_of,
    remove_unused,
    takes_place_of,
    tensor,
)

__all__ = ["append_head", "replace_weights"]

Array = NDArray[Any]

# Operators after the logits that keep one column per class, whatever the number of classes.
_ELEMENTWISE = frozenset(
    {
        *("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Dropout", "Clip", "Exp", "Log"),
        *("Mul", "Div", "Normalizer", "Flatten", "QuantizeLinear", "DequantizeLinear"),
    }
)
_FITTING = _ELEMENTWISE | {"ArgMax"}
_BROADCASTING_GEMM = 7  # the operator set from which on a Gemm's bias needs no attribute
# Operators before a weight that change its shape and nothing else.
_SAME_VALUES = frozenset(["Reshape", "Squeeze", "Unsqueeze", "Flatten"])


def replace_weights(model: ir.Model, head: Head, coef: Array, intercept: Array) -> None:
    """Write ``coef`` (K, D) and ``intercept`` (K,) into the head's layer, in place.

    The node list stays the same, unless a bias has to be added to a bare MatMul, or the head is
    an affine region of more than a plain layer, which becomes one Gemm, or it is quantised: then
    float weights take the place of the quantised ones, and what quantised the old logits goes.
    With another number of classes the shapes of everything downstream follow.

    Raises
    ------
    InputError
        If what follows the layer is made for the old number of classes.
    """
    graph, layer, before, after = model.graph, head.layer, len(head.layer.weight), len(coef)
    if before != after:
        _refuse_fixed_width(head, before, after)
    coef = coef.astype(np.float64) / head.after.scale
    intercept = intercept.astype(np.float64) / head.after.scale
    if layer.region is not None:
        layer = _collapsed(graph, layer.region, coef, Runner(Shapes(model)))
    elif layer.quantised:
        layer = _in_float(graph, layer)
    _set_weight(graph, layer, coef)
    logits = _set_bias(graph, layer, intercept)
    for value in (layer.weight_at[0].outputs[0], logits, *head.after.quantised):
        _lead_past_quantisation(graph, value)
    if before != after:
        starts = [layer.weight_at[0].outputs[0], layer.output, logits, head.after.logits]
        _retype(head, starts, before, after)


def _set_weight(graph: ir.Graph, layer: LinearLayer, coef: Array) -> None:
    product, index = layer.weight_at
    attribute = {name: a.value for name, a in product.attributes.items()}
    stored = coef / attribute.get("alpha", 1.0)
    if product.op_type == "Conv":
        stored = stored.reshape(*stored.shape, *[1] * ((layer.rank or 4) - 2))
    elif not attribute.get("transB", 0):
        stored = stored.T
    _set_constant(graph, product, index, stored)


def _set_bias(graph: ir.Graph, layer: LinearLayer, intercept: Array) -> ir.Value:
    """Write the bias; what now is the layer's output."""
    product = layer.weight_at[0]
    own = product.inputs[2] if len(product.inputs) > 2 else None  # of a Gemm or Conv
    if layer.bias_at is not None and layer.bias_at[0] is not product:
        if product.op_type in ("Gemm", "Conv") and own is not None:
            _set_constant(graph, product, 2, np.zeros_like(intercept))
        node, index = layer.bias_at
        _set_constant(graph, node, index, _shaped_like(node.inputs[index], layer, intercept))
    elif layer.bias_at is not None:
        if "beta" in product.attributes and product.attributes["beta"].as_float() != 1:
            product.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
        if intercept.any() or own is not None:
            _set_constant(graph, product, 2, intercept)
    elif intercept.any():
        return _add_bias(graph, layer.output, intercept)
    return layer.output


def _shaped_like(old: ir.Value | None, layer: LinearLayer, intercept: Array) -> Array:
    """The bias of an Add with its axes as they were: (K,), (1, K) or (K, 1, 1)."""
    known = constant_of(old)
    trailing = 0 if layer.class_axis == -1 else (layer.rank or 2) - 2
    leading = max(0, (0 if known is None else known.ndim) - trailing - 1)
    return intercept.reshape([1] * leading + [-1] + [1] * trailing)


def _collapsed(graph: ir.Graph, region: Region, coef: Array, runner: Runner) -> LinearLayer:
    """Put one Gemm in the place of an affine region."""
    last = region.end.producer()
    if last is None:
        raise InputError(f"Nothing computes the logits {region.end.name!r}.")
    new = list[ir.Node]()
    nodes = Nodes(new.append, lambda value: value)
    embedding = side_by_side(nodes, region.sources, len(region.weight), runner)
    before, after = (float_type(value) for value in (region.sources[0].value, region.end))
    weight, bias = (
        new_initializer(graph, f"ntkit.head.{name}", array, embedding, dtype=before)
        for name, array in (("weight", coef), ("bias", np.zeros(len(coef))))
    )
    old = {"broadcast": 1} if opset_of(graph) < _BROADCASTING_GEMM else {}
    attributes = {"transB": 1, **old}
    gemm = ir.node("Gemm", [embedding, weight, bias], attributes, name="ntkit/head/Gemm")
    new.append(gemm)
    scores = gemm.outputs[0]
    if before != after:
        scores = nodes.node("Cast", [scores], {"to": int(after)})
    if region.rank != 2 or region.class_axis != 1:
        sides = [1] * region.rank
        sides[region.class_axis] = len(coef)
        sides[0] = -1
        scores = nodes.node("Reshape", [scores, nodes.constant(np.asarray(sides, np.int64))])
    for node in new:
        for value in node.outputs:
            value.name = free_name(graph, value.name or f"{node.name}.output")
    graph.insert_before(last, new)
    output = takes_place_of(graph, scores, region.end)
    remove_unused(graph, last)
    return LinearLayer(
        "Gemm", embedding, output, (gemm, 1), (gemm, 2), coef, np.zeros(len(coef)), rank=2
    )


def _in_float(graph: ir.Graph, layer: LinearLayer) -> LinearLayer:
    """Put a float MatMul in the place of a dynamically quantised one."""
    scaled = layer.output.producer()
    while scaled is not None and scaled.op_type != "Mul":  # an Add, and no-ops, stay
        data = 1 - layer.bias_at[1] if layer.bias_at and scaled is layer.bias_at[0] else 0
        inner = scaled.inputs[data]
        scaled = inner.producer() if inner is not None else None
    if scaled is None:
        raise InputError("The quantised head is not as ONNX Runtime writes it.")
    weight = new_initializer(graph, "ntkit.head.weight", layer.weight.T, layer.source)
    node = ir.node("MatMul", [layer.source, weight], name="ntkit/head/MatMul")
    graph.insert_before(scaled, node)
    output = takes_place_of(graph, node.outputs[0], scaled.outputs[0])
    remove_unused(graph, scaled)
    end = output if layer.bias_at is None else layer.output
    return replace(layer, weight_at=(node, 1), output=end, quantised=False)


def _lead_past_quantisation(graph: ir.Graph, scores: ir.Value) -> None:
    """Lead scores past what quantised the old ones: its range would cut new ones off."""
    quantisers = [use.node for use in scores.uses() if use.node.op_type == "QuantizeLinear"]
    for quantiser in quantisers:
        if quantiser.outputs[0].is_graph_output():
            raise InputError(
                f"The model's output {quantiser.outputs[0].name!r} is of quantised logits, whose "
                "range is the old head's; debias the float model and quantise the result."
            )
        for use in [*quantiser.outputs[0].uses()]:
            if use.node.op_type != "DequantizeLinear":
                raise InputError(
                    f"The model goes on with quantised logits into {use.node.op_type} (node "
                    f"{use.node.name!r}); debias the float model and quantise the result."
                )
            old = use.node.outputs[0]
            name, outside = old.name, old.is_graph_output()
            ir.convenience.replace_all_uses_with(old, scores, replace_graph_outputs=True)
            if outside:
                scores.type, scores.shape = scores.type or old.type, scores.shape or old.shape
                old.name, scores.name = free_name(graph, f"{name}.ntkit.quantised"), name
            remove_unused(graph, use.node)


def append_head(graph: ir.Graph, embedding: ir.Value, coef: Array, intercept: Array) -> None:
    """Give a backbone a head: a Gemm on ``embedding`` and a new graph output ``logits``."""
    if embedding.shape is not None and len(embedding.shape) != 2:
        raise InputError(
            f"The embedding {embedding.name!r} has the shape {embedding.shape}, not one vector per "
            "sample; name another tensor with --embedding NAME."
        )
    weight = new_initializer(graph, "ntkit.head.weight", coef, embedding)
    bias = new_initializer(graph, "ntkit.head.bias", intercept, embedding)
    node = ir.node("Gemm", [embedding, weight, bias], {"transB": 1}, name="ntkit/head/Gemm")
    graph.append(node)
    logits = node.outputs[0]
    logits.name = free_name(graph, "logits")
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
    new = new_initializer(graph, name, array, old, *node.inputs)
    node.resize_inputs(max(index + 1, len(node.inputs)))
    node.replace_input_with(index, new)
    if old is not None:
        for unread in forget(graph, [old]):
            remove_unused(graph, unread)


def _overwrite(graph: ir.Graph, value: ir.Value, array: Array) -> bool:
    """Change the constant behind ``value``, through no-ops; False if something else reads it."""
    if len(value.uses()) != 1 or value.is_graph_output():
        return False
    node = value.producer()
    if node is None:
        dtype = dtype_of(value)
        known = graph.initializers.get(value.name) if value.name else None
        if dtype is None or known is not value:
            return False
        if not dtype.is_floating_point():
            return False
        value.const_value = tensor(array, dtype, value.name)
        if value.dtype is not None:
            value.type = ir.TensorType(dtype)  # what the graph declares may be wrong
    elif node.op_type == "Constant" and "value" in node.attributes:
        dtype = node.attributes["value"].as_tensor().dtype
        if not dtype.is_floating_point():
            return False
        node.attributes["value"] = ir.AttrTensor("value", tensor(array, dtype, value.name))
        value.const_value = None
    elif node.op_type == "Transpose" and node.inputs[0] is not None:
        permutation = node.attributes.get("perm")
        back = np.argsort(permutation.as_ints()) if permutation else None
        if not _overwrite(graph, node.inputs[0], array.transpose(back)):
            return False
    elif node.op_type in _SAME_VALUES:
        inner = constant_of(node.inputs[0])
        if inner is None or inner.size != array.size:
            return False
        if not _overwrite(graph, node.inputs[0], array.reshape(inner.shape)):  # type: ignore[arg-type]
            return False
    elif node.op_type in ("Identity", "Cast") and node.inputs[0] is not None:
        stored, wanted = dtype_of(node.inputs[0]), dtype_of(value)
        if stored is None or wanted is None or stored.bitwidth < wanted.bitwidth:
            return False  # the constant behind a Cast cannot hold the new values
        if not _overwrite(graph, node.inputs[0], array):
            return False
    else:
        return False
    if node is None or value.shape is not None:
        value.shape = ir.Shape(array.shape)
    return True


def _add_bias(graph: ir.Graph, logits: ir.Value, intercept: Array) -> ir.Value:
    end = logits.producer()
    if end is None:
        raise InputError(f"Nothing computes the logits {logits.name!r}.")
    bias = new_initializer(graph, "ntkit.head.bias", intercept, *end.inputs, logits)
    node = ir.node("Add", [logits, bias], name="ntkit/head/Add")
    graph.insert_after(end, node)
    total = takes_place_of(graph, node.outputs[0], logits)
    node.replace_input_with(0, logits)
    return total


def _per_class(starts: list[ir.Value]) -> tuple[list[ir.Value], list[ir.Node]]:
    """Tensors that hold a column per class, from the logits on, and what reads them."""
    found, readers = list({id(value): value for value in starts}.values()), list[ir.Node]()
    softmax = _softmax_nodes(starts)
    for value in found:
        for use in value.uses():
            if id(use.node) not in softmax:
                readers.append(use.node)
            of_softmax = softmax.get(id(use.node), "") in ("Sub", "Exp", "Div")
            if use.node.op_type in _ELEMENTWISE or of_softmax or _keeps_last_axis(use.node):
                found += [out for out in use.node.outputs if not any(out is v for v in found)]
    return found, readers


def _softmax_nodes(starts: list[ir.Value]) -> dict[int, str]:
    """Operators of each Softmax that is written out, but not for one number of classes."""
    graph = next((v.producer().graph for v in starts if v.producer() is not None), None)  # type: ignore[union-attr]
    ends = (written_out(node) for node in graph or () if node.op_type in ("Div", "Sub"))
    nodes = [node for end in ends if end is not None for node in end.nodes]
    return {id(n): n.op_type for n in nodes if n.op_type not in ("Reshape", "Expand")}


def _keeps_last_axis(node: ir.Node) -> bool:
    if node.op_type != "Reshape":
        return False
    shape = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return shape is not None and shape.size == 2 and shape[-1] == -1


def _refuse_fixed_width(head: Head, before: int, after: int) -> None:
    mend = f"give it a head of {max(2, before)} classes, or export the model without that operator"
    if head.after.rank != 2:
        raise InputError(f"The model's logits have {head.after.rank} axes; {mend}.")
    if head.after.choosing and any(
        value.is_graph_output() or len(value.uses()) > 1 for value in _between(head)
    ):
        raise InputError(
            f"The model's outputs show the head's {before} logits at every position; {mend}."
        )
    for node in _per_class([head.after.logits])[1]:
        fits = node.op_type in _FITTING or _keeps_last_axis(node)
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


def _between(head: Head) -> list[ir.Value]:
    """Tensors from the layer's output up to the logits, where positions are chosen in between."""
    chosen = (node.outputs[0] for node in head.after.choosing)
    return [value for value in (head.layer.output, *chosen) if value is not head.after.logits]


def _retype(head: Head, starts: list[ir.Value], before: int, after: int) -> None:
    """Give every tensor with a column per class its new width."""
    if head.after.choosing:
        starts = [head.after.logits]
        for value in _between(head):
            value.shape = None  # the axis of classes is not the last one everywhere here
    for value in _per_class(starts)[0]:
        if value.shape is not None and len(value.shape) > 1 and value.shape[-1] == before:
            value.shape = ir.Shape([*value.shape[:-1], after])
