"""Replace the weights of a linear layer without changing the rest of the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit._labels import listed_in_order, spelt_as
from ntkit._types import Array
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.graph.rewrite import (
    Nodes,
    forget,
    free_name,
    new_initializer,
    remove_unused,
    takes_place_of,
)
from ntkit.graph.tensors import (
    Shapes,
    attribute,
    constant_of,
    dtype_of,
    float_type,
    opset_of,
    tensor,
)
from ntkit.head import LinearHead
from ntkit.model._head_search import Head, written_out
from ntkit.model._read_model import located
from ntkit.model.affine.operators import called
from ntkit.model.affine.region import EmbeddingNodes, Plain, Region, constant_factor, side_by_side
from ntkit.model.affine.run import Runner
from ntkit.model.class_names import are_positions, same_name

# Operators after the logits that keep one column per class for any number of classes.
_ELEMENTWISE = frozenset(
    {
        *("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Dropout", "Clip", "Exp", "Log"),
        *("Mul", "Div", "Normalizer", "Flatten", "QuantizeLinear", "DequantizeLinear"),
    }
)


def _per_class(starts: list[ir.Value]) -> tuple[list[ir.Value], list[ir.Node]]:
    """Tensors with one column per class, from the logits on, and the nodes that read them."""
    tensors, readers = list({id(value): value for value in starts}.values()), list[ir.Node]()
    graph = next((v.producer().graph for v in starts if v.producer() is not None), None)  # type: ignore[union-attr]
    ends = [end for end in map(written_out, graph or ()) if end is not None]
    inside = [node for end in ends for node in end.nodes]  # of a Softmax of several operators
    softmax = {id(n): n.op_type for n in inside if n.op_type not in ("Reshape", "Expand")}
    for value in tensors:
        for use in value.uses():
            if id(use.node) not in softmax:
                readers.append(use.node)
            of_softmax = softmax.get(id(use.node), "") in ("Sub", "Exp", "Div")
            if use.node.op_type in _ELEMENTWISE or of_softmax or _keeps_last_axis(use.node):
                tensors += [out for out in use.node.outputs if not any(out is v for v in tensors)]
    return tensors, readers


def _keeps_last_axis(node: ir.Node) -> bool:
    if node.op_type != "Reshape":
        return False
    shape = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return shape is not None and shape.size == 2 and shape[-1] == -1


def refuse_fixed_width(head: Head, before: int, after: int) -> None:
    """Raise an error if the operators after the logits need the old number of classes."""
    fix = f"use a head of {max(2, before)} classes, or export the model without that operator"
    if head.region.rank != 2:
        raise InputError(f"The model's logits have {head.region.rank} axes; {fix}.")
    if any(value.is_graph_output() or len(value.uses()) > 1 for value in _moved(head)):
        raise InputError(
            f"The model's outputs show the head's {before} logits at every position; {fix}."
        )
    for node in _per_class([head.logits])[1]:
        if not _takes(node, more=after > before):
            raise InputError(
                f"The model's {before} logit(s) go into {called(node)}, "
                f"which does not take {after}; {fix}."
            )
        if before == 1 and node.op_type == "Sigmoid":
            raise InputError(
                f"The model ends in the Sigmoid of one logit, which cannot distinguish {after} "
                f"classes; {fix}."
            )


def _takes(node: ir.Node, *, more: bool) -> bool:
    """Whether an operator accepts another number of classes."""
    if node.op_type in ("Mul", "Div"):
        return constant_factor(node) is not None
    if node.op_type == "TopK":
        return more
    return node.op_type in _ELEMENTWISE or node.op_type == "ArgMax" or _keeps_last_axis(node)


def _moved(head: Head) -> list[ir.Value]:
    """Tensors from the layer's output to the logits, if positions are chosen in between."""
    plain = head.region.plain
    if plain is None or not plain.moves:
        return []
    chosen = (node.outputs[0] for node in plain.after)
    return [value for value in (plain.output, *chosen) if value is not head.logits]


_FIRST_WHERE = 9  # the first operator set with a Where
_COLUMN = "ntkit/head/Where"
_BROADCASTING_GEMM = 7  # the first operator set whose Gemm broadcasts without an attribute
# Operators before a weight that change only its shape.
_SAME_VALUES = frozenset(["Reshape", "Squeeze", "Unsqueeze", "Flatten"])


