"""Accuracies by class, by group and by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import check_labels, check_predictions, check_weight, known_labels
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError


@dataclass(frozen=True)
class Memberships:
    """Groups by name, and who is in them."""

    labels: list[Any]
    index: Array | None = None
    matrix: Array | None = None

    def sums(self, values: Array) -> Array:
        """Sum of values (N,) over each group, (G,)."""
        if self.matrix is not None:
            return np.array([values[member].sum() for member in self.matrix.T], dtype=float)
        assert self.index is not None
        n_groups = len(self.labels)
        return np.asarray(np.bincount(self.index, values, minlength=n_groups + 1)[:n_groups])

    def unknown(self, weight: Array) -> int:
        """Samples of positive weight whose group is not known."""
        if self.index is None:
            return 0
        return int(((self.index == len(self.labels)) & (weight > 0)).sum())

    def means(self, values: Array, weight: Array) -> Array:
        """Weighted mean of values (N,) over each group, (G,); NaN where it has no weight."""
        mass = self.sums(weight)
        found = np.full(len(mass), np.nan)
        np.divide(self.sums(weight * values), mass, out=found, where=mass > 0)
        return found

    def correlations(self, weight: Array) -> Array:
        """How much two groups share, (G, G): correlation of their means of one noise."""
        if self.matrix is None:
            return np.eye(len(self.labels))
        members = self.matrix * weight[:, None]
        shared = members.T @ members
        length = np.sqrt(np.maximum(np.diag(shared), np.finfo(float).tiny))
        return np.asarray(shared / np.outer(length, length))


def memberships(groups: ArrayLike, n: int, name: str = "groups") -> Memberships:
    """Read groups as users give them."""
    matrix = np.asarray(groups)
    if matrix.ndim != 2 or (matrix.shape[1] == 1 and matrix.dtype != bool):
        return of_partial_labels(groups, n, name)
    _check_length(len(matrix), n, name)
    if matrix.dtype == object and not any(value is None for value in matrix.ravel()):
        matrix = np.array(matrix.tolist())
    if matrix.dtype.kind not in "biuf" or not ((matrix == 0) | (matrix == 1)).all():
        raise InputError(
            f"{name} of shape (N, G) say which samples are in which group, so they hold True and "
            "False (or 1 and 0) and nothing is missing; give one label per sample otherwise."
        )
    names = getattr(groups, "columns", None)
    columns = range(matrix.shape[1]) if names is None else names
    return Memberships(list(columns), matrix=matrix.astype(bool))


def of_labels(labels: Array) -> Memberships:
    """One group for each label that occurs, in sorted order."""
    names, index = np.unique(labels, return_inverse=True)
    return Memberships(names.tolist(), index=index.reshape(-1))


def of_partial_labels(labels: ArrayLike, n: int, name: str) -> Memberships:
    """One group for each label that occurs; -1, None and NaN are in none."""
    known_ones, known = known_labels(labels, name)
    _check_length(len(known), n, name)
    if not len(known_ones):
        raise InputError(f"{name} is not known of any sample; label some of them.")
    (checked,) = check_labels(**{name: known_ones})
    found = of_labels(checked)
    index = np.full(n, len(found.labels))
    index[known] = found.index
    return Memberships(found.labels, index=index)


def _check_length(found: int, n: int, name: str) -> None:
    if found != n:
        raise InputError(f"{name} holds {found} labels but y_true holds {n}; give one per sample.")


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
        Group label to accuracy in [0, 1], in sorted order; groups without samples are left out.
        Of a matrix, the labels are the numbers of its columns.

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
    y_true, y_pred = check_predictions(y_true, y_pred=y_pred)
    return accuracy_in(memberships(groups, len(y_true)), y_true == y_pred, sample_weight)


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
    group_report : Intervals, and how many samples are left out.

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
    y_true, y_pred = check_predictions(y_true, y_pred=y_pred)
    # The classes are known, whatever they are called: -1 is one like any other.
    return min(accuracy_in(of_labels(y_true), y_true == y_pred, sample_weight).values())


@documented
def worst_class_correctness_group_accuracy(
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
    {y_true, y_pred, reference_pred, sample_weight}

    {accuracy}

    Examples
    --------
    >>> from ntkit.metrics import worst_class_correctness_group_accuracy
    >>> y, pred, reference = [0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1]
    >>> worst_class_correctness_group_accuracy(y, pred, reference_pred=reference)
    0.5
    """
    y_true, y_pred, reference_pred = check_predictions(
        y_true, y_pred=y_pred, reference_pred=reference_pred
    )
    cells = correctness_groups(y_true, reference_pred)
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


