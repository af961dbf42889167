"""Audit a model: one pass over the samples computes predictions, embeddings and layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
from scipy.stats import binom

from ntkit._checks import rates
from ntkit._doc import documented
from ntkit._key import Key
from ntkit._labels import listed
from ntkit._types import Array
from ntkit.attributes import EMBEDDING, FeatureSet, NobodyHas, Rule, rules_of
from ntkit.attributes.findings import AuditedPredictions, Finding, Findings, find_findings
from ntkit.changes import range_notes
from ntkit.exceptions import InputError
from ntkit.extraction import (
    Embedded,
    ImagePreprocessing,
    OnnxEmbedder,
    Samples,
    TextPreprocessing,
    embedded_with_layers,
)
from ntkit.jobs.attribute_reader import (
    FEATURE_SETS,
    AttributeReader,
    AuditedImages,
    check_one_scale,
    tested_feature_sets,
)
from ntkit.jobs.audit._audit import TO_GO_ON, audit, cross_fitted
from ntkit.jobs.audit._changes import MOST_CHANGES, ChangeFindings, changes_for, changes_of
from ntkit.jobs.audit._labels import (
    LabelAudits,
    attributes_of,
    kept_in_memory,
    rare_notes,
    why_not,
)
from ntkit.jobs.audit._result import Audit
from ntkit.metrics import class_order, order_notes
from ntkit.model import FrozenModel, loaded
from ntkit.pages.audit_page import Unlabelled
from ntkit.samples import (
    Inputs,
    Match,
    Metadata,
    copies_in,
    copy_note,
    first_rows,
    named_by_column,
    named_labels,
    read,
    without_copies,
)
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
    if model.may_be_regressions:
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
    unknown = [kind for kind in feature_sets or () if kind not in FEATURE_SETS]
    if unknown or isinstance(feature_sets, str) or (feature_sets is not None and not feature_sets):
        raise InputError(
            f"feature_sets must be some of {', '.join(FEATURE_SETS)}. Got "
            f"{unknown[0] if unknown else feature_sets!r}."
        )
    if not 0 < alpha <= 1:
        raise InputError(f"alpha must be above 0 and at most 1. Got {alpha!r}.")
    model, most = loaded(model, label=label, any_scores=True), changes or 0
    if model.scores is not None and (cross_fit or "embedding" in (feature_sets or ())):
        raise InputError(
            "The model has no linear last layer, so it has no embedding to test or to cross-fit a "
            "head on. Omit --cross-fit (cross_fit=True) and the feature set 'embedding'."
        )
    named = model.classes_source == "given"  # by a person, in this order
    every, notes = model.label is None and bool(model.label_names), list[str]()
    how: dict[str, Any] = {"labels": "optional", "preprocessing": preprocessing}
    how |= {"every_label": True, "keep_unknown": True}
    samples, matched, has = read(data, model, **how), None, None
    samples = samples if key is None else named_by_column(samples, key)
    if samples.y is None and every:
        raise InputError(
            f"{samples.called()}: there are no labels. Add a column of 0 and 1 for each label of "
            f"the model: {listed(np.asarray(model.label_names), 12)}. Or name one label with "
            "--label NAME (label=), to test which changes of the input flip its predictions."
        )
    (once,) = without_copies([samples], [model], verbose=verbose)
    if samples.y is not None:  # copies, and samples of unknown label, may have a row
        matched = Metadata.of(metadata, [samples], key)
        matched = matched and matched.without_copies(once)
    samples = once.samples
    if samples.y is not None:
        n = len(samples)
        if model.label_names:
            samples, matched, has = _with_a_known_label(model, samples, matched)
    if samples.y is None:
        of_labelled = {
            "cross_fit": cross_fit,
            "unlabelled": unlabelled is not None,
            "metadata": metadata is not None,
            "feature_sets": feature_sets is not None,
        }
        _check_unlabelled(model, samples, most, [name for name, v in of_labelled.items() if v])
    if every:
        samples.check_made_with(model)
    else:
        match = _matched(model, samples, cross_fit)
        model, samples = match.model, match.samples
        notes = [*match.notes]
    if most and model.scores is not None and model.scores.output is None:
        notes.append("ntkit changed no inputs, because it compares scores, and the model has none.")
        most = 0
    own = model if samples.embedded else model.with_rounded_scores()
    notes += filter(None, [own.rounding_note(), "" if samples.embedded else own.batch_note])
    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "verbose": verbose}
    embedder = OnnxEmbedder(model, **options)
    decider = embedder if own is model else OnnxEmbedder(own, **options)

    def changed(findings: Sequence[Finding]) -> ChangeFindings | None:
        return changes_of(
            decider,
            own.head,
            samples,
            changes_for(samples, findings) if most else (),
            scores,
            seed=random_state,
            most=most,
            alpha=alpha,
            verbose=verbose,
        )

    if samples.y is None:
        samples, embedded = _run(decider, samples, ["word"], device)
        scores = embedded.Z
        result = _of_changes(samples, embedded, own, changed(()), alpha)
        return replace(result, notes=(*samples.reading_notes(), *notes, *result.notes))
    samples, embedded = _run(embedder, samples, feature_sets, device, checked=own is model)
    scores = embedded.Z if own is model else decider.transform(samples.X)
    extra = None
    if unlabelled is not None:
        other, called = read(unlabelled, model, **how), "unlabelled"
        if not samples.coarse:
            other = without_copies([other], [model], name=called, verbose=verbose)[0].samples
        other.check_made_with(model, "The samples without labels")
        other = other.with_columns_as_in(samples)
        check_one_scale([samples, other])
        extra = _run(embedder, other, feature_sets, device, checked=own is model)
        notes += [*other.notes, *other.left_out_notes(called)]
    shared: dict[str, Any] = {
        "feature_sets": feature_sets,
        "alpha": alpha,
        "random_state": random_state,
    }
    if has is not None:
        if every and most:
            notes.append(_NO_CHANGES)
        audits = _of_labels(
            model,
            samples,
            embedded,
            has,
            n,
            metadata=matched,
            cross_fit=cross_fit,
            trust_inputs=trust_inputs,
            extra=extra,
            notes=notes,
            **shared,
        )
        if every:
            return audits
        result = audits[str(model.label)]
    else:
        pred = order = None
        if not cross_fit and own.head is not None:
            pred = own.head.predict(scores)
            sure, classes = trust_inputs or named, own.head.classes
            order = class_order(samples.y, pred, classes)
            said = order_notes(samples.y, pred, classes, strict=not sure, go_on=TO_GO_ON)
            problem = None if order else like_a_guess(samples.y, pred, len(classes))
            notes += said + guess_notes(problem, samples, trust_inputs, model)
        result = audit_read(samples, embedded, model, pred, metadata=matched, **shared)
        fits = None if order is None else tuple(order.classes.tolist())
        result = replace(_with_unlabelled(result, extra), class_order=fits)
    flips = changed(result.findings)
    of_flips = [flips.note(), *range_notes(samples)] if flips else ()
    notes = [*samples.reading_notes(), *notes, *result.notes, *of_flips]
    return replace(result, changes=flips, notes=tuple(dict.fromkeys(notes)))


def _with_unlabelled(result: Audit, extra: tuple[Samples, Embedded] | None) -> Audit:
    """The audit with the attributes of its findings in samples without labels, if there are any."""
    if extra is None:
        return result
    names = [finding.name for finding in result.findings]
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


def _problem_of_label(label: str, has: Array, given: Array) -> str | None:
    """Sentence on a model that only guesses a label."""
    never = never_changes(label, has, given)
    return never or like_a_guess(named_labels(has, label), named_labels(given, label), 2)


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


def _of_labels(
    model: FrozenModel,
    samples: Samples,
    embedded: Embedded,
    has: Mapping[str, Array],
    n_read: int,
    *,
    metadata: Metadata | None,
    feature_sets: Sequence[str] | None,
    cross_fit: bool,
    trust_inputs: bool,
    extra: tuple[Samples, Embedded] | None,
    alpha: float,
    random_state: int,
    notes: Sequence[str],
) -> LabelAudits:
    """Audit one label or all of them, from one pass; each has the samples where it is known."""
    sets, more = tested_feature_sets(samples, embedded, metadata, feature_sets, random_state)
    sets, shared = (
        [kept_in_memory(each) for each in sets],
        [*samples.reading_notes(), *notes, *more],
    )
    copies = copies_in(np.stack([*has.values()], axis=1), [*has])
    opposites = dict[str, str]()
    counts, reasons, of_label = (
        dict[str, tuple[int, int]](),
        dict[str, str](),
        dict[str, list[str]](),
    )
    problems = dict[str, tuple[list[FeatureSet], AuditedPredictions]]()
    for name, values in has.items():
        known = values >= 0
        rows = None if known.all() else np.flatnonzero(known)
        mine = values[known] == 1
        counts[name] = n, n_with = len(mine), int(mine.sum())
        said = [copy_note(*pair) for pair in copies if pair[0] == name]
        said += rare_notes({name: counts[name]})
        if n < n_read:
            said.append(f"Left out {n_read - n} of {n_read} samples: their label is unknown.")
        reason = why_not(n, n_with)
        if reason is None and cross_fit:
            Z, y = embedded.Z if rows is None else embedded.Z[rows], named_labels(mine, name)
            try:
                predictions = cross_fitted(Z, y, np.ones(n), random_state)
            except InputError as error:
                reason = str(error)
        elif reason is None:
            head = model.of_label(name).head
            assert head is not None  # else the model has no labels
            given = head.logits(embedded.Z).argmax(axis=1)[known] == 1
            opposite = order_notes(mine, given, [False, True], strict=False, label=name)
            opposites |= {name: opposite[0]} if opposite else {}
            problem = None if opposite else _problem_of_label(name, mine, given)
            said += opposite
            said += guess_notes(problem, samples, trust_inputs or model.label is None, model)
            reason = None if trust_inputs or problem is None else problem.partition(". ")[0]
            predictions = _of_two(name, mine, given)
        if reason is None:
            names = model.label_names
            problems[name] = attributes_of(sets, name, names, mine, rows), predictions
            of_label[name] = said
        elif model.label is None:
            reasons[name] = f"{reason[:1].lower()}{reason[1:]}"
        else:
            raise InputError(
                f"ntkit cannot audit the label {name!r}: {reason}. Add samples with it and without "
                "it."
            )
    if opposites and not trust_inputs:
        first, *rest = opposites
        also = f" So it is with {listed(rest)}." * bool(rest)
        raise InputError(f"{opposites[first]}{also} {TO_GO_ON}")
    findings = find_findings([*problems.values()], alpha) if problems else []
    looks = samples.looks()
    audits = dict[str, Audit]()
    for (name, (mine_sets, predictions)), found in zip(problems.items(), findings, strict=True):
        result = Audit(
            predictions,
            tuple(mine_sets),
            found,
            alpha,
            cross_fitted=cross_fit,
            inputs=_looks(samples, looks, metadata, name, has[name]),
            notes=tuple(dict.fromkeys([*shared, *of_label[name]])),
            model=model.sha256(),
            layers=tuple(embedded.layers),
            label=name,
            n_labels=len(problems),
            class_order=(name, f"not {name}") if name in opposites else None,
        )
        audits[name] = _with_unlabelled(result, extra)
    about = [*shared, *opposites.values(), *rare_notes({name: counts[name] for name in audits})]
    about += [copy_note(*pair) for pair in copies[:_MOST_COPIES]]
    return LabelAudits(audits, reasons, counts, alpha, tuple(dict.fromkeys(about)))


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
        notes=(changes.note(), *range_notes(samples)),
        model=model.sha256(),
        changes=changes,
        labelled=False,
        label=model.label,
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
    outcome: dict[str, Any] = {"embeddings": embedded.Z} if pred is None else {"pred": pred}
    result = audit(
        samples.y,
        **outcome,
        feature_sets=sets,
        trust_inputs=True,  # the callers have checked the order of the classes
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
        label=model.label,
        repairable=model.scores is None,
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
    embedder: OnnxEmbedder,
    samples: Samples,
    feature_sets: Sequence[str] | None,
    device: str,
    *,
    checked: bool = True,
) -> tuple[Samples, Embedded]:
    """One pass over the samples; the embeddings of a store are used as they are."""
    if samples.embedded:
        return samples, Embedded(samples.X, {}, "store")
    samples = samples.measured(AuditedImages)
    model = embedder.frozen_model
    if model.head is not None and model.scores is None and checked:
        check_head(embedder, first_rows(samples.X, _CHECKED_ON), device=device)
    most = 0 if feature_sets is not None and "layer" not in feature_sets else None
    embedded = embedded_with_layers(embedder, samples.X, most=most)
    samples.check_lengths()
    return samples, embedded
