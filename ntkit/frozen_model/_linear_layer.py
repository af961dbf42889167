"""Find the linear layer a graph output comes from, by walking back from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.exceptions import HeadNotFoundError
from ntkit.frozen_model._constants import constant_of

__all__ = ["LinearLayer", "find_linear_layer", "linear_layer_at"]

_PROBABILITIES = frozenset(["Softmax", "LogSoftmax", "Sigmoid"])
# Behind one of these a factor no longer scales the logits.
_BENDING = _PROBABILITIES | {"ArgMax", "TopK", "Clip", "Exp", "Log", "Normalizer"}

# Operators after the head that keep which class a column means; the data input is the first.
_PASS = frozenset(
    {
        *("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Flatten", "Reshape", "Squeeze"),
        *("Unsqueeze", "Dropout", "ArgMax", "TopK", "Clip", "Exp", "Log", "Normalizer"),
        *("LabelEncoder", "ZipMap"),
    }
)
_LOOKUP = {"Gather": (0, 1), "ArrayFeatureExtractor": (0, 1)}  # (label table, index)
_NO_OPS = frozenset(["Identity", "Cast", "Dropout"])
_RESHAPING = frozenset(["Flatten", "Reshape", "Squeeze"])
_QUANTISED = frozenset(
    ["QuantizeLinear", "DequantizeLinear", "QLinearMatMul", "QGemm", "MatMulInteger", "MatMulNBits"]
)


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer in a graph and what follows it.

    Attributes
    ----------
    kind : str
        "Gemm", "MatMul", "MatMul + Add" or "Gemm + Add".
    embedding, logits : onnx_ir.Value
        Input and output of the layer.
    weight_at : tuple of (onnx_ir.Node, int)
        The Gemm or MatMul, and which of its inputs holds the weights.
    bias_at : tuple of (onnx_ir.Node, int) or None
        The node that adds the bias, and which input holds it; None for a bare MatMul. A Gemm
        may lack the input.
    weight, bias : ndarray
        (K, D) and (K,): what the layer computes, times the scale after it.
    scale : float
        Constant factor between the layer and the outputs (a cosine head's temperature).
    post_processing : tuple of str
        Operators between the layer and the output, in order.
    labels : tuple or None
        Class labels, where the graph maps indices to them.
    """

    kind: str
    embedding: ir.Value
    logits: ir.Value
    weight_at: tuple[ir.Node, int]
    bias_at: tuple[ir.Node, int] | None
    weight: NDArray[Any]
    bias: NDArray[Any]
    scale: float = 1.0
    post_processing: tuple[str, ...] = ()
    labels: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class _Blocked:
    """Where the walk from an output ended without a linear layer."""

    output: str
    reason: str


def find_linear_layer(graph: ir.Graph, logits: str | None = None) -> LinearLayer:
    """Find the one linear layer the graph's outputs (or the tensor ``logits``) come from.

    Raises
    ------
    HeadNotFoundError
        If there is none, or more than one; the message lists what was found.
    """
    found = [_walk_back(output) for output in graph.outputs]
    starts = found
    if logits is not None:
        starts = [_walk_back(_named(graph, logits))]
        found = found + starts
    layers = _last(_distinct(starts))
    if not layers:
        reasons = "; ".join(f"{f.output!r} {f.reason}" for f in starts if isinstance(f, _Blocked))
        raise HeadNotFoundError(
            f"No linear last layer was found: {reasons}. Name the logits with --logits NAME "
            "(logits= in Python), or, for a backbone without a head, --embedding NAME."
        )
    return _as_the_outputs_show_it(_only(layers), found)


def linear_layer_at(
    graph: ir.Graph, embedding: str, logits: str | None = None
) -> LinearLayer | None:
    """Find the linear layer that reads the tensor ``embedding`` and leads to an output.

    Raises
    ------
    HeadNotFoundError
        If there is no such tensor, more than one such layer, or the layer that ends in the
        tensor ``logits`` reads another one.
    """
    _named(graph, embedding)
    if logits is not None:
        layer = find_linear_layer(graph, logits)
        if not _reads(layer, embedding):
            raise HeadNotFoundError(
                f"The linear layer of the logits {logits!r} reads {layer.embedding.name!r}, not "
                f"{embedding!r}; name one of the two."
            )
        return layer
    found = [_walk_back(output) for output in graph.outputs]
    layers = [layer for layer in _distinct(found) if _reads(layer, embedding)]
    return _as_the_outputs_show_it(_only(layers), found) if layers else None


