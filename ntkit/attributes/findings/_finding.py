"""Findings: attributes that are correlated with a class and that the errors depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import hypergeom, norm, poisson

from ntkit._text import interval, percent, plain
from ntkit._types import Array
from ntkit.attributes import Block, FeatureSet, values_by_name
from ntkit.metrics import group_report, holm


@dataclass(frozen=True, eq=False)
class AuditedPredictions:
    """True and predicted classes of N samples that the model was not trained on."""

    classes: Array
    y_index: Array
    pred_index: Array
    weight: Array

    @property
    def wrong(self) -> Array:
        """Whether the predicted class is wrong: bool, (N,)."""
        return np.asarray(self.pred_index != self.y_index)


_BYTES = 64 << 20  # of a product of dense values


@dataclass(frozen=True, eq=False)
class Marks:
    """Class and error of each sample, as a matrix for products with attributes."""

    # Each class counts with its effective size: the square of the sum of the weights over the sum
    # of their squares. Without weights these are plain counts.
    matrix: Any
    size: Array
    confusion: Array
    unit: Array

    @classmethod
    def of(cls, predictions: AuditedPredictions, known: Array | None = None) -> Marks:
        """Totals of all samples, or of the samples with known values."""
        y, pred, wrong = predictions.y_index, predictions.pred_index, predictions.wrong
        weight, C = predictions.weight, len(predictions.classes)
        if known is not None:
            weight = weight * known
        total = np.bincount(y, weights=weight, minlength=C)
        squares = np.bincount(y, weights=weight**2, minlength=C)
        unit = np.divide(squares, total, out=np.ones(C), where=total > 0)
        relative = weight / unit[y]
        rows = np.arange(len(y))
        marks = np.concatenate([relative, relative[wrong], relative[wrong]])
        at = np.concatenate([rows, rows[wrong], rows[wrong]])
        columns = np.concatenate([y, C + y[wrong], 2 * C + pred[wrong]])
        matrix = sparse.csr_array((marks, (at, columns)), shape=(len(y), 3 * C))
        confusion = np.zeros((C, C))
        np.add.at(confusion, (y[wrong], pred[wrong]), relative[wrong])
        return cls(matrix, np.bincount(y, weights=relative, minlength=C), confusion, unit)


def product_of(values: Any, marks: Any) -> Array:
    """Transposed values (B, N) times indicators (N, M), dense."""
    if sparse.issparse(values):
        return np.asarray((values.T @ marks).toarray(), dtype=np.float64)
    step = max(1, _BYTES // max(1, 8 * len(values)))
    product = np.empty((values.shape[1], marks.shape[1]))
    for start in range(0, len(product), step):
        part = values[:, start : start + step].astype(np.float64)
        product[start : start + step] = (marks.T @ part).T
    return product


_SMALL = 5.0  # expected count below which the normal approximation is not accurate
_LIKELY = 5  # classes of an attribute that get exact distributions before one class is chosen
_NEAR = 1.0  # z below which neither test says anything
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Contrast:
    """Contrasts of B attributes, each for its most clearly correlated class; shape (B,)."""

    goes_with: Array
    association: Array
    errors: Array

    @property
    def score(self) -> Array:
        """The smaller of the two, regardless of the sign of the association."""
        return np.asarray(np.minimum(np.abs(self.association), self.errors))

    @property
    def p_value(self) -> Array:
        """Probability that both are so large by chance, for one attribute and one class."""
        # The association is two-sided; the errors count only in the predicted direction.
        return np.asarray(np.maximum(2 * norm.sf(np.abs(self.association)), norm.sf(self.errors)))


def contrast(block: Block, marks: Marks) -> Contrast:
    """Association and error contrast of every attribute, for the class of highest score."""
    # An attribute is correlated with class k if a larger share of k than of the other classes has
    # it. If a model relies on it, samples of k *without* it are wrong more often than those with
    # it, and samples of other classes *with* it are predicted as k more often than those without.
    # Both are tested within classes, so neither the classes' shares nor their error rates matter: z
    # = (z_k + z_{¬k}) / √2, with the other classes combined by Cochran, Mantel and Haenszel's
    # formula. With two classes that is the difference between the error rates of samples that
    # conflict with their class and of samples that agree, as a z for each class, summed. If the
    # absence is correlated with the class, the signs are reversed.
    having, wrong, taken_for = np.split(product_of(block.values, marks.matrix), 3, axis=1)
    likely = np.ones(having.shape, dtype=bool)
    if len(marks.size) > _LIKELY:  # exact distributions of a million pairs would take minutes
        rough = _statistics(having, wrong, taken_for, marks, ~likely)[2]
        likely = rough >= np.partition(rough, -_LIKELY, axis=1)[:, [-_LIKELY]]
    association, errors, score = _statistics(having, wrong, taken_for, marks, likely)
    score = np.where(likely, score, -np.inf)
    # Both classes have the same result: the class that having the attribute is correlated with is
    # used.
    best = np.argmax(association if len(marks.size) == 2 else score, axis=1)
    at = np.arange(len(best)), best
    return Contrast(best, association[at], errors[at])


def _statistics(
    having: Array, wrong: Array, taken_for: Array, marks: Marks, exact: Array
) -> tuple[Array, Array, Array]:
    """Association, errors and score, of shape (B, C); exact for the chosen entries."""
    association = _association(having, marks, exact)
    direction = np.where(association < 0, -1.0, 1.0)
    of_class = excess(wrong, having, marks.confusion.sum(axis=1), marks.size, exact)
    of_others = _of_other_classes(having, taken_for, marks, exact)
    errors = direction * (of_others - of_class) / np.sqrt(2)
    return association, errors, np.minimum(np.abs(association), errors)


def _association(having: Array, marks: Marks, exact: Array) -> Array:
    """Shape (B, C): the share of the class against the others', at their effective sizes."""
    size, unit = marks.size, marks.unit
    mass, weighed = size * unit, having * unit  # weight of all, and of those with the attribute
    square = size * unit**2
    rest, rest_square = mass.sum() - mass, square.sum() - square
    rest_size = np.divide(rest**2, rest_square, out=np.zeros_like(rest), where=rest_square > 0)
    rest_having = np.divide(
        weighed.sum(axis=1, keepdims=True) - weighed,
        rest,
        out=np.zeros_like(weighed),
        where=np.broadcast_to(rest > 0, weighed.shape),
    )
    all_having = having + rest_having * rest_size
    return excess(having, all_having, size, size + rest_size, exact)


