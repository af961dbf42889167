"""Models and the samples they are asked about: read, matched with their labels, checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ntkit._labels import listed, unknown_labels
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import (
    ImageFiles,
    ImagePreprocessing,
    OnnxEmbedder,
    Samples,
    TextPreprocessing,
    Texts,
    input_notes,
    preprocessing_for,
    read_samples,
    with_plain_texts,
)
from ntkit.model import FrozenModel
from ntkit.model.class_names import are_positions
from ntkit.store import check_made_with
from ntkit.verification import check_head, load_pair

Steps = ImagePreprocessing | TextPreprocessing | None
Labels = Literal["required", "optional"]
_CHECKED_ON = 8  # samples
_NEW_HEAD = "ntkit.new_head"
_DATA = "Give the samples as a path, Samples, (X, y) or (X, y, groups)"


@dataclass(frozen=True)
class Asked:
    """A model, and the samples that it is asked about."""

    model: FrozenModel
    samples: Samples
    notes: tuple[str, ...] = ()

    def check(self, device: str) -> None:
        """Refuse a model that does not compute with the head that was found in it."""
        X = self.samples.X
        if self.samples.embedded or not len(self.samples):
            return
        if isinstance(X, Mapping):
            few: Any = {name: values[:_CHECKED_ON] for name, values in X.items()}
        else:
            few = X[:_CHECKED_ON]
        check_head(self.model, few, device=device)


def loaded(model: Any) -> FrozenModel:
    """A model, read if it is a path."""
    return model if isinstance(model, FrozenModel) else FrozenModel.load(model)


def samples_of(
    data: Any, model: FrozenModel, preprocessing: Steps = None, labels: Labels = "optional"
) -> Samples:
    """Take a path, Samples, inputs alone, (X, y) or (X, y, groups) as samples of a model."""
    if isinstance(data, str | os.PathLike):
        steps = preprocessing or preprocessing_for(model, [data])
        return read_samples(
            os.fspath(data),
            preprocessing=steps,
            inputs=model.inputs,
            labels=labels,
            keep_table=True,
        )
    if isinstance(data, tuple) and len(data) in (2, 3):
        X, y, groups = (*data, None)[:3]
        y, groups = (None if v is None else np.asarray(v) for v in (y, groups))
        data = Samples(X, y, groups)
    elif labels == "optional" and not isinstance(data, Samples | tuple):
        data = Samples(data)
    if not isinstance(data, Samples):
        raise InputError(f"{_DATA}.")
    if data.y is None and labels == "required":
        raise InputError("The samples have no labels (y), which are needed here; add them.")
    return with_plain_texts(data, model.inputs)


def asked_pair(
    before: Any,
    after: Any,
    read: Callable[[FrozenModel], Samples],
) -> tuple[Asked, Asked]:
    """Two models, each with the samples as it takes them."""
    # Whoever replaces one model by another feeds it the same, so the second is given what the first
    # was given, unless its inputs are others, or its own files say that its images or texts are
    # prepared in another way.
    first, second = load_pair(before, after)
    second, notes = _named_alike(first, second)
    alike = second.takes_inputs_of(first)
    one = read(first)
    one = as_recorded(one, second)
    other = one
    if not alike:
        other = read(second)
        notes += ["The two models take other inputs; each was given its own."]
    elif isinstance(one.X, ImageFiles | Texts):
        own = read(second) if _says_how(second, one) else one
        if own.preprocessing != one.preprocessing:
            other = own
            notes += [
                "The two models' files say that their inputs are prepared in two ways; each was "
                f"given its own. {' '.join(input_notes([own]))}".strip()
            ]
    if len(one) != len(other) or not _same(one.y, other.y):
        raise InputError(
            f"Read for the second model the samples are others ({len(one)} and {len(other)}, or "
            "their labels differ); give samples that both models take."
        )
    return Asked(first, one, reading_notes(one)), Asked(second, other, tuple(notes))


def reading_notes(samples: Samples) -> tuple[str, ...]:
    """What was assumed and left out in reading."""
    return (*samples.notes, *_skipped(samples), *input_notes([samples]))


def matched(asked: Asked, *, name: str, strict: bool) -> Asked:
    """Match the model's classes with the labels of its samples."""
    model, samples = asked.model, asked.samples
    if model.head is None:
        raise InputError(f"{name} has no head, so it predicts nothing; give it one first.")
    if (problem := model.not_single_label) is not None:
        raise InputError(problem)
    if samples.embedded:
        source = str(samples.sources[0]) if samples.sources else "The store"
        check_made_with(source, samples.origin or {}, model)
    if samples.y is None or not len(samples.y):
        return asked
    labels, own = np.unique(samples.y), model.head.classes
    if set(labels.tolist()) <= set(own.tolist()):
        if labels.dtype.kind in "fb" and own.dtype.kind in "iu":  # 1.0 and True are written as 1
            samples = replace(samples, y=samples.y.astype(own.dtype))
            asked = replace(asked, samples=samples)
        few = f"Of the {len(own)} classes of {name} there are samples of {listed(labels)} only."
        return replace(asked, notes=(*asked.notes, *[few] * (len(labels) < len(own))))
    try:
        found = model.matched_to(labels)
    except InputError as error:
        problem = unknown_labels(
            labels,
            own,
            what="The data",
            where=name,
            fix="use its labels, leave these samples out, or name the model's classes in the "
            "order of its logits with --classes (classes= of FrozenModel.load).",
        )
        if strict:
            raise InputError(problem or error) from error
        said = f"The labels are written as they are, and compared with nothing: {problem or error}"
        return replace(asked, notes=(*asked.notes, said))
    said = "" if found.matched_by is None else f"{name}: {found.matched_by}"
    return replace(asked, model=found, notes=(*asked.notes, *[said] * bool(said)))


