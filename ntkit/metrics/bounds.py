"""Exact bounds: of shares, of paired differences of two models, and of summaries of groups.

Of n samples, ``lost`` are right before and wrong after, ``gained`` the reverse; the drop is the
difference of their shares in the population. Whether it is below δ is tested by Tango's score
statistic (Stat. Med. 17, 1998), used as an ordering, with exact probabilities. The p-value is the
probability of all outcomes that are at least as extreme, at the worst share of gained samples that
is still consistent with the data (Berger and Boos, JASA 89, 1994). The probability is also bounded
between the shares on the grid, and every rounding is conservative, so the level holds for any n.

A weighted mean of shares of disjoint groups has Buehler's bound (J. Am. Stat. Assoc. 52, 1957): the
lowest mean for which so large an estimate, or a larger one, is not rarer than the level. The shares
of the single groups are a nuisance, and only those that are consistent with the data count. A drop
is the weighted mean of lost samples less that of gained ones. The bounds of both are combined as
correlated (MOVER: Zou and Donner, Stat. Med. 27, 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import hypot
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
        chances = _extreme(lost, gained, n, drop, ends)(shares, shares + drop)
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
def below(lost: float, gained: float, n: int, drop: float, level: float) -> bool:
    """Whether the true drop is significantly below a value."""
    # As few lost samples or fewer must be rare enough if the drop is at least this value.
    lost, gained, n = int(lost), int(gained), int(n)
    if n <= 0 or drop <= -1:
        return False
    if drop >= 1:
        return lost - gained < n
    least, most = max(0.0, -drop), (1 - drop) / 2
    left, ends = level * (1 - _OUT_OF_LINE), _ends(gained, n, drop, level)
    # The grid has steps of one width in standard errors of the share, also for small or large
    # shares.
    first, last = np.arcsin(np.sqrt((ends - least) / (most - least))).tolist()
    angles = np.linspace(first, last, _SHARES + 1)
    shares = least + (most - least) * np.sin(angles) ** 2
    chances_of = _extreme(lost, gained, n, drop, ends)
    chances = chances_of(shares, shares + drop)
    low, high = np.stack([shares[:-1], chances[:-1]]), np.stack([shares[1:], chances[1:]])
    for _ in range(_HALVINGS + 1):
        if max(low[1].max(), high[1].max()) > left:
            return False
        bound = _most_between(low, high, n, drop)
        near = np.flatnonzero((bound > left) & (n * (high[0] - low[0]) < 1))
        # It is also a bound that more gained and fewer lost samples are more extreme.
        bound[near] = chances_of(high[0, near], low[0, near] + drop)
        low, high = low[:, bound > left], high[:, bound > left]
        if not low.size:
            return True
        middle = (low[0] + high[0]) / 2
        halves = np.stack([middle, chances_of(middle, middle + drop)])
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
    share = np.stack([low[0], high[0]])
    parts = np.array([share, share + drop, (1 - 2 * share - drop) / 4])
    with np.errstate(divide="ignore"):
        information = (1 / np.where(parts > _UNLIKELY, parts, 0)).sum(axis=0)
    most = information.max(axis=0)
    width = np.maximum(high[0] - low[0], 1e-100)  # whose square underflows to zero
    bend = width**2 / 8 * np.sqrt(2) * n * most
    root = (bend + np.sqrt(bend**2 + 4 * np.maximum(low[1], high[1]))) / 2
    return np.asarray(root**2)


def _extreme(
    lost: int, gained: int, n: int, drop: float, ends: Array
) -> Callable[[Array, Array], Array]:
    """Function of shares of gained and of lost samples: the probability of extreme outcomes.

    These are all outcomes that are at least as extreme as the observed one.
    """
    reach = _DEVIATIONS * np.sqrt(n * ends * (1 - ends)) + 8
    first = max(0, int(n * ends[0] - reach[0]))
    last = min(n, int(n * ends[1] + reach[1]))
    counts = np.arange(first, last + 1, dtype=float)
    # Numbers of gained samples in one block count as the largest of them, which is the most
    # extreme. So no probability is too small.
    step = -(-(last - first + 1) // _COUNTS)
    blocks = np.minimum(np.arange(first, last + 1, step, dtype=float) + step - 1, last)
    observed = float(_statistic(np.asarray(float(lost)), np.asarray(float(gained)), n, drop))
    # For each number of gained samples, the most lost samples that are at least as extreme.
    low, high = np.full(blocks.shape, -1.0), n - blocks
    while (low < high).any():
        middle = np.ceil((low + high) / 2)
        speaks = _statistic(middle, blocks, n, drop) <= observed + _SAME
        low, high = np.where(speaks, middle, low), np.where(speaks, high, middle - 1)
    most = np.maximum.accumulate(low)
    most = np.repeat(most, step)[: len(counts)].astype(int)
    of_gained = _binomial(counts, np.full(counts.shape, n))
    most_at_first, others_at_first = most[0], n - first
    # With one gained sample more, others become extreme: those of the most lost samples in a
    # trial less, and those of more lost samples. `of_lost` has the former first.
    more = np.diff(most) + 1
    last_of_each = np.cumsum(more) - 1
    first_of_each = last_of_each - more + 1
    column = np.repeat(np.arange(len(more)), more)
    of_lost = _binomial(
        most[column] + np.arange(len(column)) - first_of_each[column], n - counts[1:][column]
    )

    def chances(gained: Array, lost: Array) -> Array:
        weights = of_gained(gained)
        share = np.clip(lost / np.maximum(1 - gained, 1e-300), 0, 1)
        tails = np.full(weights.shape, float(most_at_first >= others_at_first))
        if 0 <= most_at_first < others_at_first:
            tail = betainc(others_at_first - most_at_first, most_at_first + 1, 1 - share)
            tails[:] = tail[:, None]
        if len(first_of_each):
            added = of_lost(share)
            added[:, first_of_each] *= share[:, None]
            tails[:, 1:] += np.cumsum(added, axis=1)[:, last_of_each]
        rest = np.maximum(0, 1 - weights.sum(axis=1))
        return np.asarray((weights * np.minimum(tails, 1)).sum(axis=1) * _ROUNDED + rest)

    return chances


def _binomial(counts: Array, trials: Array) -> Callable[[Array], Array]:
    """Function of shares: the binomial probability of each count of trials, (shares, counts)."""
    possible = (counts >= 0) & (counts <= trials)
    counts, rest = np.where(possible, counts, 0), np.where(possible, trials - counts, 0)
    ways = gammaln(trials + 1) - gammaln(counts + 1) - gammaln(rest + 1)
    ways = np.where(possible, ways, -np.inf)

    def chances(share: Array) -> Array:
        yes, no = np.log(np.maximum(share, 1e-300)), np.log1p(-np.minimum(share, 1 - 1e-16))
        logs = np.outer(yes, counts)
        logs += np.outer(no, rest)
        logs += ways
        return np.asarray(np.exp(logs, out=logs))

    return chances


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


Bounds = tuple[float, float]

_IMPLAUSIBLE = 0.1  # share of the level that is used to leave out groups that are not the worst

_TILTS = np.array([0.1, 0.3, 1, 3, 10, 100])[:, None]

_STEPS_OF_ONE = 40  # rounded sums of weighted samples have this many steps in twice a deviation

_BISECTIONS = 16

_MOST_STEPS = 2048

_FEW_SAMPLES = 50

_VALUES = 9  # of a share that is fixed

_STARTS = 6

_FEW = 8  # groups, of which each share is then varied alone

_SMALL = 1e-4

_NEVER = 1e-300


def mean_bounds(
    counts: Array, n: Array, shares: Array, *, lower_level: float, upper_level: float
) -> Bounds:
    """Bounds of Σ share · p of groups with so many of n samples; p of no samples is in [0, 1]."""
    counts, n = np.asarray(counts, dtype=int), np.asarray(n, dtype=int)
    filled = (n > 0) & (shares > 0)
    known = counts[filled], n[filled], shares[filled]
    others = known[1] - known[0], *known[1:]
    low, high = _lower(known, lower_level), known[2].sum() - _lower(others, upper_level)
    return low, min(1.0, float(high + shares[n == 0].sum()))


def mean_drop_bounds(
    lost: Array, gained: Array, n: Array, shares: Array, *, upper_level: float, lower_level: float
) -> Bounds:
    """Bounds of the weighted mean of the drops of groups."""
    filled = (n > 0) & (shares > 0)
    groups = lost[filled], gained[filled], n[filled], shares[filled]
    unknown = float(shares[n == 0].sum())
    if len(groups[0]) == 1:
        (one_lost, one_gained, size, share) = (each[0] for each in groups)
        levels = {"upper_level": upper_level, "lower_level": lower_level}
        low, high = drop_bounds(int(one_lost), int(one_gained), int(size), **levels)
        low, high = share * low, share * high
    else:
        high = _upper_drop(*groups, upper_level)
        low = -_upper_drop(groups[1], groups[0], *groups[2:], lower_level)
    return max(-1.0, float(low - unknown)), min(1.0, float(high + unknown))


def least_bounds(counts: Array, n: Array, *, lower_level: float, upper_level: float) -> Bounds:
    """Bounds of the smallest share of groups, whichever that is."""
    # Each lower bound holds for the group that is truly the smallest. The smallest of independent
    # upper bounds has the level that Šidák's correction (1967) gives.
    of_each = 1 - (1 - upper_level) ** (1 / len(n))
    bounds = _each_bounds(counts, n, lower_level=lower_level, upper_level=of_each)
    return float(bounds[0].min()), float(bounds[1].min())


def least_drop_bounds(
    before: Array,
    lost: Array,
    gained: Array,
    n: Array,
    *,
    upper_level: float,
    lower_level: float,
    of_one: Callable[..., float] = upper_drop,
) -> Bounds:
    """Bounds of the drop of the smallest share, of which ``before`` are the counts.

    ``of_one`` is the upper bound of the drop of one group.
    """
    # The group that is the smallest after was at least as large as the smallest before. So the
    # drop is at most that group's own drop, which is close if the smallest stays the same. If
    # another group becomes the smallest, the bounds of both minima are closer, combined as
    # independent. Each of the two has half of the level. The lower bound is the upper one of the
    # reverse.
    high = list[float]()
    for old, new, down, up, level in (
        (before, before - lost + gained, lost, gained, upper_level),
        (before - lost + gained, before, gained, lost, lower_level),
    ):
        if len(n) == 1:
            high.append(of_one(*(each.tolist()[0] for each in (down, up, n)), level))
            continue
        half, spent = {"lower_level": level / 2, "upper_level": level / 2}, _IMPLAUSIBLE * level / 2
        unlikely = {"lower_level": spent / 2, "upper_level": spent / 2}
        smallest = _each_bounds(new, n, **unlikely)[0] <= least_bounds(new, n, **unlikely)[1]
        drops = zip(*(each[smallest].tolist() for each in (down, up, n)), strict=True)
        own = max(of_one(*each, level / 2 - spent) for each in drops)
        first, last = float((old / n).min()), float((new / n).min())
        above = least_bounds(old, n, **half)[1] - first
        below = last - least_bounds(new, n, **half)[0]
        high.append(min(own, first - last + hypot(above, below)))
    return -high[1], high[0]


def _each_bounds(
    counts: Array, n: Array, *, lower_level: float, upper_level: float
) -> tuple[Array, Array]:
    """Clopper-Pearson bounds of the share of each group."""
    levels = {"lower_level": lower_level, "upper_level": upper_level}
    pairs = zip(counts.tolist(), n.tolist(), strict=True)
    low, high = np.array([share_bounds(*each, **levels) for each in pairs]).T
    return low, high


def _upper_drop(lost: Array, gained: Array, n: Array, shares: Array, level: float) -> float:
    """Upper bound of the weighted mean of drops, from bounds of the lost and gained samples."""
    down, up = (float(shares @ (count / n)) for count in (lost, gained))
    above = shares.sum() - _lower((n - lost, n, shares), level) - down
    below = up - _lower((gained, n, shares), level)
    # A sample is not both lost and gained. So large shares of the two are correlated.
    weight, one, two = shares**2 / n, (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    spread = (weight @ (one * (1 - one))) * (weight @ (two * (1 - two)))
    alike = min(1.0, float(weight @ (one * two) / np.sqrt(spread)))
    return float(down - up + np.sqrt(above**2 + below**2 + 2 * alike * above * below))


def _lower(groups: tuple[Array, Array, Array], level: float) -> float:
    """Lower bound of Σ share · p, of groups with samples."""
    counts, n, shares = groups
    weights = shares / n
    if len(n) and np.ptp(weights) > _SAME * weights.max():
        return _buehler(*(tuple(each.tolist()) for each in groups), level)
    # If all samples weigh the same, the worst shares are equal (Hoeffding, Ann. Math. Stat. 27,
    # 1956). Only for a single sample, they are those of one group.
    count, size = int(counts.sum()), int(n.sum())
    if len(n) > 1 and count == 1:
        return float(shares.sum()) * level / size
    return float(shares.sum()) * share_bounds(count, size, lower_level=level, upper_level=0.5)[0]


@lru_cache(maxsize=4096)
def _buehler(
    counts: tuple[int, ...], n: tuple[int, ...], shares: tuple[float, ...], level: float
) -> float:
    """Buehler's lower bound of Σ share · p of groups whose samples do not weigh the same."""
    estimate = _Estimate(n, shares)
    least = estimate.rounded(counts)
    if not least:
        return 0.0
    left, spent = level * (1 - _OUT_OF_LINE), level * _OUT_OF_LINE / len(n)
    ends = np.array([share_bounds(*each, lower_level=spent, upper_level=0.5)[0]
                     for each in zip(counts, n, strict=True)])  # fmt: skip
    # The bound of Chernoff is a mean under a tilted distribution. It has its largest value at
    # shares of this form, for any tilt. The exact probability is nearly the largest there.
    between = np.broadcast_to(ends, (len(_TILTS), len(ends))), np.ones(len(ends))
    starts = _just_rare(estimate, least, between, left, _TILTS)
    if estimate.n.min() <= _FEW_SAMPLES:
        starts = np.vstack([starts, _fixed(estimate, least, ends, left)])
    means = starts @ estimate.shares
    best = float(means.min())
    if estimate.n.min() > _FEW_SAMPLES or len(n) > _FEW:
        return best
    order = np.argsort(means)[:_STARTS]
    return min(best, *(_varied(estimate, least, ends, left, starts[each]) for each in order))


