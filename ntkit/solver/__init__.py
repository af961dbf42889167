"""The optimiser: weighted logistic regression from memory, from disk, on a GPU, on Ray."""

from ntkit.solver._fit_head import (
    FittedHead,
    covariance_of,
    fit_linear_head,
    fit_linear_heads,
    resolve_device,
    stepped_head,
)
from ntkit.solver._loss import is_mapped, passes_over, rows_per_chunk, stacked
from ntkit.solver._sgd import balanced_batches, fit_by_sgd, sgd_steps

__all__ = [
    "FittedHead",
    "balanced_batches",
    "covariance_of",
    "fit_by_sgd",
    "fit_linear_head",
    "fit_linear_heads",
    "is_mapped",
    "passes_over",
    "resolve_device",
    "rows_per_chunk",
    "sgd_steps",
    "stacked",
    "stepped_head",
]
