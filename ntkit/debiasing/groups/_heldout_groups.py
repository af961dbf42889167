"""Groups that a head is balanced over, on the held-out samples that it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.attributes import FEWEST
from ntkit.metrics import wilson
from ntkit.study import judged_groups

__all__ = ["HeldoutGroups", "WorstGroup"]

Array = NDArray[Any]
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class WorstGroup:
    """The named group, of those with enough held-out samples, that is right least often.

    Attributes
    ----------
    name : str
        Class and side of each attribute.
    count : int
        Held-out samples in it.
    accuracy : float
        Share that is right, in [0, 1].
    interval : tuple of float
        Wilson's, of 95 %.
    """

    name: str
    count: int
    accuracy: float
    interval: tuple[float, float]

    @property
    def share(self) -> str:
        """Accuracy and interval in percent."""
        low, high = (100 * limit for limit in self.interval)
        return f"{100 * self.accuracy:.1f} % [{low:.1f}, {high:.1f}]"

    @property
    def variance(self) -> float:
        """Of the accuracy, with one sample more of each kind: none is certain."""
        share = (self.accuracy * self.count + 1) / (self.count + 2)
        return share * (1 - share) / (self.count + 2)

    def __str__(self) -> str:
        return f"{self.share} of the {self.count} of {self.name}"


@dataclass(frozen=True, eq=False)
class HeldoutGroups:
    """Class × attribute groups of the held-out samples, those with at least 5.

    Attributes
    ----------
    title : str
        The attributes.
    number : ndarray of int, shape (M,)
        Group of each sample; −1 for samples in none, or in one of fewer.
    names : tuple of str
        Of the groups.
    by_person : bool
        Whether a person said that a right answer must not depend on the attributes.
    """

    title: str
    number: Array
    names: tuple[str, ...]
    by_person: bool

    @classmethod
    def of(
        cls,
        title: str,
        y: Array,
        y_index: Array,
        sides: Array,
        called: Sequence[Sequence[str]],
        *,
        by_person: bool,
    ) -> HeldoutGroups:
        """Groups of samples of these classes, on these sides of some attributes (M, A)."""
        number = judged_groups(np.ones(len(y)), y_index, sides, FEWEST)
        names = list[str]()
        for group in range(number.max() + 1):
            rows = np.flatnonzero(number == group)
            alike = (sides[rows] == sides[rows[0]]).all(axis=0) & (sides[rows[0]] >= 0)
            on = [
                own[side] for own, side, a in zip(called, sides[rows[0]], alike, strict=True) if a
            ]
            names.append(" × ".join([str(y[rows[0]]), *on]))
        return cls(title, number, tuple(names), by_person)

    def worst(self, right: Array) -> WorstGroup:
        """The worst group, by which samples a head gets right."""
        judged = self.number >= 0
        count = np.bincount(self.number[judged], minlength=len(self.names))
        accuracy = np.bincount(self.number[judged], weights=right[judged]) / count
        at = int(np.argmin(accuracy))
        low, high = wilson(accuracy[[at]], count[[at]], _CONFIDENCE)
        return WorstGroup(
            self.names[at], int(count[at]), float(accuracy[at]), (float(low[0]), float(high[0]))
        )
