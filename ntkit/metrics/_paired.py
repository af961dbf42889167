"""What two models differ by on the same samples: exact bounds of a paired difference of accuracies.

Of n samples, ``lost`` are right before and wrong after, ``gained`` the reverse; the drop is the
difference of their shares in the population. Whether it is below δ is tested by Tango's score
statistic (Stat. Med. 17, 1998), ordered and then computed exactly: the chance of the outcomes
that speak as loudly or louder, at the worst share of gained samples that is still in line with
the data (Berger and Boos, JASA 89, 1994). So the level holds for any n, 2 included.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, gammaln, xlogy

__all__ = ["below", "drop_bounds", "upper_drop"]

Array = NDArray[Any]
_OUT_OF_LINE = 0.02  # share of the level that is given to a nuisance outside of its interval
_SHARES = 40  # of gained samples that are tried
_COUNTS = 64  # of gained samples that are summed over, for each
_DEVIATIONS = 8.0
_SAME = 1e-9  # of two statistics
_PRECISION = 1e-4


def below(lost: float, gained: float, n: int, drop: float, level: float) -> bool:
    """Whether the true drop is shown to be below a value.

    Parameters
    ----------
    lost, gained : float
        Samples that were right and are wrong, and the reverse.
    n : int
        Samples.
    drop : float
        In [-1, 1].
    level : float
        Largest chance of saying so where it is not.

    Returns
    -------
    bool

    Examples
    --------
    Nothing lost in 150 samples shows that less than 2 % are:

    >>> below(0, 0, 150, 0.02, 0.05), below(0, 0, 149, 0.02, 0.05)
    (True, False)
    """
    return n > 0 and _p_value(int(lost), int(gained), int(n), float(drop), float(level)) <= level


def drop_bounds(
    lost: int, gained: int, n: int, *, upper_level: float, lower_level: float
) -> tuple[float, float]:
    """Lower and upper bound of the drop, each with its own chance to miss it.

    Parameters
    ----------
    lost, gained, n : int
        Counts.
    upper_level, lower_level : float
        Largest chance that the drop is above the upper, and below the lower bound.

    Returns
    -------
    low, high : float
        In [-1, 1]; all of it without samples.

    Examples
    --------
    >>> low, high = drop_bounds(10, 2, 200, upper_level=0.05, lower_level=0.05)
    >>> round(low, 3), round(high, 3)
    (0.012, 0.073)
    """
    if n == 0:
        return -1.0, 1.0
    return -upper_drop(gained, lost, n, lower_level), upper_drop(lost, gained, n, upper_level)


@lru_cache(maxsize=4096)
def upper_drop(lost: int, gained: int, n: int, level: float) -> float:
    """Upper bound of the drop: what it is shown to be below of, to a hundredth of a point.

    Parameters
    ----------
    lost, gained, n : int
        Counts.
    level : float
        Largest chance that the drop is above it.

    Returns
    -------
    float
    """
    low, step = (lost - gained) / n, 2 * float(np.sqrt(lost + gained + 1)) / n
    high = min(1.0, low + step)
    while high < 1 and not below(lost, gained, n, high, level):
        low, step = high, 2 * step
        high = min(1.0, high + step)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if below(lost, gained, n, middle, level):
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=16384)
def _p_value(lost: int, gained: int, n: int, drop: float, level: float) -> float:
    """Largest chance of so few lost samples, or fewer, if the drop is ``drop`` or more."""
    if drop >= 1:
        return 0.0 if lost - gained < n else 1.0
    if drop <= -1:
        return 1.0
    spent = _OUT_OF_LINE * level
    observed = float(_statistic(np.asarray(float(lost)), np.asarray(float(gained)), n, drop))
    shares = _gained_shares(gained, n, drop, spent)
    counts, weights = _counts_of(shares, n)
    most = _most_lost(counts, n, drop, observed)
    others = n - counts
    chance = np.clip((shares[:, None] + drop) / np.maximum(1 - shares[:, None], 1e-300), 0, 1)
    inside = (most >= 0) & (most < others)
    tail = betainc(np.where(inside, others - most, 1), np.where(inside, most + 1, 1), 1 - chance)
    tail = np.where(most < 0, 0.0, np.where(most >= others, 1.0, tail))
    return float((weights * tail).sum(axis=1).max()) + spent


def _statistic(lost: Array, gained: Array, n: int, drop: float) -> Array:
    """Tango's: the drop less ``drop``, over its deviation where ``drop`` is true."""
    slope = lost + gained + drop * (lost - gained - 2 * n)
    root = np.sqrt(np.maximum(slope**2 + 8 * n * gained * drop * (1 - drop), 0))
    share = np.clip((slope + root) / (4 * n), max(0.0, -drop), (1 - drop) / 2)
    variance = n * (2 * share + drop * (1 - drop))
    gap = lost - gained - n * drop
    return np.asarray(
        np.where(np.abs(gap) < 1e-12, 0.0, gap / np.sqrt(np.maximum(variance, 1e-300)))
    )


def _gained_shares(gained: int, n: int, drop: float, spent: float) -> Array:
    """Shares of gained samples that are in line with their number, where the drop is ``drop``."""
    least, most = max(0.0, -drop), (1 - drop) / 2
    low = 0.0 if gained == 0 else float(betaincinv(gained, n - gained + 1, spent / 2))
    high = 1.0 if gained == n else float(betaincinv(gained + 1, n - gained, 1 - spent / 2))
    low, high = (min(max(share, least), most) for share in (low, high))
    return np.asarray(np.linspace(np.sqrt(low), np.sqrt(high), _SHARES) ** 2)


def _counts_of(shares: Array, n: int) -> tuple[Array, Array]:
    """Numbers of gained samples to sum over for each share, and their chances."""
    mean, deviation = n * shares, np.sqrt(n * shares * (1 - shares))
    low = np.maximum(0, np.floor(mean - _DEVIATIONS * deviation - 8))
    high = np.minimum(n, np.ceil(mean + _DEVIATIONS * deviation + 8))
    step = np.maximum(1, np.ceil((high - low) / _COUNTS))
    counts = low[:, None] + step[:, None] * np.arange(int(((high - low) / step).max()) + 1)
    beyond = counts > high[:, None]
    counts = np.where(beyond, high[:, None], counts)
    p = shares[:, None]
    log = gammaln(n + 1) - gammaln(counts + 1) - gammaln(n - counts + 1)
    log = log + xlogy(counts, p) + xlogy(n - counts, 1 - p)
    chances = np.where(beyond, 0.0, np.exp(log))
    return counts, chances / chances.sum(axis=1, keepdims=True)


def _most_lost(counts: Array, n: int, drop: float, observed: float) -> Array:
    """Most lost samples, beside each number of gained ones, that speak no less for a small drop."""
    low, high = np.full(counts.shape, -1.0), n - counts
    for _ in range(int(n).bit_length() + 1):
        middle = np.ceil((low + high) / 2)
        speaks = _statistic(middle, counts, n, drop) <= observed + _SAME
        low = np.where(speaks, middle, low)
        high = np.where(speaks, high, np.minimum(high, middle - 1))
    return low
