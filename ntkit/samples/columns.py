"""Samples from a table: which columns are texts, model inputs, labels, or not used."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkit import _text
from ntkit._checks import by_names
from ntkit._join import columns_of
from ntkit._labels import composed, meant_instead
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.samples.samples import ReadTable, Samples, as_classes, columns_in_order
from ntkit.samples.table import Table, is_aside, is_empty, labelled, named_once

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.graph.tensors import TensorInfo

DEFAULT_LABEL, DEFAULT_GROUP = "label", "group"
_SOME_ROWS = 10  # if more than half of the labels are distinct, they are not classes
_FRAME = "The DataFrame"
_AS_CHOSEN, _AS_RECORDED = "as given", "as the model's metadata say"
_AS_FOUND = "as the table has them; the model names none"
_SOME_CATEGORIES = 20
_WHOLE = re.compile(r"-?\d{1,15}\.0+")
_OF_A_MODEL = re.compile(r"(?:y_?)?(?:pred|prob|logit|score)", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Roles of the columns of a table."""

    label: str = DEFAULT_LABEL
    group: str = DEFAULT_GROUP
    text: str | None = None
    pair: str | None = None
    inputs: tuple[str, ...] | None = None
    labels_required: bool = True
    some_unknown: bool = False  # whether empty cells of labels are allowed
    keep_table: bool = False
    classes: tuple[Any, ...] = ()  # of the model
    # Of samples with several labels: the one to read (None: every label), and all of the model.
    one: str | None = None
    all: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """Candidate names in a header."""
        names = (self.label, self.group, self.text, self.pair, *(self.inputs or ()), *self.all)
        return tuple(name for name in names if name is not None)

    @property
    def every(self) -> bool:
        """Whether each of several labels is read, from a column of its name."""
        return self.one is None and bool(self.all)

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns of labels and groups, not inputs."""
        return (self.label, self.group, *self.all)

    def unused(
        self, where: Path, columns: Collection[str] = (), used: Collection[str] = ()
    ) -> list[str]:
        """Notes on columns that the user named, and that are not there or not read."""
        label = "" if self.label in (DEFAULT_LABEL, self.one) else self.label
        named = [
            ("--label-column", label),
            ("--group-column", "" if self.group == DEFAULT_GROUP else self.group),
            ("--text-column", self.text),
            ("--text-pair-column", self.pair),
            *(("--columns", name) for name in self.inputs or ()),
        ]
        # One column tells that --columns is not used.
        lost = {option: name for option, name in named[::-1] if name and name not in used}
        return [
            f"{where}: the column {name!r} is not read, so {option} has no effect here."
            if name in columns
            else f"{where} has no column {name!r}, so {option} has no effect here."
            for option, name in lost.items()
        ]

    def as_in(self, table: Table) -> Columns:
        """The same roles; labels are spelt as in a table's header, in any Unicode form."""
        header = {composed(name): name for name in table.columns}

        def spelt(name: str) -> str:
            return name if name in table.columns else header.get(composed(name), name)

        return replace(self, label=spelt(self.label), all=tuple(map(spelt, self.all)))


def samples_from_table(
    table: Table, columns: Columns, inputs: Sequence[TensorInfo], preprocessing: Any
) -> Samples:
    """Make samples from a table."""
    columns = columns.as_in(table)
    groups = table.labels(columns.group, "group") if columns.group in table.columns else None
    y, notes = _labels_of(table, columns)
    notes = [*table.notes, *notes]
    X: Any
    asked_for_texts = columns.text is not None or columns.pair is not None
    names, source, more = tuple[str, ...](), "", list[str]()
    steps: dict[str, Any] = {"input": "as it is"}
    preprocessing = TextPreprocessing.for_strings(inputs) or preprocessing
    if _read_by_name(inputs) and not isinstance(preprocessing, TextPreprocessing):
        X, used, more = _one_input_a_column(table, columns, inputs)
    elif asked_for_texts or isinstance(preprocessing, TextPreprocessing):
        X, used = _texts(table, columns, preprocessing)
        more = _notes_on_writing(table, used if X.preprocessing.tokenizer is None else ())
        steps = X.preprocessing.as_dict()
    else:
        X, used, source, more = _matrix(table, columns, inputs)
        if all(table.list_length(name) is None for name in used):
            names, steps = used, {"columns": list(used)}
    read = {*used, columns.group, *([] if columns.every else [columns.label])}
    more = [*more, *columns.unused(table.path, table.columns, read & {*table.columns})]
    return Samples(
        X,
        y,
        groups,
        preprocessing=steps,
        columns=names,
        columns_source=source,
        notes=(*notes, *more),
        table=(
            ReadTable(table.columns, used, (columns.label, columns.group))
            if columns.keep_table
            else None
        ),
    )


