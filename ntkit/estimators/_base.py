"""Base classes of the estimators: prediction, ``head_``, and studies."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ntkit._doc import documented
from ntkit._labels import differing_classes, unknown_labels
from ntkit._types import Array
from ntkit.estimators._scaled_head import NotFoldableError, ScaledHead, flat_steps
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import FittedHead, fit_linear_head, resolve_device
from ntkit.study import Rows, Study, Tuned, tuned, warn_of_another_scale

_PROBES = 16
_USE = (
    "use a classifier that decides by coef_ and intercept_ with one row per class, such as "
    "LogisticRegression, RidgeClassifier, LinearSVC or SGDClassifier"
)


def head_of(estimator: Any) -> LinearHead:
    """Read the linear head from a fitted classifier.

    Parameters
    ----------
    estimator : LinearHead, fitted classifier, Pipeline or search
        An ntkit estimator. Or a scikit-learn classifier that decides by ``coef_`` and
        ``intercept_``, such as LogisticRegression, RidgeClassifier, LinearSVC, SGDClassifier or
        LinearDiscriminantAnalysis. Or a pipeline that ends in one; its StandardScaler,
        MinMaxScaler, MaxAbsScaler and selectors are folded into the head. Or a fitted search around
        any of these.

    Returns
    -------
    LinearHead
        It predicts the same classes as the estimator. Two classes have one logit, which is positive
        for ``classes_[1]``; else each class has one logit. Its probabilities are the softmax of the
        logits. One-against-rest classifiers such as SGDClassifier normalise their probabilities in
        another way, with the same order of the classes.

    Raises
    ------
    InputError
        If the estimator is not fitted or not one linear layer, or a step of the pipeline is not a
        scale and a shift of each column.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from ntkit.estimators import head_of
    >>> X, y = [[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [3.0, 0.0]], ["a", "a", "b", "b"]
    >>> clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> head_of(clf)
    LinearHead(n_neurons=2, classes=['a', 'b'], one sigmoid logit, float64)
    >>> head_of(clf).decision_function(X).round(6) == clf.decision_function(X).round(6)
    array([ True,  True,  True,  True])
    """
    if isinstance(estimator, LinearHead):
        return estimator
    *steps, last = _steps(estimator)
    scaled = ScaledHead.of(_own_head(last))
    try:
        for step in reversed(steps):
            scaled = scaled.behind(step)
    except NotFoldableError as error:
        raise InputError(
            f"{error}; use StandardScaler, MinMaxScaler or MaxAbsScaler (without clip) or a "
            "selector, or transform the embeddings beforehand."
        ) from error
    head = scaled.folded().astype(np.float64) if steps else scaled.head
    if steps or not isinstance(getattr(last, "head_", None), LinearHead):
        _check_decides_alike(head, estimator)
    return head


def fitted_classifier(estimator: Any) -> Any:
    """The classifier at the end of pipelines and fitted searches; else the estimator itself."""
    return _steps(estimator)[-1]


def _steps(estimator: Any) -> list[Any]:
    steps = flat_steps(estimator)
    if not steps:
        raise InputError("The pipeline has no classifier at its end; add one.")
    return steps


def _own_head(classifier: Any) -> LinearHead:
    name = type(classifier).__name__
    if isinstance(classifier, LinearHead):
        return classifier
    try:
        check_is_fitted(classifier)
    except NotFittedError as error:
        raise InputError(f"{name} is not fitted; call its fit first.") from error
    except TypeError as error:
        raise InputError(f"{name} is not a classifier; {_USE}.") from error
    fitted_head = getattr(classifier, "head_", None)
    if isinstance(fitted_head, LinearHead):
        return fitted_head
    if not all(hasattr(classifier, part) for part in ("coef_", "intercept_", "classes_")):
        raise InputError(f"{name} is not one linear layer; {_USE}.")
    coef = classifier.coef_.toarray() if issparse(classifier.coef_) else classifier.coef_
    coef = np.atleast_2d(np.asarray(coef))
    intercept = np.ravel(np.asarray(classifier.intercept_))
    try:
        return LinearHead(coef, np.broadcast_to(intercept, len(coef)), classifier.classes_)
    except (InputError, ValueError) as error:
        raise InputError(
            f"{name} has no layer with one row per class ({error}); {_USE}."
        ) from error


def _check_decides_alike(head: LinearHead, estimator: Any) -> None:
    """Compare predictions on a few rows: ``coef_`` alone does not show how a classifier decides."""
    # SVC with three classes has as many rows, but decides between pairs of classes.
    random = np.random.default_rng(0)
    probes = random.normal(size=(_PROBES, head.n_neurons)) * np.logspace(-1, 3, _PROBES)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about column names that these rows lack
        decisions, labels = estimator.decision_function(probes), estimator.predict(probes)
    expected = head.decision_function(probes)
    if np.shape(decisions) == expected.shape and np.shape(labels) == (_PROBES,):
        slack = 1e-3 * (np.abs(probes) @ np.abs(head.coef).T + np.abs(head.intercept)).max(axis=1)
        logits = head.logits(probes)
        close = logits.max(axis=1) - logits[np.arange(_PROBES), _index(labels, head)] <= 2 * slack
        apart = np.abs(decisions - expected).reshape(_PROBES, -1).max(axis=1) <= slack + 1e-300
        if close.all() and apart.all():
            return
    raise InputError(
        f"{type(fitted_classifier(estimator)).__name__} does not decide by the largest of "
        f"X @ coef_.T + intercept_; {_USE}."
    )


def _index(labels: Array, head: LinearHead) -> Array:
    order = np.argsort(head.classes)
    return np.asarray(order[np.searchsorted(head.classes, labels, sorter=order)])


OriginalHead: TypeAlias = LinearHead | BaseEstimator | None
HEAD = [LinearHead, HasMethods("fit"), None]
"""Types of ``head``, for scikit-learn's check of parameters."""


def kept_dtypes(X: Any) -> list[Any]:
    """Element types for fitting; embeddings of another type are converted to the first."""
    # Half precision, as in a store, becomes single precision without loss.
    half = getattr(X, "dtype", None) == np.float16
    return [np.float32, np.float64] if half else [np.float64, np.float32]


def read_head(value: Any, name: str = "head") -> LinearHead:
    """The linear head of a parameter, passed directly or in a fitted classifier."""
    try:
        return head_of(value)
    except InputError as error:
        raise InputError(
            f"{name} must be a LinearHead or a fitted linear classifier (for a grid, convert it by "
            f"ntkit.estimators.head_of): {error}"
        ) from error


def checked_weight(sample_weight: Any, X: Any, name: str = "sample_weight") -> Array:
    """One weight for each row of X, 1 by default; negative weights raise an error."""
    weight = np.asarray(_check_sample_weight(sample_weight, X, dtype=np.float64))
    if (weight < 0).any():
        raise InputError(f"{name} contains negative values; weights must be >= 0.")
    return weight


def checked_copies(X_changed: Any, X: Array) -> Array:
    """Changed copies of the rows of X, shape (N, R, D), NaN for a missing copy."""
    fix = (
        f"X_changed must have a row for each row of X: shape {X.shape} or, with R copies, "
        f"({X.shape[0]}, R, {X.shape[1]}), with NaN for a missing copy"
    )
    try:
        copies = np.asarray(X_changed).astype(X.dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"X_changed does not contain numbers; {fix}.") from error
    shape = copies.shape
    if copies.ndim == 2:
        copies = copies[:, None]
    if copies.ndim != 3 or (len(copies), copies.shape[2]) != X.shape or not copies.shape[1]:
        raise InputError(f"{fix}; got shape {shape}.")
    if np.isinf(copies).any():
        raise InputError(f"X_changed contains infinite values; {fix}.")
    missing = np.isnan(copies).sum(axis=2)
    partial = (missing > 0) & (missing < X.shape[1])
    if partial.any():
        row = int(partial.any(axis=1).argmax())
        raise InputError(f"Row {row} of X_changed is NaN in some columns only; {fix}.")
    return copies


class KeepsHead(BaseEstimator):
    """Cloning keeps the original head; scikit-learn alone would clone a classifier unfitted."""

    def __sklearn_clone__(self) -> Any:
        """Clone as scikit-learn does, except for heads."""
        copy = super().__sklearn_clone__()
        for name in {"head", "early_head"} & vars(self).keys():
            setattr(copy, name, getattr(self, name))
        return copy


class LinearHeadClassifier(ClassifierMixin, KeepsHead):
    """Base of the estimators; predicts with ``X @ coef_.T + intercept_`` only."""

    classes_: NDArray[Any]
    coef_: NDArray[Any]
    intercept_: NDArray[Any]

    @property
    def head_(self) -> LinearHead:
        """The fitted :class:`~ntkit.LinearHead`, ready to be written into a model."""
        check_is_fitted(self, "coef_")
        return LinearHead(self.coef_, self.intercept_, self.classes_)

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Logits of embeddings: shape (N,) for two classes, else (N, C)."""
        return self.head_.decision_function(self._embeddings(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class label of each embedding, shape (N,)."""
        return self.head_.predict(self._embeddings(X))

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Class probabilities, shape (N, C)."""
        return self.head_.predict_proba(self._embeddings(X))

    def _embeddings(self, X: ArrayLike) -> NDArray[Any]:
        check_is_fitted(self, "coef_")
        return np.asarray(validate_data(self, X, dtype=kept_dtypes(X), reset=False))


class LastLayerClassifier(LinearHeadClassifier):
    """Base of the estimators that retrain a head with the solver and these parameters."""

    _shared_constraints: ClassVar[dict[str, list[Any]]] = {
        "identification": [
            Interval(Integral, 2, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            StrOptions({"train"}),
            HasMethods(["split"]),
        ],
        "head": HEAD,
        "C": [Interval(Real, 0, None, closed="right")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "device": [StrOptions({"cpu", "cuda", "auto", "ray"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    C: float
    tol: float
    max_iter: int
    device: str
    head: OriginalHead
    erm_head_: LinearHead
    n_iter_: Array

    def _fit_head(
        self,
        rows: Rows,
        weight: Array,
        *,
        gains: Array | None = None,
        start: LinearHead | None = None,
        C: float | None = None,
    ) -> FittedHead:
        """Fit a head to weighted rows, to the optimum of scikit-learn's objective."""
        C = self.C if C is None else C
        if start is None:
            return self._fit_heads(rows, [weight], gains=gains, Cs=[C])[0]
        options = {"C": C, "gains": gains, "start": start, "covariance": lambda: rows.covariance}
        return self._solved(rows.X, rows.y_index, weight, **options)

    def _solved(self, X: Array, y_index: Array, weight: Array, **options: Any) -> FittedHead:
        """Fit one head to its optimum, with the estimator's solver options or others."""
        options = {"classes": self.classes_, **self._solver_options()} | options
        return fit_linear_head(X, y_index, weight, **options)

    def _fit_heads(
        self,
        rows: Rows,
        weights: Sequence[Array],
        *,
        gains: Array | None = None,
        Cs: Sequence[float] | None = None,
    ) -> list[FittedHead]:
        """Fit one head for each set of weights of the same rows, all at once."""
        Cs = [self.C] * len(weights) if Cs is None else Cs
        return rows.heads(weights, Cs, gains=gains, **self._solver_options())

    def _tuned(self, rows: Rows, weight: Array, groups: Array | None = None, **how: Any) -> Tuned:
        """Choose a penalty for weighted rows with the estimator's solver."""
        return tuned(rows, weight, groups, **self._solver_options(), **how)

    def _solver_options(self) -> dict[str, Any]:
        device = resolve_device(self.device)
        return {"tol": self.tol, "max_iter": self.max_iter, "device": device}

    def _set_head(self, head: FittedHead) -> None:
        self.coef_, self.intercept_ = np.array(head.coef), np.array(head.intercept)
        self.n_iter_ = np.array([max(1, head.n_iter)])

    def _rows(self, X: Any, y: Any, sample_weight: Any) -> Rows:
        X, y = validate_data(self, X, y, dtype=kept_dtypes(X))
        try:
            self.classes_, y_index = np.unique(y, return_inverse=True)
        except TypeError as error:
            raise InputError(
                "y mixes labels of types that do not compare, or some are missing; use one type, "
                "such as strings."
            ) from error
        check_classification_targets(y)
        if len(self.classes_) < 2:
            raise InputError(
                "A classifier needs samples of at least 2 classes; y has 1 class: "
                f"{self.classes_.tolist()[0]!r}."
            )
        weight = checked_weight(sample_weight, X)
        empty = np.bincount(y_index, weights=weight) <= 0
        if empty.any():
            raise InputError(
                f"The class {self.classes_[empty].tolist()[0]!r} has no sample of positive weight; "
                "add samples or remove the class."
            )
        return Rows(X, y_index, weight, self.classes_)

    def _validation_rows(
        self, X: Any, y: Any, sample_weight: Any, dtype: Any, *, train: Rows | None = None
    ) -> Rows:
        """Check a validation set; warn if its scale differs from the training rows'."""
        if y is None:
            raise InputError("X_val needs its labels; pass y_val as well.")
        X, y = validate_data(self, X, y, dtype=kept_dtypes(X), reset=False)
        problem = unknown_labels(
            np.unique(y), self.classes_, what="y_val", where="y", fix="use the same labels."
        )
        if problem is not None:
            raise InputError(problem)
        weight = checked_weight(sample_weight, X, "sample_weight_val")
        X = np.asarray(X, dtype=dtype)
        if train is not None:
            warn_of_another_scale(train.X, X)
        return Rows.of(X, y, weight=weight, classes=self.classes_)

    def _changed_copies(self, X_changed: Any, X: Array) -> Array:
        """Check changed copies of rows, (N, R, D), NaN for a missing copy, and their scale."""
        if hasattr(X_changed, "columns") and np.shape(X_changed) == X.shape:
            validate_data(self, X_changed, reset=False, skip_check_array=True)  # their names
        copies = checked_copies(X_changed, X)
        of, number = np.nonzero(~np.isnan(copies[:, :, 0]))
        looked_at = slice(None, None, max(1, len(of) // 2000))
        of, number = of[looked_at], number[looked_at]
        warn_of_another_scale(X[of], copies[of, number], "X_changed")
        return copies

    def _original_head(self, tune: Rows) -> LinearHead:
        """The head that was passed, in the order of ``classes_``, or an ERM head of the rows."""
        if self.head is None:
            fitted = self._fit_head(tune, tune.weight)
            self.erm_head_ = LinearHead(fitted.coef, fitted.intercept, self.classes_)
            return fitted
        head = read_head(self.head)
        if head.n_neurons != tune.X.shape[1]:
            raise InputError(
                f"The head reads {head.n_neurons} neurons, but X has {tune.X.shape[1]} columns; "
                "pass the embeddings of the model that the head belongs to."
            )
        problem = differing_classes(
            self.classes_,
            head.classes,
            what="y",
            where="the head",
            fix="use the same labels, with samples of each.",
        )
        if problem is not None:
            raise InputError(problem)
        self.erm_head_ = head.aligned_to(self.classes_)
        return self.erm_head_.astype(tune.X.dtype)


@documented
class StudyClassifier(LastLayerClassifier):
    """Base of the estimators that learn from a study, which several estimators may share."""

    def _study(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        *,
        X_changed: Any = None,
    ) -> Study:
        """Check the arguments of ``fit``, and make a study of them."""
        train, validation = self._rows(X, y, sample_weight), None
        if X_val is not None:
            validation = self._validation_rows(
                X_val, y_val, sample_weight_val, train.X.dtype, train=train
            )
        changed = None if X_changed is None else self._changed_copies(X_changed, train.X)
        if changed is not None and validation is not None:
            none = np.full((len(validation.weight), *changed.shape[1:]), np.nan, changed.dtype)
            changed = np.concatenate([changed, none])
        return Study(train, validation, changed=changed)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Retrain the head.

        Parameters
        ----------
        {X, y, sample_weight}

        {fitted}

        Raises
        ------
        {fit.InputError, DeviceError}
        """
        self._learn(self._study(X, y, sample_weight))
        return self

    def _learn(self, study: Study) -> None:
        """Fit to a study; ``fit`` only makes one."""
        raise NotImplementedError(type(self).__name__)

    def fit_study(self, study: Study) -> Any:
        """Fit to a study that other estimators share, with everything that they computed on it."""
        self._validate_params()
        self.classes_, self.n_features_in_ = study.classes, study.train.X.shape[1]
        self._learn(study)
        return self


@documented
class ValidatedClassifier(StudyClassifier):
    """Base of the estimators that use a validation set."""

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
    ) -> Self:
        """Retrain the head; the class describes the use of a validation set.

        Parameters
        ----------
        {X, y, sample_weight, X_val, y_val, sample_weight_val}

        {fitted}

        Raises
        ------
        {fit.InputError, DeviceError}
        """
        self._learn(self._study(X, y, sample_weight, X_val, y_val, sample_weight_val))
        return self
