"""Add the embedding of a sample to a graph: positions chosen, tensors concatenated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from ntkit import graph
from ntkit.graph import constant_of, dtype_of, float_type
from ntkit.model.affine._plain import Source, moved_shape
from ntkit.model.affine._run import Runner, spread_of

EMBEDDING = "ntkit.embedding"


class Nodes(graph.Nodes):
    """Adds operators to a graph; ``in_graph`` returns its tensor for one of the model's."""

    def __init__(
        self, add: Callable[[ir.Node], object], in_graph: Callable[[ir.Value], ir.Value]
    ) -> None:
        super().__init__(add, EMBEDDING)
        self.in_graph = in_graph

    def known(self, value: ir.Value | None) -> ir.Value | None:
        """A tensor that an operator of the model reads besides its data."""
        constant = constant_of(value)
        if value is None or constant is None:
            return None if value is None else self.in_graph(value)
        return self.constant(constant, dtype_of(value))


def side_by_side(
    nodes: Nodes, sources: Sequence[Source], n_scores: int, runner: Runner
) -> ir.Value:
    """One row of neurons per sample, (N, D): the sources, flattened and concatenated."""
    parts = [_row(nodes, source, n_scores, runner) for source in sources]
    result = parts[0] if len(parts) == 1 else nodes.node("Concat", parts, {"axis": 1})
    if len(parts) > 1 or not sources[0].is_embedding:
        result.name = EMBEDDING
        result.type = ir.TensorType(float_type(sources[0].value))
        width = sum(source.width for source in sources)
        result.shape = ir.Shape([ir.SymbolicDim(None), width])
    return result


def found_by_the_model(chain: Sequence[ir.Node]) -> list[ir.Value]:
    """Positions that the model computes, such as that of the last token."""
    inputs = list[ir.Value | None]()
    for node in chain:
        if node.op_type == "GatherElements":
            inputs.append(spread_of(node))
        elif node.op_type != "Reshape":
            inputs += node.inputs[1:]
    return list({id(v): v for v in inputs if v is not None and constant_of(v) is None}.values())


def _row(nodes: Nodes, source: Source, n_scores: int, runner: Runner) -> ir.Value:
    value = nodes.in_graph(source.value)
    if source.scale:
        value = nodes.node("DequantizeLinear", [value, *map(nodes.known, source.scale)])
    for node in source.chain:
        value = _moved(nodes, value, node, source, n_scores, runner)
    if len(source.shape) == 2 and not source.chain:
        return value  # already of one row per sample
    return nodes.node("Flatten", [value], {"axis": 1})


def _moved(
    nodes: Nodes, value: ir.Value, node: ir.Node, source: Source, n_scores: int, runner: Runner
) -> ir.Value:
    """A copy of an operator that moves or chooses positions, for neurons instead of scores."""
    if node.op_type == "Reshape":
        sides = moved_shape(runner.target(node), source, n_scores)
        return nodes.node("Reshape", [value, nodes.constant(np.asarray(sides, np.int64))])
    index = spread_of(node) if node.op_type == "GatherElements" else None
    if index is not None and constant_of(node.inputs[1]) is None:
        first = nodes.constant(np.asarray(0, np.int64))
        at = nodes.node("Gather", [nodes.in_graph(index), first], {"axis": 2})
        return nodes.node("GatherND", [value, at], {"batch_dims": 1})
    others = [nodes.known(v) for v in node.inputs[1:]]
    return nodes.node(node.op_type, [value, *others], node.attributes.values())