def _of_other_classes(having: Array, taken_for: Array, marks: Marks, exact: Array) -> Array:
    """Shape (B, C): whether others with the attribute are predicted as the class, in classes."""
    confusion, flip = marks.confusion, [1, 0]
    if len(marks.size) == 2:
        return excess(taken_for, having[:, flip], confusion[flip, [0, 1]], marks.size[flip], exact)
    size = np.maximum(marks.size, 1)[:, None]
    share = confusion / size
    expected = having @ share
    spread = having * (1 - having / size[:, 0])
    variance = spread @ (share * (1 - share) * size / np.maximum(size - 1, 1))
    z = _normal(taken_for, expected, variance)
    small = exact & (expected < _SMALL) & (z >= _NEAR)
    # A sum of hypergeometric counts has a smaller variance than Poisson's, so this is conservative
    # above the mean.
    o, e = np.rint(taken_for[small]), expected[small]
    z[small] = _from_tails(poisson.sf(o, e), poisson.cdf(o - 1, e), poisson.pmf(o, e), z[small])
    return np.asarray(z)


def excess(both: Any, having: Any, marked: Any, size: Any, exact: Any = True) -> Array:
    """Difference of the marked samples with an attribute from their expected number, as z."""
    # If one of the four expected counts is below 5: Fisher's exact test with mid-p, else the normal
    # approximation. 0 if the counts say nothing.
    both, having, marked, size = np.broadcast_arrays(
        *(np.asarray(v, dtype=np.float64) for v in (both, having, marked, size))
    )
    n = np.maximum(size, 1)
    expected = having * marked / n
    variance = expected * (1 - having / n) * (size - marked) / np.maximum(n - 1, 1)
    z = _normal(both, expected, variance)
    least = np.minimum(having, size - having) * np.minimum(marked, size - marked) / n
    small = exact & (least < _SMALL) & (np.abs(z) >= _NEAR)
    o, a, m, n = (np.rint(v[small]) for v in (both, having, marked, size))
    tails = hypergeom(n, np.minimum(a, n), np.minimum(m, n))
    z[small] = _from_tails(tails.sf(o), tails.cdf(o - 1), tails.pmf(o), z[small])
    return np.asarray(z)


