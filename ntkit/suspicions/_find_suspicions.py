"""From a ranking to suspicions: what is surely more than chance, one of each family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.attributes import View
from ntkit.metrics import wilson
from ntkit.suspicions._families import (
    Family,
    families,
    led_by_names,
    sides,
    within_class_correlation,
)
from ntkit.suspicions._predictions import Predictions
from ntkit.suspicions._ranking import Ranking, ranking_of
from ntkit.suspicions._suspicion import Cell, Suspicion

__all__ = ["MOST_INFERRED", "NAMELESS", "Found", "find_suspicions"]

Array = NDArray[Any]
_MOST = 300  # attributes that are made families of
NAMELESS = ("layer", "embedding", "input")
"""Kinds of views whose attributes only a number tells apart: no person can say what they are."""
MOST_INFERRED = 5  # families of a kind that is inferred: each costs a person's time
_EXAMPLES = 6
_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Found:
    """Suspicions, and what each sample has of them.

    Attributes
    ----------
    suspicions : tuple of Suspicion
        What the inputs say in so many words, then what is inferred; the highest score first.
    n_looked_at : dict of str to int
        Attributes by kind of view.
    n_passed : int
        Those of them that are surely more than chance.
    n_left_out : dict of str to int
        By kind of view, families that are no suspicions, for five clearer ones of that kind are.
    sides : ndarray of int, shape (N, S)
        For each suspicion's family, the side that each sample is on, from 1 on: 1 with the
        suspicion itself; 0 neither; −1 unknown.
    """

    suspicions: tuple[Suspicion, ...]
    n_looked_at: dict[str, int]
    n_passed: int
    n_left_out: dict[str, int]
    sides: Array

    @property
    def side_names(self) -> tuple[tuple[str, ...], ...]:
        """For each family, the attribute that each side is called after, from 1 on."""
        return tuple(tuple(side[0] for side in one.sides) for one in self.suspicions)


def find_suspicions(views: Sequence[View], predictions: Predictions, alpha: float) -> Found:
    """Look at all attributes of all views.

    Parameters
    ----------
    views : sequence of View
        Where attributes are read from.
    predictions : Predictions
        Of the same samples.
    alpha : float
        Largest p-value, after correction, of a suspicion.

    Returns
    -------
    Found
    """
    ranking = ranking_of(views, predictions)
    passed = np.flatnonzero((ranking.p_value <= alpha) & (ranking.score > 0))
    inferred = np.asarray([not view.exact for view in views], dtype=bool)
    passed = passed[np.argsort(inferred[ranking.view[passed]], kind="stable")]
    top = passed[:_MOST]
    values = _values_of(views, ranking, top, len(predictions.y_index))
    correlation = within_class_correlation(values, predictions.y_index, predictions.weight)
    side = np.where(ranking.association > 0, ranking.goes_with, -1 - ranking.goes_with)[top]
    origins = [ranking.origins[i] for i in top]
    kinds = [views[ranking.view[i]].kind for i in top]
    named = [kind not in NAMELESS for kind in kinds]
    joined = led_by_names(families(correlation, side, origins), named, origins)
    groups, left_out = _clearest(joined, views, ranking.view[top])
    found, of_samples = list[Suspicion](), [np.empty((len(values), 0), dtype=int)]
    for group in groups:
        own = _standing_for(group, kinds)
        of_sample, on = sides(values[:, own], side[own], correlation[np.ix_(own, own)])
        names = tuple(tuple(ranking.names[top[own[i]]] for i in members) for members in on)
        found.append(_suspicion(group, names, ranking, top, side, values, views, predictions))
        of_samples.append(of_sample[:, None])
    counts = np.bincount(ranking.view, minlength=len(views)).tolist()
    looked_at = dict[str, int]()
    for view, count in zip(views, counts, strict=True):
        looked_at[view.kind] = looked_at.get(view.kind, 0) + count
    on_side = np.concatenate(of_samples, axis=1)
    return Found(tuple(found), looked_at, len(passed), left_out, on_side)


def _standing_for(family: Family, kinds: Sequence[str]) -> list[int]:
    """Members that put samples on sides: what has a name stands for itself, not for a neuron."""
    kind = kinds[family.leader]
    return [i for i in family.members if kind in NAMELESS or kinds[i] == kind]


def _clearest(
    found: Sequence[Family], views: Sequence[View], view: Array
) -> tuple[list[Family], dict[str, int]]:
    """Families to ask about, and how many of each kind are left out: what is exact all comes up."""
    kept, counts = list[Family](), Counter[str]()
    for family in found:
        leader = views[view[family.leader]]
        counts[leader.kind] += not leader.exact
        if counts[leader.kind] <= MOST_INFERRED:
            kept.append(family)
    return kept, {kind: n - MOST_INFERRED for kind, n in counts.items() if n > MOST_INFERRED}


def _values_of(views: Sequence[View], ranking: Ranking, top: Array, n_samples: int) -> Array:
    """The attributes at the top of a ranking, of every sample: int8, (N, T)."""
    values = np.empty((n_samples, len(top)), dtype=np.int8)
    for number, view in enumerate(views):
        place = {ranking.names[i]: at for at, i in enumerate(top) if ranking.view[i] == number}
        for block in view.blocks() if place else ():
            for j, name in enumerate(block.names):
                if name in place:
                    values[:, place[name]] = block.column(j)
    return values


def _suspicion(
    family: Family,
    on: tuple[tuple[str, ...], ...],
    ranking: Ranking,
    top: Array,
    side: Array,
    values: Array,
    views: Sequence[View],
    predictions: Predictions,
) -> Suspicion:
    at = int(top[family.leader])
    view, goes_with = views[ranking.view[at]], int(ranking.goes_with[at])
    present = bool(ranking.association[at] > 0)
    column = values[:, family.leader]
    known = (column >= 0) & (predictions.weight > 0)
    of_class = predictions.y_index == goes_with
    agrees = ((column == 1) == of_class) if present else ((column == 0) == of_class)
    label = predictions.classes[goes_with]
    others = sorted(family.members[1:], key=lambda i: ranking.view[top[i]])  # as views are given
    return Suspicion(
        name=ranking.names[at],
        view=view.kind,
        exact=view.exact,
        goes_with=label.item() if hasattr(label, "item") else label,
        present=present,
        n=int(((column == 1) & known).sum()),
        n_known=int(known.sum()),
        share=_share(column, known & of_class, predictions.weight),
        share_elsewhere=_share(column, known & ~of_class, predictions.weight),
        association=float(ranking.association[at]),
        error_contrast=float(ranking.errors[at]),
        score=float(ranking.score[at]),
        p_value=float(ranking.p_value[at]),
        same=tuple(ranking.names[top[i]] for i in others if side[i] == side[family.leader]),
        opposed=tuple(ranking.names[top[i]] for i in others if side[i] != side[family.leader]),
        sides=on,
        cells=_cells(column, known, goes_with, present, predictions),
        examples=_examples(agrees, predictions.wrong, known),
    )


def _share(column: Array, rows: Array, weight: Array) -> float:
    mass = float(weight[rows].sum())
    return float(weight[rows & (column == 1)].sum()) / mass if mass else float("nan")


def _cells(
    column: Array, known: Array, goes_with: int, present: bool, predictions: Predictions
) -> tuple[Cell, ...]:
    """Accuracies by class, of those that have the attribute and those that have not."""
    C = len(predictions.classes)
    index = 2 * predictions.y_index[known] + (column[known] == 1)
    weight, right = predictions.weight[known], ~predictions.wrong[known]
    count, mass, square, hits = (
        np.bincount(index, weights=w, minlength=2 * C)
        for w in (np.ones(len(index)), weight, weight**2, weight * right)
    )
    some = count > 0
    accuracy = np.divide(hits, mass, out=np.full(2 * C, np.nan), where=some)
    low, high = np.full((2, 2 * C), np.nan)
    effective = np.divide(mass**2, square, out=np.zeros(2 * C), where=some)
    low[some], high[some] = wilson(np.minimum(accuracy[some], 1), effective[some], _CONFIDENCE)
    return tuple(
        Cell(
            label.item() if hasattr(label, "item") else label,
            having=having,
            agrees=(having == present) == (c == goes_with),
            count=int(count[2 * c + having]),
            accuracy=float(accuracy[2 * c + having]),
            interval=(float(low[2 * c + having]), float(high[2 * c + having])),
        )
        for c, label in enumerate(predictions.classes)
        for having in (True, False)
        if some[2 * c] or some[2 * c + 1]
    )


def _examples(agrees: Array, wrong: Array, known: Array) -> dict[str, tuple[int, ...]]:
    return {
        f"{how}, {what}": tuple(np.flatnonzero(known & rows & outcome)[:_EXAMPLES].tolist())
        for how, rows in (("conflicting", ~agrees), ("agreeing", agrees))
        for what, outcome in (("wrong", wrong), ("right", ~wrong))
    }
