"""Tables of predictions of any model, matched with their samples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ntkit._checks import check_predicted
from ntkit._join import INDEX, KEYS, matching_rows
from ntkit._labels import (
    TRUTHS,
    cell_name,
    composed,
    listed,
    meant_instead,
    plain_value,
    spelling,
    spelt_as,
    unguarded_cell,
)
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.jobs.class_of_scores import class_of_scores, places_of
from ntkit.metrics.class_order import order_notes
from ntkit.samples.columns import (
    DEFAULT_LABEL,
    Columns,
    every_label_in,
    named_labels,
    with_known_labels,
)
from ntkit.samples.copies import Places, names_rows, without_copies
from ntkit.samples.join import check_order
from ntkit.samples.kinds import TextData
from ntkit.samples.read import is_image_folder, read_samples, rows_of_files
from ntkit.samples.samples import ReadTable, Samples, as_classes
from ntkit.samples.table import (
    TABLES,
    Table,
    is_empty,
    is_prose,
    labelled,
    named_delimiter,
    read_table,
)

PREDICTIONS = ("prediction", "pred", "predicted", "y_pred")
"""Names of a column of predicted classes."""
_ROW = "row"  # ntkit predict numbers the rows from 0
_BEFORE, _OF_NEW = "prediction_before", re.compile("^(prediction|prob)")  # as predict names them
_MISSING = ("", "nan", "none", "null", "na", "n/a", "<na>")  # unless a label is called so
_ON_LABELS = ("the samples have no labels.", "--label-column has no effect here.")  # ends of notes
Complete = Literal["samples", "predictions"]


@dataclass(frozen=True)
class TableRoles:
    """The user's names for the columns of the tables."""

    label: str = DEFAULT_LABEL
    prediction: Sequence[str] = ()  # of the new model, then of the old one
    scores: Sequence[str] = ()
    text: str | None = None
    columns: Sequence[str] | None = None
    group: str = "group"
    key: str | None = None
    delimiter: str | None = None
    one: str | None = None  # of several labels
    classes: Sequence[Any] | None = None
    trusted: bool = False  # the classes of the predictions, whatever the labels say

    @property
    def sure(self) -> bool:
        """Whether the user is sure of the classes and their order."""
        return self.trusted or self.classes is not None


@dataclass(frozen=True, eq=False)
class Predicted:
    """Labelled samples, and predictions of the old model, if there is one, and of the new one."""

    # Of several labels, `samples.y` is 1, 0 and NaN, and predictions are 1 and 0, (N, labels).
    samples: Samples
    predictions: Sequence[Array]
    table: Table | None  # of the samples, if they are in a table
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    given: Samples  # with copies
    places: Places


def read_predicted(
    predictions: Path,
    data: Path,
    roles: TableRoles,
    *,
    before: Path | None = None,
    levels: Sequence[float | None] = (None,),
    complete: Complete = "samples",
) -> Predicted:
    """Read tables of predictions and their samples: a table, an image folder or arrays.

    Every sample needs a prediction, or with ``complete="predictions"`` every prediction a sample.
    """
    tables, several, of_old = _read_tables(predictions, before, roles)
    one_file = data.resolve() == predictions.resolve()
    if one_file and roles.label in roles.prediction:
        raise InputError(
            f"{predictions}: {roles.label!r} is the column of labels and of predictions. Name the "
            "column of the true labels with --label-column."
        )
    samples, table = _samples(data, tables[-1] if one_file else None, roles, several)
    samples, table, tables, notes = _aligned(samples, table, tables, roles, complete)
    notes += of_old
    _check_same_labels(samples, table, tables, roles, several)
    if several:
        samples, known, predicted, more = _of_labels(samples, table, tables, several, roles.one)
        classes: Sequence[Any] = several
    else:
        samples, known, predicted, more = _of_classes(samples, table, tables, roles, levels)
        classes = np.unique(np.concatenate([samples.y, *predicted])).tolist()
    table = None if table is None else _taken(table, known)
    if odd := {*map(composed, roles.classes or ())} - {*map(composed, classes)}:
        raise InputError(
            f"Among labelled samples, {predictions} has no class {listed(sorted(odd))}, which "
            f"--classes names. Name some of {listed(classes)}, or leave --classes out."
        )
    samples, labels = replace(samples, notes=()), several if roles.one is None else ()
    told, rows = tuple(dict.fromkeys([*notes, *more])), np.arange(len(samples))
    read = Predicted(samples, predicted, table, labels, told, samples, Places(rows, rows))
    # A column of prose may be a comment, and files have contents of their own.
    are_texts = isinstance(samples.data, TextData) and (
        roles.text or "text" in getattr(table, "columns", ())
    )
    may_repeat = table is None or (are_texts and "file_name" not in table.columns)
    return _without_copies(read) if may_repeat else read


