"""Passes over the rows where they are best made: here, on a GPU or on Ray."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ntkit.solver._loss import NumpyPasses, Passes
from ntkit.solver._loss_on_gpu import TorchPasses
from ntkit.solver._loss_on_ray import RayPasses

__all__ = ["passes_over"]

Array = NDArray[Any]


def passes_over(
    X: Array,
    y_index: Array,
    weight: Array,
    *,
    kept: Array,
    offset: Array | None = None,
    device: str = "cpu",
) -> Passes:
    """Passes over embeddings where they are best made.

    Parameters
    ----------
    X : ndarray or memory map of float32 or float64, shape (N, D)
        Embeddings; a memory map is never in memory as a whole.
    y_index : ndarray of int, shape (N,)
        Class index of each row.
    weight : ndarray of shape (N,)
        Non-negative weights of sum 1.
    kept : ndarray of int
        Columns that count.
    offset : ndarray of shape (N, K), optional
        Fixed logits that the head's are added to.
    device : {"cpu", "cuda", "ray"}
        Where the passes are made.

    Returns
    -------
    Passes
    """
    if device == "cpu":
        return NumpyPasses(X, y_index, weight, kept, offset)
    if device == "ray":
        return RayPasses(X, y_index, weight, kept, offset)
    return TorchPasses(X, y_index, weight, kept, offset, device=device)
