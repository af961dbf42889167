"""Audit a model: one pass over the samples computes predictions, embeddings and layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import comb
from typing import Any

import numpy as np
from scipy.stats import binom

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._key import Key
from ntkit._labels import listed
from ntkit._types import Array
from ntkit.attributes import FeatureSet
from ntkit.attributes.activations import EMBEDDING
from ntkit.attributes.feature_set import Rule, rules_of
from ntkit.attributes.findings import AuditedPredictions, Findings, find_findings
from ntkit.attributes.named import NobodyHas
from ntkit.changes.change import changes_given, file_notes
from ntkit.changes.images import range_notes
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.extraction.embedder import Embedded, embedded_with_layers
from ntkit.extraction.head_check import check_head
from ntkit.jobs.attribute_reader import (
    FEATURE_SETS,
    AttributeReader,
    AuditedImages,
    check_one_scale,
    tested_feature_sets,
)
from ntkit.jobs.audit.changes import MOST_CHANGES, changes_for, changes_of
from ntkit.jobs.audit.from_predictions import TO_GO_ON, cross_fitted
from ntkit.jobs.audit.labels import (
    LabelAudits,
    attributes_of,
    kept_in_memory,
    rare_notes,
    why_not,
)
from ntkit.jobs.audit.result import Audit, audited
from ntkit.jobs.matching import outcomes_of
from ntkit.metrics import Row
from ntkit.metrics.class_order import class_order, order_notes
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import (
    batch_note,
    loaded,
    may_be_regressions,
    rounding_note,
    with_rounded_scores,
)
from ntkit.samples.columns import copies_in, copy_note, named_labels
from ntkit.samples.copies import without_copies
from ntkit.samples.join import Metadata, named_by_column
from ntkit.samples.kinds import spread_rows
from ntkit.samples.looks import Inputs, Unlabelled
from ntkit.samples.read import read
from ntkit.samples.samples import Match

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
    labels, n, right, above, error = _above_chance(y, pred, n_classes)
    never = right == 0
    n_never, n_labels, chance = int(n[never].sum()), int(never.sum()), 1 / n_classes
    if n_labels and comb(len(labels), n_labels) * (1 - chance) ** n_never < _CHANCE:
        return (
            f"The original model is right on none of the {n_never} validation samples of "
            f"{'class' if n_labels == 1 else 'classes'} {listed(labels[never])}; guessing would be "
            f"right on {n_never * chance:.0f}"
        )
    at_chance = above <= _ERRORS * error <= _PRECISE * (1 - chance)
    suspect = at_chance and bool((binom.cdf(right, n, chance / 2) < _CHANCE).any())
    if train is not None:
        *_, above_there, error_there = _above_chance(*train, n_classes)
        suspect |= at_chance and above_there <= _ERRORS * error_there
        suspect |= above < -_ERRORS_BELOW * error
    if not suspect:
        return None
    return (
        f"The original model's mean class accuracy on the validation set is "
        f"{100 * (chance + above):.1f} %; guessing has {100 * chance:.1f} %"
    )


def _above_chance(
    y: Array, pred: Array, n_classes: int
) -> tuple[Array, Array, Array, float, float]:
    """Classes, samples and correct predictions of each, and their mean accuracy minus chance."""
    # Last comes the standard error of guesses.
    labels, at = np.unique(y, return_inverse=True)
    (shares, n), chance = rates(pred == y, at, np.ones(len(y))), 1 / n_classes
    error = np.sqrt((chance * (1 - chance) / n).sum()) / len(n)
    return labels, n, np.rint(shares * n), float(shares.mean() - chance), float(error)


def guess_notes(
    problem: str | None, samples: Samples, trust_inputs: bool, model: FrozenModel
) -> list[str]:
    """A note on a model that only guesses, with the likely cause; an error if not trusted."""
    if problem is None:
        return []
    cause = samples.data.likely_cause
    if may_be_regressions(model):
        cause += (
            " Or the model's outputs are regressions: its file has no names of classes and no "
            "softmax. If they are scores of classes, name these with --classes A,B,… (classes=)."
        )
    if not trust_inputs:
        raise InputError(f"{problem}. {cause} {TO_GO_ON}")
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
    reader.layers = {**embedded.layers, EMBEDDING: embedded.Z}
    names = [*names]
    rules = rules_of(names, rule_of)
    values = dict[str, Array]()
    for name in names:
        try:
            values[name] = reader.values(name, rules)
        except InputError as error:  # these samples lack the column or the value
            if isinstance(error, NobodyHas) and Key.of(name).kind == "word":
                values[name] = np.zeros(reader.n, dtype=np.int8)
    return Unlabelled(len(samples), values, reader.inputs[0])


_CHECKED_ON = 8  # samples


@dataclass(frozen=True, eq=False)
class _Run:
    """What a model makes of the audited samples, in one pass; each has a known label, or none."""

    model: FrozenModel
    samples: Samples
    metadata: Metadata | None
    has: Mapping[str, Array] | None  # of several labels: 1, 0 or −1 (unknown) for each
    n_read: int  # samples, with those of unknown label
    embedder: OnnxEmbedder
    scorer: OnnxEmbedder  # of the scores on which the graph decides
    embedded: Embedded
    scores: Array
    notes: tuple[str, ...]


@documented
def audit_model(
    model: Any,
    data: Any,
    *,
    label: str | None = None,
    feature_sets: Sequence[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
    cross_fit: bool = False,
    unlabelled: Any = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    changes: int | None = MOST_CHANGES,
    invariant: Any = None,
    additions: Any = None,
    trust_inputs: bool = False,
    device: str = "auto",
    batch_size: int | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
    verbose: bool = False,
) -> Audit | LabelAudits:
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
    label : str, optional
        One label of a model that gives every sample several, as in :func:`ntkit.debias`. By default
        ntkit audits all labels of such a model, with one pass of the network and one correction for
        all. It then changes no inputs. The attributes of a label include the columns of the others.
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
    invariant : str, Change or sequence of these, optional
        Changes to test as well, because they must not alter the right answer: ``append:please``,
        ``typos=2``. Of the findings, these come first. :func:`ntkit.changes.change_named` lists
        them.
    additions : path-like, "neutral" or sequence of str, optional
        Lines before or after a text, as in :func:`ntkit.check`: those that flip most predictions.
    trust_inputs : bool, default=False
        Continue with a note if the model is not better than guessing: never right on a class, or at
        chance because it predicts mostly one class. The same holds if its classes are evidently in
        another order than the labels, or if it means the opposite of a label.
        :meth:`FrozenModel.load` with ``classes=`` also makes the order a note.
    {job.device}
    alpha : float, default=0.05
        As in :func:`ntkit.audit`.
    random_state : int, default=0
        Seed of folds and of clusters.
    {verbose}

    Returns
    -------
    Audit or LabelAudits
        The findings. ``notes`` lists ntkit's assumptions, and ``inputs`` shows the samples. For
        all labels of a model, a mapping of the label to its Audit.

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
    model, most = loaded(model, label=label, any_scores=True), changes or 0
    user_changes = () if invariant is None else changes_given(invariant)
    searched = None
    if additions is not None:
        from ntkit.jobs.additions import Additions

        searched = Additions.of(additions)
    _check_options(model, feature_sets, alpha, cross_fit=cross_fit)
    how: dict[str, Any] = {"labels": "optional", "preprocessing": preprocessing}
    how |= {"every_label": True, "keep_unknown": True}
    taken = _taken_in(model, read(data, model, **how), metadata, key, verbose=verbose)
    if taken[0].y is None:
        of_labelled = {
            "cross_fit": cross_fit,
            "unlabelled": unlabelled is not None,
            "metadata": metadata is not None,
            "feature_sets": feature_sets is not None,
        }
        n_changes = most + len(user_changes) + (searched is not None)
        _check_unlabelled(model, taken[0], n_changes, [n for n, v in of_labelled.items() if v])
    match = _matched(model, taken[0], cross_fit)
    notes, named = [*match.notes], model.classes_source == "given"  # by a person, in this order
    asks = bool(most or user_changes or searched)
    if asks and model.scores is not None and model.scores.output is None:
        notes.append("ntkit changed no inputs, because it compares scores, and the model has none.")
        most, user_changes, searched = 0, (), None
    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "verbose": verbose}
    run = _run(match, *taken[1:], feature_sets, **options)
    notes += [*run.notes, *filter(None, [run.samples.shown_names[1]])]
    extra = None
    if unlabelled is not None:
        extra = _other_run(run, read(unlabelled, run.model, **how), feature_sets, verbose=verbose)
        notes += [*extra[0].notes, *extra[0].left_out_notes("unlabelled")]
    asked: dict[str, Any] = {"feature_sets": feature_sets, "cross_fit": cross_fit}
    asked |= {"trust_inputs": trust_inputs, "alpha": alpha, "random_state": random_state}
    if run.samples.y is None:
        result = _of_changes(run, alpha)
    elif run.has is not None:
        if asks and model.label is None:
            notes.append(_NO_CHANGES)
        audits = _of_labels(run, extra, notes, **asked)
        if model.label is None:
            return audits
        result = audits[str(model.label)]
    else:
        result = _of_classes(run, extra, named, **asked)
    flips = changes_of(
        run.scorer,
        run.samples,
        changes_for(run.samples, result.shown) if most else (),
        run.scores,
        named=user_changes,
        seed=random_state,
        most=most,
        alpha=alpha,
        verbose=verbose,
    )
    added = tuple[Row, ...]()
    if searched is not None:
        own = replace(match, model=run.scorer.frozen_model, samples=run.samples)
        quiet = replace(run.scorer, verbose=False) if verbose else run.scorer
        added = searched.measured(own, partial(_decided, embedder=quiet), shown=verbose)
    if run.samples.y is None and flips is None and not added:
        raise InputError(
            f"{run.samples.called()}: there are no labels, and ntkit has no change for these "
            "samples. Add labels, or pass images, texts or a table of columns."
        )
    of_flips = [flips.note(), *range_notes(run.samples)] if flips else []
    of_flips += file_notes(user_changes) if user_changes else []
    notes = [*run.samples.reading_notes(), *notes, *result.notes, *of_flips]
    return replace(result, changes=flips, additions=added, notes=tuple(dict.fromkeys(notes)))


def _decided(match: Match, embedder: OnnxEmbedder) -> tuple[Array, Array, Array]:
    """Numbers of the predicted classes, twice, and the probabilities."""
    parts = [*outcomes_of(match, embedder)]
    index = np.concatenate([part.index for part in parts])
    return index, index, np.concatenate([part.probabilities for part in parts])


def _check_options(
    model: FrozenModel, feature_sets: Sequence[str] | None, alpha: float, *, cross_fit: bool
) -> None:
    """Raise an error for options that are wrong, or that the model cannot have."""
    unknown = [kind for kind in feature_sets or () if kind not in FEATURE_SETS]
    if unknown or isinstance(feature_sets, str) or (feature_sets is not None and not feature_sets):
        raise InputError(
            f"feature_sets must be some of {', '.join(FEATURE_SETS)}. Got "
            f"{unknown[0] if unknown else feature_sets!r}."
        )
    if not 0 < alpha <= 1:
        raise InputError(f"alpha must be above 0 and at most 1. Got {alpha!r}.")
    if model.scores is not None and (cross_fit or "embedding" in (feature_sets or ())):
        raise InputError(
            "The model has no linear last layer, so it has no embedding to test or to cross-fit a "
            "head on. Omit --cross-fit (cross_fit=True) and the feature set 'embedding'."
        )


def _taken_in(
    model: FrozenModel, samples: Samples, metadata: Any, key: str | None, *, verbose: bool
) -> tuple[Samples, Metadata | None, dict[str, Array] | None, int]:
    """Distinct samples with a known label, or all without labels; metadata; labels of several.

    Labels are 1, 0 or −1 (unknown) for each sample. Last comes the number of distinct samples.
    """
    samples = samples if key is None else named_by_column(samples, key)
    if samples.y is None and model.label is None and model.label_names:
        raise InputError(
            f"{samples.called()}: there are no labels. Add a column of 0 and 1 for each label of "
            f"the model: {listed(np.asarray(model.label_names), 12)}. Or name one label with "
            "--label NAME (label=), to test which changes of the input flip its predictions."
        )
    (once,) = without_copies([samples], [model], verbose=verbose)
    n = len(once.samples)
    if samples.y is None:
        return once.samples, None, None, n
    # Copies, and samples of unknown label, may have a row.
    matched = Metadata.of(metadata, [samples], key)
    matched = matched and matched.without_copies(once)
    if not model.label_names:
        return once.samples, matched, None, n
    return *_with_a_known_label(model, once.samples, matched), n


def _run(
    match: Match,
    metadata: Metadata | None,
    has: Mapping[str, Array] | None,
    n_read: int,
    feature_sets: Sequence[str] | None,
    **options: Any,
) -> _Run:
    """Run the model over its samples: embeddings, layers, and the scores on which it decides."""
    model, samples = match.model, match.samples
    own = model if samples.embedded else with_rounded_scores(model)
    notes = rounding_note(own), "" if samples.embedded else batch_note(own)
    embedder = scorer = OnnxEmbedder(own, **options)
    if samples.y is None:  # only scores are needed
        feature_sets = ["word"]
    elif own is not model:
        embedder = OnnxEmbedder(model, **options)
    samples, embedded = _embedded(embedder, samples, feature_sets, checked=embedder is scorer)
    scores = embedded.Z if embedder is scorer else scorer.transform(samples.X)
    said = tuple(filter(None, notes))
    return _Run(model, samples, metadata, has, n_read, embedder, scorer, embedded, scores, said)


def _other_run(
    run: _Run, other: Samples, feature_sets: Sequence[str] | None, *, verbose: bool
) -> tuple[Samples, Embedded]:
    """Other samples without labels, with their embeddings and layers."""
    if not run.samples.coarse:
        (once,) = without_copies([other], [run.model], name="unlabelled", verbose=verbose)
        other = once.samples
    other.check_made_with(run.model, "The samples without labels")
    other = other.with_columns_as_in(run.samples)
    check_one_scale([run.samples, other])
    return _embedded(run.embedder, other, feature_sets, checked=run.embedder is run.scorer)


def _of_classes(
    run: _Run,
    extra: tuple[Samples, Embedded] | None,
    named: bool,
    *,
    cross_fit: bool,
    trust_inputs: bool,
    **asked: Any,
) -> Audit:
    """Audit the classes of a model; ``named`` says that a person has named their order."""
    pred, order, notes, head = None, None, list[str](), run.scorer.frozen_model.head
    if not cross_fit and head is not None:
        pred, y = head.predict(run.scores), run.samples.y
        order = class_order(y, pred, head.classes)
        sure = trust_inputs or named
        notes += order_notes(y, pred, head.classes, strict=not sure, go_on=TO_GO_ON)
        problem = None if order else like_a_guess(y, pred, len(head.classes))
        notes += guess_notes(problem, run.samples, trust_inputs, run.model)
    result = audit_read(run.samples, run.embedded, run.model, pred, metadata=run.metadata, **asked)
    result = result if extra is None else _with_unlabelled(result, extra)
    fits = None if order is None else tuple(order.classes.tolist())
    return replace(result, class_order=fits, notes=(*notes, *result.notes))


def _with_unlabelled(result: Audit, extra: tuple[Samples, Embedded]) -> Audit:
    """The audit with the attributes of its findings in samples without labels."""
    names = [finding.name for finding in result.shown]
    return replace(result, unlabelled=unlabelled_of(*extra, names, result.rule))


def never_changes(label: str, has: Array, given: Array) -> str | None:
    """Sentences on a model that gives a label to all samples, or to none; None for another."""
    if given.any() and not given.all():
        return None
    which = "all" if given.any() else "none"
    return (
        f"The model gives the label {label!r} to {which} of {len(has)} samples; {has.sum()} have "
        "it. Set a threshold for it (thresholds in the model's metadata)"
    )


_NO_CHANGES = (
    "ntkit changed no inputs, because it audited all labels. To change inputs as well, name one "
    "label: --label NAME (label=)"
)


def _with_a_known_label(
    model: FrozenModel, samples: Samples, metadata: Metadata | None
) -> tuple[Samples, Metadata | None, dict[str, Array]]:
    """Samples with a known label, their metadata, and 1, 0 or −1 (unknown) for each label."""
    y = np.asarray(samples.y)
    if model.label is None:
        values = np.nan_to_num(y.T, nan=-1).astype(np.int8)
    else:
        values = np.select([y == "", y == model.label], [-1, 1])[None]
    rows = np.flatnonzero((values >= 0).any(axis=0))
    if not len(rows):
        raise InputError(f"{samples.called()}: no sample has a known label; write 0 or 1 for some.")
    if len(rows) < len(y):
        samples, values = samples.take(rows), values[:, rows]
        metadata = metadata and metadata.take(rows)
    names = model.label_names if model.label is None else (model.label,)
    return samples, metadata, dict(zip(names, values, strict=True))


@dataclass(frozen=True, eq=False)
class _OfLabel:
    """Predictions of a label where it is known, or the reason why ntkit cannot audit it."""

    n: int
    n_with: int
    notes: list[str]
    predictions: AuditedPredictions | None = None
    reason: str | None = None
    opposite: str = ""


def _of_label(
    run: _Run, name: str, has: Array, *, cross_fit: bool, trust_inputs: bool, random_state: int
) -> _OfLabel:
    """Predictions of one label, after a check that they are better than guesses."""
    model, known = run.model, has >= 0
    mine, Z = has[known] == 1, run.embedded.Z
    n, n_with = len(mine), int(mine.sum())
    notes = rare_notes({name: (n, n_with)})
    if n < run.n_read:
        left = f"Left out {run.n_read - n} of {run.n_read} samples"
        notes.append(f"{left}: their label is unknown.")
    reason = why_not(n, n_with)
    if reason is not None:
        return _OfLabel(n, n_with, notes, reason=reason)
    if cross_fit:
        some, y = Z if known.all() else Z[known], named_labels(mine, name)
        try:
            predictions = cross_fitted(some, y, np.ones(n), random_state)
        except InputError as error:
            return _OfLabel(n, n_with, notes, reason=str(error))
        return _OfLabel(n, n_with, notes, predictions)
    head = model.of_label(name).head
    assert head is not None  # else the model has no labels
    given = head.logits(Z).argmax(axis=1)[known] == 1
    opposite = order_notes(mine, given, [False, True], strict=False, label=name)
    problem = None
    if not opposite:
        which = named_labels(mine, name), named_labels(given, name)
        problem = never_changes(name, mine, given) or like_a_guess(*which, 2)
    trust = trust_inputs or model.label is None
    notes += [*opposite, *guess_notes(problem, run.samples, trust, model)]
    reason = None if trust_inputs or problem is None else problem.partition(". ")[0]
    predictions = _of_two(name, mine, given)
    return _OfLabel(n, n_with, notes, predictions, reason, "".join(opposite))


def _of_labels(
    run: _Run,
    extra: tuple[Samples, Embedded] | None,
    notes: Sequence[str],
    *,
    feature_sets: Sequence[str] | None,
    alpha: float,
    random_state: int,
    **asked: Any,
) -> LabelAudits:
    """Audit one label or all of them, from one pass; each has the samples where it is known."""
    assert run.has is not None
    model, samples, names = run.model, run.samples, run.model.label_names
    sets, more = tested_feature_sets(
        samples, run.embedded, run.metadata, feature_sets, random_state
    )
    of_head = model.scores is None
    sets = [kept_in_memory(each) for each in sets if of_head or each.kind != "embedding"]
    shared = [*samples.reading_notes(), *notes, *more]
    copies = copies_in(np.stack([*run.has.values()], axis=1), [*run.has])
    of_label = {
        name: _of_label(run, name, has, random_state=random_state, **asked)
        for name, has in run.has.items()
    }
    reasons = {name: each.reason for name, each in of_label.items() if each.reason is not None}
    if model.label in reasons:
        raise InputError(
            f"ntkit cannot audit the label {model.label!r}: {reasons[model.label]}. Add samples "
            "with it and without it."
        )
    opposites = {name: each.opposite for name, each in of_label.items() if each.opposite}
    if opposites and not asked["trust_inputs"]:
        first, *rest = opposites
        also = f" So it is with {listed(rest)}." * bool(rest)
        raise InputError(f"{opposites[first]}{also} {TO_GO_ON}")
    problems = dict[str, tuple[list[FeatureSet], AuditedPredictions]]()
    for name, each in of_label.items():
        if name not in reasons and each.predictions is not None:
            known = run.has[name] >= 0
            rows = None if known.all() else np.flatnonzero(known)
            mine = run.has[name][known] == 1
            problems[name] = attributes_of(sets, name, names, mine, rows), each.predictions
    findings = find_findings([*problems.values()], alpha) if problems else []
    looks, audits = samples.looks(), dict[str, Audit]()
    for (name, (mine_sets, predictions)), found in zip(problems.items(), findings, strict=True):
        said = [copy_note(*pair) for pair in copies if pair[0] == name]
        result = Audit(
            predictions,
            tuple(mine_sets),
            found,
            cross_fitted=asked["cross_fit"],
            inputs=_looks(samples, looks, run.metadata, name, run.has[name]),
            notes=tuple(dict.fromkeys([*shared, *said, *of_label[name].notes])),
            model=model.sha256(),
            layers=tuple(run.embedded.layers),
            label=name,
            class_order=(name, f"not {name}") if name in opposites else None,
            repairable=of_head or bool(model.scores and model.scores.layers),
        )
        audits[name] = result if extra is None else _with_unlabelled(result, extra)
    counts = {name: (each.n, each.n_with) for name, each in of_label.items()}
    about = [*shared, *opposites.values(), *rare_notes({name: counts[name] for name in audits})]
    about += [copy_note(*pair) for pair in copies[:_MOST_COPIES]]
    lower = {name: f"{reason[:1].lower()}{reason[1:]}" for name, reason in reasons.items()}
    return LabelAudits(audits, lower, counts, alpha, tuple(dict.fromkeys(about)))


_MOST_COPIES = 8  # notes


def _of_two(label: str, has: Array, given: Array) -> AuditedPredictions:
    """Predictions of one label; its two classes are in sorted order, as of texts."""
    classes = np.unique(named_labels(np.array([0, 1]), label))
    at = classes.tolist().index(label)
    y, pred = (np.where(which, at, 1 - at) for which in (has, given))
    return AuditedPredictions(classes, y, pred, np.ones(len(has)))


def _looks(
    samples: Samples, looks: Inputs, metadata: Metadata | None, label: str, has: Array
) -> Inputs:
    """The looks of the samples where a label is known, without its own column."""
    rows = np.flatnonzero(has >= 0)
    if len(rows) < len(has):
        looks = samples.take(rows).looks()
        metadata = metadata and metadata.take(rows)
    table = {name: column for name, column in (looks.table or {}).items() if name != label}
    return replace(
        looks, table=table or None, metadata=None if metadata is None else metadata.columns
    )


def _check_unlabelled(
    model: FrozenModel, samples: Samples, most: int, arguments: Sequence[str]
) -> None:
    """Raise an error if samples without labels cannot be audited with these arguments."""
    problem = ""
    if arguments:
        problem = f"{arguments[0]} needs them. Add labels, or omit it."
    elif samples.embedded:
        problem = "ntkit cannot change embeddings. Add labels, or pass the samples themselves."
    elif model.scores is not None and model.scores.output is None:
        problem = "the model has no scores to compare changes of the input by. Add labels."
    elif not most:
        problem = (
            "so ntkit can only test changes of the input. Add labels, or omit --changes 0 "
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


def _of_changes(run: _Run, alpha: float) -> Audit:
    """An audit of samples without labels, before the changes that flip predictions."""
    head, n = run.scorer.frozen_model.head, len(run.samples)
    assert head is not None  # _check_unlabelled() has refused such models
    at = head.logits(run.scores).argmax(axis=1)
    return Audit(
        AuditedPredictions(head.classes, at, at, np.ones(n)),
        (),
        Findings((), {}, 0, {}, np.empty((n, 0), dtype=int), alpha),
        cross_fitted=False,
        inputs=run.samples.looks(),
        model=run.scorer.frozen_model.sha256(),
        labelled=False,
        label=run.model.label,
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
    if model.scores is not None:
        sets = [each for each in sets if each.kind != "embedding"]
    if model.label is not None:
        names = model.whole.label_names
        sets = attributes_of(sets, model.label, names, samples.y == model.label)
    further, ones = None if metadata is None else metadata.columns, np.ones(len(samples))
    if pred is None:
        predictions = cross_fitted(embedded.Z, samples.y, ones, random_state)
    else:
        predictions = AuditedPredictions.of(samples.y, pred, ones)
    return audited(
        predictions,
        sets,
        alpha,
        cross_fitted=pred is None,
        inputs=replace(samples.looks(), metadata=further),
        notes=tuple(notes),
        model=model.sha256(),
        layers=tuple(embedded.layers),
        label=model.label,
        repairable=model.scores is None,
    )


def _matched(model: FrozenModel, samples: Samples, cross_fit: bool) -> Match:
    """The model with the classes of the labels, which may be some of the model's."""
    every = model.label is None and bool(model.label_names)
    if every or cross_fit or model.head is None:
        samples.check_made_with(model)
    if every or cross_fit:
        return Match(model, samples)
    if model.head is None:
        raise InputError(
            "The model has no head, so it makes no predictions. To fit heads on its embedding and "
            "examine their errors: --cross-fit (cross_fit=True)"
        )
    return samples.fit_to(model)


def _embedded(
    embedder: OnnxEmbedder,
    samples: Samples,
    feature_sets: Sequence[str] | None,
    *,
    checked: bool,
) -> tuple[Samples, Embedded]:
    """One pass over the samples; the embeddings of a store are used as they are."""
    if samples.embedded:
        return samples, Embedded(samples.X, {})
    samples = samples.measured(AuditedImages)
    model = embedder.frozen_model
    if model.head is not None and model.scores is None and checked:
        check_head(embedder, spread_rows(samples.X, len(samples), _CHECKED_ON))
    most = 0 if feature_sets is not None and "layer" not in feature_sets else None
    embedded = embedded_with_layers(embedder, samples.X, most=most)
    samples.check_lengths()
    return samples, embedded
