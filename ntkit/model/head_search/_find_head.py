"""Find the linear layer of a graph's outputs by walking back from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from ntkit._text import listed
from ntkit.exceptions import HeadNotFoundError
from ntkit.graph import Shapes, ancestors, constant_of, is_constant, is_standard, value_named
from ntkit.model.affine import (
    NO_OPS,
    PRODUCTS,
    NotAffine,
    Region,
    SeveralPositions,
    called,
    carriers,
    constant_factor,
    read_region,
    reads_a_network,
)
from ntkit.model.head_search._effects import (
    EFFECTS,
    LOOKUPS,
    PROBABILITIES,
    AfterHead,
    Head,
    Unclear,
    check_rising,
    looked_up,
    normalised,
    written_out,
)

_MOST_STEPS = 200
_TREES = "decision trees, which have no linear layer; ntkit needs a network with one"
_KERNELS = "a support vector machine on its inputs, not a network with a linear last layer"
_SEQUENCE = "a sequence of tensors, not one of scores; export the model without it"
_RAW = (
    "a linear model on the inputs themselves: there are no neurons to suppress. Fit an ntkit "
    "estimator to these inputs instead"
)
_UNUSUAL = (
    "which ntkit reads with a row of weights for each class, and NONE, SOFTMAX or LOGISTIC after it"
)
_WITHOUT_LAYERS = {
    **dict.fromkeys(("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"), _TREES),
    **dict.fromkeys(("SVMClassifier", "SVMRegressor"), _KERNELS),
    "LinearRegressor": "a regression, which does not predict classes",
    "LinearClassifier": _RAW,
    **dict.fromkeys(("SequenceConstruct", "SplitToSequence", "SequenceInsert"), _SEQUENCE),
}
_FIRST = frozenset(EFFECTS) - {"Mul", "Div", "Concat", "Gather", "ArrayFeatureExtractor"}

Path = Sequence[tuple[ir.Node, ir.Value]]  # operators, with their results


@dataclass(frozen=True)
class Blocked:
    """The end of a walk from an output without a head."""

    output: str
    reason: str  # what it comes from
    # Whether there is a linear layer, but the operators after it change its decision.
    after_a_layer: bool = False
    final: bool = False  # whether no option helps: the model has no layer to replace


class Regions:
    """The affine regions of a model, each read once for all outputs."""

    def __init__(self, model: ir.Model) -> None:
        self.shape_of = Shapes(model)
        self._known: dict[int, Region | NotAffine] = {}

    def __call__(self, end: ir.Value) -> Region:
        """Read the region that ends in a tensor, or raise the stored reason why there is none."""
        known = self._known.get(id(end))
        if known is None:
            try:
                known = read_region(end, self.shape_of)
            except NotAffine as error:
                known = error
            self._known[id(end)] = known
        if isinstance(known, NotAffine):
            raise known.with_traceback(None)
        return known


def walk_back(start: ir.Value, regions: Regions) -> Head | Blocked:
    """The head that a tensor comes from, or the reason why there is none."""
    value, path = start, list[tuple[ir.Node, ir.Value]]()
    name = start.name or ""
    while (node := value.producer()) is not None:
        if node.op_type in _WITHOUT_LAYERS:
            apart = node.op_type == "LinearClassifier" and reads_a_network(node)
            why = _UNUSUAL if apart else _WITHOUT_LAYERS[node.op_type]
            return Blocked(name, f"comes from {called(node)}, {why}", final=True)
        before = passed_on(node)
        if before is None:
            return _head_before(name, value, path[::-1], regions)
        if len(path) > _MOST_STEPS:
            return Blocked(name, f"comes from more than {_MOST_STEPS} operators after any layer")
        path.append((node, value))
        value = before
    return Blocked(name, "is an input or a constant")


def passed_on(node: ir.Node) -> ir.Value | None:
    """The input that an operator after a head passes on; None for other operators."""
    inputs = node.inputs
    if not is_standard(node) or not inputs:
        return None
    if (written := written_out(node)) is not None:
        return written.scores
    if node.op_type in LOOKUPS and len(inputs) > 1 and constant_of(inputs[0]) is not None:
        return inputs[1]
    if node.op_type in ("Mul", "Div"):
        factor = constant_factor(node)
        return None if factor is None else factor[0]
    if node.op_type == "Concat":
        return _complemented(node)
    if node.op_type in ("Greater", "GreaterOrEqual") and constant_of(inputs[1]) is None:
        return None
    return inputs[0] if node.op_type in _FIRST or node.op_type == "Gather" else None


def _complemented(node: ir.Node) -> ir.Value | None:
    """The p of a Concat of (1 - p, p): two columns from a single unit."""
    if len(node.inputs) != 2 or node.inputs[0] is None:
        return None
    other = node.inputs[0].producer()
    if other is None or other.op_type != "Sub" or other.inputs[1] is not node.inputs[1]:
        return None
    one = constant_of(other.inputs[0])
    return node.inputs[1] if one is not None and (one == 1).all() else None


def _head_before(name: str, value: ir.Value, rest: Path, regions: Regions) -> Head | Blocked:
    """The head whose logits are ``value``, or which computes it by operators after its logits."""
    head: Head | None = None
    unclear = ""
    while True:
        try:
            region = regions(value)
            if head is not None and (head.region.plain is None) != (region.plain is None):
                return head
            head = Head(region, follow(region, rest, regions.shape_of))
            shown = value.is_graph_output() or len(value.uses()) > 1
            if region.rank == 2 or (region.plain is None and shown):
                return head
        except (SeveralPositions, Unclear) as reason:  # later operators may correct it
            unclear = str(reason)
        except NotAffine as reason:
            final = reason.final and not unclear
            return head or Blocked(name, unclear or str(reason), bool(unclear), final)
        if not rest or not _is_affine(*rest[0]):
            return head or Blocked(name, unclear, after_a_layer=True)
        value, rest = rest[0][1], rest[1:]


def _is_affine(node: ir.Node, output: ir.Value) -> bool:
    try:
        return bool(carriers(output, node))
    except NotAffine:
        return False


def follow(region: Region, path: Path, shape_of: Shapes) -> AfterHead:
    """State of a region's scores after the operators of a path."""
    first = (shape_of(region.end) or (None,))[0] if path else None
    classes = region.class_axis or region.rank
    seen = AfterHead(len(region.weight), region.rank, classes, one_sample=first == 1)
    for node, output in path:
        written, shape = written_out(node), shape_of(output)
        op = node.op_type if written is None else written.op
        if seen.decided:
            seen = looked_up(seen, node)
        elif written is not None:
            seen = normalised(seen, written)
        else:
            seen = EFFECTS[op](seen, node, shape)
        seen = replace(seen, post_processing=(*seen.post_processing, op))
        if shape is not None and len(shape) != seen.rank and not seen.decided:
            raise Unclear(f"has the shape {shape} after {op}")
    check_rising(seen)
    return seen


