"""Rows: how many samples of a subset a model has right, alone or next to an older one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isclose, nan, sqrt
from typing import Any, Literal, Self

import numpy as np
from scipy.special import ndtri

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics.bounds import (
    drop_bounds,
    least_bounds,
    least_drop_bounds,
    likely_drop,
    mean_bounds,
    mean_drop_bounds,
    more_often,
    share_bounds,
    upper_drop,
)

Kind = Literal["average", "class", "group", "slice", "change", "summary"]
"""What the samples of a row have in common."""
Interval = tuple[float, float]
_CONFIDENCE = 0.95
Outcome = Literal["pass", "fail", "too few", "unchanged"]
"""Outcome of a limit; "unchanged" is a small slice without any new error or fixed one."""
_WORST_FIRST: tuple[Outcome, ...] = ("fail", "too few", "unchanged", "pass")


def worst_outcome(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    """The worst of some outcomes; None if there is none."""
    there = {*outcomes}
    return next((each for each in _WORST_FIRST if each in there), None)


RATES = {
    "min_recall": "recall",
    "max_recall_drop": "recall",
    "max_false_positive_rate": "false positive rate",
    "max_false_positive_increase": "false positive rate",
    "min_precision": "precision",
    "max_precision_drop": "precision",
}
"""Limits of a class, and the rate that each of them limits."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one limit of one row."""

    limit: str
    bound: float
    value: float
    interval: tuple[float, float]
    outcome: Outcome
    n: int
    enough: int | None = None
    samples: str = "samples"  # of which there are n

    @property
    def requirement(self) -> str:
        """The limit in words."""
        percent = f"{100 * self.bound:g}"
        if self.limit == "more_flips":
            return "flip rate not significantly higher than the old model's"
        if self.limit.endswith(("drop", "increase")):
            what = "increase" if self.limit.endswith("increase") else "drop"
            what = "drop of the flip rate" if self.limit == "max_flip_rate_drop" else what
            return f"{what} at most {percent} points"
        least = "most" if self.limit.startswith("max") else "least"
        names = {"max_new_errors": "new errors ", "accuracy": "accuracy "}
        names |= dict.fromkeys(("max_flip_rate", "min_flip_rate"), "flip rate ")
        return f"{names.get(self.limit, '')}at {least} {percent} %"

    @property
    def measured(self) -> str:
        """The measured value in words."""
        if not self.n:
            return f"no {self.samples}"
        low, high = (f"{100 * bound:.1f}" for bound in self.interval)
        of_two = self.limit.endswith(("drop", "increase", "more_flips"))
        what = "points" if of_two else "%"
        sign = "+" if self.limit == "more_flips" else ""
        return f"{100 * self.value:{sign}.1f} [{low}, {high}] {what} of {self.n} {self.samples}"

    @property
    def more(self) -> str:
        """Number of samples that would decide, if these are too few; else an empty text."""
        if self.outcome not in ("too few", "unchanged") or (not self.n and self.enough is None):
            return ""
        if self.enough is None:
            if isclose(self.value, self.bound, abs_tol=1e-12):
                return "the value equals the limit, so no number of samples decides"
            return "the value is so near the limit that 10 million samples would not decide"
        if not self.n:
            if_so = dict.fromkeys(("accuracy", *RATES), "all are right")
            if_so |= {"max_flip_rate": "no prediction flips"}
            if_so |= dict.fromkeys(("min_flip_rate", "max_flip_rate_drop"), "all predictions flip")
            assumed = if_so.get(self.limit, "none is a new error")
            return f"{self.enough} {self.samples} would decide if {assumed}"
        return f"{self.enough} such samples would decide"


