"""Accuracies of the worst class or group, with and without group labels."""

from ntkit.metrics.accuracy import (
    GroupReport,
    accuracy_by,
    group_report,
    worst_class_accuracy,
    worst_group_accuracy,
)
from ntkit.metrics.rows import Row, compare, mean_of_rows, unrelated_shares, worst_of_rows

__all__ = [
    "GroupReport",
    "Row",
    "accuracy_by",
    "compare",
    "group_report",
    "mean_of_rows",
    "unrelated_shares",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "worst_of_rows",
]