def by_column_names(samples: Samples, inputs: Sequence[TensorInfo]) -> Samples:
    """Samples whose columns have names, also as a DataFrame, in the form that a model reads."""
    frame = () if samples.columns else names_of_frame(samples.X)
    names = samples.columns or frame
    if not names or not samples.data.are_ordered:
        return samples
    of_model = inputs[0].columns if len(inputs) == 1 and not samples.embedded else None
    if frame and not samples.embedded and _read_by_name(inputs):
        table = Table(Path(_FRAME), columns_of(samples.X), np.arange(len(samples.X)))
        X, used, notes = _one_input_a_column(table, Columns(label="", group=""), inputs)
        further = _further(samples.X, used)
        return replace(samples, X=X, notes=(*samples.notes, *notes), further=further)
    order, source = names, _AS_FOUND if frame else samples.columns_source
    if of_model is not None and source != _AS_CHOSEN:
        _refuse_missing(_FRAME if frame else samples.called(), names, of_model)
        order, source = of_model, _AS_RECORDED
    if order == samples.columns:
        return samples
    X = columns_in_order(samples.X, names, order)
    samples = replace(samples, further=_further(samples.X, order)) if frame else samples
    if samples.embedded:
        return replace(samples, X=X, columns=order)
    steps = {"columns": [*order]} if frame or samples.preprocessing is not None else None
    return replace(samples, X=X, columns=order, columns_source=source, preprocessing=steps)


def _further(frame: Any, inputs: Collection[str]) -> dict[str, Array]:
    """Columns of a DataFrame that are not inputs, and whole numbers, which an input may round."""
    columns = {str(label): frame[label] for label in frame.columns}
    return {
        name: np.asarray(values)
        for name, values in columns.items()
        if name not in inputs or getattr(values.dtype, "kind", "") in ("i", "u")
    }


def ordered_inputs(X: Any, inputs: Sequence[TensorInfo], names: Sequence[str] = ()) -> Any:
    """Inputs of a model; a DataFrame as arrays in the order of the model's columns.

    If the model names none, their order is that of ``names``, which may be empty as well.
    """
    if not names_of_frame(X) or TextPreprocessing.for_strings(inputs) is not None:
        return X
    if names and len(inputs) == 1 and inputs[0].columns is None:
        X = by_names(X, names, "X")
    return by_column_names(Samples(X), inputs).X


def names_of_frame(X: Any) -> tuple[str, ...]:
    """Names of a DataFrame's columns; empty if they are numbers, and for anything else."""
    if isinstance(X, Mapping) or not hasattr(X, "to_numpy"):
        return ()
    labels = [*getattr(X, "columns", ())]
    if not any(isinstance(label, str) for label in labels):
        return ()
    return tuple(named_once(_FRAME, [*map(str, labels)]))


def _read_by_name(inputs: Sequence[TensorInfo]) -> bool:
    """Whether a model has several inputs, or strings, and each takes the column of its name."""
    by_name = len(inputs) > 1 or any(info.dtype == "string" for info in inputs)
    return by_name and all(map(_is_of_columns, inputs))


def _refuse_missing(where: str, names: Sequence[str], of_model: Sequence[str]) -> None:
    missing = [name for name in of_model if name not in names]
    if missing:
        raise InputError(
            f"{where} lacks {_quoted(missing)}, which the model needs; it has {_quoted(names)}. "
            f"Add the missing columns, or list your own names for {_quoted(of_model)}, in this "
            "order, with --columns (in Python, pass an array)."
        )