@dataclass(frozen=True)
class Row:
    """A subset of the samples, and how many of them have an outcome.

    Attributes
    ----------
    kind, name : str
        Kind of the subset ("average", "class", "group", "slice", "change" or "summary"), and its
        name; of a class or a group, its label.
    n : int
        Number of samples. With weights, of those of positive weight.
    right : float
        Number of samples that are predicted right. For a change of the inputs, a prediction is
        right if it does not flip.
    lost, gained : float or None
        Number of samples that only the old model has right, and that only the new one has.
    within : str or None
        Slice of a class within a slice.
    label : str or None
        Name of the label, if a sample has several.
    interval, change_interval : tuple of float or None
        Bounds of ``value`` and ``change``.
    verdicts : tuple
        Outcome of each limit.
    effective : float or None
        With unequal weights, their effective number of samples: the square of their sum over the
        sum of their squares. ``right``, ``lost`` and ``gained`` are parts of it.
    which : object
        Name of the worst row that a summary is of. Of a row of a finding, whether its samples have
        the attribute.

    Examples
    --------
    >>> from ntkit.metrics import Row
    >>> row = Row("group", "cat × border", n=40, right=31, lost=1, gained=22)
    >>> row.before, row.value, row.title
    (0.25, 0.775, 'group cat × border')
    """

    kind: Kind
    name: Any
    n: int
    right: float
    lost: float | None = None
    gained: float | None = None
    within: str | None = None
    label: str | None = None
    interval: Interval | None = None
    change_interval: Interval | None = None
    verdicts: tuple[Verdict, ...] = ()
    effective: float | None = None
    which: Any = None

    @property
    def counts_errors(self) -> bool:
        """Whether the value is the share that is not right: flips, and false positives."""
        return self.kind == "change"

    @property
    def value(self) -> float:
        """Accuracy, rate or flip rate, in [0, 1]; NaN without samples."""
        return self._share(self.right, self.effective or self.n)

    @property
    def before(self) -> float | None:
        """The same of the old model; None for one model alone."""
        if self.lost is None or self.gained is None:
            return None
        return self._share(self.right + self.lost - self.gained, self.effective or self.n)

    @property
    def change(self) -> float | None:
        """Gained less lost, as a share of the samples; None for one model alone."""
        if self.lost is None or self.gained is None:
            return None
        return (self.gained - self.lost) / (self.effective or self.n) if self.n else nan

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Samples, right, lost and gained; with weights rounded to the effective number."""
        n, unit = self.n, 1.0
        if self.effective is not None:
            n = max(1, round(self.effective))
            unit = n / self.effective
        counts = (self.right, self.lost or 0, self.gained or 0)
        right, lost, gained = (round(count * unit) for count in counts)
        return n, right, min(lost, n - right), gained

    @property
    def title(self) -> str:
        """Kind and name, after the label of several; some kinds have only a name."""
        alone = self.kind in ("average", "slice", "summary")
        name = str(self.name) if alone else f"{self.kind} {self.name}"
        return name if self.label is None else f"{self.label}: {name}"

    @property
    def outcome(self) -> Outcome | None:
        """The worst outcome of the verdicts; None without verdicts."""
        return worst_outcome(verdict.outcome for verdict in self.verdicts)

    @property
    def p_value(self) -> float:
        """P-value of so many lost against so few gained: exact one-sided sign test."""
        return more_often(self.lost or 0, self.gained or 0)

    def wilson(self, confidence: float = _CONFIDENCE) -> Interval:
        """Wilson's score interval of the value (Wilson, 1927); (0, 1) without samples."""
        if not self.n:
            return 0.0, 1.0
        share, n, square = (
            self.value,
            self.effective or self.n,
            float(ndtri((1 + confidence) / 2)) ** 2,
        )
        center = (share + square / (2 * n)) / (1 + square / n)
        half = sqrt(square * (share * (1 - share) / n + square / (4 * n**2))) / (1 + square / n)
        # If all or none is right the limit is exact; rounding must not change it.
        return max(0.0, min(center - half, share)), min(1.0, max(center + half, share))

    def paired(self, confidence: float = _CONFIDENCE) -> Interval:
        """Bonett and Price's interval of the change; (-1, 1) without samples."""
        if not self.n:
            return -1.0, 1.0
        lost, gained, n = self.lost or 0, self.gained or 0, self.effective or self.n
        level = (1 - confidence) / 2
        return -likely_drop(lost, gained, n, level), likely_drop(gained, lost, n, level)

    def with_intervals(self, confidence: float = _CONFIDENCE) -> Self:
        """The row with both intervals, Wilson's and the paired one; NaN without samples."""
        unknown = None if self.n else (nan, nan)
        change = None if self.lost is None else unknown or self.paired(confidence)
        return replace(self, interval=unknown or self.wilson(confidence), change_interval=change)

    def bounds(self, good: float, bad: float) -> Interval:
        """Exact bounds of the value: its good side has the error probability ``good``."""
        low, high = (bad, good) if self.counts_errors else (good, bad)
        n, right, *_ = self.counts
        count = n - right if self.counts_errors else right
        return share_bounds(count, n, lower_level=low, upper_level=high)

    def drop_bounds(self, *, upper_level: float, lower_level: float) -> Interval:
        """Exact paired bounds of the drop: lost less gained, as a share of the samples."""
        n, _, lost, gained = self.counts
        return drop_bounds(lost, gained, n, upper_level=upper_level, lower_level=lower_level)

    def surely_lost(self, level: float) -> float:
        """Lower exact bound of the drop alone."""
        n, _, lost, gained = self.counts
        return -upper_drop(gained, lost, n, level)

    def _share(self, right: float, n: float) -> float:
        if not self.n:
            return nan
        # Sums of weights are rounded, so they may be outside by as much.
        return min(1.0, max(0.0, (n - right if self.counts_errors else right) / n))


