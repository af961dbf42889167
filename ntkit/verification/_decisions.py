"""Whether a file's outputs decide as its head does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.head import LinearHead

__all__ = ["decision_agreement"]

Array = NDArray[Any]


def decision_agreement(
    outputs: Mapping[str, Array], head: LinearHead, logits: Array, tolerance: float
) -> float:
    """Smallest share of samples on which an output decides as the head does.

    Whatever follows the logits may reorder or invert the classes; then a head would be trained
    for classes that the file shows as others.

    Parameters
    ----------
    outputs : mapping of str to ndarray
        Outputs that are computed from the logits, one row per sample.
    head : LinearHead
        Its classes, in the order of its logits.
    logits : ndarray of shape (N, K) or (N,)
        The head's scores of the samples.
    tolerance : float
        Only samples count whose two largest scores differ by more, relative to the largest.

    Returns
    -------
    float
        1 if no output shows classes. An output shows them by a column per class, a label, or an
        order of classes; a single score of two classes shows them if it rises with the logit.
    """
    scores = logits.reshape(len(logits), -1).astype(np.float64)
    if scores.shape[1] == 1:
        scores = np.column_stack([np.zeros(len(scores)), scores])
    ordered = np.sort(scores, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > tolerance * max(1.0, float(np.abs(scores).max()))
    decided = scores.argmax(axis=1)
    shown = (_shown(array, head, scores) for array in outputs.values() if len(array) == len(scores))
    shares = [
        np.mean((array == decided)[clear]) for array in shown if array is not None and clear.any()
    ]
    return float(min(shares, default=1.0))


def _shown(output: Array, head: LinearHead, scores: Array) -> Array | None:
    """Index of the class that each row of an output shows; -1 where it is none of the head's."""
    if output.dtype == object and isinstance(output.flat[0], Mapping):
        return _indices(np.asarray([max(row, key=row.get) for row in output.flat]), head)
    columns = output.reshape(len(output), -1)
    if output.dtype.kind == "f":
        if columns.shape[1] == len(head.classes):
            return np.asarray(columns.argmax(axis=1))
        single = columns.shape[1] == 1 and head.n_logits == 1
        return _by_rising(columns[:, 0], scores) if single else None
    return _indices(columns[:, 0], head)


def _by_rising(output: Array, scores: Array) -> Array:
    """The decisions themselves if a score rises with the logit, the other ones if it falls."""
    order = np.argsort(scores[:, 1], kind="stable")
    rises = output[order[-1]] >= output[order[0]]
    decided: Array = scores.argmax(axis=1)
    return decided if rises else 1 - decided


def _indices(labels: Array, head: LinearHead) -> Array:
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    known = {str(label): index for index, label in enumerate(head.classes.tolist())}
    if labels.dtype.kind in "iu" and head.classes.dtype.kind not in "iubf":
        return labels.astype(np.int64)  # the graph gives indices, the names are ours
    found = [known.get(_text(label), -1) for label in labels.tolist()]
    if labels.dtype.kind in "iu" and min(found) < 0:
        return labels.astype(np.int64)
    return np.asarray(found)


def _text(label: Any) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)
