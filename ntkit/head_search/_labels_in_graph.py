"""Class labels that a graph maps indices to."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ntkit.graph import constant_of

__all__ = ["LOOKUPS", "labels_of"]

LOOKUPS = frozenset(["Gather", "ArrayFeatureExtractor"])  # of a class label by its index


def labels_of(node: ir.Node) -> tuple[Any, ...] | None:
    """Labels in the order of the indices; None if the operator does not look one up."""
    if node.op_type in LOOKUPS:
        table = constant_of(node.inputs[0])
        return None if table is None else tuple(_text(v) for v in table.ravel().tolist())
    if node.op_type == "ZipMap":
        names = _entries(node, "classlabels_")
        return None if names is None else tuple(map(_text, names))
    if node.op_type == "LabelEncoder":
        keys, values = (_entries(node, prefix) for prefix in ("keys_", "values_"))
        if values is not None and keys == list(range(len(values))):
            return tuple(map(_text, values))
    return None


def _entries(node: ir.Node, prefix: str) -> list[Any] | None:
    for name, attribute in node.attributes.items():
        if name.startswith(prefix):
            value = attribute.value
            return value.numpy().tolist() if attribute.type == ir.AttributeType.TENSOR else [*value]
    return None


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
