"""Test which groups of samples lose accuracy with a new head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.special import ndtri

from ntkit._types import Array
from ntkit.attributes import Attribute, FeatureSet
from ntkit.attributes.feature_set import values_by_name
from ntkit.attributes.findings import ALIKE, within_class_correlation
from ntkit.metrics import Row, compare
from ntkit.metrics.contrasts import loss_contrast

CHECKED = 30
"""Validation samples of a group that a test needs."""
NOTHING_READABLE = (
    "ntkit could not check any group, because it knows only the classes of these samples. Pass "
    "texts, a table, images or --metadata."
)
_MOST = 10  # attributes
_LEVEL = 0.05
_CLASSES, _NAMED = 0.1, 0.3  # weights in the level; the attribute that lost most has weight 1
_NOTABLE = 2.0  # smallest z of the loss beyond the rest of the class
_SHOWN = 6  # groups that are not checked
_DOUBTFUL = 0.02  # share lost above which a group is listed as doubtful
_DOUBTFUL_SHOWN = 3
_RANKED = 50  # most notable attributes, before correlated ones are joined


@dataclass(frozen=True)
class LostGroup:
    """A group of validation samples that loses accuracy with the new head."""

    # `row` has its name in a sentence that names the attribute; `full_name` is for any sentence.
    # `is_sure` says whether more than chance tells that the head relies more, or less.

    row: Row
    attribute: str
    full_name: str
    surely: float
    relies_more: bool
    is_sure: bool = True

    def __str__(self) -> str:
        how = f"relies {self.how} on {self.attribute}: " if self.how else f"{self.attribute}: "
        return f"{how if self.attribute else ''}{self.accuracies}"

    @property
    def in_full(self) -> str:
        """The group with the name of its attribute, and its accuracies."""
        if not self.attribute:
            return self.accuracies
        how = f", on which the new head relies {self.how}" * bool(self.how)
        return f"{self.full_name}{how}: {self._shares}"

    @property
    def accuracies(self) -> str:
        """The group and its accuracies before and after."""
        return f"{self.row.name}: {self._shares}"

    @property
    def _shares(self) -> str:
        shares = f"{100 * (self.row.before or 0):.0f} → {100 * self.row.value:.0f} %"
        return f"{shares} ({self.row.n} samples)"

    @property
    def how(self) -> str:
        """How much the new head relies on the attribute; empty if chance may explain it."""
        return "" if not self.is_sure else "more" if self.relies_more else "less"

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        row = self.row
        return {
            "attribute": self.attribute, "name": row.name, "full_name": self.full_name,
            "count": row.n, "before": row.before, "after": row.value, "surely": self.surely,
            "relies_more": self.relies_more if self.is_sure else None,
        }  # fmt: skip


@dataclass(frozen=True)
class GroupCheck:
    """Tests of a new head, group by group."""

    lost: tuple[LostGroup, ...] = ()
    doubtful: tuple[LostGroup, ...] = ()
    unchecked: tuple[str, ...] = ()
    readable: bool = False

    def refused(self, max_cost: float, named: Collection[str] = ()) -> LostGroup | None:
        """The group with the largest sure loss, if it exceeds the limit; None otherwise.

        Groups of named attributes do not count: the outcome judges them.
        """
        # Only attributes that the head relies on more count. If it relies less on an attribute, the
        # groups that the shortcut helped lose accuracy as intended.
        more = (g for g in self.lost if g.relies_more and g.attribute not in named)
        worst = max(more, key=lambda group: group.surely, default=None)
        return worst if worst is not None and worst.surely > max_cost else None

    def sentences(self) -> list[str]:
        """The results of the check, one line each."""
        lines = [] if self.readable else [NOTHING_READABLE]
        doubtful, n = self.doubtful[:_DOUBTFUL_SHOWN], len(self.doubtful)
        lines += _listed("Validation groups that lose accuracy:", self.lost)
        first = f", {len(doubtful)} of {n}" * (n > len(doubtful))
        may = f"Validation groups that may lose accuracy (possibly chance){first}:"
        lines += _listed(may, doubtful)
        if self.unchecked:
            shown = "; ".join(self.unchecked[:_SHOWN])
            more = len(self.unchecked) - _SHOWN
            shown += f"; {more} more groups." if more > 0 else "."
            lines.append(f"Not checked, fewer than {CHECKED} validation samples: {shown}")
        return lines


Pairs = tuple[tuple[int, int], ...]
"""Numbers of a class and of a value, for each of some groups."""


@dataclass(frozen=True, eq=False)
class _Test:
    """A test whether a group of validation samples loses accuracy, with a share of the level."""

    # If the group loses, its `parts` are tested as well.

    row: Row
    attribute: str
    full_name: str
    wider: float
    weight: float
    parts: tuple[_Test, ...] = ()

    @property
    def relies_more(self) -> bool:
        """Whether the group differs more from the rest of its class than before."""
        return self.wider > 0

    def group(self, level: float) -> LostGroup:
        """The group, with the lower bound of its loss at a level."""
        surely, is_sure = self.row.surely_lost(level), abs(self.wider) > -ndtri(level / 2)
        more = self.relies_more
        return LostGroup(self.row, self.attribute, self.full_name, surely, more, bool(is_sure))


def checked_groups(
    feature_sets: Sequence[FeatureSet],
    classes: Array,
    y_index: Array,
    right: tuple[Array, Array],
    is_train: Array,
    named: Sequence[Attribute] = (),
    helped: Array | None = None,
    also: Collection[str] = (),
    part: str = "",
) -> GroupCheck:
    """Choose attributes on training rows, and test their groups on validation rows."""
    # An attribute is chosen if samples of a class with one of its values lose more than the rest of
    # the class. Its losing groups are tested together, because each may be small, and then one by
    # one. Each class is tested as well. The test is the exact sign test of new errors against
    # errors fixed (McNemar 1947). Holm's correction (1979) is weighted: the more an attribute lost
    # on training rows, the larger its share of the level. Groups of attributes that nobody named
    # are without the samples that a named shortcut helped: these lose because it is gone.
    # Of attributes that are like a named one, only those in `also` are tested. `part` ends the name
    # of each group, if the validation rows are only a part of the samples.
    counted = np.ones(len(y_index), dtype=bool) if helped is None else ~helped
    chosen = _chosen(feature_sets, y_index, right, is_train, counted, named, also)
    rows = ~is_train
    y, before, after = y_index[rows], right[0][rows], right[1][rows]
    unchecked, elsewhere = list[str](), ", where no named shortcut helps" * bool((~counted).any())

    def tested(of: Attribute, pairs: Pairs, weight: float, where: str = "") -> list[_Test]:
        """Tests of these groups together, and of each as a part; notes groups that are small."""
        value = of.value[rows]
        group = np.any([(y == k) & (value == v) for k, v in pairs], axis=0)
        of_parts = pairs if pairs[1:] else ()
        parts = [test for pair in of_parts for test in tested(of, (pair,), weight, where)]
        short, full = (  # for sentences that name the attribute, and for others
            " and ".join(f"class {classes[k]} {of.having(v, it)}" for k, v in pairs) + where + part
            for it in ("it", of.name)
        )
        full = f"{full} ({of.name})" if full == short else full
        if 0 < group.sum() < CHECKED:
            unchecked.append(f"{of.name}, {short} ({int(group.sum())})")
        if group.sum() < CHECKED:
            return []
        rest = np.isin(y, [k for k, _ in pairs]) & (value >= 0) & ~group
        (row,) = compare((after, before), [("group", short, group)])
        wider = _wider(before.astype(float), after.astype(float), group, rest)
        return [_Test(row, of.name, full, wider, weight, tuple(parts))]

    of_classes = compare(
        (after, before),
        [("class", f"class {label}{part}", y == k) for k, label in enumerate(classes)],
    )
    weight = _CLASSES / len(classes)
    tests = [_Test(row, "", row.name, 0.0, weight) for row in of_classes if row.n >= CHECKED]
    for of in named:
        pairs = [*product(range(len(classes)), range(len(of.names)))]
        for pair in pairs:
            tests += tested(of, (pair,), _NAMED / (len(pairs) * len(named)))
    of_chosen = [
        test
        for rank, (of, losing) in enumerate(chosen, start=1)
        for test in tested(of, losing, 1 / rank**2, elsewhere)
    ]
    lost = _lost(tests + of_chosen)
    doubtful = _doubtful(of_chosen, lost)
    return GroupCheck(tuple(lost), tuple(doubtful), tuple(unchecked), bool(feature_sets or named))


def _doubtful(tests: Sequence[_Test], lost: Sequence[LostGroup]) -> list[LostGroup]:
    """Groups on which the head relies more and that lose accuracy, perhaps by chance."""
    named_by_then = {group.attribute for group in lost}
    return [
        part.group(_LEVEL)
        for test in tests
        if test.relies_more and test.attribute not in named_by_then
        for part in test.parts or (test,)
        if -(part.row.change or 0.0) > _DOUBTFUL
    ]


def _wider(before: Array, after: Array, group: Array, rest: Array) -> float:
    """Growth of the gap between a group and the rest of its class, in standard errors (Welch)."""
    # Each part gets two more samples, one that becomes right and one that becomes wrong, as by
    # Agresti and Caffo (Am. Stat. 54, 2000): else a few samples without an error are certain.
    if not rest.any():
        return 0.0
    signs = [np.sign(each[rest].mean() - each[group].mean()) for each in (before, after)]
    growth = signs[1] * after - signs[0] * before  # its difference is that of both gaps' sizes
    difference = float(growth[rest].mean() - growth[group].mean())
    n = np.array([part.sum() for part in (group, rest)])
    squares = np.array([growth[part].var() for part in (group, rest)]) * n
    return difference / float(np.sqrt(((squares + 2) / (n + 2) ** 2).sum()))


def _listed(heading: str, groups: Sequence[LostGroup]) -> list[str]:
    """A heading and the groups, one line per attribute; empty without groups."""
    of_attribute = dict[tuple[str, str], list[LostGroup]]()
    for group in groups:
        of_attribute.setdefault((group.attribute, group.how), []).append(group)
    lines = [
        "; ".join([f"  {first}", *(group.accuracies for group in others)])
        for first, *others in of_attribute.values()
    ]
    return [heading, *lines] if lines else []


def _lost(tests: Sequence[_Test]) -> list[LostGroup]:
    """Groups whose loss is significant, the largest number of lost samples first."""
    total = left = sum(test.weight for test in tests)
    lost = list[tuple[float, LostGroup]]()
    for test in sorted(tests, key=lambda test: test.row.p_value / test.weight):
        level = _LEVEL * test.weight / left
        if test.row.p_value > level:
            break
        left -= test.weight
        for each in (test, *(part for part in test.parts if part.row.p_value <= level)):
            group = each.group(_LEVEL * test.weight / total)
            lost.append(((each.row.lost or 0) - (each.row.gained or 0), group))
    return [group for _, group in sorted(lost, key=lambda pair: -pair[0])]


def _chosen(
    feature_sets: Sequence[FeatureSet],
    y_index: Array,
    right: tuple[Array, Array],
    is_train: Array,
    counted: Array,
    named_by_user: Sequence[Attribute],
    also: Collection[str],
) -> list[tuple[Attribute, Pairs]]:
    """At most ten attributes, and their groups that lose more than the rest of their class."""
    names, of_blocks = list[str](), list[Array]()
    change = right[1].astype(np.float64) - right[0]
    for feature_set in feature_sets:
        for block in feature_set.blocks():
            known = is_train & counted
            known = known if block.known is None else known & block.known
            rows = np.flatnonzero(known)
            of_blocks.append(loss_contrast(block.values, change, y_index, rows))
            names += block.names
    if not names:
        return []
    excess = np.concatenate(of_blocks)
    score = np.abs(excess).max(axis=1)
    top = [int(i) for i in np.argsort(-score, kind="stable")[:_RANKED] if score[i] > _NOTABLE]
    if not top:
        return []
    values = np.stack(values_by_name(feature_sets, [names[i] for i in top]), axis=1)
    values = np.where(counted[:, None], values, np.int8(-1))
    named = [of.value == value for of in named_by_user for value in range(len(of.names))]
    columns = np.column_stack([*(column.astype(np.int8) for column in named), values])
    alike = np.abs(within_class_correlation(columns, y_index, is_train.astype(float)))
    chosen, small = list[tuple[Attribute, Pairs]](), list[tuple[Attribute, Pairs]]()
    alike_to = [*range(len(named))]
    for i, at in enumerate(top):
        z, name, column = excess[at], names[at], len(named) + i
        losing = tuple((int(k), int(z[k] > 0)) for k in np.flatnonzero(np.abs(z) > _NOTABLE))
        each = Attribute(name, values[:, i], (f"not {name}", name)), losing
        of_losing = np.any(
            [(y_index == k) & (values[:, i] == value) for k, value in losing], axis=0
        )
        others = alike_to[len(named) :] if name in also else alike_to
        if len(chosen) == _MOST or (alike[column, others] >= ALIKE).any():
            continue
        if (of_losing & ~is_train).sum() < CHECKED:  # a correlated attribute may have more samples
            small.append(each)
        else:
            chosen.append(each)
            alike_to.append(column)
    return [*chosen, *small[: _MOST - len(chosen)]]
