"""Slices of a sample held to limits: pass, fail, or too few samples to say.

A limit passes where its bound lies wholly on the good side, at level α each: the whole check passes
only if every one does, so it passes wrongly no more often than the one that should not. It fails
where the bound lies wholly on the bad side, at level α over the number of comparisons (Bonferroni):
one of many fails by chance more often than one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom, norm

from ntkit._types import Array
from ntkit.jobs.check._limits import Limits, SliceLimits
from ntkit.jobs.check._result import CheckRow, Kind, Outcome, Verdict
from ntkit.metrics import below, drop_bounds


def share_bounds(
    count: int, n: int, *, lower_level: float, upper_level: float
) -> tuple[float, float]:
    """Lower and upper bound of a share, each with its own chance to miss it."""
    low = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, lower_level))
    high = 1.0 if count == n else float(betaincinv(count + 1, n - count, 1 - upper_level))
    return low, high


POWER = 0.8
"""Chance that a limit is decided with the number of samples that is said to do."""
_MOST = 10_000_000  # beyond which no number is named
_SURE = norm.ppf(POWER + 0.02)  # counts are whole, so a little more than asked for


def enough_for_share(
    share: float, limit: float, *, least: bool, good_level: float, bad_level: float
) -> int | None:
    """Samples that would show on which side of a limit a share is, if it is as it looks."""
    if share == limit:
        return None
    above = share > limit
    level = good_level if above == least else bad_level

    def decided(n: int) -> bool:
        unlikely = binom.ppf(1 - POWER, n, share) if above else binom.ppf(POWER, n, share)
        low, high = share_bounds(int(unlikely), n, lower_level=level, upper_level=level)
        return low >= limit if above else high <= limit

    return _fewest(decided)


def enough_for_drop(
    lost: float, gained: float, limit: float, *, good_level: float, bad_level: float
) -> int | None:
    """Samples that would show on which side of a limit the drop is, if it is as it looks."""
    if lost - gained == limit:
        return None
    if lost - gained < limit:
        return _fewest(lambda n: below(*_unlucky(lost, gained, n), n, limit, good_level))
    return _fewest(lambda n: below(*_unlucky(gained, lost, n), n, -limit, bad_level))


def _unlucky(lost: float, gained: float, n: int) -> tuple[int, int]:
    """Counts of which one draw in five has a larger difference, in their likeliest mixture."""
    changed, drop = lost + gained, lost - gained
    variance = changed - drop**2
    if variance <= 0:
        return round(n * lost), round(n * gained)
    if not gained:
        return int(binom.ppf(POWER, n, lost)), 0
    if not lost:
        return 0, int(binom.ppf(1 - POWER, n, gained))
    more = _SURE * np.sqrt(n * variance)
    both = n * changed + drop * (1 - changed) / variance * more
    difference = n * drop + more
    worse = max(0, int(np.ceil((both + difference) / 2)))
    return min(worse, n), max(0, min(n - worse, int(np.floor((both - difference) / 2))))


def _fewest(decided: Callable[[int], bool]) -> int | None:
    """The fewest samples with which a limit is decided, as if more always helped."""
    high = 2
    while not decided(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return _round(high)


def _round(n: int) -> int:
    """Up to two digits where there are more than three: no more is known."""
    unit = 10 ** max(0, len(str(n)) - 2) if n >= 1000 else 1
    return -(-n // unit) * unit


_FEWEST = 2  # samples, below which nothing is said


@dataclass(frozen=True)
class Subset:
    """Some samples, and what became of them; lost and gained are None of one model alone."""

    kind: Kind
    name: str
    n: int
    right: int
    lost: int | None = None  # samples that were right and are wrong
    gained: int | None = None
    within: str | None = None  # of one class within a slice: the slice, whose limits count

    @classmethod
    def of(
        cls, kind: Kind, name: str, inside: Array, right: Array, before: Array | None, **more: Any
    ) -> Subset:
        """Count the samples inside: bool arrays of shape (N,)."""
        after = right[inside]
        if before is not None:
            was = before[inside]
            more |= {"lost": int((was & ~after).sum()), "gained": int((after & ~was).sum())}
        return cls(kind, name, len(after), int(after.sum()), **more)


@dataclass(frozen=True)
class _Comparison:
    """A subset and one of its limits, a share, at the levels of a wrong pass and failure."""

    subset: Subset
    limit: str
    bound: float
    good: float
    bad: float

    @property
    def counts(self) -> tuple[int, int, int]:
        """Samples that are lost, gained, and that the limit is for."""
        lost, gained = self.subset.lost or 0, self.subset.gained or 0
        return lost, gained, self.subset.right if self.limit == "accuracy" else lost

    def outcome(self) -> Outcome:
        """On which side of the limit the bounds lie."""
        (lost, gained, _), n = self.counts, self.subset.n
        if n < _FEWEST:
            return "too few"
        if self.limit == "max_drop":
            passes = below(lost, gained, n, self.bound, self.good)
            fails = below(gained, lost, n, -self.bound, self.bad)
        else:
            low, high = self._interval()
            passes, fails = low >= self.bound, high < self.bound
            if self.limit == "max_new_errors":
                passes, fails = high <= self.bound, low > self.bound
        return "pass" if passes else "fail" if fails else "too few"

    def verdict(self) -> Verdict:
        """The outcome with what led to it, and how many samples would do."""
        (lost, gained, count), n, outcome = self.counts, self.subset.n, self.outcome()
        low, high = self._interval()
        if self.limit == "max_drop":
            value = (lost - gained) / n if n else 0.0
            # Bounds are found to a hundredth of a point; the comparison with the limit is exact.
            low = max(low, self.bound) if outcome == "fail" else min(low, self.bound)
            high = min(high, self.bound) if outcome == "pass" else max(high, self.bound)
        else:
            value = count / n if n else float(self.limit == "accuracy")
        enough = self._enough(value) if outcome == "too few" else None
        seen = value if n else float("nan")
        return Verdict(self.limit, self.bound, seen, (low, high), outcome, n, enough)

    def _interval(self) -> tuple[float, float]:
        """Bounds of a drop, an accuracy, or the share of new errors."""
        (lost, gained, count), n = self.counts, self.subset.n
        if self.limit == "max_drop":
            return drop_bounds(lost, gained, n, upper_level=self.good, lower_level=self.bad)
        levels = (self.good, self.bad) if self.limit == "accuracy" else (self.bad, self.good)
        return share_bounds(count, n, lower_level=levels[0], upper_level=levels[1])

    def _enough(self, value: float) -> int | None:
        levels = {"good_level": self.good, "bad_level": self.bad}
        if self.limit == "max_drop":
            lost, gained = (count / max(1, self.subset.n) for count in self.counts[:2])
            enough = enough_for_drop(lost, gained, self.bound, **levels)
        else:
            least = self.limit == "accuracy"
            enough = enough_for_share(value, self.bound, least=least, **levels)
        # The estimate says that so many would do: if these are as many, more are needed.
        return None if enough is None else max(enough, self.subset.n + 1, _FEWEST)


def judged(subsets: Sequence[Subset], limits: Limits) -> tuple[CheckRow, ...]:
    """Hold subsets to limits: all at once, for their number decides what a failure takes."""
    levels = _levels(subsets, limits)
    return tuple(
        _row(subset, comparisons, *levels)
        for subset, comparisons in zip(subsets, _comparisons(subsets, limits), strict=True)
    )


def outcomes(subsets: Sequence[Subset], limits: Limits) -> list[list[Outcome]]:
    """The outcomes of :func:`judged` alone, one for each limit of each subset."""
    return [[each.outcome() for each in of_one] for of_one in _comparisons(subsets, limits)]


def _comparisons(subsets: Sequence[Subset], limits: Limits) -> list[list[_Comparison]]:
    levels = _levels(subsets, limits)
    return [
        [_Comparison(subset, *asked, *levels) for asked in _asked(subset, limits)]
        for subset in subsets
    ]


def _levels(subsets: Sequence[Subset], limits: Limits) -> tuple[float, float]:
    """Chances of a wrong pass, and of a wrong failure, that each comparison may have."""
    comparisons = sum(len(list(_asked(each, limits))) for each in subsets if each.n >= _FEWEST)
    return limits.alpha, limits.alpha / max(1, comparisons)


def _asked(subset: Subset, limits: Limits) -> Iterator[tuple[str, float]]:
    """Limits of one subset, by name, as shares."""
    own = limits.of_slice(subset.within or subset.name) if subset.kind == "slice" else None
    if own is not None and subset.within is not None:
        own = SliceLimits(max_drop=own.max_drop)
    minimum = {
        "average": limits.average,
        "class": limits.worst_class,
        "group": limits.worst_group,
        "slice": None if own is None else own.accuracy,
    }[subset.kind]
    if minimum is not None:
        yield "accuracy", minimum / 100
    if subset.lost is None:
        return
    drop = own.max_drop if own is not None else limits.max_drop
    if drop is not None and (own is not None or subset.kind in limits.over):
        yield "max_drop", drop / 100
    flips = own.max_new_errors if own is not None else limits.max_new_errors
    if flips is not None and (own is not None or subset.kind == "average"):
        yield "max_new_errors", flips / 100


def _row(subset: Subset, comparisons: Sequence[_Comparison], good: float, bad: float) -> CheckRow:
    n, lost, gained = subset.n, subset.lost, subset.gained
    bounds = share_bounds(subset.right, n, lower_level=good, upper_level=bad)
    before, change, interval = None, None, None
    if lost is not None and gained is not None:
        least, most = drop_bounds(lost, gained, n, upper_level=good, lower_level=bad)
        interval = (-most, -least)
        before = (subset.right + lost - gained) / n if n else float("nan")
        change = (gained - lost) / n if n else float("nan")
    return CheckRow(
        subset.kind, subset.name, n, subset.right / n if n else float("nan"), bounds, before,
        change, interval, lost, gained, tuple(each.verdict() for each in comparisons),
        subset.within,
    )  # fmt: skip
