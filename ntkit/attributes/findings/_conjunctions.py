"""Conjunctions: pairs of conditions whose samples are wrong more often than either explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import binom, hypergeom, norm

from ntkit._types import Array
from ntkit.attributes import FEWEST, Block, FeatureSet, both_of
from ntkit.attributes.findings._statistics import (
    ALIKE,
    AuditedPredictions,
    Marks,
    product_of,
    within_class_correlation,
)

_MOST_CONDITIONS = 300  # of which ntkit forms pairs
_MOST_ROWS = 20_000  # on which pairs are ranked
_MOST_PAIRS = 20  # that are tested
_RANKED = 200  # pairs among which those with nearly the same samples are sought
_MOST_LABELS = 5  # classes whose wrong predictions are examined
_SUPPORT = 10  # samples of a pair on the first part
_ERRORS = 3  # of which wrong
_MOST_RIVALS, _RIVAL = 3, 2.0  # conditions that may explain a pair, and their least z
_PROMISING = 1.0  # z from which a pair is tested
_GRID = norm.ppf((np.arange(2000) + 0.5) / 2000)
_EXACT = 4000  # counts up to which sums over classes have their exact distribution


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
        self.weight = predictions.weight / Marks.of(predictions).unit[self.y]
        self.first, self.second = _parts(predictions)
        self.events = _events(predictions)
        self.conditions, self.n_offered = list[Condition](), 0
        marks = np.zeros((len(self.y), 2 * len(self.events)))
        for e, event in enumerate(self.events):
            rows, share = self._expected(event, self.first)
            marks[rows, e] = self.weight[rows] * (event.happens[rows] - share)
        marks[:, len(self.events) :] = marks[:, : len(self.events)] ** 2
        self._marks = sparse.csr_array(marks)

    def take(self, feature_set: FeatureSet, block: Block) -> None:
        """Keep the conditions of a block; of many, those that errors depend on most."""
        if not self.events or not (feature_set.exact or feature_set.kind == "image"):
            return
        self.n_offered += len(block.names)
        total, square = np.split(product_of(block.values, self._marks), 2, axis=1)
        score = (total / np.sqrt(np.maximum(square, 1e-9))).max(axis=1)
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
            p_values.append(max(_p_value(of_pair, at, happens, w) for at in all_strata))
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
        n = np.bincount(at, weights=weight)
        happens = np.bincount(at, weights=weight * event.happens[rows])
        return rows, np.divide(happens, n, out=np.zeros_like(n), where=n > 0)[at]

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
        # As in SliceLine, products of a 0/1 matrix with itself count all pairs at once. A pair must
        # have a larger share of errors than either condition alone, and than the sum of what both
        # add.
        rows, share = self._expected(event, self.first)
        X, happens = has[event.rows[self.first]].astype(np.float32), event.happens[rows]
        w = self.weight[rows].astype(np.float32)
        n, errors = _four(X, w), _four(X[happens], w[happens])
        one_share = len(np.unique(share)) == 1
        expected = n * share[0] if one_share else _four(X, w * share.astype(np.float32))
        known = np.maximum(n, 1)
        shares = (errors + 0.5) / (known + 1)
        excess, variance = (errors - expected) / known, shares * (1 - shares) / known
        both, first, second, neither = excess
        contrasts = [
            (both - first, variance[:2].sum(axis=0)),
            (both - second, variance[[0, 2]].sum(axis=0)),
            (both - first - second + neither, variance.sum(axis=0)),
        ]
        z = np.min([difference / np.sqrt(spread) for difference, spread in contrasts], axis=0)
        enough = (n[0] >= _SUPPORT) & (n[1:] >= FEWEST).all(axis=0)  # whatever the errors are
        return np.where(enough & (errors[0] >= _ERRORS), z, -np.inf), enough

    def _rivals(
        self, values: Array, both: Array, pair: tuple[int, int], event: _Event
    ) -> list[int]:
        """Other conditions that errors depend on, with the pair or without: they may explain it."""
        rows, share = self._expected(event, self.first, 2 * self.y + both)
        excess = (self.weight[rows] * (event.happens[rows] - share))[:, None]
        total, square = product_of(values[rows] == 1, np.hstack([excess, excess**2])).T
        z = total / np.sqrt(np.maximum(square, 1e-9))
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


def _four(X: Array, w: Array) -> Array:
    """Weights of samples with both, only the first, only the second, and neither: (4, A, A)."""
    both = X.T @ (w[:, None] * X)
    having = np.diag(both)
    first, second = having[:, None] - both, having[None, :] - both
    return np.stack([both, first, second, w.sum() - both - first - second]).astype(np.float64)


def _p_value(values: Array, strata: Array, happens: Array, weight: Array) -> float:
    """p-value of a pair: the largest of three, so each of the three must be small."""
    # Intersection-union test (Berger, 1982): more errors than with the first condition alone, and
    # than with the second alone, by Fisher's exact test within strata; and more than both add up
    # to, the interaction contrast of shares (Rothman, 1974).
    known = (values >= 0).all(axis=1)
    strata = np.unique(strata[known], return_inverse=True)[1]
    cells = 4 * strata + 2 * (values[known, 0] == 0) + (values[known, 1] == 0)
    size = 4 * (int(strata.max(initial=-1)) + 1)
    w = weight[known]
    n = np.bincount(cells, weights=w, minlength=size).reshape(-1, 4)
    errors = np.bincount(cells, weights=w * happens[known], minlength=size).reshape(-1, 4)
    alone = [_exact(errors[:, 0], n[:, 0], errors[:, at], n[:, at]) for at in (1, 2)]
    return max(*alone, _interaction(errors, n))


def _exact(errors: Array, n: Array, others: Array, n_others: Array) -> float:
    """Fisher's exact p-value that a share of errors is larger than that of others, in classes."""
    # Of several classes, the sum of the counts has the convolution of their distributions.
    errors, n, others, n_others = (np.rint(v).astype(int) for v in (errors, n, others, n_others))
    marked, size = errors + others, n + n_others
    some = (n > 0) & (n_others > 0) & (marked > 0)
    errors, n, marked, size = errors[some], n[some], marked[some], size[some]
    if not len(n):
        return 1.0
    if len(n) == 1:
        return float(hypergeom.sf(errors[0] - 1, size[0], marked[0], n[0]))
    most = np.minimum(n, marked)
    if most.sum() > _EXACT:
        mean, variance = hypergeom.stats(size, marked, n)
        return float(
            norm.sf((errors.sum() - 0.5 - mean.sum()) / np.sqrt(max(variance.sum(), 1e-9)))
        )
    of_sum = np.ones(1)
    for c in range(len(n)):
        counts = np.arange(most[c] + 1)
        of_sum = np.convolve(of_sum, hypergeom.pmf(counts, size[c], marked[c], n[c]))
    return float(min(1.0, of_sum[errors.sum() :].sum()))


def _interaction(errors: Array, n: Array) -> float:
    """p-value of more errors than expected if each condition only adds its own."""
    # The expected share is estimated, so the binomial tail is averaged over its distribution.
    some = (n >= 1).all(axis=1)
    if not some.any():
        return 1.0
    errors, n = errors[some], n[some]
    smooth = (errors + 0.5) / (n + 1)
    expected = n[:, 0] @ (errors / n @ [0.0, 1.0, 1.0, -1.0])
    spread = np.sqrt(n[:, 0] ** 2 @ (smooth * (1 - smooth) / n)[:, 1:].sum(axis=1))
    total = np.rint(n[:, 0].sum())
    share = np.clip((expected + spread * _GRID) / total, 0, 1)
    return float(binom.sf(np.rint(errors[:, 0].sum()) - 1, total, share).mean())
