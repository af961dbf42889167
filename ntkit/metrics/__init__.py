"""How good a classifier is for its worst class, group or cell, with and without group labels."""

from ntkit.metrics._accuracy import (
    accuracy_by,
    worst_class_accuracy,
    worst_class_cell_accuracy,
    worst_group_accuracy,
)

__all__ = [
    "accuracy_by",
    "worst_class_accuracy",
    "worst_class_cell_accuracy",
    "worst_group_accuracy",
]