def _only(layers: list[LinearLayer]) -> LinearLayer:
    if len(layers) > 1:
        names = ", ".join(
            f"{layer.logits.name!r} ({layer.kind}, {layer.weight.shape[0]} logits on "
            f"{layer.embedding.name!r})"
            for layer in layers
        )
        raise HeadNotFoundError(
            f"Two or more linear layers end in an output: {names}. Choose one with --logits NAME "
            "(logits= in Python)."
        )
    return layers[0]


def _distinct(found: Iterable[LinearLayer | _Blocked]) -> list[LinearLayer]:
    return list({id(f.weight_at[0]): f for f in found if isinstance(f, LinearLayer)}.values())


def _reads(layer: LinearLayer, embedding: str) -> bool:
    """Whether a layer reads a tensor, perhaps cast or with axes of length one removed."""
    value: ir.Value | None = layer.embedding
    while value is not None and value.name != embedding:
        node = value.producer()
        passes = node is not None and node.op_type in _NO_OPS | _RESHAPING
        value = node.inputs[0] if node is not None and passes else None
    return value is not None


def _named(graph: ir.Graph, name: str) -> ir.Value:
    names = []
    for value in _values(graph):
        if value.name == name:
            return value
        names.append(value.name or "")
    near = ", ".join(repr(n) for n in names[-6:])
    raise HeadNotFoundError(f"The model has no tensor named {name!r}; its last ones are {near}.")


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _walk_back(start: ir.Value) -> LinearLayer | _Blocked:
    value, scale, after = start, 1.0, list[str]()
    labels: tuple[Any, ...] | None = None
    while (node := value.producer()) is not None:
        layer = _linear(value, node)
        if isinstance(layer, str):
            return _Blocked(start.name or "", layer)
        if layer is not None:
            return replace(
                layer,
                weight=layer.weight * scale,
                bias=layer.bias * scale,
                scale=scale,
                post_processing=tuple(reversed(after)),
                labels=labels,
            )
        step = _step_back(node)
        if step is None:
            return _Blocked(
                start.name or "", f"comes from {node.op_type} (node {node.name!r}), not linear"
            )
        value, factor = step
        labels = labels or _labels(node)
        if node.op_type in _BENDING and scale < 0:
            return _Blocked(start.name or "", f"is {node.op_type} times {scale:g}, a falling score")
        scale = 1.0 if node.op_type in _BENDING else scale * factor
        after.append(node.op_type)
    return _Blocked(start.name or "", "is an input or a constant")


