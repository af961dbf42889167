"""More outputs of a graph: mean and deviation over positions of some of its earlier activations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MOST_LAYERS = 6
"""Layers that are read, spread over the depth."""
_FEW_BLOCKS = 3  # ends of blocks, below which activations are taken as well
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_ACTIVATIONS = {"Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu", "Gelu", "Mish"}
_ACTIVATIONS |= {"HardSwish", "Swish", "Softplus", "Tanh", "ThresholdedRelu"}
_NORMS = {"LayerNormalization", "RMSNormalization", "SkipLayerNormalization"}
# Operators that say which axis their channels are on.
_SECOND = {"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"}
_SECOND |= {"GroupNormalization", "MaxPool", "AveragePool", "LpPool"}
_LAST = {"MatMul", "Gather", *_NORMS}
_MOVED = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Einsum"}
_POOLING = {"GlobalAveragePool", "AveragePool", "ReduceMean", "Flatten", "Reshape", "Squeeze"}


@dataclass(frozen=True)
class Layer:
    """An activation of a graph, with one number or more for each channel at each position."""

    name: str
    tensor: str
    width: int
    axis: int
    rank: int


@dataclass(frozen=True)
class _Graph:
    """A graph, and what is known of its tensors."""

    nodes: Sequence[onnx.NodeProto]
    shapes: dict[str, list[int | str | None]]
    types: dict[str, int]
    producers: dict[str, onnx.NodeProto]
    readers: dict[str, list[onnx.NodeProto]]
    constants: frozenset[str]
    batches: frozenset[int | str | None]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Graph:
        graph = onnx.shape_inference.infer_shapes(model).graph
        known = [*graph.input, *graph.value_info, *graph.output]
        tensors = {v.name: v.type.tensor_type for v in known if v.type.HasField("tensor_type")}
        shapes = {n: _sides(t) for n, t in tensors.items() if t.HasField("shape")}
        producers = {name: node for node in graph.node for name in node.output}
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        fixed = {t.name for t in graph.initializer}
        fixed |= {n for n, node in producers.items() if node.op_type == "Constant"}
        types = {name: tensor.elem_type for name, tensor in tensors.items()}
        batches = {shapes[value.name][0] for value in graph.input if shapes.get(value.name)}
        return cls(
            graph.node, shapes, types, producers, readers, frozenset(fixed), frozenset(batches)
        )

    def computed(self, node: onnx.NodeProto) -> list[str]:
        """Inputs of a node that are no constants."""
        return [name for name in node.input if name and name not in self.constants]


def layers_of(model: onnx.ModelProto, most: int | None = MOST_LAYERS) -> tuple[Layer, ...]:
    """Choose activations to read: ends of residual blocks, or else activations, spread evenly."""
    graph = _Graph.of(model)
    ends, activations = list[Layer](), list[Layer]()
    count = Counter[str]()
    for node in graph.nodes:
        count[node.op_type] += 1
        layer = _layer(graph, node, f"{node.op_type.lower()}_{count[node.op_type]}")
        if layer is None:
            continue
        if _ends_block(graph, node):
            ends.append(layer)
        elif _is_activation(graph, node):
            activations.append(layer)
    found = ends
    if len(ends) < _FEW_BLOCKS:
        order = {node.output[0]: i for i, node in enumerate(graph.nodes) if node.output}
        found = sorted([*ends, *activations], key=lambda layer: order[layer.tensor])
    pooled = _pooled_by(graph, model.graph.output[0].name)
    found = [layer for layer in found if layer.tensor not in pooled]
    if most is None:
        return tuple(found)
    at = np.unique(np.linspace(0, max(len(found) - 1, 0), most).round().astype(int))
    return tuple(found[i] for i in at if i < len(found))


def with_layers(model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
    """Copy a model with an output (N, 2 C) for each layer: means, then deviations, of channels."""
    # Where the model has an input that masks tokens, only those that it shows count.
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    mask = _mask_of(model)
    for i, layer in enumerate(layers):
        _Statistics(copy, f"ntkit.layer.{i}").add(layer, mask if layer.rank == 3 else None)
    return copy


# -- which ----------------------------------------------------------------------------------------


def _layer(graph: _Graph, node: onnx.NodeProto, name: str) -> Layer | None:
    """What a node computes, if it has channels at positions."""
    if not node.output:
        return None
    tensor = node.output[0]
    shape = graph.shapes.get(tensor)
    if shape is None or len(shape) not in (3, 4, 5) or graph.types.get(tensor) not in _FLOATS:
        return None
    if isinstance(shape[0], int) and shape[0] not in graph.batches:
        return None  # windows or heads of several samples
    axis = _channel_axis(graph, tensor)
    width = None if axis is None else shape[axis]
    if axis is None or not isinstance(width, int) or width < 2:
        return None
    return Layer(name, tensor, width, axis, len(shape))


def _channel_axis(graph: _Graph, tensor: str) -> int | None:
    """Where channels are, by the nearest operator before that says so."""
    rank = len(graph.shapes[tensor])
    seen, waiting = set[str](), [tensor]
    while waiting:
        name = waiting.pop(0)
        node = graph.producers.get(name)
        if node is None or name in seen or len(graph.shapes.get(name, ())) != rank:
            continue
        seen.add(name)
        if node.op_type in _SECOND:
            return 1
        if node.op_type in _LAST:
            return rank - 1
        if node.op_type not in _MOVED:
            waiting += graph.computed(node)
    return None


def _pooled_by(graph: _Graph, tensor: str) -> set[str]:
    """What a tensor is the mean of: it says the same."""
    found = set[str]()
    node = graph.producers.get(tensor)
    while node is not None and node.op_type in _POOLING:
        found.add(node.input[0])
        node = graph.producers.get(node.input[0])
    return found


def _ends_block(graph: _Graph, node: onnx.NodeProto) -> bool:
    """Whether a node adds what a block computed to what it was given, or finishes that sum."""
    if _is_sum(graph, node):
        readers = graph.readers.get(node.output[0], [])
        return not any(r.op_type in _ACTIVATIONS | _NORMS for r in readers[:1]) or len(readers) > 1
    before = graph.producers.get(node.input[0]) if node.input else None
    if node.op_type == "SkipLayerNormalization":
        return True
    alone = before is not None and len(graph.readers.get(node.input[0], [])) == 1
    return alone and node.op_type in _ACTIVATIONS | _NORMS and _is_sum(graph, before)


def _is_sum(graph: _Graph, node: onnx.NodeProto | None) -> bool:
    if node is None or node.op_type != "Add":
        return False
    shapes = [graph.shapes.get(name) for name in graph.computed(node)]
    return len(shapes) == 2 and None not in shapes and len(shapes[0] or ()) == len(shapes[1] or ())


def _is_activation(graph: _Graph, node: onnx.NodeProto) -> bool:
    if node.op_type in _ACTIVATIONS | _NORMS:
        return True
    if node.op_type != "Mul" or len(node.input) != 2:
        return False
    gates = [graph.producers.get(name) for name in node.input]  # x · sigmoid(x)
    return any(
        gate is not None and gate.op_type == "Sigmoid" and gate.input[0] in node.input
        for gate in gates
    )


def _sides(tensor: onnx.TypeProto.Tensor) -> list[int | str | None]:
    return [
        d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim
    ]


def _mask_of(model: onnx.ModelProto) -> str | None:
    """The one input that says which tokens are there."""
    found = [
        value.name
        for value in model.graph.input
        if "mask" in value.name.lower() and len(value.type.tensor_type.shape.dim) == 2
    ]
    return found[0] if len(found) == 1 else None


# -- what is computed of them ---------------------------------------------------------------------


class _Statistics:
    """Adds the operators for one layer to a model."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.graph, self.name, self._count = model.graph, name, 0
        domains = {entry.domain: entry.version for entry in model.opset_import}
        self.opset = domains.get("", domains.get("ai.onnx", 1))

    def add(self, layer: Layer, mask: str | None) -> None:
        """Add an output of means and deviations."""
        x = self._node("Cast", [layer.tensor], to=TensorProto.FLOAT)
        axes = [axis for axis in range(1, layer.rank) if axis != layer.axis]
        shown, share = x, None
        if mask is not None and layer.axis == 2:
            there = self._node("Cast", [mask], to=TensorProto.FLOAT)
            there = self._node("Reshape", [there, self._constant(np.array([0, -1, 1]))])
            shown = self._node("Mul", [x, there])
            share = self._node("Add", [self._mean(there, axes), self._constant(np.float32(1e-12))])
        mean = self._ratio(self._mean(shown, axes), share)
        square = self._ratio(self._mean(self._node("Mul", [shown, x]), axes), share)
        rest = self._node("Sub", [square, self._node("Mul", [mean, mean])])
        deviation = self._node("Sqrt", [self._node("Relu", [rest])])
        self._node("Concat", [mean, deviation], axis=1)
        self.graph.node[-1].output[0] = self.name
        self.graph.output.append(
            helper.make_tensor_value_info(self.name, TensorProto.FLOAT, [None, 2 * layer.width])
        )

    def _node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        self._count += 1
        output = f"{self.name}.{self._count}"
        self.graph.node.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def _constant(self, value: NDArray[Any] | np.generic) -> str:
        return self._node("Constant", [], value=numpy_helper.from_array(np.asarray(value)))

    def _mean(self, x: str, axes: list[int]) -> str:
        if self.opset < 18:
            return self._node("ReduceMean", [x], axes=axes, keepdims=0)
        return self._node("ReduceMean", [x, self._constant(np.asarray(axes))], keepdims=0)

    def _ratio(self, x: str, share: str | None) -> str:
        return x if share is None else self._node("Div", [x, share])
