"""Every layer that might be the head, and why it was taken or passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from ntkit.affine import PRODUCTS
from ntkit.graph import is_constant
from ntkit.head_search._head import Head
from ntkit.head_search._walk_back import Regions, walk_back

__all__ = ["candidate_layers"]

_MOST_OUTPUTS = 50
_MOST_BEHIND = 4
_MOST_NODES = 500


def candidate_layers(model: ir.Model, taken: Head | None) -> list[dict[str, Any]]:
    """What each output comes from: a layer, or what stands between and the layers behind that.

    ``logits`` is what ``--logits`` calls it; None stands for what is not known.
    """
    regions, rows = Regions(model), dict[int, dict[str, Any]]()
    for output in list(model.graph.outputs)[:_MOST_OUTPUTS]:
        found = walk_back(output, regions)
        if isinstance(found, Head):
            _row(rows, found, taken)["outputs"].append(output.name or "")
            continue
        rows[id(output)] = {**_NOTHING, "outputs": [output.name or ""], "reason": found.reason}
        for value in _layers_behind(output):
            behind = walk_back(value, regions)
            if isinstance(behind, Head) and behind.identity not in rows:
                row = _row(rows, behind, taken)
                row["reason"] = row["reason"] or f"{output.name!r} is more than its scores"
    if taken is not None:
        _row(rows, taken, taken)
    for row in rows.values():
        row["reason"] = row["reason"] or _why(row, taken)
    return list(rows.values())


_NOTHING = {"logits": None, "layer": None, "neurons": None, "n_logits": None, "taken": False}


def _row(rows: dict[int, dict[str, Any]], head: Head, taken: Head | None) -> dict[str, Any]:
    n_logits, neurons = head.weight.shape
    new = {
        "logits": head.logits.name,
        "outputs": [],
        "layer": head.region.kind,
        "neurons": neurons,
        "n_logits": n_logits,
        "taken": taken is not None and head.identity == taken.identity,
        "reason": "",
    }
    return rows.setdefault(head.identity, new)


def _why(row: dict[str, Any], taken: Head | None) -> str:
    if row["taken"]:
        return "the head" if row["outputs"] else "named"
    if taken is None:
        return f"may be the head: choose it with --logits {row['logits']}"
    return f"{taken.logits.name!r} is the head; choose this one with --logits {row['logits']}"


def _layers_behind(output: ir.Value) -> Iterator[ir.Value]:
    """What the nearest products before a tensor compute, bias included."""
    waiting, seen, n_found = [output], set[int](), 0
    while waiting and len(seen) < _MOST_NODES and n_found < _MOST_BEHIND:
        value = waiting.pop(0)
        node = value.producer()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in PRODUCTS:
            n_found += 1
            yield _with_bias(node.outputs[0])
        else:
            waiting += [v for v in node.inputs if v is not None]


def _with_bias(value: ir.Value) -> ir.Value:
    readers = [use.node for use in value.uses()]
    if (
        len(readers) == 1
        and readers[0].op_type == "Add"
        and any(map(is_constant, readers[0].inputs))
    ):
        return readers[0].outputs[0]
    return value