def replace_weights(model: ir.Model, head: Head, coef: Array, intercept: Array) -> None:
    """Write ``coef`` (K, D) and ``intercept`` (K,) into the head's layer, in place."""
    # The node list stays the same, with three exceptions. A bare MatMul gets a bias if needed. An
    # affine region of more than a plain layer becomes one Gemm. In a quantised head, float weights
    # replace the quantised ones, and the quantisation of the old logits is removed. With another
    # number of classes, the shapes of all later tensors change with it.
    graph, before, after = model.graph, len(head.region.weight), len(coef)
    if before != after:
        refuse_fixed_width(head, before, after)
    coef = coef.astype(np.float64) / head.scale
    intercept = intercept.astype(np.float64) / head.scale
    plain = head.region.plain
    if plain is None:
        plain = _collapsed(graph, head.region, coef, Runner(Shapes(model)))
    elif plain.quantised:
        plain = _in_float(graph, plain, head.reads[0])
    _set_weight(graph, plain, coef)
    output = _set_bias(graph, plain, intercept)
    inside = [v for n in plain.after if n.op_type == "QuantizeLinear" for v in n.inputs[:1]]
    for value in (plain.product.outputs[0], output, *inside, *head.after.quantised):
        if value is not None:
            _lead_past_quantisation(graph, value)
    if before == after:
        return
    moved = _moved(head)
    for value in moved:
        value.shape = None  # the axis of classes is not always the last one
    starts = (
        [head.logits] if moved else [plain.product.outputs[0], plain.output, output, head.logits]
    )
    for value in _per_class(starts)[0]:
        if value.shape is not None and len(value.shape) > 1 and value.shape[-1] == before:
            value.shape = ir.Shape([*value.shape[:-1], after])


def replace_row(model: ir.Model, head: Head, row: int, coef: Array, intercept: Array) -> None:
    """Write one row of ``coef`` (K, D) and ``intercept`` (K,), in place; the others stay."""
    # To the bit, also in ONNX Runtime. A plain float layer keeps its other rows as they are stored.
    # For any other head, one more Gemm computes the row, and a Where puts it into its column.
    graph, plain = model.graph, head.region.plain
    if len(coef) == 1:
        replace_weights(model, head, coef, intercept)
    elif plain is not None and _stores_rows(head, plain):
        changed = np.arange(len(coef)) == row
        _set_weight(graph, plain, coef.astype(np.float64) / head.scale, changed)
        _set_bias(graph, plain, intercept.astype(np.float64) / head.scale, changed)
    else:
        scores = _unquantised(head)
        weight = coef[row : row + 1].astype(np.float64) / head.after.scale
        gemm = _with_column(model, head.region, scores, row, weight)
        _set_constant(graph, gemm, 1, weight)
        _set_constant(
            graph, gemm, 2, intercept[row : row + 1].astype(np.float64) / head.after.scale
        )


def _stores_rows(head: Head, layer: Plain) -> bool:
    """Whether a layer stores floats, a row for each class, and nothing quantises its scores."""
    product, tensors = layer.product, [*layer.product.inputs[1:3]]
    if layer.bias_at is not None and layer.bias_at[0] is not product:
        tensors.append(layer.bias_at[0].inputs[layer.bias_at[1]])
    shown = (product.outputs[0], layer.output, head.logits)
    readers = [*layer.after, *(use.node for value in shown for use in value.uses())]
    return (
        not (layer.quantised or head.after.quantised)
        and all(node.op_type != "QuantizeLinear" for node in readers)
        and attribute(product, "beta", 1.0) != 0
        and all(_is_stored(value) for value in tensors if value is not None)
    )


def _is_stored(value: ir.Value | None) -> bool:
    """Whether a constant is a tensor of floats, at most cast or with its axes changed."""
    node = None if value is None else value.producer()
    if node is None or node.op_type in ("Constant", "ConstantOfShape"):
        dtype = dtype_of(value)
        return dtype is not None and dtype.is_floating_point()
    moves = node.op_type in {"Transpose", "Identity", "Cast", *_SAME_VALUES}
    return moves and _is_stored(node.inputs[0])


