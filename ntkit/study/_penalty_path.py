"""Which penalty: the one of best cross-validated accuracy, the same rule for every method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.study._cross_fit import logits_of_folds, without
from ntkit.study._error_recovery import Outcome
from ntkit.study._rows import Rows

ALPHAS = (1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
"""Wide: networks trained on the very data keep what they neglect in directions of little variance,
which only a weak penalty lets a head use."""
ERM_ALPHA = 0.1
"""Without class weights a stronger penalty leaves a head the larger class."""
AS_GOOD = 0.04
"""A reference head has the strongest penalty whose mean class error is within this of the best: a
stronger one makes errors that say nothing of the data, a weaker one learns shortcuts' exceptions by
heart."""


@dataclass(frozen=True)
class PenaltyPath:
    """Some penalties, and the best of them."""

    alpha: float
    outcomes: dict[float, Outcome]

    @property
    def outcome(self) -> Outcome | None:
        """Of the best."""
        return self.outcomes.get(self.alpha)

    def strongest(self, y_index: Array, weight: Array, *, most: float, within: float) -> float:
        """Largest penalty whose mean class error is within ``within`` of the smallest."""
        if not self.outcomes:
            return self.alpha
        mass = np.bincount(y_index, weights=weight)
        errors = {
            alpha: float((np.bincount(y_index, weights=weight * outcome.wrong) / mass).mean())
            for alpha, outcome in self.outcomes.items()
        }
        limit = min(errors.values()) + within
        good = [alpha for alpha, error in errors.items() if error <= limit]
        return max((alpha for alpha in good if alpha <= most), default=min(good))


def checked_alphas(alphas: Any) -> list[float]:
    """Ridge weights, the largest first."""
    try:
        values = np.asarray(alphas, dtype=float).ravel()
    except (TypeError, ValueError) as error:
        raise InputError(f"alphas must be positive numbers; got {alphas!r}.") from error
    if not values.size or not (np.isfinite(values) & (values > 0)).all():
        raise InputError(f"alphas must be positive numbers, at least one; got {alphas!r}.")
    return sorted(values.tolist(), reverse=True)


def penalty_path(
    fit: Callable[[Rows, Sequence[Array], Sequence[float]], Sequence[LinearHead]],
    rows: Rows,
    weight: Array,
    cells: Array,
    *,
    also: Rows | None = None,
    alphas: Sequence[float] = ALPHAS,
    worse_half: bool,
    n_splits: int = 5,
    seed: int = 0,
    outcomes: bool = True,
) -> PenaltyPath:
    """Choose the ridge weight of best cross-validated accuracy over cells."""
    alphas = checked_alphas(alphas)
    own = cells[: len(rows.weight)]
    sizes = np.bincount(own[(own >= 0) & (rows.weight > 0)])
    n_splits = min(n_splits, int(sizes[sizes > 0].min()))
    if n_splits < 2 or (len(alphas) == 1 and not outcomes):
        return PenaltyPath(min(alphas, key=lambda alpha: abs(np.log(alpha))), {})
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    strata = _strata(own, rows.y_index)
    folds = list(splitter.split(strata, strata))

    y_index, mass = rows.y_index, rows.weight
    if also is not None:
        y_index = np.concatenate([y_index, also.y_index])
        mass = np.concatenate([mass, also.weight])

    tried = [without(weight, train) for train, _ in folds]
    tried += [weight] if also is not None else []  # the head of all rows judges the others
    heads = fit(
        rows, [w for _ in alphas for w in tried], [alpha for alpha in alphas for _ in tried]
    )

    def outcome_of(own: Sequence[LinearHead]) -> Outcome:
        logits, _ = logits_of_folds(rows, folds, own[: len(folds)])
        if also is not None:
            logits = np.concatenate([logits, own[-1].logits(also.X)])
        return Outcome.of(logits, y_index)

    judged = cells >= 0

    def score(outcome: Outcome) -> float:
        total = np.bincount(cells[judged], weights=mass[judged])
        hits = np.bincount(cells[judged], weights=(mass * ~outcome.wrong)[judged])
        shares = np.sort(hits[total > 0] / total[total > 0])
        mean = shares[: max(1, len(shares) // 2)].mean() if worse_half else shares.mean()
        return round(float(mean), 12)  # a tie is a tie, whatever the order of the sum

    found = {
        alpha: outcome_of(heads[i * len(tried) : (i + 1) * len(tried)])
        for i, alpha in enumerate(alphas)
    }
    return PenaltyPath(max(alphas, key=lambda alpha: score(found[alpha])), found)


def _strata(cells: Array, y_index: Array) -> Array:
    """Cells; samples in none are with one of their class."""
    strata = cells.copy()
    for label in np.unique(y_index[cells < 0]):
        of_class = y_index == label
        strata[of_class & (cells < 0)] = cells[of_class].max()
    return strata
