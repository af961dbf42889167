"""Walk back from a tensor to the affine region it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from ntkit.graph import Shapes, constant_of, is_standard
from ntkit.model.affine import (
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
    "a linear model on the inputs themselves: there are no neurons to silence; fit an ntkit "
    "estimator on these inputs instead"
)
_UNUSUAL = (
    "which ntkit reads with a row of weights for each class, and NONE, SOFTMAX or LOGISTIC after it"
)
_WITHOUT_LAYERS = {
    **dict.fromkeys(("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"), _TREES),
    **dict.fromkeys(("SVMClassifier", "SVMRegressor"), _KERNELS),
    "LinearRegressor": "a regression, which tells no classes apart",
    "LinearClassifier": _RAW,
    **dict.fromkeys(("SequenceConstruct", "SplitToSequence", "SequenceInsert"), _SEQUENCE),
}
_FIRST = frozenset(EFFECTS) - {"Mul", "Div", "Concat", "Gather", "ArrayFeatureExtractor"}

Path = Sequence[tuple[ir.Node, ir.Value]]  # operators, each with what it computes


@dataclass(frozen=True)
class Blocked:
    """Where the walk from an output ended without a head."""

    output: str
    reason: str  # what it comes from
    # Whether there is a linear layer, but what follows it does not keep its decision.
    after_a_layer: bool = False
    final: bool = False  # whether no option mends it: the model has no layer to exchange


class Regions:
    """The affine regions of a model, each read once, however many outputs come from it."""

    def __init__(self, model: ir.Model) -> None:
        self.shape_of = Shapes(model)
        self._known: dict[int, Region | NotAffine] = {}

    def __call__(self, end: ir.Value) -> Region:
        """Read the region that ends in a tensor, or say again why there is none."""
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
    """The head that a tensor comes from, or what stands between."""
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
    """The input that an operator after a head passes on; None if it is no such operator."""
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
    """The head whose logits are ``value``, or what the operators after it make of that."""
    head: Head | None = None
    unclear = ""
    while True:
        try:
            region = regions(value)
            if head is not None and (head.region.plain is None) != (region.plain is None):
                return head
            head = Head(region, follow(region, rest, regions.shape_of))
            if region.rank == 2 or (region.plain is None and _is_shown(value)):
                return head
        except (SeveralPositions, Unclear) as reason:  # what comes after it may mend it
            unclear = str(reason)
        except NotAffine as reason:
            final = reason.final and not unclear
            return head or Blocked(name, unclear or str(reason), bool(unclear), final)
        if not rest or not _is_affine(*rest[0]):
            return head or Blocked(name, unclear, after_a_layer=True)
        value, rest = rest[0][1], rest[1:]


def _is_shown(value: ir.Value) -> bool:
    """Whether more than the next operator reads a tensor."""
    return value.is_graph_output() or len(value.uses()) > 1


def _is_affine(node: ir.Node, output: ir.Value) -> bool:
    try:
        return bool(carriers(output, node))
    except NotAffine:
        return False


def follow(region: Region, path: Path, shape_of: Shapes) -> AfterHead:
    """What the operators after a region make of its scores."""
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