def _step_back(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The data input of an operator that may follow a head, and the factor it applies."""
    inputs = node.inputs
    if node.op_type in _LOOKUP:
        table, index = (inputs[i] for i in _LOOKUP[node.op_type])
        return (index, 1.0) if index is not None and constant_of(table) is not None else None
    if node.op_type in _PASS and inputs and inputs[0] is not None:
        return inputs[0], 1.0
    if node.op_type in ("Mul", "Div") and len(inputs) == 2:
        for data, other in ((inputs[0], inputs[1]), (inputs[1], inputs[0])):
            factor = constant_of(other)
            if data is None or factor is None or factor.size != 1 or not factor.item():
                continue
            if node.op_type == "Mul":
                return data, float(factor.item())
            if data is inputs[0]:
                return data, 1 / float(factor.item())
    return None


def _linear(value: ir.Value, node: ir.Node) -> LinearLayer | str | None:
    """The linear layer that ends in ``node``; a reason why it cannot be used; or None."""
    if node.op_type in _QUANTISED:
        return _quantised(node)
    if node.op_type == "Gemm":
        return _gemm(value, node)
    if node.op_type == "MatMul":
        return _matmul(value, node)
    if node.op_type == "Add" and len(node.inputs) == 2:
        for data_index, bias_index in ((0, 1), (1, 0)):
            bias = constant_of(node.inputs[bias_index])
            product = _through_no_ops(node.inputs[data_index])
            if bias is None or product is None or product.op_type not in ("MatMul", "Gemm"):
                continue
            layer = (_matmul if product.op_type == "MatMul" else _gemm)(value, product)
            if isinstance(layer, str):
                return layer
            added = _one_per_row(bias, len(layer.weight))
            if added is None:
                return (
                    f"comes from an Add of shape {bias.shape} after {product.op_type}, not a bias"
                )
            return replace(
                layer,
                kind=f"{product.op_type} + Add",
                bias_at=(node, bias_index),
                bias=layer.bias + added,
            )
    return None


def _quantised(node: ir.Node) -> str:
    return (
        f"comes from {node.op_type} (node {node.name!r}), a quantised head; debias the float "
        "model and quantise the result"
    )


def _is_quantised(value: ir.Value | None) -> bool:
    node = _through_no_ops(value)
    return node is not None and node.op_type in _QUANTISED


def _one_per_row(bias: NDArray[Any], rows: int) -> NDArray[Any] | None:
    """A bias as a vector; None if it is anything but one number per logit, or one for all."""
    if bias.ndim > 2 or (bias.size != 1 and (bias.size != rows or bias.shape[-1] != rows)):
        return None
    return np.broadcast_to(_float(bias).ravel(), (rows,))


def _gemm(value: ir.Value, node: ir.Node) -> LinearLayer | str:
    attribute = {name: a.value for name, a in node.attributes.items()}
    embedding, weight = node.inputs[0], constant_of(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    offset = constant_of(given)
    if embedding is not None and weight is None and _is_quantised(node.inputs[1]):
        return _quantised(node)
    if embedding is None or weight is None or attribute.get("transA", 0):
        return f"comes from Gemm (node {node.name!r}) whose weights are not constants"
    if not attribute.get("alpha", 1.0):
        return f"comes from Gemm (node {node.name!r}) whose alpha is 0"
    if given is not None and offset is None:
        return f"comes from Gemm (node {node.name!r}) whose bias is not a constant"
    weight = _float(weight if attribute.get("transB", 0) else weight.T)
    weight = weight * np.float32(attribute.get("alpha", 1.0))
    bias: NDArray[Any] = np.zeros(len(weight), np.float32)
    if offset is not None:
        added = _one_per_row(offset, len(weight))
        if added is None:
            return f"comes from Gemm (node {node.name!r}) with C {offset.shape}, not a bias"
        bias = bias + np.float32(attribute.get("beta", 1.0)) * added
    return LinearLayer("Gemm", embedding, value, (node, 1), (node, 2), weight, bias)


def _matmul(value: ir.Value, node: ir.Node) -> LinearLayer | str:
    embedding, weight = node.inputs[0], constant_of(node.inputs[1])
    if embedding is not None and weight is None and _is_quantised(node.inputs[1]):
        return _quantised(node)
    if embedding is None or weight is None or weight.ndim != 2:
        return f"comes from MatMul (node {node.name!r}) whose right side is not a constant matrix"
    if embedding.shape is not None and len(embedding.shape) != 2:
        return (
            f"comes from MatMul (node {node.name!r}) on a tensor of shape {embedding.shape}, "
            "not on one embedding per sample"
        )
    weight = _float(weight.T)
    bias = np.zeros(len(weight), np.float32)
    return LinearLayer("MatMul", embedding, value, (node, 1), None, weight, bias)


def _through_no_ops(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _NO_OPS and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def _float(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _last(layers: list[LinearLayer]) -> list[LinearLayer]:
    """Leave out layers that another one is computed from."""
    return [
        layer
        for layer in layers
        if not any(layer is not other and _feeds(layer, other) for other in layers)
    ]


def _feeds(layer: LinearLayer, other: LinearLayer) -> bool:
    seen, waiting = set[int](), [other.embedding]
    while waiting:
        node = waiting.pop().producer()
        if node is None or id(node) in seen:
            continue
        if node is layer.weight_at[0]:
            return True
        seen.add(id(node))
        waiting += [value for value in node.inputs if value is not None]
    return False


def _as_the_outputs_show_it(
    layer: LinearLayer, found: Iterable[LinearLayer | _Blocked]
) -> LinearLayer:
    """Take labels, scale and post-processing from the outputs that come from the layer.

    Where several do, one with probabilities tells which scale they see.
    """
    n_classes = max(2, len(layer.weight))
    paths = [f for f in found if isinstance(f, LinearLayer)]
    paths = [path for path in paths if path.weight_at[0] is layer.weight_at[0]]
    best = next((p for p in paths if _PROBABILITIES.intersection(p.post_processing)), paths[0])
    tables = (path.labels for path in paths if path.labels is not None)
    labels = next((t for t in tables if len(t) == n_classes == len(set(t))), None)
    return replace(best, labels=labels)


def _labels(node: ir.Node) -> tuple[Any, ...] | None:
    if node.op_type in _LOOKUP:
        table = constant_of(node.inputs[0])
        return None if table is None else tuple(_plain(v) for v in table.ravel().tolist())
    if node.op_type == "LabelEncoder":
        keys, values = (_entries(node, prefix) for prefix in ("keys_", "values_"))
        if values is not None and keys == list(range(len(values))):
            return tuple(_plain(value) for value in values)
    return None


def _entries(node: ir.Node, prefix: str) -> list[Any] | None:
    for name, attribute in node.attributes.items():
        if name.startswith(prefix):
            value = attribute.value
            return value.numpy().tolist() if attribute.type == ir.AttributeType.TENSOR else [*value]
    return None


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
