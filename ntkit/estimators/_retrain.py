"""Last-layer retraining with a given mask and given weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight, check_X_y

from ntkit.estimators._base import kept_dtypes
from ntkit.estimators._solver import fit_linear_head, resolve_device
from ntkit.estimators._weights import class_weighted
from ntkit.exceptions import InputError
from ntkit.head import LinearHead

__all__ = ["retrain_head"]


def retrain_head(
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: Any = "balanced",
    suppressed: ArrayLike | None = None,
    C: float = 1.0,
    tol: float = 1e-5,
    max_iter: int = 1000,
    device: str = "cpu",
) -> LinearHead:
    """Retrain a linear head, with some neurons suppressed or none.

    The second stage of NeuronTune alone: class-balanced retraining where ``suppressed`` is not
    given, the random-mask control where it is drawn at random, an ERM head with
    ``class_weight=None``.

    Parameters
    ----------
    X : array-like of shape (N, D)
        Embeddings.
    y : array-like of shape (N,)
        Class labels, of two classes or more.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.
    class_weight : "balanced", dict or None, default="balanced"
        As in :class:`NeuronTuneClassifier`.
    suppressed : array-like of bool, shape (D,), optional
        Neurons that get zero weights.
    C : float, default=1.0
        Inverse strength of the L2 penalty, as there.
    tol : float, default=1e-5
        Tolerance of the solver.
    max_iter : int, default=1000
        Most iterations of the solver.
    device : {"cpu", "cuda", "auto", "ray"}, default="cpu"
        Where the head is fitted, as there.

    Returns
    -------
    LinearHead
        Its classes are the sorted labels.

    Raises
    ------
    ValueError
        If X is not a finite 2-D array, X and y differ in length, there is one class only, or a
        parameter is out of range.
    DeviceError
        If ``device="cuda"`` and there is no GPU.
    MissingDependencyError
        If ``device="cuda"`` and PyTorch is not installed.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` iterations do not reach ``tol``.

    Examples
    --------
    >>> from ntkit.estimators import retrain_head
    >>> X, y = [[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [3.0, 0.0]], [0, 0, 1, 1]
    >>> retrain_head(X, y, suppressed=[False, True])
    LinearHead(n_neurons=2, 1 silent, classes=[0, 1], one sigmoid logit, float64)
    """
    X, y = check_X_y(X, y, dtype=kept_dtypes(X))
    if not C > 0:
        raise InputError(f"C must be positive; got {C}.")
    width = np.asarray(X).shape[1]
    if suppressed is not None and np.shape(suppressed) != (width,):
        raise InputError(
            f"suppressed must have one entry per neuron, shape ({width},); "
            f"got {np.shape(suppressed)}."
        )
    classes, y_index = np.unique(y, return_inverse=True)
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    solution = fit_linear_head(
        np.asarray(X),
        y_index,
        class_weighted(weight, y_index, classes, class_weight),
        n_classes=len(classes),
        C=C,
        gains=None if suppressed is None else 1.0 - np.asarray(suppressed, dtype=float),
        tol=tol,
        max_iter=max_iter,
        device=resolve_device(device),
    )
    return LinearHead(solution.coef, solution.intercept, classes)
