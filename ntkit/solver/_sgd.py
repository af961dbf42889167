"""Stochastic gradient descent of a linear head, with momentum, as the papers retrain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.special import softmax

from ntkit._types import Array


def sgd_steps(
    theta: Array,
    batches: Iterable[tuple[Array, Array, Array]],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    free: Array | float = 1.0,
) -> Iterator[Array]:
    """Weights (K, D + 1), the last column the intercept, after the step of each batch.

    A batch is embeddings, class indices, and weights of the samples. Weights stay where ``free``,
    (K, D + 1), is 0.
    """
    velocity = np.zeros_like(theta)
    for X, y_index, weight in batches:
        Z = np.column_stack([X, np.ones(len(X))]).astype(np.float64, copy=False)
        residual = softmax(Z @ theta.T, axis=1)
        residual[np.arange(len(Z)), y_index] -= 1
        slope = free * ((weight[:, None] * residual).T @ Z + weight_decay * theta)
        velocity = momentum * velocity + slope
        theta = theta - learning_rate * velocity
        yield theta


def balanced_batches(
    y_index: Array, weight: Array, batch_size: int, rng: np.random.RandomState
) -> Iterator[Array]:
    """Rows of batches, without end: as many of each class, drawn with replacement."""
    of_class = [np.flatnonzero((y_index == k) & (weight > 0)) for k in np.unique(y_index)]
    n_drawn = max(1, batch_size // len(of_class))
    shares = [weight[rows] / weight[rows].sum() for rows in of_class]
    while True:
        drawn = zip(of_class, shares, strict=True)
        yield np.concatenate([rng.choice(rows, n_drawn, p=p) for rows, p in drawn])
