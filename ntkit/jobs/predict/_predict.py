"""Predictions of models in memory and as a table on disk."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, compress, count, islice, repeat
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._labels import guarded_cell, listed_in_order, unknown_labels
from ntkit._output import check_file, new_file
from ntkit._text import counted, named_apart, percent, plain
from ntkit._text import listed as _listed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.metrics.class_order import order_notes
from ntkit.model import FrozenModel
from ntkit.model.class_names import are_positions, how_to_write
from ntkit.model.frozen_model import (
    batch_note,
    head_of_labels,
    loaded,
    n_softmax,
    name_of,
    rounding_note,
    sums_to_one,
    takes_inputs_of,
    with_rounded_scores,
)
from ntkit.samples.join import named_by_column
from ntkit.samples.kinds import TextData, first_rows
from ntkit.samples.read import read
from ntkit.samples.samples import Match, input_paths
from ntkit.verification.comparison import check_head
from ntkit.verification.model_pair import (
    load_pair,
    note_on_class_names,
    of_one_network,
    same_network,
)


@documented
@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """Predictions of a model for N samples, returned by :func:`predict`.

    Of a model that gives every sample K labels, ``classes`` holds their names, and ``labels``,
    ``probabilities``, ``margins`` and ``y`` have the shape (N, K). ``labels`` is 1 above the
    model's threshold for the label, else 0, and ``y`` is NaN if unknown.

    Attributes
    ----------
    classes : ndarray of shape (C,)
        Class labels, in the order of the model's logits.
    labels : ndarray of shape (N,)
        Predicted class of each sample.
    probabilities : ndarray of float64, shape (N, C)
        Softmax or sigmoid of the logits, in the order of ``classes``.
    margins : ndarray of float64, shape (N,)
        Largest logit minus the second largest; of a label, the distance of its logit from that of
        the threshold.
    y : ndarray of shape (N,) or None
        True classes, if the samples have labels.
    names : ndarray of str, shape (N,), or None
        Image files, if the samples are images.
    {notes}
    """

    classes: Array
    labels: Array
    probabilities: Array
    margins: Array
    y: Array | None = None
    names: Array | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        right = ""
        several = self.labels.ndim == 2
        y = np.empty(0) if self.y is None else np.asarray(self.y)
        known = (y == y) & (y != "")
        if np.any(known) and (several or np.isin(y[known], self.classes).all()):
            right = f", {percent(np.mean((self.labels == y)[known]))} right"
        what = "labels" if several else "classes"
        return f"Predictions({len(self)} samples, {len(self.classes)} {what}{right})"


@documented
def predict(
    model: Any,
    data: Any,
    *,
    label: str | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool = False,
) -> Predictions:
    """Predict the classes of samples with a model.

    ntkit runs the network in ONNX Runtime up to its embedding, and the last layer in NumPy. It
    checks on the first samples that both together agree with the whole model. If the graph rounds
    or cuts off its scores in or after the last layer, ntkit takes these scores.

    Parameters
    ----------
    {job.model}
    data : path-like, Samples, array-like, or tuple (X, y) or (X, y, groups)
        Samples in a form that :func:`ntkit.extraction.read_samples` reads, or model inputs. Labels
        are optional.
    label : str, optional
        One label of a model that gives every sample several; by default all of them.
    {job.preprocessing, job.device, verbose}

    Returns
    -------
    Predictions
        Labels, probabilities and margins, in memory. For many samples,
        :func:`ntkit.jobs.predict.write_predictions` writes them to a table instead.

    Raises
    ------
    InputError
        If the model has no head that chooses one class, the samples do not fit it, or a logit is
        NaN or infinite.
    {head.VerificationError}

    Examples
    --------
    >>> import ntkit
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> digits = load_marked_digits()
    >>> data = (digits.X_test, digits.y_test)
    >>> predictions = ntkit.predict(marked_digits_model_path(), data, device="cpu")
    >>> predictions
    Predictions(2000 samples, 2 classes, 73.2 % right)
    >>> predictions.probabilities.shape, bool((predictions.margins >= 0).all())
    ((2000, 2), True)
    """
    reader = partial(read, data, labels="some", preprocessing=preprocessing, **_ALL)
    match = matches_of([model], reader, label)[0]
    model, samples, name = match.model, match.samples, name_of(match.model, "The model")
    match = matched(match, name=name, strict=False)
    embedder = running([match], device=device, batch_size=batch_size, verbose=verbose)[0]
    classes = match.classes
    if labels := labels_compared([match.model]):
        given = [*decisions_of(match, embedder, labels)] or [(np.empty((0, len(labels))),) * 2]
        each, scores = map(np.concatenate, zip(*given, strict=True))
        margins = np.abs(logit(scores) - logit([model.thresholds[label] for label in labels]))
        names = np.asarray(labels)
        return Predictions(names, each, scores, margins, samples.y, samples.ids, match.notes)
    parts = list(outcomes_of(match, embedder))
    index = np.concatenate([part.index for part in parts] or [np.empty(0, int)])
    notes = [*match.notes]
    if samples.y is not None:
        at = _known(match.samples)
        y = np.asarray(match.samples.y)[at]
        notes += order_notes(y, classes[index][at], classes, name, strict=False)
    none = np.empty((0, len(classes)))
    return Predictions(
        classes,
        classes[index],
        np.concatenate([part.probabilities for part in parts] or [none]),
        np.concatenate([part.margins for part in parts] or [none[:, 0]]),
        match.samples.y,
        samples.ids,
        tuple(notes),
    )


_CHECKED_ON = 8  # samples
_ALL: Any = {"every_label": True, "keep_unknown": True}  # samples of a model with several labels
_NEW_HEAD = "ntkit.new_head"


def running(
    models: Sequence[Match], *, device: str, n_sets: int = 1, **options: Any
) -> list[OnnxEmbedder]:
    """An embedder of each model, after a check of its head; the same one for the same network."""
    embedders = [OnnxEmbedder(each.model, device=device, **options) for each in models]
    for each, embedder in zip(models, embedders, strict=True):
        raw = each.model.scores is None and not each.samples.embedded
        if raw and len(each.samples):
            check_head(embedder, first_rows(each.samples.X, _CHECKED_ON), device=device)
    one, other = models[0], models[-1]
    alike = one is not other and one.samples.X is other.samples.X and not one.samples.embedded
    kept = 4 * n_sets * len(one.samples) * (one.model.n_neurons or _MOST_KEPT)
    if alike and kept <= _MOST_KEPT and same_network(one.model, other.model):
        return [KeepingEmbedder(one.model, device=device, **options)] * 2
    return embedders


_MOST_KEPT = 1 << 30  # bytes of embeddings that wait for the other model


class KeepingEmbedder(OnnxEmbedder):
    """An embedder that keeps embeddings, for another model with the same network."""

    def iter_batches(self, X: Any, *args: Any, **options: Any) -> Iterator[Array]:
        """Yield embeddings; only those that were not kept are computed."""
        kept = self.__dict__.setdefault("_kept_batches", {})
        new = X, list[Array](), super().iter_batches(X, *args, **options)  # X keeps its id
        _, batches, rest = kept.setdefault(id(X), new)
        for at in count():
            batches += islice(rest, at == len(batches))
            if at == len(batches):
                return
            yield batches[at]

    def transform(self, X: Any) -> Array:
        """Embeddings of all samples."""
        return np.concatenate([*self.iter_batches(X)])


def matches_of(
    models: Sequence[Any], read: Callable[[FrozenModel], Samples], label: str | None = None
) -> list[Match]:
    """One model, or the old and the new one, each with samples in the form of its inputs."""
    # Each model gets its inputs by what it says of them itself: its inputs, its columns, and the
    # files about its preprocessing. Only if these say nothing of images or texts does it get those
    # of the other one, as a new model replaces an old one behind the same preprocessing. `read`
    # must return the same samples with the same labels for both. A note without a name is on both.
    if len(models) == 1:
        model = loaded(models[0], label=label, any_scores=True)
        return [read(model).for_model(model)]
    first, second = load_pair(*models, label=label, any_scores=True)
    names = named_apart((first.path, second.path), ("The first model", "The second model"))
    second, notes = _named_as(second, first, names[1], "first")
    notes += [*filter(None, [first.matched_by]), *_overruled(first)]
    one, other, more = _in_both_forms(first, second, read, names)
    notes, alike = notes + more, takes_inputs_of(second, first)
    said = one.reading_notes(), other.reading_notes()
    of_first = [note if note in said[1] else f"{names[0]}: {note}" for note in said[0]]
    of_second = [f"{names[1]}: {note}" for note in said[1] if note not in said[0]]
    if not alike:
        notes += ["The two models take different inputs, so each gets its own."]
    elif (one.columns, one.preprocessing) == (other.columns, other.preprocessing):
        other = one
    elif one.data.steps is not None:
        notes += [
            "The files of the two models name different preprocessing, so each model gets its own."
        ]
    else:
        notes += [
            "The two models take different columns, or take them in different orders, so each gets "
            "its own."
        ]
    if one is not other and first.label is None and np.ndim(one.y) == np.ndim(other.y) == 2:
        columns = [second.label_names.index(name) for name in labels_compared([first, second])]
        by_name = replace(other, y=np.asarray(other.y)[:, columns])
        other = by_name if _same_labels(one, by_name) else other  # a table names its columns
    if one is not other and not _same_labels(one, other):
        raise InputError(
            f"The two models read different samples ({len(one)} and {len(other)}, or other "
            "labels). Pass samples that both models take."
        )
    if not _fits(first, one):
        first, more = _named_as(first, second, names[0], "second")
        notes += more
    return [Match(first, one, tuple(of_first)), Match(second, other, (*notes, *of_second))]


def _in_both_forms(
    first: FrozenModel,
    second: FrozenModel,
    read: Callable[[FrozenModel], Samples],
    names: Sequence[str],
) -> tuple[Samples, Samples, list[str]]:
    """The samples in the form of each model's inputs, and a note on preprocessing of one only."""
    one, alike, guessed = read(first), takes_inputs_of(second, first), [False, False]
    named = [info.columns for info in first.inputs] != [info.columns for info in second.inputs]
    if isinstance(one.data, TextData):
        named = TextPreprocessing.for_model(second) is not None
    elif one.data.are_files:  # the files of the model name the preprocessing of its images
        guessed = [_guessed(first), _guessed(second)]
        named = not all(guessed)
    other = read(second) if named or not alike else one.as_recorded(second)
    if isinstance(one.data, TextData) and of_one_network(first, second):  # own records count last
        one, other = (
            samples.as_recorded(theirs).as_recorded(own)
            for samples, theirs, own in ((one, second, first), (other, first, second))
        )
    if alike and guessed[0] != guessed[1] and one.preprocessing != other.preprocessing:
        # such as the old file of a repository, outside its folder
        which = guessed.index(True)
        form = (other, one)[which]
        note = f"No file of {names[which]} names its preprocessing, so it gets that of "
        return form, form, [f"{note}{names[1 - which]}."]
    return one, other, []


