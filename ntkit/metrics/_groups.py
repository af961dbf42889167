"""Averages over groups: the two that papers report beside the worst group."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import check_weight
from ntkit.exceptions import InputError
from ntkit.metrics._accuracy import accuracy_by
from ntkit.metrics._memberships import memberships

__all__ = ["adjusted_accuracy", "weighted_average_accuracy"]


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
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes.
    groups : array-like of shape (N,), or of bool (or 0 and 1) and shape (N, G)
        Group labels, for evaluation; or, where groups overlap, which samples are in which group.
        Groups without samples do not count, nor do samples of group -1, None or NaN: it is not
        known.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If lengths differ or no group is known.

    Examples
    --------
    >>> from ntkit.metrics import adjusted_accuracy
    >>> adjusted_accuracy([0, 0, 0, 1], [0, 0, 1, 0], groups=["a", "a", "a", "b"])
    0.3333333333333333
    """
    by = accuracy_by(y_true, y_pred, groups, sample_weight=sample_weight)
    return float(np.mean(list(by.values())))


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
    undoes the difference. Where the shares agree it is the plain accuracy.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes of the evaluation set.
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
        If lengths differ, labels are missing, or a training group has no evaluation sample: its
        accuracy is unknown, and leaving it out would make another figure of the same name.

    Examples
    --------
    Nine of ten training samples are in group "a":

    >>> from ntkit.metrics import weighted_average_accuracy
    >>> train_groups = ["a"] * 9 + ["b"]
    >>> weighted_average_accuracy(
    ...     [0, 0, 1, 1], [0, 0, 1, 0], groups=["a", "a", "b", "b"], train_groups=train_groups
    ... )
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
