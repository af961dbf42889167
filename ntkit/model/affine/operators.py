"""Operators that are affine in their data, the inputs that may carry data, and LinearClassifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit._types import Array
from ntkit.graph.rewrite import Nodes, takes_place_of
from ntkit.graph.tensors import (
    Shape,
    ancestors,
    attribute,
    constant_of,
    dtype_of,
    float_type,
    is_constant,
    is_standard,
)

_NO_OPS = frozenset(["Identity", "Cast", "Dropout"])


def _integer_product(node: ir.Node) -> ir.Node | None:
    """The MatMulInteger whose result a Mul scales; None if there is none."""
    if node.op_type != "Mul" or len(node.inputs) != 2 or not is_standard(node):
        return None
    products = (_through_no_ops(value) for value in node.inputs)
    return next((p for p in products if p is not None and p.op_type == "MatMulInteger"), None)


def dynamically_quantised(node: ir.Node) -> tuple[ir.Value, NDArray[Any]] | None:
    """Input and matrix (D, K) of a Mul of DynamicQuantizeLinear, MatMulInteger and Cast."""
    # None unless the scales and zero points are those of that very quantisation.
    product = _integer_product(node)
    if product is None or len(product.inputs) < 3:
        return None
    source, weight, source_zero, *rest = product.inputs
    scales = next((v for v in node.inputs if _through_no_ops(v) is not product), None)
    quantiser = source.producer() if source is not None else None
    scaler = scales.producer() if scales is not None else None
    array, zero = constant_of(weight), constant_of(rest[0]) if rest else None
    factors = [] if scaler is None or scaler.op_type != "Mul" else list(scaler.inputs)
    scale = next((s for s in map(constant_of, factors) if s is not None), None)
    if (
        quantiser is None
        or quantiser.op_type != "DynamicQuantizeLinear"
        or source is not quantiser.outputs[0]
        or source_zero is not quantiser.outputs[2]
        or not any(factor is quantiser.outputs[1] for factor in factors)
        or quantiser.inputs[0] is None
        or array is None
        or array.ndim != 2
        or scale is None
    ):
        return None
    difference = array.astype(np.int64) - (0 if zero is None else zero.astype(np.int64))
    return quantiser.inputs[0], difference * scale


def _through_no_ops(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _NO_OPS and is_standard(node):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node


def _along(array: Any, data: Any, axis: int) -> Any:
    """A scale or zero point per tensor or per channel, for broadcasting."""
    array = np.asarray(0.0 if array is None else array, np.float64)
    if array.size == 1:
        return array.reshape(())
    return array.reshape([-1 if i == axis % data.ndim else 1 for i in range(data.ndim)])


def _quantised(attributes: dict[str, Any], data: Any, scale: Any, zero: Any = None) -> Any:
    axis = attributes.get("axis", 1)
    return data / _along(scale, data, axis) + _along(zero, data, axis)


def _dequantised(attributes: dict[str, Any], data: Any, scale: Any, zero: Any = None) -> Any:
    axis = attributes.get("axis", 1)
    return (data - _along(zero, data, axis)) * _along(scale, data, axis)


def _of_integers(_: dict[str, Any], a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    return (a - _along(a_zero, a, -2)) @ (b - _along(b_zero, b, -1))


def _qgemm(attributes: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
           c: Any = None, sy: Any = None, zy: Any = None) -> Any:  # fmt: skip
    b = b.T if attributes.get("transB", 0) else b
    product = (a - _along(za, a, 1)) @ (b - _along(zb, b, 1)) + (0.0 if c is None else c)
    real = product * _along(sa, a, 1) * _along(sb, product, 1) * attributes.get("alpha", 1.0)
    return real if sy is None else _quantised({}, real, sy, zy)


def _qmatmul(_: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
             sy: Any, zy: Any) -> Any:  # fmt: skip
    real = _of_integers({}, a, b, za, zb) * _along(sa, a, -2)
    return _quantised({}, real * _along(sb, real, -1), sy, zy)


def _qadd(_: dict[str, Any], a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any,
          sy: Any, zy: Any = None) -> Any:  # fmt: skip
    real = _dequantised({}, a, sa, za) + _dequantised({}, b, sb, zb)
    return _quantised({}, real, sy, zy)


def _of_few_bits(attributes: dict[str, Any], a: Any, packed: Any, scales: Any, zeros: Any = None,
                 groups: Any = None, bias: Any = None) -> Any:  # fmt: skip
    """MatMulNBits: rows of blocks of 2, 4 or 8 bits, each with a scale and a zero point."""
    rows, columns, bits = attributes["N"], attributes["K"], attributes.get("bits", 4)
    block = attributes["block_size"]
    blocks = -(-columns // block)
    groups = np.arange(blocks * block) // block if groups is None else groups[:columns]
    whole = _unpacked(packed.reshape(rows, -1), bits)[:, : len(groups)]
    if zeros is None:
        offset: Any = np.full((rows, blocks), float(2 ** (bits - 1)))
    elif zeros.dtype == np.uint8:
        offset = _unpacked(zeros.reshape(rows, -1), bits)[:, :blocks]
    else:
        offset = zeros.reshape(rows, blocks)
    weight = (whole - offset[:, groups]) * scales.reshape(rows, blocks)[:, groups]
    return a @ weight[:, :columns].T + (0.0 if bias is None else bias)


def _unpacked(packed: Any, bits: int) -> Any:
    parts = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(packed), -1).astype(np.float64)


QUANTISED: dict[str, Any] = {
    "QuantizeLinear": _quantised,
    "DequantizeLinear": _dequantised,
    "MatMulInteger": _of_integers,
    "QGemm": _qgemm,
    "QLinearMatMul": _qmatmul,
    "QLinearAdd": _qadd,
    "MatMulNBits": _of_few_bits,
}


PRODUCTS = frozenset(
    {
        *("Gemm", "MatMul", "Conv", "Einsum"),
        *("QGemm", "QLinearMatMul", "MatMulInteger", "MatMulNBits"),
    }
)
_MOST_INPUTS = 300
_OF_ONNX_RUNTIME = frozenset(["QGemm", "MatMulNBits", "QLinearAdd"])
_QUANTISED = "a quantised head; debias the float model and quantise the result"
_FUSED = "an operator of ONNX Runtime's optimiser; debias the exported model instead"
_UNREAD = "which ntkit does not read as a linear layer"
_MENDS = {
    **dict.fromkeys(("QLinearConv", "ConvInteger", "QLinearSoftmax", "QLinearSigmoid"), _QUANTISED),
    **dict.fromkeys(("MatMulBnb4", "GemmFloat8"), _QUANTISED),
    **dict.fromkeys(("FusedGemm", "FusedMatMul", "FusedConv", "NhwcFusedConv"), _FUSED),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), _FUSED),
}
_LINEAR_TOO = frozenset(["ConvTranspose", "ConstantOfShape", "ScatterND", "ScatterElements"])


class NotAffine(Exception):
    """An operator is not affine in its data; the message names it and the reason."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final  # the message names the fix; naming other scores does not help


