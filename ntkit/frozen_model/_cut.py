"""Cut a model in two at its head: what computes the embedding, and what follows the logits."""

from __future__ import annotations

import onnx_ir as ir

from ntkit.frozen_model._constants import constant_of, dtype_of
from ntkit.frozen_model._find_head import Head
from ntkit.frozen_model._graph import extract_between, extract_up_to

__all__ = ["body_of", "tail_of"]

EMBEDDING = "ntkit.embedding"


def body_of(model: ir.Model, head: Head | None, embedding: ir.Value, *, logits: bool) -> ir.Model:
    """Copy the model up to one embedding per sample, with the logits as a second output if asked.

    Where the model chooses or averages positions after its head, the body does so before it:
    both are linear, so the order does not matter.
    """
    outputs = [embedding.name or ""]
    if logits and head is not None:
        outputs.append(head.after.logits.name or "")
    graph = extract_up_to(model.graph, outputs)
    if head is not None:
        n_logits, n_neurons = head.layer.weight.shape
        ends = [(head.layer.rank, n_neurons), (head.after.rank, n_logits)]
        for value, (rank, width) in zip(graph.outputs, ends, strict=False):
            _typed(value, head, rank, width)
        if head.layer.rank != 2:
            graph.outputs[0] = _chosen(graph, graph.outputs[0], head)
    return _model_of(graph, model)


def tail_of(model: ir.Model, head: Head) -> ir.Model | None:
    """Copy what computes the model's outputs from the logits; None if they are all there is."""
    graph = extract_between(model.graph, head.after.logits)
    if graph is None:
        return None
    _typed(graph.inputs[0], head, head.after.rank, len(head.layer.weight))
    return _model_of(graph, model)


def _chosen(graph: ir.Graph, value: ir.Value, head: Head) -> ir.Value:
    """The embedding of the sample, by the operators that choose from the logits' positions."""
    dtype = value.type
    for number, node in enumerate(head.after.choosing):
        inputs: list[ir.Value | None] = [value]
        for index, old in enumerate(node.inputs[1:], start=1):
            constant = constant_of(old)
            if constant is None or old is None:
                inputs.append(None)
                continue
            name = f"{EMBEDDING}.{number}.{index}"
            new = ir.val(name, const_value=ir.tensor(constant, dtype=dtype_of(old), name=name))
            graph.register_initializer(new)
            inputs.append(new)
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            node.attributes.values(),
            name=f"{EMBEDDING}.{number}",
        )
        graph.append(copy)
        value = copy.outputs[0]
    flat = ir.node("Flatten", [value], {"axis": 1}, name=f"{EMBEDDING}.flat")
    graph.append(flat)
    result = flat.outputs[0]
    result.name, result.type = EMBEDDING, dtype
    result.shape = ir.Shape([ir.SymbolicDim(None), head.layer.weight.shape[1]])
    return result


def _typed(value: ir.Value, head: Head, rank: int | None, width: int) -> None:
    """Say type and shape of a cut's end, where the graph does not."""
    if value.type is None:
        dtype = dtype_of(head.layer.weight_at[0].inputs[1])
        known = dtype is not None and dtype.is_floating_point()
        value.type = ir.TensorType(dtype if known and dtype else ir.DataType.FLOAT)
    if value.shape is None and rank == 2:
        value.shape = ir.Shape([ir.SymbolicDim(None), width])


def _model_of(graph: ir.Graph, model: ir.Model) -> ir.Model:
    return ir.Model(
        graph,
        ir_version=model.ir_version,
        producer_name="ntkit",
        functions=list(model.functions.values()),
    )
