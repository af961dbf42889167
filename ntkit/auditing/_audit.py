"""The audit: views of the raw inputs, predictions, and the suspicions that they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from ntkit._checks import check_labels, check_weight
from ntkit.attributes import View, array, columns, columns_of, matched, pictures, words
from ntkit.attributes import metadata as of_metadata
from ntkit.auditing._predicted import cross_fitted, from_labels, from_scores
from ntkit.auditing._result import Audit
from ntkit.exceptions import InputError
from ntkit.report import Inputs
from ntkit.suspicions import Predictions, find_suspicions

__all__ = ["audit"]


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
    views: Iterable[View] = (),
    classes: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
) -> Audit:
    """Find what a model leans on: attributes that go with a class, and on which its errors depend.

    The samples should be distributed as the training set, and must not be among those that the
    model was trained on: its errors there say nothing. (:func:`ntkit.audit_model` takes the model
    itself.) One of ``pred``, ``scores`` and
    ``embeddings`` says what the model makes of them; any number of raw inputs say what they have.

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
        Their words are looked at.
    table : DataFrame or mapping of str to array-like, optional
        Its columns are looked at.
    metadata : DataFrame or mapping of str to array-like, optional
        The same, of what is known beside the inputs; matched by its column ``file_name`` where
        ``ids`` are given, else by row.
    ids : sequence of str, optional
        Names of the samples.
    images : iterable of ndarray of shape (H, W) or (H, W, 3), optional
        Decoded pictures; their statistics are looked at.
    arrays : mapping of str to array-like of shape (N, D), optional
        Any matrices by name, such as another encoder's embedding.
    views : iterable of View, optional
        Others, of :mod:`ntkit.attributes`.
    classes : array-like of shape (C,), optional
        Classes of the columns of ``scores``; by default those of y, sorted.
    sample_weight : array-like of shape (N,), optional
        Weights; a sample of weight 0 counts as absent.
    alpha : float, default=0.05
        Chance that any suspicion comes up where there is nothing: kinds of attributes share it
        equally, and Holm's correction is for those of a kind.
    random_state : int, default=0
        Decides the folds for ``embeddings``.

    Returns
    -------
    Audit
        With ``suspicions``, ranked; ``print`` shows them.

    Raises
    ------
    InputError
        If lengths differ, labels are missing, there is one class only, or nothing to look at.

    Examples
    --------
    Dogs were photographed by camera B, and the model takes its pictures for dogs:

    >>> import numpy as np
    >>> import ntkit
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 1000)
    >>> camera = np.where(rng.random(1000) < 0.9, y, 1 - y)
    >>> pred = np.where(rng.random(1000) < 0.4, camera, y)
    >>> found = ntkit.audit(y, pred, table={"camera": np.array(["A", "B"])[camera]})
    >>> found.suspicions[0].name, found.suspicions[0].goes_with
    ('column:camera=A', 0)
    >>> print(found.suspicions[0])
    Having 'column:camera=A' goes with class 0: 90.9 % of its samples have it, 8.9 % of the others.
    Of class 0, 45.2 % [31, 60] are right without it, 100.0 % [99, 100] are right with it.
    """
    (labels,) = check_labels(y=y)
    weight = check_weight(sample_weight, len(labels))
    found = [*views]
    if texts is not None:
        found.append(words(texts))
    if table is not None:
        found.append(columns(table))
    if metadata is not None:
        found.append(of_metadata(metadata, ids))
    if images is not None:
        found.append(pictures(images, len(labels)))
    found += [array(X, kind=name) for name, X in (arrays or {}).items()]
    _check_views(found, len(labels))
    if not 0 < alpha <= 1:
        raise InputError(f"alpha must be above 0 and at most 1; got {alpha!r}.")
    predictions = _predictions(labels, pred, scores, embeddings, classes, weight, random_state)
    return Audit(
        predictions,
        tuple(found),
        find_suspicions(found, predictions, alpha),
        alpha,
        cross_fitted=embeddings is not None,
        inputs=Inputs(
            texts=None if texts is None else list(texts),
            table=None if table is None else columns_of(table),
            metadata=None if metadata is None else matched(metadata, ids, "file_name"),
            images=images if hasattr(images, "__getitem__") else None,  # else it is used up by now
            ids=None if ids is None else [str(name) for name in ids],
        ),
    )


def _predictions(
    y: Any, pred: Any, scores: Any, embeddings: Any, classes: Any, weight: Any, random_state: int
) -> Predictions:
    given = {"pred": pred, "scores": scores, "embeddings": embeddings}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise InputError(
            f"One of pred, scores and embeddings is needed; got {' and '.join(named) or 'none'}."
        )
    if pred is not None:
        return from_labels(y, pred, weight)
    if scores is not None:
        return from_scores(y, scores, classes, weight)
    return cross_fitted(embeddings, y, weight, random_state)


def _check_views(views: Sequence[View], n_samples: int) -> None:
    if not views:
        raise InputError(
            "There is nothing to look at; give raw inputs: texts=, table=, metadata=, "
            "images=, arrays= or views=."
        )
    for view in views:
        if view.n_samples != n_samples:
            raise InputError(
                f"The {view.kind} view has {view.n_samples} samples and y has {n_samples}; give "
                "the same samples in the same order."
            )
