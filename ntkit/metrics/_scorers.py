"""Scorers for scikit-learn's searches and cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.metrics import get_scorer as sklearn_scorer
from sklearn.metrics import get_scorer_names, make_scorer

from ntkit._checks import Array
from ntkit.exceptions import InputError
from ntkit.metrics._accuracy import worst_class_accuracy
from ntkit.metrics._by_name import SCORERS, named_score
from ntkit.metrics._cell_scorer import CellScorer, Scorer
from ntkit.metrics._label_free import class_accuracy_gap

__all__ = ["adjusted_accuracy_scorer", "get_scorer", "worst_group_scorer"]


def worst_group_scorer(*, name: str = "sensitive") -> Scorer:
    """Return a scorer of the worst group's accuracy, for group labels by metadata routing.

    Needs ``sklearn.set_config(enable_metadata_routing=True)``. The group labels then go to the
    search as ``fit(X, y, sensitive=labels)`` or to ``cross_validate`` as
    ``params={"sensitive": labels}``. The name is not "groups", which splitters such as GroupKFold
    claim: one array would serve as both.

    Parameters
    ----------
    name : str, default="sensitive"
        Name of the argument that carries the group labels.

    Returns
    -------
    scorer
        Of scikit-learn's own kind, with the request set.

    Raises
    ------
    InputError
        If metadata routing is off.

    Notes
    -----
    A search turns an error in a scorer into a warning and the score NaN, such as when no
    ``sensitive`` is passed; ``error_score="raise"`` raises it. HalvingGridSearchCV takes few rows
    at first: set ``min_resources`` so that the smallest group keeps some 20 per fold.

    Examples
    --------
    >>> import numpy as np, sklearn
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from ntkit.metrics import worst_group_scorer
    >>> rng = np.random.default_rng(0)
    >>> y, attribute = rng.integers(0, 2, (2, 200))
    >>> X = np.column_stack([y + rng.normal(0, 1, 200), attribute])
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     search = GridSearchCV(
    ...         LogisticRegression(), {"C": [0.01, 1.0]}, scoring=worst_group_scorer()
    ...     ).fit(X, y, sensitive=2 * y + attribute)
    >>> bool(0 <= search.best_score_ <= 1)
    True
    """
    return _group_scorer(_worst_group, name)


def adjusted_accuracy_scorer(*, name: str = "sensitive") -> Scorer:
    """Return a scorer of the mean group accuracy, for group labels by metadata routing.

    As :func:`worst_group_scorer`, with :func:`adjusted_accuracy`.

    Parameters
    ----------
    name : str, default="sensitive"
        Name of the argument that carries the group labels.

    Returns
    -------
    scorer
        Of scikit-learn's own kind, with the request set.

    Raises
    ------
    InputError
        If metadata routing is off.

    Examples
    --------
    >>> import sklearn
    >>> from ntkit.metrics import adjusted_accuracy_scorer
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     scorer = adjusted_accuracy_scorer()
    """
    return _group_scorer(_adjusted, name)


def get_scorer(scoring: str | Scorer) -> Scorer:
    """Return the scorer of that name, for ``scoring=`` of scikit-learn; larger is better.

    Parameters
    ----------
    scoring : str or callable
        One of ``SCORERS``, or a name of scikit-learn's own. The cell scores and AFR's are a
        :class:`CellScorer` with its defaults; "sfit_score" takes the rows as they reach the
        scorer for the embeddings; the group scores take their labels as ``sensitive``, see
        :func:`worst_group_scorer`; "class_accuracy_gap" has its sign flipped. A scorer is
        returned as it is.

    Returns
    -------
    scorer
        Called as ``scorer(estimator, X, y)``.

    Raises
    ------
    InputError
        If the name is unknown, or names a group score while metadata routing is off.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from ntkit.metrics import get_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000)
    >>> cross_val_score(clf, X, y, scoring=get_scorer("worst_class_accuracy"), cv=3).round(2)
    array([0.94, 0.88, 0.94])
    """
    if not isinstance(scoring, str):
        return scoring
    own: dict[str, Callable[[], Scorer]] = {
        "worst_class_accuracy": lambda: make_scorer(worst_class_accuracy),
        "class_accuracy_gap": lambda: make_scorer(class_accuracy_gap, greater_is_better=False),
        "sfit_score": lambda: sfit_scorer,
        "worst_group_accuracy": worst_group_scorer,
        "adjusted_accuracy": adjusted_accuracy_scorer,
    }
    if scoring in own:
        return own[scoring]()
    if scoring in SCORERS:
        return CellScorer(scoring)
    if scoring in get_scorer_names():
        scorer: Scorer = sklearn_scorer(scoring)
        return scorer
    raise InputError(
        f"Unknown score {scoring!r}; the known ones are {', '.join(SCORERS)}, and those of "
        "sklearn.metrics.get_scorer_names()."
    )


def sfit_scorer(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """SFit of a fitted estimator, on the rows X (N, D) as embeddings."""
    return named_score("sfit_score", y, estimator.predict(X), Z=X, sample_weight=sample_weight)


def _group_scorer(score: Scorer, name: str) -> Scorer:
    if not get_config()["enable_metadata_routing"]:
        raise InputError(
            "Group labels reach a scorer by scikit-learn's metadata routing, which is off; switch "
            "it on with sklearn.set_config(enable_metadata_routing=True)."
        )
    scorer: Scorer = make_scorer(score).set_score_request(sensitive=name)
    return scorer


def _worst_group(
    y_true: Array,
    y_pred: Array,
    *,
    sensitive: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    return named_score(
        "worst_group_accuracy",
        y_true,
        y_pred,
        groups=_passed(sensitive),
        sample_weight=sample_weight,
    )


def _adjusted(
    y_true: Array,
    y_pred: Array,
    *,
    sensitive: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    return named_score(
        "adjusted_accuracy",
        y_true,
        y_pred,
        groups=_passed(sensitive),
        sample_weight=sample_weight,
    )


def _passed(sensitive: ArrayLike | None) -> ArrayLike:
    if sensitive is None:
        raise InputError(
            "No group labels reached the scorer; with metadata routing on, pass them as "
            "fit(X, y, sensitive=labels) or cross_validate(..., params={'sensitive': labels})."
        )
    return sensitive
