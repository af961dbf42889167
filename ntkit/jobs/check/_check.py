"""Check two models, or one, against limits on labelled samples."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, overload

import numpy as np

from ntkit._doc import documented
from ntkit._key import touches_subject
from ntkit._labels import listed_in_order
from ntkit._process import progress_bar
from ntkit._text import counted, listed, named_apart
from ntkit._types import Array
from ntkit.attributes.word_lists import one_spelling
from ntkit.changes import Change
from ntkit.changes.change import change_named, changes_given, file_notes
from ntkit.changes.images import PARTS, range_notes
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, TextPreprocessing
from ntkit.jobs.additions import Additions
from ntkit.jobs.check import _samples as of_samples
from ntkit.jobs.check._judge import check_limits
from ntkit.jobs.check._limits import Limits, limits_of
from ntkit.jobs.check._result import CheckResult
from ntkit.jobs.class_of_scores import TIE
from ntkit.jobs.matching import (
    DataLike,
    ModelLike,
    decisions_of,
    labels_compared,
    matched,
    matches_of,
    outcomes_of,
    running,
)
from ntkit.metrics import Row, compare
from ntkit.metrics.class_order import order_notes
from ntkit.model import FrozenModel
from ntkit.samples.copies import without_copies
from ntkit.samples.join import Metadata, named_by_column
from ntkit.samples.read import read
from ntkit.samples.samples import Match, Samples


@overload
def check(
    old: ModelLike | None,
    new: ModelLike,
    data: str | os.PathLike[str],
    *,
    label: str | None = ...,
    limits: Any = ...,
    slices: Sequence[str] = ...,
    invariant: Any = ...,
    additions: Any = ...,
    new_reliance: bool = ...,
    answers: str | os.PathLike[str] | None = ...,
    threshold: float | Sequence[float] | None = ...,
    metadata: Any = ...,
    key: str | None = ...,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = ...,
    device: str = ...,
    batch_size: int | None = ...,
    verbose: bool = ...,
) -> CheckResult: ...


@overload
def check(
    old: ModelLike | None,
    new: ModelLike,
    data: Samples | tuple[Any, ...],
    *,
    label: str | None = ...,
    limits: Any = ...,
    slices: Sequence[str] = ...,
    invariant: Any = ...,
    additions: Any = ...,
    new_reliance: bool = ...,
    answers: str | os.PathLike[str] | None = ...,
    threshold: float | Sequence[float] | None = ...,
    metadata: Any = ...,
    key: str | None = ...,
    device: str = ...,
    batch_size: int | None = ...,
    verbose: bool = ...,
) -> CheckResult: ...


@documented
def check(
    old: ModelLike | None,
    new: ModelLike,
    data: DataLike,
    *,
    label: str | None = None,
    limits: Any = None,
    slices: Sequence[str] = (),
    invariant: Any = None,
    additions: Any = None,
    new_reliance: bool = False,
    answers: str | os.PathLike[str] | None = None,
    threshold: float | Sequence[float] | None = None,
    metadata: Any = None,
    key: str | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool = False,
) -> CheckResult:
    """Check whether a model may replace another, by limits on labelled samples.

    ntkit compares both models on the same samples: average accuracy, every class, every group,
    every named slice and every class within a slice. A limit passes if an exact interval lies
    entirely on its good side. It fails if the interval lies entirely on its bad side. Anything
    between means *too few samples to say*, so a small group never passes because it is small.

    Parameters
    ----------
    old : FrozenModel, path-like or None
        The present model. None checks the new model alone.
    new : FrozenModel or path-like
        The model that may replace it.
    data : path-like, Samples or tuple (X, y) or (X, y, groups)
        Labelled samples that neither model was trained on, in a form that :func:`ntkit.debias`
        takes. An unknown group is -1. Samples with several labels have ``y`` of 1, 0, and NaN if
        unknown, (N, K).
    label : str, optional
        One label of models that give every sample several, as a binary problem at each model's
        threshold. By default all their labels, each on the samples where it is known.
    limits : Limits, mapping or path-like, optional
        :class:`ntkit.jobs.check.Limits`, its keywords, or a TOML file with them. By default, the
        new model may lose at most 5 percentage points in any subset.
    slices : sequence of str, optional
        Further slices by the names of attributes: ``word:film``, ``column:age>=40``,
        ``metadata:site=B``, ``image:brightness high``. ``column:site`` stands for all its values.
    invariant : str, Change, or sequence of these, optional
        Changes of the inputs that do not change the true class, named as in
        :func:`ntkit.changes.change_named`: ``image:jpeg=75``, ``word:please``, ``column:sex``.
        ``max_flip_rate`` limits the share of predictions that flip. With two models, the new one
        must not flip significantly more than the old one.
    additions : path-like, "neutral" or sequence of str, optional
        Lines that must not matter before or after a text: at most 250, of a text file, of a list
        that ntkit has, or given. Those that flip most predictions of the new model, one line and
        then the best second and third next to it, become changes. At most 300 samples, or half,
        choose them, in at most 400 passes. The others measure them.
    new_reliance : bool, optional
        Whether to report flips of both models by further changes, which need not be harmless: parts
        of images other than the centre, columns, frequent words, mark-up and case. Nothing is
        limited, because a good repair relies more on the subject and what is next to it. At most
        300 samples are changed.
    answers : path-like, optional
        ``answers.json`` of an audit's page, or of ``ntkit label``. Every class × value of a
        confirmed finding, or of the labels, becomes a slice.
    threshold : float or (float, float), optional
        Probability above which the positive class is predicted: the second of two classes of the
        new model, or the label. One for both models, or that of the old and of the new one.
    metadata, key : optional
        As in :func:`ntkit.audit_model`.
    {job.preprocessing, job.device, verbose}

    Returns
    -------
    CheckResult
        The ``outcome``, the ``exit_code``, and the ``rows`` with all numbers.

    Raises
    ------
    {job.InputError, head.VerificationError}

    Notes
    -----
    The interval of a drop inverts Tango's score test of paired proportions (Stat. Med. 17, 1998).
    The method of Berger and Boos (JASA 89, 1994) makes it exact. The interval of an accuracy or a
    share is that of Clopper and Pearson (Biometrika 26, 1934). A check passes only if all limits
    pass. So each pass is tested at level ``alpha`` (an intersection-union test). A check fails if
    one limit fails. So failures are tested at ``alpha`` divided by the number of limits compared
    (Bonferroni). A whole check passes wrongly, or fails wrongly, with a probability of at most
    ``alpha``. With several labels, the limits of all labels count.

    Examples
    --------
    >>> import ntkit
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> digits = load_marked_digits()
    >>> data = (digits.X_test, digits.y_test, digits.groups_test)
    >>> model = marked_digits_model_path()
    >>> ntkit.check(model, model, data, limits={"max_drop": 2}, device="cpu")
    CheckResult(pass: 7 pass, 0 fail, 0 too few; 2000 samples)
    """
    models = [new] if old is None else [old, new]
    if [each for each in models if not isinstance(each, FrozenModel | str | os.PathLike)]:
        raise InputError(
            "ntkit.check takes ONNX models. Check predictions, or fitted classifiers, so: "
            f"{_call_on_arrays(old, new, data, limits)}."
        )
    reader = partial(read, data, preprocessing=preprocessing, every_label=True)
    return check_read(
        matches_of(models, reader, label),
        limits=limits_of(limits),
        slices=slices,
        invariant=invariant,
        additions=additions,
        new_reliance=new_reliance,
        answers=answers,
        threshold=threshold,
        metadata=metadata,
        key=key,
        device=device,
        batch_size=batch_size,
        verbose=verbose,
        sure_of_classes=isinstance(old, FrozenModel) and old.classes_source == "given",
    )


def _call_on_arrays(old: Any, new: Any, data: Any, limits: Any) -> str:
    """The call of check_predictions that takes what was passed, by the names of the caller's."""
    caller = sys._getframe(2)
    names = {**caller.f_globals, **caller.f_locals}
    known = {id(value): name for name, value in names.items() if not name.startswith("_")}
    parts: dict[str, Any] = {"X": None, "y": None, "groups": None}
    if isinstance(data, Samples):
        parts |= {name: getattr(data, name) for name in parts}
    elif isinstance(data, tuple):
        parts |= zip(parts, data, strict=False)
    elif not isinstance(data, str | os.PathLike):
        parts["y"] = data
    called = {name: known.get(id(value), name) for name, value in parts.items()}

    def prediction(model: Any, default: str) -> str:
        name = known.get(id(model), default)
        of_onnx = isinstance(model, FrozenModel | str | os.PathLike)
        return f"ntkit.predict({name}, {called['X']}).labels" if of_onnx else name

    arguments = [called["y"], prediction(new, "new")]
    arguments += [f"y_pred_before={prediction(old, 'old')}"] * (old is not None)
    arguments += [f"X={called['X']}"] * (hasattr(new, "predict") or hasattr(old, "predict"))
    arguments += [f"groups={called['groups']}"] * (parts["groups"] is not None)
    limit = {"average": 90} if old is None else {"max_drop": of_samples.DEFAULT_DROP}
    arguments.append(f"limits={limit if limits is None else known.get(id(limits), limits)}")
    return f"ntkit.check_predictions({', '.join(arguments)})"


