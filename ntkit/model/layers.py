"""Earlier layers of a network: mean and deviation of each channel as outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ntkit.graph.rewrite import Nodes, along
from ntkit.graph.tensors import infer_shapes

_FEW_BLOCKS = 3  # with fewer ends of blocks, other activations are used as well
_ACTIVATIONS = {"Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu", "Gelu", "Mish"}
_ACTIVATIONS |= {"HardSwish", "Swish", "Softplus", "Tanh", "ThresholdedRelu"}
_NORMS = {"LayerNormalization", "RMSNormalization", "SkipLayerNormalization"}
# Operators that determine the axis of their channels.
_SECOND = {"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"}
_SECOND |= {"GroupNormalization", "MaxPool", "AveragePool", "LpPool"}
_LAST = {"MatMul", "Gather", *_NORMS}
_MOVED = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Einsum"}
_POOLING = {"GlobalAveragePool", "AveragePool", "ReduceMean", "Flatten", "Reshape", "Squeeze"}


@dataclass(frozen=True)
class Layer:
    """An activation of a graph with one or more numbers for each channel at each position."""

    name: str  # operator and its number of that kind, such as ``relu_2``
    tensor: str
    width: int  # channels
    axis: int  # axis of the channels; axis 0 is the samples', the others are positions
    rank: int


def layers_of(body: ir.Model) -> tuple[Layer, ...]:
    """Readable activations: ends of residual blocks, or else all, in the graph's order."""
    # Left out are activations with unknown channels or positions, and the one whose mean is the
    # embedding, because it has the same content.
    infer_shapes(body, data_prop=False)
    graph, count = body.graph, Counter[str]()
    batches = {value.shape[0] for value in graph.inputs if value.shape}
    ends, readable = list[Layer](), list[Layer]()
    pooled, end = set[str | None](), graph.outputs[0].producer()
    while end is not None and end.op_type in _POOLING and end.inputs[0] is not None:
        pooled.add(end.inputs[0].name)
        end = end.inputs[0].producer()
    for node in graph:
        count[node.op_type] += 1
        layer = _layer(node, f"{node.op_type.lower()}_{count[node.op_type]}", batches)
        if layer is None:
            continue
        if _ends_block(node):
            ends.append(layer)
            readable.append(layer)
        elif _is_activation(node):
            readable.append(layer)
    readable = readable if len(ends) < _FEW_BLOCKS else ends
    return tuple(layer for layer in readable if layer.tensor not in pooled)


def _layer(node: ir.Node, name: str, batches: set[int | ir.SymbolicDim]) -> Layer | None:
    """The layer that a node computes, if it has channels at positions."""
    if not node.outputs:
        return None
    value = node.outputs[0]
    shape, floating = value.shape, value.dtype is not None and value.dtype.is_floating_point()
    if shape is None or len(shape) not in (3, 4, 5) or not floating:
        return None
    if isinstance(shape[0], int) and shape[0] not in batches:
        return None  # windows or heads of several samples
    axis = _channel_axis(value, len(shape))
    width = None if axis is None else shape[axis]
    if axis is None or not isinstance(width, int) or width < 2:
        return None
    return Layer(name, value.name or "", width, axis, len(shape))


def _channel_axis(value: ir.Value, rank: int) -> int | None:
    """Axis of the channels, from the nearest earlier operator that determines it."""
    seen, waiting = set[int](), [value]
    while waiting:
        value = waiting.pop(0)
        node = value.producer()
        if node is None or id(value) in seen or value.shape is None or len(value.shape) != rank:
            continue
        seen.add(id(value))
        if node.op_type in _SECOND:
            return 1
        if node.op_type in _LAST:
            return rank - 1
        if node.op_type not in _MOVED:
            waiting += _computed(node)
    return None


def _computed(node: ir.Node) -> list[ir.Value]:
    """Inputs of a node that are not constants."""
    inputs = [value for value in node.inputs if value is not None and not value.is_initializer()]
    return [v for v in inputs if (made := v.producer()) is None or made.op_type != "Constant"]


def _ends_block(node: ir.Node) -> bool:
    """Whether a node adds the output of a block to its input, or completes that sum."""
    if _is_sum(node):
        readers = [use.node for use in node.outputs[0].uses()]
        return not any(r.op_type in _ACTIVATIONS | _NORMS for r in readers[:1]) or len(readers) > 1
    if node.op_type == "SkipLayerNormalization":
        return True
    first = node.inputs[0] if node.inputs else None
    if first is None or len(first.uses()) != 1 or node.op_type not in _ACTIVATIONS | _NORMS:
        return False
    return _is_sum(first.producer())


def _is_sum(node: ir.Node | None) -> bool:
    if node is None or node.op_type != "Add":
        return False
    shapes = [value.shape for value in _computed(node)]
    return len(shapes) == 2 and None not in shapes and len(shapes[0]) == len(shapes[1])  # type: ignore[arg-type]


def _is_activation(node: ir.Node) -> bool:
    if node.op_type in _ACTIVATIONS | _NORMS:
        return True
    if node.op_type != "Mul" or len(node.inputs) != 2:
        return False
    gates = [value.producer() for value in node.inputs if value is not None]  # x · sigmoid(x)
    return any(
        gate is not None and gate.op_type == "Sigmoid" and gate.inputs[0] in node.inputs
        for gate in gates
    )


def add_layers(graph: ir.Graph, layers: Sequence[Layer]) -> None:
    """Give a graph an output (N, 2 C) for each layer: means, then deviations, of channels."""
    # If the model has an input that masks tokens, only unmasked tokens count.
    values = ir.convenience.create_value_mapping(graph)
    masks = [
        value
        for value in graph.inputs
        if "mask" in (value.name or "").lower()
        and value.shape is not None
        and len(value.shape) == 2
    ]
    for i, layer in enumerate(layers):
        mask = masks[0] if len(masks) == 1 and layer.rank == 3 else None
        result = _statistics(graph, f"ntkit.layer.{i}", layer, values[layer.tensor], mask)
        result.type = ir.TensorType(ir.DataType.FLOAT)
        result.shape = ir.Shape([None, 2 * layer.width])
        graph.outputs.append(result)


def _statistics(
    graph: ir.Graph, name: str, layer: Layer, value: ir.Value, mask: ir.Value | None
) -> ir.Value:
    nodes = Nodes(graph.append, name)
    axes = [axis for axis in range(1, layer.rank) if axis != layer.axis]

    def mean(x: ir.Value) -> ir.Value:
        return along(graph, nodes, "ReduceMean", x, *axes, keepdims=0)

    x = nodes.node("Cast", [value], {"to": int(ir.DataType.FLOAT)})
    shown, share = x, None
    if mask is not None and layer.axis == 2:
        there = nodes.node("Cast", [mask], {"to": int(ir.DataType.FLOAT)})
        there = nodes.node("Reshape", [there, nodes.constant(np.array([0, -1, 1]))])
        shown = nodes.node("Mul", [x, there])
        share = nodes.node("Add", [mean(there), nodes.constant(np.float32(1e-12))])

    first, square = (
        mean(values) if share is None else nodes.node("Div", [mean(values), share])
        for values in (shown, nodes.node("Mul", [shown, x]))
    )
    rest = nodes.node("Sub", [square, nodes.node("Mul", [first, first])])
    deviation = nodes.node("Sqrt", [nodes.node("Relu", [rest])])
    result = nodes.node("Concat", [first, deviation], {"axis": 1})
    result.name = name
    return result
