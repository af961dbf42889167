"""Run operators of a graph on arrays, in float64 and without the rounding of quantisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.affine._dynamic_quantisation import dynamically_quantised
from ntkit.affine._operators import NotAffine, called
from ntkit.graph import Shape, Shapes, constant_of, opset_of

__all__ = ["Runner", "spread_of"]

Array = NDArray[Any]

_MOST_ELEMENTS = 16_000_000
_CHOOSING = frozenset(["Gather", "GatherND", "GatherElements"])
_BROADCASTING = frozenset(["Add", "Sub", "Mul", "Div", "Sum", "Mean", "Where"])
_DEFAULT_OPSET = 17
# batch_dims of a GatherND, and the width of its indices, that choose one position of each sample.
_OF_EACH_SAMPLE = ((0, 2), (1, 1))


class Runner:
    """Runs nodes one after the other; remembers constants, and operators once made.

    Positions that the model finds for each sample are drawn at random, for each node once.

    Attributes
    ----------
    samples : int
        How many there are in the arrays to come.
    alike : bool
        Whether these hold the same at every position, so that it does not matter which is chosen.
    """

    def __init__(self, shape_of: Shapes) -> None:
        self.samples = 1
        self.alike = False
        self._shape_of = shape_of
        self._rng = np.random.default_rng(0)
        self._positions: dict[tuple[int, int, int], Array] = {}
        self._constants: dict[int, Array | None] = {}
        self._operators: dict[int, Any] = {}
        self._native: dict[int, tuple[int, ...]] = {}

    def run(self, nodes: list[ir.Node], values: dict[int, Array], *, native: bool = False) -> None:
        """Compute the outputs of ``nodes``, in order, into ``values`` (by identity).

        ``native`` says that there are as many samples as a fixed Reshape may ask for.

        Raises
        ------
        NotAffine
            If an operator cannot be run, or makes more than a linear layer would.
        """
        for node in nodes:
            try:
                with np.errstate(all="ignore"):
                    results = self._outputs(node, values, native)
            except NotAffine:
                raise
            # Whatever a reference implementation stumbles over, it is no linear layer.
            except Exception as error:
                raise NotAffine(f"comes from {called(node)}, which does not run: {error}") from None
            for value, result in zip(node.outputs, results, strict=False):
                values[id(value)] = result
                if result.size > _MOST_ELEMENTS:
                    raise NotAffine(f"comes from {called(node)}, too large for a linear layer")

    def constant(self, value: ir.Value | None) -> Array | None:
        """A constant in float64 (or as it is, if it holds whole numbers)."""
        if value is None:
            return None
        if id(value) not in self._constants:
            array = constant_of(value)
            if array is not None and array.dtype.kind not in "fiub":
                raise NotAffine(f"reads {value.name!r}, which holds no real numbers")
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
        if op in _QUANTISED:
            given = [self._get(v, values) for v in node.inputs]
            attributes = {name: a.value for name, a in node.attributes.items()}
            return [np.asarray(_QUANTISED[op](attributes, *given))]
        if op == "Mul" and (dynamic := dynamically_quantised(node)) is not None:
            return [self._get(dynamic[0], values) @ dynamic[1]]
        if op == "BatchNormalization":
            return [_normalised(node, *(self._get(v, values) for v in node.inputs))]
        if op in _CHOOSING and self._found(node, values):
            return [self._chosen(node, values)]
        if op in ("Reshape", "Expand"):
            return [self._reshaped(node, values, native)]
        if op == "Conv" and (whole := self._whole_convolution(node, values)) is not None:
            return [whole]
        return self._by_reference(node, values)

    def _by_reference(self, node: ir.Node, values: dict[int, Array]) -> list[Array]:
        """ONNX's own reference implementation."""
        known = self._operators.get(id(node))
        if known is None:
            known = self._operators[id(node)] = _reference(node)
        given = {f"i{i}": self._get(v, values) for i, v in enumerate(node.inputs) if v is not None}
        if _size(node, list(given.values())) > _MOST_ELEMENTS:  # before it is made
            raise NotAffine(f"comes from {called(node)}, too large for a linear layer")
        return [np.asarray(result) for result in known.run(None, given)]

    def target(self, node: ir.Node) -> Array:
        """The shape that a Reshape or Expand is given, computed ones with -1 for the samples."""
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

    def _whole_convolution(self, node: ir.Node, values: dict[int, Array]) -> Array | None:
        """A convolution as large as what it reads is one product."""
        data, weight = (self._get(v, values) for v in node.inputs[:2])
        group = node.attributes["group"].as_int() if "group" in node.attributes else 1
        padded = "pads" in node.attributes and any(node.attributes["pads"].as_ints())
        if group != 1 or padded or data.shape[1:] != weight.shape[1:]:
            return None
        flat = data.reshape(len(data), -1) @ weight.reshape(len(weight), -1).T
        bias = self._get(node.inputs[2], values) if len(node.inputs) > 2 else None
        total: Array = flat if bias is None else flat + bias
        return total.reshape(*total.shape, *[1] * (data.ndim - 2))

    def _found(self, node: ir.Node, values: dict[int, Array]) -> bool:
        index = node.inputs[1]
        if index is not None and id(index) in values:
            raise NotAffine(f"comes from {called(node)} of what it reads, not linear")
        return self.constant(index) is None

    def _chosen(self, node: ir.Node, values: dict[int, Array]) -> Array:
        """A position of each sample, drawn: which one the model finds depends on its inputs."""
        data = self._get(node.inputs[0], values)
        shape = self._shape_of(node.inputs[1])  # type: ignore[arg-type]
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        batched = node.attributes["batch_dims"].as_int() if "batch_dims" in node.attributes else 0
        op, sides = node.op_type, () if shape is None else shape
        of_sample = op == "GatherND" and (batched, *sides[1:]) in _OF_EACH_SAMPLE
        of_sample |= op == "GatherElements" and axis == 1 and self._one_for_all(node, sides)
        one_each = data.ndim > 2 and of_sample
        flat = op == "Gather" and len(sides) == 1 and axis == 0 and data.ndim == 2
        if flat and self.samples < len(data) and len(data) % self.samples == 0:
            data, one_each = data.reshape(self.samples, -1, data.shape[1]), True
        if one_each:
            self._same_at_all(node, data, 1)
            chosen: Array = data[np.arange(len(data)), self._drawn(node, len(data), data.shape[1])]
            return chosen[:, None] if op == "GatherElements" else chosen
        if op == "Gather" and shape in ((), (1,)) and axis % data.ndim > 0:
            self._same_at_all(node, data, axis)
            at = self._drawn(node, 1, data.shape[axis])
            chosen = np.take(data, at if sides else at.item(), axis)
            return chosen
        raise NotAffine(f"comes from {called(node)} with computed indices, not linear")

    def _one_for_all(self, node: ir.Node, sides: tuple[int | str | None, ...]) -> bool:
        """Whether the indices of a GatherElements choose one position, for all channels alike."""
        spread = spread_of(node)
        before = self._shape_of(spread) if spread is not None else None
        return before is not None and before[1:] == (1, 1) and sides[1:2] == (1,)

    def _drawn(self, node: ir.Node, n: int, n_positions: int) -> Array:
        key = (id(node), n, n_positions)
        if key not in self._positions:
            self._positions[key] = self._rng.integers(0, n_positions, n)
        return self._positions[key]

    def _same_at_all(self, node: ir.Node, data: Array, axis: int) -> None:
        if self.alike and np.ptp(data, axis).any():
            raise NotAffine(f"comes from {called(node)} with computed indices, not linear")