def read_traffic(
    predictions: Path, data: Path, roles: TableRoles, classes: Sequence[str] = ()
) -> Predicted:
    """Read predictions of samples that need no labels; labels and predictions are texts.

    Labels are read if no ``classes`` are known yet, and each sample has one.
    """
    tables, several, notes = _read_tables(predictions, None, roles)
    if several:
        raise InputError(
            f"{predictions} has predictions of the labels {listed(several)}. Keep those of one, in "
            "a column 'prediction'."
        )
    if len(roles.prediction) > 1:
        raise InputError(
            f"The predictions of one label are needed, and {listed(map(repr, roles.prediction))} "
            "are of several. Name one with --prediction-column."
        )
    own = tables[0] if data.resolve() == predictions.resolve() else None
    samples, table = _samples(data, own, roles, several)
    samples, table, (new,), more = _aligned(samples, table, tables, roles, "predictions")
    notes, known, y = [*notes, *more], np.asarray([*classes]), None
    if not classes and (samples.y is not None or _has_every_label(table, new, roles)):
        known, _ = _labels(samples, table, new, roles)
    predicted = _classes(new, roles, known, None, notes)
    if len(known):
        known, predicted = _of_one_kind([known, spelt_as(predicted, known)])
    if not classes and len(known):
        notes, y = [*notes, *_on_classes(known, predicted, new)], known.astype(str)
    samples, rows = replace(samples, y=y, notes=()), np.arange(len(samples))
    told, places = tuple(dict.fromkeys(notes)), Places(rows, rows)
    return Predicted(samples, [predicted.astype(str)], new, (), told, samples, places)


def _has_every_label(table: Table | None, new: Table, roles: TableRoles) -> bool:
    """Whether a table has the label of each sample."""
    those = [each for each in (table, new) if each is not None and roles.label in each.columns]
    return any(labelled(each.columns[roles.label]).all() for each in those)


def _without_copies(read: Predicted) -> Predicted:
    """The same without copies: samples of one content with the same label and predictions."""
    # A model of any kind may read the other columns as well.
    columns = {} if read.samples.table is None else read.samples.table.rest
    also = [v for name, v in columns.items() if v.ndim == 1 and not names_rows(name, v)]
    (once,) = without_copies([read.samples], also=[*read.predictions, *also])
    table = read.table
    if table is not None and once.samples.table is not None:
        table = replace(_taken(table, once.kept), columns={**once.samples.table.columns})
    return replace(
        read,
        samples=once.samples,
        predictions=[each[once.kept] for each in read.predictions],
        table=table,
        notes=tuple(dict.fromkeys([*read.notes, *once.samples.notes])),
        places=once,
    )


def _aligned(
    samples: Samples,
    table: Table | None,
    tables: Sequence[Table],
    roles: TableRoles,
    complete: Complete,
) -> tuple[Samples, Table | None, list[Table], list[str]]:
    """Samples, their table and tables of predictions, row by row; and notes."""
    matches = [_match(each, samples, table, roles, complete) for each in tables]
    read = [each for each in (*tables, table) if each is not None]
    notes = [*(note for each in read for note in each.notes), *samples.notes]
    notes += [note for _, of_one in matches for note in of_one]
    elsewhere = any(roles.group in each.columns for each in tables)
    if samples.groups is None and table is not None and (elsewhere or roles.group != "group"):
        notes.append(f"{table.path} has no column {roles.group!r}: its samples have no groups.")
    elif samples.groups is None and table is None and elsewhere:
        notes.append(
            f"{samples.called()} has no groups. The column {roles.group!r} of the predictions is "
            "left out."
        )
    kept = np.flatnonzero(np.min([rows for rows, _ in matches], axis=0) >= 0)
    if len(kept) < len(samples):
        left = f"{len(samples) - len(kept)} of {len(samples)} samples"
        notes.append(f"{samples.called()}: left out {left}, which have no prediction.")
        samples = samples.take(kept)
    tables = [_taken(each, rows[kept]) for each, (rows, _) in zip(tables, matches, strict=True)]
    return samples, None if table is None else _taken(table, kept), tables, notes


