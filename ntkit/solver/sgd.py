"""Stochastic gradient descent of a linear head, with momentum, as the papers retrain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from scipy.special import softmax

from ntkit._types import Array
from ntkit.solver.fit_head import FittedHead, stepped_head


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


def fit_by_sgd(
    X: Array,
    y_index: Array,
    weight: Array,
    classes: Array,
    *,
    gains: Array,
    epochs: int,
    batch_size: int,
    rng: np.random.RandomState,
    fitness: Callable[[FittedHead], float],
    **how: float,
) -> tuple[FittedHead, int]:
    """A fresh head of class-balanced batches after the epoch of the best fitness, and the epoch.

    Weights begin uniformly in ±1/√D, and those of gain 0, (D,) or (C, D), are and stay 0.
    """
    shape = len(classes), X.shape[1]
    free = np.column_stack([np.broadcast_to(gains, shape), np.ones(shape[0])])
    bound = 1 / np.sqrt(shape[1])
    theta = free * np.column_stack([rng.uniform(-bound, bound, shape), np.zeros(shape[0])])
    n_batches = max(1, int((weight > 0).sum()) // batch_size)

    def batches() -> Iterator[tuple[Array, Array, Array]]:
        drawn = balanced_batches(y_index, weight, batch_size, rng)
        for rows in islice(drawn, epochs * n_batches):
            yield X[rows], y_index[rows], np.full(len(rows), 1 / len(rows))

    steps = sgd_steps(theta, batches(), free=free, **how)
    best, highest = None, -np.inf
    for epoch, theta in enumerate(islice(steps, n_batches - 1, None, n_batches), 1):
        head = stepped_head(theta[:, :-1], theta[:, -1], classes, X.dtype, epoch * n_batches)
        value = fitness(head)
        if best is None or value > highest:
            best, highest = (head, epoch), value
    assert best is not None
    return best
