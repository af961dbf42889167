"""Heads of fitted classifiers: read, with scalers folded in, and for a changed network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectorMixin
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.utils.validation import _get_feature_names, check_array, check_is_fitted

from ntkit._checks import refuse_other_columns
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead


class NotFoldableError(InputError):
    """The estimator is not one linear head; skl2onnx may be able to convert it."""


@dataclass(frozen=True)
class ScaledHead:
    """A head that reads ``(Z - shift) * gains``, like a pipeline with scalers."""

    # `centre` and `spread` are the statistics of the first scaler about the embeddings `Z`, which
    # the `embedder` computes if there is one.

    head: LinearHead
    shift: Array
    gains: Array
    centre: Array
    spread: Array
    embedder: Any = None

    @classmethod
    def of(cls, head: LinearHead) -> ScaledHead:
        """A scaled head without any scaling."""
        zeros, ones = np.zeros(head.n_neurons), np.ones(head.n_neurons)
        return cls(head, zeros, ones, zeros, ones)

    @property
    def is_scaled(self) -> bool:
        """Whether there is any scaling to fold."""
        return bool(self.shift.any() or (self.gains != 1).any())

    def folded(self) -> LinearHead:
        """The same as one linear layer, in float64 if there is any scaling to fold."""
        if not self.is_scaled:
            return self.head
        return self.head.astype(np.float64).scaled(self.gains, self.shift)

    def behind(self, step: Any) -> ScaledHead:
        """The same with a further scaler or selector in front."""
        ones, zeros = np.ones(self.head.n_neurons), np.zeros(self.head.n_neurons)
        if isinstance(step, SelectorMixin):
            return self._widened(step.get_support())
        if isinstance(step, StandardScaler):
            gain = 1 / (ones if step.scale_ is None else step.scale_)
            mean = step.mean_ if step.with_mean else zeros
            centre = zeros if step.mean_ is None else step.mean_
            spread = ones if step.var_ is None else np.sqrt(step.var_)
        elif isinstance(step, MinMaxScaler) and not step.clip:
            gain, mean = step.scale_, -step.min_ / step.scale_
            centre, spread = (step.data_max_ + step.data_min_) / 2, step.data_range_ / 2
        elif isinstance(step, MaxAbsScaler) and not getattr(step, "clip", False):
            gain, mean, centre, spread = 1 / step.scale_, zeros, zeros, step.max_abs_
        else:
            raise NotFoldableError(
                f"The step {type(step).__name__} cannot be folded into a linear head"
            )
        return replace(
            self,
            shift=mean + self.shift / gain,
            gains=self.gains * gain,
            centre=centre,
            spread=spread,
        )

    def _widened(self, kept: Array) -> ScaledHead:
        """Extend to all neurons, of which only the kept ones are read."""

        def wide(array: Array, fill: float) -> Array:
            full = np.full((*array.shape[:-1], len(kept)), fill, dtype=array.dtype)
            full[..., kept] = array
            return full

        return replace(
            self,
            head=LinearHead(wide(self.head.coef, 0), self.head.intercept, self.head.classes),
            shift=wide(self.shift, 0),
            gains=wide(self.gains, 1),
            centre=wide(self.centre, 0),
            spread=wide(self.spread, 1),
        )

    def rounded_shift(self) -> tuple[Array, LinearHead]:
        """The shift in float32, and the head corrected for the rounding of the shift."""
        shift = self.shift.astype(np.float32)
        rest = self.gains * (self.shift - shift)
        return shift, LinearHead(
            self.head.coef, self.head.intercept - self.head.coef @ rest, self.head.classes
        )


def flat_steps(estimator: Any) -> list[Any]:
    """Steps of a pipeline, with those of pipelines and fitted searches inside it."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    return [inner for step in steps for inner in flat_steps(step)]


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
    flat = flat_steps(estimator)
    if not flat:
        raise InputError("The pipeline has no classifier at its end; add one.")
    *steps, last = flat
    head = _own_head(last)
    if steps:
        scaled = ScaledHead.of(head)
        try:
            for step in reversed(steps):
                scaled = scaled.behind(step)
        except NotFoldableError as error:
            raise InputError(
                f"{error}; use StandardScaler, MinMaxScaler or MaxAbsScaler (without clip) or a "
                "selector, or transform the embeddings beforehand."
            ) from error
        head = scaled.folded().astype(np.float64)
    if steps or not isinstance(getattr(last, "head_", None), LinearHead):
        _check_decides_alike(head, estimator)
    return head


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
        logits, order = head.logits(probes), np.argsort(head.classes)
        index = order[np.searchsorted(head.classes, labels, sorter=order)]
        close = logits.max(axis=1) - logits[np.arange(_PROBES), index] <= 2 * slack
        apart = np.abs(decisions - expected).reshape(_PROBES, -1).max(axis=1) <= slack + 1e-300
        if close.all() and apart.all():
            return
    raise InputError(
        f"{type(flat_steps(estimator)[-1]).__name__} does not decide by the largest of "
        f"X @ coef_.T + intercept_; {_USE}."
    )


