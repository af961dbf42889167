"""Find the linear layer a graph's outputs come from, by walking back from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.exceptions import HeadNotFoundError
from ntkit.frozen_model._affine_ops import NotAffine, called, carriers
from ntkit.frozen_model._affine_region import read_region
from ntkit.frozen_model._after_head import PROBABILITIES, AfterHead, Unclear, data_input, follow
from ntkit.frozen_model._constants import constant_of
from ntkit.frozen_model._graph import Shapes
from ntkit.frozen_model._linear_layer import (
    NO_OPS,
    Ambiguous,
    Final,
    LinearLayer,
    as_layer,
    read_layer,
)
from ntkit.frozen_model._region import SeveralPositions, Source

__all__ = ["Head", "find_head", "head_at"]

_RESHAPING = frozenset(["Flatten", "Reshape", "Squeeze"])
_CLIPPING = frozenset(["Relu"])
# What reads a hidden layer, and no scores; and how outputs that are embeddings are called.
_ACTIVATIONS = frozenset(
    ["Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "Tanh", "HardSwish", "Mish", "Softplus"]
)
_EMBEDDING = re.compile(
    "emb|feat|proj|hidden|pool|repr|state|latent|vector|bottleneck|penultimate|encod|token", re.I
)
_MOST_STEPS = 200
_MOST_NAMED = 8


@dataclass(frozen=True)
class Head:
    """The last linear layer of a classifier, and what becomes of its logits.

    Attributes
    ----------
    layer : LinearLayer
        The layer itself.
    after : AfterHead
        What follows it.
    weight, bias : ndarray
        (K, D) and (K,): the layer's, times the scale after it.
    """

    layer: LinearLayer
    after: AfterHead

    @property
    def weight(self) -> NDArray[Any]:
        return _times(self.layer.weight, self.after.scale)

    @property
    def bias(self) -> NDArray[Any]:
        return _times(self.layer.bias, self.after.scale)

    @property
    def sources(self) -> tuple[Source, ...] | None:
        """What the embedding is made of; None where it is the tensor that the layer reads."""
        if self.layer.region is not None:
            return self.layer.region.sources
        if self.layer.rank == 2:
            return None
        shape = (1, self.layer.weight.shape[1], *[1] * ((self.layer.rank or 2) - 2))
        return (Source(self.layer.source, shape, 1, self.after.choosing),)


def _times(array: NDArray[Any], scale: float) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):  # infinite weights are refused on loading
        return array * scale


@dataclass(frozen=True)
class _Blocked:
    """Where the walk from an output ended without a linear layer."""

    output: str
    reason: str
    after_a_layer: bool = False


def find_head(model: ir.Model, logits: str | None = None) -> Head:
    """Find the one linear layer the graph's outputs (or the tensor ``logits``) come from.

    Raises
    ------
    HeadNotFoundError
        If there is none, or more than one; the message lists what was found.
    """
    shape_of = Shapes(model)
    found = [_walk_back(output, shape_of) for output in model.graph.outputs]
    _refuse_ambiguous(found)
    if logits is None:
        heads = _candidates(found, [output.name or "" for output in model.graph.outputs])
        if not heads:
            raise HeadNotFoundError(_no_head(found))
        head = _only(heads)
        _refuse_leaks(model.graph, head)
        return _as_the_outputs_show_it(head, found)
    named = _walk_back(_named(model.graph, logits), shape_of)
    if isinstance(named, _Blocked):
        raise HeadNotFoundError(_no_head([named]))
    head = _as_the_outputs_show_it(named, [*found, named])
    shown = any(isinstance(one, Head) and _identity(one) == _identity(head) for one in found)
    return head if shown else _as_its_readers_show_it(head)


def _refuse_leaks(graph: ir.Graph, head: Head) -> None:
    """Refuse a region of which another output shows an inner tensor, which would stay as it was."""
    region = head.layer.region
    if region is None:
        return
    before = _upstream(_read_by(head))
    inner = {id(v): v for n in region.nodes if id(n) not in before for v in n.outputs}
    inner.pop(id(region.end), None)
    for output in graph.outputs:
        shown = _shown(output, inner, region.end)
        if shown is not None:
            raise HeadNotFoundError(
                f"The output {output.name!r} comes from {shown.name!r}, which is inside the head "
                f"that ends in {region.end.name!r} and would stay as it is; choose the scores to "
                f"exchange with --logits {shown.name} or --logits {region.end.name} (logits= in "
                "Python)."
            )


def _shown(output: ir.Value, inner: dict[int, ir.Value], end: ir.Value) -> ir.Value | None:
    """The inner tensor of a region that an output is computed from, not by way of its end."""
    waiting, seen = [output], set[int]()
    while waiting:
        value = waiting.pop()
        if value is end or id(value) in seen:
            continue
        if id(value) in inner:
            return inner[id(value)]
        seen.add(id(value))
        node = value.producer()
        waiting += [v for v in node.inputs if v is not None] if node is not None else []
    return None


def _upstream(values: list[ir.Value]) -> set[int]:
    """Identities of the operators that some tensors are computed by."""
    seen, waiting = set[int](), [*values]
    while waiting:
        node = waiting.pop().producer()
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            waiting += [value for value in node.inputs if value is not None]
    return seen


def _as_its_readers_show_it(head: Head) -> Head:
    """Take post-processing from what reads the logits, where no output comes from them plainly."""
    readers = [use.node for use in head.after.logits.uses()]
    clipping = [node for node in readers if node.op_type in _CLIPPING]
    if clipping and len(clipping) == len(readers):
        raise HeadNotFoundError(
            f"The logits {head.after.logits.name!r} go through {called(clipping[0])}, which cuts "
            "off all scores below 0; export the model without it."
        )
    names = dict.fromkeys(node.op_type for node in readers)
    after = (*head.after.post_processing, *list(names)[:_MOST_NAMED])
    return replace(head, after=replace(head.after, post_processing=after))


def head_at(model: ir.Model, embedding: str, logits: str | None = None) -> Head | None:
    """Find the linear layer that reads the tensor ``embedding`` and leads to an output.

    Raises
    ------
    HeadNotFoundError
        If there is no such tensor, more than one such layer, or the layer that ends in the
        tensor ``logits`` reads another one.
    """
    _named(model.graph, embedding)
    if logits is not None:
        head = find_head(model, logits)
        if not _reads(head, embedding):
            raise HeadNotFoundError(
                f"The linear layer of the logits {logits!r} reads {head.layer.source.name!r}, not "
                f"{embedding!r}; name one of the two."
            )
        return head
    shape_of = Shapes(model)
    found = [_walk_back(output, shape_of) for output in model.graph.outputs]
    _refuse_ambiguous(found)
    heads = [head for head in _distinct(found) if _reads(head, embedding)]
    return _as_the_outputs_show_it(_only(heads), found) if heads else None


def _no_head(blocked: list[Head | _Blocked]) -> str:
    """What stands between the outputs and a linear layer, and the mend."""
    outputs: dict[str, list[str]] = {}
    for one in blocked:
        if isinstance(one, _Blocked):
            name = repr(one.output) if one.output else "an output without a name"
            outputs.setdefault(one.reason, []).append(name)
    told = [
        f"{', '.join(names[:_MOST_NAMED])} {reason}"
        for reason, names in list(outputs.items())[:_MOST_NAMED]
    ]
    reasons = "; ".join(told) + "; …" * (len(outputs) > _MOST_NAMED)
    if all(isinstance(one, _Blocked) and isinstance(one.reason, Final) for one in blocked):
        return f"No linear last layer was found: {reasons}."
    if all(isinstance(one, _Blocked) and one.after_a_layer for one in blocked):
        return (
            f"No linear last layer was found: {reasons}. Export the model without what comes "
            "between its last layer and that."
        )
    return (
        f"No linear last layer was found: {reasons}. Name the logits with --logits NAME "
        "(logits= in Python), or, for a backbone without a head, --embedding NAME."
    )


def _refuse_ambiguous(found: list[Head | _Blocked]) -> None:
    """Refuse a model whose outputs contradict each other about its head."""
    signs: dict[int, bool] = {}
    for one in found:
        if isinstance(one, Head) and signs.setdefault(_identity(one), one.after.scale > 0) != (
            one.after.scale > 0
        ):
            raise HeadNotFoundError(
                f"The outputs take the logits {one.after.logits.name!r} with both signs; export "
                "the model with one of them."
            )
        if isinstance(one, _Blocked) and isinstance(one.reason, Ambiguous):
            raise HeadNotFoundError(
                f"The head cannot be exchanged: {one.output!r} {one.reason}; export the model "
                "without that output."
            )


def _only(heads: list[Head]) -> Head:
    if len(heads) > 1:
        names = ", ".join(
            f"{head.after.logits.name!r} ({head.layer.kind}, {len(head.layer.bias)} logits on "
            f"{head.layer.source.name!r})"
            for head in heads[:_MOST_NAMED]
        ) + ", …" * (len(heads) > _MOST_NAMED)
        raise HeadNotFoundError(
            f"Two or more linear layers end in an output: {names}. Choose one with --logits NAME "
            "(logits= in Python)."
        )
    return heads[0]


def _distinct(found: Iterable[Head | _Blocked]) -> list[Head]:
    return list({_identity(f): f for f in found if isinstance(f, Head)}.values())


def _identity(head: Head) -> int:
    """What two findings of the same layer have in common."""
    region = head.layer.region
    return id(head.layer.weight_at[0] if region is None else region.end)


def _reads(head: Head, embedding: str) -> bool:
    """Whether a head reads a tensor, perhaps cast or with axes of length one removed."""
    return any(_leads_to(value, embedding) for value in _read_by(head))


def _read_by(head: Head) -> list[ir.Value]:
    region = head.layer.region
    return [head.layer.source] if region is None else [s.value for s in region.sources]


def _leads_to(value: ir.Value | None, name: str) -> bool:
    while value is not None and value.name != name:
        node = value.producer()
        passes = node is not None and node.op_type in NO_OPS | _RESHAPING
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


def _walk_back(start: ir.Value, shape_of: Shapes) -> Head | _Blocked:
    value, path = start, list[tuple[ir.Node, ir.Value]]()
    name = start.name or ""
    while (node := value.producer()) is not None:
        layer = read_layer(value, node)
        if isinstance(layer, Ambiguous | Final):
            return _Blocked(name, layer)
        if isinstance(layer, str):
            return _before(name, value, path, shape_of, layer)
        if layer is not None:
            try:
                layer = _with_rank(layer, shape_of)
                return Head(layer, follow(layer, path[::-1], shape_of))
            except Unclear as reason:
                longer = _before(name, value, path, shape_of)
                blocked = _Blocked(name, str(reason), after_a_layer=True)
                return longer if isinstance(longer, Head) else blocked
        if len(path) > _MOST_STEPS:
            return _Blocked(name, f"comes from more than {_MOST_STEPS} operators after any layer")
        path.append((node, value))
        before = data_input(node)
        if before is None:
            return _before(name, value, path[:-1], shape_of)
        value = before
    return _Blocked(name, "is an input or a constant")


def _before(
    name: str,
    value: ir.Value,
    path: list[tuple[ir.Node, ir.Value]],
    shape_of: Shapes,
    known: str | None = None,
) -> Head | _Blocked:
    """The affine region that ends where the walk back could not go on, or further on.

    ``path`` is what comes after ``value``, last first; ``known`` says why there is no plain layer.
    """
    rest, unclear = path[::-1], ""
    while True:
        try:
            layer = as_layer(read_region(value, shape_of))
            return Head(layer, follow(layer, rest, shape_of))
        except SeveralPositions as reason:  # the operators after it may choose one
            unclear = unclear or str(reason)
        except Unclear as reason:  # or move the classes
            unclear = str(reason)
        except NotAffine as reason:
            return _Blocked(name, unclear or known or str(reason), after_a_layer=bool(unclear))
        if not rest or not _is_affine(*rest[0]):
            return _Blocked(name, unclear, after_a_layer=True)
        value, rest = rest[0][1], rest[1:]


def _is_affine(node: ir.Node, output: ir.Value) -> bool:
    try:
        return bool(carriers(output, node))
    except NotAffine:
        return False


def _with_rank(layer: LinearLayer, shape_of: Shapes) -> LinearLayer:
    """A MatMul maps the last of any number of axes; what it reads tells how many."""
    if layer.rank is not None:
        return layer
    shape = shape_of(layer.source)
    rank = 2 if shape is None else len(shape)
    bias = constant_of(layer.bias_at[0].inputs[layer.bias_at[1]]) if layer.bias_at else None
    if rank < 2 or (bias is not None and bias.ndim > rank):
        raise Unclear(f"comes from {layer.kind} on a tensor of shape {shape}")
    return replace(layer, rank=rank)


def _candidates(found: list[Head | _Blocked], outputs: list[str]) -> list[Head]:
    """Heads that the outputs come from, without embeddings that another head is computed from.

    Scores that another head is computed from are candidates too: a confidence from the logits, or
    coarse classes from the probabilities of fine ones.
    """
    heads = _distinct(found)
    seen = _upstream([value for head in heads for value in _read_by(head)])

    def is_embedding(head: Head) -> bool:
        same = [
            (f, name)
            for f, name in zip(found, outputs, strict=True)
            if isinstance(f, Head) and _identity(f) == _identity(head)
        ]
        names = [name for _, name in same] + [head.layer.output.name or ""]
        bent = any(use.node.op_type in _ACTIVATIONS for use in head.layer.output.uses())
        raw = not any(f.after.post_processing for f, _ in same)
        return raw and (bent or any(map(_EMBEDDING.search, names)))

    earlier = [head for head in heads if id(head.layer.output.producer()) in seen]
    return [h for h in heads if all(h is not e for e in earlier) or not is_embedding(h)]


def _as_the_outputs_show_it(head: Head, found: Iterable[Head | _Blocked]) -> Head:
    """Take labels, scale and post-processing from the outputs that come from the head.

    Where several do, one with probabilities tells which scale they see.
    """
    n_classes = max(2, len(head.layer.weight))
    paths = [f for f in found if isinstance(f, Head) and _identity(f) == _identity(head)]
    best = next((p for p in paths if PROBABILITIES.intersection(p.after.post_processing)), paths[0])
    tables = (path.after.labels for path in paths if path.after.labels is not None)
    labels = next((t for t in tables if len(t) == n_classes == len(set(t))), None)
    return replace(best, after=replace(best.after, labels=labels))