def _guessed(model: FrozenModel) -> bool:
    """Whether the files of a model do not name the preprocessing of its images."""
    taken, steps = model.inputs[0], ImagePreprocessing.for_model(model)
    guess = ImagePreprocessing.for_input(taken.shape or (), taken.dtype)
    return steps is None or steps.source == guess.source


def _same_labels(one: Samples, other: Samples) -> bool:
    """Whether samples have the same labels; unknown ones of several are NaN."""
    y = np.asarray(one.y)
    equal = np.array_equal(y, np.asarray(other.y), equal_nan=y.dtype.kind == "f")
    return len(one) == len(other) and equal


def labels_compared(models: Sequence[FrozenModel]) -> tuple[str, ...]:
    """Labels of models that give every sample several, in the order of the samples; else empty."""
    names = [model.label_names if model.label is None else () for model in models]
    if other := sorted({*names[0]} ^ {*names[-1]}):
        raise InputError(
            f"Only one of the two models has the labels {_listed(map(repr, other), 8)}. Name one "
            "that both have, with --label NAME (label=)."
        )
    return names[0]


def matched(match: Match, *, name: str, strict: bool) -> Match:
    """Match the model's classes with the labels of its samples."""
    # Unknown labels are an error if `strict`, else a note.
    said = ""
    if not match.samples.embedded:  # embeddings alone have no scores of the graph
        match = replace(match, model=with_rounded_scores(match.model))
        said = batch_note(match.model)
    notes = dict.fromkeys([*match.notes, rounding_note(match.model), said])
    match = replace(match, notes=tuple(filter(None, notes)))
    model, samples = match.model, match.samples
    if model.label is None and model.labels_apart and head_of_labels(model) is None:
        raise InputError(str(model.not_single_label))
    if model.head is None:
        raise InputError(f"{name} has no head, so it makes no predictions. Pass a classifier.")
    samples.check_made_with(model, "The store")
    if model.label is None and model.label_names:
        return match
    if model.label is not None and samples.y is not None and not np.all(samples.y != ""):
        return match  # some are unknown
    if 0 < len(part := _labelled(samples)) < len(samples):
        of_part = matched(replace(match, samples=part), name=name, strict=strict)
        return replace(of_part, samples=samples)
    if (problem := model.not_single_label) is not None:
        raise InputError(problem)
    try:
        matching = samples.fit_to(model, name=model.path.name if model.path else "")
    except InputError as error:
        labels, classes = np.unique(samples.y), model.head.classes
        use = how_to_write([*labels], [*classes]) or "use the model's labels, remove these samples"
        fix = f"{use}, or name the model's classes in the order of its logits with --classes "
        fix += "(classes= of FrozenModel.load)."
        problem = unknown_labels(labels, classes, what="The data", where=name, fix=fix)
        if strict:
            raise InputError(problem or error) from error
        note = f"The labels are written, but not compared with the predictions: {problem or error}"
        return replace(match, notes=(*match.notes, note))
    return replace(matching, notes=(*match.notes, *matching.notes))


