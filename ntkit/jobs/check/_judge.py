"""Slices of a sample held to limits: pass, fail, or too few samples to say.

A limit passes where its bound lies wholly on the good side, at level α each: the whole check passes
only if every one does, so it passes wrongly no more often than the one that should not. It fails
where the bound lies wholly on the bad side, at level α over the number of comparisons (Bonferroni):
one of many fails by chance more often than one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv
from scipy.stats import binom, norm

from ntkit._checks import check_predictions as checked
from ntkit._checks import known_labels
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.jobs.check._limits import KINDS, Limits, SliceLimits, limits_of
from ntkit.jobs.check._result import (
    ChangeRow,
    CheckResult,
    CheckRow,
    Kind,
    Outcome,
    Verdict,
)
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
    """A number rounded up to two digits if it has more than three: no more is known."""
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
class Flips:
    """Copies by a change whose prediction flips; more and fewer are None of one model alone."""

    name: str
    n: int
    flipped: int
    more: int | None = None  # copies that flip under the new model alone
    fewer: int | None = None  # and under the old one alone

    @classmethod
    def of(cls, name: str, flips: Array, before: Array | None) -> Flips:
        """Count them: 1 or True, 0 or False, −1 without a copy; shape (N,)."""
        if before is None:
            return cls(name, int((flips >= 0).sum()), int((flips == 1).sum()))
        both = (flips >= 0) & (before >= 0)
        now, then = flips[both] == 1, before[both] == 1
        more, fewer = int((now & ~then).sum()), int((then & ~now).sum())
        return cls(name, len(now), int(now.sum()), more, fewer)


Part = Subset | Flips
_DIFFERENCES = ("max_drop", "more_flips")


@dataclass(frozen=True)
class _Comparison:
    """A subset or change and a limit of it, a share, at levels of a wrong pass and failure."""

    part: Part
    limit: str
    bound: float
    good: float
    bad: float

    @property
    def counts(self) -> tuple[int, int, int]:
        """Samples that are lost, gained, and that the limit is for."""
        part = self.part
        if isinstance(part, Flips):
            return part.more or 0, part.fewer or 0, part.flipped
        lost, gained = part.lost or 0, part.gained or 0
        return lost, gained, part.right if self.limit == "accuracy" else lost

    def outcome(self) -> Outcome:
        """On which side of the limit the bounds lie."""
        (lost, gained, _), n = self.counts, self.part.n
        if n < _FEWEST:
            return "too few"
        if self.limit in _DIFFERENCES:
            fails = below(gained, lost, n, -self.bound, self.bad)
            # Flips may be as many as before, which no number of samples shows: so they pass
            # unless they are surely more.
            passes = not fails
            if self.limit == "max_drop":
                passes = below(lost, gained, n, self.bound, self.good)
        else:
            low, high = self._interval()
            passes, fails = high <= self.bound, low > self.bound
            if self.limit == "accuracy":
                passes, fails = low >= self.bound, high < self.bound
        return "pass" if passes else "fail" if fails else "too few"

    def verdict(self) -> Verdict:
        """The outcome with what led to it, and how many samples would do."""
        (lost, gained, count), n, outcome = self.counts, self.part.n, self.outcome()
        low, high = self._interval()
        if self.limit in _DIFFERENCES:
            value = (lost - gained) / n if n else 0.0
            # Bounds are found to a hundredth of a point; the comparison with the limit is exact.
            low = max(low, self.bound) if outcome == "fail" else min(low, self.bound)
            if self.limit == "max_drop":
                high = min(high, self.bound) if outcome == "pass" else max(high, self.bound)
        else:
            value = count / n if n else float(self.limit == "accuracy")
        enough = self._enough(value) if outcome == "too few" else None
        seen = value if n else float("nan")
        return Verdict(self.limit, self.bound, seen, (low, high), outcome, n, enough)

    def _interval(self) -> tuple[float, float]:
        """Bounds of a difference, an accuracy, or the share of new errors or flips."""
        (lost, gained, count), n = self.counts, self.part.n
        if self.limit in _DIFFERENCES:
            return drop_bounds(lost, gained, n, upper_level=self.good, lower_level=self.bad)
        levels = (self.good, self.bad) if self.limit == "accuracy" else (self.bad, self.good)
        return share_bounds(count, n, lower_level=levels[0], upper_level=levels[1])

    def _enough(self, value: float) -> int | None:
        levels = {"good_level": self.good, "bad_level": self.bad}
        if self.limit == "more_flips":
            return _FEWEST
        if self.limit == "max_drop":
            lost, gained = (count / max(1, self.part.n) for count in self.counts[:2])
            enough = enough_for_drop(lost, gained, self.bound, **levels)
        else:
            least = self.limit == "accuracy"
            enough = enough_for_share(value, self.bound, least=least, **levels)
        # The estimate says that so many would do: if these are as many, more are needed.
        return None if enough is None else max(enough, self.part.n + 1, _FEWEST)


def judged(parts: Sequence[Part], limits: Limits) -> tuple[CheckRow | ChangeRow, ...]:
    """Hold subsets and changes to limits: all at once, for their number decides about failures."""
    levels = _levels(parts, limits)
    return tuple(
        _change_row(part, of_one, *levels)
        if isinstance(part, Flips)
        else _row(part, of_one, *levels)
        for part, of_one in zip(parts, _comparisons(parts, limits), strict=True)
    )


def outcomes(parts: Sequence[Part], limits: Limits) -> list[list[Outcome]]:
    """The outcomes of :func:`judged` alone, one for each limit of each subset or change."""
    return [[each.outcome() for each in of_one] for of_one in _comparisons(parts, limits)]


def _comparisons(parts: Sequence[Part], limits: Limits) -> list[list[_Comparison]]:
    levels = _levels(parts, limits)
    return [
        [_Comparison(part, *asked, *levels) for asked in _asked(part, limits)] for part in parts
    ]


def _levels(parts: Sequence[Part], limits: Limits) -> tuple[float, float]:
    """Chances of a wrong pass, and of a wrong failure, that each comparison may have."""
    comparisons = sum(len(list(_asked(each, limits))) for each in parts if each.n >= _FEWEST)
    return limits.alpha, limits.alpha / max(1, comparisons)


def _asked(part: Part, limits: Limits) -> Iterator[tuple[str, float]]:
    """Limits of one subset or change, by name, as shares."""
    if isinstance(part, Flips):
        most = limits.of_change(part.name)
        if most is not None:
            yield "max_flip_rate", most / 100
        if part.more is not None:
            yield "more_flips", 0.0
        return
    subset = part
    of_slice = limits.of_slice(subset.within or subset.name) if subset.kind == "slice" else None
    if of_slice is not None and subset.within is not None:
        of_slice = SliceLimits(max_drop=of_slice.max_drop)
    minimum = {
        "average": limits.average,
        "class": limits.worst_class,
        "group": limits.worst_group,
        "slice": None if of_slice is None else of_slice.accuracy,
    }[subset.kind]
    if minimum is not None:
        yield "accuracy", minimum / 100
    if subset.lost is None:
        return
    drop = of_slice.max_drop if of_slice is not None else limits.max_drop
    if drop is not None and (of_slice is not None or subset.kind in limits.over):
        yield "max_drop", drop / 100
    flips = of_slice.max_new_errors if of_slice is not None else limits.max_new_errors
    if flips is not None and (of_slice is not None or subset.kind == "average"):
        yield "max_new_errors", flips / 100


def _change_row(
    flips: Flips, comparisons: Sequence[_Comparison], good: float, bad: float
) -> ChangeRow:
    n = flips.n
    bounds = share_bounds(flips.flipped, n, lower_level=bad, upper_level=good)
    before: float | None = None
    if flips.more is not None and flips.fewer is not None:
        before = (flips.flipped - flips.more + flips.fewer) / n if n else float("nan")
    rate, verdicts = flips.flipped / n if n else float("nan"), [c.verdict() for c in comparisons]
    return ChangeRow(flips.name, n, rate, bounds, before, flips.more, flips.fewer, tuple(verdicts))


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


_NAMED = 1000  # new errors that are listed by name


@documented
def check_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    y_pred_before: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    slices: Mapping[str, ArrayLike] | None = None,
    flips: Mapping[str, ArrayLike] | None = None,
    flips_before: Mapping[str, ArrayLike] | None = None,
    classes: ArrayLike | None = None,
    names: Sequence[Any] | None = None,
    limits: Any = None,
    title: str = "the predictions",
    notes: Sequence[str] = (),
) -> CheckResult:
    """Hold predictions of one or two models to limits.

    Parameters
    ----------
    {y_true, y_pred}
    y_pred_before : array-like of shape (N,), optional
        Predictions of the model before, for the same samples.
    groups : array-like of shape (N,), optional
        Group labels; -1, None or NaN where the group is not known.
    slices : mapping of str to array-like of shape (N,), optional
        Which samples are in which named slice: 1 or True, 0 or False, −1 where that is not known.
        Each class that a slice has samples of is held to the slice's largest drop as well.
    flips, flips_before : mapping of str to array-like of shape (N,), optional
        Whose prediction flips when a named change is made: 1 or True, 0 or False, −1 without a
        copy; and under the model before.
    classes : array-like, optional
        Classes that there may be, also without samples; by default those of ``y_true``.
    names : sequence of length N, optional
        Names of the samples; by default their rows.
    limits : Limits, mapping or path-like
        As in :func:`ntkit.check`.
    title : str
        Name of what is checked.
    notes : sequence of str
        What was assumed.

    Returns
    -------
    CheckResult
        As :func:`ntkit.check` returns it.

    Raises
    ------
    InputError
        If lengths or types of labels differ, there is no limit, or one cannot be looked at: of
        groups without groups, of a change without predictions before.

    Examples
    --------
    Of 300 samples two became wrong; a drop of 3 points is allowed:

    >>> import numpy as np
    >>> from ntkit.jobs.check import check_predictions
    >>> y = np.arange(300) % 2
    >>> after = np.where(np.arange(300) < 2, 1 - y, y)
    >>> result = check_predictions(y, after, y_pred_before=y, limits={"max_drop": 3})
    >>> result
    CheckResult(too few: 1 pass, 0 fail, 2 too few; 300 samples)
    >>> result.row("class 1").verdicts[0].more
    '258 samples would do if they are as these'
    """
    limit = limits_of(limits)
    preds = {"y_pred": y_pred}
    if y_pred_before is not None:
        preds["y_pred_before"] = y_pred_before
    y, pred, *rest = checked(y_true, **preds)
    right, before = pred == y, (rest[0] == y if rest else None)
    limit = limit.with_changes(flips or ())
    refuse_untellable(limit, compared=before is not None, grouped=groups is not None)
    members: list[tuple[Kind, str, Array]] = [
        ("average", "average", np.ones(len(y), bool)),
        *_of_classes(y, classes),
        *_of_groups(groups, len(y)),
        *_of_slices(slices or {}, len(y), limit),
    ]
    subsets = [Subset.of(*member, right, before) for member in members]
    if before is not None:
        subsets += [
            Subset.of("slice", name, inside, right, before, within=of)
            for of, name, inside in _classes_within(members, y)
        ]
    _refuse_missing_kinds(limit, {subset.kind for subset in subsets})
    changes = [*_of_flips(limit, flips or {}, flips_before, len(y), compared=before is not None)]
    every = judged([*subsets, *changes], limit)
    rows = tuple(row for row in every if isinstance(row, CheckRow))
    no_group = 0 if groups is None else len(y) - sum(r.n for r in rows if r.kind == "group")
    if no_group:
        why = "their group is -1 or none, which means that it is not known"
        notes = [*notes, f"{no_group} of {len(y)} samples are in no group: {why}."]
    compared = sum(len(row.verdicts) for row in every if row.n > 1)
    new_errors = np.flatnonzero(before & ~right) if before is not None else np.empty(0, np.int64)
    rows_named = new_errors[:_NAMED].tolist()
    named = tuple(str(row if names is None else names[row]) for row in rows_named)
    return CheckResult(
        rows,
        limit.alpha,
        compared,
        new_errors,
        named,
        title,
        tuple(dict.fromkeys(notes)),
        tuple(row for row in every if isinstance(row, ChangeRow)),
    )


def refuse_untellable(limits: Limits, *, compared: bool, grouped: bool) -> None:
    """Refuse limits that nothing could be compared with."""
    if not limits.stated:
        raise InputError(
            "There is no limit to check; give one, such as --max-drop 2 (two models), "
            "--worst-class 80, --worst-group 70 or --limits FILE (limits= in Python)."
        )
    if limits.compares and not compared:
        raise InputError(
            "max_drop and max_new_errors are about a change from one model to another; give both "
            "models, or hold the one to average, worst_class or worst_group."
        )
    if limits.max_flip_rate is not None and not limits.changes:
        raise InputError(
            "max_flip_rate is about samples that are changed, and no change is named; name one "
            "with --invariant, such as image:jpeg=75 (invariant= in Python)."
        )
    unlimited = [name for name in limits.changes if limits.of_change(name) is None]
    if unlimited and not compared:
        raise InputError(
            f"No limit is given for the change {unlimited[0]!r}; say how many predictions may flip "
            "with --max-flip-rate (max_flip_rate), or give the model before as well."
        )
    if limits.worst_group is not None and not grouped:
        raise InputError(
            "worst_group needs group labels, and the samples have none: add a group column (or a "
            "metadata.csv with file_name and group), or name slices instead."
        )


def _refuse_missing_kinds(limits: Limits, kinds: AbstractSet[str]) -> None:
    """Refuse to hold to a drop what there is none of: nothing would be held to it."""
    missing = [kind for kind in limits.over if kind not in kinds]
    if missing and limits.over != KINDS and limits.max_drop is not None:
        fix = "add a group column" if missing[0] == "group" else "name slices with --slice"
        raise InputError(
            f"The largest drop is for each {missing[0]} (--over, over=), and the samples have no "
            f"{missing[0]}; {fix}, or leave it out of --over."
        )


def _classes_within(
    members: Sequence[tuple[Kind, str, Array]], y: Array
) -> Iterator[tuple[str, str, Array]]:
    """Each class of a slice that has several: in all of them one may lose what another gains."""
    for kind, name, inside in members:
        labels = np.unique(y[inside]).tolist()
        for label in labels if kind == "slice" and len(labels) > 1 else ():
            yield name, f"{name}, class {label}", inside & (y == label)


def _of_classes(y: Array, classes: ArrayLike | None) -> Iterator[tuple[Kind, str, Array]]:
    labels = np.unique(y).tolist()
    known = [] if classes is None else np.asarray(classes).tolist()
    for label in [*known, *(label for label in labels if label not in set(known))]:
        yield "class", str(label), np.asarray(y == label)


def _of_groups(groups: ArrayLike | None, n: int) -> Iterator[tuple[Kind, str, Array]]:
    if groups is None:
        return
    labels, known = known_labels(groups, "groups")
    if len(known) != n:
        raise InputError(f"groups holds {len(known)} labels for {n} samples; give one for each.")
    if not len(labels):
        raise InputError("groups is not known of any sample; label some of them.")
    for label in np.unique(labels).tolist():
        inside = np.zeros(n, dtype=bool)
        inside[known] = labels == label
        yield "group", str(label), inside


def _of_flips(
    limits: Limits,
    flips: Mapping[str, ArrayLike],
    before: Mapping[str, ArrayLike] | None,
    n: int,
    *,
    compared: bool,
) -> Iterator[Flips]:
    for name in limits.changes:
        arrays = [np.asarray(named[name]) if name in named else None
                  for named in (flips, before or {})]  # fmt: skip
        for values, where in zip(arrays, ("flips", "flips_before")[: 1 + compared], strict=False):
            if values is None or values.shape != (n,):
                got = "nothing" if values is None else f"values of shape {values.shape}"
                raise InputError(
                    f"{where} holds {got} of the change {name!r} for {n} samples; give one value "
                    "for each."
                )
        now, then = arrays
        assert now is not None  # refused above
        yield Flips.of(name, now, then if compared else None)


def _of_slices(
    slices: Mapping[str, ArrayLike], n: int, limits: Limits
) -> Iterator[tuple[Kind, str, Array]]:
    missing = next((name for name in limits.slices if name not in slices), None)
    if missing is not None:
        raise InputError(
            f"The limits name the slice {missing!r}, which is not among the slices given "
            f"({', '.join(map(repr, slices)) or 'none'})."
        )
    for name, values in slices.items():
        inside = np.asarray(values)
        if inside.shape != (n,):
            raise InputError(
                f"The slice {name!r} has shape {inside.shape} for {n} samples; give one value each."
            )
        yield "slice", name, np.asarray(inside == 1)
