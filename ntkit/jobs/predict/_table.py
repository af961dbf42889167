"""Predictions as a table on disk, written as they are computed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import StrPath
from ntkit._labels import guarded_cell
from ntkit._output import check_file, new_file
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, Samples, TextPreprocessing
from ntkit.jobs.predict._models import (
    Asked,
    asked_pair,
    called,
    loaded,
    matched,
    outcomes_of,
    reading_notes,
    samples_of,
)
from ntkit.model import FrozenModel
from ntkit.samples import input_paths

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ID = "id"
_Row = tuple[int, list[str]]


@dataclass(frozen=True)
class PredictionTable:
    """What :func:`write_predictions` wrote.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    n_samples : int
        Its rows.
    n_labelled : int
        Samples of which the true class is known, if all of these are classes of the model.
    n_right, n_right_before : int or None
        Of these, samples that the model, and the one before, predict rightly; None without one.
    n_changed : int or None
        Samples of which the two models predict different classes.
    notes : tuple of str
        What was assumed, one sentence each.
    """

    path: Path
    n_samples: int
    n_labelled: int
    n_right: int
    n_right_before: int | None = None
    n_changed: int | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values.

        Returns
        -------
        dict
        """
        return {**self.__dict__, "path": str(self.path), "notes": list(self.notes)}

    def __str__(self) -> str:
        said = f"{self.path}: {self.n_samples} predictions"
        if self.n_labelled:
            was = ""
            if self.n_right_before is not None:
                was = f" ({100 * (self.n_right_before / self.n_labelled):.1f} % before)"
            said += f", {100 * (self.n_right / self.n_labelled):.1f} % right{was}"
        return said + ("." if self.n_changed is None else f", {self.n_changed} changed.")


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
    """Write what a model, or two of them, predict of samples, a row each.

    The columns are ``file_name`` of images, ``id`` of a table that has such a column, else ``row``
    (from 0 on); ``label`` where the samples have labels; ``prediction``, ``margin`` (the largest
    logit less the second largest) and ``prob_CLASS`` for each class. With ``before`` there are
    ``prediction_before``, ``changed`` (0 or 1), ``margin_before`` and ``prob_before_CLASS`` beside
    them. Rows are written as they are computed, and the file takes its name when all are. Text that
    a spreadsheet would take for a formula (that begins with =, +, - or @ and is no number) has an
    apostrophe before it, which ``ntkit audit --predictions`` takes off.

    Parameters
    ----------
    path : path-like
        A ``.csv`` or ``.tsv`` file.
    model : FrozenModel or path-like
        ONNX classifier.
    data : path-like, Samples, array-like, or tuple (X, y) or (X, y, groups)
        As :func:`ntkit.predict` takes them.
    before : FrozenModel or path-like, optional
        Another model, such as the original one, to stand beside it.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        As in :func:`ntkit.debias`; for both models.
    device, batch_size : optional
        As in :class:`ntkit.OnnxEmbedder`.
    force : bool, default=False
        Whether to replace a file that exists.
    verbose : bool, default=False
        Show a progress bar when it takes longer than a second.

    Returns
    -------
    PredictionTable

    Raises
    ------
    InputError
        As :func:`ntkit.predict` does, and if the file exists, cannot be written, or is none of
        these kinds; nothing is written then.
    VerificationError
        If the head found is not what the model computes with.

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
    ...     done = write_predictions(file, marked_digits_model_path(), data, device="cpu")
    ...     print(file.read_text().partition(chr(10))[0])
    row,label,prediction,margin,prob_0,prob_1
    >>> done.n_samples, done.n_right
    (2000, 1463)
    """

    def read(frozen: FrozenModel) -> Samples:
        return samples_of(data, frozen, preprocessing)

    check_kind(path)
    if before is None:
        frozen = loaded(model)
        samples = read(frozen)
        asked = Asked(frozen, samples, reading_notes(samples))
        return write_asked(path, asked, force=force, device=device, batch_size=batch_size,
                           verbose=verbose)  # fmt: skip
    first, second = asked_pair(before, model, read)
    return write_asked(path, second, first, force=force, device=device, batch_size=batch_size,
                       verbose=verbose)  # fmt: skip


def check_kind(path: StrPath) -> None:
    """Refuse a file of another kind than those that are written."""
    if Path(path).suffix.lower() not in _DELIMITERS:
        raise InputError(f"{path} is no table; call it NAME.csv or NAME.tsv.")