def _overruled(model: FrozenModel) -> list[str]:
    """A note if a user names the classes of a model in another order than its file, or none."""
    if model.head is None or model.classes_source != "given" or model.class_names is None:
        return []
    classes, names = model.head.classes.tolist(), [*model.class_names]
    if classes == names or {*classes} != {*names}:
        return []
    return [
        f"The classes that you name are those of {name_of(model)}: {listed_in_order(classes)}. Its "
        f"file has them in another order: {listed_in_order(names)}."
    ]


def _known(samples: Samples) -> Array:
    """Rows of the samples whose label is known; all if they have none or several."""
    y = samples.y
    if y is None or np.ndim(y) != 1:
        return np.arange(len(samples))
    return np.flatnonzero((y == y) & (y != ""))


def _labelled(samples: Samples) -> Samples:
    """The samples whose label is known; numbers are whole again, without NaN among them."""
    known = _known(samples)
    if len(known) == len(samples):
        return samples
    part = samples.take(known)
    y = np.asarray(part.y)
    whole = y.dtype.kind == "f" and (y == np.floor(y)).all()
    return replace(part, y=y.astype(np.int64)) if whole else part


def _fits(model: FrozenModel, samples: Samples) -> bool:
    """Whether labels name the classes of a model, as they would without another model."""
    if model.label_names or samples.y is None or not len(samples.y):
        return bool(model.label_names)
    try:
        _labelled(samples).fit_to(model)
    except InputError:
        return False
    return True