@dataclass(frozen=True)
class ClassRate(Row):
    """A row of a rate of a class.

    Attributes
    ----------
    rate, of_class : str
        "recall", "false positive rate" or "precision" and its class. The samples are those of the
        class, of other classes, or those predicted as the class.
    separate : tuple of int or None
        Right and all samples of the old model, if these are not the same samples (precision).
    limits : mapping
        Limits of the rate, as shares.
    """

    rate: str = ""
    of_class: str = ""
    separate: tuple[int, int] | None = None
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts_errors(self) -> bool:
        """Whether the value is the share that is not right."""
        return self.rate == "false positive rate"

    @property
    def before(self) -> float | None:
        """The rate of the old model; None for one model alone."""
        if self.separate is None:
            return super().before
        right, n = self.separate
        return right / n if n else nan

    @property
    def title(self) -> str:
        """Rate and class, and the subset that they are of."""
        group = "group " * (self.kind == "group")
        where = f", {group}{self.name}" * (self.kind != "average")
        return f"{self.rate} of {self.of_class}{where}"


def compare(
    outcomes: Sequence[Array],
    subsets: Iterable[tuple[Kind, Any, Array]],
    *,
    weight: Array | None = None,
    row: type[Row] = Row,
    **more: Any,
) -> list[Row]:
    """A row for each subset (kind, name, members) of samples, by the outcomes of one model or two.

    ``outcomes`` are bool (N,): whether a sample is right under the new model, and under the old.
    Members are bool (N,), or numbers of samples. Weights (N,) are at least 0.
    """
    rows = list[Row]()
    for kind, name, inside in subsets:
        after, *others = (right[inside] for right in outcomes)
        counted = [after, *(each for was in others for each in (was & ~after, after & ~was))]
        counts: list[Any] = [int(each.sum()) for each in counted]
        n, options = len(after), more
        if weight is not None:
            of = weight[inside]
            n, mass, squares = int((of > 0).sum()), float(of.sum()), float((of**2).sum())
            unit = mass / squares if squares else 0.0
            counts = [float(of[each].sum()) * unit for each in counted]
            options = {"effective": None if mass * unit == n else mass * unit} | more
        rows.append(row(kind, name, n, *counts, **options))
    return rows