def check_read(
    models: Sequence[Match],
    *,
    limits: Limits,
    slices: Sequence[str] = (),
    invariant: Any = None,
    additions: Any = None,
    new_reliance: bool = False,
    answers: str | os.PathLike[str] | None = None,
    threshold: float | Sequence[float] | None = None,
    metadata: Any = None,
    key: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool = False,
    sure_of_classes: bool = False,
    embedders: list[OnnxEmbedder] | None = None,
) -> CheckResult:
    """Like :func:`check`, for matched models, the old one first; it adds their embedders."""
    notes, embedders = list[str](), [] if embedders is None else embedders
    changes = {change.name: change for change in _changes(limits, invariant)}
    searched = None if additions is None else Additions.of(additions)
    limits = limits.with_changes(changes)
    limits, more = of_samples.with_default(limits, compared=len(models) == 2)
    notes += more
    if not len(models[-1].samples):
        raise InputError("The data hold no samples. Pass labelled samples.")
    models, metadata, of_copies = _without_copies(
        models, metadata, key, slices=bool(slices or limits.slices or answers)
    )
    notes += of_copies
    samples = models[-1].samples
    samples = samples if key is None else named_by_column(samples, key)
    labels = labels_compared([each.model for each in models])
    searches = ["additions"] * (searched is not None)  # its changes have no names yet
    check_limits(
        limits.with_changes(searches),
        compared=len(models) == 2,
        grouped=samples.groups is not None,
    )
    default = ("the old model", "the new model") if len(models) == 2 else ("the model",)
    names = named_apart([each.model.path for each in models], default)
    models = [
        matched(each, name=name, strict=True) for each, name in zip(models, names, strict=True)
    ]
    slice_values, limits, more = of_samples.sliced(
        samples, limits, slices, answers=answers, metadata=metadata, key=key
    )
    levels: list[float | None] = [None] * len(models)
    positive = None
    if threshold is not None:
        levels, positive = _levels(threshold, models, labels)
    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "verbose": verbose}
    ranked: dict[str, Array] = {}  # rows that chose a change, and do not measure it
    if searched is not None:
        above = None if levels[-1] is None else (positive, levels[-1])
        (quiet,) = running(models[-1:], **options | {"verbose": False})
        decide = partial(_predicted, embedder=quiet, labels=labels, above=above)
        found, rows = searched.search(models[-1], decide, shown=verbose)
        changes |= {change.name: change for change in found}
        ranked = {change.name: rows for change in found}
        limits = limits.with_changes(ranked)
        notes.append(
            f"{counted(len(searched.lines), 'line')} ranked by {counted(len(rows), 'sample')}. "
            f"Their flip rates are of the other {len(samples) - len(rows)}."
        )
    embedders += running(models, n_sets=1 + len(changes), **options)
    copies, changed, of_changes = _changed_copies(models, changes, ranked)
    notes += of_changes
    predicted, flips, predicts = list[Array](), list[dict[str, Array]](), list[Predict]()
    for each, name, level, embedder, made in zip(
        models, names, levels, embedders, copies, strict=True
    ):
        above = None if level is None else (positive, level)
        predict = partial(_predicted, embedder=embedder, labels=labels, above=above)
        pred, by_itself, _ = predict(each)
        notes += each.notes
        if not labels:
            notes += _notes_on_order(each, models[-1], name, by_itself, sure=sure_of_classes)
        predicted.append(pred)
        predicts.append(predict)
        flips.append({n: _flips(each, predict, pred, *made[n], changed[n]) for n in changes})
    if threshold is None:
        notes += _threshold_notes([each.model for each in models], labels, names)
    else:
        shown = ", ".join(f"{name} {level:g}" for name, level in zip(names, levels, strict=True))
        notes.append(f"{positive!r} is predicted above the threshold that you set: {shown}.")
    classes = None if labels else models[-1].classes
    reliance = tuple[Row, ...]()
    if new_reliance:
        reliance, note = _reliance(models, predicts, predicted, changes, shown=verbose)
        notes.append(note)
    result = of_samples.checked(
        samples, predicted, slice_values, limits, names, [*notes, *more],
        labels=labels, one=models[-1].model.label, classes=classes, flips=flips,
    )  # fmt: skip
    return replace(result, changes=(*result.changes, *reliance))


