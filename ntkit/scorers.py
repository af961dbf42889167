"""Scores that need no group labels, and scorers for scikit-learn's searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer as sklearn_scorer
from sklearn.metrics import get_scorer_names, make_scorer
from sklearn.utils.validation import check_memory

from ntkit._checks import (
    by_names,
    check_embeddings,
    check_index,
    check_labels,
    check_weight,
    labels_and_predictions,
    positions_of,
)
from ntkit._contents import contents_by_label
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.metrics.accuracy import (
    accuracy_by,
    accuracy_in,
    of_labels,
    worst_class_accuracy,
    worst_group_accuracy,
)
from ntkit.spuriousness import sfit, spuriousness_scores
from ntkit.study import Rows, n_distinct, scaler_of, stratified_folds

__all__ = [
    "LABEL_FREE_SCORES",
    "SCORERS",
    "CorrectnessGroupScorer",
    "get_scorer",
    "worst_group_scorer",
]


def worst_class_correctness_group_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Two thirds worst-class accuracy plus one third worst-group accuracy: a label-free score."""
    worst_group = correctness_group_accuracy(
        y_true, y_pred, reference_pred=reference_pred, average="worst", sample_weight=sample_weight
    )
    worst_class = worst_class_accuracy(y_true, y_pred, sample_weight=sample_weight)
    # The class counts twice: it has many samples, and the worst group may have few.
    return (2 * worst_class + worst_group) / 3


