"""What all methods look at: rows, folds, cross-fitted predictions, errors, penalties, masks."""

from ntkit.study._cross_fit import (
    cross_fitted_logits,
    folds_of,
    hold_out,
    require_every_class,
    split_in_two,
)
from ntkit.study._group_balance import group_balanced, group_numbers, judged_groups
from ntkit.study._group_labels import encoded_groups, encoded_labels
from ntkit.study._heldout_shift import shift_pvalue
from ntkit.study._learned_share import (
    BESIDE,
    LEARNED,
    LEAST_ERRORS,
    CellsTried,
    Outcome,
    learned_share,
)
from ntkit.study._mask import (
    Mask,
    make_mask,
    warn_about,
    warn_if_worse,
    warn_of_cost,
    without_words,
)
from ntkit.study._penalty_path import (
    ALPHAS,
    AS_GOOD,
    ERM_ALPHA,
    PenaltyPath,
    checked_alphas,
    penalty_path,
)
from ntkit.study._rows import LARGE, Rows, digest, scaler_of
from ntkit.study._sample_weights import class_weighted, correctness_balanced, correctness_cells
from ntkit.study._scale_check import warn_of_another_scale
from ntkit.study._study import Study

__all__ = [
    "ALPHAS",
    "AS_GOOD",
    "BESIDE",
    "ERM_ALPHA",
    "LARGE",
    "LEARNED",
    "LEAST_ERRORS",
    "CellsTried",
    "Mask",
    "Outcome",
    "PenaltyPath",
    "Rows",
    "Study",
    "checked_alphas",
    "class_weighted",
    "correctness_balanced",
    "correctness_cells",
    "cross_fitted_logits",
    "digest",
    "encoded_groups",
    "encoded_labels",
    "folds_of",
    "group_balanced",
    "group_numbers",
    "hold_out",
    "judged_groups",
    "learned_share",
    "make_mask",
    "penalty_path",
    "require_every_class",
    "scaler_of",
    "shift_pvalue",
    "split_in_two",
    "warn_about",
    "warn_if_worse",
    "warn_of_another_scale",
    "warn_of_cost",
    "without_words",
]
