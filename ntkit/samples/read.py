"""Read samples for a model from any form that a user passes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np

from ntkit._checks import by_names, check_index, index_of, of_one_type
from ntkit._join import rows_named
from ntkit._labels import (
    composed,
    is_missing,
    listed,
    means_unknown,
    none_if_unknown,
    one_form,
    plain_label,
    spelt_as,
    unguarded_cell,
)
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs.image_files import ImageFiles, decode, image_extensions
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.samples.columns import (
    DEFAULT_LABEL,
    Columns,
    by_column_names,
    copies_in,
    copy_note,
    every_label_in,
    label_in,
    named_labels,
    samples_from_table,
    with_known_labels,
)
from ntkit.samples.samples import Samples, as_classes
from ntkit.samples.stored import StoredEmbeddings, origin_of
from ntkit.samples.table import TABLES, Table, named_delimiter, read_table

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.graph.tensors import TensorInfo
    from ntkit.model import FrozenModel

Steps = ImagePreprocessing | TextPreprocessing | None
Labels = Literal["required", "optional", "some"]


def read(
    data: Any,
    model: FrozenModel,
    *,
    labels: Labels = "required",
    preprocessing: Steps = None,
    every_label: bool = False,
    keep_unknown: bool = False,
    **options: Any,
) -> Samples:
    """Samples for a model: a path, Samples, (X, y), (X, y, groups), or inputs alone."""
    # `options` are those of read_samples, for paths. Inputs without labels are accepted if labels
    # are optional. With `every_label`, y has a column for each label of a model with several.
    if isinstance(data, str | os.PathLike):
        steps = preprocessing or preprocessing_for(model, Path(data))
        classes = () if model.head is None else model.head.classes.tolist()
        own = {"preprocessing": steps, "inputs": model.inputs, "classes": classes}
        options = own | options
        if model.label is not None:
            options |= {"label": model.label, "other_labels": model.label_names}
            options |= {"keep_unknown": keep_unknown}
        elif every_label:
            options |= {"other_labels": model.label_names}
        samples = read_samples(Path(data), labels=labels, **options)
    else:
        some = keep_unknown and model.label is not None  # else every sample needs its class
        data = _in_memory(data, model, "some" if some else labels)
        if model.label is not None:
            data = _of_label(data, model.label, model.label_names, keep_unknown)
        elif every_label and model.label_names:
            data = _of_every_label(data, model.label_names)
        missing = "The samples have no labels (y)"
        samples = _complete(data, model.inputs, labels, missing, "add them")
    samples = samples.in_precision_of(model.inputs)
    groups = samples.groups
    if groups is not None and groups.dtype.kind == "S":  # no name of a group begins with b'
        samples = replace(samples, groups=np.char.decode(groups, "utf-8", "backslashreplace"))
    if samples.y is None or model.head is None:
        return samples
    classes = model.head.classes
    y = spelt_as(samples.y, classes, where=samples.called())
    if y.ndim == 1 and y.dtype.kind in "bf" and classes.dtype.kind in "iu":  # True and 1.0 are 1
        y = y.astype(classes.dtype) if np.isin(y, classes).all() else y
    return samples if y is samples.y else replace(samples, y=y)


def _in_memory(data: Any, model: FrozenModel, labels: Labels) -> Samples:
    """Samples, (X, y), (X, y, groups) or inputs alone, with arrays for labels and groups."""
    if isinstance(data, tuple) and len(data) in (2, 3):
        data = Samples(*data)
    elif labels != "required" and not isinstance(data, Samples | tuple):
        data = Samples(data)
    if not isinstance(data, Samples):
        raise InputError("Pass the samples as a path, Samples, (X, y) or (X, y, groups).")
    if data.index is not None or data.rows is not None:
        return data
    X, y, groups = data.X, data.y, data.groups
    given = {"X": X, "y": y, "groups": groups}
    notes = (*data.notes, *check_index(**given))
    index = {name: of for name, each in given.items() if (of := index_of(each)) is not None}
    y = _labels_by_name(y, model) if model.label_names else _one_for_each(y)
    if y is not None and not model.label_names and np.asarray(y).dtype.kind not in "iub":
        y = _known(np.asarray(y), labels)
    y, groups = (None if values is None else np.asarray(values) for values in (y, groups))
    if y is not None and y.ndim == 2 and y.dtype == object:  # pandas' types with missing values
        with suppress(TypeError, ValueError):  # other values are refused later
            y = np.array([none_if_unknown(of_label) for of_label in y.T]).T.astype(float)
    return replace(data, y=y, groups=groups, index=index, notes=notes)


def read_samples(
    path: str | Path,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    inputs: Sequence[TensorInfo] = (),
    labels: Literal["required", "optional", "some"] = "required",
    columns: Sequence[str] | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str = DEFAULT_LABEL,
    group_column: str = "group",
    delimiter: str | None = None,
    skip_bad: bool = False,
    keep_table: bool = True,
    label: str | None = None,
    other_labels: Sequence[str] = (),
    keep_unknown: bool = False,
    classes: Sequence[Any] = (),
) -> Samples:
    r"""Read labelled samples, or samples without labels.

    Parameters
    ----------
    path : path-like
        One of these: an image folder with one subfolder per class (group labels, if any, in a
        ``metadata.csv`` with the columns ``file_name`` and ``group``). An ``.npz`` file with ``X``,
        ``y`` and optionally ``groups``. A folder or ``X.npy`` with ``y.npy`` (and ``groups.npy``)
        next to it. A ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` table of texts or of numeric
        columns. An embedding store.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        Required for images and texts. With a TextPreprocessing, a table contains texts.
    inputs : sequence of TensorInfo
        The inputs of the model, which determine the use of a table's columns. One input of one
        string reads texts directly. Each of several inputs reads the column of its name. One input
        of D numbers reads D columns. Without ``inputs``, columns such as ``id``, ``prediction`` or
        ``split`` are left out by their names.
    labels : {"required", "optional", "some"}
        With "optional", samples without labels are accepted, and ``y`` is None. With "some", a
        part of a table's rows may lack one as well: their ``y`` is NaN among numbers, else empty.
    columns : sequence of str, optional
        Columns of a table that go into the model, in its order; replaces the automatic choice.
    text_column, text_pair_column : str, optional
        Column of a table with the texts. By default it has the name of a model's input of strings,
        is called ``text``, or is the only column of texts. The second column is for pairs of texts
        (premise and hypothesis).
    label_column, group_column : str
        Columns of a table, or of ``metadata.csv``.
    delimiter : str, optional
        Character between the cells of a ``.csv`` or ``.tsv`` file, or "tab". By default a tab in a
        ``.tsv`` file, and the one in the header of a ``.csv`` file.
    skip_bad : bool
        Leave out images that cannot be decoded, instead of raising an error.
    keep_table : bool
        Keep all columns of a table in memory, as ``Samples.table``. They name samples, and hold
        their metadata.
    label : str, optional
        One label of samples that have several. Its column, by default of the same name, holds 0, 1
        or nothing; samples without a value are left out. ``y`` is then "not LABEL" or "LABEL". The
        images of a folder can be anywhere in it, and its ``metadata.csv`` has the column.
    other_labels : sequence of str, optional
        Columns of the other labels, which the model does not read. Without ``label``, ``y`` has a
        column for each of them, (N, labels): 1, 0, or NaN if unknown.
    keep_unknown : bool
        Keep the samples whose ``label`` is unknown; their ``y`` is empty.
    classes : sequence, optional
        Classes of the model. Labels such as 01 stay texts if they are among them.

    Returns
    -------
    Samples
        Images are decoded, and texts tokenised, when they are used. A ``.npy`` file or store is
        memory-mapped. Its ``notes`` list assumptions and omissions.

    Raises
    ------
    InputError
        If the data cannot be read; the message names the file, row or column.
    MissingDependencyError
        If the file is a Parquet file and the package pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.extraction import read_samples
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "table.csv"
    ...     _ = path.write_text("a;id;b;label\n1.5;7;2;cat\n3;8;4;dog\n")
    ...     samples = read_samples(path)
    >>> samples.y.tolist(), samples.columns, samples.X.tolist()
    (['cat', 'dog'], ('a', 'b'), [[1.5, 2.0], [3.0, 4.0]])
    """
    if labels not in ("required", "optional", "some"):
        raise InputError(f'labels must be "required", "optional" or "some", not {labels!r}.')
    if label is not None and label_column == DEFAULT_LABEL:
        label_column = label
    asked = Columns(
        label=label_column,
        group=group_column,
        text=text_column,
        pair=text_pair_column,
        inputs=None if columns is None else tuple(columns),
        labels_required=labels == "required",
        some_unknown=labels == "some",
        keep_table=keep_table,
        one=label,
        all=tuple(other_labels),
        classes=tuple(classes),
    )
    path, delimiter = Path(path), named_delimiter(delimiter)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if not path.is_dir():
        samples = _from_file(path, preprocessing, inputs, asked, delimiter)
    elif StoredEmbeddings.is_store(path):
        store = StoredEmbeddings.open(path)
        made: dict[str, Any] = {
            "embedded": True,
            "ids": store.ids,
            "origin": origin_of(store.manifest),
        }
        samples = Samples(store.X, store.y, store.groups, **made)
    elif (path / "X.npy").exists():
        samples = samples_from_npy(path / "X.npy", asked)
    else:
        samples = samples_from_image_folder(path, preprocessing, asked, delimiter, skip_bad)
    if path.suffix.lower() not in TABLES and not is_image_folder(path):
        samples = replace(samples, notes=(*samples.notes, *asked.unused(path)))
    samples = replace(samples, sources=samples.sources or (path,))
    if label is not None:
        samples = _of_label(samples, label, other_labels, keep_unknown)
    elif other_labels:
        samples = _of_every_label(samples, other_labels)
    missing, fix = f"The store {path} has no labels", "embed the samples again with their labels"
    return _complete(samples, inputs, labels, missing, fix)


def _one_for_each(y: Any) -> Any:
    """Labels (N,), of one type if they are known; several for each sample are an error."""
    if y is None:
        return None
    array = np.asarray(y)
    array = array[:, 0] if array.shape[1:] == (1,) else array
    if array.ndim != 1:
        raise InputError(
            f"The labels (y) have the shape {array.shape}. Pass one class for each sample, such as "
            "y.argmax(axis=1) of columns with a 1 for the class."
        )
    return of_one_type(array)


def _known(y: Array, labels: Labels) -> Array:
    """Labels (N,) without an unknown one, unless some may be: these are empty, or NaN."""
    unknown = [is_missing(label) or label == "" for label in y.tolist()]
    if any(unknown) and labels != "some":
        raise InputError(
            f"The labels (y) have no class for {counted(sum(unknown), 'sample')}, first in row "
            f"{unknown.index(True) + 1}. Pass labelled samples alone."
        )
    return _of_one_type(y) if any(unknown) and y.dtype.kind == "O" else y


def _labels_by_name(y: Any, model: FrozenModel) -> Any:
    """Labels of a pandas object in the order of the model's; those of others are an error."""
    names, one = model.label_names, model.label
    called = {*map(one_form, getattr(y, "columns", [getattr(y, "name", None)]))}
    others = [*called & {*map(one_form, names)}]
    if one is not None and others and one_form(one) not in others:
        raise InputError(
            f"The labels (y) are those of {listed(others)}. Pass those of {one!r}, or rename them."
        )
    if names == tuple(map(str, range(len(names)))) and not others:  # the model names none
        return y
    return by_names(y, names if one is None or len(others) == len(names) else [one], "y")


def _of_label(
    samples: Samples, name: str, names: Sequence[str], keep_unknown: bool = False
) -> Samples:
    """Samples of arrays whose one label of several is known, from 0, 1 and NaN."""
    if samples.y is None:
        return samples
    y, notes = np.asarray(samples.y), list[str]()
    if y.ndim == 2 and y.shape[1] == len(names):
        copies = [{*pair} - {name} for pair in copies_in(y, names) if name in pair]
        notes = [copy_note(name, *other) for other in copies]
        y = y[:, names.index(name)]
    y = y[:, 0] if y.shape[1:] == (1,) else y
    if y.ndim != 1:
        raise InputError(
            f"The labels (y) have the shape {y.shape}. Pass those of {name!r}, (N,), or of all "
            f"labels of the model, (N, {len(names)}): 0, 1, or NaN if unknown."
        )
    if y.dtype.kind == "O":
        y = _of_one_type(y)
    if y.dtype.kind in "fiub":
        y = named_labels(np.nan_to_num(_truths(y, name), nan=-1), name)
    done = replace(samples, y=y, notes=(*samples.notes, *notes))
    return done if keep_unknown else with_known_labels(done)


def _of_one_type(y: Array) -> Array:
    """Objects (N,) as numbers with NaN, or texts with empty ones, for what is missing."""
    known = np.fromiter((not is_missing(value) for value in y.tolist()), bool, len(y))
    values = np.asarray(y[known].tolist())
    if values.dtype.kind not in "fiubU":
        return y
    filled = np.full(len(y), "" if values.dtype.kind == "U" else np.nan, dtype=None)
    filled = filled.astype(np.result_type(filled, values))
    filled[known] = values
    return filled


def _truths(y: Array, name: str) -> Array:
    """0, 1 and NaN, if a label's values are nothing else."""
    wrong = ~((y == 0) | (y == 1) | (y != y))
    if wrong.any():
        raise InputError(
            f"The labels (y) of {name!r} contain {y[wrong][0].item()!r}; pass 0, 1, or NaN if "
            "unknown."
        )
    return y.astype(np.float32)


def _of_every_label(samples: Samples, names: Sequence[str]) -> Samples:
    """Samples of arrays with a column of 0, 1 and NaN for every label."""
    if samples.y is None:
        return samples
    y = np.asarray(samples.y)
    if y.ndim != 2 or y.shape[1] != len(names) or y.dtype.kind not in "fiub":
        raise InputError(
            f"The labels (y) have the shape {y.shape} and the type {y.dtype}. Pass 0, 1, or NaN if "
            f"unknown, for all labels of the model, (N, {len(names)}), or name one with --label "
            "(label=)."
        )
    if y.dtype != np.float32 or not ((y == 0) | (y == 1) | (y != y)).all():
        y = np.stack([_truths(y[:, i], name) for i, name in enumerate(names)], axis=1)
    return replace(samples, y=y)


def is_image_folder(path: Path) -> bool:
    """Whether a path is read as an image folder: a folder of no other kind."""
    return path.is_dir() and not (StoredEmbeddings.is_store(path) or (path / "X.npy").exists())


def preprocessing_for(model: FrozenModel, path: Path) -> Steps:
    """Preprocessing of a path's images or texts, from the files next to the model."""
    # Files about images are read only for images, so a damaged one does not affect arrays.
    images = ImagePreprocessing.for_model(model) if is_image_folder(path) else None
    return TextPreprocessing.for_model(model) if images is None else images


def _from_file(
    path: Path,
    preprocessing: Steps,
    inputs: Sequence[TensorInfo],
    columns: Columns,
    delimiter: str | None,
) -> Samples:
    """Read a file according to its name."""
    kind = path.suffix.lower()
    if kind == ".npz":
        return samples_from_npz(path, columns, [info.name for info in inputs])
    if kind == ".npy":
        return samples_from_npy(path, columns)
    if kind in TABLES:
        table = read_table(path, delimiter, columns.named)
        return samples_from_table(table, columns, inputs, preprocessing)
    if kind == ".onnx":
        raise InputError(
            f"{path} is a model, but samples are needed here; the model comes first, as in: ntkit "
            "embed MODEL DATA -o OUT."
        )
    raise InputError(
        f"{path} is not samples; pass an image folder, .npz, X.npy with y.npy, "
        f"{', '.join(TABLES)}, or an embedding store."
    )


def _notes_on_whole_numbers(samples: Samples, inputs: Sequence[TensorInfo]) -> list[str]:
    """Notes on images in whole numbers for a model that takes others."""
    X, notes = samples.X, list[str]()
    for each in inputs:
        part = X.get(each.name) if isinstance(X, Mapping) else X if len(inputs) == 1 else None
        if not isinstance(part, np.ndarray) or part.ndim < 3 or part.dtype.kind not in "iu":
            continue
        if (each.dtype or "").startswith(("float", "double")):
            notes.append(
                f"{samples.called()}: {each.name} holds whole numbers ({part.dtype}), and the "
                f"model takes {each.dtype}. They are used as they are; scale them as for training."
            )
    return notes


def _complete(
    samples: Samples, inputs: Sequence[TensorInfo], labels: Labels, missing: str, fix: str
) -> Samples:
    """Samples with the required labels; strings for the model become texts."""
    if samples.y is None and labels == "required":
        raise InputError(f"{missing}, which are needed here; {fix}.")
    if samples.y is not None and samples.origin is None:  # a store has the spelling of its model
        y = spelt_as(samples.y, where=samples.called())
        samples = samples if y is samples.y else replace(samples, y=y)
    steps, X = TextPreprocessing.for_strings(inputs), samples.X
    if not samples.embedded:
        notes = _notes_on_whole_numbers(samples, inputs)
        samples = replace(samples, notes=(*samples.notes, *notes)) if notes else samples
    if steps is None or samples.embedded:
        return by_column_names(samples, inputs)
    if isinstance(X, Mapping):
        X = X.get(steps.ids)
    if not (isinstance(X, list | tuple | np.ndarray) or hasattr(X, "to_numpy")):
        return samples
    values: Any = np.asarray(X, dtype=object)
    if values.ndim == 0 or values.size != len(values):
        return samples
    texts = Texts(values.ravel().tolist(), steps)
    return replace(samples, X=texts, preprocessing=samples.preprocessing or steps.as_dict())


_READ = "X (or one array for each input), y and groups"
_UNREADABLE = (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error)
_HOW = "save numbers or texts, not Python objects: np.asarray(…, dtype=np.float32), or dtype=str"


def samples_from_npz(path: Path, columns: Columns, inputs: Sequence[str] = ()) -> Samples:
    """Read ``X`` (or an array for each of several inputs), ``y`` and optional ``groups``."""
    try:
        # If NumPy opened the file itself, it would leave a broken archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            several = "X" not in arrays and len(inputs) > 1 and not {*inputs}.isdisjoint(arrays)
            needed = [*(inputs if several else ("X",)), *["y"] * columns.labels_required]
            missing = [name for name in needed if name not in arrays]
            if missing:
                raise InputError(
                    f"{path} has no array {missing[0]!r}; it has {sorted(arrays)}. Save it with "
                    "np.savez(path, X=..., y=..., groups=...)."
                )
            y, groups = arrays.get("y"), arrays.get("groups")
            used = {*(inputs if several else ("X",)), "y", "groups"}
            left = [name for name in arrays if name not in used]
            of_left = f"{path}: left out {', '.join(map(repr, left[:6]))}; ntkit reads {_READ}."
            notes = (of_left,) if left else ()
            if not several:
                return replace(_checked(path, columns, arrays["X"], y, groups), notes=notes)
            parts = {
                name: _checked(path, columns, arrays[name], y, groups, name) for name in inputs
            }
            if len({len(part.X) for part in parts.values()}) > 1:
                raise InputError(
                    f"{path}: the inputs {[*inputs]} have different numbers of "
                    "samples; save one row per sample in each."
                )
            whole = next(iter(parts.values()))
            return replace(whole, X={name: part.X for name, part in parts.items()}, notes=notes)
    except InputError:
        raise
    except _UNREADABLE as error:
        raise _unreadable(path, ".npz", error) from error


def samples_from_npy(path: Path, columns: Columns) -> Samples:
    """Memory-map ``X.npy``, and read ``y.npy`` and optional ``groups.npy`` next to it."""
    labels = path.with_name("y.npy")
    if path.name in ("y.npy", "groups.npy"):
        raise InputError(f"{path} contains labels, not samples; pass the X.npy next to it.")
    if columns.labels_required and not labels.exists():
        raise InputError(f"{path} needs its labels in {labels}; save them there.")
    file = path
    try:
        X = np.lib.format.open_memmap(path, mode="r")
        beside = dict[str, Array | None]()
        for name in ("y", "groups"):
            file = path.with_name(f"{name}.npy")
            mapped = np.lib.format.open_memmap(file, mode="r") if file.exists() else None
            beside[name] = None if mapped is None else np.array(mapped)
    except _UNREADABLE as error:
        raise _unreadable(file, ".npy", error) from error
    read = [path.with_name(f"{name}.npy") for name, values in beside.items() if values is not None]
    samples = _checked(path, columns, X, beside["y"], beside["groups"])
    return replace(samples, sources=(path, *read))


def _unreadable(path: Path, kind: str, error: BaseException) -> InputError:
    reason = str(error).rstrip(".")
    if "pickle" in reason or "Python objects" in reason:
        reason = _HOW  # NumPy's own message advises loading files that may not be trustworthy
    return InputError(f"{path} is not a readable {kind} file: {reason}.")


def _checked(
    path: Path,
    columns: Columns,
    X: Array,
    y: Array | None,
    groups: Array | None,
    name: str = "X",
) -> Samples:
    if X.dtype.kind in "OSV":
        raise InputError(
            f"{path}: {name} contains {X.dtype} values, but a model needs numbers; save them with "
            f"{name}.astype(np.float32)."
        )
    least = 1 if X.dtype.kind == "U" else 2  # there may be one string for each sample
    several = columns.one is not None or bool(columns.all)  # labels of each sample
    if X.ndim < least or (y is not None and y.ndim not in (1, 1 + several)):
        shape = "none" if y is None else str(y.shape)
        raise InputError(
            f"{path}: {name} has the shape {X.shape} and y {shape}, but they must be (N, ...) and "
            "(N,)."
        )
    if y is not None and not several:
        _check_labels(path, X, y, name)
    if not len(X):
        raise InputError(f"{path} contains no samples; add some.")
    if groups is not None and groups.shape[:1] != X.shape[:1]:
        raise InputError(f"{path}: groups has shape {groups.shape}, but X has {len(X)} samples.")
    if groups is not None and groups.ndim != 1:
        raise InputError(
            f"{path}: groups has shape {groups.shape}, but must have one for each sample, (N,)."
        )
    _refuse_missing(path, "groups", groups)
    return Samples(X, y, groups, preprocessing={"input": "as it is"})


def _check_labels(path: Path, X: Array, y: Array, name: str) -> None:
    if len(X) != len(y):
        raise InputError(f"{path}: {name} has {len(X)} samples, but y has {len(y)} labels.")
    _refuse_missing(path, "y", y)
    if y.dtype.kind == "f" and len(y) and (y != np.round(y)).any():
        odd = y[y != np.round(y)][0]
        raise InputError(
            f"{path}: y contains {odd:g}, but labels must be whole numbers or texts; give one "
            "class to each sample."
        )


def _refuse_missing(path: Path, name: str, values: Array | None) -> None:
    if values is None:
        return
    empty = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if values.dtype.kind in "US":
        empty = np.char.strip(values) == values.dtype.type("")
    if empty.any():
        raise InputError(
            f"{path}: {name} has NaN, infinite or empty values in {int(empty.sum())} of "
            f"{len(values)} rows, the first in row {int(np.argmax(empty))} (counted from 0). Label "
            f"these samples, or leave them out{' (or leave out groups)' * (name == 'groups')}."
        )


def samples_from_image_folder(
    path: Path,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    columns: Columns,
    delimiter: str | None,
    skip_bad: bool,
) -> Samples:
    """Read an image folder; images are decoded when they are used."""
    if not isinstance(preprocessing, ImagePreprocessing):
        raise InputError(f"{path} is an image folder; pass its image preprocessing.")
    y: Array | None
    table, others, read = None, list[Path](), {columns.group}
    if (file := path / "metadata.csv").exists():
        table = read_table(file, delimiter, ("file_name", *columns.named))
        columns = columns.as_in(table)
    if columns.one is not None or columns.all:
        files, y, notes = _images_and_label(path, columns, table, others)
    else:
        files, labels, notes = _images_and_classes(path, columns.labels_required, others)
        y = None if labels is None else np.asarray([_as_text(label) for label in labels])
        if y is not None and table is not None:
            notes += _compared_with_folders(path, files, y, columns.label, table)
    read |= set() if y is None or columns.every else {columns.label}
    header = () if table is None else tuple(table.columns)
    notes += tuple(columns.unused(path if table is None else file, header, read & {*header}))
    if others := [each for each in others if each != file]:
        example = _as_text(others[0].relative_to(path).as_posix())
        left = f"{path}: left out {counted(len(others), 'file')}, such as {example!r:.60}"
        notes += (f"{left}. Only the ending of a name, such as .png, tells that it is an image.",)
    skipped, kept = list[Path](), list[int]()
    for i, file in enumerate(files):
        try:
            if skip_bad:
                decode(file)
            kept.append(i)
        except InputError:
            skipped.append(file)
    if not kept:
        raise InputError(
            f"None of the {len(files)} images in {path} can be decoded; check the files."
        )
    names = [files[i].relative_to(path).as_posix() for i in kept]
    return Samples(
        ImageFiles([files[i] for i in kept], preprocessing),
        None if y is None else as_classes(y[kept], columns.classes),
        _groups_of(table, names, columns.group),
        preprocessing=preprocessing.as_dict(),
        skipped=tuple(skipped),
        ids=np.asarray([_as_text(name) for name in names]),
        notes=notes,
    )


def _images_and_classes(
    path: Path, labels_required: bool, others: list[Path]
) -> tuple[list[Path], list[str] | None, tuple[str, ...]]:
    """Image files, the class of each by its folder (or no classes), and notes."""
    shown = [p for p in path.iterdir() if not p.name.startswith(".")]
    folders = sorted(p for p in shown if p.is_dir())
    loose = [p for p in shown if p.suffix.lower() in image_extensions() and not p.is_dir()]
    if loose and not labels_required:
        files = sorted(_images_in(path, others))
        note = (
            f"{path}: {len(loose)} image(s) are not in a subfolder, so its subfolders do not count "
            "as classes: the samples have no labels."
        )
        return files, None, (note,) if len(files) > len(loose) else ()
    files, labels = [], list[str]()
    for folder in folders:
        images = sorted(_images_in(folder, others))
        if not images:
            raise InputError(f"The class folder {folder} contains no images; fill or remove it.")
        files += images
        labels += [folder.name] * len(images)
    if not files:
        start = f"{len(loose)} images, but no" if loose else "no"
        raise InputError(
            f"{path} has {start} subfolders with images; make one subfolder per class."
        )
    left = f"{path}: left out {len(loose)} image(s) that are not in a class folder."
    return files, labels, (left,) if loose else ()


def _images_and_label(
    path: Path, columns: Columns, table: Table | None, others: list[Path]
) -> tuple[list[Path], Array | None, tuple[str, ...]]:
    """Image files anywhere in a folder, labels of each by the ``metadata.csv``, and notes."""
    files = sorted(_images_in(path, others))
    if not files:
        raise InputError(f"{path} contains no images; add some.")
    if table is None:
        if not columns.labels_required:
            return files, None, ()
        raise InputError(
            f"{path} has no metadata.csv. Write one with the columns file_name and "
            f"{columns.label if columns.one else 'one for each label'}, with 0, 1 or nothing for "
            "each image."
        )
    if columns.one and columns.label not in table.columns and not columns.labels_required:
        return files, None, ()
    y, notes = label_in(table, columns) if columns.one else every_label_in(table, columns)
    if y is None:
        return files, None, ()
    names = [composed(each.relative_to(path).as_posix()) for each in files]
    y = y[rows_of_files(table, names)]
    folders = np.array([plain_label(name.split("/")[0]) for name in names])
    for i, label in enumerate([columns.one] if columns.one else columns.all):
        lacks = y == f"not {label}" if columns.one else y[:, i] == 0
        n = int((lacks & (folders == plain_label(label))).sum())
        note = f"{table.path}: {counted(n, 'image')} in the folder {label!r} without this label."
        notes = [*notes, *[f"{note} The table counts, not the folder."] * (n > 0)]
    return files, y, tuple(notes)


def _compared_with_folders(
    path: Path, files: Sequence[Path], y: Array, column: str, table: Table
) -> tuple[str, ...]:
    """Note on labels of a ``metadata.csv`` that folders do not say; an error if they differ."""
    file = table.path
    if not {"file_name", column} <= {*table.columns} or table.columns[column].ndim > 1:
        return ()
    written = [*map(str, table.columns["file_name"].tolist())]
    names = [composed(each.relative_to(path).as_posix()) for each in files]
    rows = rows_named(written, names, str(file), "file_name")
    cells = table.columns[column].tolist()
    pairs = [
        (name, plain_label(folder), plain_label(unguarded_cell(cells[row])))
        for name, folder, row in zip(names, y.tolist(), rows.tolist(), strict=True)
        if row >= 0 and not means_unknown(cells[row])
    ]
    classes = {*map(plain_label, y.tolist())}
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    if any(label in classes for _, _, label in pairs) and differing:
        name, _, label = differing[0]
        raise InputError(
            f"{len(differing)} of {len(pairs)} images have another label in {column!r} of {file} "
            f"than their folder, such as {name!r:.60} ({label!r}). Correct one of the two."
        )
    both = {(folder, label) for _, folder, label in pairs}
    if len(both) > len({folder for folder, _ in both}):
        return (
            f"{file}: the column {column!r} is not used, because the folders name the classes, and "
            "it does not agree with them.",
        )
    return ()


def rows_of_files(table: Table, names: Sequence[str]) -> Array:
    """The row of each file in a table with the column ``file_name``."""
    if "file_name" not in table.columns:
        raise InputError(f"{table.path} has no column 'file_name'; add it.")
    written = [*map(str, table.columns["file_name"].tolist())]
    rows = rows_named(written, names, str(table.path), "file_name")
    if (rows < 0).any():
        raise InputError(f"{table.path} has no row for {names[int(np.argmin(rows))]!r}; add one.")
    return rows


def _images_in(folder: Path, others: list[Path]) -> list[Path]:
    """Image files of a class, also in linked folders, each folder once; without hidden files.

    It adds other files.
    """
    extensions, seen, images = image_extensions(), set[str](), list[Path]()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in sorted(name for name in names if not name.startswith(".")):
            known = os.path.splitext(name)[1].lower() in extensions
            (images if known else others).append(Path(root, name))
    return images


def _as_text(name: str) -> str:
    """A file name as valid text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _groups_of(table: Table | None, names: list[str], group_column: str) -> Array | None:
    if table is None or group_column not in table.columns:
        return None
    rows = rows_of_files(table, names)
    return table.labels(group_column, "group")[rows]