def _of_labels(
    samples: Samples,
    table: Table | None,
    tables: Sequence[Table],
    labels: tuple[str, ...],
    one: str | None,
) -> tuple[Samples, Array, list[Array], list[str]]:
    """Samples with several labels, or with one of them; kept rows, predictions and notes."""
    predicted = [_given(each, labels) for each in tables]
    y, notes = _truths(samples, table, tables[-1], labels)
    if one is None:
        return replace(samples, y=y), np.arange(len(y)), predicted, notes
    i = labels.index(one)
    y = named_labels(np.nan_to_num(y[:, i], nan=-1), one)
    known = np.flatnonzero(y != "")
    samples = with_known_labels(replace(samples, y=y, notes=()))
    predicted = [named_labels(each[:, i], one)[known] for each in predicted]
    return samples, known, predicted, [*notes, *samples.notes]


def _of_classes(
    samples: Samples,
    table: Table | None,
    tables: Sequence[Table],
    roles: TableRoles,
    levels: Sequence[float | None],
) -> tuple[Samples, Array, list[Array], list[str]]:
    """Samples with a known class; kept rows, predictions in the same writing and notes."""
    y, have_one = _labels(samples, table, tables[-1], roles)
    known = np.flatnonzero(have_one)
    samples = with_known_labels(replace(samples, notes=()), have_one)
    notes, shared = [*samples.notes], len({each.path for each in tables}) < len(tables)
    tables = [_taken(each, known) for each in tables]
    pairs = [*zip(tables, levels, strict=True)]
    predicted = [_classes(each, roles, y, level, notes) for each, level in pairs]
    for i, (each, level) in enumerate(pairs if roles.scores else ()):
        ending = "_before" if shared and i == 0 else ""
        notes += _on_scores(each, predicted[i], ending) if level is None else []
    y = spelt_as(y, where=samples.called())
    y, *predicted = _of_one_kind([y, *(spelt_as(each, y) for each in predicted)])
    notes += [n for t, p in zip(tables, predicted, strict=True) for n in _on_classes(y, p, t)]
    return replace(samples, y=y), known, predicted, notes


# -- reading ----------------------------------------------------------------------------------


def _read(path: Path, roles: TableRoles) -> Table:
    """A table without the guards that ``ntkit predict`` puts before names and classes."""
    if path.suffix.lower() not in TABLES:
        raise InputError(
            f"{path} is not a table. With --predictions, pass a file of one of these types: "
            f"{', '.join(TABLES)}."
        )
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    table = read_table(path, named_delimiter(roles.delimiter), (roles.label, *PREDICTIONS))
    columns = {**table.columns}
    names = {roles.key, *KEYS}
    for name in names | {roles.label, *roles.prediction, *PREDICTIONS, _BEFORE}:
        if name in columns and columns[name].dtype == object:
            cells = columns[name].tolist()
            columns[name] = np.fromiter(map(unguarded_cell, cells), object, len(cells))
            of_guarded = {cell: unguarded_cell(cell) for cell in cells if isinstance(cell, str)}
            both = [c for c, plain in of_guarded.items() if c != plain and plain in of_guarded]
            if both and name not in names:
                raise InputError(
                    f"{path} has the classes {of_guarded[both[0]]!r} and {both[0]!r} in {name!r}. "
                    "ntkit writes such an apostrophe itself, so it cannot tell them apart. Rename "
                    "one of them."
                )
    return replace(table, columns=columns)


def _read_tables(
    predictions: Path, before: Path | None, roles: TableRoles
) -> tuple[list[Table], tuple[str, ...], list[str]]:
    """Predictions of the old model, if there is one, and the new one; labels of several; notes."""
    if roles.one is not None and (roles.scores or roles.prediction):
        raise InputError(
            f"--label {roles.one} reads the column prediction_{roles.one}, so it does not go with "
            "--score-columns or --prediction-column. Leave --label out, and name the labels with "
            "--label-column."
        )
    if roles.scores and roles.prediction:
        raise InputError(
            f"{predictions}: --prediction-column and --score-columns both name the predictions. "
            "Leave one of them out."
        )
    new = _read(predictions, roles)
    shared = before is not None and before.resolve() == predictions.resolve()
    several, of_old = _labels_in(new, roles, shared=shared)
    several = several or (() if roles.one is None else (roles.one,))
    if roles.one is not None and roles.one not in several:
        raise InputError(
            f"{predictions} has no predictions of the label {roles.one!r}. Name one of "
            f"{listed(several)} with --label."
        )
    notes = [
        f"{predictions}: left out {listed(of_old)}, predictions of an older model. Compare with "
        f"them: --before {predictions}"
    ] * bool(of_old)
    if before is None:
        return [new], several, notes
    old = new if shared else _read(before, roles)
    labels = () if shared or roles.one is not None else _labels_in(old, roles, shared=False)[0]
    if several and (lacking := [name for name in labels if name not in several]):
        raise InputError(
            f"{before} has predictions of the labels {listed(lacking)}, which {predictions} "
            "lacks. Add them, or name one label that both have with --label."
        )
    return [_of_old(old, roles, several, shared=shared), new], several, notes


