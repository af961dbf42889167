"""Predictions of models in memory and as a table on disk."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._labels import guarded_cell, listed, unknown_labels
from ntkit._output import check_file, new_file
from ntkit._text import counted, percent, plain
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.model import FrozenModel, loaded, name_of
from ntkit.model.class_names import are_positions
from ntkit.samples import Match, first_rows, input_paths, read
from ntkit.verification import check_head, load_pair


@documented
@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """Predictions of a model for N samples, returned by :func:`predict`.

    Attributes
    ----------
    classes : ndarray of shape (C,)
        Class labels, in the order of the model's logits.
    labels : ndarray of shape (N,)
        Predicted class of each sample.
    probabilities : ndarray of float64, shape (N, C)
        Softmax or sigmoid of the logits, in the order of ``classes``.
    margins : ndarray of float64, shape (N,)
        Largest logit minus the second largest.
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
        if self.y is not None and len(self) and np.isin(self.y, self.classes).all():
            right = f", {percent(np.mean(self.labels == self.y))} right"
        return f"Predictions({len(self)} samples, {len(self.classes)} classes{right})"


@documented
def predict(
    model: Any,
    data: Any,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool = False,
) -> Predictions:
    """Predict the classes of samples with a model.

    ntkit runs the network in ONNX Runtime up to its embedding, and the last layer in NumPy. It
    checks on the first samples that both together agree with the whole model.

    Parameters
    ----------
    {job.model}
    data : path-like, Samples, array-like, or tuple (X, y) or (X, y, groups)
        Samples in a form that :func:`ntkit.extraction.read_samples` reads, or model inputs. Labels
        are optional.
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
    model = loaded(model, any_scores=True)
    samples = read(data, model, labels="optional", preprocessing=preprocessing)
    match = matched(samples.for_model(model), name=name_of(model, "The model"), strict=False)
    embedder = running(match, device=device, batch_size=batch_size, verbose=verbose)
    parts = list(outcomes_of(match, embedder))
    classes = match.classes
    index = np.concatenate([part.index for part in parts] or [np.empty(0, int)])
    none = np.empty((0, len(classes)))
    return Predictions(
        classes,
        classes[index],
        np.concatenate([part.probabilities for part in parts] or [none]),
        np.concatenate([part.margins for part in parts] or [none[:, 0]]),
        match.samples.y,
        samples.ids,
        match.notes,
    )


_CHECKED_ON = 8  # samples
_NEW_HEAD = "ntkit.new_head"


def running(match: Match, *, device: str, **options: Any) -> OnnxEmbedder:
    """An embedder of a model, after a check that its head is the one in the graph."""
    embedder = OnnxEmbedder(match.model, device=device, **options)
    raw = match.model.scores is None and not match.samples.embedded
    if raw and len(match.samples):
        check_head(embedder, first_rows(match.samples.X, _CHECKED_ON), device=device)
    return embedder


def matches_of(models: Sequence[Any], read: Callable[[FrozenModel], Samples]) -> list[Match]:
    """One model, or the old and the new one, each with samples in the form of its inputs."""
    # A new model replaces an old one behind the same preprocessing. So both get the same inputs,
    # unless the second model's inputs differ, or its files name another preprocessing. `read` must
    # return the same samples with the same labels for both.
    if len(models) == 1:
        model = loaded(models[0], any_scores=True)
        return [read(model).for_model(model)]
    first, second = load_pair(*models, any_scores=True)
    second, notes = _named_alike(first, second)
    alike = second.takes_inputs_of(first)
    one = read(first)
    one = one.as_recorded(second)
    other = one
    if not alike:
        other = read(second)
        notes += ["The two models take different inputs, so each gets its own."]
    elif one.steps is not None:
        taken = second.inputs[0]
        if one.kind == "texts":
            named = TextPreprocessing.for_model(second) is not None
        else:  # the files of the model name the preprocessing of its images
            steps = ImagePreprocessing.for_model(second)
            guess = ImagePreprocessing.for_input(taken.shape or (), taken.dtype)
            named = steps is not None and steps.source != guess.source
        as_second = read(second) if named else one
        if as_second.preprocessing != one.preprocessing:
            other = as_second
            notes += [
                "The files of the two models name different preprocessing, so each model gets its "
                f"own. {as_second.input_note()}".strip()
            ]
    if len(one) != len(other) or not np.array_equal(one.y, other.y):
        raise InputError(
            f"The two models read different samples ({len(one)} and {len(other)}, or other "
            "labels). Pass samples that both models take."
        )
    return [one.for_model(first), Match(second, other, tuple(notes))]


def matched(match: Match, *, name: str, strict: bool) -> Match:
    """Match the model's classes with the labels of its samples."""
    # Unknown labels are an error if `strict`, else a note.
    model, samples = match.model, match.samples
    if model.head is None:
        raise InputError(f"{name} has no head, so it makes no predictions. Pass a classifier.")
    if (problem := model.not_single_label) is not None:
        raise InputError(problem)
    samples.check_made_with(model, "The store")
    try:
        matching = samples.fit_to(model, name=model.path.name if model.path else "")
    except InputError as error:
        problem = unknown_labels(
            np.unique(samples.y),
            model.head.classes,
            what="The data",
            where=name,
            fix="use the model's labels, remove these samples, or name the model's classes in the "
            "order of its logits with --classes (classes= of FrozenModel.load).",
        )
        if strict:
            raise InputError(problem or error) from error
        note = f"The labels are written, but not compared with the predictions: {problem or error}"
        return replace(match, notes=(*match.notes, note))
    return replace(matching, notes=(*match.notes, *matching.notes))