def adjusted_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    groups: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Unweighted mean of the group accuracies."""
    by = accuracy_by(y_true, y_pred, groups, sample_weight=sample_weight)
    return float(np.mean(list(by.values())))


def class_accuracy_gap(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Mean absolute difference between the accuracies of two classes; smaller is better."""
    aligned = {"sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    by_class = accuracy_in(of_labels(y_true), y_true == y_pred, sample_weight)
    accuracies = np.array(list(by_class.values()))
    n_pairs = len(accuracies) * (len(accuracies) - 1)
    return float(np.abs(accuracies[:, None] - accuracies).sum() / max(1, n_pairs))


def correctness_group_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_pred: ArrayLike,
    average: Literal["mean", "worst"] = "mean",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean or smallest accuracy of the class × correctness groups."""
    # A group is a class and whether a class-balanced baseline errs on the sample. For two classes
    # these are the environments that EIIL (arXiv 2010.07249) infers, and "worst" is what EVaLS
    # (arXiv 2410.05345) selects by.
    if average not in ("mean", "worst"):
        raise InputError(f'average must be "mean" or "worst"; got {average!r}.')
    aligned = {"sample_weight": sample_weight}
    y_true, y_pred, reference_pred = labels_and_predictions(
        y_true, aligned, y_pred=y_pred, reference_pred=reference_pred
    )
    groups = 2 * np.unique(y_true, return_inverse=True)[1] + (reference_pred != y_true)
    accuracies = list(accuracy_in(of_labels(groups), y_true == y_pred, sample_weight).values())
    return float(np.mean(accuracies)) if average == "mean" else min(accuracies)


def afr_weighted_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    reference_proba: ArrayLike,
    classes: ArrayLike,
    gamma: float = 4.0,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Accuracy with the sample weights of AFR, which depend on a baseline's confidence."""
    # Automatic Feature Reweighting, arXiv 2306.11074: weights ∝ exp(−γ p(y)) / n_y. With γ = 0 the
    # score is the balanced accuracy.
    if not (np.isfinite(gamma) and gamma >= 0):
        raise InputError(f"gamma must be a number >= 0; got {gamma!r}.")
    aligned = {"reference_proba": reference_proba, "sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    confidence = _probability_of_the_true_class(y_true, reference_proba, classes)
    sample_weight = check_weight(sample_weight, len(y_true))
    _, class_index = np.unique(y_true, return_inverse=True)
    mass = np.bincount(class_index, weights=sample_weight)
    # The smallest confidence is subtracted in the exponent, so that weights do not underflow for a
    # large γ.
    above = np.maximum(0, confidence - confidence[sample_weight > 0].min())
    weight = sample_weight / np.where(mass > 0, mass, 1)[class_index] * np.exp(-gamma * above)
    return float(np.average(y_true == y_pred, weights=weight))


def sfit_score(
    Z: ArrayLike,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""SFit of a head, :math:`\sum_{y, i} |\delta_i^y|`, from embeddings and predictions."""
    aligned = {"Z": Z, "sample_weight": sample_weight}
    y_true, y_pred = labels_and_predictions(y_true, aligned, y_pred=y_pred)
    Z = check_embeddings(Z, len(y_true))
    weight = check_weight(sample_weight, len(y_true))
    return sfit(
        spuriousness_scores(Z, y_true, y_true != y_pred, np.unique(y_true), sample_weight=weight)
    )


def _probability_of_the_true_class(
    y_true: Array, reference_proba: ArrayLike, classes: ArrayLike
) -> Array:
    (classes,) = check_labels(classes=classes)
    proba = np.asarray(by_names(reference_proba, classes.tolist(), "reference_proba"))
    if proba.shape != (len(y_true), len(classes)):
        raise InputError(
            f"reference_proba must have shape {(len(y_true), len(classes))}, one row per sample "
            f"and one column per class; got {proba.shape}."
        )
    # Written so that NaN fails too; float16 sums of many classes are only good to 1e-2.
    if not ((proba >= 0).all() and (np.abs(proba.sum(axis=1) - 1) < 1e-2).all()):
        raise InputError(
            "reference_proba must contain probabilities, >= 0 and adding up to 1 in each row; pass "
            "predict_proba rather than logits."
        )
    fix = "name the classes of all columns of reference_proba."
    column = positions_of(y_true, classes, what="y_true", where="classes", fix=fix)
    return np.asarray(proba[np.arange(len(y_true)), column])


# By name: the function and its keywords.
_SCORES: dict[str, tuple[Callable[..., float], tuple[str, ...]]] = {
    "worst_class_correctness_group_accuracy": (
        worst_class_correctness_group_accuracy,
        ("reference_pred",),
    ),
    "mean_correctness_group_accuracy": (
        partial(correctness_group_accuracy, average="mean"),
        ("reference_pred",),
    ),
    "worst_correctness_group_accuracy": (
        partial(correctness_group_accuracy, average="worst"),
        ("reference_pred",),
    ),
    "afr_weighted_accuracy": (afr_weighted_accuracy, ("reference_proba", "classes")),
    "worst_class_accuracy": (worst_class_accuracy, ()),
    "class_accuracy_gap": (lambda y, pred, **w: -class_accuracy_gap(y, pred, **w), ()),
    "sfit_score": (lambda y, pred, *, Z, **w: sfit_score(Z, y, pred, **w), ("Z",)),
    "worst_group_accuracy": (worst_group_accuracy, ("groups",)),
    "adjusted_accuracy": (adjusted_accuracy, ("groups",)),
}
_WHAT = {
    "reference_pred": (
        "predictions of a class-balanced baseline that was not fitted on these samples"
    ),
    "reference_proba": (
        "probabilities by a class-balanced baseline that was not fitted on these samples"
    ),
    "classes": "the class labels in the order of the columns of reference_proba",
    "Z": "the embeddings",
    "groups": "group labels",
}

SCORERS: tuple[str, ...] = tuple(_SCORES)
"""Names that :func:`get_scorer` knows, the default selector first."""

LABEL_FREE_SCORES: tuple[str, ...] = tuple(n for n in _SCORES if "groups" not in _SCORES[n][1])
"""Names of scores that need no group labels."""


def needs_of(name: str) -> tuple[str, ...]:
    """Keywords of a score, by its name."""
    if name not in _SCORES:
        raise InputError(f"Unknown score {name!r}; use one of {', '.join(SCORERS)}.")
    return _SCORES[name][1]


def named_score(
    name: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    **keywords: ArrayLike | None,
) -> float:
    """Score predictions with a score by name; larger is better."""
    needed = {need: keywords.get(need) for need in needs_of(name)}
    for need, value in needed.items():
        if value is None:
            raise InputError(f"The score {name!r} needs {need}: {_WHAT[need]}.")
    return _SCORES[name][0](y_true, y_pred, **needed, sample_weight=sample_weight)


Scorer = Callable[..., float]
_FOLDS = 5


@documented
@dataclass(frozen=True)
class CorrectnessGroupScorer:
    """Scorer for GridSearchCV that needs no group labels.

    It scores samples that a class-balanced baseline gets right and wrong separately. Pass an
    instance as ``scoring``.

    A baseline must not have been fitted on the rows that it evaluates, and a scorer sees only the
    validation rows and the fitted estimator. So the baseline is a class-balanced logistic
    regression on standardised features, with a ridge of weight 1 on the mean loss, cross-fitted on
    the validation rows. You can pass a ``reference`` that was fitted on other samples instead.
    Cross-fitting costs five logistic regressions per call, the same ones for every candidate of a
    search; ``memory`` computes them once per validation fold. A class with a single row forms one
    group and is not used for fitting.

    Parameters
    ----------
    score : str, default="worst_class_correctness_group_accuracy"
        Score: this one, "mean_correctness_group_accuracy", "worst_correctness_group_accuracy" or
        "afr_weighted_accuracy".
    reference : LinearHead, default=None
        A head for the scorer's own ``X`` (in a Pipeline: the input of its first step) that was
        fitted on none of the scored rows. None cross-fits one.
    {random_state}
    memory : str or joblib.Memory, default=None
        Cache of cross-fitted baselines, as in scikit-learn's ``Pipeline``.

    Raises
    ------
    InputError
        In the constructor: if the score is unknown or does not use a baseline. When called: if the
        rows are not embeddings without NaN, or the baseline does not fit them.

    See Also
    --------
    get_scorer : Any score by name.
    worst_group_scorer : Scorer of worst-group accuracy, with group labels.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from ntkit.scorers import CorrectnessGroupScorer
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 200)
    >>> X = np.column_stack([y + rng.normal(0, 1, 200), rng.normal(0, 1, 200)])
    >>> scores = cross_val_score(LogisticRegression(), X, y, scoring=CorrectnessGroupScorer())
    >>> bool(scores.min() >= 0) and bool(scores.max() <= 1)
    True
    """

    score: str = "worst_class_correctness_group_accuracy"
    reference: LinearHead | None = None
    random_state: int = 0
    memory: Any = None

    def __post_init__(self) -> None:
        needs = needs_of(self.score)
        if not {"reference_pred", "reference_proba"} & set(needs):
            raise InputError(
                f"The score {self.score!r} does not use a class-balanced baseline; use "
                f"get_scorer({self.score!r})."
            )
        if self.reference is not None and not isinstance(self.reference, LinearHead):
            raise InputError(
                "reference must be a LinearHead, such as head_ of a fitted estimator; "
                f"got {type(self.reference).__name__}."
            )

    def __call__(
        self, estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Score a fitted estimator on the rows X (N, D) with class labels y (N,)."""
        return self.for_samples(X, y, sample_weight)(estimator, X, y)

    def for_samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Scorer:
        """Scorer ``scorer(estimator, X, y)`` for these rows, with its baseline computed once."""
        check_index(X=X, y=y, sample_weight=sample_weight)
        (labels,) = check_labels(y=y)
        weight = None if sample_weight is None else check_weight(sample_weight, len(labels))
        proba, classes = self._reference_proba(check_embeddings(X, len(labels)), labels, weight)
        return partial(_score_beside, self.score, proba, classes, weight)

    def _reference_proba(
        self, Z: Array, y: Array, weight: Array | None = None
    ) -> tuple[Array, Array]:
        """Probabilities (N, C) by the class-balanced baseline, and the classes of the columns."""
        if self.reference is None:
            cross_fit = check_memory(self.memory).cache(cross_fitted_proba)
            proba = cross_fit(Z, y, self.random_state, weight)
            return np.asarray(proba), np.unique(y)
        where = "the class-balanced baseline"
        positions_of(y, self.reference.classes, what="y", where=where, fix="use its labels.")
        return self.reference.predict_proba(Z), self.reference.classes


def cross_fitted_proba(Z: Array, y: Array, random_state: int, weight: Array | None) -> Array:
    """Probabilities of each row, (N, C), from a class-balanced head fitted on the other folds."""
    # A class with a single row, or without another class, cannot be evaluated: its rows get equal
    # probabilities, which puts them into one group.
    classes, class_index = np.unique(y, return_inverse=True)
    proba = np.full((len(y), len(classes)), 1 / len(classes))
    contents = contents_by_label(Z, class_index)
    counts = n_distinct(class_index, contents)
    judged = counts >= 2
    if judged.sum() < 2:
        return proba
    rows = np.flatnonzero(judged[class_index])
    weight = np.ones(len(y)) if weight is None else weight
    n_folds = min(_FOLDS, int(counts[judged].min()))
    mass = weight[rows].sum() * (n_folds - 1) / n_folds
    # Not cross_val_predict: it sets filters of warnings, which threads leave behind.
    folds = stratified_folds(class_index[rows], n_folds, random_state, contents[rows])
    for train, test in folds:
        fitted, left_out = rows[train], rows[test]
        fitted = fitted[weight[fitted] > 0]
        if len(np.unique(y[fitted])) < judged.sum():
            continue  # no class has any weight
        scaler = scaler_of(Rows.of(Z[fitted], weight=weight[fitted]))
        head = LogisticRegression(C=1 / mass, class_weight="balanced", max_iter=1000)
        head.fit(scaler.transform(Z[fitted]), y[fitted], sample_weight=weight[fitted])
        proba[left_out] = 0.0
        proba[np.ix_(left_out, judged)] = head.predict_proba(scaler.transform(Z[left_out]))
    return proba


def _score_beside(
    score: str,
    proba: Array,
    classes: Array,
    weight: Array | None,
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
) -> float:
    """Score an estimator with the baseline's probabilities on the same rows."""
    return named_score(
        score,
        y,
        estimator.predict(X),
        reference_pred=classes[proba.argmax(axis=1)],
        reference_proba=proba,
        classes=classes,
        sample_weight=weight,
    )


def worst_group_scorer(*, name: str = "sensitive") -> Scorer:
    """Return a scorer of worst-group accuracy, which gets group labels by metadata routing.

    Needs ``sklearn.set_config(enable_metadata_routing=True)``. Pass the group labels to the search
    as ``fit(X, y, sensitive=labels)`` or to ``cross_validate`` as ``params={"sensitive": labels}``.
    The name is not "groups", because splitters such as GroupKFold use that: one array would serve
    as both.

    Parameters
    ----------
    name : str, default="sensitive"
        Name of the argument for the group labels.

    Returns
    -------
    scorer
        A scikit-learn scorer with the request set.

    Raises
    ------
    InputError
        If metadata routing is off.

    Notes
    -----
    Use ``error_score="raise"`` in a search. Else the search turns an error in a scorer, such as a
    missing ``sensitive``, into a warning and the score NaN. HalvingGridSearchCV starts with few
    rows: set ``min_resources`` so that the smallest group has about 20 per fold.

    Examples
    --------
    >>> import numpy as np, sklearn
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from ntkit.scorers import worst_group_scorer
    >>> y, attribute = np.random.default_rng(0).integers(0, 2, (2, 200))
    >>> X = np.column_stack([y, attribute])
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     params = {"sensitive": 2 * y + attribute}
    ...     scoring = worst_group_scorer()
    ...     cross_val_score(LogisticRegression(), X, y, scoring=scoring, params=params).min()
    np.float64(1.0)
    """
    return _group_scorer("worst_group_accuracy", name)


def get_scorer(scoring: str | Scorer) -> Scorer:
    """Return the scorer with this name, for ``scoring=`` of scikit-learn; larger is better.

    Parameters
    ----------
    scoring : str or callable
        One of ``SCORERS``, or a name of scikit-learn's own; a scorer is returned unchanged. The
        correctness-group scores and AFR's are a :class:`CorrectnessGroupScorer` with its defaults.
        "sfit_score" uses the scorer's rows as the embeddings. The group scores get their labels as
        ``sensitive``, see :func:`worst_group_scorer`. "class_accuracy_gap" has its sign changed.

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
    >>> from ntkit.scorers import get_scorer
    >>> scorer, clf = get_scorer("worst_class_accuracy"), LogisticRegression(max_iter=1000)
    >>> cross_val_score(clf, *load_iris(return_X_y=True), scoring=scorer, cv=3).round(2)
    array([0.94, 0.88, 0.94])
    """
    if not isinstance(scoring, str):
        return scoring
    if scoring in SCORERS:
        needs = needs_of(scoring)
        if "groups" in needs:
            return _group_scorer(scoring, "sensitive")
        if needs == ("Z",):
            return sfit_scorer
        if needs:
            return CorrectnessGroupScorer(scoring)
        plain: Scorer = make_scorer(_score_plain, score=scoring)
        return plain
    if scoring in get_scorer_names():
        scorer: Scorer = sklearn_scorer(scoring)
        return scorer
    raise InputError(
        f"Unknown score {scoring!r}; use one of {', '.join(SCORERS)}, or of "
        "sklearn.metrics.get_scorer_names()."
    )


def sfit_scorer(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """SFit of a fitted estimator, with the rows X (N, D) as embeddings."""
    return named_score("sfit_score", y, estimator.predict(X), Z=X, sample_weight=sample_weight)


def _score_plain(
    y_true: Array, y_pred: Array, *, score: str, sample_weight: ArrayLike | None = None
) -> float:
    return named_score(score, y_true, y_pred, sample_weight=sample_weight)


def _group_scorer(score: str, name: str) -> Scorer:
    if not get_config()["enable_metadata_routing"]:
        raise InputError(
            "Group labels reach a scorer by scikit-learn's metadata routing, which is off; switch "
            "it on with sklearn.set_config(enable_metadata_routing=True)."
        )
    scorer: Scorer = make_scorer(_score_groups, score=score).set_score_request(sensitive=name)
    return scorer


def _score_groups(
    y_true: Array,
    y_pred: Array,
    *,
    score: str,
    sensitive: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    if sensitive is None:
        raise InputError(
            "The scorer got no group labels. Call fit(X, y, sensitive=labels) of GridSearchCV, or "
            "cross_validate(..., params={'sensitive': labels})."
        )
    return named_score(score, y_true, y_pred, groups=sensitive, sample_weight=sample_weight)