def called(node: ir.Node) -> str:
    """An operator as a message names it; without a name, by its output."""
    if node.name:
        return f"{node.op_type} (node {node.name!r})"
    outputs = [value.name for value in node.outputs if value.name]
    return f"{node.op_type} (which computes {outputs[0]!r})" if outputs else node.op_type


def carriers(value: ir.Value, node: ir.Node) -> list[ir.Value]:
    """Inputs that may carry data: the operator is affine in these together."""
    op = node.op_type
    ours = is_standard(node) or (op in _OF_ONNX_RUNTIME and node.domain == "com.microsoft")
    if op not in _CARRIERS or not ours:
        why = _MENDS.get(op) or (_UNREAD if op in _LINEAR_TOO else "not linear")
        raise NotAffine(f"comes from {called(node)}, {why}", final=op in _MENDS)
    if value is not node.outputs[0] and op != "Split":
        raise NotAffine(f"is the second output of {called(node)}")
    if len(node.inputs) > _MOST_INPUTS:
        raise NotAffine(f"comes from {called(node)} of {len(node.inputs)} tensors")
    if op == "Mul" and (quantised := dynamically_quantised(node)) is not None:
        return [quantised[0]]
    computed = [i for i, v in enumerate(node.inputs) if v is not None and not is_constant(v)]
    if not computed:
        raise NotAffine(f"comes from {called(node)} of constants, not linear in anything")
    carry = _CARRIERS[op](node, computed)
    if why := _CONDITIONS[op](node) if op in _CONDITIONS else "":
        raise NotAffine(f"comes from {called(node)} {why}")
    return [v for i, v in enumerate(node.inputs) if i in carry and v is not None]


# -- inputs that carry data, given those that are computed -----------------------------------------

Carriers = Callable[[ir.Node, list[int]], list[int]]


def _unless(wrong: Callable[[list[int]], bool], problem: str) -> Carriers:
    """All computed inputs carry data, unless they make the operator not linear."""

    def carry(node: ir.Node, computed: list[int]) -> list[int]:
        if wrong(computed):
            raise NotAffine(f"comes from {called(node)} {problem}, not linear")
        return computed

    return carry


