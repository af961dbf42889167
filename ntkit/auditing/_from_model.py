"""An audit of a model on samples: one pass gives its predictions, its embedding and its layers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit._labels import listed
from ntkit.attributes import View
from ntkit.auditing._audit import audit
from ntkit.auditing._guessing import GO_ON, like_a_guess, likely_cause
from ntkit.auditing._inputs import inputs_of
from ntkit.auditing._metadata import Metadata
from ntkit.auditing._result import Audit
from ntkit.auditing._unlabelled import unlabelled_of
from ntkit.auditing._views import VIEWS, Read, views_of
from ntkit.auditing._watched_pictures import WatchedPictures
from ntkit.exceptions import InputError
from ntkit.extraction import (
    Embedded,
    ImageFiles,
    ImagePreprocessing,
    Samples,
    TextPreprocessing,
    embedded_with_layers,
    input_notes,
    preprocessing_for,
    read_samples,
)
from ntkit.frozen_model import FrozenModel
from ntkit.metrics import class_order
from ntkit.samples import with_plain_texts
from ntkit.store import check_made_with
from ntkit.verification import check_head

__all__ = ["audit_model"]

Array = NDArray[Any]
_CHECKED_ON = 8  # samples


def audit_model(
    model: Any,
    data: Any,
    *,
    views: Sequence[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    more_views: Iterable[View] = (),
    cross_fit: bool = False,
    unlabelled: Any = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    trust_inputs: bool = False,
    device: str = "auto",
    batch_size: int | str | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
    verbose: bool = False,
) -> Audit:
    """Find what a model leans on, from the model itself and samples that it was not trained on.

    The model runs over the samples once. Its errors are compared with what the samples are: words
    of texts, columns of a table, statistics of pictures and their files, metadata beside them; and
    with what the model makes of them on the way, the neurons of its embedding and of some earlier
    layers. :func:`ntkit.audit` does the same with predictions from elsewhere.

    Parameters
    ----------
    model : FrozenModel or path-like
        ONNX classifier.
    data : path-like, Samples or tuple (X, y)
        Samples with labels, as :func:`ntkit.debias` takes them. They should be distributed as the
        training set.
    views : sequence of str, optional
        What to look at, of "word", "column", "input" (columns without names), "metadata",
        "picture", "file", "layer" and "embedding"; by default all that there is, and the embedding
        where no layers can be read.
    metadata : path-like, DataFrame or mapping of str to array-like, optional
        What is known beside the inputs; it may lack samples. Images are matched by the column
        ``file_name``, tables by ``id`` where both have it, else row by row. By default the
        ``metadata.csv`` of an image folder.
    key : str, optional
        Column that names the samples instead, in the metadata and in the table of samples.
    arrays : mapping of str to array-like of shape (N, D), optional
        Any matrices by name, such as another encoder's embedding.
    more_views : iterable of View, optional
        Others, of :mod:`ntkit.attributes`.
    cross_fit : bool, default=False
        The model's head was trained on these samples: take the errors of class-balanced heads
        that are cross-fitted on the embeddings instead of its own.
    unlabelled : path-like, Samples or array-like, optional
        Other samples, without labels: the page shows how often each suspicion occurs there, and
        some examples. Nothing else is made of them.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        As in :func:`ntkit.debias`.
    trust_inputs : bool, default=False
        Go on, and say so, where the model is no better than guessing: never right on a class, or
        at chance because it predicts nearly always the same.
    device, batch_size : optional
        As in :class:`ntkit.OnnxEmbedder`.
    alpha : float, default=0.05
        As in :func:`ntkit.audit`.
    random_state : int, default=0
        Decides folds, and where clusters begin.
    verbose : bool, default=False
        Show progress bars.

    Returns
    -------
    Audit
        Its ``notes`` say what was assumed, and its ``inputs`` show the samples.

    Raises
    ------
    InputError
        If samples, labels, metadata and model do not fit together; the message says how to mend it.
    VerificationError
        If the head found is not what the model computes with.

    Examples
    --------
    The embedded model was trained on digits of which the odd ones have a mark in a corner:

    >>> import ntkit
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> digits = load_marked_digits()
    >>> found = ntkit.audit_model(
    ...     marked_digits_model_path(), (digits.X_heldout, digits.y_heldout), device="cpu"
    ... )
    >>> found.n_looked_at.keys()
    dict_keys(['picture', 'layer'])
    """
    frozen = model if isinstance(model, FrozenModel) else FrozenModel.load(model)
    _check_kinds(views)
    samples = _samples(data, frozen, preprocessing)
    frozen, notes = _matched(frozen, samples, cross_fit)
    beside = Metadata.of(metadata, samples, key)
    given = _run(frozen, samples, views, device, batch_size, verbose)
    pred = None
    if not cross_fit and frozen.head is not None:
        pred = frozen.head.predict(given.embedded.Z)
        order = class_order(samples.y, pred, frozen.head.classes)
        problem = like_a_guess(samples.y, pred, len(frozen.head.classes))
        if order is not None:
            notes.append(order.sentence())
        elif problem is not None:
            problem = f"{problem}: {likely_cause(samples)}"
            if not trust_inputs:
                raise InputError(f"{problem} {GO_ON}")
            notes.append(problem)
    extra = None if unlabelled is None else _unlabelled(unlabelled, samples, frozen, preprocessing)
    result = audit_read(
        given,
        frozen,
        pred,
        beside=beside,
        views=views,
        arrays=arrays,
        more_views=more_views,
        alpha=alpha,
        random_state=random_state,
    )
    if extra is not None:
        seen = _run(frozen, extra, views, device, batch_size, verbose)
        names = [suspicion.name for suspicion in result.suspicions]
        result = replace(result, unlabelled=unlabelled_of(seen, names, result.rule))
    notes = [*samples.notes, *_skipped(samples), *input_notes([samples]), *notes, *result.notes]
    return replace(result, notes=tuple(dict.fromkeys(notes)))


def audit_read(
    read: Read,
    model: FrozenModel,
    pred: Array | None,
    *,
    beside: Metadata | None,
    views: Sequence[str] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    more_views: Iterable[View] = (),
    alpha: float = 0.05,
    random_state: int = 0,
) -> Audit:
    """Audit samples that a model ran over.

    Parameters
    ----------
    read : Read
        The samples, and what a pass gave.
    model : FrozenModel
        The model.
    pred : ndarray of shape (N,) or None
        Predicted classes; None takes those of heads that are cross-fitted on the embedding.
    beside : Metadata or None
        What is known beside the samples.
    views, arrays, more_views, alpha, random_state
        As in :func:`audit_model`.

    Returns
    -------
    Audit
        Its notes say what was left out or assumed of the views.
    """
    found, notes = views_of(read, beside, views, random_state)
    outcome: dict[str, Any] = {"embeddings": read.embedded.Z} if pred is None else {"pred": pred}
    result = audit(
        read.samples.y,
        **outcome,
        arrays=arrays,
        views=[*found, *more_views],
        alpha=alpha,
        random_state=random_state,
    )
    metadata = None if beside is None else beside.matched()
    return replace(
        result,
        inputs=replace(inputs_of(read.samples), metadata=metadata),
        notes=tuple(notes),
        model=model.sha256(),
        layers=tuple(read.embedded.layers),
    )


def _check_kinds(views: Sequence[str] | None) -> None:
    unknown = [kind for kind in views or () if kind not in VIEWS]
    if unknown or isinstance(views, str) or (views is not None and not views):
        raise InputError(
            f"Views are some of {', '.join(VIEWS)}; got {unknown[0] if unknown else views!r}."
        )


def _samples(
    data: Any, model: FrozenModel, preprocessing: ImagePreprocessing | TextPreprocessing | None
) -> Samples:
    if isinstance(data, str | os.PathLike):
        return _read_from(data, model, preprocessing, "required")
    if isinstance(data, tuple) and len(data) in (2, 3):
        X, y, groups = (*data, None)[:3]
        data = Samples(X, np.asarray(y), None if groups is None else np.asarray(groups))
    if not isinstance(data, Samples):
        raise InputError("Give the samples as a path, Samples or (X, y).")
    if data.y is None:
        raise InputError("The samples have no labels (y), by which errors are told; add them.")
    return with_plain_texts(data, model.inputs)


def _unlabelled(
    data: Any,
    labelled: Samples,
    model: FrozenModel,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
) -> Samples:
    if isinstance(data, str | os.PathLike):
        data = _read_from(data, model, preprocessing, "optional")
    samples = data if isinstance(data, Samples) else Samples(data)
    samples = with_plain_texts(samples, model.inputs)
    if samples.embedded:
        name = str(samples.sources[0]) if samples.sources else "The samples without labels"
        check_made_with(name, samples.origin or {}, model)
    return samples.with_columns_as_in(labelled)


def _read_from(
    path: str | os.PathLike[str],
    model: FrozenModel,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    labels: Literal["required", "optional"],
) -> Samples:
    steps = preprocessing or preprocessing_for(model, [path])
    return read_samples(
        os.fspath(path), preprocessing=steps, inputs=model.inputs, labels=labels, keep_table=True
    )


def _matched(
    model: FrozenModel, samples: Samples, cross_fit: bool
) -> tuple[FrozenModel, list[str]]:
    """The model with the classes of the labels, which may be some of its own."""
    if samples.embedded:
        name = str(samples.sources[0]) if samples.sources else "The samples"
        check_made_with(name, samples.origin or {}, model)
    if cross_fit:
        return model, []
    if model.head is None:
        raise InputError(
            "The model has no head, so it makes no errors yet; take those of heads that are "
            "cross-fitted on its embedding with --cross-fit (cross_fit=True)."
        )
    labels, own = np.unique(samples.y), model.head.classes
    if len(labels) < len(own) and set(labels.tolist()) < set(own.tolist()):
        return model, [f"Of the model's {len(own)} classes there are samples of {listed(labels)}."]
    matched = model.matched_to(labels)
    return matched, [] if matched.matched_by is None else [matched.matched_by]


def _run(
    model: FrozenModel,
    samples: Samples,
    views: Sequence[str] | None,
    device: str,
    batch_size: int | str | None,
    verbose: bool,
) -> Read:
    """One pass over the samples; embeddings in a store are taken as they are."""
    if samples.embedded:
        return Read(samples, Embedded(samples.X, {}, "store"))
    X, watched = samples.X, None
    if isinstance(X, ImageFiles):
        watched = WatchedPictures(X)
        X = watched.files
    if model.head is not None:
        few = {n: v[:_CHECKED_ON] for n, v in X.items()} if isinstance(X, Mapping) else None
        check_head(model, X[:_CHECKED_ON] if few is None else few, device=device)
    embedded = embedded_with_layers(
        model,
        X,
        most=0 if views is not None and "layer" not in views else None,
        device=device,
        batch_size=batch_size,
        verbose=verbose,
    )
    if len(embedded.Z) != len(samples):
        raise InputError(f"There are {len(embedded.Z)} samples, but {len(samples)} labels.")
    return Read(samples, embedded, watched)


def _skipped(samples: Samples) -> list[str]:
    shown = ", ".join(str(path) for path in samples.skipped[:5])
    n = len(samples.skipped)
    return [f"Left out {n} image(s) that cannot be decoded: {shown}."] if n else []
