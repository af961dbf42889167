"""Outcome of a repair by the groups of what a person named: rows, a word and its reason.

A person may have labelled only some samples, which were not drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from scipy.special import expit, logit

from ntkit._key import Key, group_name
from ntkit._text import listed, percent
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.feature_set import FEWEST, OF_ENOUGH
from ntkit.metrics import Row, compare, mean_of_rows, unrelated_shares, worst_of_rows
from ntkit.metrics.bounds import separate_drop_bounds
from ntkit.metrics.rows import Kind

BETTER, PROBABLY, WORSE, NONE = "better", "probably better", "worse", "no difference"
WORDS = (WORSE, NONE, PROBABLY, BETTER)
"""Words for the outcome, the worst first."""
_SURE, _LIKELY = 0.025, 0.15  # on a side
_MISSING = 0.05  # largest share of groups without a sample; the interval allows for any accuracy
FEW = 10
"""Samples below which groups of several classes are joined."""
_CERTAIN = 1e-3  # least probability that an inferred value is another one
_PRIOR = 1.0  # variance of the log odds of outcomes, added to those inferred
_STEPS = 50
_MORE = 30  # labels that a person can give in some minutes
TEST = "test set"
Cell = tuple[Any, Any]
Source = Literal["read", "crossed", "labelled", "copies", "classes"]
Subsets = Iterable[tuple[Kind, Any, Array]]
Told = Callable[[Sequence[Array], Subsets], list[Row]]
"""A row of each subset by outcomes of one or two models, as ``compare`` makes them."""


def helped_groups(
    attribute: Attribute, y: Array, right: Array, told: Told = compare
) -> frozenset[Cell]:
    """Groups class × value in which the shortcut helps the original model.

    It is surely more often right there than on the other values of the class, or on one of them:
    the shortcut may be several values.
    """
    cells = [(k, v) for k in np.unique(y).tolist() for v in range(len(attribute.names))]
    helped = set[Cell]()
    for label, v in cells:
        of_class = (y == label) & (attribute.value >= 0)
        others = [attribute.value != v]
        if len(attribute.names) > 2:
            others += [attribute.value == w for w in range(len(attribute.names)) if w != v]
        inside = [attribute.value == v, *others]
        parts: list[tuple[Kind, Any, Array]] = [("group", v, of_class & each) for each in inside]
        own, *rows = told([right], parts)
        level = _SURE / len(cells) / len(others)
        if own.n and any(r.n and _surely_above(own.counts, r.counts, level) for r in rows):
            helped.add((label, attribute.names[v]))
    return frozenset(helped)


@dataclass(frozen=True)
class NamedGroups:
    """Accuracies of the groups class × value of a named attribute, before and after.

    Attributes
    ----------
    name : str
        Name of the attribute.
    rows : tuple of Row
        A row of each group, also of those without a sample. Small groups of one class are joined if
        there are more than two classes.
    helped : frozenset of str
        Names of the groups that the shortcut helps; it misleads the others.
    joined : frozenset of str
        Names of the rows that join several small groups.
    shares : tuple of float
        P(class) · P(value) of each cell, as frequent as in these samples. Empty for a mean in which
        each group counts alike.
    cells : tuple of Row
        A row of each class × value that the first number is made of; none is joined. By default
        the rows.
    source : str
        What the groups are: "read" from the samples, "crossed" of several attributes that are read,
        "labelled" by a person, changed "copies" and originals, or the "classes" alone.
    fewest : int
        Samples that a group needs; more than 1 if changed copies can take its place.
    of_parts : Row or None
        Mean of copies over the classes, if a part of each comes from another sample of any class.
    few : tuple of str
        Values that fewer than 5 samples have, which are in no group.
    counts : str
        What a row counts: "labels", which stand for other samples as well, or "samples".
    of_enough : str
        Which groups are judged, after "group"; empty if these are all that have a sample.
    """

    name: str
    rows: tuple[Row, ...]
    helped: frozenset[str] = frozenset()
    joined: frozenset[str] = frozenset()
    shares: tuple[float, ...] = ()
    source: Source = "read"
    fewest: int = 1
    of_parts: Row | None = None
    cells: tuple[Row, ...] = ()
    few: tuple[str, ...] = ()
    counts: str = field(default="samples", init=False)
    of_enough: str = field(default="", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", self.cells or self.rows)
        object.__setattr__(self, "counts", "labels" if self.source == "labelled" else "samples")
        if any(0 < row.n < self.fewest for row in self.rows):
            object.__setattr__(self, "of_enough", f" {OF_ENOUGH}")
        elif self.few:
            object.__setattr__(self, "of_enough", f" of values {OF_ENOUGH}")

    @property
    def filled(self) -> list[Row]:
        """Rows of the groups that have enough samples."""
        return [row for row in self.rows if row.n >= self.fewest]

    @cached_property
    def first(self) -> Row | None:
        """Accuracy if class and attribute were unrelated; None if groups have too few samples."""
        empty = [share for row, share in zip(self.cells, self.shares, strict=False) if not row.n]
        at_most = _MISSING if (self.source, self.fewest) == ("read", 1) else 0.0
        few = sum(0 < row.n < self.fewest for row in self.cells)
        if not self.shares or few or sum(empty) > at_most:
            return None
        return mean_of_rows(self.cells, self.shares, name=f"{self.name} unrelated to the class")

    @cached_property
    def mean(self) -> Row:
        """Mean accuracy of the groups that have samples."""
        # Originals are as biased as the data. In copies, part and class are unrelated.
        what = "groups" if len(self.filled) == len(self.rows) else "the other groups"
        what = {"classes": "classes", "copies": "originals and copies"}.get(self.source, what)
        return self.of_parts or mean_of_rows(self.filled, name=f"mean of {what}")

    @cached_property
    def worst(self) -> Row:
        """Accuracy of the worst group."""
        what = "class" if self.source == "classes" else "group"
        joined = ", small ones joined" * bool(self.joined)
        return worst_of_rows(self.filled, name=f"worst {what}{self.of_enough}{joined}")

    def without_samples(self, of: str = "") -> str:
        """A sentence on the groups that have too few samples of a set; empty if all have enough."""
        few = [row.name for row in self.cells if row.n < self.fewest]
        no = f"No sample{of} shows"
        no = no if self.fewest == 1 else f"Fewer than {self.fewest} samples{of} show"
        return f"{no} {listed(few, 2)}." if few else ""

    @property
    def level(self) -> float:
        """Error probability on a side of a bound, corrected for the number of groups."""
        return _SURE / len(self.filled)

    @cached_property
    def lost(self) -> list[Row]:
        """Groups that surely lose, though the shortcut misleads the original model there."""
        misled = [row for row in self.filled if row.name not in self.helped]
        return [row for row in misled if row.surely_lost(self.level) > 0]

    @property
    def gave_way(self) -> list[Row]:
        """Groups that the shortcut helps and that lose."""
        helped = [row for row in self.filled if row.name in self.helped]
        return [row for row in helped if (row.change or 0) < 0]


def named_groups(
    attribute: Attribute,
    y: Array,
    right: tuple[Array, Array],
    helped: Collection[Cell],
    classes: Sequence[Any],
    source: Source = "read",
    fewest: int = 1,
    told: Told = compare,
) -> NamedGroups:
    """Rows of the groups class × value by outcomes of the new and of the original head."""
    known = attribute.value >= 0
    of_class = {label: float((known & (y == label)).sum()) for label in classes}
    classes = [label for label in classes if of_class[label]]
    of_value = [float((attribute.value == v).sum()) for v in range(len(attribute.names))]
    shares = unrelated_shares([of_class[label] for label in classes], of_value)
    # Labels may name groups of one class each: values that no other class has.
    pairs = {*zip(y[known].tolist(), attribute.value[known].tolist(), strict=True)}
    of_one_class = source == "labelled" and len(pairs) == len({v for _, v in pairs})
    subsets = list[tuple[Kind, Any, Array]]()
    of_helped, of_several = set[str](), set[str]()
    for label in classes:
        joins = len(classes) > 2
        for name, values, is_helped in _values_of_class(
            attribute, y == label, label, helped, joins=joins, alone=of_one_class
        ):
            inside = (y == label) & np.isin(attribute.value, values)
            if of_one_class and not inside.any():
                continue
            subsets.append(("group", name, inside))
            of_helped |= {name} if is_helped else set()
            of_several |= {name} if len(values) > 1 else set()
    of_cells, cells, names = (), list[Row](), attribute.names
    if source == "read":
        of_cells = tuple(np.ravel(shares).tolist())
        cells = told(
            right,
            [
                ("group", group_name(label, name), (y == label) & (attribute.value == v))
                for label in classes
                for v, name in enumerate(names)
            ],
        )
    # Some values of a column are called the column only if no sample has another one.
    origins = {Key.of(str(value)).origin for value in names}
    return NamedGroups(
        origins.pop() if known.all() and len(origins) == 1 else attribute.name,
        tuple(told(right, subsets)),
        frozenset(of_helped),
        frozenset(of_several),
        of_cells,
        source,
        fewest,
        cells=tuple(cells),
        few=tuple(attribute.few),
    )


def _values_of_class(
    attribute: Attribute,
    of_class: Array,
    label: Any,
    helped: Collection[Cell],
    *,
    joins: bool,
    alone: bool,
) -> list[tuple[str, list[int], bool]]:
    """Name and values of each group of a class, and whether the shortcut helps it.

    ``joins`` says whether small groups are joined, and ``alone`` whether a value names a group.
    """
    groups = list[tuple[str, list[int], bool]]()
    small = {True: list[int](), False: list[int]()}
    for v, value in enumerate(attribute.names):
        is_helped = (label, value) in helped
        if joins and (of_class & (attribute.value == v)).sum() < FEW:
            small[is_helped].append(v)
        else:
            name = str(value) if alone else group_name(label, value)
            groups.append((name, [v], is_helped))
    for is_helped, some in small.items():
        if some:
            others = str(attribute.names[some[0]]) if len(some) == 1 else f"{len(some)} others"
            others += ", helped" * (is_helped and min(map(len, small.values())) > 1)
            groups.append((group_name(label, others), some, is_helped))
    return groups


def crossed_groups(
    attributes: Sequence[Attribute],
    y: Array,
    right: tuple[Array, Array],
    helped: Sequence[Collection[Cell]],
    classes: Sequence[Any],
) -> NamedGroups:
    """Rows of the groups class × values of all attributes; a group needs a few samples to count."""
    known = np.all([each.value >= 0 for each in attributes], axis=0)
    classes = [label for label in classes if (known & (y == label)).any()]
    cells, shares, of_helped = list[tuple[Kind, Any, Array]](), list[float](), set[str]()
    for label, *values in product(classes, *(range(len(each.names)) for each in attributes)):
        parts = [y == label, *(a.value == v for a, v in zip(attributes, values, strict=True))]
        names = [each.names[v] for each, v in zip(attributes, values, strict=True)]
        name = group_name(label, *names)
        if any((label, v) in of for v, of in zip(names, helped, strict=True)):
            of_helped.add(name)
        cells.append(("group", name, known & np.all(parts, axis=0)))
        shares.append(float(np.prod([part[known].mean() for part in parts])))
    called = " and ".join(each.name for each in attributes)
    rows = tuple(compare(right, cells))
    helps = frozenset(of_helped)
    few = tuple(value for each in attributes for value in each.few)
    return NamedGroups(
        called, rows, helps, shares=tuple(shares), source="crossed", fewest=FEWEST, few=few
    )


def deciding_groups(groups: Sequence[NamedGroups]) -> list[NamedGroups]:
    """Groups that decide the outcome: of all named attributes together if these have samples."""
    # One of several says little while the class depends on the others.
    crossed = [each for each in groups if each.source == "crossed"]
    return crossed or [*groups]


@dataclass(frozen=True)
class RepairOutcome:
    """How the new head compares with the original one, by the groups of what a person named.

    Attributes
    ----------
    word : str
        "better", "probably better", "no difference" or "worse".
    groups : tuple of NamedGroups
        For each named attribute, its groups class × value; of several, those of all together as
        well. Without named attributes, the classes.
    average : Row
        Accuracy on all samples, which are as biased as the data.
    where : str
        "test set", "validation set", or "training and validation set" if labelled training samples
        are in the groups. The average is never of training samples.
    gain : Row or None
        Mean of groups whose change decides the word, of the attribute with the worst one.
    reason : str
        Why the word is "worse", or an empty text.
    """

    word: str
    groups: tuple[NamedGroups, ...]
    average: Row
    where: str
    gain: Row | None = None
    reason: str = ""

    @property
    def is_better(self) -> bool:
        """Whether the word is "better" or "probably better"."""
        return self.word in (BETTER, PROBABLY)

    def change_in_words(self) -> str:
        """The change that decides, with its 95 % interval, and which labels would tell more."""
        text = ""
        if self.gain is not None and self.gain.change_interval is not None:
            low, high = (100 * bound for bound in self.gain.change_interval)
            text = f": {100 * (self.gain.change or 0):+.1f} points [{low:.1f}, {high:.1f}]"
            if len(self.groups) > 1:
                text += f" ({self.gain.name})"
        elif none := " ".join(
            filter(None, (each.without_samples(f" of the {self.where}") for each in self.groups))
        ):
            text = f". {none.rstrip('.')}"
        if self.groups[0].source == "labelled":
            rare = sorted(self.groups[0].rows, key=lambda row: row.n)[:2]
            shown = listed([f"{row.name} ({row.n} labelled)" for row in rare], 2)
            text += f". Label {_MORE} more samples to know, first of {shown}"
        return text

    @property
    def of_classes(self) -> bool:
        """Whether nothing was named, so that the classes are the groups."""
        return self.groups[0].source == "classes"

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        return {
            "word": self.word, "reason": self.reason, "where": self.where,
            "average": _as_dict(self.average),
            "groups": [
                {
                    "name": each.name, "source": each.source,
                    "first": None if each.first is None else _as_dict(each.first),
                    "mean": _as_dict(each.mean), "worst": _as_dict(each.worst),
                    "groups": [
                        _as_dict(row) | {"helped": row.name in each.helped} for row in each.rows
                    ],
                }
                for each in self.groups
            ],
        }  # fmt: skip


def outcome_of(
    groups: Sequence[NamedGroups],
    average: Row,
    where: str,
    max_cost: float,
    instead: Row | None = None,
    *,
    fresh: bool = True,
) -> RepairOutcome:
    """The outcome by the attribute with the worst one.

    ``fresh`` says whether the samples chose nothing; only then can it be better.
    ``instead`` is the mean that decides if a group has no sample.
    """
    is_fresh = fresh and where == TEST
    judged = [_judged(each, instead, max_cost, is_fresh) for each in deciding_groups(groups)]
    word, gain, reason = min(judged, key=lambda each: WORDS.index(each[0]))
    return RepairOutcome(word, tuple(groups), average, where, gain, reason)


def are_worse(groups: Sequence[NamedGroups], max_cost: float) -> bool:
    """Whether some groups are surely worse, though there may be too few samples to be better."""
    judged = [
        _judged(each, None, max_cost, False) for each in deciding_groups(groups) if each.filled
    ]
    return any(word == WORSE for word, _, _ in judged)


def _judged(
    groups: NamedGroups, instead: Row | None, max_cost: float, fresh: bool
) -> tuple[str, Row | None, str]:
    """The word for some groups, the mean whose change decides, and why it is worse."""
    level, by_number = groups.level, groups.source in ("read", "crossed")
    gain = groups.first or instead if by_number else groups.mean
    low, high = (-1.0, 1.0) if gain is None else gain.change_interval or (0.0, 0.0)
    if (below := _below_the_worst(groups)) is not None:
        what = "class" if groups.source == "classes" else "group"
        ends = f"{below.name} ends at {percent(below.value)}, surely below the worst {what} before"
        return WORSE, gain, ends
    # Misled groups that surely lose more than the limit.
    if beyond := [row for row in groups.lost if row.surely_lost(level) > max_cost]:
        row = max(beyond, key=lambda each: each.surely_lost(level))
        shares = shares_in_words(row.before, row.value)
        loses = f"{row.name} surely loses ({shares})"
        if groups.source != "classes":  # `lost` has those that are not surely helped
            loses += ", and the shortcut did not surely help there"
        return WORSE, gain, loses
    if gain is None:
        return NONE, gain, ""
    if high < 0:
        return WORSE, gain, f"{gain.name} surely falls ({shares_in_words(gain.before, gain.value)})"
    if fresh and gain is groups.first and low > 0 and not groups.lost:
        return BETTER, gain, ""
    likely = -gain.drop_bounds(upper_level=_LIKELY, lower_level=_LIKELY)[1]
    return PROBABLY if likely > 0 else NONE, gain, ""


def _below_the_worst(groups: NamedGroups) -> Row | None:
    """The first group that ends surely below the worst one of the original model."""
    if len(groups.filled) < len(groups.rows) and groups.first is None:  # another may be the worst
        return None
    worst = min(groups.filled, key=lambda row: row.before or 0.0)
    n, right, lost, gained = worst.counts
    for row in groups.filled:
        sure = row.surely_lost(groups.level) > 0
        if row is not worst:
            sure = _surely_above((n, right + lost - gained), row.counts, groups.level)
        if sure:
            return row
    return None


def _surely_above(first: Sequence[int], second: Sequence[int], level: float) -> bool:
    """Whether the first of two groups is surely more often right; counts are all, then right."""
    right_of_all = (first[1], first[0]), (second[1], second[0])
    return separate_drop_bounds(*right_of_all, upper_level=level, lower_level=level)[0] > 0


def shares_in_words(before: float | None, after: float) -> str:
    """Accuracies before and after, in percent."""
    return f"{100 * (before or 0):.1f} → {100 * after:.1f} %"


def _as_dict(row: Row) -> dict[str, Any]:
    row = row if row.change_interval else row.with_intervals()
    return {
        "name": str(row.name), "n": row.n, "before": row.before, "after": row.value,
        "change": row.change, "change_interval": row.change_interval,
    }  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """Samples of which some are labelled: rows of subsets of these stand for all samples.

    The predictions of all samples are known, so labels only tell their groups. The log odds of a
    group are those that heads infer which did not see the label (``probabilities``, a column for
    each value), plus a number for each pair of outcomes: logistic regression on the labels of the
    class, with a normal prior. So it does not matter that a person labels errors, rare values and
    uncertain samples first. ``value`` is −1 without a label. The rows are of the samples that are
    ``counted``, such as those on which the original model was not trained.
    """

    y: Array
    probabilities: Array
    value: Array
    counted: Array

    def rows(self, outcomes: Sequence[Array], subsets: Subsets) -> list[Row]:
        """Rows like those of ``compare``; subsets hold labelled samples of one class each."""
        found = list[Row]()
        for kind, name, inside in subsets:
            row = self._row(outcomes, kind, name, inside) if inside.any() else None
            found.append(row or compare(outcomes, [(kind, name, inside & self.counted)])[0])
        return found

    def _row(self, outcomes: Sequence[Array], kind: Kind, name: Any, inside: Array) -> Row | None:
        """The row of a subset; None if no sample of its class counts."""
        of_class = np.flatnonzero(self.y == self.y[inside][0])
        columns = np.unique(self.value[inside])
        odds = self.probabilities[of_class][:, columns].sum(axis=1)
        odds = logit(np.clip(odds, _CERTAIN, 1 - _CERTAIN))
        right = np.stack(outcomes)[:, of_class].astype(float)
        stratum = (right.T @ [2, 1][: len(right)]).astype(np.intp)
        known, inside = self.value[of_class] >= 0, inside[of_class]
        moved, information = _moved(odds, stratum, known, inside)
        # Labelled samples belong to their group; the others with a probability.
        share = np.where(known, inside, expit(odds + moved[stratum])) * self.counted[of_class]
        size, n = float(share.sum()), int(inside.sum())
        if not size:
            return None
        if known[self.counted[of_class]].all():
            n = int((inside & self.counted[of_class]).sum())

        def effective(score: Array) -> float:
            """Size at which the mean of a score has its variance (Korn and Graubard, 1998)."""
            mean = float(share @ score) / size
            pull = share * (1 - share) * (score - mean) / size  # of the log odds on the mean
            of_moved = np.bincount(stratum, weights=pull, minlength=4)
            variance = float(of_moved**2 @ (1 / information) + pull @ (score - mean) / size)
            spread = float(share @ score**2) / size - mean**2
            return spread / max(variance, spread / size) if spread > 1e-12 else float("inf")

        scores = [*right, *([right[0] - right[1]] if len(right) > 1 else [])]
        least = min(map(effective, scores))
        least = least if np.isfinite(least) else float(n)
        row = Row(kind, name, n, float(share @ right[0]) / size * least)
        if len(right) > 1:
            lost, gained = (float(share @ (scores[-1] == k)) / size * least for k in (-1, 1))
            row = replace(row, lost=lost, gained=gained)
        return replace(row, effective=least)


def _moved(odds: Array, stratum: Array, known: Array, inside: Array) -> tuple[Array, Array]:
    """Log odds of each stratum, added to those of its samples, and their information."""
    moved, odds, stratum, inside = np.zeros(4), odds[known], stratum[known], inside[known]
    for _ in range(_STEPS):  # Newton's method; the prior keeps it finite
        p = expit(odds + moved[stratum])
        slope = np.bincount(stratum, weights=p - inside, minlength=4) + moved / _PRIOR
        information = np.bincount(stratum, weights=p * (1 - p), minlength=4) + 1 / _PRIOR
        moved = moved - np.clip(slope / information, -1, 1)
    return moved, information
