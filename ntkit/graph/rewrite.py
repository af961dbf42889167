"""Add nodes and constants to a graph, pool its tokens, remove unused parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.graph.tensors import Shapes, dtype_of, opset_of, tensor, tensor_named


class Nodes:
    """Adds operators to a graph, each named after a prefix."""

    def __init__(self, add: Callable[[ir.Node], object], prefix: str) -> None:
        self._add, self._prefix, self._count = add, prefix, 0

    def node(
        self, op: str, inputs: Sequence[ir.Value | None], attributes: Any = (), domain: str = ""
    ) -> ir.Value:
        """Add an operator; its first output."""
        if isinstance(attributes, dict):
            attributes = ir.convenience.convert_attributes(attributes)
        name = f"{self._prefix}.{self._count}"
        node = ir.Node(domain, op, inputs, attributes, name=name)
        node.outputs[0].name = name
        self._count += 1
        self._add(node)
        return node.outputs[0]

    def constant(self, array: Any, dtype: ir.DataType | None = None) -> ir.Value:
        """Add a constant; not an initialiser, which old files would also need as an input."""
        if not isinstance(array, ir.TensorProtocol):
            array = ir.tensor(np.asarray(array), dtype=dtype)
        return self.node("Constant", [], {"value": array})


def takes_place_of(graph: ir.Graph, new: ir.Value, old: ir.Value) -> ir.Value:
    """Make ``new`` the input of all readers of ``old``, under its name."""
    name = old.name
    new.type, new.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name, new.name = free_name(graph, f"{name}.ntkit.old"), name
    return new


def remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """Remove a node without readers, and everything that only it used."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node.graph is None or any(v.uses() or v.is_graph_output() for v in node.outputs):
            continue
        inputs = [value for value in node.inputs if value is not None]
        graph.remove(node, safe=True)
        waiting += forget(graph, inputs)


def forget(graph: ir.Graph, values: Iterable[ir.Value]) -> list[ir.Node]:
    """Remove initialisers without readers; return the next nodes to check."""
    nodes = []
    for value in values:
        producer = value.producer()
        if producer is not None:
            nodes.append(producer)
        elif not (value.uses() or value.is_graph_input() or value.is_graph_output()):
            graph.initializers.pop(value.name or "", None)
    return nodes


