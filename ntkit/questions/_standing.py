"""How answers stand: the groups that they give, and how often a model is right in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.estimators import GroupInference
from ntkit.metrics import wilson

__all__ = ["GroupStanding", "standing_of"]

Array = NDArray[Any]
_CONFIDENCE = 0.95
_FEWEST = 5  # samples, below which no share is told


@dataclass(frozen=True)
class GroupStanding:
    """A group of a class and a value of the attribute, as far as it is known.

    Attributes
    ----------
    name : str
        Class and value.
    n_answered : int
        Samples of which a person said so.
    n_taken : int
        Samples that are taken for it, these among them.
    accuracy : float
        Share of those taken for it that the head gets right; NaN for fewer than 5.
    interval : tuple of float
        Wilson's, of 95 %.
    """

    name: str
    n_answered: int
    n_taken: int
    accuracy: float
    interval: tuple[float, float]

    @property
    def share(self) -> str:
        """Accuracy and interval in percent."""
        if np.isnan(self.accuracy):
            return "–"
        low, high = (100 * limit for limit in self.interval)
        return f"{100 * self.accuracy:.1f} % [{low:.1f}, {high:.1f}]"


def standing_of(
    y: Array, attribute: Array, inference: GroupInference, right: Array, values: Sequence[str]
) -> tuple[GroupStanding, ...]:
    """All groups of the classes of samples with the values of an attribute.

    Parameters
    ----------
    y, right : ndarray of shape (N,)
        Classes, and whether a head is right.
    attribute : ndarray of object, shape (N,)
        What was answered; None where nobody was asked.
    inference : GroupInference
        Fitted to that.
    values : sequence of str
        Values that could be answered.
    """
    q = inference.label_distributions_
    taken_for = np.where(q.max(axis=1) > 0, inference.classes_[q.argmax(axis=1)].astype(object), "")
    found = list[GroupStanding]()
    for label in np.unique(y):
        for value in values:
            own = (y == label) & (taken_for == value)
            n, accuracy, interval = int(own.sum()), float("nan"), (0.0, 1.0)
            if n >= _FEWEST:
                accuracy = float(right[own].mean())
                low, high = wilson(np.array([accuracy]), np.array([n]), _CONFIDENCE)
                interval = (float(low[0]), float(high[0]))
            answered = int(((y == label) & (attribute == value)).sum())
            found.append(GroupStanding(f"{label} × {value}", answered, n, accuracy, interval))
    return tuple(found)
