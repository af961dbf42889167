"""Groups that a new head gets right less often: where in the data somebody pays for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import binom

from ntkit.attributes import View, values_of
from ntkit.metrics import drop_bounds
from ntkit.suspicions import ALIKE, holm, product_of, within_class_correlation

__all__ = ["CHECKED", "GroupCheck", "LostGroup", "checked_groups"]

Array = NDArray[Any]
CHECKED = 30
"""Validation samples of a group, below which its loss is not tested."""
_MOST = 10  # attributes
_LEVEL = 0.05
_NOTABLE = 2.0  # z, by which a group loses more than the rest of its class
_LOOKED_AT = 50  # of the most notable attributes, among which those that say the same are one


@dataclass(frozen=True)
class LostGroup:
    """A group of validation samples that the new head gets right less often than the old one.

    Attributes
    ----------
    attribute : str
        As ``column:region=1``; empty for a whole class.
    name : str
        The class, and whether its samples have the attribute.
    count : int
        Validation samples.
    before, after : float
        Share that is right, in [0, 1].
    surely : float
        Lower bound of the share that is lost, all tests together at level 0.05.
    relies_more : bool
        Whether the gap between the samples of the class with the attribute and without it grew.
    """

    attribute: str
    name: str
    count: int
    before: float
    after: float
    surely: float
    relies_more: bool

    def __str__(self) -> str:
        figures = f"{100 * self.before:.0f} → {100 * self.after:.0f} % ({self.count} samples)"
        if self.relies_more:
            return f"relies more on {self.attribute}: {self.name}: {figures}"
        return f"loses accuracy on {self.name}: {figures}"


@dataclass(frozen=True)
class GroupCheck:
    """What was tested of a new head, group by group.

    Attributes
    ----------
    lost : tuple of LostGroup
        Groups that it surely gets right less often, the largest loss first.
    unchecked : tuple of str
        Groups with too few validation samples, and how many they have.
    readable : bool
        Whether anything of the samples could be read that makes groups.
    """

    lost: tuple[LostGroup, ...] = ()
    unchecked: tuple[str, ...] = ()
    readable: bool = False

    def refused(self, max_cost: float) -> LostGroup | None:
        """The group that surely loses most, if that is more than may be lost."""
        worst = max(self.lost, key=lambda group: group.surely, default=None)
        return worst if worst is not None and worst.surely > max_cost else None

    def sentences(self) -> list[str]:
        """What to say of it, a sentence each."""
        said = [f"Validation set: the new head {group}." for group in self.lost]
        if self.unchecked:
            shown = "; ".join(self.unchecked[:6])
            more = len(self.unchecked) - 6
            said.append(
                f"Not checked, fewer than {CHECKED} validation samples: {shown}"
                + (f"; {more} more groups." if more > 0 else ".")
            )
        if not self.readable:
            said.append(
                "No group could be checked: nothing but the class can be read of these samples. "
                "Give texts, a table, images or --metadata."
            )
        return said


def checked_groups(
    views: Sequence[View],
    classes: Array,
    y_index: Array,
    right: tuple[Array, Array],
    is_train: Array,
    named: Sequence[tuple[str, Array, Sequence[str]]] = (),
) -> GroupCheck:
    """Choose attributes on training rows, and test their groups on validation rows.

    An attribute is chosen where samples of a class on one side of it lose more than the others of
    that class. Each group of it, and each class, is tested by the exact sign test of the samples
    that were right and are wrong against the reverse (McNemar 1947), with Holm's correction.

    Parameters
    ----------
    views : sequence of View
        What can be read of the training and then the validation samples.
    classes : ndarray of shape (C,)
        Class labels.
    y_index : ndarray of int, shape (N + M,)
        Class of each sample.
    right : tuple of ndarray of bool, shape (N + M,)
        Which samples the old head, and the new one, gets right; the new one on training rows
        that it was not fitted on.
    is_train : ndarray of bool, shape (N + M,)
        Which rows attributes are chosen on.
    named : sequence of (str, ndarray of int of shape (N + M,), sequence of str)
        Attributes that are tested whatever they lose: name, side of each sample (−1 on none), and
        names of the sides.

    Returns
    -------
    GroupCheck
    """
    chosen = _chosen(views, y_index, right, is_train)
    rows = ~is_train
    y, before, after = y_index[rows], right[0][rows], right[1][rows]
    tests, unchecked = list[tuple[str, str, Array, bool]](), list[str]()
    for k, label in enumerate(classes.tolist()):
        tests.append(("", f"class {label}", y == k, False))
    asked = [(name, sides[rows], tuple(called)) for name, sides, called in named]
    asked += [(name, values_of(views, name)[rows], (f"not {name}", name)) for name in chosen]
    for name, sides, called in asked:
        for k, label in enumerate(classes.tolist()):
            for side, of_side in enumerate(called):
                group = (y == k) & (sides == side)
                title = f"class {label}, {_with(of_side)}"
                rest = (y == k) & (sides >= 0) & (sides != side)
                if 0 < group.sum() < CHECKED:
                    unchecked.append(f"{title} ({int(group.sum())})")
                elif group.any():
                    more = _gap(before, group, rest) < _gap(after, group, rest)
                    tests.append((name, title, group, more))
    tests = [test for test in tests if test[2].sum() >= CHECKED]
    return GroupCheck(tuple(_lost(tests, before, after)), tuple(unchecked), bool(views or named))


def _lost(
    tests: Sequence[tuple[str, str, Array, bool]], before: Array, after: Array
) -> Iterator[LostGroup]:
    worse, better = before & ~after, ~before & after
    counts = [(int((group & worse).sum()), int((group & better).sum())) for *_, group, _ in tests]
    p = np.asarray([binom.sf(lost - 1, lost + gained, 0.5) for lost, gained in counts])
    corrected = holm(p, len(p))
    for i in np.argsort([gained - lost for lost, gained in counts], kind="stable"):
        if corrected[i] > _LEVEL:
            continue
        (attribute, name, group, more), (lost, gained) = tests[i], counts[i]
        n, level = int(group.sum()), _LEVEL / len(tests)
        low, _ = drop_bounds(lost, gained, n, upper_level=level, lower_level=level)
        shares = float(before[group].mean()), float(after[group].mean())
        yield LostGroup(attribute, name, n, *shares, low, more)


def _with(side: str) -> str:
    return f"without {side[4:]}" if side.startswith("not ") else f"with {side}"


def _gap(right: Array, group: Array, rest: Array) -> float:
    """By how much a group is right less often than the rest of its class."""
    return float(right[rest].mean() - right[group].mean()) if rest.any() else 0.0


def _chosen(
    views: Sequence[View], y_index: Array, right: tuple[Array, Array], is_train: Array
) -> list[str]:
    """Attributes of which a side loses notably more than the rest of its class, at most ten."""
    names, scores = list[str](), list[Array]()
    change = right[1].astype(np.float64) - right[0]
    n_classes = int(y_index.max()) + 1
    for view in views:
        for block in view.blocks():
            known = is_train if block.known is None else is_train & block.known
            moments = np.zeros((len(y_index), 3 * n_classes))
            rows = np.flatnonzero(known)
            for j, values in enumerate((np.ones(len(rows)), change[rows], change[rows] ** 2)):
                moments[rows, j * n_classes + y_index[rows]] = values
            having = product_of(block.values, sparse.csr_array(moments)).reshape(-1, 3, n_classes)
            scores.append(_excess_loss(having, moments.sum(axis=0).reshape(3, n_classes)))
            names += block.names
    if not names:
        return []
    score = np.concatenate(scores)
    top = [int(i) for i in np.argsort(-score, kind="stable")[:_LOOKED_AT] if score[i] > _NOTABLE]
    values = np.stack([values_of(views, names[i]) for i in top], axis=1) if top else None
    kept = list[int]()
    if values is not None:
        alike = np.abs(within_class_correlation(values, y_index, is_train.astype(float)))
        for i in range(len(top)):
            if len(kept) < _MOST and (alike[i, kept] < ALIKE).all():
                kept.append(i)
    return [names[top[i]] for i in kept]


def _excess_loss(having: Array, total: Array) -> Array:
    """Largest z, over classes and sides, of a side's loss beyond that of its class's other side.

    ``having`` (B, 3, C) are the number, sum and sum of squares of the changes of those that have
    each attribute, ``total`` (3, C) of all.
    """
    lacking = total - having
    mean, variance = list[Array](), list[Array]()
    for part in (having, lacking):
        n, s, square = np.maximum(part[:, 0], 1), part[:, 1], part[:, 2]
        m = s / n
        mean.append(m)
        variance.append(np.maximum(square / n - m**2, 1 / n) / n)
    enough = (having[:, 0] >= CHECKED) & (lacking[:, 0] >= CHECKED)
    z = np.abs(mean[0] - mean[1]) / np.sqrt(variance[0] + variance[1])
    loses = np.minimum(mean[0], mean[1]) < 0
    return np.asarray(np.where(enough & loses, z, 0.0).max(axis=1))
