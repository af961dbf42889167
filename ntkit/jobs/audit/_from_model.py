"""An audit of a model on samples: one pass gives its predictions, its embedding and its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from ntkit._doc import documented
from ntkit._labels import listed
from ntkit._types import Array
from ntkit.attributes import EMBEDDING, FeatureSet, NobodyHas, Rule, statistics_of_image
from ntkit.attributes.findings import Finding, Findings, Predictions
from ntkit.exceptions import InputError
from ntkit.extraction import (
    Embedded,
    ImagePreprocessing,
    OnnxEmbedder,
    Samples,
    TextPreprocessing,
    embedded_with_layers,
)
from ntkit.jobs.audit._audit import audit
from ntkit.jobs.audit._changes import MOST_CHANGES, ChangeFindings, changes_for, changes_of
from ntkit.jobs.audit._reader import (
    VIEWS,
    AttributeReader,
    ModelPass,
    WatchedPictures,
    feature_sets_of,
)
from ntkit.jobs.audit._result import Audit
from ntkit.metrics import class_order
from ntkit.model import FrozenModel, loaded
from ntkit.pages.audit_page import Unlabelled
from ntkit.samples import Match, Metadata, first_rows, read
from ntkit.verification import check_head

_CHANCE = 0.001  # of guesses that do as badly on a class; 11 samples of one of two are never right
_ERRORS, _ERRORS_BELOW = 2, 3  # standard errors from chance that are no difference, and surely one
_PRECISE = 0.2  # of the way from chance to 1: where so many errors are more, nothing is told
GO_ON = "To go on all the same: --trust-inputs (trust_inputs=True)."


def like_a_guess(
    y: Array, pred: Array, n_classes: int, train: tuple[Array, Array] | None = None
) -> str | None:
    """Say in what a model is no better than guessing, as no biased model is on its own inputs."""
    # A biased model fails on groups, and is right on the others of a class. So it is never right on
    # no class, unless so few samples are of it that guesses would miss them all: with K classes, n
    # of them with probability (1 - 1/K)^n, and any m classes at most so often as there are choices
    # of m (Bonferroni). Nor is it at chance by predicting nearly always the same.
    labels, n, right = _counts(y, pred)
    never = right == 0
    n_never, n_labels, chance = int(n[never].sum()), int(never.sum()), 1 / n_classes
    if n_labels and comb(len(labels), n_labels) * (1 - chance) ** n_never < _CHANCE:
        return (
            f"The original model is right on none of the {n_never} validation samples of "
            f"{'class' if n_labels == 1 else 'classes'} {listed(labels[never])}, where guessing is "
            f"on {n_never * chance:.0f}"
        )
    above, error = _above_chance(n, right, chance)
    at_chance = above <= _ERRORS * error <= _PRECISE * (1 - chance)
    suspect = at_chance and bool((binom.cdf(right, n, chance / 2) < _CHANCE).any())
    if train is not None:
        above_there, error_there = _above_chance(*_counts(*train)[1:], chance)
        suspect |= at_chance and above_there <= _ERRORS * error_there
        suspect |= above < -_ERRORS_BELOW * error
    if not suspect:
        return None
    return (
        f"The original model is right on {100 * (chance + above):.1f} % of the validation samples "
        f"of a class on average, where guessing is on {100 * chance:.1f} %"
    )


def _counts(y: Array, pred: Array) -> tuple[Array, Array, Array]:
    """Classes, samples of each, and those that are right."""
    labels, at = np.unique(y, return_inverse=True)
    return labels, np.bincount(at), np.bincount(at, weights=pred == y)


def _above_chance(n: Array, right: Array, chance: float) -> tuple[float, float]:
    """Mean class accuracy less chance, and the standard error of guesses."""
    error = np.sqrt((chance * (1 - chance) / n).sum()) / len(n)
    return float((right / n).mean() - chance), float(error)


def likely_cause(samples: Samples) -> str:
    """Ask for the likely cause of a model that fails on samples of this kind."""
    if samples.kind == "images":
        return (
            "is the preprocessing the model's? Set --mean and --std, or --preprocessor; compare "
            "with a service's outputs: ntkit parity."
        )
    if samples.kind == "texts":
        return "is the tokenizer the model's? Set --tokenizer and --max-length."
    if samples.columns:
        return "are the columns the model's, in its order and units? Name them with --columns."
    return "are labels, classes and inputs those of this model, scaled as it was trained on?"


def unlabelled_of(
    read: ModelPass, names: Iterable[str], rule_of: Callable[[str], Rule | None]
) -> Unlabelled:
    """Read attributes of samples that nobody labelled; what they lack is left out."""
    # `rule_of` gives what reads those whose names do not say how: they are cut where they were cut
    # on the samples that they were found on.
    reader = AttributeReader([read.samples])
    layers = {**read.embedded.layers, EMBEDDING: read.embedded.Z}
    if read.watched is not None:
        layers["image"] = read.watched.statistics()
    elif reader.images is not None:
        layers["image"] = np.stack([statistics_of_image(image) for image in reader.images])
    reader.add_layers(layers)
    values = dict[str, Array]()
    for name in names:
        try:
            values[name] = reader.values(name, rule_of(name))
        except InputError as error:  # these samples lack the column, or the value
            if isinstance(error, NobodyHas) and name.startswith("word:"):
                values[name] = np.zeros(reader.n, dtype=np.int8)
    return Unlabelled(len(read.samples), values, reader.inputs[0])


_CHECKED_ON = 8  # samples


@documented
def audit_model(
    model: Any,
    data: Any,
    *,
    feature_sets: Sequence[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    more_feature_sets: Iterable[FeatureSet] = (),
    cross_fit: bool = False,
    unlabelled: Any = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    changes: int | None = MOST_CHANGES,
    trust_inputs: bool = False,
    device: str = "auto",
    batch_size: int | str | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
    verbose: bool = False,
) -> Audit:
    """Find what a model relies on, from the model and samples that it was not trained on.

    The model runs over the samples once. Its errors are compared with attributes of the samples
    (words, columns, statistics of images and their files, metadata) and with the neurons of its
    embedding and of some earlier layers. :func:`ntkit.audit` takes predictions from elsewhere.

    The samples are also changed, and the model looks at the copies: which changes flip predictions?
    Without labels, this is all that is looked at.

    Parameters
    ----------
    {job.model, job.data}
        They should be distributed as the training set. Inputs alone (or samples without labels) are
        taken, too: errors are then not looked at.
    feature_sets : sequence of str, optional
        What to look at, of "word", "column", "input" (columns without names), "metadata",
        "image", "file", "layer" and "embedding"; by default all that there is, and the embedding
        if no layers can be read.
    metadata : path-like, DataFrame or mapping of str to array-like, optional
        Further columns; samples may be missing. Images are matched by the column ``file_name``,
        tables by ``id`` if both have it, else row by row. By default the ``metadata.csv`` of an
        image folder.
    key : str, optional
        Column that names the samples instead, in the metadata and in the table of samples.
    {arrays}
    more_feature_sets : iterable of FeatureSet, optional
        Others, of :mod:`ntkit.attributes`.
    cross_fit : bool, default=False
        For samples that the head was trained on: take the errors of class-balanced heads that are
        cross-fitted on the embeddings.
    unlabelled : path-like, Samples or array-like, optional
        Other samples, without labels: the page shows how often each finding occurs there, and
        some examples.
    {job.preprocessing}
    changes : int or None, default=5
        Changes of the input that are looked at closely: the strongest of those that were tried on
        some of the samples, each on up to 300 others, next to a control of the same size. At most
        as many copies as half of the samples, or 3000, are embedded. 0 or None leaves this out.
    trust_inputs : bool, default=False
        Go on, with a note, if the model is no better than guessing: never right on a class, or
        at chance because it predicts nearly always the same.
    {job.device}
    alpha : float, default=0.05
        As in :func:`ntkit.audit`.
    random_state : int, default=0
        Decides folds, and where clusters begin.
    {verbose}

    Returns
    -------
    Audit
        Its ``notes`` say what was assumed, and its ``inputs`` show the samples.

    Raises
    ------
    {job.InputError, head.VerificationError}

    Examples
    --------
    The embedded model was trained on digits of which the odd ones have a mark in a corner:

    >>> import ntkit
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> digits = load_marked_digits()
    >>> audit = ntkit.audit_model(
    ...     marked_digits_model_path(), (digits.X_validation, digits.y_validation), device="cpu"
    ... )
    >>> audit.n_looked_at.keys()
    dict_keys(['image', 'layer'])
    """
    _check_kinds(feature_sets)
    model, most = loaded(model), changes or 0
    samples = read(data, model, labels="optional", preprocessing=preprocessing)
    if samples.y is None:
        of_labelled = {
            "cross_fit": cross_fit,
            "unlabelled": unlabelled is not None,
            "metadata": metadata is not None,
            "arrays": arrays,
            "feature_sets": feature_sets is not None,
            "more_feature_sets": [*more_feature_sets],
        }
        _check_unlabelled(model, samples, most, [name for name, v in of_labelled.items() if v])
    match = _matched(model, samples, cross_fit)
    model, samples, notes = match.model, match.samples, [*match.notes]
    embedder = OnnxEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)

    def changed(read: ModelPass, findings: Sequence[Finding]) -> ChangeFindings | None:
        return changes_of(
            embedder,
            model.head,
            read.samples,
            changes_for(read.samples, findings) if most else (),
            read.embedded.Z,
            seed=random_state,
            most=most,
            alpha=alpha,
            verbose=verbose,
        )

    if samples.y is None:
        run = _run(embedder, samples, ["word"], device)
        result = _of_changes(run, model, changed(run, ()), alpha)
        return replace(result, notes=(*samples.reading_notes(), *notes, *result.notes))
    beside = Metadata.of(metadata, [samples], key)
    run = _run(embedder, samples, feature_sets, device)
    pred = None
    if not cross_fit and model.head is not None:
        pred = model.head.predict(run.embedded.Z)
        order = class_order(samples.y, pred, model.head.classes)
        problem = like_a_guess(samples.y, pred, len(model.head.classes))
        if order is not None:
            notes.append(order.sentence())
        elif problem is not None:
            problem = f"{problem}: {likely_cause(samples)}"
            if not trust_inputs:
                raise InputError(f"{problem} {GO_ON}")
            notes.append(problem)
    extra = None
    if unlabelled is not None:
        extra = read(unlabelled, model, labels="optional", preprocessing=preprocessing)
        extra.check_made_with(model, "The samples without labels")
        extra = extra.with_columns_as_in(samples)
    result = audit_read(
        run,
        model,
        pred,
        beside=beside,
        feature_sets=feature_sets,
        arrays=arrays,
        more_feature_sets=more_feature_sets,
        alpha=alpha,
        random_state=random_state,
    )
    if extra is not None:
        seen = _run(embedder, extra, feature_sets, device)
        names = [finding.name for finding in result.findings]
        result = replace(result, unlabelled=unlabelled_of(seen, names, result.rule))
    found = changed(run, result.findings)
    notes = [*samples.reading_notes(), *notes, *result.notes, *([found.note()] if found else ())]
    return replace(result, changes=found, notes=tuple(dict.fromkeys(notes)))


def _check_unlabelled(
    model: FrozenModel, samples: Samples, most: int, arguments: Sequence[str]
) -> None:
    """Refuse samples without labels where nothing can be looked at, or what is for errors."""
    what = f"{samples.called()} {'holds' if samples.sources else 'have'} no labels"
    if arguments:
        raise InputError(f"{what}, and {arguments[0]} is for errors; add labels, or drop it.")
    if samples.embedded:
        raise InputError(
            f"{what}, and embeddings cannot be changed; add labels, or give the samples themselves."
        )
    if not most:
        raise InputError(
            f"{what}, so only changes of the input can be looked at; add labels, or drop "
            "--no-changes (changes=0)."
        )
    if model.head is None:
        raise InputError(
            f"{what}, and the model has no head, so there are no predictions that may flip; add "
            "labels and --cross-fit (cross_fit=True), or give a classifier."
        )


def _of_changes(
    run: ModelPass, model: FrozenModel, changes: ChangeFindings | None, alpha: float
) -> Audit:
    """An audit of samples without labels: what changes their predictions, and nothing of errors."""
    if changes is None or model.head is None:
        raise InputError(
            f"{run.samples.called()}: there are no labels, and ntkit knows no change of these "
            "samples; add labels, or give images, texts or a table of columns."
        )
    at, n = model.head.logits(run.embedded.Z).argmax(axis=1), len(run.samples)
    return Audit(
        Predictions(model.head.classes, at, at, np.ones(n)),
        (),
        Findings((), {}, 0, {}, np.empty((n, 0), dtype=int)),
        alpha,
        cross_fitted=False,
        inputs=run.samples.looks(),
        notes=(changes.note(),),
        model=model.sha256(),
        changes=changes,
        labelled=False,
    )


def audit_read(
    read: ModelPass,
    model: FrozenModel,
    pred: Array | None,
    *,
    beside: Metadata | None,
    feature_sets: Sequence[str] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    more_feature_sets: Iterable[FeatureSet] = (),
    alpha: float = 0.05,
    random_state: int = 0,
) -> Audit:
    """Audit samples that a model ran over."""
    sets, notes = feature_sets_of(read, beside, feature_sets, random_state)
    outcome: dict[str, Any] = {"embeddings": read.embedded.Z} if pred is None else {"pred": pred}
    result = audit(
        read.samples.y,
        **outcome,
        arrays=arrays,
        feature_sets=[*sets, *more_feature_sets],
        alpha=alpha,
        random_state=random_state,
    )
    metadata = None if beside is None else beside.columns
    return replace(
        result,
        inputs=replace(read.samples.looks(), metadata=metadata),
        notes=tuple(notes),
        model=model.sha256(),
        layers=tuple(read.embedded.layers),
    )


def _check_kinds(feature_sets: Sequence[str] | None) -> None:
    unknown = [kind for kind in feature_sets or () if kind not in VIEWS]
    if unknown or isinstance(feature_sets, str) or (feature_sets is not None and not feature_sets):
        raise InputError(
            f"Feature sets are some of {', '.join(VIEWS)}; got "
            f"{unknown[0] if unknown else feature_sets!r}."
        )


def _matched(model: FrozenModel, samples: Samples, cross_fit: bool) -> Match:
    """The model with the classes of the labels, which may be some of its own."""
    if cross_fit:
        samples.check_made_with(model)
        return Match(model, samples)
    if model.head is None:
        samples.check_made_with(model)
        raise InputError(
            "The model has no head, so it makes no errors yet; take those of heads that are "
            "cross-fitted on its embedding with --cross-fit (cross_fit=True)."
        )
    return samples.fit_to(model)


def _run(
    embedder: OnnxEmbedder, samples: Samples, feature_sets: Sequence[str] | None, device: str
) -> ModelPass:
    """One pass over the samples; embeddings in a store are taken as they are."""
    if samples.embedded:
        return ModelPass(samples, Embedded(samples.X, {}, "store"))
    samples = samples.measured(WatchedPictures)
    if embedder.frozen_model.head is not None:
        check_head(embedder, first_rows(samples.X, _CHECKED_ON), device=device)
    most = 0 if feature_sets is not None and "layer" not in feature_sets else None
    embedded = embedded_with_layers(embedder, samples.X, most=most)
    samples.check_lengths()
    return ModelPass(samples, embedded)
