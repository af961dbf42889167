"""AutoDebiasClassifier: which retraining the data call for, decided without group labels."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom, norm
from sklearn.base import _fit_context
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from ntkit.estimators._base import LastLayerClassifier
from ntkit.estimators._identification import (
    Rows,
    class_logits,
    cross_fitted_logits,
    folds_of,
)
from ntkit.estimators._passes import rows_per_chunk
from ntkit.estimators._solver import Solution
from ntkit.estimators._stacked import stacked
from ntkit.estimators._weights import class_weighted, correctness_balanced
from ntkit.head import LinearHead

__all__ = ["ALPHAS", "AutoDebiasClassifier"]

Array = NDArray[Any]
ALPHAS = (1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
"""Wide: networks trained on the very data keep what they neglect in directions of little variance,
which only a weak penalty lets a head use."""


class AutoDebiasClassifier(LastLayerClassifier):
    r"""Choose the last-layer retraining the data call for.

    Needs embeddings and class labels; no group labels. A held-out set (``X_val``) that is less
    biased than the training set is used where there is one.

    1. Reference head: class-balanced, with a ridge of weight 1 on the mean loss, fitted on the
       training set T. Its errors are cross-fitted on T and plain on the held-out set H.
    2. Shift gate: if it errs more on H than on T, in one class (Fisher's exact test) or in all
       together (Mantel and Haenszel's), with Bonferroni's correction, H is better balanced than T:
       class-balanced retraining on H.
    3. Noise gate: otherwise, if the mean class error on T is at least ``max_error``, errors are
       ordinary noise and no sign of bias: class-balanced retraining on T and H.
    4. Otherwise the class × correctness cells are balanced on T and H.

    No neuron is suppressed. The penalty counts as on embeddings standardised on T, and is chosen
    by cross-validated accuracy: the mean over the worse half of the classes (2, 3) or over the
    cells (4). The gates, their constants and the width of the default ``alphas`` were chosen on a
    handful of data sets: none of it is a guarantee. Step 3 spares average accuracy where there is
    no bias, at the price of the worst group where there is bias and noise; ``max_error=1`` leaves
    it out.

    Parameters
    ----------
    shift_level : float, default=0.01
        Significance level of the shift gate; 0 shuts it.
    max_error : float, default=0.1
        Smallest mean class error that counts as noise.
    alphas : array-like, default=(1e-4, 0.001, 0.01, 0.1, 1.0, 10.0)
        Ridge weights on the mean loss to choose from; scikit-learn's C is 1 / (N alpha). Of equally
        good ones the largest is taken.
    cv : int, default=5
        Folds for errors and for the penalty.
    tol : float, default=1e-5
        Tolerance of the head solver.
    max_iter : int, default=1000
        Most iterations of the head solver.
    device : {"cpu", "cuda", "auto", "ray"}, default="cpu"
        Where heads are fitted.
    n_jobs : int, default=None
        Threads for the folds.
    random_state : int, RandomState instance or None, default=None
        Decides the folds.

    Attributes
    ----------
    recipe_ : {"class-balanced on X_val", "class-balanced", "cell-balanced"}
        What was done.
    reason_ : str
        Why, in one sentence.
    shift_pvalue_ : float
        Of step 2; NaN without ``X_val``.
    class_errors_ : ndarray of shape (C,)
        Cross-fitted error rates of the reference head on T.
    alpha_ : float
        Ridge weight chosen.
    reference_head_ : LinearHead
        The reference head on raw embeddings.
    classes_, coef_, intercept_, head_, n_iter_, n_features_in_, feature_names_in_
        As in :class:`BalancedClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators import AutoDebiasClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 600)
    >>> mark = np.where(rng.random(600) < 0.95, y, 1 - y)
    >>> X = np.column_stack([2 * y + rng.normal(0, 0.7, 600), 3 * mark, rng.normal(0, 1, 600)])
    >>> AutoDebiasClassifier(random_state=0).fit(X, y).recipe_
    'cell-balanced'
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 - scikit-learn's own protocol
        "shift_level": [Interval(Real, 0, 1, closed="both")],
        "max_error": [Interval(Real, 0, 1, closed="both")],
        "alphas": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left")],
        **{
            name: LastLayerClassifier._shared_constraints[name]
            for name in ("tol", "max_iter", "device", "n_jobs", "random_state")
        },
    }

    def __init__(
        self,
        *,
        shift_level: float = 0.01,
        max_error: float = 0.1,
        alphas: Any = ALPHAS,
        cv: int = 5,
        tol: float = 1e-5,
        max_iter: int = 1000,
        device: str = "cpu",
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.shift_level = shift_level
        self.max_error = max_error
        self.alphas = alphas
        self.cv = cv
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state

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
    ) -> AutoDebiasClassifier:
        """Look at the errors of a reference head, decide, retrain.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Embeddings of the training set.
        y : array-like of shape (N,)
            Class labels.
        sample_weight : array-like of shape (N,), optional
            Weights.
        X_val, y_val, sample_weight_val : array-like, optional
            Held-out set: samples the model was not trained on.

        Returns
        -------
        AutoDebiasClassifier
            Itself, fitted.
        """
        train = self._rows(X, y, sample_weight)
        held = None
        if X_val is not None:
            held = self._heldout_rows(X_val, y_val, sample_weight_val, train.X.dtype, train=train)
        # Standardising the embeddings only changes the units of the penalty.
        self._gains = 1 / _deviations(train)
        rng = check_random_state(self.random_state)
        self._seed = int(rng.randint(np.iinfo(np.int32).max))

        reference = self._balanced_head(train)
        wrong = self._unseen_errors(train)
        wrong_held = None if held is None else _errors(reference, held)
        self._decide(train, wrong, held, wrong_held)
        rows, errors = train, wrong
        if held is not None and wrong_held is not None:
            if self.recipe_ == "class-balanced on X_val":
                rows, errors = held, wrong_held
            else:
                rows = _joined(train, held)
                errors = np.concatenate([wrong, wrong_held])
        cells = rows.y_index * 2 + (errors if self.recipe_ == "cell-balanced" else 0)
        weight = self._weight(rows, errors)
        self.alpha_ = self._chosen_alpha(rows, weight, cells)
        self._set_head(self._head_with(self.alpha_, rows, weight))
        self.reference_head_ = LinearHead(reference.coef, reference.intercept, self.classes_)
        return self

    # -- the steps --------------------------------------------------------------------------

    def _decide(
        self, train: Rows, wrong: Array, held: Rows | None, wrong_held: Array | None
    ) -> None:
        self.class_errors_ = _class_rates(train, wrong)
        mean_error = float(self.class_errors_.mean())
        self.shift_pvalue_ = float("nan")
        if held is not None and wrong_held is not None:
            self.shift_pvalue_ = _shift_pvalue(train, wrong, held, wrong_held)
        if self.shift_pvalue_ < self.shift_level:
            self.recipe_ = "class-balanced on X_val"
            self.reason_ = (
                "The reference head errs more on the held-out set than on the training set (p = "
                f"{self.shift_pvalue_:.0e}, below {self.shift_level:g}), so the held-out set is "
                "better balanced: class-balanced retraining on it."
            )
        elif mean_error >= self.max_error:
            self.recipe_ = "class-balanced"
            self.reason_ = (
                f"The reference head errs on {100 * mean_error:.0f} % of each class on average, at "
                f"least {100 * self.max_error:g} %: errors are ordinary noise here, no sign of "
                "bias; class-balanced retraining."
            )
        else:
            self.recipe_ = "cell-balanced"
            self.reason_ = (
                f"The reference head errs on {100 * mean_error:.1f} % of each class on average: "
                "its errors point at what it has not learned; correct and misclassified samples "
                "of each class are given equal weight."
            )

    def _balanced_head(self, rows: Rows) -> Solution:
        weight = class_weighted(rows.weight, rows.y_index, self.classes_, "balanced")
        return self._head_with(1.0, rows, weight)

    def _unseen_errors(self, rows: Rows) -> Array:
        folds = folds_of(self.cv, rows, self._seed)
        if folds is None:
            return _errors(self._balanced_head(rows), rows)
        weight = class_weighted(rows.weight, rows.y_index, self.classes_, "balanced")
        logits, _ = cross_fitted_logits(
            rows, weight, folds, partial(self._head_with, 1.0), len(self.classes_), self.n_jobs
        )
        return np.asarray(logits.argmax(axis=1) != rows.y_index)

    def _weight(self, rows: Rows, errors: Array) -> Array:
        weight = class_weighted(rows.weight, rows.y_index, self.classes_, "balanced")
        if self.recipe_ == "cell-balanced":
            return correctness_balanced(weight, rows.y_index, errors)
        return weight

    def _chosen_alpha(self, rows: Rows, weight: Array, cells: Array) -> float:
        """The alpha of best cross-validated accuracy over the cells, or the worse classes."""
        alphas = sorted((float(alpha) for alpha in self.alphas), reverse=True)
        present = np.bincount(cells)
        n_splits = min(self.cv, int(present[present > 0].min()))
        if len(alphas) == 1 or n_splits < 2:
            return alphas[0] if len(alphas) == 1 else 1.0
        folds = list(
            StratifiedKFold(n_splits, shuffle=True, random_state=self._seed).split(cells, cells)
        )

        def accuracy(alpha: float) -> float:
            logits, _ = cross_fitted_logits(
                rows,
                weight,
                folds,
                partial(self._head_with, alpha),
                len(self.classes_),
                self.n_jobs,
            )
            right = (logits.argmax(axis=1) == rows.y_index) * rows.weight
            mass = np.bincount(cells, weights=rows.weight)
            hits = np.bincount(cells, weights=right)
            found = np.sort(hits[mass > 0] / mass[mass > 0])
            if self.recipe_ != "cell-balanced":
                found = found[: max(1, len(found) // 2)]
            return float(found.mean())

        return max(alphas, key=accuracy)

    def _head_with(self, alpha: float, rows: Rows, weight: Array) -> Solution:
        C = 1 / (float(weight.sum()) * alpha)
        return self._fit_head(rows, weight, C=C, gains=self._gains)


def _errors(head: Solution, rows: Rows) -> Array:
    return np.asarray(class_logits(head, rows.X).argmax(axis=1) != rows.y_index)


def _joined(first: Rows, second: Rows) -> Rows:
    return Rows(
        stacked(first.X, second.X),
        np.concatenate([first.y_index, second.y_index]),
        np.concatenate([first.weight, second.weight]),
    )


def _deviations(rows: Rows) -> Array:
    """Standard deviation of each neuron, (D,); 1 for a constant one."""
    scaler = StandardScaler()
    step = rows_per_chunk(rows.X, 1)
    present = np.flatnonzero(rows.weight > 0)
    for start in range(0, len(present), step):
        chunk = present[start : start + step]
        scaler.partial_fit(rows.X[chunk], sample_weight=rows.weight[chunk])
    return np.asarray(scaler.scale_)


def _class_rates(rows: Rows, wrong: Array) -> Array:
    mass = np.bincount(rows.y_index, weights=rows.weight)
    return np.asarray(np.bincount(rows.y_index, weights=rows.weight * wrong) / mass)


def _shift_pvalue(train: Rows, wrong: Array, held: Rows, wrong_held: Array) -> float:
    """How likely so many errors on the held-out set are, in a class or in all, without a shift."""
    n_classes = int(train.y_index.max()) + 1
    n_train, bad_train = _rows_and_errors(train, wrong, n_classes)
    n_held, bad_held = _rows_and_errors(held, wrong_held, n_classes)
    n, bad = np.maximum(n_train + n_held, 1), bad_train + bad_held
    in_a_class = hypergeom.sf(bad_held - 1, n, bad, n_held)
    expected = bad * n_held / n
    variance = expected * (1 - bad / n) * (n - n_held) / np.maximum(n - 1, 1)
    spread = np.sqrt(variance.sum())
    excess = (bad_held - expected).sum() / spread if spread > 0 else 0.0
    return float(min(1.0, (n_classes + 1) * min(in_a_class.min(), norm.sf(excess))))


def _rows_and_errors(rows: Rows, wrong: Array, n_classes: int) -> list[Array]:
    """How many rows and errors there are in each class: whole numbers, for an exact test."""
    return [
        np.rint(np.bincount(rows.y_index, weights=weight, minlength=n_classes))
        for weight in (rows.weight, rows.weight * wrong)
    ]
