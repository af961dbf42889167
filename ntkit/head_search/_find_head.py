"""Find the linear layer a graph's outputs come from, by walking back from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx_ir as ir

from ntkit.affine import NO_OPS, called
from ntkit.exceptions import HeadNotFoundError
from ntkit.graph import value_named
from ntkit.head_search._after_head import PROBABILITIES
from ntkit.head_search._head import Head
from ntkit.head_search._several_scores import candidates, distinct, refuse_leaks
from ntkit.head_search._walk_back import Blocked, Regions, walk_back

__all__ = ["find_head", "head_at"]

_RESHAPING = frozenset(["Flatten", "Reshape", "Squeeze"])
_CLIPPING = frozenset(["Relu"])
_MOST_NAMED = 8


def find_head(model: ir.Model, logits: str | None = None) -> Head:
    """Find the one linear layer the graph's outputs (or the tensor ``logits``) come from."""
    regions = Regions(model)
    found = [walk_back(output, regions) for output in model.graph.outputs]
    _refuse_ambiguous(found)
    if logits is None:
        heads = candidates(found, [output.name or "" for output in model.graph.outputs])
        if not heads:
            raise HeadNotFoundError(_no_head(found))
        head = _only(heads)
        refuse_leaks(model.graph, head)
        return _as_the_outputs_show_it(head, found)
    named = walk_back(value_named(model.graph, logits), regions)
    if isinstance(named, Blocked):
        raise HeadNotFoundError(_no_head([named]))
    head = _as_the_outputs_show_it(named, [*found, named])
    shown = any(isinstance(one, Head) and one.identity == head.identity for one in found)
    return head if shown else _as_its_readers_show_it(head)


def _as_its_readers_show_it(head: Head) -> Head:
    """Take post-processing from what reads the logits, where no output comes from them plainly."""
    readers = [use.node for use in head.logits.uses()]
    clipping = [node for node in readers if node.op_type in _CLIPPING]
    if clipping and len(clipping) == len(readers):
        raise HeadNotFoundError(
            f"The logits {head.logits.name!r} go through {called(clipping[0])}, which cuts "
            "off all scores below 0; export the model without it."
        )
    names = dict.fromkeys(node.op_type for node in readers)
    after = (*head.after.post_processing, *list(names)[:_MOST_NAMED])
    return replace(head, after=replace(head.after, post_processing=after))


def head_at(model: ir.Model, embedding: str, logits: str | None = None) -> Head | None:
    """Find the linear layer that reads the tensor ``embedding`` and leads to an output."""
    value_named(model.graph, embedding)
    if logits is not None:
        head = find_head(model, logits)
        if not _reads(head, embedding):
            raise HeadNotFoundError(
                f"The linear layer of the logits {logits!r} reads {head.source.name!r}, not "
                f"{embedding!r}; name one of the two."
            )
        return head
    regions = Regions(model)
    found = [walk_back(output, regions) for output in model.graph.outputs]
    _refuse_ambiguous(found)
    heads = [head for head in distinct(found) if _reads(head, embedding)]
    return _as_the_outputs_show_it(_only(heads), found) if heads else None


def _no_head(blocked: list[Head | Blocked]) -> str:
    """What stands between the outputs and a linear layer, and the mend."""
    outputs: dict[str, list[str]] = {}
    for one in blocked:
        if isinstance(one, Blocked):
            name = repr(one.output) if one.output else "an output without a name"
            outputs.setdefault(one.reason, []).append(name)
    told = [
        f"{', '.join(names[:_MOST_NAMED])} {reason}"
        for reason, names in list(outputs.items())[:_MOST_NAMED]
    ]
    reasons = "; ".join(told) + "; …" * (len(outputs) > _MOST_NAMED)
    if all(isinstance(one, Blocked) and one.final for one in blocked):
        return f"No linear last layer was found: {reasons}."
    if all(isinstance(one, Blocked) and one.after_a_layer for one in blocked):
        return (
            f"No linear last layer was found: {reasons}. Export the model without what comes "
            "between its last layer and that."
        )
    return (
        f"No linear last layer was found: {reasons}. Name the logits with --logits NAME "
        "(logits= in Python), or, for a backbone without a head, --embedding NAME."
    )


def _refuse_ambiguous(found: list[Head | Blocked]) -> None:
    """Refuse a model whose outputs contradict each other about its head."""
    signs: dict[int, bool] = {}
    for head in found:
        if not isinstance(head, Head):
            continue
        rises = head.scale > 0
        if signs.setdefault(head.identity, rises) != rises:
            raise HeadNotFoundError(
                f"The outputs take the logits {head.output.name!r} with both signs; export the "
                "model with one of them."
            )


def _only(heads: list[Head]) -> Head:
    if len(heads) > 1:
        names = ", ".join(
            f"{head.logits.name!r} ({head.region.kind}, {len(head.region.bias)} logits on "
            f"{head.source.name!r})"
            for head in heads[:_MOST_NAMED]
        ) + ", …" * (len(heads) > _MOST_NAMED)
        raise HeadNotFoundError(
            f"Two or more linear layers end in an output: {names}. Choose one with --logits NAME "
            "(logits= in Python)."
        )
    return heads[0]


def _reads(head: Head, embedding: str) -> bool:
    """Whether a head reads a tensor, perhaps cast or with axes of length one removed."""
    return any(_leads_to(value, embedding) for value in head.reads)


def _leads_to(value: ir.Value | None, name: str) -> bool:
    while value is not None and value.name != name:
        node = value.producer()
        passes = node is not None and node.op_type in NO_OPS | _RESHAPING
        value = node.inputs[0] if node is not None and passes else None
    return value is not None


def _as_the_outputs_show_it(head: Head, found: Iterable[Head | Blocked]) -> Head:
    """Take labels, scale and post-processing from the outputs that come from the head.

    Where several do, one with probabilities tells which scale they see.
    """
    n_classes = max(2, len(head.region.weight))
    paths = [f for f in found if isinstance(f, Head) and f.identity == head.identity]
    best = next((p for p in paths if PROBABILITIES.intersection(p.after.post_processing)), paths[0])
    tables = (path.after.labels for path in paths if path.after.labels is not None)
    labels = next((t for t in tables if len(t) == n_classes == len(set(t))), None)
    return replace(best, after=replace(best.after, labels=labels))
