"""The scores by name, behind one signature."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from numpy.typing import ArrayLike

from ntkit.exceptions import InputError
from ntkit.metrics._accuracy import (
    worst_class_accuracy,
    worst_class_cell_accuracy,
    worst_group_accuracy,
)
from ntkit.metrics._groups import adjusted_accuracy
from ntkit.metrics._label_free import (
    afr_weighted_accuracy,
    cell_accuracy,
    class_accuracy_gap,
    sfit_score,
)

__all__ = ["LABEL_FREE_SCORES", "SCORERS", "named_score", "needs_of"]


def _negated_gap(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    return -class_accuracy_gap(y_true, y_pred, sample_weight=sample_weight)


def _sfit(
    y_true: ArrayLike, y_pred: ArrayLike, *, Z: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    return sfit_score(Z, y_true, y_pred, sample_weight=sample_weight)


# Name to the function and the keywords it takes.
_SCORES: dict[str, tuple[Callable[..., float], tuple[str, ...]]] = {
    "worst_class_cell_accuracy": (worst_class_cell_accuracy, ("reference_pred",)),
    "mean_cell_accuracy": (partial(cell_accuracy, average="mean"), ("reference_pred",)),
    "worst_cell_accuracy": (partial(cell_accuracy, average="worst"), ("reference_pred",)),
    "afr_weighted_accuracy": (afr_weighted_accuracy, ("reference_proba", "classes")),
    "worst_class_accuracy": (worst_class_accuracy, ()),
    "class_accuracy_gap": (_negated_gap, ()),
    "sfit_score": (_sfit, ("Z",)),
    "worst_group_accuracy": (worst_group_accuracy, ("groups",)),
    "adjusted_accuracy": (adjusted_accuracy, ("groups",)),
}
_WHAT = {
    "reference_pred": "predictions of a reference head that was not fitted on these samples",
    "reference_proba": "probabilities by a reference head that was not fitted on these samples",
    "classes": "the class labels in the order of the columns of reference_proba",
    "Z": "the embeddings",
    "groups": "group labels",
}

SCORERS: tuple[str, ...] = tuple(_SCORES)
"""Names that :func:`get_scorer` knows, the default selector first."""

LABEL_FREE_SCORES: tuple[str, ...] = tuple(n for n in _SCORES if "groups" not in _SCORES[n][1])
"""Those of them that need no group labels."""


def needs_of(name: str) -> tuple[str, ...]:
    """The keywords that a score needs, by its name.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if name not in _SCORES:
        raise InputError(f"Unknown score {name!r}; the known ones are {', '.join(SCORERS)}.")
    return _SCORES[name][1]


def named_score(
    name: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    **given: ArrayLike | None,
) -> float:
    """Score predictions by the name of a score; larger is better.

    Parameters
    ----------
    name : str
        One of ``SCORERS``. "class_accuracy_gap" is the gap with its sign flipped.
    y_true, y_pred : array-like of shape (N,)
        True classes, and predictions of the head to score.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.
    **given : array-like
        What :func:`needs_of` says the score needs; the rest is ignored.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If the name is unknown, something the score needs is not given, lengths differ or labels
        are missing.
    """
    for need in needs_of(name):
        if given.get(need) is None:
            raise InputError(f"The score {name!r} needs {need}: {_WHAT[need]}.")
    keywords = {need: given[need] for need in needs_of(name)}
    return _SCORES[name][0](y_true, y_pred, **keywords, sample_weight=sample_weight)
