"""The linear head in a fitted classifier, ntkit's own or one of scikit-learn's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.utils.validation import check_is_fitted

from ntkit.exceptions import InputError
from ntkit.head import LinearHead

__all__ = ["fitted_classifier", "head_of"]

Array = NDArray[Any]
_PROBES = 16
_USE = (
    "use one that decides by coef_ and intercept_, one row a class, such as LogisticRegression, "
    "RidgeClassifier, LinearSVC or SGDClassifier"
)


def head_of(estimator: Any) -> LinearHead:
    """Read the linear head out of a fitted classifier.

    Parameters
    ----------
    estimator : LinearHead, fitted classifier, Pipeline or search
        An ntkit estimator; any scikit-learn classifier that decides by ``coef_`` and
        ``intercept_`` (LogisticRegression, RidgeClassifier, LinearSVC, SGDClassifier,
        LinearDiscriminantAnalysis, …); a pipeline that ends in one, whose StandardScaler,
        MinMaxScaler, MaxAbsScaler and selectors are folded into it; or a finished search around
        any of these.

    Returns
    -------
    LinearHead
        It decides as the estimator does: two classes have one logit, positive for
        ``classes_[1]``, else there is one logit a class. Its probabilities are the softmax of the
        logits, which is not what one-against-rest classifiers such as SGDClassifier normalise
        their own by; the order of the classes is the same.

    Raises
    ------
    InputError
        If the estimator is not fitted, is not one linear layer, or a step of the pipeline is not
        a scale and a shift of each column.

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
    *steps, last = _flat_steps(estimator)
    head = _own_head(last)
    for step in reversed(steps):
        head = _behind(head, step)
    if steps or not isinstance(getattr(last, "head_", None), LinearHead):
        _check_decides_alike(head, estimator)
    return head


def fitted_classifier(estimator: Any) -> Any:
    """The classifier at the end of pipelines and finished searches; else the estimator itself."""
    return _flat_steps(estimator)[-1]


def _flat_steps(estimator: Any) -> list[Any]:
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    if not steps:
        raise InputError("The pipeline has no classifier at its end.")
    return [inner for step in steps for inner in _flat_steps(step)]


def _own_head(classifier: Any) -> LinearHead:
    name = type(classifier).__name__
    if isinstance(classifier, LinearHead):
        return classifier
    try:
        check_is_fitted(classifier)
    except NotFittedError as error:
        raise InputError(f"The {name} is not fitted; call its fit first.") from error
    except TypeError as error:
        raise InputError(f"{name} is not a classifier; {_USE}.") from error
    own = getattr(classifier, "head_", None)
    if isinstance(own, LinearHead):
        return own
    if not all(hasattr(classifier, part) for part in ("coef_", "intercept_", "classes_")):
        raise InputError(f"{name} is not one linear layer; {_USE}.")
    coef = classifier.coef_.toarray() if issparse(classifier.coef_) else classifier.coef_
    coef = np.atleast_2d(np.asarray(coef))
    intercept = np.ravel(np.asarray(classifier.intercept_))
    try:
        return LinearHead(coef, np.broadcast_to(intercept, len(coef)), classifier.classes_)
    except (InputError, ValueError) as error:
        raise InputError(f"{name} has no layer of one row a class ({error}); {_USE}.") from error


def _behind(head: LinearHead, step: Any) -> LinearHead:
    """The same on the input of a step before it, in float64."""
    name = type(step).__name__
    head = LinearHead(head.coef.astype(np.float64), head.intercept, head.classes)
    if isinstance(step, SelectorMixin):
        kept = step.get_support()
        coef = np.zeros((head.n_logits, len(kept)))
        coef[:, kept] = head.coef
        return LinearHead(coef, head.intercept, head.classes)
    if isinstance(step, StandardScaler):
        scale = 1.0 if step.scale_ is None else step.scale_
        return head.scaled(1 / np.asarray(scale), step.mean_ if step.with_mean else 0.0)
    if isinstance(step, MinMaxScaler) and not step.clip:
        return head.scaled(step.scale_, -step.min_ / step.scale_)
    if isinstance(step, MaxAbsScaler) and not getattr(step, "clip", False):
        return head.scaled(1 / step.scale_)
    raise InputError(
        f"The step {name} cannot be folded into a linear head; use StandardScaler, MinMaxScaler or "
        "MaxAbsScaler (without clip) or a selector, or transform the embeddings beforehand."
    )


def _check_decides_alike(head: LinearHead, estimator: Any) -> None:
    """Compare on a few rows, of all sizes: coef_ alone does not say how a classifier decides.

    SVC has as many rows for three classes, and decides by pairs.
    """
    random = np.random.default_rng(0)
    probes = random.normal(size=(_PROBES, head.n_neurons)) * np.logspace(-1, 3, _PROBES)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of column names that these rows do not have
        found, labels = estimator.decision_function(probes), estimator.predict(probes)
    expected = head.decision_function(probes)
    if np.shape(found) == expected.shape and np.shape(labels) == (_PROBES,):
        slack = 1e-3 * (np.abs(probes) @ np.abs(head.coef).T + np.abs(head.intercept)).max(axis=1)
        logits = head.logits(probes)
        close = logits.max(axis=1) - logits[np.arange(_PROBES), _index(labels, head)] <= 2 * slack
        apart = np.abs(found - expected).reshape(_PROBES, -1).max(axis=1) <= slack + 1e-300
        if close.all() and apart.all():
            return
    raise InputError(
        f"{type(fitted_classifier(estimator)).__name__} does not decide by the largest of "
        f"X @ coef_.T + intercept_; {_USE}."
    )


def _index(labels: Array, head: LinearHead) -> Array:
    order = np.argsort(head.classes)
    return np.asarray(order[np.searchsorted(head.classes, labels, sorter=order)])
