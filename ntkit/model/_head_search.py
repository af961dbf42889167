"""The head that computes a model's outputs, and what the operators after its logits do to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.special import expit

from ntkit._text import listed
from ntkit.exceptions import HeadNotFoundError
from ntkit.graph.tensors import (
    Shape,
    Shapes,
    ancestors,
    attribute,
    axes_of,
    constant_of,
    dtype_of,
    is_constant,
    is_standard,
    opset_of,
    tensor_named,
)
from ntkit.model.affine.operators import PRODUCTS, NotAffine, called, carriers, reads_a_network
from ntkit.model.affine.region import (
    NO_OPS,
    Region,
    SeveralPositions,
    constant_factor,
    read_region,
    scaled,
)

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
    # The last scores that the graph rounds or cuts off, which may thus be equal, and the operators
    # up to them.
    rounded: tuple[ir.Value, tuple[str, ...]] | None = None
    # Probabilities above which the graph gives a label, one for each of several logits.
    thresholds: tuple[float, ...] | None = None

    @property
    def has_sigmoids(self) -> bool:
        """Whether the outputs are a Sigmoid for each logit, which nothing normalises after that."""
        bending = [op for op in self.post_processing if op in (*PROBABILITIES, "Normalizer")]
        return bending[-1:] == ["Sigmoid"]


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
    def reads_rows(self) -> bool:
        """Whether the layer's input itself has one row of neurons per sample."""
        return len(self.region.sources) == 1 and self.region.sources[0].is_embedding

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
        names = entries(node, "classlabels_")
        return None if names is None else tuple(map(_text, names))
    if node.op_type == "LabelEncoder":
        keys, values = (entries(node, prefix) for prefix in ("keys_", "values_"))
        if keys and values and {*keys} == {*range(len(keys))} and len(keys) == len(values):
            of_key = dict(zip(keys, values, strict=True))
            return tuple(_text(of_key[key]) for key in range(len(keys)))
    return None


def entries(node: ir.Node, prefix: str) -> list[Any] | None:
    """The list in the first attribute of an operator whose name has this prefix."""
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
    sigmoid = _sigmoid(node)
    if sigmoid is not None or node.op_type not in ("Div", "Sub") or len(node.inputs) != 2:
        return sigmoid
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
BENDING = PROBABILITIES | {"Exp", "Log", "Normalizer"}
"""Operators that make other scores of logits."""
_QUANTISING = ("Q", "DynamicQuantize", "Dequantize", "MatMulInteger", "MatMulNBits")  # in few bits
_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_KEEPING_A_DECISION = NO_OPS | {
    *("Squeeze", "Unsqueeze", "Transpose", "Flatten", "Reshape", "ZipMap", "LabelEncoder"),
    *("QuantizeLinear", "DequantizeLinear"),
}


# -- scores ---------------------------------------------------------------------------------------


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


def _bounds(node: ir.Node) -> list[Any]:
    """The bounds of a Clip; None without one, 0 for one that is computed."""
    bounds = [attribute(node, name, None) for name in ("min", "max")]
    for i, bound in enumerate(node.inputs[1:3]):
        constant = constant_of(bound)
        bounds[i] = 0 if bound is not None and constant is None else constant
    return bounds


