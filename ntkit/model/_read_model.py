"""Facts read from a model, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.graph.files import serialised
from ntkit.graph.rewrite import pooled_tokens
from ntkit.graph.tensors import (
    Shapes,
    TensorInfo,
    dtype_of,
    extract_up_to,
    float_type,
    info_of,
    inlined_size,
    outputs_after,
    tensor_named,
)
from ntkit.model._head_search import Head, find_head, head_at
from ntkit.model.affine.operators import taken_apart
from ntkit.model.affine.region import EMBEDDING, EmbeddingNodes, found_by_the_model, side_by_side
from ntkit.model.affine.run import Runner
from ntkit.model.class_names import parsed_json
from ntkit.model.layers import Layer, add_layers


def file_facts(model: ir.Model, path: Path | None, quantisation: str | None) -> dict[str, Any]:
    """Facts of a file and its graph, with or without a head."""
    tensors = [v.const_value for g in model.graphs() for v in g.initializers.values()]
    inputs = (info_of(v) for v in model.graph.inputs if not v.is_initializer())
    return {
        "file": str(path) if path else None,
        "producer": f"{model.producer_name or 'unknown'} {model.producer_version or ''}".strip(),
        "opset": dict(model.opset_imports),
        "ir_version": int(model.ir_version),
        "nodes": len(model.graph),
        "weights_mb": round(sum(t.nbytes for t in tensors if t is not None) / 1e6, 3),
        "external_data": sorted(
            {str(t.location) for t in tensors if isinstance(t, ir.ExternalTensor)}
        ),
        "quantisation": quantisation,
        "inputs": [str(i) for i in inputs],
        "outputs": [str(info_of(v)) for v in model.graph.outputs],
    }


def head_facts(model: ir.Model, head: Head | None) -> dict[str, Any]:
    """Facts of the head and of the operators after it; None if there is none."""
    if head is None:
        nothing = dict.fromkeys(("neurons", "silent_neurons", "head", "task", "logits"))
        return {**nothing, "outputs_from_logits": [], "positions": [], "post_processing": []}
    n_logits, after = len(head.weight), head.after
    # The decision, if the graph shows it.
    if n_logits > 1 and after.has_sigmoids:
        task = f"each of {n_logits} labels independently (a Sigmoid each)"
    elif n_logits > 1:
        task = f"one of {n_logits} classes"
    elif after.post_processing or after.decided:
        task = "one of two classes, by one logit"
    else:
        task = "one number: two classes by its sign, or a regression"
    return {
        "neurons": head.weight.shape[1],
        "silent_neurons": int((head.weight == 0).all(axis=0).sum()),
        "head": head.region.kind,
        "task": task,
        "logits": str(info_of(head.logits)),
        "outputs_from_logits": [v.name or "" for v in outputs_after(model.graph, head.logits)],
        "positions": [node.op_type for node in head.region.sources[0].chain],
        "post_processing": list(after.post_processing),
    }


def body_of(
    model: ir.Model,
    head: Head | None,
    embedding: ir.Value,
    *,
    logits: bool,
    layers: Sequence[Layer] = (),
) -> onnx.ModelProto:
    """Copy the model up to one embedding per sample, with optional logits and layers."""
    # If the model chooses or averages positions after its head, the copy does so before it. Both
    # are linear, so the order does not matter.
    graph = body_graph(model, head, embedding, logits=logits)
    if layers:
        graph = graph if isinstance(graph, ir.Graph) else graph.clone()
        add_layers(graph, layers)
    proto = serialised(model_of(graph, model))
    if head is not None:
        n_logits, n_neurons = head.region.weight.shape
        _typed(proto.graph.output[0], head, head.reads[0], 2, n_neurons)
        for value in proto.graph.output[1:2] if logits else ():
            _typed(value, head, head.logits, head.region.rank, n_logits)
    return proto


def body_graph(
    model: ir.Model, head: Head | None, embedding: ir.Value, *, logits: bool = False
) -> ir.Graph | ir.GraphView:
    """The graph up to one embedding per sample, and the logits."""
    outputs = [embedding] if head is None or not logits else [embedding, head.logits]
    if head is None or head.reads_rows:
        return extract_up_to(model.graph, outputs)
    return _with_embedding(model, head, outputs)


def tail_of(model: ir.Model, head: Head) -> onnx.ModelProto | None:
    """Copy the operators from the logits to the outputs; None if the logits are the only output."""
    outputs = outputs_after(model.graph, head.logits)
    if not outputs:
        return None
    proto = serialised(model_of(extract_up_to(model.graph, outputs, head.logits), model))
    batch, n_logits = (Shapes(model)(head.logits) or (None,))[0], len(head.region.weight)
    _typed(proto.graph.input[0], head, head.logits, head.region.rank, n_logits, batch)
    return proto


def _with_embedding(model: ir.Model, head: Head, outputs: list[ir.Value]) -> ir.Graph:
    """A copy of the graph whose first output is the embedding of the sample."""
    sources = head.region.sources
    positions = [v for source in sources for v in found_by_the_model(source.chain)]
    needed = list({id(v): v for v in (*(s.value for s in sources), *positions)}.values())
    graph = extract_up_to(model.graph, [*outputs, *needed]).clone()
    copies = dict(zip(map(id, needed), graph.outputs[len(outputs) :], strict=True))
    del graph.outputs[len(outputs) :]
    _make_room(graph)
    nodes = EmbeddingNodes(graph.append, lambda value: copies[id(value)])
    graph.outputs[0] = side_by_side(nodes, sources, len(head.region.weight), Runner(Shapes(model)))
    return graph


def _make_room(graph: ir.Graph) -> None:
    """Give operators of an earlier embedding, in a file that ntkit wrote, other names."""
    for node in graph.all_nodes():
        if (node.name or "").startswith(EMBEDDING):
            node.name = f"earlier.{node.name}"
            for value in node.outputs:
                if not value.is_graph_output():
                    value.name = f"earlier.{value.name}"


def _typed(
    end: onnx.ValueInfoProto,
    head: Head,
    value: ir.Value,
    rank: int,
    width: int,
    batch: int | str | None = None,
) -> None:
    """Set type and shape of a cut's end, a tensor of the head, if the graph has none."""
    tensor, plain = end.type.tensor_type, head.region.plain
    if not tensor.elem_type:
        dtype: ir.DataType | None = float_type(value)
        if plain is not None and not plain.quantised:
            dtype = dtype_of(plain.product.inputs[1])
        if dtype is None or not dtype.is_floating_point():
            dtype = ir.DataType.FLOAT
        tensor.elem_type = int(dtype)
    if not tensor.HasField("shape") and rank == 2:
        tensor.shape.dim.add(dim_value=batch if isinstance(batch, int) else None)
        tensor.shape.dim.add(dim_value=width)


