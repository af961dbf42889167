"""Cut a model in two at its head: what computes the embedding, and what follows the logits."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from ntkit.frozen_model._constants import constant_of, dtype_of
from ntkit.frozen_model._files import serialised
from ntkit.frozen_model._find_head import Head
from ntkit.frozen_model._graph import extract_between, extract_up_to

__all__ = ["body_of", "tail_of"]

EMBEDDING = "ntkit.embedding"


def body_of(
    model: ir.Model, head: Head | None, embedding: ir.Value, *, logits: bool
) -> onnx.ModelProto:
    """Copy the model up to one embedding per sample, with the logits as a second output if asked.

    Where the model chooses or averages positions after its head, the body does so before it:
    both are linear, so the order does not matter.
    """
    outputs = [embedding]
    if logits and head is not None:
        outputs.append(head.after.logits)
    view = extract_up_to(model.graph, outputs)
    if head is None:
        return _model_of(view, model)
    n_logits, n_neurons = head.layer.weight.shape
    if head.layer.rank == 2:
        proto = _model_of(view, model)
    else:
        found = _found_by_the_model(head)
        graph = extract_up_to(model.graph, [*outputs, *found]).clone()
        copies = dict(zip(map(id, found), graph.outputs[len(outputs) :], strict=True))
        del graph.outputs[len(outputs) :]
        graph.outputs[0] = _chosen(graph, graph.outputs[0], head, copies)
        proto = _model_of(graph, model)
    for value, rank, width in zip(
        proto.graph.output, (2, head.after.rank), (n_neurons, n_logits), strict=False
    ):
        _typed(value, head, rank, width)
    return proto


def tail_of(model: ir.Model, head: Head) -> onnx.ModelProto | None:
    """Copy what computes the model's outputs from the logits; None if they are all there is."""
    view = extract_between(model.graph, head.after.logits)
    if view is None:
        return None
    proto = _model_of(view, model)
    _typed(proto.graph.input[0], head, head.after.rank, len(head.layer.weight))
    return proto


def _found_by_the_model(head: Head) -> list[ir.Value]:
    """Positions that the model computes, such as that of the last token."""
    inputs = [v for node in head.after.choosing for v in node.inputs[1:] if v is not None]
    return list({id(v): v for v in inputs if constant_of(v) is None}.values())


def _chosen(graph: ir.Graph, value: ir.Value, head: Head, copies: dict[int, ir.Value]) -> ir.Value:
    """The embedding of the sample, by the operators that choose from the logits' positions."""
    dtype = value.type
    for number, node in enumerate(head.after.choosing):
        inputs: list[ir.Value | None] = [value]
        for index, old in enumerate(node.inputs[1:], start=1):
            constant = constant_of(old)
            if constant is None or old is None:
                inputs.append(copies.get(id(old)))
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


def _typed(value: onnx.ValueInfoProto, head: Head, rank: int, width: int) -> None:
    """Say type and shape of a cut's end, where the graph does not."""
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        dtype = dtype_of(head.layer.weight_at[0].inputs[1])
        known = dtype is not None and dtype.is_floating_point()
        tensor.elem_type = int(dtype if known and dtype else ir.DataType.FLOAT)
    if not tensor.HasField("shape") and rank == 2:
        tensor.shape.dim.add()
        tensor.shape.dim.add(dim_value=width)


def _model_of(graph: ir.Graph | ir.GraphView, model: ir.Model) -> onnx.ModelProto:
    cut = ir.Model(
        graph,  # type: ignore[arg-type]
        ir_version=model.ir_version,
        producer_name="ntkit",
        functions=list(model.functions.values()),
    )
    return serialised(cut)
