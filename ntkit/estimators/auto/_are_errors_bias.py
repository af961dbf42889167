"""What errors say: whether balancing the cells learns them or noise, and in which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.study import BESIDE, LEARNED, LEAST_ERRORS, CellsTried, Outcome, Rows

__all__ = [
    "BALANCED",
    "CELLS",
    "DONE",
    "GROUPS",
    "HELDOUT",
    "HELDOUT_CELLS",
    "Verdict",
    "class_rates",
    "learns",
]

Array = NDArray[Any]
HELDOUT, BALANCED, CELLS = "class-balanced on X_val", "class-balanced", "cell-balanced"
HELDOUT_CELLS = "cell-balanced on X_val"
GROUPS = "group-balanced"
DONE = {
    HELDOUT: "class-balanced retraining on the held-out set",
    BALANCED: "class-balanced retraining",
    CELLS: "correct and misclassified samples of each class are given equal weight",
    GROUPS: "its sides are given equal weight in each class",
    HELDOUT_CELLS: "those of the held-out set, alone, are given equal weight in each class",
}


@dataclass(frozen=True)
class Verdict:
    """Whether errors are learned, the lower bound of the learned share (or NaN), and why."""

    learns: bool
    learned: float
    reason: str


def learns(
    rows: Rows,
    unseen: Outcome,
    plain: Outcome | None,
    cells: Outcome | None,
    least: int,
    n_classes: int,
) -> Verdict:
    """Step 3 of ``auto``: whether balancing the cells learns the errors rather than noise.

    Parameters
    ----------
    rows : Rows
        The samples looked at.
    unseen, plain, cells : Outcome
        What heads make of them that have not seen them: the reference head, a tuned class-balanced
        one (None without folds), and one with balanced cells (likewise).
    least : int
        Errors that a class must have to say something.
    n_classes : int
        C.
    """
    n_errors = np.bincount(rows.y_index[unseen.wrong & (rows.weight > 0)])
    enough = int((n_errors >= least).sum()) >= max(2, n_classes / 2)
    errors = class_rates(rows, unseen.wrong)
    rate = f"The reference head errs on {100 * errors.mean():.1f} % of each class on average"
    tried = None
    if enough and plain is not None and cells is not None:
        tried = CellsTried.of(rows.y_index, rows.weight, unseen, plain, cells)
    if tried is None or np.isnan(tried.learned):
        return Verdict(
            False,
            float("nan"),
            f"{rate}, and fewer than two classes, or half of them, have {least} such samples: too "
            "few to tell bias from noise",
        )
    share = f"{100 * max(0.0, tried.learned):.0f} %"
    if tried.learned < LEARNED:
        why = (
            f"and balancing correct and misclassified samples learns {share} of these errors by "
            f"its lower bound, less than {100 * LEARNED:.0f} %: they cannot be told from noise"
        )
    elif not tried.worth_it:
        left = f"not {100 * BESIDE:.0f} % by the lower bound: they cannot be told from noise"
        if np.isnan(tried.beside):
            left = f"there are not {LEAST_ERRORS}: too few to tell"
        why = (
            f"and its errors can be learned ({share}), but of those that class-balanced "
            f"retraining with another penalty leaves {left}"
        )
    else:
        why = (
            f"and balancing correct and misclassified samples learns at least {share} of these "
            "errors on samples it has not seen, which noise does not allow: they point at what "
            "the head has not learned"
        )
    return Verdict(tried.worth_it and tried.learned >= LEARNED, tried.learned, f"{rate}, {why}")


def class_rates(rows: Rows, wrong: Array) -> Array:
    """Error rate of each class."""
    mass = np.bincount(rows.y_index, weights=rows.weight)
    return np.asarray(np.bincount(rows.y_index, weights=rows.weight * wrong) / mass)