def correctness_groups(y_true: Array, reference_pred: Array) -> Array:
    """The class × correctness cell of each sample, as a number."""
    _, class_index = np.unique(y_true, return_inverse=True)
    return np.asarray(2 * class_index + (reference_pred != y_true))


@documented
def adjusted_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    groups: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Unweighted mean of the group accuracies.

    "Adjusted accuracy" of SubpopBench (arXiv 2302.12254). With the classes as groups it is
    scikit-learn's balanced accuracy.

    Parameters
    ----------
    {y_true, y_pred, evaluated.groups, sample_weight}

    {accuracy}

    Examples
    --------
    >>> from ntkit.metrics import adjusted_accuracy
    >>> adjusted_accuracy([0, 0, 0, 1], [0, 0, 1, 0], groups=["a", "a", "a", "b"])
    0.3333333333333333
    """
    by = accuracy_by(y_true, y_pred, groups, sample_weight=sample_weight)
    return float(np.mean(list(by.values())))


@documented
def weighted_average_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    groups: ArrayLike,
    train_groups: ArrayLike,
    sample_weight: ArrayLike | None = None,
    train_sample_weight: ArrayLike | None = None,
) -> float:
    r"""Mean of the group accuracies, weighted by the groups' shares of the *training* set.

    .. math:: \sum_g \frac{n_g^{train}}{N^{train}} \, \mathrm{acc}_g

    The "average accuracy" of GroupDRO (arXiv 1911.08731) and DFR (arXiv 2204.02937): test sets
    such as that of Waterbirds are made with other group shares than the training set, and this
    undoes the difference.

    Parameters
    ----------
    {y_true, y_pred}
    groups : array-like of shape (N,), or of bool (or 0 and 1) and shape (N, G)
        Group labels of the evaluation set, or where groups overlap, which samples are in which
        group. A group that the training set lacks has weight 0.
    train_groups : array-like of shape (M,), or of shape (M, G)
        The same of the training set. Of groups that overlap, the shares are those of all
        memberships.
    sample_weight, train_sample_weight : array-like of shape (N,) and (M,), optional
        Weights of the samples of each set; a sample of weight 0 counts as absent.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If lengths differ, labels are missing, or a training group has no evaluation sample, so
        that its accuracy is unknown.

    Examples
    --------
    Nine of ten training samples are in group "a":

    >>> from ntkit.metrics import weighted_average_accuracy
    >>> shares = {"groups": ["a", "a", "b", "b"], "train_groups": ["a"] * 9 + ["b"]}
    >>> weighted_average_accuracy([0, 0, 1, 1], [0, 0, 1, 0], **shares)
    0.95
    """
    accuracy = accuracy_by(y_true, y_pred, groups, sample_weight=sample_weight)
    n_train = len(np.asarray(train_groups))
    train = memberships(train_groups, n_train, "train_groups")
    mass = train.sums(check_weight(train_sample_weight, n_train))
    share = {g: m for g, m in zip(train.labels, mass.tolist(), strict=True) if m > 0}
    unseen = [label for label in share if label not in accuracy]
    if unseen:
        raise InputError(
            f"The training group {unseen[0]!r} has no evaluation sample, so its accuracy is "
            "unknown; evaluate on samples of every training group, or use adjusted_accuracy."
        )
    return float(np.average([accuracy[label] for label in share], weights=list(share.values())))
