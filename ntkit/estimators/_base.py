"""The base class of the estimators: arguments of ``fit``, studies, heads, prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkit._doc import documented
from ntkit._labels import differing_classes, unknown_labels
from ntkit._types import Array
from ntkit.estimators._inputs import (
    checked_copies,
    checked_weight,
    kept_dtypes,
    warn_if_split,
    warn_of_another_scale,
)
from ntkit.estimators._scaled_head import read_head
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import FittedHead, fit_linear_head, resolve_device
from ntkit.study import Rows, Study, Tuned, tuned

OriginalHead: TypeAlias = LinearHead | BaseEstimator | None
HEAD = [LinearHead, HasMethods("fit"), None]
"""Types of ``head``, for scikit-learn's check of parameters."""
IDENTIFICATION = [
    Interval(Integral, 2, None, closed="left"),
    Interval(Real, 0, 1, closed="neither"),
    StrOptions({"train"}),
    HasMethods(["split"]),
]
OPTIONAL_C = [Interval(Real, 0, None, closed="right"), None]
VALIDATION_SET = ("X_val", "y_val", "sample_weight_val")
"""Arguments of ``fit`` of methods that use a validation set."""
BY_ROWS = (
    "A row of weight 2 and the same row given twice fall differently into a random split, a draw "
    "or a count of rows."
)


class FitsRows(BaseEstimator):
    """Base whose ``fit`` has the arguments that a class declares in ``_takes``."""

    _takes: ClassVar[tuple[str, ...]] = ()
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    C: float
    statistic: str
    head: OriginalHead
    classes_: NDArray[Any]
    coef_: NDArray[Any]
    intercept_: NDArray[Any]
    erm_head_: LinearHead
    n_iter_: Array

    def __init_subclass__(cls, **options: Any) -> None:
        """Add the inherited constraints of parameters, and make ``fit``."""
        inherited = super(cls, cls)._parameter_constraints
        cls._parameter_constraints = inherited | vars(cls).get("_parameter_constraints", {})
        if "_takes" in vars(cls):
            cls.fit = _fit_with(cls._takes)  # type: ignore[method-assign]
        super().__init_subclass__(**options)  # scikit-learn reads the signature

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **known: Any
    ) -> Self:
        """Retrain the head, as the class describes.

        Parameters
        ----------
        {X, y, sample_weight}

        {fitted}

        Raises
        ------
        {fit.InputError, DeviceError}
        """
        self._learn(self._study(X, y, sample_weight, **known))
        return self

    def _study(self, X: Any, y: Any, sample_weight: Any = None, **known: Any) -> Study:
        """Check the arguments of ``fit``, and make a study of them."""
        raise NotImplementedError(type(self).__name__)

    def _learn(self, study: Study) -> None:
        """Fit to a study."""
        raise NotImplementedError(type(self).__name__)

    @property
    def expected_failed_checks(self) -> dict[str, str]:
        """Checks that ``check_estimator`` of scikit-learn should expect to fail, with reasons."""
        if not self._counts_rows():
            return {}
        return {"check_sample_weight_equivalence_on_dense_data": BY_ROWS}

    def _counts_rows(self) -> bool:
        """Whether a row of weight 2 may differ from the same row given twice."""
        return False

    def __sklearn_clone__(self) -> Any:
        """Clone as scikit-learn does, except for heads, which it would clone unfitted."""
        copy = super().__sklearn_clone__()
        for name in {"head", "early_head"} & vars(self).keys():
            setattr(copy, name, getattr(self, name))
        return copy


def _fit_with(takes: tuple[str, ...]) -> Callable[..., Any]:
    """Return a ``fit`` that takes these arguments as well, by keyword."""
    shared = list(signature(FitsRows.fit).parameters.values())[:4]
    more = [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in takes]
    arguments = Signature([*shared, *more])

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(*args: Any, **kwargs: Any) -> Any:
        return FitsRows.fit(**arguments.bind(*args, **kwargs).arguments)

    fit.__signature__ = arguments
    text = FitsRows.fit.__doc__ or ""
    fit.__doc__ = text.replace("{X, y, sample_weight}", f"{{{', '.join(_DOCUMENTED + takes)}}}")
    return fit  # type: ignore[no-any-return]