def _normal(observed: Array, expected: Array, variance: Array) -> Array:
    spread = np.sqrt(np.maximum(variance, 0))
    some = spread > 1e-9
    return np.asarray(np.divide(observed - expected, spread, out=np.zeros_like(spread), where=some))


def _from_tails(above: Array, below: Array, here: Array, otherwise: Array) -> Array:
    """Normal z of the mid-p of discrete counts; ``otherwise`` for an extreme p."""
    upper, lower = above + here / 2, below + here / 2
    smaller = np.minimum(upper, lower)
    z = np.where(upper < lower, norm.isf(smaller), -norm.isf(smaller))
    return np.asarray(np.where(smaller > _TINY, z, otherwise))


@dataclass(frozen=True)
class FindingGroup:
    """Samples of a class that have an attribute, or that do not have it."""

    label: Any
    having: bool
    agrees: bool
    count: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """An attribute that is correlated with a class, and on which the errors of the model depend.

    A finding is not a verdict: the word *bad* is correlated with bad reviews, and rightly. A person
    decides.

    Attributes
    ----------
    name : str
        Name of the attribute, such as ``word:film``.
    feature_set : str
        Kind of its feature set, such as ``word``.
    exact : bool
        Whether the input states the attribute; else it is inferred.
    goes_with : object
        The class.
    present : bool
        True if having the attribute is correlated with the class; False if not having it is.
    n, n_known : int
        Number of samples that have it, and number of samples for which it is known.
    share, share_elsewhere : float
        Share of the samples that have it, in the class and in all other classes.
    association : float
        z of the difference between these shares.
    error_contrast : float
        z of the errors that relying on the attribute explains, within classes.
    score : float
        The smaller of the two.
    p_value : float
        p-value of the score: probability that both z are so large by chance. It has Holm's
        correction for the attributes of the same kind, and a correction for the number of kinds.
    same, opposed : tuple of str
        Attributes that mean the same, and opposites, which are correlated with another class.
    values : tuple of tuple of str
        Attributes for each value of the groups; the first ones are the finding's own. They are of
        its kind, so a word stands for words only. If no attribute with the same meaning has a name
        (neurons, clusters), they are of any kind.
    groups : tuple of FindingGroup
        For each class (``label``), the samples ``having`` the attribute and the others: ``count``,
        ``accuracy`` (NaN if there are none) with Wilson's ``interval`` of 95 %, and whether the
        group ``agrees`` with the class.
    examples : dict of str to tuple of int
        Rows of some samples for each of "conflicting, wrong", "conflicting, right", "agreeing,
        wrong" and "agreeing, right".
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
        """The conflicting group with the lowest upper limit of its accuracy."""
        conflicting = [group for group in self.groups if not group.agrees and group.count]
        return min(conflicting, key=lambda group: group.interval[1])

    def beside(self, group: FindingGroup) -> FindingGroup:
        """The other group of the same class."""
        return next(c for c in self.groups if c.label == group.label and c.having != group.having)

    def as_dict(self) -> dict[str, Any]:
        """The fields as values that JSON can hold; NaN becomes None."""
        return dict(plain(self))

    def __str__(self) -> str:
        worst = self.worst
        other = self.beside(worst)
        what = "Having" if self.present else "Not having"
        sentence = (
            f"{what} {self.name!r} is correlated with class {_label(self.goes_with)}: "
            f"{percent(self.share)} of its samples have it, {percent(self.share_elsewhere)} of the "
            f"others. Of class {_label(worst.label)}, {_right(worst)} {_with(worst)}"
        )
        return f"{sentence}, {_right(other)} {_with(other)}." if other.count else f"{sentence}."


def _with(group: FindingGroup) -> str:
    return "with it" if group.having else "without it"


def _right(group: FindingGroup) -> str:
    return f"{percent(group.accuracy)} {interval(group.interval, 0)} are right"


def _label(label: Any) -> str:
    return repr(label.item() if hasattr(label, "item") else label)


ALIKE = 0.35
"""Correlation within classes above which attributes count as one; unrelated words are below."""
_ROWS = 1 << 14


def families(correlation: Array, side: Array, origins: Sequence[str]) -> list[list[int]]:
    """Places in a ranking that belong together: each is with the most similar leader, the first."""
    # An attribute is similar to a leader if it is read from the same column, or if they are
    # correlated. If they are correlated with different classes, the correlation must be negative
    # (*film* and *movie*). With the same class either sign counts, because exclusive attributes may
    # mean the same (*movie* and *movies*). Only similarity to the leader counts: it is not
    # transitive.
    joined = list[list[int]]()
    for i, origin in enumerate(origins):
        alike = list[float]()
        for leader, *_ in joined:
            value = float(correlation[i, leader])
            value = abs(value) if side[i] == side[leader] else -value
            alike.append(1.0 if origin == origins[leader] else value)
        nearest = max(range(len(joined)), key=lambda f: alike[f], default=None)
        if nearest is None or alike[nearest] < ALIKE:
            joined.append([i])
        else:
            joined[nearest].append(i)
    return joined


def led_by_names(
    found: Sequence[list[int]], named: Sequence[bool], origins: Sequence[str]
) -> list[list[int]]:
    """Make the first member with a name the leader; merge families of one column."""
    joined = dict[str, list[int]]()
    for family in found:
        leader = next((i for i in family if named[i]), family[0])
        joined.setdefault(origins[leader], []).extend(family)
    led = list[list[int]]()
    for members in map(sorted, joined.values()):
        leader = next((i for i in members if named[i]), members[0])
        led.append([leader, *(i for i in members if i != leader)])
    return sorted(led)


def within_class_correlation(values: Array, y_index: Array, weight: Array) -> Array:
    """Correlation of attributes within classes, summed over the classes."""
    # Two attributes that are correlated with a class are correlated with each other for that reason
    # alone. Within classes, a shortcut and the true content of the classes are not.
    n_classes = int(y_index.max()) + 1
    mass, sums = np.zeros((2, n_classes, values.shape[1]))
    parts = [slice(start, start + _ROWS) for start in range(0, len(values), _ROWS)]
    for part in parts:
        known, n = (values[part] >= 0) * weight[part, None], len(y_index[part])
        of_class = sparse.csr_array((np.ones(n), (y_index[part], np.arange(n))), (n_classes, n))
        mass += of_class @ known
        sums += of_class @ (known * values[part])
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
    """Value of a family for each sample: the class that its attribute is correlated with."""
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


Problem = tuple[Sequence[FeatureSet], AuditedPredictions]
"""Attributes to test, and the predictions whose errors may depend on them."""


def ranking_of(feature_sets: Sequence[FeatureSet], predictions: AuditedPredictions) -> Ranking:
    """Test every attribute of every feature set."""
    return rankings_of([(feature_sets, predictions)])[0]


def rankings_of(problems: Sequence[Problem]) -> list[Ranking]:
    """Test the attributes of several problems, with one correction for all tests."""
    tested = [_tested(*problem) for problem in problems]
    corrected = _corrected(tested, problems)
    return [replace(one, p_value=p) for one, p in zip(tested, corrected, strict=True)]


def _tested(feature_sets: Sequence[FeatureSet], predictions: AuditedPredictions) -> Ranking:
    """Test every attribute, one block at a time; the p-values are not corrected yet."""
    names, origins, numbers = list[str](), list[str](), list[int]()
    contrasts = list[Contrast]()
    of_all = Marks.of(predictions)
    for number, feature_set in enumerate(feature_sets):
        for block in feature_set.blocks():
            marks = of_all if block.known is None else Marks.of(predictions, block.known)
            contrasts.append(contrast(block, marks))
            names += block.names
            origins += [block.origin(i) for i in range(len(block.names))]
            numbers += [number] * len(block.names)
    which = np.asarray(numbers, dtype=int)
    goes_with, association, errors, score, p = (
        np.concatenate([*(getattr(one, name) for one in contrasts), np.empty(0, dtype=int)])
        for name in ("goes_with", "association", "errors", "score", "p_value")
    )
    order = np.argsort(
        -score.round(9), kind="stable"
    )  # opposites are ties, independent of rounding
    return Ranking(
        [names[i] for i in order],
        [origins[i] for i in order],
        *(column[order] for column in (which, goes_with, association, errors, score, p)),
    )


def _corrected(tested: Sequence[Ranking], problems: Sequence[Problem]) -> list[Array]:
    """p-values corrected within each kind of feature set, and for the number of kinds."""
    # Each kind of feature set gets an equal share of the chance of a false alarm, and Holm's
    # correction counts the attributes of one kind: thousands of channels do not raise the threshold
    # for two hundred words. By Bonferroni's bound, the total chance of a false alarm stays the
    # same. All problems share this chance: the tests of a kind are counted over all of them.
    kinds, n_tests = list[Array](), list[Array]()
    for ranking, (feature_sets, predictions) in zip(tested, problems, strict=True):
        C = len(predictions.classes)
        kinds.append(
            np.asarray([each.kind for each in feature_sets], dtype=str)[ranking.feature_set]
        )
        n_tests.append(np.full(len(ranking.names), 1 if C == 2 else C))
    p = np.concatenate([ranking.p_value for ranking in tested])
    of_kind, n_of_test = np.concatenate(kinds), np.concatenate(n_tests)
    there, corrected = np.unique(of_kind), np.ones(len(p))
    for kind in there:
        rows = of_kind == kind
        corrected[rows] = len(there) * holm(p[rows], int(n_of_test[rows].sum()))
    ends = np.cumsum([len(ranking.names) for ranking in tested])[:-1]
    return np.split(np.minimum(corrected, 1.0), ends)


_MOST = 300  # number of attributes that are grouped into families
NAMELESS = ("layer", "embedding", "input")
"""Kinds whose attributes have only numbers as names: no person can say what they mean."""
MOST_INFERRED = 5  # families of an inferred kind: each takes a person's time
_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class Findings:
    """Findings, and the value of each finding for every sample."""

    findings: tuple[Finding, ...]
    n_looked_at: dict[str, int]
    n_passed: int
    n_left_out: dict[str, int]
    values: Array

    @property
    def value_names(self) -> tuple[tuple[str, ...], ...]:
        """For each family, the attribute that names each value, from 1 on."""
        return tuple(tuple(side[0] for side in one.values) for one in self.findings)


def find_findings(
    feature_sets: Sequence[FeatureSet], predictions: AuditedPredictions, alpha: float
) -> Findings:
    """Test all attributes of all feature sets."""
    return findings_of_all([(feature_sets, predictions)], alpha)[0]


def findings_of_all(problems: Sequence[Problem], alpha: float) -> list[Findings]:
    """Findings of several problems; alpha is the chance of any false finding in all of them."""
    rankings = rankings_of(problems)
    return [
        _findings_of(*problem, ranking, alpha)
        for problem, ranking in zip(problems, rankings, strict=True)
    ]


def _findings_of(
    feature_sets: Sequence[FeatureSet],
    predictions: AuditedPredictions,
    ranking: Ranking,
    alpha: float,
) -> Findings:
    """Findings of a ranking, as families of attributes."""
    passed = np.flatnonzero((ranking.p_value <= alpha) & (ranking.score > 0))
    inferred = np.asarray([not feature_set.exact for feature_set in feature_sets], dtype=bool)
    passed = passed[np.argsort(inferred[ranking.feature_set[passed]], kind="stable")]
    top = passed[:_MOST]
    values = np.empty((len(predictions.y_index), len(top)), dtype=np.int8)
    for number, feature_set in enumerate(feature_sets):  # two sets may have the same names
        places = np.flatnonzero(ranking.feature_set[top] == number)
        columns = values_by_name([feature_set], [ranking.names[i] for i in top[places]])
        for place, column in zip(places, columns, strict=True):
            values[:, place] = column
    correlation = within_class_correlation(values, predictions.y_index, predictions.weight)
    side = np.where(ranking.association > 0, ranking.goes_with, -1 - ranking.goes_with)[top]
    origins = [ranking.origins[i] for i in top]
    kinds = [feature_sets[ranking.feature_set[i]].kind for i in top]
    named = [kind not in NAMELESS for kind in kinds]
    joined = led_by_names(families(correlation, side, origins), named, origins)
    groups, left_out = _clearest(joined, feature_sets, ranking.feature_set[top])
    findings, of_samples = list[Finding](), [np.empty((len(values), 0), dtype=np.int16)]
    for group in groups:
        # An attribute with a name stands for itself, not for a neuron.
        kind = kinds[group[0]]
        shown = [i for i in group if kind in NAMELESS or kinds[i] == kind]
        of_sample, on = sides(values[:, shown], side[shown], correlation[np.ix_(shown, shown)])
        names = tuple(tuple(ranking.names[top[shown[i]]] for i in members) for members in on)
        findings.append(
            _finding(group, names, ranking, top, side, values, feature_sets, predictions)
        )
        of_samples.append(of_sample[:, None].astype(np.int16))
    looked_at = dict.fromkeys((feature_set.kind for feature_set in feature_sets), 0)
    for number in ranking.feature_set.tolist():
        looked_at[feature_sets[number].kind] += 1
    on_side = np.concatenate(of_samples, axis=1)
    return Findings(tuple(findings), looked_at, len(passed), left_out, on_side)


def _clearest(
    found: Sequence[list[int]], feature_sets: Sequence[FeatureSet], feature_set: Array
) -> tuple[list[list[int]], dict[str, int]]:
    """Families to ask about, and the number left out for each kind; stated attributes all stay."""
    kept, counts = list[list[int]](), Counter[str]()
    for family in found:
        leader = feature_sets[feature_set[family[0]]]
        counts[leader.kind] += not leader.exact
        if counts[leader.kind] <= MOST_INFERRED:
            kept.append(family)
    return kept, {kind: n - MOST_INFERRED for kind, n in counts.items() if n > MOST_INFERRED}


def _finding(
    family: list[int],
    on: tuple[tuple[str, ...], ...],
    ranking: Ranking,
    top: Array,
    side: Array,
    values: Array,
    feature_sets: Sequence[FeatureSet],
    predictions: AuditedPredictions,
) -> Finding:
    leader, *others = family
    at = int(top[leader])
    feature_set, goes_with = feature_sets[ranking.feature_set[at]], int(ranking.goes_with[at])
    present = bool(ranking.association[at] > 0)
    column = values[:, leader]
    known = (column >= 0) & (predictions.weight > 0)
    of_class = predictions.y_index == goes_with
    agrees = ((column == 1) == of_class) if present else ((column == 0) == of_class)
    label = predictions.classes[goes_with]
    others.sort(key=lambda i: ranking.feature_set[top[i]])  # in the order of the feature sets
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
        same=tuple(ranking.names[top[i]] for i in others if side[i] == side[leader]),
        opposed=tuple(ranking.names[top[i]] for i in others if side[i] != side[leader]),
        values=on,
        groups=_groups(column, known, goes_with, present, predictions),
        examples=_examples(agrees, predictions.wrong, known),
    )


def _share(column: Array, rows: Array, weight: Array) -> float:
    mass = float(weight[rows].sum())
    return float(weight[rows & (column == 1)].sum()) / mass if mass else float("nan")


def _groups(
    column: Array, known: Array, goes_with: int, present: bool, predictions: AuditedPredictions
) -> tuple[FindingGroup, ...]:
    """Accuracies by class, for samples with and without the attribute."""
    y, pred = predictions.y_index[known], predictions.pred_index[known]
    lacking, weight = (column[known] != 1).astype(int), predictions.weight[known]
    rows = group_report(y, pred, attribute=lacking, sample_weight=weight).rows
    labels, pairs = predictions.classes.tolist(), product(np.unique(y).tolist(), (True, False))
    return tuple(
        FindingGroup(
            labels[c],
            having=having,
            agrees=(having == present) == (c == goes_with),
            count=row.count,
            accuracy=row.accuracy,
            interval=row.interval,
        )
        for (c, having), row in zip(pairs, (r for r in rows if r.kind == "group"), strict=True)
    )


def _examples(agrees: Array, wrong: Array, known: Array) -> dict[str, tuple[int, ...]]:
    return {
        f"{how}, {what}": tuple(np.flatnonzero(known & rows & outcome)[:_EXAMPLES].tolist())
        for how, rows in (("conflicting", ~agrees), ("agreeing", agrees))
        for what, outcome in (("wrong", wrong), ("right", ~wrong))
    }
