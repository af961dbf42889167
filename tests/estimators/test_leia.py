"""LEIAClassifier against its four steps done by hand, AFR, and what a rank must mean."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from ntkit.estimators import AFRClassifier, LEIAClassifier
from ntkit.study import Rows, split_in_two
from tests.estimators.samples import labelled as data
from tests.estimators.samples import random_head

WIDTH = 6


def weights(head, X, y, gamma):
    """μ of the paper, and the balance over classes of its code."""
    p = head.predict_proba(X)[np.arange(len(y)), y]
    mu = np.exp(gamma * (1 - p)) / np.bincount(y)[y]
    return mu / mu.sum()


def spread(X, mu):
    """NumPy's own weighted covariance."""
    return np.cov(X.T, aweights=mu, ddof=0)


@pytest.mark.parametrize("n_logits", [1, 2, 3])
def test_the_four_steps_by_hand(n_logits):
    X, y = data(n_classes=max(2, n_logits))
    X *= 5  # long gradients, so that clipping acts
    head = random_head(n_logits)
    clf = LEIAClassifier(head=head, gamma=3.0, rank=2, reg_coeff=0.1, n_steps=20).fit(X, y)

    mu = weights(head, X, y, 3.0)
    assert np.allclose(clf.weights_, mu)
    values, vectors = np.linalg.eigh(spread(X, mu))
    V = vectors[:, :-3:-1]
    assert np.allclose(clf.variances_, values[:-3:-1])
    assert np.allclose(np.abs(clf.subspace_.T @ V), np.eye(2), atol=1e-8)

    base = head.with_logits(len(head.classes))
    A, clipped = np.zeros((2, len(base.classes))), 0
    for _ in range(20):
        logits = base.logits(X) + X @ V @ A
        gradient = (X @ V).T @ (mu[:, None] * (softmax(logits, axis=1) - np.eye(len(A.T))[y]))
        gradient += 2 * 0.1 * A
        norm = np.linalg.norm(gradient)
        clipped += norm > 1
        A -= 0.01 * gradient * min(1, 1 / norm)
    assert clipped
    assert np.allclose(clf.predict_proba(X), softmax(base.logits(X) + X @ V @ A, axis=1))
    assert clf.n_iter_.tolist() == [20]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # BFGS stops at its rounding
@pytest.mark.parametrize("n_logits", [1, 2, 3])
def test_of_full_rank_it_is_the_optimum_over_all_weights_with_the_bias_kept(n_logits):
    X, y = data(n_classes=max(2, n_logits))
    head = random_head(n_logits)
    options = {"head": head, "gamma": 4.0, "reg_coeff": 0.05, "solver": "lbfgs", "tol": 1e-9}
    clf = LEIAClassifier(rank=100, **options).fit(X, y)
    start, mu = head.with_logits(len(head.classes)), weights(head, X, y, 4.0)

    def objective(flat):
        W = flat.reshape(start.coef.shape)
        log_p = log_softmax(X @ W.T + start.intercept, axis=1)
        residual = np.exp(log_p) - np.eye(len(W))[y]
        value = -mu @ log_p[np.arange(len(y)), y] + 0.05 * ((W - start.coef) ** 2).sum()
        return value, ((mu[:, None] * residual).T @ X + 0.1 * (W - start.coef)).ravel()

    found = minimize(objective, start.coef.ravel(), jac=True, method="BFGS", options={"gtol": 1e-9})
    expected = softmax(X @ found.x.reshape(start.coef.shape).T + start.intercept, axis=1)
    assert np.allclose(clf.predict_proba(X), expected, atol=1e-6)
    assert clf.subspace_.shape == (WIDTH, WIDTH)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_of_rank_0_it_is_the_original_head(n_classes, solver):
    X, y = data(n_classes=n_classes)
    clf = LEIAClassifier(rank=0, solver=solver, reg_coeff=0.1, random_state=0).fit(X, y)
    assert np.allclose(clf.predict_proba(X), clf.erm_head_.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("rank", [1, 3])
def test_outside_the_subspace_nothing_changes(n_classes, rank):
    X, y = data(n_classes=n_classes)
    clf = LEIAClassifier(rank=rank, learning_rate=0.1, random_state=0).fit(X, y)
    change = clf.coef_ - clf.erm_head_.coef
    assert np.linalg.norm(change) > 0.01
    assert np.allclose(change @ clf.subspace_ @ clf.subspace_.T, change)
    assert np.linalg.matrix_rank(change, tol=1e-9) <= rank
    assert np.allclose(clf.intercept_, clf.erm_head_.intercept)


def test_the_weights_are_those_of_afr():
    X, y = data()
    ours = LEIAClassifier(random_state=0).fit(X, y)
    theirs = AFRClassifier(random_state=0).fit(X, y)
    assert np.allclose(ours.weights_, theirs.weights_)
    assert np.array_equal(ours.erm_head_.coef, theirs.erm_head_.coef)


def test_fewer_samples_than_neurons():
    """The subspace comes from the samples then, and is that of the covariance all the same."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 40)) * np.linspace(1, 3, 40), np.arange(12) % 2
    head = random_head(1, width=40)
    clf = LEIAClassifier(gamma=10.0, head=head, rank=4).fit(X, y)
    values, vectors = np.linalg.eigh(spread(X, weights(head, X, y, 10.0)))
    assert np.allclose(clf.variances_, values[:-5:-1])
    assert np.allclose(np.abs(clf.subspace_.T @ vectors[:, :-5:-1]), np.eye(4), atol=1e-6)
    more = LEIAClassifier(head=head, rank=30).fit(X, y)
    assert more.subspace_.shape == (40, 11)  # along the others twelve samples do not differ
    assert np.allclose(more.subspace_.T @ more.subspace_, np.eye(11))


def test_subspace_and_adjustment_may_come_from_different_samples():
    X, y = data(n=1000)
    head = random_head(1)
    clf = LEIAClassifier(head=head, rank=2, adjustment_size=0.2, random_state=0).fit(X, y)
    rest, fifth = split_in_two(0.2, Rows(X, y, np.ones(1000)), 0)
    assert (len(rest), len(fifth)) == (800, 200)
    _, vectors = np.linalg.eigh(spread(X[rest], clf.weights_[rest]))
    assert np.allclose(np.abs(clf.subspace_.T @ vectors[:, :-3:-1]), np.eye(2), atol=1e-8)
    V, mu = clf.subspace_, clf.weights_[fifth] / clf.weights_[fifth].sum()
    base, A = head.with_logits(2), np.zeros((2, 2))
    for _ in range(clf.n_steps):
        residual = softmax(base.logits(X[fifth]) + X[fifth] @ V @ A, axis=1) - np.eye(2)[y[fifth]]
        gradient = (X[fifth] @ V).T @ (mu[:, None] * residual)
        A -= 0.01 * gradient * min(1, 1 / np.linalg.norm(gradient))
    expected = softmax(base.logits(X) + X @ V @ A, axis=1)
    assert np.allclose(clf.predict_proba(X), expected)
