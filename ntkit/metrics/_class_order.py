"""Are the classes of a model in another order than the labels? Asked of its predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from ntkit._types import Array
from ntkit.exceptions import InputError

# A permutation is told only where it leaves no doubt; a bad or a biased model is not one.
_LEAST_GAIN = 0.4  # of the accuracy on the classes that move
_LEAST_RATIO = 2.0
_MOST_P = 1e-6
_MOVED_AND_BETTER = 0.9  # share of the classes that move which the permutation explains better


@dataclass(frozen=True)
class ClassOrder:
    """Another order of a model's classes that explains the labels far better."""

    classes: Array
    moved: tuple[int, ...]
    accuracy: float
    permuted_accuracy: float
    n_samples: int

    def sentence(self) -> str:
        """Sentence that names the order of the classes that move, and the repair."""
        order = {i: self.classes[i].item() for i in self.moved[:8]}
        shown = f"{str(order)[:-1]}{', …' * (len(self.moved) > 8)}}}"
        fits_a_line = len(self.classes) <= 8
        named = f" {','.join(map(str, self.classes.tolist()))}" if fits_a_line else " FILE"
        return (
            "The model's classes seem to be in another order than the labels: as matched it is "
            f"right on {100 * self.accuracy:.0f} % of {self.n_samples} samples, with {shown} on "
            f"{100 * self.permuted_accuracy:.0f} %. Name the classes in the order of the model's "
            f"logits with --classes{named} (classes= in Python)."
        )


def class_order(y: ArrayLike, y_pred: ArrayLike, classes: ArrayLike) -> ClassOrder | None:
    """Find an order of the classes that explains the labels far better than the one given.

    The order is found on one half of each class (the assignment that makes most samples right)
    and tried on the other half, so that the choice among all orders cannot make it look good. It
    counts only if, on the classes that it moves, at most half as many samples are right as given,
    the gain is 40 points or more, McNemar's exact test gives p < 1e-6, and nine of ten of the
    moved classes gain. So few samples, a weak model, or one that is right on 40 % of two classes
    are never taken for it. A model whose shortcut points the other way in a sample can be: ask on
    samples like those it was trained on.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    y_pred : array-like of shape (N,)
        Predictions of the model's own head.
    classes : array-like of shape (C,)
        The classes, in the order that the model's logits were taken to have.

    Returns
    -------
    ClassOrder or None
        With ``classes`` (C,) in the order that explains the labels, ``moved`` (positions that
        differ), ``accuracy`` and ``permuted_accuracy`` of the two orders, ``n_samples`` and
        ``sentence()``; None if there is no such order.

    Raises
    ------
    InputError
        If there are not as many labels as predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.metrics import class_order
    >>> y = np.tile([0, 1, 2], 50)
    >>> class_order(y, (y + 1) % 3, [0, 1, 2]).classes
    array([2, 0, 1])
    """
    y, y_pred, classes = (np.atleast_1d(np.asarray(a)) for a in (y, y_pred, classes))
    if y.shape != y_pred.shape:
        raise InputError(f"There are {len(y)} labels, but {len(y_pred)} predictions.")
    true, predicted = _positions(y, classes), _positions(y_pred, classes)
    known = (true >= 0) & (predicted >= 0)
    true, predicted, n_classes = true[known], predicted[known], len(classes)
    first = _every_other(true)
    order = _best_order(true[first], predicted[first], n_classes)
    moved = np.flatnonzero(order != np.arange(n_classes))
    if not len(moved) or not _is_far_better(true[~first], predicted[~first], order, moved):
        return None
    return ClassOrder(
        classes[order],
        tuple(moved.tolist()),
        float((predicted == true).mean()),
        float((order[predicted] == true).mean()),
        len(true),
    )


def check_class_order(y_pred: ArrayLike, y: ArrayLike, classes: ArrayLike) -> None:
    """Refuse a model whose classes are evidently in another order than the labels."""
    order = class_order(y, y_pred, classes)
    if order is not None:
        raise InputError(order.sentence())


def _positions(labels: Array, classes: Array) -> Array:
    """Index of each label among the classes; −1 where it is none of them."""
    index = {label: i for i, label in enumerate(classes.tolist())}
    return np.asarray([index.get(label, -1) for label in labels.tolist()], dtype=np.intp)


def _every_other(true: Array) -> Array:
    """Every other sample of each class."""
    rank = np.empty(len(true), dtype=np.intp)
    order = np.argsort(true, kind="stable")
    starts = np.searchsorted(true[order], true[order], side="left")
    rank[order] = np.arange(len(true)) - starts
    return np.asarray(rank % 2 == 0)


def _best_order(true: Array, predicted: Array, n_classes: int) -> Array:
    """Class of each position such that most samples are right; where it is the same, as given."""
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (predicted, true), 1)
    counts[np.diag_indices(n_classes)] += 0.5
    return np.asarray(linear_sum_assignment(counts, maximize=True)[1])


def _is_far_better(true: Array, predicted: Array, order: Array, moved: Array) -> bool:
    inside = np.isin(true, moved)
    true, before, after = true[inside], predicted[inside], order[predicted[inside]]
    if not len(true):
        return False
    right, right_after = before == true, after == true
    accuracy, permuted = right.mean(), right_after.mean()
    if permuted < _LEAST_RATIO * accuracy or permuted - accuracy < _LEAST_GAIN:
        return False
    gains = [right_after[true == c].sum() > right[true == c].sum() for c in moved]
    if np.mean(gains) < _MOVED_AND_BETTER:  # a class without samples gains nothing
        return False
    won, lost = int((right_after & ~right).sum()), int((right & ~right_after).sum())
    return bool(binomtest(won, won + lost, alternative="greater").pvalue < _MOST_P)
