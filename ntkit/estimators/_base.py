"""The base class of the estimators: checks of arrays, arguments of ``fit``, heads, prediction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from types import FrameType
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _get_feature_names,
    _num_samples,
    check_is_fitted,
    validate_data,
)

from ntkit._checks import check_index, check_magnitude
from ntkit._doc import documented
from ntkit._labels import differing_classes, unknown_labels
from ntkit._process import warn
from ntkit._types import Array
from ntkit.estimators._scaled_head import read_head
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver.fit_head import FittedHead, fit_linear_head, resolve_device
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
        own = [vars(base).get("_parameter_constraints", {}) for base in cls.__mro__]
        cls._parameter_constraints = {name: c for each in own[::-1] for name, c in each.items()}
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
        same_rows = {name: v for name, v in known.items() if not name.endswith("_val")}
        check_index(X=X, y=y, sample_weight=sample_weight, **same_rows)
        check_index(**{name: v for name, v in known.items() if name.endswith("_val")})
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


class HeadClassifier(ClassifierMixin, FitsRows):
    """Base of the classifiers: they learn a head from a study, which several may share."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "identification": IDENTIFICATION,
        "head": HEAD,
        "C": [Interval(Real, 0, None, closed="right")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

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

    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Logarithms of the class probabilities, shape (N, C)."""
        return np.asarray(log_softmax(self.head_.logits(self._embeddings(X)), axis=1))

    def fit_study(self, study: Study) -> Self:
        """Fit to a study that other estimators share, with everything that they computed on it."""
        self._validate_params()
        self.classes_, self.n_features_in_ = study.train.classes, study.train.X.shape[1]
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
            if np.shape(X_changed) == train.X.shape:
                check_feature_names(self, X_changed, "X_changed")
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
        check_magnitude(X, "X")
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
        check_feature_names(self, X, "X_val")
        X = check_array(X, dtype=kept_dtypes(X), input_name="X_val", estimator=self)
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        if X.shape[1] != train.X.shape[1]:
            raise InputError(f"X_val has {X.shape[1]} columns, but X has {train.X.shape[1]}.")
        problem = unknown_labels(
            np.unique(y), self.classes_, what="y_val", where="y", fix="use the same labels."
        )
        if problem is not None:
            raise InputError(problem)
        weight = checked_weight(sample_weight, X, "sample_weight_val")
        check_magnitude(X, "X_val")
        X = np.asarray(X, dtype=train.X.dtype)
        warn_if_split(len(train), len(X))
        warn_of_another_scale(train.X, X)
        return Rows.of(X, y, weight=weight, classes=self.classes_)

    # -- heads --------------------------------------------------------------------------------

    def _original_head(self, tune: Rows) -> LinearHead:
        """The head that was passed, in the order of ``classes_``, or an ERM head of the rows."""
        if self.head is None:
            fitted = self._fit_heads(tune, [tune.weight])[0]
            self.erm_head_ = LinearHead(fitted.coef, fitted.intercept, self.classes_)
            return fitted
        head = read_head(self.head, self)
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

    def _fit_heads(
        self, rows: Rows, weights: Sequence[Array], gains: Array | None = None
    ) -> list[FittedHead]:
        """Fit a head for each set of weights of the same rows to its optimum, all at once."""
        return rows.heads(weights, self.C, gains=gains, **self._solver_options())

    def _solved(self, X: Array, y_index: Array, weight: Array, **options: Any) -> FittedHead:
        """Fit one head to its optimum, with the estimator's solver options or others."""
        options = {"classes": self.classes_, "C": self.C, **self._solver_options()} | options
        return fit_linear_head(X, y_index, weight, **options)

    def _solver_options(self) -> dict[str, Any]:
        """Options of the solver, if they differ from its own."""
        return {}

    def _set_head(self, head: FittedHead) -> None:
        self.coef_, self.intercept_ = np.array(head.coef), np.array(head.intercept)
        self.n_iter_ = np.array([max(1, head.n_iter)])


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class StudyClassifier(HeadClassifier):
    """Base of the classifiers with options of the solver."""

    _takes: ClassVar[tuple[str, ...]] = ()
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "device": [StrOptions({"cpu", "cuda", "auto", "ray"})],
    }

    tol: float = 1e-5
    max_iter: int = 1000
    device: str = "cpu"

    def _solver_options(self) -> dict[str, Any]:
        device = resolve_device(self.device)
        return {"tol": self.tol, "max_iter": self.max_iter, "device": device}


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class FromHead(StudyClassifier):
    """Base of the classifiers that start from an original head."""

    _takes: ClassVar[tuple[str, ...]] = VALIDATION_SET

    head: OriginalHead = None
    C: float = 1.0
    random_state: Any = None


def kept_dtypes(X: Any) -> list[Any]:
    """Element types for fitting; embeddings of another type are converted to the first."""
    # Half precision, as in a store, becomes single precision without loss.
    half = getattr(X, "dtype", None) == np.float16
    return [np.float32, np.float64] if half else [np.float64, np.float32]