_DOCUMENTED = ("X", "y", "sample_weight")


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class StudyClassifier(ClassifierMixin, FitsRows):
    """Base of the classifiers: they learn a head from a study, which several may share."""

    _takes: ClassVar[tuple[str, ...]] = ()
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "identification": IDENTIFICATION,
        "head": HEAD,
        "C": [Interval(Real, 0, None, closed="right")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "device": [StrOptions({"cpu", "cuda", "auto", "ray"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    tol: float = 1e-5
    max_iter: int = 1000
    device: str = "cpu"

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

    def fit_study(self, study: Study) -> Self:
        """Fit to a study that other estimators share, with everything that they computed on it."""
        self._validate_params()
        self.classes_, self.n_features_in_ = study.classes, study.train.X.shape[1]
        self._learn(study)
        return self

    # -- from arrays to a study ---------------------------------------------------------------

    def _embeddings(self, X: ArrayLike) -> NDArray[Any]:
        check_is_fitted(self, "coef_")
        return np.asarray(validate_data(self, X, dtype=kept_dtypes(X), reset=False))

    def _study(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        X_changed: Any = None,
        **known: Any,
    ) -> Study:
        train, validation, changed = self._rows(X, y, sample_weight), None, None
        if X_val is not None:
            validation = self._validation_rows(X_val, y_val, sample_weight_val, train)
        if X_changed is not None:
            if getattr(self, "statistic", "change") != "change":
                raise InputError(
                    f"X_changed is not used with statistic={self.statistic!r}; leave it out, or "
                    "set statistic='change'."
                )
            if hasattr(X_changed, "columns") and np.shape(X_changed) == train.X.shape:
                validate_data(self, X_changed, reset=False, skip_check_array=True)  # their names
            changed = checked_copies(X_changed, train.X)
            if validation is not None:
                none = np.full((len(validation), *changed.shape[1:]), np.nan, changed.dtype)
                changed = np.concatenate([changed, none])
        return self._with_known(Study(train, validation, changed=changed), **known)

    def _with_known(self, study: Study) -> Study:
        """Add what a method takes besides: groups, attributes or concepts."""
        return study

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

    def _validation_rows(self, X: Any, y: Any, sample_weight: Any, train: Rows) -> Rows:
        """Check a validation set; warn if it has another scale, or was split into folds."""
        if y is None:
            raise InputError("X_val needs its labels; pass y_val as well.")
        X, y = validate_data(self, X, y, dtype=kept_dtypes(X), reset=False)
        problem = unknown_labels(
            np.unique(y), self.classes_, what="y_val", where="y", fix="use the same labels."
        )
        if problem is not None:
            raise InputError(problem)
        weight = checked_weight(sample_weight, X, "sample_weight_val")
        X = np.asarray(X, dtype=train.X.dtype)
        warn_if_split(len(train), len(X))
        warn_of_another_scale(train.X, X)
        return Rows.of(X, y, weight=weight, classes=self.classes_)

    # -- heads --------------------------------------------------------------------------------

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

    def _tuned(self, rows: Rows, weight: Array, groups: Array | None = None, **how: Any) -> Tuned:
        """Choose a penalty for weighted rows with the estimator's solver."""
        return tuned(rows, weight, groups, **self._solver_options(), **how)

    def _fit_head(
        self, rows: Rows, weight: Array, *, start: LinearHead | None = None, **options: Any
    ) -> FittedHead:
        """Fit a head to weighted rows, to the optimum of scikit-learn's objective."""
        if start is None:
            return self._fit_heads(rows, [weight], **options)[0]
        options |= {"start": start, "covariance": lambda: rows.covariance}
        return self._solved(rows.X, rows.y_index, weight, **options)

    def _fit_heads(
        self, rows: Rows, weights: Sequence[Array], gains: Array | None = None
    ) -> list[FittedHead]:
        """Fit one head for each set of weights of the same rows, all at once."""
        return rows.heads(weights, [self.C] * len(weights), gains=gains, **self._solver_options())

    def _solved(self, X: Array, y_index: Array, weight: Array, **options: Any) -> FittedHead:
        """Fit one head to its optimum, with the estimator's solver options or others."""
        options = {"classes": self.classes_, "C": self.C, **self._solver_options()} | options
        return fit_linear_head(X, y_index, weight, **options)

    def _solver_options(self) -> dict[str, Any]:
        device = resolve_device(self.device)
        return {"tol": self.tol, "max_iter": self.max_iter, "device": device}

    def _set_head(self, head: FittedHead) -> None:
        self.coef_, self.intercept_ = np.array(head.coef), np.array(head.intercept)
        self.n_iter_ = np.array([max(1, head.n_iter)])


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class FromHead(StudyClassifier):
    """Base of the classifiers that start from an original head."""

    _takes: ClassVar[tuple[str, ...]] = VALIDATION_SET

    head: OriginalHead = None
    C: float = 1.0
    random_state: Any = None
