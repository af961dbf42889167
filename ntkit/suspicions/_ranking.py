"""All attributes of all views, tested, corrected for their number, and ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.attributes import View
from ntkit.suspicions._contrast import contrast
from ntkit.suspicions._predictions import Predictions
from ntkit.suspicions._tallies import Marks, tallies

__all__ = ["Ranking", "holm", "ranking_of"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Ranking:
    """A attributes, the highest score first.

    Attributes
    ----------
    names, origins : list of str
        Of each attribute, and what it is read from.
    view : ndarray of int, shape (A,)
        Number of its view.
    goes_with : ndarray of int, shape (A,)
        Index of the class that it goes with.
    association, errors, score, p_value : ndarray of shape (A,)
        As :class:`Contrast` has them; the p-value after correction for all attributes, and for the
        classes where these are more than two.
    """

    names: list[str]
    origins: list[str]
    view: Array
    goes_with: Array
    association: Array
    errors: Array
    score: Array
    p_value: Array

    def __len__(self) -> int:
        return len(self.names)


def ranking_of(views: Sequence[View], predictions: Predictions) -> Ranking:
    """Test every attribute of every view, a block at a time.

    Kinds of views share the chance of a false alarm equally, and Holm's correction is for the
    attributes of a kind: thousands of channels do not raise the bar for two hundred words. The
    chance that anything comes up where there is nothing stays what it is, by Bonferroni's bound.

    Parameters
    ----------
    views : sequence of View
        Where attributes are read from.
    predictions : Predictions
        Of the same samples.

    Returns
    -------
    Ranking
        Attributes of equal score keep the order of the views.
    """
    names, origins = list[str](), list[str]()
    columns: list[list[Array]] = [[] for _ in range(6)]
    of_all = Marks.of(predictions)
    for number, view in enumerate(views):
        for block in view.blocks():
            marks = of_all if block.known is None else Marks.of(predictions, block.known)
            found = contrast(tallies(block, marks))
            names += block.names
            origins += [block.origin(i) for i in range(len(block.names))]
            view_number = np.full(len(block.names), number)
            parts = (
                view_number,
                found.goes_with,
                found.association,
                found.errors,
                found.score,
                found.p_value,
            )
            for column, part in zip(columns, parts, strict=True):
                column.append(part)
    which, goes_with, association, errors, score, p = (
        np.concatenate([*column, np.empty(0, dtype=int)]) for column in columns
    )
    C = len(predictions.classes)
    corrected = _corrected(p, which, [view.kind for view in views], 1 if C == 2 else C)
    order = np.argsort(-score.round(9), kind="stable")  # opposites tie, whatever the rounding
    return Ranking(
        [names[i] for i in order],
        [origins[i] for i in order],
        *(column[order] for column in (which, goes_with, association, errors, score, corrected)),
    )


def _corrected(p: Array, which: Array, kinds: Sequence[str], n_classes: int) -> Array:
    """p-values corrected within each kind of view, and for the number of kinds that there are."""
    of_kind = np.asarray([kinds.index(kind) for kind in kinds], dtype=int)[which]
    there = np.unique(of_kind)
    corrected = np.ones(len(p))
    for kind in there:
        own = of_kind == kind
        corrected[own] = len(there) * holm(p[own], int(own.sum()) * n_classes)
    return np.minimum(corrected, 1.0)


def holm(p: Array, n_tests: int) -> Array:
    """Holm's correction of the smallest p-values of some number of tests.

    Parameters
    ----------
    p : ndarray of shape (A,)
        p-values.
    n_tests : int
        How many tests there were, A or more.

    Returns
    -------
    ndarray of shape (A,)

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.suspicions._ranking import holm
    >>> holm(np.array([0.04, 0.01, 0.03]), 3).round(3).tolist()
    [0.06, 0.03, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (n_tests - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected
