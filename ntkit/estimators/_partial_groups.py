"""Groups that are known of some samples only, made complete."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2_contingency
from sklearn.base import clone

from ntkit._partial_labels import known_labels
from ntkit._types import Array
from ntkit.estimators._group_inference import GroupInference
from ntkit.exceptions import InputError
from ntkit.study import Rows, encoded_groups, encoded_labels

_FEW = 0.01  # of a group: labels that are wrong put so many of another class into it
_WEAK, _CHANCE = 0.1, 0.001  # Cramér's V and p-value of groups that say nothing of the class


@dataclass(frozen=True)
class Grouped:
    """Rows, each in a group."""

    rows: Rows
    labels: Array
    index: Array
    inference: GroupInference | None


def grouped(
    groups: ArrayLike | None,
    attribute: ArrayLike | None,
    rows: Rows,
    name: str,
    *,
    classes: Array,
    inference: GroupInference | None,
    feature_sets: Any,
    random_state: Any,
) -> Grouped:
    """Infer the groups that are not known."""
    if groups is not None and attribute is not None:
        raise InputError("Pass groups or attribute, not both.")
    values, what = (groups, "groups") if attribute is None else (attribute, "attribute")
    n = len(rows.y_index)
    if values is None:
        encoded_groups(None, rows, name)
    assert values is not None
    if np.asarray(values, dtype=object).shape not in ((n,), (n, 1)):
        encoded_labels(values, n, what)  # says what is wrong
    if attribute is None and _are_classes(values, classes[rows.y_index]):
        return Grouped(rows, *encoded_groups(values, rows, name), None)
    labels, known = known_labels(values, what)
    if not len(labels):
        raise InputError(
            f"{name} needs the {'group' if attribute is None else 'attribute'} of some samples; "
            f"{what} is -1, None or NaN for all of them."
        )
    if attribute is None:
        _warn_of_several_classes(labels, known, rows, classes)
    if known.all():
        if attribute is not None:
            labels, index = encoded_labels(labels, n, what)
            crossed, index = _crossed(index, rows.y_index, labels, classes)
            return Grouped(rows, crossed, index, None)
        return Grouped(rows, *encoded_groups(values, rows, name), None)

    inference = GroupInference(random_state=random_state) if inference is None else inference
    fitted: GroupInference = clone(inference)
    fitted.fit(
        rows.X if feature_sets is None else feature_sets,
        classes[rows.y_index],
        values,
        sample_weight=rows.weight,
    )
    q = fitted.label_distributions_
    weight = rows.weight * q.max(axis=1)
    kept = np.flatnonzero(weight > 0)
    missing = np.setdiff1d(np.arange(len(classes)), rows.y_index[kept])
    if len(missing):
        raise InputError(
            f"Nothing is known of any sample of class {classes[missing].tolist()[0]!r}, and no "
            "view tells it (see GroupInference.scores_); label some of them."
        )
    if fitted.feature_set_ is None:
        warnings.warn(
            f"No view reads the {'group' if attribute is None else 'attribute'}, so the head is "
            f"fitted to the {len(kept)} samples alone of which it is known. If they were chosen "
            "among errors, balancing the classes (groups=y) may be far better.",
            UserWarning,
            stacklevel=4,
        )
    complete = Rows(rows.X, rows.y_index, weight)
    complete = complete if len(kept) == n else complete.take(kept)
    index = q[kept].argmax(axis=1)
    if attribute is not None:
        crossed, index = _crossed(index, complete.y_index, fitted.classes_, classes)
        return Grouped(complete, crossed, index, fitted)
    found, index = np.unique(index, return_inverse=True)
    return Grouped(complete, fitted.classes_[found], index, fitted)


def _warn_of_several_classes(labels: Array, known: Array, rows: Rows, classes: Array) -> None:
    """Warn of an attribute that was passed as the groups: it has to be crossed with the class."""
    present = rows.weight > 0
    y = classes[rows.y_index[known & present]]
    mixed = _of_several_classes(labels[present[known]], y)
    if mixed is not None:
        warnings.warn(
            f"The group {mixed!r} holds several classes, and groups are correlated with the class: "
            "balancing groups does not break that correlation. Pass them as attribute= (ntkit "
            "debias --answers TABLE): groups are then class × attribute.",
            UserWarning,
            stacklevel=5,
        )


def _of_several_classes(groups: Array, y: Array) -> Any:
    """A group of several classes, where the groups are correlated with the class; else None."""
    # Balancing over such groups leaves the correlation as it is. Groups that are independent of the
    # class (Pearson's test) have none to leave.
    names, group = np.unique(groups, return_inverse=True)
    classes, label = np.unique(y, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group, label), 1)
    mixed = counts.max(axis=1, initial=0) < (1 - _FEW) * counts.sum(axis=1)
    if min(counts.shape) < 2 or not mixed.any():
        return None
    test = chi2_contingency(counts, correction=False)
    strength = np.sqrt(test.statistic / (counts.sum() * (min(counts.shape) - 1)))
    independent = test.pvalue > _CHANCE or strength < _WEAK
    return None if independent else names.tolist()[mixed.argmax()]


def _are_classes(values: ArrayLike, y: Array) -> bool:
    """Whether the groups are the classes themselves, of which -1 may be one."""
    groups = np.asarray(values)
    return groups.dtype.kind in "iuf" and np.array_equal(groups.reshape(-1), y)


def _crossed(index: Array, y_index: Array, values: Array, classes: Array) -> tuple[Array, Array]:
    """Names of the groups class × attribute that occur, and which one each row is in."""
    names = [f"{label} × {value}" for label in classes.tolist() for value in values.tolist()]
    found, group = np.unique(y_index * len(values) + index, return_inverse=True)
    return np.asarray(names)[found], group
