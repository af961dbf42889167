"""Accuracy per class and per group, before and after, with confidence intervals.

No interval has width 0, even if all or no samples are right, or no prediction changed. Counts are
real numbers, so that weights count by their effective number of samples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from ntkit._checks import check_weight, labels_of_one_type
from ntkit._doc import documented
from ntkit._key import group_name
from ntkit._text import interval, one_line, percent, plain, table, without_controls
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics._accuracy import Memberships, memberships, of_labels, of_partial_labels

Bounds = tuple[Array, Array]


def wilson(accuracy: Array, n: Array, confidence: float) -> Bounds:
    """Wilson's score interval of proportions (Wilson, 1927)."""
    square = float(ndtri((1 + confidence) / 2)) ** 2
    center = (accuracy + square / (2 * n)) / (1 + square / n)
    half = np.sqrt(square * (accuracy * (1 - accuracy) / n + square / (4 * n**2)))
    half = half / (1 + square / n)
    # If all or none is right the limit is exact; rounding must not change it.
    return np.clip(np.minimum(center - half, accuracy), 0, 1), np.clip(
        np.maximum(center + half, accuracy), 0, 1
    )


def change_of_one(gained: Array, lost: Array, n: Array, confidence: float) -> Bounds:
    """Bonett and Price's interval of the difference of two paired proportions."""
    # Wald's interval with one more sample of each kind of change (J. Educ. Behav. Stat. 37, 2012),
    # recommended by Fagerland, Lydersen and Laake (Stat. Med. 33, 2014). It is widened to contain
    # the observed difference, which it may miss at a low confidence.
    up, down = (gained * n + 1) / (n + 2), (lost * n + 1) / (n + 2)
    z = float(ndtri((1 + confidence) / 2))
    half = z * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    observed = gained - lost
    return (
        np.clip(np.minimum(up - down - half, observed), -1, 1),
        np.clip(np.maximum(up - down + half, observed), -1, 1),
    )


def change_of_worst(
    before: Array, after: Array, paired: Bounds, n: Array, confidence: float
) -> tuple[float, float]:
    """Interval of the difference between two minima."""
    # If both minima are of the same group, it is that group's paired interval. Else the two limits
    # are combined as if independent (MOVER: Zou and Donner, Stat. Med. 27, 2008).
    b, a = int(before.argmin()), int(after.argmin())
    if before[a] == before[b]:
        return float(paired[0][a]), float(paired[1][a])
    if after[b] == after[a]:
        return float(paired[0][b]), float(paired[1][b])
    (low_b, high_b), (low_a, high_a) = (wilson(x, n, confidence) for x in (before, after))
    change = after[a] - before[b]
    low = change - np.hypot(after[a] - low_a[a], high_b[b] - before[b])
    high = change + np.hypot(high_a[a] - after[a], before[b] - low_b[b])
    return float(max(-1, low)), float(min(1, high))


Interval = tuple[float, float]
Kind = Literal["class", "group", "summary"]
_NO_GROUPS = "No group labels were given: the worst group is the worst class."


@dataclass(frozen=True)
class ReportRow:
    """One row of a :class:`GroupReport`; accuracies are in [0, 1], NaN for an empty group."""

    kind: Kind
    label: Any
    count: int
    accuracy: float
    interval: Interval
    accuracy_before: float | None = None
    interval_before: Interval | None = None
    change_interval: Interval | None = None
    which: Any = None

    @property
    def change(self) -> float | None:
        """``accuracy - accuracy_before``."""
        return None if self.accuracy_before is None else self.accuracy - self.accuracy_before