@dataclass(frozen=True)
class Summary(Row):
    """A mean of rows with shares, or without shares the worst of them; its counts are sums."""

    parts: tuple[Row, ...] = ()
    shares: tuple[float, ...] = ()

    @property
    def counts_errors(self) -> bool:
        """Whether the values of the parts are shares that are not right."""
        return self.parts[0].counts_errors

    @property
    def value(self) -> float:
        """Mean or worst value of the parts with samples; NaN if none has any."""
        return self._over_parts(lambda part: part.value)

    @property
    def before(self) -> float | None:
        """The same of the old model; None for one model alone."""
        return None if self.lost is None else self._over_parts(lambda part: part.before)

    @property
    def change(self) -> float | None:
        """Mean change of the parts, or the difference of the worst values."""
        if self.shares and self.lost is not None:
            return self._over_parts(lambda part: part.change)
        if self.before is None:
            return None
        return self.before - self.value if self.counts_errors else self.value - self.before

    def wilson(self, confidence: float = _CONFIDENCE) -> Interval:
        """The bounds at this confidence: Wilson's interval is of one share."""
        return self.bounds((1 - confidence) / 2, (1 - confidence) / 2)

    def bounds(self, good: float, bad: float) -> Interval:
        """Bounds of the value: its good side has the error probability ``good``."""
        n, right, _, _, shares = self._counts()
        levels = {"lower_level": good, "upper_level": bad}
        if not n.any():
            return 0.0, 1.0
        if self.shares:
            low, high = mean_bounds(right, n, shares, **levels)
        else:
            low, high = least_bounds(right, n, **levels)
        return (1 - high, 1 - low) if self.counts_errors else (low, high)

    def drop_bounds(self, *, upper_level: float, lower_level: float) -> Interval:
        """Paired bounds of the drop, as of a row."""
        n, right, lost, gained, shares = self._counts()
        levels: Any = {"upper_level": upper_level, "lower_level": lower_level}
        if not n.any():
            return -1.0, 1.0
        if self.shares:
            return mean_drop_bounds(lost, gained, n, shares, **levels)
        before = right + lost - gained
        return least_drop_bounds(before, lost, gained, n, **levels)

    def surely_lost(self, level: float) -> float:
        """Lower bound of the drop alone."""
        return self.drop_bounds(upper_level=0.5, lower_level=level)[0]

    def _counts(self) -> tuple[Array, ...]:
        """Samples of each part, those right, lost and gained, and shares; of the worst, if any."""
        counts = [part.counts for part in self.parts if part.n or self.shares]
        return *np.array(counts, dtype=int).reshape(-1, 4).T, np.array(self.shares)

    def _over_parts(self, of: Callable[[Row], float | None]) -> float:
        """Mean or worst of the parts that have samples."""
        known = np.array([of(part) for part in self.parts if part.n], dtype=float)
        if not known.size:
            return float("nan")
        if not self.shares:
            return float(known.max() if self.counts_errors else known.min())
        pairs = zip(self.parts, self.shares, strict=True)
        shares = np.array([share for part, share in pairs if part.n])
        return float(shares @ known / shares.sum()) if shares.any() else float("nan")


def mean_of_rows(
    rows: Iterable[Row],
    shares: Iterable[float] | None = None,
    *,
    name: str = "mean of groups",
    confidence: float = _CONFIDENCE,
) -> Row:
    """Mean accuracy of disjoint groups, equal or with given shares, and its change.

    Parameters
    ----------
    rows : iterable of Row
        One row for each group. No sample is in two of them.
    shares : iterable of float, optional
        Share or number of samples of each group in the population, in the order of the rows. By
        default, every group that has samples counts alike. See :func:`unrelated_shares`.
    name : str
        Name of the summary.
    confidence : float
        Coverage of both intervals.

    Returns
    -------
    Row
        Of kind "summary", with ``value``, ``before``, ``change`` and intervals. Its counts are the
        sums over the groups. A group without samples is left out of the value, but with its given
        share it widens the intervals: its accuracy may be anything.

    Raises
    ------
    InputError
        If there is no row, the rows count different things, or the shares do not fit.

    Notes
    -----
    The interval of the value has Buehler's bounds. They are exact, up to a numerical search for the
    least favourable accuracies of the groups. Of one group they are Clopper and Pearson's. The
    interval of the change combines such bounds of the lost and of the gained samples. That it holds
    its level is measured: ``benchmarks/summaries.py``. Counts of rows with weights are rounded to
    the effective number of samples, so their bounds are not exact.

    Examples
    --------
    >>> from ntkit.metrics import Row, mean_of_rows
    >>> groups = [Row("group", "a", 6, 6, lost=0, gained=2), Row("group", "b", 6, 6, 0, 1)]
    >>> mean = mean_of_rows(groups)
    >>> mean.before, mean.value, [round(bound, 2) for bound in mean.interval]
    (0.75, 1.0, [0.74, 1.0])
    """
    parts = _disjoint(rows)
    weights = np.array([float(part.n > 0) for part in parts] if shares is None else [*shares])
    if len(weights) != len(parts):
        raise InputError(f"There are {len(weights)} shares for {len(parts)} rows; give as many.")
    if shares is None and not weights.any():
        weights = np.ones(len(parts))
    weights = _normalised(weights)
    return _with_intervals(name, parts, tuple(weights.tolist()), confidence)