def _of_old(table: Table, roles: TableRoles, several: Sequence[str], *, shared: bool) -> Table:
    """The table with the old model's predictions in the place of the new one's."""
    new, old = ("", "") if roles.scores else (*roles.prediction, "", "")[:2]
    if not (shared or old):
        if _BEFORE in table.columns and not roles.scores:
            raise InputError(
                f"{table.path} has predictions of two models. Name the column of the old model in "
                f"it with --prediction-column NEW,OLD, such as prediction,{_BEFORE}."
            )
        return table
    if shared and old == new != "":
        raise InputError(
            f"{table.path}: --prediction-column names {new!r} for both models. Name two columns: "
            "--prediction-column NEW,OLD."
        )
    by_column, kept = _column_of(table, roles), {**table.columns}
    used = [*roles.scores] or [f"prediction_{name}" for name in several] or [by_column]
    pairs = {new: old} if old else {n: _OF_NEW.sub(r"\1_before", n) for n in used if n}
    if shared and roles.scores and by_column:  # that of the new model
        del kept[by_column]
        kept |= {by_column: kept[_BEFORE]} if _BEFORE in kept else {}
    lacking = [o for n, o in pairs.items() if o not in table.columns or (shared and o == n)]
    if lacking:
        lacks = lacking[0] if lacking[0] not in table.columns else _BEFORE
        raise InputError(
            f"{table.path} has no column {lacks!r}; its columns are {list(table.columns)}. Name "
            "the new and the old predictions with --prediction-column NEW,OLD, or pass two tables."
        )
    columns = kept | {name: table.columns[before] for name, before in pairs.items()}
    return replace(table, columns=columns)


def _labels_in(
    table: Table, roles: TableRoles, *, shared: bool
) -> tuple[tuple[str, ...], list[str]]:
    """Names of several labels, by columns such as ``prediction_NAME``; columns of an old model."""
    if roles.prediction or roles.scores or not {*PREDICTIONS}.isdisjoint(table.columns):
        return (), []
    start, columns = "prediction_", {*table.columns}
    names = [name.removeprefix(start) for name in table.columns if name.startswith(start)]
    # A label may be called so. Else they are those of ``ntkit predict --before``, which writes what
    # changed as well, or the user asks for them.
    old = {f"before_{name}" for name in names if shared or f"changed_{name}" in columns}
    both = [name for name in names if name in old and {name, f"label_{name}"} & columns]
    if both and shared:
        raise InputError(
            f"{table.path} has the label {both[0]!r}, and {start}{both[0]} may also be the old "
            f"model's {both[0].removeprefix('before_')!r}. Pass two tables."
        )
    old -= {*both}
    left = [] if shared else [start + name for name in names if name in old]
    return tuple(name for name in names if name not in old), left


def _taken(table: Table, rows: Array) -> Table:
    """Some rows of a table, in their order."""
    columns = {name: values[rows] for name, values in table.columns.items()}
    return replace(table, columns=columns, rows=table.rows[rows])


def _samples(
    data: Path, table: Table | None, roles: TableRoles, several: Sequence[str]
) -> tuple[Samples, Table | None]:
    """Samples without their labels if they are in a table, which is returned as well."""
    if table is None and data.suffix.lower() not in TABLES:
        images = is_image_folder(data)
        samples = read_samples(
            data,
            preprocessing=ImagePreprocessing() if images else None,  # not used: no model runs
            labels="optional",
            label_column=roles.label,
            group_column=roles.group,
            text_column=roles.text,
            columns=roles.columns,
            delimiter=roles.delimiter,
            other_labels=several,
        )
        if samples.y is None and images and (data / "metadata.csv").exists() and not several:
            samples = _labelled(samples, _read(data / "metadata.csv", roles), roles)
        return samples, None
    table = _read(data, roles) if table is None else table
    groups = table.labels(roles.group, "group") if roles.group in table.columns else None
    text = text_column(table, roles)
    X: Any = np.arange(len(table))
    if text is not None:
        texts = ["" if is_empty(value) else str(value) for value in table.columns[text]]
        X = Texts(texts, TextPreprocessing(None, mask=None))
    key = roles.key or "file_name"
    ids = table.columns.get(key)
    read = ReadTable(
        table.columns, () if text is None else (text,), (roles.label, roles.group, *several)
    )
    return Samples(
        X,
        groups=groups,
        ids=None if ids is None else np.asarray([str(name) for name in ids]),
        table=read,
        sources=(data,),
    ), table


