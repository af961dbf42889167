"""Scores of the neurons by the errors of a head, the mask, and its warnings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._types import Array
from ntkit._warn import warn
from ntkit.estimators._base import FitsRows
from ntkit.exceptions import SuppressionWarning
from ntkit.head import LinearHead
from ntkit.spuriousness import (
    Aggregation,
    sfit,
    spare_neurons,
    spuriousness_scores,
    suppressed_neurons,
)
from ntkit.study import LEAST_ERRORS, Rows

_STATISTICS = {"median", "mean", "magnitude", "contribution", "change", "random"}
_LEAST_LEAD = 0.25  # share of the lead over chance that even a good head loses on biased samples
_MUCH = 0.7  # share of non-constant neurons above which a mask is not selective
_SILENT = ContextVar("silent", default=False)


@dataclass(eq=False, repr=False, kw_only=True)
class NeuronMaskRule(FitsRows):
    """Parameters of the rule that suppresses neurons."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, None, None, closed="both")],
        "max_suppressed": [Interval(Real, 0, 1, closed="both")],
        "aggregation": [StrOptions({"union", "intersection", "per_class"})],
        "statistic": [StrOptions(_STATISTICS)],
        "min_misclassified": [Interval(Integral, 1, None, closed="left")],
        "max_cost": [Interval(Real, 0, 1, closed="both"), None],
    }

    max_suppressed: float = 1.0
    aggregation: str = "union"
    statistic: str = "median"
    min_misclassified: int = LEAST_ERRORS
    identification: Any = 5


@dataclass(frozen=True)
class Mask:
    """Suppressed neurons: for every class, (D,), or for each, (C, D)."""

    columns: Array
    per_class: Array
    spared: bool = False

    @property
    def everywhere(self) -> Array:
        """Neurons suppressed for every class, shape (D,)."""
        return self.columns if self.columns.ndim == 1 else np.asarray(self.columns.all(axis=0))


def error_scores(
    scored: Rows, logits: Array, head: LinearHead, statistic: str, min_misclassified: int
) -> Array:
    """Spuriousness scores (C, D) of a head's errors, in standard deviations."""
    coef = head.coef if len(head.coef) > 1 else np.vstack([0 * head.coef, head.coef])
    label, others = scored.y_index, logits.astype(float)
    others[np.arange(len(others)), label] = -np.inf
    rival = others.argmax(axis=1)  # the strongest wrong class

    def read(values: Array, rows: Array, neurons: slice) -> Array:
        if statistic == "contribution":
            values = values * (coef[rival[rows], neurons] - coef[label[rows], neurons]).T
        return np.abs(values) if statistic == "magnitude" else values

    return spuriousness_scores(
        scored.X,
        label,
        logits.argmax(axis=1) != label,
        np.arange(len(scored.classes)),
        sample_weight=scored.weight,
        statistic="mean" if statistic == "mean" else "median",
        standardize=True,
        min_misclassified=min_misclassified,
        transform=read,
    )


def sfit_of(scored: Rows, wrong: Array, min_misclassified: int) -> float:
    r""":math:`\sum_{i,y} |\delta_i^y|` of a head's errors, in units of the activation."""
    scores = spuriousness_scores(
        scored.X,
        scored.y_index,
        wrong,
        np.arange(len(scored.classes)),
        sample_weight=scored.weight,
        min_misclassified=min_misclassified,
    )
    return sfit(scores)


def make_mask(
    scores: Array,
    non_constant: Array,
    *,
    threshold: float,
    aggregation: Aggregation,
    max_suppressed: float,
) -> Mask:
    """Apply the rule to scores (C, D); if it flags every neuron, the smallest score is kept."""
    if aggregation == "per_class" and len(scores) == 2:
        # Two classes have one weight row, the difference of two; a neuron has no effect only if
        # both rows suppress it.
        aggregation = "intersection"
    rule: dict[str, Any] = {"aggregation": aggregation, "non_constant": non_constant}
    flagged = suppressed_neurons(scores, threshold=threshold, max_suppressed=max_suppressed, **rule)
    columns = per_class = spare_neurons(flagged, scores, **rule)
    if columns.ndim == 1:
        rule["aggregation"] = "per_class"
        per_class = suppressed_neurons(scores, threshold=threshold, **rule)
    return Mask(columns, per_class, spared=bool((columns != flagged).any()))


@contextmanager
def without_words() -> Iterator[None]:
    """Suppress warnings of masks in this thread, as along a path of thresholds."""
    # A filter of warnings would affect all threads, and overlapping filters would leave one behind.
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def warn_about(mask: Mask, scores: Array, non_constant: Array, min_misclassified: int) -> None:
    """Warn if a mask suppresses nothing for lack of errors, or suppresses nearly everything."""
    if _SILENT.get():
        return
    n_non_constant, n_suppressed = int(non_constant.sum()), int(mask.everywhere.sum())
    errors = "an error" if min_misclassified == 1 else f"{min_misclassified} errors"
    fix = "raise threshold or lower max_suppressed"
    if np.isnan(scores).all():
        message = (
            f"No class has {errors} and a correct sample, so no neuron is scored or suppressed. "
            "Pass more validation samples as X_val."
        )
    elif mask.spared:
        message = (
            f"The rule flags all {n_non_constant} non-constant neurons; the one with the smallest "
            f"score was kept. To keep more, {fix}."
        )
    elif n_suppressed > _MUCH * n_non_constant:
        message = (
            f"{n_suppressed} of {n_non_constant} non-constant neurons are suppressed; to suppress "
            f"only the strongest, {fix}."
        )
    else:
        return
    warn(message, SuppressionWarning)


def warn_of_cost(n_suppressed: int, cost: float, max_cost: float) -> None:
    """Warn that a mask is not applied because of its accuracy cost."""
    if _SILENT.get():
        return
    flagged = "flagged one" if n_suppressed == 1 else f"{n_suppressed} flagged ones"
    warn(
        f"Kept all neurons: suppressing the {flagged} would cost {100 * cost:.1f} points of "
        f"cross-validated accuracy (limit {100 * max_cost:g}). If that accuracy comes from a "
        "shortcut, set max_cost=None and compare with BalancedClassifier.",
        SuppressionWarning,
    )


def warn_of_guessing(before: float, after: float, n_classes: int) -> None:
    """Warn if a retrained head is hardly better than guessing, by mean class accuracy."""
    chance = 1 / n_classes
    near = after < before and after - chance < _LEAST_LEAD * (before - chance)
    if near and not _SILENT.get():
        warn(
            f"Mean class accuracy fell from {100 * before:.0f} to {100 * after:.0f} %, near "
            f"guessing ({100 * chance:.0f} %). Raise threshold or keep the original head.",
            SuppressionWarning,
        )