def _named_as(
    model: FrozenModel, other: FrozenModel, name: str, place: str
) -> tuple[FrozenModel, list[str]]:
    """The model, with the class names of another one if it has only numbers, and a note."""
    if model.head is None or other.head is None or model.label is not None:
        return model, [*filter(None, [model.matched_by])]
    classes, others = model.head.classes.tolist(), other.head.classes.tolist()
    if model.has_class_names and (are_positions(others) or not are_positions(classes)):
        return model, []
    same = len(classes) == len(others)
    if not (other.has_class_names and same) or "true" in (
        model.metadata.get(_NEW_HEAD),
        other.metadata.get(_NEW_HEAD),
    ):
        return model, []
    note = note_on_class_names(name, place, other.head.classes)
    return model.with_classes(other.head.classes, matched_by=note), [note]


def _with_names_of(new: Match, old: Match, called: str) -> Match:
    """The old model with the new one's class names, if both count as equal, and a note."""
    if {*old.classes.tolist()} == {*new.classes.tolist()}:
        return old
    try:
        renamed = replace(old, model=old.model.matched_to(new.classes))
    except InputError:  # these are other classes
        if not {*old.classes.tolist()}.isdisjoint(new.classes.tolist()):
            return old
        note = (
            f"{called} has other classes ({listed_in_order(old.classes)}) than the new model "
            f"({listed_in_order(new.classes)}), so every prediction counts as changed."
        )
        return replace(old, notes=(*old.notes, note))
    pairs = zip(old.classes.tolist(), renamed.classes.tolist(), strict=True)
    equal = _listed((f"{a!r} = {b!r}" for a, b in pairs if a != b), 8)
    note = f"{called} has other names for its classes, which count as equal: {equal}."
    return replace(renamed, notes=(*old.notes, note))


