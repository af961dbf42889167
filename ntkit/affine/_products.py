"""Products of data with constant weights: what they sum over, and how wide they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from ntkit.affine._operators import PRODUCTS, NotAffine, called
from ntkit.affine._quantised import dynamically_quantised
from ntkit.graph import Shape, attribute, constant_of

__all__ = ["Product", "product"]

_WEIGHTS = {"QGemm": 3, "QLinearMatMul": 3}  # which input holds them; else the second


@dataclass(frozen=True)
class Product:
    """A product of data with constant weights."""

    data: ir.Value  # the input that carries the data
    # Sizes of some axes of ``data`` that the weights settle; negative axes count from the end.
    sizes: dict[int, int]
    # The one axis of ``data`` that is summed over, every position alike; None where the weights
    # differ between positions.
    axis: int | None
    n_scores: int = 0  # numbers it makes of that axis; 0 where that is not told
    matrix: Any = None  # (scores, neurons), of floats; None where it is no plain product
    turned: bool = False  # whether the data are transposed first

    @property
    def source(self) -> ir.Value:
        """What was quantised for an integer product, or transposed for one of weights first."""
        node = self.data.producer()
        if node is not None and (node.op_type == "QuantizeLinear" or self.turned):
            return node.inputs[0] or self.data
        return self.data


def product(node: ir.Node, shape_of: Callable[[ir.Value], Shape]) -> Product | None:
    """How an operator multiplies its data with constant weights; None if it does not."""
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
        "channels apart; a convolution is one linear layer if it is 1×1, or as large as what it "
        "reads"
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
    before = own.split("...")[0] if "..." in own else ""
    axes = {c: own.index(c) if c in before else own.index(c) - len(own) for c in own if c != "."}
    if "..." not in own:
        axes = {c: i for i, c in enumerate(own)}
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
