"""From scores to the mask of one round, and its warnings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit._warn import warn
from ntkit.exceptions import SuppressionWarning
from ntkit.spuriousness import Aggregation, spare_neurons, suppressed_neurons

_MUCH = 0.7  # share of non-constant neurons above which a mask is not selective
_SILENT = ContextVar("silent", default=False)


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