def _labels_of(table: Table, columns: Columns) -> tuple[Array | None, list[str]]:
    """Labels if there are any, and a note if there are none."""
    if columns.every:
        return every_label_in(table, columns)
    if columns.one is not None:
        there = columns.labels_required or columns.label in table.columns
        return label_in(table, columns) if there else (None, [])
    if not columns.labels_required:
        if columns.label == DEFAULT_LABEL and columns.label not in table.columns:
            return None, []
        values = table.columns.get(columns.label)
        if values is not None and values.ndim == 1 and all(map(is_empty, values)):
            return None, [f"{table.path}: the column {columns.label!r} is empty: no labels."]
    table.column(columns.label, "--label-column")
    known = labelled(table.columns[columns.label]) if columns.some_unknown else np.ones(1, bool)
    if not known.all():
        part = {columns.label: table.columns[columns.label][known]}
        rest = replace(columns, some_unknown=False)
        y, notes = _labels_of(replace(table, columns=part, rows=table.rows[known]), rest)
        assert y is not None  # some are known
        texts = y.dtype.kind == "U"
        every = np.full(len(known), "" if texts else np.nan, y.dtype if texts else np.float64)
        every[known] = y
        return every, notes
    labels = table.labels(columns.label, "label")
    n_classes = len(np.unique(labels))
    if columns.labels_required and len(labels) >= _SOME_ROWS and n_classes > len(labels) / 2:
        raise InputError(
            f"{table.path}: the label column {columns.label!r} has {n_classes} different values in "
            f"{len(labels)} rows, so it does not contain classes; name another column with "
            "--label-column."
        )
    other = {*columns.classes}.isdisjoint(labels.tolist())
    if other and labels.dtype.kind == "U" and all(map(_WHOLE.fullmatch, labels)):
        labels = np.asarray([t.split(".")[0] for t in labels])  # 0.0 and 1.0, without types
    return as_classes(labels, columns.classes), []


def label_in(table: Table, columns: Columns) -> tuple[Array, list[str]]:
    """One label of several: its name, "not" and its name, or empty if unknown; and notes."""
    name = str(columns.one)
    has = table.truth(columns.label, name)
    if columns.labels_required and (has < 0).all():
        raise InputError(
            f"{table.path}: the column {columns.label!r} is empty, so no sample has a known value "
            f"of the label {name!r}; fill it."
        )
    there = (each for each in columns.all if each in table.columns)
    others = [each for each in there if each not in (name, columns.label)]
    same = [each for each in others if table.same(each, columns.label)]
    return named_labels(has, name), [f"{table.path}: {copy_note(name, each)}" for each in same]


def copy_note(name: str, other: str) -> str:
    """Sentence on a label that is the copy of another one."""
    return (
        f"Label {name!r} has the values of label {other!r} in every row, so nothing distinguishes "
        "the two."
    )


def copies_in(Y: Array, names: Sequence[str]) -> list[tuple[str, str]]:
    """Each of several labels (N, labels) with the values of an earlier one, and this one."""
    first, copies = dict[bytes, str](), list[tuple[str, str]]()
    for name, values in zip(names, Y.T, strict=True):
        earlier = first.setdefault(np.ascontiguousarray(values).tobytes(), name)
        if earlier != name and (values == 1).any():
            copies.append((name, earlier))
    return copies


def every_label_in(table: Table, columns: Columns) -> tuple[Array | None, list[str]]:
    """Every label, (N, labels): 1, 0, or NaN if unknown; and a note on missing columns."""
    missing = [name for name in columns.all if name not in table.columns]
    if len(missing) == len(columns.all):
        if columns.labels_required:
            table.truth(missing[0], missing[0])  # an error
        return None, []
    has = np.full((len(table), len(columns.all)), np.nan, dtype=np.float32)
    for i, name in enumerate(columns.all):
        if name in table.columns:
            values = table.truth(name, name)
            has[:, i] = np.where(values < 0, np.nan, values)
    shown = _text.listed(map(repr, missing), 8, " ({} in all)")
    return has, [f"{table.path} has no column for these labels: {shown}."] * bool(missing)


def named_labels(has: Array, name: str) -> Array:
    """Labels of 1, 0 and −1 (unknown): the label's name, "not" and its name, or empty."""
    return np.asarray(["", f"not {name}", name])[has.astype(np.intp) + 1]


def with_known_labels(samples: Samples, labelled: Array | None = None) -> Samples:
    """The samples whose label is known, with a note on the others."""
    y, n = samples.y, len(samples)
    if labelled is None:
        labelled = np.ones(n, bool) if y is None or y.dtype.kind != "U" else y != ""
    if labelled.all():
        return samples
    known = np.flatnonzero(labelled)
    if not len(known):
        raise InputError(f"{samples.called()}: no sample has a known label; write 0 or 1 for some.")
    left = f"{samples.sources[0]}: left out" if samples.sources else "Left out"
    left += f" {n - len(known)} of {n} samples, because their label is unknown."
    samples = replace(samples, rows=np.arange(n), n_left_out=n - len(known))
    return replace(samples.take(known), notes=(*samples.notes, left))


