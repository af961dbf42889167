"""Accuracies by class and by group, and reports of them with confidence intervals.

No interval has width 0, even if all or no samples are right, or no prediction changed. Counts are
real numbers, so that weights count by their effective number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import (
    check_labels,
    check_weight,
    combined,
    known_labels,
    labels_and_predictions,
)
from ntkit._doc import documented
from ntkit._key import group_name
from ntkit._labels import is_missing
from ntkit._shown import InNotebook, NotebookView, ShownTable, bar_of, ends, frame_of
from ntkit._text import Markdown, interval, one_line, percent, plain, table, without_controls
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics.bounds import least_drop_bounds, likely_drop
from ntkit.metrics.rows import Kind, Row, Summary, compare

_NO_GROUPS = "This table has no groups: the worst class takes the place of the worst group."

_COLUMNS: dict[str, type] = {"kind": str, "name": object, "worst": object, "samples": int}
_COLUMNS |= dict.fromkeys(("accuracy", "low", "high", "before", "before_low", "before_high"), float)
_COLUMNS |= dict.fromkeys(("change", "change_low", "change_high"), float)

Subsets = list[tuple[Kind, Any, Array]]
"""Groups: kind, name, and numbers of their samples."""


def memberships(groups: ArrayLike, n: int, name: str = "groups") -> tuple[Subsets, Array]:
    """Groups in any of the forms that users pass, and samples whose group is unknown."""
    matrix = np.asarray(groups)
    if matrix.ndim != 2 or (matrix.shape[1] == 1 and matrix.dtype != bool):
        return of_partial_labels(groups, n, name)
    if hasattr(groups, "columns") and not _are_memberships(matrix):
        return of_partial_labels(combined(groups, name), n, name)
    _check_length(len(matrix), n, name)
    if matrix.dtype == object and not any(value is None for value in matrix.ravel()):
        matrix = np.array(matrix.tolist())
    if matrix.dtype.kind not in "biuf" or not ((matrix == 0) | (matrix == 1)).all():
        raise InputError(
            f"{name} of shape (N, G) must have True and False (or 1 and 0) for each sample and "
            "group, without missing values. Otherwise pass one label per sample."
        )
    names = getattr(groups, "columns", None)
    columns = range(matrix.shape[1]) if names is None else names
    members = map(np.flatnonzero, matrix.T)
    return [("group", *each) for each in zip(columns, members, strict=True)], np.empty(0, int)


def _are_memberships(matrix: Array) -> bool:
    """Whether all known values of a table say yes or no, True and False or 1 and 0."""
    known = [value for value in matrix.ravel().tolist() if not is_missing(value)]
    return all(not isinstance(value, str | bytes) and value in (0, 1) for value in {*known})


def of_labels(labels: Array, kind: Kind = "group") -> Subsets:
    """One group for each label that occurs, in sorted order."""
    names, counts = np.unique(labels, return_counts=True)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    return [(kind, *each) for each in zip(names.tolist(), members, strict=True)]


def of_partial_labels(labels: ArrayLike, n: int, name: str) -> tuple[Subsets, Array]:
    """One group for each label that occurs, and the samples with -1, None or NaN."""
    known_ones, known = known_labels(labels, name)
    _check_length(len(known), n, name)
    if not len(known_ones):
        raise InputError(f"{name} is unknown for all samples; label some of them.")
    (checked,) = check_labels(**{name: known_ones})
    rows = np.flatnonzero(known)
    groups = [(kind, label, rows[members]) for kind, label, members in of_labels(checked)]
    return groups, np.flatnonzero(~known)


def _check_length(length: int, n: int, name: str) -> None:
    if length != n:
        raise InputError(f"{name} has {length} labels but y_true has {n}; give one per sample.")


@documented
def accuracy_by(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    groups: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> dict[Any, float]:
    """Accuracy of each group.

    Parameters
    ----------
    {y_true, y_pred, evaluated.groups, sample_weight}

    Returns
    -------
    dict
        Accuracy in [0, 1] by group label, in sorted order; groups without samples are left out. For
        a matrix, the labels are the numbers of its columns.

    Raises
    ------
    InputError
        If lengths or types of labels differ, or no sample is in any group.

    Examples
    --------
    A sample in two groups, and one in none:

    >>> from ntkit.metrics import accuracy_by
    >>> members = [[True, False], [True, True], [False, True], [False, False]]
    >>> accuracy_by([0, 0, 1, 1], [0, 1, 1, 1], members)
    {0: 0.5, 1: 0.5}
    """
    aligned = {"groups": groups, "sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    return accuracy_in(memberships(groups, len(y_true))[0], y_true == y_pred, sample_weight)


@documented
def worst_group_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    groups: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Smallest accuracy of any group; groups without samples do not count.

    Parameters
    ----------
    {y_true, y_pred, evaluated.groups, sample_weight}

    {accuracy}

    See Also
    --------
    group_report : Intervals, and the number of samples that are left out.

    Examples
    --------
    >>> from ntkit.metrics import worst_group_accuracy
    >>> worst_group_accuracy([0, 0, 1, 1], [0, 1, 1, 1], groups=["a", "a", "b", "b"])
    0.5
    """
    return min(accuracy_by(y_true, y_pred, groups, sample_weight=sample_weight).values())


