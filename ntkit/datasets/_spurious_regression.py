"""The synthetic model of NeuronTune's theory: core features, and spurious ones that follow y."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from ntkit._doc import documented, documented_like
from ntkit.exceptions import InputError

FloatArray = NDArray[np.floating]

_COUNT = [Interval(Integral, 1, None, closed="left")]
_LEVEL = [Interval(Real, 0, None, closed="left")]
_MU = Interval(Real, 0, None, closed="neither")
_MODEL = {
    "correlation": [Interval(Real, 0, 1, closed="both")],
    "eta_core": _LEVEL,
    "eta_spurious": _LEVEL,
}
_SAMPLE = _MODEL | {
    **dict.fromkeys(("n_samples", "n_core", "n_spurious"), _COUNT),
    "beta": ["array-like", None],
    "gamma": ["array-like", None],
    "coef": ["boolean"],
    "random_state": ["random_state"],
}


@documented
@validate_params(_SAMPLE, prefer_skip_nested_validation=True)
def make_spurious_regression(
    n_samples: int = 100,
    *,
    n_core: int = 5,
    n_spurious: int = 5,
    correlation: float = 0.95,
    eta_core: float = 0.6,
    eta_spurious: float = 0.1,
    beta: ArrayLike | None = None,
    gamma: ArrayLike | None = None,
    coef: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    r"""Draw a regression problem with core features, and spurious ones that mostly follow y.

    .. math::

        y &= \beta^\top x_\mathrm{core} + \varepsilon_\mathrm{core}, \\
        x_\mathrm{spu} &= (2a - 1)\, \gamma\, y + \varepsilon_\mathrm{spu}, \qquad
        a \sim \mathrm{Bernoulli}(p),

    with standard normal :math:`x_\mathrm{core}`, normal noise of standard deviation
    :math:`\eta_\mathrm{core}` and, in every spurious feature, :math:`\eta_\mathrm{spu}`, and
    :math:`\|\beta\| = \|\gamma\| = 1`. The variance of y is :math:`1 + \eta_\mathrm{core}^2`. The
    model follows a summary of the theory of NeuronTune (arXiv 2505.24048, Sec. 4); the paper's own
    model may differ in details.

    Parameters
    ----------
    n_samples : int
        Number of samples.
    n_core, n_spurious : int
        Number of features of each kind; the length of ``beta`` or ``gamma`` replaces it.
    correlation : float in [0, 1]
        Probability p that the spurious features have the sign of y. 0.5 means no correlation.
    eta_core, eta_spurious : float >= 0
        Standard deviation of the part of y that the core features do not explain, and of the noise
        in a spurious feature.
    beta, gamma : array-like of shape (n_core,) and (n_spurious,), optional
        Directions, scaled to length 1; random by default. Pass those of an earlier call to draw
        another sample of the same problem.
    coef : bool
        Whether to return ``beta`` and ``gamma`` as well.
    {random_state}

    Returns
    -------
    X : ndarray of shape (n_samples, n_core + n_spurious)
        The core features, then the spurious ones.
    y : ndarray of shape (n_samples,)
        Target values.
    agrees : ndarray of bool, shape (n_samples,)
        The attribute a: False for samples that break the correlation. For evaluation only.
    beta, gamma : ndarray of shape (n_core,) and (n_spurious,)
        Only with ``coef=True``.

    Raises
    ------
    InputError
        If ``beta`` or ``gamma`` is not a vector, or has length 0.
    ValueError
        If another parameter is out of its range.

    Examples
    --------
    >>> from ntkit.datasets import make_spurious_regression
    >>> X, y, agrees, beta, gamma = make_spurious_regression(1000, coef=True, random_state=0)
    >>> X.shape, y.shape, beta.shape, gamma.shape, round(agrees.mean().item(), 2)
    ((1000, 10), (1000,), (5,), (5,), 0.96)

    Another sample of the same problem, in which the spurious features say nothing about y:

    >>> X_test, y_test, _ = make_spurious_regression(
    ...     1000, correlation=0.5, beta=beta, gamma=gamma, random_state=1
    ... )
    """
    rng = check_random_state(random_state)
    beta = _unit("beta", rng.standard_normal(n_core) if beta is None else beta)
    gamma = _unit("gamma", rng.standard_normal(n_spurious) if gamma is None else gamma)
    x_core = rng.standard_normal((n_samples, len(beta)))
    y = x_core @ beta + eta_core * rng.standard_normal(n_samples)
    x_spurious, agrees = _follow(y, gamma, correlation, eta_spurious, rng)
    sample = (np.hstack([x_core, x_spurious]), y, agrees)
    return (*sample, beta, gamma) if coef else sample


@documented_like(make_spurious_regression)
@validate_params({**_SAMPLE, "mu": [_MU]}, prefer_skip_nested_validation=True)
def make_spurious_classification(
    n_samples: int = 100,
    *,
    n_core: int = 5,
    n_spurious: int = 5,
    correlation: float = 0.95,
    eta_core: float = 0.6,
    eta_spurious: float = 0.1,
    mu: float = 1.0,
    beta: ArrayLike | None = None,
    gamma: ArrayLike | None = None,
    coef: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    r"""Draw a problem of two classes with core features, and spurious ones that mostly follow y.

    These are the samples of ``make_spurious_regression`` for which y is :math:`-\mu` or
    :math:`+\mu`, both equally often. The core features are drawn given y (our choice: we do not
    know the paper's procedure):

    .. math::

        x_\mathrm{core} \mid y \sim N\!\left(
        \frac{y}{1 + \eta_\mathrm{core}^2}\, \beta,\;
        I - \frac{1}{1 + \eta_\mathrm{core}^2}\, \beta \beta^\top \right), \qquad
        x_\mathrm{spu} = (2a - 1)\, \gamma\, y + \varepsilon_\mathrm{spu}.

    Parameters
    ----------
    {n_samples, n_core, correlation, eta_core}
    mu : float > 0
        Absolute value of y. With :math:`\mu^2 = 1 + \eta_\mathrm{core}^2` all second moments equal
        those of the regression problem, and so does the best linear model.
    {beta, coef, random_state}

    Returns
    -------
    {X}
    y : ndarray of int64, shape (n_samples,)
        The class, -1 or 1; the y of the formulas is ``mu`` times it.
    {agrees}
        Attribute; class and attribute define the four groups.
    beta, gamma : ndarray of shape (n_core,) and (n_spurious,)
        Only with ``coef=True``.

    Raises
    ------
    {InputError, ValueError}

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.datasets import make_spurious_classification
    >>> X, y, agrees = make_spurious_classification(1000, random_state=0)
    >>> np.unique(y)
    array([-1,  1])
    >>> groups = 2 * (y > 0) + agrees  # for ntkit.metrics.worst_group_accuracy and the like
    """
    rng = check_random_state(random_state)
    beta = _unit("beta", rng.standard_normal(n_core) if beta is None else beta)
    gamma = _unit("gamma", rng.standard_normal(n_spurious) if gamma is None else gamma)
    label = rng.choice(np.array([-1, 1], dtype=np.int64), n_samples)
    noise = rng.standard_normal((n_samples, len(beta)))
    variance = 1 + eta_core**2
    along_beta = mu * label / variance + eta_core / np.sqrt(variance) * (noise @ beta)
    x_core = noise + np.outer(along_beta - noise @ beta, beta)
    x_spurious, agrees = _follow(mu * label, gamma, correlation, eta_spurious, rng)
    sample = (np.hstack([x_core, x_spurious]), label, agrees)
    return (*sample, beta, gamma) if coef else sample


@validate_params(
    {"beta": ["array-like"], "gamma": ["array-like"], **_MODEL, "mu": [_MU, None]},
    prefer_skip_nested_validation=True,
)
def spurious_regression_coef(
    beta: ArrayLike,
    gamma: ArrayLike,
    *,
    correlation: float = 0.95,
    eta_core: float = 0.6,
    eta_spurious: float = 0.1,
    mu: float | None = None,
) -> FloatArray:
    """Coefficients of the linear model with the smallest expected squared error."""
    # The limit of least squares with many samples: our derivation from the model's second moments.
    variance = 1 + eta_core**2
    mean_square = variance if mu is None else mu**2
    q = 2 * correlation - 1
    core_noise = eta_core**2 * variance / mean_square
    spurious_noise = eta_spurious**2 / mean_square
    determinant = (1 + core_noise) * (1 + spurious_noise) - q**2
    if determinant == 0:
        raise InputError(
            "The coefficients are not unique: with a correlation of 0 or 1, eta_core or "
            "eta_spurious must be above 0."
        )
    u_core = variance * (1 - q**2 + spurious_noise) / determinant
    u_spurious = q * core_noise / determinant
    return np.concatenate([u_core * _unit("beta", beta), u_spurious * _unit("gamma", gamma)])


def _unit(name: str, vector: ArrayLike) -> FloatArray:
    """The vector scaled to length 1."""
    values = check_array(vector, ensure_2d=False, dtype=np.float64, input_name=name)
    norm = np.linalg.norm(values)
    if values.ndim != 1 or norm == 0:
        raise InputError(f"{name} must be one vector of a length above 0.")
    return np.asarray(values / norm)


def _follow(
    y: FloatArray,
    gamma: FloatArray,
    correlation: float,
    eta_spurious: float,
    rng: np.random.RandomState,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Spurious features that have the sign of y or the opposite one, and a mask of the former."""
    agrees = rng.uniform(size=len(y)) < correlation
    noise = eta_spurious * rng.standard_normal((len(y), len(gamma)))
    return np.outer(np.where(agrees, y, -y), gamma) + noise, agrees
