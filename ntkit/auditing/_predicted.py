"""Predictions as they are given: labels, scores, or embeddings to cross-fit a head on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit._checks import check_embeddings, check_labels, check_predictions
from ntkit._labels import listed, unknown_labels
from ntkit.exceptions import InputError
from ntkit.study import (
    AS_GOOD,
    Rows,
    class_weighted,
    cross_fitted_logits,
    folds_of,
    penalty_path,
)
from ntkit.suspicions import Predictions

__all__ = ["cross_fitted", "from_labels", "from_scores"]

Array = NDArray[Any]
_FOLDS = 5
_MOST_ALPHA = 1.0  # a stronger penalty makes errors that say nothing of the data
_SOLVER: dict[str, Any] = {"tol": 1e-5, "max_iter": 1000}


def from_labels(y: ArrayLike, pred: ArrayLike, weight: Array) -> Predictions:
    """Predictions that are class labels.

    Raises
    ------
    InputError
        If they are of another type than y, or have no class in common with it.
    """
    y, pred = check_predictions(y, pred=pred)
    own = np.unique(y)
    if not np.isin(pred, own).any():
        raise InputError(
            unknown_labels(
                pred,
                own,
                what="pred",
                where="y",
                mend="give predictions as the labels that y holds.",
            )
        )
    classes, index = np.unique(np.concatenate([y, pred]), return_inverse=True)
    return _checked(Predictions(classes, index[: len(y)], index[len(y) :], weight))


def from_scores(
    y: ArrayLike, scores: ArrayLike, classes: ArrayLike | None, weight: Array
) -> Predictions:
    """Predictions of highest score, which are logits or probabilities.

    Raises
    ------
    InputError
        If there is not a column for each class.
    """
    (y,) = check_labels(y=y)
    values = check_embeddings(_columns_of(scores), len(y))
    labels = np.unique(y) if classes is None else np.asarray(classes)
    if values.shape[1] != len(labels):
        raise InputError(
            f"scores has {values.shape[1]} columns for the classes {listed(labels)}; give one for "
            "each in their order (of two classes, one column is enough), or name the classes of "
            "the columns with classes=."
        )
    order = np.argsort(labels)
    place = np.searchsorted(labels, y, sorter=order).clip(0, len(labels) - 1)
    y_index = order[place]
    if not (labels[y_index] == y).all():
        raise InputError(
            unknown_labels(
                y, labels, what="y", where="classes", mend="name every class in classes=."
            )
        )
    return _checked(Predictions(labels, y_index, values.argmax(axis=1), weight))


def _columns_of(scores: ArrayLike) -> Array:
    """Scores with a column for each class; of two classes, the second's may stand alone."""
    values = np.asarray(scores)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        return values
    if values.dtype.kind not in "fiub":
        raise InputError(f"scores must be numbers; got an array of type {values.dtype}.")
    probabilities = bool(len(values)) and values.min() >= 0 and values.max() <= 1
    return np.stack([np.full(len(values), 0.5 if probabilities else 0.0), values], axis=1)


def cross_fitted(
    embeddings: ArrayLike, y: ArrayLike, weight: Array, random_state: int
) -> Predictions:
    """Predictions of class-balanced heads, each on samples that it was not fitted on.

    The penalty is the strongest with which the mean class error is within 4 % of the best.

    Raises
    ------
    InputError
        If a class has a single sample, so that none is left to predict it by.
    """
    (y,) = check_labels(y=y)
    X = check_embeddings(embeddings, len(y))
    classes, y_index = np.unique(y, return_inverse=True)
    rows = Rows(X, y_index, weight)
    folds = folds_of(_FOLDS, rows, random_state) if len(classes) > 1 else None
    if folds is None:
        few = classes[np.argmin(np.bincount(y_index))].item()
        raise InputError(
            f"Class {few!r} has too few samples for cross-fitting ({len(classes)} class(es) in "
            "all); add samples of every class, or give predictions."
        )
    balanced = class_weighted(weight, y_index, classes, "balanced")
    gains = 1 / rows.deviations

    def fit(rows: Rows, weights: Any, alphas: Any) -> Any:
        Cs = [1 / (float(w.sum()) * alpha) for w, alpha in zip(weights, alphas, strict=True)]
        return rows.heads(weights, classes=classes, Cs=Cs, gains=gains, **_SOLVER)

    path = penalty_path(fit, rows, balanced, y_index, worse_half=False, seed=random_state)
    alpha = path.strongest(y_index, weight, most=_MOST_ALPHA, within=AS_GOOD)
    logits, _ = cross_fitted_logits(
        rows, balanced, folds, lambda rows, weights: fit(rows, weights, [alpha] * len(weights))
    )
    return _checked(Predictions(classes, y_index, logits.argmax(axis=1), weight))


def _checked(predictions: Predictions) -> Predictions:
    present = np.unique(predictions.y_index[predictions.weight > 0])
    if len(present) < 2:
        raise InputError(
            f"y holds one class only, {listed(predictions.classes[present])}: nothing goes with a "
            "class then; give samples of at least two."
        )
    return predictions