def _size(node: ir.Node, given: list[Array]) -> float:
    """At most so many elements an operator makes of arrays, or takes to make them."""
    if node.op_type in _BROADCASTING:
        return float(math.prod(np.broadcast_shapes(*(array.shape for array in given))))
    if node.op_type == "Einsum":
        terms, _, result = node.attributes["equation"].as_string().partition("->")
        sizes = {
            letter: size
            for term, array in zip(terms.replace(" ", "").split(","), given, strict=False)
            for letter, size in zip(term.replace("...", ""), array.shape, strict=False)
        }
        return float(math.prod(sizes.get(letter, 1) for letter in set(result or terms)))
    pads = given[1].ravel().tolist() if node.op_type == "Pad" and len(given) > 1 else []
    if "pads" in node.attributes:
        pads = list(node.attributes["pads"].as_ints())
    half, sides = len(pads) // 2, list(given[0].shape)
    for axis, (before, after) in enumerate(zip(pads[:half], pads[half:], strict=False)):
        sides[len(sides) - half + axis] += abs(before) + abs(after)
    return float(math.prod(sides))


def spread_of(node: ir.Node) -> ir.Value | None:
    """The indices behind those of a GatherElements that are the same for every channel."""
    index = node.inputs[1]
    spreading = index.producer() if index is not None else None
    spreads = spreading is not None and spreading.op_type == "Expand"
    return spreading.inputs[0] if spreading is not None and spreads else None


def _open(shape: Shape, node: ir.Node) -> Array:
    """A computed shape, as far as inference knows it: one open side is that of the samples."""
    sides = [n if isinstance(n, int) else -1 for n in shape or ()]
    if shape is None or sides.count(-1) > 1:
        raise NotAffine(f"comes from {called(node)} to a computed shape")
    return np.asarray(sides, np.int64)


