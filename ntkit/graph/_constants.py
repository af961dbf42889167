"""Constant tensors of a graph, evaluated through the operators of exporters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from ntkit._types import Array
from ntkit.graph._tensors import is_standard, opset_of

_BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Where", "Clip"}
)
_DEFAULT_OPSET = 17
_FIRST_OPSET = {"DequantizeLinear": 21}  # the reference has no older ones; they are equal


def evaluator(node: ir.Node) -> Callable[[Sequence[Array | None]], list[Array]]:
    """Make an operator callable with its inputs; None for one left out."""
    from onnx.reference import ReferenceEvaluator  # slow to import, and most heads do not need it

    empty = onnx.helper.make_empty_tensor_value_info
    names = [f"i{i}" if v is not None else "" for i, v in enumerate(node.inputs)]
    results = [f"o{i}" for i in range(len(node.outputs))]
    proto = onnx.helper.make_node(node.op_type, names, results, domain=node.domain)
    proto.attribute.extend(ir.to_proto(a) for a in node.attributes.values())
    graph = onnx.helper.make_graph(
        [proto], "one", [empty(n) for n in names if n], [empty(n) for n in results]
    )
    opset = opset_of(node.graph) if node.graph is not None else _DEFAULT_OPSET
    opset = max(opset, _FIRST_OPSET.get(node.op_type, 1))
    imports = [
        onnx.helper.make_opsetid("", min(opset, onnx.defs.onnx_opset_version())),
        onnx.helper.make_opsetid("ai.onnx.ml", 1),
    ]
    model = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))

    def run(inputs: Sequence[Array | None]) -> list[Array]:
        feed = {name: array for name, array in zip(names, inputs, strict=True) if name}
        with np.errstate(all="ignore"):
            return [np.asarray(result) for result in model.run(None, feed)]

    return run


def largest_size(node: ir.Node, inputs: Sequence[Array | None]) -> float:
    """Maximum number of elements that an operator may make or read, checked before it runs."""
    arrays = [array for array in inputs if array is not None]
    op, sides = node.op_type, [*arrays[0].shape] if arrays else []
    if op in _BROADCASTING:
        sides = [*np.broadcast_shapes(*(array.shape for array in arrays))]
    elif op == "Expand":
        sides = [*np.broadcast_shapes(arrays[0].shape, tuple(arrays[1].astype(int)))]
    elif op == "ConstantOfShape":
        sides = [int(side) for side in arrays[0].ravel()]
    elif op == "Tile":
        sides = [int(n * times) for n, times in zip(sides, arrays[1].ravel(), strict=True)]
    elif op == "Concat":
        return float(sum(array.size for array in arrays))
    elif op == "Einsum":
        return _size_of_einsum(node.attributes["equation"].as_string(), arrays)
    elif op == "Pad":
        _widen(sides, arrays[1].ravel().tolist() if len(arrays) > 1 else _pads(node))
    elif "pads" in node.attributes:
        _widen(sides, _pads(node))
    return float(math.prod(sides)) if min(sides, default=0) >= 0 else math.inf


def _pads(node: ir.Node) -> list[int]:
    return list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else []


def _widen(sides: list[int], pads: list[int]) -> None:
    half = len(pads) // 2
    for axis, (before, after) in enumerate(zip(pads[:half], pads[half:], strict=False)):
        sides[len(sides) - half + axis] += abs(before) + abs(after)


def _size_of_einsum(equation: str, arrays: Sequence[Array]) -> float:
    terms, _, result = equation.replace(" ", "").partition("->")
    sizes = {
        letter: size
        for term, array in zip(terms.split(","), arrays, strict=False)
        for letter, size in zip(term.replace("...", ""), array.shape, strict=False)
    }
    return float(math.prod(sizes.get(letter, 1) for letter in set(result or terms)))


_FOLDED = frozenset(
    {
        *("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout"),
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Neg", "Abs", "Sqrt", "Exp", "Clip"),
        *("ReduceL2", "ReduceSum", "ReduceMean", "Cast", "CastLike", "DequantizeLinear"),
        *("Expand", "Shape", "Concat", "ConstantOfShape"),
    }
)
# Exporters write a few operators between a stored tensor and its use; none writes more.
_MOST_NODES = 64
_SMALL = 1024
_MOST_FILLED = 1_000_000


def constant_of(value: ir.Value | None) -> Array | None:
    """Value of a constant tensor, or None if it depends on the model's inputs."""
    # Folds the usual operators between the stored tensor and its use: changes of type and shape,
    # normalisation, DequantizeLinear. No result is larger than the largest stored tensor.
    if value is None:
        return None
    stored = _stored(value)
    if stored is not None:
        return _plain(stored.numpy(), floating=stored.dtype.is_floating_point())
    nodes = _constant_nodes(value)
    if nodes is None:
        return None
    known: dict[int, Array | None] = {}
    most = _SMALL
    for node in nodes:  # operands come before the nodes that read them
        operands = [_operand(v, known) for v in node.inputs]
        most = max(most, *(o.size for o in operands if o is not None))
        filled = node.op_type == "ConstantOfShape"
        if largest_size(node, operands) > (_MOST_FILLED if filled else most):
            return None
        known[id(node.outputs[0])] = _plain(evaluator(node)(operands)[0])
    return known[id(value)]