def check_feature_names(estimator: Any, Z: Any, name: str) -> None:
    """Raise an error if rows have other names of columns than X; warn if only one has names."""
    # scikit-learn's sentence would call every array X.
    named, X_named = _get_feature_names(Z) is not None, hasattr(estimator, "feature_names_in_")
    if named and X_named:
        validate_data(estimator, Z, reset=False, skip_check_array=True)
    elif named:
        warn(
            f"{name} has feature names, but X has none. If a Pipeline transforms X, it must "
            f"transform {name} as well: with metadata routing and transform_input=['{name}']."
        )
    elif X_named:
        warn(f"X has feature names, but {name} has none. Pass both as DataFrames, or both without.")


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
    of, number = np.nonzero(~np.isnan(copies[:, :, 0]))
    looked_at = slice(None, None, max(1, len(of) // _ROWS))
    warn_of_another_scale(X[of[looked_at]], copies[of, number][looked_at], "X_changed")
    return copies


_ROWS = 2000  # rows that are tested

_LEAST_ROWS = 20  # with fewer rows the scale is unknown

_NEAR = 0.3  # difference from mean 0 and deviation 1 of a standardised sample

_SHIFT, _RATIO = 0.5, 2.5  # in the training set's deviations, if that is standardised

_FAR_SHIFT, _FAR_RATIO = 5.0, 20.0  # and if it is not: no shift of a distribution is so large


def warn_of_another_scale(X: Array, X_val: Array, name: str = "X_val") -> None:
    """Warn if the columns of the two sets have different scales."""
    # A pipeline's scaler transforms X, but not an array that is passed along to a later step, and
    # nothing else would show the mistake: the head decides by neurons that the scale makes large. A
    # standardised X reveals it.
    if min(len(X), len(X_val)) < _LEAST_ROWS:
        return
    rows = [np.asarray(Z[:: -(-len(Z) // _ROWS)], dtype=np.float64) for Z in (X, X_val)]
    varies = rows[0].std(axis=0) > 0
    if not varies.any():
        return
    (mean, std), (mean_val, std_val) = ((Z.mean(axis=0), Z.std(axis=0)) for Z in rows)
    shift = float(np.median(np.abs(mean_val - mean)[varies] / std[varies]))
    ratio = float(np.median(std_val[varies] / std[varies]))
    standardized = [_is_standardized(Z) for Z in rows]
    most, widest = (_SHIFT, _RATIO) if any(standardized) else (_FAR_SHIFT, _FAR_RATIO)
    scaled, other = rows if standardized[0] else rows[::-1]
    # After a ReLU nothing is negative; centred data are negative in nearly every column.
    signs = any(standardized) and (other >= 0).all()
    signs = signs and (scaled.min(axis=0)[varies] < 0).mean() > 0.5
    if shift <= most and 1 / widest <= ratio <= widest and not signs:
        return
    warn(
        f"{name} does not have the scale of X: its column means differ from X's by {shift:.2g} "
        f"standard deviations, and its deviations are {ratio:.2g} times as large (medians). "
        f"Transform {name} like X; a Pipeline does so only with metadata routing and "
        f"transform_input=['{name}'].",
        UserWarning,
    )


def _is_standardized(rows: Array) -> bool:
    """Whether means are near 0 and deviations near 1, in half of the non-constant columns."""
    std = rows.std(axis=0)
    varies = std > 0
    return bool(
        varies.any()
        and np.median(np.abs(rows.mean(axis=0)[varies])) < _NEAR
        and np.median(np.abs(std[varies] - 1)) < _NEAR
    )


_FITS_A_FOLD = {"_fit_and_score", "_fit_and_predict"}


def call_of_scikit_learn() -> FrameType | None:
    """The innermost call of scikit-learn's that fits a fold, or that runs a search."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name, module = frame.f_code.co_name, frame.f_globals.get("__name__")
        if name in _FITS_A_FOLD and module == "sklearn.model_selection._validation":
            break
        if name == "fit" and module == "sklearn.model_selection._search":
            break
        frame = frame.f_back
    return frame


def warn_if_split(n: int, n_val: int) -> None:
    """Warn if scikit-learn's cross-validation has split X_val as if it were a part of X."""
    # It splits every array with as many rows as X. Both then have the same length again, so only
    # the call that fits the fold tells: it holds the arrays as they were before.
    frame = call_of_scikit_learn() if n == n_val else None
    if frame is None or frame.f_code.co_name == "fit" or frame.f_back is None:
        return
    call = frame.f_back.f_locals
    arguments = (*call.get("args", ()), *call.get("kwargs", {}).values())
    metadata = [value for each in arguments if isinstance(each, dict) for value in each.values()]
    lengths = {_num_samples(value) for value in metadata if np.ndim(value)}
    if lengths and n_val not in lengths:
        warn(
            "scikit-learn's cross-validation has split X_val into folds, because it has as many "
            "rows as X. Each fit got only a part of it. Leave out one row: X_val[1:], y_val[1:].",
            UserWarning,
        )
