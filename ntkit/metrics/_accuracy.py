"""Accuracies by class, by group and by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import Array, check_predictions, check_weight
from ntkit.exceptions import InputError
from ntkit.metrics._memberships import Memberships, memberships, of_labels

__all__ = [
    "accuracy_by",
    "accuracy_in",
    "worst_class_accuracy",
    "worst_class_cell_accuracy",
    "worst_group_accuracy",
]


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
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes.
    groups : array-like of shape (N,), or of bool (or 0 and 1) and shape (N, G)
        Any labels to group by, -1, None or NaN where the group is not known: such samples are left
        out; or, where groups overlap, which samples are in which group. The columns of a DataFrame
        name the groups.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.

    Returns
    -------
    dict
        Group label to accuracy in [0, 1], in sorted order; groups without samples are left out.
        Of a matrix, the labels are the numbers of its columns.

    Raises
    ------
    InputError
        If lengths or types of labels differ, or no sample is in any group.

    Examples
    --------
    >>> from ntkit.metrics import accuracy_by
    >>> accuracy_by([0, 0, 1, 1], [0, 1, 1, 1], ["a", "a", "b", "b"])
    {'a': 0.5, 'b': 1.0}

    A sample in two groups, and one in none:

    >>> members = [[True, False], [True, True], [False, True], [False, False]]
    >>> accuracy_by([0, 0, 1, 1], [0, 1, 1, 1], members)
    {0: 0.5, 1: 0.5}
    """
    y_true, y_pred = check_predictions(y_true, y_pred=y_pred)
    return accuracy_in(memberships(groups, len(y_true)), y_true == y_pred, sample_weight)


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
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes.
    groups : array-like of shape (N,), or of bool (or 0 and 1) and shape (N, G)
        Group labels, for evaluation, -1, None or NaN where the group is not known: such samples
        are left out; or, where groups overlap (as those of CivilComments in the WILDS benchmark
        do), which samples are in which group.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If lengths or types of labels differ, or no sample is in any group.

    See Also
    --------
    group_report : Intervals, and how many samples are left out.

    Examples
    --------
    >>> from ntkit.metrics import worst_group_accuracy
    >>> worst_group_accuracy([0, 0, 1, 1], [0, 1, 1, 1], groups=["a", "a", "b", "b"])
    0.5
    >>> worst_group_accuracy([0, 0, 1, 1], [0, 1, 1, 1], groups=["a", -1, "b", "b"])
    1.0
    """
    return min(accuracy_by(y_true, y_pred, groups, sample_weight=sample_weight).values())


def worst_class_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Smallest accuracy (recall) of any class; needs no group labels.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes; a class without samples does not count.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If lengths or types of labels differ, or labels are missing.

    Examples
    --------
    >>> from ntkit.metrics import worst_class_accuracy
    >>> worst_class_accuracy([0, 0, 1, 1], [0, 1, 1, 1])
    0.5
    """
    y_true, y_pred = check_predictions(y_true, y_pred=y_pred)
    # The classes are known, whatever they are called: -1 is one like any other.
    return min(accuracy_in(of_labels(y_true), y_true == y_pred, sample_weight).values())


def worst_class_cell_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Accuracy of the worst class (two thirds) and of the worst cell: a label-free score.

    A cell is a class and whether a reference head errs on the sample. The samples a plain
    class-balanced head gets wrong stand in for the minority groups nobody labelled.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True classes, and predictions of the head to score.
    reference_pred : array-like of shape (N,)
        Predictions of a head that was not fitted on these samples.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.

    Returns
    -------
    float
        In [0, 1], larger is better.

    Raises
    ------
    InputError
        If lengths or types of labels differ, or labels are missing.

    Examples
    --------
    >>> from ntkit.metrics import worst_class_cell_accuracy
    >>> worst_class_cell_accuracy([0, 0, 1, 1], [0, 0, 1, 0], reference_pred=[0, 1, 1, 1])
    0.5
    """
    y_true, y_pred, reference_pred = check_predictions(
        y_true, y_pred=y_pred, reference_pred=reference_pred
    )
    cells = correctness_cells(y_true, reference_pred)
    worst_class = worst_class_accuracy(y_true, y_pred, sample_weight=sample_weight)
    worst_cell = min(accuracy_by(y_true, y_pred, cells, sample_weight=sample_weight).values())
    # The class counts twice: its samples are many, those of the worst cell may be few.
    return (2 * worst_class + worst_cell) / 3


def accuracy_in(
    groups: Memberships, right: Array, sample_weight: ArrayLike | None
) -> dict[Any, float]:
    """Share that is right of each group that has weight."""
    accuracies = groups.means(right, check_weight(sample_weight, len(right))).tolist()
    by = {g: a for g, a in zip(groups.labels, accuracies, strict=True) if not np.isnan(a)}
    if not by:
        raise InputError("No sample of positive weight is in any group; check groups.")
    return by


def correctness_cells(y_true: Array, reference_pred: Array) -> Array:
    """The class × correctness cell of each sample, as a number."""
    _, class_index = np.unique(y_true, return_inverse=True)
    return np.asarray(2 * class_index + (reference_pred != y_true))