def _fixed(estimate: _Estimate, least: int, ends: Array, level: float) -> Array:
    """The same if the share of one group is fixed. Estimates of few samples have large steps."""
    heaviest = np.argsort(-estimate.weights)[:_FEW]
    few = heaviest[estimate.n[heaviest] <= _FEW_SAMPLES]
    low = np.repeat(ends[None], len(few) * _VALUES, axis=0)
    high = np.ones(low.shape)
    at = np.arange(len(low)), np.repeat(few, _VALUES)
    low[at] += (high - low)[at] * np.tile(np.linspace(0, 1, _VALUES), len(few))
    high[at] = low[at]
    return _just_rare(estimate, least, (low, high), level, np.ones((1, 1)))


def _just_rare(
    estimate: _Estimate, least: int, ends: tuple[Array, Array], level: float, tilts: Array
) -> Array:
    """Tilted shares between two ends, as large as the level allows; ones if these are rare."""
    weight = estimate.weights / estimate.weights.max()
    offset = 1 / np.expm1(tilts * weight)
    low, high = np.zeros(len(ends[0])), np.full(len(ends[0]), (weight * (1 + offset)).max())

    def shares(at: Array) -> Array:
        return np.asarray(np.clip(at[:, None] / weight - offset, *ends))

    never = estimate.chances(shares(high), least) <= level
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        rare = estimate.chances(shares(middle), least) <= level
        low, high = np.where(rare, middle, low), np.where(rare, high, middle)
    return np.where(never[:, None], 1.0, shares(low))