def _texts(table: Table, columns: Columns, preprocessing: Any) -> tuple[Texts, tuple[str, ...]]:
    if not isinstance(preprocessing, TextPreprocessing):
        raise InputError(
            f"The texts in {table.path} need a tokenizer. Put its tokenizer.json next to the "
            "model, or name it with --tokenizer (a TextPreprocessing in Python)."
        )
    first = columns.text
    if first is None and preprocessing.tokenizer is None:
        first = _column_named(table, preprocessing.ids)
    first = _text_column_of(table, columns) if first is None else first
    table.column(first, "--text-column")
    if columns.pair is None:
        plain = preprocessing.tokenizer is None
        texts = table.strings(first).tolist() if plain else table.texts(first)
        return Texts(texts, preprocessing), (first,)
    table.column(columns.pair, "--text-pair-column")
    if columns.pair == first:
        raise InputError(
            f"The column {first!r} of {table.path} cannot be both texts of a pair; name two with "
            "--text-column and --text-pair-column."
        )
    pairs = Texts(table.texts(first), preprocessing, pairs=table.texts(columns.pair))
    return pairs, (first, columns.pair)


def _text_column_of(table: Table, columns: Columns) -> str:
    """The column named "text", or the only column of texts."""
    taken = (*columns.targets, columns.pair)
    if "text" in table.columns and "text" not in taken:
        return "text"
    texts = [name for name in table.text_columns() if name not in taken]
    texts = [name for name in texts if not is_aside(name)] or texts  # names of samples are none
    if len(texts) == 1:
        return texts[0]
    pairs = " (of pairs, the second one with --text-pair-column)" if texts else ""
    raise InputError(
        f"{table.path} has {'several text columns' if texts else 'no text column'}: "
        f"{texts or list(table.columns)}. Name the one to use with --text-column{pairs}."
    )


def _is_of_columns(info: TensorInfo) -> bool:
    """One number or text of each sample, or as many numbers as the input has; not token ids."""
    if info.shape is None or len(info.shape) not in (1, 2):
        return False
    width = info.shape[1] if len(info.shape) == 2 else 1
    return isinstance(width, int) and not (info.dtype in ("int32", "int64") and width != 1)


def _one_input_a_column(
    table: Table, columns: Columns, inputs: Sequence[TensorInfo]
) -> tuple[dict[str, Array], tuple[str, ...], list[str]]:
    column_of = {info.name: _column_of(table, info) for info in inputs}
    X = {info.name: _values(table, column_of[info.name], info) for info in inputs}
    used = {*column_of.values(), *columns.targets}
    left = [name for name in table.columns if name not in used]
    notes = (
        [f"{table.path}: left out {_quoted(left)}; the model has no such input."] if left else []
    )
    texts = [column_of[info.name] for info in inputs if info.dtype == "string"]
    return X, tuple(column_of.values()), [*notes, *_notes_on_writing(table, texts)]


def _notes_on_writing(table: Table, names: Sequence[str]) -> list[str]:
    """Notes on categories that the model gets in another writing than groups have."""
    notes = list[str]()
    for name in names:
        cells = [str(cell) for cell in table.columns[name].tolist()]
        distinct = {*cells}
        if len(distinct) > max(_SOME_CATEGORIES, len(cells) / 2):  # texts
            continue
        of_groups = {cell: composed(cell).strip() for cell in distinct}
        if all(_WHOLE.fullmatch(cell) or re.fullmatch(r"-?\d*", cell) for cell in distinct):
            of_groups = {cell: cell.partition(".")[0] for cell in distinct}
        odd = [cell for cell in cells if of_groups[cell] not in ("", cell)]
        if odd:
            notes.append(
                f"{table.path}: the model gets {counted(len(odd), 'cell')} of the column {name!r} "
                f"as written, such as {odd[0]!a:.60}. In groups, this is {of_groups[odd[0]]!r}."
            )
    return notes


def _column_of(table: Table, info: TensorInfo) -> str:
    """The column with an input's name."""
    column = _column_named(table, info.name)
    if column is not None:
        return column
    meant = meant_instead(info.name, list(table.columns))
    raise InputError(
        f"{table.path} has no column {info.name!r}, which the model has as an input; its columns "
        f"are {list(table.columns)}{f' (is it {meant}?)' if meant else ''}. Name the columns like "
        "the model's inputs."
    )


def _column_named(table: Table, name: str) -> str | None:
    """The column of a name, written as it is or in an exporter's spelling."""
    if name in table.columns:
        return name

    def spelt(name: str) -> str:
        return re.sub(r"\W", "_", name.strip().casefold())

    alike = [column for column in table.columns if column and spelt(column) == spelt(name)]
    return alike[0] if len(alike) == 1 else None


