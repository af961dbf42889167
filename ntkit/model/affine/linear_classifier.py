"""A LinearClassifier on the embeddings of a network, converted into plain operators."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.graph.rewrite import Nodes, takes_place_of
from ntkit.graph.tensors import ancestors, float_type
from ntkit.model.affine.operators import NotAffine, carriers

_PREFIX = "ntkit.classifier"
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC")
_PRODUCTS = frozenset(["Gemm", "MatMul", "Conv"])
_MOST_NODES = 100_000


def reads_a_network(node: ir.Node) -> bool:
    """Whether a node's input comes from products followed by something not linear."""
    inputs = [value for value in node.inputs if value is not None]
    before = [(v, n) for v in islice(ancestors(inputs), _MOST_NODES) if (n := v.producer())]
    bent = any(not _affine(value, node) for value, node in before)
    return bent and any(node.op_type in _PRODUCTS for _, node in before)


def _affine(value: ir.Value, node: ir.Node) -> bool:
    try:
        return bool(carriers(value, node))
    except NotAffine:
        return node.op_type == "Constant"


def taken_apart(model: ir.Model) -> ir.Model | None:
    """Copy the model with a Gemm instead of each LinearClassifier on an embedding."""
    # None if there is no such classifier.
    if all(node.op_type != "LinearClassifier" for node in model.graph):
        return None
    copy = model.clone()
    classifiers = [node for node in copy.graph if node.op_type == "LinearClassifier"]
    ours = [node for node in classifiers if reads_a_network(node)]
    done = [node for i, node in enumerate(ours) if _replaced(copy.graph, node, i)]
    return copy if done else None


def _replaced(graph: ir.Graph, node: ir.Node, number: int) -> bool:
    attribute = {name: a.value for name, a in node.attributes.items()}
    labels = attribute.get("classlabels_strings") or attribute.get("classlabels_ints") or ()
    bias = np.asarray(attribute.get("intercepts", ()), np.float32)
    flat = np.asarray(attribute.get("coefficients", ()), np.float32)
    transform = attribute.get("post_transform", "NONE")
    data = node.inputs[0]
    rows = len(labels)
    if data is None or rows < 2 or bias.size != rows or transform not in _TRANSFORMS:
        return False
    if not flat.size or flat.size % rows:
        return False
    nodes = Nodes(partial(graph.insert_before, node), f"{_PREFIX}.{number}")
    weight = flat.reshape(rows, -1)
    if float_type(data) != ir.DataType.FLOAT:
        data = nodes.node("Cast", [data], {"to": int(ir.DataType.FLOAT)})
    scores = _scores(nodes, data, weight, bias, transform)
    label, *others = node.outputs
    for other in others:
        takes_place_of(graph, scores, other)
    if label.uses() or label.is_graph_output():
        index = nodes.node("ArgMax", [scores], {"axis": 1, "keepdims": 0})
        whole = attribute.get("classlabels_ints")
        names = ir.tensor(np.asarray(whole, np.int64)) if whole else _texts(labels)
        named = nodes.node("Gather", [nodes.constant(names), index], {"axis": 0})
        takes_place_of(graph, named, label)
    graph.remove(node, safe=True)
    return True


def _texts(labels: Any) -> ir.StringTensor:
    texts = [label if isinstance(label, bytes) else str(label).encode() for label in labels]
    return ir.StringTensor(texts, shape=ir.Shape([len(texts)]))


def _scores(nodes: Nodes, data: ir.Value, weight: Array, bias: Array, transform: str) -> ir.Value:
    """The classifier's second output; of one unit if its two rows are each other's negative."""
    mirrored = len(bias) == 2 and (weight[0] == -weight[1]).all() and bias[0] == -bias[1]
    if transform == "LOGISTIC" and mirrored:
        weight, bias = weight[1:], bias[1:]
    inputs = [data, nodes.constant(weight), nodes.constant(bias)]
    logits = nodes.node("Gemm", inputs, {"transB": 1})
    if transform == "SOFTMAX":
        return nodes.node("Softmax", [logits], {"axis": 1})
    shares = logits if transform == "NONE" else nodes.node("Sigmoid", [logits])
    if len(bias) > 1:
        return shares
    rest = nodes.node("Sub", [nodes.constant(np.ones(1, np.float32)), shares])
    return nodes.node("Concat", [rest, shares], {"axis": 1})
