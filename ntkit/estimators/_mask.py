"""From scores to the mask of one round, and its warnings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from ntkit._types import Array
from ntkit._warn import warn
from ntkit.exceptions import SuppressionWarning
from ntkit.spuriousness import Aggregation, spare_neurons, suppressed_neurons

_MUCH = 0.7  # share of non-constant neurons above which a mask is not selective
_SILENT = ContextVar("silent", default=False)
_NEARLY_ALL = 0.95  # share above which a mask is arbitrary


@dataclass(frozen=True)
class Mask:
    """Suppressed neurons."""

    columns: Array
    per_class: Array
    spared: bool

    @property
    def everywhere(self) -> Array:
        """Neurons suppressed for every class, shape (D,)."""
        return self.columns if self.columns.ndim == 1 else np.asarray(self.columns.all(axis=0))


def make_mask(
    scores: Array,
    non_constant: Array,
    *,
    threshold: float,
    aggregation: Aggregation,
    max_suppressed: float,
    min_neurons: int | None,
    before: Mask | None = None,
) -> Mask:
    """Apply the rule to the scores of a round, in addition to the mask of earlier rounds."""
    if aggregation == "per_class" and len(scores) == 2:
        # Two classes have one weight row, the difference of two; a neuron has no effect only if
        # both rows suppress it.
        aggregation = "intersection"
    flagged = suppressed_neurons(
        scores,
        threshold=threshold,
        aggregation=aggregation,
        max_suppressed=max_suppressed,
        non_constant=non_constant,
    )
    if before is not None:
        flagged = flagged | before.columns
    if min_neurons is None:
        nothing = np.zeros_like(flagged) if before is None else before.columns
        n_flagged = flagged[..., non_constant].sum(axis=-1, keepdims=True)
        columns = np.where(n_flagged > _NEARLY_ALL * non_constant.sum(), nothing, flagged)
    else:
        columns = spare_neurons(
            flagged,
            scores,
            aggregation=aggregation,
            min_neurons=min_neurons,
            non_constant=non_constant,
        )
    per_class = columns
    if columns.ndim == 1:
        per_class = suppressed_neurons(
            scores, threshold=threshold, aggregation="per_class", non_constant=non_constant
        )
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


def warn_about(
    mask: Mask,
    scores: Array,
    non_constant: Array,
    *,
    min_misclassified: int,
    min_neurons: int | None,
) -> None:
    """Warn if a mask suppresses nothing for lack of errors, or suppresses nearly everything."""
    if _SILENT.get():
        return
    n_non_constant, n_suppressed = int(non_constant.sum()), int(mask.everywhere.sum())
    errors = "an error" if min_misclassified == 1 else f"{min_misclassified} errors"
    fix = "raise threshold (in standard deviations with standardize=True) or lower max_suppressed"
    if np.isnan(scores).all():
        message = (
            f"No class has {errors} and a correct sample, so no neuron is scored or suppressed. "
            "Pass more validation samples as X_val."
        )
    elif mask.spared and min_neurons is None:
        message = (
            f"The rule flags more than {100 * _NEARLY_ALL:.0f} % of the {n_non_constant} "
            "non-constant neurons, which is not selective, so no more are suppressed. To suppress "
            f"only the strongest, {fix}."
        )
    elif mask.spared:
        message = (
            f"The rule would leave fewer than min_neurons={min_neurons} of {n_non_constant} "
            f"non-constant neurons; those with the smallest scores were kept. To keep more, {fix}."
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
    message = (
        f"Kept all neurons: suppressing the {flagged} would cost {100 * cost:.1f} points of "
        f"cross-validated accuracy (limit {100 * max_cost:g}). If that accuracy comes from a "
        "shortcut, set max_cost=None and compare with BalancedClassifier."
    )
    warn(message, SuppressionWarning)