def _labelled(samples: Samples, table: Table, roles: TableRoles) -> Samples:
    """Images with their labels in a ``metadata.csv``, if it has any."""
    if roles.label not in table.columns:
        return samples
    y = _taken(table, rows_of_files(table, samples.names)).labels(roles.label, "label")
    notes = tuple(note for note in samples.notes if not note.endswith(_ON_LABELS))
    return replace(samples, y=y, notes=notes)


def text_column(table: Table, roles: TableRoles) -> str | None:
    """The column of texts: the user's, or "text", or the only one with prose."""
    if roles.text is not None:
        table.column(roles.text, "--text-column")
        return roles.text
    free = inputs_in(table, roles)
    of_texts = [name for name in table.text_columns() if name in free]
    if "text" in of_texts:
        return "text"
    prose = [name for name in of_texts if is_prose(table.columns[name])]
    return prose[0] if len(prose) == 1 else None


def inputs_in(table: Table, roles: TableRoles) -> list[str]:
    """Columns of a table without another role."""
    taken = {roles.label, roles.group, roles.key, *roles.prediction, *roles.scores}
    taken |= set() if roles.one is None else {roles.one, f"label_{roles.one}"}
    return [name for name in table.columns if name not in taken]


# -- matching ---------------------------------------------------------------------------------


def _match(
    table: Table, samples: Samples, other: Table | None, roles: TableRoles, complete: Complete
) -> tuple[Array, list[str]]:
    """Row of each sample in a table of predictions, or −1; and notes."""
    if other is not None and table.path == other.path:
        _check_each_named_once(table, roles.key)
        return np.arange(len(table)), []
    key = roles.key or _key_of(table, samples, other)
    if key is None:
        return np.arange(len(table)), _notes_on_positions(table, samples, other, roles)
    return _rows_by_name(table, samples, other, roles, complete, key)


def _check_each_named_once(table: Table, key: str | None) -> None:
    """Raise an error if a column that names samples has a name twice."""
    if key is not None:
        table.column(key, "--id-column")
    for name in [n for n in table.columns if n in (*KEYS, key)]:
        count = Counter(map(spelling, table.columns[name].tolist()))
        twice = next((each for each, n in count.items() if n > 1 and each), None)
        if twice is not None:
            raise InputError(
                f"{table.path} names {twice!r:.60} twice in {name!r}. Keep one row for each "
                "sample, or rename the column if it names something else."
            )


def _notes_on_positions(
    table: Table, samples: Samples, other: Table | None, roles: TableRoles
) -> list[str]:
    """A note that rows are matched by position; an error if they are evidently of others."""
    data = samples.called()
    if samples.ids is not None and other is None:
        raise InputError(
            f"{table.path} has no column 'file_name' to match {data} by (its first sample is "
            f"{samples.names[0]!r}). Add one, or name the column with --id-column."
        )
    if len(table) != len(samples):
        raise InputError(
            f"{data} has {len(samples)} rows, and {table.path} has {len(table)}. Name the "
            "column to match by with --id-column, or pass the same samples in the same order."
        )
    outputs = {roles.label, *roles.prediction, *roles.scores}  # labels are compared later
    facts = {n: values for n, values in table.columns.items() if n not in outputs}
    check_order(facts, [samples], str(table.path))
    return [
        f"Rows of {data} and {table.path} are matched by position. If their order may differ, "
        "name the column to match by with --id-column."
    ]


