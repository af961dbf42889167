"""How wrong a head is about samples it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_X_y

from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.study import AS_GOOD, Rows, class_weighted, penalty_path

__all__ = ["margins_of"]

Array = NDArray[Any]
_STRONGEST = 1.0


def margins_of(X: ArrayLike, y: ArrayLike, *, cv: int = 5, random_state: int = 0) -> Array:
    """Logit of each sample's class minus the largest other, by heads that have not seen it.

    The heads are class-balanced; their penalty is the strongest whose cross-validated mean class
    error is within 4 points of the smallest, as the reference head of ``AutoDebiasClassifier``.

    Parameters
    ----------
    X : array-like of shape (N, D)
        Embeddings.
    y : array-like of shape (N,)
        Class labels.
    cv : int, default=5
        Folds.
    random_state : int, default=0
        Decides the folds.

    Returns
    -------
    ndarray of shape (N,)
        Below 0 where the sample is misclassified.

    Raises
    ------
    InputError
        If a class has fewer than two samples.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.questions import margins_of
    >>> y = np.tile([0, 1], 50)
    >>> X = 4.0 * y[:, None] + np.random.default_rng(0).normal(size=(100, 1))
    >>> bool(np.mean(margins_of(X, y) > 0) > 0.9)
    True
    """
    Z: Array
    Z, y = check_X_y(X, y, dtype=[np.float64, np.float32])
    classes, y_index = np.unique(y, return_inverse=True)
    if len(classes) < 2 or np.bincount(y_index).min() < 2:
        raise InputError("Margins need two classes and two samples of each; pass more samples.")
    rows = Rows(Z, y_index, np.ones(len(Z)))
    gains = 1 / rows.deviations

    def fit(rows: Rows, weights: Sequence[Array], alphas: Sequence[float]) -> Sequence[LinearHead]:
        Cs = [1 / (float(w.sum()) * alpha) for w, alpha in zip(weights, alphas, strict=True)]
        return rows.heads(weights, classes=classes, Cs=Cs, gains=gains, tol=1e-4, max_iter=1000)

    balanced = class_weighted(rows.weight, y_index, classes, "balanced")
    path = penalty_path(
        fit, rows, balanced, y_index, worse_half=True, n_splits=cv, seed=random_state
    )
    alpha = path.strongest(y_index, rows.weight, most=_STRONGEST, within=AS_GOOD)
    return path.outcomes[alpha].margin
