"""AutoDebiasClassifier: retrain with balanced errors, classes or attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.attributes.attribute import judged_groups
from ntkit.estimators._base import VALIDATION_SET, StudyClassifier
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.study import (
    ALPHAS,
    ERROR_RECOVERY,
    LEAST_ERRORS,
    Rows,
    Study,
    correctness_balanced,
    correctness_groups,
    errors_are_evidence,
    group_balanced,
    margins,
    seed_of,
)

AUTO, CELLS, GROUPS, BALANCED = "auto", "cell-balanced", "group-balanced", "class-balanced"
VALIDATION = "class-balanced on X_val"
DONE = {
    CELLS: "correct and misclassified samples of each class get equal weight",
    GROUPS: "the values of each attribute get equal weight in each class",
    BALANCED: "class-balanced retraining",
    VALIDATION: "class-balanced retraining on the validation set",
}


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class AutoDebiasClassifier(StudyClassifier):
    r"""Retrain the last layer with balanced errors, if another head can learn them.

    Needs embeddings and class labels; no group labels.

    1. A class-balanced baseline of ridge weight 1 is fitted on the training set T. Its errors are
       cross-fitted on T and plain on the validation set V.
    2. A head is retrained on T and V. The correct and the misclassified samples of each class get
       equal weight, unless a class has fewer than 10 of either. No weight grows more than
       fiftyfold.
    3. This head is taken if it recovers errors on unseen samples. The lower 99 % bounds of the
       error recovery rate must be 8 % of the baseline's errors, and 12 % of those that
       class-balanced retraining on T and V leaves. Else the result is that retraining.

    The *error recovery rate* is the share of a head's errors in a class that another head gets
    right, minus the share of its correct samples that the other loses. Of the baseline's, only
    correct samples as far from the boundary as the errors count. The rate is the mean over the
    classes with at least 10 errors. There must be two such classes, and half of all. Wrong labels
    and overlapping classes rarely reach the limits, which were chosen on a few data sets.

    Errors that can be learned may still come from a weak signal instead of a shortcut; then the new
    head learns the shortcut. :func:`ntkit.debias` with ``method="auto"`` names what the new head
    relies on more.

    No neuron is suppressed. The penalty refers to embeddings standardised on T. It is chosen by
    cross-validated accuracy: the mean over the class × correctness groups, or over the worse half
    of the classes or groups for other recipes.

    Parameters
    ----------
    recipe : str, default="auto"
        What is balanced. "auto" chooses between "cell-balanced" (the class × correctness groups)
        and "class-balanced" as above. "class-balanced on X_val" uses V alone, which suits a V with
        little bias. "group-balanced" balances the classes × attributes that you pass.
    alphas : array-like, default=(1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
        Candidate ridge weights on the mean loss; scikit-learn's C is 1 / (N alpha). If several are
        equally good, the largest is used.
    cv : int, default=5
        Folds for errors and for the penalty.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    recipe_ : str
        The recipe that was used.
    reason_ : str
        The reason, in one or two sentences.
    values_ : ndarray of int, shape (N + M, A), or None
        Index of the value of each balanced attribute, for the samples of T and then of V; −1 if it
        is unknown.
    error_recovery_ : float
        Lower bound of the rate of the baseline's errors; NaN with too few, or with a given recipe.
    class_errors_ : ndarray of shape (C,)
        Error rates of the baseline on T and V; with "auto" and "cell-balanced".
    baseline_head_ : LinearHead
        Class-balanced baseline on unscaled embeddings; with "auto" and "cell-balanced".
    alpha_ : float
        Chosen ridge weight, one of ``alphas``.
    classes_, coef_, intercept_, head_, n_iter_, n_features_in_, feature_names_in_
        As in :class:`BalancedClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators import AutoDebiasClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 2000)
    >>> mark = np.where(rng.random(2000) < 0.95, y, 1 - y)
    >>> X = np.column_stack([2 * y + rng.normal(0, 0.5, 2000), 3 * mark, rng.normal(0, 1, 2000)])
    >>> AutoDebiasClassifier(random_state=0).fit(X, y).recipe_
    'cell-balanced'
    >>> AutoDebiasClassifier(random_state=0).fit(X[:, ::2], y).recipe_  # errors, but no shortcut
    'class-balanced'
    """

    _takes: ClassVar[tuple[str, ...]] = (*VALIDATION_SET, "attributes", "attributes_val")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "recipe": [StrOptions({AUTO, CELLS, BALANCED, VALIDATION, GROUPS})],
        "alphas": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left")],
    }

    recipe: str = AUTO
    alphas: Any = ALPHAS
    cv: int = 5
    random_state: Any = None

    def _with_known(
        self, study: Study, attributes: Any = None, attributes_val: Any = None
    ) -> Study:
        """Add the attributes that should not influence predictions.

        attributes : array-like or sparse array of shape (N, A), optional
            With ``recipe="group-balanced"``: index of the sample's value for each attribute, from 0
            on; −1 if it is unknown.
        attributes_val : array-like or sparse array of shape (M, A), optional
            Those of the validation set.
        """
        if attributes is None:
            return study
        if self.recipe != GROUPS:
            raise InputError(
                f"recipe={GROUPS!r} uses attributes, but recipe={self.recipe!r} does not; leave "
                "attributes out or change the recipe."
            )
        parts = [_checked(attributes, len(study.train), "attributes")]
        if study.validation is not None:
            if attributes_val is None:
                raise InputError("X_val needs its attributes; pass attributes_val as well.")
            parts.append(_checked(attributes_val, len(study.validation), "attributes_val"))
            if parts[0].shape[1] != parts[1].shape[1]:
                raise InputError(
                    f"attributes has {parts[0].shape[1]} columns and attributes_val "
                    f"{parts[1].shape[1]}; pass the same attributes in the same order."
                )
        return replace(study, values=np.concatenate(parts))

    def _counts_rows(self) -> bool:
        return True

    def _learn(self, study: Study) -> None:
        if self.recipe == VALIDATION and study.validation is None:
            raise InputError(f"recipe={self.recipe!r} needs X_val and y_val; pass both.")
        if self.recipe == GROUPS and study.values is None:
            raise InputError(f"recipe={self.recipe!r} needs attributes; pass them.")
        how: dict[str, Any] = {
            "alphas": self.alphas,
            # Standardising the embeddings only changes the units of the penalty.
            "gains": study.train.gains,
            "n_splits": self.cv,
            "seed": seed_of(self.random_state),
        }
        rows, self.error_recovery_ = study.both, float("nan")
        self.values_ = study.values if self.recipe == GROUPS else None
        self.recipe_, self.reason_ = self.recipe, "You chose it"
        if self.recipe in (AUTO, CELLS):
            # Margins of a class-balanced baseline of T on rows of T and V that it has not seen.
            train, options = study.train, how | {"alphas": [1.0], "also": study.validation}
            path = self._tuned(train, train.balanced(), **options)
            unseen, head = path.margin, path.head
            self.baseline_head_ = LinearHead(head.coef, head.intercept, self.classes_)
            if unseen is None:  # too few samples for folds
                unseen = margins(head.logits(rows.X[:]), rows.y_index)
            wrong = unseen <= 0
            errors, mass = rates(wrong, rows.y_index, rows.weight)
            self.class_errors_ = errors[mass > 0]
            weight = correctness_balanced(rows.balanced(), rows.y_index, wrong)
            cells = correctness_groups(rows.y_index, wrong, rows.weight)
            path = self._tuned(rows, weight, cells, **how)
            if self.recipe == AUTO:
                plain = self._tuned(rows, rows.balanced(), **how)
                self._choose(rows, unseen, plain.margin, path.margin)
        if self.values_ is not None:
            weight = group_balanced(rows.weight, rows.y_index, self.values_)
            groups = judged_groups(rows.weight, rows.y_index, self.values_, LEAST_ERRORS)
            path = self._tuned(rows, weight, groups, worse_half=True, **how)
        elif self.recipe_ != CELLS:
            rows = study.on("validation").train if self.recipe == VALIDATION else rows
            path = self._tuned(rows, rows.balanced(), **how)
        self.alpha_ = path.alpha
        self.reason_ = f"{self.reason_}: {DONE[self.recipe_]}."
        self._set_head(path.head)

    def _choose(self, rows: Rows, unseen: Array, plain: Array | None, cells: Array | None) -> None:
        """Step 3: whether the errors can be learned, so that noise alone does not explain them."""
        learned, rate, rest = False, float("nan"), float("nan")
        if plain is not None and cells is not None:
            margin = unseen, plain, cells
            learned, rate, rest = errors_are_evidence(rows.y_index, rows.weight, *margin)
        self.recipe_, self.error_recovery_ = CELLS if learned else BALANCED, rate
        share = f"{100 * max(0.0, rate):.0f} %"
        why = f"Balancing correct and misclassified samples fixes at least {share} of these errors"
        if np.isnan(rate):
            why = f"Too few classes have {LEAST_ERRORS} errors or more to tell bias from noise"
        elif rate < ERROR_RECOVERY:
            why += ", too few to distinguish bias from noise"
        elif np.isnan(rest):
            why += ". But class-balanced retraining leaves too few errors to tell bias from noise"
        elif not learned:
            share = f"{100 * max(0.0, rest):.0f} %"
            why += (
                ". But of those that class-balanced retraining leaves it surely fixes only "
                f"{share}, too few to distinguish bias from noise"
            )
        self.reason_ = (
            "The class-balanced baseline misclassifies "
            f"{100 * self.class_errors_.mean():.1f} % of each class on average. {why}"
        )


def _checked(attributes: Any, n_samples: int, which: str) -> Array:
    """Values of attributes as int, (N, A); negative values are unknown."""
    dense = attributes.toarray() if sparse.issparse(attributes) else np.asarray(attributes)
    dense = dense[:, None] if dense.ndim == 1 else dense
    if dense.ndim != 2 or dense.shape[0] != n_samples or dense.dtype.kind not in "biuf":
        raise InputError(
            f"{which} must be numbers, one row for each of {n_samples} samples and one column for "
            f"each attribute; got {dense.dtype} of shape {dense.shape}."
        )
    if not (np.isfinite(dense) & (dense == np.round(dense))).all():
        raise InputError(
            f"{which} contains values that are not whole numbers; pass 1 if a sample has an "
            "attribute, 0 if not, −1 if that is unknown."
        )
    return np.maximum(np.asarray(dense, dtype=np.int64), -1)
