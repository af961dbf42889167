"""Pool the tokens of a backbone inside its graph: one embedding per sample from one per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from ntkit.exceptions import InputError
from ntkit.graph._tensors import opset_of, value_named

__all__ = ["POOLINGS", "pooled"]

POOLINGS = ("cls", "mean")
# The operator set from which on an operator takes its axes as an input, not as an attribute.
_AXES_AS_INPUT = {"ReduceSum": 13, "Unsqueeze": 13, "ReduceMean": 18}
_BROADCASTING_MAX = 8


def pooled(model: ir.Model, embedding: str | None, pooling: str) -> ir.Value:
    """Append the pooling of a tensor (N, T, D) to a graph, in place, unless it is there already.

    "cls" takes the first token, "mean" the mean over those that the attention mask shows.
    The pooled tensor is named after the pooling and the tensor, so that a written model's is
    found again.
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling is one of {', '.join(POOLINGS)}; got {pooling!r}.")
    if embedding is None:
        raise InputError(
            "Pooling needs the tensor to pool; name it with --embedding NAME (embedding= in "
            "Python), for instance last_hidden_state."
        )
    tokens = value_named(model.graph, embedding)
    name = f"ntkit.pooled.{pooling}.{embedding}"
    known = ir.convenience.create_value_mapping(model.graph).get(name)
    if known is not None:
        return known
    shape, dtype = _shape_and_type(model, tokens)
    nodes = _Nodes(model.graph, f"ntkit/pooling/{pooling}/{embedding}", dtype)
    result = _first(nodes, tokens) if pooling == "cls" else _mean(nodes, tokens, shape)
    result.name = name
    result.type = ir.TensorType(dtype)
    result.shape = ir.Shape([shape[0], shape[2]])
    return result


def _shape_and_type(model: ir.Model, value: ir.Value) -> tuple[ir.Shape, ir.DataType]:
    """Shape (N, T, D) and element type, as the file says, else as ONNX infers them."""
    known = value
    if value.shape is None or value.dtype is None:
        copy = model.clone()
        common.ShapeInferencePass(check_type=False, strict_mode=False)(copy)
        known = ir.convenience.create_value_mapping(copy.graph)[value.name or ""]
    shape = known.shape if known.shape is not None else ir.Shape([None, None, None])
    dtype = known.dtype or ir.DataType.FLOAT
    if len(shape) != 3 or not dtype.is_floating_point():
        raise InputError(
            f"Pooling takes one vector of floats per token, but {value.name!r} has the shape "
            f"{shape} and holds {dtype.name.lower()}; name another tensor with --embedding NAME, "
            "or leave out --pooling (pooling= in Python)."
        )
    return shape, dtype


@dataclass(frozen=True)
class _Nodes:
    """Appends nodes to a graph under one prefix."""

    graph: ir.Graph
    prefix: str
    dtype: ir.DataType  # of what is pooled

    def add(self, op: str, name: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        node = ir.node(op, list(inputs), attributes, name=f"{self.prefix}/{name}")
        self.graph.append(node)
        node.outputs[0].name = node.name
        return node.outputs[0]

    def constant(self, name: str, number: float, dtype: ir.DataType, n_axes: int) -> ir.Value:
        array = np.full((1,) * n_axes, number).astype(dtype.numpy())
        # Not an initialiser: files of IR version 3 would need it as an input too.
        return self.add("Constant", name, value=ir.tensor(array, dtype=dtype))

    def along(self, op: str, name: str, data: ir.Value, axis: int, **attributes: Any) -> ir.Value:
        if opset_of(self.graph) < _AXES_AS_INPUT[op]:
            return self.add(op, name, data, axes=[axis], **attributes)
        axes = self.constant(f"{name}/axes", axis, ir.DataType.INT64, 1)
        return self.add(op, name, data, axes, **attributes)


def _first(nodes: _Nodes, tokens: ir.Value) -> ir.Value:
    index = nodes.constant("index", 0, ir.DataType.INT64, 0)
    return nodes.add("Gather", "first", tokens, index, axis=1)


def _mean(nodes: _Nodes, tokens: ir.Value, shape: ir.Shape) -> ir.Value:
    mask = _mask_of(nodes.graph, shape)
    if mask is None:
        return nodes.along("ReduceMean", "mean", tokens, 1, keepdims=0)
    if opset_of(nodes.graph) < _BROADCASTING_MAX:
        raise InputError(
            f"Pooling by the mean needs operator set {_BROADCASTING_MAX} or newer, but the model "
            f"is written for {opset_of(nodes.graph)}; export it again."
        )
    weights = nodes.add("Cast", "mask", mask, to=int(nodes.dtype))
    count = nodes.along("ReduceSum", "count", weights, 1, keepdims=1)
    # A text without any token has the mean 0, not 0/0.
    least = nodes.constant("least", float(_finfo(nodes.dtype).tiny), nodes.dtype, 1)
    count = nodes.add("Max", "some", count, least)
    # Divided before summing: a sum of half-precision numbers may overflow where its mean does not.
    weights = nodes.add("Div", "shares", weights, count)
    weights = nodes.along("Unsqueeze", "weights", weights, 2)
    weighted = nodes.add("Mul", "weighted", tokens, weights)
    return nodes.along("ReduceSum", "mean", weighted, 1, keepdims=0)


def _finfo(dtype: ir.DataType) -> Any:
    if dtype == ir.DataType.BFLOAT16:
        return np.finfo(np.float32)  # the same range
    return np.finfo(dtype.numpy())


def _mask_of(graph: ir.Graph, shape: ir.Shape) -> ir.Value | None:
    """The input that says which tokens are there; None if the model has no such input."""
    named = [
        value
        for value in graph.inputs
        if "mask" in (value.name or "").lower() and not value.is_initializer()
    ]
    named = [value for value in named if value.name == "attention_mask"] or named
    if len(named) > 1:
        raise InputError(
            f"The model has the masks {[value.name for value in named]}, none of them named "
            "'attention_mask', and pooling by the mean needs to know which one to use; rename it, "
            "or pool inside the model."
        )
    mask = named[0] if named else None
    if mask is not None and not _fits(mask.shape, shape):
        raise InputError(
            f"The mask {mask.name!r} has the shape {mask.shape}, not one number for each token of "
            f"the tensor {shape}; pool inside the model, or by the first token (--pooling cls)."
        )
    return mask


def _fits(mask: ir.Shape | None, tokens: ir.Shape) -> bool:
    if mask is None:
        return True
    if len(mask) != 2:
        return False
    sides = (mask[1], tokens[1])
    return not all(isinstance(side, int) for side in sides) or sides[0] == sides[1]
