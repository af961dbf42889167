"""Predictions as a table on disk, written as they are computed."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._labels import guarded_cell
from ntkit._output import check_file, new_file
from ntkit._text import percent, plain
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.jobs.predict._predict import called, matched, matches_of, outcomes_of, running
from ntkit.samples import Match, input_paths, read

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_Row = tuple[int, list[str]]


@documented
@dataclass(frozen=True)
class PredictionTable:
    """Counts of the table that :func:`write_predictions` wrote.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    n_samples : int
        Its rows.
    n_labelled : int
        Samples with a true class, if all of these are classes of the model.
    n_right, n_right_before : int or None
        Of these, samples that the model, and the one before, predict rightly; None without one.
    n_changed : int or None
        Samples for which the two models predict different classes.
    {notes}
    """

    path: Path
    n_samples: int
    n_labelled: int
    n_right: int
    n_right_before: int | None = None
    n_changed: int | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**plain(self), "path": str(self.path)}

    def __str__(self) -> str:
        said = f"{self.path}: {self.n_samples} predictions"
        if self.n_labelled:
            was = ""
            if self.n_right_before is not None:
                was = f" ({percent(self.n_right_before / self.n_labelled)} before)"
            said += f", {percent(self.n_right / self.n_labelled)} right{was}"
        return said + ("." if self.n_changed is None else f", {self.n_changed} changed.")


@documented
def write_predictions(
    path: StrPath,
    model: Any,
    data: Any,
    *,
    before: Any = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    force: bool = False,
    verbose: bool = False,
) -> PredictionTable:
    """Write the predictions of one model, or of two, as a table with a row for each sample.

    The columns are ``file_name`` of images, ``id`` of a table that has such a column, else ``row``
    (from 0 on); ``label`` if the samples have labels; ``prediction``, ``margin`` (the largest
    logit less the second largest) and ``prob_CLASS`` for each class. With ``before`` there are
    ``prediction_before``, ``changed`` (0 or 1), ``margin_before`` and ``prob_before_CLASS`` as
    well. Rows are written as they are computed, and the file takes its name when all are. Text that
    a spreadsheet would take for a formula (that begins with =, +, - or @ and is no number) has an
    apostrophe before it, which ``ntkit audit --predictions`` takes off.

    Parameters
    ----------
    path : path-like
        A ``.csv`` or ``.tsv`` file.
    {job.model}
    data : path-like, Samples, array-like, or tuple (X, y) or (X, y, groups)
        As :func:`ntkit.predict` takes them.
    before : FrozenModel or path-like, optional
        Another model to compare with, such as the original one.
    {job.preprocessing, job.device, replace.force, verbose}

    Returns
    -------
    PredictionTable
        Where it is, and counts.

    Raises
    ------
    InputError
        As :func:`ntkit.predict` does, and if the file exists, cannot be written, or is none of
        these kinds; nothing is written then.
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
    """Refuse a file of another kind than those that are written."""
    if Path(path).suffix.lower() not in _DELIMITERS:
        raise InputError(f"{path} is no table; call it NAME.csv or NAME.tsv.")


def write_rows(
    path: StrPath,
    matches: Sequence[Match],
    *,
    force: bool = False,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
) -> PredictionTable:
    """As :func:`write_predictions`, of one model or the one before and the one after."""
    check_kind(path)
    read = input_paths(*(one for each in matches for one in (each.model, each.samples)))
    check_file(path, inputs=read, force=force)
    names = ("The model before", "The model")[-len(matches) :]
    models = [
        matched(each, name=called(each.model, name), strict=False)
        for each, name in zip(matches, names, strict=True)
    ]
    options: dict[str, Any] = {"device": device, "batch_size": batch_size}
    embedders = [
        running(each, verbose=verbose and each is models[-1], **options) for each in models
    ]
    outcomes = list(map(_rows, models, embedders))
    samples, classes = models[-1].samples, {*models[-1].classes.tolist()}
    count = _Counts(samples.y is not None and {*np.unique(samples.y).tolist()} <= classes)
    with new_file(path) as file, file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, delimiter=_DELIMITERS[file.suffix.lower()])
        writer.writerow(_header(models))
        for names_and_label, *parts in zip(_beginnings(samples), *outcomes, strict=True):
            row = [*names_and_label, *count.counted(names_and_label[-1], parts)]
            writer.writerow([guarded_cell(c) if isinstance(c, str) else c for c in row])
    two, labelled = len(models) == 2, count.labelled
    return PredictionTable(
        Path(path),
        count.rows,
        count.rows if labelled else 0,
        count.right,
        count.right_before if two else None,
        count.changed if two else None,
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


def _beginnings(samples: Samples) -> Iterator[list[Any]]:
    names = range(len(samples)) if samples.named_by == "row" else samples.names
    for row, name in enumerate(names):
        yield [name] if samples.y is None else [name, samples.y[row]]


def _rows(match: Match, embedder: OnnxEmbedder) -> Iterator[tuple[Any, str, list[str]]]:
    """Predicted class, margin and probabilities of each sample."""
    labels = match.classes.tolist()
    for part in outcomes_of(match, embedder):
        for index, margin, probabilities in zip(
            part.index.tolist(), part.margins.tolist(), part.probabilities.tolist(), strict=True
        ):
            yield labels[index], f"{margin:.6g}", [f"{p:.6g}" for p in probabilities]


@dataclass
class _Counts:
    """What is counted while rows are written."""

    labelled: bool
    rows: int = 0
    right: int = 0
    right_before: int = 0
    changed: int = 0

    def counted(self, label: Any, parts: Sequence[tuple[Any, str, list[str]]]) -> list[Any]:
        """Count a sample, and give its cells: predictions, margins and probabilities."""
        before, after = parts[0][0], parts[-1][0]
        changed = int(before != after)
        self.rows += 1
        self.changed += changed
        if self.labelled:
            self.right += bool(after == label)
            self.right_before += bool(before == label)
        predicted = [after] if len(parts) == 1 else [before, after, changed]
        margins = (margin for _, margin, _ in parts)
        return [*predicted, *margins, *(p for *_, each in parts for p in each)]