_ROWS = 1024  # rows of a batch of stored embeddings


@dataclass(frozen=True)
class Outcomes:
    """Predictions of a model for consecutive samples."""

    index: Array
    probabilities: Array
    margins: Array


def outcomes_of(match: Match, embedder: OnnxEmbedder) -> Iterator[Outcomes]:
    """Yield the predictions of a model, batch by batch, in the order of the samples."""
    model, level, own = match.model, 0.0, False
    if model.threshold is not None:  # the logit is 0 there, and the score is that of the graph
        level = logit(model.threshold[0])
    batches: Iterable[Array] = _logits_of(match, embedder)
    if model.scores is not None and model.scores.n_softmax is not None:
        own = model.scores.n_softmax == 0
    elif model.scores is not None:  # of no batch alone, which may differ from the others
        batches = [*batches]
        own = _are_probabilities(batches, name_of(model))
        if _are_mirrored(batches):  # the probability is sigmoid(s), as of a single column
            batches = [each / 2 for each in batches]
    elif model.label is None and sums_to_one(model):  # such as calibrated by isotonic regression
        batches = [*batches]
        own = all((each > -_OF_FLOAT32).all() for each in batches)
    for logits in batches:
        highest = np.partition(logits, -2, axis=1)[:, -2:]
        scores = logits if not level else logits + np.array([0, level])
        for _ in range(0 if own else max(1, n_softmax(model))):
            scores = softmax(scores, axis=1)
        yield Outcomes(
            logits.argmax(axis=1),
            scores,
            highest[:, 1] - highest[:, 0],
        )


def decisions_of(
    match: Match, embedder: OnnxEmbedder, labels: Sequence[str]
) -> Iterator[tuple[Array, Array]]:
    """Yield which labels a model gives, and its scores, (n, K) each, batch by batch."""
    model = match.model
    at = [model.label_names.index(label) for label in labels]
    levels = logit([model.thresholds[label] for label in labels])
    for logits in _logits_of(match, embedder):
        yield (logits[:, at] > levels).astype(np.int8), expit(logits[:, at])


def _logits_of(match: Match, embedder: OnnxEmbedder) -> Iterator[Array]:
    """Yield the logits of a model as float64, batch by batch; all are finite."""
    model = match.model
    head = model.head if model.label is not None else head_of_labels(model)
    assert head is not None  # matched() checks this
    X, done = match.samples.X, 0
    if match.samples.embedded:
        rows = range(0, len(X), _ROWS)
        batches: Any = (np.asarray(X[begin : begin + _ROWS]) for begin in rows)
    else:
        batches = embedder.iter_batches(X)
    with closing(batches):
        for Z in batches:
            with np.errstate(over="ignore", invalid="ignore"):
                logits = head.logits(Z).astype(np.float64)
            bad = np.flatnonzero(~np.isfinite(logits).all(axis=1)) + done
            if len(bad):
                raise InputError(
                    f"The logits of {len(bad)} sample(s) are NaN or infinite (rows "
                    f"{bad[:5].tolist()}{', …' if len(bad) > 5 else ''}), so they have no class. "
                    "Check these inputs and the model's weights."
                )
            done += len(logits)
            yield logits


_ROUNDING = 0.02  # of probabilities in few bits
_OF_FLOAT32 = 1e-6
_BY_CHANCE = 0.05  # largest share of samples whose logits sum to 1


