"""Tensors of a graph by name, and the part of it that some tensors are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ntkit.exceptions import HeadNotFoundError

__all__ = ["TensorInfo", "extract_up_to", "info_of", "value_named"]


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape (names for dynamic axes, None where unknown) and element type of a tensor.

    Parameters
    ----------
    name : str
        Its name in the graph.
    shape : tuple of int, str or None; or None
        Its axes; None where the graph gives no shape at all.
    dtype : str
        ONNX's element type in lower case: "float32", "float16", "double", "uint8", …

    Examples
    --------
    >>> from ntkit.frozen_model import TensorInfo
    >>> print(TensorInfo("image", ("batch", 3, 224, 224), "float32"))
    image (batch, 3, 224, 224) float32
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        shape = "unknown shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name} {shape} {self.dtype}"


def value_named(graph: ir.Graph, name: str) -> ir.Value:
    """Find a tensor of the graph by its name."""
    for value in ir.convenience.create_value_mapping(graph).values():
        if value.name == name:
            return value
    raise HeadNotFoundError(f"The model has no tensor named {name!r}.")


def info_of(value: ir.Value) -> TensorInfo:
    """Name, shape and element type of a tensor."""
    shape = None
    if value.shape is not None:
        shape = tuple(d if isinstance(d, int) else d.value for d in value.shape)
    dtype = "float32" if value.dtype is None else str(value.dtype.name).lower()
    return TensorInfo(value.name or "", shape, {"float": "float32"}.get(dtype, dtype))


def extract_up_to(graph: ir.Graph, outputs: list[str]) -> ir.Graph:
    """Copy what the named tensors are computed from, with only the inputs it needs."""
    return ir.convenience.extract(graph, _reached_inputs(graph, outputs), outputs)


def _reached_inputs(graph: ir.Graph, outputs: list[str]) -> list[ir.Value]:
    """Graph inputs that the outputs are computed from, in the graph's order."""
    values = ir.convenience.create_value_mapping(graph)
    seen, waiting = set[int](), [values[name] for name in outputs]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        node = value.producer()
        if node is not None:
            waiting += [v for v in node.inputs if v is not None]
            for attribute in node.attributes.values():  # bodies of If and Loop read outer values
                if attribute.type == ir.AttributeType.GRAPH:
                    inner = attribute.as_graph()
                    waiting += [v for n in inner.all_nodes() for v in n.inputs if v is not None]
    return [value for value in graph.inputs if id(value) in seen and not value.is_initializer()]