def _values(table: Table, name: str, info: TensorInfo) -> Array:
    if info.dtype == "string":
        values = table.strings(name)[:, None]
    else:  # a model may fill missing values
        missing = info.dtype in ("float32", "float16", "double")
        values = _exactly(table, [name], info, may_be_missing=missing)
    width = info.shape[1] if info.shape is not None and len(info.shape) == 2 else 1
    if isinstance(width, int) and width != values.shape[1]:
        raise InputError(
            f"The model's input {info} has {width} numbers for each sample, but the column "
            f"{name!r} of {table.path} has {values.shape[1]}."
        )
    return values if info.shape is None or len(info.shape) == 2 else values[:, 0]


def _exactly(
    table: Table, names: Sequence[str], info: TensorInfo | None, *, may_be_missing: bool = False
) -> Array:
    """Numbers in the precision that an input needs: whole ones need all their digits."""
    if info is None or info.dtype in ("float32", "float16"):
        return table.numbers(names, np.float32, may_be_missing=may_be_missing)
    X = table.numbers(names, np.float64, may_be_missing=may_be_missing)
    large = info.dtype != "double" and np.abs(X).max(initial=0) >= 2**53
    return table.whole_numbers(names) if large else X


def _matrix(
    table: Table, columns: Columns, inputs: Sequence[TensorInfo]
) -> tuple[Array, tuple[str, ...], str, list[str]]:
    width = None  # of the only input, unless it is open
    shape = inputs[0].shape if len(inputs) == 1 else None
    if shape is not None and len(shape) > 1 and all(isinstance(n, int) for n in shape[1:]):
        width = prod(shape[1:])  # type: ignore[arg-type]
    of_model = inputs[0].columns if len(inputs) == 1 else None
    source = _AS_FOUND
    if columns.inputs is not None:
        for name in columns.inputs:
            table.column(name, "--columns")
        names, source = list(columns.inputs), _AS_CHOSEN
        if of_model is not None and sorted(names) == sorted(of_model) and names != [*of_model]:
            raise InputError(
                f"The model has {_quoted(of_model)} in this order, but --columns names "
                "another order; leave --columns out."
            )
        _check_width(table, names, width)
    elif of_model is not None:
        _refuse_missing(str(table.path), [*table.columns], of_model)
        names, source = [*of_model], _AS_RECORDED
        _check_width(table, names, width)
    else:
        names = _chosen(table, columns, width)
    free = [name for name in table.columns if name not in columns.targets]
    left = [name for name in free if name not in names]
    notes = list[str]()
    if columns.inputs is None:
        kept = [name for name in names if is_aside(name)]
        if left and of_model is None:
            what = f"{table.path}: left out {_quoted(left)}"
            notes.append(f"{what}; if that is an input, name all inputs with --columns.")
        if kept:
            what = f"{table.path}: {_quoted(kept)} went in as an input"
            notes.append(f"{what}, since the model has {width} columns.")
    info = inputs[0] if len(inputs) == 1 else None
    return _exactly(table, names, info), tuple(names), source, notes


def _chosen(table: Table, columns: Columns, width: int | None) -> list[str]:
    """Input columns: a column of lists, or all numbers except columns with another role."""
    names = [name for name in table.columns if name not in columns.targets]
    lists = [name for name in names if table.list_length(name) is not None]
    if len(lists) > 1 and width is not None:
        lists = [name for name in lists if table.list_length(name) == width] or lists
    if len(lists) > 1:
        raise InputError(
            f"{table.path} has several columns of lists, {lists}; name the input with --columns."
        )
    if lists:
        _check_width(table, lists, width)
        return lists
    if width is not None and len(names) == width:
        return names
    rest = [name for name in names if not is_aside(name)]
    if not rest:
        others = f" but {_quoted(names)}" if names else ""
        raise InputError(
            f"{table.path} has no columns other than {columns.label!r}{others}; add the inputs, or "
            "name them with --columns."
        )
    _check_width(table, rest, width, columns)
    return rest


def _check_width(
    table: Table, names: Sequence[str], width: int | None, columns: Columns | None = None
) -> None:
    have = sum(table.list_length(name) or 1 for name in names)
    if width is None or have == width:
        return
    fix = "pass a table with as many columns"
    if columns is not None and have > width:
        label = "" if columns.label in table.columns else ", and the label with --label-column"
        fix = f"name the model's columns, in its order, with --columns{label}"
    raise InputError(
        f"{table.path} has {have} numbers for each sample, but the model takes {width}: the table "
        f"has {_quoted(names)}; {fix}."
    )


def named_like_a_prediction(name: str) -> bool:
    """Whether a column has the name of a model's output."""
    return bool(_OF_A_MODEL.match(name))


def _quoted(names: Sequence[str]) -> str:
    which = "the columns" if len(names) > 1 else "the column"
    return f"{which} {_text.listed(map(repr, names), 12, ' ({} columns)')}"
