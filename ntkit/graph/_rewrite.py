"""Put nodes and constants into a graph, and take away what nothing reads any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.graph._constants import dtype_of


class Nodes:
    """Adds operators to a graph, each named after a prefix."""

    def __init__(self, add: Callable[[ir.Node], object], prefix: str) -> None:
        self._add, self._prefix, self._count = add, prefix, 0

    def node(self, op: str, inputs: Sequence[ir.Value | None], attributes: Any = ()) -> ir.Value:
        """Add an operator; its first output."""
        if isinstance(attributes, dict):
            attributes = ir.convenience.convert_attributes(attributes)
        name = f"{self._prefix}.{self._count}"
        node = ir.Node("", op, inputs, attributes, name=name)
        node.outputs[0].name = name
        self._count += 1
        self._add(node)
        return node.outputs[0]

    def constant(self, array: Any, dtype: ir.DataType | None = None) -> ir.Value:
        """Add a constant; no initialiser, which old files would need as an input too."""
        if not isinstance(array, ir.TensorProtocol):
            array = ir.tensor(np.asarray(array), dtype=dtype)
        return self.node("Constant", [], {"value": array})


def takes_place_of(graph: ir.Graph, new: ir.Value, old: ir.Value) -> ir.Value:
    """Make ``new`` what everything reads that read ``old``, under its name."""
    name = old.name
    new.type, new.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name, new.name = free_name(graph, f"{name}.ntkit.old"), name
    return new


def remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """Remove a node nothing reads, and what was there for it alone."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node.graph is None or any(v.uses() or v.is_graph_output() for v in node.outputs):
            continue
        inputs = [value for value in node.inputs if value is not None]
        graph.remove(node, safe=True)
        waiting += forget(graph, inputs)


def forget(graph: ir.Graph, values: Iterable[ir.Value]) -> list[ir.Node]:
    """Drop initialisers nothing reads any more; the nodes to look at next."""
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
    """A constant of the float type that the first of some tensors has."""
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


def tensor(array: Array, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array).astype(dtype.numpy())
    if not np.isfinite(stored.astype(np.float64)).all():
        raise InputError(
            f"The head has weights up to {np.abs(array).max():.1e}, too large for the model's "
            f"{dtype.name.lower()}; retrain with a smaller C."
        )
    return ir.Tensor(stored, dtype=dtype, name=name)


def free_name(graph: ir.Graph, wanted: str) -> str:
    taken: set[str | None] = set(graph.initializers)
    taken |= {value.name for value in graph.inputs}
    taken |= {value.name for node in graph.all_nodes() for value in node.outputs}
    name, count = wanted, 1
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name