def _are_probabilities(batches: Sequence[Array], name: str) -> bool:
    """Whether each row of scores sums to 1, without a negative one; an error if only some do."""
    off = np.concatenate([np.abs(each.sum(axis=1) - 1) for each in batches] or [np.ones(1)])
    low = np.concatenate([each.min(axis=1) for each in batches] or [np.zeros(1)])
    share = np.mean((off < _ROUNDING) & (low > -_ROUNDING))
    if _BY_CHANCE < share < 1:
        raise InputError(
            f"{name} gives scores that sum to 1 for some samples only, so they are neither "
            "probabilities nor logits. Check the model's output."
        )
    return bool(share == 1)


_OF_A_TIE = 1e-8  # the label decides between equal scores, which become unequal


def _are_mirrored(batches: Sequence[Array]) -> bool:
    """Whether all rows are −s and s, as converters write the decision value of two classes."""
    rows = np.concatenate([*batches] or [np.ones((1, 2))])
    size = np.maximum(np.abs(rows).max(axis=1), 1)
    return rows.shape[1] == 2 and bool((np.abs(rows.sum(axis=1)) <= _OF_A_TIE * size).all())


_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@documented
@dataclass(frozen=True)
class PredictionTable:
    """Path and counts of a table of predictions, returned by :func:`write_predictions`.

    Of several labels, ``n_labelled`` and ``n_right`` count labels, and ``changed_labels`` counts
    the samples of which each label changed, 0 for one model.
    """

    path: Path
    n_samples: int
    n_labelled: int
    n_right: int
    n_right_before: int | None = None
    n_changed: int | None = None
    changed_labels: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        return {**plain(vars(self)), "path": str(self.path)}

    def __str__(self) -> str:
        lines = [f"Predicted {counted(self.n_samples, 'sample')}."]
        if self.n_labelled:
            before = ""
            if self.n_right_before is not None:
                before = f"{percent(self.n_right_before / self.n_labelled, unit='')} → "
            of = "" if self.changed_labels is None else f" of {self.n_labelled} labels"
            lines[0] += f" Accuracy{of}: {before}{percent(self.n_right / self.n_labelled)}."
        if self.n_changed is not None:
            lines[0] += f" The two models differ on {counted(self.n_changed, 'sample')}"
            changed = [f"{name!r} on {n}" for name, n in (self.changed_labels or {}).items() if n]
            lines[0] += f": {_listed(changed, 12)}." if changed else "."
        return "\n".join([*lines, f"Written: {self.path}"])


@documented
def write_predictions(
    path: StrPath,
    model: Any,
    data: Any,
    *,
    before: Any = None,
    label: str | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    force: bool = False,
    verbose: bool = False,
) -> PredictionTable:
    """Write the predictions of one or two models as a table with one row per sample.

    The first column is ``file_name`` for images, ``id`` if the table has it, else ``row``, counted
    from 0. Labelled samples have ``label``. The other columns are ``prediction``, ``margin`` (the
    largest logit minus the second largest) and ``prob_CLASS`` for each class. ``before`` adds
    ``prediction_before``, ``changed`` (0 or 1), ``margin_before`` and ``prob_before_CLASS``.

    Of a model that gives every sample several labels, the table has these columns for each label:
    ``label_NAME`` (1, 0, or empty if unknown), ``prediction_NAME`` (1 above the model's threshold,
    else 0) and ``prob_NAME`` (the score). ``before`` adds ``prediction_before_NAME``,
    ``changed_NAME`` and ``prob_before_NAME``. With ``label``, the table is that of two classes,
    "not NAME" and "NAME", and ``prob_NAME`` is the model's score.

    ntkit writes rows as it computes them, and renames the file when it is complete. A text that a
    spreadsheet would take for a formula gets an apostrophe before it. Such a text begins with =, +,
    - or @ and is not a number. ``ntkit audit --predictions`` removes the apostrophe.

    Parameters
    ----------
    path : path-like
        A ``.csv`` or ``.tsv`` file.
    {job.model}
    data : path-like, Samples, array-like, or tuple (X, y) or (X, y, groups)
        Samples in a form that :func:`ntkit.predict` takes.
    before : FrozenModel or path-like, optional
        Another model to compare with, such as the original.
    label : str, optional
        One label of a model that gives every sample several; by default all of them.
    {job.preprocessing, job.device, replace.force, verbose}

    Returns
    -------
    PredictionTable
        The path and the counts.

    Raises
    ------
    InputError
        In the cases of :func:`ntkit.predict`, and if the file exists, cannot be written, or is not
        ``.csv`` or ``.tsv``. ntkit then writes nothing.
    {head.VerificationError}

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> from ntkit.jobs.predict import write_predictions
    >>> digits = load_marked_digits()
    >>> data = (digits.X_test, digits.y_test)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "out.csv"
    ...     table = write_predictions(file, marked_digits_model_path(), data, device="cpu")
    ...     print(file.read_text().partition(chr(10))[0])
    row,label,prediction,margin,prob_0,prob_1
    >>> table.n_samples, table.n_right
    (2000, 1463)
    """
    check_kind(path)
    reader = partial(read, data, labels="some", preprocessing=preprocessing, **_ALL)
    matches = matches_of([model] if before is None else [before, model], reader, label)
    return write_rows(
        path, matches, force=force, device=device, batch_size=batch_size, verbose=verbose
    )


