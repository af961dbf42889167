"""Summaries of disjoint rows, which are rows too: the mean with given shares, and the worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics import _stratified
from ntkit.metrics._rows import ClassRate, Interval, Row

_CONFIDENCE = 0.95


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
            low, high = _stratified.mean_bounds(right, n, shares, **levels)
        else:
            low, high = _stratified.least_bounds(right, n, **levels)
        return (1 - high, 1 - low) if self.counts_errors else (low, high)

    def drop_bounds(self, *, upper_level: float, lower_level: float) -> Interval:
        """Paired bounds of the drop, as of a row."""
        n, right, lost, gained, shares = self._counts()
        levels: Any = {"upper_level": upper_level, "lower_level": lower_level}
        if not n.any():
            return -1.0, 1.0
        if self.shares:
            return _stratified.mean_drop_bounds(lost, gained, n, shares, **levels)
        before = right + lost - gained
        return _stratified.least_drop_bounds(before, lost, gained, n, **levels)

    def surely_lost(self, level: float) -> float:
        """Lower bound of the drop alone."""
        return self.drop_bounds(upper_level=0.5, lower_level=level)[0]

    def _counts(self) -> tuple[Array, ...]:
        """Samples of each part, those right, lost and gained, and shares; of the worst, if any."""
        parts = [part for part in self.parts if part.n or self.shares]
        counts = [(part.n, part.right, part.lost or 0, part.gained or 0) for part in parts]
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
    its level is measured: ``benchmarks/summaries.py``.

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
    if any(part.effective for part in parts):
        raise InputError("A summary has exact bounds, so its rows have no weights: group_report.")
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
