"""What follows a linear layer: choice of a position, post-processing, class labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit.affine import NO_OPS, LinearLayer
from ntkit.frozen_model._written_out import WrittenOut, written_out
from ntkit.graph import Shape, axes_of, constant_of, is_standard, opset_of

__all__ = ["AfterHead", "Unclear", "data_input", "follow"]

PROBABILITIES = frozenset(["Softmax", "LogSoftmax", "Sigmoid"])
# Behind one of these a factor no longer scales the logits.
_BENDING = PROBABILITIES | {"ArgMax", "TopK", "Clip", "Exp", "Log", "Normalizer"}
_ALONG_CLASSES = frozenset(["Softmax", "LogSoftmax", "ArgMax", "TopK"])
_DECIDING = frozenset(["ArgMax", "TopK", "LabelEncoder", "ZipMap"])
_QUANTISED = frozenset(["QuantizeLinear", "DequantizeLinear"])
_MOVING = frozenset(["Squeeze", "Unsqueeze", "Transpose"])
_RESHAPING = _MOVING | {"Flatten", "Reshape"}
# Each acts on positions (pixels, tokens) and on every channel alike, so that it may as well come
# before a linear layer as after it.
_CHOOSING = frozenset(
    ["GlobalAveragePool", "AveragePool", "ReduceMean", "Gather", "GatherND", "Slice"]
)
_LOOKUP = frozenset(["Gather", "ArrayFeatureExtractor"])  # of a class label by its index
_THRESHOLDS = frozenset(["Greater", "GreaterOrEqual"])

# Operators that may follow a head; their data input is the first.
_PASS = (
    _BENDING | _DECIDING | _QUANTISED | _RESHAPING | NO_OPS | (_CHOOSING - _LOOKUP) | _THRESHOLDS
)


class Unclear(Exception):
    """What follows a linear layer does not keep one score per sample and class; says why."""


@dataclass(frozen=True)
class AfterHead:
    """What a path from a linear layer to a graph output does.

    Attributes
    ----------
    logits : onnx_ir.Value
        The first tensor with one number per sample and class (axes of length one aside).
    rank : int
        Number of its axes.
    choosing : tuple of onnx_ir.Node
        Operators that choose or average positions, between the layer and the logits.
    scale, logit_scale : float
        Constant factor between the layer, or the logits, and the scores that count.
    post_processing : tuple of str
        Operators after the logits, in order.
    labels : tuple or None
        Class labels, where the graph maps indices to them.
    quantised : tuple of onnx_ir.Value
        Scores that the graph quantises.
    """

    logits: ir.Value
    rank: int = 2
    choosing: tuple[ir.Node, ...] = ()
    scale: float = 1.0
    logit_scale: float = 1.0
    post_processing: tuple[str, ...] = ()
    labels: tuple[Any, ...] | None = None
    quantised: tuple[ir.Value, ...] = ()


def data_input(node: ir.Node) -> ir.Value | None:
    """The input an operator after a head passes on; None if it is no such operator."""
    if not is_standard(node):
        return None
    inputs = node.inputs
    if (softmax := written_out(node)) is not None:
        return softmax.scores
    if node.op_type in _LOOKUP and len(inputs) > 1 and constant_of(inputs[0]) is not None:
        return inputs[1]
    if node.op_type in ("Mul", "Div"):
        return _scaled(node)[0]
    if node.op_type == "Concat" and (single := _complemented(node)) is not None:
        return single
    if node.op_type in _THRESHOLDS and (len(inputs) < 2 or constant_of(inputs[1]) is None):
        return None
    if node.op_type in _PASS or node.op_type in _CHOOSING:
        return inputs[0] if inputs else None
    return None


@dataclass
class _Axes:
    """Axes of the tensor a walk has come to: (samples, …, classes, …)."""

    classes: int  # which axis holds the classes; past the last where a single logit has none
    sizes: list[int | None]  # 1 once a position has been chosen; None where unknown
    n_logits: int

    @property
    def one_per_sample(self) -> bool:
        return all(n == 1 for i, n in enumerate(self.sizes) if i not in (0, self.classes))

    def without(self, removed: Iterable[int]) -> None:
        gone = {axis % len(self.sizes) for axis in removed}
        if 0 in gone or (self.classes in gone and self.n_logits > 1):
            raise Unclear("loses the axis of samples or of classes")
        if any(self.sizes[axis] not in (1, None) for axis in gone):
            raise Unclear("loses an axis of several positions")
        kept = [i for i in range(len(self.sizes)) if i not in gone]
        self.sizes = [self.sizes[i] for i in kept]
        self.classes = kept.index(self.classes) if self.classes in kept else len(kept)


@dataclass
class _Walk:
    """What has been learned on the way from a layer."""

    axes: _Axes
    logits: ir.Value | None = None
    rank: int = 2
    choosing: list[ir.Node] = field(default_factory=list)
    scale: float = 1.0
    logit_scale: float = 1.0
    bent: bool = False  # a factor no longer scales the logits, but what they were bent into
    bent_by: str = ""
    rising: float = 1.0  # the factor since
    decided: bool = False  # a class, no longer scores
    names: list[str] = field(default_factory=list)
    labels: tuple[Any, ...] | None = None
    quantised: list[ir.Value] = field(default_factory=list)

    def found(self, logits: ir.Value) -> None:
        if not self.axes.one_per_sample:
            raise Unclear("scores every position of a sample, not the sample")
        self.logits, self.rank, self.logit_scale = logits, len(self.axes.sizes), 1.0

    def times(self, factor: float) -> None:
        if self.bent:
            self.rising *= factor
        else:
            self.scale *= factor
            self.logit_scale *= factor

    def bend(self, op: str) -> None:
        self.check_rising()
        self.bent, self.bent_by, self.rising = True, op, 1.0

    def check_rising(self) -> None:
        if self.rising < 0:
            raise Unclear(f"is {self.bent_by} times {self.rising:g}, a falling score")

    def result(self) -> AfterHead:
        self.check_rising()
        assert self.logits is not None
        return AfterHead(
            self.logits,
            self.rank,
            tuple(self.choosing),
            self.scale,
            self.logit_scale,
            tuple(self.names),
            self.labels,
            tuple(self.quantised),
        )


def follow(
    layer: LinearLayer, path: list[tuple[ir.Node, ir.Value]], shape_of: Callable[[ir.Value], Shape]
) -> AfterHead:
    """Follow a path of (operator, its output) from a layer towards a graph output.

    Raises
    ------
    Unclear
        If what comes out is not one score, or one decision, per sample and class.
    """
    rank = layer.rank or 2
    shape = shape_of(layer.output) or (None,) * rank
    if len(shape) != rank:
        raise Unclear(f"has the shape {shape}, where {rank} axes were expected")
    sizes = [n if isinstance(n, int) else None for n in shape]
    walk = _Walk(_Axes(layer.class_axis % rank, sizes, len(layer.weight)))
    value = layer.output
    for node, output in path:
        softmax = written_out(node)
        op = node.op_type if softmax is None else softmax.op
        is_logits = walk.axes.one_per_sample and len(walk.axes.sizes) == 2
        if walk.logits is None and (is_logits or op in _BENDING):
            walk.found(value)
        after = shape_of(output)
        if softmax is not None:
            _normalise(walk, softmax)
        elif not _step(walk, node, after):
            walk.names.append(op)
        if after is not None and len(after) != len(walk.axes.sizes) and not walk.decided:
            raise Unclear(f"has the shape {after} after {op}")
        value = output
    if walk.logits is None:
        walk.found(value)
    return walk.result()


def _normalise(walk: _Walk, softmax: WrittenOut) -> None:
    """A Softmax written out in operators."""
    axes = walk.axes
    along = None if softmax.axes is None else {axis % len(axes.sizes) for axis in softmax.axes}
    if walk.decided or along != {axes.classes}:
        raise Unclear(f"is {softmax.op} along another axis than that of the classes")
    walk.bend(softmax.op)
    walk.names.append(softmax.op)


def _step(walk: _Walk, node: ir.Node, shape: Shape) -> bool:
    """Take one operator's effect on axes, scale and labels into account.

    True if it belongs to the way from the layer to the logits.
    """
    op, axes = node.op_type, walk.axes
    if walk.decided:
        _look_up(walk, node)
    elif op == "QuantizeLinear" and node.inputs[0] is not None:
        if not walk.bent:
            walk.quantised.append(node.inputs[0])
    elif op in ("Mul", "Div"):
        walk.times(_scaled(node)[1])
    elif op == "Cast":
        if not ir.DataType(node.attributes["to"].as_int()).is_floating_point():
            raise Unclear("is cast to whole numbers")
    elif op in _RESHAPING:
        _reshape(axes, node, shape)
    elif op in _CHOOSING:
        _choose(walk, node, shape)
    elif op in _BENDING:
        if op == "TopK" and "largest" in node.attributes and not node.attributes["largest"].value:
            raise Unclear("comes from TopK of the smallest scores")
        if op in _ALONG_CLASSES and _axis_of(node) % len(axes.sizes) != axes.classes:
            raise Unclear(f"is {op} along another axis than that of the classes")
        walk.bend(op)
        walk.decided = op in _DECIDING
    elif op == "Concat":
        if axes.n_logits > 1 or walk.bent_by != "Sigmoid" or _axis_of(node) not in (1, -1):
            raise Unclear("comes from a Concat of scores")
        walk.bend(op)
    elif op in _THRESHOLDS:
        if axes.n_logits > 1:
            raise Unclear(f"comes from {op}, a decision for each of several logits")
        level = constant_of(node.inputs[1])
        own = 0.5 if walk.bent_by == "Sigmoid" else 0.0
        if level is None or level.size != 1 or (walk.bent and walk.bent_by != "Sigmoid"):
            raise Unclear(f"comes from {op} with a threshold that is not one number")
        if not np.isclose(level.item(), own):
            raise Unclear(f"is decided at {level.item():g}, where the head decides at {own:g}")
        walk.decided = True
    elif op in _DECIDING:
        walk.decided = True
        _look_up(walk, node)
    if walk.logits is None and op in _CHOOSING | _MOVING:
        walk.choosing.append(node)
    return walk.logits is None


def _look_up(walk: _Walk, node: ir.Node) -> None:
    """What becomes of a decision: it is looked up in tables, reshaped or cast, and nothing else."""
    table = _labels(node)
    if table is None:
        if node.op_type not in NO_OPS | _RESHAPING | {"ZipMap", "LabelEncoder"} | _QUANTISED:
            raise Unclear(f"is decided, and changed by {node.op_type} after that")
    elif walk.labels is None:
        walk.labels = table
    elif node.op_type != "ZipMap":
        if not all(isinstance(i, int) and 0 <= i < len(table) for i in walk.labels):
            raise Unclear("is looked up in two tables that do not fit each other")
        walk.labels = tuple(table[i] for i in walk.labels)


def _reshape(axes: _Axes, node: ir.Node, shape: Shape) -> None:
    if node.op_type == "Transpose":
        permutation = node.attributes.get("perm")
        order = list(permutation.as_ints()) if permutation else list(range(len(axes.sizes)))[::-1]
        if order[0] != 0:
            raise Unclear("has its axes of samples and classes exchanged")
        axes.sizes = [axes.sizes[i] for i in order]
        axes.classes = order.index(axes.classes)
    elif node.op_type == "Squeeze":
        given = axes_of(node)
        single = [i for i, n in enumerate(axes.sizes) if i and n == 1]
        gone = [axis % len(axes.sizes) for axis in (single if given is None else given)]
        if axes.classes in gone and len(axes.sizes) > 2:
            raise Unclear("loses the axis of its one logit together with those of positions")
        axes.without(gone)
    elif node.op_type == "Unsqueeze":
        rank = len(axes.sizes) + len(axes_of(node) or ())
        for axis in sorted(a % rank for a in axes_of(node) or ()):
            if axis == 0:
                raise Unclear("has an axis in front of the samples")
            axes.sizes.insert(axis, 1)
            axes.classes += axis <= axes.classes < len(axes.sizes) - 1
    else:
        _flatten(axes, node, shape)


def _flatten(axes: _Axes, node: ir.Node, shape: Shape) -> None:
    """Flatten, or Reshape: what is left must be (samples, classes)."""
    if not axes.one_per_sample:
        raise Unclear(f"goes through {node.op_type} with several positions per sample")
    if node.op_type == "Flatten":
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
        sides: tuple[Any, ...] = (-1, axes.n_logits)
        if not 0 < axis % len(axes.sizes) <= axes.classes:
            raise Unclear("goes through a Flatten that mixes samples and classes")
    else:
        target = constant_of(node.inputs[1])
        sides = shape or () if target is None else tuple(target.ravel().tolist())
    rest = [n for n in sides[1:] if n != 1]
    if not sides or (rest not in ([axes.n_logits], [-1]) and axes.n_logits > 1):
        raise Unclear(f"is reshaped to {tuple(sides)}, not to one row of {axes.n_logits} logits")
    if axes.n_logits == 1 and rest not in ([], [-1]):
        raise Unclear(f"is reshaped to {tuple(sides)}, not to one logit per sample")
    axes.sizes = [axes.sizes[0]] + [1] * (len(sides) - 1)
    axes.classes = next((i for i, n in enumerate(sides) if i and n != 1), 1)
    if axes.n_logits > 1:
        axes.sizes[axes.classes] = axes.n_logits


def _choose(walk: _Walk, node: ir.Node, shape: Shape) -> None:
    """Averages over positions, or the choice of one."""
    axes, op = walk.axes, node.op_type
    rank = len(axes.sizes)
    if op in ("GlobalAveragePool", "AveragePool"):
        if axes.classes != 1 or any(
            node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
        ):
            raise Unclear(f"goes through {op} along the classes, or with padding")
        axes.sizes[2:] = [1] * (rank - 2) if op == "GlobalAveragePool" else _ints(shape, 2, rank)
        return
    if op == "GatherND":
        _choose_by_index(axes, node, shape)
        return
    touched = _touched_axes(node, rank)
    if touched is None:
        raise Unclear(f"goes through {op} along axes, or from positions, that are not constant")
    if 0 in touched:
        raise Unclear(f"goes through {op} along the first axis, which is that of the samples")
    if axes.classes in touched:
        one = (
            op == "Gather"
            and (index := constant_of(node.inputs[1])) is not None
            and index.size == 1
        )
        one = one or (op == "Slice" and _ints(shape, axes.classes, axes.classes + 1) == [1])
        if not (one and walk.bent_by == "Softmax" and axes.n_logits == 2):
            raise Unclear(f"goes through {op} over the classes")
        walk.decided = True  # the probability of one of two classes
    elif op == "ReduceMean":
        keep = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
        for axis in touched:
            axes.sizes[axis] = 1
        if not keep:
            axes.without(touched)
    elif op == "Gather":
        index = constant_of(node.inputs[1])
        if index is None or index.size != 1 or index.ndim > 1:
            raise Unclear("goes through a Gather of several positions")
        axes.sizes[touched[0]] = 1
        if index.ndim == 0:
            axes.without(touched)
    else:
        for axis in touched:
            axes.sizes[axis] = _ints(shape, axis, axis + 1)[0]


def _choose_by_index(axes: _Axes, node: ir.Node, shape: Shape) -> None:
    """One position of each sample, as the model finds it: its last token, say."""
    last = len(axes.sizes) - 1
    if (
        axes.classes != last
        or shape is None
        or len(shape) != 2
        or node.attributes.get("batch_dims")
    ):
        raise Unclear("goes through GatherND, which may choose more than a position")
    axes.sizes, axes.classes = [axes.sizes[0], axes.sizes[last]], 1


def _touched_axes(node: ir.Node, rank: int) -> list[int] | None:
    if node.op_type == "Gather":
        given: Any = (_axis_of(node),)
    elif node.op_type == "Slice" and "axes" not in node.attributes:
        constant = all(v is None or constant_of(v) is not None for v in node.inputs[1:])
        given = constant_of(node.inputs[3]) if constant and len(node.inputs) > 3 else None
    else:
        given = axes_of(node)
    return None if given is None else [int(axis) % rank for axis in given]


def _ints(shape: Shape, start: int, end: int) -> list[int | None]:
    sides: Any = (None,) * end if shape is None else shape
    return [n if isinstance(n, int) else None for n in sides[start:end]]


def _axis_of(node: ir.Node) -> int:
    if "axis" in node.attributes:
        return node.attributes["axis"].as_int()
    if node.op_type in ("Softmax", "LogSoftmax") and node.graph is not None:
        return -1 if opset_of(node.graph) >= 13 else 1
    return -1 if node.op_type == "TopK" else 0


def _scaled(node: ir.Node) -> tuple[ir.Value | None, float]:
    """What a Mul or Div scales by a constant number, and the factor."""
    if len(node.inputs) != 2:
        return None, 1.0
    first, second = node.inputs
    for data, other in ((first, second), (second, first)):
        constant = constant_of(other)
        if (
            data is None
            or constant is None
            or constant.size != 1
            or constant.dtype.kind not in "fiu"
        ):
            continue
        factor = float(constant.item())
        if not factor or not np.isfinite(factor):
            continue
        if node.op_type == "Mul":
            return data, factor
        if data is first:
            return data, 1 / factor
    return None, 1.0


def _complemented(node: ir.Node) -> ir.Value | None:
    """The p of a Concat of (1 - p, p): two columns from a single unit."""
    if len(node.inputs) != 2 or node.inputs[0] is None:
        return None
    other = node.inputs[0].producer()
    if other is None or other.op_type != "Sub" or other.inputs[1] is not node.inputs[1]:
        return None
    one = constant_of(other.inputs[0])
    return node.inputs[1] if one is not None and (one == 1).all() else None


def _labels(node: ir.Node) -> tuple[Any, ...] | None:
    if node.op_type in _LOOKUP:
        table = constant_of(node.inputs[0])
        return None if table is None else tuple(_plain(v) for v in table.ravel().tolist())
    if node.op_type == "ZipMap":
        names = _entries(node, "classlabels_")
        return None if names is None else tuple(_plain(name) for name in names)
    if node.op_type == "LabelEncoder":
        keys, values = (_entries(node, prefix) for prefix in ("keys_", "values_"))
        if values is not None and keys == list(range(len(values))):
            return tuple(_plain(value) for value in values)
    return None


def _entries(node: ir.Node, prefix: str) -> list[Any] | None:
    for name, attribute in node.attributes.items():
        if name.startswith(prefix):
            value = attribute.value
            return value.numpy().tolist() if attribute.type == ir.AttributeType.TENSOR else [*value]
    return None


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
