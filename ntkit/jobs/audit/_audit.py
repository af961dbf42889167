"""The audit: views of the raw inputs, predictions, and the findings that they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import check_embeddings, check_labels, check_predictions, check_weight
from ntkit._doc import documented
from ntkit._join import columns_of, in_order
from ntkit._labels import listed, unknown_labels
from ntkit._types import Array
from ntkit.attributes import FeatureSet, array, columns, image_statistics, values_by_name, words
from ntkit.attributes.findings import (
    ALIKE,
    Finding,
    Predictions,
    find_findings,
    within_class_correlation,
)
from ntkit.exceptions import InputError
from ntkit.jobs.audit._result import Audit
from ntkit.pages import Inputs
from ntkit.study import AS_GOOD, Rows, class_weighted, cross_fitted_logits, folds_of, penalty_path

_FOLDS = 5
_MOST_ALPHA = 1.0  # a stronger penalty makes errors that say nothing of the data
_SOLVER: dict[str, Any] = {"tol": 1e-5, "max_iter": 1000}


def from_labels(y: ArrayLike, pred: ArrayLike, weight: Array) -> Predictions:
    """Predictions that are class labels."""
    y, pred = check_predictions(y, pred=pred)
    labels = np.unique(y)
    if not np.isin(pred, labels).any():
        raise InputError(
            unknown_labels(
                pred,
                labels,
                what="pred",
                where="y",
                fix="give predictions as the labels that y holds.",
            )
        )
    classes, index = np.unique(np.concatenate([y, pred]), return_inverse=True)
    return _checked(Predictions(classes, index[: len(y)], index[len(y) :], weight))


def from_scores(
    y: ArrayLike, scores: ArrayLike, classes: ArrayLike | None, weight: Array
) -> Predictions:
    """Predictions of highest score, which are logits or probabilities."""
    (y,) = check_labels(y=y)
    values = check_embeddings(_columns_of(scores), len(y))
    labels = np.unique(y) if classes is None else np.asarray(classes)
    if values.shape[1] != len(labels):
        raise InputError(
            f"scores has {values.shape[1]} columns for the classes {listed(labels)}; give one for "
            "each in their order (of two classes, one column is enough), or name the classes of "
            "the columns with classes=."
        )
    order = np.argsort(labels)
    place = np.searchsorted(labels, y, sorter=order).clip(0, len(labels) - 1)
    y_index = order[place]
    if not (labels[y_index] == y).all():
        raise InputError(
            unknown_labels(
                y, labels, what="y", where="classes", fix="name every class in classes=."
            )
        )
    return _checked(Predictions(labels, y_index, values.argmax(axis=1), weight))


def _columns_of(scores: ArrayLike) -> Array:
    """Scores with a column for each class; of two classes, the second's may stand alone."""
    values = np.asarray(scores)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        return values
    if values.dtype.kind not in "fiub":
        raise InputError(f"scores must be numbers; got an array of type {values.dtype}.")
    probabilities = bool(len(values)) and values.min() >= 0 and values.max() <= 1
    return np.stack([np.full(len(values), 0.5 if probabilities else 0.0), values], axis=1)


