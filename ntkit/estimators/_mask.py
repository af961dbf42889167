"""From scores to the mask of one round, and what a user should know about it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import SuppressionWarning
from ntkit.spuriousness import Aggregation, spare_neurons, suppressed_neurons

_MUCH = 0.7  # share of live neurons above which a mask singles out little
_LEAST_LEAD = 0.25  # of the lead over guessing: biased samples cost a good head much of it, too
_SILENT = ContextVar("silent", default=False)
_NEARLY_ALL = 0.95  # and above which it singles out nothing: what it leaves is left by chance


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
    """Apply the rule to the scores of a round, on top of the mask of the rounds before."""
    if aggregation == "per_class" and len(scores) == 2:
        # Two classes have one weight row, the difference of two: it is free of a neuron only
        # where both rows are.
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
    """Warn of no mask in this thread, as along a path of thresholds."""
    # A filter of warnings would hold for all threads, and two that overlap leave one behind.
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
    """Warn of a mask that silences nothing for want of errors, or nearly everything."""
    if _SILENT.get():
        return
    n_non_constant, n_suppressed = int(non_constant.sum()), int(mask.everywhere.sum())
    fix = "raise threshold (with standardize=True in standard deviations) or lower max_suppressed"
    if np.isnan(scores).all():
        message = (
            "No class has both correctly classified and at least "
            f"min_misclassified={min_misclassified} misclassified identification samples, so no "
            "neuron is suppressed; pass an X_val the head was not fitted on."
        )
    elif mask.spared and min_neurons is None:
        message = (
            f"The rule flags more than {100 * _NEARLY_ALL:.0f} % of the {n_non_constant} live "
            "neurons, "
            f"which singles out none: no more are suppressed. To single out the strongest, {fix}."
        )
    elif mask.spared:
        message = (
            f"The rule would leave fewer than min_neurons={min_neurons} of {n_non_constant} live "
            "neurons; "
            f"those with the smallest scores were kept. To keep more, {fix}."
        )
    elif n_suppressed > _MUCH * n_non_constant:
        message = (
            f"{n_suppressed} of {n_non_constant} live neurons are suppressed; to single out the "
            f"strongest, {fix}."
        )
    else:
        return
    warnings.warn(message, SuppressionWarning, stacklevel=4)


def warn_of_cost(n_suppressed: int, cost: float, max_cost: float) -> None:
    """Warn of a mask that is not applied because of what it costs."""
    if _SILENT.get():
        return
    message = (
        f"Suppressing the {n_suppressed} neurons that the rule flags would cost {100 * cost:.1f} "
        f"points of cross-validated accuracy, more than max_cost={max_cost:g} allows, so none is "
        "suppressed; max_cost=None applies every mask."
    )
    warnings.warn(message, SuppressionWarning, stacklevel=5)


def warn_if_worse(errors_before: Array, errors_after: Array) -> None:
    """Warn of a retrained head that tells the classes hardly better than guessing does."""
    before, after = 1 - errors_before.mean(), 1 - errors_after.mean()
    chance = 1 / len(errors_before)
    if after - chance < _LEAST_LEAD * (before - chance):
        message = (
            f"The retrained head is right on {100 * after:.0f} % of the identification samples of "
            f"a class on average, hardly more than guessing ({100 * chance:.0f} %), the original "
            f"head on {100 * before:.0f} %; suppress less (raise threshold, or set max_cost), or "
            "keep the original head."
        )
        warnings.warn(message, SuppressionWarning, stacklevel=4)