def _unquantised(head: Head) -> ir.Value:
    """The logits, past their quantisation: the range of the old ones would clip a new row."""
    scores, passed = head.logits, set[int]()
    while any(use.node.op_type == "QuantizeLinear" for use in scores.uses()):
        passed.add(id(scores))
        for op in ("QuantizeLinear", "DequantizeLinear"):
            readers = [use.node for use in scores.uses()]
            if scores.is_graph_output() or [node.op_type for node in readers] != [op]:
                raise InputError(
                    f"The model shows its logits {scores.name!r} quantised, in the range of the "
                    "old head's; debias the float model and quantise the result."
                )
            scores = readers[0].outputs[0]
    if any(id(value) not in passed for value in head.after.quantised):
        raise InputError(
            "The model quantises its logits after other operators, in the range of the old "
            "head's; debias the float model and quantise the result."
        )
    return scores


def _columns(scores: ir.Value) -> Iterator[tuple[Array, ir.Node]]:
    """Columns that earlier repairs put into scores, the last first: a mask, and the Gemm."""
    where = scores.producer()
    while where is not None and (where.name or "").startswith(_COLUMN):
        mask, (_, column, before) = constant_of(where.inputs[0]), where.inputs
        gemm = None if column is None else column.producer()
        while gemm is not None and gemm.op_type in ("Cast", "Reshape"):
            gemm = gemm.inputs[0].producer() if gemm.inputs[0] is not None else None
        if mask is not None and gemm is not None and gemm.op_type == "Gemm":
            yield mask.ravel(), gemm
        where = before.producer() if before is not None else None


def _with_column(
    model: ir.Model, region: Region, scores: ir.Value, row: int, weight: Array
) -> ir.Node:
    """Compute one column of the scores by a Gemm; the Gemm."""
    graph, last, known = model.graph, scores.producer(), [*_columns(scores)]
    mask = np.arange(len(region.weight)) == row
    for other, gemm in known:
        if np.array_equal(other, mask):
            return gemm
    if opset_of(graph) < _FIRST_WHERE or last is None:
        raise InputError(
            f"The model's operator set {opset_of(graph)} has no Where, which would put the new row "
            f"next to the old ones; export the model with {_FIRST_WHERE} or newer."
        )
    embedding = known[0][1].inputs[0] if known else None
    new, gemm, column = _gemm(graph, region, weight, Runner(Shapes(model)), embedding)
    nodes = Nodes(new.append, _COLUMN)
    sides = [-1 if axis == region.class_axis else 1 for axis in range(region.rank)]
    nodes.node("Where", [nodes.constant(mask.reshape(sides)), column, scores])
    _named(graph, new)
    graph.insert_after(last, new)
    takes_place_of(graph, new[-1].outputs[0], scores)
    new[-1].replace_input_with(2, scores)
    return gemm


def _set_weight(graph: ir.Graph, layer: Plain, coef: Array, changed: Array | None = None) -> None:
    """Write the weights (K, D), or only the rows that a mask (K,) names."""
    product = layer.product

    def as_stored(array: Array) -> Array:
        if product.op_type == "Conv":
            return array.reshape(*array.shape, *[1] * (layer.rank - 2))
        return array if attribute(product, "transB", 0) else array.T

    stored = as_stored(coef / attribute(product, "alpha", 1.0))
    if changed is not None:
        changed = as_stored(np.repeat(changed[:, None], coef.shape[1], axis=1))
    _set_constant(graph, product, 1, stored, changed)


def _set_bias(
    graph: ir.Graph, layer: Plain, intercept: Array, changed: Array | None = None
) -> ir.Value:
    """Write the bias, or only the numbers that a mask (K,) names; the layer's new output."""
    product = layer.product
    inner = product.inputs[2] if len(product.inputs) > 2 else None  # of a Gemm or Conv
    if layer.bias_at is not None and layer.bias_at[0] is not product:
        if product.op_type in ("Gemm", "Conv") and inner is not None:
            _set_constant(graph, product, 2, np.zeros_like(intercept), changed)
        node, index = layer.bias_at
        shaped = partial(_shaped_like, node.inputs[index], layer)
        among = None if changed is None else shaped(changed)
        _set_constant(graph, node, index, shaped(intercept), among)
    elif layer.bias_at is not None:
        if changed is not None:
            intercept = intercept / attribute(product, "beta", 1.0)
        elif attribute(product, "beta", 1.0) != 1:
            product.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
        if intercept.any() or inner is not None:
            _set_constant(graph, product, 2, intercept, changed)
    elif intercept.any():
        return _add_bias(graph, layer.output, intercept)
    return layer.output