_TAIL = 0.025  # on a side of an interval that no limit needs
_COMPARED = 300  # samples that a report of new reliance changes
Predict = Callable[[Match], tuple[Array, Array, Array]]


def _reliance(
    models: Sequence[Match], predicts: Sequence[Predict], predicted: Sequence[Array],
    named: Collection[str], *, shown: bool,
) -> tuple[tuple[Row, ...], str]:  # fmt: skip
    """Flips of two models by changes that nobody named, without limits, and a sentence."""
    from ntkit.jobs.audit.changes import panel_of, risen_in_words, with_rises

    if len(models) != 2 or predicted[0].ndim > 1:
        raise InputError(
            "--new-reliance (new_reliance=True) compares the classes of two models, or one label. "
            "Give an old model, or name one of several labels with --label (label=)."
        )
    n, rows = len(models[-1].samples), list[Row]()
    some = np.sort(np.random.default_rng([0, n]).permutation(n)[:_COMPARED])
    parts = [replace(each, samples=each.samples.take(some)) for each in models]
    # Without the centre and general damage: a head that gives up a shortcut must react to them.
    beside = [f"image:{part}" for part in (*PARTS, "border")]
    panel = [
        (change.name, change)
        for change in panel_of(parts[-1].samples)
        if change.name not in named
        and (change.kind != "image" or change.name in beside)
        and not touches_subject(change.name)
    ]
    for name, change in progress_bar(panel, shown=shown, desc="changes", unit=" changes"):
        try:
            copies, changed, _ = _changed_copies(parts, {name: change}, {})
        except InputError:  # the change applies to no sample
            continue
        at = changed[name]
        old, new = (
            _flips(part, predict, pred[some], *made[name], at)[at] != 1
            for part, predict, pred, made in zip(parts, predicts, predicted, copies, strict=True)
        )
        rows += compare((new, old), [("change", name, np.arange(len(at)))]) if len(at) else []
    rows = [replace(row, interval=row.bounds(_TAIL, _TAIL)) for row in with_rises(rows)]
    tried = f"{counted(len(rows), 'further change')} on {counted(len(some), 'sample')}"
    found = risen_in_words(rows)
    note = f"The new model surely relies more on none of {tried}."
    if found:
        note = f"Of {tried}, the new model surely relies more on {found}. A good repair may do so."
    return tuple(replace(row, verdicts=()) for row in rows), note


