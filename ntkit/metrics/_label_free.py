"""Scores that choose between heads without group labels."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import check_embeddings, check_labels, check_predictions, check_weight
from ntkit._doc import documented
from ntkit._labels import unknown_labels
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics._accuracy import accuracy_by, accuracy_in, correctness_groups, of_labels
from ntkit.spuriousness import sfit, spuriousness_scores


def class_accuracy_gap(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Mean absolute difference between the accuracies of two classes; smaller is better."""
    # The selection rule of ShortcutProbe (arXiv 2505.13910). It cannot tell a head that is equally
    # good for all classes from one that is equally bad.
    y_true, y_pred = check_predictions(y_true, y_pred=y_pred)
    by_class = accuracy_in(of_labels(y_true), y_true == y_pred, sample_weight)
    accuracies = np.array(list(by_class.values()))
    n_pairs = len(accuracies) * (len(accuracies) - 1)
    return float(np.abs(accuracies[:, None] - accuracies).sum() / max(1, n_pairs))


@documented
def correctness_group_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_pred: ArrayLike,
    average: Literal["mean", "worst"] = "mean",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean or smallest accuracy of the class × correctness groups.

    A group is a class and whether a reference head errs on the sample. For two classes the
    correct and the misclassified samples are also the two environments that EIIL
    (arXiv 2010.07249) infers from the reference head's logits, so ``"worst"`` is the
    worst-environment accuracy that EVaLS (arXiv 2410.05345) selects by, within each class. With
    more classes EIIL puts close errors, whose true class is still likely, with the correct ones.

    Parameters
    ----------
    {y_true, y_pred, reference_pred}
    average : {"mean", "worst"}, default="mean"
        Unweighted mean over the groups, or their minimum. Empty groups do not count.
    {sample_weight}

    {accuracy}

    Examples
    --------
    >>> from ntkit.metrics import correctness_group_accuracy
    >>> y_true, y_pred, reference_pred = [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]
    >>> correctness_group_accuracy(y_true, y_pred, reference_pred=reference_pred)
    0.6666666666666666
    """
    if average not in ("mean", "worst"):
        raise InputError(f'average must be "mean" or "worst"; got {average!r}.')
    y_true, y_pred, reference_pred = check_predictions(
        y_true, y_pred=y_pred, reference_pred=reference_pred
    )
    cells = correctness_groups(y_true, reference_pred)
    accuracies = list(accuracy_by(y_true, y_pred, cells, sample_weight=sample_weight).values())
    return float(np.mean(accuracies)) if average == "mean" else min(accuracies)


@documented
def afr_weighted_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_proba: ArrayLike,
    classes: ArrayLike,
    gamma: float = 4.0,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Accuracy under the sample weights of AFR, which a reference head's confidence decides.

    .. math:: \sum_n \mu_n [\hat y_n = y_n], \qquad
              \mu_n \propto \frac{1}{n_{y_n}} \exp(-\gamma \, p_n(y_n))

    where :math:`p_n(y_n)` is the reference head's probability of the true class and
    :math:`n_y` the number of samples of class y (Automatic Feature Reweighting,
    arXiv 2306.11074). With γ = 0 it is the balanced accuracy.

    Parameters
    ----------
    {y_true, y_pred}
    reference_proba : array-like of shape (N, C)
        Class probabilities by a head that was not fitted on these samples.
    classes : array-like of shape (C,)
        Class labels in the order of the columns.
    gamma : float, default=4.0
        The γ >= 0: how much more a sample weighs that the reference head gets wrong. The paper's
        grids are 4 to 20 (Waterbirds) and 1 to 3 (CelebA).
    {sample_weight}

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If lengths or shapes do not fit, labels are missing, ``reference_proba`` does not hold
        probabilities, ``y_true`` holds a label outside ``classes`` or ``gamma`` is negative.

    Examples
    --------
    The reference head misses the third sample, which then decides:

    >>> from ntkit.metrics import afr_weighted_accuracy
    >>> proba = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    >>> y_true, y_pred = [0, 1, 1, 0], [0, 1, 0, 0]
    >>> round(afr_weighted_accuracy(y_true, y_pred, reference_proba=proba, classes=[0, 1]), 3)
    0.052
    """
    if not (np.isfinite(gamma) and gamma >= 0):
        raise InputError(f"gamma must be a number >= 0; got {gamma!r}.")
    y_true, y_pred = check_predictions(y_true, y_pred=y_pred)
    confidence = _probability_of_the_true_class(y_true, reference_proba, classes)
    given = check_weight(sample_weight, len(y_true))
    _, class_index = np.unique(y_true, return_inverse=True)
    mass = np.bincount(class_index, weights=given)
    # The smallest confidence is taken out of the exponent, so that a large γ leaves a weight.
    above = np.maximum(0, confidence - confidence[given > 0].min())
    weight = given / np.where(mass > 0, mass, 1)[class_index] * np.exp(-gamma * above)
    return float(np.average(y_true == y_pred, weights=weight))


@documented
def sfit_score(
    Z: ArrayLike,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""SFit of a head, :math:`\sum_{y, i} |\delta_i^y|`, from embeddings and predictions.

    NeuronTune's own label-free score (arXiv 2505.24048): the sum of absolute spuriousness scores
    of :func:`ntkit.spuriousness.spuriousness_scores` with the errors of the head to score; the
    paper takes the head of largest SFit. On fixed embeddings it depends only on which samples are
    wrong and rewards heads with few, noisy errors: a diagnostic that selects poorly.

    Parameters
    ----------
    Z : array-like of shape (N, D)
        Embeddings, the same for every head that is compared.
    {y_true, y_pred, sample_weight}

    Returns
    -------
    float
        In units of the activations; 0 if no class has both correct and misclassified samples.

    Raises
    ------
    InputError
        If lengths or shapes do not fit, labels are missing or an embedding is NaN.

    Examples
    --------
    >>> from ntkit.metrics import sfit_score
    >>> sfit_score([[1.0, 5.0], [2.0, 0.0], [3.0, 1.0]], [0, 0, 0], [1, 0, 0])
    6.0
    """
    y_true, y_pred = check_predictions(y_true, y_pred=y_pred)
    Z = check_embeddings(Z, len(y_true))
    weight = check_weight(sample_weight, len(y_true))
    return sfit(
        spuriousness_scores(Z, y_true, y_true != y_pred, np.unique(y_true), sample_weight=weight)
    )


def _probability_of_the_true_class(
    y_true: Array, reference_proba: ArrayLike, classes: ArrayLike
) -> Array:
    (classes,) = check_labels(classes=classes)
    proba = np.asarray(reference_proba)
    if proba.shape != (len(y_true), len(classes)):
        raise InputError(
            f"reference_proba must have shape {(len(y_true), len(classes))}, one row per sample "
            f"and one column per class; got {proba.shape}."
        )
    # Written so that NaN fails too; float16 sums of many classes are only good to 1e-2.
    if not ((proba >= 0).all() and (np.abs(proba.sum(axis=1) - 1) < 1e-2).all()):
        raise InputError(
            "reference_proba must hold probabilities, >= 0 and adding up to 1 in each row; "
            "pass predict_proba rather than logits."
        )
    problem = unknown_labels(
        np.unique(y_true),
        classes,
        what="y_true",
        where="classes",
        fix="name the classes of all columns of reference_proba.",
    )
    if problem is not None:
        raise InputError(problem)
    order = np.argsort(classes, kind="stable")
    column = order[np.searchsorted(classes, y_true, sorter=order)]
    return np.asarray(proba[np.arange(len(y_true)), column])