def _shaped_like(old: ir.Value | None, layer: Plain, intercept: Array) -> Array:
    """The bias of an Add with its original axes: (K,), (1, K) or (K, 1, 1)."""
    known = constant_of(old)
    trailing = layer.rank - 1 - layer.class_axis
    leading = max(0, (0 if known is None else known.ndim) - trailing - 1)
    return intercept.reshape([1] * leading + [-1] + [1] * trailing)


def _collapsed(graph: ir.Graph, region: Region, coef: Array, runner: Runner) -> Plain:
    """Replace an affine region by one Gemm."""
    last = region.end.producer()
    if last is None:
        raise InputError(f"Nothing computes the logits {region.end.name!r}.")
    new, gemm, scores = _gemm(graph, region, coef, runner)
    _named(graph, new)
    graph.insert_before(last, new)
    output = takes_place_of(graph, scores, region.end)
    remove_unused(graph, last)
    return Plain("Gemm", gemm, (gemm, 2), output, coef, np.zeros(len(coef)), 1, 2)


def _gemm(
    graph: ir.Graph,
    region: Region,
    coef: Array,
    runner: Runner,
    embedding: ir.Value | None = None,
) -> tuple[list[ir.Node], ir.Node, ir.Value]:
    """Operators that compute scores (N, k) of a region's embedding, the Gemm, and the scores."""
    new = list[ir.Node]()
    nodes = EmbeddingNodes(new.append, lambda value: value)
    if embedding is None:
        embedding = side_by_side(nodes, region.sources, len(region.weight), runner)
    before, after = (float_type(value) for value in (region.sources[0].value, region.end))
    weight, bias = (
        new_initializer(graph, f"ntkit.head.{name}", array, embedding, dtype=before)
        for name, array in (("weight", coef), ("bias", np.zeros(len(coef))))
    )
    old = {"broadcast": 1} if opset_of(graph) < _BROADCASTING_GEMM else {}
    attributes = {"transB": 1, **old}
    gemm = ir.node("Gemm", [embedding, weight, bias], attributes, name="ntkit/head/Gemm")
    new.append(gemm)
    scores = gemm.outputs[0]
    if before != after:
        scores = nodes.node("Cast", [scores], {"to": int(after)})
    if region.rank != 2 or region.class_axis != 1:
        sides = [1] * region.rank
        sides[region.class_axis] = len(coef)
        sides[0] = -1
        scores = nodes.node("Reshape", [scores, nodes.constant(np.asarray(sides, np.int64))])
    return new, gemm, scores


def _named(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    """Give new operators and their results names that are free."""
    taken = {node.name for node in graph.all_nodes()}
    for node in nodes:
        name = node.name or ""
        names = (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2)))
        node.name = next(name for name in names if name not in taken)
        taken.add(node.name)
        for value in node.outputs:
            value.name = free_name(graph, value.name or f"{node.name}.output")


def _in_float(graph: ir.Graph, layer: Plain, source: ir.Value) -> Plain:
    """Replace a dynamically quantised MatMul by a float one."""
    weight = new_initializer(graph, "ntkit.head.weight", layer.weight.T, source)
    node = ir.node("MatMul", [source, weight], name="ntkit/head/MatMul")
    graph.insert_before(layer.product, node)
    output = takes_place_of(graph, node.outputs[0], layer.product.outputs[0])
    remove_unused(graph, layer.product)
    return replace(layer, product=node, output=output if layer.bias_at is None else layer.output)


def _lead_past_quantisation(graph: ir.Graph, scores: ir.Value) -> None:
    """Lead scores past the quantisation of the old ones, whose range would clip the new ones."""
    quantisers = [use.node for use in scores.uses() if use.node.op_type == "QuantizeLinear"]
    for quantiser in quantisers:
        if quantiser.outputs[0].is_graph_output():
            raise InputError(
                f"The model's output {quantiser.outputs[0].name!r} has quantised logits, in the "
                "range of the old head's; debias the float model and quantise the result."
            )
        for use in [*quantiser.outputs[0].uses()]:
            if use.node.op_type != "DequantizeLinear":
                raise InputError(
                    f"The operator {called(use.node)} reads quantised logits; debias the float "
                    "model and quantise the result."
                )
            old = use.node.outputs[0]
            name, outside = old.name, old.is_graph_output()
            ir.convenience.replace_all_uses_with(old, scores, replace_graph_outputs=True)
            if outside:
                scores.type, scores.shape = scores.type or old.type, scores.shape or old.shape
                old.name, scores.name = free_name(graph, f"{name}.ntkit.quantised"), name
            remove_unused(graph, use.node)


