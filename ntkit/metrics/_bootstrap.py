"""Accuracy per class and per group, before and after, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from ntkit.exceptions import InputError
from ntkit.metrics._checks import Array, check_labels, check_predictions
from ntkit.metrics._report import GroupReport, Interval, ReportRow

__all__ = ["group_report"]


def group_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    attribute: ArrayLike | None = None,
    y_pred_before: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: Any = 0,
) -> GroupReport:
    """Accuracy per class and per group with bootstrap intervals, perhaps before and after.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes.
    groups : array-like of shape (N,), optional
        Group labels, for evaluation.
    attribute : array-like of shape (N,), optional
        Instead of ``groups``: the spurious attribute. Groups are then class × attribute, and a
        combination without samples is listed as empty.
    y_pred_before : array-like of shape (N,), optional
        Predictions to compare with, such as the original model's.
    confidence : float, default=0.95
        Coverage of the intervals.
    n_resamples : int, default=1000
        Bootstrap resamples.
    random_state : int, RandomState instance or None, default=0
        Decides the resamples.

    Returns
    -------
    GroupReport
        With ``rows``, ``worst_group``, ``as_dict()`` and ``table()``. Without groups the worst
        group is the worst class, and the report says so. Empty groups do not count toward the
        minimum or the mean.

    Raises
    ------
    InputError
        If lengths differ, labels are missing, both ``groups`` and ``attribute`` are given, or
        ``confidence`` or ``n_resamples`` is out of range.

    Notes
    -----
    Percentile intervals of resamples within each class × group, so every group keeps its size.
    Predictions before and after are resampled together, so the interval of a change is a paired
    one. Two things to know: a group without errors has the interval [100, 100] however small it
    is, and the interval of a minimum leans low where several groups are about equally bad.
    The change of a worst-of summary is between the two minima, which may be of two groups.

    Examples
    --------
    >>> from ntkit.metrics import group_report
    >>> report = group_report(
    ...     y_true=[0, 0, 0, 1, 1, 1],
    ...     y_pred=[0, 0, 1, 1, 1, 1],
    ...     y_pred_before=[0, 1, 1, 1, 1, 0],
    ...     attribute=["land", "sea", "sea", "land", "sea", "sea"],
    ... )
    >>> report.worst_group.accuracy
    0.5
    >>> report
    GroupReport(6 samples: average 0.833, was 0.500; worst class (0) 0.667, was 0.333;
    worst group (0 × sea) 0.500, was 0.000; mean of groups 0.875, was 0.625)
    >>> print(group_report([0, 0, 1], [0, 0, 1]).table())
    |  | samples | accuracy | 95 % interval |
    | --- | ---: | ---: | ---: |
    | class 0 | 2 | 100.0 | [100.0, 100.0] |
    | class 1 | 1 | 100.0 | [100.0, 100.0] |
    | average | 3 | 100.0 | [100.0, 100.0] |
    | worst class (0) | 2 | 100.0 | [100.0, 100.0] |
    <BLANKLINE>
    No group labels were given: the worst group is the worst class.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1; got {confidence!r}.")
    if n_resamples < 1:
        raise InputError(f"n_resamples must be at least 1; got {n_resamples!r}.")
    before = y_pred if y_pred_before is None else y_pred_before
    y_true, y_pred, before = check_predictions(y_true, y_pred=y_pred, y_pred_before=before)
    classes, class_of = np.unique(y_true, return_inverse=True)
    group_labels, group_of = _groups_of(y_true, groups, attribute)

    strata, stratum_of = np.unique(
        np.column_stack([class_of, group_of]), axis=0, return_inverse=True
    )
    stratum_of = stratum_of.reshape(-1)
    figures = _Figures(
        sizes=np.bincount(stratum_of),
        hits=_resampled_hits(
            stratum_of, before == y_true, y_pred == y_true, n_resamples, random_state
        ),
        tails=((1 - confidence) / 2, (1 + confidence) / 2),
        compared=y_pred_before is not None,
    )
    everything = figures.parts(np.zeros(len(strata), dtype=int), 1)
    summaries = [figures.row("summary", "average", len(y_true), everything.accuracies[..., 0])]
    rows, by_class = figures.rows("class", classes.tolist(), strata[:, 0])
    summaries.append(figures.worst(by_class, "worst class", classes.tolist()))
    if group_labels:
        group_rows, by_group = figures.rows("group", group_labels, strata[:, 1])
        rows += group_rows
        summaries.append(figures.worst(by_group, "worst group", group_labels))
        mean = by_group.accuracies[..., by_group.sizes > 0].mean(axis=-1)
        summaries.append(figures.row("summary", "mean of groups", len(y_true), mean))
    return GroupReport((*rows, *summaries), confidence, grouped=bool(group_labels))


