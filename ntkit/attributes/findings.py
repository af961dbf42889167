"""Findings: attributes that the errors of a model depend on, tested, ranked and grouped.

A *finding* is an attribute that is correlated with a class, and that the errors of that class
depend on. A *conjunction* is a pair of conditions whose samples are wrong more often than either
explains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.stats import norm

from ntkit._checks import labels_of_one_type, rates
from ntkit._key import Key, conditions_in
from ntkit._shown import InNotebook, NotebookView, ShownTable, bar_of, ends, frame_of
from ntkit._text import counted, interval, percent, plain, with_interval
from ntkit._types import Array
from ntkit.attributes import Block, FeatureSet
from ntkit.attributes.feature_set import FEWEST, both_of, values_by_name
from ntkit.attributes.image_statistics import CHANGES, OF_CELL, OF_COLOUR
from ntkit.metrics import Row, compare, mean_of_rows, unrelated_shares
from ntkit.metrics.bounds import holm
from ntkit.metrics.contrasts import (
    Contrast,
    Marks,
    association,
    contrast,
    pair_contrast,
    pair_p_value,
    product_of,
    surprise,
)
from ntkit.metrics.rows import Kind

__all__ = ["Finding"]

NAMELESS = ("layer", "embedding", "input")
"""Kinds whose attributes have only numbers as names: no person can say what they mean."""
SHOWN = 6
"""Largest number of questions on a list of a page, which a person can answer in five minutes."""


@dataclass(frozen=True, eq=False)
class AuditedPredictions:
    """True and predicted classes of N samples that the model was not trained on."""

    classes: Array
    y_index: Array
    pred_index: Array
    weight: Array

    @classmethod
    def of(cls, y: ArrayLike, pred: ArrayLike, weight: Array) -> AuditedPredictions:
        """Predictions from class labels."""
        y, pred = labels_of_one_type(y, pred=pred)
        classes, index = np.unique(np.concatenate([y, pred]), return_inverse=True)
        return cls(classes, index[: len(y)], index[len(y) :], weight)

    @property
    def wrong(self) -> Array:
        """Whether the predicted class is wrong: bool, (N,)."""
        return np.asarray(self.pred_index != self.y_index)

    def marks(self, known: Array | None = None) -> Marks:
        """Classes and errors of all samples, or of those with known values."""
        weight = self.weight if known is None else self.weight * known
        return Marks.of(self.y_index, self.pred_index, weight, len(self.classes))


ALIKE = 0.35
"""Correlation within classes above which attributes count as one; unrelated words are below."""
_AGREE, _POSSIBLE = 0.15, 0.7
_ROWS = 1 << 14


def within_class_correlation(values: Array, y_index: Array, weight: Array) -> Array:
    """Correlation of attributes within classes, summed over the classes."""
    # Two attributes that are correlated with a class are correlated with each other for that reason
    # alone. Within classes, a shortcut and the true content of the classes are not.
    return _within_classes(values, y_index, weight)[0]


def one_shortcut(values: Array, y_index: Array, weight: Array) -> tuple[Array, Array]:
    """Correlation of attributes within classes, and which pairs of them are one shortcut."""
    # A bright border makes half of the image brighter than the median: as far as the two can agree,
    # they do, but the correlation is small because one is more frequent. So 70 % of the largest
    # correlation that is possible with their frequencies count as well as a large correlation.
    # Of 2000 made-up pairs that agree with a class in 95 % of 500 samples, and are independent
    # within classes, at most 0.05 % reach both bounds, and at most 0.7 % of 300 samples.
    correlation, most = _within_classes(values, y_index, weight)
    size = np.abs(correlation)
    nested = (size >= _AGREE) & (size >= _POSSIBLE * most)
    return correlation, (size >= ALIKE) | nested


def _within_classes(values: Array, y_index: Array, weight: Array) -> tuple[Array, Array]:
    """Correlation within classes, and the largest of the same sign with the same frequencies."""
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
    most = np.zeros_like(gram)
    for n, share in zip(mass, mean, strict=True):
        one, other = share[:, None], share[None]
        lowest, highest = np.maximum(0, one + other - 1), np.minimum(one, other)
        possible = np.where(gram < 0, one * other - lowest, highest - one * other)
        most += possible * np.sqrt(np.outer(n, n))
    correlation, largest = (
        np.divide(each, scale, out=np.zeros_like(gram), where=scale > 0) for each in (gram, most)
    )
    return correlation, largest


# -- conjunctions ----------------------------------------------------------------------------------

_MOST_CONDITIONS = 300  # of which ntkit forms pairs
_MOST_ROWS = 20_000  # on which pairs are ranked
_MOST_PAIRS = 20  # that are tested
_RANKED = 200  # pairs among which those with nearly the same samples are sought
_MOST_LABELS = 5  # classes whose wrong predictions are examined
_SUPPORT = 10  # samples of a pair on the first part
_ERRORS = 3  # of which wrong
_MOST_RIVALS, _RIVAL = 3, 2.0  # conditions that may explain a pair, and their least z
_PROMISING = 1.0  # z from which a pair is tested


@dataclass(frozen=True, eq=False)
class Conjunctions:
    """Tested pairs of conditions; p-values have no correction."""

    conditions: list[tuple[str, str]]
    exact: list[bool]
    goes_with: list[int]
    score: Array  # z of the test
    p_value: Array  # and 1 for each other pair that counts as a test


@dataclass(frozen=True, eq=False)
class Condition:
    """An attribute that may be part of a conjunction, and its value for every sample."""

    name: str
    exact: bool
    values: Array
    score: float  # z of the errors that depend on it, on the first part


class Pairs:
    """Conditions, taken while the attributes are tested, and the tests of their pairs."""

    # All pairs with enough samples count as tests; p-values of those that are not promising are set
    # to 1. If the errors chose the conditions, or for the time if there are many rows, pairs are
    # ranked on one part and tested on the rest. Layers are left out: no person understands them.
    # So are cells of images, which would be most of all pairs.

    def __init__(self, predictions: AuditedPredictions) -> None:
        self.predictions, self.y = predictions, predictions.y_index
        self.weight = predictions.weight / predictions.marks().unit[self.y]
        self.first, self.second = _parts(predictions)
        self.counts, self.happens = _errors(predictions)
        self.conditions, self.n_offered = list[Condition](), 0
        excess = np.zeros((len(self.y), len(self.happens)))
        for error, happens in enumerate(self.happens):
            rows, share = self._expected(error, self.first)
            excess[rows, error] = self.weight[rows] * (happens[rows] - share)
        self._excess = sparse.csr_array(excess)

    def take(self, feature_set: FeatureSet, block: Block) -> None:
        """Keep the conditions of a block; of many, those that errors depend on most."""
        if not len(self.happens) or not (feature_set.exact or feature_set.kind == "image"):
            return
        kept, values = [*range(len(block.names))], block.values
        if not feature_set.exact:
            kept = [i for i in kept if not block.origin(i).startswith(OF_CELL)]
            kept = [i for i in kept if block.origin(i) not in OF_COLOUR]
            values = values[:, kept]
        self.n_offered += len(kept)
        score = surprise(values, self._excess).max(axis=1)
        for at in np.argsort(-score, kind="stable")[:_MOST_CONDITIONS]:
            i = kept[at]
            about = block.names[i], feature_set.exact, block.column(i)
            self.conditions.append(Condition(*about, float(score[at])))
        if len(self.conditions) > _MOST_CONDITIONS:
            self.conditions.sort(key=lambda each: -each.score)
            del self.conditions[_MOST_CONDITIONS:]

    def tested(self) -> Conjunctions:
        """Tests of the most promising pairs."""
        values = np.empty((len(self.y), len(self.conditions)), dtype=np.int8)
        for at, condition in enumerate(self.conditions):
            values[:, at] = condition.values
        rows = np.sort(np.concatenate([self.first, self.second]))
        if whole := self.n_offered == len(self.conditions) and len(rows) <= 2 * _MOST_ROWS:
            self.first = self.second = rows
        best, n_enough = self._best(values)
        pairs = [(self.conditions[i], self.conditions[j]) for i, j, _ in best]
        goes_with, p_values = list[int](), list[float]()
        for i, j, error in best:
            both = both_of(values[:, i], values[:, j]) == 1
            rows = np.flatnonzero(both & self.happens[error] & self.counts[error])
            given = np.bincount(self.predictions.pred_index[rows], minlength=1)
            goes_with.append(int(given.argmax()))
            rivals = self._rivals(values, both, (i, j), error)
            rows = self.second[self.counts[error, self.second]]
            which = (values[rows][:, rivals] == 1) @ (1 << np.arange(len(rivals)))
            of_pair, happens = values[rows][:, [i, j]], self.happens[error, rows]
            all_strata = self.y[rows], (self.y[rows] << len(rivals)) + which
            w = self.weight[rows]
            p_values.append(max(pair_p_value(of_pair, at, happens, w) for at in all_strata))
        p = np.asarray(p_values, dtype=np.float64)
        n_counted = n_enough if whole else max(len(p), min(n_enough, 1))
        return Conjunctions(
            [(one.name, other.name) for one, other in pairs],
            [one.exact and other.exact for one, other in pairs],
            goes_with,
            norm.isf(np.maximum(p, 1e-300)),
            np.append(p, np.ones(n_counted - len(p))),
        )

    def _expected(
        self, error: int, rows: Array, strata: Array | None = None
    ) -> tuple[Array, Array]:
        """The rows that count for an error, and the share of their class in which it happens."""
        rows = rows[self.counts[error, rows]]
        at, weight = (self.y if strata is None else strata)[rows], self.weight[rows]
        return rows, rates(self.happens[error, rows], at, weight)[0][at]

    def _best(self, values: Array) -> tuple[list[list[int]], int]:
        """Both conditions and the error of the most promising pairs, which have different samples.

        Last comes the number of pairs with enough samples.
        """
        at, score, n_enough = np.empty((0, 3), dtype=int), np.empty(0), 0
        has = values[self.first] == 1
        for error in range(len(self.happens) if len(self.conditions) > 1 else 0):
            rows, share = self._expected(error, self.first)
            inside, happens = self.counts[error, self.first], self.happens[error, rows]
            z, errors, n = pair_contrast(has[inside], happens, share, self.weight[rows])
            enough = (n[0] >= _SUPPORT) & (n[1:] >= FEWEST).all(axis=0)  # whatever the errors are
            scores = np.where(enough & (errors >= _ERRORS), z, -np.inf)
            n_enough += int(np.triu(enough, 1).sum())
            i, j = np.nonzero(np.triu(scores, 1) > _PROMISING)
            at = np.concatenate([at, np.column_stack([i, j, np.full(len(i), error)])])
            score = np.concatenate([score, scores[i, j]])
            best = np.argsort(-score, kind="stable")[:_RANKED]
            at, score = at[best], score[best]
        if not len(at):
            return [], n_enough
        both = both_of(values[self.first][:, at[:, 0]], values[self.first][:, at[:, 1]])
        y, weight = self.y[self.first], self.weight[self.first]
        alike = np.abs(within_class_correlation(both, y, weight)) >= ALIKE
        chosen = list[int]()
        for place in range(len(at)):
            if not alike[place, chosen].any():
                chosen.append(place)
        return at[chosen[:_MOST_PAIRS]].tolist(), n_enough

    def _rivals(self, values: Array, both: Array, pair: tuple[int, int], error: int) -> list[int]:
        """Other conditions that errors depend on, with the pair or without: they may explain it."""
        rows, share = self._expected(error, self.first, 2 * self.y + both)
        excess = self.weight[rows] * (self.happens[error, rows] - share)
        z = surprise(values[rows] == 1, excess[:, None])[:, 0]
        z[list(pair)] = -np.inf
        order = np.argsort(-z, kind="stable")[:_MOST_RIVALS]
        return [int(i) for i in order if z[i] >= _RIVAL]


def _parts(predictions: AuditedPredictions) -> tuple[Array, Array]:
    """Rows to rank pairs on, and rows to test them on, with the same classes and errors."""
    rng, wrong = np.random.default_rng(0), predictions.wrong
    n = int((predictions.weight > 0).sum())
    share, first = min(0.5, _MOST_ROWS / max(1, n)), np.zeros(len(wrong), dtype=bool)
    rows = rng.permutation(np.flatnonzero(predictions.weight > 0))
    stratum = 2 * predictions.y_index[rows] + wrong[rows]
    order = np.argsort(stratum, kind="stable")
    at = np.arange(n) - np.searchsorted(stratum[order], stratum[order])  # place in the stratum
    first[rows[order]] = np.floor((at + 1) * share) > np.floor(at * share)
    return np.flatnonzero(first), np.flatnonzero((predictions.weight > 0) & ~first)


def _errors(predictions: AuditedPredictions) -> tuple[Array, Array]:
    """Samples that count for each error that a pair may cause, and where it happens, (E, N).

    An error is a class that is predicted wrongly often; of more than two classes, any error too.
    """
    y, pred, wrong = predictions.y_index, predictions.pred_index, predictions.wrong
    there, C = predictions.weight > 0, len(predictions.classes)
    often = np.bincount(pred[wrong & there], minlength=C)
    labels = np.argsort(-often, kind="stable")[:_MOST_LABELS]
    labels = labels[often[labels] >= _ERRORS, None]
    counts, happens = there & (y != labels), pred == labels
    if C > 2 and wrong.any():
        counts, happens = np.vstack([counts, there]), np.vstack([happens, wrong])
    return counts, happens


# -- findings --------------------------------------------------------------------------------------

CONJUNCTION = "conjunction"
"""Kind of a finding of two conditions."""


@dataclass(frozen=True, repr=False)
class Finding(InNotebook):
    """An attribute that is correlated with a class, and on which the errors of the model depend.

    A *conjunction* of two attributes is a finding if the errors depend on having both.

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
    n_unknown : int
        Number of the other samples, such as those between two modes of an image property.
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
        Attributes that mean the same, and opposites, which are correlated with another class. A
        threshold of the same column is not an opposite, because samples have both.
    values : tuple of tuple of str
        Attributes for each value of the groups; the first ones are the finding's own. They are of
        its kind, so a word stands for words only. If no attribute with the same meaning has a name
        (neurons, clusters), they are of any kind.
    groups : tuple of Row
        For each class (``name``), the samples that have the attribute (``which`` is True) and the
        others: ``n``, and ``value``, the accuracy (NaN if there are none), with Wilson's
        ``interval`` of 95 %.
    examples : dict of str to tuple of int
        Rows of some samples for each of "conflicting, wrong", "conflicting, right", "agreeing,
        wrong" and "agreeing, right".
    conditions : tuple of str
        The two conditions of a conjunction, such as ``column:device=mobile and column:hour=night``;
        else empty. Its p-value says that samples of other classes with both conditions are
        predicted as the class more often than either condition explains. It may be correlated with
        the class or not. ``error_contrast`` is the z of this test.
    """

    name: str
    feature_set: str
    exact: bool
    goes_with: Any
    share: float
    share_elsewhere: float
    association: float
    error_contrast: float
    p_value: float
    same: tuple[str, ...]
    opposed: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    groups: tuple[Row, ...]
    examples: dict[str, tuple[int, ...]]
    conditions: tuple[str, ...] = ()
    n_unknown: int = 0

    @property
    def present(self) -> bool:
        """Whether having the attribute is correlated with the class; else not having it is."""
        return bool(self.conditions) or self.association > 0

    @property
    def n(self) -> int:
        """Number of samples that have the attribute."""
        return sum(group.n for group in self.groups if group.which)

    @property
    def n_known(self) -> int:
        """Number of samples for which the attribute is known."""
        return sum(group.n for group in self.groups)

    @property
    def score(self) -> float:
        """The smaller z of association and error contrast; of a conjunction, that of its test."""
        errors = self.error_contrast
        return errors if self.conditions else min(abs(self.association), errors)

    @property
    def worst(self) -> Row:
        """The conflicting group with the lowest upper limit of its accuracy."""
        # The test of a conjunction says nothing about the samples without it.
        conflicting = [
            group
            for group in self.groups
            if not self.agrees(group) and group.n and (group.which or not self.conditions)
        ]
        return min(conflicting, key=lambda group: group.wilson()[1])

    def agrees(self, group: Row) -> bool:
        """Whether a group's attribute is what its class is correlated with."""
        return bool((group.which == self.present) == (group.name == self.goes_with))

    def beside(self, group: Row) -> Row:
        """The other group of the same class."""
        return next(c for c in self.groups if c.name == group.name and c.which != group.which)

    @property
    def words_left(self) -> tuple[str, ...]:
        """Words with the same meaning that stay in a text if those of the name are left out."""
        keys = [Key.of(name) for name in (self.name, *self.same) if not conditions_in(name)]
        of_name = {*keys[0].what.split()}
        left = [key for key in keys if key.kind == keys[0].kind == "word"]
        return tuple(str(key) for key in left if not of_name & {*key.what.split()})

    @property
    def unrelated(self) -> Row | None:
        """Accuracy if attribute and class were unrelated; None if a group has no sample."""
        n = np.array([group.n for group in self.groups]).reshape(-1, 2)  # with it and without it
        if not n.all():
            return None
        shares = unrelated_shares(n.sum(axis=1).tolist(), n.sum(axis=0).tolist())
        return mean_of_rows(self.groups, shares.ravel())

    def as_dict(self) -> dict[str, Any]:
        """The fields as values that JSON can hold; NaN becomes None."""
        groups = [
            {"label": group.name, "having": group.which, "agrees": self.agrees(group),
             "count": group.n, "accuracy": group.value, "interval": group.interval}
            for group in self.groups
        ]  # fmt: skip
        facts = {name: getattr(self, name) for name in _FACTS}
        return dict(plain({**facts, "groups": groups}))

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each class, with the attribute and without it.

        Columns: ``class``, ``with_it``, ``samples``, ``accuracy``, ``low``, ``high``.
        """
        rows = [
            {"class": group.name, "with_it": group.which, "samples": group.n,
             "accuracy": group.value, **ends("", group.interval)}
            for group in self.groups
        ]  # fmt: skip
        return frame_of(rows, _GROUP_COLUMNS)

    def _shown(self) -> NotebookView:
        rows = [["class", "attribute", "samples", "accuracy in %, 95 % interval"]]
        for group in self.groups:
            share = with_interval(group.value, group.interval, group.n)
            rows.append([str(group.name), _with(group), str(group.n), share])
        return NotebookView([str(self)], [ShownTable(rows, [*map(bar_of, self.groups)])])

    def __repr__(self) -> str:
        worst = self.worst
        share = f"{percent(worst.value)} of {worst.n} right"
        return f"Finding({self.name!r}: class {_label(worst.name)} {_with(worst)}, {share})"

    def __str__(self) -> str:
        worst = self.worst
        other = self.beside(worst)
        if self.conditions:
            first, second = self.conditions
            return (
                f"Of class {_label(worst.name)}, {_right(worst)} with both {first!r} and "
                f"{second!r}, {_right(other)} of the others. Many are predicted as "
                f"{_label(self.goes_with)}. Neither condition alone explains this."
            )
        what = "Having" if self.present else "Not having"
        sentence = (
            f"{what} {self.name!r} is correlated with class {_label(self.goes_with)}: "
            f"{percent(self.share)} of its samples have it, {percent(self.share_elsewhere)} of the "
            f"others. Of class {_label(worst.name)}, {_right(worst)} {_with(worst)}"
        )
        end = f", {_right(other)} {_with(other)}." if other.n else "."
        unknown = f" It is unknown for {counted(self.n_unknown, 'sample')}." * bool(self.n_unknown)
        return f"{sentence}{end}{unknown}"


_GROUP_COLUMNS = {"class": object, "with_it": bool, "samples": int, "accuracy": float}
_GROUP_COLUMNS |= {"low": float, "high": float}
_FACTS = (
    "name", "feature_set", "exact", "goes_with", "present", "n", "n_known", "n_unknown", "share",
    "share_elsewhere", "association", "error_contrast", "score", "p_value", "same", "opposed",
    "values", "groups", "examples", "conditions",
)  # fmt: skip


def _with(group: Row) -> str:
    return "with it" if group.which else "without it"


def _right(group: Row) -> str:
    return f"{percent(group.value)} {interval(group.interval, 0)} are right"


def _label(label: Any) -> str:
    return repr(label.item() if hasattr(label, "item") else label)


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


_SAME = 0.8  # correlation from which a border is what other parts of an image measure


def led_by_names(
    found: Sequence[list[int]],
    named: Sequence[bool],
    origins: Sequence[str],
    names: Sequence[str],
    correlation: Array,
) -> list[list[int]]:
    """Make the first member with a name, or its phrase, the leader; merge families of a column."""
    # A bright border makes all of the outer parts bright, but not the one in the middle.
    phrases = [
        {*Key.of(name).what.split()} if Key.of(name).kind == "word" else set[str]()
        for name in names
    ]
    joined = dict[str, list[int]]()
    for family in found:
        leader = next((i for i in family if named[i]), family[0])
        joined.setdefault(origins[leader], []).extend(family)
    led = list[list[int]]()
    for members in map(sorted, joined.values()):
        leader = next((i for i in members if named[i]), members[0])
        of_it = [i for i in members if phrases[leader] and phrases[leader] < phrases[i]]
        leader = max(of_it, key=lambda i: len(phrases[i]), default=leader)
        kinds = {origins[i] for i in members}
        if (
            Key.of(origins[leader]).kind == "image"
            and "image:middle centre brightness" not in kinds
        ):
            of_border = (i for i in members if origins[i] == "image:border brightness")
            nearest = max(of_border, key=lambda i: correlation[i, leader], default=leader)
            leader = nearest if correlation[nearest, leader] >= _SAME else leader
        # "Orange" says more than "redness", but not where a mark is.
        if CHANGES.get(Key.of(origins[leader]).what) in ("image:border", "image:grey"):
            of_colour = (i for i in members if origins[i] in OF_COLOUR)
            nearest = max(of_colour, key=lambda i: correlation[i, leader], default=leader)
            leader = nearest if correlation[nearest, leader] >= _SAME else leader
        led.append([leader, *(i for i in members if i != leader)])
    return sorted(led)


def one_card(
    found: Sequence[list[int]], joins: Array, origins: Sequence[str]
) -> list[list[list[int]]]:
    """Families of one shortcut; the first has the property that a person is asked about."""
    # A family joins the first card that its leader joins, or with another threshold of its measure.
    cards = list[list[list[int]]]()
    for family in found:
        leader = family[0]
        for card in cards:
            if joins[leader, card[0][0]] or origins[leader] in {origins[i] for i in card[0]}:
                card.append(family)
                break
        else:
            cards.append([family])
    return cards


_COVERED = 0.5


def _covers(values: Array, side: Array, predictions: AuditedPredictions) -> Array:
    """Whether another attribute explains most of the errors of each attribute, (A, A)."""
    # An attribute explains the errors on the samples that conflict with its class. By chance it
    # has the share of all samples; it must have half of the rest as well.
    of_class = predictions.y_index[:, None] == np.where(side < 0, -1 - side, side)
    conflicting = (values >= 0) & (((values == 1) == (side >= 0)) != of_class)
    there = predictions.weight > 0
    errors = conflicting[predictions.wrong & there].astype(np.float32)
    both, chance = errors.T @ errors, conflicting[there].mean(axis=0)
    share = both / np.maximum(np.diag(both), 1)[:, None]
    return np.asarray(share >= chance + _COVERED * (1 - chance))


def sides(values: Array, side: Array, correlation: Array) -> tuple[Array, list[list[int]]]:
    """Value of a family for each sample: the class that its attribute is correlated with."""
    # Attributes of one family may be parts of each other, as thresholds of one column are. A value
    # takes only attributes that are apart from all others, so that no value holds another one.
    has = (values == 1).astype(np.float32)
    apart = (correlation < 0) | (has.T @ has == 0)
    members, kept = dict[int, list[int]](), list[int]()
    for i, on in enumerate(side.tolist()):
        if apart[i, kept].all():
            members.setdefault(on, []).append(i)
            kept.append(i)
    having = np.stack([(values[:, m] == 1).any(axis=1) for m in members.values()], axis=1)
    of_sample = np.where(having.sum(axis=1) == 1, having.argmax(axis=1) + 1, 0)
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
    pairs: Conjunctions


Problem = tuple[Sequence[FeatureSet], AuditedPredictions]
"""Attributes to test, and the predictions whose errors may depend on them."""


def _tested(feature_sets: Sequence[FeatureSet], predictions: AuditedPredictions) -> Ranking:
    """Test every attribute, one block at a time; the p-values are not corrected yet."""
    names, origins, numbers = list[str](), list[str](), list[int]()
    contrasts = list[Contrast]()
    of_all, pairs = predictions.marks(), Pairs(predictions)
    for number, feature_set in enumerate(feature_sets):
        for block in feature_set.blocks():
            marks = of_all if block.known is None else predictions.marks(block.known)
            contrasts.append(contrast(block.values, marks))
            pairs.take(feature_set, block)
            names += block.names
            origins += [block.origin(i) for i in range(len(block.names))]
            numbers += [number] * len(block.names)
    which = np.asarray(numbers, dtype=int)
    goes_with, associations, errors, score, p = (
        np.concatenate([*(getattr(one, name) for one in contrasts), np.empty(0, dtype=int)])
        for name in ("goes_with", "association", "errors", "score", "p_value")
    )
    order = np.argsort(
        -score.round(9), kind="stable"
    )  # opposites are ties, independent of rounding
    return Ranking(
        [names[i] for i in order],
        [origins[i] for i in order],
        which[order],
        goes_with[order],
        associations[order],
        errors[order],
        score[order],
        p[order],
        pairs.tested(),
    )


_MOST = 300  # number of attributes that are grouped into families
MOST_INFERRED = 5  # families of an inferred kind: each takes a person's time
_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class Findings:
    """Findings, the value of each for every sample, and how they were tested.

    Those that ``n_left_out`` counts come last: a page does not show them.
    """

    findings: tuple[Finding, ...]
    n_looked_at: dict[str, int]
    n_passed: int
    n_left_out: dict[str, int]
    values: Array
    alpha: float  # largest p-value, after one correction for all problems
    n_problems: int = 1
    n_conjunctions: int = 0  # counted as tests

    @property
    def shown(self) -> tuple[Finding, ...]:
        """Findings without the weaker ones of inferred kinds."""
        return self.findings[: len(self.findings) - sum(self.n_left_out.values())]


def rankings_of(problems: Sequence[Problem]) -> list[Ranking]:
    """Test the attributes of several problems, with one correction for all tests."""
    # Each kind of feature set gets an equal share of the chance of a false alarm, and Holm's
    # correction counts the attributes of one kind: thousands of channels do not raise the threshold
    # for two hundred words. By Bonferroni's bound, the total chance of a false alarm stays the
    # same. All problems share this chance: the tests of a kind are counted over all of them.
    # Conjunctions are a kind of their own.
    tested = [_tested(*problem) for problem in problems]
    kinds, n_tests = list[Array](), list[Array]()
    for ranking, (feature_sets, predictions) in zip(tested, problems, strict=True):
        C = len(predictions.classes)
        of_sets = np.asarray([each.kind for each in feature_sets], dtype=str)
        n, n_pairs = len(ranking.p_value), len(ranking.pairs.p_value)
        kinds += [of_sets[ranking.feature_set], np.full(n_pairs, CONJUNCTION)]
        n_tests += [np.full(n, 1 if C == 2 else C), np.ones(n_pairs, dtype=int)]
    parts = [p for ranking in tested for p in (ranking.p_value, ranking.pairs.p_value)]
    p = np.concatenate(parts)
    of_kind, n_of_test = np.concatenate(kinds), np.concatenate(n_tests)
    there, corrected = np.unique(of_kind), np.ones(len(p))
    for kind in there:
        rows = of_kind == kind
        corrected[rows] = len(there) * holm(p[rows], int(n_of_test[rows].sum()))
    p_values = np.split(np.minimum(corrected, 1.0), np.cumsum([*map(len, parts)])[:-1])
    return [
        replace(ranking, p_value=p, pairs=replace(ranking.pairs, p_value=of_pairs))
        for ranking, p, of_pairs in zip(tested, p_values[::2], p_values[1::2], strict=True)
    ]


def find_findings(problems: Sequence[Problem], alpha: float) -> list[Findings]:
    """Findings of each problem; alpha is the chance of any false finding in all of them."""
    rankings = rankings_of(problems)
    return [
        replace(_findings_of(*problem, ranking, alpha), n_problems=len(problems))
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
    no_name = np.asarray([each.kind in NAMELESS for each in feature_sets], dtype=bool)
    last = (inferred.astype(int) + no_name)[ranking.feature_set[passed]]
    passed = passed[np.argsort(last, kind="stable")]
    top = passed[:_MOST]
    values = np.empty((len(predictions.y_index), len(top)), dtype=np.int8)
    for number, feature_set in enumerate(feature_sets):  # two sets may have the same names
        places = np.flatnonzero(ranking.feature_set[top] == number)
        columns = values_by_name([feature_set], [ranking.names[i] for i in top[places]])
        for place, column in zip(places, columns, strict=True):
            values[:, place] = column
    correlation, agree = one_shortcut(values, predictions.y_index, predictions.weight)
    side = np.where(ranking.association > 0, ranking.goes_with, -1 - ranking.goes_with)[top]
    origins = [ranking.origins[i] for i in top]
    kinds = [feature_sets[ranking.feature_set[i]].kind for i in top]
    named = [kind not in NAMELESS for kind in kinds]
    names = [ranking.names[i] for i in top]
    joined = led_by_names(families(correlation, side, origins), named, origins, names, correlation)
    has_name = np.array(named, dtype=bool)
    other_side = side[:, None] != side
    together = other_side & (correlation > 0)  # as in families
    opposite = other_side & ~together
    covers = _covers(values, side, predictions) & ~has_name[:, None] & has_name
    joins = (agree & ~together) | covers
    cards = one_card(joined, joins, origins)
    clearest, weaker = _clearest(cards, feature_sets, ranking.feature_set[top], origins)
    findings, of_samples = list[Finding](), [np.empty((len(values), 0), dtype=np.int16)]
    for card in clearest + weaker:
        # An attribute with a name stands for itself, not for a neuron; a measured one also not for
        # other measurements. Two words may have one meaning. Other cells show the same once more.
        leader = card[0][0]
        cells = {
            i
            for i in chain(*card)
            if origins[i].startswith(OF_CELL) and origins[i] != origins[leader]
        }
        group = [i for i in chain(*card) if i not in cells]
        alike = origins if inferred[ranking.feature_set[top[leader]]] else kinds
        shown = [i for i in card[0] if not named[leader] or alike[i] == alike[leader]]
        shown = [i for i in shown if i not in cells]
        of_sample, on = sides(values[:, shown], side[shown], correlation[np.ix_(shown, shown)])
        of_sides = tuple(tuple(names[shown[i]] for i in members) for members in on)
        findings.append(
            _finding(group, of_sides, ranking, top, opposite, values, feature_sets, predictions)
        )
        of_samples.append(of_sample[:, None].astype(np.int16))
    n = len(clearest)
    leaders = values[:, [card[0][0] for card in clearest]]
    asked, of_asked = findings[:n], of_samples[: n + 1]  # the first array holds no finding
    n_pairs = _add_conjunctions(
        asked, of_asked, leaders, ranking.pairs, feature_sets, predictions, alpha
    )
    looked_at = dict.fromkeys((feature_set.kind for feature_set in feature_sets), 0)
    for number in ranking.feature_set.tolist():
        looked_at[feature_sets[number].kind] += 1
    on_side = np.concatenate(of_asked + of_samples[n + 1 :], axis=1)
    n_tested = len(ranking.pairs.p_value)
    return Findings(
        (*asked, *findings[n:]),
        looked_at,
        len(passed) + n_pairs,
        dict(Counter(finding.feature_set for finding in findings[n:])),
        on_side,
        alpha,
        n_conjunctions=n_tested,
    )


NEARLY = 0.8
"""Correlation within classes from which a conjunction has nearly the samples of a finding."""


def _add_conjunctions(
    findings: list[Finding],
    of_samples: list[Array],
    leaders: Array,
    pairs: Conjunctions,
    feature_sets: Sequence[FeatureSet],
    predictions: AuditedPredictions,
    alpha: float,
) -> int:
    """Insert the conjunctions by exactness and score; return how many passed the test."""
    # A conjunction with nearly the samples of a finding belongs to it. The pairs differ from each
    # other already: of similar ones only the best was tested.
    passed = np.flatnonzero((pairs.p_value[: len(pairs.score)] <= alpha) & (pairs.score > 0))
    columns = [values_by_name(feature_sets, pairs.conditions[i]) for i in passed]
    both = [both_of(*parts)[:, None] for parts in columns]
    y, weight = predictions.y_index, predictions.weight
    correlation = within_class_correlation(np.concatenate([leaders, *both], axis=1), y, weight)
    of_leaders = correlation[leaders.shape[1] :, : leaders.shape[1]]
    single = [*findings]
    for i, values, alike in zip(passed, both, of_leaders, strict=True):
        name = " and ".join(pairs.conditions[i])
        if (np.abs(alike) >= NEARLY).any():
            nearest = int(np.argmax(np.abs(alike)))
            at = next(i for i, each in enumerate(findings) if each.name == single[nearest].name)
            if alike[nearest] > 0:
                findings[at] = replace(findings[at], same=(*findings[at].same, name))
            else:
                findings[at] = replace(findings[at], opposed=(*findings[at].opposed, name))
            continue
        ranks = [(e.exact, e.feature_set not in NAMELESS, e.score) for e in findings]
        at = sum(rank >= (pairs.exact[i], True, pairs.score[i]) for rank in ranks)
        marks = predictions.marks(values[:, 0] >= 0)
        having = product_of(values == 1, marks.matrix)[:, : len(predictions.classes)]
        goes_with, z = pairs.goes_with[i], float(pairs.score[i])
        finding = _described(
            values[:, 0],
            goes_with,
            True,
            predictions,
            name=name,
            feature_set=CONJUNCTION,
            exact=pairs.exact[i],
            association=float(association(having, marks, having >= 0)[0, goes_with]),
            error_contrast=z,
            p_value=float(pairs.p_value[i]),
            same=(),
            opposed=(),
            values=((name,),),
            conditions=pairs.conditions[i],
        )
        findings.insert(at, finding)
        of_samples.insert(at + 1, values.astype(np.int16))
    return len(passed)


def _clearest(
    cards: Sequence[list[list[int]]],
    feature_sets: Sequence[FeatureSet],
    feature_set: Array,
    origins: Sequence[str],
) -> tuple[list[list[list[int]]], list[list[list[int]]]]:
    """Cards to ask about, and the weaker ones of inferred kinds; stated attributes all stay."""
    # Of the cells of images, only the strongest is asked about: what an image shows moves, so that
    # many cells have a part of it.
    kept, weaker = list[list[list[int]]](), list[list[list[int]]]()
    counts, n_cells = Counter[str](), 0
    for card in cards:
        leader, of_cell = (
            feature_sets[feature_set[card[0][0]]],
            origins[card[0][0]].startswith(OF_CELL),
        )
        n_cells += of_cell
        if counts[leader.kind] < MOST_INFERRED and (not of_cell or n_cells == 1):
            kept.append(card)
            counts[leader.kind] += not leader.exact
        else:
            weaker.append(card)
    return kept, weaker


def _finding(
    family: list[int],
    on: tuple[tuple[str, ...], ...],
    ranking: Ranking,
    top: Array,
    opposite: Array,
    values: Array,
    feature_sets: Sequence[FeatureSet],
    predictions: AuditedPredictions,
) -> Finding:
    leader, *others = family
    at = int(top[leader])
    feature_set, goes_with = feature_sets[ranking.feature_set[at]], int(ranking.goes_with[at])
    present = bool(ranking.association[at] > 0)
    others.sort(key=lambda i: ranking.feature_set[top[i]])  # in the order of the feature sets
    return _described(
        values[:, leader],
        goes_with,
        present,
        predictions,
        name=ranking.names[at],
        feature_set=feature_set.kind,
        exact=feature_set.exact,
        association=float(ranking.association[at]),
        error_contrast=float(ranking.errors[at]),
        p_value=float(ranking.p_value[at]),
        same=tuple(ranking.names[top[i]] for i in others if not opposite[i, leader]),
        opposed=tuple(ranking.names[top[i]] for i in others if opposite[i, leader]),
        values=on,
    )


def _described(
    column: Array,
    goes_with: int,
    present: bool,
    predictions: AuditedPredictions,
    **about: Any,
) -> Finding:
    """A finding with the numbers of its samples, groups and examples."""
    known = (column >= 0) & (predictions.weight > 0)
    of_class = predictions.y_index == goes_with
    agrees = ((column == 1) == of_class) if present else ((column == 0) == of_class)
    label, wrong = predictions.classes[goes_with], predictions.wrong
    shares = rates(column == 1, of_class.astype(int), predictions.weight * known, 2)[0]
    examples = {
        f"{how}, {what}": tuple(np.flatnonzero(known & rows & outcome)[:_EXAMPLES].tolist())
        for how, rows in (("conflicting", ~agrees), ("agreeing", agrees))
        for what, outcome in (("wrong", wrong), ("right", ~wrong))
    }
    y, names = predictions.y_index, predictions.classes.tolist()
    pairs = [*product(np.unique(y[known]).tolist(), (True, False))]  # class, with or without it
    cells: list[tuple[Kind, Any, Array]]
    cells = [("class", names[c], known & (y == c) & ((column == 1) == has)) for c, has in pairs]
    rows = compare([~wrong], cells, weight=predictions.weight)
    return Finding(
        goes_with=label.item() if hasattr(label, "item") else label,
        share=float(shares[1]),
        share_elsewhere=float(shares[0]),
        groups=tuple(
            replace(row.with_intervals(), which=has)
            for row, (_, has) in zip(rows, pairs, strict=True)
        ),
        examples=examples,
        n_unknown=int(((column < 0) & (predictions.weight > 0)).sum()),
        **about,
    )