def check_kind(path: StrPath) -> None:
    """Raise an error if a file is not a .csv or .tsv."""
    if Path(path).suffix.lower() not in _DELIMITERS:
        raise InputError(f"{path} is not a table. Name it NAME.csv or NAME.tsv.")


def write_rows(
    path: StrPath,
    matches: Sequence[Match],
    *,
    force: bool = False,
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool = False,
    key: str | None = None,
) -> PredictionTable:
    """Like :func:`write_predictions`, for models that are matched with their samples."""
    check_kind(path)
    read = input_paths(*(one for each in matches for one in (each.model, each.samples)))
    check_file(path, inputs=read, force=force)
    models, names, labels = _with_their_classes(matches)
    embedders = running(models, device=device, batch_size=batch_size, verbose=verbose)
    if embedders[0] is not embedders[-1]:  # one progress bar for both
        embedders[0].verbose = False
    outcomes = [_rows(m, e, labels) for m, e in zip(models, embedders, strict=True)]
    samples = models[-1].samples
    truths, n_labelled, both = _truths(models, labels)
    key, named, notes = _names_of_rows(samples, key)
    header = [key, *_header(models, labels)]
    if len({*header}) < len(header):
        fix = "Name one label with --label" if labels else "Rename a class with --classes"
        raise InputError(f"Two columns would have the same name. {fix}.")
    counts, changed_of = Counter[str](), Counter[str](dict.fromkeys(labels, 0))
    given, compared = [list[Any]() for _ in models], n_labelled > 0 and not labels
    with new_file(path) as file, file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, delimiter=_DELIMITERS[file.suffix.lower()])
        writer.writerow(map(guarded_cell, header))
        for name, truth, *parts in zip(named, truths, *outcomes, strict=True):
            predicted = [each[0] for each in parts]
            changed = [int(a != b) for a, b in zip(predicted[0], predicted[-1], strict=True)]
            counts["changed"] += any(changed)
            changed_of.update(compress(labels, changed))
            if n_labelled:
                counts["right"] += sum(map(eq, predicted[-1], truth))
                counts["right before"] += sum(map(eq, predicted[0], truth))
            for of_model, one in zip(given, predicted, strict=True):
                of_model += one * compared
            row = [name, *_cells(truth, parts, changed, labels)]
            writer.writerow([guarded_cell(c) if isinstance(c, str) else c for c in row])
    for each in models:
        notes += each.notes
    if compared:
        notes += _notes_on_order(models, names, given)
    return PredictionTable(
        Path(path),
        len(samples),
        n_labelled,
        counts["right"],
        counts["right before"] if both else None,
        counts["changed"] if len(models) == 2 else None,
        dict(changed_of) if labels else None,
        tuple(dict.fromkeys(notes)),
    )


def _with_their_classes(
    matches: Sequence[Match],
) -> tuple[list[Match], list[str], tuple[str, ...]]:
    """The models with the classes of the labels, their names, and the labels of several."""
    default = ("The earlier model", "The model")[-len(matches) :]
    names = named_apart([each.model.path for each in matches], default)
    models = [
        matched(each, name=name, strict=False) for each, name in zip(matches, names, strict=True)
    ]
    labels = labels_compared([each.model for each in models])
    if len(models) == 2 and not labels:
        models[0] = _with_names_of(models[1], models[0], names[0])
    return models, names, labels


