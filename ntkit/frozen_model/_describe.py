"""What was found in a model, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir

__all__ = ["description", "quantisation_of"]

_QUANTISING = {
    "DynamicQuantizeLinear": "dynamic",
    "MatMulInteger": "dynamic",
    "MatMulNBits": "weights only",
    "QuantizeLinear": "static (QDQ)",
    "DequantizeLinear": "weights only",
}


def description(model: ir.Model, path: Path | None) -> dict[str, Any]:
    """Facts of a file and its graph, whatever its head."""
    tensors = [v.const_value for g in model.graphs() for v in g.initializers.values()]
    return {
        "file": str(path) if path else None,
        "producer": f"{model.producer_name or 'unknown'} {model.producer_version or ''}".strip(),
        "opset": dict(model.opset_imports),
        "ir_version": int(model.ir_version),
        "nodes": len(model.graph),
        "weights_mb": round(sum(t.nbytes for t in tensors if t is not None) / 1e6, 3),
        "external_data": sorted(
            {str(t.location) for t in tensors if isinstance(t, ir.ExternalTensor)}
        ),
        "quantisation": quantisation_of(model),
    }


def quantisation_of(model: ir.Model) -> str | None:
    """How the model is quantised; None for a float model."""
    operators = {node.op_type for node in model.graph}
    if any(name.startswith(("QLinear", "QGemm")) for name in operators):
        return "static (QOperator)"
    found = [kind for name, kind in _QUANTISING.items() if name in operators]
    return found[0] if found else None
