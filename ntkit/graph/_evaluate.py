"""Run one operator by ONNX's own reference implementation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ntkit.graph._tensors import opset_of

__all__ = ["evaluator", "largest_size"]

Array = NDArray[Any]

_BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Where", "Clip"}
)
_DEFAULT_OPSET = 17
_FIRST_OPSET = {"DequantizeLinear": 21}  # the reference has none older; they are the same


def evaluator(node: ir.Node) -> Callable[[Sequence[Array | None]], list[Array]]:
    """Make an operator something to call with its inputs; None for one left out."""
    from onnx.reference import ReferenceEvaluator  # slow to import, and most heads need none

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
        given = {name: array for name, array in zip(names, inputs, strict=True) if name}
        with np.errstate(all="ignore"):
            return [np.asarray(result) for result in model.run(None, given)]

    return run


def largest_size(node: ir.Node, inputs: Sequence[Array | None]) -> float:
    """At most so many elements an operator makes, or takes to make them, before it is run."""
    given = [array for array in inputs if array is not None]
    op, sides = node.op_type, [*given[0].shape] if given else []
    if op in _BROADCASTING:
        sides = [*np.broadcast_shapes(*(array.shape for array in given))]
    elif op == "Expand":
        sides = [*np.broadcast_shapes(given[0].shape, tuple(given[1].astype(int)))]
    elif op == "ConstantOfShape":
        sides = [int(side) for side in given[0].ravel()]
    elif op == "Tile":
        sides = [int(n * times) for n, times in zip(sides, given[1].ravel(), strict=True)]
    elif op == "Concat":
        return float(sum(array.size for array in given))
    elif op == "Einsum":
        return _size_of_einsum(node.attributes["equation"].as_string(), given)
    elif op == "Pad":
        _widen(sides, given[1].ravel().tolist() if len(given) > 1 else _pads(node))
    elif "pads" in node.attributes:
        _widen(sides, _pads(node))
    return float(math.prod(sides)) if min(sides, default=0) >= 0 else math.inf


def _pads(node: ir.Node) -> list[int]:
    return list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else []


def _widen(sides: list[int], pads: list[int]) -> None:
    half = len(pads) // 2
    for axis, (before, after) in enumerate(zip(pads[:half], pads[half:], strict=False)):
        sides[len(sides) - half + axis] += abs(before) + abs(after)


def _size_of_einsum(equation: str, given: Sequence[Array]) -> float:
    terms, _, result = equation.replace(" ", "").partition("->")
    sizes = {
        letter: size
        for term, array in zip(terms.split(","), given, strict=False)
        for letter, size in zip(term.replace("...", ""), array.shape, strict=False)
    }
    return float(math.prod(sizes.get(letter, 1) for letter in set(result or terms)))
