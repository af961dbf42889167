"""Test by predictions whether a model's classes are in another order than the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics.bounds import more_often

# A permutation is reported only if it is beyond doubt; a bad or biased model is not a permuted one.
# One half of each class chooses the order, and the other half tests it (McNemar's exact test), so
# that the choice among all orders cannot bias the test.
_LEAST_GAIN = 0.4  # of the accuracy on the classes that change places
_LEAST_RATIO = 2.0
_MOST_P = 1e-6
_MOVED_AND_BETTER = 0.9  # share of the moved classes that the permutation must improve


@dataclass(frozen=True)
class ClassOrder:
    """Another order of a model's classes that fits the labels far better."""

    classes: Array
    moved: tuple[int, ...]
    accuracy: float
    permuted_accuracy: float
    n_samples: int

    def sentence(self, *, of_predictions: bool = False, label: str | None = None) -> str:
        """Sentence that names the order of the moved classes, and the fix.

        With a ``label``, the two classes are samples with it and without it.
        """
        if label is not None:
            return (
                f"The model seems to mean the opposite of the label {label!r}: it is right on "
                f"{100 * self.accuracy:.0f} % of {self.n_samples} samples. Check that 1 means that "
                "a sample has the label."
            )
        order = {i: self.classes[i].item() for i in self.moved[:8]}
        shown = f"{str(order)[:-1]}{', …' * (len(self.moved) > 8)}}}"
        fits_a_line = len(self.classes) <= 8
        named = f" {','.join(map(str, self.classes.tolist()))}" if fits_a_line else " FILE"
        fix = (
            f"Name the classes in the order of the model's logits with --classes{named} (classes= "
            "in Python)."
        )
        if of_predictions:
            fix = (
                "Write the right classes into the predictions. If they are right, say so with "
                "--classes (classes=)."
            )
        return (
            "The model's classes seem to be in another order than the labels: accuracy on "
            f"{self.n_samples} samples is {100 * self.accuracy:.0f} % in the present order and "
            f"{100 * self.permuted_accuracy:.0f} % with {shown}. {fix}"
        )


def class_order(y: ArrayLike, y_pred: ArrayLike, classes: ArrayLike) -> ClassOrder | None:
    """Find an order of the classes that fits the labels far better than the present one."""
    y, y_pred, classes = (np.atleast_1d(np.asarray(a)) for a in (y, y_pred, classes))
    if y.shape != y_pred.shape:
        raise InputError(
            f"There are {len(y)} labels, but {len(y_pred)} predictions; pass one "
            "prediction per label."
        )
    index = {label: i for i, label in enumerate(classes.tolist())}
    true, predicted = (  # positions among the classes; −1 for a label that is not one of them
        np.asarray([index.get(label, -1) for label in labels.tolist()], dtype=np.intp)
        for labels in (y, y_pred)
    )
    known = (true >= 0) & (predicted >= 0)
    true, predicted, n_classes = true[known], predicted[known], len(classes)
    # Every other sample of each class chooses the class of each position with most correct samples;
    # in a tie, the present one.
    by_class = np.argsort(true, kind="stable")
    rank = np.empty(len(true), dtype=np.intp)
    rank[by_class] = np.arange(len(true)) - np.searchsorted(true[by_class], true[by_class])
    first = rank % 2 == 0
    counts = 0.5 * np.eye(n_classes)
    np.add.at(counts, (predicted[first], true[first]), 1)
    if (counts.argmax(axis=1) == np.arange(n_classes)).all():  # no order can be better
        return None
    from scipy.optimize import linear_sum_assignment  # slow to import

    order = linear_sum_assignment(counts, maximize=True)[1]
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


def order_notes(
    y: ArrayLike,
    predicted: ArrayLike,
    classes: ArrayLike,
    name: str = "",
    *,
    strict: bool,
    of_predictions: bool = False,
    label: str | None = None,
    go_on: str = "",
) -> list[str]:
    """Note that the classes seem to be in another order; if strict, raise an error.

    The error ends with ``go_on``, which says how to continue anyway.
    """
    order = class_order(y, predicted, classes)
    if order is None:
        return []
    note = f"{f'{name}: ' * bool(name)}{order.sentence(of_predictions=of_predictions, label=label)}"
    if strict:
        raise InputError(f"{note} {go_on}".rstrip())
    return [note]


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
    return more_often(won, lost) < _MOST_P