def append_head(graph: ir.Graph, embedding: ir.Value, coef: Array, intercept: Array) -> None:
    """Add a head to a backbone: a Gemm on ``embedding`` and a new graph output ``logits``."""
    if embedding.shape is not None and len(embedding.shape) != 2:
        raise InputError(
            f"The embedding {embedding.name!r} has the shape {embedding.shape}, not one vector per "
            "sample; name another tensor with --embedding NAME."
        )
    weight = new_initializer(graph, "ntkit.head.weight", coef, embedding)
    bias = new_initializer(graph, "ntkit.head.bias", intercept, embedding)
    node = ir.node("Gemm", [embedding, weight, bias], {"transB": 1}, name="ntkit/head/Gemm")
    graph.append(node)
    logits = node.outputs[0]
    logits.name = free_name(graph, "logits")
    batch = embedding.shape[0] if embedding.shape is not None else ir.SymbolicDim("batch")
    logits.shape = ir.Shape([batch, len(coef)])
    logits.type = embedding.type or ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(logits)


def _set_constant(
    graph: ir.Graph, node: ir.Node, index: int, array: Array, changed: Array | None = None
) -> None:
    """Make ``array`` a constant input of a node, replacing old values that only this node uses."""
    # A tensor with other readers is never changed; a new initialiser replaces it here. A Gemm
    # without a bias gets one. Entries that are not `changed` keep their old values.
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and _overwrite(graph, old, array, changed):
        return
    array = _among(constant_of(old), array, changed)
    name = "ntkit.head.weight" if index == 1 and node.op_type != "Add" else "ntkit.head.bias"
    new = new_initializer(graph, name, array, old, *node.inputs)
    node.resize_inputs(max(index + 1, len(node.inputs)))
    node.replace_input_with(index, new)
    if old is not None:
        for unread in forget(graph, [old]):
            remove_unused(graph, unread)


def _among(old: Array | None, array: Array, changed: Array | None) -> Array:
    """The array, with old values where it is not changed."""
    if old is None or changed is None:
        return array
    return np.where(changed, array, old.astype(np.float64))


def _overwrite(
    graph: ir.Graph, value: ir.Value, array: Array, changed: Array | None = None
) -> bool:
    """Change the constant behind ``value``, through no-ops; False if it has other readers."""
    node, dtype = value.producer(), dtype_of(value)
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    if not alone or dtype is None or not dtype.is_floating_point():
        return False
    if node is None:
        if graph.initializers.get(value.name or "") is not value:
            return False
        array = _among(constant_of(value), array, changed)
        value.const_value = tensor(array, dtype, value.name)
        if value.dtype is not None:
            value.type = ir.TensorType(dtype)  # the graph may declare it wrongly
    elif node.op_type == "Constant":
        if "value" not in node.attributes:
            return False
        array = _among(constant_of(value), array, changed)
        node.attributes["value"] = ir.AttrTensor("value", tensor(array, dtype, value.name))
        value.const_value = None
    else:
        inner, before = node.inputs[0], _undone(node, array)
        among = None if changed is None else _undone(node, changed)
        if inner is None or before is None or not _overwrite(graph, inner, before, among):
            return False
    if node is None or value.shape is not None:
        value.shape = ir.Shape(array.shape)
    return True


def _undone(node: ir.Node, array: Array) -> Array | None:
    """Input for which an operator returns ``array``; None if it is unknown or cannot be stored."""
    if node.op_type == "Transpose":
        permutation = node.attributes.get("perm")
        return array.transpose(np.argsort(permutation.as_ints()) if permutation else None)
    if node.op_type in _SAME_VALUES:
        inner = constant_of(node.inputs[0])
        fits = inner is not None and inner.size == array.size
        return array.reshape(inner.shape) if inner is not None and fits else None
    if node.op_type in ("Identity", "Cast"):
        stored, wanted = dtype_of(node.inputs[0]), dtype_of(node.outputs[0])
        exact = stored is not None and wanted is not None and stored.bitwidth >= wanted.bitwidth
        return array if exact else None
    return None