def _named_alike(first: FrozenModel, second: FrozenModel) -> tuple[FrozenModel, list[str]]:
    """The second model, with the first one's class names if it has only numbers."""
    if first.head is None or second.head is None:
        return second, []
    classes, others = second.head.classes.tolist(), first.head.classes.tolist()
    if second.has_class_names and (are_positions(others) or not are_positions(classes)):
        return second, []
    same = len(first.head.classes) == len(second.head.classes)
    if not (first.has_class_names and same) or second.metadata.get(_NEW_HEAD) == "true":
        return second, []
    return second.with_classes(first.head.classes), [
        f"{name_of(second, 'The second model')} does not name its classes, so ntkit takes those of "
        f"the first model in its order: {listed(first.head.classes.tolist())}."
    ]


_ROWS = 1024  # rows of a batch of stored embeddings


@dataclass(frozen=True)
class Outcomes:
    """Predictions of a model for consecutive samples."""

    index: Array
    probabilities: Array
    margins: Array


def outcomes_of(match: Match, embedder: OnnxEmbedder) -> Iterator[Outcomes]:
    """Yield the predictions of a model, batch by batch, in the order of the samples."""
    head = match.model.head
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
            highest = np.partition(logits, -2, axis=1)[:, -2:]
            odds = np.exp(logits - highest[:, 1:])
            own = match.model.scores is not None and _are_probabilities(logits)
            yield Outcomes(
                logits.argmax(axis=1),
                logits if own else odds / odds.sum(axis=1, keepdims=True),
                highest[:, 1] - highest[:, 0],
            )


_ROUNDING = 1e-3  # of float16 probabilities


def _are_probabilities(scores: Array) -> bool:
    """Whether each row of scores sums to 1, without a negative one."""
    total = scores.sum(axis=1)
    return bool((scores > -_ROUNDING).all() and (np.abs(total - 1) < _ROUNDING).all())


