"""A model that is no better than guessing, and what of the inputs may be the cause."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from ntkit._labels import listed
from ntkit.extraction import ImageFiles, Samples, Texts

__all__ = ["GO_ON", "like_a_guess", "likely_cause"]

Array = NDArray[Any]
_CHANCE = 0.001  # of guesses that do as badly on a class; 11 samples of one of two are never right
_ERRORS, _ERRORS_BELOW = 2, 3  # standard errors from chance that are no difference, and surely one
_PRECISE = 0.2  # of the way from chance to 1: where so many errors are more, nothing is told
GO_ON = "To go on all the same: --trust-inputs (trust_inputs=True)."


def like_a_guess(
    y: Array, pred: Array, n_classes: int, train: tuple[Array, Array] | None = None
) -> str | None:
    """Say in what a model is no better than guessing, as no biased model is on its own inputs.

    A biased model fails on groups, and is right on the others of a class. So it is never right on
    no class, unless so few samples are of it that guesses would miss them all: with K classes,
    n of them with probability (1 - 1/K)^n, and any m classes at most so often as there are choices
    of m (Bonferroni). Nor is it at chance by predicting nearly always the same.

    Parameters
    ----------
    y, pred : ndarray of shape (N,)
        Labels and predictions of validation samples.
    n_classes : int
        Classes of the model.
    train : tuple of ndarray, optional
        Labels and predictions of training samples. A model that is at chance there, too, or
        surely worse on the validation samples, is as suspect; where nothing but a shortcut counts,
        only a balanced set is at chance.
    """
    labels, n, right = _counts(y, pred)
    never = right == 0
    n_never, n_labels, chance = int(n[never].sum()), int(never.sum()), 1 / n_classes
    if n_labels and comb(len(labels), n_labels) * (1 - chance) ** n_never < _CHANCE:
        return (
            f"The original model is right on none of the {n_never} validation samples of "
            f"{'class' if n_labels == 1 else 'classes'} {listed(labels[never])}, where guessing is "
            f"on {n_never * chance:.0f}"
        )
    above, error = _above_chance(n, right, chance)
    at_chance = above <= _ERRORS * error <= _PRECISE * (1 - chance)
    suspect = at_chance and bool((binom.cdf(right, n, chance / 2) < _CHANCE).any())
    if train is not None:
        above_there, error_there = _above_chance(*_counts(*train)[1:], chance)
        suspect |= at_chance and above_there <= _ERRORS * error_there
        suspect |= above < -_ERRORS_BELOW * error
    if not suspect:
        return None
    return (
        f"The original model is right on {100 * (chance + above):.1f} % of the validation samples "
        f"of a class on average, where guessing is on {100 * chance:.1f} %"
    )


def _counts(y: Array, pred: Array) -> tuple[Array, Array, Array]:
    """Classes, samples of each, and those that are right."""
    labels, at = np.unique(y, return_inverse=True)
    return labels, np.bincount(at), np.bincount(at, weights=pred == y)


def _above_chance(n: Array, right: Array, chance: float) -> tuple[float, float]:
    """Mean class accuracy less chance, and the standard error of guesses."""
    error = np.sqrt((chance * (1 - chance) / n).sum()) / len(n)
    return float((right / n).mean() - chance), float(error)


def likely_cause(samples: Samples) -> str:
    """Ask for the likely cause of a model that fails on samples of this kind."""
    if isinstance(samples.X, ImageFiles):
        return (
            "is the preprocessing the model's? Set --mean and --std, or --preprocessor; compare "
            "with a service's outputs: ntkit verify --recorded."
        )
    if isinstance(samples.X, Texts):
        return "is the tokenizer the model's? Set --tokenizer and --max-length."
    if samples.columns:
        return "are the columns the model's, in its order and units? Name them with --columns."
    return "are labels, classes and inputs those of this model, scaled as it was trained on?"