def cross_fitted(
    embeddings: ArrayLike, y: ArrayLike, weight: Array, random_state: int
) -> Predictions:
    """Predictions of class-balanced heads, each on samples that it was not fitted on."""
    # The penalty is the strongest with which the mean class error is within 4 % of the best.
    (y,) = check_labels(y=y)
    X = check_embeddings(embeddings, len(y))
    classes, y_index = np.unique(y, return_inverse=True)
    rows = Rows(X, y_index, weight)
    folds = folds_of(_FOLDS, rows, random_state) if len(classes) > 1 else None
    if folds is None:
        rarest = classes[np.argmin(np.bincount(y_index))].item()
        raise InputError(
            f"Class {rarest!r} has too few samples for cross-fitting ({len(classes)} class(es) in "
            "all); add samples of every class, or give predictions."
        )
    balanced = class_weighted(weight, y_index, classes, "balanced")
    gains = 1 / rows.deviations

    def fit(rows: Rows, weights: Any, alphas: Any) -> Any:
        Cs = [1 / (float(w.sum()) * alpha) for w, alpha in zip(weights, alphas, strict=True)]
        return rows.heads(weights, classes=classes, Cs=Cs, gains=gains, **_SOLVER)

    path = penalty_path(fit, rows, balanced, y_index, worse_half=False, seed=random_state)
    alpha = path.strongest(y_index, weight, most=_MOST_ALPHA, within=AS_GOOD)
    logits, _ = cross_fitted_logits(
        rows, balanced, folds, lambda rows, weights: fit(rows, weights, [alpha] * len(weights))
    )
    return _checked(Predictions(classes, y_index, logits.argmax(axis=1), weight))


def _checked(predictions: Predictions) -> Predictions:
    present = np.unique(predictions.y_index[predictions.weight > 0])
    if len(present) < 2:
        raise InputError(
            f"y holds one class only, {listed(predictions.classes[present])}: nothing goes with a "
            "class then; give samples of at least two."
        )
    return predictions


def with_retraining(audit: Audit, pred: ArrayLike) -> Audit:
    """Add what a retrained last layer would newly rely on to the audit of a model."""
    original = audit.predictions
    predictions = from_labels(original.classes[original.y_index], pred, original.weight)
    newly = find_findings(audit.feature_sets, predictions, audit.alpha)
    new = np.flatnonzero(_is_new(audit, newly.findings))
    newly = replace(
        newly, findings=tuple(newly.findings[i] for i in new), values=newly.values[:, new]
    )
    retraining = replace(
        audit,
        predictions=predictions,
        found=newly,
        cross_fitted=False,
        notes=(),
        retraining=None,
        changes=None,
    )
    return replace(audit, retraining=retraining)


def _is_new(audit: Audit, others: Sequence[Finding]) -> list[bool]:
    """Whether each finding has no name and no values in common with the families of an audit."""
    if not (audit.findings and others):
        return [True] * len(others)
    names = {name for one in audit.findings for name in _family(one)}
    leaders = [one.name for one in (*audit.findings, *others)]
    values = np.stack(values_by_name(audit.feature_sets, leaders), axis=1)
    p, n = audit.predictions, len(audit.findings)
    correlation = np.abs(within_class_correlation(values, p.y_index, p.weight)[n:, :n])
    return [
        not (names & _family(one) or (row >= ALIKE).any())
        for one, row in zip(others, correlation, strict=True)
    ]


def _family(one: Finding) -> set[str]:
    return {one.name, *one.same, *one.opposed}


