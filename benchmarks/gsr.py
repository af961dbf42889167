"""GSR on embeddings: sample weights from influences on a few samples with groups.

Qiao, Wu, Wang, Koh, Low: Group-robust Sample Reweighting for Subpopulation Shifts via Influence
Functions. ICLR 2025, arXiv 2503.07315. The procedure of its second stage:

1. A head is fitted to the weighted samples, to the optimum, with an L2 penalty.
2. Groups of the target set (half of the samples with groups) get weights that are multiplied by
   the exponential of their error on the validation set (the other half), and normalised.
3. A sample's influence is the decrease of the target groups' weighted loss when its weight grows:
   the product of its gradient, the inverse Hessian of the objective, and their gradient.
4. Weights move along the influences (over the number of samples), whose norm is clipped to 1, are
   kept from being negative, and normalised.
5. After so many rounds, the head of best worst-group accuracy on the validation set is taken.

What differs here: the penalty is one of several, chosen with the round, and there are 30 rounds,
after which the published step is divided by ten; the published code has 100.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from sklearn.preprocessing import StandardScaler

from ntkit.head import LinearHead
from ntkit.metrics import worst_group_accuracy
from ntkit.solver.fit_head import fit_linear_head
from ssa import halves

Array = NDArray[Any]
CLASSES = np.array([0, 1])


def gsr(
    Z: Array,
    y: Array,
    known: Array,
    groups: Array,
    seed: int,
    *,
    rounds: int = 30,
    alphas: tuple[float, ...] = (0.1, 0.01),
) -> LinearHead:
    """Fit a head by GSR.

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Embeddings.
    y : ndarray of int, shape (N,)
        Class, 0 or 1.
    known : ndarray of bool, shape (N,)
        Whose group is known.
    groups : ndarray of int, shape (N,)
        Read where it is known alone.
    seed : int
        Decides the halves.
    rounds, alphas
        Rounds, and ridge weights.
    """
    scaler = StandardScaler().fit(Z)
    X = scaler.transform(Z).astype(np.float64)
    rng = np.random.default_rng(seed)
    target, validation = halves(groups, np.flatnonzero(known), rng)
    train = np.flatnonzero(~known)
    names = np.unique(groups[target])
    best: tuple[float, LinearHead] | None = None
    for alpha in alphas:
        weight, share = np.full(len(train), 1 / len(train)), np.full(len(names), 1 / len(names))
        head = None
        for _ in range(rounds):
            head = fit_linear_head(
                X[train], y[train], weight, classes=CLASSES, C=1 / alpha, start=head, tol=1e-4
            )
            pred = head.predict(X[validation])
            score = worst_group_accuracy(y[validation], pred, groups=groups[validation])
            if best is None or score > best[0]:
                best = score, LinearHead(head.coef, head.intercept, CLASSES)
            wrong = pred != y[validation]
            own = [groups[validation] == g for g in names]
            share = share * np.exp([wrong[m].mean() if m.any() else 0.0 for m in own])
            share = share / share.sum()
            score_of = influences(head, X[train], y[train], weight, alpha) @ target_gradient(
                head, X[target], y[target], groups[target], names, share
            )
            score_of = score_of / len(train)
            score_of = score_of / max(1.0, float(np.linalg.norm(score_of)))
            weight = np.maximum(0, weight + score_of)
            weight = weight / weight.sum()
    assert best is not None
    return best[1].scaled(1 / scaler.scale_, scaler.mean_)


def influences(head: Any, X: Array, y: Array, weight: Array, alpha: float) -> Array:
    """Gradients of the samples times the inverse Hessian of the objective, (N, D + 1)."""
    ones = np.column_stack([X, np.ones(len(X))])
    p = expit(head.decision_function(X))
    curvature = weight * p * (1 - p)
    hessian = (ones * curvature[:, None]).T @ ones
    penalty = np.full(len(hessian), alpha)
    penalty[-1] = 1e-8  # the bias has none
    factor = cho_factor(hessian + np.diag(penalty))
    return np.asarray(cho_solve(factor, (ones * (p - y)[:, None]).T).T)


def target_gradient(
    head: Any, X: Array, y: Array, groups: Array, names: Array, share: Array
) -> Array:
    """Gradient of the groups' mean losses, weighted by their shares, (D + 1,)."""
    residual = expit(head.decision_function(X)) - y
    each = np.zeros(len(y))
    for g, s in zip(names, share, strict=True):
        each[groups == g] = s / (groups == g).sum()
    ones = np.column_stack([X, np.ones(len(X))])
    return np.asarray(ones.T @ (each * residual))
