"""A head, and the effect of each operator after its logits on the decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.graph import Shape, attribute, axes_of, constant_of, opset_of
from ntkit.model.affine import NO_OPS, Region, called, constant_factor, scaled

PROBABILITIES = frozenset(["Softmax", "LogSoftmax", "Sigmoid"])


class Unclear(Exception):
    """Operators after the logits do not keep one score per sample and class; names the reason."""


@dataclass(frozen=True)
class AfterHead:
    """State of the logits at a point of a path from them to an output."""

    n_logits: int  # number of logits
    # Number of axes, and the axis of the classes; past the last if a single logit has none. All
    # others but the first have length one.
    rank: int = 2
    classes: int = 1
    # Whether the model reads one sample at a time, so that its axis may be removed.
    one_sample: bool = False
    scale: float = 1.0  # constant factor of the logits
    bent_by: str = ""  # the last operator after which a factor does not scale the logits any more
    rising: float = 1.0  # the factor since
    decided: bool = False  # whether this is a class instead of scores
    post_processing: tuple[str, ...] = ()  # the operators, in order
    labels: tuple[Any, ...] | None = None  # class labels, if the graph maps indices to them
    quantised: tuple[ir.Value, ...] = ()  # scores that the graph quantises


@dataclass(frozen=True)
class Head:
    """The last linear layer of a classifier, and the operators after its logits."""

    region: Region  # the layer, or the affine region that equals one
    after: AfterHead  # what follows it

    @property
    def weight(self) -> NDArray[Any]:
        """(K, D): the region's, times the scale after it."""
        return scaled(self.region.weight, self.after.scale)

    @property
    def bias(self) -> NDArray[Any]:
        """(K,): the region's, times the scale after it."""
        return scaled(self.region.bias, self.after.scale)

    @property
    def logits(self) -> ir.Value:
        """The first tensor with one number per sample and class."""
        return self.region.end

    @property
    def scale(self) -> float:
        """The factor between the edited tensor and the final scores."""
        plain = self.region.plain
        return self.after.scale * (1.0 if plain is None else plain.scale)

    @property
    def output(self) -> ir.Value:
        """Output of the layer, possibly at several positions."""
        plain = self.region.plain
        return self.region.end if plain is None else plain.output

    @property
    def source(self) -> ir.Value:
        """The (first) tensor that the layer reads."""
        return self.region.sources[0].value

    @property
    def reads_rows(self) -> bool:
        """Whether the layer's input itself has one row of neurons per sample."""
        return len(self.region.sources) == 1 and self.region.sources[0].is_embedding

    @property
    def positions(self) -> tuple[ir.Node, ...]:
        """Operators that choose or average positions, between the layer and the logits."""
        return self.region.sources[0].chain

    @property
    def identity(self) -> int:
        """Number that is equal for two heads of the same layer."""
        plain = self.region.plain
        return id(self.region.end if plain is None else plain.product)

    @property
    def reads(self) -> list[ir.Value]:
        """The tensors that the layer reads."""
        return [source.value for source in self.region.sources]


LOOKUPS = frozenset(["Gather", "ArrayFeatureExtractor"])  # of a class label by its index


def labels_of(node: ir.Node) -> tuple[Any, ...] | None:
    """Labels in the order of the indices; None if the operator does not look up a label."""
    if node.op_type in LOOKUPS:
        table = constant_of(node.inputs[0])
        return None if table is None else tuple(_text(v) for v in table.ravel().tolist())
    if node.op_type == "ZipMap":
        names = _entries(node, "classlabels_")
        return None if names is None else tuple(map(_text, names))
    if node.op_type == "LabelEncoder":
        keys, values = (_entries(node, prefix) for prefix in ("keys_", "values_"))
        if values is not None and keys == list(range(len(values))):
            return tuple(map(_text, values))
    return None


def _entries(node: ir.Node, prefix: str) -> list[Any] | None:
    for name, entry in node.attributes.items():
        if name.startswith(prefix):
            value = entry.value
            return value.numpy().tolist() if entry.type == ir.AttributeType.TENSOR else [*value]
    return None


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


