"""What a method looks at: a training set, perhaps a held-out one, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ntkit.study._rows import Rows

__all__ = ["Study"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Study:
    """Training rows and held-out rows, shared by all methods that look at them.

    Attributes
    ----------
    classes : ndarray of shape (C,)
        Class labels, sorted; rows hold their indices.
    train : Rows
        Training set.
    held : Rows or None
        Held-out set: samples the model was not trained on.
    sides : ndarray of int, shape (N + M, A), or None
        Of attributes that a right answer must not depend on: the side that each training row, and
        then each held-out one, is on; −1 where it is on none, or that is not known.
    """

    classes: Array
    train: Rows
    held: Rows | None = None
    sides: Array | None = None
    _with: dict[Any, Study] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def both(self) -> Rows:
        """The training rows, then the held-out ones, if there are any."""
        return self.train if self.held is None else self.train.and_then(self.held)

    def on(self, rows: str) -> Study:
        """The study whose training rows are "train", "heldout" or "both" of this one.

        Parameters
        ----------
        rows : {"train", "heldout", "both"}
            Only with "train" is there a held-out set still.

        Returns
        -------
        Study
        """
        if rows == "train":
            return self
        if rows not in self._with:
            if rows == "both" or self.held is None:
                self._with[rows] = replace(self, train=self.both, held=None)
            else:
                sides = None if self.sides is None else self.sides[len(self.train.weight) :]
                own = replace(self, train=self.held, held=None, sides=sides)
                self._with[rows] = own
        return self._with[rows]
