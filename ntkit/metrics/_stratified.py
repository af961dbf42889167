"""Bounds of summaries of disjoint groups: weighted means and minima of shares, and their drops.

A weighted mean of shares has Buehler's bound (J. Am. Stat. Assoc. 52, 1957): the lowest mean for
which so large an estimate, or a larger one, is not rarer than the level. The shares of the single
groups are a nuisance, and only shares that are consistent with the data count (Berger and Boos,
JASA 89, 1994). A drop is the weighted mean of lost samples less that of gained ones. The bounds of
both are combined as correlated (MOVER: Zou and Donner, Stat. Med. 27, 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import hypot

import numpy as np
from scipy.special import bdtr

from ntkit._types import Array
from ntkit.metrics._paired import drop_bounds, share_bounds, upper_drop

Bounds = tuple[float, float]
_OUT_OF_LINE = 0.02  # share of the level that is used for groups outside their bounds
_IMPLAUSIBLE = 0.1  # share of the level that is used to leave out groups that are not the worst
_TILTS = np.array([0.1, 0.3, 1, 3, 10, 100])[:, None]
_STEPS_OF_ONE = 40  # rounded sums of weighted samples have this many steps in twice a deviation
_HALVINGS = 16
_MOST_STEPS = 2048
_FEW_SAMPLES = 50
_VALUES = 9  # of a share that is fixed
_STARTS = 6
_FEW = 8  # groups, of which each share is then varied alone
_SMALL = 1e-4
_SAME = 1e-9
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
    starts = _tilted(estimate, least, ends, left)
    if estimate.n.min() <= _FEW_SAMPLES:
        starts = np.vstack([starts, _fixed(estimate, least, ends, left)])
    means = starts @ estimate.shares
    best = float(means.min())
    if estimate.n.min() > _FEW_SAMPLES or len(n) > _FEW:
        return best
    order = np.argsort(means)[:_STARTS]
    return min(best, *(_varied(estimate, least, ends, left, starts[each]) for each in order))


def _tilted(estimate: _Estimate, least: int, ends: Array, level: float) -> Array:
    """Shares of groups for which so large an estimate is as rare as the level, (tilts, groups)."""
    # The bound of Chernoff is a mean under a tilted distribution. It has its largest value at
    # shares of this form, for any tilt. The exact probability is nearly the largest there.
    between = np.broadcast_to(ends, (len(_TILTS), len(ends))), np.ones(len(ends))
    return _just_rare(estimate, least, between, level, _TILTS)


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
    for _ in range(_HALVINGS):
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
