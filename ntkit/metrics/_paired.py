"""Exact bounds of the paired difference of two models' accuracies.

Of n samples, ``lost`` are right before and wrong after, ``gained`` the reverse; the drop is the
difference of their shares in the population. Whether it is below δ is tested by Tango's score
statistic (Stat. Med. 17, 1998), used as an ordering, with exact probabilities. The p-value is the
probability of all outcomes that are at least as extreme, at the worst share of gained samples that
is still consistent with the data (Berger and Boos, JASA 89, 1994). The probability is also bounded
between the shares on the grid, and every rounding is conservative, so the level holds for any n.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import bdtr, bdtrik, betainc, betaincinv, gammaln, ndtri

from ntkit._types import Array

_OUT_OF_LINE = 0.02  # share of the level that is used for a nuisance outside its interval
_SHARES = 16  # shares of gained samples on the first grid
_HALVINGS = 3  # factor on their distance, if that may matter
_COUNTS = 1024  # numbers of gained samples that are summed one by one
_DEVIATIONS = 7.0
_UNLIKELY = 1e-15
_SAME = 1e-9  # tolerance between two statistics
_ROUNDED = 1 + 1e-7  # more than the relative error of a probability
_PRECISION = 1e-4


def more_often(more: float, less: float) -> float:
    """P-value of so many against so few if both are equally likely: exact one-sided sign test."""
    # For two outcomes of the same samples this is McNemar's test (1947).
    return float(betainc(more, less + 1, 0.5)) if more else 1.0


def holm(p: Array, n_tests: int) -> Array:
    """Holm's correction (1979) of the smallest p-values of a number of tests."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (n_tests - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def share_bounds(
    count: float, n: float, *, lower_level: float, upper_level: float
) -> tuple[float, float]:
    """Lower and upper Clopper-Pearson bound of a share, each with its own level."""
    low = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, lower_level))
    high = 1.0 if count == n else float(betaincinv(count + 1, n - count, 1 - upper_level))
    return low, high


def binomial_quantile(q: float, n: int, p: float) -> int:
    """Smallest count whose cumulative binomial probability is at least ``q``."""
    count = max(0.0, np.ceil(bdtrik(q, n, p)))
    return int(count - 1 if count and bdtr(count - 1, n, p) >= q else count)


def separate_drop_bounds(
    before: tuple[float, float],
    after: tuple[float, float],
    *,
    upper_level: float,
    lower_level: float,
) -> tuple[float, float]:
    """Bounds of the drop of a share, from count and n before and after.

    Each share has its bound at half of the level. So the level holds, however the samples overlap.
    """
    upper, lower = upper_level / 2, lower_level / 2
    old_low, old_high = share_bounds(*before, lower_level=lower, upper_level=upper)
    new_low, new_high = share_bounds(*after, lower_level=upper, upper_level=lower)
    return old_low - new_high, old_high - new_low


def below(lost: float, gained: float, n: int, drop: float, level: float) -> bool:
    """Whether the true drop is significantly below a value."""
    return n > 0 and _below(int(lost), int(gained), int(n), float(drop), float(level))


def drop_bounds(
    lost: int, gained: int, n: int, *, upper_level: float, lower_level: float
) -> tuple[float, float]:
    """Lower and upper bound of the drop, each with its own error probability."""
    if n == 0:
        return -1.0, 1.0
    return -upper_drop(gained, lost, n, lower_level), upper_drop(lost, gained, n, upper_level)


def likely_drop(lost: float, gained: float, n: float, level: float) -> float:
    """Upper bound of the drop, by Bonett and Price's interval; the counts may be real numbers."""
    # Wald's interval with one more sample of each kind of change (J. Educ. Behav. Stat. 37, 2012),
    # recommended by Fagerland, Lydersen and Laake (Stat. Med. 33, 2014). It is widened to contain
    # the observed difference, which it may miss at a low confidence.
    down, up = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    half = -float(ndtri(level)) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return float(min(1.0, max(down - up + half, (lost - gained) / n)))


