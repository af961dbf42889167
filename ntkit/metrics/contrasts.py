"""Outcomes over thousands of subsets that overlap: counts by products, and tests of them.

A row of :func:`ntkit.metrics.compare` describes one subset. These functions rank and test many, the
samples with each of B attributes, of which a few become rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import binom, hypergeom, norm, poisson

from ntkit._types import Array

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
    def of(cls, y: Array, pred: Array, weight: Array, C: int) -> Marks:
        """Totals of samples by the numbers of their true and predicted classes, of C."""
        wrong = pred != y
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
        few = sparse.csr_array(marks.T).asformat(values.format)  # so that the many stay as they are
        return np.asarray((few @ values).toarray().T, dtype=np.float64)
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


def contrast(values: Any, marks: Marks) -> Contrast:
    """Association and error contrast of attributes (N, B), for the class of highest score."""
    # An attribute is correlated with class k if a larger share of k than of the other classes has
    # it. If a model relies on it, samples of k *without* it are wrong more often than those with
    # it, and samples of other classes *with* it are predicted as k more often than those without.
    # Both are tested within classes, so neither the classes' shares nor their error rates matter: z
    # = (z_k + z_{¬k}) / √2, with the other classes combined by Cochran, Mantel and Haenszel's
    # formula. With two classes that is the difference between the error rates of samples that
    # conflict with their class and of samples that agree, as a z for each class, summed. If the
    # absence is correlated with the class, the signs are reversed.
    having, wrong, taken_for = np.split(product_of(values, marks.matrix), 3, axis=1)
    likely = np.ones(having.shape, dtype=bool)
    if len(marks.size) > _LIKELY:  # exact distributions of a million pairs would take minutes
        rough = _statistics(having, wrong, taken_for, marks, ~likely)[2]
        likely = rough >= np.partition(rough, -_LIKELY, axis=1)[:, [-_LIKELY]]
    associated, errors, score = _statistics(having, wrong, taken_for, marks, likely)
    score = np.where(likely, score, -np.inf)
    # Both classes have the same result: the class that having the attribute is correlated with is
    # used.
    best = np.argmax(associated if len(marks.size) == 2 else score, axis=1)
    at = np.arange(len(best)), best
    return Contrast(best, associated[at], errors[at])


def _statistics(
    having: Array, wrong: Array, taken_for: Array, marks: Marks, exact: Array
) -> tuple[Array, Array, Array]:
    """Association, errors and score, of shape (B, C); exact for the chosen entries."""
    associated = association(having, marks, exact)
    direction = np.where(associated < 0, -1.0, 1.0)
    of_class = excess(wrong, having, marks.confusion.sum(axis=1), marks.size, exact)
    of_others = _of_other_classes(having, taken_for, marks, exact)
    errors = direction * (of_others - of_class) / np.sqrt(2)
    return associated, errors, np.minimum(np.abs(associated), errors)


def association(having: Array, marks: Marks, exact: Array) -> Array:
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


_FEWEST = 10  # samples that each value of an attribute needs


def loss_contrast(values: Any, change: Array, y_index: Array, rows: Array) -> Array:
    """Z of the loss of samples with an attribute beyond the rest of their class, (B, C)."""
    # z is above 0 if samples with it lose more. It is 0 if a value has too few samples, or if
    # neither value loses.
    C = int(y_index.max()) + 1
    powers = np.concatenate([power[rows] for power in (change**0, change, change**2)])
    cells = np.concatenate([j * C + y_index[rows] for j in range(3)])
    moments = sparse.csr_array((powers, (np.tile(rows, 3), cells)), shape=(len(y_index), 3 * C))
    having = product_of(values, moments).reshape(-1, 3, C)
    lacking = np.asarray(moments.sum(axis=0)).reshape(3, C) - having
    mean, variance = list[Array](), list[Array]()
    for part in (having, lacking):
        n, s, square = np.maximum(part[:, 0], 1), part[:, 1], part[:, 2]
        m = s / n
        mean.append(m)
        variance.append(np.maximum(square / n - m**2, 1 / n) / n)
    enough = np.minimum(having[:, 0], lacking[:, 0]) >= _FEWEST
    z = (mean[1] - mean[0]) / np.sqrt(variance[0] + variance[1])
    return np.asarray(np.where(enough & (np.minimum(mean[0], mean[1]) < 0), z, 0.0))


def surprise(values: Any, excess: Any) -> Array:
    """Z of more events (N, E) than expected among the samples with each attribute, (B, E)."""
    square = excess.multiply(excess) if sparse.issparse(excess) else excess**2
    total, variance = product_of(values, excess), product_of(values, square)
    return np.asarray(total / np.sqrt(np.maximum(variance, 1e-9)))


def pair_contrast(has: Array, happens: Array, share: Array, weight: Array) -> tuple[Array, ...]:
    """Of pairs of A attributes: z of events beyond what either explains, events, and samples.

    z and events are (A, A), and the samples (4, A, A): with both, only the first, only the second,
    and neither. ``share`` (N,) of the samples is expected to have the event.
    """
    # As in SliceLine, products of a 0/1 matrix with itself count all pairs at once. A pair must
    # have a larger share of events than either condition alone, and than the sum of what both add.
    X, w = has.astype(np.float32), weight.astype(np.float32)
    n, events = _four(X, w), _four(X[happens], w[happens])
    one_share = len(np.unique(share)) == 1
    expected = n * share[0] if one_share else _four(X, w * share.astype(np.float32))
    known = np.maximum(n, 1)
    shares = (events + 0.5) / (known + 1)
    excess, variance = (events - expected) / known, shares * (1 - shares) / known
    both, first, second, neither = excess
    contrasts = [
        (both - first, variance[:2].sum(axis=0)),
        (both - second, variance[[0, 2]].sum(axis=0)),
        (both - first - second + neither, variance.sum(axis=0)),
    ]
    z = np.min([difference / np.sqrt(spread) for difference, spread in contrasts], axis=0)
    return z, events[0], n


def _four(X: Array, w: Array) -> Array:
    """Weights of samples with both, only the first, only the second, and neither: (4, A, A)."""
    both = X.T @ (w[:, None] * X)
    having = np.diag(both)
    first, second = having[:, None] - both, having[None, :] - both
    return np.stack([both, first, second, w.sum() - both - first - second]).astype(np.float64)


_EXACT = 4000  # counts up to which sums over classes have their exact distribution
_GRID = norm.ppf((np.arange(2000) + 0.5) / 2000)


def pair_p_value(values: Array, strata: Array, happens: Array, weight: Array) -> float:
    """p-value of a pair (N, 2): the largest of three, so each of the three must be small."""
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
