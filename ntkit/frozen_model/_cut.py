"""Cut a model in two at its head: what computes the embedding, and what follows the logits."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from ntkit.affine import Nodes, Runner, found_by_the_model, side_by_side
from ntkit.graph import Shapes, dtype_of, extract_between, extract_up_to, float_type, serialised
from ntkit.head_search import Head

__all__ = ["body_of", "tail_of"]


def body_of(
    model: ir.Model, head: Head | None, embedding: ir.Value, *, logits: bool
) -> onnx.ModelProto:
    """Copy the model up to one embedding per sample, with the logits as a second output if asked.

    Where the model chooses or averages positions after its head, the body does so before it:
    both are linear, so the order does not matter.
    """
    outputs = [embedding]
    if logits and head is not None:
        outputs.append(head.logits)
    if head is None:
        return _model_of(extract_up_to(model.graph, outputs), model)
    n_logits, n_neurons = head.region.weight.shape
    if head.reads_rows:
        proto = _model_of(extract_up_to(model.graph, outputs), model)
    else:
        proto = _model_of(_with_embedding(model, head, outputs), model)
    _typed(proto.graph.output[0], _float_type(head, head.source), 2, n_neurons)
    for value in proto.graph.output[1:]:
        _typed(value, _float_type(head, head.logits), head.region.rank, n_logits)
    return proto


def tail_of(model: ir.Model, head: Head) -> onnx.ModelProto | None:
    """Copy what computes the model's outputs from the logits; None if they are all there is."""
    view = extract_between(model.graph, head.logits)
    if view is None:
        return None
    proto = _model_of(view, model)
    dtype = _float_type(head, head.logits)
    batch = (Shapes(model)(head.logits) or (None,))[0]
    _typed(proto.graph.input[0], dtype, head.region.rank, len(head.region.weight), batch)
    return proto


def _with_embedding(model: ir.Model, head: Head, outputs: list[ir.Value]) -> ir.Graph:
    """A copy of the graph whose first output is the embedding of the sample."""
    sources = head.region.sources
    found = [v for source in sources for v in found_by_the_model(source.chain)]
    needed = list({id(v): v for v in (*(s.value for s in sources), *found)}.values())
    graph = extract_up_to(model.graph, [*outputs, *needed]).clone()
    copies = dict(zip(map(id, needed), graph.outputs[len(outputs) :], strict=True))
    del graph.outputs[len(outputs) :]
    nodes = Nodes(graph.append, lambda value: copies[id(value)])
    graph.outputs[0] = side_by_side(nodes, sources, len(head.region.weight), Runner(Shapes(model)))
    return graph


def _float_type(head: Head, value: ir.Value) -> ir.DataType:
    plain = head.region.plain
    if plain is None or plain.quantised:
        return float_type(value)
    dtype = dtype_of(plain.product.inputs[1])
    return dtype if dtype is not None and dtype.is_floating_point() else ir.DataType.FLOAT


def _typed(
    value: onnx.ValueInfoProto,
    dtype: ir.DataType,
    rank: int,
    width: int,
    batch: int | str | None = None,
) -> None:
    """Say type and shape of a cut's end, where the graph does not."""
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        tensor.elem_type = int(dtype)
    if not tensor.HasField("shape") and rank == 2:
        tensor.shape.dim.add(dim_value=batch if isinstance(batch, int) else None)
        tensor.shape.dim.add(dim_value=width)


def _model_of(graph: ir.Graph | ir.GraphView, model: ir.Model) -> onnx.ModelProto:
    cut = ir.Model(
        graph,  # type: ignore[arg-type]
        ir_version=model.ir_version,
        producer_name="ntkit",
        functions=list(model.functions.values()),
    )
    return serialised(cut)
