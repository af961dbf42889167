"""Run operators of a graph on arrays, in float64 and without the rounding of quantisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit._types import Array
from ntkit.graph.tensors import Shape, Shapes, attribute, constant_of, evaluator, largest_size
from ntkit.model.affine.operators import QUANTISED, NotAffine, called, dynamically_quantised

EACH, ROW, ALL = "one of each sample", "a row of all samples", "one for all samples"
_SHAPING = frozenset(["Unsqueeze", "Squeeze", "Reshape", "Flatten", "Expand", "Cast", "Identity"])
_MOST_STEPS = 12


def choice(node: ir.Node, rank: int, shape_of: Shapes) -> str | None:
    """How an operator with computed indices chooses positions of its data."""
    # None if it may choose anything else: a class, or a position of another sample.
    op, index, axis = node.op_type, node.inputs[1], attribute(node, "axis", 0)
    shape = None if index is None else shape_of(index)
    if op == "GatherElements":
        spread = spread_of(node)
        before = None if spread is None else shape_of(spread)
        one = before is not None and before[1:] == (1, 1) and (shape or ())[1:2] == (1,)
        return EACH if rank > 2 and axis == 1 and one else None
    if op == "GatherND":
        return EACH if rank > 2 and _one_of_each(node, rank, shape, shape_of) else None
    if shape in ((), (1,)) and axis % rank > 0:
        return ALL
    flat = shape is not None and len(shape) == 1 and axis == 0 and rank == 2
    return ROW if flat and _starts_at_samples(index) else None


def _one_of_each(node: ir.Node, rank: int, shape: Shape, shape_of: Shapes) -> bool:
    """Whether a GatherND with indices of this shape chooses one position of each sample."""
    if attribute(node, "batch_dims", 0):
        return shape is not None and shape[1:] == (1,)
    whole = len(shape_of(node.outputs[0]) or ()) == rank - 1
    return _numbers_samples(_first_part(node.inputs[1])) and (whole or (shape or ())[1:] == (2,))


def spread_of(node: ir.Node) -> ir.Value | None:
    """Indices of a GatherElements that are the same for every channel."""
    spreading = _producer(node.inputs[1])
    return spreading.inputs[0] if spreading is not None and spreading.op_type == "Expand" else None


def _first_part(index: ir.Value | None) -> ir.Value | None:
    joined = _producer(index)
    return joined.inputs[0] if joined is not None and joined.op_type == "Concat" else None


def _starts_at_samples(index: ir.Value | None) -> bool:
    """Whether an index is a position plus 0, T, 2T, … one for each sample."""
    total = _producer(_unshaped(index))
    if total is None or total.op_type != "Add":
        return False
    parts = [part for part in map(_producer, total.inputs) if part is not None]
    return any(_numbers_samples(v) for part in parts if part.op_type == "Mul" for v in part.inputs)


def _numbers_samples(value: ir.Value | None) -> bool:
    """Whether a tensor is 0, 1, 2, … one for each sample."""
    value = _unshaped(value)
    known, counting = constant_of(value), _producer(value)
    if known is not None:
        return bool((known.ravel() == np.arange(known.size)).all())
    if counting is None or counting.op_type != "Range":
        return False
    start, _, step = map(constant_of, counting.inputs)
    return start is not None and step is not None and (start.item(), step.item()) == (0, 1)


def _unshaped(value: ir.Value | None) -> ir.Value | None:
    """A tensor before operators that change only its shape."""
    for _ in range(_MOST_STEPS):
        node = _producer(value)
        if node is None or node.op_type not in _SHAPING:
            break
        value = node.inputs[0]
    return value


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


_MOST_ELEMENTS = 16_000_000
_CHOOSING = frozenset(["Gather", "GatherND", "GatherElements"])


@dataclass(eq=False)
class Runner:
    """Runs nodes in order; caches constants and operators."""

    # Positions that the model finds for each sample are drawn at random, once for each node.

    _shape_of: Shapes
    samples: int = 1  # in arrays to come
    alike: bool = False  # these are the same at every position
    _rng: np.random.Generator = field(default_factory=partial(np.random.default_rng, 0))
    _positions: dict[tuple[int, int, int], Array] = field(default_factory=dict)
    _constants: dict[int, Array | None] = field(default_factory=dict)
    _operators: dict[int, Any] = field(default_factory=dict)
    _native: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def run(self, nodes: list[ir.Node], values: dict[int, Array], *, native: bool = False) -> None:
        """Compute the outputs of ``nodes``, in order, into ``values`` (by identity)."""
        # `native`: there are as many samples as a fixed Reshape requires.
        for node in nodes:
            try:
                with np.errstate(all="ignore"):
                    results = self._outputs(node, values, native)
            except NotAffine:
                raise
            except ValueError as error:
                why = f"whose inputs do not fit together for {self.samples} samples"
                raise NotAffine(f"comes from {called(node)}, {why}") from error
            except Exception as error:  # any failure means that it is not a linear layer
                raise NotAffine(f"comes from {called(node)}, which does not run: {error}") from None
            for value, result in zip(node.outputs, results, strict=False):
                values[id(value)] = result
                if result.size > _MOST_ELEMENTS:
                    raise NotAffine(f"comes from {called(node)}, too large for a linear layer")

    def constant(self, value: ir.Value | None) -> Array | None:
        """A constant in float64, or unchanged if it has whole numbers."""
        if value is None:
            return None
        if id(value) not in self._constants:
            array = constant_of(value)
            if array is not None and array.dtype.kind not in "fiub":
                raise NotAffine(f"reads {value.name!r}, which does not have real numbers")
            floating = array is not None and array.dtype.kind == "f"
            self._constants[id(value)] = (
                array.astype(np.float64) if array is not None and floating else array
            )
        return self._constants[id(value)]

    def _get(self, value: ir.Value | None, values: dict[int, Array]) -> Any:
        if value is not None and id(value) in values:
            return values[id(value)]
        constant = self.constant(value)
        if constant is None and value is not None:
            raise NotAffine(f"needs the tensor {value.name!r}, which is not constant")
        return constant

    def _outputs(self, node: ir.Node, values: dict[int, Array], native: bool) -> list[Array]:
        op = node.op_type
        if op in ("Identity", "Dropout", "Cast"):
            return [self._get(node.inputs[0], values)]
        if op in QUANTISED:
            inputs = [self._get(v, values) for v in node.inputs]
            attributes = {name: a.value for name, a in node.attributes.items()}
            return [np.asarray(QUANTISED[op](attributes, *inputs))]
        if op == "Mul" and (dynamic := dynamically_quantised(node)) is not None:
            return [self._get(dynamic[0], values) @ dynamic[1]]
        if op == "BatchNormalization":
            return [_normalised(node, *(self._get(v, values) for v in node.inputs))]
        if op in _CHOOSING and self._found(node, values):
            return [self._chosen(node, values)]
        if op in ("Reshape", "Expand"):
            return [self._reshaped(node, values, native)]
        if op == "Conv" and (product := self._convolution(node, values)) is not None:
            return [product]
        return self._by_reference(node, values)

    def _by_reference(self, node: ir.Node, values: dict[int, Array]) -> list[Array]:
        """ONNX's own reference implementation."""
        if id(node) not in self._operators:
            self._operators[id(node)] = evaluator(node)
        inputs = [self._get(v, values) for v in node.inputs]
        if largest_size(node, inputs) > _MOST_ELEMENTS:
            raise NotAffine(f"comes from {called(node)}, too large for a linear layer")
        results: list[Array] = self._operators[id(node)](inputs)
        return results

    def target(self, node: ir.Node) -> Array:
        """Shape for a Reshape or Expand; computed ones have -1 for the samples."""
        target = self.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if target is None and "shape" in node.attributes:
            target = np.asarray(node.attributes["shape"].as_ints())
        return _open(self._shape_of(node.outputs[0]), node) if target is None else target

    def _reshaped(self, node: ir.Node, values: dict[int, Array], native: bool) -> Array:
        data, target = self._get(node.inputs[0], values), self.target(node)
        if node.op_type == "Expand":
            target = np.maximum(target, 1)
            expanded: Array = np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(target)))
            return expanded
        sides = [data.shape[i] if n == 0 else int(n) for i, n in enumerate(target.tolist())]
        if not native and id(node) in self._native:
            sides = [-1, *self._native[id(node)][1:]]
        result: Array = data.reshape(sides)
        if native:
            self._native[id(node)] = result.shape
        return result

    def _convolution(self, node: ir.Node, values: dict[int, Array]) -> Array | None:
        """A convolution at one position at a time, or as large as its input: one product."""
        data, weight = (self._get(v, values) for v in node.inputs[:2])
        strides = attribute(node, "strides", ())
        if attribute(node, "group", 1) != 1 or any(attribute(node, "pads", ())):
            return None
        if data.shape[1:] == weight.shape[1:]:
            total = np.tensordot(data, weight, ([*range(1, data.ndim)],) * 2)
            total = total.reshape(*total.shape, *[1] * (data.ndim - 2))
        elif all(n == 1 for n in (*weight.shape[2:], *strides)):
            total = np.moveaxis(np.tensordot(data, weight.reshape(weight.shape[:2]), (1, 1)), -1, 1)
        else:
            return None
        bias = self._get(node.inputs[2], values) if len(node.inputs) > 2 else None
        return np.asarray(total if bias is None else total + _in_channels(bias, data))

    def _found(self, node: ir.Node, values: dict[int, Array]) -> bool:
        index = node.inputs[1]
        if index is not None and id(index) in values:
            raise NotAffine(f"comes from {called(node)} of what it reads, not linear")
        return self.constant(index) is None

    def _chosen(self, node: ir.Node, values: dict[int, Array]) -> Array:
        """A random position of each sample: the true one depends on the inputs."""
        data = self._get(node.inputs[0], values)
        how = choice(node, data.ndim, self._shape_of)
        if how == ROW and self.samples < len(data) and len(data) % self.samples == 0:
            data, how = data.reshape(self.samples, -1, data.shape[1]), EACH
        if how == EACH:
            self._same_at_all(node, data, 1)
            chosen: Array = data[np.arange(len(data)), self._drawn(node, len(data), data.shape[1])]
            return chosen[:, None] if node.op_type == "GatherElements" else chosen
        if how == ALL:
            axis, sides = attribute(node, "axis", 0), self._shape_of(node.inputs[1])  # type: ignore[arg-type]
            self._same_at_all(node, data, axis)
            at = self._drawn(node, 1, data.shape[axis])
            return np.asarray(np.take(data, at if sides else at.item(), axis))
        raise NotAffine(f"comes from {called(node)} with computed indices, not linear")

    def _drawn(self, node: ir.Node, n: int, n_positions: int) -> Array:
        key = (id(self._index_of(node)), n, n_positions)
        if key not in self._positions:
            self._positions[key] = self._rng.integers(0, n_positions, n)
        return self._positions[key]

    def _index_of(self, node: ir.Node) -> ir.Value | None:
        """The tensor with the positions, so that operators that share it choose the same ones."""
        index = spread_of(node) if node.op_type == "GatherElements" else node.inputs[1]
        for _ in range(_MOST_STEPS):
            index = _unshaped(index or node.inputs[1])
            taken = _producer(index)
            data = taken.inputs[0] if taken is not None and taken.op_type == "Gather" else None
            shape = None if data is None else self._shape_of(data)
            axis = attribute(taken, "axis", 0) if taken is not None else 0
            if shape is None or not -len(shape) <= axis < len(shape) or shape[axis] != 1:
                break
            index = data
        return index

    def _same_at_all(self, node: ir.Node, data: Array, axis: int) -> None:
        if self.alike and np.ptp(data, axis).any():
            raise NotAffine(f"comes from {called(node)} with computed indices, not linear")


def _open(shape: Shape, node: ir.Node) -> Array:
    """A computed shape, as far as inference knows it: an open size is that of the samples."""
    sides = [n if isinstance(n, int) else -1 for n in shape or ()]
    if shape is None or sides.count(-1) > 1:
        raise NotAffine(f"comes from {called(node)} to a computed shape")
    return np.asarray(sides, np.int64)


def _normalised(node: ir.Node, data: Any, gain: Any, shift: Any, mean: Any, var: Any) -> Any:
    """BatchNormalization; the reference of old operator sets runs in training mode."""
    factor = gain / np.sqrt(var + attribute(node, "epsilon", 1e-5))
    return data * _in_channels(factor, data) + _in_channels(shift - factor * mean, data)


def _in_channels(vector: Any, data: Any) -> Any:
    return vector.reshape([-1] + [1] * (data.ndim - 2))
