"""Samples of the model of NeuronTune's theory: core features, and spurious ones that follow y."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from ntkit._doc import documented
from ntkit.exceptions import InputError

_COUNT = [Interval(Integral, 1, None, closed="left")]
_LEVEL = [Interval(Real, 0, None, closed="left")]
_SAMPLE = {
    **dict.fromkeys(("n_samples", "n_core", "n_spurious"), _COUNT),
    "correlation": [Interval(Real, 0, 1, closed="both")],
    "eta_core": _LEVEL,
    "eta_spurious": _LEVEL,
    "mu": [Interval(Real, 0, None, closed="neither")],
    "beta": ["array-like", None],
    "gamma": ["array-like", None],
    "coef": ["boolean"],
    "random_state": ["random_state"],
}


@documented
@validate_params(_SAMPLE, prefer_skip_nested_validation=True)
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

    With y equal to :math:`-\mu` or :math:`+\mu`, both equally often:

    .. math::

        x_\mathrm{core} \mid y \sim N\!\left(
        \frac{y}{1 + \eta_\mathrm{core}^2}\, \beta,\;
        I - \frac{1}{1 + \eta_\mathrm{core}^2}\, \beta \beta^\top \right), \qquad
        x_\mathrm{spu} = (2a - 1)\, \gamma\, y + \varepsilon_\mathrm{spu}, \qquad
        a \sim \mathrm{Bernoulli}(p),

    with noise of standard deviation :math:`\eta_\mathrm{spu}` and
    :math:`\|\beta\| = \|\gamma\| = 1`. These are the samples at which
    :math:`\beta^\top x_\mathrm{core} + \varepsilon_\mathrm{core}`, with standard normal core
    features, happens to be y. The model follows a summary of the theory of NeuronTune (arXiv
    2505.24048); the paper's own model may differ in details.

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
    mu : float > 0
        Absolute value of y.
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
    y : ndarray of int64, shape (n_samples,)
        The class, -1 or 1; the y of the formulas is ``mu`` times it.
    agrees : ndarray of bool, shape (n_samples,)
        The attribute a: False for samples that break the correlation. Class and attribute define
        the four groups.
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
    agrees = rng.uniform(size=n_samples) < correlation
    noise = eta_spurious * rng.standard_normal((n_samples, len(gamma)))
    x_spurious = np.outer(mu * np.where(agrees, label, -label), gamma) + noise
    sample = (np.hstack([x_core, x_spurious]), label, agrees)
    return (*sample, beta, gamma) if coef else sample


def _unit(name: str, vector: ArrayLike) -> NDArray[np.floating]:
    """The vector scaled to length 1."""
    values = check_array(vector, ensure_2d=False, dtype=np.float64, input_name=name)
    norm = np.linalg.norm(values)
    if values.ndim != 1 or norm == 0:
        raise InputError(f"{name} must be one vector of a length above 0.")
    return np.asarray(values / norm)
