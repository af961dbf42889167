"""Predict samples: labels, probabilities and margins, in memory or as a table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, compress, repeat
from operator import attrgetter, eq
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._labels import guarded_cell, listed_in_order
from ntkit._output import check_file, new_file
from ntkit._shown import Bar, InNotebook, NotebookView, ShownTable
from ntkit._text import counted, listed, named_apart, percent, plain
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.jobs.matching import (
    decisions_of,
    known_rows,
    labels_compared,
    matched,
    matches_of,
    outcomes_of,
    running,
)
from ntkit.metrics.class_order import order_notes
from ntkit.model.frozen_model import name_of
from ntkit.samples.join import named_by_column
from ntkit.samples.read import read
from ntkit.samples.samples import Match, input_paths

_SHOWN = 10  # rows in a notebook

__all__ = ["Predictions", "predict", "write_predictions"]


@documented
@dataclass(frozen=True, eq=False, repr=False)
class Predictions(InNotebook):
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

    def _shown(self) -> NotebookView:
        """The first predictions, each with the probability of its class."""
        if self.labels.ndim == 2:
            having = [self.classes[has == 1].tolist() for has in self.labels[:_SHOWN]]
            return self._table_of([[listed(some, 5) or "none"] for some in having], ["labels"])
        right = [] if self.y is None else ["true"]
        rows, bars, classes = list[list[str]](), list[Bar](), self.classes.tolist()
        for i, label in enumerate(self.labels[:_SHOWN].tolist()):
            share = float(self.probabilities[i, classes.index(label)])  # below a half at thresholds
            true = [] if self.y is None else [str(self.y[i])]
            rows.append([str(label), percent(share), f"{self.margins[i]:.3g}", *true])
            bars.append(Bar(share))
        return self._table_of(rows, ["predicted", "probability", "margin", *right], bars)

    def _table_of(
        self, rows: list[list[str]], header: list[str], bars: Sequence[Bar] = ()
    ) -> NotebookView:
        """The first samples by name, each with some cells."""
        names = range(len(self)) if self.names is None else self.names
        named = [[str(name), *row] for name, row in zip(names, rows, strict=False)]
        more = f"First {_SHOWN} of {len(self)}." if len(self) > _SHOWN else ""
        table = ShownTable([["sample", *header], *named], bars, bars_show="probability")
        return NotebookView([self._in_short(), more], [table])

    def __repr__(self) -> str:
        return f"Predictions({self._in_short()})"

    def _in_short(self) -> str:
        """Numbers of samples and classes, and the accuracy of known labels."""
        right = ""
        several = self.labels.ndim == 2
        y = np.empty(0) if self.y is None else np.asarray(self.y)
        known = (y == y) & (y != "")
        if np.any(known) and (several or np.isin(y[known], self.classes).all()):
            right = f", {percent(np.mean((self.labels == y)[known]))} right"
            some = f" of {known.sum()} {'known labels' if several else 'labelled ones'}"
            right += some * (not known.all())
        what = "labels" if several else "classes"
        return f"{len(self)} samples, {len(self.classes)} {what}{right}"


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
        at = known_rows(match.samples)
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


_ALL: Any = {"every_label": True, "keep_unknown": True}  # samples of a model with several labels


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
    equal = listed((f"{a!r} = {b!r}" for a, b in pairs if a != b), 8)
    note = f"{called} has other names for its classes, which count as equal: {equal}."
    return replace(renamed, notes=(*old.notes, note))


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
            of = f" of {self.n_labelled} labels" if self.changed_labels is not None else ""
            if not of and self.n_labelled < self.n_samples:
                of = f" of {self.n_labelled} labelled ones"
            lines[0] += f" Accuracy{of}: {before}{percent(self.n_right / self.n_labelled)}."
        if self.n_changed is not None:
            lines[0] += f" The two models differ on {counted(self.n_changed, 'sample')}"
            changed = [f"{name!r} on {n}" for name, n in (self.changed_labels or {}).items() if n]
            lines[0] += f": {listed(changed, 12)}." if changed else "."
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
            if n_labelled and truth != [""]:  # unknown, also if a class has the name ""
                counts["right"] += sum(map(eq, predicted[-1], truth))
                counts["right before"] += sum(map(eq, predicted[0], truth))
            for of_model, one in zip(given, predicted, strict=True):
                of_model += one * compared
            row = [name, *_cells(truth, parts, changed, labels)]
            writer.writerow([guarded_cell(c) if isinstance(c, str) else c for c in row])
    notes += chain(*map(attrgetter("notes"), models))
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
    y, at = np.asarray(samples.y), known_rows(samples)
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