def _add_bias(graph: ir.Graph, logits: ir.Value, intercept: Array) -> ir.Value:
    end = logits.producer()
    if end is None:
        raise InputError(f"Nothing computes the logits {logits.name!r}.")
    bias = new_initializer(graph, "ntkit.head.bias", intercept, *end.inputs, logits)
    node = ir.node("Add", [logits, bias], name="ntkit/head/Add")
    graph.insert_after(end, node)
    total = takes_place_of(graph, node.outputs[0], logits)
    node.replace_input_with(0, logits)
    return total


def declare_outputs(model: ir.Model) -> None:
    """Give each output of a graph the inferred shape if the file has none."""
    shape_of = Shapes(model)
    for value in model.graph.outputs:
        if value.shape is None and isinstance(value.type, ir.TensorType):
            shape = shape_of(value)
            if shape is None:
                raise InputError(
                    f"The model declares no shape for its output {value.name!r}, and ONNX cannot "
                    "infer one, so its checker would refuse the new file; export the model again."
                )
            value.shape = ir.Shape(shape)


def fitted(
    head: LinearHead, original: LinearHead | None, *, named: bool, in_graph: bool
) -> LinearHead:
    """Rows in the order of the model's ``own`` head, with as many logits as the model has."""
    # `named`: the model names its classes. `in_graph`: its graph does.
    if original is None:
        return head.with_logits(len(head.classes))
    head = replace(head, classes=spelt_as(head.classes, original.classes))
    same = set(head.classes.tolist()) == set(original.classes.tolist())
    if not same and in_graph:
        raise InputError(
            f"The model's graph maps its logits to the labels {original.classes.tolist()[:5]}, but "
            f"the head's classes are {head.classes.tolist()[:5]}; train with the model's own "
            "labels."
        )
    as_many = len(head.classes) == len(original.classes)
    if named and as_many and not same and are_positions(head.classes.tolist()):
        raise InputError(
            f"The head's classes are {listed_in_order(head.classes)}, and the model's are "
            f"{listed_in_order(original.classes)}. Train with these. If the numbers are positions, "
            "use LinearHead(head.coef, head.intercept, model.head.classes)."
        )
    if same:
        head = head.aligned_to(original.classes if named else np.sort(head.classes))
    if original.n_logits == 1 and len(head.classes) == 2:
        if head.n_logits == 1:
            return head
        rows, bias = head.coef, head.intercept
        return LinearHead(rows[1:] - rows[:1], bias[1:] - bias[:1], head.classes)
    return head.with_logits(len(head.classes))


def keeps_names(head: LinearHead, original: LinearHead | None, names: tuple[Any, ...]) -> bool:
    """Whether the model's own names are still right for a head's classes, position by position."""
    labels = head.classes.tolist()
    if original is not None and len(labels) != len(original.classes):
        return False
    if original is not None and set(labels) == set(original.classes.tolist()):
        return True
    return len(names) == len(labels) and all(map(same_name, names, labels))


def read_back(
    model: ir.Model, head: LinearHead, located_by: Mapping[str, str | None]
) -> tuple[Head | None, ir.Value]:
    """Find the head in the edited graph again; it must equal the new one."""
    try:
        _, new, value, _ = located(model, located_by)
    except HeadNotFoundError as error:
        raise InputError(
            f"The model's graph does not work with a head of {head.n_logits} logits of "
            f"{head.n_neurons} neurons: {str(error).split('. Name the')[0].rstrip('.')}."
        ) from error
    if new is None:
        return new, value
    wanted, stored = (
        np.column_stack(parts).astype(np.float64)
        for parts in ((head.coef, head.intercept), (new.weight, new.bias))
    )
    same = stored.shape == wanted.shape
    # To the precision of the graph's weights:
    if not same or not np.abs(stored - wanted).max() <= 1e-2 * np.abs(wanted).max():
        raise ModelError(
            f"The head read back from the edited graph ({new.region.kind}, {new.logits.name!r}) is "
            "not the new one; name the right one with --logits NAME (logits= in Python)."
        )
    return new, value
