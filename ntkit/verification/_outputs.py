"""The outputs of a whole file against what its graph makes of NumPy's logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.extraction import make_session, run_batches
from ntkit.frozen_model import FrozenModel

__all__ = ["BATCH", "difference", "output_difference", "run_whole", "same_output"]

Array = NDArray[Any]
# A dynamically quantised model takes its scales from the batch, so that a sample's numbers depend
# on the others in it: what is compared runs in the same batches.
BATCH = 64


def run_whole(session: Any, X: Any) -> dict[str, Array]:
    """Every output of a session, by name, for all samples."""
    names = [output.name for output in session.get_outputs()]
    parts = zip(*run_batches(session, X, batch_size=BATCH), strict=True)
    return {name: _joined(list(p)) for name, p in zip(names, parts, strict=True)}


def output_difference(
    model: FrozenModel,
    outputs: Mapping[str, Array],
    logits: Array,
    X: Any,
    *,
    device: Any,
    tolerance: float,
) -> float:
    """Largest difference between the file's outputs and those computed from other logits.

    Parameters
    ----------
    model : FrozenModel
        What follows its logits is run by itself.
    outputs : mapping of str to ndarray
        What the whole debiased file gives for ``X``.
    logits : ndarray of shape (N, K, ...)
        Logits from elsewhere, shaped like the file's.
    X : array-like, lazy sequence or mapping
        Model inputs, where what follows the logits reads one of them too.
    device : {"auto", "cpu", "cuda"}
        Where to run.
    tolerance : float
        Labels count only where the logits leave no doubt about them: where they differ by more
        than this, relative to the largest.

    Returns
    -------
    float
        Relative to each output's largest value, infinite where a label differs; NaN where there
        is nothing to compare.
    """
    tail = model.tail()
    if tail is None or model.logits is None:
        return float("nan")
    for value in tail.graph.input:
        if value.name == model.logits.name and not value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            sizes.add(dim_param="N")
            for side in logits.shape[1:]:
                sizes.add(dim_value=side)
    session = make_session(tail.SerializeToString(), device=device, folder=model.folder)
    known = {tensor.name for tensor in model.inputs} | {model.logits.name}
    if any(spec.name not in known for spec in session.get_inputs()):
        return float("nan")
    inputs = X if isinstance(X, Mapping) else {model.inputs[0].name: X}
    expected = run_whole(session, {**inputs, model.logits.name: logits})
    gaps = np.diff(np.sort(logits.reshape(len(logits), -1).astype(np.float64), axis=1), axis=1)
    if not gaps.shape[1]:  # one sigmoid logit, whose threshold is 0
        gaps = np.abs(logits.reshape(len(logits), 1).astype(np.float64))
    gaps = gaps / max(1.0, float(np.abs(logits).max()))
    differences = [
        _of_one_output(outputs[name], array, gaps, tolerance)
        for name, array in expected.items()
        if name in outputs
    ]
    return max(differences, default=float("nan"))


def difference(found: Array, expected: Array) -> float:
    """Largest difference, relative to the largest value; infinite between other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    if not found.size:
        return 0.0
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def same_output(found: Array, expected: Array) -> float:
    """Difference of an output that no logits go into; infinite where texts or numbers differ."""
    return _of_one_output(found, expected, np.ones((len(expected), 1)), 0.0)


def _of_one_output(found: Array, expected: Array, gaps: Array, tolerance: float) -> float:
    if expected.dtype == object and isinstance(next(iter(expected.flat), None), Mapping):
        found, expected = _unzipped(found), _unzipped(expected)
    if found.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind == "f":
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        worst = difference(np.where(same, 0, found), np.where(same, 0, expected))
        return worst if worst == worst else float("inf")
    # A single label turns on the two largest logits, an order of classes on all of them.
    single = expected.size == len(expected)
    clear = (gaps[:, -1] if single else gaps.min(axis=1)) > tolerance
    if len(expected) != len(clear):  # not one row per sample
        found, expected, clear = found[None], expected[None], clear.all(keepdims=True)
    return 0.0 if np.array_equal(found[clear], expected[clear]) else float("inf")


def _joined(parts: list[Array]) -> Array:
    """Parts of one output; flat where they are no rows of samples that fit together."""
    if all(part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts):
        return np.concatenate(parts)
    return np.concatenate([part.ravel() for part in parts])


def _unzipped(rows: Array) -> Array:
    """ZipMap's dictionaries as a matrix."""
    return np.asarray([[row[key] for key in sorted(row)] for row in rows.flat])
