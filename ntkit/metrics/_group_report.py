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
    square = _z(confidence) ** 2
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
    half = _z(confidence) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    observed = gained - lost
    return (
        np.clip(np.minimum(up - down - half, observed), -1, 1),
        np.clip(np.maximum(up - down + half, observed), -1, 1),
    )


def of_worst(accuracy: Array, n: Array, confidence: float) -> tuple[float, float]:
    """Interval of the smallest of G proportions, whichever that is."""
    # From the lowest of Wilson's lower limits to the lowest of the upper limits. The chance that
    # one of G upper limits is too low is larger than for a single one, so the upper limits have
    # Bonferroni's correction.
    low, _ = wilson(accuracy, n, confidence)
    _, high = wilson(accuracy, n, 1 - (1 - confidence) / len(n))
    return float(low.min()), float(high.min())


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


def of_mean(figures: Array, limits: Bounds, correlations: Array) -> tuple[float, float]:
    """Interval of an unweighted mean, from the intervals of its parts."""
    # By MOVER (Zou and Donner, Stat. Med. 27, 2008); parts with common samples are correlated.
    below, above = figures - limits[0], limits[1] - figures
    mean, count = figures.mean(), len(figures)
    low = mean - np.sqrt(max(0.0, below @ correlations @ below)) / count
    high = mean + np.sqrt(max(0.0, above @ correlations @ above)) / count
    return float(low), float(high)


def _z(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))


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
            name = _name(row)
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


def _name(row: ReportRow) -> str:
    name = str(row.label) if row.kind == "summary" else f"{row.kind} {row.label}"
    name = name if row.which is None else f"{name} ({row.which})"
    return one_line(without_controls(name))


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
    figures = _Figures(
        right=(before == y_true, y_pred == y_true),
        weight=check_weight(sample_weight, len(y_true)),
        confidence=confidence,
        compared=y_pred_before is not None,
    )
    everything = figures.parts(Memberships(["average"], index=np.zeros(len(y_true), dtype=int)))
    summaries = figures.rows("summary", everything)
    by_class = figures.parts(of_labels(y_true))
    rows = figures.rows("class", by_class)
    summaries.append(figures.worst("worst class", by_class))
    members = _groups_of(y_true, groups, attribute)
    if members is not None:
        by_group = figures.parts(members)
        if not len(by_group.filled):
            raise InputError("No sample of positive weight is in any group; check groups.")
        rows += figures.rows("group", by_group)
        summaries.append(figures.worst("worst group", by_group))
        summaries.append(figures.mean("mean of groups", by_group))
    unknown = 0 if members is None else members.unknown(figures.weight)
    return GroupReport((*rows, *summaries), confidence, members is not None, unknown)


@dataclass(frozen=True)
class _Parts:
    """P classes or groups, and the results of their samples."""

    of: Memberships
    counts: Array
    n: Array
    accuracies: Array
    limits: tuple[Bounds, Bounds]
    change: Array
    changes: Bounds

    @property
    def filled(self) -> Array:
        """Parts with at least one sample."""
        return np.flatnonzero(self.counts)


@dataclass(frozen=True)
class _Figures:
    """Correctness of samples, before and after, and the rows computed from it."""

    right: tuple[Array, Array]
    weight: Array
    confidence: float
    compared: bool

    def parts(self, of: Memberships) -> _Parts:
        before, after = self.right
        squares = of.sums(self.weight**2)
        nothing = np.full(len(squares), np.nan)
        n = np.divide(of.sums(self.weight) ** 2, squares, out=nothing, where=squares > 0)
        accuracies = np.array([of.means(right, self.weight) for right in self.right])
        gained, lost = (of.means(o, self.weight) for o in (after & ~before, before & ~after))
        return _Parts(
            of,
            of.sums(self.weight > 0).astype(int),
            n,
            accuracies,
            (wilson(accuracies[0], n, self.confidence), wilson(accuracies[1], n, self.confidence)),
            gained - lost,
            change_of_one(gained, lost, n, self.confidence),
        )

    def rows(self, kind: Kind, parts: _Parts) -> list[ReportRow]:
        return [
            self.row(
                kind,
                label,
                parts.counts[i],
                parts.accuracies[:, i],
                [(float(low[i]), float(high[i])) for low, high in (*parts.limits, parts.changes)],
            )
            for i, label in enumerate(parts.of.labels)
        ]

    def worst(self, label: str, parts: _Parts) -> ReportRow:
        filled = parts.filled
        before, after = parts.accuracies[:, filled]
        n, at = parts.n[filled], filled[after.argmin()]
        paired = (parts.changes[0][filled], parts.changes[1][filled])
        limits = [of_worst(accuracy, n, self.confidence) for accuracy in (before, after)]
        limits.append(change_of_worst(before, after, paired, n, self.confidence))
        lowest = np.array([before.min(), after.min()])
        which = parts.of.labels[at]
        return self.row("summary", label, parts.counts[at], lowest, limits, which=which)

    def mean(self, label: str, parts: _Parts) -> ReportRow:
        filled = parts.filled
        shared = parts.of.correlations(self.weight)[np.ix_(filled, filled)]
        limits = [
            of_mean(values[filled], (low[filled], high[filled]), shared)
            for values, (low, high) in zip(
                (*parts.accuracies, parts.change), (*parts.limits, parts.changes), strict=True
            )
        ]
        count = (self.weight > 0).sum() - parts.of.unknown(self.weight)
        return self.row("summary", label, count, parts.accuracies[:, filled].mean(axis=1), limits)

    def row(
        self,
        kind: Kind,
        label: Any,
        count: Any,
        accuracies: Array,
        limits: list[Interval],
        which: Any = None,
    ) -> ReportRow:
        before, after = map(float, accuracies)
        row = ReportRow(kind, label, int(count), after, limits[1], which=which)
        if not self.compared:
            return row
        return replace(
            row, accuracy_before=before, interval_before=limits[0], change_interval=limits[2]
        )


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
