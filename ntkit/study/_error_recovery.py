r"""Are the errors of a head a shortcut's, or noise? What another head learns of them tells.

Wrong labels, and samples that lie where the classes overlap, are errors that no head learns
without giving up as much of what was right. The errors that a shortcut makes can be learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.utils.class_weight import compute_class_weight

from ntkit._types import Array

LEAST_ERRORS = 10
"""Errors of a class below which they say nothing about it."""
ERROR_RECOVERY = 0.08
"""Learned share, by its lower bound, that neither wrong labels nor overlapping classes reach."""
BESIDE = 0.12
"""The same of the errors that a well-tuned head makes, which moving the boundary learns as well."""
_NEIGHBOURS = 10
_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Outcome:
    """What a head makes of samples it was not fitted on."""

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
class ErrorRecovery:
    """Share of the errors of one head that another learns, and a 99 % lower bound of it."""

    # Both are NaN where too few classes have enough errors.

    share: float
    low: float


@dataclass(frozen=True)
class CellsTried:
    """What balancing the class × correctness cells learns of the errors of a reference head."""

    error_recovery: float
    beside: float

    @classmethod
    def of(
        cls, y_index: Array, weight: Array, reference: Outcome, plain: Outcome, cells: Outcome
    ) -> CellsTried:
        """Compare the outcomes of three heads on samples that none of them saw."""
        return cls(
            error_recovery_rate(y_index, reference, cells, weight).low,
            error_recovery_rate(y_index, plain, cells, weight, matched=False).low,
        )

    @property
    def worth_it(self) -> bool:
        """Whether errors are a sign of bias rather than noise."""
        return self.error_recovery >= ERROR_RECOVERY and self.beside >= BESIDE


def error_recovery_rate(
    y_index: Array, before: Outcome, after: Outcome, weight: Array, *, matched: bool = True
) -> ErrorRecovery:
    r"""Share of a head's errors that another gets right, less what it gives up for them."""
    # For each class, with errors E and correct samples R of the first head,
    # .. math:: \frac{1}{|E|} \sum_{n \in E} \big( a_n - b_n \big),
    # where :math:`a_n` says whether the second head is right and :math:`b_n` is the share of
    # samples of R that it gets wrong: of those as far from the first head's boundary as n is
    # (`matched`), or of all of R. A head that only moves the boundary, or shakes it, changes
    # samples near it alike on both sides: matched, that counts as nothing. The mean over the
    # classes
    # with at least `LEAST_ERRORS` errors is taken; there must be two of them, and half of all, or
    # else, not matched, all samples count as one class.
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
        fixed = float(np.average(~after.wrong[wrong], weights=weight[wrong]))
        given_up = float(np.average(lost_for, weights=weight[wrong]))
        n_wrong, n_right = _effective(weight[wrong]), _effective(weight[right])
        n_lost = min(n_wrong, n_right) if matched else n_right
        shares.append(fixed - given_up)
        variances.append(_variance(fixed, n_wrong) + _variance(given_up, n_lost))
    if len(shares) < max(min(2, n_classes), n_classes / 2):
        if not matched and n_classes > 1:
            return error_recovery_rate(np.zeros_like(y_index), before, after, weight, matched=False)
        return ErrorRecovery(float("nan"), float("nan"))
    deviation = float(np.sqrt(np.sum(variances)) / len(shares))
    share = float(np.mean(shares))
    return ErrorRecovery(share, share - float(norm.ppf(_CONFIDENCE)) * deviation)


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


MOST_WEIGHT = 50.0


def class_weighted(
    sample_weight: Array, y_index: Array, classes: Array, class_weight: Any
) -> Array:
    """Sample weights times scikit-learn's ``class_weight`` ("balanced", a dict or None)."""
    if class_weight is None:
        return sample_weight
    factor = compute_class_weight(
        class_weight, classes=classes, y=classes[y_index], sample_weight=sample_weight
    )
    return np.asarray(sample_weight * factor[y_index])


def correctness_groups(y_index: Array, misclassified: Array, sample_weight: Array) -> Array:
    """Number of the class × correctness cell of each sample: 2 y, or 2 y + 1 for an error."""
    # A class with fewer than `LEAST_ERRORS` errors, or correct samples, of positive weight is one
    # cell.
    cells = 2 * y_index + misclassified
    sizes = np.bincount(cells[sample_weight > 0], minlength=2 * (int(y_index.max()) + 1))
    told_apart = sizes.reshape(-1, 2).min(axis=1) >= LEAST_ERRORS
    return np.asarray(np.where(told_apart[y_index], cells, 2 * y_index))