@dataclass(frozen=True, repr=False)
class GroupReport:
    """Accuracies per class and per group; made by :func:`group_report`.

    Attributes
    ----------
    rows : tuple of ReportRow
        Classes, groups, then the summaries "average" and "worst class". With group labels also
        "worst group" and "mean of groups". A row has ``kind``, ``label``, ``count``, ``accuracy``
        in [0, 1] and its ``interval``; compared, also those ``_before`` and ``change_interval``.
    confidence : float
        Coverage of the intervals.
    grouped : bool
        Whether there are group labels.
    n_unknown : int
        Number of samples of unknown group: they count only for the classes and the average.
    """

    rows: tuple[ReportRow, ...]
    confidence: float
    grouped: bool
    n_unknown: int = 0

    @property
    def worst_group(self) -> ReportRow:
        """The summary of the worst group; without groups, of the worst class."""
        return self.summary("worst group" if self.grouped else "worst class")

    @property
    def worst_counts(self) -> tuple[int, int]:
        """Samples of the group that is worst before, and after; of the largest if some are tied."""
        kind = "group" if self.grouped else "class"
        rows = [row for row in self.rows if row.kind == kind and row.count]
        n = min(rows, key=lambda row: (row.accuracy, -row.count)).count
        before = min(rows, key=lambda row: (row.accuracy_before or 0.0, -row.count)).count
        return before, n

    def summary(self, label: str) -> ReportRow:
        """The summary row with this name, such as "average"; else an InputError."""
        rows = {row.label: row for row in self.rows if row.kind == "summary"}
        if label not in rows:
            raise InputError(f"The report has no summary {label!r}; use one of {', '.join(rows)}.")
        return rows[label]

    def as_dict(self) -> dict[str, Any]:
        """The report as values that JSON can hold; NaN becomes None."""
        return {
            "confidence": self.confidence,
            "grouped": self.grouped,
            "n_unknown": self.n_unknown,
            "worst_group_is": "worst group" if self.grouped else "worst class",
            "rows": [plain(asdict(row) | {"change": row.change}) for row in self.rows],
        }

    def table(self, *, markdown: bool = True) -> str:
        """The report as a Markdown table, in percent; ``markdown=False`` does not escape names."""
        compared = self.rows[0].accuracy_before is not None
        coverage = f"{100 * self.confidence:g} % interval"
        header = ["", "samples", "accuracy", coverage]
        if compared:
            header += ["before", coverage, "change", coverage]
        lines = [header]
        for row in self.rows:
            name = str(row.label) if row.kind == "summary" else f"{row.kind} {row.label}"
            name = name if row.which is None else f"{name} ({row.which})"
            name = one_line(without_controls(name))
            name = name.replace("|", "\\|") if markdown else name
            cells = [name, str(row.count), percent(row.accuracy, unit=""), interval(row.interval)]
            if compared:
                cells += [
                    percent(row.accuracy_before, unit=""),
                    interval(row.interval_before),
                    percent(row.change, sign="+", unit=""),
                    interval(row.change_interval, sign="+"),
                ]
            lines.append(cells)
        text = table(lines, "<" + ">" * (len(header) - 1))
        if not self.grouped:
            return f"{text}\n\n{_NO_GROUPS}"
        if self.n_unknown:
            return f"{text}\n\n{self._unknown()}: they count only for the classes and the average."
        return text

    def _unknown(self) -> str:
        return f"The group of {self.n_unknown} sample(s) is unknown"

    def __str__(self) -> str:
        return self.table(markdown=False)

    def __repr__(self) -> str:
        parts = []
        for row in self.rows:
            if row.kind == "summary":
                which = "" if row.which is None else f" ({row.which})"
                was = "" if row.accuracy_before is None else f", was {row.accuracy_before:.3f}"
                parts.append(f"{row.label}{which} {row.accuracy:.3f}{was}")
        no_groups = "" if self.grouped else "; no group labels"
        if self.n_unknown:
            no_groups = f"; {self._unknown().lower()}"
        return (
            f"GroupReport({self.summary('average').count} samples: {'; '.join(parts)}{no_groups})"
        )