_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@documented
@dataclass(frozen=True)
class PredictionTable:
    """Path and counts of a table of predictions, returned by :func:`write_predictions`."""

    path: Path
    n_samples: int
    n_labelled: int
    n_right: int
    n_right_before: int | None = None
    n_changed: int | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        return {**plain(self), "path": str(self.path)}

    def __str__(self) -> str:
        lines = [f"Predicted {counted(self.n_samples, 'sample')}."]
        if self.n_labelled:
            before = ""
            if self.n_right_before is not None:
                before = f"{percent(self.n_right_before / self.n_labelled, unit='')} → "
            lines[0] += f" Accuracy: {before}{percent(self.n_right / self.n_labelled)}."
        if self.n_changed is not None:
            lines[0] += f" The two models differ on {counted(self.n_changed, 'sample')}."
        return "\n".join([*lines, f"Written: {self.path}"])


@documented
def write_predictions(
    path: StrPath,
    model: Any,
    data: Any,
    *,
    before: Any = None,
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
    reader = partial(read, data, labels="optional", preprocessing=preprocessing)
    matches = matches_of([model] if before is None else [before, model], reader)
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
) -> PredictionTable:
    """Like :func:`write_predictions`, for models that are matched with their samples."""
    check_kind(path)
    read = input_paths(*(one for each in matches for one in (each.model, each.samples)))
    check_file(path, inputs=read, force=force)
    names = ("The earlier model", "The model")[-len(matches) :]
    models = [
        matched(each, name=name_of(each.model, name), strict=False)
        for each, name in zip(matches, names, strict=True)
    ]
    options: dict[str, Any] = {"device": device, "batch_size": batch_size}
    embedders = [
        running(each, verbose=verbose and each is models[-1], **options) for each in models
    ]
    outcomes = list(map(_rows, models, embedders))
    samples, classes = models[-1].samples, {*models[-1].classes.tolist()}
    labelled = samples.y is not None and {*np.unique(samples.y).tolist()} <= classes
    counts = Counter[str]()
    with new_file(path) as file, file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, delimiter=_DELIMITERS[file.suffix.lower()])
        writer.writerow(_header(models))
        named = range(len(samples)) if samples.named_by == "row" else samples.names
        labels = repeat(None, len(samples)) if samples.y is None else samples.y
        for name, label, *parts in zip(named, labels, *outcomes, strict=True):
            predicted, margins, probabilities = zip(*parts, strict=True)
            before, after = predicted[0], predicted[-1]
            counts["changed"] += before != after
            counts["right"] += labelled and bool(after == label)
            counts["right before"] += labelled and bool(before == label)
            row = [
                *(name, *[label] * (samples.y is not None), *predicted),
                *([int(before != after)] * (len(parts) == 2)),
                *(*margins, *chain.from_iterable(probabilities)),
            ]
            writer.writerow([guarded_cell(c) if isinstance(c, str) else c for c in row])
    two = len(models) == 2
    return PredictionTable(
        Path(path),
        len(samples),
        len(samples) if labelled else 0,
        counts["right"],
        counts["right before"] if two else None,
        counts["changed"] if two else None,
        tuple(dict.fromkeys(note for each in models for note in each.notes)),
    )


def _header(models: list[Match]) -> list[str]:
    samples, suffixes = models[-1].samples, ("_before", "")[-len(models) :]
    changed = ["changed"] * (len(models) == 2)
    return [
        samples.named_by,
        *["label"] * (samples.y is not None),
        *(f"prediction{suffix}" for suffix in suffixes),
        *changed,
        *(f"margin{suffix}" for suffix in suffixes),
        *(
            f"prob{suffix}_{label}"
            for suffix, each in zip(suffixes, models, strict=True)
            for label in each.classes.tolist()
        ),
    ]


def _rows(match: Match, embedder: OnnxEmbedder) -> Iterator[tuple[Any, str, list[str]]]:
    """Predicted class, margin and probabilities of each sample, formatted for the table."""
    labels = match.classes.tolist()
    for part in outcomes_of(match, embedder):
        for index, margin, probabilities in zip(
            part.index.tolist(), part.margins.tolist(), part.probabilities.tolist(), strict=True
        ):
            yield labels[index], f"{margin:.6g}", [f"{p:.6g}" for p in probabilities]
