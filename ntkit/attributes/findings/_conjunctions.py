"""Conjunctions: pairs of conditions whose samples are wrong more often than either explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import norm

from ntkit._checks import rates
from ntkit._types import Array
from ntkit.attributes import FEWEST, Block, FeatureSet, both_of
from ntkit.attributes.findings._statistics import (
    ALIKE,
    AuditedPredictions,
    within_class_correlation,
)
from ntkit.metrics.contrasts import pair_contrast, pair_p_value, surprise

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
class _Event:
    """Errors that a pair may cause: samples of some classes, predicted as one class or as any."""

    rows: Array
    happens: Array


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

    def __init__(self, predictions: AuditedPredictions) -> None:
        self.predictions, self.y = predictions, predictions.y_index
        self.weight = predictions.weight / predictions.marks().unit[self.y]
        self.first, self.second = _parts(predictions)
        self.events = _events(predictions)
        self.conditions, self.n_offered = list[Condition](), 0
        excess = np.zeros((len(self.y), len(self.events)))
        for e, event in enumerate(self.events):
            rows, share = self._expected(event, self.first)
            excess[rows, e] = self.weight[rows] * (event.happens[rows] - share)
        self._excess = sparse.csr_array(excess)

    def take(self, feature_set: FeatureSet, block: Block) -> None:
        """Keep the conditions of a block; of many, those that errors depend on most."""
        if not self.events or not (feature_set.exact or feature_set.kind == "image"):
            return
        self.n_offered += len(block.names)
        score = surprise(block.values, self._excess).max(axis=1)
        for i in np.argsort(-score, kind="stable")[:_MOST_CONDITIONS]:
            about = block.names[i], feature_set.exact, block.column(int(i))
            self.conditions.append(Condition(*about, float(score[i])))
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
        for i, j, event in best:
            both = both_of(values[:, i], values[:, j]) == 1
            rows = np.flatnonzero(both & event.happens & event.rows)
            given = np.bincount(self.predictions.pred_index[rows], minlength=1)
            goes_with.append(int(given.argmax()))
            rivals = self._rivals(values, both, (i, j), event)
            rows = self.second[event.rows[self.second]]
            which = (values[rows][:, rivals] == 1) @ (1 << np.arange(len(rivals)))
            of_pair, happens = values[rows][:, [i, j]], event.happens[rows]
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
        self, event: _Event, rows: Array, strata: Array | None = None
    ) -> tuple[Array, Array]:
        """The rows that count for an event, and the share of their class in which it happens."""
        rows = rows[event.rows[rows]]
        at, weight = (self.y if strata is None else strata)[rows], self.weight[rows]
        return rows, rates(event.happens[rows], at, weight)[0][at]

    def _best(self, values: Array) -> tuple[list[tuple[int, int, _Event]], int]:
        """The most promising pairs, with different samples; and how many have enough samples."""
        at, score, n_enough = np.empty((0, 3), dtype=int), np.empty(0), 0
        has = values[self.first] == 1
        for e, event in enumerate(self.events if len(self.conditions) > 1 else ()):
            scores, enough = self._scores(has, event)
            n_enough += int(np.triu(enough, 1).sum())
            i, j = np.nonzero(np.triu(scores, 1) > _PROMISING)
            at = np.concatenate([at, np.column_stack([i, j, np.full(len(i), e)])])
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
        return [(i, j, self.events[e]) for i, j, e in at[chosen[:_MOST_PAIRS]].tolist()], n_enough

    def _scores(self, has: Array, event: _Event) -> tuple[Array, Array]:
        """Z by which pairs (A, A) have more errors than explained; whether samples are enough."""
        rows, share = self._expected(event, self.first)
        inside = event.rows[self.first]
        z, errors, n = pair_contrast(has[inside], event.happens[rows], share, self.weight[rows])
        enough = (n[0] >= _SUPPORT) & (n[1:] >= FEWEST).all(axis=0)  # whatever the errors are
        return np.where(enough & (errors >= _ERRORS), z, -np.inf), enough

    def _rivals(
        self, values: Array, both: Array, pair: tuple[int, int], event: _Event
    ) -> list[int]:
        """Other conditions that errors depend on, with the pair or without: they may explain it."""
        rows, share = self._expected(event, self.first, 2 * self.y + both)
        excess = self.weight[rows] * (event.happens[rows] - share)
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


def _events(predictions: AuditedPredictions) -> list[_Event]:
    """The classes that are predicted wrongly most often; of more than two, any error as well."""
    y, pred, wrong = predictions.y_index, predictions.pred_index, predictions.wrong
    there, C = predictions.weight > 0, len(predictions.classes)
    counts = np.bincount(pred[wrong & there], minlength=C)
    labels = np.argsort(-counts, kind="stable")[:_MOST_LABELS]
    events = [_Event(there & (y != k), pred == k) for k in labels if counts[k] >= _ERRORS]
    return [*events, _Event(there, wrong)] if C > 2 and wrong.any() else events
