"""Findings: attributes that go with a class and on which the errors depend, ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._text import interval, percent, plain
from ntkit._types import Array
from ntkit.attributes import FeatureSet
from ntkit.attributes.findings._tallies import Contrast, Marks, Predictions, contrast, tallies
from ntkit.metrics import wilson


@dataclass(frozen=True)
class FindingGroup:
    """Samples of a class that have an attribute, or have not."""

    label: Any
    having: bool
    agrees: bool
    count: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """An attribute that is correlated with a class, and on which the errors of the model depend.

    It is not a verdict: the word *bad* is correlated with bad reviews, and rightly. A person tells.

    Attributes
    ----------
    name : str
        Name of the attribute, as ``word:film``.
    feature_set : str
        Kind of the feature set that it is from, as ``word``.
    exact : bool
        Whether the input says it in so many words, or it is inferred.
    goes_with : object
        The class.
    present : bool
        Whether having it is correlated with the class, rather than not having it.
    n, n_known : int
        Samples that have it, and samples for which it is known.
    share, share_elsewhere : float
        Share of the samples that have it, in the class and in all others.
    association : float
        z of the difference between these shares.
    error_contrast : float
        z of the errors that relying on it explains, within classes.
    score : float
        The smaller of the two.
    p_value : float
        Of both being so large by chance, after Holm's correction for the attributes of its
        kind, and for the number of kinds looked at.
    same, opposed : tuple of str
        Attributes that say the same; and its opposites, which go with another class.
    values : tuple of tuple of str
        Attributes that groups are made of, for each value; the first are the finding's own. They
        are of its kind, so that a word stands for words only. If no attribute that says the same
        has a name (neurons, clusters), they are of any kind.
    groups : tuple of FindingGroup
        By class (``label``), those ``having`` it and those that have not: ``count``, ``accuracy``
        (NaN if there are none) with Wilson's ``interval`` of 95 %, and whether it ``agrees`` with
        the class.
    examples : dict of str to tuple of int
        Rows of samples: "conflicting, wrong", "conflicting, right", "agreeing, wrong" and
        "agreeing, right", some of each.
    """

    name: str
    feature_set: str
    exact: bool
    goes_with: Any
    present: bool
    n: int
    n_known: int
    share: float
    share_elsewhere: float
    association: float
    error_contrast: float
    score: float
    p_value: float
    same: tuple[str, ...]
    opposed: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    groups: tuple[FindingGroup, ...]
    examples: dict[str, tuple[int, ...]]

    @property
    def worst(self) -> FindingGroup:
        """The conflicting samples that are surely wrong most often: of the lowest upper limit."""
        conflicting = [group for group in self.groups if not group.agrees and group.count]
        return min(conflicting, key=lambda group: group.interval[1])

    def beside(self, group: FindingGroup) -> FindingGroup:
        """The other samples of a cell's class."""
        return next(c for c in self.groups if c.label == group.label and c.having != group.having)

    def as_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; NaN becomes None."""
        return dict(plain(self))

    def __str__(self) -> str:
        worst = self.worst
        other = self.beside(worst)
        what = "Having" if self.present else "Not having"
        sentence = (
            f"{what} {self.name!r} goes with class {_label(self.goes_with)}: "
            f"{percent(self.share)} of its samples have it, "
            f"{percent(self.share_elsewhere)} of the others. "
            f"Of class {_label(worst.label)}, {_right(worst)} {_with(worst)}"
        )
        return f"{sentence}, {_right(other)} {_with(other)}." if other.count else f"{sentence}."


def _with(group: FindingGroup) -> str:
    return "with it" if group.having else "without it"


def _right(group: FindingGroup) -> str:
    return f"{percent(group.accuracy)} {interval(group.interval, 0)} are right"


def _label(label: Any) -> str:
    return repr(label.item() if hasattr(label, "item") else label)


ALIKE = 0.35
"""Correlation within classes from which on attributes are taken for one; of words that have nothing
to do with each other it is below 0.15."""
_ROWS = 1 << 14


@dataclass(frozen=True)
class Family:
    """Attributes that belong together, by their places in a ranking; the leader has most score."""

    leader: int
    members: list[int]


def families(correlation: Array, side: Array, origins: Sequence[str]) -> list[Family]:
    """Join each attribute to the leader that it says most alike, or make it a leader."""
    # An attribute says the same as a leader if it is read from the same column, or if they are
    # correlated: those that go with other classes the other way round (*film* and *movie*), those
    # that go with the same class either way, for exclusive ones may mean the same (*movie* and
    # *movies*). Being alike is asked of the leader alone: it does not pass on.
    joined = list[Family]()
    for i, origin in enumerate(origins):
        alike = list[float]()
        for family in joined:
            value = float(correlation[i, family.leader])
            value = abs(value) if side[i] == side[family.leader] else -value
            alike.append(1.0 if origin == origins[family.leader] else value)
        nearest = max(range(len(joined)), key=lambda f: alike[f], default=None)
        if nearest is None or alike[nearest] < ALIKE:
            joined.append(Family(i, [i]))
        else:
            joined[nearest].members.append(i)
    return joined


def led_by_names(
    found: Sequence[Family], named: Sequence[bool], origins: Sequence[str]
) -> list[Family]:
    """Let the first member that has a name lead its family; families of one column become one."""
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
    """Correlation of attributes within classes, all classes together."""
    # Two attributes that both go with a class are correlated by that alone; within classes a
    # shortcut and what the classes are really about are not.
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
    """Side of a family that each sample is on: that of the class that what it has goes with."""
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


@dataclass(frozen=True, eq=False)
class Ranking:
    """A attributes, the highest score first."""

    names: list[str]
    origins: list[str]
    feature_set: Array
    goes_with: Array
    association: Array
    errors: Array
    score: Array
    p_value: Array

    def __len__(self) -> int:
        return len(self.names)


def ranking_of(feature_sets: Sequence[FeatureSet], predictions: Predictions) -> Ranking:
    """Test every attribute of every view, a block at a time."""
    # Kinds of views share the chance of a false alarm equally, and Holm's correction is for the
    # attributes of a kind: thousands of channels do not raise the bar for two hundred words. The
    # chance that anything comes up where there is nothing stays what it is, by Bonferroni's bound.
    names, origins, numbers = list[str](), list[str](), list[int]()
    contrasts = list[Contrast]()
    of_all = Marks.of(predictions)
    for number, feature_set in enumerate(feature_sets):
        for block in feature_set.blocks():
            marks = of_all if block.known is None else Marks.of(predictions, block.known)
            contrasts.append(contrast(tallies(block, marks)))
            names += block.names
            origins += [block.origin(i) for i in range(len(block.names))]
            numbers += [number] * len(block.names)
    which = np.asarray(numbers, dtype=int)
    goes_with, association, errors, score, p = (
        np.concatenate([*(getattr(one, name) for one in contrasts), np.empty(0, dtype=int)])
        for name in ("goes_with", "association", "errors", "score", "p_value")
    )
    C = len(predictions.classes)
    corrected = _corrected(
        p, which, [feature_set.kind for feature_set in feature_sets], 1 if C == 2 else C
    )
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
        rows = of_kind == kind
        corrected[rows] = len(there) * holm(p[rows], int(rows.sum()) * n_classes)
    return np.minimum(corrected, 1.0)


def holm(p: Array, n_tests: int) -> Array:
    """Holm's correction of the smallest p-values of some number of tests."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (n_tests - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