@documented
def worst_class_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Smallest accuracy (recall) of any class; needs no group labels.

    Parameters
    ----------
    {y_true, y_pred, sample_weight}

    {accuracy}

    Examples
    --------
    >>> from ntkit.metrics import worst_class_accuracy
    >>> worst_class_accuracy([0, 0, 1, 1], [0, 1, 1, 1])
    0.5
    """
    aligned = {"sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    # Every class is known, whatever its label: -1 is a label like any other.
    return min(accuracy_in(of_labels(y_true), y_true == y_pred, sample_weight).values())


def accuracy_in(groups: Subsets, right: Array, sample_weight: ArrayLike | None) -> dict[Any, float]:
    """Accuracy of each group with positive weight."""
    weight = None if sample_weight is None else check_weight(sample_weight, len(right))
    rows = compare([right], groups, weight=weight)
    by = {row.name: row.value for row in rows if row.n}
    if not by:
        raise InputError("No sample of positive weight is in any group; check groups.")
    return by


@dataclass(frozen=True, repr=False)
class GroupReport(InNotebook):
    """Accuracies per class and per group; made by :func:`group_report`.

    Attributes
    ----------
    rows : tuple of Row
        Classes, groups, then the summaries "average" and "worst class". With group labels also
        "worst group" and "mean of groups". A row has ``kind``, ``name``, ``n``, and ``value``, the
        accuracy in [0, 1], with its ``interval``; compared, also ``before``, ``change`` and
        ``change_interval``. ``which`` of a worst class or group is its name.
    confidence : float
        Coverage of the intervals.
    grouped : bool
        Whether there are group labels.
    n_unknown : int
        Number of samples of unknown group: they count only for the classes and the average.
    before : GroupReport or None
        Report of the predictions to compare with.
    """

    rows: tuple[Row, ...]
    confidence: float
    grouped: bool
    n_unknown: int = 0
    before: GroupReport | None = None

    @property
    def worst_group(self) -> Row:
        """The summary of the worst group; without groups, of the worst class."""
        return self.summary("worst group" if self.grouped else "worst class")

    def summary(self, name: str) -> Row:
        """The summary row with this name, such as "average"; else an InputError."""
        rows = {row.name: row for row in self.rows if row.kind == "summary"}
        if name not in rows:
            raise InputError(f"The report has no summary {name!r}; use one of {', '.join(rows)}.")
        return rows[name]

    def as_dict(self) -> dict[str, Any]:
        """The report as values that JSON can hold; NaN becomes None."""
        rows = [
            {"kind": row.kind, "label": row.name, "count": row.n, "accuracy": row.value,
             "interval": row.interval, "accuracy_before": was and was.value,
             "interval_before": was and was.interval, "change_interval": row.change_interval,
             "which": row.which, "change": row.change}
            for row, was in self._pairs()
        ]  # fmt: skip
        return {
            "confidence": self.confidence,
            "grouped": self.grouped,
            "n_unknown": self.n_unknown,
            "worst_group_is": "worst group" if self.grouped else "worst class",
            "rows": plain(rows),
        }

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each class, group and summary.

        Columns: ``kind``, ``name``, ``worst`` (name of the worst class or group), ``samples``,
        ``accuracy``, ``low``, ``high``, and the same before: ``before``, ``before_low``,
        ``before_high``, ``change``, ``change_low``, ``change_high``. Shares are in [0, 1].
        """
        rows = [
            {"kind": row.kind, "name": row.name, "worst": row.which, "samples": row.n,
             "accuracy": row.value, **ends("", row.interval), "before": was and was.value,
             **ends("before_", was.interval if was else None), "change": row.change,
             **ends("change_", row.change_interval)}
            for row, was in self._pairs()
        ]  # fmt: skip
        return frame_of(rows, _COLUMNS)

    def table(self, *, markdown: bool = True) -> Markdown:
        """The report as a Markdown table, in percent; ``markdown=False`` does not escape names."""
        coverage = f"{100 * self.confidence:g} % interval"
        header = ["", "samples", "accuracy", coverage]
        if self.before is not None:
            header += ["before", coverage, "change", coverage]
        lines = [header]
        for row, was in self._pairs():
            name = row.title if row.which is None else f"{row.title} ({row.which})"
            name = one_line(without_controls(name))
            name = name.replace("|", "\\|") if markdown else name
            cells = [name, str(row.n), percent(row.value, unit=""), interval(row.interval)]
            if was is not None:
                cells += [
                    percent(was.value, unit=""),
                    interval(was.interval),
                    percent(row.change, sign="+", unit=""),
                    interval(row.change_interval, sign="+"),
                ]
            lines.append(cells)
        text = table(lines, "<" + ">" * (len(header) - 1))
        if not self.grouped:
            note = _NO_GROUPS
        elif self.n_unknown:
            note = f"{self._unknown()}: they count only for the classes and the average."
        else:
            return text
        noted = Markdown(f"{text}\n\n{note}")
        noted.rows = text.rows
        return noted

    def _pairs(self) -> list[tuple[Row, Row | None]]:
        """The rows with those of the old model, if there is one."""
        was = [None] * len(self.rows) if self.before is None else self.before.rows
        return [*zip(self.rows, was, strict=True)]

    def _unknown(self) -> str:
        return f"The group of {self.n_unknown} sample(s) is unknown"

    def __str__(self) -> str:
        return self.table(markdown=False)

    def _shown(self) -> NotebookView:
        rows = ShownTable(self.table(markdown=False).rows, [*map(bar_of, self.rows)])
        return NotebookView([f"{self._in_short()}."], [rows])

    def __repr__(self) -> str:
        return f"GroupReport({self._in_short()})"

    def _in_short(self) -> str:
        """The number of samples, and the summaries."""
        parts = []
        for row, old in self._pairs():
            if row.kind == "summary":
                which = "" if row.which is None else f" ({row.which})"
                was = "" if old is None else f", was {old.value:.3f}"
                parts.append(f"{row.name}{which} {row.value:.3f}{was}")
        no_groups = "" if self.grouped else "; no group labels"
        if self.n_unknown:
            no_groups = f"; {self._unknown().lower()}"
        return f"{self.summary('average').n} samples: {'; '.join(parts)}{no_groups}"


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
        group. The columns of a DataFrame name the groups; if they hold other values than yes and
        no, the groups are their combinations. -1, None or NaN marks an unknown group:
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
    it wide. Its change is between the two minima, which may be of two groups, and has the bounds of
    :func:`worst_of_rows`, with Bonett and Price's for each group. Weights count by their effective
    number of samples, the square of their sum over the sum of their squares.

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
    aligned = {"groups": groups, "attribute": attribute, "sample_weight": sample_weight}
    compared = y_pred if y_pred_before is None else y_pred_before
    y_true, *preds = labels_and_predictions(y_true, aligned, y_pred=y_pred, y_pred_before=compared)
    outcomes = [pred == y_true for pred in preds][: 1 if y_pred_before is None else 2]
    weight = None if sample_weight is None else check_weight(sample_weight, len(y_true))
    members = of_labels(y_true, "class"), _groups_of(y_true, groups, attribute)
    before = _report(outcomes[1:], weight, *members, confidence) if outcomes[1:] else None
    return replace(_report(outcomes, weight, *members, confidence), before=before)