def _both(first: Carriers, second: Carriers) -> Carriers:
    return lambda node, computed: second(node, first(node, computed))


_all = _unless(lambda computed: False, "")
_one = _unless(lambda computed: len(computed) > 1, "of two computed tensors")
_of_data = _unless(lambda computed: 0 not in computed, "in a table of constants")
_first = _both(
    _of_data, _unless(lambda computed: len(computed) > 1, "with more than its data computed")
)
_divided = _both(_unless(lambda computed: 0 not in computed, "by a computed tensor"), _one)
_where = _unless(lambda computed: 0 in computed, "by a computed condition")
_weighted = _unless(lambda computed: computed != [0], "with computed weights or scales")


def _positioned(node: ir.Node, computed: list[int]) -> list[int]:
    """Sizes may be computed, and positions that the model finds for each sample."""
    return _of_data(node, computed)[:1]


def _matmul(node: ir.Node, computed: list[int]) -> list[int]:
    """Weights may come first, times samples that are transposed."""
    turns = node.inputs[1].producer() if node.inputs[1] is not None else None
    turned = turns is not None and turns.op_type == "Transpose"
    if computed == [1] and turned and list(attribute(turns, "perm", ())) == [1, 0]:  # type: ignore[arg-type]
        return computed
    return _weighted(node, computed)


def _gemm(node: ir.Node, computed: list[int]) -> list[int]:
    """Data, and the bias in some cases: another branch may be added."""
    _weighted(node, [i for i in computed if i != 2])
    if attribute(node, "transA", 0):
        raise NotAffine(f"comes from {called(node)} with its samples along the second axis")
    return computed