def worst_of_rows(
    rows: Iterable[Row], *, name: str = "worst group", confidence: float = _CONFIDENCE
) -> Row:
    """Accuracy of the worst of disjoint groups, whichever that is, and its change.

    Parameters
    ----------
    rows : iterable of Row
        One row for each group. No sample is in two of them. Those without samples are left out.
    name : str
        Name of the summary.
    confidence : float
        Coverage of both intervals.

    Returns
    -------
    Row
        Of kind "summary". ``before`` is the accuracy of the worst group of the old model, which
        may be another one than that of ``value``.

    Raises
    ------
    InputError
        If there is no row, or the rows count different things.

    Notes
    -----
    The lower bound is the lowest of the groups' bounds. The upper one is the lowest of bounds with
    Šidák's correction. The drop is at most that of the group that is the worst after, and at least
    that of the group that was the worst before. Any group may be that, if its bounds allow it. If
    another group becomes the worst, the bounds of both accuracies may be closer, combined as
    independent. That the drop's bounds hold their level is measured: ``benchmarks/summaries.py``.

    Examples
    --------
    >>> from ntkit.metrics import Row, worst_of_rows
    >>> worst = worst_of_rows([Row("group", "a", 20, 18), Row("group", "b", 20, 11)])
    >>> worst.value, [round(bound, 2) for bound in worst.interval]
    (0.55, [0.32, 0.79])
    """
    return _with_intervals(name, _disjoint(rows), (), confidence)


def unrelated_shares(classes: Sequence[float], values: Sequence[float]) -> Array:
    """Shares of groups class × value as if class and attribute were unrelated.

    Parameters
    ----------
    classes, values : sequence of float
        Share or number of samples of each class, and of each value of the attribute.

    Returns
    -------
    ndarray of shape (classes, values)
        P(class) · P(value). Flattened, these are shares for :func:`mean_of_rows`.

    Raises
    ------
    InputError
        If a share is negative or not finite, or all are 0.

    Examples
    --------
    >>> from ntkit.metrics import unrelated_shares
    >>> unrelated_shares([60, 40], [50, 50])
    array([[0.3, 0.3],
           [0.2, 0.2]])
    """
    of_classes, of_values = (_normalised(np.array(each, float)) for each in (classes, values))
    return np.outer(of_classes, of_values)


def _normalised(shares: Array) -> Array:
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise InputError("Shares must be finite and not negative, and one of them positive.")
    return np.asarray(shares / shares.sum())


def _disjoint(rows: Iterable[Row]) -> tuple[Row, ...]:
    parts = tuple(rows)
    if not parts:
        raise InputError("A summary needs at least one row.")
    separate = (isinstance(part, ClassRate) and part.separate for part in parts)
    if any(separate) or any(part.kind == "summary" for part in parts):
        raise InputError("A summary is of rows of the same samples: not of precision or summaries.")
    rates = (part.rate if isinstance(part, ClassRate) else "" for part in parts)
    kinds = {(rate, p.counts_errors, p.lost is None) for rate, p in zip(rates, parts, strict=True)}
    if len(kinds) > 1:
        raise InputError("Rows of a summary must count the same, of one model or all of two.")
    return parts


def _with_intervals(
    name: str, parts: Sequence[Row], shares: Sequence[float], confidence: float
) -> Row:
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1; got {confidence!r}.")
    n, right = (sum(counts) for counts in zip(*((p.n, p.right) for p in parts), strict=True))
    two: dict[str, Any] = {}
    if parts[0].lost is not None:
        two = {what: sum(getattr(part, what) for part in parts) for what in ("lost", "gained")}
    row = Summary("summary", name, n, right, **two, parts=tuple(parts), shares=tuple(shares))
    level = (1 - confidence) / 2
    row = replace(row, interval=row.bounds(level, level))
    if row.lost is None:
        return row
    low, high = row.drop_bounds(upper_level=level, lower_level=level)
    return replace(row, change_interval=(-high, -low))
