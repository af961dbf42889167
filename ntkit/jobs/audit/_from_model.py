"""Audit a model: one pass over the samples computes predictions, embeddings and layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
from scipy.stats import binom

from ntkit._doc import documented
from ntkit._labels import listed
from ntkit._types import Array
from ntkit.attributes import EMBEDDING, NobodyHas, Rule, statistics_of_image
from ntkit.attributes.findings import AuditedPredictions, Finding, Findings
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
    FEATURE_SETS,
    AttributeReader,
    AuditedImages,
    tested_feature_sets,
)
from ntkit.jobs.audit._result import Audit
from ntkit.metrics import class_order
from ntkit.model import FrozenModel, loaded
from ntkit.pages.audit_page import Unlabelled
from ntkit.samples import Match, Metadata, first_rows, read
from ntkit.verification import check_head

_CHANCE = 0.001  # largest probability that guesses do as badly on a class
_ERRORS, _ERRORS_BELOW = 2, 3  # standard errors within, or below, the accuracy of guessing
_PRECISE = 0.2  # of the way from chance to 1: with larger standard errors the test is skipped


def like_a_guess(
    y: Array, pred: Array, n_classes: int, train: tuple[Array, Array] | None = None
) -> str | None:
    """Sentence on a model that is not better than guessing; None if it is better."""
    # Wrong inputs are the likely cause, not a bias. A biased model fails on a group and is right on
    # the rest of the class. So it gets some samples of every class right, unless a class has too
    # few. With K classes, guesses miss all n samples of a class with probability (1 - 1/K)^n. For
    # any m classes, Bonferroni's correction multiplies by the number of choices of m. A biased
    # model's mean class accuracy is also above chance, and it does not predict mostly one class.
    labels, n, right = _counts(y, pred)
    never = right == 0
    n_never, n_labels, chance = int(n[never].sum()), int(never.sum()), 1 / n_classes
    if n_labels and comb(len(labels), n_labels) * (1 - chance) ** n_never < _CHANCE:
        return (
            f"The original model is right on none of the {n_never} validation samples of "
            f"{'class' if n_labels == 1 else 'classes'} {listed(labels[never])}; guessing would be "
            f"right on {n_never * chance:.0f}"
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
        f"The original model's mean class accuracy on the validation set is "
        f"{100 * (chance + above):.1f} %; guessing has {100 * chance:.1f} %"
    )


def _counts(y: Array, pred: Array) -> tuple[Array, Array, Array]:
    """Classes, with the number of samples and of correct predictions of each."""
    labels, at = np.unique(y, return_inverse=True)
    return labels, np.bincount(at), np.bincount(at, weights=pred == y)


def _above_chance(n: Array, right: Array, chance: float) -> tuple[float, float]:
    """Mean class accuracy minus chance, and the standard error of guesses."""
    error = np.sqrt((chance * (1 - chance) / n).sum()) / len(n)
    return float((right / n).mean() - chance), float(error)


def guess_notes(problem: str | None, samples: Samples, trust_inputs: bool) -> list[str]:
    """A note on a model that only guesses, with the likely cause; an error if not trusted."""
    if problem is None:
        return []
    cause = "Labels, classes or the scale of the inputs may not be those that the model expects."
    if samples.kind == "images":
        cause = (
            "The preprocessing may differ from the model's. Set --mean and --std, or "
            "--preprocessor. Compare with a service's outputs: ntkit parity MODEL OUTPUTS.npz"
        )
    elif samples.kind == "texts":
        cause = "The tokenizer may not be the model's. Set --tokenizer and --max-length."
    elif samples.columns:
        cause = (
            "The columns may not be the model's, in its order and units. Name them with --columns."
        )
    if not trust_inputs:
        go_on = "To continue anyway: --trust-inputs (trust_inputs=True)"
        raise InputError(f"{problem}. {cause} {go_on}")
    return [f"{problem}. {cause}"]


def unlabelled_of(
    samples: Samples,
    embedded: Embedded,
    names: Iterable[str],
    rule_of: Callable[[str], Rule | None],
) -> Unlabelled:
    """Attributes of samples without labels; attributes that these samples lack are left out."""
    # `rule_of` returns the rule of an attribute whose name does not define it. Its thresholds come
    # from the audited samples.
    reader = AttributeReader([samples])
    reader.layers = layers = {**embedded.layers, EMBEDDING: embedded.Z}
    if isinstance(samples.X, AuditedImages):
        layers["image"] = samples.X.statistics()
    elif reader.images is not None:
        layers["image"] = np.stack([statistics_of_image(image) for image in reader.images])
    values = dict[str, Array]()
    for name in names:
        try:
            values[name] = reader.values(name, rule_of(name))
        except InputError as error:  # these samples lack the column or the value
            if isinstance(error, NobodyHas) and name.startswith("word:"):
                values[name] = np.zeros(reader.n, dtype=np.int8)
    return Unlabelled(len(samples), values, reader.inputs[0])


_CHECKED_ON = 8  # samples


@documented
def audit_model(
    model: Any,
    data: Any,
    *,
    feature_sets: Sequence[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
    cross_fit: bool = False,
    unlabelled: Any = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    changes: int | None = MOST_CHANGES,
    trust_inputs: bool = False,
    device: str = "auto",
    batch_size: int | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
    verbose: bool = False,
) -> Audit:
    """Find attributes that a model's errors depend on, from the model and validation samples.

    Pass samples that the model was not trained on. ntkit runs the model over them once. It tests
    which attributes the errors depend on: words, columns, statistics of images and their files,
    metadata, and neurons of the embedding and of earlier layers. :func:`ntkit.audit` takes
    predictions instead of a model.

    ntkit also changes the inputs, and finds the changes that flip predictions. If the samples have
    no labels, it does only this.

    Parameters
    ----------
    {job.model, job.data}
        They should have the distribution of the training set. Samples without labels are allowed;
        ntkit then tests only changes of the input.
    feature_sets : sequence of str, optional
        Kinds of attributes to test: some of "word", "column", "input" (columns without names),
        "metadata", "image", "file", "layer" and "embedding". By default all that the samples have.
        The embedding is a default only if ntkit cannot read the layers.
    metadata : path-like, DataFrame or mapping of str to array-like, optional
        Further columns; samples may be missing. ntkit matches images by the column ``file_name``,
        tables by ``id`` if both have it, and other samples by row. By default the
        ``metadata.csv`` of an image folder.
    key : str, optional
        Another column to match by, in the metadata and in the table of samples.
    cross_fit : bool, default=False
        Examine the errors of class-balanced heads that ntkit cross-fits on the embeddings. Use it
        if the head was trained on these samples.
    unlabelled : path-like, Samples or array-like, optional
        Other samples without labels. The page shows how often each finding occurs among them, and
        some examples.
    {job.preprocessing}
    changes : int or None, default=5
        Number of changes of the input to test. ntkit tries all changes on one half of the samples.
        It then tests the strongest on up to 300 samples of the other half, each next to a control
        of the same size. It embeds at most 3000 copies, or half as many copies as samples if that
        is more. 0 or None skips this step.
    trust_inputs : bool, default=False
        Continue with a note if the model is not better than guessing. That is so if it is never
        right on a class, or at chance because it predicts mostly one class.
    {job.device}
    alpha : float, default=0.05
        As in :func:`ntkit.audit`.
    random_state : int, default=0
        Seed of folds and of clusters.
    {verbose}

    Returns
    -------
    Audit
        The findings. ``notes`` lists ntkit's assumptions, and ``inputs`` shows the samples.

    Raises
    ------
    {job.InputError, head.VerificationError}

    Examples
    --------
    The included model was trained on digits, and most odd digits had a mark in a corner:

    >>> import ntkit
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> digits = load_marked_digits()
    >>> audit = ntkit.audit_model(
    ...     marked_digits_model_path(), (digits.X_validation, digits.y_validation), device="cpu"
    ... )
    >>> audit.n_looked_at.keys()
    dict_keys(['image', 'layer'])
    """
    unknown = [kind for kind in feature_sets or () if kind not in FEATURE_SETS]
    if unknown or isinstance(feature_sets, str) or (feature_sets is not None and not feature_sets):
        raise InputError(
            f"feature_sets must be some of {', '.join(FEATURE_SETS)}. Got "
            f"{unknown[0] if unknown else feature_sets!r}."
        )
    model, most = loaded(model, any_scores=True), changes or 0
    samples = read(data, model, labels="optional", preprocessing=preprocessing)
    if samples.y is None:
        of_labelled = {
            "cross_fit": cross_fit,
            "unlabelled": unlabelled is not None,
            "metadata": metadata is not None,
            "feature_sets": feature_sets is not None,
        }
        _check_unlabelled(model, samples, most, [name for name, v in of_labelled.items() if v])
    match = _matched(model, samples, cross_fit)
    model, samples, notes = match.model, match.samples, [*match.notes]
    embedder = OnnxEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)

    def changed(findings: Sequence[Finding]) -> ChangeFindings | None:
        return changes_of(
            embedder,
            model.head,
            samples,
            changes_for(samples, findings) if most else (),
            embedded.Z,
            seed=random_state,
            most=most,
            alpha=alpha,
            verbose=verbose,
        )

    if samples.y is None:
        samples, embedded = _run(embedder, samples, ["word"], device)
        result = _of_changes(samples, embedded, model, changed(()), alpha)
        return replace(result, notes=(*samples.reading_notes(), *notes, *result.notes))
    matched = Metadata.of(metadata, [samples], key)
    samples, embedded = _run(embedder, samples, feature_sets, device)
    pred = None
    if not cross_fit and model.head is not None:
        pred = model.head.predict(embedded.Z)
        notes += _note_on_predictions(samples, pred, model.head.classes, trust_inputs)
    extra = None
    if unlabelled is not None:
        extra = read(unlabelled, model, labels="optional", preprocessing=preprocessing)
        extra.check_made_with(model, "The samples without labels")
        extra = extra.with_columns_as_in(samples)
    result = audit_read(
        samples,
        embedded,
        model,
        pred,
        metadata=matched,
        feature_sets=feature_sets,
        alpha=alpha,
        random_state=random_state,
    )
    if extra is not None:
        seen = _run(embedder, extra, feature_sets, device)
        names = [finding.name for finding in result.findings]
        result = replace(result, unlabelled=unlabelled_of(*seen, names, result.rule))
    flips = changed(result.findings)
    notes = [*samples.reading_notes(), *notes, *result.notes, *([flips.note()] if flips else ())]
    return replace(result, changes=flips, notes=tuple(dict.fromkeys(notes)))


def _note_on_predictions(
    samples: Samples, pred: Array, classes: Array, trust_inputs: bool
) -> list[str]:
    """Note that the classes may be in another order, or that the model may be guessing."""
    order = class_order(samples.y, pred, classes)
    if order is not None:
        return [order.sentence()]
    return guess_notes(like_a_guess(samples.y, pred, len(classes)), samples, trust_inputs)


def _check_unlabelled(
    model: FrozenModel, samples: Samples, most: int, arguments: Sequence[str]
) -> None:
    """Raise an error if samples without labels cannot be audited with these arguments."""
    problem = ""
    if arguments:
        problem = f"{arguments[0]} needs them. Add labels, or omit it."
    elif samples.embedded:
        problem = "ntkit cannot change embeddings. Add labels, or pass the samples themselves."
    elif not most:
        problem = (
            "so ntkit can only test changes of the input. Add labels, or omit --no-changes "
            "(changes=0)."
        )
    elif model.head is None:
        problem = (
            "the model has no head, so it makes no predictions. Add labels and --cross-fit "
            "(cross_fit=True), or pass a classifier."
        )
    if problem:
        link = "," if problem.startswith("so ") else ", and"
        has = "holds" if samples.sources else "have"
        raise InputError(f"{samples.called()} {has} no labels{link} {problem}")


def _of_changes(
    samples: Samples,
    embedded: Embedded,
    model: FrozenModel,
    changes: ChangeFindings | None,
    alpha: float,
) -> Audit:
    """An audit of samples without labels: only the changes that flip predictions."""
    if changes is None or model.head is None:
        raise InputError(
            f"{samples.called()}: there are no labels, and ntkit has no change for these "
            "samples. Add labels, or pass images, texts or a table of columns."
        )
    at, n = model.head.logits(embedded.Z).argmax(axis=1), len(samples)
    return Audit(
        AuditedPredictions(model.head.classes, at, at, np.ones(n)),
        (),
        Findings((), {}, 0, {}, np.empty((n, 0), dtype=int)),
        alpha,
        cross_fitted=False,
        inputs=samples.looks(),
        notes=(changes.note(),),
        model=model.sha256(),
        changes=changes,
        labelled=False,
    )


def audit_read(
    samples: Samples,
    embedded: Embedded,
    model: FrozenModel,
    pred: Array | None,
    *,
    metadata: Metadata | None,
    feature_sets: Sequence[str] | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
) -> Audit:
    """Audit samples with their embeddings and layers from one pass of the model."""
    sets, notes = tested_feature_sets(samples, embedded, metadata, feature_sets, random_state)
    outcome: dict[str, Any] = {"embeddings": embedded.Z} if pred is None else {"pred": pred}
    result = audit(
        samples.y,
        **outcome,
        feature_sets=sets,
        alpha=alpha,
        random_state=random_state,
    )
    further = None if metadata is None else metadata.columns
    return replace(
        result,
        inputs=replace(samples.looks(), metadata=further),
        notes=tuple(notes),
        model=model.sha256(),
        layers=tuple(embedded.layers),
    )


def _matched(model: FrozenModel, samples: Samples, cross_fit: bool) -> Match:
    """The model with the classes of the labels, which may be some of the model's."""
    if cross_fit or model.head is None:
        samples.check_made_with(model)
    if cross_fit:
        return Match(model, samples)
    if model.head is None:
        raise InputError(
            "The model has no head, so it makes no predictions. To fit heads on its embedding and "
            "examine their errors: --cross-fit (cross_fit=True)"
        )
    return samples.fit_to(model)


def _run(
    embedder: OnnxEmbedder, samples: Samples, feature_sets: Sequence[str] | None, device: str
) -> tuple[Samples, Embedded]:
    """One pass over the samples; the embeddings of a store are used as they are."""
    if samples.embedded:
        return samples, Embedded(samples.X, {}, "store")
    samples = samples.measured(AuditedImages)
    model = embedder.frozen_model
    if model.head is not None and model.scores is None:
        check_head(embedder, first_rows(samples.X, _CHECKED_ON), device=device)
    most = 0 if feature_sets is not None and "layer" not in feature_sets else None
    embedded = embedded_with_layers(embedder, samples.X, most=most)
    samples.check_lengths()
    return samples, embedded
