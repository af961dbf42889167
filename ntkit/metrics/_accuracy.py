"""Accuracies by class, by group and by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length, column_or_1d

__all__ = [
    "accuracy_by",
    "worst_class_accuracy",
    "worst_class_cell_accuracy",
    "worst_group_accuracy",
]


def accuracy_by(y_true: ArrayLike, y_pred: ArrayLike, groups: ArrayLike) -> dict[Any, float]:
    """Accuracy of each group.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes.
    groups : array-like of shape (N,), or of bool and shape (N, G)
        Any labels to group by; or, where groups overlap, which samples are in which group.

    Returns
    -------
    dict
        Group label to accuracy in [0, 1], in sorted order. Of a matrix, the labels are the
        numbers of the columns that hold any sample.

    Raises
    ------
    ValueError
        If the arrays differ in length, or one has more columns than it may.

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
    y_true, y_pred = column_or_1d(y_true), column_or_1d(y_pred)
    members = np.asarray(groups)
    overlapping = members.ndim == 2 and members.dtype == bool
    groups = members if overlapping else column_or_1d(groups)
    check_consistent_length(y_true, y_pred, groups)
    correct = np.asarray(y_true == y_pred)
    if overlapping:
        return {g: float(correct[m].mean()) for g, m in enumerate(members.T) if m.any()}
    return {g: float(correct[groups == g].mean()) for g in np.unique(groups).tolist()}


def worst_group_accuracy(y_true: ArrayLike, y_pred: ArrayLike, *, groups: ArrayLike) -> float:
    """Smallest accuracy of any group; groups without samples do not count.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes.
    groups : array-like of shape (N,), or of bool and shape (N, G)
        Group labels, for evaluation; or, where groups overlap (as those of CivilComments in the
        WILDS benchmark do), which samples are in which group.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the arrays differ in length, or are empty, or no sample is in any group.

    Examples
    --------
    >>> from ntkit.metrics import worst_group_accuracy
    >>> worst_group_accuracy([0, 0, 1, 1], [0, 1, 1, 1], groups=["a", "a", "b", "b"])
    0.5
    """
    return min(accuracy_by(y_true, y_pred, groups).values())


def worst_class_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Smallest accuracy (recall) of any class; needs no group labels.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes; a class without samples does not count.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the arrays differ in length, or are empty.

    Examples
    --------
    >>> from ntkit.metrics import worst_class_accuracy
    >>> worst_class_accuracy([0, 0, 1, 1], [0, 1, 1, 1])
    0.5
    """
    return min(accuracy_by(y_true, y_pred, y_true).values())


def worst_class_cell_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, reference_pred: ArrayLike
) -> float:
    """Worst class accuracy plus half the worst cell accuracy: a label-free selection score.

    A cell is a class and whether a reference head errs on the sample. The samples a plain
    class-balanced head gets wrong stand in for the minority groups nobody labelled.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True classes, and predictions of the head to score.
    reference_pred : array-like of shape (N,)
        Predictions of a head that was not fitted on these samples.

    Returns
    -------
    float
        In [0, 1.5], larger is better.

    Raises
    ------
    ValueError
        If the arrays differ in length, or are empty.

    Examples
    --------
    >>> from ntkit.metrics import worst_class_cell_accuracy
    >>> worst_class_cell_accuracy([0, 0, 1, 1], [0, 0, 1, 0], reference_pred=[0, 1, 1, 1])
    0.75
    """
    y_true, reference_pred = column_or_1d(y_true), column_or_1d(reference_pred)
    check_consistent_length(y_true, reference_pred)
    _, class_index = np.unique(y_true, return_inverse=True)
    cells = 2 * class_index + (reference_pred != y_true)
    return worst_class_accuracy(y_true, y_pred) + 0.5 * min(
        accuracy_by(y_true, y_pred, cells).values()
    )