_MOST = 300  # attributes that are made families of
NAMELESS = ("layer", "embedding", "input")
"""Kinds of views whose attributes only a number tells apart: no person can say what they are."""
MOST_INFERRED = 5  # families of a kind that is inferred: each costs a person's time
_EXAMPLES = 6
_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Findings:
    """Findings, and what each sample has of them."""

    findings: tuple[Finding, ...]
    n_looked_at: dict[str, int]
    n_passed: int
    n_left_out: dict[str, int]
    values: Array

    @property
    def value_names(self) -> tuple[tuple[str, ...], ...]:
        """For each family, the attribute that each side is called after, from 1 on."""
        return tuple(tuple(side[0] for side in one.values) for one in self.findings)


def find_findings(
    feature_sets: Sequence[FeatureSet], predictions: Predictions, alpha: float
) -> Findings:
    """Look at all attributes of all views."""
    ranking = ranking_of(feature_sets, predictions)
    passed = np.flatnonzero((ranking.p_value <= alpha) & (ranking.score > 0))
    inferred = np.asarray([not feature_set.exact for feature_set in feature_sets], dtype=bool)
    passed = passed[np.argsort(inferred[ranking.feature_set[passed]], kind="stable")]
    top = passed[:_MOST]
    values = _values_of(feature_sets, ranking, top, len(predictions.y_index))
    correlation = within_class_correlation(values, predictions.y_index, predictions.weight)
    side = np.where(ranking.association > 0, ranking.goes_with, -1 - ranking.goes_with)[top]
    origins = [ranking.origins[i] for i in top]
    kinds = [feature_sets[ranking.feature_set[i]].kind for i in top]
    named = [kind not in NAMELESS for kind in kinds]
    joined = led_by_names(families(correlation, side, origins), named, origins)
    groups, left_out = _clearest(joined, feature_sets, ranking.feature_set[top])
    findings, of_samples = list[Finding](), [np.empty((len(values), 0), dtype=int)]
    for group in groups:
        # What has a name stands for itself, not for a neuron.
        kind = kinds[group.leader]
        shown = [i for i in group.members if kind in NAMELESS or kinds[i] == kind]
        of_sample, on = sides(values[:, shown], side[shown], correlation[np.ix_(shown, shown)])
        names = tuple(tuple(ranking.names[top[shown[i]]] for i in members) for members in on)
        findings.append(
            _finding(group, names, ranking, top, side, values, feature_sets, predictions)
        )
        of_samples.append(of_sample[:, None])
    looked_at = dict.fromkeys((feature_set.kind for feature_set in feature_sets), 0)
    for number in ranking.feature_set.tolist():
        looked_at[feature_sets[number].kind] += 1
    on_side = np.concatenate(of_samples, axis=1)
    return Findings(tuple(findings), looked_at, len(passed), left_out, on_side)