def new_initializer(
    graph: ir.Graph,
    name: str,
    array: Array,
    *like: ir.Value | None,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """A constant of the first tensor's float type."""
    name = free_name(graph, name)
    dtypes = (known for known in map(dtype_of, like) if known and known.is_floating_point())
    dtype = dtype or next(dtypes, ir.DataType.FLOAT)
    value = ir.val(name, const_value=tensor(array, dtype, name))
    # Files of IR version 3 declare every initialiser as an input too.
    as_input = graph.initializers and all(v.is_graph_input() for v in graph.initializers.values())
    graph.register_initializer(value)
    if as_input:
        graph.inputs.append(value)
    return value


def free_name(graph: ir.Graph, wanted: str) -> str:
    """The wanted name of a tensor, with a number if it is taken."""
    taken: set[str | None] = set(graph.initializers)
    taken |= {value.name for value in graph.inputs}
    taken |= {value.name for node in graph.all_nodes() for value in node.outputs}
    name, count = wanted, 1
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name


POOLINGS = ("cls", "mean")
# The operator set from which on an operator gets its axes as an input, not as an attribute.
_AXES_AS_INPUT = {"ReduceSum": 13, "Unsqueeze": 13, "ReduceMean": 18, "ReduceMax": 18}
_BROADCASTING_MAX = 8


def pooled_tokens(model: ir.Model, embedding: str | None, pooling: str) -> ir.Value:
    """Append the pooling of a tensor (N, T, D) to a graph, in place, unless it is already there."""
    # "cls" takes the first token, "mean" the mean over unmasked tokens. The pooled tensor is named
    # after the pooling and the tensor, so that it is found again in a written model.
    if pooling not in POOLINGS:
        raise InputError(f"pooling must be one of {', '.join(POOLINGS)}; got {pooling!r}.")
    if embedding is None:
        raise InputError(
            "Pooling needs the tensor to pool; name it with --embedding NAME (embedding= in "
            "Python), such as last_hidden_state."
        )
    tokens = tensor_named(model.graph, embedding)
    name = f"ntkit.pooled.{pooling}.{embedding}"
    known = ir.convenience.create_value_mapping(model.graph).get(name)
    if known is not None:
        return known
    shape, dtype = _shape_and_type(model, tokens)
    nodes = Nodes(model.graph.append, f"ntkit/pooling/{pooling}/{embedding}")
    if pooling == "cls":
        first = nodes.constant(np.asarray(0, np.int64))
        result = nodes.node("Gather", [tokens, first], {"axis": 1})
    else:
        result = _mean(model.graph, nodes, tokens, shape, dtype)
    result.name = name
    result.type = ir.TensorType(dtype)
    result.shape = ir.Shape([shape[0], shape[2]])
    return result


def _shape_and_type(model: ir.Model, value: ir.Value) -> tuple[ir.Shape, ir.DataType]:
    """Shape (N, T, D) and element type, from the file or inferred by ONNX."""
    whole = value.shape is not None and value.dtype is not None
    known = value if whole else Shapes(model).known(value)
    shape = known.shape if known.shape is not None else ir.Shape([None, None, None])
    dtype = known.dtype or ir.DataType.FLOAT
    if len(shape) != 3 or not dtype.is_floating_point():
        raise InputError(
            f"Pooling needs one vector of floats per token, but {value.name!r} has the shape "
            f"{shape} and type {dtype.name.lower()}; name another tensor with --embedding NAME, or "
            "leave out --pooling (pooling= in Python)."
        )
    return shape, dtype


def along(
    graph: ir.Graph, nodes: Nodes, op: str, data: ir.Value, *axes: int, **attributes: int
) -> ir.Value:
    """Add an operator that takes axes, in the form of the graph's operator set."""
    if opset_of(graph) < _AXES_AS_INPUT[op]:
        return nodes.node(op, [data], {"axes": [*axes], **attributes})
    return nodes.node(op, [data, nodes.constant(np.asarray(axes, np.int64))], attributes)


def _mean(graph: ir.Graph, nodes: Nodes, tokens: ir.Value, shape: ir.Shape,
          dtype: ir.DataType) -> ir.Value:  # fmt: skip
    mask = _mask_of(graph, shape)
    if mask is None:
        return along(graph, nodes, "ReduceMean", tokens, 1, keepdims=0)
    if opset_of(graph) < _BROADCASTING_MAX:
        raise InputError(
            f"Pooling by the mean needs operator set {_BROADCASTING_MAX} or newer, but the model "
            f"is written for {opset_of(graph)}; export it again."
        )
    weights = nodes.node("Cast", [mask], {"to": int(dtype)})
    count = along(graph, nodes, "ReduceSum", weights, 1, keepdims=1)
    # A text without any token has the mean 0, not 0/0.
    of_its_range = np.float32 if dtype == ir.DataType.BFLOAT16 else dtype.numpy()
    least = np.full(1, np.finfo(of_its_range).tiny).astype(dtype.numpy())
    count = nodes.node("Max", [count, nodes.constant(least, dtype)])
    # Divided before summing, because a sum of half-precision numbers may overflow.
    shares = along(graph, nodes, "Unsqueeze", nodes.node("Div", [weights, count]), 2)
    weighted = nodes.node("Mul", [tokens, shares])
    return along(graph, nodes, "ReduceSum", weighted, 1, keepdims=0)


def _mask_of(graph: ir.Graph, shape: ir.Shape) -> ir.Value | None:
    """The input that masks tokens; None if the model has no such input."""
    named = [
        value
        for value in graph.inputs
        if "mask" in (value.name or "").lower() and not value.is_initializer()
    ]
    named = [value for value in named if value.name == "attention_mask"] or named
    if len(named) > 1:
        raise InputError(
            f"The model has the masks {[value.name for value in named]}, none of them named "
            "'attention_mask', and pooling by the mean needs to know which one to use. Rename it, "
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
