"""Accuracy cost of a new head on validation samples, and interpolation with the original head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.attribute import Group
from ntkit.head import LinearHead
from ntkit.metrics import Row, compare, worst_class_accuracy, worst_group_accuracy
from ntkit.study import error_recovery_rate, margins

MAX_COST = 0.05
"""Default limit of the accuracy cost of a head, as a share."""
_CONFIDENCE = 0.95
_LIKELY = 0.7
_ROUNDING = 1e-12
_SAME = 1e-9


@dataclass(frozen=True)
class ErrorChange:
    """Errors that a share of a new head fixes, new ones, and the gain or loss of both."""

    t: float
    cost: float
    cost_high: float
    class_gain: float
    class_gain_low: float
    error_recovery: float
    fixed: float
    n_fixed: int
    n_new_errors: int


@dataclass(frozen=True)
class AccuracyCost(ErrorChange):
    """Accuracy cost of a head: errors fixed and new errors on validation samples.

    The heads are cross-fitted on halves of the validation set, or on five folds of a single set.

    Attributes
    ----------
    t : float
        Share of the new head in the interpolation: 0 is the original head, 1 the new one.
    cost : float
        Loss of average accuracy; negative for a gain.
    cost_high : float
        Upper 95 % bound of ``cost``.
    class_gain, class_gain_low : float
        Gain of mean class accuracy, and its lower 95 % bound. For a head balanced over attributes
        it is the gain of the mean accuracy of the groups class × attribute, small ones among them.
    error_recovery : float
        Lower bound of ``fixed`` where only correct samples count that are as far from the boundary
        as the errors; NaN with too few errors.
    fixed : float
        Lower 99 % bound of a difference: the share of the original head's errors that are fixed,
        minus the share of its correct samples that become errors. It is the mean over the classes,
        or over all samples if a class has too few errors. NaN if there are too few errors in all.
    n_fixed, n_new_errors : int
        Number of errors fixed, and of new errors.
    average, worst_class : float
        Accuracies.
    worst_group : float or None
        Accuracy of the worst group, with group labels.
    worst_named, worst_named_before : Group or None
        Worst of the groups class × attribute of at least 5 samples that the head is balanced over,
        with the new and with the original head. Changed copies count only in groups with fewer than
        5 samples, and ``n_copies`` is their number.
    worst_gains : bool
        Whether the accuracy of the worst group that judges likely rises. Copies may judge too.
    by_groups : bool
        Whether the limit applies to the mean accuracy of these groups. It does if a person named
        the attributes, because the shortcut itself raises the average accuracy on biased samples.
    named : float or None
        The first number of the outcome, on validation samples; None if nothing was named.
    named_is : str
        What this is: the accuracy if an attribute were unrelated to the class, or a mean of groups.
    n_known, n_inferred : int or None
        Number of validation samples in these groups with a person's label, and with an inferred
        one; None if the attribute is defined by its name.

    Examples
    --------
    >>> from ntkit import AccuracyCost
    >>> accuracy_cost = AccuracyCost(1.0, 0.01, 0.02, 0.07, 0.05, 0.4, 0.6, 30, 38, 0.92, 0.9, None)
    >>> accuracy_cost.helps(0.05), accuracy_cost.helps(0.01)
    (True, False)
    """

    average: float
    worst_class: float
    worst_group: float | None
    worst_named: Group | None = None
    worst_named_before: Group | None = None
    worst_gains: bool = False
    by_groups: bool = False
    n_known: int | None = None
    n_inferred: int | None = None
    named: float | None = None
    named_is: str = ""

    def affordable(self, max_cost: float = MAX_COST) -> bool:
        """Whether the accuracy cost is at most ``max_cost``, by its upper bound.

        For groups that a person named, the estimate of the mean group accuracy decides instead,
        because rare groups are too small for a bound.
        """
        if self.by_groups:
            return -self.class_gain <= max_cost + _ROUNDING
        return self.cost <= _ROUNDING or self.cost_high <= max_cost

    def helps(self, max_cost: float = MAX_COST, *, learnable: bool = False) -> bool:
        """Whether the head is better than the original one, at a cost of at most ``max_cost``.

        The lower 70 % bound of its gain must be above 0: of the mean class accuracy, or, for groups
        that a person named, of their mean or of the worst of them. Small samples rarely reach a
        stricter bound, and an equally good head does no harm. If the errors can be learned
        (``learnable``), it is enough that the lower bound ``fixed`` is above 0.
        """
        error = (self.class_gain - self.class_gain_low) / float(norm.ppf(_CONFIDENCE))
        better = self.class_gain > float(norm.ppf(_LIKELY)) * error
        better = better or (self.by_groups and self.worst_gains)
        better = better or (learnable and self.fixed > 0)
        return self.t > 0 and better and self.affordable(max_cost)


STEPS = tuple(i / 10 for i in range(11))
"""Shares of the new head to try."""


def mixed(old: LinearHead, new: LinearHead, t: float, Z: Array) -> LinearHead:
    """Interpolation of two heads: ``1 - t`` times the old logits plus ``t`` times the new ones."""
    # The old logits are scaled to the spread of the new ones on `Z`, so that a head with large
    # weights does not dominate. t = 0 returns the old head and t = 1 the new one, unchanged.
    if t in (0, 1):
        return new if t else old
    old = old.aligned_to(new.classes)
    if old.n_logits != new.n_logits:
        n_logits = len(new.classes)
        old, new = old.with_logits(n_logits), new.with_logits(n_logits)
    spreads = list[float]()
    for head in (old, new):
        logits = np.asarray(head.logits(Z), dtype=np.float64)
        spreads.append(float((logits - logits.mean(axis=1, keepdims=True)).std()))
    unit = spreads[1] / max(spreads[0], np.finfo(float).tiny)
    return LinearHead(
        ((1 - t) * unit * old.coef + t * new.coef).astype(new.coef.dtype),
        ((1 - t) * unit * old.intercept + t * new.intercept).astype(new.coef.dtype),
        new.classes,
    )


def accuracy_cost_of(
    t: float,
    y: Array,
    old_logits: Array,
    pred: Array,
    classes: Array,
    groups: Array | None,
    balanced: Attribute | None = None,
    *,
    by_groups: bool = True,
    copies: tuple[Array, Array] | None = None,
    reported: Attribute | None = None,
    averaged: Attribute | None = None,
) -> AccuracyCost:
    """Accuracy cost of predictions, compared with the logits of the original head."""
    # `copies` marks the changed copies that the new and the original head predict correctly.
    # `balanced` then holds the groups of the samples, followed by those of the copies. `reported`
    # are these groups without copies where real samples alone tell the accuracy. `averaged` are all
    # groups, also those with too few samples to be the worst one: their mean is the gain.
    order = np.argsort(classes)
    y_index = order[np.searchsorted(classes, y, sorter=order)]
    before, right = margins(old_logits, y_index), pred == y
    right_before = before > 0
    z = float(norm.ppf(_CONFIDENCE))
    cells = y_index if balanced is None else balanced.value
    judged_before, judged = right_before, right
    if copies is not None:
        judged = np.concatenate([right, copies[0]])
        judged_before = np.concatenate([right_before, copies[1]])
    (whole,) = compare((right, right_before), [("average", "average", np.arange(len(y)))])
    averaged = balanced if averaged is None else averaged
    of_mean = cells if averaged is None else averaged.value
    rows, every = (
        compare((judged, judged_before), [("group", k, of == k) for k in np.unique(of[of >= 0])])
        for of in (cells, of_mean)
    )
    class_gain = float(np.mean([row.change for row in every]))
    class_error = float(np.sqrt(sum(map(_squared_error, every)))) / len(every)
    cost, named = -(whole.change or 0.0), dict[str, Any]()
    n_known, n_inferred = None, None
    if averaged is not None and averaged.known is not None:
        known = averaged.known[averaged.value >= 0]
        n_known, n_inferred = int(known.sum()), int((~known).sum())
    reported = balanced if reported is None else reported
    if reported is not None:
        for what, outcome in (("worst_named", judged), ("worst_named_before", judged_before)):
            named[what] = min(reported.rows(outcome, len(y)), key=lambda row: row.value)
    ones = np.ones(len(y))
    after = np.where(right, 1.0, -1.0)
    return AccuracyCost(
        t=t,
        cost=cost,
        cost_high=cost + z * float(np.sqrt(_squared_error(whole))),
        class_gain=class_gain,
        class_gain_low=class_gain - z * class_error,
        error_recovery=error_recovery_rate(y_index, before, after, ones),
        fixed=error_recovery_rate(y_index, before, after, ones, matched=False),
        n_fixed=int(whole.gained or 0),
        n_new_errors=int(whole.lost or 0),
        average=whole.value,
        worst_class=worst_class_accuracy(y, pred),
        worst_group=None if groups is None else worst_group_accuracy(y, pred, groups=groups),
        **named,
        worst_gains=balanced is not None and _likely_higher(rows),
        by_groups=balanced is not None and by_groups,
        n_known=n_known,
        n_inferred=n_inferred,
    )


def taken(
    accuracy_costs: Sequence[AccuracyCost],
    max_cost: float,
    *,
    learnable: bool = False,
    largest_gain: bool = False,
) -> AccuracyCost | None:
    """The largest share of the new head that helps, or that of the largest gain; None without."""
    good = (each for each in accuracy_costs if each.helps(max_cost, learnable=learnable))
    if largest_gain:  # few samples then move the head little
        return max(good, key=lambda each: (each.class_gain, -each.t), default=None)
    return max(good, key=lambda each: each.t, default=None)


def _likely_higher(rows: Sequence[Row]) -> bool:
    """Whether the lower 70 % bound of the change of the worst accuracy is above 0."""
    # With one more sample of each kind, as no accuracy is certain.
    before = min(rows, key=lambda row: row.before or 0.0)
    after = min(rows, key=lambda row: row.value)
    was = before.right + (before.lost or 0) - (before.gained or 0)
    variance = 0.0
    for right, n in ((was, before.n), (after.right, after.n)):
        share = (right + 1) / (n + 2)
        variance += share * (1 - share) / (n + 2)
    gain = after.value - (before.before or 0.0)
    return gain > float(norm.ppf(_LIKELY)) * float(np.sqrt(variance))


def _squared_error(row: Row) -> float:
    """Squared standard error of a change, with one change added in each direction."""
    lost, gained, n = row.lost or 0, row.gained or 0, row.n
    square = (lost + gained + 2) / (n + 2)
    return float(max(square - ((gained - lost) / (n + 2)) ** 2, 0.0) / n)
