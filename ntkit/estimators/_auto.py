"""AutoDebiasClassifier: choose a retraining method from the data, without group labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._base import ValidatedClassifier
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import FittedHead
from ntkit.study import (
    ALPHAS,
    BESIDE,
    ERROR_RECOVERY,
    LEAST_ERRORS,
    Rows,
    Study,
    Tuned,
    checked_alphas,
    class_error_rates,
    correctness_balanced,
    correctness_groups,
    error_recovery_rate,
    errors_are_evidence,
    group_balanced,
    judged_groups,
    margins,
    shift_pvalue,
)

VALIDATION, BALANCED, CELLS = "class-balanced on X_val", "class-balanced", "cell-balanced"
VALIDATION_CELLS = "cell-balanced on X_val"
GROUPS = "group-balanced"
DONE = {
    VALIDATION: "class-balanced retraining on the validation set",
    BALANCED: "class-balanced retraining",
    CELLS: "correct and misclassified samples of each class get equal weight",
    GROUPS: "the values of each attribute get equal weight in each class",
    VALIDATION_CELLS: (
        "correct and misclassified samples of the validation set alone get equal "
        "weight in each class"
    ),
}


def learns(
    rows: Rows,
    unseen: Array,
    plain: Array | None,
    cells: Array | None,
    least: int,
    n_classes: int,
) -> tuple[bool, float, str]:
    """Step 3 of ``auto``: whether balancing class × correctness groups learns errors, not noise."""
    # Also returns the lower bound of the error recovery rate (or NaN), and the reason.
    n_errors = np.bincount(rows.y_index[(unseen <= 0) & (rows.weight > 0)])
    enough = int((n_errors >= least).sum()) >= max(2, n_classes / 2)
    errors = class_error_rates(rows, unseen <= 0)
    rate = (
        f"The class-balanced baseline misclassifies {100 * errors.mean():.1f} % of each class "
        "on average"
    )
    worth_it, recovery, beside = False, float("nan"), float("nan")
    if enough and plain is not None and cells is not None:
        worth_it, recovery, beside = errors_are_evidence(
            rows.y_index, rows.weight, unseen, plain, cells
        )
    if np.isnan(recovery):
        lacking = f"fewer than two classes, or half of them, have {least} errors"
        return False, float("nan"), f"{rate}. But {lacking}: too few to distinguish bias from noise"
    share = f"{100 * max(0.0, recovery):.0f} %"
    if recovery < ERROR_RECOVERY:
        why = (
            f"Balancing correct and misclassified samples fixes {share} of these errors (lower "
            f"bound), less than {100 * ERROR_RECOVERY:.0f} %, so they may be noise"
        )
    elif not worth_it:
        left = (
            "of the errors that class-balanced retraining with another penalty leaves, it fixes "
            f"less than {100 * BESIDE:.0f} % (lower bound), so they may be noise"
        )
        if np.isnan(beside):
            left = (
                "class-balanced retraining with another penalty leaves fewer than "
                f"{LEAST_ERRORS} errors, too few to tell"
            )
        why = (
            f"Balancing correct and misclassified samples fixes {share} of these errors. But {left}"
        )
    else:
        why = (
            f"Balancing correct and misclassified samples fixes at least {share} of these errors "
            "on unseen samples. Noise cannot be fixed like this, so the errors have a pattern that "
            "the head has not learned"
        )
    return worth_it, recovery, f"{rate}. {why}"


_LEARNED_VALIDATION = 0.25


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class AutoDebiasClassifier(ValidatedClassifier):
    r"""Choose and fit the last-layer retraining that suits the data.

    Needs embeddings and class labels; no group labels. A validation set (``X_val``) is used if it
    is less biased than the training set. With ``recipe="group-balanced"`` the classifier balances
    the classes × attributes that you pass.

    1. A class-balanced baseline is fitted on the training set T. Its ridge has weight 1 on the mean
       loss, or less if that costs more than 4 percentage points of mean class accuracy. Its errors
       are cross-fitted on T and plain on the validation set V.
    2. V counts as better balanced if two conditions hold. First, the baseline errs more on V than
       on T, in one class (Fisher's exact test) or in all (Mantel and Haenszel's), with Bonferroni's
       correction. Second, retraining on V fixes its errors: the lower bound of the error recovery
       rate on unseen samples of V is at least a quarter. A network that memorised T errs more on V
       as well, but retraining does not fix those errors. Then the result is class-balanced
       retraining on V.
    3. Else the class × correctness groups are balanced on T and V, if that fixes the errors on
       unseen samples. The lower bounds must be at least 8 % of the baseline's errors, and 12 % of
       the errors of class-balanced retraining with its own penalty. If more errors on V show that
       the network may have memorised T, wrong labels included, this step uses V alone.
    4. Else the errors do not prove bias: class-balanced retraining on T and V.

    The *error recovery rate* compares two heads on the errors of a class: the share of the errors
    that another head gets right, minus the share of correct samples, equally far from the boundary,
    that it loses. It is the mean over the classes with at least 10 errors (20 if V is used alone).
    There must be two such classes, and half of all. Wrong labels and overlapping classes have a
    rate of about 0. With few errors, or much noise in addition to a shortcut, step 3 is not taken,
    because such errors cannot be distinguished from noise. Set ``recipe`` if you know better.

    No neuron is suppressed. The penalty refers to embeddings standardised on T. It is chosen by
    cross-validated accuracy: the mean over the worse half of the classes (2, 4) or over the class ×
    correctness groups (3). The constants were chosen on a few data sets, so nothing here is a
    guarantee.

    Parameters
    ----------
    recipe : str, default="auto"
        Retraining method; "auto" chooses as above. "class-balanced" and "cell-balanced" (over class
        × correctness groups) use all samples; "class-balanced on X_val" and "cell-balanced on
        X_val" use the validation set alone. "group-balanced" balances the classes × attributes that
        you pass.
    validation_balanced : bool, default=None
        Whether V is better balanced over the groups than T, if you know it; None tests it.
    frozen_backbone : bool, default=False
        Whether the network that computes the embeddings was not trained on T, such as a public one.
        It cannot have memorised T then, so step 2 needs only its first condition.
    shift_level : float, default=0.01
        Significance level of step 2; 0 disables the step.
    alphas : array-like, default=(1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
        Candidate ridge weights on the mean loss; scikit-learn's C is 1 / (N alpha). If several are
        equally good, the largest is used.
    baseline_alpha : float, default=None
        Ridge weight of the class-balanced baseline; None chooses it as in step 1.
    cv : int, default=5
        Folds for errors and for the penalty.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    recipe_ : str
        The method that was used: one of the five recipes.
    reason_ : str
        The reason, in one to three sentences.
    values_ : ndarray of int, shape (N + M, A), or None
        Index of the value of each balanced attribute, for the samples of T and then of V; −1 if it
        is unknown.
    shift_pvalue_ : float
        P-value of step 2; NaN without ``X_val``.
    validation_error_recovery_ : float
        Lower bound of the error recovery rate in step 2; NaN if it was not computed.
    error_recovery_ : float
        Lower bound of the error recovery rate in step 3; NaN if it was not computed.
    class_errors_ : ndarray of shape (C,)
        Cross-fitted error rates of the class-balanced baseline on T.
    alpha_ : float
        Chosen ridge weight, one of ``alphas``.
    baseline_head_ : LinearHead
        Class-balanced baseline on unscaled embeddings.
    baseline_alpha_ : float
        Ridge weight of the class-balanced baseline whose errors step 3 used.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "recipe": [StrOptions({"auto", VALIDATION, BALANCED, CELLS, VALIDATION_CELLS, GROUPS})],
        "validation_balanced": ["boolean", None],
        "frozen_backbone": ["boolean"],
        "shift_level": [Interval(Real, 0, 1, closed="both")],
        "alphas": ["array-like"],
        "baseline_alpha": [Interval(Real, 0, None, closed="neither"), None],
        "cv": [Interval(Integral, 2, None, closed="left")],
        **ValidatedClassifier._shared_constraints,
    }

    recipe: str = "auto"
    validation_balanced: bool | None = None
    frozen_backbone: bool = False
    shift_level: float = 0.01
    alphas: Any = ALPHAS
    baseline_alpha: float | None = None
    cv: int = 5
    tol: float = 1e-5
    max_iter: int = 1000
    device: str = "cpu"
    random_state: Any = None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        attributes: Any = None,
        attributes_val: Any = None,
    ) -> AutoDebiasClassifier:
        """Test the errors of a class-balanced baseline, choose a method, and retrain.

        Parameters
        ----------
        {X, y, sample_weight}
        {X_val, y_val, sample_weight_val}
        attributes, attributes_val : array-like or sparse array of shape (N, A) and (M, A), optional
            With ``recipe="group-balanced"``: index of the sample's value for each attribute, from 0
            on; −1 if it is unknown.

        {fitted}

        Raises
        ------
        InputError
            If the arrays do not fit together, or a recipe lacks an argument that it needs.
        """
        study = self._study(X, y, sample_weight, X_val, y_val, sample_weight_val)
        if attributes is not None:
            if self.recipe != GROUPS:
                raise InputError(
                    f"recipe={GROUPS!r} uses attributes, but recipe={self.recipe!r} does not; "
                    "leave attributes out or change the recipe."
                )
            study = _with_attributes(study, attributes, attributes_val)
        self._learn(study)
        return self

    def _learn(self, study: Study) -> None:
        self._alphas = checked_alphas(self.alphas)
        train, validation = study.train, study.validation
        if validation is None and self.recipe in (VALIDATION, VALIDATION_CELLS):
            raise InputError(f"recipe={self.recipe!r} needs X_val and y_val; pass both.")
        if study.values is None and self.recipe == GROUPS:
            raise InputError(f"recipe={self.recipe!r} needs attributes; pass them.")
        # Standardising the embeddings only changes the units of the penalty.
        self._gains = train.gains
        rng = check_random_state(self.random_state)
        self._seed = int(rng.randint(np.iinfo(np.int32).max))

        alpha, unseen = self._reference(train)
        reference = self._head_with(alpha, train, train.balanced())
        self.baseline_head_ = LinearHead(reference.coef, reference.intercept, self.classes_)
        self.baseline_alpha_ = alpha
        if unseen is None:  # too few samples for folds
            unseen = margins(reference.logits(train.X), train.y_index)
        self.class_errors_ = class_error_rates(train, unseen <= 0)
        self.shift_pvalue_ = self.validation_error_recovery_ = self.error_recovery_ = float("nan")
        self._hint = ""
        self.values_ = study.values if self.recipe == GROUPS else None
        if self.values_ is not None:
            self.reason_ = "You named the attributes"
            weight, path = self._over_groups(study.both, self.values_)
            self._retrain(GROUPS, study.both, weight, path)
            return
        if validation is None:
            self._decide(train, unseen, train)
            return
        unseen_validation = margins(reference.logits(validation.X), validation.y_index)
        if self._takes_validation(train, unseen, validation, unseen_validation):
            path = self._path(validation)
            self._retrain(VALIDATION, validation, validation.balanced(), path)
        elif self._held_alone():
            self._decide(validation, self._unseen(validation, unseen_validation), study.both)
        else:
            self._decide(study.both, np.append(unseen, unseen_validation), study.both)

    def _held_alone(self) -> bool:
        """Whether step 3 leaves out the training set because the network may have memorised it."""
        memorised = self.shift_pvalue_ < self.shift_level and not self.frozen_backbone
        return self.recipe == VALIDATION_CELLS or (self.recipe == "auto" and memorised)

    def _takes_validation(
        self, train: Rows, unseen: Array, validation: Rows, unseen_validation: Array
    ) -> bool:
        """Step 2: whether the validation set is better balanced."""
        self.shift_pvalue_ = shift_pvalue(train, unseen <= 0, validation, unseen_validation <= 0)
        errs_more = (
            "The class-balanced baseline errs more on the validation set than on the training set "
            f"(p = {self.shift_pvalue_:.0e}, below {self.shift_level:g})"
        )
        if self.recipe != "auto" or self.validation_balanced is not None:
            self.reason_ = "You said that the validation set is better balanced"
            return self.recipe == VALIDATION or (
                self.recipe == "auto" and bool(self.validation_balanced)
            )
        if not self.shift_pvalue_ < self.shift_level:
            return False
        if self.frozen_backbone:
            self.reason_ = f"{errs_more}. The network cannot have memorised the training set"
            return True
        after = self._path(validation).margin
        if after is not None:
            self.validation_error_recovery_ = error_recovery_rate(
                validation.y_index, unseen_validation, after, validation.weight
            )
        if self.validation_error_recovery_ >= _LEARNED_VALIDATION:
            self.reason_ = (
                f"{errs_more}. Retraining on the validation set fixes at least "
                f"{100 * self.validation_error_recovery_:.0f} % of these errors on unseen samples "
                "of it. Memorisation of the training set does not explain that: the validation set "
                "is better balanced"
            )
            return True
        self._hint = (
            f" {errs_more}. A network that memorised its training set has this effect, too. If you "
            "know that the validation set is better balanced, pass validation_balanced=True."
        )
        return False

    def _reference(self, rows: Rows) -> tuple[float, Array | None]:
        """Penalty and cross-fitted outcome of a class-balanced baseline of these rows."""
        if self.baseline_alpha is not None:
            path = self._path(rows, alphas=[float(self.baseline_alpha)])
        else:
            path = self._path(rows).strongest()
        return path.alpha, path.margin

    def _unseen(self, validation: Rows, otherwise: Array) -> Array:
        """Cross-fitted outcome of a class-balanced baseline on the validation set."""
        # The baseline of the training set errs on all new samples if the network memorised that
        # set.
        self.baseline_alpha_, unseen = self._reference(validation)
        return otherwise if unseen is None else unseen

    def _decide(self, rows: Rows, unseen: Array, every: Rows) -> None:
        """Steps 3 and 4: balance the groups of ``rows``, or else the classes of all rows."""
        # `rows` is the validation set alone if more errors on it show that the network may have
        # memorised the training set, wrong labels included. `unseen` is the outcome of a
        # class-balanced baseline.
        balanced, wrong, asked = rows.balanced(), unseen <= 0, self.recipe != "auto"
        if self.recipe == BALANCED:
            self.reason_ = "You chose it"
            path = self._path(every)
            self._retrain(BALANCED, every, every.balanced(), path)
            return
        weight = correctness_balanced(balanced, rows.y_index, wrong)
        cells = correctness_groups(rows.y_index, wrong, rows.weight)
        path = self._path(rows, weight, cells)
        by_cells = CELLS if rows is every else VALIDATION_CELLS
        if asked:
            self.reason_ = "You chose it"
            self._retrain(by_cells, rows, weight, path)
            return
        plain = self._path(rows)
        # Halves of a validation set, which measure the accuracy cost, must have enough errors as
        # well.
        least = LEAST_ERRORS if rows is every else 2 * LEAST_ERRORS
        learned, self.error_recovery_, self.reason_ = learns(
            rows, unseen, plain.margin, path.margin, least, len(self.classes_)
        )
        if learned:
            self._retrain(by_cells, rows, weight, path)
            return
        if every is not rows:
            plain = self._path(every)
        self._retrain(BALANCED, every, every.balanced(), plain)

    def _retrain(self, recipe: str, rows: Rows, weight: Array, path: Tuned) -> None:
        self.recipe_, self.alpha_ = recipe, path.alpha
        self.reason_ = f"{self.reason_}: {DONE[recipe]}.{self._hint}"
        self._set_head(path.head)

    def _path(
        self,
        rows: Rows,
        weight: Array | None = None,
        cells: Array | None = None,
        *,
        worse_half: bool = False,
        alphas: Sequence[float] | None = None,
    ) -> Tuned:
        """Penalties by class with class-balanced weights, or by the given groups."""
        return self._tuned(
            rows,
            rows.balanced() if weight is None else weight,
            cells,
            gains=self._gains,
            alphas=self._alphas if alphas is None else alphas,
            worse_half=worse_half or cells is None,
            n_splits=self.cv,
            seed=self._seed,
        )

    def _over_groups(self, rows: Rows, sides: Array) -> tuple[Array, Tuned]:
        """Weights that balance class × value, and penalties by these groups."""
        weight = group_balanced(rows.weight, rows.y_index, sides)
        groups = judged_groups(rows.weight, rows.y_index, sides)
        return weight, self._path(rows, weight, groups, worse_half=True)

    def _head_with(self, alpha: float, rows: Rows, weight: Array) -> FittedHead:
        options = {"gains": self._gains, **self._solver_options()}
        return rows.ridge_heads([weight], [alpha], **options)[0]