def is_constant(value: ir.Value | None) -> bool:
    """Whether a tensor does not depend on the model's inputs, without computing it."""
    if value is None:
        return False
    return _stored(value) is not None or _constant_nodes(value) is not None


def dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """Element type of a tensor, from the constant behind it if the graph does not declare it."""
    for _ in range(_MOST_NODES):
        if value is None:
            return None
        stored = _stored(value)
        if stored is not None:
            return stored.dtype  # the graph may declare it wrongly
        if value.dtype is not None:
            return value.dtype
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "Cast":
            return ir.DataType(node.attributes["to"].as_int())
        if node.op_type == "ConstantOfShape":
            filling = node.attributes.get("value")
            return ir.DataType.FLOAT if filling is None else filling.as_tensor().dtype
        if node.op_type == "DequantizeLinear":
            value = node.inputs[1]
        elif node.op_type in _FOLDED:
            value = node.inputs[0]
        else:
            return None
    return None


def float_type(value: ir.Value | None) -> ir.DataType:
    """Type of floats in a tensor, inferred from its inputs if the graph does not say."""
    # The default is float32, as in nearly all models.
    for _ in range(_MOST_NODES):
        dtype = dtype_of(value)
        if dtype is not None and dtype.is_floating_point():
            return dtype
        node = value.producer() if value is not None else None
        if node is None:
            break
        known = (dtype_of(v) for v in node.inputs if is_constant(v))
        floats = [d for d in known if d is not None and d.is_floating_point()]
        if floats:
            return floats[0]
        value = next((v for v in node.inputs if v is not None and not is_constant(v)), None)
    return ir.DataType.FLOAT


def axes_of(node: ir.Node) -> tuple[int, ...] | None:
    """The ``axes`` of an operator: an attribute in old operator sets, an input in new ones."""
    # None if there are none, or they are not constant.
    if "axes" in node.attributes:
        return tuple(node.attributes["axes"].as_ints())
    axes = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None else tuple(int(axis) for axis in axes.ravel())


def _stored(value: ir.Value) -> ir.TensorProtocol | None:
    if value.const_value is not None:
        return value.const_value
    node = value.producer()
    if node is None or node.op_type != "Constant" or not is_standard(node):
        return None
    return ir.convenience.get_const_tensor(value)


def _constant_nodes(value: ir.Value) -> list[ir.Node] | None:
    """The operators a value is computed from, in order; None if an input is among its sources."""
    order: dict[int, ir.Node] = {}
    waiting: list[tuple[ir.Value, bool]] = [(value, False)]
    while waiting:
        current, operands_done = waiting.pop()
        node = current.producer()
        if node is None or node.op_type not in _FOLDED or not is_standard(node):
            return None
        if operands_done:
            order.setdefault(id(node), node)
        elif id(node) not in order:
            if len(order) + len(waiting) > _MOST_NODES:
                return None
            waiting.append((current, True))
            inner = [v for v in node.inputs if v is not None and _stored(v) is None]
            if any(v is current for v in inner):
                return None
            waiting += [(v, False) for v in inner]
    return list(order.values())


def _operand(value: ir.Value | None, known: dict[int, Array | None]) -> Array | None:
    stored = None if value is None else _stored(value)
    if stored is None:
        return known.get(id(value))
    return _plain(stored.numpy(), floating=stored.dtype.is_floating_point())


def _plain(array: Array, *, floating: bool = True) -> Array:
    """Numbers in a type of NumPy: bfloat16 and similar as floats, 4 bits as 8."""
    if array.dtype.kind in "fiubcOUS":
        return array
    floating = floating and not array.dtype.name.startswith(("int", "uint"))
    return array.astype(np.float32 if floating else np.int8)