def _clearest(
    found: Sequence[Family], feature_sets: Sequence[FeatureSet], feature_set: Array
) -> tuple[list[Family], dict[str, int]]:
    """Families to ask about, and how many of each kind are left out: what is exact all comes up."""
    kept, counts = list[Family](), Counter[str]()
    for family in found:
        leader = feature_sets[feature_set[family.leader]]
        counts[leader.kind] += not leader.exact
        if counts[leader.kind] <= MOST_INFERRED:
            kept.append(family)
    return kept, {kind: n - MOST_INFERRED for kind, n in counts.items() if n > MOST_INFERRED}


def _values_of(
    feature_sets: Sequence[FeatureSet], ranking: Ranking, top: Array, n_samples: int
) -> Array:
    """The attributes at the top of a ranking, of every sample: int8, (N, T)."""
    values = np.empty((n_samples, len(top)), dtype=np.int8)
    for number, feature_set in enumerate(feature_sets):
        place = {
            ranking.names[i]: at for at, i in enumerate(top) if ranking.feature_set[i] == number
        }
        for block in feature_set.blocks() if place else ():
            for j, name in enumerate(block.names):
                if name in place:
                    values[:, place[name]] = block.column(j)
    return values


def _finding(
    family: Family,
    on: tuple[tuple[str, ...], ...],
    ranking: Ranking,
    top: Array,
    side: Array,
    values: Array,
    feature_sets: Sequence[FeatureSet],
    predictions: Predictions,
) -> Finding:
    at = int(top[family.leader])
    feature_set, goes_with = feature_sets[ranking.feature_set[at]], int(ranking.goes_with[at])
    present = bool(ranking.association[at] > 0)
    column = values[:, family.leader]
    known = (column >= 0) & (predictions.weight > 0)
    of_class = predictions.y_index == goes_with
    agrees = ((column == 1) == of_class) if present else ((column == 0) == of_class)
    label = predictions.classes[goes_with]
    others = sorted(
        family.members[1:], key=lambda i: ranking.feature_set[top[i]]
    )  # as views are given
    return Finding(
        name=ranking.names[at],
        feature_set=feature_set.kind,
        exact=feature_set.exact,
        goes_with=label.item() if hasattr(label, "item") else label,
        present=present,
        n=int(((column == 1) & known).sum()),
        n_known=int(known.sum()),
        share=_share(column, known & of_class, predictions.weight),
        share_elsewhere=_share(column, known & ~of_class, predictions.weight),
        association=float(ranking.association[at]),
        error_contrast=float(ranking.errors[at]),
        score=float(ranking.score[at]),
        p_value=float(ranking.p_value[at]),
        same=tuple(ranking.names[top[i]] for i in others if side[i] == side[family.leader]),
        opposed=tuple(ranking.names[top[i]] for i in others if side[i] != side[family.leader]),
        values=on,
        groups=_groups(column, known, goes_with, present, predictions),
        examples=_examples(agrees, predictions.wrong, known),
    )


def _share(column: Array, rows: Array, weight: Array) -> float:
    mass = float(weight[rows].sum())
    return float(weight[rows & (column == 1)].sum()) / mass if mass else float("nan")


def _groups(
    column: Array, known: Array, goes_with: int, present: bool, predictions: Predictions
) -> tuple[FindingGroup, ...]:
    """Accuracies by class, of those that have the attribute and those that have not."""
    C = len(predictions.classes)
    index = 2 * predictions.y_index[known] + (column[known] == 1)
    weight, right = predictions.weight[known], ~predictions.wrong[known]
    count, mass, square, hits = (
        np.bincount(index, weights=w, minlength=2 * C)
        for w in (np.ones(len(index)), weight, weight**2, weight * right)
    )
    some = count > 0
    accuracy = np.divide(hits, mass, out=np.full(2 * C, np.nan), where=some)
    low, high = np.full((2, 2 * C), np.nan)
    effective = np.divide(mass**2, square, out=np.zeros(2 * C), where=some)
    low[some], high[some] = wilson(np.minimum(accuracy[some], 1), effective[some], _CONFIDENCE)
    return tuple(
        FindingGroup(
            label.item() if hasattr(label, "item") else label,
            having=having,
            agrees=(having == present) == (c == goes_with),
            count=int(count[2 * c + having]),
            accuracy=float(accuracy[2 * c + having]),
            interval=(float(low[2 * c + having]), float(high[2 * c + having])),
        )
        for c, label in enumerate(predictions.classes)
        for having in (True, False)
        if some[2 * c] or some[2 * c + 1]
    )


def _examples(agrees: Array, wrong: Array, known: Array) -> dict[str, tuple[int, ...]]:
    return {
        f"{how}, {what}": tuple(np.flatnonzero(known & rows & outcome)[:_EXAMPLES].tolist())
        for how, rows in (("conflicting", ~agrees), ("agreeing", agrees))
        for what, outcome in (("wrong", wrong), ("right", ~wrong))
    }
