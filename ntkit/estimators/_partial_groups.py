"""Groups that are known of some samples only, made complete."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2_contingency

from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.estimators._group_inference import GroupInference
from ntkit.exceptions import InputError
from ntkit.study import Rows

_FEW = 0.01  # of a group: labels that are wrong put so many of another class into it
_WEAK, _CHANCE = 0.1, 0.001  # Cramér's V and p-value of groups that say nothing of the class


def completed_groups(
    groups: ArrayLike | None,
    attribute: ArrayLike | None,
    rows: Rows,
    name: str,
    *,
    classes: Array,
    inference: GroupInference | None,
    feature_sets: Any,
    random_state: Any,
) -> tuple[Rows, Attribute]:
    """Rows and the group of each, inferred where it is not known."""
    # `groups` or `attribute` is given, whose groups are class × attribute; −1, None or NaN where
    # they are not known. Of inferred groups the rows' weights are multiplied by the probability;
    # rows of which nothing is known are left out. `name` is what errors call the estimator.
    if groups is not None and attribute is not None:
        raise InputError("Pass groups or attribute, not both.")
    values, what = (groups, "groups") if attribute is None else (attribute, "attribute")
    one = "group" if attribute is None else "attribute"
    y, n = classes[rows.y_index], len(rows.y_index)
    if values is None:
        raise InputError(
            f"{name} needs the group of every sample; pass groups= to fit, such as one label for "
            "every pair of class and spurious attribute (groups=y balances the classes alone)."
        )
    shape = np.asarray(values, dtype=object).shape
    if shape not in ((n,), (n, 1)):
        raise InputError(f"{what} must hold one label per sample, shape ({n},); got shape {shape}.")
    if attribute is None and _are_classes(values, y):
        return rows, Attribute(what, rows.y_index, tuple(classes.tolist()))
    told = Attribute.from_labels(what, values)
    if not told.names:
        raise InputError(
            f"{name} needs the {one} of some samples; {what} is -1, None or NaN for all of them."
        )
    known = told.value >= 0
    if attribute is None:
        _warn_of_several_classes(told.labels[known], known, rows, classes)
    if known.all() and attribute is not None:
        return rows, told.crossed(y)
    if known.all():
        mass = np.bincount(told.value, weights=rows.weight)
        if (mass <= 0).any():
            raise InputError(
                f"The group {told.names[int(np.argmin(mass))]!r} has no sample of positive "
                "weight; leave its samples out."
            )
        return rows, told

    inference = GroupInference(random_state=random_state) if inference is None else inference
    told = told.inferred(
        inference, rows.X if feature_sets is None else feature_sets, y, rows.weight
    )
    assert told.weight is not None
    weight = rows.weight * told.weight
    kept = np.flatnonzero(weight > 0)
    missing = np.setdiff1d(np.arange(len(classes)), rows.y_index[kept])
    if len(missing):
        raise InputError(
            f"Nothing is known of any sample of class {classes[missing].tolist()[0]!r}, and no "
            "view tells it (see GroupInference.scores_); label some of them."
        )
    if told.inference.feature_set_ is None:
        warnings.warn(
            f"No view reads the {one}, so the head is fitted to the {len(kept)} samples alone of "
            "which it is known. If they were chosen among errors, balancing the classes "
            "(groups=y) may be far better.",
            UserWarning,
            stacklevel=4,
        )
    complete = Rows(rows.X, rows.y_index, weight)
    if len(kept) < n:
        complete, told, y = complete.take(kept), told.take(kept), y[kept]
    return complete, told.where(told.value >= 0) if attribute is None else told.crossed(y)


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
