"""Accuracies by class and by group, and scores that need no group labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import (
    by_names,
    check_embeddings,
    check_labels,
    check_weight,
    known_labels,
    labels_and_predictions,
    positions_of,
)
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics.rows import Kind, compare
from ntkit.spuriousness import sfit, spuriousness_scores

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


def worst_class_correctness_group_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Two thirds worst-class accuracy plus one third worst-group accuracy: a label-free score."""
    worst_group = correctness_group_accuracy(
        y_true, y_pred, reference_pred=reference_pred, average="worst", sample_weight=sample_weight
    )
    worst_class = worst_class_accuracy(y_true, y_pred, sample_weight=sample_weight)
    # The class counts twice: it has many samples, and the worst group may have few.
    return (2 * worst_class + worst_group) / 3


def accuracy_in(groups: Subsets, right: Array, sample_weight: ArrayLike | None) -> dict[Any, float]:
    """Accuracy of each group with positive weight."""
    weight = None if sample_weight is None else check_weight(sample_weight, len(right))
    rows = compare([right], groups, weight=weight)
    by = {row.name: row.value for row in rows if row.n}
    if not by:
        raise InputError("No sample of positive weight is in any group; check groups.")
    return by


def adjusted_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    groups: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Unweighted mean of the group accuracies."""
    by = accuracy_by(y_true, y_pred, groups, sample_weight=sample_weight)
    return float(np.mean(list(by.values())))


def class_accuracy_gap(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Mean absolute difference between the accuracies of two classes; smaller is better."""
    aligned = {"sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    by_class = accuracy_in(of_labels(y_true), y_true == y_pred, sample_weight)
    accuracies = np.array(list(by_class.values()))
    n_pairs = len(accuracies) * (len(accuracies) - 1)
    return float(np.abs(accuracies[:, None] - accuracies).sum() / max(1, n_pairs))


def correctness_group_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_pred: ArrayLike,
    average: Literal["mean", "worst"] = "mean",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean or smallest accuracy of the class × correctness groups."""
    # A group is a class and whether a class-balanced baseline errs on the sample. For two classes
    # these are the environments that EIIL (arXiv 2010.07249) infers, and "worst" is what EVaLS
    # (arXiv 2410.05345) selects by.
    if average not in ("mean", "worst"):
        raise InputError(f'average must be "mean" or "worst"; got {average!r}.')
    aligned = {"sample_weight": sample_weight}
    y_true, y_pred, reference_pred = labels_and_predictions(
        y_true, aligned, y_pred=y_pred, reference_pred=reference_pred
    )
    groups = 2 * np.unique(y_true, return_inverse=True)[1] + (reference_pred != y_true)
    accuracies = list(accuracy_in(of_labels(groups), y_true == y_pred, sample_weight).values())
    return float(np.mean(accuracies)) if average == "mean" else min(accuracies)


def afr_weighted_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_proba: ArrayLike,
    classes: ArrayLike,
    gamma: float = 4.0,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Accuracy with the sample weights of AFR, which depend on a baseline's confidence."""
    # Automatic Feature Reweighting, arXiv 2306.11074: weights ∝ exp(−γ p(y)) / n_y. With γ = 0 the
    # score is the balanced accuracy.
    if not (np.isfinite(gamma) and gamma >= 0):
        raise InputError(f"gamma must be a number >= 0; got {gamma!r}.")
    aligned = {"reference_proba": reference_proba, "sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    confidence = _probability_of_the_true_class(y_true, reference_proba, classes)
    sample_weight = check_weight(sample_weight, len(y_true))
    _, class_index = np.unique(y_true, return_inverse=True)
    mass = np.bincount(class_index, weights=sample_weight)
    # The smallest confidence is subtracted in the exponent, so that weights do not underflow for a
    # large γ.
    above = np.maximum(0, confidence - confidence[sample_weight > 0].min())
    weight = sample_weight / np.where(mass > 0, mass, 1)[class_index] * np.exp(-gamma * above)
    return float(np.average(y_true == y_pred, weights=weight))


def sfit_score(
    Z: ArrayLike,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""SFit of a head, :math:`\sum_{y, i} |\delta_i^y|`, from embeddings and predictions."""
    aligned = {"Z": Z, "sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    Z = check_embeddings(Z, len(y_true))
    weight = check_weight(sample_weight, len(y_true))
    return sfit(
        spuriousness_scores(Z, y_true, y_true != y_pred, np.unique(y_true), sample_weight=weight)
    )


def _probability_of_the_true_class(
    y_true: Array, reference_proba: ArrayLike, classes: ArrayLike
) -> Array:
    (classes,) = check_labels(classes=classes)
    proba = np.asarray(by_names(reference_proba, classes.tolist(), "reference_proba"))
    if proba.shape != (len(y_true), len(classes)):
        raise InputError(
            f"reference_proba must have shape {(len(y_true), len(classes))}, one row per sample "
            f"and one column per class; got {proba.shape}."
        )
    # Written so that NaN fails too; float16 sums of many classes are only good to 1e-2.
    if not ((proba >= 0).all() and (np.abs(proba.sum(axis=1) - 1) < 1e-2).all()):
        raise InputError(
            "reference_proba must contain probabilities, >= 0 and adding up to 1 in each row; pass "
            "predict_proba rather than logits."
        )
    fix = "name the classes of all columns of reference_proba."
    column = positions_of(y_true, classes, what="y_true", where="classes", fix=fix)
    return np.asarray(proba[np.arange(len(y_true)), column])
