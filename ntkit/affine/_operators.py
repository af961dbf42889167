"""Operators that are affine in their data, and which of their inputs may carry it."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from ntkit.affine._quantised import dynamically_quantised
from ntkit.graph import attribute, constant_of, dtype_of, is_constant, is_standard

__all__ = ["PRODUCTS", "NotAffine", "called", "carriers"]

PRODUCTS = frozenset(
    {
        *("Gemm", "MatMul", "Conv", "Einsum"),
        *("QGemm", "QLinearMatMul", "MatMulInteger", "MatMulNBits"),
    }
)
_MOST_INPUTS = 300
_OF_ONNX_RUNTIME = frozenset(["QGemm", "MatMulNBits", "QLinearAdd"])
_QUANTISED = "a quantised head; debias the float model and quantise the result"
_FUSED = "an operator of ONNX Runtime's optimiser; debias the model as it was exported"
_UNREAD = "which ntkit does not read as a linear layer"
_MENDS = {
    **dict.fromkeys(("QLinearConv", "ConvInteger", "QLinearSoftmax", "QLinearSigmoid"), _QUANTISED),
    **dict.fromkeys(("MatMulBnb4", "GemmFloat8"), _QUANTISED),
    **dict.fromkeys(("FusedGemm", "FusedMatMul", "FusedConv", "NhwcFusedConv"), _FUSED),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), _FUSED),
}
_LINEAR_TOO = frozenset(["ConvTranspose", "ConstantOfShape", "ScatterND", "ScatterElements"])


class NotAffine(Exception):
    """An operator is not affine in its data; the message names it and says why."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final  # the message says what helps; naming other scores does not


def called(node: ir.Node) -> str:
    """An operator as a message names it; by what it computes where it has no name."""
    if node.name:
        return f"{node.op_type} (node {node.name!r})"
    outputs = [value.name for value in node.outputs if value.name]
    return f"{node.op_type} (which computes {outputs[0]!r})" if outputs else node.op_type


def carriers(value: ir.Value, node: ir.Node) -> list[ir.Value]:
    """The inputs that may carry data: in these together the operator is affine."""
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


# -- which inputs carry data, given those that are computed ---------------------------------------


def _all(node: ir.Node, computed: list[int]) -> list[int]:
    return computed


def _one(node: ir.Node, computed: list[int]) -> list[int]:
    if len(computed) > 1:
        raise NotAffine(f"comes from {called(node)} of two computed tensors, not linear")
    return computed


def _first(node: ir.Node, computed: list[int]) -> list[int]:
    _positioned(node, computed)
    if len(computed) > 1:
        raise NotAffine(f"comes from {called(node)} with more than its data computed, not linear")
    return computed


def _positioned(node: ir.Node, computed: list[int]) -> list[int]:
    """Sizes may be computed, and positions that the model finds for each sample."""
    if 0 not in computed:
        raise NotAffine(f"comes from {called(node)} in a table of constants, not linear")
    return [0]


def _divided(node: ir.Node, computed: list[int]) -> list[int]:
    if 0 not in computed:
        raise NotAffine(f"comes from {called(node)} by a computed tensor, not linear")
    return _one(node, computed)


def _where(node: ir.Node, computed: list[int]) -> list[int]:
    if 0 in computed:
        raise NotAffine(f"comes from {called(node)} by a computed condition, not linear")
    return computed


def _weighted(node: ir.Node, computed: list[int]) -> list[int]:
    if computed != [0]:
        raise NotAffine(f"comes from {called(node)} with computed weights or scales, not linear")
    return computed


def _matmul(node: ir.Node, computed: list[int]) -> list[int]:
    """Weights may come first, times samples that are transposed."""
    turns = node.inputs[1].producer() if node.inputs[1] is not None else None
    turned = turns is not None and turns.op_type == "Transpose"
    if computed == [1] and turned and list(attribute(turns, "perm", ())) == [1, 0]:  # type: ignore[arg-type]
        return computed
    return _weighted(node, computed)


def _gemm(node: ir.Node, computed: list[int]) -> list[int]:
    """What is added may be another branch."""
    _weighted(node, [i for i in computed if i != 2])
    if attribute(node, "transA", 0):
        raise NotAffine(f"comes from {called(node)} with its samples along the second axis")
    return computed


_CARRIERS: dict[str, Callable[[ir.Node, list[int]], list[int]]] = {
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


# -- why one is not affine after all --------------------------------------------------------------


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
    given = node.inputs[2] if len(node.inputs) > 2 else None
    training = constant_of(given)
    return _TRAINING if given is not None and (training is None or training.any()) else ""


def _reorders_zeros(node: ir.Node) -> str:
    zeros, groups, *_ = (*node.inputs[3:], None, None)
    packed = dtype_of(zeros) == ir.DataType.UINT8
    return _IGNORED if packed and groups is not None else ""


_TRAINING = "in training mode, not linear"
_IGNORED = (
    "with packed zero points beside g_idx, which ONNX Runtime leaves out on a CPU; store them as "
    "floats"
)
_CONDITIONS: dict[str, Callable[[ir.Node], str]] = {
    "Cast": _casts,
    "BatchNormalization": _normalises,
    "Dropout": _drops,
    "Pad": _pads,
    "MatMulNBits": _reorders_zeros,
}
