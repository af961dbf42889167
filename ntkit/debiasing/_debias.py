"""The main job as one function: embed, fit candidates, choose, write, verify, summarise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ntkit._output import check_folder
from ntkit.debiasing._candidates import (
    DEFAULT_SCORE,
    Candidate,
    LabelledEmbeddings,
    Setting,
    asked_for,
    is_degenerate,
    n_suppressed,
)
from ntkit.debiasing._comparison import Comparison
from ntkit.debiasing._inputs import (
    check_origins,
    check_output,
    embedded,
    reading_notes,
    some_inputs,
    with_classes,
)
from ntkit.debiasing._page import report_of_job, write_card
from ntkit.debiasing._record import chosen_by, described, parameters, provenance
from ntkit.debiasing._result import MAX_COST, MOST_SHARED, DebiasResult
from ntkit.debiasing._sanity import check_embeddings, check_original, check_sizes, few_samples
from ntkit.debiasing._write import write_job
from ntkit.estimators import AutoDebiasClassifier
from ntkit.exceptions import InputError
from ntkit.export import check_head
from ntkit.extraction import (
    ImagePreprocessing,
    OnnxEmbedder,
    TextPreprocessing,
    preprocessing_for,
)
from ntkit.frozen_model import FrozenModel
from ntkit.metrics import LABEL_FREE_SCORES, check_class_order
from ntkit.report import Report, Shown, as_samples, outcome
from ntkit.samples import sample_digests, shared_samples

__all__ = ["debias"]

Array = NDArray[Any]


def debias(
    model: FrozenModel | str | os.PathLike[str],
    train: Any,
    heldout: Any,
    *,
    test: Any = None,
    out: str | os.PathLike[str] | None = None,
    method: Any = "auto",
    new_head: bool = False,
    max_cost: float = MAX_COST,
    heldout_balanced: bool | None = None,
    even_if_worse: bool = False,
    only_if_better: bool = False,
    C: float | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
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

    The head chosen is priced beside the original one on held-out samples that neither has seen:
    mixed with it so far that it costs at most ``max_cost`` of average accuracy, and written only
    if it is shown to be better there (:class:`~ntkit.Price`). Otherwise the original model stays.

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
        card), ``table.md``, ``result.json``.
    method : str or classifier, default="auto"
        Which head is written: the name of a candidate, as the table shows it ("auto" is
        :class:`~ntkit.estimators.AutoDebiasClassifier`, "neurontune" the paper's method), or one
        of "afr", "jtt", "self", "evals", "leace"; or the name of a label-free score
        (:data:`~ntkit.metrics.LABEL_FREE_SCORES`), which chooses among the candidates and is shown
        in the table; or a classifier of your own, one of ntkit's or any linear one that
        :func:`~ntkit.estimators.head_of` reads, such as ``LogisticRegression()``. Its ``head``, if
        it has one, is set to the original head; its ``C`` is for standardised embeddings.
    new_head : bool
        Give the model a new head for the labels at hand, where they are not its own classes.
        The original head is then an ERM head fitted on the training set.
    max_cost : float
        Largest share of average accuracy on held-out samples that may be lost, by its upper 95 %
        bound.
    heldout_balanced : bool, optional
        Whether the held-out set is better balanced over the groups than the training set, where
        you know it; by default "auto" tests it.
    even_if_worse : bool
        Write the head chosen, whole, even if it is not shown to be better.
    only_if_better : bool
        Write nothing at all unless the head is shown to be better. By default a folder without a
        model then holds the report and the figures.
    C : float, optional
        Inverse penalty of all candidates but "auto" on standardised embeddings, in scikit-learn's
        meaning. By default each gets the penalty that "auto" would choose for it.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        For image folders and tables of texts; by default as a ``preprocessor_config.json``,
        timm's ``config.json`` or a ``tokenizer.json`` beside the model says. Without such a file
        images get the model's input size, with pixels scaled to 0 … 1 (0 … 255 for an input of
        unsigned integers); a note says what was taken.
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
        If the head found is not what the model computes with, or the file written would not
        compute the new one.

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
    settings, chosen = asked_for(auto, method)
    by_score = isinstance(method, str) and method in LABEL_FREE_SCORES
    if not 0 <= max_cost <= 1:
        raise InputError(f"max_cost is a share of accuracy, from 0 to 1; got {max_cost}.")
    if even_if_worse and only_if_better:
        raise InputError("even_if_worse and only_if_better contradict each other; give one.")
    folder = None if out is None else check_folder(out, force=force)
    model = model if isinstance(model, FrozenModel) else FrozenModel.load(model)
    preprocessing = preprocessing or preprocessing_for(model, (train, heldout, test))
    sets = {
        name: as_samples(data, preprocessing, model)
        for name, data in (("train", train), ("held-out", heldout), ("test", test))
        if data is not None
    }
    sets = {name: samples.with_columns_as_in(sets["train"]) for name, samples in sets.items()}
    labels = {name: samples.y for name, samples in sets.items()}
    if folder is not None:
        check_output(folder, model, sets, force)
    check_origins(model, sets)
    model, notes = with_classes(model, sets, new_head)
    check_sizes(labels)
    inputs = some_inputs(model, sets)
    if not new_head:
        check_head(model, inputs, device=device)
    embedder = OnnxEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)
    Z = {name: embedded(samples, embedder) for name, samples in sets.items()}
    check_embeddings({name: samples.Z for name, samples in Z.items()})
    if not new_head and model.head is not None:
        own = Z["train"]  # a shortcut may point the other way in any other set
        check_class_order(model.head.predict(own.Z), own.y, model.head.classes)
        check_original(model.head, Z["held-out"].Z, Z["held-out"].y)
    digests = {name: sample_digests(samples, verbose=verbose) for name, samples in sets.items()}
    notes += [*reading_notes(sets, embedder, digests), *few_samples(labels)]

    comparison = Comparison(
        Z["train"],
        Z["held-out"],
        Z.get("test"),
        head=None if new_head else model.head,
        C=C,
        select=method if by_score else DEFAULT_SCORE,
        seed=random_state,
    )
    fitted, rows = _fit_all(comparison, settings, verbose)
    chosen = _best(rows, fitted) if by_score else chosen
    rows[chosen] = replace(rows[chosen], chosen=True)
    clf, paper = fitted[chosen], fitted["neurontune"]
    random = comparison.random_mask_row(clf if _is_masked(clf) else paper, n_random)
    original = comparison.original_row("ERM head" if new_head else "original head")

    learnable = fitted["auto"].recipe_ != "class-balanced"
    decision = comparison.decided(chosen, clf, max_cost=max_cost, learnable=learnable)
    price, shown_head = decision.price, decision.head
    shared = shared_samples(digests).get(("train", "held-out"), 0) / len(sets["held-out"])
    helped = decision.helped and shared <= MOST_SHARED
    written = helped or even_if_worse
    head = comparison.on_raw_embeddings(shown_head if written else comparison.original)
    suppressed = np.flatnonzero(clf.suppressed_) if n_suppressed(clf) else np.zeros(0, dtype=int)
    debiased = model
    if written or new_head:
        facts = {"new_head": str(new_head).lower()}
        if written:
            facts |= provenance(chosen, clf, suppressed, model, sets["train"], price.t)
        debiased = model.with_head(head, provenance=facts)
    notes.append(f"auto: {fitted['auto'].reason_}")
    if new_head and model.head is not None:
        notes.append(
            f"The head is new: {len(model.head.classes)} classes before, {len(head.classes)} now."
        )
    if new_head and not written:
        notes.append(f"The head written is the {original.name}, fitted on the training set.")
    if test is None:
        notes.append(
            "No test set was given: the figures are for the held-out set, from heads that saw "
            "the other half of it."
        )
    if method == "auto":
        notes += _better_ones(rows, fitted)
    first = [name for name in settings if not name.startswith(("neurontune", "auto", "yours"))]
    rated = comparison.heldout if comparison.test is None else comparison.test
    after = (
        comparison.heldout_predictions(chosen, price.t)
        if comparison.test is None
        else shown_head.predict(rated.Z)
    )
    draft = DebiasResult(
        model=debiased,
        head=head,
        estimator=clf,
        candidates=(
            original,
            *(rows[name] for name in first),
            random,
            *(row for name, row in rows.items() if name not in first),
        ),
        suppressed=suppressed,
        n_live=int(paper.live_.sum()),
        verification=None,
        evaluated_on="test set" if test is not None else "held-out set",
        select=comparison.select,
        path=folder,
        notes=tuple(notes),
        prices=decision.prices,
        price=price,
        max_cost=max_cost,
        helped=helped,
        shared=shared,
        written=written,
        outcome=_outcome(rated, comparison.original.predict(rated.Z), after),
    )
    asked = {
        **described(sets),
        "head chosen": "auto (the default)" if method == "auto" else chosen,
        "its parameters": parameters(clf) or "the defaults",
        "chosen by": chosen_by(method, by_score=by_score),
        "largest cost": f"{100 * max_cost:g} % of average accuracy",
        "random_state": str(random_state),
    }

    def report(result: DebiasResult) -> Report:
        return report_of_job(
            result,
            comparison,
            sets,
            original=model,
            paper=paper,
            head=shown_head,
            after=after,
            asked=asked,
            device=embedder.device_ if not all(s.embedded for s in sets.values()) else None,
            digests=digests,
        )

    if not written and (only_if_better or (folder is None and not new_head)):
        return replace(draft, path=None)
    card = partial(write_card, samples=sets, original=model, new_head=new_head)
    return write_job(draft, model, inputs, device, force, report, card)


# -- the steps --------------------------------------------------------------------------------


def _fit_all(
    comparison: Comparison, settings: Mapping[str, Setting], verbose: bool
) -> tuple[dict[str, Any], dict[str, Candidate]]:
    """Every candidate fitted, and its row of the table."""
    fitted, rows = {}, {}
    for name in tqdm(
        settings, desc="candidates", delay=1, disable=None if verbose else True, leave=False
    ):
        fitted[name], note = comparison.fit(settings[name])
        rows[name] = comparison.row(name, settings[name], fitted[name], note)
    return fitted, rows


def _better_ones(rows: Mapping[str, Candidate], fitted: Mapping[str, Any]) -> list[str]:
    """Name the candidate with the best held-out score, if it is not "auto", and how to get it."""
    best = _best(rows, fitted)
    if rows[best].score <= rows["auto"].score:
        return []
    return [
        f"By the held-out score {best} ({rows[best].score:.3f}) is above auto "
        f"({rows['auto'].score:.3f}); --method {best} (method={best!r}) takes it."
    ]


def _outcome(samples: LabelledEmbeddings, before: Array, after: Array) -> str:
    return outcome(Shown(samples.y, before, after, samples.groups, None, None).figures())


def _is_masked(clf: Any) -> bool:
    return n_suppressed(clf) > 0 and hasattr(clf, "tuning_weight_")


def _best(rows: Mapping[str, Candidate], fitted: Mapping[str, Any]) -> str:
    """Best label-free score among candidates whose rule singled out some neurons."""
    sound = [name for name in rows if not is_degenerate(fitted[name])]
    return max(sound, key=lambda name: rows[name].score)
