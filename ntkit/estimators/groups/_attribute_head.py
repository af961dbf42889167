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

__all__ = ["ERRORS", "PENALTIES", "AttributeHead", "Known", "best_head", "checked_penalties"]

Array = NDArray[Any]
PENALTIES = (
    *(("l2", C) for C in (1e-3, 1e-2, 0.1, 1.0, 10.0)),
    *(("l1", C) for C in (0.1, 0.3, 1.0, 3.0, 10.0)),
)
"""Penalties to choose from: an attribute is spread over many neurons, or is one word."""
SCALES = (1.0, 0.5, 0.7, 1.4, 2.0, 2.8, 4.0)
"""Factors of the logits to choose from: a strong penalty leaves a head less sure than it is right,
and where probabilities are too near to equal, common values seem commoner than they are."""
ERRORS = (0.02, 0.05, 0.1, 0.15)
"""Shares of wrong answers to choose from."""
_MAX_ITER = 300
_MORE = 0.1  # of all samples, in every cell
_LEAST_SHARE = 1e-3  # of a penalty in the mean, that of the best being 1
_LEAST_WEIGHT = 1e-9  # of a sample as a value


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
        Weights of the samples.
    """

    index: Array
    y_index: Array
    a_index: Array
    weight: Array

    def balanced(self, q: Array) -> Array:
        """Weights (M, A) of the samples as each value, by its probability.

        About the same total for every cell of class and value: the head is to tell the values
        apart within a class, whatever their shares. Cells count as if each had a tenth of all
        samples more, lest one wrong answer weigh as much as all others. The mean over the samples
        is 1.
        """
        own = self.weight[:, None] * q
        mass = np.zeros((self.y_index.max() + 1, q.shape[1]))
        np.add.at(mass, self.y_index, own)
        balanced = own / (mass + _MORE * mass.sum())[self.y_index]
        return np.asarray(balanced * (len(own) / balanced.sum()))

    def of(self, rows: Array) -> Known:
        """Some of them."""
        return Known(self.index[rows], self.y_index[rows], self.a_index[rows], self.weight[rows])

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
    """A head, the mean of those of all penalties, and how well it reads what it has not seen.

    Attributes
    ----------
    coef, intercept : ndarray of shape (A, D) and (A,)
        On a view in its units; one row for each value.
    loss : float
        Cross-validated log loss of the best penalty, the mean over the cells, in nats.
    accuracy : float
        Cross-validated accuracy, the mean over the cells, by what was said.
    penalty : (str, float)
        The best: "l1" or "l2", and the inverse strength.
    error : float
        Share of what was said that is taken to be wrong.
    told : ndarray of shape (M, A)
        Probability of the values of the known samples, by what was said and what the head makes of
        samples that it was not fitted on.
    """

    coef: Array
    intercept: Array
    loss: float
    accuracy: float
    penalty: tuple[str, float]
    error: float
    told: Array


@dataclass(frozen=True)
class _Tried:
    """A penalty, with the scale and share of errors of smallest loss."""

    loss: float
    penalty: tuple[str, float]
    scale: float
    error: float
    p: Array


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
    errors: Sequence[float],
    cv: int,
    seed: int,
) -> AttributeHead | None:
    r"""Fit heads with all penalties and take their mean; None without folds.

    What was said, a, is wrong with probability :math:`\epsilon`, and the value then as likely any
    other, so that the loss is :math:`-\log((1 - \epsilon) p_a + \epsilon (1 - p_a) / (A - 1))`.
    Every penalty has its own :math:`\epsilon`, and a factor of the logits (temperature scaling),
    of smallest cross-validated loss. Logits and :math:`\epsilon` are then averaged over the
    penalties with weights :math:`\exp(-M \cdot \mathrm{loss})` (pseudo-Bayesian model averaging:
    Geisser and Eddy 1979): of a few dozen samples, some of them wrong, no penalty is surely the
    best. The heads of the mean are fitted to every value by the probability that it is right.

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
    errors : sequence of float
        Values of ε to choose from.
    cv, seed : int
        Folds.
    """
    folds = known.folds(cv, seed)
    if not folds:
        return None
    said = np.eye(n_values)[known.a_index]
    weight = known.balanced(said).sum(axis=1)
    with without_convergence_warnings():
        tried = [
            _tried(_unseen(X, known, said, penalty, folds, seed), known, weight, penalty, errors)
            for penalty in penalties
        ]
        best = min(tried, key=lambda one: one.loss)
        share = np.exp(-len(weight) * np.array([one.loss - best.loss for one in tried]))
        share[share < _LEAST_SHARE] = 0
        share /= share.sum()
        p = np.einsum("t,tma->ma", share, [one.p for one in tried])
        error = float(share @ [one.error for one in tried])
        told = p * _channel(said, error) + np.finfo(float).tiny
        told /= told.sum(axis=1, keepdims=True)
        W, b = np.zeros((n_values, X.shape[1])), np.zeros(n_values)
        for one, part in zip(tried, share, strict=True):
            if part > 0:
                own_W, own_b = _fitted(X, known.balanced(told), one.penalty, seed)
                W, b = W + part * one.scale * own_W, b + part * one.scale * own_b
    accuracy = float(np.average(p.argmax(axis=1) == known.a_index, weights=weight))
    return AttributeHead(W, b, best.loss, accuracy, best.penalty, error, told)


def _channel(said: Array, error: float) -> Array:
    """Probability (M, A) that this is said, given each value."""
    return np.asarray(said * (1 - error) + (1 - said) * error / (said.shape[1] - 1))


def _unseen(
    X: Any,
    known: Known,
    said: Array,
    penalty: tuple[str, float],
    folds: Sequence[tuple[Array, Array]],
    seed: int,
) -> Array:
    """Logits (M, A) of heads that have not seen the sample."""
    logits = np.empty_like(said)
    for train, test in folds:
        W, b = _fitted(X[train], known.of(train).balanced(said[train]), penalty, seed)
        logits[test] = X[test] @ W.T + b
    return logits


def _tried(
    logits: Array,
    known: Known,
    weight: Array,
    penalty: tuple[str, float],
    errors: Sequence[float],
) -> _Tried:
    """The scale and share of errors of smallest loss."""
    n_values = logits.shape[1]
    best: _Tried | None = None
    for scale in SCALES:
        p = softmax(scale * logits, axis=1)
        right = p[np.arange(len(p)), known.a_index]
        for error in errors:
            likelihood = (1 - error) * right + error * (1 - right) / (n_values - 1)
            losses = -np.log(np.maximum(likelihood, np.finfo(float).tiny))
            loss = float(np.average(losses, weights=weight))
            if best is None or loss < best.loss - 1e-9:
                best = _Tried(loss, penalty, scale, error, p)
    assert best is not None
    return best


def _fitted(X: Any, weight: Array, penalty: tuple[str, float], seed: int) -> tuple[Array, Array]:
    """Weights (A, D) and biases (A,) of a head, of samples that weigh (M, A) as each value."""
    kind, C = penalty
    n_values = weight.shape[1]
    rows, a = np.nonzero(weight > _LEAST_WEIGHT)
    X, weight = X[rows], weight[rows, a]
    if kind == "l2":
        model = LogisticRegression(C=C, max_iter=_MAX_ITER).fit(X, a, sample_weight=weight)
        return _row_for_each(model, n_values)
    W, b = np.zeros((n_values, X.shape[1])), np.zeros(n_values)
    # liblinear knows two classes: each value against the others.
    for value in range(1 if n_values == 2 else 0, n_values):
        model = LogisticRegression(
            C=C, l1_ratio=1.0, solver="liblinear", max_iter=_MAX_ITER, random_state=seed
        )
        with alone_with_liblinear():
            model.fit(X, a == value, sample_weight=weight)
        W[value], b[value] = model.coef_[0], model.intercept_[0]
    return W, b


def _row_for_each(model: Any, n_values: int) -> tuple[Array, Array]:
    """Weights of a head with a row for each value; of two, scikit-learn keeps the second."""
    if n_values > 2:
        return model.coef_, model.intercept_
    zeros = np.zeros_like(model.coef_)
    return np.vstack([zeros, model.coef_]), np.concatenate([[0.0], model.intercept_])
