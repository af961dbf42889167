"""Gradient descent of a head: the steps of torch's SGD, and batches of equally many per class."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ntkit.solver.sgd import balanced_batches, sgd_steps

STORED = Path(__file__).parent / "sgd_of_torch.json"
HOW = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-2}


def case():
    """A start, and batches of three classes."""
    rng = np.random.default_rng(0)
    theta = rng.uniform(-0.4, 0.4, (3, 6))
    batches = [(rng.normal(size=(8, 5)), rng.integers(0, 3, 8)) for _ in range(60)]
    return theta, batches


def trajectory_of_torch():
    """Weights after every tenth step of torch.optim.SGD."""
    torch = pytest.importorskip("torch")
    start, batches = case()
    theta = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.SGD([theta], lr=0.05, momentum=0.9, weight_decay=1e-2)
    seen = []
    for step, (X, y) in enumerate(batches, 1):
        logits = torch.tensor(X) @ theta[:, :-1].T + theta[:, -1]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.tensor(y)).backward()
        optimiser.step()
        if step % 10 == 0:
            seen.append(theta.detach().numpy().copy())
    return np.array(seen)


def own_trajectory():
    theta, batches = case()
    weighted = ((X, y, np.full(len(X), 1 / len(X))) for X, y in batches)
    return np.array([*sgd_steps(theta, weighted, **HOW)])[9::10]


def test_the_steps_are_those_of_torch():
    stored = np.array(json.loads(STORED.read_text()))
    assert stored.shape == (6, 3, 6)
    np.testing.assert_allclose(own_trajectory(), stored, atol=1e-12)


def test_the_stored_steps_are_those_of_torch_today():
    np.testing.assert_allclose(trajectory_of_torch(), json.loads(STORED.read_text()), atol=1e-12)


def test_batches_have_equally_many_samples_of_each_class():
    y_index = np.repeat([0, 1, 2], [200, 30, 70])
    weight = np.ones(300)
    weight[[0, 200, 299]] = 0
    for rows in islice(balanced_batches(y_index, weight, 33, np.random.RandomState(0)), 9):
        assert np.bincount(y_index[rows]).tolist() == [11, 11, 11]
        assert weight[rows].all()
    # A sample of weight 3 is drawn three times as often.
    weight = np.where(np.arange(300) < 100, 3.0, 1.0)
    batches = balanced_batches(y_index, weight, 33, np.random.RandomState(1))
    drawn = np.concatenate([*islice(batches, 900)])
    of_first = drawn[drawn < 200]
    assert (of_first < 100).mean() == pytest.approx(0.75, abs=0.02)


def test_weights_that_are_not_free_stay():
    theta, batches = case()
    free = np.ones_like(theta)
    free[0, 2] = free[:, 4] = 0
    weighted = ((X, y, np.full(len(X), 1 / len(X))) for X, y in batches)
    *_, last = sgd_steps(theta, weighted, free=free, **HOW)
    assert np.array_equal(last == theta, free == 0)
