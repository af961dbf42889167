"""The scores by name, behind one signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

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

__all__ = ["LABEL_FREE_SCORES", "SCORERS", "PredictionScore", "get_score", "label_free_score"]


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
"""Names that :func:`get_score` and :func:`get_scorer` know, the default selector first."""

LABEL_FREE_SCORES: tuple[str, ...] = tuple(n for n in _SCORES if "groups" not in _SCORES[n][1])
"""Names that :func:`label_free_score` knows: those that need no group labels."""


@dataclass(frozen=True)
class PredictionScore:
    """A score of predictions by its name; made by :func:`get_score`.

    Parameters
    ----------
    name : str
        One of ``SCORERS``.

    Attributes
    ----------
    needs : tuple of str
        The keywords that the score needs; it ignores the others.

    Raises
    ------
    InputError
        If the name is unknown.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _SCORES:
            raise InputError(f"Unknown score {self.name!r}; the known ones are {_listed(SCORERS)}.")

    @property
    def needs(self) -> tuple[str, ...]:
        """The keywords that the score needs."""
        return _SCORES[self.name][1]

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        reference_pred: ArrayLike | None = None,
        reference_proba: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        Z: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Score predictions; larger is better.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (N,)
            True classes, and predictions of the head to score.
        reference_pred : array-like of shape (N,), optional
            Predictions of a head that was not fitted on these samples.
        reference_proba : array-like of shape (N, C), optional
            Its class probabilities.
        classes : array-like of shape (C,), optional
            Class labels in the order of the columns.
        Z : array-like of shape (N, D), optional
            Embeddings.
        groups : array-like of shape (N,), or of bool and shape (N, G), optional
            Group labels, or which samples are in which group.
        sample_weight : array-like of shape (N,), optional
            Weights; a sample of weight 0 counts as absent.

        Returns
        -------
        float

        Raises
        ------
        InputError
            If something the score needs is not given, lengths differ or labels are missing.
        """
        given: dict[str, Any] = {
            "reference_pred": reference_pred,
            "reference_proba": reference_proba,
            "classes": classes,
            "Z": Z,
            "groups": groups,
        }
        function, needs = _SCORES[self.name]
        for need in needs:
            if given[need] is None:
                raise InputError(f"The score {self.name!r} needs {need}: {_WHAT[need]}.")
        keywords = {need: given[need] for need in needs}
        return function(y_true, y_pred, **keywords, sample_weight=sample_weight)


def get_score(name: str) -> PredictionScore:
    """Return the score of that name as a function of predictions; larger is better.

    All scores share one signature, ``score(y_true, y_pred, *, reference_pred=None,
    reference_proba=None, classes=None, Z=None, groups=None, sample_weight=None)``, and take from it
    what they need.

    Parameters
    ----------
    name : str
        One of ``SCORERS``. "class_accuracy_gap" is the gap with its sign flipped.

    Returns
    -------
    PredictionScore

    Raises
    ------
    InputError
        If the name is unknown.

    Examples
    --------
    >>> from ntkit.metrics import get_score
    >>> score = get_score("worst_class_cell_accuracy")
    >>> score.needs
    ('reference_pred',)
    >>> score([0, 0, 1, 1], [0, 0, 1, 0], reference_pred=[0, 1, 1, 1])
    0.75
    """
    return PredictionScore(name)


def label_free_score(
    name: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    Z: ArrayLike | None = None,
    reference_pred: ArrayLike | None = None,
    reference_proba: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Score predictions by a score's name, without group labels; larger is better.

    Parameters
    ----------
    name : str
        One of ``LABEL_FREE_SCORES``. "worst_class_cell_accuracy" is the one that selected best.
    y_true, y_pred : array-like of shape (N,)
        True classes, and predictions of the head to score.
    Z : array-like of shape (N, D), optional
        Embeddings, for "sfit_score".
    reference_pred : array-like of shape (N,), optional
        Predictions of a head that was not fitted on these samples, for the cell scores.
    reference_proba : array-like of shape (N, C), optional
        Its class probabilities, for "afr_weighted_accuracy".
    classes : array-like of shape (C,), optional
        Class labels in the order of the columns of ``reference_proba``.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If the name is unknown or names a score that needs group labels, something the score
        needs is not given, lengths differ or labels are missing.

    Examples
    --------
    >>> from ntkit.metrics import label_free_score
    >>> label_free_score("class_accuracy_gap", [0, 0, 1, 1], [0, 1, 1, 1])
    -0.5
    """
    if name not in LABEL_FREE_SCORES:
        reason = "needs group labels" if name in SCORERS else "is not known"
        raise InputError(
            f"The score {name!r} {reason}; the ones without group labels are "
            f"{_listed(LABEL_FREE_SCORES)}."
        )
    return get_score(name)(
        y_true,
        y_pred,
        Z=Z,
        reference_pred=reference_pred,
        reference_proba=reference_proba,
        classes=classes,
        sample_weight=sample_weight,
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