_CARRIERS: dict[str, Carriers] = {
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean", "Concat", "QLinearAdd"), _all),
    **dict.fromkeys(("Neg", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Transpose"), _first),
    **dict.fromkeys(("Slice", "Split", "ReduceMean", "ReduceSum", "Pad", "Cast"), _first),
    **dict.fromkeys(("GlobalAveragePool", "AveragePool", "BatchNormalization"), _first),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Dropout"), _first),
    **dict.fromkeys(("CumSum", "Tile", "Scaler"), _first),
    **dict.fromkeys(("Reshape", "Expand", "Gather", "GatherND", "GatherElements"), _positioned),
    **dict.fromkeys(PRODUCTS, _weighted),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _one,
    "Mul": _one,
    "Div": _divided,
    "Where": _where,
}


# -- operators that are not affine after all ------------------------------------------------------


def _casts(node: ir.Node) -> str:
    to = ir.DataType(node.attributes["to"].as_int())
    return "" if to.is_floating_point() else "to whole numbers, not linear"


def _normalises(node: ir.Node) -> str:
    outputs = sum(bool(value.name) for value in node.outputs)
    training = attribute(node, "training_mode", 0) or outputs > 1
    return _TRAINING if training else ""


def _pads(node: ir.Node) -> str:
    mode = attribute(node, "mode", "constant")
    return "" if mode == "constant" else f"of mode {mode!r}, not linear"


def _drops(node: ir.Node) -> str:
    flag = node.inputs[2] if len(node.inputs) > 2 else None
    training = constant_of(flag)
    return _TRAINING if flag is not None and (training is None or training.any()) else ""


def _reorders_zeros(node: ir.Node) -> str:
    zeros, groups, *_ = (*node.inputs[3:], None, None)
    packed = dtype_of(zeros) == ir.DataType.UINT8
    return _IGNORED if packed and groups is not None else ""


_TRAINING = "in training mode, not linear"
_IGNORED = (
    "with packed zero points together with g_idx, which ONNX Runtime ignores on a CPU; store them "
    "as floats"
)
_CONDITIONS: dict[str, Callable[[ir.Node], str]] = {
    "Cast": _casts,
    "BatchNormalization": _normalises,
    "Dropout": _drops,
    "Pad": _pads,
    "MatMulNBits": _reorders_zeros,
}


_WEIGHTS = {"QGemm": 3, "QLinearMatMul": 3}  # which input holds them; else the second


@dataclass(frozen=True)
class Product:
    """A product of data with constant weights."""

    data: ir.Value  # the input with the data
    # Sizes of some axes of ``data`` that the weights determine; negative axes count from the end.
    sizes: dict[int, int]
    # The axis of ``data`` that is summed over, the same at every position; None if the weights
    # differ between positions.
    axis: int | None
    n_scores: int = 0  # width of the result along that axis; 0 if it is unknown
    matrix: Any = None  # (scores, neurons), of floats; None if it is not a plain product
    turned: bool = False  # whether the data are transposed first

    @property
    def source(self) -> ir.Value:
        """The tensor before it was quantised, or transposed for weights that come first."""
        node = self.data.producer()
        if node is not None and (node.op_type == "QuantizeLinear" or self.turned):
            return node.inputs[0] or self.data
        return self.data


def product(node: ir.Node, shape_of: Callable[[ir.Value], Shape]) -> Product | None:
    """The product of an operator's data with constant weights; None if there is none."""
    op = node.op_type
    if op == "Mul" and (quantised := dynamically_quantised(node)) is not None:
        matrix = quantised[1].T
        return Product(quantised[0], {-1: matrix.shape[1]}, -1, len(matrix), matrix)
    if op not in PRODUCTS or (op == "Einsum" and len(node.inputs) < 2):
        return None
    if op == "Einsum":
        return _einsum(node)
    data = node.inputs[0]
    if op == "MatMulNBits":
        sizes = {-1: node.attributes["K"].as_int()}
        return Product(_present(data), sizes, -1, node.attributes["N"].as_int())
    if op == "MatMul" and (left := constant_of(data)) is not None and left.ndim == 2:
        return Product(_present(node.inputs[1]), {-1: left.shape[1]}, -1, len(left), turned=True)
    weight = constant_of(node.inputs[_WEIGHTS.get(op, 1)])
    if weight is None:
        raise NotAffine(f"comes from {called(node)} whose weights are not constant")
    if op == "Conv":
        return _convolution(node, weight, shape_of)
    if op in ("Gemm", "QGemm"):
        matrix = weight if attribute(node, "transB", 0) else weight.T
        return Product(_present(data), {-1: matrix.shape[1]}, -1, len(matrix), _floats(matrix))
    batch = weight.shape[:-2]
    sizes = {-1: weight.shape[-2] if weight.ndim > 1 else len(weight)}
    sizes.update({i - len(batch) - 2: n for i, n in enumerate(batch) if n > 1})
    n_scores = weight.shape[-1] if weight.ndim > 1 else 1
    axis = -1 if all(n == 1 for n in batch) else None
    return Product(_present(data), sizes, axis, n_scores, _floats(weight.T))


def _convolution(
    node: ir.Node, weight: Any, shape_of: Callable[[ir.Value], Shape]
) -> Product | None:
    data, kernel = _present(node.inputs[0]), weight.shape[2:]
    channels = weight.shape[1] * int(attribute(node, "group", 1))
    plain = not any(attribute(node, "pads", ())) and attribute(node, "auto_pad", "") in (
        *("", "NOTSET", "VALID"),
    )
    strides = all(n == 1 for n in attribute(node, "strides", ()))
    pointwise = plain and strides and all(n == 1 for n in kernel)
    plain = plain and all(n == 1 for n in attribute(node, "dilations", ()))
    if pointwise and channels == weight.shape[1]:
        matrix = _floats(weight.reshape(weight.shape[:2]))
        return Product(data, {1: channels}, 1, len(weight), matrix)
    before, after = shape_of(data), shape_of(node.outputs[0])
    if plain and before is not None and tuple(before[2:]) == tuple(kernel):
        alone = channels == weight.shape[1]
        matrix = _floats(weight.reshape(len(weight), -1)) if alone else None
        sizes = {1: channels, **dict(enumerate(kernel, start=2))}
        return Product(data, sizes, None, matrix=matrix)
    known = before is not None and all(isinstance(n, int) for n in before[2:])
    if known and after is not None and all(n == 1 for n in after[2:]):
        return Product(data, {1: channels}, None)
    raise NotAffine(
        f"comes from {called(node)} with a kernel of {kernel}, which mixes positions or keeps "
        "channels apart (a convolution is linear if it is 1×1, or as large as its input)"
    )


def _einsum(node: ir.Node) -> Product:
    terms, _, result = attribute(node, "equation", "").replace(" ", "").partition("->")
    letters = terms.split(",")
    sizes: dict[str, int] = {}
    data, own = None, ""
    for value, term in zip(node.inputs, letters, strict=False):
        weight = constant_of(value)
        if weight is None:
            data, own = value, term
        elif "..." not in term and len(term) == weight.ndim:
            sizes.update(zip(term, weight.shape, strict=True))
    if data is None or len(set(own) - {"."}) != len(own.replace(".", "")):
        raise NotAffine(f"comes from {called(node)} with an equation that cannot be read")
    before = own.partition("...")[0]
    axes = {c: own.index(c) if c in before else own.index(c) - len(own) for c in own if c != "."}
    summed = [axis for letter, axis in axes.items() if letter not in result]
    apart = [c for c in own if c in result and any(c in term for term in letters if term != own)]
    alike = result and len(summed) == 1 and not apart
    settled = {axes[c]: n for c, n in sizes.items() if c in axes}
    width = math.prod(sizes[c] for c in result if c in sizes and c not in own)
    return Product(data, settled, summed[0] if alike else None, width if alike else 0)


def _floats(matrix: Any) -> Any:
    return matrix if matrix.ndim == 2 and matrix.dtype.kind == "f" else None


def _present(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise NotAffine("comes from a product of nothing")
    return value


_PREFIX = "ntkit.classifier"
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC")
_PRODUCTS = frozenset(["Gemm", "MatMul", "Conv"])
_MOST_NODES = 100_000


def reads_a_network(node: ir.Node) -> bool:
    """Whether a node's input comes from products followed by something not linear."""
    inputs = [value for value in node.inputs if value is not None]
    before = [(v, n) for v in islice(ancestors(inputs), _MOST_NODES) if (n := v.producer())]
    bent = any(not _carries(value, node) for value, node in before)
    return bent and any(node.op_type in _PRODUCTS for _, node in before)


def _carries(value: ir.Value, node: ir.Node) -> bool:
    try:
        return bool(carriers(value, node))
    except NotAffine:
        return node.op_type == "Constant"


def taken_apart(model: ir.Model) -> ir.Model | None:
    """Copy the model with a Gemm instead of each LinearClassifier on an embedding."""
    # None if there is no such classifier.
    if all(node.op_type != "LinearClassifier" for node in model.graph):
        return None
    copy = model.clone()
    classifiers = [node for node in copy.graph if node.op_type == "LinearClassifier"]
    ours = [node for node in classifiers if reads_a_network(node)]
    done = [node for i, node in enumerate(ours) if _replaced(copy.graph, node, i)]
    return copy if done else None


def _replaced(graph: ir.Graph, node: ir.Node, number: int) -> bool:
    attribute = {name: a.value for name, a in node.attributes.items()}
    labels = attribute.get("classlabels_strings") or attribute.get("classlabels_ints") or ()
    bias = np.asarray(attribute.get("intercepts", ()), np.float32)
    flat = np.asarray(attribute.get("coefficients", ()), np.float32)
    transform = attribute.get("post_transform", "NONE")
    data = node.inputs[0]
    rows = len(labels)
    if data is None or rows < 2 or bias.size != rows or transform not in _TRANSFORMS:
        return False
    if not flat.size or flat.size % rows:
        return False
    nodes = Nodes(partial(graph.insert_before, node), f"{_PREFIX}.{number}")
    weight = flat.reshape(rows, -1)
    if float_type(data) != ir.DataType.FLOAT:
        data = nodes.node("Cast", [data], {"to": int(ir.DataType.FLOAT)})
    scores = _scores(nodes, data, weight, bias, transform)
    label, *others = node.outputs
    for other in others:
        takes_place_of(graph, scores, other)
    if label.uses() or label.is_graph_output():
        index = nodes.node("ArgMax", [scores], {"axis": 1, "keepdims": 0})
        whole = attribute.get("classlabels_ints")
        names = ir.tensor(np.asarray(whole, np.int64)) if whole else _texts(labels)
        named = nodes.node("Gather", [nodes.constant(names), index], {"axis": 0})
        takes_place_of(graph, named, label)
    graph.remove(node, safe=True)
    return True


def _texts(labels: Any) -> ir.StringTensor:
    texts = [label if isinstance(label, bytes) else str(label).encode() for label in labels]
    return ir.StringTensor(texts, shape=ir.Shape([len(texts)]))


def _scores(nodes: Nodes, data: ir.Value, weight: Array, bias: Array, transform: str) -> ir.Value:
    """The classifier's second output; of one unit if its two rows are each other's negative."""
    mirrored = len(bias) == 2 and (weight[0] == -weight[1]).all() and bias[0] == -bias[1]
    if transform == "LOGISTIC" and mirrored:
        weight, bias = weight[1:], bias[1:]
    inputs = [data, nodes.constant(weight), nodes.constant(bias)]
    logits = nodes.node("Gemm", inputs, {"transB": 1})
    if transform == "SOFTMAX":
        return nodes.node("Softmax", [logits], {"axis": 1})
    shares = logits if transform == "NONE" else nodes.node("Sigmoid", [logits])
    if len(bias) > 1:
        return shares
    rest = nodes.node("Sub", [nodes.constant(np.ones(1, np.float32)), shares])
    return nodes.node("Concat", [rest, shares], {"axis": 1})