@dataclass(frozen=True)
class _Parts:
    """Classes or groups: sizes (P,), and accuracies (before and after, 1 + resamples, P)."""

    sizes: Array
    accuracies: Array


@dataclass(frozen=True)
class _Figures:
    """Hits per stratum, observed and resampled, and how rows are made of them."""

    sizes: Array  # (S,)
    hits: Array  # (before and after, observed then resamples, S)
    tails: tuple[float, float]
    compared: bool

    def parts(self, part_of_stratum: Array, n_parts: int) -> _Parts:
        member = np.equal.outer(part_of_stratum, np.arange(n_parts)).astype(float)
        sizes = (self.sizes @ member).astype(int)
        return _Parts(sizes, np.where(sizes > 0, self.hits @ member, np.nan) / np.maximum(1, sizes))

    def rows(
        self, kind: Literal["class", "group"], labels: list[Any], part_of_stratum: Array
    ) -> tuple[list[ReportRow], _Parts]:
        parts = self.parts(part_of_stratum, len(labels))
        rows = [
            self.row(kind, label, parts.sizes[i], parts.accuracies[..., i])
            for i, label in enumerate(labels)
        ]
        return rows, parts

    def worst(self, parts: _Parts, label: str, labels: list[Any]) -> ReportRow:
        filled = np.flatnonzero(parts.sizes)
        accuracies = parts.accuracies[..., filled]
        at = filled[accuracies[1, 0].argmin()]
        return self.row("summary", label, parts.sizes[at], accuracies.min(axis=-1), labels[at])

    def row(
        self,
        kind: Literal["class", "group", "summary"],
        label: Any,
        count: int,
        accuracies: Array,
        which: Any = None,
    ) -> ReportRow:
        (before, *befores), (after, *afters) = accuracies.tolist()
        row = ReportRow(kind, label, int(count), after, self._interval(afters), which=which)
        if not self.compared:
            return row
        return replace(
            row,
            accuracy_before=before,
            interval_before=self._interval(befores),
            change_interval=self._interval(np.subtract(afters, befores)),
        )

    def _interval(self, resamples: list[float] | Array) -> Interval:
        low, high = np.quantile(resamples, self.tails)
        return float(low), float(high)


def _groups_of(
    y_true: Array, groups: ArrayLike | None, attribute: ArrayLike | None
) -> tuple[list[Any], Array]:
    """Labels of the groups, none where none are given, and the group of each sample."""
    if groups is not None and attribute is not None:
        raise InputError("Pass groups or attribute, not both.")
    if groups is not None:
        _, groups = check_labels(y_true=y_true, groups=groups)
        labels, group_of = np.unique(groups, return_inverse=True)
        return labels.tolist(), group_of
    if attribute is not None:
        _, attribute = check_labels(y_true=y_true, attribute=attribute)
        classes, class_of = np.unique(y_true, return_inverse=True)
        values, value_of = np.unique(attribute, return_inverse=True)
        names = [f"{label} × {value}" for label in classes.tolist() for value in values.tolist()]
        return names, class_of * len(values) + value_of
    return [], np.zeros(len(y_true), dtype=int)


def _resampled_hits(
    stratum_of: Array, hit_before: Array, hit: Array, n_resamples: int, random_state: Any
) -> Array:
    """Correct samples before and after, (2, 1 + n_resamples, strata); the observed ones first.

    Resampling n samples with replacement draws the counts of the four outcomes of a sample (hit
    before or not, hit after or not) from a multinomial, whatever n is.
    """
    counts = np.bincount(4 * stratum_of + 2 * hit_before + hit, minlength=4 * stratum_of.max() + 4)
    counts = counts.reshape(-1, 4)
    sizes = counts.sum(axis=1)
    random = check_random_state(random_state)
    draws = np.empty((1 + n_resamples, len(counts), 4))
    draws[0] = counts
    for stratum, (size, share) in enumerate(zip(sizes, counts / sizes[:, None], strict=True)):
        draws[1:, stratum] = random.multinomial(size, share, size=n_resamples)
    return np.stack([draws[..., 2] + draws[..., 3], draws[..., 1] + draws[..., 3]])
