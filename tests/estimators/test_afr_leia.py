"""AFRClassifier and LEIAClassifier against the published objectives and steps, spelt out."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from ntkit.estimators import AFRClassifier, LEIAClassifier
from ntkit.study import Rows, split_in_two
from tests.estimators.samples import labelled as data
from tests.estimators.samples import random_head

LOGITS = pytest.mark.parametrize("n_logits", [1, 2, 3])


def weights(head, X, y, gamma):
    """μ of both papers, and the balance over classes of LEIA's code."""
    p = head.predict_proba(X)[np.arange(len(y)), y]
    mu = np.exp(-gamma * p) / np.bincount(y)[y]
    return mu / mu.sum()


def problem(n_logits, width=6):
    """Samples with a one for the bias, their labels, a head, and its weights for each class."""
    X, y = data(n_classes=max(2, n_logits), width=width)
    head = random_head(n_logits, width)
    start = head.with_logits(len(head.classes))
    theta = np.column_stack([start.coef, start.intercept])
    return X, y, head, np.column_stack([X, np.ones(len(X))]), theta


def spread(X, mu):
    """NumPy's own weighted covariance."""
    return np.cov(X.T, aweights=mu, ddof=0)


def optimum(F, y, mu, reg, start, offset):
    """Minimise Σ μ CE(F Wᵀ + offset) + λ‖W−W0‖² with SciPy."""

    def objective(flat):
        W = flat.reshape(start.shape)
        log_p = log_softmax(F @ W.T + offset, axis=1)
        residual = np.exp(log_p) - np.eye(len(W))[y]
        value = -mu @ log_p[np.arange(len(y)), y] + reg * ((W - start) ** 2).sum()
        return value, ((mu[:, None] * residual).T @ F + 2 * reg * (W - start)).ravel()

    found = minimize(objective, start.ravel(), jac=True, method="BFGS", options={"gtol": 1e-9})
    return softmax(F @ found.x.reshape(start.shape).T + offset, axis=1)


def descent(F, y, mu, reg, start, offset, n_steps):
    """The papers' steps: of length 0.01, on gradients cut to length 1."""
    W, clipped = start.copy(), 0
    for _ in range(n_steps):
        residual = softmax(F @ W.T + offset, axis=1) - np.eye(len(W))[y]
        gradient = (mu[:, None] * residual).T @ F + 2 * reg * (W - start)
        norm = np.linalg.norm(gradient)
        clipped += norm > 1
        W -= 0.01 * gradient * min(1, 1 / norm)
    return W, clipped


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # BFGS stops at its rounding
@LOGITS
def test_lbfgs_is_the_optimum_of_the_published_objective(n_logits):
    X, y, head, X1, theta = problem(n_logits)
    for gamma, reg in ((4.0, 0.01), (2.0, 0.3)):
        mu = weights(head, X, y, gamma)
        clf = AFRClassifier(head=head, gamma=gamma, reg_coeff=reg, tol=1e-9).fit(X, y)
        assert np.allclose(clf.weights_, mu)
        expected = optimum(X1, y, mu, reg, theta, 0)
        assert np.allclose(clf.predict_proba(X), expected, atol=1e-6)
    # LEIA of full rank: the same with the bias kept.
    options = {"rank": 100, "gamma": 4.0, "reg_coeff": 0.05, "solver": "lbfgs", "tol": 1e-9}
    clf = LEIAClassifier(head=head, **options).fit(X, y)
    expected = optimum(X, y, weights(head, X, y, 4.0), 0.05, theta[:, :-1], theta[:, -1])
    assert np.allclose(clf.predict_proba(X), expected, atol=1e-6)
    assert clf.subspace_.shape == (6, 6)