@documented
def audit(
    y: ArrayLike,
    pred: ArrayLike | None = None,
    *,
    scores: ArrayLike | None = None,
    embeddings: ArrayLike | None = None,
    texts: Sequence[str] | None = None,
    table: Any = None,
    metadata: Any = None,
    ids: Sequence[str] | None = None,
    images: Iterable[Any] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    feature_sets: Iterable[FeatureSet] = (),
    classes: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
) -> Audit:
    """Find what a model relies on: attributes that its errors depend on, correlated with a class.

    The samples should be distributed as the training set, and must not be among those that the
    model was trained on. :func:`ntkit.audit_model` takes the model itself. One of ``pred``,
    ``scores`` and ``embeddings`` gives its predictions; any number of raw inputs give attributes.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    pred : array-like of shape (N,), optional
        Predicted classes.
    scores : array-like of shape (N, C), or (N,) for two classes, optional
        Logits or probabilities; one column is the second class's.
    embeddings : array-like of shape (N, D), optional
        Instead of predictions: class-balanced heads are cross-fitted, and their errors taken.
    texts : sequence of str, optional
        Texts, of which the words are looked at.
    table : DataFrame or mapping of str to array-like, optional
        Columns.
    metadata : DataFrame or mapping of str to array-like, optional
        Further columns; matched by ``file_name`` if ``ids`` are passed, else by row.
    ids : sequence of str, optional
        Names of the samples.
    images : iterable of ndarray of shape (H, W) or (H, W, 3), optional
        Decoded images, of which statistics are looked at.
    {arrays}
    feature_sets : iterable of FeatureSet, optional
        Others, of :mod:`ntkit.attributes`.
    classes : array-like of shape (C,), optional
        Classes of the columns of ``scores``; by default those of y, sorted.
    {sample_weight}
    alpha : float, default=0.05
        Chance that any finding comes up where there is nothing: kinds of attributes share it
        equally, and Holm's correction is for those of a kind.
    random_state : int, default=0
        Decides the folds for ``embeddings``.

    Returns
    -------
    Audit
        With ``findings``, ranked; ``print`` shows them.

    Raises
    ------
    InputError
        If lengths differ, labels are missing, there is one class only, or nothing to look at.

    Examples
    --------
    Dogs were photographed by camera B, and the model takes its images for dogs:

    >>> import numpy as np
    >>> import ntkit
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 1000)
    >>> camera = np.where(rng.random(1000) < 0.9, y, 1 - y)
    >>> pred = np.where(rng.random(1000) < 0.4, camera, y)
    >>> audit = ntkit.audit(y, pred, table={"camera": np.array(["A", "B"])[camera]})
    >>> audit.findings[0].name, audit.findings[0].goes_with
    ('column:camera=A', 0)
    """
    (labels,) = check_labels(y=y)
    weight = check_weight(sample_weight, len(labels))
    sets = [*feature_sets]
    if texts is not None:
        sets.append(words(texts))
    if table is not None:
        sets.append(columns(table))
    beside = None
    if metadata is not None:
        beside = in_order(metadata, ids, "file_name")
        sets.append(columns(beside, kind="metadata"))
    if images is not None:
        sets.append(image_statistics(images, len(labels)))
    sets += [array(X, kind=name) for name, X in (arrays or {}).items()]
    _check_views(sets, len(labels))
    if not 0 < alpha <= 1:
        raise InputError(f"alpha must be above 0 and at most 1; got {alpha!r}.")
    predictions = _predictions(labels, pred, scores, embeddings, classes, weight, random_state)
    return Audit(
        predictions,
        tuple(sets),
        find_findings(sets, predictions, alpha),
        alpha,
        cross_fitted=embeddings is not None,
        inputs=Inputs(
            texts=None if texts is None else list(texts),
            table=None if table is None else columns_of(table),
            metadata=beside,
            images=images if hasattr(images, "__getitem__") else None,  # else it is used up by now
            ids=None if ids is None else [str(name) for name in ids],
        ),
    )


def _predictions(
    y: Any, pred: Any, scores: Any, embeddings: Any, classes: Any, weight: Any, random_state: int
) -> Predictions:
    outcomes = {"pred": pred, "scores": scores, "embeddings": embeddings}
    named = [name for name, value in outcomes.items() if value is not None]
    if len(named) != 1:
        raise InputError(
            f"One of pred, scores and embeddings is needed; got {' and '.join(named) or 'none'}."
        )
    if pred is not None:
        return from_labels(y, pred, weight)
    if scores is not None:
        return from_scores(y, scores, classes, weight)
    return cross_fitted(embeddings, y, weight, random_state)


def _check_views(feature_sets: Sequence[FeatureSet], n_samples: int) -> None:
    if not feature_sets:
        raise InputError(
            "There is nothing to look at; give raw inputs: texts=, table=, metadata=, "
            "images=, arrays= or views=."
        )
    for feature_set in feature_sets:
        if feature_set.n_samples != n_samples:
            raise InputError(
                f"The {feature_set.kind} view has {feature_set.n_samples} samples and y has "
                f"{n_samples}; give "
                "the same samples in the same order."
            )
