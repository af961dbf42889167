"""Groups that are known of some samples only, made complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from ntkit._partial_labels import known_labels
from ntkit.estimators.groups._group_inference import GroupInference
from ntkit.exceptions import InputError
from ntkit.study import Rows, encoded_groups

__all__ = ["Grouped", "grouped"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Grouped:
    """Rows, each in a group.

    Attributes
    ----------
    rows : Rows
        Their weights are multiplied by the probability of the group, where it is inferred; rows
        of which nothing is known are left out.
    labels : ndarray of shape (G,)
        Group labels.
    index : ndarray of int, shape (N,)
        Group of each row.
    inference : GroupInference or None
        What inferred the groups; None where all were known.
    """

    rows: Rows
    labels: Array
    index: Array
    inference: GroupInference | None


def grouped(
    groups: ArrayLike | None,
    rows: Rows,
    name: str,
    *,
    classes: Array,
    inference: GroupInference | None,
    views: Any,
    random_state: Any,
) -> Grouped:
    """Infer the groups that are not known.

    Parameters
    ----------
    groups : array-like of shape (N,)
        Group labels; -1, None or NaN where they are not known.
    rows : Rows
        Samples.
    name : str
        What errors call the estimator.
    classes : ndarray
        Class labels.
    inference : GroupInference or None
        Fitted as a clone; None is the default one.
    views : as for GroupInference, or None
        What to read the groups from; None takes the embeddings.
    random_state : int, RandomState instance or None
        Of the default inference.

    Raises
    ------
    InputError
        If groups are missing altogether, or no group is known of some class while no view tells.
    """
    n = len(rows.y_index)
    if groups is None or np.shape(groups) not in ((n,), (n, 1)):
        encoded_groups(groups, rows, name)  # says what is wrong
    assert groups is not None
    known_groups, known = known_labels(groups, "groups")
    if not len(known_groups):
        raise InputError(
            f"{name} needs the group of some samples; groups is -1, None or NaN for all of them."
        )
    if known.all():
        return Grouped(rows, *encoded_groups(groups, rows, name), None)
    inference = GroupInference(random_state=random_state) if inference is None else inference
    fitted: GroupInference = clone(inference)
    fitted.fit(
        rows.X if views is None else views,
        classes[rows.y_index],
        groups,
        sample_weight=rows.weight,
    )
    q = fitted.label_distributions_
    weight = rows.weight * q.max(axis=1)
    kept = np.flatnonzero(weight > 0)
    missing = np.setdiff1d(np.arange(len(classes)), rows.y_index[kept])
    if len(missing):
        raise InputError(
            f"No group is known of any sample of class {classes[missing].tolist()[0]!r}, and no "
            "view tells it (see GroupInference.scores_); label the groups of some of them."
        )
    complete = Rows(rows.X, rows.y_index, weight)
    complete = complete if len(kept) == len(weight) else complete.take(kept)
    found, index = np.unique(q[kept].argmax(axis=1), return_inverse=True)
    return Grouped(complete, fitted.classes_[found], index, fitted)