def _report(
    outcomes: Sequence[Array],
    weight: Array | None,
    classes: Subsets,
    groups: tuple[Subsets, Array] | None,
    confidence: float,
) -> GroupReport:
    """The report of one model, or of two."""
    counted = np.ones(len(outcomes[0])) if weight is None else weight
    of_groups, no_group = ([], np.empty(0, int)) if groups is None else groups
    subsets: Subsets = [("summary", "average", counted >= 0), *classes, *of_groups]
    found = compare(outcomes, subsets, weight=weight)
    average, *rows = (row.with_intervals(confidence) for row in found)
    summaries = [average, _worst("worst class", rows[: len(classes)], confidence)]
    unknown = int((counted[no_group] > 0).sum())
    if groups is not None:
        by_group = rows[len(classes) :]
        if not any(row.n for row in by_group):
            raise InputError("No sample of positive weight is in any group; check groups.")
        summaries.append(_worst("worst group", by_group, confidence))
        inside = np.unique(np.concatenate([each[2] for each in of_groups]))
        n = int((counted[inside] > 0).sum())
        summaries.append(_mean("mean of groups", n, by_group, of_groups, counted))
    return GroupReport((*rows, *summaries), confidence, groups is not None, unknown)


def _worst(name: str, parts: Sequence[Row], confidence: float) -> Row:
    """The part with the smallest accuracy, and the largest one if several have it."""
    filled = [part for part in parts if part.n]
    worst = min(filled, key=lambda part: (part.value, -part.n))
    # The interval is from the lowest of Wilson's lower limits to the lowest of the upper limits.
    # The chance that one of G upper limits is too low is larger than for a single one, so the
    # upper limits have Bonferroni's correction.
    corrected = 1 - (1 - confidence) / len(filled)
    low = min(part.wilson(confidence)[0] for part in filled)
    high = min(part.wilson(corrected)[1] for part in filled)
    about: dict[str, Any] = {"kind": "summary", "name": name, "which": worst.name}
    if worst.lost is not None:
        counts = [(p.effective or p.n, p.right, p.lost, p.gained) for p in filled]
        n, right, lost, gained = np.array(counts).T
        level, before = (1 - confidence) / 2, np.clip(right + lost - gained, 0, n)
        levels: Any = {"upper_level": level, "lower_level": level, "of_one": likely_drop}
        least, most = least_drop_bounds(before, lost, gained, n, **levels)
        about["change_interval"] = -most, -least
    return Summary(**vars(worst) | about | {"interval": (low, high), "parts": tuple(filled)})


