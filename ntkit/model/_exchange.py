"""A new head for a model: its rows in the model's order, and read back from the edited graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.head import LinearHead
from ntkit.model._read_model import located
from ntkit.model.class_names import are_positions, same_name
from ntkit.model.head_search import Head


def fitted(head: LinearHead, own: LinearHead | None, *, named: bool, in_graph: bool) -> LinearHead:
    """Rows in the order of the model's ``own`` head, and one or two logits as it has them."""
    # `named` says that the model names its classes, `in_graph` that its graph does.
    if own is None:
        return head.with_logits(len(head.classes))
    same = set(head.classes.tolist()) == set(own.classes.tolist())
    if not same and in_graph:
        raise InputError(
            f"The model's graph maps its logits to the labels {own.classes.tolist()[:5]}, but "
            f"the head's classes are {head.classes.tolist()[:5]}; train with the model's own "
            "labels."
        )
    if same:
        head = head.aligned_to(own.classes if named else np.sort(head.classes))
    if own.n_logits == 1 and len(head.classes) == 2:
        if head.n_logits == 1:
            return head
        rows, bias = head.coef, head.intercept
        return LinearHead(rows[1:] - rows[:1], bias[1:] - bias[:1], head.classes)
    return head.with_logits(len(head.classes))


def keeps_names(head: LinearHead, own: LinearHead | None, names: tuple[Any, ...]) -> bool:
    """Whether the model's own names stay true of a head's classes, position by position."""
    labels = head.classes.tolist()
    if own is not None and len(labels) != len(own.classes):
        return False
    if own is not None and set(labels) == set(own.classes.tolist()):
        return True
    same = len(names) == len(labels) and all(map(same_name, names, labels))
    return same or (own is not None and are_positions(labels))


def read_back(
    model: ir.Model, head: LinearHead, located_by: Mapping[str, str | None]
) -> tuple[Head | None, ir.Value]:
    """Find the head in the edited graph again; it must be the one put in."""
    try:
        found, value = located(model, **located_by)
    except HeadNotFoundError as error:
        raise InputError(
            f"The model's graph does not take a head of {head.n_logits} logits of "
            f"{head.n_neurons} neurons: {str(error).split('. Name the')[0].rstrip('.')}."
        ) from error
    if found is not None and not _holds(found, head):
        raise ModelError(
            f"The head read back from the edited graph ({found.region.kind}, "
            f"{found.logits.name!r}) is not the one put in; name the right one with "
            "--logits NAME (logits= in Python)."
        )
    return found, value


def _holds(found: Head, head: LinearHead) -> bool:
    """Whether a graph holds a head, to the precision of its weights."""
    if found.weight.shape != head.coef.shape:
        return False
    given = np.column_stack([head.coef, head.intercept]).astype(np.float64)
    held = np.column_stack([found.weight, found.bias]).astype(np.float64)
    return bool(np.abs(held - given).max() <= 1e-2 * np.abs(given).max())
