"""What was found in a model, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir

from ntkit.graph import extract_between, info_of
from ntkit.head_search import Head

__all__ = ["file_facts", "head_facts", "task_of"]

_QUANTISING = {
    "DynamicQuantizeLinear": "dynamic",
    "MatMulInteger": "dynamic",
    "MatMulNBits": "weights only",
    "QuantizeLinear": "static (QDQ)",
    "DequantizeLinear": "weights only",
}


def file_facts(model: ir.Model, path: Path | None) -> dict[str, Any]:
    """Facts of a file and its graph, whatever its head."""
    tensors = [v.const_value for g in model.graphs() for v in g.initializers.values()]
    inputs = (info_of(v) for v in model.graph.inputs if not v.is_initializer())
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
        "quantisation": _quantisation_of(model),
        "inputs": [str(i) for i in inputs],
        "outputs": [str(info_of(v)) for v in model.graph.outputs],
    }


def head_facts(model: ir.Model, found: Head | None) -> dict[str, Any]:
    """Facts of the head and of what follows it; None where there is none."""
    part = extract_between(model.graph, found.logits) if found else None
    return {
        "neurons": found.weight.shape[1] if found else None,
        "silent_neurons": int((found.weight == 0).all(axis=0).sum()) if found else None,
        "head": found.region.kind if found else None,
        "task": task_of(found) if found else None,
        "logits": str(info_of(found.logits)) if found else None,
        "outputs_from_logits": [] if part is None else [v.name or "" for v in part.outputs],
        "positions": [node.op_type for node in found.positions] if found else [],
        "post_processing": list(found.after.post_processing) if found else [],
    }


def task_of(found: Head) -> str:
    """What the head decides, as far as the graph tells."""
    n_logits, after = len(found.weight), found.after
    if n_logits > 1 and "Sigmoid" in after.post_processing:
        return f"each of {n_logits} labels on its own (a Sigmoid each)"
    if n_logits > 1:
        return f"one of {n_logits} classes"
    if after.post_processing or after.decided:
        return "one of two classes, by one logit"
    return "one number: two classes by its sign, or a regression"


def _quantisation_of(model: ir.Model) -> str | None:
    """How the model is quantised; None for a float model."""
    operators = {node.op_type for node in model.graph}
    if any(name.startswith(("QLinear", "QGemm")) for name in operators):
        return "static (QOperator)"
    found = [kind for name, kind in _QUANTISING.items() if name in operators]
    return found[0] if found else None
