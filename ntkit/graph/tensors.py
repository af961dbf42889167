"""Tensors of a graph by name, which of them are constant, and what computes them."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from ntkit._process import SharedSwitch
from ntkit._types import Array
from ntkit.exceptions import HeadNotFoundError, InputError

_LOGGER = logging.getLogger("onnx_ir")


@contextmanager
def _at_work() -> Iterator[None]:
    """Switch off onnx-ir's log, and the garbage collector while there are many new nodes."""
    # It would visit all of them again and again, which takes longer than making them.
    level, collects = _LOGGER.level, gc.isenabled()
    _LOGGER.setLevel(logging.CRITICAL)
    gc.disable()
    yield
    _LOGGER.setLevel(level)
    if collects:
        gc.enable()


AT_WORK = SharedSwitch(_at_work)


Shape = tuple[int | str | None, ...] | None
_SMALL = 64
_STANDARD_DOMAINS = frozenset(["", "ai.onnx", "ai.onnx.ml"])


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape (names for dynamic axes, None where unknown) and element type of a tensor."""

    name: str
    shape: Shape
    dtype: str
    columns: tuple[str, ...] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        shape = "unknown shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name} {shape} {self.dtype}"


def infer_shapes(model: ir.Model, **options: Any) -> None:
    """Add the shapes that ONNX infers, in place; without a word if they contradict each other."""
    with AT_WORK():
        common.ShapeInferencePass(check_type=False, strict_mode=False, **options)(model)


@dataclass(frozen=True, eq=False)
class Shapes:
    """Shapes of a model's tensors, from the file or inferred by ONNX on first use."""

    model: ir.Model

    def __call__(self, value: ir.Value) -> Shape:
        """Shape of a tensor; None if it is not known."""
        return _sides(self.known(value).shape if value.shape is None else value.shape)

    def known(self, value: ir.Value) -> ir.Value:
        """The tensor with the shape that ONNX infers."""
        return self._inferred.get(value.name or "", value)

    @cached_property
    def _inferred(self) -> dict[str, ir.Value]:
        copy = self.model.clone()
        graph = copy.graph
        # onnx-ir cannot read the type that inference gives a ZipMap.
        for node in [n for n in graph if n.op_type == "ZipMap"]:
            for value in [v for v in node.outputs if v.is_graph_output()]:
                graph.outputs.remove(value)
            graph.remove(node, safe=True)
        # Inference does not load external data, but it needs axes and shapes, which are small.
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.size <= _SMALL:
                value.const_value = ir.tensor(tensor.numpy().copy(), name=value.name)
        infer_shapes(copy)
        return ir.convenience.create_value_mapping(graph)


def _sides(shape: ir.Shape | None) -> Shape:
    if shape is None:
        return None
    return tuple(side if isinstance(side, int) else side.value for side in shape)


def is_standard(node: ir.Node) -> bool:
    """Whether a node is an operator of ONNX itself, not one of the same name in another domain."""
    return node.domain in _STANDARD_DOMAINS


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of an operator's attribute, or its default."""
    return node.attributes[name].value if name in node.attributes else default


def inlined_size(model: ir.Model) -> float:
    """Number of nodes with every call of the model's own functions expanded."""
    sizes: dict[object, float] = {}

    def size(nodes: Iterable[ir.Node]) -> float:
        return sum(1 if n.op_identifier() not in model.functions else called(n) for n in nodes)

    def called(node: ir.Node) -> float:
        identifier = node.op_identifier()
        if identifier not in sizes:
            sizes[identifier] = float("inf")  # a recursive function never ends
            sizes[identifier] = size(model.functions[identifier].all_nodes())
        return sizes[identifier]

    return size(model.graph.all_nodes())


def opset_of(graph: ir.Graph) -> int:
    """Version of ONNX's own operators that the graph is written for."""
    return int(graph.opset_imports.get("", 1))


def tensor_named(graph: ir.Graph, name: str) -> ir.Value:
    """Find a tensor of the graph by its name."""
    computed = [value for node in graph for value in node.outputs]
    for value in (*graph.inputs, *graph.initializers.values(), *computed):
        if value.name == name:
            return value
    near = ", ".join(repr(value.name or "") for value in [*graph.inputs, *computed][-6:])
    raise HeadNotFoundError(
        f"The model has no tensor {name!r}; its last ones are {near}. Name one of them."
    )


def info_of(value: ir.Value) -> TensorInfo:
    """Name, shape and element type of a tensor."""
    producer = value.producer()
    if value.type is None and producer is not None and producer.op_type == "ZipMap":
        return TensorInfo(value.name or "", None, "sequence of maps")
    dtype = "float32" if value.dtype is None else str(value.dtype.name).lower()
    dtype = {"float": "float32"}.get(dtype, dtype)
    if isinstance(value.type, ir.SequenceType):
        return TensorInfo(value.name or "", None, f"sequence of {dtype}")
    return TensorInfo(value.name or "", _sides(value.shape), dtype)


def outputs_after(graph: ir.Graph, start: ir.Value) -> list[ir.Value]:
    """The graph's outputs that are computed from a tensor."""
    return [v for v in graph.outputs if v is not start and any(start is a for a in ancestors([v]))]


def extract_up_to(
    graph: ir.Graph, outputs: list[ir.Value], start: ir.Value | None = None
) -> ir.GraphView:
    """The subgraph that computes some tensors (from ``start``), with the inputs that it needs."""
    reached = {id(value) for value in ancestors(outputs, [id(start)])}
    inputs = [v for v in graph.inputs if id(v) in reached and not v.is_initializer()]
    skipped = start.producer() if start is not None else None
    return ir.GraphView(
        inputs if start is None else [start, *inputs],
        outputs,
        nodes=[n for n in graph if n is not skipped and any(id(v) in reached for v in n.outputs)],
        initializers=[v for v in graph.initializers.values() if id(v) in reached],
        opset_imports=graph.opset_imports,
        name=graph.name,
    )


def ancestors(values: Iterable[ir.Value], stops: Collection[int] = ()) -> Iterator[ir.Value]:
    """Tensors that some are computed from, themselves included, ending at those of ``stops``."""
    waiting, seen = [*values], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        node = None if id(value) in stops else value.producer()
        if node is None:
            continue
        read = [*node.inputs]
        for held in node.attributes.values():
            if held.type == ir.AttributeType.GRAPH:  # bodies of If and Loop read outer tensors too
                inner = held.as_graph()
                read += [*inner.outputs, *(v for n in inner.all_nodes() for v in n.inputs)]
        waiting += [value for value in read if value is not None]


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
        operands = [known[id(v)] if id(v) in known else constant_of(v) for v in node.inputs]
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


def _plain(array: Array, *, floating: bool = True) -> Array:
    """Numbers in a type of NumPy: bfloat16 and similar as floats, 4 bits as 8."""
    if array.dtype.kind in "fiubcOUS":
        return array
    floating = floating and not array.dtype.name.startswith(("int", "uint"))
    return array.astype(np.float32 if floating else np.int8)


def tensor(array: Array, dtype: ir.DataType, name: str | None) -> ir.TensorProtocol:
    """Weights as a tensor of this type; an error if they are too large for it."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array).astype(dtype.numpy())
    if not np.isfinite(stored.astype(np.float64)).all():
        raise InputError(
            f"The head has weights up to {np.abs(array).max():.1e}, too large for the model's "
            f"{dtype.name.lower()}; retrain with a smaller C."
        )
    return ir.Tensor(stored, dtype=dtype, name=name)