def _changes(limits: Limits, invariant: Any) -> tuple[Change, ...]:
    """Changes that limits and a person name; a person's may read any file."""
    typed = {one_spelling(change.name): change for change in changes_given(invariant)}
    for name, each in limits.changes.items():
        if each.min_flip_rate is not None and one_spelling(name) in typed:
            raise InputError(
                f"By its min_flip_rate, {name} must flip predictions. A change named with "
                "--invariant (invariant=) must not. Remove one of them."
            )
    of_limits = [
        typed.get(one_spelling(name)) or change_named(name, below=limits.folder)
        for name in limits.changes
    ]
    return changes_given(of_limits, typed.values())


def _changed_copies(
    models: Sequence[Match], changes: Mapping[str, Change], ranked: Mapping[str, Array]
) -> tuple[list[dict[str, tuple[Samples, Array]]], dict[str, Array], list[str]]:
    """Copies for each model by change, rows that one of the models sees changed, and notes."""
    one, other = models[0].samples, models[-1].samples
    copies = [{n: change.copies(one) for n, change in changes.items()}] * len(models)
    if other.X is not one.X:  # each model gets its own copies
        copies[-1] = {n: change.copies(other) for n, change in changes.items()}
    for name, rows in ranked.items():
        for of in copies[-1:] if copies[0] is copies[-1] else copies:
            made, at = of[name]
            kept = np.flatnonzero(~np.isin(at, rows))
            of[name] = made.take(kept), at[kept]
    changed = {n: np.unique(np.concatenate([of[n][1] for of in copies])) for n in changes}
    notes = [
        f"{n} changes the model's input of none of the {len(other)} samples."
        for n, rows in changed.items()
        if not len(rows)
    ]
    if any(change.of_pixels for change in changes.values()):
        notes += range_notes(one)
    notes += file_notes(changes.values()) if changes else []
    return copies, changed, notes


