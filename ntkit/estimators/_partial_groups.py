"""Methods that balance groups, of which some samples' alone may be known."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2_contingency
from sklearn.base import _fit_context

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.estimators._base import LastLayerClassifier
from ntkit.estimators._group_inference import GroupInference
from ntkit.exceptions import InputError
from ntkit.study import Rows

_FEW = 0.01  # of a group: labels that are wrong put so many of another class into it
_WEAK, _CHANCE = 0.1, 0.001  # Cramér's V and p-value of groups that say nothing of the class


@documented
class GroupedClassifier(LastLayerClassifier):
    """Base of the estimators that need groups; one has the parameter ``group_inference``."""

    group_inference: GroupInference | None
    groups_: Array
    group_inference_: GroupInference | None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        attribute: ArrayLike | None = None,
        feature_sets: Any = None,
    ) -> Self:
        """Retrain the head on the groups, as the class says.

        Parameters
        ----------
        {X, y, sample_weight, groups, attribute, feature_sets}

        {fitted}

        Raises
        ------
        InputError
            If neither or both of ``groups`` and ``attribute`` are given, nothing is known of any
            sample, lengths differ, a group has no sample of positive weight, or balanced
            subsamples hold no sample of some class.

        Warns
        -----
        {groups.UserWarning}
            If a group has too few samples to choose ``C`` on a part of them.
        ConvergenceWarning
            If ``max_iter`` does not suffice.
        """
        rows = self._rows(X, y, sample_weight)
        self._learn(*self._grouped(rows, groups, attribute, feature_sets))
        return self

    def _learn(self, rows: Rows, group: Array) -> None:
        raise NotImplementedError(type(self).__name__)

    def _grouped(
        self, rows: Rows, groups: ArrayLike | None, attribute: ArrayLike | None, feature_sets: Any
    ) -> tuple[Rows, Array]:
        """Rows and the number of each one's group; inferred ones count by their probability."""
        inference = self.group_inference
        if inference is None:
            inference = GroupInference(random_state=getattr(self, "random_state", 0))
        rows, of = completed_groups(
            groups, attribute, rows, type(self).__name__, self.classes_, inference, feature_sets
        )
        self.groups_, self.group_inference_ = np.asarray(of.names), of.inference
        return rows, of.value


def completed_groups(
    groups: ArrayLike | None,
    attribute: ArrayLike | None,
    rows: Rows,
    name: str,
    classes: Array,
    inference: GroupInference,
    feature_sets: Any,
) -> tuple[Rows, Attribute]:
    """Rows and the group of each, inferred where it is not known."""
    # Groups are class × attribute where that is given. Rows of which nothing is known are left out.
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
    labelled = Attribute.from_labels(what, values)
    if not labelled.names:
        raise InputError(
            f"{name} needs the {one} of some samples; {what} is -1, None or NaN for all of them."
        )
    known = labelled.value >= 0
    if attribute is None:
        _warn_of_several_classes(labelled.labels[known], known, rows, classes)
    if known.all() and attribute is not None:
        return rows, labelled.crossed(y)
    if known.all():
        mass = np.bincount(labelled.value, weights=rows.weight)
        if (mass <= 0).any():
            raise InputError(
                f"The group {labelled.names[int(np.argmin(mass))]!r} has no sample of positive "
                "weight; leave its samples out."
            )
        return rows, labelled

    labelled = labelled.inferred(
        inference, rows.X if feature_sets is None else feature_sets, y, rows.weight
    )
    assert labelled.weight is not None
    weight = rows.weight * labelled.weight
    kept = np.flatnonzero(weight > 0)
    missing = np.setdiff1d(np.arange(len(classes)), rows.y_index[kept])
    if len(missing):
        raise InputError(
            f"Nothing is known of any sample of class {classes[missing].tolist()[0]!r}, and no "
            "view tells it (see GroupInference.scores_); label some of them."
        )
    if labelled.inference.feature_set_ is None:
        warnings.warn(
            f"No view reads the {one}, so the head is fitted to the {len(kept)} samples alone of "
            "which it is known. If they were chosen among errors, balancing the classes "
            "(groups=y) may be far better.",
            UserWarning,
            stacklevel=5,
        )
    complete = Rows(rows.X, rows.y_index, weight)
    if len(kept) < n:
        complete, labelled, y = complete.take(kept), labelled.take(kept), y[kept]
    if attribute is None:
        return complete, labelled.where(labelled.value >= 0)
    return complete, labelled.crossed(y)


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
            stacklevel=6,
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