@documented
def group_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    attribute: ArrayLike | None = None,
    y_pred_before: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    confidence: float = 0.95,
) -> GroupReport:
    """Accuracy per class and per group with confidence intervals, optionally before and after.

    Parameters
    ----------
    {y_true, y_pred}
    groups : array-like of shape (N,), or of bool (or 0 and 1) and shape (N, G), optional
        Group labels, for evaluation; if groups overlap, a table of which samples are in which
        group. The columns of a DataFrame name the groups. -1, None or NaN marks an unknown group:
        such a sample counts only for its class and the average.
    attribute : array-like of shape (N,), optional
        Spurious attribute, used instead of ``groups``; -1, None or NaN if it is unknown. The groups
        are then class × attribute, and a combination without samples is listed as empty.
    y_pred_before : array-like of shape (N,), optional
        Predictions to compare with, such as the original model's.
    {sample_weight}
        The number of samples is not weighted.
    {confidence}

    Returns
    -------
    GroupReport
        With ``rows``, ``worst_group``, ``as_dict()`` and ``table()``. Without groups the worst
        group is the worst class, and the report says so. Empty groups do not count for the minimum
        or the mean.

    Raises
    ------
    InputError
        If lengths or types of labels differ, all groups are unknown, ``groups`` and ``attribute``
        are both passed, or ``confidence`` is out of range.

    Notes
    -----
    An interval assumes that the samples of a group are a random draw. If groups are known for some
    samples only, choose these without regard to the predictions: samples that were labelled because
    they are misclassified make a group look worse than it is.

    The interval of an accuracy is Wilson's. That of a change is Bonett and Price's, which is
    paired: the same samples before and after. Neither ever has width 0, so 20 of 20 right is [83.9,
    100]. A mean of groups combines the limits of the groups (MOVER). A worst-of summary has the
    lowest of the groups' limits, because any group may be the true worst one; one tiny group makes
    it wide. Its change is between the two minima, which may be of two groups. Weights count by
    their effective number of samples, the square of their sum over the sum of their squares.

    Examples
    --------
    >>> from ntkit.metrics import group_report
    >>> report = group_report(
    ...     y_true=[0, 0, 0, 1, 1, 1],
    ...     y_pred=[0, 0, 1, 1, 1, 1],
    ...     y_pred_before=[0, 1, 1, 1, 1, 0],
    ...     attribute=["land", "sea", "sea", "land", "sea", "sea"],
    ... )
    >>> report
    GroupReport(6 samples: average 0.833, was 0.500; worst class (0) 0.667, was 0.333;
    worst group (0 × sea) 0.500, was 0.000; mean of groups 0.875, was 0.625)
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1; got {confidence!r}.")
    before = y_pred if y_pred_before is None else y_pred_before
    y_true, y_pred, before = labels_of_one_type(y_true, y_pred=y_pred, y_pred_before=before)
    right, weight = (before == y_true, y_pred == y_true), check_weight(sample_weight, len(y_true))
    members = _groups_of(y_true, groups, attribute)
    by_class = _figures(of_labels(y_true), right, weight, confidence)
    everything = Memberships(["average"], index=np.zeros(len(y_true), dtype=int))
    summaries = [_figures(everything, right, weight, confidence)]
    summaries.append(_worst("worst class", by_class, confidence))
    parts: dict[Kind, list[_Figures]] = {"class": [by_class]}
    if members is not None:
        by_group = _figures(members, right, weight, confidence)
        if not by_group.counts.any():
            raise InputError("No sample of positive weight is in any group; check groups.")
        parts["group"] = [by_group]
        summaries.append(_worst("worst group", by_group, confidence))
        summaries.append(_mean("mean of groups", by_group, members, weight))
    parts["summary"] = summaries
    compared = y_pred_before is not None
    rows = [
        row for kind, some in parts.items() for each in some for row in each.rows(kind, compared)
    ]
    unknown = 0 if members is None else members.unknown(weight)
    return GroupReport(tuple(rows), confidence, members is not None, unknown)


@dataclass(frozen=True)
class _Figures:
    """Results of P classes or groups, or of one summary: before, after, and of the change."""

    labels: list[Any]
    counts: Array  # samples of positive weight, (P,)
    n: Array  # effective number of samples, (P,)
    values: Array  # (3, P)
    limits: Array  # of their intervals, (3, 2, P)
    which: Any = None

    def rows(self, kind: Kind, compared: bool) -> list[ReportRow]:
        """Rows of the report."""
        rows = list[ReportRow]()
        for i, label in enumerate(self.labels):
            (before, after, _), count = map(float, self.values[:, i]), int(self.counts[i])
            was, now, change = ((float(low), float(high)) for low, high in self.limits[:, :, i])
            row = ReportRow(kind, label, count, after, now, which=self.which)
            if compared:
                row = replace(
                    row, accuracy_before=before, interval_before=was, change_interval=change
                )
            rows.append(row)
        return rows


def _figures(
    of: Memberships, right: tuple[Array, Array], weight: Array, confidence: float
) -> _Figures:
    """Accuracies of classes or groups, and their changes."""
    before, after = right
    squares = of.sums(weight**2)
    nothing = np.full(len(squares), np.nan)
    n = np.divide(of.sums(weight) ** 2, squares, out=nothing, where=squares > 0)
    was, now, gained, lost = (
        of.means(each, weight) for each in (before, after, after & ~before, before & ~after)
    )
    limits = wilson(was, n, confidence), wilson(now, n, confidence)
    changes = change_of_one(gained, lost, n, confidence)
    counts = of.sums(weight > 0).astype(int)
    return _Figures(
        of.labels, counts, n, np.array([was, now, gained - lost]), np.array([*limits, changes])
    )


def _worst(label: str, parts: _Figures, confidence: float) -> _Figures:
    """The smallest accuracy of any part with samples, before and after, whichever that is."""
    filled = np.flatnonzero(parts.counts)
    (before, after, _), n = parts.values[:, filled], parts.n[filled]
    at = filled[after.argmin()]
    # The interval is from the lowest of Wilson's lower limits to the lowest of the upper limits.
    # The chance that one of G upper limits is too low is larger than for a single one, so the
    # upper limits have Bonferroni's correction.
    corrected = 1 - (1 - confidence) / len(n)
    limits = [
        (wilson(each, n, confidence)[0].min(), wilson(each, n, corrected)[1].min())
        for each in (before, after)
    ]
    low, high = parts.limits[2][:, filled]
    limits.append(change_of_worst(before, after, (low, high), n, confidence))
    values = np.array([before.min(), after.min(), after.min() - before.min()])
    which = parts.labels[at]
    return _Figures(
        [label], parts.counts[[at]], n, values[:, None], np.array(limits)[:, :, None], which
    )


def _mean(label: str, parts: _Figures, of: Memberships, weight: Array) -> _Figures:
    """The unweighted mean of the parts with samples."""
    # Its interval combines those of the parts by MOVER (Zou and Donner, Stat. Med. 27, 2008);
    # parts with common samples are correlated.
    filled = np.flatnonzero(parts.counts)
    shared, limits = np.eye(len(filled)), list[Interval]()
    if of.matrix is not None:
        members = of.matrix[:, filled] * weight[:, None]
        shared = members.T @ members
        length = np.sqrt(np.maximum(np.diag(shared), np.finfo(float).tiny))
        shared = shared / np.outer(length, length)
    values = parts.values[:, filled]
    for figures, (lower, upper) in zip(values, parts.limits[:, :, filled], strict=True):
        below, above = figures - lower, upper - figures
        low, high = (np.sqrt(max(0.0, far @ shared @ far)) / len(far) for far in (below, above))
        limits.append((float(figures.mean() - low), float(figures.mean() + high)))
    count = (weight > 0).sum() - of.unknown(weight)
    mean = values.mean(axis=1)[:, None]
    return _Figures([label], np.array([count]), parts.n, mean, np.array(limits)[:, :, None])


def _groups_of(
    y_true: Array, groups: ArrayLike | None, attribute: ArrayLike | None
) -> Memberships | None:
    """The groups, some of which may be empty; None without groups."""
    if groups is not None and attribute is not None:
        raise InputError("Pass groups or attribute, not both.")
    if groups is not None:
        return memberships(groups, len(y_true))
    if attribute is None:
        return None
    values = of_partial_labels(attribute, len(y_true), "attribute")
    assert values.index is not None
    classes, class_of = np.unique(y_true, return_inverse=True)
    names = [group_name(label, value) for label in classes.tolist() for value in values.labels]
    n_values = len(values.labels)
    known = values.index < n_values
    return Memberships(names, index=np.where(known, class_of * n_values + values.index, len(names)))