def called(model: FrozenModel, otherwise: str) -> str:
    """What to call a model in sentences."""
    return otherwise if model.path is None else model.path.name


def _named_alike(first: FrozenModel, second: FrozenModel) -> tuple[FrozenModel, list[str]]:
    """The second model with the first one's names of classes, where it only numbers its own."""
    if first.head is None or second.head is None:
        return second, []
    own, others = second.head.classes.tolist(), first.head.classes.tolist()
    if second.has_class_names and (are_positions(others) or not are_positions(own)):
        return second, []
    same = len(first.head.classes) == len(second.head.classes)
    if not (first.has_class_names and same) or second.metadata.get(_NEW_HEAD) == "true":
        return second, []
    return second.with_classes(first.head.classes), [
        f"{called(second, 'The second model')} does not name its classes; they are taken to be the "
        f"first one's, in its order: {listed(first.head.classes.tolist())}."
    ]


def as_recorded(samples: Samples, model: FrozenModel) -> Samples:
    """Texts cut off and filled up as ntkit recorded it in a model, unless a user said it."""
    if not isinstance(samples.X, Texts):
        return samples
    steps = samples.X.preprocessing.as_recorded(model)
    if steps == samples.X.preprocessing:
        return samples
    return replace(samples, X=samples.X.with_steps(steps), preprocessing=steps.as_dict())


def _says_how(model: FrozenModel, samples: Samples) -> bool:
    """Whether a model's own files say how its images or texts are prepared."""
    if isinstance(samples.X, Texts):
        return TextPreprocessing.for_model(model) is not None
    found, taken = ImagePreprocessing.for_model(model), model.inputs[0]
    guess = ImagePreprocessing.for_input(taken.shape or (), taken.dtype)
    return found is not None and found.source != guess.source


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    return bool(np.array_equal(first, second))


def _skipped(samples: Samples) -> list[str]:
    shown = ", ".join(str(path) for path in samples.skipped[:5])
    n = len(samples.skipped)
    return [f"Left out {n} image(s) that cannot be decoded: {shown}."] if n else []


_ROWS = 1024  # of embeddings that are there already


@dataclass(frozen=True)
class Outcomes:
    """What a model says of consecutive samples."""

    index: Array
    probabilities: Array
    margins: Array


def outcomes_of(
    asked: Asked,
    *,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
) -> Iterator[Outcomes]:
    """Yield what a model says of its samples, in their order, a batch at a time."""
    head = asked.model.head
    assert head is not None  # matched() refuses a model without one
    done = 0
    for Z in _embeddings(asked, device, batch_size, verbose):
        with np.errstate(over="ignore", invalid="ignore"):
            logits = head.logits(Z).astype(np.float64)
        _refuse_unfinished(logits, done)
        done += len(logits)
        highest = np.partition(logits, -2, axis=1)[:, -2:]
        odds = np.exp(logits - highest[:, 1:])
        yield Outcomes(
            logits.argmax(axis=1),
            odds / odds.sum(axis=1, keepdims=True),
            highest[:, 1] - highest[:, 0],
        )


def _embeddings(
    asked: Asked, device: str, batch_size: int | str | None, verbose: bool
) -> Iterator[Array]:
    X = asked.samples.X
    if asked.samples.embedded:
        for begin in range(0, len(X), _ROWS):
            yield np.asarray(X[begin : begin + _ROWS])
        return
    embedder = OnnxEmbedder(asked.model, device=device, batch_size=batch_size, verbose=verbose)
    with closing(embedder.iter_batches(X)) as batches:  # type: ignore[type-var]
        yield from batches


def _refuse_unfinished(logits: Array, begin: int) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1)) + begin
    if len(bad):
        raise InputError(
            f"The logits of {len(bad)} sample(s) are NaN or infinite (rows {bad[:5].tolist()}"
            f"{', …' if len(bad) > 5 else ''}), so they have no class; check these inputs and the "
            "model's weights."
        )
