"""Accuracy cost of a new head on samples that neither head has seen, and heads in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from ntkit._types import Array
from ntkit.attributes import Attribute, Group
from ntkit.head import LinearHead
from ntkit.metrics import worst_class_accuracy, worst_group_accuracy
from ntkit.study import ERROR_RECOVERY, Outcome, error_recovery_rate

MAX_COST = 0.05
"""Largest share of accuracy that a head may cost by default."""
_CONFIDENCE = 0.95
_LIKELY = 0.7
_ROUNDING = 1e-12


@dataclass(frozen=True)
class AccuracyCost:
    """Errors that a head fixes and adds, on validation samples that it has not seen.

    Attributes
    ----------
    t : float
        Share of the new head in the interpolation: 0 is the original head, 1 the new one.
    cost : float
        Average accuracy lost; negative if it is gained.
    cost_high : float
        Its upper 95 % bound.
    class_gain, class_gain_low : float
        Mean class accuracy gained, and its lower 95 % bound; of a head that is balanced over
        attributes, that of the groups class × attribute.
    error_recovery : float
        Lower bound of the error recovery rate, as
        :class:`~ntkit.estimators.AutoDebiasClassifier` defines it; NaN with too few errors.
    fixed : float
        Lower bound of the share of the original head's errors that are fixed less the share of
        correct samples that become wrong, the mean over the classes; over all samples if the
        errors of a class are too few, and NaN if they are so all together.
    n_fixed, n_new_errors : int
        Samples that were wrong and are right, and the reverse.
    average, worst_class : float
        Accuracies.
    worst_group : float or None
        With group labels.
    worst_named, worst_named_before : Group or None
        Of the groups class × attribute that the head is balanced over, with it and with the
        original one.
    by_groups : bool
        Whether the limit is for the mean accuracy of those groups, since a person named the
        attributes: the average accuracy on biased samples is partly theirs.
    n_known, n_inferred : int or None
        Validation samples in those groups whose group a person gave, and whose is inferred;
        None if a name gives it for all.

    Examples
    --------
    >>> from ntkit import AccuracyCost
    >>> accuracy_cost = AccuracyCost(1.0, 0.01, 0.02, 0.07, 0.05, 0.4, 0.6, 30, 38, 0.92, 0.9, None)
    >>> accuracy_cost.helps(0.05), accuracy_cost.helps(0.01)
    (True, False)
    """

    t: float
    cost: float
    cost_high: float
    class_gain: float
    class_gain_low: float
    error_recovery: float
    fixed: float
    n_fixed: int
    n_new_errors: int
    average: float
    worst_class: float
    worst_group: float | None
    worst_named: Group | None = None
    worst_named_before: Group | None = None
    by_groups: bool = False
    n_known: int | None = None
    n_inferred: int | None = None

    @property
    def whose(self) -> str:
        """Accuracy that may be lost, in words."""
        return "the balanced groups' mean accuracy" if self.by_groups else "average accuracy"

    @property
    def which_groups(self) -> str:
        """Where the groups are from that it is judged by, in words."""
        if self.n_known is None:
            return "the groups that you named"
        if not self.n_inferred:
            return "the groups that you gave"
        if not self.n_known:
            return f"the groups, which are inferred for all {self.n_inferred} held-out samples"
        return (
            f"the groups, which are known of {self.n_known} held-out samples and inferred for "
            f"{self.n_inferred}"
        )

    def affordable(self, max_cost: float = MAX_COST) -> bool:
        """Whether at most ``max_cost`` of the average accuracy is lost, by the upper bound.

        Of the mean accuracy of groups that a person named, by the estimate: the rare ones are too
        few for a bound.
        """
        if self.by_groups:
            return -self.class_gain <= max_cost + _ROUNDING
        return self.cost <= _ROUNDING or self.cost_high <= max_cost

    def helps(self, max_cost: float = MAX_COST, *, learnable: bool = False) -> bool:
        """Whether the head is better than the original one, and costs at most ``max_cost``.

        Better is: more accurate on average over the classes, or the named groups, by a lower 70 %
        bound (few samples can show no more, and a head that is about as good does no harm); or so
        for the worst of the named groups; or it learns errors of the original head that noise would
        not let it learn; or, if errors on these data were shown to be a shortcut's (``learnable``),
        it fixes a larger share of them than it adds to the rest (or they are too few to tell, and
        it does not only add).
        """
        better = self._likely_better or self.error_recovery >= ERROR_RECOVERY
        only_breaks = self.n_new_errors > 0 and self.n_fixed == 0
        better = better or (learnable and not only_breaks and not self.fixed < ERROR_RECOVERY)
        better = better or (self.by_groups and self._worst_likely_better)
        return self.t > 0 and better and self.affordable(max_cost)

    @property
    def _worst_likely_better(self) -> bool:
        before, after = self.worst_named_before, self.worst_named
        if before is None or after is None:
            return False
        error = float(np.sqrt(before.variance + after.variance))
        return after.accuracy - before.accuracy > float(norm.ppf(_LIKELY)) * error

    @property
    def _likely_better(self) -> bool:
        error = (self.class_gain - self.class_gain_low) / float(norm.ppf(_CONFIDENCE))
        return self.class_gain > float(norm.ppf(_LIKELY)) * error


def steps(n: int = 10) -> tuple[float, ...]:
    """Shares of the new head that are tried, from 0 to 1."""
    return tuple(i / n for i in range(n + 1))


def mixed(old: LinearHead, new: LinearHead, t: float, Z: Array) -> LinearHead:
    """Head between two: ``(1 - t)`` of the old one's logits and ``t`` of the new one's."""
    # The logits of both count in units of their spread on `Z`, so that a head of large weights is
    # not the whole mixture. 0 gives the old head and 1 the new one, as they are.
    if t in (0, 1):
        return new if t else old
    old = old.aligned_to(new.classes)
    if old.n_logits != new.n_logits:
        n_logits = len(new.classes)
        old, new = old.with_logits(n_logits), new.with_logits(n_logits)
    unit = _spread(new, Z) / max(_spread(old, Z), np.finfo(float).tiny)
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
) -> AccuracyCost:
    """Price of predictions beside the logits of the original head, one column per class."""
    # `copies` are changed copies that the original head and this one get right; `balanced` has
    # their groups, too, after those of the samples.
    order = np.argsort(classes)
    y_index = order[np.searchsorted(classes, y, sorter=order)]
    before = Outcome.of(old_logits, y_index)
    right_before, right = ~before.wrong, pred == y
    gain = right.astype(float) - right_before
    z = float(norm.ppf(_CONFIDENCE))
    cells = y_index if balanced is None else balanced.value
    judged_before, judged = right_before, right
    if copies is not None:
        judged_before = np.concatenate([right_before, copies[0]])
        judged = np.concatenate([right, copies[1]])
    judged_gain = judged.astype(float) - judged_before
    of_class = [judged_gain[cells == k] for k in np.unique(cells[cells >= 0])]
    class_gain = float(np.mean([some.mean() for some in of_class]))
    class_error = float(np.sqrt(sum(_squared_error(some) for some in of_class))) / len(of_class)
    n_known, n_inferred = None, None
    if balanced is not None and balanced.known is not None:
        known = balanced.known[balanced.value >= 0]
        n_known, n_inferred = int(known.sum()), int((~known).sum())
    ones = np.ones(len(y))
    after = Outcome(np.where(right, 1.0, -1.0), ~right)
    return AccuracyCost(
        t=t,
        cost=-float(gain.mean()),
        cost_high=-float(gain.mean()) + z * float(np.sqrt(_squared_error(gain))),
        class_gain=class_gain,
        class_gain_low=class_gain - z * class_error,
        error_recovery=error_recovery_rate(y_index, before, after, ones).low,
        fixed=error_recovery_rate(y_index, before, after, ones, matched=False).low,
        n_fixed=int((right & ~right_before).sum()),
        n_new_errors=int((~right & right_before).sum()),
        average=float(right.mean()),
        worst_class=worst_class_accuracy(y, pred),
        worst_group=None if groups is None else worst_group_accuracy(y, pred, groups=groups),
        worst_named=None if balanced is None else balanced.worst(judged),
        worst_named_before=None if balanced is None else balanced.worst(judged_before),
        by_groups=balanced is not None and by_groups,
        n_known=n_known,
        n_inferred=n_inferred,
    )


def taken(
    accuracy_costs: Sequence[AccuracyCost], max_cost: float, *, learnable: bool
) -> AccuracyCost | None:
    """Price with the largest share of the new head that helps."""
    good = (p for p in accuracy_costs if p.helps(max_cost, learnable=learnable))
    return max(good, key=lambda p: p.t, default=None)


def _squared_error(gain: Array) -> float:
    """Squared standard error of a mean of -1, 0 and 1; one change each way is added to none."""
    n = len(gain)
    square = (np.sum(gain**2) + 2) / (n + 2)
    return float(max(square - (gain.sum() / (n + 2)) ** 2, 0.0) / n)


def _spread(head: LinearHead, Z: Array) -> float:
    logits = np.asarray(head.logits(Z), dtype=np.float64)
    return float((logits - logits.mean(axis=1, keepdims=True)).std())