def _reference(node: ir.Node) -> Any:
    from onnx.reference import ReferenceEvaluator  # slow to import, and most heads need none

    empty = onnx.helper.make_empty_tensor_value_info
    attributes = [ir.to_proto(a) for a in node.attributes.values()]
    names = [f"i{i}" if v is not None else "" for i, v in enumerate(node.inputs)]
    results = [f"o{i}" for i in range(len(node.outputs))]
    proto = onnx.helper.make_node(node.op_type, names, results, domain=node.domain)
    proto.attribute.extend(attributes)
    graph = onnx.helper.make_graph(
        [proto], "one", [empty(n) for n in names if n], [empty(n) for n in results]
    )
    opset = opset_of(node.graph) if node.graph is not None else _DEFAULT_OPSET
    imports = [onnx.helper.make_opsetid("", opset)]
    return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))


def _normalised(node: ir.Node, data: Any, gain: Any, shift: Any, mean: Any, var: Any) -> Any:
    """BatchNormalization; the reference of old operator sets learns."""
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    factor = gain / np.sqrt(var + epsilon)
    sides = [-1] + [1] * (data.ndim - 2)
    return data * factor.reshape(sides) + (shift - factor * mean).reshape(sides)


# -- quantised operators, as what they stand for -------------------------------------------------


def _along(array: Any, data: Any, axis: int) -> Any:
    """A scale or zero point per tensor or per channel, to be broadcast."""
    array = np.asarray(0.0 if array is None else array, np.float64)
    if array.size == 1:
        return array.reshape(())
    return array.reshape([-1 if i == axis % data.ndim else 1 for i in range(data.ndim)])


def _quantised(attribute: dict[str, Any], data: Any, scale: Any, zero: Any = None) -> Any:
    axis = attribute.get("axis", 1)
    return data / _along(scale, data, axis) + _along(zero, data, axis)


def _dequantised(attribute: dict[str, Any], data: Any, scale: Any, zero: Any = None) -> Any:
    axis = attribute.get("axis", 1)
    return (data - _along(zero, data, axis)) * _along(scale, data, axis)


def _of_integers(_: dict[str, Any], a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    return (a - _along(a_zero, a, -2)) @ (b - _along(b_zero, b, -1))


def _qgemm(attribute: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
           c: Any = None, sy: Any = None, zy: Any = None) -> Any:  # fmt: skip
    b = b.T if attribute.get("transB", 0) else b
    product = (a - _along(za, a, 1)) @ (b - _along(zb, b, 1)) + (0.0 if c is None else c)
    real = product * _along(sa, a, 1) * _along(sb, product, 1) * attribute.get("alpha", 1.0)
    return real if sy is None else _quantised({}, real, sy, zy)


def _qmatmul(_: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
             sy: Any, zy: Any) -> Any:  # fmt: skip
    real = _of_integers({}, a, b, za, zb) * _along(sa, a, -2)
    return _quantised({}, real * _along(sb, real, -1), sy, zy)


def _qadd(_: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
          sy: Any, zy: Any = None) -> Any:  # fmt: skip
    real = _dequantised({}, a, sa, za) + _dequantised({}, b, sb, zb)
    return _quantised({}, real, sy, zy)


def _of_few_bits(attribute: dict[str, Any], a: Any, packed: Any, scales: Any, zeros: Any = None,
                 groups: Any = None, bias: Any = None) -> Any:  # fmt: skip
    """MatMulNBits: rows of blocks of 2, 4 or 8 bits, each with a scale and a zero point."""
    rows, columns, bits = attribute["N"], attribute["K"], attribute.get("bits", 4)
    block = attribute["block_size"]
    blocks = -(-columns // block)
    if groups is not None and groups.size:
        raise ValueError("its blocks are given by g_idx")
    whole = _unpacked(packed.reshape(rows, -1), bits)[:, : blocks * block]
    if zeros is None:
        offset: Any = float(2 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        offset = _unpacked(zeros.reshape(rows, -1), bits)[:, :blocks, None]
    else:
        offset = zeros.reshape(rows, blocks, 1)
    weight = (whole.reshape(rows, blocks, block) - offset) * scales.reshape(rows, blocks, 1)
    return a @ weight.reshape(rows, -1)[:, :columns].T + (0.0 if bias is None else bias)


def _unpacked(packed: Any, bits: int) -> Any:
    parts = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(packed), -1).astype(np.float64)


_QUANTISED: dict[str, Any] = {
    "QuantizeLinear": _quantised,
    "DequantizeLinear": _dequantised,
    "MatMulInteger": _of_integers,
    "QGemm": _qgemm,
    "QLinearMatMul": _qmatmul,
    "QLinearAdd": _qadd,
    "MatMulNBits": _of_few_bits,
}
