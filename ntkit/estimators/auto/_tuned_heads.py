"""Heads whose penalty counts as on standardised embeddings, and is chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ntkit.estimators._base import StudyClassifier
from ntkit.solver import FittedHead
from ntkit.study import (
    PenaltyPath,
    Rows,
    class_weighted,
    group_balanced,
    judged_groups,
    penalty_path,
)

__all__ = ["TunedHeads"]

Array = NDArray[Any]


class TunedHeads(StudyClassifier):
    """Base of an estimator that tries penalties: it sets the scale, the penalties and the seed."""

    cv: int
    _gains: Array
    _alphas: list[float]
    _seed: int

    def _balanced(self, rows: Rows) -> Array:
        return class_weighted(rows.weight, rows.y_index, self.classes_, "balanced")

    def _path(
        self,
        rows: Rows,
        weight: Array | None = None,
        cells: Array | None = None,
        *,
        worse_half: bool = False,
        outcomes: bool = True,
        alphas: Sequence[float] | None = None,
    ) -> PenaltyPath:
        """Penalties by the classes, with class-balanced weights, or by the cells given."""
        return penalty_path(
            self._heads_with,
            rows,
            self._balanced(rows) if weight is None else weight,
            2 * rows.y_index if cells is None else cells,
            alphas=self._alphas if alphas is None else alphas,
            worse_half=worse_half or cells is None,
            n_splits=self.cv,
            seed=self._seed,
            outcomes=outcomes,
        )

    def _over_groups(self, rows: Rows, sides: Array) -> tuple[Array, PenaltyPath]:
        """Weights that balance class × sides, and penalties by these groups."""
        weight = group_balanced(rows.weight, rows.y_index, sides)
        groups = judged_groups(rows.weight, rows.y_index, sides)
        return weight, self._path(rows, weight, groups, worse_half=True, outcomes=False)

    def _head_with(self, alpha: float, rows: Rows, weight: Array) -> FittedHead:
        return self._heads_with(rows, [weight], [alpha])[0]

    def _heads_with(
        self, rows: Rows, weights: Sequence[Array], alphas: Sequence[float]
    ) -> list[FittedHead]:
        Cs = [1 / (float(w.sum()) * alpha) for w, alpha in zip(weights, alphas, strict=True)]
        return self._fit_heads(rows, weights, gains=self._gains, Cs=Cs)
