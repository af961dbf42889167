"""The repair as one function: find, ask, repair, verify."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._key import Key, written_otherwise
from ntkit.attributes import Attribute
from ntkit.attributes.answers import (
    Answer,
    Answers,
    Labels,
    joined_answers,
    read_answers,
    write_answers,
)
from ntkit.attributes.findings import Finding
from ntkit.changes.change import Change, change_named, changes_given, file_notes, write_files
from ntkit.changes.images import range_notes
from ntkit.estimators import head_of
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.extraction.embedder import MOST_LAYERS, Embedded, layer_names
from ntkit.jobs.attribute_reader import AttributeReader, check_one_scale
from ntkit.jobs.audit import Audit
from ntkit.jobs.audit.changes import budget_for, change_for
from ntkit.jobs.audit.changes import changes_of as changes_of_samples
from ntkit.jobs.audit.from_model import audit_read
from ntkit.jobs.audit.from_predictions import with_retraining
from ntkit.jobs.command_line import arguments
from ntkit.jobs.debias._candidates import (
    CANDIDATES,
    DEFAULT_SCORE,
    READ,
    FittedOn,
    asked_for,
)
from ntkit.jobs.debias._choice import Choice, choose
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._complaints import ComplaintsResult, fix_complaints, refuse_with_complaints
from ntkit.jobs.debias._flips import results_by_change
from ntkit.jobs.debias._inputs import (
    POOLED,
    Prepared,
    check_groups,
    parity_notes,
    prepared,
    read_sets,
)
from ntkit.jobs.debias._invariance import (
    Invariance,
    copies_made,
    gather_named,
    read_attribute,
    with_judging,
)
from ntkit.jobs.debias._job import deploy, drafted, write, write_findings
from ntkit.jobs.debias._lost_groups import GroupCheck, checked_groups
from ntkit.jobs.debias._named_attributes import (
    CompletedGroups,
    NamedAttributes,
    PartlyKnown,
    answers_from,
    partly_known,
)
from ntkit.jobs.debias._plan import Judges, Plan
from ntkit.jobs.debias._result import DebiasResult, FindingsResult, open_findings, questions_of
from ntkit.jobs.debias._settings import ANSWERS_FILE, DebiasSettings, Order, with_former_keywords
from ntkit.jobs.debias._write_candidate import check_model, other_labels_note, other_sets_note
from ntkit.jobs.label import feature_sets_of
from ntkit.jobs.matching import DataLike
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import loaded
from ntkit.samples.columns import named_like_a_prediction
from ntkit.samples.copies import Distinct, Places
from ntkit.samples.join import Metadata, named_by_column
from ntkit.study import Rows, Study, stratified_folds

_BUDGET, _SECOND = 1500, 100  # changed copies in all, and of each of the strongest changes
Ask = Callable[[Audit, tuple[Finding, ...]], Iterable[Answer]]


@with_former_keywords
@documented
def debias(
    model: FrozenModel | str | os.PathLike[str],
    train: DataLike,
    validation: DataLike | None = None,
    *,
    test: DataLike | None = None,
    keep: Any = None,
    spurious: Any = None,
    invariant: Any = None,
    answers: Any = None,
    attribute: Any = None,
    groups: Any = None,
    metadata: Any = None,
    ask: Ask | None = None,
    method: Any = None,
    max_cost: float | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    force: bool = False,
    settings: DebiasSettings | None = None,
) -> DebiasResult | FindingsResult | ComplaintsResult:
    """Repair shortcuts of a classifier by retraining its last layer.

    ntkit needs a person's decision: errors on biased data do not distinguish a shortcut from a hard
    sample, and a head retrained on the errors can learn the shortcut.

    *Find and ask.* Without ``spurious``, ``answers``, ``attribute``, ``groups`` and ``method``,
    ntkit audits the model on the validation set. It also audits a class-balanced retrained head.
    ``ask`` can then ask a person about the findings. Without a confirmed finding, ntkit writes no
    model.

    *Repair.* ntkit retrains the head with balanced groups class × attribute. If the attribute is
    known for some samples only, ntkit infers it for the others from the embedding, layers, words,
    columns, or what readers of changed copies tell (``invariant``).

    *Verify.* On the validation set, ntkit interpolates between the original and the new head, up to
    an accuracy cost of ``max_cost``. It writes the result only if it is better than the original
    by the groups of what was named (:class:`~ntkit.DebiasResult`, ``outcome``), on the test set if
    there is one. It also keeps the original if another group loses significantly more. The summary
    names groups that lose accuracy, and attributes that the new head relies on more. ntkit
    checks the written model in ONNX Runtime.

    ntkit standardises embeddings on the training set and folds the scale back into the head.
    (``NeuronTuneClassifier`` alone fits unscaled embeddings with C = 1.)

    Parameters
    ----------
    model : FrozenModel or path-like
        The classifier. Of a model that gives every sample several labels, ``FrozenModel.load(PATH,
        label=NAME)``: ``y`` is then 0 or 1 for this label, NaN if unknown, or has a column for each
        label of the model. In a table or ``metadata.csv`` it is the column of this name. All other
        labels stay as they are, to the bit.
    train, validation, test : path-like, Samples, or (X, y) or (X, y, groups)
        Labelled samples. :func:`ntkit.extraction.read_samples` reads paths. The model must not be
        trained on the validation set. The test set fits and chooses nothing; it decides whether the
        chosen head is better. Without one, validation samples decide, cross-fitted. Without
        ``validation``, the first set is a single validation set: ntkit fits, chooses and judges by
        folds of it, and the model must not be trained on it.
    keep : path-like, Samples or array-like, optional
        Unlabelled samples whose answers should stay: the traffic of the model. ``train`` then holds
        complaints: at least five samples that the model gets wrong, with their right labels. ntkit
        moves the head towards them. It writes the result if they differ from traffic with the same
        logits, and the head fixes unseen ones. With ``invariant``, ``train`` holds samples that the
        model gets right, and their changed copies are the complaints: they get the answers of their
        originals, and traffic keeps its probabilities. No other set, answer or method can be
        combined with it.
    spurious : str, or sequence of str or of sequences of sequences of str, optional
        Attributes that predictions must not depend on, by their names in an audit: ``word:film``,
        ``column:age>=40``, ``metadata:site=B``, ``image:brightness high``, ``layer:relu_2 #3 mean
        high`` (the highest quarter of the samples, or those above a gap). For a whole column,
        such as ``metadata:site``, each value makes groups. ``word:film|word:movie`` contrasts two
        values (samples with neither keep their weight). Each value can have several names:
        ``[[["word:film", "word:films"], ["word:movie"]]]``. ntkit reads attributes from the raw
        inputs and ``metadata``. It adds a candidate balanced over class × attributes, and chooses
        it unless you pass ``method``. The same holds for ``answers``, ``attribute`` and ``groups``.
        A word, or a column that the model takes, is changed as well, as with ``invariant``. Then
        the best candidate by changed copies is chosen.
    invariant : str, Change, or sequence of these, optional
        Changes of the raw samples that do not change the true class, named as in
        :func:`ntkit.changes.change_named`: ``image:border``, ``word:film|word:movie``,
        ``column:sex``, ``folder:PATH``. ntkit embeds copies of all training and validation samples.
        It adds candidates that train on the copies, that penalise the effect of the change on the
        logits, and that suppress the neurons the change moves most. Only a person can know that a
        change keeps the class; a change of the subject itself ruins a model. A part of images in
        ``spurious`` does not add its change, but the result names it. Of a change that takes a part
        of another sample, the copies also tell groups that are balanced. ntkit keeps the original
        unless the change flips significantly more of its predictions than a control.
    answers : path-like, Answers, or sequence of these, optional
        ``answers.json`` of an audit's page, or :meth:`ntkit.Audit.answers`: confirmed findings
        count as ``spurious``. Attributes of layers keep the thresholds of the audit. Several files
        hold the answers of several people; a yes and a no on one finding raise an error. Or one
        file of labels of samples, as for ``attribute``: a table, or ``answers.json`` of
        :func:`ntkit.jobs.label.label_samples`, whose labels ntkit matches by content.
    attribute : array-like of shape (N + M,), path-like, DataFrame or mapping, optional
        An attribute that predictions must not depend on, for the N training samples and then the M
        validation samples. Unknown values are -1, None or NaN; in a file an empty cell, ? or -1. A
        table names samples by ``id_column``, ``file_name`` or ``id``, or has one row per sample.
        Its value column is "attribute" or the only other column.
    groups : array-like of shape (N + M,), path-like, DataFrame or mapping, optional
        Groups in the same form. If a group has several classes, groups are class × group. The
        column of a table is "group" or the only other column.
    metadata : path-like, DataFrame or mapping of str to array-like, optional
        Further columns. ntkit matches them by a column of names, or row by row with the training
        samples first. A name of two samples raises an error. ntkit also reads the columns of the
        samples' tables and the ``metadata.csv`` of image folders.
    ask : callable, optional
        Function of the audit and the open findings. ntkit calls it when embeddings, findings and
        page are on disk. It yields an ``Answer`` for each answered finding. If ``spurious`` or
        ``answers`` name properties of images, it gets no findings, and ``audit.changes`` holds
        their changes. It yields ``Answer.on_change(NAME, "invariant")`` for a change that keeps
        the class.
    method : str or classifier, optional
        The head to write. One of: the name of a candidate in the table ("auto" is
        :class:`~ntkit.estimators.AutoDebiasClassifier`, "neurontune" has NeuronTune's rule as
        described); "afr", "jtt", "self", "evals", "leace" or "leia"; a label-free score that
        chooses among the candidates (:data:`~ntkit.scorers.LABEL_FREE_SCORES`); or any classifier
        that :func:`~ntkit.estimators.head_of` reads, such as ``LogisticRegression()``. ntkit sets
        the classifier's ``head`` parameter, if it has one, to the original head. ``C`` applies to
        standardised embeddings.
    max_cost : float, optional
        Largest share of the traffic whose answers may change with ``keep``, by default 0.02. Else,
        by default 0.05, the largest accuracy cost: loss of average accuracy on validation samples,
        by its upper 95 % bound. If you name attributes, it bounds the loss of the groups' mean
        where shares of the new head are chosen, and the sure loss of groups that they misled.
    out : path-like, optional
        Output folder: ``debiased.onnx``, ``repair-limits.toml``, ``report.html``, ``README.md`` (a
        model card), ``table.md``, ``result.json`` and ``heads.npz``. ``heads.npz`` holds the heads
        of all candidates, for ``ntkit debias --from``.
    {run.device}
    force : bool
        Replace files in ``out`` that ntkit wrote and nobody has changed. A folder with other files,
        or with inputs of this run, raises an error.
    settings : DebiasSettings, optional
        What few callers set, such as ``DebiasSettings(interpolation=0.6)``.

    Returns
    -------
    DebiasResult, FindingsResult or ComplaintsResult
        FindingsResult if a person has to decide first, ComplaintsResult with ``keep``. All have
        ``state`` ("written", "kept" or "open"), ``written``, ``model``, ``headline()``,
        ``summary()`` and ``as_dict()``.

    Raises
    ------
    {job.InputError}
    DeployError
        If the folder for a service cannot be written, or its program predicts differently from
        ntkit. ``out`` is complete then, and the error holds the ``result``.
    VerificationError
        If ntkit's head does not reproduce the model, the written file does not compute the new
        head, or the service's outputs differ.

    Examples
    --------
    >>> from ntkit import debias
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> d = load_marked_digits()
    >>> sets = (d.X_train, d.y_train), (d.X_validation, d.y_validation)
    >>> result = debias(marked_digits_model_path(), *sets, device="cpu")
    >>> result.state, result.open[0].name
    ('open', 'image:row 2 column 2 of 8 brightness high')
    >>> yes = result.audit.answers(result.open[0].name)
    >>> result = debias(
    ...     marked_digits_model_path(),
    ...     *sets,
    ...     test=(d.X_test, d.y_test, d.groups_test),
    ...     answers=yes,
    ...     device="cpu",
    ... )
    >>> result.state, result.chosen.worst_group > result.candidates[0].worst_group + 0.2
    ('written', True)

    A function may choose how much of the new head to write, by validation samples. Here it is the
    largest share that costs less than 1 % of average accuracy:

    >>> from ntkit import DebiasSettings
    >>> def careful(steps):
    ...     return max(n for n, step in enumerate(steps) if step.cost.cost < 0.01)
    >>> result = debias(
    ...     marked_digits_model_path(),
    ...     *sets,
    ...     answers=yes,
    ...     settings=DebiasSettings(review=careful),
    ...     device="cpu",
    ... )
    >>> result.accuracy_cost.t
    0.8
    """
    settings = DebiasSettings.of(settings)
    if keep is not None:
        others = {
            "validation": validation, "test": test, "spurious": spurious, "answers": answers,
            "attribute": attribute, "groups": groups, "metadata": metadata, "ask": ask,
            "method": method,
        }  # fmt: skip
        refuse_with_complaints([name for name in others if others[name] is not None], settings)
        return fix_complaints(
            model, train, keep, max_cost=max_cost, out=out, device=device, force=force,
            settings=settings, changes=changes_given(invariant),
        )  # fmt: skip
    order = Order.of(method, max_cost, out, device=device, force=force, settings=settings)
    on_findings, labels = _answers_given(answers, order.resume)
    model = loaded(model)
    _check_options(model, order, one_set=validation is None)
    sets = {"train": train, "validation": validation, "test": test}
    if validation is None:
        sets = {"validation": train, "test": test}
    distinct, given, places = read_sets(model, sets, settings.preprocessing)
    notes = list[str]()
    if settings.recorded is not None:
        notes += parity_notes(model, given, settings.recorded, device)
    reader, every, of_table = _readers(distinct, given, places, metadata, settings.id_column)
    partly = partly_known(
        every,
        answers=labels,
        attribute=attribute,
        groups=groups,
        key=settings.id_column,
        match_names=settings.match_names,
    )
    partly = partly and partly.without_copies(places)
    said = gather_named(spurious, changes_given(invariant), on_findings, model, reader)
    said.check(reader, early=True)
    ordered = method is not None or partly is not None or settings.new_head
    # Who sits at a window can change what was answered before.
    again = settings.review is not None and spurious is None and invariant is None
    asks = not ordered and (again or not said)
    looked_at = () if ask is None or method is not None or settings.new_head else said.unseen
    unseen = [*map(change_named, looked_at)]
    _check_method(order, said, partly, asks=asks)
    looks = asks or bool(unseen)
    earlier = layer_names(model, most=MOST_LAYERS) if looks or partly is not None else ()
    data = prepared(model, distinct, order, layers=tuple(dict.fromkeys((*said.layers, *earlier))))
    of_copies = [
        n for name, each in given.items() for n in distinct[name].samples.notes[len(each.notes) :]
    ]
    of_columns = of_table + reader.column_notes(said.all_names)
    if order.resume is not None:
        of_columns += other_sets_note(order.resume, data.read)
    data = data.noting(*notes, *of_columns, cautions=(*of_copies, *of_columns))
    reader.layers = data.pooled_layers
    if looks:
        result = _look(order, data, reader, said, unseen)
        result = _asked(order, data, result, ask, unseen)
        said = gather_named(spurious, changes_given(invariant), result.answers, model, reader)
        if not said:
            return result
        order = order.going_on()  # the audit has written its folder
        read_as = [n for n in reader.column_notes(said.all_names) if n not in data.notes]
        data = data.noting(*read_as, cautions=read_as)
    said.check(reader)
    data, plan = _planned(order, data, reader, said, partly, earlier)
    return _repair(order, data, reader, plan)


def _check_options(model: FrozenModel, order: Order, *, one_set: bool) -> None:
    """Raise an error if one label of several is not named, or options do not fit together."""
    new_head, resume = order.settings.new_head, order.resume
    if not new_head and (problem := model.not_single_label) is not None:
        raise InputError(problem)
    if new_head and model.label is not None:
        raise InputError(
            "--new-head (new_head=True) fits a last layer for other classes, and --label (label=) "
            "repairs one label of the model's own last layer. Omit one of them."
        )
    if resume is not None:
        check_model(resume, model)
    for option in ("new_head", "validation_balanced"):
        if one_set and getattr(order.settings, option):
            raise InputError(
                f"--{option.replace('_', '-')} ({option}=True) needs two sets. Pass --train and "
                "--validation (train=, validation=)."
            )


def _readers(
    distinct: Mapping[str, Distinct],
    given: Mapping[str, Samples],
    places: Places,
    metadata: Any,
    id_column: str | None,
) -> tuple[AttributeReader, AttributeReader, list[str]]:
    """Readers of the distinct samples and of all that were given; a note on the metadata."""
    pooled = [distinct[name].samples for name in POOLED if name in distinct]
    every = [given[name] for name in POOLED if name in given]
    if id_column is not None:
        for each in every:
            named_by_column(each, id_column)  # refuses a name that no set has
    matched = None if metadata is None else Metadata.of(metadata, every, id_column)
    reader = AttributeReader(pooled, matched and matched.without_copies(places), id_column)
    of_all = AttributeReader(every, metadata, id_column)
    return reader, of_all, [] if matched is None else [matched.note]


def _check_method(
    order: Order, said: NamedAttributes, partly: PartlyKnown | None, *, asks: bool
) -> None:
    """Raise an error before the work if what was named, labelled and ordered does not fit."""
    if partly is not None and said.names:
        raise InputError(
            f"Labels of samples cannot be combined with the named {said.all_names[0]!r}; give the "
            "labels or the name."
        )
    asked_for(
        order.method,
        named=bool(said.names),
        partly_known=partly is not None,
        by_change=bool(said.changes),
        read=bool(said.changes),
    )
    if asks and order.settings.interpolation is not None:
        raise InputError(
            "--interpolation (interpolation=) needs a new head; name a shortcut, answer the "
            "findings, or order a method."
        )


def _with_inferred(
    partly: PartlyKnown,
    data: Prepared,
    earlier: Sequence[str],
    reader: AttributeReader,
    invariance: Invariance | None,
    order: Order,
) -> CompletedGroups:
    """Groups of all training and validation samples, from partly known ones."""
    # Labels choose among the feature sets. A reader of changed copies tells one number of each
    # sample, which a few labels may fit better than many neurons.
    both = reduce(Rows.and_then, data.pool.sets)
    if not isinstance(both.X, np.ndarray):
        both = both.take(np.arange(len(both)))  # a mapped copy
    pooled = data.pooled_layers
    layers = {name: pooled[name] for name in earlier if name in pooled}
    feature_sets = feature_sets_of(both.X, layers, texts=reader.texts, inputs=reader.numbers)
    if invariance is not None:
        study = invariance.added_to(Study(both))
        for change, reading in invariance.readings(study).items():
            feature_sets[f"reader of {invariance.changes[change].name}"] = reading.log_odds
    return partly.completed(data.pool, feature_sets, order.settings.random_state)


def _planned(
    order: Order,
    data: Prepared,
    reader: AttributeReader,
    said: NamedAttributes,
    partly: PartlyKnown | None,
    earlier: Sequence[str],
) -> tuple[Prepared, Plan]:
    """Decide how the repair goes, and read and embed what it needs; notes join the samples."""
    # The values of a changed word or column are known, so their groups can be balanced too.
    said = with_judging(said, reader, data.model)
    on_test, left = list[Attribute](), list[str]()
    if partly is None:
        on_test, left = _read_on_test(data, said, reader)
    elif "test" in data.sets:
        left = ["The test set does not judge, but labelled training and validation samples do."]
    few = [note for each in said.read for note in each.few_note("Training and validation set")]
    data = data.noting(*left, *few, cautions=() if on_test else left)
    invariance = None
    if said.changes:
        data, invariance = _with_copies(order, data, said)
    known, judges = None, Judges.VALIDATION
    if partly is not None:
        known = _with_inferred(partly, data, earlier, reader, invariance, order)
        judges = Judges.LABELS
    elif "test" in data.sets and (on_test or not said):  # of what nobody named, classes judge
        judges = Judges.TEST
    if data.pool.one_set:
        crossed = partly is None or partly.crossed
        named = said.read if known is None else [known.attribute]
        check_groups(data.pool.train, named, crossed=crossed)
    candidates, method = asked_for(
        order.method,
        named=bool(said.read),
        partly_known=known is not None,
        by_change=bool(said.changes),
        read=invariance is not None and bool(invariance.alphas),
        validation_balanced=order.settings.validation_balanced,
    )
    if data.pool.one_set:  # of candidates that differ in the set alone, one is left
        candidates = {
            name: each
            for name, each in candidates.items()
            if name == method or each.rows not in (FittedOn.VALIDATION, FittedOn.BOTH)
        }
    return data, Plan(
        said=said,
        known=known,
        invariance=invariance,
        on_test=on_test,
        judges=judges,
        candidates=candidates,
        method=method,
        score=order.method if method is None else DEFAULT_SCORE,
    )


def _with_copies(
    order: Order, data: Prepared, said: NamedAttributes
) -> tuple[Prepared, Invariance]:
    """Copies of the samples by the changes, and the readers of these; notes join the samples."""
    invariance = copies_made(data, said, order)
    invariance = invariance.with_readers(data.pool, order.settings.random_state, said)
    if order.method == READ and not invariance.alphas:
        why = " ".join(note for note in invariance.notes if note.startswith("No groups"))
        raise InputError(
            f"{READ!r} needs a change that takes a part of another sample, whose class can be "
            f"told. {why or 'No change has one.'} Order another method."
        )
    of_ranges = dict.fromkeys(n for name in data.pooled for n in range_notes(data.sets[name]))
    notes = [*invariance.notes, *file_notes(said.changes)]
    return data.noting(*notes, cautions=of_ranges), invariance


def _repair(order: Order, data: Prepared, reader: AttributeReader, plan: Plan) -> DebiasResult:
    """Fit the candidates of a plan, choose one, verify it, and write it if it is better."""
    choice = choose(_compared(order, data, plan, data.test), order)
    by_change = None if plan.invariance is None else results_by_change(data, choice, order)
    draft = drafted(order, data, choice, group_check(reader, choice), by_change)
    if order.resume is not None:  # a share of another head
        others = other_labels_note(order.resume, draft.answers)
        draft = replace(draft, cautions=(*draft.cautions, *others))
    new_head = order.settings.new_head
    if not draft.written and order.out is None and order.deploy is None and not new_head:
        return draft
    result = write(order, data, choice, draft)
    if order.out is not None and plan.said.answers.answers:
        write_answers(order.out / ANSWERS_FILE, plan.said.answers)
    if order.deploy is not None and result.verification is not None:
        deploy(order, data, choice, result)
    return result


def _compared(
    order: Order, data: Prepared, plan: Plan | None = None, test: Rows | None = None
) -> Comparison:
    """A comparison of heads on the embeddings of a run."""
    return Comparison(
        data.pool,
        test,
        head=None if order.settings.new_head else data.model.head,
        C=order.settings.C,
        seed=order.settings.random_state,
        plan=plan,
    )


def _read_on_test(
    data: Prepared, said: NamedAttributes, of_others: AttributeReader
) -> tuple[list[Attribute], list[str]]:
    """The attributes that judge as the samples of the test set show them, and notes."""
    # Images and rows of numbers are cut where those of the other sets are. Layers of the test set
    # are not read.
    no = "The test set does not judge, but"
    if "test" not in data.sets or not said:
        return [], []
    if not said.judging:
        return [], [f"{no} changed copies of validation samples do."]
    if said.layers:
        return [], [f"{no} validation samples do: it is read without layers of the model."]
    try:
        reader = AttributeReader([data.sets["test"]])
        if any(Key.of(part).kind == "image" for names in said.judging for part in chain(*names)):
            check_one_scale([*of_others.sets, *reader.sets])
        read = [read_attribute(reader, names, said.rules) for names in said.judging]
    except InputError as error:  # it lacks a column, a layer, or samples of one value
        unread = " Metadata that you pass are not read for it; put the column into its own table."
        unread *= of_others.user_columns is not None and "metadata:" in str(error)
        return [], [f"{no} validation samples do: {error}{unread}"]
    for each, own in zip(said.read, read, strict=True):
        twins = written_otherwise(own.names, each.names)
        if twins is not None:
            raise InputError(
                f"The test set has {twins[0]!r}, and the other sets have {twins[1]!r}. Write one "
                "value in one way in all."
            )
        if not {*own.names} & {*each.names}:  # nobody can say which groups the shortcut helps
            why = f"no value of {each.name} in it is one of theirs"
            return [], [f"{no} validation samples do: {why}."]
    names = [name for names in said.judging for name in chain(*names)]
    of_columns = (n for n in reader.column_notes(names) if n not in data.notes)
    notes = [note for each in read for note in each.few_note("The test set")]
    notes += [f"The test set: {note}" for note in of_columns]
    return read, notes


def _answers_given(answers: Any, resume: Path | None) -> tuple[Answers, Labels | Path | None]:
    """Joined answers on findings, and labels of samples or their table."""
    is_one = answers is None or isinstance(answers, str | os.PathLike | Answers | Labels)
    sources = [answers] if is_one else [*answers]
    everything = [answers_from(each) for each in sources if each is not None]
    labels = [each for each in everything if not isinstance(each, Answers)]
    findings = [each for each in everything if isinstance(each, Answers)]
    where = next((each.where if isinstance(each, Labels) else each for each in labels), None)
    if labels and (findings or len(labels) > 1):
        raise InputError(
            f"{where} holds labels of samples, which cannot be combined with other answers. Join "
            "all labels in one table, or pass answers on findings."
        )
    kept = None if resume is None else resume / ANSWERS_FILE
    files = [Path(each.where).resolve() for each in findings if each.where]
    if kept is not None and kept.is_file() and kept.resolve() not in files:
        earlier = read_answers(kept)
        if labels and earlier.spurious:
            raise InputError(
                f"{kept} confirms a shortcut, and {where} holds labels of samples. ntkit takes "
                "only one of them. Move the other to another folder."
            )
        findings += [] if labels else [earlier]
    named = {each.where or f"answers[{i}]": each for i, each in enumerate(findings)}
    return joined_answers(named), labels[0] if labels else None


def _look(
    order: Order,
    data: Prepared,
    reader: AttributeReader,
    said: NamedAttributes,
    changes: Sequence[Change],
) -> FindingsResult:
    """Audit the model, and write the findings and the answers that there are."""
    out, answers = order.out, said.answers
    audit = _audited(data, reader, order, changes)
    of_layers = any(each.of_layers for each in answers.answers)
    if of_layers and answers.model not in (None, audit.model):
        raise InputError(
            "The answers are about layers of another model. Answer on the page of this model."
        )
    result = FindingsResult(
        model=data.model,
        audit=audit,
        answers=replace(answers, model=audit.model),
        path=out,
        notes=tuple(dict.fromkeys((*data.notes, *audit.notes))),
        kept_original=order.settings.otherwise == "original" and out is not None,
        resumable=arguments() is not None,
    )
    if out is not None:
        with order.opened() as place:
            data.keep(place, computed_only=order.goes_on)
            write_findings(place, result, data.read)
            write_files(place, said.changes)
        if answers.answers:
            write_answers(out / ANSWERS_FILE, result.answers)
    return result


def _asked(
    order: Order,
    data: Prepared,
    result: FindingsResult,
    ask: Ask | None,
    changes: Sequence[Change],
) -> FindingsResult:
    """Ask a person about these changes, else about open findings; each answer is kept at once."""
    audit = result.audit
    findings = () if changes else open_findings(audit, result.answers)
    if changes and audit.changes is not None:
        names = [change.name for change in changes]
        tested = tuple(each for each in audit.changes.changes if each.row.name in names)
        audit = replace(audit, changes=replace(audit.changes, changes=tested))
    again = order.settings.review is not None and audit.questions
    if ask is None or not (changes or findings or again):
        return result
    before, out = result.answers.answers, order.out
    for answer in ask(audit, findings):
        result = replace(result, answers=result.answers.with_answer(answer))
        if out is not None:
            write_answers(out / ANSWERS_FILE, result.answers)
    if out is not None and result.answers.answers != before:
        with order.going_on().opened() as place:
            write_findings(place, result, data.read, page=False)
    return result


def _audited(
    data: Prepared, reader: AttributeReader, order: Order, named: Sequence[Change]
) -> Audit:
    """Audit the model and a class-balanced retrained head, with named changes and questions'."""
    samples, Z = data.sets["validation"], data.pool.validation.X
    comparison = _compared(order, data)
    if reader.user_columns is None:  # the image folder may hold some
        metadata = Metadata.of(None, [samples], None)
    else:
        judging = data.pool.of_validation
        columns = {
            name: np.asarray(values)[judging]
            for name, values in reader.user_columns.items()
            if not named_like_a_prediction(name)
        }
        metadata = Metadata(columns) if columns else None
    audit = audit_read(
        samples,
        Embedded(Z, data.layers_of("validation"), ""),
        data.model,
        comparison.original.predict(comparison.validation.X),
        metadata=metadata,
        random_state=order.settings.random_state,
    )
    retrained, _ = comparison.fit(*CANDIDATES["class-balanced"])
    pred = head_of(retrained).predict(comparison.validation.X)
    if comparison.pool.one_set:
        comparison.row("class-balanced", retrained)
        pred = comparison.validation_predictions("class-balanced")
    audit = with_retraining(audit, pred)
    of_questions = (change_for(finding) for finding in questions_of(audit))
    changes = {change.name: change for change in (*named, *of_questions) if change is not None}
    found = changes_of_samples(
        data.embedder,
        samples,
        [*changes.values()],
        Z,
        seed=order.settings.random_state,
        most=len(changes),  # each question may bring its change
        second=_SECOND,
        budget=min(_BUDGET, budget_for(len(samples))),
    )
    notes = () if found is None else (found.note(), *range_notes(samples))
    return replace(audit, changes=found, notes=(*audit.notes, *notes))


def group_check(reader: AttributeReader, choice: Choice) -> GroupCheck:
    """Test which groups of the validation set lose accuracy, for all readable attributes."""
    comparison = choice.comparison
    comparison.of_halves.clear()
    both, pool = comparison.study.both, comparison.pool
    is_train = np.zeros(len(both), dtype=bool)
    is_train[pool.of_train] = not pool.one_set
    if pool.one_set:  # one half chooses attributes, the other one tests them
        halves = stratified_folds(both.y_index, 2, comparison.seed, both.contents)
        is_train[halves[0][0]] = True
    return checked_groups(
        reader.feature_sets(),
        both.classes,
        both.y_index,
        comparison.right(choice.name, choice.accuracy_cost.t),
        is_train,
        comparison.plan.attributes,
        comparison.scorecard.is_helped(),
        comparison.plan.said.answers.also,
        ", in half of the samples" * pool.one_set,
    )
