"""Tensors of a graph by name, and the subgraph that computes some tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common

from ntkit.exceptions import HeadNotFoundError
from ntkit.graph._quiet import NO_LOG

Shape = tuple[int | str | None, ...] | None
_SMALL = 64
_STANDARD_DOMAINS = frozenset(["", "ai.onnx", "ai.onnx.ml"])


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape (names for dynamic axes, None where unknown) and element type of a tensor."""

    name: str
    shape: Shape
    dtype: str
    columns: tuple[str, ...] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        shape = "unknown shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name} {shape} {self.dtype}"


def infer_shapes(model: ir.Model, **options: Any) -> None:
    """Add the shapes that ONNX infers, in place; without a word if they contradict each other."""
    with NO_LOG():
        common.ShapeInferencePass(check_type=False, strict_mode=False, **options)(model)


@dataclass(frozen=True, eq=False)
class Shapes:
    """Shapes of a model's tensors, from the file or inferred by ONNX on first use."""

    model: ir.Model

    def __call__(self, value: ir.Value) -> Shape:
        return _sides(self.known(value).shape if value.shape is None else value.shape)

    def known(self, value: ir.Value) -> ir.Value:
        """The tensor with the shape that ONNX infers."""
        return self._inferred.get(value.name or "", value)

    @cached_property
    def _inferred(self) -> dict[str, ir.Value]:
        copy = self.model.clone()
        graph = copy.graph
        # onnx-ir cannot read the type that inference gives a ZipMap.
        for node in [n for n in graph if n.op_type == "ZipMap"]:
            for value in [v for v in node.outputs if v.is_graph_output()]:
                graph.outputs.remove(value)
            graph.remove(node, safe=True)
        # Inference does not load external data, but it needs axes and shapes, which are small.
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.size <= _SMALL:
                value.const_value = ir.tensor(tensor.numpy().copy(), name=value.name)
        infer_shapes(copy)
        return ir.convenience.create_value_mapping(graph)


def _sides(shape: ir.Shape | None) -> Shape:
    if shape is None:
        return None
    return tuple(side if isinstance(side, int) else side.value for side in shape)


def is_standard(node: ir.Node) -> bool:
    """Whether a node is an operator of ONNX itself, not one of the same name in another domain."""
    return node.domain in _STANDARD_DOMAINS


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of an operator's attribute, or its default."""
    return node.attributes[name].value if name in node.attributes else default


def inlined_size(model: ir.Model) -> float:
    """Number of nodes with every call of the model's own functions expanded."""
    sizes: dict[object, float] = {}

    def size(nodes: Iterable[ir.Node]) -> float:
        return sum(1 if n.op_identifier() not in model.functions else called(n) for n in nodes)

    def called(node: ir.Node) -> float:
        identifier = node.op_identifier()
        if identifier not in sizes:
            sizes[identifier] = float("inf")  # a recursive function never ends
            sizes[identifier] = size(model.functions[identifier].all_nodes())
        return sizes[identifier]

    return size(model.graph.all_nodes())


def opset_of(graph: ir.Graph) -> int:
    """Version of ONNX's own operators that the graph is written for."""
    return int(graph.opset_imports.get("", 1))


def value_named(graph: ir.Graph, name: str) -> ir.Value:
    """Find a tensor of the graph by its name."""
    computed = [value for node in graph for value in node.outputs]
    for value in (*graph.inputs, *graph.initializers.values(), *computed):
        if value.name == name:
            return value
    near = ", ".join(repr(value.name or "") for value in [*graph.inputs, *computed][-6:])
    raise HeadNotFoundError(
        f"The model has no tensor {name!r}; its last ones are {near}. Name one of them."
    )


def info_of(value: ir.Value) -> TensorInfo:
    """Name, shape and element type of a tensor."""
    producer = value.producer()
    if value.type is None and producer is not None and producer.op_type == "ZipMap":
        return TensorInfo(value.name or "", None, "sequence of maps")
    dtype = "float32" if value.dtype is None else str(value.dtype.name).lower()
    dtype = {"float": "float32"}.get(dtype, dtype)
    if isinstance(value.type, ir.SequenceType):
        return TensorInfo(value.name or "", None, f"sequence of {dtype}")
    return TensorInfo(value.name or "", _sides(value.shape), dtype)


def extract_between(graph: ir.Graph, start: ir.Value) -> ir.GraphView | None:
    """The subgraph from ``start`` to the graph's outputs; None if there is none."""
    # Its inputs are `start` and the other graph inputs that the same outputs need.
    outputs = [
        v for v in graph.outputs if v is not start and any(start is a for a in ancestors([v]))
    ]
    return extract_up_to(graph, outputs, start) if outputs else None


def extract_up_to(
    graph: ir.Graph, outputs: list[ir.Value], start: ir.Value | None = None
) -> ir.GraphView:
    """The subgraph that computes some tensors (from ``start``), with the inputs that it needs."""
    reached = {id(value) for value in ancestors(outputs, [id(start)])}
    inputs = [v for v in graph.inputs if id(v) in reached and not v.is_initializer()]
    skipped = start.producer() if start is not None else None
    return ir.GraphView(
        inputs if start is None else [start, *inputs],
        outputs,
        nodes=[n for n in graph if n is not skipped and any(id(v) in reached for v in n.outputs)],
        initializers=[v for v in graph.initializers.values() if id(v) in reached],
        opset_imports=graph.opset_imports,
        name=graph.name,
    )


def ancestors(values: Iterable[ir.Value], stops: Collection[int] = ()) -> Iterator[ir.Value]:
    """Tensors that some are computed from, themselves included, ending at those of ``stops``."""
    waiting, seen = [*values], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        node = None if id(value) in stops else value.producer()
        if node is None:
            continue
        read = [*node.inputs]
        for held in node.attributes.values():
            if held.type == ir.AttributeType.GRAPH:  # bodies of If and Loop read outer tensors too
                inner = held.as_graph()
                read += [*inner.outputs, *(v for n in inner.all_nodes() for v in n.inputs)]
        waiting += [value for value in read if value is not None]
