"""The main job as one function: embed, fit candidates, choose, write, verify, summarise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._output import check_folder, refuse_nested
from ntkit.auditing import Answers
from ntkit.debiasing._against_service import parity_notes
from ntkit.debiasing._candidates import DEFAULT_SCORE, asked_for, n_suppressed
from ntkit.debiasing._choice import Choice, chosen_among
from ntkit.debiasing._comparison import Comparison
from ntkit.debiasing._inputs import Prepared, prepared, read_sets
from ntkit.debiasing.groups import (
    KnownGroups,
    KnownOfSome,
    Pool,
    asked_attributes,
    holds_labels,
    known_of_some,
)
from ntkit.debiasing.result import (
    MOST_SHARED,
    DebiasResult,
    chosen_by,
    described,
    parameters,
    provenance,
    report_of_job,
    write_card,
    write_deploy,
    write_heads,
    write_job,
)
from ntkit.estimators import AutoDebiasClassifier
from ntkit.exceptions import InputError
from ntkit.extraction import MOST_LAYERS, ImagePreprocessing, TextPreprocessing, layer_names
from ntkit.frozen_model import FrozenModel
from ntkit.metrics import LABEL_FREE_SCORES
from ntkit.questions import views_of
from ntkit.study import Rows

__all__ = ["debias"]


def debias(
    model: FrozenModel | str | os.PathLike[str],
    train: Any,
    heldout: Any,
    *,
    test: Any = None,
    out: str | os.PathLike[str] | None = None,
    deploy: str | os.PathLike[str] | None = None,
    method: Any = "auto",
    new_head: bool = False,
    max_cost: float | None = None,
    heldout_balanced: bool | None = None,
    spurious: Any = None,
    answers: Answers | str | os.PathLike[str] | None = None,
    attribute: Any = None,
    groups: Any = None,
    metadata: Any = None,
    id_column: str | None = None,
    match_names: bool = False,
    attributes: bool = True,
    even_if_worse: bool = False,
    only_if_better: bool = False,
    C: float | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    recorded: Any = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    n_random: int = 5,
    random_state: int = 0,
    force: bool = False,
    verbose: bool = False,
) -> DebiasResult:
    """Debias a frozen classifier.

    Candidates are fitted on the training set, with the held-out set to find neurons (outcomes of
    the original head on it) or to retrain on; one of them is written into the model and verified
    in ONNX Runtime. Which one is decided without group labels: by the recipe "auto", or by a
    label-free score on halves of the held-out set that a candidate has not seen (``method``).
    Group labels are used for the table only.

    Where you know what a right answer must not depend on (``spurious``, or ``answers`` on the page
    of an audit), the groups class × attribute are balanced instead, and the head is judged by them.
    So it is where you know that of some samples only (``answers`` of :func:`ntkit.questions.
    label_samples`, ``attribute``, ``groups``): it is inferred for the others, from the embedding,
    earlier layers of the model, words or columns, whatever reads it best.
    Where nobody says anything, "auto" acts on a word of the texts, or on metadata, that is clearer
    than what rightly goes with a class, and says which; columns that the model takes in, and what
    is inferred, are for asking: see :func:`ntkit.audit`.

    The head chosen is priced beside the original one on held-out samples that neither has seen:
    mixed with it so far that it costs at most ``max_cost`` of average accuracy (less by default,
    where errors alone speak for it), and written only if it is found to be better there
    (:class:`~ntkit.Price`). Otherwise the original model stays.

    Embeddings are standardised on the training set for fitting, and the scale is folded back
    into the head that is written. (``NeuronTuneClassifier`` on its own fits embeddings as they
    are, with C = 1: its head differs.)

    Parameters
    ----------
    model : FrozenModel or path-like
        The classifier.
    train, heldout, test : path-like, Samples, or (X, y) or (X, y, groups)
        Labelled samples: paths are read by :func:`ntkit.extraction.read_samples`. The held-out
        set must not have trained the model. The test set is for the table; without one, the
        held-out set serves, and the table says so.
    out : path-like, optional
        Folder to write: ``debiased.onnx``, ``report.html`` for people, ``README.md`` (a model
        card), ``table.md``, ``result.json``, and ``heads.npz`` with the heads of all candidates,
        from which :func:`~ntkit.debiasing.write_candidate` writes another one.
    deploy : path-like, optional
        Another folder to write, which a service takes as it is: ``model.onnx``, what its inputs
        need (tokenizer, ``preprocessor_config.json``), ``labels.json`` (the classes in the order
        of the scores), ``predict.py`` (ONNX Runtime without ntkit, run and compared before the
        folder takes its name), ``README.md`` and ``SHA256SUMS``. None is written where no head is.
    method : str or classifier, default="auto"
        Which head is written: the name of a candidate, as the table shows it ("auto" is
        :class:`~ntkit.estimators.AutoDebiasClassifier`, "neurontune" the paper's method), or one
        of "afr", "jtt", "self", "evals", "leace", "leia"; or the name of a label-free score
        (:data:`~ntkit.metrics.LABEL_FREE_SCORES`), which chooses among the candidates and is shown
        in the table; or a classifier of your own, one of ntkit's or any linear one that
        :func:`~ntkit.estimators.head_of` reads, such as ``LogisticRegression()``. Its ``head``, if
        it has one, is set to the original head; its ``C`` is for standardised embeddings.
    new_head : bool
        Give the model a new head for the labels at hand, where they are not its own classes.
        The original head is then an ERM head fitted on the training set.
    max_cost : float, optional
        Largest share of average accuracy on held-out samples that may be lost, by its upper 95 %
        bound; of the mean accuracy of the groups, where you named attributes. By default 0.05, and
        0.02 where errors alone speak for the head: a shortcut's cannot be told from those on
        samples that are hard in one way.
    heldout_balanced : bool, optional
        Whether the held-out set is better balanced over the groups than the training set, where
        you know it; by default "auto" tests it.
    spurious : str, or sequence of str or of sequences of sequences of str, optional
        Attributes that a right answer must not depend on, by the names of an audit: ``word:film``,
        ``column:age>=40``, ``metadata:site=B``, ``picture:brightness high``; of a whole column,
        ``metadata:site``, each value is a group. ``word:film|word:movie`` sets one side against the
        other (samples with neither keep their share); names for each side may be listed instead:
        ``[[["word:film", "word:films"], ["word:movie"]]]``. They are read from the raw inputs: the
        texts, the columns of the tables that the samples were read from, images, ``metadata``; a
        channel of the model's own layers, ``layer:relu_2 #3 mean high`` (the highest quarter of the
        training and held-out samples), in the pass that embeds them. Balancing over class ×
        attributes joins the candidates, and is what is chosen where ``method`` says nothing else.
    answers : path-like or Answers, optional
        ``answers.json`` of the page of an audit, or :meth:`ntkit.Audit.answers`: attributes that
        were answered *spurious* are taken as ``spurious``, and "auto" acts on none that was
        answered at all. Attributes of layers are cut as on the samples of the audit. Or answers on
        single samples: ``answers.json`` of :func:`ntkit.questions.label_samples`, which finds them
        by their contents, or a table of them, as ``attribute``.
    attribute : array-like of shape (N + M,), path-like, DataFrame or mapping, optional
        An attribute that a right answer must not depend on, known of some of the N training and
        then the M held-out samples: -1, None or NaN (in a file an empty cell, ? or -1) elsewhere.
        A table names samples by ``id_column``, ``file_name`` or ``id``, or has a row for each;
        its column is called "attribute" or is the only other one. Balancing over class × attribute
        joins the candidates, and is what is chosen where ``method`` says nothing else.
    groups : array-like of shape (N + M,), path-like, DataFrame or mapping, optional
        The same with groups, as a rule one for each class and value of an attribute; the column of
        a table is called "group" or is the only other one.
    metadata : path-like, DataFrame or mapping of str to array-like, optional
        What is known beside the inputs, matched by its column of names; without one, row by row,
        the training samples first. What the samples' own tables and folders tell is read as well.
    id_column, match_names : str and bool, optional
        That column; by default ``file_name`` for images and ``id`` for tables. And whether labels
        are matched by name where no content matches: the samples were saved again since.
    attributes : bool
        Whether "auto" may act on a clear word or metadata by itself.
    even_if_worse : bool
        Write the head chosen, whole, even if it is not found to be better.
    only_if_better : bool
        Write nothing at all unless the head is found to be better. By default a folder without a
        model then holds the report and the figures.
    C : float, optional
        Inverse penalty of all candidates but "auto" on standardised embeddings, in scikit-learn's
        meaning. By default each gets the penalty that "auto" would choose for it.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        For image folders and tables of texts; by default as a ``preprocessor_config.json``,
        timm's ``config.json`` or a ``tokenizer.json`` beside the model says. Without such a file
        images get the model's input size, with pixels scaled to 0 … 1 (0 … 255 for an input of
        unsigned integers); a note says what was taken.
    recorded : path-like or mapping of str to array-like, optional
        What the service that runs the model answers, as :func:`ntkit.parity.check_parity` takes
        it, of files of any of these sets, of rows of the held-out set, or of inputs that it holds
        itself. Embeddings that are not the service's are refused, with the likely cause.
    device, batch_size
        As in :class:`~ntkit.OnnxEmbedder`.
    n_random : int
        Draws of the random mask of the same size.
    random_state : int
        Seed of folds and random masks.
    force : bool
        Replace an ``out`` that exists: files that ntkit wrote there and nobody changed since. A
        folder that holds anything else, or what is read here, is refused.
    verbose : bool
        Show progress bars.

    Returns
    -------
    DebiasResult

    Raises
    ------
    InputError
        If data, labels and model do not fit together; the message says how to mend it.
    VerificationError
        If the head found is not what the model computes with, the file written would not compute
        the new one, or what was recorded says that the service computes otherwise.

    Examples
    --------
    >>> from ntkit import debias
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> d = load_marked_digits()
    >>> result = debias(
    ...     marked_digits_model_path(),
    ...     (d.X_train, d.y_train),
    ...     (d.X_heldout, d.y_heldout),
    ...     test=(d.X_test, d.y_test, d.groups_test),
    ...     device="cpu",
    ... )
    >>> result.chosen.worst_group > result.candidates[0].worst_group + 0.2
    True
    """
    auto = AutoDebiasClassifier(frozen_backbone=new_head, heldout_balanced=heldout_balanced)
    asked_for(auto, method)
    by_score = isinstance(method, str) and method in LABEL_FREE_SCORES
    if max_cost is not None and not 0 <= max_cost <= 1:
        raise InputError(f"max_cost is a share of accuracy, from 0 to 1; got {max_cost}.")
    if even_if_worse and only_if_better:
        raise InputError("even_if_worse and only_if_better contradict each other; give one.")
    folder = None if out is None else check_folder(out, force=force)
    place = None if deploy is None else check_folder(deploy, force=force)
    if folder is not None and place is not None:
        refuse_nested(folder, place)
    model = model if isinstance(model, FrozenModel) else FrozenModel.load(model)
    data = {"train": train, "held-out": heldout} | ({} if test is None else {"test": test})
    sets = read_sets(model, data, preprocessing)
    compared = parity_notes(model, sets, recorded, device)
    both = [sets["train"], sets["held-out"]]
    pool = Pool(both, metadata, id_column)
    single = holds_labels(answers)
    few = known_of_some(
        pool,
        answers=answers if single else None,
        attribute=attribute,
        groups=groups,
        key=id_column,
        match_names=match_names,
    )
    asked = asked_attributes(spurious, None if single else answers, model, both)
    asked.read(pool)
    views = pool.views(asked.answered) if attributes else ()
    by_known = None if few is None else few.balanced_by
    settings, name = asked_for(auto, method, asked.title, by_known=by_known)
    earlier = () if few is None else layer_names(model, most=MOST_LAYERS)
    given = prepared(
        model,
        sets,
        folder=folder,
        new_head=new_head,
        layers=(*asked.layers, *earlier),
        device=device,
        batch_size=batch_size,
        force=force,
        verbose=verbose,
    ).with_notes(compared)
    pool.add_layers(given.layers)
    comparison = Comparison(
        given.Z["train"],
        given.Z["held-out"],
        given.Z.get("test"),
        head=None if new_head else given.model.head,
        C=C,
        select=method if by_score else DEFAULT_SCORE,
        seed=random_state,
        views=views,
        named=asked.named(pool),
        known=None if few is None else inferred(few, given, earlier, pool, random_state),
    )
    choice = chosen_among(
        comparison, settings, None if by_score else name, max_cost, n_random, verbose
    )
    helped = choice.decision.helped and given.shared <= MOST_SHARED
    written = helped or even_if_worse
    draft = draft_of(
        given,
        choice,
        new_head=new_head,
        max_cost=max_cost,
        helped=helped,
        written=written,
        better=choice.better_ones() if choice.name == "auto" == method else [],
        path=folder,
    )
    nowhere = folder is None and place is None and not new_head
    if not written and (only_if_better or nowhere):
        return replace(draft, path=None)
    facts = {
        **described(given.sets),
        "head chosen": "auto (the default)" if choice.name == "auto" == method else choice.name,
        "its parameters": parameters(choice.clf) or "the defaults",
        "chosen by": chosen_by(choice.name if method == "auto" else method, by_score=by_score),
        "largest cost": f"{100 * draft.max_cost:g} % of {choice.decision.price.whose}"
        + " (the default)" * (max_cost is None),
        "random_state": str(random_state),
    }
    report = partial(report_of_job, given=given, choice=choice, asked=facts)
    card = partial(write_card, samples=given.sets, original=given.model, new_head=new_head)
    heads = partial(write_heads, heads=choice.heads(), model=given.model, new_head=new_head)
    deployed = partial(write_deploy, samples=given.sets, original=given.model, new_head=new_head)
    return write_job(
        draft, given.model, given.inputs, device, force, report, card, heads, place, deployed
    )


def inferred(
    few: KnownOfSome, given: Prepared, earlier: Sequence[str], pool: Pool, seed: int
) -> KnownGroups:
    """Groups of all training and held-out samples, from those of which they are known."""
    parts = [given.Z["train"], given.Z["held-out"]]
    rows = [Rows(part.Z, np.zeros(len(part.y), dtype=int), np.ones(len(part.y))) for part in parts]
    Z = rows[0].and_then(rows[1])
    Z = Z if isinstance(Z.X, np.ndarray) else Z.take(np.arange(len(Z.weight)))  # a mapped copy
    layers = {name: given.layers[name] for name in earlier if name in given.layers}
    views = views_of(Z.X, layers, texts=pool.texts, inputs=pool.numbers)
    return KnownGroups.inferred(few, (parts[0].y, parts[1].y), views, seed)


def draft_of(
    given: Prepared,
    choice: Choice,
    *,
    new_head: bool,
    max_cost: float | None,
    helped: bool,
    written: bool,
    better: list[str],
    path: Path | None,
) -> DebiasResult:
    """What the job did, before anything is written or verified."""
    comparison, clf, decision = choice.comparison, choice.clf, choice.decision
    head = comparison.on_raw_embeddings(decision.head if written else comparison.original)
    suppressed = np.flatnonzero(clf.suppressed_) if n_suppressed(clf) else np.zeros(0, dtype=int)
    debiased = given.model
    if written or new_head:
        facts = {"new_head": str(new_head).lower()}
        if written:
            t = decision.price.t
            if choice.groups is not None:
                facts["attributes"] = choice.groups.title
            facts |= provenance(choice.name, clf, suppressed, given.model, given.sets["train"], t)
        debiased = given.model.with_head(head, provenance=facts)
    told = comparison.named.counted() if comparison.named is not None else []
    told += [*choice.told_of_answers()]
    notes = [*given.notes, *told, f"auto: {choice.fitted['auto'].reason_}"]
    if new_head and given.model.head is not None:
        before, now = len(given.model.head.classes), len(head.classes)
        notes.append(f"The head is new: {before} classes before, {now} now.")
    if new_head and not written:
        notes.append("The head written is the ERM head, fitted on the training set.")
    if comparison.test is None:
        notes.append(
            "No test set was given: the figures are for the held-out set, from heads that saw "
            "the other half of it."
        )
    heeded = given.shared <= MOST_SHARED and (helped or not written)
    return DebiasResult(
        model=debiased,
        head=head,
        estimator=clf,
        candidates=choice.table("ERM head" if new_head else "original head"),
        suppressed=suppressed,
        n_live=int(choice.paper.live_.sum()),
        verification=None,
        evaluated_on="held-out set" if comparison.test is None else "test set",
        select=comparison.select,
        path=path,
        notes=tuple(notes),
        advice=(*(choice.told_of_limit() if heeded else []), *better),
        prices=decision.prices,
        price=decision.price,
        max_cost=decision.price.limit(max_cost),
        helped=helped,
        shared=given.shared,
        written=written,
        outcome=choice.outcome(),
        balanced_over=choice.groups.title if choice.groups else None,
    )
