"""Statistics of attributes: how they are correlated with classes, with errors and each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import hypergeom, norm, poisson

from ntkit._types import Array
from ntkit.attributes import Block

NAMELESS = ("layer", "embedding", "input")
"""Kinds whose attributes have only numbers as names: no person can say what they mean."""


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


ALIKE = 0.35
"""Correlation within classes above which attributes count as one; unrelated words are below."""
_ROWS = 1 << 14


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
