"""Audit tables of predictions of any model; no model is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ntkit._labels import listed
from ntkit.attributes import FeatureSet, columns, words
from ntkit.attributes.feature_set import array
from ntkit.exceptions import InputError
from ntkit.jobs.attribute_reader import AuditedImages, of_inputs
from ntkit.jobs.audit.from_predictions import audit
from ntkit.jobs.audit.labels import attributes_of
from ntkit.jobs.audit.result import Audit
from ntkit.jobs.tables import PREDICTIONS, TableRoles, inputs_in, read_predicted
from ntkit.samples.columns import named_like_a_prediction
from ntkit.samples.join import Metadata
from ntkit.samples.samples import Samples
from ntkit.samples.table import Table, is_prose


def audit_tables(
    predictions: Path,
    data: Path,
    roles: TableRoles,
    *,
    metadata_file: Path | None = None,
    alpha: float = 0.05,
) -> Audit:
    """Audit a table of predictions with the samples that they are of; no model is run."""
    read = read_predicted(predictions, data, roles, complete="predictions")
    if read.labels:
        raise InputError(
            f"{predictions} has predictions of {len(read.labels)} labels. Name one of them with "
            f"--label, such as --label {read.labels[0]}."
        )
    samples, table = read.samples.measured(AuditedImages), read.table
    looks, notes = samples.looks(), list[str]()
    if table is not None:
        feature_sets, notes = _feature_sets(
            table, samples, roles, data.resolve() == predictions.resolve()
        )
        single = {n: v for n, v in table.columns.items() if table.list_length(n) is None}
        looks = replace(looks, table=single)
    else:
        feature_sets = [*of_inputs(samples, looks, notes)]
        if samples.embedded:
            feature_sets.append(array(np.asarray(samples.X), kind="embedding"))
    metadata = Metadata.of(metadata_file, [read.given], roles.key)
    if metadata is not None:
        metadata = metadata.without_copies(read.places)
        feature_sets.append(columns(metadata.columns, kind="metadata"))
        looks = replace(looks, metadata=metadata.columns)
        notes.append(metadata.note)
    if roles.one is not None:
        feature_sets = attributes_of(feature_sets, roles.one, [roles.one], samples.y == roles.one)
    result = audit(
        samples.y,
        read.predictions[0],
        feature_sets=feature_sets,
        alpha=alpha,
        trust_inputs=roles.sure,
    )
    notes += filter(None, [samples.shown_names[1]])
    notes = [*read.notes, *notes, *result.notes]
    return replace(result, inputs=looks, notes=tuple(notes), label=roles.one)


def _feature_sets(
    table: Table, samples: Samples, roles: TableRoles, one_file: bool
) -> tuple[list[FeatureSet], list[str]]:
    """Feature sets of a table, and notes on columns left out."""
    left, notes = inputs_in(table, roles), list[str]()
    if roles.columns is None:
        left, notes = _without_outputs(table, left, one_file)
    texts = samples.looks().texts
    feature_sets = [] if texts is None else [words(texts)]
    prose = [n for n in table.text_columns() if n in left and is_prose(table.columns[n])]
    if texts is None and len(prose) > 1:
        notes.append(
            f"{table.path}: ntkit tested no words, because {listed(prose, 6)} hold texts. Name one "
            "with --text-column."
        )
    for name in roles.columns or ():
        table.column(name, "--columns")
    of_texts = samples.table.inputs if samples.table is not None else ()
    chosen = [name for name in (roles.columns or left) if name not in of_texts]
    plain = {name: table.columns[name] for name in chosen if table.list_length(name) is None}
    if plain:
        feature_sets.append(columns(plain))
    lists = [name for name in chosen if name not in plain]
    feature_sets += [array(table.numbers([name]), kind=name) for name in lists]
    return feature_sets, notes


def _without_outputs(
    table: Table, names: Sequence[str], one_file: bool
) -> tuple[list[str], list[str]]:
    """Columns without those named like a model's outputs, and a note on these."""
    left_out = [n for n in names if (named_like_a_prediction(n) if one_file else n in PREDICTIONS)]
    told = [repr(n) for n in left_out if not one_file or n not in PREDICTIONS]
    note = (
        f"{table.path}: ntkit left out {', '.join(told[:6])}, named like a model's outputs. If "
        "they are inputs, name all columns to test with --columns."
    )
    return [n for n in names if n not in left_out], [note] * bool(told)
