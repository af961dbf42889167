"""Groups that judge a head: of named attributes, of labelled samples, or of changed copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ntkit._key import OF_A_TABLE
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.feature_set import FEWEST
from ntkit.head import LinearHead
from ntkit.jobs.debias._outcome import (
    Cell,
    NamedGroups,
    Source,
    Told,
    crossed_groups,
    deciding_groups,
    helped_groups,
    named_groups,
)
from ntkit.jobs.debias._plan import Plan
from ntkit.jobs.debias._pool import Pool
from ntkit.metrics import Row, compare, mean_of_rows

_ORIGINAL = "original"


class Scorecard:
    """The groups that judge all heads of a repair, and where the original head is right."""

    # `y` holds the classes of the training and validation samples, and `before` whether the
    # original head is right. `said` holds what a person named, as samples show it or labels say
    # it; not what is inferred. For each of these, `helped` holds the groups in which the shortcut
    # helps the original. `copies` are those of the validation samples; labels need none.

    def __init__(self, pool: Pool, original: LinearHead, plan: Plan) -> None:
        known = plan.known
        self.pool, self.original, self.known = pool, original, known
        self.y, self.classes = pool.y, pool.train.classes.tolist()
        self.before = np.concatenate([original.predict(each.X) == each.y for each in pool.sets])
        changes = plan.invariance if known is None else None
        self.changes = () if changes is None else changes.changes
        self.copies = None if changes is None else changes.of(pool.of_validation)
        self.said = [*plan.said.read] if known is None else [known.labelled]
        self.helped = [self._helped(at, each) for at, each in enumerate(self.said)]

    def _helped(self, at: int, attribute: Attribute) -> frozenset[Cell]:
        """Groups of an attribute in which the shortcut helps the original."""
        # Of a rare value there may be too few validation samples to tell. The training samples have
        # more of it. A model that knows these by heart is right on all, so they are not joined with
        # the others. Changed copies show it as well, but only what the model reads in the changed
        # part: among the samples they could hide what the samples alone show.
        helped = frozenset[Cell]()
        for rows in self.pool.slices:
            if self.known is not None:  # labels of both sets tell of each
                told = self.known.told(self.y, slice(None), rows)
                helped |= helped_groups(attribute, self.y, self.before, told)
                continue
            of, y, right = attribute.take(rows), self.y[rows], self.before[rows]
            helped |= helped_groups(of, y, right)
            if self.copies is not None and rows == self.pool.of_validation:
                moved = self.copies.values[:, at] != of.value[self.copies.of]  # else counted twice
                copies = self.copies.take(moved).one_of_each(at)
                of_copies = self.original.predict(copies.Z) == y[copies.of]
                of = replace(of, value=np.append(of.value, copies.values[:, at]))
                right = np.append(right, of_copies)
                helped |= helped_groups(of, np.append(y, y[copies.of]), right)
        return helped

    def groups(
        self,
        read: Sequence[Attribute],
        y: Array,
        right: tuple[Array, Array],
        rows: slice | None = None,
        by_copies: Sequence[NamedGroups] = (),
    ) -> list[NamedGroups]:
        """The groups of each named attribute and of all, or else of originals and copies.

        With labels of single samples, ``rows`` says which samples of the pool these are.
        """
        fewest = 1 if self.copies is None else FEWEST
        source: Source = "read"
        told: Told = compare
        if self.known is not None:
            source = "labelled" if self.known.is_estimated else "read"
            of = self.pool.of_validation
            told = compare if rows is None else self.known.told(y, rows, of)
        groups = [
            named_groups(each, y, right, helped, self.classes, source, fewest, told)
            for each, helped in zip(read, self.helped, strict=True)
        ]
        if len(read) > 1:
            crossed = crossed_groups(read, y, right, self.helped, self.classes)
            groups += [] if crossed.first is None else [crossed]
        if all(each.first is None for each in groups):
            groups += by_copies
        return groups

    def first_number(self, after: Array, of_copies: tuple[Array, Array] | None) -> Row | None:
        """The first number of the outcome, on validation samples and their copies."""
        rows = self.pool.of_validation
        said = [each.take(rows) for each in self.said]
        if not all((each.value >= 0).any() for each in said):  # labels of training samples alone
            return None
        right = after, self.before[rows]
        groups = self.groups(said, self.y[rows], right, rows, self.by_copies(right, of_copies))
        means = [each.first or each.mean for each in deciding_groups(groups) if each.filled]
        return min(means, key=lambda mean: mean.value, default=None)

    def is_helped(self) -> Array:
        """Whether a shortcut helps the group of each sample, or may, as its value is unknown."""
        y, helped = self.y, np.zeros(len(self.y), dtype=bool)
        said = self.said if self.known is None else [self.known.attribute]  # inferred ones as well
        if not said and self.copies is not None:
            of_class = [label for label, which in self._with_copies[2] if which == _ORIGINAL]
            return np.isin(y, of_class)
        for each, cells in zip(said, self.helped, strict=True):
            if each.source in (*OF_A_TABLE, "person", "labels"):  # others know who has no value
                helped |= each.value < 0
            for label, value in cells:
                helped |= (y == label) & (each.value == each.names.index(value))
        return helped

    @cached_property
    def _with_copies(self) -> tuple[Array, Attribute, frozenset[Cell]]:
        """A copy of each validation sample, which samples are copies, and the helped groups."""
        copies, y = self.copies, self.pool.validation.y
        assert copies is not None
        first = np.unique(copies.of, return_index=True)[1]
        number = np.repeat([0, 1], [len(y), len(first)])
        which, of = Attribute("copies", number, (_ORIGINAL, "changed")), y[copies.of[first]]
        right = self.original.predict(copies.Z[first]) == of
        right = np.append(self.before[self.pool.of_validation], right)
        return first, which, helped_groups(which, np.append(y, of), right)

    def by_copies(
        self, right: tuple[Array, Array], of_copies: tuple[Array, Array] | None
    ) -> list[NamedGroups]:
        """Validation samples of each class, and one copy of each, as groups; none with labels."""
        if self.copies is None or of_copies is None:
            return []
        first, which, helped = self._with_copies
        y = self.pool.validation.y
        of = y[self.copies.of[first]]
        of_first = of_copies[0][first], of_copies[1][first]
        after, before = map(np.append, right, of_first)
        labels = np.append(y, of)
        groups = named_groups(which, labels, (after, before), helped, self.classes, "copies")
        if all(change.unrelates for change in self.changes):
            of_class = compare(of_first, [("class", str(k), of == k) for k in self.classes])
            mean = mean_of_rows([row for row in of_class if row.n], name="mean of changed copies")
            groups = replace(groups, of_parts=mean)
        return [groups]
