"""A LinearClassifier on the embeddings of a network, taken apart into plain operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.affine._operators import NotAffine, carriers
from ntkit.graph import float_type, takes_place_of

__all__ = ["reads_a_network", "taken_apart"]

Array = NDArray[Any]

_PREFIX = "ntkit.classifier"
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC")
_PRODUCTS = frozenset(["Gemm", "MatMul", "Conv"])
_MOST_NODES = 100_000


def reads_a_network(node: ir.Node) -> bool:
    """Whether what a node reads comes from products with something not linear after one."""
    waiting, seen = [v for v in node.inputs if v is not None], set[int]()
    ops = set[str]()
    bent = False
    while waiting and len(seen) < _MOST_NODES:
        value = waiting.pop()
        before = value.producer()
        if before is None or id(value) in seen:
            continue
        seen.add(id(value))
        ops.add(before.op_type)
        bent = bent or not _affine(value, before)
        waiting += [v for v in before.inputs if v is not None]
    return bent and bool(ops & _PRODUCTS)


def _affine(value: ir.Value, node: ir.Node) -> bool:
    try:
        return bool(carriers(value, node))
    except NotAffine:
        return node.op_type == "Constant"


def taken_apart(model: ir.Model) -> ir.Model | None:
    """A copy with a Gemm, and what follows it, for each LinearClassifier on a network's embedding.

    None if there is no such classifier.
    """
    if all(node.op_type != "LinearClassifier" for node in model.graph):
        return None
    copy = model.clone()
    found = [node for node in copy.graph if node.op_type == "LinearClassifier"]
    ours = [node for node in found if reads_a_network(node)]
    done = [node for i, node in enumerate(ours) if _replaced(copy.graph, node, i)]
    return copy if done else None


class _Nodes:
    """New nodes in the place of a classifier, one after the other."""

    def __init__(self, graph: ir.Graph, place: ir.Node, number: int) -> None:
        self._graph, self._place, self._prefix = graph, place, f"{_PREFIX}.{number}"
        self._count = 0

    def add(self, op: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        name = f"{self._prefix}.{self._count}"
        node = ir.node(op, list(inputs), attributes, name=name)
        node.outputs[0].name = name
        self._count += 1
        self._graph.insert_before(self._place, node)
        return node.outputs[0]

    def constant(self, array: Any) -> ir.Value:
        return self.add("Constant", value=ir.tensor(array))


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
    nodes = _Nodes(graph, node, number)
    weight = flat.reshape(rows, -1)
    if float_type(data) != ir.DataType.FLOAT:
        data = nodes.add("Cast", data, to=int(ir.DataType.FLOAT))
    scores = _scores(nodes, data, weight, bias, transform)
    index = nodes.add("ArgMax", scores, axis=1, keepdims=0)
    whole = attribute.get("classlabels_ints")
    names = ir.tensor(np.asarray(whole, np.int64)) if whole else _texts(labels)
    label = nodes.add("Gather", nodes.add("Constant", value=names), index, axis=0)
    for old, new in zip(node.outputs, (label, scores), strict=False):
        takes_place_of(graph, new, old)
    graph.remove(node, safe=True)
    return True


def _texts(labels: Any) -> ir.StringTensor:
    texts = [label if isinstance(label, bytes) else str(label).encode() for label in labels]
    return ir.StringTensor(texts, shape=ir.Shape([len(texts)]))


def _scores(nodes: _Nodes, data: ir.Value, weight: Array, bias: Array, transform: str) -> ir.Value:
    """The classifier's second output; of one unit where its two rows are each other's negative."""
    mirrored = len(bias) == 2 and (weight[0] == -weight[1]).all() and bias[0] == -bias[1]
    if transform == "LOGISTIC" and mirrored:
        logit = nodes.add(
            "Gemm", data, nodes.constant(weight[1:]), nodes.constant(bias[1:]), transB=1
        )
        share = nodes.add("Sigmoid", logit)
        rest = nodes.add("Sub", nodes.constant(np.ones(1, np.float32)), share)
        return nodes.add("Concat", rest, share, axis=1)
    logits = nodes.add("Gemm", data, nodes.constant(weight), nodes.constant(bias), transB=1)
    if transform == "NONE":
        return logits
    if transform == "SOFTMAX":
        return nodes.add("Softmax", logits, axis=1)
    return nodes.add("Sigmoid", logits)
