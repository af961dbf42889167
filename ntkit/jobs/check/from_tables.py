"""Check tables of predictions of any model; no model is run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ntkit._text import named_apart
from ntkit.exceptions import InputError
from ntkit.jobs.check._limits import Limits
from ntkit.jobs.check._result import CheckResult
from ntkit.jobs.check._samples import checked, levels_of, sliced, with_default
from ntkit.jobs.tables import Predicted, TableRoles, order_notes_of, positive_last, read_predicted
from ntkit.samples.join import Metadata


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
    tables: list[Predicted] | None = None,
) -> CheckResult:
    """Check a table of predictions, or two, against limits, on the samples that they are of.

    It adds what it read to ``tables``.
    """
    limits, notes = with_default(limits, compared=before is not None)
    if limits.changes:
        raise InputError(
            "A change of the inputs needs a model. Leave changes out, or check ONNX models."
        )
    if threshold is not None and len(roles.scores) not in (1, 2):
        raise InputError(
            "A threshold needs the scores of the positive class of two. Name their column with "
            "--score-columns."
        )
    levels = levels_of(threshold, 1 if before is None else 2)
    read = read_predicted(predictions, data, roles, before=before, levels=levels)
    if tables is not None:
        tables.append(read)
    paths = [predictions] if before is None else [before, predictions]
    names = named_apart(paths, ("the predictions before", "the predictions")[-len(paths) :])
    notes = [*notes, *read.notes]
    for i, name in enumerate(names):
        # A wrong order of the old model would let any new model pass.
        old = name != names[-1]
        notes += order_notes_of(read, i, name, roles, strict=old)
    asked = bool(slices or limits.slices or answers)
    if metadata is not None or (asked and len(read.samples) < len(read.given)):
        metadata = Metadata.of(metadata, [read.given], roles.key)
        metadata = metadata and metadata.without_copies(read.places)
    values, limits, more = sliced(
        read.samples, limits, slices, answers=answers, metadata=metadata, key=roles.key
    )
    one = roles.one
    classes = None if one is None else [f"not {one}", one]
    if one is None and any(name is None for _, name in limits.of_classes):
        classes = positive_last(read, roles)
    return checked(
        read.samples, read.predictions, values, limits, names, [*notes, *more],
        labels=read.labels, one=one, classes=classes,
    )  # fmt: skip