@LOGITS
def test_gd_takes_the_published_steps(n_logits):
    X, y, head, X1, theta = problem(n_logits)
    X, X1[:, :-1] = 5 * X, 5 * X  # long gradients, so that clipping acts
    options = {"head": head, "reg_coeff": 0.1, "n_steps": 20}
    clf = AFRClassifier(solver="gd", gamma=2.0, **options).fit(X, y)
    W, clipped = descent(X1, y, weights(head, X, y, 2.0), 0.1, theta, 0, 20)
    assert clipped
    assert np.allclose(clf.predict_proba(X), softmax(X1 @ W.T, axis=1), atol=1e-10)
    assert clf.n_iter_.tolist() == [20]

    clf = LEIAClassifier(gamma=3.0, rank=2, **options).fit(X, y)
    mu = weights(head, X, y, 3.0)
    assert np.allclose(clf.weights_, mu)
    values, vectors = np.linalg.eigh(spread(X, mu))
    V = vectors[:, :-3:-1]
    assert np.allclose(clf.variances_, values[:-3:-1])
    assert np.allclose(np.abs(clf.subspace_.T @ V), np.eye(2), atol=1e-8)
    before = X1 @ theta.T
    A, clipped = descent(X @ V, y, mu, 0.1, np.zeros((len(theta), 2)), before, 20)
    assert clipped
    assert np.allclose(clf.predict_proba(X), softmax(before + X @ V @ A.T, axis=1))
    assert clf.n_iter_.tolist() == [20]


def test_afr_splits_the_training_set():
    X, y = data()
    clf = AFRClassifier(random_state=0, tol=1e-9, reg_coeff=0.02).fit(X, y)
    held = clf.weights_ > 0
    assert held.sum() == 80
    assert clf.weights_.sum() == pytest.approx(1)
    assert clf.weight_per_class_ == pytest.approx(np.bincount(y, clf.weights_))
    assert clf.effective_sample_size_ == pytest.approx(1 / (clf.weights_**2).sum())
    erm = LogisticRegression(tol=1e-9).fit(X[~held], y[~held])
    assert np.allclose(clf.erm_head_.coef, erm.coef_, atol=1e-5)
    mu = weights(clf.erm_head_, X[held], y[held], 1.44)
    assert np.allclose(clf.weights_[held], mu)
    by_hand = AFRClassifier(tol=1e-9, reg_coeff=0.02)
    by_hand.fit(X[~held], y[~held], X_val=X[held], y_val=y[held])
    assert np.allclose(by_hand.coef_, clf.coef_, atol=1e-6)
    again = AFRClassifier(random_state=0, tol=1e-9, reg_coeff=0.02).fit(X, y)
    assert np.array_equal(again.coef_, clf.coef_)
    # A large gamma does not underflow.
    clf = AFRClassifier(gamma=1e5, reweighting="train").fit(X, y)
    assert clf.weights_.sum() == pytest.approx(1)
    assert clf.effective_sample_size_ == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_leia_of_rank_0_is_the_original_head(n_classes, solver):
    X, y = data(n_classes=n_classes)
    clf = LEIAClassifier(rank=0, solver=solver, reg_coeff=0.1, random_state=0).fit(X, y)
    assert np.allclose(clf.predict_proba(X), clf.erm_head_.predict_proba(X), atol=1e-12)


def test_leia_of_fewer_samples_than_neurons():
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


def test_subspace_and_adjustment_of_leia_may_come_from_different_samples():
    X, y = data(n=1000)
    head = random_head(1)
    clf = LEIAClassifier(head=head, rank=2, adjustment_size=0.2, random_state=0).fit(X, y)
    rest, fifth = split_in_two(0.2, Rows.of(X, y), 0)
    assert (len(rest), len(fifth)) == (800, 200)
    _, vectors = np.linalg.eigh(spread(X[rest], clf.weights_[rest]))
    assert np.allclose(np.abs(clf.subspace_.T @ vectors[:, :-3:-1]), np.eye(2), atol=1e-8)
    V, mu = clf.subspace_, clf.weights_[fifth] / clf.weights_[fifth].sum()
    before = head.with_logits(2).logits(X)
    A, _ = descent(X[fifth] @ V, y[fifth], mu, 0, np.zeros((2, 2)), before[fifth], clf.n_steps)
    assert np.allclose(clf.predict_proba(X), softmax(before + X @ V @ A.T, axis=1))