def _with_attributes(study: Study, attributes: Any, val: Any) -> Study:
    """A study, with the attributes of its rows that should not influence predictions."""
    parts = [_checked(attributes, len(study.train.weight), "attributes")]
    if study.validation is not None:
        if val is None:
            raise InputError("X_val needs its attributes; pass attributes_val as well.")
        parts.append(_checked(val, len(study.validation.weight), "attributes_val"))
        if parts[0].shape[1] != parts[1].shape[1]:
            raise InputError(
                f"attributes has {parts[0].shape[1]} columns and attributes_val "
                f"{parts[1].shape[1]}; pass the same attributes in the same order."
            )
    return replace(study, values=np.concatenate(parts))


def _checked(attributes: Any, n_samples: int, which: str) -> Array:
    """Values of attributes as int, (N, A); negative values are unknown."""
    matrix = attributes
    if not sparse.issparse(matrix):
        matrix = np.asarray(matrix)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[0] != n_samples or matrix.dtype.kind not in "biuf":
        raise InputError(
            f"{which} must be numbers, one row for each of {n_samples} samples and one column for "
            f"each attribute; got {matrix.dtype} of shape {matrix.shape}."
        )
    values = matrix.data if sparse.issparse(matrix) else matrix
    if values.size and not (np.isfinite(values) & (values == np.round(values))).all():
        raise InputError(
            f"{which} contains values that are not whole numbers; pass 1 if a sample has an "
            "attribute, 0 if not, −1 if that is unknown."
        )
    dense = matrix.toarray() if sparse.issparse(matrix) else matrix
    return np.maximum(np.asarray(dense, dtype=np.int64), -1)
