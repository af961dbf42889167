"""Models matched with samples, and the classes and scores that they predict for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from ntkit._labels import listed_in_order, unknown_labels
from ntkit._text import listed, named_apart
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.extraction.head_check import check_head
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
from ntkit.model.model_pair import (
    load_pair,
    note_on_class_names,
    of_one_network,
    same_network,
)
from ntkit.samples.kinds import TextData, spread_rows
from ntkit.samples.samples import Match

_CHECKED_ON = 8  # samples
_MOST_KEPT = 1 << 30  # bytes of embeddings that wait for the other model
_NEW_HEAD = "ntkit.new_head"


ModelLike = FrozenModel | str | os.PathLike[str]
"""What the jobs take as a model; a path is that of an ONNX file or of its folder."""
DataLike = Samples | tuple[Any, ...] | str | os.PathLike[str]
"""What the jobs take as labelled samples; a tuple is (X, y) or (X, y, groups)."""


def running(models: Sequence[Match], *, n_sets: int = 1, **options: Any) -> list[OnnxEmbedder]:
    """An embedder of each model, after a check of its head; the same one for the same network."""
    embedders = [OnnxEmbedder(each.model, **options) for each in models]
    for each, embedder in zip(models, embedders, strict=True):
        raw = each.model.scores is None and not each.samples.embedded
        if raw and len(each.samples):
            check_head(embedder, spread_rows(each.samples.X, len(each.samples), _CHECKED_ON))
    one, other = models[0], models[-1]
    alike = one is not other and one.samples.X is other.samples.X and not one.samples.embedded
    kept = 4 * n_sets * len(one.samples) * (one.model.n_neurons or _MOST_KEPT)
    if alike and kept <= _MOST_KEPT and same_network(one.model, other.model):
        return [KeepingEmbedder(one.model, **options)] * 2
    return embedders


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
            f"Only one of the two models has the labels {listed(map(repr, other), 8)}. Name one "
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


def known_rows(samples: Samples) -> Array:
    """Rows of the samples whose label is known; all if they have none or several."""
    y = samples.y
    if y is None or np.ndim(y) != 1:
        return np.arange(len(samples))
    return np.flatnonzero((y == y) & (y != ""))


def _labelled(samples: Samples) -> Samples:
    """The samples whose label is known; numbers are whole again, without NaN among them."""
    known = known_rows(samples)
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
    elif model.scores is not None and model.label is None:
        # of no batch alone, which may differ from the others
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
                    f"The logits of at least {len(bad)} sample(s) are NaN or infinite (rows "
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
    _refuse_one_probability(batches, name)
    _refuse_several_tasks(batches, name)
    share = np.mean((off < _ROUNDING) & (low > -_ROUNDING))
    if _BY_CHANCE < share < 1:
        raise InputError(
            f"{name} gives scores that sum to 1 for some samples only, so they are neither "
            "probabilities nor logits. Check the model's output."
        )
    return bool(share == 1)


def _refuse_one_probability(batches: Sequence[Array], name: str) -> None:
    """Raise an error for one score of two classes that would be a logit, but never leaves 0 to 1.

    The logit of the first class is 0 in all rows then, and all samples would be of the second.
    """
    rows = np.concatenate([*batches] or [np.ones((1, 2))])
    if len(rows) < _ENOUGH or rows.shape[1] != 2 or rows[:, 0].any():
        return
    if ((rows[:, 1] >= 0) & (rows[:, 1] <= 1)).all():
        raise InputError(
            f"{name} gives one score, which is between 0 and 1 for all {len(rows)} samples, and no "
            "Sigmoid computes it. So it may be a probability or a logit. Export the model with two "
            "columns, 1 - p and p, or with its logit."
        )


def _refuse_several_tasks(batches: Sequence[Array], name: str) -> None:
    """Raise an error for probabilities of several tasks, side by side: they sum to 2 or more."""
    rows = np.concatenate([*batches] or [np.ones((1, 2))])
    total = rows.sum(axis=1)
    inside = (rows > -_ROUNDING).all() and (rows < 1 + _ROUNDING).all()
    n_tasks = round(float(total.mean()))
    if len(rows) >= _ENOUGH and inside and n_tasks > 1 and (abs(total - n_tasks) < _ROUNDING).all():
        raise InputError(
            f"{name} gives scores that sum to {n_tasks} for all samples, as probabilities of "
            f"{n_tasks} tasks do. Give each task an output of its own, and name it with --logits "
            "NAME (logits= of FrozenModel.load)."
        )


_ENOUGH = 10  # samples; all logits of fewer may be between 0 and 1
_OF_A_TIE = 1e-8  # the label decides between equal scores, which become unequal


def _are_mirrored(batches: Sequence[Array]) -> bool:
    """Whether all rows are −s and s, as converters write the decision value of two classes."""
    rows = np.concatenate([*batches] or [np.ones((1, 2))])
    size = np.maximum(np.abs(rows).max(axis=1), 1)
    return rows.shape[1] == 2 and bool((np.abs(rows.sum(axis=1)) <= _OF_A_TIE * size).all())
