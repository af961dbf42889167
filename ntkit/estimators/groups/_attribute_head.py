"""A head that reads an attribute from a view, fitted on the few samples where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from ntkit.estimators._shared_between_threads import (
    alone_with_liblinear,
    without_convergence_warnings,
)
from ntkit.exceptions import InputError

__all__ = ["PENALTIES", "AttributeHead", "Known", "best_head", "checked_penalties"]

Array = NDArray[Any]
PENALTIES = (
    *(("l2", C) for C in (1e-3, 1e-2, 0.1, 1.0, 10.0)),
    *(("l1", C) for C in (0.1, 0.3, 1.0, 3.0, 10.0)),
)
"""Penalties to choose from: an attribute is spread over many neurons, or is one word."""
SCALES = (1.0, 0.5, 0.7, 1.4, 2.0, 2.8, 4.0)
"""Factors of the logits to choose from: a strong penalty leaves a head less sure than it is right,
and where probabilities are too near to equal, common values seem commoner than they are."""
_MAX_ITER = 300
_MORE = 0.1  # of all samples, in every cell


@dataclass(frozen=True)
class Known:
    """The samples where the attribute is known.

    Attributes
    ----------
    index : ndarray of int, shape (M,)
        Their rows.
    y_index, a_index : ndarray of int, shape (M,)
        Class and attribute.
    weight : ndarray of shape (M,)
        About the same total for every cell of class and attribute: the head is to tell the values
        of the attribute apart within a class, whatever their shares. Cells count as if each had a
        tenth of all samples more, lest one wrong answer weigh as much as all others.
    """

    index: Array
    y_index: Array
    a_index: Array
    weight: Array

    @classmethod
    def of(cls, index: Array, y_index: Array, a_index: Array, weight: Array) -> Known:
        """Balance the cells of samples with weights."""
        _, cell = np.unique(np.stack([y_index, a_index]), axis=1, return_inverse=True)
        cell = cell.reshape(-1)
        mass = np.bincount(cell, weights=weight)
        balanced = weight / (mass + _MORE * mass.sum())[cell]
        return cls(index, y_index, a_index, balanced * (len(weight) / balanced.sum()))

    def folds(self, n_splits: int, seed: int) -> list[tuple[Array, Array]]:
        """Stratified by cell, or by attribute where a cell has too few samples; else none."""
        smallest = int(np.bincount(self.a_index).min())
        n_splits = min(n_splits, smallest)
        if n_splits < 2:
            return []
        _, cell, sizes = np.unique(
            np.stack([self.y_index, self.a_index]), axis=1, return_inverse=True, return_counts=True
        )
        strata = cell.reshape(-1) if sizes.min() >= n_splits else self.a_index
        splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
        return list(splitter.split(strata, strata))


@dataclass(frozen=True)
class AttributeHead:
    """A fitted head and how well it reads what it was not fitted on.

    Attributes
    ----------
    coef, intercept : ndarray of shape (A, D) and (A,)
        On a view in its units; one row for each value.
    loss : float
        Cross-validated log loss, the mean over the cells, in nats.
    accuracy : float
        Cross-validated accuracy, the mean over the cells.
    penalty : (str, float)
        "l1" or "l2", and the inverse strength.
    told : ndarray of shape (M, A)
        Probability of the values of the known samples, by what was said and what the head makes of
        samples that it was not fitted on.
    """

    coef: Array
    intercept: Array
    loss: float
    accuracy: float
    penalty: tuple[str, float]
    told: Array


def checked_penalties(penalties: Any) -> Sequence[tuple[str, float]]:
    """Penalties as a user gives them; None takes ``PENALTIES``.

    Raises
    ------
    InputError
        If there is none, or one is no pair of "l1" or "l2" and a positive number.
    """
    if penalties is None:
        return PENALTIES
    pairs = [tuple(pair) if isinstance(pair, list | tuple) else (pair,) for pair in penalties]
    if not pairs or not all(_is_penalty(*pair) for pair in pairs):
        raise InputError(
            "penalties must be pairs such as ('l2', 1.0) or ('l1', 0.3), at least one; got "
            f"{penalties!r}."
        )
    return pairs


def _is_penalty(kind: Any = None, C: Any = None, *rest: Any) -> bool:
    return not rest and kind in ("l1", "l2") and isinstance(C, Real) and 0 < float(C) < np.inf


def best_head(
    X: Any,
    known: Known,
    n_values: int,
    penalties: Sequence[tuple[str, float]],
    *,
    error: float,
    cv: int,
    seed: int,
) -> AttributeHead | None:
    r"""Fit a head with the penalty of smallest cross-validated loss; None without folds.

    An answer a is wrong with probability :math:`\epsilon`, and then as likely any other value, so
    that the loss is :math:`-\log((1 - \epsilon) p_a + \epsilon (1 - p_a) / (A - 1))`. The head is
    then fitted to each answer with the probability that it is right. Its logits are multiplied by
    the factor of smallest loss (temperature scaling).

    Parameters
    ----------
    X : ndarray or sparse matrix, shape (M, D)
        The known samples in a view.
    known : Known
        Their classes, attributes and weights.
    n_values : int
        A.
    penalties : sequence of (str, float)
        To choose from.
    error : float
        ε.
    cv, seed : int
        Folds.
    """
    folds = known.folds(cv, seed)
    if not folds:
        return None
    rows, values = np.arange(len(known.index)), known.a_index
    said = np.full((len(rows), n_values), error / (n_values - 1))
    said[rows, values] = 1 - error
    best: tuple[float, tuple[str, float], float, Array] | None = None
    with without_convergence_warnings():
        for penalty in penalties:
            logits = np.empty((len(rows), n_values))
            for train, test in folds:
                W, b = _fitted(X, known, train, known.weight, n_values, penalty, seed)
                logits[test] = X[test] @ W.T + b
            for scale in SCALES:
                p = softmax(scale * logits, axis=1)
                likelihood = np.maximum((p * said).sum(axis=1), np.finfo(float).tiny)
                loss = float(np.average(-np.log(likelihood), weights=known.weight))
                if best is None or loss < best[0] - 1e-9:
                    best = loss, penalty, scale, p
        assert best is not None
        loss, penalty, scale, p = best
        told = p * said + np.finfo(float).tiny
        told /= told.sum(axis=1, keepdims=True)
        trusted = known.weight * told[rows, values]
        W, b = _fitted(X, known, rows, trusted, n_values, penalty, seed)
    accuracy = float(np.average(p.argmax(axis=1) == values, weights=known.weight))
    return AttributeHead(scale * W, scale * b, loss, accuracy, penalty, told)


def _fitted(
    X: Any,
    known: Known,
    rows: Array,
    weight: Array,
    n_values: int,
    penalty: tuple[str, float],
    seed: int,
) -> tuple[Array, Array]:
    """Weights (A, D) and biases (A,) of a head fitted on some of the known samples."""
    kind, C = penalty
    X, a, weight = X[rows], known.a_index[rows], weight[rows]
    if kind == "l2":
        model = LogisticRegression(C=C, max_iter=_MAX_ITER).fit(X, a, sample_weight=weight)
        return _row_for_each(model, n_values)
    W, b = np.empty((n_values, X.shape[1])), np.empty(n_values)
    # liblinear knows two classes: each value against the others.
    for value in range(1 if n_values == 2 else 0, n_values):
        model = LogisticRegression(
            C=C, l1_ratio=1.0, solver="liblinear", max_iter=_MAX_ITER, random_state=seed
        )
        with alone_with_liblinear():
            model.fit(X, a == value, sample_weight=weight)
        W[value], b[value] = model.coef_[0], model.intercept_[0]
    if n_values == 2:
        W[0], b[0] = 0.0, 0.0
    return W, b


def _row_for_each(model: Any, n_values: int) -> tuple[Array, Array]:
    """Weights of a head with a row for each value; of two, scikit-learn keeps the second."""
    if n_values > 2:
        return model.coef_, model.intercept_
    zeros = np.zeros_like(model.coef_)
    return np.vstack([zeros, model.coef_]), np.concatenate([[0.0], model.intercept_])
