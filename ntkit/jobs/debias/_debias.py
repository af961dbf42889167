"""The main job as one function: look, ask, repair, prove."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._output import check_folder, refuse_nested
from ntkit.attributes import Answer, Answers, Labels, joined_answers, read_answers, write_answers
from ntkit.attributes.findings import Finding
from ntkit.changes import changes_given
from ntkit.estimators import AutoDebiasClassifier, head_of
from ntkit.exceptions import InputError
from ntkit.extraction import (
    MOST_LAYERS,
    Embedded,
    ImagePreprocessing,
    Samples,
    TextPreprocessing,
    layer_names,
)
from ntkit.jobs.audit import (
    AttributeReader,
    Audit,
    ModelPass,
    audit_read,
    budget_for,
    change_for,
    with_retraining,
)
from ntkit.jobs.audit import changes_of as changes_of_samples
from ntkit.jobs.debias._accuracy_cost import MAX_COST
from ntkit.jobs.debias._candidates import CANDIDATES, DEFAULT_SCORE, LabelledEmbeddings, asked_for
from ntkit.jobs.debias._comparison import Choice, Comparison, chosen_among
from ntkit.jobs.debias._findings_result import FindingsResult, open_findings, questions_of
from ntkit.jobs.debias._flips import ByChange, FlipRate, flip_rates, not_relied_on, reliance_on
from ntkit.jobs.debias._inputs import Prepared, parity_notes, prepared, read_sets
from ntkit.jobs.debias._invariance import (
    Invariance,
    copies_made,
    judging_attributes,
    with_changes,
    with_offered,
)
from ntkit.jobs.debias._job import ANSWERS_FILE, Folder, Job, Order, write_findings
from ntkit.jobs.debias._lost_groups import GroupCheck, checked_groups
from ntkit.jobs.debias._named_attributes import (
    CompletedGroups,
    NamedAttributes,
    PartlyKnown,
    answers_from,
    named_attributes,
    partly_known,
)
from ntkit.jobs.debias._result import DebiasResult
from ntkit.jobs.label import feature_sets_of
from ntkit.jobs.report import arguments
from ntkit.model import FrozenModel, loaded
from ntkit.samples import Metadata, named_like_a_prediction
from ntkit.study import Rows

_BUDGET, _SECOND = 1500, 100  # copies that questions may cost, and of each of the strongest
_EXACT = {"word", "column", "metadata"}
Ask = Callable[[Audit, tuple[Finding, ...]], Iterable[Answer]]


@documented
def debias(
    model: FrozenModel | str | os.PathLike[str],
    train: Any,
    validation: Any,
    *,
    test: Any = None,
    out: str | os.PathLike[str] | None = None,
    deploy: str | os.PathLike[str] | None = None,
    method: Any = None,
    new_head: bool = False,
    max_cost: float = MAX_COST,
    validation_balanced: bool | None = None,
    spurious: Any = None,
    answers: Any = None,
    ask: Ask | None = None,
    invariant: Any = None,
    attribute: Any = None,
    groups: Any = None,
    metadata: Any = None,
    id_column: str | None = None,
    match_names: bool = False,
    even_if_worse: bool = False,
    keep_original: bool = False,
    resume: str | os.PathLike[str] | None = None,
    C: float | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    recorded: Any = None,
    trust_inputs: bool = False,
    device: str = "auto",
    batch_size: int | str | None = None,
    n_random: int = 5,
    random_state: int = 0,
    force: bool = False,
    verbose: bool = False,
) -> DebiasResult | FindingsResult:
    """Debias a frozen classifier.

    ntkit acts on what a person said, never on a guess: errors on biased data do not tell a
    shortcut from a hard sample, and a head that is retrained on them can learn the shortcut.

    *Look, ask.* Without ``spurious``, ``answers``, ``attribute``, ``groups`` and ``method`` the
    model is audited on the validation set, and so is what class-balanced retraining would put in
    its place. ``ask`` may then ask a person. Without a yes no model is written.

    *Repair.* The groups class × named attribute are balanced. An attribute that is known of some
    samples only is inferred for the others, from the embedding, layers, words or columns.

    *Prove.* On validation samples that neither head has seen, the new head is interpolated with the
    original so far that it costs at most ``max_cost``, and written only if it is better. After an
    explicit ``method`` a group that surely loses more keeps the original. The summary names the
    groups that lose accuracy, and the attributes on which the new head relies more. The model
    written is verified in ONNX Runtime.

    Embeddings are standardised on the training set for fitting, and the scale is folded back into
    the head. (``NeuronTuneClassifier`` on its own fits embeddings as they are, with C = 1.)

    Parameters
    ----------
    model : FrozenModel or path-like
        The classifier.
    train, validation, test : path-like, Samples, or (X, y) or (X, y, groups)
        Labelled samples: paths are read by :func:`ntkit.extraction.read_samples`. The validation
        set must not have trained the model. The test set is for the table; without one, the
        validation set serves, and the table says so.
    out : path-like, optional
        Folder to write: ``debiased.onnx``, ``report.html`` for people, ``README.md`` (a model
        card), ``table.md``, ``result.json``, and ``heads.npz`` with the heads of all candidates,
        from which :func:`~ntkit.jobs.debias.write_candidate` writes another one.
    deploy : path-like, optional
        Another folder to write, if a new head is written, which a service takes as it is:
        ``model.onnx``, what its inputs need (tokenizer, ``preprocessor_config.json``),
        ``labels.json`` (the classes in the order of the scores), ``predict.py`` (ONNX Runtime
        without ntkit, run and compared first), ``README.md`` and ``SHA256SUMS``.
    method : str or classifier, optional
        An explicit order, which head is written: the name of a candidate, as the table shows it
        ("auto" is :class:`~ntkit.estimators.AutoDebiasClassifier`, "neurontune" the paper's
        method), or one of "afr", "jtt", "self", "evals", "leace", "leia"; a label-free score
        (:data:`~ntkit.metrics.LABEL_FREE_SCORES`), which chooses among the candidates; or any
        classifier that :func:`~ntkit.estimators.head_of` reads, such as ``LogisticRegression()``.
        Its ``head``, if it has one, is set to the original head; its ``C`` is for standardised
        embeddings.
    new_head : bool
        Give the model a new head for labels that are not its own classes. The original head is
        then an ERM head fitted on the training set.
    max_cost : float, default=0.05
        Largest share of average accuracy on validation samples that may be lost, by its upper 95 %
        bound; of the mean accuracy of the groups, if you named attributes.
    validation_balanced : bool, optional
        Whether the validation set is better balanced over the groups than the training set; by
        default "auto" tests it.
    spurious : str, or sequence of str or of sequences of sequences of str, optional
        Attributes that a right answer must not depend on, by the names of an audit: ``word:film``,
        ``column:age>=40``, ``metadata:site=B``, ``image:brightness high``, ``layer:relu_2 #3 mean
        high`` (the highest quarter of the training and validation samples); of a whole column,
        ``metadata:site``, each value is a group. ``word:film|word:movie`` sets one value against
        the other (samples with neither keep their share); names for each value may be listed:
        ``[[["word:film", "word:films"], ["word:movie"]]]``. They are read from the raw inputs and
        ``metadata``. Balancing over class × attributes joins the candidates, and is chosen unless
        ``method`` says otherwise; so it is with ``answers``, ``attribute`` and ``groups``.
    answers : path-like, Answers, or sequence of these, optional
        ``answers.json`` of the page of an audit, or :meth:`ntkit.Audit.answers`: attributes that
        were answered *spurious* are taken as ``spurious``. Attributes of layers are cut as on the
        samples of the audit. Several files are the answers of several people; a yes and a no on
        one finding are refused. Or labels of single samples, as ``attribute``: a table, or
        ``answers.json`` of :func:`ntkit.jobs.label.label_samples`, which finds them by contents.
    ask : callable, optional
        Called with the audit and the open findings, once embeddings, findings and page are on
        disk; it yields an :class:`~ntkit.jobs.audit.Answer` for each that a person gave one on.
    invariant : str, Change, or sequence of these, optional
        Changes of the raw samples after which the right answer stays the same, as
        :func:`ntkit.changes.change_named` reads them: ``image:border``, ``word:film|word:movie``,
        ``column:sex``, ``folder:PATH``. Copies of all training and validation samples are embedded.
        They make candidates: with the samples or in their place, with a penalty on what a
        change does to the logits, and with the neurons suppressed that it moves most. It is a
        claim about the world that only a person can make: a change of the subject itself ruins a
        model. A word or a
        column that the model takes, in ``spurious`` or answered *spurious*, offers its change by
        itself; a part of images only if you name it here. The model must surely rely on the
        change, by the predictions that flip; else it stays as it is.
    attribute : array-like of shape (N + M,), path-like, DataFrame or mapping, optional
        An attribute that a right answer must not depend on, of the N training and then the M
        validation samples: -1, None or NaN (in a file an empty cell, ? or -1) where it is not
        known. A table names samples by ``id_column``, ``file_name`` or ``id``, or has a row for
        each; its column is called "attribute" or is the only other one.
    groups : array-like of shape (N + M,), path-like, DataFrame or mapping, optional
        The same with groups, as a rule one for each class and value of an attribute; the column of
        a table is called "group" or is the only other one.
    metadata : path-like, DataFrame or mapping of str to array-like, optional
        Further columns, matched by their column of names; without one, row by row, the training
        samples first. A name that two samples have is refused. The columns of the samples' own
        tables and the ``metadata.csv`` of image folders are read as well.
    id_column : str, optional
        That column; by default ``file_name`` for images and ``id`` for tables.
    match_names : bool
        Match labels by name where no content matches: the samples were saved again since.
    even_if_worse : bool
        Write the head chosen, whole, even if it is not better.
    keep_original : bool
        If no new model is written, put the unchanged original into ``out`` under its name.
    resume : path-like, optional
        Folder of an earlier run on the same samples, which may be ``out``: its embeddings are
        taken if model and contents are the same, and its ``answers.json`` is read.
    C : float, optional
        Inverse penalty of all candidates but "auto" on standardised embeddings, in scikit-learn's
        meaning. By default each gets the penalty that "auto" would choose for it.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        For image folders and tables of texts; by default as a ``preprocessor_config.json``,
        timm's ``config.json`` or a ``tokenizer.json`` beside the model says. Without such a file
        images get the model's input size, with pixels scaled to 0 … 1 (0 … 255 for an input of
        unsigned integers); a note says what was taken.
    recorded : path-like or mapping of str to array-like, optional
        Outputs of the service that runs the model, as :func:`ntkit.jobs.verify.check_parity` takes
        them, for files of any of these sets, rows of the validation set, or inputs that it holds
        itself. Embeddings that are not the service's are refused, with the likely cause.
    trust_inputs : bool
        Go on, with a note, if the original model is no better than guessing: never right on a
        class of the validation set, or at chance on both sets. By default that is an error, for
        wrong preprocessing looks like a model to repair.
    {job.device}
    n_random : int
        Random masks of the same size.
    random_state : int
        Seed of folds and random masks.
    force : bool
        Replace an ``out`` that exists: files that ntkit wrote there and nobody changed since. A
        folder that holds anything else, or what is read here, is refused.
    {verbose}

    Returns
    -------
    DebiasResult or FindingsResult
        The second if nobody said what to do. Both have ``state`` ("written", "kept" or
        "open"), ``written``, ``model``, ``headline()``, ``summary()`` and ``as_dict()``.

    Raises
    ------
    {job.InputError}
    DeployError
        If the folder for a service cannot be written, or its program does not answer as ntkit
        does; ``out`` is complete by then, and the error has the ``result``.
    VerificationError
        If the head found is not what the model computes with, the file written would not compute
        the new one, or the service records other outputs.

    Examples
    --------
    >>> from ntkit import debias
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> d = load_marked_digits()
    >>> sets = (d.X_train, d.y_train), (d.X_validation, d.y_validation)
    >>> result = debias(marked_digits_model_path(), *sets, device="cpu")
    >>> result.state, result.open[0].name
    ('open', 'image:top left brightness above the median')
    >>> result = debias(
    ...     marked_digits_model_path(),
    ...     *sets,
    ...     test=(d.X_test, d.y_test, d.groups_test),
    ...     answers=result.audit.answers(result.open[0].name),
    ...     device="cpu",
    ... )
    >>> result.state, result.chosen.worst_group > result.candidates[0].worst_group + 0.2
    ('written', True)
    """
    auto = AutoDebiasClassifier(frozen_backbone=new_head, validation_balanced=validation_balanced)
    asked_for(auto, method, named=True, partly_known=True, by_change=True)  # it exists at all
    if not 0 <= max_cost <= 1:
        raise InputError(f"max_cost is a share of accuracy, from 0 to 1; got {max_cost}.")
    again = None if resume is None else Path(resume)
    order = Order(
        method=method,
        auto=auto,
        new_head=new_head,
        max_cost=max_cost,
        even_if_worse=even_if_worse,
        keep_original=keep_original,
        folder=Folder.of(out, again, force=force),
        deploy=None if deploy is None else check_folder(deploy, force=force),
        force=force,
        device=device,
        n_random=n_random,
        seed=random_state,
        verbose=verbose,
    )
    folder = order.folder
    if folder is not None and order.deploy is not None:
        refuse_nested(folder.path, order.deploy)
    findings_answers, labels = _answers_given(answers, again)
    model = loaded(model)
    by_name = {"train": train, "held-out": validation} | ({} if test is None else {"test": test})
    sets = read_sets(model, by_name, preprocessing)
    compared = parity_notes(model, sets, recorded, device)
    reader = AttributeReader([sets["train"], sets["held-out"]], metadata, id_column)
    partly = partly_known(
        reader,
        answers=labels,
        attribute=attribute,
        groups=groups,
        key=id_column,
        match_names=match_names,
    )
    given = changes_given(invariant)
    findings_answers = with_changes(findings_answers, given)
    named = named_attributes(spurious, findings_answers, model, reader.sets)
    every, (named, changes) = named, with_offered(named, given, reader)
    named.check(reader)
    _ = reader.user_metadata  # metadata that match no sample are refused before the work
    said = bool(named or changes)
    kinds = {"named": bool(named), "partly_known": partly is not None, "by_change": bool(changes)}
    asked_for(auto, method, **kinds)
    looks = method is None and not said and partly is None and not new_head
    earlier = layer_names(model, most=MOST_LAYERS) if looks or partly is not None else ()
    data = prepared(
        model,
        sets,
        folder=None if folder is None or folder.goes_on else folder.path,
        new_head=new_head,
        layers=tuple(dict.fromkeys((*named.layers, *earlier))),
        kept=again,
        device=device,
        batch_size=batch_size,
        force=force,
        verbose=verbose,
        trust_inputs=trust_inputs,
    )
    data = replace(data, notes=(*data.notes, *compared))
    reader.add_layers(data.pooled_layers)
    compare = partial(
        Comparison,
        data.Z["train"],
        data.Z["held-out"],
        head=None if new_head else data.model.head,
        C=C,
        select=method if order.by_score else DEFAULT_SCORE,
        seed=random_state,
    )
    if looks:
        result = _look(order, data, reader, compare(None), findings_answers, ask)
        named = named_attributes(None, result.answers, model, reader.sets)
        every, (named, changes) = named, with_offered(named, (), reader)
        if not (named or changes):
            return result
        named.check(reader)
        if folder is not None:  # it was written by now
            order = replace(order, folder=replace(folder, goes_on=True))
    known = None if partly is None else completed(partly, data, earlier, reader, random_state)
    Z_test = _with_groups(data.Z["test"], every, sets["test"]) if "test" in sets else None
    balanced = named.read(reader)
    invariance, judged_by = None, list(balanced)
    if changes:
        judging = judging_attributes(named.names, balanced, changes, reader)
        judged_by = [attribute for _, attribute in judging]
        invariance = copies_made(
            changes,
            sets,
            data.embedder,
            judging,
            seed=random_state,
            out=None if folder is None else folder.path,
            verbose=verbose,
        )
        data = replace(data, notes=(*data.notes, *invariance.notes))
    comparison = compare(
        Z_test, named=balanced, known=known, invariance=invariance, judged_by=judged_by
    )
    return _repair(order, data, reader, comparison, named)


def _repair(
    order: Order,
    data: Prepared,
    reader: AttributeReader,
    comparison: Comparison,
    named: NamedAttributes,
) -> DebiasResult:
    """Fit, choose, prove, and write what is better."""
    known = comparison.known
    invariance = comparison.invariance
    settings, name = asked_for(
        order.auto,
        order.method,
        named=bool(named),
        partly_known=known is not None,
        by_change=invariance is not None,
    )
    choice = chosen_among(
        comparison,
        settings,
        None if order.by_score else name,
        order.max_cost,
        order.n_random,
        order.verbose,
    )
    job = Job(order, data, choice)
    by_change = None
    if invariance is not None:
        by_change = told_by_change(data, choice, invariance, order)
    draft = job.draft(group_check(data, reader, choice), named, by_change)
    folder = order.folder
    if not draft.written and folder is None and order.deploy is None and not order.new_head:
        return draft
    result = job.write(draft)
    if folder is not None and named.answers.answers:
        write_answers(folder.path / ANSWERS_FILE, named.answers)
    if order.deploy is not None and result.verification is not None:
        job.deploy(result)
    return result


def told_by_change(
    data: Prepared, choice: Choice, invariance: Invariance, order: Order
) -> ByChange:
    """Which samples judged a repair by change, whether the small groups lose, and what flips."""
    comparison, decision = choice.comparison, choice.decision
    judge = comparison.judge
    reliance = reliance_on(
        invariance.changes,
        comparison.original,
        comparison.validation.Z,
        invariance.validation,
        order.seed,
    )
    # What a person named is balanced, and what it costs is told; a change alone must be relied on.
    judged, veto = comparison.judges_by_change(choice.clf), ""
    if judged and choice.setting.by_change:
        veto = comparison.veto(choice.name, decision.accuracy_cost.t)
        if not comparison.named:
            veto = not_relied_on(reliance) or veto
    flips = tuple[FlipRate, ...]()
    if (decision.helped and not veto) or order.even_if_worse:
        heads = (comparison.original, decision.head)
        flips = flip_rates(
            data.embedder,
            data.sets["held-out"],
            (comparison.on_raw_embeddings(heads[0]), comparison.on_raw_embeddings(heads[1])),
            data.Z["held-out"].Z,
            invariance.changes,
            seed=order.seed,
            verbose=order.verbose,
        )
    return ByChange(
        changes=tuple(change.name for change in invariance.changes),
        likeness=judge.likeness if judged else (),
        copies_alone=judged and judge.by_copies_alone,
        copies_judge=judged and judge.with_copies,
        flips=flips,
        reliance=reliance,
        veto=veto,
        candidates=choice.scores,
        judged=judged,
    )


def _with_groups(
    test: LabelledEmbeddings, named: NamedAttributes, samples: Samples
) -> LabelledEmbeddings:
    """The test set with groups class × what was named, where it has none and tells the names."""
    kinds = {name.partition(":")[0] for name in named.all_names}
    if test.groups is not None or not named or kinds - _EXACT:  # others are cut at quantiles
        return test
    try:
        first, *others = named.read(AttributeReader([samples]))
    except InputError:  # it lacks a column, a layer, or samples of one value
        return test
    return replace(test, groups=first.crossed(test.y, *others).labels)


def _answers_given(answers: Any, resume: Path | None) -> tuple[Answers, Labels | Path | None]:
    """Answers on findings, of all who gave some, and labels of samples, or a table of them."""
    is_one = answers is None or isinstance(answers, str | os.PathLike | Answers | Labels)
    each_given = [answers] if is_one else [*answers]
    everything = [answers_from(each) for each in each_given if each is not None]
    labels = [each for each in everything if not isinstance(each, Answers)]
    findings = [each for each in everything if isinstance(each, Answers)]
    where = next((each.where if isinstance(each, Labels) else each for each in labels), None)
    if labels and (findings or len(labels) > 1):
        raise InputError(
            f"{where} holds labels of samples, which are taken alone; give one file of them, or "
            "answers on findings."
        )
    kept = None if resume is None else resume / ANSWERS_FILE
    files = [Path(each.where).resolve() for each in findings if each.where]
    if kept is not None and kept.is_file() and kept.resolve() not in files:
        earlier = read_answers(kept)
        if labels and earlier.spurious:
            raise InputError(
                f"{kept} says what a shortcut is, and {where} holds labels, which are taken "
                "alone; move one of them away."
            )
        findings += [] if labels else [earlier]
    named = {each.where or f"answers[{i}]": each for i, each in enumerate(findings)}
    return joined_answers(named), labels[0] if labels else None


def _look(
    order: Order,
    data: Prepared,
    reader: AttributeReader,
    comparison: Comparison,
    answers: Answers,
    ask: Ask | None,
) -> FindingsResult:
    """Audit, write what was found, and ask about what nobody answered yet."""
    folder = order.folder
    audit = _changed(_audited(data, reader, comparison, order.seed), data, order)
    if answers.model not in (None, audit.model) and any(each.rules for each in answers.answers):
        raise InputError(
            "The answers are about layers of another model; answer on this one's page."
        )
    result = FindingsResult(
        model=data.model,
        audit=audit,
        answers=replace(answers, model=audit.model),
        path=None if folder is None else folder.path,
        notes=tuple(dict.fromkeys((*data.notes, *audit.notes))),
        kept_original=order.keep_original and folder is not None,
        resumable=arguments() is not None,
        train=next(iter(data.sets["train"].sources), None),
    )
    if folder is not None:
        with folder.opened() as place:
            data.keep(place, computed_only=folder.goes_on)
            write_findings(place, result)
        if answers.answers:
            write_answers(folder.path / ANSWERS_FILE, result.answers)
        folder = replace(folder, goes_on=True)
    for answer in ask(audit, open_findings(audit, answers)) if ask is not None else ():
        result = replace(result, answers=result.answers.with_answer(answer))
        if folder is not None:
            write_answers(folder.path / ANSWERS_FILE, result.answers)
    if folder is not None and result.answers.answers != answers.answers:
        with folder.opened() as place:
            write_findings(place, result, page=False)
    return result


def _audited(data: Prepared, reader: AttributeReader, comparison: Comparison, seed: int) -> Audit:
    """Audit the model on the validation set, and class-balanced retraining beside it."""
    samples, Z = data.sets["held-out"], data.Z["held-out"].Z
    if reader.user_metadata is None:  # that of an image folder, if there is any
        metadata = Metadata.of(None, [samples], None)
    else:
        first = len(data.sets["train"])
        columns = {
            name: np.asarray(values)[first:]
            for name, values in reader.user_metadata.columns.items()
            if not named_like_a_prediction(name)
        }
        metadata = Metadata(columns) if columns else None
    audit = audit_read(
        ModelPass(samples, Embedded(Z, data.layers["held-out"], "")),
        data.model,
        comparison.original.predict(comparison.validation.Z),
        beside=metadata,
        random_state=seed,
    )
    retrained, _ = comparison.fit(CANDIDATES["class-balanced"])
    return with_retraining(audit, head_of(retrained).predict(comparison.validation.Z))


def _changed(audit: Audit, data: Prepared, order: Order) -> Audit:
    """Change the samples as the questions suggest, so that a person sees what flips."""
    asked = [change_for(finding) for finding in questions_of(audit)]
    changes = {change.name: change for change in asked if change is not None}
    found = changes_of_samples(
        data.embedder,
        data.model.head,
        data.sets["held-out"],
        [*changes.values()],
        data.Z["held-out"].Z,
        seed=order.seed,
        second=_SECOND,
        budget=min(_BUDGET, budget_for(len(data.sets["held-out"]))),
    )
    notes = () if found is None else (found.note(),)
    return replace(audit, changes=found, notes=(*audit.notes, *notes))


def group_check(data: Prepared, reader: AttributeReader, choice: Choice) -> GroupCheck:
    """Groups of the validation set that lose accuracy, of all attributes that can be read."""
    comparison, t = choice.comparison, choice.decision.accuracy_cost.t
    y = np.concatenate([comparison.train.y, comparison.validation.y])
    train_predictions = comparison.train_predictions(choice.setting, choice.clf, t)
    known = comparison.known
    return checked_groups(
        reader.feature_sets(data.image_files),
        comparison.study.classes,
        np.searchsorted(comparison.study.classes, y),
        comparison.right(choice.name, train_predictions, t),
        np.arange(len(y)) < len(comparison.train.y),
        [*comparison.named, *([] if known is None else [known.attribute])],
    )


def completed(
    partly: PartlyKnown,
    data: Prepared,
    earlier: Sequence[str],
    reader: AttributeReader,
    seed: int,
) -> CompletedGroups:
    """Groups of all training and held-out samples, from those of which they are known."""
    parts = [data.Z["train"], data.Z["held-out"]]
    rows = [Rows(part.Z, np.zeros(len(part.y), dtype=int), np.ones(len(part.y))) for part in parts]
    Z = rows[0].and_then(rows[1])
    Z = Z if isinstance(Z.X, np.ndarray) else Z.take(np.arange(len(Z.weight)))  # a mapped copy
    pooled = data.pooled_layers
    layers = {name: pooled[name] for name in earlier if name in pooled}
    feature_sets = feature_sets_of(Z.X, layers, texts=reader.texts, inputs=reader.numbers)
    return partly.completed((parts[0].y, parts[1].y), feature_sets, seed)