_MOST_OUTPUTS = 50
_MOST_BEHIND = 4
_MOST_NODES = 500


def candidate_layers(model: ir.Model, taken: Head | None) -> list[dict[str, Any]]:
    """Layer before each output, or the operator in between and the layers behind it."""
    # `logits` is the name for `--logits`; None means unknown.
    regions, rows = Regions(model), dict[int, dict[str, Any]]()
    for output in list(model.graph.outputs)[:_MOST_OUTPUTS]:
        head = walk_back(output, regions)
        if isinstance(head, Head):
            _row(rows, head, taken)["outputs"].append(output.name or "")
            continue
        rows[id(output)] = {**_NOTHING, "outputs": [output.name or ""], "reason": head.reason}
        for value in _layers_behind(output):
            behind = walk_back(value, regions)
            if isinstance(behind, Head) and behind.identity not in rows:
                row = _row(rows, behind, taken)
                row["reason"] = row["reason"] or f"{output.name!r} is more than its scores"
    if taken is not None:
        _row(rows, taken, taken)
    for row in rows.values():
        row["reason"] = row["reason"] or _why(row, taken)
    return list(rows.values())


_NOTHING = {"logits": None, "layer": None, "neurons": None, "n_logits": None, "taken": False}


def _row(rows: dict[int, dict[str, Any]], head: Head, taken: Head | None) -> dict[str, Any]:
    n_logits, neurons = head.weight.shape
    new = {
        "logits": head.logits.name,
        "outputs": [],
        "layer": head.region.kind,
        "neurons": neurons,
        "n_logits": n_logits,
        "taken": taken is not None and head.identity == taken.identity,
        "reason": "",
    }
    return rows.setdefault(head.identity, new)