@lru_cache(maxsize=4096)
def upper_drop(lost: int, gained: int, n: int, level: float) -> float:
    """Smallest upper bound of the drop that is significant, to a hundredth of a point."""

    def rare(drop: float) -> bool:  # at three shares alone, which takes little time
        ends = _ends(gained, n, drop, level)
        shares = np.clip([0, _likeliest(lost, gained, n, drop), 1], *ends)
        chances = _Outcomes(lost, gained, n, drop, ends).chances(shares, shares + drop)
        return bool(chances.max() <= level * (1 - _OUT_OF_LINE))

    step = 2 * float(np.sqrt(lost + gained + 1)) / n
    low, high = _smallest(rare, (lost - gained) / n, step)
    return _smallest(lambda drop: below(lost, gained, n, drop, level), low, high - low)[1]


def _smallest(significant: Callable[[float], bool], low: float, step: float) -> tuple[float, float]:
    """The smallest significant drop above ``low``, between two values."""
    high = min(1.0, low + step)
    while high < 1 and not significant(high):
        low, step = high, 2 * step
        high = min(1.0, high + step)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if significant(middle) else (middle, high)
    return low, high


@lru_cache(maxsize=16384)
def _below(lost: int, gained: int, n: int, drop: float, level: float) -> bool:
    """Whether as few lost samples or fewer are rare enough if the drop is at least ``drop``."""
    if drop >= 1:
        return lost - gained < n
    if drop <= -1:
        return False
    least, most = max(0.0, -drop), (1 - drop) / 2
    left, ends = level * (1 - _OUT_OF_LINE), _ends(gained, n, drop, level)
    # The grid has steps of one width in standard errors of the share, also for small or large
    # shares.
    first, last = np.arcsin(np.sqrt((ends - least) / (most - least))).tolist()
    angles = np.linspace(first, last, _SHARES + 1)
    shares = least + (most - least) * np.sin(angles) ** 2
    outcomes = _Outcomes(lost, gained, n, drop, ends)
    chances = outcomes.chances(shares, shares + drop)
    low, high = np.stack([shares[:-1], chances[:-1]]), np.stack([shares[1:], chances[1:]])
    for _ in range(_HALVINGS + 1):
        if max(low[1].max(), high[1].max()) > left:
            return False
        bound = _most_between(low, high, n, drop)
        near = np.flatnonzero((bound > left) & (n * (high[0] - low[0]) < 1))
        # It is also a bound that more gained and fewer lost samples are more extreme.
        bound[near] = outcomes.chances(high[0, near], low[0, near] + drop)
        low, high = low[:, bound > left], high[:, bound > left]
        if not low.size:
            return True
        middle = (low[0] + high[0]) / 2
        halves = np.stack([middle, outcomes.chances(middle, middle + drop)])
        low, high = np.hstack([low, halves]), np.hstack([halves, high])
    return False


def _ends(gained: int, n: int, drop: float, level: float) -> Array:
    """The least and the largest share of gained samples that is consistent with the data."""
    spent = _OUT_OF_LINE * level / 2
    consistent = share_bounds(gained, n, lower_level=spent, upper_level=spent)
    return np.clip(consistent, max(0.0, -drop), (1 - drop) / 2)


def _most_between(low: Array, high: Array, n: int, drop: float) -> Array:
    """Bound of the probability between two shares of gained samples, from the values at each."""
    # The likelihood is a product of factors linear in the share. So the second derivative of a
    # probability F is its covariance with a sum over pairs of scores: at most n·i·√(2F) in size,
    # with i the information of one sample, which is convex in the share.

    def information(share: Array) -> Array:
        parts = np.array([share, share + drop, (1 - 2 * share - drop) / 4])
        with np.errstate(divide="ignore"):
            return np.asarray((1 / np.where(parts > _UNLIKELY, parts, 0)).sum(axis=0))

    most = np.maximum(information(low[0]), information(high[0]))
    width = np.maximum(high[0] - low[0], 1e-100)  # whose square underflows to zero
    bend = width**2 / 8 * np.sqrt(2) * n * most
    root = (bend + np.sqrt(bend**2 + 4 * np.maximum(low[1], high[1]))) / 2
    return np.asarray(root**2)


