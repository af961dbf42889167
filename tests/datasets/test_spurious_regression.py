"""The generators keep what they promise, and Theorem 4.2 of NeuronTune holds where it should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from ntkit.datasets import (
    make_spurious_classification,
    make_spurious_regression,
    spurious_regression_coef,
)
from ntkit.exceptions import InputError
from ntkit.spuriousness import spuriousness_scores, suppressed_neurons

MAKERS = [make_spurious_regression, make_spurious_classification]
CLASSES = np.array([-1, 1])
SEEDS = range(2)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 6)
levels = st.floats(0, 3)
shares = st.floats(0, 1)
makers = pytest.mark.parametrize("make", MAKERS)


# the generators


@makers
@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(1, 50), sizes, sizes, shares, levels, levels)
def test_shapes_and_unit_directions(make, seed, n, n_core, n_spurious, p, eta_core, eta_spurious):
    X, y, agrees, beta, gamma = make(
        n,
        n_core=n_core,
        n_spurious=n_spurious,
        correlation=p,
        eta_core=eta_core,
        eta_spurious=eta_spurious,
        coef=True,
        random_state=seed,
    )
    assert X.shape == (n, n_core + n_spurious)
    assert y.shape == agrees.shape == (n,)
    assert beta.shape == (n_core,)
    assert gamma.shape == (n_spurious,)
    assert np.linalg.norm(beta) == pytest.approx(1)
    assert np.linalg.norm(gamma) == pytest.approx(1)
    assert agrees.dtype == bool
    assert np.isfinite(X).all()
    if make is make_spurious_classification:
        assert y.dtype == np.int64
        assert set(y) <= {-1, 1}


@makers
@settings(max_examples=3, deadline=None)
@given(seeds)
def test_random_state_decides_everything(make, seed):
    once, again = make(coef=True, random_state=seed), make(coef=True, random_state=seed)
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert len(make(random_state=seed)) == 3
    assert not np.array_equal(once[0], make(random_state=seed ^ 1)[0])
    # Directions are scaled to length 1.
    X, _, _, beta, gamma = make(beta=[3.0, 4.0], gamma=np.array([-2]), coef=True, random_state=0)
    assert X.shape == (100, 3)
    assert [*beta, *gamma] == pytest.approx([0.6, 0.8, -1])


@makers
@settings(max_examples=10, deadline=None)
@given(seeds, shares)
def test_share_that_agrees_and_sign_of_the_correlation(make, seed, p):
    n = 2000
    X, y, agrees, beta, gamma = make(n, correlation=p, coef=True, random_state=seed)
    assert agrees.mean() == pytest.approx(p, abs=6 * np.sqrt(p * (1 - p) / n) + 10 / n)
    along_gamma = X[:, len(beta) :] @ gamma
    if abs(p - 0.5) > 0.1:
        assert np.sign(along_gamma @ y) == np.sign(p - 0.5)


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(0.1, 5), shares)
def test_without_noise_the_formulas_hold_exactly(seed, mu, p):
    quiet = {"eta_core": 0, "eta_spurious": 0, "correlation": p, "coef": True, "random_state": seed}
    X, y, agrees, beta, gamma = make_spurious_regression(**quiet)
    assert np.allclose(X[:, :5] @ beta, y)
    assert np.allclose(X[:, 5:], np.outer((2 * agrees - 1) * y, gamma))
    X, y, agrees, beta, gamma = make_spurious_classification(mu=mu, **quiet)
    assert np.allclose(X[:, :5] @ beta, mu * y)
    assert np.allclose(X[:, 5:], np.outer((2 * agrees - 1) * mu * y, gamma))


@pytest.mark.more
@pytest.mark.parametrize("seed", SEEDS)
def test_classification_is_regression_seen_at_plus_and_minus_mu(seed):
    """Samples of the regression problem with y near ±mu have the moments of the two classes."""
    mu, eta_core = 0.8, 0.7
    X, y, _, beta, gamma = make_spurious_regression(
        200_000, eta_core=eta_core, coef=True, random_state=seed
    )
    near = np.abs(np.abs(y) - mu) < 0.02
    Xc, yc, _ = make_spurious_classification(
        20_000, eta_core=eta_core, mu=mu, beta=beta, gamma=gamma, random_state=seed + 100
    )
    turned, turned_c = X[near] * np.sign(y[near])[:, None], Xc * yc[:, None]
    error = np.sqrt(turned.var(axis=0) / near.sum() + turned_c.var(axis=0) / len(Xc))
    assert np.all(np.abs(turned.mean(axis=0) - turned_c.mean(axis=0)) < 4.5 * error + 1e-3)
    along, along_c = turned[:, :5] @ beta, turned_c[:, :5] @ beta
    relative_error = np.sqrt(2 / near.sum() + 2 / len(Xc))
    assert along.var() / along_c.var() == pytest.approx(1, abs=4.5 * relative_error)
    assert abs(yc.mean()) < 4.5 / np.sqrt(len(yc))


BAD = [
    ({"n_samples": 0}, "'n_samples' .* in the range"),
    ({"n_core": 0}, "'n_core' .* in the range"),
    ({"n_spurious": 1.5}, "'n_spurious' .* must be an int"),
    ({"correlation": 1.2}, r"'correlation' .* in the range \[0.0, 1.0\]. Got 1.2"),
    ({"correlation": float("nan")}, "'correlation' .* in the range"),
    ({"eta_core": -1}, "'eta_core' .* in the range"),
    ({"eta_spurious": "much"}, "'eta_spurious' .* must be a float"),
    ({"coef": "yes"}, "'coef' .* must be an instance of 'bool'"),
    ({"random_state": -1}, "'random_state' .* must be"),
    ({"beta": 3.0}, "'beta' .* must be an array-like"),
    ({"beta": [0.0, 0.0]}, "beta must be one vector of a length above 0"),
    ({"beta": [[1.0, 2.0]]}, "beta must be one vector of a length above 0"),
    ({"gamma": [np.nan]}, "gamma contains NaN"),
]


@pytest.mark.parametrize(("bad", "sentence"), BAD, ids=lambda value: str(value))
def test_bad_parameters_are_named(bad, sentence):
    for make in MAKERS:
        with pytest.raises(ValueError, match=sentence) as error:
            make(**bad)
        assert len(str(error.value).splitlines()) == 1


def test_other_refusals():
    for mu in (0, -1, float("inf")):
        with pytest.raises(ValueError, match=r"'mu' .* in the range"):
            make_spurious_classification(mu=mu)
        with pytest.raises(ValueError, match=r"'mu' .* in the range"):
            spurious_regression_coef([1.0], [1.0], mu=mu)
    for correlation in (0, 1):
        with pytest.raises(InputError, match="not unique"):
            spurious_regression_coef([1], [1], correlation=correlation, eta_core=0, eta_spurious=0)


# the closed form


def standard_errors(X, residual):
    """Of least squares, without assuming residuals of equal variance (White's sandwich)."""
    bread = np.linalg.inv(X.T @ X)
    meat = (X * residual[:, None]).T @ (X * residual[:, None])
    return np.sqrt(np.diag(bread @ meat @ bread))


@pytest.mark.parametrize("mu", [None, 0.7])
@pytest.mark.parametrize(
    "model", [{}, {"correlation": 0.3, "eta_core": 0.2, "eta_spurious": 1.0}], ids=str
)
def test_closed_form_is_where_least_squares_ends(mu, model):
    scores = []
    for seed in range(3):
        shape = {"n_core": 3, "n_spurious": 2, "coef": True, "random_state": seed}
        if mu is None:
            X, y, _, beta, gamma = make_spurious_regression(20_000, **model, **shape)
        else:
            X, y, _, beta, gamma = make_spurious_classification(20_000, mu=mu, **model, **shape)
            y = mu * y
        expected = spurious_regression_coef(beta, gamma, mu=mu, **model)
        found = np.linalg.lstsq(X, y, rcond=None)[0]
        scores.append((found - expected) / standard_errors(X, y - X @ found))
    assert np.abs(scores).max() < 4.5  # 15 of them: chance of a false alarm 1e-4 at most
    assert np.sqrt(np.mean(np.square(scores))) == pytest.approx(1, abs=0.75)


def test_closed_form_for_the_published_setting():
    assert spurious_regression_coef([1.0], [1.0]) == pytest.approx([0.479, 0.579], abs=5e-4)


# Theorem 4.2


class Check:
    """Random linear neurons, a head trained by regression, and its errors on the two classes."""

    def __init__(self, seed, *, n=50_000, n_neurons=60, mu=1.0, **model):
        X, y, _, beta, gamma = make_spurious_regression(
            20_000, coef=True, random_state=seed, **model
        )
        Xc, self.y, self.agrees = make_spurious_classification(
            n, beta=beta, gamma=gamma, mu=mu, random_state=seed + 1000, **model
        )
        self.W = np.random.default_rng(seed).standard_normal((n_neurons, X.shape[1]))
        self.head = LinearRegression().fit(X @ self.W.T, y)
        self.train, self.beta, self.gamma = (X, y), beta, gamma
        self.Z = Xc @ self.W.T
        self.wrong = np.sign(self.head.predict(self.Z)) != self.y
        self.core, self.spurious = self.W[:, :5] @ beta, self.W[:, 5:] @ gamma
        self.predicted = -2 * mu * self.spurious

    def scores(self, activation=lambda Z: Z, **options):
        return spuriousness_scores(activation(self.Z), self.y, self.wrong, CLASSES, **options)


def relu(Z):
    return np.maximum(Z, 0)


def line(x, y):
    """Correlation and slope."""
    return np.corrcoef(x, y)[0, 1], np.polyfit(x, y, 1)[0]


@pytest.fixture(scope="module")
def checks():
    return [Check(seed) for seed in SEEDS]


@pytest.mark.more
def test_the_head_is_the_closed_form_and_errs_where_the_correlation_breaks(checks):
    for check in checks:
        u = check.W.T @ check.head.coef_
        along = [u[:5] @ check.beta, u[5:] @ check.gamma]
        assert along == pytest.approx([0.479, 0.579], abs=0.05)
        assert check.wrong[~check.agrees].mean() > 0.7
        assert check.wrong[check.agrees].mean() < 0.001


@pytest.mark.more
def test_theorem_holds_in_value_for_one_class_and_with_the_other_sign_for_the_other(checks):
    for check in checks:
        minus, plus = check.scores()
        correlation, slope = line(check.predicted, plus)
        assert correlation > 0.985
        assert slope == pytest.approx(1, abs=0.05)
        correlation, slope = line(check.predicted, minus)
        assert correlation < -0.985
        assert slope == pytest.approx(-1, abs=0.05)


@pytest.mark.more
def test_relu_halves_the_score_and_keeps_its_direction(checks):
    found = []
    for check in checks:
        minus, plus = scores = check.scores(relu)
        found.append([*line(check.predicted, plus), *line(-check.predicted, minus)])
        assert suppressed_neurons(scores).mean() == pytest.approx(0.8, abs=0.15)
        assert suppressed_neurons(scores, aggregation="intersection").mean() < 0.02
        assert -0.8 < np.corrcoef(scores)[0, 1] < -0.4
        assert np.mean(scores == 0) == pytest.approx(0.2, abs=0.12)
    correlations, slopes = np.array(found)[:, ::2], np.array(found)[:, 1::2]
    assert np.all((correlations > 0.78) & (correlations < 0.97))
    assert 0.86 < correlations.mean() < 0.92
    assert np.all(np.abs(slopes - 0.5) < 0.1)


@pytest.mark.more
def test_contributions_have_one_sign_for_both_classes(checks):
    """Activation times its push toward the error is 4 mu b_i gamma' w_spu,i for either class."""
    for check in checks:
        coef = np.array([-check.head.coef_, check.head.coef_])
        index = (check.y > 0).astype(int)
        pushes = check.Z * (coef[1 - index] - coef[index])
        scores = spuriousness_scores(pushes, check.y, check.wrong, CLASSES)
        for row in scores:
            correlation, slope = line(check.head.coef_ * check.spurious, row)
            assert correlation > 0.99
            assert slope == pytest.approx(4, abs=0.3)
        flagged = suppressed_neurons(scores)
        assert np.mean(flagged == (check.head.coef_ * check.spurious > 0)) > 0.9


@pytest.mark.more
@pytest.mark.parametrize("seed", range(1))
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
def test_where_the_theorem_holds_and_where_not(seed, model, low, high):
    check = Check(seed, n=30_000, **model)
    assert low < line(check.predicted, check.scores()[1])[0] < high


@pytest.mark.more
@pytest.mark.parametrize("seed", range(1))
@pytest.mark.parametrize(
    "model", [{}, {"correlation": 0.8, "eta_core": 1.5}, {"mu": 0.5, "eta_spurious": 0.4}], ids=str
)
def test_share_of_errors_is_normal(seed, model):
    """The best linear model's output is normal given the class and the attribute."""
    model = {"correlation": 0.95, "eta_core": 0.6, "eta_spurious": 0.1, "mu": 1.0} | model
    _, eta_core, eta_spurious, mu = model.values()
    X, y, agrees, beta, gamma = make_spurious_classification(
        30_000, coef=True, random_state=seed, **model
    )
    del model["mu"]
    wrong = np.sign(X @ spurious_regression_coef(beta, gamma, **model)) != y
    u_core, u_spurious = spurious_regression_coef([1.0], [1.0], **model)
    s = 1 + eta_core**2
    spread = np.sqrt(u_core**2 * eta_core**2 / s + u_spurious**2 * eta_spurious**2)
    for broken, sign in ((~agrees, 1), (agrees, -1)):
        expected = norm.cdf(mu * (sign * u_spurious - u_core / s) / spread)
        error = np.sqrt(expected * (1 - expected) / broken.sum())
        assert wrong[broken].mean() == pytest.approx(expected, abs=4.5 * error + 1e-3)