def write_asked(
    path: StrPath,
    after: Asked,
    before: Asked | None = None,
    *,
    force: bool = False,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
) -> PredictionTable:
    """As :func:`write_predictions`, of samples that are read."""
    check_kind(path)
    given = [each for each in (before, after) if each is not None]
    read = input_paths(*(one for each in given for one in (each.model, each.samples)))
    check_file(path, inputs=read, force=force)
    names = ("The model before", "The model") if before is not None else ("The model",)
    models = [
        matched(each, name=called(each.model, name), strict=False)
        for each, name in zip(given, names, strict=True)
    ]
    for each in models:
        each.check(device)
    outcomes = [
        _rows(each, device=device, batch_size=batch_size, verbose=verbose and each is models[-1])
        for each in models
    ]
    count = _Counts(models)
    with new_file(path) as file, file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, delimiter=_DELIMITERS[file.suffix.lower()])
        writer.writerow(_header(models))
        writer.writerows(
            [guarded_cell(cell) if isinstance(cell, str) else cell for cell in row]
            for row in count.counted(zip(_beginnings(models[-1].samples), *outcomes, strict=True))
        )
    return count.table(Path(path), tuple(dict.fromkeys(n for m in models for n in m.notes)))


def _header(models: list[Asked]) -> list[str]:
    samples = models[-1].samples
    key, _ = _names(samples)
    columns = [key, *["label"] * (samples.y is not None)]
    pair = len(models) == 2
    columns += ["prediction_before"] * pair + ["prediction"] + ["changed"] * pair
    columns += ["margin_before"] * pair + ["margin"]
    for each, prefix in zip(models, ("prob_before", "prob")[-len(models) :], strict=True):
        columns += [f"{prefix}_{label}" for label in _classes(each)]
    return columns


def _names(samples: Samples) -> tuple[str, Callable[[int], Any]]:
    """Column that names the samples, and the name of each."""
    if samples.ids is not None:
        ids = samples.ids
        return "file_name", lambda row: ids[row]
    table = samples.table
    if table is not None and _ID in table.rest and table.rest[_ID].ndim == 1:
        named = table.rest[_ID]
        return _ID, lambda row: named[row]
    return "row", lambda row: row


def _beginnings(samples: Samples) -> Iterator[list[Any]]:
    name = _names(samples)[1]
    for row in range(len(samples)):
        yield [name(row)] if samples.y is None else [name(row), samples.y[row]]


def _rows(asked: Asked, **options: Any) -> Iterator[tuple[Any, str, list[str]]]:
    """Predicted class, margin and probabilities of each sample."""
    labels = _classes(asked)
    for part in outcomes_of(asked, **options):
        for index, margin, probabilities in zip(
            part.index.tolist(), part.margins.tolist(), part.probabilities.tolist(), strict=True
        ):
            yield labels[index], f"{margin:.6g}", [f"{p:.6g}" for p in probabilities]


def _classes(asked: Asked) -> list[Any]:
    assert asked.model.head is not None
    found: list[Any] = asked.model.head.classes.tolist()
    return found


class _Counts:
    """What is counted on the way."""

    def __init__(self, models: list[Asked]) -> None:
        y = models[-1].samples.y
        self._labelled = y is not None and set(np.unique(y).tolist()) <= {*_classes(models[-1])}
        self._right = [0] * len(models)
        self._changed = self._rows = 0

    def counted(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[list[Any]]:
        """Count rows, and give them as they are written."""
        for beginning, *outcomes in rows:
            predicted = [label for label, _, _ in outcomes]
            self._rows += 1
            if self._labelled:
                for i, label in enumerate(predicted):
                    self._right[i] += bool(label == beginning[1])
            changed = int(predicted[0] != predicted[-1])
            self._changed += changed
            said = [predicted[0]] if len(predicted) == 1 else [*predicted, changed]
            margins = [margin for _, margin, _ in outcomes]
            yield [*beginning, *said, *margins, *(p for *_, each in outcomes for p in each)]

    def table(self, path: Path, notes: tuple[str, ...]) -> PredictionTable:
        """What was counted."""
        pair = len(self._right) == 2
        return PredictionTable(
            path,
            self._rows,
            self._rows if self._labelled else 0,
            self._right[-1],
            self._right[0] if pair else None,
            self._changed if pair else None,
            notes,
        )
