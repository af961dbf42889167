"""Audit files: a table of predictions and a table of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._join import in_order, rows_named
from ntkit._labels import plain_label, unguarded_cell
from ntkit._types import Array
from ntkit.attributes import FeatureSet, array, columns, words
from ntkit.exceptions import InputError
from ntkit.jobs.audit._audit import audit
from ntkit.jobs.audit._result import Audit
from ntkit.pages import Inputs
from ntkit.samples import (
    MADE_OF_CLASSES,
    TABLES,
    Table,
    as_classes,
    named_delimiter,
    named_like_a_prediction,
    read_table,
)

_PREDICTIONS = ("prediction", "pred", "predicted", "y_pred")
_NAMING = "id"  # a column of this name in both tables matches them by default
_PROSE = 3  # a column with at least so many words per entry holds texts, not categories


@dataclass(frozen=True)
class TableRoles:
    """The user's names for the columns of the tables."""

    label: str = "label"
    prediction: str | None = None
    scores: Sequence[str] = ()
    text: str | None = None
    columns: Sequence[str] | None = None
    group: str = "group"
    key: str | None = None
    delimiter: str | None = None


def audit_tables(
    predictions: Path,
    data: Path,
    roles: TableRoles,
    *,
    metadata_file: Path | None = None,
    alpha: float = 0.05,
) -> Audit:
    """Audit a table of predictions with the table of the inputs."""
    first = _without_guards(_read(predictions, roles), roles)
    one_file, named = data.resolve() == predictions.resolve(), roles
    second, matched = first, list[str]()
    if not one_file:
        second = _read(data, roles)
        roles = replace(named, key=_key_of(first, second, named))
        if roles.key is None:
            matched.append(_by_position(second, first))
        elif named.key is None:
            matched.append(f"The two tables are matched by their column {_NAMING!r}.")
        second = _matched(second, first, roles)
    y, outcome = _outcome(first, first if roles.label in first.columns else second, roles)
    feature_sets, texts, notes = _feature_sets(second, roles, one_file)
    metadata = None
    if metadata_file is not None:
        table = _read(metadata_file, roles)
        key = _key_of(first, table, named)
        cells = table.columns
        metadata = {n: v for n, v in cells.items() if n == key or n not in MADE_OF_CLASSES}
        names = None if key is None else [str(name) for name in first.column(key, "--id-column")]
        matched += [_by_position(table, first)] if names is None else []
        metadata = in_order(metadata, names, key or "")
        feature_sets.append(columns(metadata, kind="metadata"))
    shown = Inputs(
        texts=texts,
        table={n: v for n, v in second.columns.items() if second.list_length(n) is None},
        metadata=metadata,
        ids=[str(name) for name in second.columns[roles.key]] if roles.key else None,
    )
    result = audit(y, **outcome, feature_sets=feature_sets, alpha=alpha)
    return replace(result, inputs=shown, notes=(*first.notes, *matched, *notes))


def _key_of(one: Table, other: Table, roles: TableRoles) -> str | None:
    """The column that names the samples: the user's, or ``id`` if both tables have it."""
    both = _NAMING in one.columns and _NAMING in other.columns
    return _NAMING if both and roles.key is None else roles.key


def _read(path: Path, roles: TableRoles) -> Table:
    if path.suffix.lower() not in TABLES:
        raise InputError(
            f"{path} is not a table. With --predictions, pass a file of one of these types: "
            f"{', '.join(TABLES)}."
        )
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    return read_table(path, named_delimiter(roles.delimiter), (roles.label, *_PREDICTIONS))


def _without_guards(table: Table, roles: TableRoles) -> Table:
    """The table without the guards that ``ntkit predict`` puts before names and classes."""
    plain = {**table.columns}
    for name in {roles.key, roles.label, roles.prediction, _NAMING, *_PREDICTIONS} & {*plain}:
        if name is not None and plain[name].dtype == object:
            cells = map(unguarded_cell, plain[name].tolist())
            plain[name] = np.fromiter(cells, dtype=object, count=len(plain[name]))
    return replace(table, columns=plain)


