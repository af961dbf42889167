r"""Are the errors of a head a shortcut's, or noise? What another head learns of them tells.

Wrong labels, and samples that lie where the classes overlap, are errors that no head learns
without giving up as much of what was right. The errors that a shortcut makes can be learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = [
    "BESIDE",
    "LEARNED",
    "LEAST_ERRORS",
    "CellsTried",
    "Learned",
    "Outcome",
    "learned_share",
]

Array = NDArray[Any]
LEAST_ERRORS = 10
"""Errors of a class below which they say nothing about it."""
LEARNED = 0.08
"""Learned share, by its lower bound, that neither wrong labels nor overlapping classes reach."""
BESIDE = 0.12
"""The same of the errors that a well-tuned head makes, which moving the boundary learns as well."""
_NEIGHBOURS = 10
_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Outcome:
    """What a head makes of samples it was not fitted on.

    Attributes
    ----------
    margin : ndarray of shape (N,)
        Logit of the true class minus the largest other.
    wrong : ndarray of bool, shape (N,)
        Whether another class is predicted.
    predicted : ndarray of int, shape (N,), or None
        Index of the class that is predicted, where it was kept.
    """

    margin: Array
    wrong: Array
    predicted: Array | None = None

    @classmethod
    def of(cls, logits: Array, y_index: Array) -> Outcome:
        """Outcome of logits (N, C), given the true classes."""
        rows, others = np.arange(len(logits)), np.array(logits, dtype=float)
        others[rows, y_index] = -np.inf
        margin = np.asarray(logits[rows, y_index] - others.max(axis=1))
        predicted = logits.argmax(axis=1).astype(np.min_scalar_type(logits.shape[1] - 1))
        return cls(margin, np.asarray(predicted != y_index), predicted)

    def and_of(self, other: Outcome) -> Outcome:
        """Outcome of these samples, then of others."""
        return Outcome(
            np.concatenate([self.margin, other.margin]), np.concatenate([self.wrong, other.wrong])
        )


@dataclass(frozen=True)
class Learned:
    """Share of the errors of one head that another learns, and a 99 % lower bound of it.

    Both are NaN where too few classes have enough errors.
    """

    share: float
    low: float


@dataclass(frozen=True)
class CellsTried:
    """What balancing the class × correctness cells learns of the errors of a reference head.

    Attributes
    ----------
    learned : float
        Learned share of those errors, its lower bound.
    beside : float
        Of the errors that class-balanced retraining with a penalty of its own makes; NaN where
        these are too few, all classes together.
    """

    learned: float
    beside: float

    @classmethod
    def of(
        cls, y_index: Array, weight: Array, reference: Outcome, plain: Outcome, cells: Outcome
    ) -> CellsTried:
        """Compare the outcomes of three heads on samples that none of them saw."""
        return cls(
            learned_share(y_index, reference, cells, weight).low,
            learned_share(y_index, plain, cells, weight, matched=False).low,
        )

    @property
    def worth_it(self) -> bool:
        """Whether errors are a sign of bias rather than noise."""
        return self.learned >= LEARNED and self.beside >= BESIDE


def learned_share(
    y_index: Array, before: Outcome, after: Outcome, weight: Array, *, matched: bool = True
) -> Learned:
    r"""Share of a head's errors that another gets right, less what it gives up for them.

    For each class, with errors E and correct samples R of the first head,

    .. math:: \frac{1}{|E|} \sum_{n \in E} \big( a_n - b_n \big),

    where :math:`a_n` says whether the second head is right and :math:`b_n` is the share of
    samples of R that it gets wrong: of those as far from the first head's boundary as n is
    (``matched``), or of all of R. A head that only moves the boundary, or shakes it, changes
    samples near it alike on both sides: matched, that counts as nothing. The mean over the classes
    with at least ``LEAST_ERRORS`` errors is taken; there must be two of them, and half of all, or
    else, not matched, all samples count as one class.

    Parameters
    ----------
    y_index : ndarray of int, shape (N,)
        True class.
    before, after : Outcome
        Of the first and of the second head; neither was fitted on these samples.
    weight : ndarray of shape (N,)
        Weights; a sample of weight 0 counts as absent, and their scale does not matter.
    matched : bool
        As above.

    Returns
    -------
    Learned

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.study._learned_share import Outcome, learned_share
    >>> y, wrong = np.repeat([0, 1], 100), np.tile(np.arange(100) >= 80, 2)
    >>> before = Outcome.of(np.eye(2)[np.where(wrong, 1 - y, y)], y)
    >>> all_right = Outcome.of(np.eye(2)[y], y)
    >>> learned_share(y, before, all_right, np.ones(200)).share
    1.0
    >>> turned = Outcome(-before.margin, ~before.wrong)  # all errors mended, the others broken
    >>> learned_share(y, before, turned, np.ones(200)).share
    0.0
    """
    shares, variances = list[float](), list[float]()
    n_classes = int(y_index.max()) + 1
    for label in range(n_classes):
        of_class = (y_index == label) & (weight > 0)
        wrong, right = (
            np.flatnonzero(of_class & before.wrong),
            np.flatnonzero(of_class & ~before.wrong),
        )
        if min(len(wrong), len(right)) < LEAST_ERRORS:
            continue
        lost = after.wrong[right]
        if matched:
            distance = before.margin[right]
            lost_for = _lost_as_far(distance, lost, weight[right], -before.margin[wrong])
        else:
            lost_for = np.full(len(wrong), np.average(lost, weights=weight[right]))
        mended = float(np.average(~after.wrong[wrong], weights=weight[wrong]))
        given_up = float(np.average(lost_for, weights=weight[wrong]))
        n_wrong, n_right = _effective(weight[wrong]), _effective(weight[right])
        n_lost = min(n_wrong, n_right) if matched else n_right
        shares.append(mended - given_up)
        variances.append(_variance(mended, n_wrong) + _variance(given_up, n_lost))
    if len(shares) < max(min(2, n_classes), n_classes / 2):
        if not matched and n_classes > 1:
            return learned_share(np.zeros_like(y_index), before, after, weight, matched=False)
        return Learned(float("nan"), float("nan"))
    deviation = float(np.sqrt(np.sum(variances)) / len(shares))
    share = float(np.mean(shares))
    return Learned(share, share - float(norm.ppf(_CONFIDENCE)) * deviation)


def _lost_as_far(distance: Array, lost: Array, weight: Array, at: Array) -> Array:
    """Share lost among the samples whose distance from the boundary is nearest to each given."""
    order = np.argsort(distance, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(weight[order])])
    sums = np.concatenate([[0.0], np.cumsum((weight * lost)[order])])
    width = min(_NEIGHBOURS, len(order))
    place = np.searchsorted(distance[order], at) - width // 2
    low = np.clip(place, 0, len(order) - width)
    return np.asarray((sums[low + width] - sums[low]) / (mass[low + width] - mass[low]))


def _effective(weight: Array) -> float:
    """Kish's effective number of samples."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def _variance(share: float, n: float) -> float:
    """Of a share of n samples, with one more of each kind: none is certain (Agresti and Coull)."""
    share = (share * n + 1) / (n + 2)
    return share * (1 - share) / (n + 2)
