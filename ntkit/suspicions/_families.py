"""Attributes that say the same, or the opposite, as one family with sides and a rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIKE", "Family", "families", "led_by_names", "sides", "within_class_correlation"]

Array = NDArray[Any]
ALIKE = 0.35
"""Correlation within classes from which on attributes are taken for one; of words that have nothing
to do with each other it is below 0.15."""
_ROWS = 1 << 14


@dataclass(frozen=True)
class Family:
    """Attributes that belong together, by their places in a ranking; the leader has most score.

    Attributes
    ----------
    leader : int
        Place of the leader.
    members : list of int
        All of them, the leader first.
    """

    leader: int
    members: list[int]


def families(correlation: Array, side: Array, origins: Sequence[str]) -> list[Family]:
    """Join each attribute to the leader that it says most alike, or make it a leader.

    An attribute says the same as a leader if it is read from the same column, or if they are
    correlated: those that go with other classes the other way round (*film* and *movie*), those
    that go with the same class either way, for exclusive ones may mean the same (*movie* and
    *movies*). Being alike is asked of the leader alone: it does not pass on.

    Parameters
    ----------
    correlation : ndarray of shape (A, A)
        Between attributes, the highest score first.
    side : ndarray of int, shape (A,)
        What each goes with; different for different classes.
    origins : sequence of str, length A
        What each is read from.

    Returns
    -------
    list of Family
        The highest score first.
    """
    found = list[Family]()
    for i, origin in enumerate(origins):
        alike = [_alike(i, family.leader, correlation, side) for family in found]
        alike = [
            1.0 if origin == origins[family.leader] else value
            for family, value in zip(found, alike, strict=True)
        ]
        nearest = max(range(len(found)), key=lambda f: alike[f], default=None)
        if nearest is None or alike[nearest] < ALIKE:
            found.append(Family(i, [i]))
        else:
            found[nearest].members.append(i)
    return found


def _alike(i: int, leader: int, correlation: Array, side: Array) -> float:
    value = float(correlation[i, leader])
    return abs(value) if side[i] == side[leader] else -value


def led_by_names(
    found: Sequence[Family], named: Sequence[bool], origins: Sequence[str]
) -> list[Family]:
    """Let the first member that has a name lead its family; families of one column become one.

    Parameters
    ----------
    found : sequence of Family
        As :func:`families` made them.
    named : sequence of bool, length A
        Whether each attribute has a name that a person can make something of.
    origins : sequence of str, length A
        What each is read from.

    Returns
    -------
    list of Family
        The highest score of a leader first.
    """
    joined = dict[str, list[int]]()
    for family in found:
        leader = next((i for i in family.members if named[i]), family.leader)
        joined.setdefault(origins[leader], []).extend(family.members)
    led = list[Family]()
    for members in map(sorted, joined.values()):
        leader = next((i for i in members if named[i]), members[0])
        led.append(Family(leader, [leader, *(i for i in members if i != leader)]))
    return sorted(led, key=lambda family: family.leader)


def within_class_correlation(values: Array, y_index: Array, weight: Array) -> Array:
    """Correlation of attributes within classes, all classes together.

    Two attributes that both go with a class are correlated by that alone; within classes a shortcut
    and what the classes are really about are not.

    Parameters
    ----------
    values : ndarray of int8, shape (N, A)
        1, 0, or −1 where unknown, which counts as the mean of the class.
    y_index, weight : ndarray of shape (N,)
        Classes and weights.

    Returns
    -------
    ndarray of shape (A, A)
        0 where an attribute does not vary within any class.
    """
    n_classes = int(y_index.max()) + 1
    mass, sums = np.zeros((2, n_classes, values.shape[1]))
    parts = [slice(start, start + _ROWS) for start in range(0, len(values), _ROWS)]
    for part in parts:
        known = (values[part] >= 0) * weight[part, None]
        np.add.at(mass, y_index[part], known)
        np.add.at(sums, y_index[part], known * values[part])
    mean = np.divide(sums, mass, out=np.zeros_like(sums), where=mass > 0)
    gram = np.zeros((values.shape[1], values.shape[1]))
    for part in parts:
        centred = np.where(values[part] >= 0, values[part] - mean[y_index[part]], 0.0)
        centred *= np.sqrt(weight[part])[:, None]
        gram += centred.T @ centred
    deviation = np.sqrt(np.diag(gram))
    scale = np.outer(deviation, deviation)
    return np.asarray(np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0))


def sides(values: Array, side: Array, correlation: Array) -> tuple[Array, list[list[int]]]:
    """Side of a family that each sample is on: that of the class that what it has goes with.

    Parameters
    ----------
    values : ndarray of int8, shape (N, M)
        Attributes of the family, the leader first: 1, 0, or −1 where unknown.
    side : ndarray of int, shape (M,)
        What each goes with.
    correlation : ndarray of shape (M, M)
        Between them. Of those on one side that go along with each other only the first counts;
        those that exclude each other are added.

    Returns
    -------
    of_sample : ndarray of int, shape (N,)
        From 1 on; 0 where a sample has none of them, or some of several sides; −1 where none of
        them is known.
    members : list of list of int
        Those that count on each side; it is called after the first.
    """
    members: dict[int, list[int]] = {}
    for i, on in enumerate(side.tolist()):
        others = members.setdefault(on, [])
        if (correlation[i, others] < 0).all():
            others.append(i)
    having = np.stack([(values[:, m] == 1).any(axis=1) for m in members.values()], axis=1)
    of_sample = np.where(having.sum(axis=1) == 1, having.argmax(axis=1) + 1, 0)
    kept = [i for m in members.values() for i in m]
    unknown = (values[:, kept] < 0).all(axis=1)
    return np.where(unknown, -1, of_sample), [*members.values()]
