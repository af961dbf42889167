"""Operators that are affine in their data: which inputs may carry it, and what makes a product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from ntkit.affine._dynamic_quantisation import dynamically_quantised
from ntkit.graph import Shape, constant_of, is_constant, is_standard

__all__ = ["NotAffine", "Product", "called", "carriers", "product"]

_SUMS = frozenset(["Add", "Sub", "Sum", "Mean", "Concat", "QLinearAdd"])
# Affine in the first input, with the others constant.
_FIRST = frozenset(
    {
        *("Neg", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
        *("ReduceMean", "ReduceSum", "GlobalAveragePool", "AveragePool", "DequantizeLinear"),
        *("QuantizeLinear", "BatchNormalization", "Cast", "Dropout"),
        *("Div", "Pad"),
    }
)
# Their other inputs may be computed: sizes, or positions that are found for each sample.
_SIZED = frozenset(["Reshape", "Expand"])
_CHOOSING = frozenset(["Gather", "GatherND", "GatherElements"])
_QUANTISED = frozenset(["QGemm", "QLinearMatMul", "MatMulInteger", "MatMulNBits"])
_PRODUCTS = frozenset(["Gemm", "MatMul", "Conv", "Einsum"]) | _QUANTISED
_WEIGHTS = {"QGemm": 3, "QLinearMatMul": 3}  # which input holds them; else the second
_KNOWN = _SUMS | _FIRST | _SIZED | _CHOOSING | _PRODUCTS | {"Mul", "Where"}
_MOST_INPUTS = 300
_OF_ONNX_RUNTIME = frozenset(["QGemm", "MatMulNBits", "QLinearAdd"])


class NotAffine(Exception):
    """An operator is not affine in its data; the message names it and says why."""


@dataclass(frozen=True)
class Product:
    """A product of data with constant weights.

    Attributes
    ----------
    data : onnx_ir.Value
        The input that carries the data.
    sizes : dict of int to int
        Sizes of some axes of ``data`` that the weights settle; negative axes count from the end.
    axis : int or None
        The one axis of ``data`` that is summed over, every position alike; None where the weights
        differ between positions.
    n_scores : int
        Numbers it makes of that axis; 0 where that is not told.
    turned : bool
        Whether the data are transposed first.
    """

    data: ir.Value
    sizes: dict[int, int]
    axis: int | None
    n_scores: int = 0
    turned: bool = False

    @property
    def source(self) -> ir.Value:
        """What was quantised for an integer product, or transposed for one of weights first."""
        node = self.data.producer()
        if node is not None and (node.op_type == "QuantizeLinear" or self.turned):
            return node.inputs[0] or self.data
        return self.data


def called(node: ir.Node) -> str:
    """An operator as a message names it; by what it computes where it has no name."""
    if node.name:
        return f"{node.op_type} (node {node.name!r})"
    outputs = [value.name for value in node.outputs if value.name]
    return f"{node.op_type} (which computes {outputs[0]!r})" if outputs else node.op_type


def carriers(value: ir.Value, node: ir.Node) -> list[ir.Value]:
    """The inputs that may carry data: in these together the operator is affine.

    Raises
    ------
    NotAffine
        If it is not affine in what is computed from the model's inputs.
    """
    op = node.op_type
    ours = is_standard(node) or (op in _OF_ONNX_RUNTIME and node.domain == "com.microsoft")
    if op not in _KNOWN or not ours:
        raise NotAffine(f"comes from {called(node)}, not linear")
    if value is not node.outputs[0] and op != "Split":
        raise NotAffine(f"is the second output of {called(node)}")
    if len(node.inputs) > _MOST_INPUTS:
        raise NotAffine(f"comes from {called(node)} of {len(node.inputs)} tensors")
    if op == "Mul" and (quantised := dynamically_quantised(node)) is not None:
        return [quantised[0]]
    computed = [i for i, v in enumerate(node.inputs) if v is not None and not is_constant(v)]
    carry = _of_product(node, computed) if op in _PRODUCTS else _carrying(node, computed)
    if op in _CONDITIONS and (why := _CONDITIONS[op](node)):
        raise NotAffine(f"comes from {called(node)} {why}, not linear")
    return [v for i, v in enumerate(node.inputs) if i in carry and v is not None]


def _carrying(node: ir.Node, computed: list[int]) -> list[int]:
    """Which inputs of an operator that is no product carry data."""
    op = node.op_type
    two = NotAffine(f"comes from {called(node)} of two computed tensors, not linear")
    if not computed:
        raise NotAffine(f"comes from {called(node)} of constants, not linear in anything")
    if op in _SUMS:
        return computed
    if op == "Mul":
        if len(computed) > 1:
            raise two
        return computed
    if op == "Where":
        if 0 in computed:
            raise NotAffine(f"comes from {called(node)} by a computed condition, not linear")
        return computed
    if 0 not in computed:
        how = "by a computed tensor" if op == "Div" else "in a table of constants"
        raise NotAffine(f"comes from {called(node)} {how}, not linear")
    if len(computed) > 1 and op not in _SIZED | _CHOOSING:
        raise (
            two
            if op == "Div"
            else NotAffine(
                f"comes from {called(node)} with more than its data computed, not linear"
            )
        )
    return [0]


def _casts(node: ir.Node) -> str:
    to = ir.DataType(node.attributes["to"].as_int())
    return "" if to.is_floating_point() else "to whole numbers"


def _normalises(node: ir.Node) -> str:
    training = "training_mode" in node.attributes and node.attributes["training_mode"].as_int()
    outputs = sum(bool(value.name) for value in node.outputs)
    return "in training mode" if training or outputs > 1 else ""


def _pads(node: ir.Node) -> str:
    mode = _attribute(node, "mode", "constant")
    return "" if mode == "constant" else f"of mode {mode!r}"


def _drops(node: ir.Node) -> str:
    given = node.inputs[2] if len(node.inputs) > 2 else None
    training = constant_of(given)
    return "in training mode" if given is not None and (training is None or training.any()) else ""


_CONDITIONS: dict[str, Callable[[ir.Node], str]] = {
    "Cast": _casts,
    "BatchNormalization": _normalises,
    "Dropout": _drops,
    "Pad": _pads,
}


def _of_product(node: ir.Node, computed: list[int]) -> list[int]:
    """Which inputs of a product carry data."""
    op = node.op_type
    if op == "Einsum":
        if len(computed) != 1:
            raise NotAffine(f"comes from {called(node)} of two computed tensors, not linear")
        return computed
    if op == "MatMul" and computed == [1] and _turned(node.inputs[1]):
        return computed
    added = [2] if op == "Gemm" and 2 in computed else []  # C may be another branch
    if set(computed) - {0, *added} or 0 not in computed:
        raise NotAffine(f"comes from {called(node)} with computed weights or scales, not linear")
    if op == "Gemm" and _attribute(node, "transA", 0):
        raise NotAffine(f"comes from {called(node)} with its samples along the second axis")
    return [0, *added]


def _turned(value: ir.Value | None) -> bool:
    """Whether a matrix is one of a row per sample, transposed."""
    node = value.producer() if value is not None else None
    turns = node is not None and node.op_type == "Transpose" and "perm" in node.attributes
    return node is not None and turns and list(node.attributes["perm"].as_ints()) == [1, 0]


def product(node: ir.Node, shape_of: Callable[[ir.Value], Shape]) -> Product | None:
    """How an operator multiplies its data with constant weights; None if it does not.

    Raises
    ------
    NotAffine
        If it is a convolution that looks around, or its weights cannot be read.
    """
    op = node.op_type
    if op == "Mul" and (quantised := dynamically_quantised(node)) is not None:
        return Product(quantised[0], {-1: len(quantised[1])}, -1, quantised[1].shape[1])
    if op not in _PRODUCTS or (op == "Einsum" and len(node.inputs) < 2):
        return None
    if op == "Einsum":
        return _einsum(node)
    data = node.inputs[0]
    if op == "MatMulNBits":
        sizes = {-1: node.attributes["K"].as_int()}
        return Product(_present(data), sizes, -1, node.attributes["N"].as_int())
    if op == "MatMul" and (left := constant_of(data)) is not None and left.ndim == 2:
        return Product(_present(node.inputs[1]), {-1: left.shape[1]}, -1, left.shape[0], True)
    weight = constant_of(node.inputs[_WEIGHTS.get(op, 1)])
    if weight is None:
        raise NotAffine(f"comes from {called(node)} whose weights are not constant")
    if op == "Conv":
        return _convolution(node, weight, shape_of)
    if op in ("Gemm", "QGemm"):
        turned = int(_attribute(node, "transB", 0))
        sizes = {-1: weight.shape[turned]}
        return Product(_present(data), sizes, -1, weight.shape[1 - turned])
    batch = weight.shape[:-2]
    sizes = {-1: weight.shape[-2] if weight.ndim > 1 else len(weight)}
    sizes.update({i - len(batch) - 2: n for i, n in enumerate(batch) if n > 1})
    n_scores = weight.shape[-1] if weight.ndim > 1 else 1
    return Product(_present(data), sizes, -1 if all(n == 1 for n in batch) else None, n_scores)


def _convolution(
    node: ir.Node, weight: Any, shape_of: Callable[[ir.Value], Shape]
) -> Product | None:
    data, kernel = _present(node.inputs[0]), weight.shape[2:]
    channels = weight.shape[1] * int(_attribute(node, "group", 1))
    plain = not any(_attribute(node, "pads", ())) and _attribute(node, "auto_pad", "") in (
        *("", "NOTSET", "VALID"),
    )
    plain = plain and all(n == 1 for n in _attribute(node, "dilations", ()))
    strides = all(n == 1 for n in _attribute(node, "strides", ()))
    if plain and strides and all(n == 1 for n in kernel) and channels == weight.shape[1]:
        return Product(data, {1: channels}, 1, weight.shape[0])
    before, after = shape_of(data), shape_of(node.outputs[0])
    if plain and before is not None and tuple(before[2:]) == tuple(kernel):
        return Product(data, {1: channels, **dict(enumerate(kernel, start=2))}, None)
    known = before is not None and all(isinstance(n, int) for n in before[2:])
    if known and after is not None and all(n == 1 for n in after[2:]):
        return Product(data, {1: channels}, None)
    raise NotAffine(
        f"comes from {called(node)} with a kernel of {kernel}, which mixes positions or keeps "
        "channels apart; a convolution is one linear layer if it is 1×1, or as large as what it "
        "reads"
    )


def _einsum(node: ir.Node) -> Product:
    terms, _, result = _attribute(node, "equation", "").replace(" ", "").partition("->")
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
    before = own.split("...")[0] if "..." in own else ""
    axes = {c: own.index(c) if c in before else own.index(c) - len(own) for c in own if c != "."}
    if "..." not in own:
        axes = {c: i for i, c in enumerate(own)}
    summed = [axis for letter, axis in axes.items() if letter not in result]
    apart = [c for c in own if c in result and any(c in term for term in letters if term != own)]
    alike = result and len(summed) == 1 and not apart
    settled = {axes[c]: n for c, n in sizes.items() if c in axes}
    return Product(data, settled, summed[0] if alike else None)


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    return node.attributes[name].value if name in node.attributes else default


def _present(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise NotAffine("comes from a product of nothing")
    return value
