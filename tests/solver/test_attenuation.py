"""Effects of scaling a neuron on a retrained head, and of suppressing it."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from ntkit.estimators import retrain_head
from ntkit.solver import fit_linear_head


def data(n=300, width=5, seed=0):
    """Overlapping classes, so that there is an optimum without a penalty; neuron 0 is a mark."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    mark = np.where(rng.random(n) < 0.9, y, 1 - y)
    X = rng.normal(size=(n, width)) + 0.5 * y[:, None]
    X[:, 0] = mark + 0.3 * rng.normal(size=n)
    return X, y


def penalised(X, y, C, factors):
    """The optimum of scikit-learn's objective with a penalty of its own for each neuron."""
    sign = 2 * y - 1

    def objective(theta):
        margin = sign * (X @ theta[:-1] + theta[-1])
        slope = -C * sign * expit(-margin)
        value = C * np.logaddexp(0, -margin).sum() + 0.5 * factors @ theta[:-1] ** 2
        return value, np.append(X.T @ slope + factors * theta[:-1], slope.sum())

    start = np.zeros(X.shape[1] + 1)
    return minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-8}).x


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # BFGS stops at its rounding
@pytest.mark.parametrize(("C", "s"), [(0.01, 0.1), (1.0, 0.5), (1.0, 3.0)])
def test_a_neuron_times_s_is_its_penalty_over_s_squared(C, s):
    X, y = data()
    gains, factors = np.ones(5), np.ones(5)
    gains[0], factors[0] = s, 1 / s**2
    options = {"classes": np.arange(2), "C": C, "tol": 1e-9}
    folded = fit_linear_head(X, y, np.ones(len(y)), gains=gains, **options)
    scaled = retrain_head(X * gains, y, class_weight=None, C=C, tol=1e-9)
    expected = penalised(X, y, C, factors)
    assert np.allclose(folded.coef[0], expected[:-1], atol=1e-5)
    assert np.allclose(folded.intercept, expected[-1], atol=1e-5)
    assert np.allclose(scaled.coef * gains, folded.coef, atol=1e-5)
