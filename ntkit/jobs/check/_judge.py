"""Slices of a sample held to limits: pass, fail, or too few samples to say.

A limit passes where its bound lies wholly on the good side, at level α each: the whole check passes
only if every one does, so it passes wrongly no more often than the one that should not. It fails
where the bound lies wholly on the bad side, at level α over the number of comparisons (Bonferroni):
one of many fails by chance more often than one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
class Part:
    """A named part of the samples, and what became of it."""

    kind: Kind
    name: str
    n: int
    right: int
    lost: int | None = None
    gained: int | None = None
    within: str | None = None

    @classmethod
    def of(cls, kind: Kind, name: str, inside: Array, right: Array, before: Array | None) -> Part:
        """Count the samples of a part: bool arrays of shape (N,)."""
        after = right[inside]
        if before is None:
            return cls(kind, name, len(after), int(after.sum()))
        was = before[inside]
        return cls(
            kind,
            name,
            len(after),
            int(after.sum()),
            int((was & ~after).sum()),
            int((after & ~was).sum()),
        )


def judged(parts: Sequence[Part], limits: Limits) -> tuple[CheckRow, ...]:
    """Hold parts of the samples to limits."""
    levels = _levels(parts, limits)
    return tuple(_row(part, list(_asked(part, limits)), *levels) for part in parts)


def outcomes(parts: Sequence[Part], limits: Limits) -> list[list[Outcome]]:
    """The outcomes of :func:`judged` alone, one for each limit of each part."""
    levels = _levels(parts, limits)
    return [[_outcome(part, *each, *levels) for each in _asked(part, limits)] for part in parts]


def _levels(parts: Sequence[Part], limits: Limits) -> tuple[float, float]:
    """Chances of a wrong pass, and of a wrong failure, that each comparison may have."""
    comparisons = sum(len(list(_asked(part, limits))) for part in parts if part.n >= _FEWEST)
    return limits.alpha, limits.alpha / max(1, comparisons)


def _asked(part: Part, limits: Limits) -> Iterator[tuple[str, float]]:
    """Limits of one part, by name, as shares."""
    own = limits.of_slice(part.within or part.name) if part.kind == "slice" else None
    if own is not None and part.within is not None:
        own = SliceLimits(max_drop=own.max_drop)
    minimum = {
        "average": limits.average,
        "class": limits.worst_class,
        "group": limits.worst_group,
        "slice": None if own is None else own.accuracy,
    }[part.kind]
    if minimum is not None:
        yield "accuracy", minimum / 100
    if part.lost is None:
        return
    drop = own.max_drop if own is not None else limits.max_drop
    if drop is not None and (own is not None or part.kind in limits.over):
        yield "max_drop", drop / 100
    flips = own.max_new_errors if own is not None else limits.max_new_errors
    if flips is not None and (own is not None or part.kind == "average"):
        yield "max_new_errors", flips / 100


def _row(
    part: Part, asked: Sequence[tuple[str, float]], good_level: float, bad_level: float
) -> CheckRow:
    low, high = share_bounds(part.right, part.n, lower_level=good_level, upper_level=bad_level)
    lost, gained, n = part.lost, part.gained, part.n
    before, change, interval = None, None, None
    if lost is not None and gained is not None:
        least, most = drop_bounds(lost, gained, n, upper_level=good_level, lower_level=bad_level)
        interval = (-most, -least)
        before = (part.right + lost - gained) / n if n else float("nan")
        change = (gained - lost) / n if n else float("nan")
    accuracy = part.right / n if n else float("nan")
    verdicts = [_verdict(part, name, limit, good_level, bad_level) for name, limit in asked]
    return CheckRow(
        part.kind, part.name, n, accuracy, (low, high), before, change, interval, lost, gained,
        tuple(verdicts), part.within,
    )  # fmt: skip


def _outcome(part: Part, name: str, limit: float, good_level: float, bad_level: float) -> Outcome:
    n, lost, gained = part.n, part.lost or 0, part.gained or 0
    if n < _FEWEST:
        return "too few"
    if name == "max_drop":
        passes = below(lost, gained, n, limit, good_level)
        fails = below(gained, lost, n, -limit, bad_level)
    else:
        low, high = _share_bounds(part, name, good_level, bad_level)
        above, under = low >= limit, high <= limit
        passes = above if name == "accuracy" else under
        fails = high < limit if name == "accuracy" else low > limit
    return "pass" if passes else "fail" if fails else "too few"


def _share_bounds(
    part: Part, name: str, good_level: float, bad_level: float
) -> tuple[float, float]:
    """Bounds of an accuracy, or of the share of newly broken samples."""
    if name == "accuracy":
        return share_bounds(part.right, part.n, lower_level=good_level, upper_level=bad_level)
    return share_bounds(part.lost or 0, part.n, lower_level=bad_level, upper_level=good_level)


def _verdict(part: Part, name: str, limit: float, good_level: float, bad_level: float) -> Verdict:
    n, lost, gained = part.n, part.lost or 0, part.gained or 0
    outcome = _outcome(part, name, limit, good_level, bad_level)
    if name == "max_drop":
        value = (lost - gained) / n if n else 0.0
        low, high = drop_bounds(lost, gained, n, upper_level=good_level, lower_level=bad_level)
        # Bounds are found to a hundredth of a point; the comparison with the limit is exact.
        low = max(low, limit) if outcome == "fail" else min(low, limit)
        high = min(high, limit) if outcome == "pass" else max(high, limit)
    else:
        low, high = _share_bounds(part, name, good_level, bad_level)
        count = part.right if name == "accuracy" else lost
        value = count / n if n else float(name == "accuracy")
    enough = None
    if outcome == "too few":
        enough = _enough(part, name, value, limit, good_level, bad_level)
    return Verdict(name, limit, value if n else float("nan"), (low, high), outcome, n, enough)


def _enough(
    part: Part, name: str, value: float, limit: float, good_level: float, bad_level: float
) -> int | None:
    levels = {"good_level": good_level, "bad_level": bad_level}
    if name == "max_drop":
        n = max(1, part.n)
        found = enough_for_drop((part.lost or 0) / n, (part.gained or 0) / n, limit, **levels)
    else:
        found = enough_for_share(value, limit, least=name == "accuracy", **levels)
    # With some luck these would have done, and more have to.
    return None if found is None else max(found, part.n + 1, _FEWEST)