def _notes_on_order(
    match: Match, new: Match, name: str, predicted: Array, *, sure: bool
) -> list[str]:
    """A note on classes in another order than the labels; an error for the old model's."""
    # A wrong class order of the old model would let any new model pass. A wrong order of the new
    # model makes the check fail anyway.
    strict = match is not new and not sure
    one, other = match.classes.tolist(), new.classes.tolist()
    named = match.model.class_names is None and new.model.class_names is not None
    if strict and named and one != other and {*one} == {*other}:
        raise InputError(
            f"{name} does not name its classes. By the labels they are {listed_in_order(one)}, and "
            f"those of the new model {listed_in_order(other)}. Name the old model's with --classes "
            "(classes= of FrozenModel.load)."
        )
    return order_notes(match.samples.y, predicted, match.classes, name, strict=strict)


def _without_copies(
    models: Sequence[Match], metadata: Any, key: str | None, *, slices: bool
) -> tuple[list[Match], Any, list[str]]:
    """Models with distinct samples, the metadata of these, and notes on copies."""
    forms = {id(each.samples): each for each in models}
    distinct = without_copies(
        [each.samples for each in forms.values()], [each.model for each in forms.values()]
    )
    once = dict(zip(forms, distinct, strict=True))
    given = models[-1].samples
    last = once[id(given)]
    if metadata is not None or (slices and len(last.samples) < len(given)):  # or the folder's own
        metadata = Metadata.of(metadata, [given], key)
        metadata = metadata and metadata.without_copies(last)
    found = last.samples.notes[len(given.notes) :]
    return [replace(m, samples=once[id(m.samples)].samples) for m in models], metadata, [*found]


def _levels(
    threshold: Any, models: Sequence[Match], labels: Sequence[str]
) -> tuple[list[float | None], Any]:
    """The threshold of each model on the probability of the positive class, and this class."""
    levels = of_samples.levels_of(threshold, len(models))
    if labels or any(len(each.classes) != 2 for each in models):
        raise InputError(
            "A threshold needs two classes, or one label. Name the label with --label (label=), or "
            "leave the threshold out."
        )
    positive = models[-1].classes.tolist()[1]
    if positive not in models[0].classes.tolist():
        raise InputError(
            f"A threshold needs one positive class, but the old model has no class {positive!r}: "
            f"its classes are {listed(map(repr, models[0].classes.tolist()), 2)}. Name them alike "
            "with --classes (classes= of FrozenModel.load)."
        )
    if any(each.model.scores is not None and not each.model.scores.output for each in models):
        raise InputError("A threshold needs scores, but a model has only labels. Leave it out.")
    return levels, positive


def _predicted(
    match: Match, embedder: OnnxEmbedder, labels: Sequence[str], above: tuple[Any, float] | None
) -> tuple[Array, Array, Array]:
    """The classes at a threshold, those of the model (N,), and scores; or given labels (N, K)."""
    # The threshold is of a class by its name, because two models may order their classes in
    # different ways.
    if labels:
        given, scores = zip(*decisions_of(match, embedder, labels), strict=True)
        decided = np.concatenate(given)
        return decided, decided, np.concatenate(scores)
    parts = [*outcomes_of(match, embedder)]
    by_itself = index = np.concatenate([part.index for part in parts])
    if above is not None:
        at = match.classes.tolist().index(above[0])
        higher = [part.probabilities[:, at] > above[1] + TIE for part in parts]
        index = np.where(np.concatenate(higher), at, 1 - at)
    likely = np.concatenate([part.probabilities for part in parts])
    return np.asarray(match.classes[index]), np.asarray(match.classes[by_itself]), likely


def _flips(
    match: Match, predict: Callable[[Match], Any], predicted: Array, copies: Samples, at: Array,
    changed: Array,
) -> Array:  # fmt: skip
    """Whether the changed copy is predicted differently: 1, 0, or −1 without a copy; int8."""
    flips = np.full(predicted.shape, -1, dtype=np.int8)
    flips[changed] = 0  # this model reads the same, though the copy differs for another
    if len(at):
        flips[at] = predict(replace(match, samples=copies))[0] != predicted[at]
    return flips


def _threshold_notes(
    models: Sequence[FrozenModel], labels: Sequence[str], names: Sequence[str]
) -> list[str]:
    """The thresholds of the models' labels, if one that is checked is not 0.5."""
    whose = dict[str, list[str]]()  # models by their thresholds
    for model, name in zip(models, names, strict=True):
        checked, of_label = labels or [model.label or ""], model.thresholds
        other = [f"{each} {of_label[each]:g}" for each in checked if of_label.get(each, 0.5) != 0.5]
        whose.setdefault(listed(other, 12), []).append(name)
    return [
        f"{' and '.join(each)}: thresholds other than 0.5: {o}." for o, each in whose.items() if o
    ]