def correctness_balanced(sample_weight: Array, y_index: Array, misclassified: Array) -> Array:
    """Share each class's weight equally between its correct and its misclassified samples."""
    # Every class keeps its total. A class with fewer than `LEAST_ERRORS` errors, or correct
    # samples, keeps its weights, and no sample counts more than `MOST_WEIGHT` times what it did: a
    # handful of wrong labels must not outweigh thousands of right ones.
    cells = correctness_groups(y_index, misclassified, sample_weight)
    mass = np.bincount(cells, weights=sample_weight, minlength=2 * (int(y_index.max()) + 1))
    mass = mass.reshape(-1, 2)
    total, lesser = mass.sum(axis=1, keepdims=True), mass.min(axis=1, keepdims=True)
    share = np.minimum(total / 2, MOST_WEIGHT * lesser)
    target = np.where(mass == lesser, share, total - share)
    target = np.where(mass[:, :1] == mass[:, 1:], mass, target)  # nothing to move
    factor = np.divide(target, mass, out=np.ones_like(mass), where=(mass > 0) & (lesser > 0))
    return np.asarray(sample_weight * factor.ravel()[cells])


def group_numbers(y_index: Array, sides: Array) -> Array:
    """Number of the group of each sample: its class and its side of every attribute."""
    number = np.asarray(y_index, dtype=np.int64)
    for side in sides.T:
        number = np.unique(number * (side.max() + 2) + side + 1, return_inverse=True)[1]
    known = (sides >= 0).all(axis=1)
    numbers = np.full(len(number), -1)
    numbers[known] = np.unique(number[known], return_inverse=True)[1]
    return numbers


def group_balanced(sample_weight: Array, y_index: Array, sides: Array) -> Array:
    """Equal mass for every class, and within it for every side of each attribute."""
    # Samples on no side, or of which it is not known, keep their share of the class. Of several
    # attributes, all combinations of sides that occur in a class count alike. No sample counts more
    # than `MOST_WEIGHT` times what it does where classes alone are balanced: a handful of samples
    # must not outweigh thousands.
    weight = np.asarray(sample_weight, dtype=np.float64)
    balanced = np.zeros(len(weight))
    classes = np.unique(y_index[weight > 0])
    for label in classes:
        rows = np.flatnonzero((y_index == label) & (weight > 0))
        own = weight[rows] / weight[rows].sum()
        combinations, at = np.unique(sides[rows], axis=0, return_inverse=True)
        mass = np.bincount(at.ravel(), weights=own)
        balanced[rows] = own * _factors(_shares(combinations, mass), mass)[at.ravel()]
    return np.asarray(balanced * weight.sum() / len(classes))


def judged_groups(
    sample_weight: Array, y_index: Array, sides: Array, least: int = LEAST_ERRORS
) -> Array:
    """Groups that are large enough to judge a head by: their numbers, and −1 for other samples."""
    # Where a class has none of at least so many samples, all of its samples are one.
    numbers = group_numbers(y_index, sides)
    sizes = np.bincount(numbers[(numbers >= 0) & (sample_weight > 0)], minlength=numbers.max() + 1)
    small = np.append(sizes < least, True)  # the last is that of −1
    judged = np.where(small[numbers], -1, numbers)
    for label in np.unique(y_index):
        rows = y_index == label
        if (judged[rows] < 0).all():
            judged[rows] = judged.max() + 1
    kept = np.unique(judged[judged >= 0])
    return np.asarray(np.where(judged >= 0, np.searchsorted(kept, judged), -1))


def _shares(combinations: Array, mass: Array) -> Array:
    """Share of a class that each combination of sides (K, A) is to have."""
    shares = np.ones(len(mass))
    for side in combinations.T:
        unknown = float(mass[side < 0].sum())
        n_sides = len(np.unique(side[side >= 0]))
        shares *= np.where(side < 0, unknown, (1 - unknown) / max(1, n_sides))
    return np.asarray(shares / shares.sum())


def _factors(shares: Array, mass: Array) -> Array:
    """What gives parts of this mass these shares; what a part may not get goes to the others."""
    free, factor = np.ones(len(mass), dtype=bool), shares / mass
    while (factor[free] > MOST_WEIGHT).any():
        free &= factor <= MOST_WEIGHT
        left = 1 - MOST_WEIGHT * mass[~free].sum()
        factor = np.where(free, left * shares / (shares[free].sum() * mass), MOST_WEIGHT)
    return np.asarray(factor)