def _rows_by_name(
    table: Table,
    samples: Samples,
    other: Table | None,
    roles: TableRoles,
    complete: Complete,
    key: str,
) -> tuple[Array, list[str]]:
    """Row of each sample in a table, by a column that names both; and notes."""
    data, notes = samples.called(), list[str]()
    by_row = other is not None and key == _ROW and key not in other.columns
    if by_row and len(table) > len(samples):  # a part of the rows has new numbers
        raise InputError(
            f"{data} has {len(samples)} rows, and {table.path} numbers {len(table)} of them. "
            "Name the column to match by with --id-column, or pass all samples in their order."
        )
    names = samples.names if samples.ids is not None else [*map(str, range(len(samples)))]
    if other is not None and not by_row:
        names = [*map(cell_name, other.column(key, "--id-column").tolist())]
    written = [*map(cell_name, table.column(key, "--id-column").tolist())]
    rows = matching_rows(table.columns, names, key=key, where=str(table.path))
    unused, missing = np.setdiff1d(np.arange(len(table)), rows), np.flatnonzero(rows < 0)
    if len(unused) and complete == "predictions":
        raise InputError(
            f"{data} has no row for the sample {written[unused[0]]!r} of {table.path}. Add the "
            "row, or remove the prediction."
        )
    if len(missing) and complete == "samples":
        raise InputError(
            f"{table.path} has no prediction for {len(missing)} of the {len(rows)} samples of "
            f"{data}, such as {names[missing[0]]!r}. Add them, or remove these samples."
        )
    numbered = key in INDEX or _counts_up(written)
    if roles.key is None and numbered and not len(missing):  # new numbers, not names?
        others = {key, roles.label, *roles.prediction, *roles.scores}  # those are compared later
        facts = {n: v[rows] for n, v in table.columns.items() if n not in others}
        check_order(facts, [samples], str(table.path))
    if by_row:
        notes.append(
            f"Rows of {data} are matched by position with the row numbers in {table.path}. "
            "If their order may differ, name the column to match by with --id-column."
        )
    elif roles.key is None and other is not None:
        notes.append(f"{data} and {table.path} are matched by their column {key!r}.")
    if len(unused):
        left = f"{table.path}: left out {len(unused)} of {len(table)} predictions"
        notes.append(f"{left}, because {data} does not have these samples.")
    return rows, notes


def _counts_up(names: Sequence[str]) -> bool:
    """Whether names are the numbers of the rows, from 0 or 1 on, in their order."""
    return any(list(names) == [str(row + start) for row in range(len(names))] for start in (0, 1))


def _key_of(table: Table, samples: Samples, other: Table | None) -> str | None:
    """The column that names the samples: of both tables, or of a table and of files or rows."""
    if other is None:
        keys = (_ROW,) if samples.ids is None else KEYS
        return next((name for name in keys if name in table.columns), None)
    both = [name for name in (*KEYS, *INDEX) if name in table.columns and name in other.columns]
    for name in both:
        one, two = ([*map(str, each.columns[name])] for each in (table, other))
        same = sorted(one) == sorted(two) and len({*one}) == len(one)
        if same and name not in (*KEYS, _ROW) and _counts_up(one) and one != two:
            raise InputError(
                f"The column {name!r} has the row numbers 0, 1, 2 … in {table.path}, and in "
                f"another order in {other.path}. Call it id in both if it names the samples, or "
                "remove it if the rows are in the same order."
            )
        if name in KEYS or same:
            return name
    counted = _ROW in table.columns and all(str(row).isdigit() for row in table.columns[_ROW])
    return _ROW if counted and not both else None


def _check_same_labels(
    samples: Samples,
    table: Table | None,
    predicted: Sequence[Table],
    roles: TableRoles,
    several: Sequence[str],
) -> None:
    """Raise an error if two of the samples and the tables have different labels for a row."""
    tables = [] if table is None else [table]
    tables += [each for each in predicted if several or _has_labels(each, roles)]
    places = {each.path: each for each in tables}
    names = several if roles.one is None else (roles.one,)
    or_key = ", or name the column to match by with --id-column" * (roles.key is None)
    for name in names or (roles.label,):
        found = list[tuple[str, Array]]()
        if samples.y is not None:
            y = samples.y if samples.y.ndim == 1 else samples.y[:, several.index(name)]
            found.append((f"of {samples.called()}", y))
        for column in (name, f"label_{name}") if several else (name,):
            having = [t for t in places.values() if np.ndim(t.columns.get(column, 0)) == 1]
            found += [(f"in {column!r} of {t.path}", t.columns[column]) for t in having]
        written = [(where, [*map(_label, y.tolist())]) for where, y in found]
        for (one, first), (other, second) in combinations(written, 2):
            both = [(a, b) for a, b in zip(first, second, strict=True) if a and b]
            n = sum(a != b for a, b in both)
            if n:
                raise InputError(
                    f"{n} of {len(both)} rows have different labels {one} and {other}. Pass the "
                    f"same samples with the same labels in both{or_key}."
                )


def _label(value: Any) -> str:
    """A label in one writing; empty if it is unknown."""
    return "" if is_empty(value) else plain_value(value)


def _has_labels(table: Table, roles: TableRoles) -> bool:
    """Whether a table of predictions has the column of labels, and not as predictions."""
    predicts = roles.scores or _column_of(table, roles)
    return bool(predicts) and roles.label in table.columns and roles.label not in roles.prediction


