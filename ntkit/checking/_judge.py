"""Slices of a sample held to limits: pass, fail, or too few samples to say.

A limit passes where its bound lies wholly on the good side, at level α each: the whole check passes
only if every one does, so it passes wrongly no more often than the one that should not. It fails
where the bound lies wholly on the bad side, at level α over the number of comparisons (Bonferroni):
one of many fails by chance more often than one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ntkit.checking._enough import enough_for_drop, enough_for_share
from ntkit.checking._limits import Limits, SliceLimits
from ntkit.checking._result import CheckRow, Kind, Outcome, Verdict
from ntkit.checking._shares import share_bounds
from ntkit.metrics import below, drop_bounds

__all__ = ["Part", "judged", "outcomes"]

Array = NDArray[Any]
_FEWEST = 2  # samples, below which nothing is said


@dataclass(frozen=True)
class Part:
    """A named part of the samples, and what became of it.

    Attributes
    ----------
    kind : {"average", "class", "group", "slice"}
        What it is.
    name : str
        What it is called.
    n : int
        Its samples.
    right : int
        Samples that are right.
    lost, gained : int or None
        Samples that were right and are wrong, and the reverse; None of one model alone.
    within : str or None
        Of one class within a slice: the slice, whose largest drop is its own as well.
    """

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
    """Hold parts of the samples to limits.

    Parameters
    ----------
    parts : sequence of Part
        All of them at once: how many comparisons are made decides what a failure takes.
    limits : Limits
        The limits.

    Returns
    -------
    tuple of CheckRow
        In the order of the parts.
    """
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
    flips = own.max_flips if own is not None else limits.max_flips
    if flips is not None and (own is not None or part.kind == "average"):
        yield "max_flips", flips / 100


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