def _varied(estimate: _Estimate, least: int, ends: Array, level: float, start: Array) -> float:
    """The lowest mean that is found if each share is varied, from a start."""
    from scipy.optimize import minimize  # slow to import

    weights = estimate.shares

    def over(shares: Array) -> Array:
        chances = np.maximum(estimate.chances(shares, least), _NEVER)
        return np.asarray(np.log(chances / level))

    def slopes(shares: Array) -> Array:
        step = np.where(shares < 0.5, _SMALL, -_SMALL)
        chances = over(np.vstack([shares, shares + np.diag(step)]))
        return np.asarray((chances[1:] - chances[0]) / step)

    found = minimize(
        lambda shares: float(weights @ shares),
        start,
        jac=lambda _: weights,
        bounds=[(low, 1.0) for low in ends],
        constraints={"type": "ineq", "fun": lambda p: over(p[None])[0], "jac": slopes},
        method="SLSQP",
        options={"maxiter": 12, "ftol": 1e-5},
    )
    return float(found.fun) if over(found.x[None])[0] > -_OUT_OF_LINE else 1.0


class _Estimate:
    """The rounded estimate of Σ share · p, and its distribution."""

    def __init__(self, n: Sequence[int], shares: Sequence[float]) -> None:
        self.n, self.shares = np.array(n), np.array(shares)
        self.weights = self.shares / self.n
        # The fewest steps of which each weight is a multiple. So equal sums stay equal.
        most = min(_MOST_STEPS, int(_STEPS_OF_ONE / np.sqrt(self.shares @ self.weights)))
        weights = np.arange(1, most + 1)[:, None] * self.weights
        fits = (np.abs(weights - np.round(weights)) < _SAME).all(axis=1)
        steps = 1 + int(np.argmax(fits)) if fits.any() else most
        self._most, self._at = list[Array](), list[Array]()
        for size, weight in zip(n, steps * self.weights, strict=True):
            at = np.arange(int(size * weight + 0.5) + 1)
            counts = np.minimum(np.floor((at + 0.5) / weight), size)
            counts[-1] = size
            counts, first = np.unique(counts, return_index=True)
            self._most.append(counts)
            self._at.append(at[first])
        self._length = 1 + sum(int(at[-1]) for at in self._at)

    def rounded(self, counts: Sequence[int]) -> int:
        """The rounded estimate of so many samples of each group."""
        both = zip(self._most, self._at, counts, strict=True)
        return sum(int(at[np.searchsorted(most, count)]) for most, at, count in both)

    def chances(self, shares: Array, least: int) -> Array:
        """Probability of at least this estimate, for shares of groups, (trials, groups)."""
        size, product = 1 << self._length.bit_length(), np.ones(1, dtype=complex)
        for most, at, n, share in zip(self._most, self._at, self.n, shares.T, strict=True):
            below = bdtr(most, n, share[:, None])
            single = np.zeros((len(shares), at[-1] + 1))
            single[:, at] = np.diff(below, axis=1, prepend=0)
            product = product * np.fft.rfft(single, size, axis=1)
        return np.asarray(np.fft.irfft(product, size, axis=1)[:, least : self._length].sum(axis=1))
