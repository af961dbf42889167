"""AutoDebiasClassifier: which retraining the data call for, decided without group labels."""

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
    AS_GOOD,
    BESIDE,
    ERROR_RECOVERY,
    LEAST_ERRORS,
    CellsTried,
    Outcome,
    PenaltyPath,
    Rows,
    Study,
    checked_alphas,
    class_error_rates,
    correctness_balanced,
    correctness_groups,
    error_recovery_rate,
    group_balanced,
    judged_groups,
    penalty_path,
    shift_pvalue,
)

VALIDATION, BALANCED, CELLS = "class-balanced on X_val", "class-balanced", "cell-balanced"
VALIDATION_CELLS = "cell-balanced on X_val"
GROUPS = "group-balanced"
DONE = {
    VALIDATION: "class-balanced retraining on the held-out set",
    BALANCED: "class-balanced retraining",
    CELLS: "correct and misclassified samples of each class are given equal weight",
    GROUPS: "its sides are given equal weight in each class",
    VALIDATION_CELLS: "those of the held-out set, alone, are given equal weight in each class",
}


def learns(
    rows: Rows,
    unseen: Outcome,
    plain: Outcome | None,
    cells: Outcome | None,
    least: int,
    n_classes: int,
) -> tuple[bool, float, str]:
    """Step 3 of ``auto``: whether balancing the cells learns the errors rather than noise."""
    # With the lower bound of the learned share (or NaN), and the reason.
    n_errors = np.bincount(rows.y_index[unseen.wrong & (rows.weight > 0)])
    enough = int((n_errors >= least).sum()) >= max(2, n_classes / 2)
    errors = class_error_rates(rows, unseen.wrong)
    rate = f"The reference head errs on {100 * errors.mean():.1f} % of each class on average"
    tried = None
    if enough and plain is not None and cells is not None:
        tried = CellsTried.of(rows.y_index, rows.weight, unseen, plain, cells)
    if tried is None or np.isnan(tried.error_recovery):
        lacking = f"fewer than two classes, or half of them, have {least} such samples"
        return False, float("nan"), f"{rate}, and {lacking}: too few to tell bias from noise"
    share = f"{100 * max(0.0, tried.error_recovery):.0f} %"
    if tried.error_recovery < ERROR_RECOVERY:
        why = (
            f"and balancing correct and misclassified samples learns {share} of these errors by "
            f"its lower bound, less than {100 * ERROR_RECOVERY:.0f} %: they cannot be told from "
            "noise"
        )
    elif not tried.worth_it:
        left = f"not {100 * BESIDE:.0f} % by the lower bound: they cannot be told from noise"
        if np.isnan(tried.beside):
            left = f"there are not {LEAST_ERRORS}: too few to tell"
        why = (
            f"and its errors can be learned ({share}), but of those that class-balanced "
            f"retraining with another penalty leaves {left}"
        )
    else:
        why = (
            f"and balancing correct and misclassified samples learns at least {share} of these "
            "errors on samples it has not seen, which noise does not allow: they point at what "
            "the head has not learned"
        )
    return tried.worth_it, tried.error_recovery, f"{rate}, {why}"