def _why(row: dict[str, Any], taken: Head | None) -> str:
    if row["taken"]:
        return "the head" if row["outputs"] else "named"
    if taken is None:
        return f"may be the head: choose it with --logits {row['logits']}"
    return f"{taken.logits.name!r} is the head; choose this one with --logits {row['logits']}"


def _layers_behind(output: ir.Value) -> Iterator[ir.Value]:
    """Outputs of the nearest products before a tensor, bias included."""
    waiting, seen, n_found = [output], set[int](), 0
    while waiting and len(seen) < _MOST_NODES and n_found < _MOST_BEHIND:
        value = waiting.pop(0)
        node = value.producer()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in PRODUCTS:
            n_found += 1
            yield _with_bias(node.outputs[0])
        else:
            waiting += [v for v in node.inputs if v is not None]


def _with_bias(value: ir.Value) -> ir.Value:
    readers = [use.node for use in value.uses()]
    if (
        len(readers) == 1
        and readers[0].op_type == "Add"
        and any(map(is_constant, readers[0].inputs))
    ):
        return readers[0].outputs[0]
    return value


# Readers of a hidden layer that are not scores, and names of outputs that are embeddings.
_ACTIVATIONS = frozenset(
    ["Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "Tanh", "HardSwish", "Mish", "Softplus"]
)
_EMBEDDING = re.compile(
    "emb|feat|proj|hidden|pool|repr|state|latent|vector|bottleneck|penultimate|encod|token", re.I
)


def distinct(walks: Iterable[Head | Blocked]) -> list[Head]:
    return list({f.identity: f for f in walks if isinstance(f, Head)}.values())


def candidates(walks: list[Head | Blocked], outputs: list[str]) -> list[Head]:
    """Heads of the outputs, without embeddings that another head reads."""
    # Scores that another head reads are candidates too: a confidence from the logits, or coarse
    # classes from the probabilities of fine ones.
    heads = distinct(walks)
    seen = _upstream([value for head in heads for value in head.reads])

    def is_embedding(head: Head) -> bool:
        same = [
            (f, name)
            for f, name in zip(walks, outputs, strict=True)
            if isinstance(f, Head) and f.identity == head.identity
        ]
        names = [name for _, name in same] + [head.output.name or ""]
        bent = any(use.node.op_type in _ACTIVATIONS for use in head.output.uses())
        raw = not any(f.after.post_processing for f, _ in same)
        return raw and (bent or any(map(_EMBEDDING.search, names)))

    earlier = [head for head in heads if id(head.output.producer()) in seen]
    return [h for h in heads if all(h is not e for e in earlier) or not is_embedding(h)]


def refuse_leaks(graph: ir.Graph, head: Head) -> None:
    """Raise an error if another output shows an inner tensor of a region, which cannot change."""
    region = head.region
    if region.plain is not None:
        return
    before = _upstream(head.reads)
    inner = {id(v): v for n in region.nodes if id(n) not in before for v in n.outputs}
    inner.pop(id(region.end), None)
    stops = {id(region.end), *inner}
    for output in graph.outputs:
        inside = (inner[id(v)] for v in ancestors([output], stops) if id(v) in inner)
        shown = next(inside, None)
        if shown is not None:
            raise HeadNotFoundError(
                f"The output {output.name!r} comes from {shown.name!r}, which is inside the head "
                f"that ends in {region.end.name!r} and would not change. Name the scores to "
                f"replace with --logits {shown.name} or --logits {region.end.name} (logits= in "
                "Python)."
            )


def _upstream(values: list[ir.Value]) -> set[int]:
    """Identities of the operators that compute some tensors."""
    return {id(value.producer()) for value in ancestors(values)}


_RESHAPING = frozenset(["Flatten", "Reshape", "Squeeze"])
_CLIPPING = frozenset(["Relu"])
_MOST_NAMED = 8


def find_head(model: ir.Model, logits: str | None = None) -> Head:
    """Find the one linear layer the graph's outputs (or the tensor ``logits``) come from."""
    regions = Regions(model)
    walks = [walk_back(output, regions) for output in model.graph.outputs]
    _refuse_ambiguous(walks)
    if logits is None:
        heads = candidates(walks, [output.name or "" for output in model.graph.outputs])
        if not heads:
            raise HeadNotFoundError(_no_head(walks))
        head = _only(heads)
        refuse_leaks(model.graph, head)
        return _as_the_outputs_show_it(head, walks)
    named = walk_back(value_named(model.graph, logits), regions)
    if isinstance(named, Blocked):
        raise HeadNotFoundError(_no_head([named]))
    head = _as_the_outputs_show_it(named, [*walks, named])
    shown = any(isinstance(one, Head) and one.identity == head.identity for one in walks)
    return head if shown else _as_its_readers_show_it(head)


def _as_its_readers_show_it(head: Head) -> Head:
    """Take post-processing from the readers of the logits, if no output shows them."""
    readers = [use.node for use in head.logits.uses()]
    clipping = [node for node in readers if node.op_type in _CLIPPING]
    if clipping and len(clipping) == len(readers):
        raise HeadNotFoundError(
            f"The logits {head.logits.name!r} go through {called(clipping[0])}, which clips all "
            "scores below 0; export the model without it."
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
                f"{embedding!r}; name only one of the two."
            )
        return head
    regions = Regions(model)
    walks = [walk_back(output, regions) for output in model.graph.outputs]
    _refuse_ambiguous(walks)
    heads = [head for head in distinct(walks) if _reads(head, embedding)]
    return _as_the_outputs_show_it(_only(heads), walks) if heads else None


def _no_head(blocked: list[Head | Blocked]) -> str:
    """A sentence on the operators between the outputs and a linear layer, and the fix."""
    outputs: dict[str, list[str]] = {}
    for one in blocked:
        if isinstance(one, Blocked):
            name = repr(one.output) if one.output else "an output without a name"
            outputs.setdefault(one.reason, []).append(name)
    sentences = [
        f"{', '.join(names[:_MOST_NAMED])} {reason}"
        for reason, names in list(outputs.items())[:_MOST_NAMED]
    ]
    reasons = "; ".join(sentences) + "; …" * (len(outputs) > _MOST_NAMED)
    if all(isinstance(one, Blocked) and one.final for one in blocked):
        return f"No linear last layer was found: {reasons}."
    if all(isinstance(one, Blocked) and one.after_a_layer for one in blocked):
        return (
            f"No linear last layer was found: {reasons}. Export the model without the operators "
            "between its last layer and its output."
        )
    return (
        f"No linear last layer was found: {reasons}. Name the logits with --logits NAME "
        "(logits= in Python), or, for a backbone without a head, --embedding NAME."
    )


def _refuse_ambiguous(walks: list[Head | Blocked]) -> None:
    """Raise an error if a model's outputs contradict each other about its head."""
    signs: dict[int, bool] = {}
    for head in walks:
        if not isinstance(head, Head):
            continue
        rises = head.scale > 0
        if signs.setdefault(head.identity, rises) != rises:
            raise HeadNotFoundError(
                f"The outputs use the logits {head.output.name!r} with both signs; export the "
                "model with one of them."
            )


def _only(heads: list[Head]) -> Head:
    if len(heads) > 1:
        each = (
            f"{head.logits.name!r} ({head.region.kind}, {len(head.region.bias)} logits on "
            f"{head.source.name!r})"
            for head in heads
        )
        raise HeadNotFoundError(
            f"Two or more linear layers end in an output: {listed(each, _MOST_NAMED)}. Choose one "
            "with --logits NAME (logits= in Python)."
        )
    return heads[0]


def _reads(head: Head, embedding: str) -> bool:
    """Whether a head reads a tensor, possibly cast or without axes of length one."""
    return any(_leads_to(value, embedding) for value in head.reads)


def _leads_to(value: ir.Value | None, name: str) -> bool:
    while value is not None and value.name != name:
        node = value.producer()
        passes = node is not None and node.op_type in NO_OPS | _RESHAPING
        value = node.inputs[0] if node is not None and passes else None
    return value is not None


def _as_the_outputs_show_it(head: Head, walks: Iterable[Head | Blocked]) -> Head:
    """Take labels, scale and post-processing from the outputs of the head."""
    # If there are several, one with probabilities determines the scale.
    n_classes = max(2, len(head.region.weight))
    paths = [f for f in walks if isinstance(f, Head) and f.identity == head.identity]
    best = next((p for p in paths if PROBABILITIES.intersection(p.after.post_processing)), paths[0])
    tables = (path.after.labels for path in paths if path.after.labels is not None)
    labels = next((t for t in tables if len(t) == n_classes == len(set(t))), None)
    return replace(best, after=replace(best.after, labels=labels))
