"""Check tables of predictions of any model; no model is run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit.exceptions import InputError
from ntkit.jobs.check._judge import check_predictions
from ntkit.jobs.check._limits import Limits
from ntkit.jobs.check._result import CheckResult
from ntkit.jobs.check._slices import known_groups, levels_of, sliced, with_default
from ntkit.jobs.tables import Predicted, TableRoles, read_predicted
from ntkit.metrics import class_order
from ntkit.samples import copies_in, copy_note


def check_tables(
    predictions: Path,
    data: Path,
    roles: TableRoles,
    *,
    before: Path | None = None,
    limits: Limits,
    slices: Sequence[str] = (),
    answers: str | os.PathLike[str] | None = None,
    threshold: float | Sequence[float] | None = None,
    metadata: Any = None,
    sure_of_classes: bool = False,
) -> CheckResult:
    """Check a table of predictions, or two, against limits, on the samples that they are of."""
    limits, notes = with_default(limits, compared=before is not None)
    if limits.changes:
        raise InputError(
            "A change of the inputs needs a model. Leave changes out, or check ONNX models."
        )
    if threshold is not None and len(roles.scores) != 1:
        raise InputError(
            "--threshold needs the scores of the positive class. Name their column with "
            "--score-columns."
        )
    levels = levels_of(threshold, 1 if before is None else 2)
    read = read_predicted(predictions, data, roles, before=before, levels=levels)
    samples, compared = read.samples, before is not None
    if read.labels and answers is not None:
        raise InputError("The answers are on the errors of one label. Name it with --label.")
    notes += read.notes
    names = _names(predictions, before)
    if not read.labels:
        notes += _order_notes(read, names, sure=sure_of_classes)
    values, limits, more = sliced(
        samples, limits, slices, answers=answers, metadata=metadata, key=roles.key
    )
    if read.labels:
        more += [copy_note(*pair) for pair in copies_in(samples.y, read.labels)]
    title, one = " compared with ".join(reversed(names)), roles.one
    result = check_predictions(
        samples.y,
        read.predictions[-1],
        y_pred_before=read.predictions[0] if compared else None,
        groups=known_groups(samples),
        slices=values,
        classes=None if one is None else [f"not {one}", one],
        labels=read.labels or None,
        names=samples.names,
        limits=limits,
        title=title if one is None else f"{title}, label {one!r}",
        notes=[*notes, *more],
    )
    return result if one is None else replace(result, labels=(one,))


def _names(predictions: Path, before: Path | None) -> list[str]:
    """Names of the tables, the old one first; with their folders if both have one name."""
    paths = [predictions] if before is None else [before, predictions]
    if before is not None and before.resolve() == predictions.resolve():
        return ["the predictions before", predictions.name]
    if len({path.name for path in paths}) < len(paths):
        return [f"{path.resolve().parent.name}/{path.name}" for path in paths]
    return [path.name for path in paths]


def _order_notes(read: Predicted, names: Sequence[str], *, sure: bool) -> list[str]:
    """Notes on classes that seem to be in another order; those of an old table raise an error."""
    notes, y = list[str](), read.samples.y
    for i, (predicted, name) in enumerate(zip(read.predictions, names, strict=True)):
        order = class_order(y, predicted, np.union1d(y, predicted))
        if order is None:
            continue
        note = f"{name}: {order.sentence(of_table=True)}"
        # A wrong order of the old model would let any new model pass.
        if i < len(names) - 1 and y.dtype.kind in "iu" and not sure:
            raise InputError(note)
        notes.append(note)
    return notes