def read_head(value: Any, estimator: Any, name: str = "head") -> LinearHead:
    """The linear head of an estimator's parameter, for the columns that its ``fit`` got."""
    names, of_X = (getattr(each, "feature_names_in_", None) for each in (value, estimator))
    refuse_other_columns(names, of_X, name)
    try:
        return head_of(value)
    except InputError as error:
        raise InputError(
            f"{name} must be a LinearHead or a fitted linear classifier (for a grid, convert it by "
            f"ntkit.estimators.head_of): {error}"
        ) from error


_PENALTIES = 10.0 ** np.arange(-6, 2)


def match_head(head: LinearHead, X: ArrayLike, X_before: ArrayLike) -> LinearHead:
    r"""Fit a head whose logits on new embeddings are closest to the old head's on the old ones.

    Use it after quantising, pruning or converting a network: the new embeddings are close to the
    old ones, but not equal, so the old head is slightly off. No labels are needed, and the result
    keeps what the old head has learned or unlearned.

    .. math::
        \min_{\Delta, \beta} \; \sum_n \| (W + \Delta) x_n + b + \beta - (W x'_n + b) \|^2
        + \alpha \| \Delta S \|^2

    with :math:`x'` the old embeddings and S the neurons' standard deviations, so that the penalty
    pulls towards the old head. The leave-one-out error chooses :math:`\alpha`. With
    :math:`\Delta = 0` it is the bias correction of Nagel et al. (section 4.2).

    Parameters
    ----------
    head : LinearHead
        The head for ``X_before``.
    X : array-like of shape (N, D)
        Embeddings by the new network; some hundred samples suffice if D is a few hundred.
    X_before : array-like of shape (N, D)
        Embeddings of the same samples by the old network.

    Returns
    -------
    LinearHead
        For the new network; same classes, same number of logits.

    Raises
    ------
    InputError
        If the two arrays do not have rows of the same samples, or not the head's width.
    ValueError
        If they are not finite, or have fewer than two rows.

    References
    ----------
    Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization and
    Bias Correction. ICCV 2019, arXiv 1906.04721.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit import LinearHead
    >>> from ntkit.estimators import match_head
    >>> head = LinearHead([[1.0, -1.0]], [0.5], ["cat", "dog"])
    >>> before = np.random.default_rng(0).normal(size=(50, 2))
    >>> moved = 0.8 * before + 0.1
    >>> matched = match_head(head, moved, before)
    >>> bool(np.allclose(matched.logits(moved), head.logits(before), atol=1e-4))
    True
    """
    refuse_other_columns(_get_feature_names(X_before), _get_feature_names(X), "X_before")
    now, before = (
        check_array(Z, dtype=np.float64, ensure_min_samples=2, input_name=name)
        for Z, name in ((X, "X"), (X_before, "X_before"))
    )
    if now.shape != before.shape or now.shape[1] != head.n_neurons:
        raise InputError(
            f"X and X_before must be embeddings of the same samples, shape (N, {head.n_neurons}) "
            f"as the head reads them; got {now.shape} and {before.shape}."
        )
    missing = _columns(head, before) - _columns(head, now)
    scaler = StandardScaler().fit(now)
    ridge = RidgeCV(alphas=len(now) * _PENALTIES).fit(scaler.transform(now), missing)
    step = LinearHead(
        np.reshape(ridge.coef_, head.coef.shape), np.ravel(ridge.intercept_), head.classes
    ).scaled(1 / scaler.scale_, scaler.mean_)
    return replace(head, coef=head.coef + step.coef, intercept=head.intercept + step.intercept)


def _columns(head: LinearHead, Z: NDArray[Any]) -> NDArray[Any]:
    """Logits, in one column each."""
    return np.asarray(head.decision_function(Z)).reshape(len(Z), -1)