def _matched(table: Table, first: Table, roles: TableRoles) -> Table:
    """The table with its rows in the order of the predictions, and with the same labels."""
    fix = "Pass the"
    if roles.key is None:
        fix = "Name the column to match by with --id-column, or pass the"
        if len(table) != len(first):
            raise InputError(
                f"{table.path} has {len(table)} rows, and {first.path} has {len(first)}. Pass the "
                "same samples in the same order, or name the column to match by with --id-column."
            )
    else:
        names, wanted = (
            [str(name) for name in each.column(roles.key, "--id-column")] for each in (table, first)
        )
        for of_table, path in ((names, table.path), (wanted, first.path)):
            if len(set(of_table)) < len(of_table):
                raise InputError(
                    f"{path} names a sample twice in {roles.key!r}. Keep one row per sample."
                )
        rows = rows_named(names, wanted, str(table.path), roles.key)
        if (rows < 0).any():
            raise InputError(
                f"{table.path} has no row for the sample {wanted[int(np.argmin(rows))]!r} of "
                f"{first.path}. Add the row, or remove the prediction."
            )
        chosen = {name: values[rows] for name, values in table.columns.items()}
        table = replace(table, columns=chosen, rows=table.rows[rows])
    # If the labels differ, the rows may not match.
    one, two = (each.columns.get(roles.label, ()) for each in (first, table))
    pairs = zip(one, two, strict=False)  # none if one has no labels
    both = [(a, b) for a, b in pairs if _as_text(a) and _as_text(b)]
    n = sum(plain_label(a) != plain_label(b) for a, b in both)
    if n:
        raise InputError(
            f"{n} of {len(both)} rows have different labels in {roles.label!r} of {table.path} "
            f"and of {first.path}. {fix} same samples with the same labels in both."
        )
    return table


def _by_position(table: Table, first: Table) -> str:
    """Note on tables that are matched row by row."""
    return (
        f"Rows of {table.path} and {first.path} are matched by position. If their order may "
        "differ, name the column to match by with --id-column."
    )


def _outcome(table: Table, labelled: Table, roles: TableRoles) -> tuple[Array, dict[str, Any]]:
    """Labels, and predictions or scores as arguments of an audit."""
    labelled.column(roles.label, "--label-column")
    y = labelled.labels(roles.label, "label")
    if roles.scores:
        for column in roles.scores:
            table.column(column, "--score-columns")
        return as_classes(y), {"scores": table.numbers(list(roles.scores), np.float64)}
    name = roles.prediction or next((n for n in _PREDICTIONS if n in table.columns), None)
    if name is None:
        raise InputError(
            f"{table.path} has no column of predictions. Its columns are {list(table.columns)}. "
            "Name the predictions with --prediction-column, or scores with --score-columns."
        )
    table.column(name, "--prediction-column")
    pred = table.labels(name, "prediction")
    y_classes, pred_classes = as_classes(y), as_classes(pred)
    if (y_classes.dtype.kind == "U") == (pred_classes.dtype.kind == "U"):
        return y_classes, {"pred": pred_classes}
    return y, {"pred": pred}


def _feature_sets(
    table: Table, roles: TableRoles, one_file: bool
) -> tuple[list[FeatureSet], list[str] | None, list[str]]:
    """Feature sets of a table, its texts, and notes on columns left out."""
    feature_sets, notes = list[FeatureSet](), list[str]()
    taken: set[str | None] = {roles.label, roles.group, roles.prediction, roles.key, *roles.scores}
    left = [name for name in table.columns if name not in taken]
    if roles.columns is None:
        guessed = [
            n for n in left if (named_like_a_prediction(n) if one_file else n in _PREDICTIONS)
        ]
        left = [n for n in left if n not in guessed]
        guessed = [n for n in guessed if not one_file or n not in _PREDICTIONS]
        if guessed:
            shown = ", ".join(map(repr, guessed[:6]))
            notes.append(
                f"{table.path}: ntkit left out {shown}, named like a model's outputs. If they are "
                "inputs, name all columns to test with --columns."
            )
    text = _text_column(table, left, roles)
    texts = None if text is None else [_as_text(value) for value in table.columns[text]]
    feature_sets += [] if texts is None else [words(texts)]
    for name in roles.columns or ():
        table.column(name, "--columns")
    chosen = [name for name in (roles.columns or left) if name != text]
    cells = table.columns
    plain = {name: cells[name] for name in chosen if table.list_length(name) is None}
    if plain:
        feature_sets.append(columns(plain))
    lists = [name for name in chosen if name not in plain]
    feature_sets += [array(table.numbers([name]), kind=name) for name in lists]
    return feature_sets, texts, [*table.notes, *notes] if not one_file else notes


def _text_column(table: Table, names: Sequence[str], roles: TableRoles) -> str | None:
    """The column of texts: the user's, or "text", or the only one with prose."""
    if roles.text is not None:
        table.column(roles.text, "--text-column")
        return roles.text
    of_texts = [name for name in table.text_columns() if name in names]
    if "text" in of_texts:
        return "text"
    prose = [name for name in of_texts if _is_prose(table.columns[name])]
    return prose[0] if len(prose) == 1 else None


def _is_prose(values: Array) -> bool:
    some = [value for value in values[:1000] if isinstance(value, str)]
    enough = sum(len(value[:1000].split()) for value in some) >= _PROSE * len(some)
    return bool(some) and enough and len(set(some)) > len(some) / 2


def _as_text(value: Any) -> str:
    return "" if value is None or value != value else str(value)
