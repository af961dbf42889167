"""Accuracies by class and by group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import (
    check_labels,
    check_weight,
    known_labels,
    labels_and_predictions,
)
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics.rows import Kind, compare

Subsets = list[tuple[Kind, Any, Array]]
"""Groups: kind, name, and numbers of their samples."""


def memberships(groups: ArrayLike, n: int, name: str = "groups") -> tuple[Subsets, Array]:
    """Groups in any of the forms that users pass, and samples whose group is unknown."""
    matrix = np.asarray(groups)
    if matrix.ndim != 2 or (matrix.shape[1] == 1 and matrix.dtype != bool):
        return of_partial_labels(groups, n, name)
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
