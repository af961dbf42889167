"""The generator keeps what it promises, and Theorem 4.2 of NeuronTune holds on its samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from ntkit.datasets import make_spurious_classification as make
from ntkit.spuriousness import spuriousness_scores, suppressed_neurons

SEEDS, SIZES, LEVELS = st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0, 3)
few = settings(max_examples=10, deadline=None)


@few
@given(SEEDS, st.integers(1, 50), SIZES, SIZES, st.floats(0, 1), LEVELS, LEVELS)
def test_shapes_and_unit_directions(seed, n, n_core, n_spurious, p, eta_core, eta_spurious):
    options = {"n_core": n_core, "n_spurious": n_spurious, "correlation": p, "random_state": seed}
    options |= {"eta_core": eta_core, "eta_spurious": eta_spurious}
    X, y, agrees, beta, gamma = make(n, coef=True, **options)
    assert X.shape == (n, n_core + n_spurious)
    assert y.shape == agrees.shape == (n,)
    assert (beta.shape, gamma.shape) == ((n_core,), (n_spurious,))
    assert [np.linalg.norm(beta), np.linalg.norm(gamma)] == pytest.approx([1, 1])
    assert (agrees.dtype, y.dtype) == (bool, np.int64)
    assert np.isfinite(X).all()
    assert set(y) <= {-1, 1}
    once = make(n, **options)
    assert all(np.array_equal(a, b) for a, b in zip(once, (X, y, agrees), strict=True))


def test_given_directions_are_scaled_and_another_seed_draws_other_samples():
    X, _, _, beta, gamma = make(beta=[3.0, 4.0], gamma=np.array([-2]), coef=True, random_state=0)
    assert X.shape == (100, 3)
    assert [*beta, *gamma] == pytest.approx([0.6, 0.8, -1])
    assert not np.array_equal(make(random_state=0)[0], make(random_state=1)[0])


@few
@given(SEEDS, st.floats(0.1, 5), st.floats(0, 1))
def test_without_noise_the_formulas_hold_exactly(seed, mu, p):
    options = {"eta_core": 0, "eta_spurious": 0, "correlation": p, "mu": mu}
    X, y, agrees, beta, gamma = make(2000, coef=True, random_state=seed, **options)
    assert np.allclose(X[:, :5] @ beta, mu * y)
    assert np.allclose(X[:, 5:], np.outer((2 * agrees - 1) * mu * y, gamma))
    assert agrees.mean() == pytest.approx(p, abs=6 * np.sqrt(p * (1 - p) / 2000) + 1e-3)


def lengths(correlation=0.95, eta_core=0.6, eta_spurious=0.1):
    """Coefficients of least squares along beta and gamma, as the page on theory has them."""
    q, s = 2 * correlation - 1, 1 + eta_core**2
    g = eta_spurious**2 / s
    D = s * (1 + g) - q**2
    return np.array([s * (1 - q**2 + g), q * eta_core**2]) / D


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"correlation": 0.8, "eta_core": 1.0, "eta_spurious": 0.5},
        {"correlation": 0.3, "eta_core": 0.2, "eta_spurious": 1.0},
    ],
)
def test_least_squares_has_the_published_lengths(model):
    mu = np.sqrt(1 + model.get("eta_core", 0.6) ** 2)
    X, y, _, beta, gamma = make(20_000, mu=mu, coef=True, random_state=0, **model)
    u = np.linalg.lstsq(X, mu * y, rcond=None)[0]
    assert [u[:5] @ beta, u[5:] @ gamma] == pytest.approx(lengths(**model), abs=0.03)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"n_samples": 0}, "'n_samples' .* in the range"),
        ({"n_core": 0}, "'n_core' .* in the range"),
        ({"n_spurious": 1.5}, "'n_spurious' .* must be an int"),
        ({"correlation": 1.2}, r"'correlation' .* in the range \[0.0, 1.0\]. Got 1.2"),
        ({"correlation": float("nan")}, "'correlation' .* in the range"),
        ({"eta_core": -1}, "'eta_core' .* in the range"),
        ({"eta_spurious": "much"}, "'eta_spurious' .* must be a float"),
        ({"mu": 0}, "'mu' .* in the range"),
        ({"mu": float("inf")}, "'mu' .* in the range"),
        ({"coef": "yes"}, "'coef' .* must be an instance of 'bool'"),
        ({"random_state": -1}, "'random_state' .* must be"),
        ({"beta": 3.0}, "'beta' .* must be an array-like"),
        ({"beta": [0.0, 0.0]}, "beta must be one vector of a length above 0"),
        ({"beta": [[1.0, 2.0]]}, "beta must be one vector of a length above 0"),
        ({"gamma": [np.nan]}, "gamma contains NaN"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(bad, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        make(**bad)
    assert len(str(error.value).splitlines()) == 1


class Check:
    """Random linear neurons, a head trained by regression, and its errors on the two classes."""

    def __init__(self, seed, *, n=30_000, mu=1.0, **model):
        fit_mu = np.sqrt(1 + model.get("eta_core", 0.6) ** 2)
        X, y, _, beta, gamma = make(20_000, mu=fit_mu, coef=True, random_state=seed, **model)
        self.W = np.random.default_rng(seed).standard_normal((60, X.shape[1]))
        self.head = LinearRegression().fit(X @ self.W.T, fit_mu * y)
        shape = {"beta": beta, "gamma": gamma, "mu": mu, "random_state": seed + 1000}
        X, self.y, self.agrees = make(n, **shape, **model)
        self.Z, self.spurious = X @ self.W.T, self.W[:, 5:] @ gamma
        self.wrong = np.sign(self.head.predict(self.Z)) != self.y
        self.predicted = -2 * mu * self.spurious

    def scores(self, values=None):
        values = self.Z if values is None else values
        return spuriousness_scores(values, self.y, self.wrong, np.array([-1, 1]))


def line(x, y):
    """Correlation and slope."""
    return np.corrcoef(x, y)[0, 1], np.polyfit(x, y, 1)[0]


@pytest.mark.more
@pytest.mark.parametrize("seed", [0, 1])
def test_theorem_4_2_and_its_limits(seed):
    check = Check(seed)
    assert check.wrong[~check.agrees].mean() > 0.7
    assert check.wrong[check.agrees].mean() < 0.001
    minus, plus = check.scores()
    assert line(check.predicted, plus) == pytest.approx((1, 1), abs=0.05)
    assert line(check.predicted, minus) == pytest.approx((-1, -1), abs=0.05)
    # ReLU halves the score and keeps its direction.
    minus, plus = scores = check.scores(np.maximum(check.Z, 0))
    for one in (line(check.predicted, plus), line(-check.predicted, minus)):
        assert one == pytest.approx((0.88, 0.5), abs=0.1)
    assert suppressed_neurons(scores, aggregation="intersection").mean() < 0.02
    # Activation times its push toward the error has one sign for both classes.
    coef = np.array([-check.head.coef_, check.head.coef_])
    index = (check.y > 0).astype(int)
    scores = check.scores(check.Z * (coef[1 - index] - coef[index]))
    goal = check.head.coef_ * check.spurious
    for row in scores:
        assert line(goal, row) == pytest.approx((1, 4), abs=0.3)
    assert np.mean(suppressed_neurons(scores) == (goal > 0)) > 0.9


@pytest.mark.more
@pytest.mark.parametrize(
    ("model", "low", "high"),
    [
        ({"eta_core": 2.0}, 0.99, 1.0),  # the model relies almost only on the shortcut
        ({"correlation": 0.99, "eta_core": 0.3}, 0.97, 1.0),
        ({"correlation": 0.8}, 0.45, 0.93),  # eta_core far above eta_spurious is not enough
        ({"eta_spurious": 1.0}, 0.45, 0.93),
        ({"mu": 0.3}, -0.35, 0.6),  # errors are noise
    ],
    ids=str,
)
def test_where_the_theorem_holds_and_where_not(model, low, high):
    check = Check(0, **model)
    assert low < line(check.predicted, check.scores()[1])[0] < high


@pytest.mark.more
@pytest.mark.parametrize("model", [{}, {"correlation": 0.8, "eta_core": 1.5}], ids=str)
def test_share_of_errors_is_normal(model):
    """The best linear model's output is normal given the class and the attribute."""
    X, y, agrees, beta, gamma = make(30_000, coef=True, random_state=0, **model)
    u_core, u_spurious = lengths(**model)
    wrong = np.sign(X @ np.concatenate([u_core * beta, u_spurious * gamma])) != y
    eta = model.get("eta_core", 0.6)
    s = 1 + eta**2
    spread = np.sqrt(u_core**2 * eta**2 / s + u_spurious**2 * 0.1**2)
    for broken, sign in ((~agrees, 1), (agrees, -1)):
        expected = norm.cdf((sign * u_spurious - u_core / s) / spread)
        error = np.sqrt(expected * (1 - expected) / broken.sum())
        assert wrong[broken].mean() == pytest.approx(expected, abs=4.5 * error + 1e-3)