def _mean(name: str, n: int, parts: Sequence[Row], of: Subsets, weight: Array) -> Row:
    """The unweighted mean of the parts with samples: a row in which each of them weighs 1."""
    # Its interval combines those of the parts by MOVER (Zou and Donner, Stat. Med. 27, 2008);
    # parts with common samples are correlated.
    filled = [at for at, row in enumerate(parts) if row.n]
    rows, shared = [parts[at] for at in filled], np.eye(len(filled))
    if np.bincount(np.concatenate([of[at][2] for at in filled])).max() > 1:
        members = np.zeros((len(filled), len(weight)))
        for member, at in zip(members, filled, strict=True):
            member[of[at][2]] = weight[of[at][2]]
        shared = members @ members.T
        shared = shared / np.sqrt(np.outer(np.diag(shared), np.diag(shared)))
    counts: list[Any] = [sum(row.value for row in rows)]
    if rows[0].lost is not None:
        sizes = [row.effective or row.n for row in rows]
        for what in ("lost", "gained"):
            pairs = zip(rows, sizes, strict=True)
            counts.append(sum(getattr(row, what) / size for row, size in pairs))
    of_both: dict[str, Any] = {"effective": float(len(rows))}
    for what, of_which in (("value", "interval"), ("change", "change_interval")):
        limits: Any = [getattr(row, of_which) for row in rows]
        if limits[0] is None:
            continue
        figures = np.array([getattr(row, what) for row in rows])
        lower, upper = np.transpose(limits)
        below, above = (
            sqrt(max(0.0, far @ shared @ far)) / len(far)
            for far in (figures - lower, upper - figures)
        )
        of_both[of_which] = (float(figures.mean() - below), float(figures.mean() + above))
    return Row("summary", name, n, *counts, **of_both)


def _groups_of(
    y_true: Array, groups: ArrayLike | None, attribute: ArrayLike | None
) -> tuple[Subsets, Array] | None:
    """The groups, some of which may be empty; None without groups."""
    if groups is not None and attribute is not None:
        raise InputError("Pass groups or attribute, not both.")
    if groups is not None:
        return memberships(groups, len(y_true))
    if attribute is None:
        return None
    values, unknown = of_partial_labels(combined(attribute, "attribute"), len(y_true), "attribute")
    pairs = [(label, *each[1:]) for label in np.unique(y_true).tolist() for each in values]
    return [
        ("group", group_name(label, value), inside[y_true[inside] == label])
        for label, value, inside in pairs
    ], unknown
