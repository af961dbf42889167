"""AFRClassifier against the published objective and procedure."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from ntkit.estimators._afr import AFRClassifier
from tests.estimators.samples import labelled as data
from tests.estimators.samples import random_head


def published_weights(head, X, y, gamma):
    p = head.predict_proba(X)[np.arange(len(y)), y]
    mu = np.exp(-gamma * p) / np.bincount(y)[y]
    return mu / mu.sum()


def published_optimum(head, X, y, mu, reg):
    """Minimise Σ μ CE + λ(‖W−W0‖² + ‖b−b0‖²) over one row per class, with SciPy."""
    start = head.with_logits(len(head.classes))
    theta0 = np.column_stack([start.coef, start.intercept])
    X1 = np.column_stack([X, np.ones(len(X))])

    def objective(flat):
        theta = flat.reshape(theta0.shape)
        log_p = log_softmax(X1 @ theta.T, axis=1)
        residual = np.exp(log_p) - np.eye(len(theta0))[y]
        value = -mu @ log_p[np.arange(len(y)), y] + reg * ((theta - theta0) ** 2).sum()
        return value, ((mu[:, None] * residual).T @ X1 + 2 * reg * (theta - theta0)).ravel()

    found = minimize(objective, theta0.ravel(), jac=True, method="BFGS", options={"gtol": 1e-9})
    return softmax(X1 @ found.x.reshape(theta0.shape).T, axis=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # BFGS stops at its rounding
@pytest.mark.parametrize("n_logits", [1, 2, 3])
@pytest.mark.parametrize("reg", [0.01, 0.3])
def test_lbfgs_is_the_optimum_of_the_published_objective(n_logits, reg):
    X, y = data(n_classes=max(2, n_logits))
    head = random_head(n_logits)
    clf = AFRClassifier(head=head, gamma=4.0, reg_coeff=reg, tol=1e-9).fit(X, y)
    mu = published_weights(head, X, y, 4.0)
    assert np.allclose(clf.weights_, mu)
    expected = published_optimum(head, X, y, mu, reg)
    assert np.allclose(clf.predict_proba(X), expected, atol=1e-6)


@pytest.mark.parametrize("n_logits", [1, 2, 3])
def test_gd_takes_the_published_steps(n_logits):
    X, y = data(n_classes=max(2, n_logits))
    X *= 5  # long gradients, so that clipping acts
    head = random_head(n_logits)
    clf = AFRClassifier(head=head, solver="gd", gamma=2.0, reg_coeff=0.1, n_steps=20).fit(X, y)

    start = head.with_logits(len(head.classes))
    theta0 = np.column_stack([start.coef, start.intercept])
    X1 = np.column_stack([X, np.ones(len(X))])
    mu, theta, clipped = published_weights(head, X, y, 2.0), theta0.copy(), 0
    for _ in range(20):
        residual = softmax(X1 @ theta.T, axis=1) - np.eye(len(theta))[y]
        gradient = (mu[:, None] * residual).T @ X1 + 2 * 0.1 * (theta - theta0)
        norm = np.linalg.norm(gradient)
        clipped += norm > 1
        theta -= 0.01 * gradient * min(1, 1 / norm)
    assert clipped
    assert np.allclose(clf.predict_proba(X), softmax(X1 @ theta.T, axis=1), atol=1e-10)
    assert clf.n_iter_.tolist() == [20]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_very_strong_penalty_gives_the_original_head_back(n_classes):
    X, y = data(n_classes=n_classes)
    clf = AFRClassifier(reg_coeff=1e9, random_state=0).fit(X, y)
    assert np.allclose(clf.predict_proba(X), clf.erm_head_.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_doubt_and_penalty_it_is_class_balanced_retraining(n_classes):
    X, y = data(n_classes=n_classes)
    keep = (y > 0) | (np.arange(len(y)) % 3 == 0)  # unbalanced
    X, y = X[keep], y[keep]
    clf = AFRClassifier(gamma=0, reg_coeff=1e-9, reweighting="train", tol=1e-9).fit(X, y)
    balanced = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-9, max_iter=5000)
    assert np.allclose(clf.predict_proba(X), balanced.fit(X, y).predict_proba(X), atol=1e-4)
    assert np.allclose(clf.weight_per_class_, 1 / n_classes)


def test_the_training_set_is_split():
    X, y = data()
    clf = AFRClassifier(random_state=0, tol=1e-9, reg_coeff=0.02).fit(X, y)
    held = clf.weights_ > 0
    assert held.sum() == 80
    assert clf.weights_.sum() == pytest.approx(1)
    assert clf.effective_sample_size_ == pytest.approx(1 / (clf.weights_**2).sum())
    assert 1 <= clf.effective_sample_size_ <= 80
    erm = LogisticRegression(tol=1e-9).fit(X[~held], y[~held])
    assert np.allclose(clf.erm_head_.coef, erm.coef_, atol=1e-5)
    mu = published_weights(clf.erm_head_, X[held], y[held], 1.44)
    assert np.allclose(clf.weights_[held], mu)
    by_hand = AFRClassifier(tol=1e-9, reg_coeff=0.02)
    by_hand.fit(X[~held], y[~held], X_val=X[held], y_val=y[held])
    assert np.allclose(by_hand.coef_, clf.coef_, atol=1e-6)
    again = AFRClassifier(random_state=0, tol=1e-9, reg_coeff=0.02).fit(X, y)
    assert np.array_equal(again.coef_, clf.coef_)


def test_a_large_gamma_does_not_underflow():
    X, y = data()
    clf = AFRClassifier(gamma=1e5, reweighting="train").fit(X, y)
    assert clf.weights_.sum() == pytest.approx(1)
    assert clf.effective_sample_size_ == pytest.approx(1, abs=0.1)
