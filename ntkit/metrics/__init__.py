"""Accuracies of the worst class or group, with and without group labels."""

from ntkit.metrics._accuracy import (
    accuracy_by,
    adjusted_accuracy,
    afr_weighted_accuracy,
    correctness_group_accuracy,
    sfit_score,
    weighted_average_accuracy,
    worst_class_accuracy,
    worst_class_correctness_group_accuracy,
    worst_group_accuracy,
)
from ntkit.metrics._accuracy import class_accuracy_gap as class_accuracy_gap
from ntkit.metrics._class_order import ClassOrder as ClassOrder  # for other packages
from ntkit.metrics._class_order import check_class_order as check_class_order
from ntkit.metrics._class_order import class_order
from ntkit.metrics._group_report import GroupReport, ReportRow, group_report
from ntkit.metrics._group_report import wilson as wilson
from ntkit.metrics._paired import below as below
from ntkit.metrics._paired import drop_bounds as drop_bounds
from ntkit.metrics._paired import more_often as more_often
from ntkit.metrics._paired import share_bounds as share_bounds
from ntkit.metrics._scorers import (
    LABEL_FREE_SCORES,
    SCORERS,
    CorrectnessGroupScorer,
    get_scorer,
    worst_group_scorer,
)
from ntkit.metrics._scorers import adjusted_accuracy_scorer as adjusted_accuracy_scorer
from ntkit.metrics._scorers import named_score as named_score

__all__ = [
    "LABEL_FREE_SCORES",
    "SCORERS",
    "CorrectnessGroupScorer",
    "GroupReport",
    "ReportRow",
    "accuracy_by",
    "adjusted_accuracy",
    "afr_weighted_accuracy",
    "class_order",
    "correctness_group_accuracy",
    "get_scorer",
    "group_report",
    "sfit_score",
    "weighted_average_accuracy",
    "worst_class_accuracy",
    "worst_class_correctness_group_accuracy",
    "worst_group_accuracy",
    "worst_group_scorer",
]