def _clipped(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    """Probabilities may be clipped, and logits if both signs remain."""
    low, high = _bounds(node)
    cut = (low is not None and low >= 0) or (high is not None and high <= 0)
    if cut and not seen.bent_by:
        raise Unclear(f"goes through {called(node)}, which cuts off scores of one sign")
    return _bent_by(seen, node.op_type)


def _bent_by(seen: AfterHead, op: str) -> AfterHead:
    if op == "Sigmoid" and seen.bent_by in BENDING:
        raise Unclear(f"goes through a Sigmoid after {seen.bent_by}, which decides otherwise")
    if seen.n_logits == 1 and (op in _SOFTMAX or (op == "Exp" and seen.bent_by == "Sigmoid")):
        raise Unclear(f"goes through {op} of one score, which does not decide as its Sigmoid does")
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
    return _bent_by(seen, node.op_type)


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
    return _bent_by(seen, node.op_type)


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


def _pooled(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    if seen.classes != 1 or any(attribute(node, "pads", ())):
        raise Unclear(f"goes through {node.op_type} along the classes, or with padding")
    return seen


def _over_positions(seen: AfterHead, node: ir.Node, shape: Shape) -> AfterHead:
    """Averages over axes of length one, or the choice of their only position."""
    op = node.op_type
    touched = _touched_axes(node, seen.rank)
    if touched is None:
        raise Unclear(f"goes through {op} along axes, or from positions, that are not constant")
    if 0 in touched:
        raise Unclear(f"goes through {op} along the first axis, which is that of the samples")
    index = constant_of(node.inputs[1]) if op == "Gather" else None
    one = op == "Slice" and shape is not None and [shape[i] for i in touched] == [1]
    one = one or (index is not None and index.size == 1 and index.ndim < 2)
    if seen.classes in touched and (seen.n_logits > 1 or not one):
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
    op = node.op_type
    if op == "Binarizer":
        level: NDArray[Any] | None = np.asarray(attribute(node, "threshold", 0.0))
    else:
        level = constant_of(node.inputs[1])
    if seen.n_logits > 1:
        return _each_decided(seen, op, level)
    of_head = 0.5 if seen.bent_by == "Sigmoid" else 0.0
    if level is None or level.size != 1 or seen.bent_by not in ("", "Sigmoid"):
        raise Unclear(f"comes from {op} with a threshold that is not one number")
    if not np.isclose(level.item(), of_head):
        raise Unclear(f"is decided at {level.item():g}, where the head decides at {of_head:g}")
    return replace(seen, decided=True)


def _each_decided(seen: AfterHead, op: str, level: NDArray[Any] | None) -> AfterHead:
    """State after a threshold for each of several labels."""
    if level is None or level.size not in (1, seen.n_logits):
        raise Unclear(f"comes from {op} with a threshold that is not a number for each label")
    if seen.bent_by not in ("", "Sigmoid"):
        raise Unclear(f"comes from {op}, a decision for each of several logits")
    check_rising(seen)
    levels = level.ravel().astype(np.float64)
    levels = levels / seen.rising if seen.bent_by else expit(levels)
    if not ((levels > 0) & (levels < 1)).all():
        raise Unclear(f"comes from {op} with a threshold that no probability or all are above")
    # float32 of the graph: 0.3, not 0.30000001192
    thresholds = tuple(float(f"{x:.7g}") for x in np.broadcast_to(levels, seen.n_logits))
    return replace(seen, decided=True, thresholds=thresholds)


def looked_up(seen: AfterHead, node: ir.Node) -> AfterHead:
    """State of a decision after a table, a Reshape or a Cast; other operators raise an error."""
    table = labels_of(node)
    if table is None:
        if seen.bent_by == "Softmax" and node.op_type in ("Greater", "GreaterOrEqual"):
            level = constant_of(node.inputs[1])
            if level is not None and level.size == 1 and level.item() == 0.5:
                return seen  # the probability of one of two classes is decided like the head
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
    **dict.fromkeys(("Identity", "Dropout", "DequantizeLinear"), lambda seen, *_: seen),
    **dict.fromkeys(
        ("Sigmoid", "Exp", "Log", "Normalizer"), lambda seen, node, _: _bent_by(seen, node.op_type)
    ),
    **dict.fromkeys(_SOFTMAX, _along_classes),
    "Clip": _clipped,
    **dict.fromkeys(("ArgMax", "TopK"), _largest),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Binarizer"), _threshold),
    **dict.fromkeys(("Mul", "Div"), _scaled),
    **dict.fromkeys(("GlobalAveragePool", "AveragePool"), _pooled),
    **dict.fromkeys(("ReduceMean", "Gather", "Slice"), _over_positions),
    **dict.fromkeys(
        ("LabelEncoder", "ZipMap", "ArrayFeatureExtractor"),
        lambda seen, node, _: looked_up(replace(seen, decided=True), node),
    ),
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


# -- walking back from the outputs ---------------------------------------------------------------

_MOST_STEPS = 200
_TREES = "decision trees, which have no linear layer; ntkit needs a network with one"
_KERNELS = "a support vector machine on its inputs, not a network with a linear last layer"
_SEQUENCE = "a sequence of tensors, not one of scores; export the model without it"
_RAW = (
    "a linear model on the inputs themselves: there are no neurons to suppress. Fit an ntkit "
    "estimator to these inputs instead"
)
_STACKED = "a linear model on the outputs of other models: there are no neurons to suppress"
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


@dataclass(frozen=True, eq=False)
class Regions:
    """The affine regions of a model, each read once for all outputs."""

    shape_of: Shapes
    _known: dict[int, Region | NotAffine] = field(default_factory=dict, init=False)

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
            why = _WITHOUT_LAYERS[node.op_type]
            if node.op_type == "LinearClassifier":
                why = _UNUSUAL if reads_a_network(node) else _STACKED if is_stacked(node) else _RAW
            return Blocked(name, f"comes from {called(node)}, {why}", final=True)
        before = passed_on(node)
        if before is None:
            return _head_before(name, value, path[::-1], regions)
        if len(path) > _MOST_STEPS:
            return Blocked(name, f"comes from more than {_MOST_STEPS} operators after any layer")
        path.append((node, value))
        value = before
    return Blocked(name, "is an input or a constant")


def is_stacked(node: ir.Node) -> bool:
    """Whether an operator reads what other classifiers compute."""
    before = (value.producer() for value in ancestors([v for v in node.inputs if v is not None]))
    return any(each is not None and each.op_type.endswith("Classifier") for each in before)


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


def _is_half(scores: ir.Value, shape_of: Shapes) -> bool:
    return (dtype_of(scores) or dtype_of(shape_of.known(scores))) in _HALVES


def _cuts_off(seen: AfterHead, node: ir.Node) -> bool:
    """Whether the largest scores of a sample may be equal after a Clip."""
    low, high = (limit if each is None else float(np.max(each)) for each, limit in zip(
        _bounds(node), (-np.inf, np.inf), strict=True))  # fmt: skip
    n, bent = seen.n_logits, seen.bent_by if seen.rising == 1 else ""
    # At most one of n probabilities is above one half, and the largest is at least 1 / n.
    least, most = (1 / n, 0.5) if bent == "Softmax" else (-np.log(n), np.log(0.5))
    if bent == "Sigmoid":
        return bool(not low < 0.5 < high)
    return bool(bent not in _SOFTMAX or low > least or high < most)


def _is_last_rounded(seen: AfterHead, op: str, *, rounds: bool) -> bool:
    """Whether the scores after an operator count as those that the graph rounds last."""
    if seen.decided or "Concat" in seen.post_processing:
        return False
    # A factor of rounded logits scales the probabilities after it. ONNX Runtime may leave out the
    # rounding directly before a Cast.
    bent = not BENDING.isdisjoint(seen.post_processing)
    moves = op == "Cast" or (op in ("Mul", "Div") and not bent)
    rounds = rounds or (moves and seen.rounded is not None)
    of_probabilities = bent and seen.rising != 1  # a multiple of them
    return rounds and not (of_probabilities and seen.rounded is not None)


def follow(region: Region, path: Path, shape_of: Shapes) -> AfterHead:
    """State of a region's scores after the operators of a path."""
    first = (shape_of(region.end) or (None,))[0] if path else None
    classes = region.class_axis or region.rank
    coarse = any(node.op_type.startswith(_QUANTISING) for node in region.nodes)
    coarse = coarse or (region.plain is not None and region.plain.quantised)
    coarse = coarse or _is_half(region.end, shape_of)
    rounded = (region.end, ()) if coarse else None
    seen = AfterHead(
        len(region.weight), region.rank, classes, one_sample=first == 1, rounded=rounded
    )
    for node, output in path:
        written, shape, before = written_out(node), shape_of(output), seen
        op = node.op_type if written is None else written.op
        if seen.decided:
            seen = looked_up(seen, node)
        elif written is not None:
            seen = normalised(seen, written)
        else:
            seen = EFFECTS[op](seen, node, shape)
        seen = replace(seen, post_processing=(*seen.post_processing, op))
        rounds = op in ("QuantizeLinear", "DequantizeLinear") or _is_half(output, shape_of)
        rounds = rounds or (op == "Clip" and _cuts_off(before, node))
        if _is_last_rounded(seen, op, rounds=rounds):
            seen = replace(seen, rounded=(output, seen.post_processing))
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
    regions, rows = Regions(Shapes(model)), dict[int, dict[str, Any]]()
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


def candidates(walks: list[Head | Blocked], outputs: list[str]) -> list[Head]:
    """Heads of the outputs, without embeddings that another head reads."""
    # Scores that another head reads are candidates too: a confidence from the logits, or coarse
    # classes from the probabilities of fine ones.
    heads = list({f.identity: f for f in walks if isinstance(f, Head)}.values())
    read = [value for head in heads for value in head.reads]
    seen = {id(value.producer()) for value in ancestors(read)}

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
    before = {id(value.producer()) for value in ancestors(head.reads)}
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


def other_decision(model: ir.Model, head: Head) -> str | None:
    """Name of an output of other labels than those of the largest logits, or other probabilities.

    Labels by a threshold are such, and Sigmoids of several logits that are normalised.
    """
    if len(head.weight) > 1 and "Sigmoid" in head.after.post_processing:
        return None if head.after.has_sigmoids else head.logits.name
    regions = Regions(Shapes(model))
    for output in model.graph.outputs:
        if isinstance(output.type, ir.SequenceType) or not is_decision(output):
            continue
        if not any(value is head.logits for value in ancestors([output])):
            continue
        if isinstance(walk_back(output, regions), Blocked):
            return output.name
    return None


_COMPARING = frozenset(["Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
_DECIDING = _COMPARING | {"ArgMax", "ArgMin", "Sign", "Not", "And", "Or", "Equal"}
_ROUNDING_OPS = frozenset(["Ceil", "Floor", "Round"])
_PASSING = frozenset(["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"])
_SCALING = frozenset(["Mul", "Div"])  # by constants


def is_decision(output: ir.Value) -> bool:
    """Whether an output has whole numbers, truth values or texts, also as floating-point ones."""
    # A number that is rounded and then scaled, as to two decimals or to 8 bits, is a score.
    value, scaled = output, False
    while True:
        dtype, node = dtype_of(value), value.producer()
        whole = dtype is not None and not dtype.is_floating_point()
        if whole and (not scaled or dtype == ir.DataType.BOOL):
            return True
        if node is None:
            return False
        op = node.op_type
        if op in _DECIDING or (op in _ROUNDING_OPS and not scaled):
            return True
        given = node.inputs[1:] if op == "Where" else node.inputs  # not its condition
        read = [each for each in given if each is not None and constant_of(each) is None]
        if op == "Where" and not read:  # one of two numbers
            return True
        if op not in _PASSING | _SCALING | _ROUNDING_OPS | {"Add", "Sub", "Where"}:
            return False
        if len(read) != 1:
            return False
        value, scaled = read[0], scaled or op in _SCALING


_RESHAPING = frozenset(["Flatten", "Reshape", "Squeeze"])
_CLIPPING = frozenset(["Relu"])
_MOST_NAMED = 8


def find_head(model: ir.Model, logits: str | None = None) -> Head:
    """Find the one linear layer the graph's outputs (or the tensor ``logits``) come from."""
    regions = Regions(Shapes(model))
    walks = [walk_back(output, regions) for output in model.graph.outputs]
    _refuse_ambiguous(walks)
    if logits is None:
        heads = candidates(walks, [output.name or "" for output in model.graph.outputs])
        if not heads:
            raise HeadNotFoundError(_no_head(walks))
        head = _only(heads)
        refuse_leaks(model.graph, head)
        return _as_the_outputs_show_it(head, walks)
    named = walk_back(tensor_named(model.graph, logits), regions)
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
    tensor_named(model.graph, embedding)
    if logits is not None:
        head = find_head(model, logits)
        if not _reads(head, embedding):
            raise HeadNotFoundError(
                f"The linear layer of the logits {logits!r} reads {head.reads[0].name!r}, not "
                f"{embedding!r}; name only one of the two."
            )
        return head
    regions = Regions(Shapes(model))
    walks = [walk_back(output, regions) for output in model.graph.outputs]
    _refuse_ambiguous(walks)
    heads = {f.identity: f for f in walks if isinstance(f, Head) and _reads(f, embedding)}
    return _as_the_outputs_show_it(_only([*heads.values()]), walks) if heads else None


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
            f"{head.reads[0].name!r})"
            for head in heads
        )
        raise HeadNotFoundError(
            f"Two or more linear layers end in an output: {listed(each, _MOST_NAMED)}. Choose one "
            "with --logits NAME (logits= in Python)"
            f"{_OR_LABEL * any(len(head.weight) == 1 for head in heads)}."
        )
    return heads[0]


_OR_LABEL = ", or, if each is a label that a sample has or not, with --label NAME (label=)"


def label_heads(model: ir.Model, *, asked: bool = True) -> dict[str, Head]:
    """Heads of a model with one layer for each label, by the label's name."""
    # Each ends in an output of its own, whose name is the label's, or in a column of an output. If
    # no label was `asked` for, all must have a Sigmoid and read the same tensor.
    regions = Regions(Shapes(model))
    ends = [pair for output in model.graph.outputs for pair in _joined(output).items()]
    walks = [walk_back(end, regions) for _, end in ends]
    heads = dict[int, tuple[str, Head]]()
    for (name, _), head in zip(ends, walks, strict=True):
        if isinstance(head, Head) and len(head.weight) == 1 and not head.after.decided:
            probable = PROBABILITIES.intersection(head.after.post_processing)
            if head.identity not in heads or probable:
                heads[head.identity] = name, head
    others = [h for h in candidates(walks, [n for n, _ in ends]) if h.identity not in heads]
    alone = all(head.after.has_sigmoids for _, head in heads.values())
    read = {tuple(id(value) for value in head.reads) for _, head in heads.values()}
    if len(heads) < 2 or (not asked and (others or not alone or len(read) > 1)):
        return {}
    return dict(heads.values())


def thresholds_after(model: ir.Model, logits: Sequence[str]) -> tuple[float, ...] | None:
    """The probability from which on the graph gives each of several labels; None if it does not.

    Each label has a tensor of logits, which may be joined after a Sigmoid or before it.
    """
    found = [_levels_after(tensor_named(model.graph, name)) for name in logits]
    for name, levels in zip(logits, found, strict=True):
        if len(levels) > 1:
            numbers = " and ".join(f"{level:g}" for level in sorted(levels))
            raise HeadNotFoundError(
                f"The graph decides on the label of {name!r} at {numbers}. Export the model with "
                "one decision for each label."
            )
    return tuple(next(iter(x), 0.5) for x in found) if any(found) else None


def _levels_after(logits: ir.Value) -> set[float]:
    """Thresholds of a label's probability in the operators that read its logits."""
    waiting, found = [(logits, False, 0)], set[float]()
    while waiting:
        value, is_probability, at = waiting.pop()
        for use in value.uses():
            node, op = use.node, use.node.op_type
            if op in _COMPARING:
                level = constant_of(node.inputs[1 - use.idx])
                if level is not None and level.size:
                    number = float(level.ravel()[at if level.size > 1 else 0])
                    found.add(float(f"{number if is_probability else expit(number):.6g}"))
            elif op in NO_OPS | _RESHAPING | _PASSING | {"Concat", "Sigmoid"}:
                place = use.idx if op == "Concat" else at
                waiting.append((node.outputs[0], is_probability or op == "Sigmoid", place))
    return found


def _joined(output: ir.Value) -> dict[str, ir.Value]:
    """The tensors whose columns an output shows, by position; the output by name if it is one."""
    node = output.producer()
    while node is not None and node.op_type in NO_OPS | _RESHAPING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Concat" or _complemented(node) is not None:
        return {output.name or "": output}
    return {str(i): part for i, part in enumerate(node.inputs) if part is not None}


def _reads(head: Head, embedding: str) -> bool:
    """Whether a head reads a tensor, possibly cast or without axes of length one."""
    for source in head.reads:
        value: ir.Value | None = source
        while value is not None and value.name != embedding:
            node = value.producer()
            passes = node is not None and node.op_type in NO_OPS | _RESHAPING
            value = node.inputs[0] if node is not None and passes else None
        if value is not None:
            return True
    return False


def _as_the_outputs_show_it(head: Head, walks: Iterable[Head | Blocked]) -> Head:
    """Take labels, scale and post-processing from the outputs of the head."""
    # If there are several, one with probabilities determines the scale.
    n_classes = max(2, len(head.region.weight))
    paths = [f for f in walks if isinstance(f, Head) and f.identity == head.identity]
    best = next((p for p in paths if PROBABILITIES.intersection(p.after.post_processing)), paths[0])
    tables = [path.after.labels for path in paths if path.after.labels is not None]
    labels = next((t for t in tables if len(t) == n_classes == len(set(t))), None)
    thresholds = {p.after.thresholds for p in paths if p.after.thresholds is not None}
    if len(thresholds) > 1:
        raise HeadNotFoundError(
            f"The outputs decide on the logits {best.logits.name!r} at different thresholds; "
            "export the model with one for each label."
        )
    rounded = next((p for p in paths if p.after.decided), best).after.rounded
    threshold = next(iter(thresholds), None)
    after = replace(best.after, labels=labels, thresholds=threshold, rounded=rounded)
    return replace(best, after=after)