_LEARNED_VALIDATION = 0.25


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class AutoDebiasClassifier(ValidatedClassifier):
    r"""Choose the last-layer retraining the data call for.

    Needs embeddings and class labels; no group labels. A validation set (``X_val``) that is less
    biased than the training set is used where there is one. With ``recipe="group-balanced"`` it
    balances the classes × attributes that you give.

    1. Reference head: class-balanced, with a ridge of weight 1 on the mean loss, or less where that
       costs more than 4 points of mean class accuracy, fitted on the training set T. Its errors are
       cross-fitted on T and plain on the held-out set H.
    2. H is taken for better balanced if the reference head errs more on H than on T, in one class
       (Fisher's exact test) or in all together (Mantel and Haenszel's), with Bonferroni's
       correction, *and* retraining on H learns its errors: by the lower bound of the learned share
       (below) at least a quarter of them, on samples of H it has not seen. A network that memorised
       T errs more on H as well, but its errors cannot be learned so. Then: class-balanced
       retraining on H.
    3. Otherwise the class × correctness cells are balanced on T and H, if that learns the errors:
       by the lower bound at least 8 % of those of the reference head, and 12 % of those that
       class-balanced retraining with a penalty of its own makes, on samples it has not seen. (H
       alone is looked at, and its cells balanced, where more errors on it show that T may be
       memorised, wrong labels included.)
    4. Otherwise errors are no sign of bias: class-balanced retraining on T and H.

    The *learned share* is the share of a class's errors that another head gets right, less the
    share of correct samples, as far from the boundary, that it gives up for them; the mean over
    the classes with at least 10 errors, of which there must be two, and half of all (with 20, where
    H is looked at alone). Wrong labels and overlapping classes have a learned share of about 0.
    What cannot be told from those is left alone: with few errors, or much noise beside a shortcut,
    step 3 is not taken. ``recipe`` says what to do where you know better.

    No neuron is suppressed. The penalty counts as on embeddings standardised on T, and is chosen
    by cross-validated accuracy: the mean over the worse half of the classes (2, 4) or over the
    cells (3). Constants were chosen on a handful of data sets: none of it is a guarantee.

    Parameters
    ----------
    recipe : str, default="auto"
        What to do; "auto" decides as above. Or "class-balanced", "cell-balanced", or either of them
        "on X_val" alone, as in "class-balanced on X_val"; or "group-balanced", over the classes ×
        the attributes given, whatever they are.
    validation_balanced : bool, default=None
        Whether H is better balanced over the groups than T, where you know it; None tests it.
    frozen_backbone : bool, default=False
        Whether the network that computes the embeddings was not trained on T, such as a public
        one. It cannot have memorised T then, and step 2 needs its first condition alone.
    shift_level : float, default=0.01
        Significance level of step 2; 0 shuts it.
    alphas : array-like, default=(1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
        Ridge weights on the mean loss to choose from; scikit-learn's C is 1 / (N alpha). Of equally
        good ones the largest is taken.
    baseline_alpha : float, default=None
        Ridge weight of the reference head; None chooses it, as in step 1.
    cv : int, default=5
        Folds for errors and for the penalty.
    {tol, max_iter, device, random_state}

    Attributes
    ----------
    recipe_ : str
        What was done: one of the five.
    reason_ : str
        Why, in one sentence or two.
    values_ : ndarray of int, shape (N + M, A), or None
        Side of each attribute balanced over, of the samples of T and then of H; −1 on none.
    shift_pvalue_ : float
        Of step 2; NaN without ``X_val``.
    validation_error_recovery_ : float
        Lower bound of the learned share in step 2; NaN where it was not needed or not known.
    error_recovery_ : float
        Lower bound of the learned share in step 3, likewise.
    class_errors_ : ndarray of shape (C,)
        Cross-fitted error rates of the reference head on T.
    alpha_ : float
        Ridge weight chosen, one of ``alphas``.
    baseline_head_ : LinearHead
        The reference head on raw embeddings.
    baseline_alpha_ : float
        Ridge weight of the reference head whose errors were looked at in step 3.
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
        """Look at the errors of a reference head, decide, retrain.

        Parameters
        ----------
        {X, y, sample_weight}
        {X_val, y_val, sample_weight_val}
        attributes, attributes_val : array-like or sparse array of shape (N, A) and (M, A), optional
            With ``recipe="group-balanced"``: the side of each attribute that a sample is on, from 0
            on; −1 where that is not known.

        {fitted}

        Raises
        ------
        InputError
            If what is given does not fit, or a recipe needs what is not given.
        """
        study = self._study(X, y, sample_weight, X_val, y_val, sample_weight_val)
        if attributes is not None:
            if self.recipe != GROUPS:
                raise InputError(
                    f"attributes are balanced over with recipe={GROUPS!r}; recipe={self.recipe!r} "
                    "uses none, so leave them out or change the recipe."
                )
            study = _with_attributes(study, attributes, attributes_val)
        self._learn(study)
        return self

    def _learn(self, study: Study) -> None:
        self._alphas = checked_alphas(self.alphas)
        train, validation = study.train, study.validation
        if validation is None and self.recipe in (VALIDATION, VALIDATION_CELLS):
            raise InputError(f"recipe={self.recipe!r} needs X_val and y_val, which were not given.")
        if study.values is None and self.recipe == GROUPS:
            raise InputError(f"recipe={self.recipe!r} needs attributes, which were not given.")
        # Standardising the embeddings only changes the units of the penalty.
        self._gains = 1 / train.deviations
        rng = check_random_state(self.random_state)
        self._seed = int(rng.randint(np.iinfo(np.int32).max))

        alpha, unseen = self._reference(train)
        reference = self._head_with(alpha, train, self._balanced(train))
        self.baseline_head_ = LinearHead(reference.coef, reference.intercept, self.classes_)
        self.baseline_alpha_ = alpha
        if unseen is None:  # too few samples for folds
            unseen = Outcome.of(reference.logits(train.X), train.y_index)
        self.class_errors_ = class_error_rates(train, unseen.wrong)
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
        unseen_validation = Outcome.of(reference.logits(validation.X), validation.y_index)
        if self._takes_validation(train, unseen, validation, unseen_validation):
            path = self._path(validation, outcomes=False)
            self._retrain(VALIDATION, validation, self._balanced(validation), path)
        elif self._held_alone():
            self._decide(validation, self._unseen(validation, unseen_validation), study.both)
        else:
            self._decide(study.both, unseen.and_of(unseen_validation), study.both)

    def _held_alone(self) -> bool:
        """Whether step 3 leaves the training set aside, which may be memorised."""
        memorised = self.shift_pvalue_ < self.shift_level and not self.frozen_backbone
        return self.recipe == VALIDATION_CELLS or (self.recipe == "auto" and memorised)

    def _takes_validation(
        self, train: Rows, unseen: Outcome, validation: Rows, unseen_validation: Outcome
    ) -> bool:
        """Step 2: whether the held-out set is better balanced."""
        self.shift_pvalue_ = shift_pvalue(train, unseen.wrong, validation, unseen_validation.wrong)
        errs_more = (
            "The reference head errs more on the held-out set than on the training set (p = "
            f"{self.shift_pvalue_:.0e}, below {self.shift_level:g})"
        )
        if self.recipe != "auto" or self.validation_balanced is not None:
            self.reason_ = "You said that the held-out set is better balanced"
            return self.recipe == VALIDATION or (
                self.recipe == "auto" and bool(self.validation_balanced)
            )
        if not self.shift_pvalue_ < self.shift_level:
            return False
        if self.frozen_backbone:
            self.reason_ = f"{errs_more}, which the network cannot have memorised"
            return True
        after = self._path(validation).outcome
        if after is not None:
            error_recovery = error_recovery_rate(
                validation.y_index, unseen_validation, after, validation.weight
            )
            self.validation_error_recovery_ = error_recovery.low
        if self.validation_error_recovery_ >= _LEARNED_VALIDATION:
            self.reason_ = (
                f"{errs_more}, and retraining on the held-out set learns at least "
                f"{100 * self.validation_error_recovery_:.0f} % of these errors on samples "
                "of it that it has not seen, which memorising the training set does not explain: "
                "the held-out set is better balanced"
            )
            return True
        self._hint = (
            f" {errs_more}, as it does where the network memorised its training set; if you know "
            "that the held-out set is better balanced, pass validation_balanced=True."
        )
        return False

    def _reference(self, rows: Rows) -> tuple[float, Outcome | None]:
        """Penalty of a reference head of these rows, and what it makes of them, cross-fitted."""
        if self.baseline_alpha is not None:
            alpha = float(self.baseline_alpha)
            return alpha, self._path(rows, alphas=[alpha]).outcome
        path = self._path(rows)
        alpha = path.strongest(rows.y_index, rows.weight, most=1.0, within=AS_GOOD)
        return alpha, path.outcomes.get(alpha)

    def _unseen(self, validation: Rows, otherwise: Outcome) -> Outcome:
        """Cross-fitted outcome of a class-balanced baseline on the validation set."""
        # That of the training set errs on what is new wherever that was memorised.
        self.baseline_alpha_, unseen = self._reference(validation)
        return unseen or otherwise

    def _decide(self, rows: Rows, unseen: Outcome, every: Rows) -> None:
        """Steps 3 and 4: balance the cells of ``rows``, or else the classes of ``every`` row."""
        # `rows` are the held-out set alone where more errors there show that the training set may
        # be memorised, wrong labels included; `unseen` is what a reference head makes of them.
        balanced, wrong, asked = self._balanced(rows), unseen.wrong, self.recipe != "auto"
        if self.recipe == BALANCED:
            self.reason_ = "You asked for it"
            path = self._path(every, outcomes=False)
            self._retrain(BALANCED, every, self._balanced(every), path)
            return
        weight = correctness_balanced(balanced, rows.y_index, wrong)
        cells = correctness_groups(rows.y_index, wrong, rows.weight)
        path = self._path(rows, weight, cells, outcomes=not asked)
        by_cells = CELLS if rows is every else VALIDATION_CELLS
        if asked:
            self.reason_ = "You asked for it"
            self._retrain(by_cells, rows, weight, path)
            return
        plain = self._path(rows)
        # Halves of a held-out set, which tell the price, must have enough errors as well.
        least = LEAST_ERRORS if rows is every else 2 * LEAST_ERRORS
        learned, self.error_recovery_, self.reason_ = learns(
            rows, unseen, plain.outcome, path.outcome, least, len(self.classes_)
        )
        if learned:
            self._retrain(by_cells, rows, weight, path)
            return
        if every is not rows:
            plain = self._path(every, outcomes=False)
        self._retrain(BALANCED, every, self._balanced(every), plain)

    def _retrain(self, recipe: str, rows: Rows, weight: Array, path: PenaltyPath) -> None:
        self.recipe_, self.alpha_ = recipe, path.alpha
        self.reason_ = f"{self.reason_}: {DONE[recipe]}.{self._hint}"
        self._set_head(self._head_with(path.alpha, rows, weight))

    def _path(
        self,
        rows: Rows,
        weight: Array | None = None,
        cells: Array | None = None,
        *,
        worse_half: bool = False,
        outcomes: bool = True,
        alphas: Sequence[float] | None = None,
    ) -> PenaltyPath:
        """Penalties by the classes, with class-balanced weights, or by the cells given."""
        return penalty_path(
            self._heads_with,
            rows,
            self._balanced(rows) if weight is None else weight,
            2 * rows.y_index if cells is None else cells,
            alphas=self._alphas if alphas is None else alphas,
            worse_half=worse_half or cells is None,
            n_splits=self.cv,
            seed=self._seed,
            outcomes=outcomes,
        )

    def _over_groups(self, rows: Rows, sides: Array) -> tuple[Array, PenaltyPath]:
        """Weights that balance class × sides, and penalties by these groups."""
        weight = group_balanced(rows.weight, rows.y_index, sides)
        groups = judged_groups(rows.weight, rows.y_index, sides)
        return weight, self._path(rows, weight, groups, worse_half=True, outcomes=False)

    def _head_with(self, alpha: float, rows: Rows, weight: Array) -> FittedHead:
        return self._heads_with(rows, [weight], [alpha])[0]

    def _heads_with(
        self, rows: Rows, weights: Sequence[Array], alphas: Sequence[float]
    ) -> list[FittedHead]:
        return self._ridge_heads(rows, weights, alphas, self._gains)


def _with_attributes(study: Study, attributes: Any, val: Any) -> Study:
    """A study, with attributes of its rows that a right answer must not depend on."""
    parts = [_checked(attributes, len(study.train.weight), "attributes")]
    if study.validation is not None:
        if val is None:
            raise InputError("X_val needs its attributes; pass attributes_val as well.")
        parts.append(_checked(val, len(study.validation.weight), "attributes_val"))
        if parts[0].shape[1] != parts[1].shape[1]:
            raise InputError(
                f"attributes has {parts[0].shape[1]} columns and attributes_val "
                f"{parts[1].shape[1]}; give the same attributes in the same order."
            )
    return replace(study, values=np.concatenate(parts))


def _checked(attributes: Any, n_samples: int, which: str) -> Array:
    """Values of attributes that were named: int, (N, A); all below 0 is not known."""
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
            f"{which} holds values that are no whole numbers; give 1 where a sample has an "
            "attribute, 0 where not, −1 where that is not known."
        )
    dense = matrix.toarray() if sparse.issparse(matrix) else matrix
    return np.maximum(np.asarray(dense, dtype=np.int64), -1)
