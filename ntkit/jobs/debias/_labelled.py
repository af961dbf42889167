"""Accuracies of the groups of all samples, from labels of some that were not drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit

from ntkit._types import Array
from ntkit.metrics import Row, compare
from ntkit.metrics.rows import Kind

Subsets = Iterable[tuple[Kind, Any, Array]]
Told = Callable[[Sequence[Array], Subsets], list[Row]]
"""A row of each subset by outcomes of one or two models, as ``compare`` makes them."""


_CERTAIN = 1e-3  # least probability that an inferred value is another one
_PRIOR = 1.0  # variance of the log odds of outcomes, added to those inferred
_STEPS = 50


@dataclass(frozen=True)
class Labelled:
    """Samples of which some are labelled: rows of subsets of these stand for all samples.

    The predictions of all samples are known, so labels only tell their groups. The log odds of a
    group are those that heads infer which did not see the label (``probabilities``, a column for
    each value), plus a number for each pair of outcomes: logistic regression on the labels of the
    class, with a normal prior. So it does not matter that a person labels errors, rare values and
    uncertain samples first. ``value`` is −1 without a label. The rows are of the samples that are
    ``counted``, such as those on which the original model was not trained.
    """

    y: Array
    probabilities: Array
    value: Array
    counted: Array

    def rows(self, outcomes: Sequence[Array], subsets: Subsets) -> list[Row]:
        """Rows like those of ``compare``; subsets hold labelled samples of one class each."""
        found = list[Row]()
        for kind, name, inside in subsets:
            row = self._row(outcomes, kind, name, inside) if inside.any() else None
            found.append(row or compare(outcomes, [(kind, name, inside & self.counted)])[0])
        return found

    def _row(self, outcomes: Sequence[Array], kind: Kind, name: Any, inside: Array) -> Row | None:
        """The row of a subset; None if no sample of its class counts."""
        of_class = np.flatnonzero(self.y == self.y[inside][0])
        columns = np.unique(self.value[inside])
        odds = self.probabilities[of_class][:, columns].sum(axis=1)
        odds = logit(np.clip(odds, _CERTAIN, 1 - _CERTAIN))
        right = np.stack(outcomes)[:, of_class].astype(float)
        stratum = (right.T @ [2, 1][: len(right)]).astype(np.intp)
        known, inside = self.value[of_class] >= 0, inside[of_class]
        moved, information = _moved(odds, stratum, known, inside)
        # Labelled samples belong to their group; the others with a probability.
        share = np.where(known, inside, expit(odds + moved[stratum])) * self.counted[of_class]
        size, n = float(share.sum()), int(inside.sum())
        if not size:
            return None
        if known[self.counted[of_class]].all():
            n = int((inside & self.counted[of_class]).sum())

        def effective(score: Array) -> float:
            """Size at which the mean of a score has its variance (Korn and Graubard, 1998)."""
            mean = float(share @ score) / size
            pull = share * (1 - share) * (score - mean) / size  # of the log odds on the mean
            of_moved = np.bincount(stratum, weights=pull, minlength=4)
            variance = float(of_moved**2 @ (1 / information) + pull @ (score - mean) / size)
            spread = float(share @ score**2) / size - mean**2
            return spread / max(variance, spread / size) if spread > 1e-12 else float("inf")

        scores = [*right, *([right[0] - right[1]] if len(right) > 1 else [])]
        least = min(map(effective, scores))
        least = least if np.isfinite(least) else float(n)
        row = Row(kind, name, n, float(share @ right[0]) / size * least)
        if len(right) > 1:
            lost, gained = (float(share @ (scores[-1] == k)) / size * least for k in (-1, 1))
            row = replace(row, lost=lost, gained=gained)
        return replace(row, effective=least)


def _moved(odds: Array, stratum: Array, known: Array, inside: Array) -> tuple[Array, Array]:
    """Log odds of each stratum, added to those of its samples, and their information."""
    moved, odds, stratum, inside = np.zeros(4), odds[known], stratum[known], inside[known]
    for _ in range(_STEPS):  # Newton's method; the prior keeps it finite
        p = expit(odds + moved[stratum])
        slope = np.bincount(stratum, weights=p - inside, minlength=4) + moved / _PRIOR
        information = np.bincount(stratum, weights=p * (1 - p), minlength=4) + 1 / _PRIOR
        moved = moved - np.clip(slope / information, -1, 1)
    return moved, information
