"""Groups that a head is balanced over, on the held-out samples that it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ntkit._types import Array
from ntkit.attributes import FEWEST
from ntkit.metrics import wilson
from ntkit.study import judged_groups

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class WorstGroup:
    """The group, of those balanced with enough held-out samples, that is right least often."""

    name: str
    count: int
    accuracy: float
    interval: tuple[float, float]
    n_inferred: int = 0

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
        inferred = f" ({self.n_inferred} of them inferred)" if self.n_inferred else ""
        return f"{self.share} of the {self.count} of {self.name}{inferred}"


@dataclass(frozen=True, eq=False)
class ValidationGroups:
    """Class × attribute groups of the held-out samples, those with at least 5."""

    title: str
    number: Array
    names: tuple[str, ...]
    by_person: bool
    known: Array | None = None

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
        known: Array | None = None,
    ) -> ValidationGroups:
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
        return cls(title, number, tuple(names), by_person, known)

    def of_rows(self, rows: Array) -> ValidationGroups:
        """The groups of some samples (M,), the others being in none."""
        number = np.where(rows, self.number, -1)
        kept = np.unique(number[number >= 0])
        number[number >= 0] = np.searchsorted(kept, number[number >= 0])
        return replace(self, number=number, names=tuple(self.names[i] for i in kept))

    @property
    def counts(self) -> tuple[int, int] | None:
        """Samples whose group was given, and inferred; None where a name tells it of all."""
        if self.known is None:
            return None
        known = self.known[self.number >= 0]
        return int(known.sum()), int((~known).sum())

    def worst(self, right: Array) -> WorstGroup:
        """The worst group, by which samples a head gets right."""
        judged = self.number >= 0
        count = np.bincount(self.number[judged], minlength=len(self.names))
        accuracy = np.bincount(self.number[judged], weights=right[judged]) / count
        at = int(np.argmin(accuracy))
        low, high = wilson(accuracy[[at]], count[[at]], _CONFIDENCE)
        inferred = 0 if self.known is None else int(((self.number == at) & ~self.known).sum())
        return WorstGroup(
            self.names[at],
            int(count[at]),
            float(accuracy[at]),
            (float(low[0]), float(high[0])),
            inferred,
        )