def _column_of(table: Table, roles: TableRoles) -> str:
    """The column of predicted classes; empty if there is none."""
    names = [*roles.prediction[:1], *(name for name in PREDICTIONS if name in table.columns)]
    return names[0] if names else ""


# -- labels and predictions -------------------------------------------------------------------


def _labels(
    samples: Samples, table: Table | None, new: Table, roles: TableRoles
) -> tuple[Array, Array]:
    """Known labels of the samples, or in the table of predictions, and which samples have one."""
    if samples.y is not None:
        return np.asarray(samples.y), np.ones(len(samples), bool)
    tables = [new] if _has_labels(new, roles) else []
    tables += [table] if table is not None and roles.label in table.columns else []
    if not tables:
        where = new.path if table is None or table.path == new.path else f"{new.path}, {table.path}"
        meant = meant_instead(roles.label, [*new.columns, *(table or new).columns])
        raise InputError(
            f"{where}: no column {roles.label!r} of labels{f' (is it {meant}?)' if meant else ''}. "
            "Name it with --label-column, or pass the labelled samples as DATA."
        )
    known = [labelled(each.columns[roles.label]) for each in tables]
    i = int(np.argmax([each.sum() for each in known]))
    of_known = np.flatnonzero(known[i]) if known[i].any() else np.arange(len(known[i]))
    return _taken(tables[i], of_known).labels(roles.label, "label"), known[i]


def _truths(
    samples: Samples, table: Table | None, new: Table, names: tuple[str, ...]
) -> tuple[Array, list[str]]:
    """Several labels: 1, 0, or NaN if unknown, (N, names); and notes."""
    if samples.y is not None:
        return np.asarray(samples.y), []
    places = [
        (t, f"{start}{n}", n) for n in names for start in ("", "label_") for t in (table, new) if t
    ]
    parts = {n: t.columns[column] for t, column, n in places[::-1] if column in t.columns}
    with_labels = replace(table or new, columns=parts or (table or new).columns)
    y, notes = every_label_in(with_labels, Columns(all=names))
    return np.asarray(y), notes


def _given(table: Table, names: tuple[str, ...]) -> Array:
    """Which of several labels are predicted, (N, names)."""
    given = np.stack([table.truth(f"prediction_{name}", name) for name in names], axis=1)
    if (given < 0).any():
        row, i = np.argwhere(given < 0)[0]
        raise InputError(f"{table.at(row)} has no prediction of {names[i]!r}; fill it.")
    return given


def _classes(
    table: Table, roles: TableRoles, y: Array, level: float | None, notes: list[str]
) -> Array:
    """Predicted classes, from their column or as those of the largest score."""
    if roles.scores:
        return _of_scores(table, roles, as_classes(y), level, notes)
    name = _column_of(table, roles)
    if not name:
        raise InputError(
            f"{table.path} has no column of predictions. Its columns are {list(table.columns)}. "
            "Name the predictions with --prediction-column, or scores with --score-columns."
        )
    cells = table.column(name, "--prediction-column")
    others = [n for n in PREDICTIONS if n in table.columns and n not in (name, roles.label)]
    if others and not roles.prediction:
        notes.append(
            f"{table.path}: the predictions are in {name!r}, not in {listed(others)}. To take "
            "another column: --prediction-column NAME"
        )
    odd = {*map(str, cells)} - {*map(str, y.tolist())} if cells.ndim == 1 else ()
    if any(re.fullmatch(r"-?\d*\.\d*[1-9]\d*(e-?\d+)?", text) for text in odd):
        raise InputError(
            f"{table.path}: the column {name!r} has scores, not classes. Name the scores of the "
            f"classes with --score-columns {name}, or another column with --prediction-column."
        )
    return table.labels(name, "prediction")


def _of_scores(
    table: Table, roles: TableRoles, y: Array, level: float | None, notes: list[str]
) -> Array:
    """The class with the largest score, by the names of the columns or else by their order.

    It adds notes on a single column, on columns that count by their order, and on equal scores.
    """
    names = roles.scores
    for name in names:
        table.column(name, "--score-columns")
    values, classes = table.numbers(list(names), np.float64), np.unique(y)
    first = int(values.shape[1] == 1)  # of one class of two, the second by default
    if first + values.shape[1] != len(classes):
        raise InputError(
            f"{table.path}: --score-columns names {len(names)} column(s), and the "
            f"labels are {listed(classes)}. Name one for each class in this order; for two "
            "classes, the second's alone is enough."
        )
    index, of_scores = class_of_scores(
        values,
        y,
        classes,
        names=names,
        where=f"{table.path}: ",
        fix=f"Reorder --score-columns, or name the columns like prob_{classes[0]}. If they are "
        "right, say so with --classes.",
        level=level,
        strict=not roles.sure,
    )
    notes += of_scores
    return np.asarray(classes[index])