class _Outcomes:
    """Outcomes that are at least as extreme as the observed one, and their probabilities."""

    def __init__(self, lost: int, gained: int, n: int, drop: float, ends: Array) -> None:
        reach = _DEVIATIONS * np.sqrt(n * ends * (1 - ends)) + 8
        first = max(0, int(n * ends[0] - reach[0]))
        last = min(n, int(n * ends[1] + reach[1]))
        counts = np.arange(first, last + 1, dtype=float)
        # Numbers of gained samples in one block count as the largest of them, which is the most
        # extreme. So no probability is too small.
        step = -(-(last - first + 1) // _COUNTS)
        blocks = np.minimum(np.arange(first, last + 1, step, dtype=float) + step - 1, last)
        observed = float(_statistic(np.asarray(float(lost)), np.asarray(float(gained)), n, drop))
        most = np.maximum.accumulate(_most_lost(blocks, n, drop, observed))
        most = np.repeat(most, step)[: len(counts)].astype(int)
        self._gained, self._at_first = (
            _Counts(counts, np.full(counts.shape, n)),
            (most[0], n - first),
        )
        # With one gained sample more, others become extreme: those of the most lost samples in a
        # trial less, and those of more lost samples. `_lost` has the former first.
        more = np.diff(most) + 1
        self._last = np.cumsum(more) - 1
        self._first = self._last - more + 1
        column = np.repeat(np.arange(len(more)), more)
        self._lost = _Counts(
            most[column] + np.arange(len(column)) - self._first[column], n - counts[1:][column]
        )

    def chances(self, gained: Array, lost: Array) -> Array:
        """Probability of all these outcomes, for each pair of shares of gained and lost samples."""
        weights = self._gained.chances(gained)
        share = np.clip(lost / np.maximum(1 - gained, 1e-300), 0, 1)
        most, others = self._at_first
        tails = np.full(weights.shape, float(most >= others))
        if 0 <= most < others:
            tails[:] = betainc(others - most, most + 1, 1 - share)[:, None]
        if len(self._first):
            more = self._lost.chances(share)
            more[:, self._first] *= share[:, None]
            tails[:, 1:] += np.cumsum(more, axis=1)[:, self._last]
        rest = np.maximum(0, 1 - weights.sum(axis=1))
        return np.asarray((weights * np.minimum(tails, 1)).sum(axis=1) * _ROUNDED + rest)


class _Counts:
    """Counts of trials, whose binomial probabilities are computed for many shares."""

    def __init__(self, counts: Array, trials: Array) -> None:
        possible = (counts >= 0) & (counts <= trials)
        self._counts = np.where(possible, counts, 0)
        self._rest = np.where(possible, trials - counts, 0)
        ways = gammaln(trials + 1) - gammaln(self._counts + 1) - gammaln(self._rest + 1)
        self._ways = np.where(possible, ways, -np.inf)

    def chances(self, share: Array) -> Array:
        """The probability of each count, for each share, (shares, counts)."""
        yes, no = np.log(np.maximum(share, 1e-300)), np.log1p(-np.minimum(share, 1 - 1e-16))
        logs = np.outer(yes, self._counts)
        logs += np.outer(no, self._rest)
        logs += self._ways
        return np.asarray(np.exp(logs, out=logs))


def _statistic(lost: Array, gained: Array, n: int, drop: float) -> Array:
    """Tango's statistic: the observed drop minus ``drop``, over its deviation under ``drop``."""
    share = _likeliest(lost, gained, n, drop)
    variance = n * (2 * share + drop * (1 - drop))
    gap = lost - gained - n * drop
    return np.asarray(
        np.where(np.abs(gap) < 1e-12, 0.0, gap / np.sqrt(np.maximum(variance, 1e-300)))
    )


def _likeliest(lost: Any, gained: Any, n: int, drop: float) -> Any:
    """The likeliest share of gained samples under ``drop``."""
    slope = lost + gained + drop * (lost - gained - 2 * n)
    root = np.sqrt(np.maximum(slope**2 + 8 * n * gained * drop * (1 - drop), 0))
    return np.clip((slope + root) / (4 * n), max(0.0, -drop), (1 - drop) / 2)


def _most_lost(counts: Array, n: int, drop: float, observed: float) -> Array:
    """For each number of gained samples, the most lost samples that are at least as extreme."""
    low, high = np.full(counts.shape, -1.0), n - counts
    while (low < high).any():
        middle = np.ceil((low + high) / 2)
        speaks = _statistic(middle, counts, n, drop) <= observed + _SAME
        low, high = np.where(speaks, middle, low), np.where(speaks, high, middle - 1)
    return low