def model_of(graph: ir.Graph | ir.GraphView, model: ir.Model) -> ir.Model:
    """A model with this part of another model's graph."""
    return ir.Model(
        graph,  # type: ignore[arg-type]
        ir_version=model.ir_version,
        producer_name="ntkit",
        functions=list(model.functions.values()),
    )


LOCATED_BY = "ntkit.located_by"
PLACES = ("logits", "embedding", "pooling")
_MOST_NODES = 1_000_000


Located = tuple[ir.Model, Head | None, ir.Value, Mapping[str, str | None]]
"""A graph, its head, the (first) tensor that the head reads, and the sources of both."""


def in_sight(model: ir.Model, places: Mapping[str, str | None]) -> Located:
    """The model with its head; its functions are expanded if the head is inside one."""
    written = parsed_json(model.metadata_props.get(LOCATED_BY, ""))
    own = isinstance(written, dict) and written.keys() == set(PLACES)
    own = own and all(value is None or isinstance(value, str) for value in written.values())
    if own and not any(places.values()):
        # The search may add a pooling, which must not remain.
        aside = model.clone() if written["pooling"] is not None else model
        with suppress(HeadNotFoundError, InputError):  # edited since then
            there = located(aside, written)
            if there[1] is not None:
                return there
            # If quantised since then, it may read another tensor.
            with suppress(HeadNotFoundError, InputError):
                return located(model, places)
            return there
    try:
        return located(model, places)
    except HeadNotFoundError:
        apart = taken_apart(model)
        if apart is not None:
            return located(apart, places)
        if not model.functions:
            raise
    if inlined_size(model) > _MOST_NODES:
        raise ModelError(
            "The model's functions call each other so often that it would have more than "
            f"{_MOST_NODES} nodes; export it without functions."
        )
    return located(InlinePass()(model).model, places)


def in_clone(
    clone: ir.Model, model: ir.Model, head: Head | None, embedding: ir.Value
) -> tuple[Head | None, ir.Value]:
    """The head and the embedding of a model in a clone of its graph, without a second search."""
    pairs: dict[int, Any] = {}
    for old, new in zip(model.graph, clone.graph, strict=True):
        pairs[id(old)] = new
        pairs.update(zip(map(id, old.outputs), new.outputs, strict=True))
    pairs.update(zip(map(id, model.graph.inputs), clone.graph.inputs, strict=True))
    for name, value in model.graph.initializers.items():
        pairs[id(value)] = clone.graph.initializers[name]

    def moved(part: Any) -> Any:
        if isinstance(part, tuple):
            return tuple(map(moved, part))
        if is_dataclass(part) and not isinstance(part, type):
            return replace(part, **{f.name: moved(getattr(part, f.name)) for f in fields(part)})
        return pairs.get(id(part), part) if isinstance(part, ir.Value | ir.Node) else part

    return moved(head), moved(embedding)


def located(model: ir.Model, places: Mapping[str, str | None]) -> Located:
    """A model with its head; without one if the named embedding leads to no linear output."""
    logits, embedding, pooling = (places[name] for name in PLACES)
    if pooling is not None:
        embedding = pooled_tokens(model, embedding, pooling).name
    head = find_head(model, logits) if embedding is None else head_at(model, embedding, logits)
    source = tensor_named(model.graph, embedding or "") if head is None else head.reads[0]
    return model, head, source, places


def embedding_info(embedding: ir.Value, head: Head | None) -> TensorInfo:
    """The embedding as the head reads it: one row of neurons per sample."""
    info = info_of(embedding)
    plain = head is not None and head.region.plain is not None
    if head is None or (plain and head.reads_rows and info.shape is not None):
        return info
    batch = info.shape[0] if info.shape else None
    name = info.name if plain or head.reads_rows else EMBEDDING
    dtype = "float32" if head.region.sources[0].scale else info.dtype
    return replace(info, name=name, dtype=dtype, shape=(batch, head.region.weight.shape[1]))