# Operators that reshape the sum or the largest score to the shape of the scores.
_SHAPING = frozenset(["Identity", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Cast", "Max"])
_MOST_SHAPING = 6


@dataclass(frozen=True)
class WrittenOut:
    """A Softmax, LogSoftmax or Sigmoid of several operators."""

    op: str  # which of the three
    scores: ir.Value  # what it reads
    # Axes of normalisation; None if they are not constant, and for a Sigmoid.
    axes: tuple[int, ...] | None
    nodes: tuple[ir.Node, ...]  # its operators


def written_out(node: ir.Node) -> WrittenOut | None:
    """The function that ends in a node: in a Div, in a Sub (LogSoftmax), in a Reciprocal."""
    return _sigmoid(node) or _softmax(node)


def _sigmoid(node: ir.Node) -> WrittenOut | None:
    """1 / (1 + exp(-x)), or exp(x) / (1 + exp(x))."""
    if node.op_type not in ("Div", "Reciprocal"):
        return None
    total, shares = node.inputs[-1], node.inputs[0]
    add = total.producer() if total is not None else None
    power = _added_to_one(add)
    exp = power.producer() if power is not None else None
    if add is None or exp is None or exp.op_type != "Exp" or exp.inputs[0] is None:
        return None
    if node.op_type == "Div" and shares is power:
        return WrittenOut("Sigmoid", exp.inputs[0], None, (node, add, exp))
    negated = exp.inputs[0].producer()
    scores = negated.inputs[0] if negated is not None and negated.op_type == "Neg" else None
    if negated is None or scores is None or (node.op_type == "Div" and not _is_one(shares)):
        return None
    return WrittenOut("Sigmoid", scores, None, (node, add, exp, negated))


def _added_to_one(node: ir.Node | None) -> ir.Value | None:
    if node is None or node.op_type != "Add" or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    return second if _is_one(first) else first if _is_one(second) else None


def _is_one(value: ir.Value | None) -> bool:
    one = constant_of(value)
    return one is not None and one.size == 1 and one.item() == 1


def _softmax(node: ir.Node) -> WrittenOut | None:
    if node.op_type not in ("Div", "Sub") or len(node.inputs) != 2:
        return None
    data, total = node.inputs
    way = list(_back(total, "ReduceSum", {"Log"} if node.op_type == "Sub" else set()))
    if data is None or not way or way[-1].op_type != "ReduceSum":
        return None
    if node.op_type == "Sub" and all(n.op_type != "Log" for n in way):
        return None
    powers = way[-1].inputs[0]
    exp = powers.producer() if powers is not None else None
    if exp is None or exp.op_type != "Exp" or exp.inputs[0] is None:
        return None
    if data is not (powers if node.op_type == "Div" else exp.inputs[0]):
        return None
    scores, shifting = _unshifted(exp.inputs[0])
    op = "Softmax" if node.op_type == "Div" else "LogSoftmax"
    return WrittenOut(op, scores, axes_of(way[-1]), (node, *way, exp, *shifting))


def _unshifted(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """Scores before the subtraction of their maximum, which only affects rounding."""
    node = value.producer()
    if node is None or node.op_type != "Sub" or node.inputs[0] is None:
        return value, []
    way = list(_back(node.inputs[1], "ReduceMax", set()))
    if not way or way[-1].op_type != "ReduceMax" or way[-1].inputs[0] is not node.inputs[0]:
        return value, []
    return node.inputs[0], [node, *way]


def _back(value: ir.Value | None, to: str, more: set[str]) -> Iterator[ir.Node]:
    """Operators from a tensor back to a reduction."""
    for _ in range(_MOST_SHAPING):
        node = value.producer() if value is not None else None
        if node is None:
            return
        yield node
        if node.op_type == to or node.op_type not in _SHAPING | more:
            return
        computed = [v for v in node.inputs if v is not None and constant_of(v) is None]
        value = computed[0] if computed else None


_SOFTMAX = ("Softmax", "LogSoftmax")
_KEEPING_A_DECISION = NO_OPS | {
    *("Squeeze", "Unsqueeze", "Transpose", "Flatten", "Reshape", "ZipMap", "LabelEncoder"),
    *("QuantizeLinear", "DequantizeLinear"),
}


# -- scores ---------------------------------------------------------------------------------------


def _same(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    return seen


def _cast(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    if not ir.DataType(node.attributes["to"].as_int()).is_floating_point():
        raise Unclear("is cast to whole numbers")
    return seen


def _scaled(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    known = constant_factor(node)
    factor = known[1] if known is not None else 1.0
    if seen.bent_by:
        return replace(seen, rising=seen.rising * factor)
    return replace(seen, scale=seen.scale * factor)


def _quantised(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    scores = node.inputs[0]
    if seen.bent_by or scores is None:
        return seen
    return replace(seen, quantised=(*seen.quantised, scores))


def _bent(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    return _bent_by(seen, node.op_type)


def _clipped(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    """Probabilities may be clipped, and logits if both signs remain."""
    bounds = [attribute(node, name, None) for name in ("min", "max")]
    for i, bound in enumerate(node.inputs[1:3]):
        constant = constant_of(bound)
        bounds[i] = 0 if bound is not None and constant is None else constant
    low, high = bounds
    cut = (low is not None and low >= 0) or (high is not None and high <= 0)
    if cut and not seen.bent_by:
        raise Unclear(f"goes through {called(node)}, which cuts off scores of one sign")
    return _bent(seen, node, shape)


def _bent_by(seen: AfterHead, op: str) -> AfterHead:
    check_rising(seen)
    return replace(seen, bent_by=op, rising=1.0)


def check_rising(seen: AfterHead) -> None:
    """Raise an error for probabilities that fall while logits rise."""
    if seen.rising < 0:
        raise Unclear(f"is {seen.bent_by} times {seen.rising:g}, a falling score")


def _along_classes(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    axis = _axis_of(node) % seen.rank
    flattened = _is_old_softmax(node) and 0 < axis <= seen.classes  # all axes from this one on
    if axis != seen.classes and not flattened:
        raise Unclear(f"is {node.op_type} along another axis than that of the classes")
    return _bent(seen, node, shape)


def normalised(seen: AfterHead, written: WrittenOut) -> AfterHead:
    """A Softmax, LogSoftmax or Sigmoid that consists of several operators."""
    if written.op != "Sigmoid":
        along = None if written.axes is None else {axis % seen.rank for axis in written.axes}
        if along != {seen.classes}:
            raise Unclear(f"is {written.op} along another axis than that of the classes")
    return _bent_by(seen, written.op)


def _two_columns(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    """The Concat of 1 - p and p."""
    if seen.n_logits > 1 or seen.bent_by != "Sigmoid" or _axis_of(node) not in (1, -1):
        raise Unclear("comes from a Concat of scores")
    return _bent(seen, node, shape)


# -- axes -----------------------------------------------------------------------------------------


def _transposed(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    order = [*attribute(node, "perm", range(seen.rank)[::-1])]
    if order[0] != 0:
        raise Unclear("has its axes of samples and classes exchanged")
    classes = order.index(seen.classes) if seen.classes in order else seen.rank
    return replace(seen, classes=classes)


def _squeezed(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    axes = axes_of(node)
    if axes is None:
        kept = [0] * (not seen.one_sample) + [seen.classes] * (seen.n_logits > 1)
        axes = tuple(axis for axis in range(seen.rank) if axis not in kept)
    return _without(seen, axes)


def _without(seen: AfterHead, axes: tuple[int, ...]) -> AfterHead:
    gone = {axis % seen.rank for axis in axes}
    if (0 in gone and not seen.one_sample) or (seen.classes in gone and seen.n_logits > 1):
        raise Unclear("loses the axis of samples or of classes")
    kept = [axis for axis in range(seen.rank) if axis not in gone]
    classes = kept.index(seen.classes) if seen.classes in kept else min(1, len(kept))
    return replace(seen, rank=len(kept), classes=classes)


def _unsqueezed(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    added = axes_of(node) or ()
    rank, classes = seen.rank + len(added), seen.classes
    for axis in sorted(a % rank for a in added):
        if axis == 0:
            raise Unclear("has an axis in front of the samples")
        classes += axis <= classes < rank - 1
    return replace(seen, rank=rank, classes=classes)


def _flattened(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    if not 0 < attribute(node, "axis", 1) % seen.rank <= seen.classes:
        raise Unclear("goes through a Flatten that mixes samples and classes")
    return replace(seen, rank=2, classes=1)


def _reshaped(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    target = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    sides: tuple[Any, ...] = shape or () if target is None else tuple(target.ravel().tolist())
    if seen.one_sample and sides in ((-1,), (seen.n_logits,)):
        return replace(seen, rank=1, classes=0)
    rest = [n for n in sides[1:] if n != 1]
    if not sides or (rest not in ([seen.n_logits], [-1]) and seen.n_logits > 1):
        raise Unclear(f"is reshaped to {sides}, not to one row of {seen.n_logits} logits")
    if seen.n_logits == 1 and rest not in ([], [-1]):
        raise Unclear(f"is reshaped to {sides}, not to one logit per sample")
    classes = next((i for i, n in enumerate(sides) if i and n != 1), 1)
    return replace(seen, rank=len(sides), classes=classes)


def _over_positions(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    """Averages over axes of length one, or the choice of their only position."""
    op = node.op_type
    if op in ("GlobalAveragePool", "AveragePool"):
        if seen.classes != 1 or any(attribute(node, "pads", ())):
            raise Unclear(f"goes through {op} along the classes, or with padding")
        return seen
    touched = _touched_axes(node, seen.rank)
    if touched is None:
        raise Unclear(f"goes through {op} along axes, or from positions, that are not constant")
    if 0 in touched:
        raise Unclear(f"goes through {op} along the first axis, which is that of the samples")
    index = constant_of(node.inputs[1]) if op == "Gather" else None
    one = op == "Slice" and shape is not None and [shape[i] for i in touched] == [1]
    one = one or (index is not None and index.size == 1 and index.ndim < 2)
    if seen.classes in touched:
        if not (one and seen.bent_by == "Softmax" and seen.n_logits == 2):
            raise Unclear(f"goes through {op} over the classes")
        return replace(seen, decided=True)  # the probability of one of two classes
    if op == "Gather" and not one:
        raise Unclear("goes through a Gather of several positions")
    drops = op == "ReduceMean" and not attribute(node, "keepdims", 1)
    drops = drops or (index is not None and index.ndim == 0)
    return _without(seen, touched) if drops else seen


def _choosing_each(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    raise Unclear("goes through GatherND, which may choose more than a position")


def _touched_axes(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    axes: Any = axes_of(node)
    if node.op_type == "Gather":
        axes = (attribute(node, "axis", 0),)
    elif node.op_type == "Slice" and "axes" not in node.attributes:
        constant = all(v is None or constant_of(v) is not None for v in node.inputs[1:])
        axes = constant_of(node.inputs[3]) if constant and len(node.inputs) > 3 else None
    return None if axes is None else tuple(int(axis) % rank for axis in axes)


def _axis_of(node: ir.Node) -> int:
    last = -1 if node.op_type in (*_SOFTMAX, "TopK") else 0
    return int(attribute(node, "axis", 1 if _is_old_softmax(node) else last))


def _is_old_softmax(node: ir.Node) -> bool:
    return node.op_type in _SOFTMAX and node.graph is not None and opset_of(node.graph) < 13


# -- decisions ------------------------------------------------------------------------------------


def _largest(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    if node.op_type == "TopK" and not attribute(node, "largest", 1):
        raise Unclear("comes from TopK of the smallest scores")
    return replace(_along_classes(seen, node, shape), decided=True)


def _threshold(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    op, level = node.op_type, constant_of(node.inputs[1])
    if seen.n_logits > 1:
        raise Unclear(f"comes from {op}, a decision for each of several logits")
    of_head = 0.5 if seen.bent_by == "Sigmoid" else 0.0
    if level is None or level.size != 1 or seen.bent_by not in ("", "Sigmoid"):
        raise Unclear(f"comes from {op} with a threshold that is not one number")
    if not np.isclose(level.item(), of_head):
        raise Unclear(f"is decided at {level.item():g}, where the head decides at {of_head:g}")
    return replace(seen, decided=True)


def _labelled(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    return looked_up(replace(seen, decided=True), node)


def looked_up(seen: AfterHead, node: ir.Node) -> AfterHead:
    """State of a decision after a table, a Reshape or a Cast; other operators raise an error."""
    table = labels_of(node)
    if table is None:
        if node.op_type not in _KEEPING_A_DECISION:
            raise Unclear(f"is decided, and changed by {node.op_type} after that")
        return seen
    if seen.labels is None:
        return replace(seen, labels=table)
    if node.op_type == "ZipMap":
        return seen
    if not all(isinstance(i, int) and 0 <= i < len(table) for i in seen.labels):
        raise Unclear("is looked up in two tables that do not fit each other")
    return replace(seen, labels=tuple(table[i] for i in seen.labels))


EFFECTS: dict[str, Callable[[AfterHead, ir.Node, Shape], AfterHead]] = {
    **dict.fromkeys(("Identity", "Dropout", "DequantizeLinear"), _same),
    **dict.fromkeys(("Sigmoid", "Exp", "Log", "Normalizer"), _bent),
    **dict.fromkeys(_SOFTMAX, _along_classes),
    "Clip": _clipped,
    **dict.fromkeys(("ArgMax", "TopK"), _largest),
    **dict.fromkeys(("Greater", "GreaterOrEqual"), _threshold),
    **dict.fromkeys(("Mul", "Div"), _scaled),
    **dict.fromkeys(("GlobalAveragePool", "AveragePool", "ReduceMean"), _over_positions),
    **dict.fromkeys(("Gather", "Slice"), _over_positions),
    **dict.fromkeys(("LabelEncoder", "ZipMap", "ArrayFeatureExtractor"), _labelled),
    "Cast": _cast,
    "QuantizeLinear": _quantised,
    "Concat": _two_columns,
    "Transpose": _transposed,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Flatten": _flattened,
    "Reshape": _reshaped,
    "GatherND": _choosing_each,
}