def _on_scores(table: Table, predicted: Array, ending: str) -> list[str]:
    """A note on rows whose scores decide for another class than their prediction, or none."""
    name = _column_of(table, TableRoles())
    if not name or table.columns[name].ndim > 1:
        return []
    pairs = zip(map(_label, table.columns[name].tolist()), predicted.tolist(), strict=True)
    n = sum(written not in ("", plain_value(decided)) for written, decided in pairs)
    return [
        f"{table.path}: the scores decide, and {name + ending!r} has another class in "
        f"{counted(n, 'labelled row')}. To take its classes, leave --score-columns out."
    ] * (n > 0)


def positive_last(read: Predicted, roles: TableRoles) -> list[str] | None:
    """Two classes whose first by name is the positive one, as the last; else None.

    It has the only column of scores, or the other class is called "not" and its name.
    """
    classes = np.unique(np.concatenate([read.samples.y, *read.predictions]))
    if read.labels or len(classes) != 2 or classes.dtype.kind not in "UO":
        return None
    first, second = classes.tolist()
    alone = len(roles.scores) == 1 and places_of(roles.scores, classes, "") == [0]
    return [second, first] if alone or second == f"not {first}" else None


def order_notes_of(
    read: Predicted, at: int, name: str, roles: TableRoles, *, strict: bool
) -> list[str]:
    """Note that predicted classes seem to be exchanged; an error if strict, unless named."""
    y, predicted = read.samples.y, read.predictions[at]
    if read.labels:
        return []
    strict = strict and not roles.sure
    classes = np.union1d(y, predicted)
    return order_notes(y, predicted, classes, name, strict=strict, of_predictions=True)


def _of_one_kind(arrays: Sequence[Array]) -> list[Array]:
    """Labels and predictions as whole numbers if all are, else as texts."""
    whole = [*arrays] if all(map(_are_truths, arrays)) else [*map(_whole, arrays)]
    mixed = len({each.dtype.kind == "U" for each in whole}) > 1
    return [each.astype(str) for each in arrays] if mixed else whole


def _are_truths(values: Array) -> bool:
    return {str(value).lower() for value in np.unique(values).tolist()} <= {*TRUTHS}


def _whole(values: Array) -> Array:
    """Classes as whole numbers if all are, also from 1.0, "1" and True; else as they are."""
    if values.dtype.kind == "U" and _are_truths(values):
        return np.asarray(np.char.lower(values) == "true").astype(np.int64)
    if values.dtype.kind == "U":
        texts = values.tolist()
        if all(re.fullmatch(r"-?\d{1,15}\.0+", text) for text in texts):
            values = np.asarray([text.split(".")[0] for text in texts])
        return as_classes(values)
    return values.astype(np.int64) if values.dtype.kind in "iufb" else values


def _on_classes(y: Array, predicted: Array, table: Table) -> list[str]:
    """Sentences on classes without labels or predictions; classes written differently raise."""
    labels, classes = np.unique(y), np.unique(predicted)
    foreign, never = np.setdiff1d(classes, labels), np.setdiff1d(labels, classes)
    if missing := [c for c in foreign.tolist() if str(c).strip().lower() in _MISSING]:
        n = counted(int(np.isin(predicted, missing).sum()), "row")
        raise InputError(
            f"{table.path} has no prediction in {n}, only {listed(missing)}. Fill the predictions, "
            "or remove these rows."
        )
    check_predicted(
        predicted,
        y,
        what=f"The prediction in {table.path}",
        where="the labels",
        fix="write the same class names in both.",
        plain=lambda label: plain_value(unguarded_cell(label)),
    )
    twins = {plain_value(c): c for c in classes.tolist()}
    if unpredicted := [c for c in never.tolist() if twins.get(plain_value(c), c) != c]:
        one, two = unpredicted[0], twins[plain_value(unpredicted[0])]
        raise InputError(
            f"The labels {one!r} and {two!r} differ only in the way they are written, and "
            f"{table.path} predicts only {two!r}. Write one name for one class."
        )
    lacks = f"{table.path} predicts {listed(foreign)}, and no sample has this label."
    never_said = f"{table.path} never predicts {listed(never)} for a labelled sample."
    return [lacks] * (len(foreign) > 0) + [never_said] * (len(never) > 0)
