"""Accuracies of the worst class or group, with and without group labels."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntkit.metrics._accuracy import (
    GroupReport,
    accuracy_by,
    group_report,
    worst_class_accuracy,
    worst_group_accuracy,
)
from ntkit.metrics.rows import Row, compare, mean_of_rows, unrelated_shares, worst_of_rows

if TYPE_CHECKING:  # scikit-learn takes a second to import, and bounds do not need it
    from ntkit.metrics._scorers import (
        LABEL_FREE_SCORES,
        SCORERS,
        CorrectnessGroupScorer,
        get_scorer,
        worst_group_scorer,
    )
    from ntkit.metrics._scorers import adjusted_accuracy as adjusted_accuracy
    from ntkit.metrics._scorers import afr_weighted_accuracy as afr_weighted_accuracy
    from ntkit.metrics._scorers import class_accuracy_gap as class_accuracy_gap
    from ntkit.metrics._scorers import correctness_group_accuracy as correctness_group_accuracy
    from ntkit.metrics._scorers import named_score as named_score
    from ntkit.metrics._scorers import sfit_score as sfit_score
    from ntkit.metrics._scorers import (
        worst_class_correctness_group_accuracy as worst_class_correctness_group_accuracy,
    )

__all__ = [
    "LABEL_FREE_SCORES",
    "SCORERS",
    "CorrectnessGroupScorer",
    "GroupReport",
    "Row",
    "accuracy_by",
    "compare",
    "get_scorer",
    "group_report",
    "mean_of_rows",
    "unrelated_shares",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "worst_group_scorer",
    "worst_of_rows",
]

_SCORERS = (
    "LABEL_FREE_SCORES",
    "SCORERS",
    "CorrectnessGroupScorer",
    "adjusted_accuracy",
    "afr_weighted_accuracy",
    "class_accuracy_gap",
    "correctness_group_accuracy",
    "get_scorer",
    "named_score",
    "sfit_score",
    "worst_class_correctness_group_accuracy",
    "worst_group_scorer",
)


def __getattr__(name: str) -> Any:
    if name in _SCORERS:
        return getattr(import_module("ntkit.metrics._scorers"), name)
    raise AttributeError(f"module 'ntkit.metrics' has no attribute {name!r}")