def _notes_on_order(
    models: Sequence[Match], names: Sequence[str], predicted: Sequence[list[Any]]
) -> list[str]:
    """Notes on models whose classes are evidently in another order than the labels."""
    samples, notes = models[-1].samples, list[str]()
    y, at = np.asarray(samples.y), _known(samples)
    for each, name, classes in zip(models, names, predicted, strict=True):
        notes += order_notes(y[at], np.asarray(classes)[at], each.classes, name, strict=False)
    return notes


def _truths(models: Sequence[Match], labels: Sequence[str]) -> tuple[Iterable[Any], int, bool]:
    """Label or labels of each sample, the number of known ones, and whether both models have them.

    The number is 0 if some labels are none of the model's.
    """
    samples, two = models[-1].samples, len(models) == 2
    if samples.y is None:
        return repeat((), len(samples)), 0, two
    y = np.asarray(samples.y)
    known = y[(y == y) & (y != "")]
    if labels:
        return np.where(y == y, y == 1, -1).astype(int).tolist(), len(known), two
    seen, classes = {*np.unique(known).tolist()}, [{*each.classes.tolist()} for each in models]
    truths = [[each] for each in y.tolist()]
    if len(known) < len(y) and y.dtype.kind == "f":
        truths = [[int(each) if each == each else ""] for each in y.tolist()]
    return truths, len(known) if seen <= classes[-1] else 0, two and seen <= classes[0]


def _names_of_rows(samples: Samples, key: str | None) -> tuple[str, Sequence[Any], list[str]]:
    """Title and values of the first column, and a note if it only numbers the rows."""
    own = samples if key is None else named_by_column(samples, key)
    key = own.named_by if key is None or samples.ids is not None else key
    named: Sequence[Any] = range(len(samples)) if key == "row" else own.names
    missing = sum(not str(name).strip() for name in named)
    if not missing:
        return key, named, []
    note = (
        f"{samples.called()}: the {key} of {counted(missing, 'sample')} is missing, so all "
        f"{len(named)} are named by their row numbers from 0 on."
    )
    return "row", range(len(samples)), [note]


def _cells(
    truth: Sequence[Any], parts: Sequence[Any], changed: list[int], labels: Sequence[str]
) -> list[Any]:
    """Cells of a sample in the order of the header; those of each label stand together."""
    predicted, margins, scores = zip(*parts, strict=True)
    cells = [*[truth] * bool(truth), *predicted, *[changed] * (len(parts) == 2)]
    cells += scores if labels else ()
    row = [*chain.from_iterable(zip(*cells, strict=True))]
    if labels:
        return ["" if cell == -1 else cell for cell in row]
    return [*row, *margins, *chain(*scores)]


def _header(models: Sequence[Match], labels: Sequence[str]) -> list[str]:
    samples, suffixes = models[-1].samples, ("_before", "")[-len(models) :]
    columns = ["label"] * (samples.y is not None)
    columns += [*(f"prediction{each}" for each in suffixes), *["changed"] * (len(models) == 2)]
    if labels:
        columns += [f"prob{each}" for each in suffixes]
        return [*(f"{each}_{label}" for label in labels for each in columns)]
    scores = [f"prob{each}_{label}" for each, model in zip(suffixes, models, strict=True)
              for label in model.classes.tolist()]  # fmt: skip
    return [*columns, *(f"margin{each}" for each in suffixes), *scores]


def _rows(
    match: Match, embedder: OnnxEmbedder, labels: Sequence[str]
) -> Iterator[tuple[list[Any], str, list[str]]]:
    """Predicted class or labels, margin, and scores of each sample, formatted for the table."""
    if labels:
        for each, scores in decisions_of(match, embedder, labels):
            for one, of_one in zip(each.tolist(), scores.tolist(), strict=True):
                yield one, "", [f"{score:.6g}" for score in of_one]
        return
    classes = match.classes.tolist()
    for part in outcomes_of(match, embedder):
        for index, margin, probabilities in zip(
            part.index.tolist(), part.margins.tolist(), part.probabilities.tolist(), strict=True
        ):
            yield [classes[index]], f"{margin:.6g}", [f"{p:.6g}" for p in probabilities]
