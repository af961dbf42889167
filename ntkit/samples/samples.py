"""Samples: a user's data, in memory or read on demand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkit._checks import names_of_rows
from ntkit._doc import documented
from ntkit._labels import cell_name, listed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs.image_files import MeasuredImages
from ntkit.samples.kinds import Arrays, Embeddings, data_of, rows_of
from ntkit.samples.looks import Inputs
from ntkit.samples.stored import check_made_with

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.graph.tensors import TensorInfo
    from ntkit.model import FrozenModel


def columns_in_order(X: Any, names: Sequence[str], wanted: Sequence[str]) -> Any:
    """Some columns of an array or a DataFrame, by name."""
    at = [names.index(name) for name in wanted]
    if hasattr(X, "to_numpy"):  # columns of other types stay out of the array
        labels = [*X.columns]
        return X[[labels[i] for i in at]].to_numpy()
    return np.asarray(X)[:, at]


def arrays_of(X: Any) -> list[Any]:
    """Array of each input, or the only one."""
    return [*X.values()] if isinstance(X, Mapping) else [X]


_SHOWN_FILES = 5


@dataclass(frozen=True, eq=False)
class ReadTable:
    """All columns of a table of samples, with their roles."""

    columns: Mapping[str, Array]
    inputs: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """Columns of single values that may name samples: all but labels."""
        single = (name for name, values in self.columns.items() if values.ndim == 1)
        return frozenset(single) - {*self.labels}

    def take(self, rows: Array) -> ReadTable:
        """Some rows of the table."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return replace(self, columns=columns)

    @property
    def rest(self) -> dict[str, Array]:
        """Columns that are neither inputs nor labels."""
        taken = {*self.inputs, *self.labels}
        return {name: values for name, values in self.columns.items() if name not in taken}


@documented
@dataclass(frozen=True)
class Samples:
    """Model inputs (or embeddings), with labels if there are any.

    Parameters
    ----------
    X : array, memory map or lazy sequence of length N, or mapping of str to these
        Model inputs, or embeddings if ``embedded`` is true. A mapping has one entry for each of
        several inputs.
    y : ndarray of shape (N,) or None
        Class labels; embedding alone does not need them.
    groups : ndarray of shape (N,) or None
        Group labels, for evaluation only.
    embedded : bool
        Whether X contains embeddings.
    preprocessing : dict or None
        Preprocessing of X, for a store's manifest.
    skipped : tuple of pathlib.Path
        Files that were left out because they cannot be decoded.
    ids : ndarray of str, shape (N,), or None
        Image files, relative to their folder.
    columns : tuple of str
        Names of the columns of X, if it comes from a table of numbers.
    columns_source : str
        Source of their order, as the end of a sentence: "as the table has them".
    {notes}
    sources : tuple of pathlib.Path
        Files and folders that were read; no output may replace them.
    origin : dict or None
        For embeddings in a store: model, tensor and preprocessing from its manifest.
    table : ReadTable or None
        With ``keep_table``: all columns of their table.
    rows : ndarray of int, shape (N,), or None
        Row of each sample before others were left out, because their label was unknown.
    n_left_out : int
        Number of samples that were left out.
    index : mapping of str to sequence, or None
        Index of each pandas object that was passed. With ``rows``, also of samples that were left
        out.
    further : mapping of str to ndarray, or None
        Columns of a DataFrame that may name samples or hold their metadata: those that the model
        does not take, and whole numbers.
    coarse : bool
        Whether equal inputs are different samples, because they often have different labels.
    doubles : bool
        Whether the model takes double precision, so that numbers equal in single are different.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.extraction import Samples
    >>> samples = Samples(np.zeros((3, 6)), np.array(["cat", "dog", "dog"]))
    >>> len(samples), samples.embedded
    (3, False)
    """

    X: Any
    y: Any = None
    groups: Array | None = None
    embedded: bool = False
    preprocessing: dict[str, Any] | None = None
    skipped: tuple[Path, ...] = ()
    ids: Array | None = None
    columns: tuple[str, ...] = ()
    columns_source: str = ""
    notes: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    origin: dict[str, Any] | None = None
    table: ReadTable | None = None
    rows: Array | None = None
    n_left_out: int = 0
    index: Mapping[str, Any] | None = None
    further: Mapping[str, Array] | None = None
    coarse: bool = False
    doubles: bool = False

    def __len__(self) -> int:
        return len(next(iter(arrays_of(self.X)), ()) if self.y is None else self.y)

    @cached_property
    def data(self) -> Arrays:
        """What the samples hold, of the class of their kind."""
        return (Embeddings if self.embedded else data_of)(self.X, self.columns, self.columns_source)

    def check_lengths(self) -> None:
        """Raise an error if numbers of inputs, labels, groups or ids differ."""
        n = len(self)
        for array in arrays_of(self.X):
            if len(array) != n:
                raise InputError(f"There are {len(array)} samples, but {n} labels.")
        for name, values in (("groups", self.groups), ("ids", self.ids)):
            if values is not None and len(values) != n:
                what = "samples" if self.y is None else "labels"
                raise InputError(f"There are {len(values)} {name}, but {n} {what}.")

    def in_precision_of(self, inputs: Sequence[TensorInfo]) -> Samples:
        """The same samples, for a model with these inputs."""
        doubles = any(info.dtype in ("double", "float64") for info in inputs)
        return self if doubles == self.doubles else replace(self, doubles=doubles)

    def take(self, rows: Sequence[int] | Array, X: Any = None) -> Samples:
        """Some of the samples, in the order of these rows from 0 on, perhaps with other inputs X.

        Images are not decoded.
        """
        X = rows_of(self.X, rows) if X is None else X
        at = np.asarray(rows, dtype=np.intp)
        names = ("y", "groups", "ids", "rows")
        values = {name: getattr(self, name) for name in names}
        taken: dict[str, Any] = {
            name: None if array is None else np.asarray(array)[at] for name, array in values.items()
        }
        table = None if self.table is None else self.table.take(at)
        further = self.further and {name: values[at] for name, values in self.further.items()}
        if self.index and self.rows is None:
            taken["index"] = {part: of.take(at) for part, of in self.index.items()}
        return replace(self, X=X, table=table, further=further, **taken)

    def measured(self, by: type[MeasuredImages] = MeasuredImages) -> Samples:
        """The same samples for one run: the model's reading hashes and measures image files."""
        X = self.data.measured(by)
        return self if X is self.X else replace(self, X=X)

    # -- names -----------------------------------------------------------------------------

    @property
    def named_by(self) -> str:
        """Source of the names: "file_name" (image files), "id" (a table's column) or "row"."""
        if self.ids is not None:
            return "file_name"
        return "row" if self.table is None or "id" not in self.table.names else "id"

    @property
    def names(self) -> list[str]:
        """Name of each sample: its file, its ``id`` in a table, or its row from 0 on."""
        names: Any = range(len(self)) if self.rows is None else self.rows
        if self.ids is not None:
            names = self.ids
        elif self.table is not None and self.named_by == "id":
            names = self.table.columns["id"].tolist()
        return [*map(cell_name, names)]

    @property
    def unique_names(self) -> list[str]:
        """The names; ``row 5`` for a sample without one, or with that of another sample."""
        names = self.names
        count = Counter(names)
        alone = [name.strip() != "" and count[name] == 1 for name in names]
        own = [name if alone[i] else f"row {i}" for i, name in enumerate(names)]
        return own if len({*own}) == len(own) else [f"row {i}" for i in range(len(self))]

    @property
    def index_columns(self) -> dict[str, Array]:
        """Levels of the pandas index that have a name."""
        rows = np.arange(len(self)) if self.rows is None else self.rows
        return {
            str(name): index.get_level_values(level).to_numpy()[rows]
            for index in [*(self.index or {}).values()][::-1]  # that of X counts most
            for level, name in enumerate(getattr(index, "names", ()))
            if name is not None
        }

    @cached_property
    def shown_names(self) -> tuple[list[str] | None, str]:
        """Names in files, a column ``id`` or an index, if each sample has one; else a note."""
        columns = dict[str, Any]()
        if self.named_by != "row":
            columns = {f"The column {self.named_by!r}": self.names}
        elif self.further or self.index:
            known = {**(self.further or {}), **self.index_columns}
            columns = {"The column 'id'": known["id"]} if "id" in known else {}
        else:
            return None, ""
        indexes = {f"The index of {part}": index for part, index in (self.index or {}).items()}
        return names_of_rows(columns, indexes, self.rows)

    def called(self, default: str = "The samples") -> str:
        """Name of the set in a sentence: the file or folder that was read."""
        return str(self.sources[0]) if self.sources else default

    # -- notes -----------------------------------------------------------------------------

    def reading_notes(self, name: str = "") -> list[str]:
        """Assumptions and omissions of reading and preprocessing."""
        input_note = self.data.note()
        return [*self.notes, *self.left_out_notes(name), *([input_note] if input_note else ())]

    def left_out_notes(self, name: str = "") -> list[str]:
        """Notes on images that were left out, and on texts cut; ``name`` is that of the set."""
        n, shown = len(self.skipped), ", ".join(map(str, self.skipped[:_SHOWN_FILES]))
        left = f"{name}: left out" if name else "Left out"
        cut = self.data.cut_note()
        return [
            *[f"{left} {n} image(s) that cannot be decoded: {shown}."] * bool(n),
            *[f"{name}: {cut}" if name else cut] * bool(cut),
        ]

    def looks(self, prose: Collection[str] = ()) -> Inputs:
        """Looks of the samples for a person, row by row, if they are available."""
        ids, _ = self.shown_names
        rows = self.rows if ids is None else None
        if (images := self.data.images()) is not None:
            return Inputs(images=images, ids=ids, rows=rows)
        # A word of a sample occurs in any of its texts.
        parts = self.data.texts(prose)
        texts = parts and [t if isinstance(t, str) else "\n\n".join(t) for t in parts]
        besides = not self.data.shows_inputs_in_table
        table = self.data.table() if self.table is None else self._table(besides=besides)
        return Inputs(texts=texts, table=table, ids=ids, rows=rows)

    def _table(self, *, besides: bool = False) -> dict[str, Array] | None:
        """Columns of single values of the table, without labels, and optionally without inputs."""
        if self.table is None:
            return None
        left = {*self.table.labels, *(self.table.inputs if besides else ())}
        columns = self.table.columns.items()
        return {n: v for n, v in columns if v.ndim == 1 and n not in left} or None

    # -- match with a model ----------------------------------------------------------------

    def check_made_with(self, model: FrozenModel, called: str = "The samples") -> None:
        """Raise an error for embeddings of another model; ``called`` is their name."""
        if self.embedded:
            check_made_with(self.called(called), self.origin or {}, model)

    def for_model(self, model: FrozenModel) -> Match:
        """A model and these samples, with the notes of reading; not matched yet."""
        return Match(model, self, tuple(self.reading_notes()))

    def fit_to(self, model: FrozenModel, *, name: str = "", every_class: bool = False) -> Match:
        """Match the classes of a model, which notes call ``name``, with the labels.

        Raises an InputError if they do not fit together, the model has no head, the embeddings are
        of another model, or a class has no samples although ``every_class`` is true.
        """
        self.check_made_with(model)
        if self.y is None or not len(self.y):
            return Match(model, self)
        labels = np.unique(self.y)
        classes = labels if model.head is None else model.head.classes
        if model.head is None or every_class or not {*labels.tolist()} <= {*classes.tolist()}:
            matched = model.matched_to(labels)
            note = [f"{name}: {matched.matched_by}" if name else str(matched.matched_by)]
            return Match(matched, self, tuple(note) if matched.matched_by else ())
        n, whose = len(classes), name or "the model"
        present = f"Of {whose}'s {n} classes there are samples of {listed(labels)}."
        if not model.has_class_names:
            present += (
                " The model does not name its classes, so labels are their positions from 0 on. If "
                "they are not, name the classes with --classes (classes= in Python)."
            )
        return Match(model, self, (present,) if len(labels) < n else ())

    def as_recorded(self, model: FrozenModel) -> Samples:
        """Use the truncation and padding that ntkit recorded in a model, unless a user set them."""
        X = self.data.as_recorded(model)
        same = X is self.X
        return self if same else replace(self, X=X, preprocessing=X.preprocessing.as_dict())

    def with_columns_as_in(self, other: Samples) -> Samples:
        """Put the columns into the order of another table, if both have names."""
        if not self.columns or not other.columns or self.columns == other.columns:
            return self
        for one, two, which in ((self, other, "lacks"), (other, self, "has in addition")):
            foreign = [name for name in two.columns if name not in one.columns]
            if foreign:
                raise InputError(
                    f"A table {which} the column {foreign[0]!r}, which another one "
                    f"{'has' if which == 'lacks' else 'lacks'}; use the same columns in all "
                    "tables, or name the inputs with --columns."
                )
        steps = self.preprocessing
        if steps is not None and not self.embedded:
            steps = {"columns": list(other.columns)}
        return replace(
            self,
            X=columns_in_order(self.X, self.columns, other.columns),
            columns=other.columns,
            columns_source=other.columns_source,
            preprocessing=steps,
        )


@dataclass(frozen=True)
class Match:
    """A model, its samples in the model's form, and notes."""

    # If the samples have labels, these name the model's classes.

    model: FrozenModel
    samples: Samples
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> Array:
        """Classes of the model's head, in the order of its logits."""
        assert self.model.head is not None  # a model without a head raises an error before
        return self.model.head.classes


def input_notes(samples: Iterable[Samples]) -> list[str]:
    """Sentences on how samples become model inputs: one if all sets agree, none for arrays."""
    return list(dict.fromkeys(filter(None, (part.data.note() for part in samples))))


def as_classes(labels: Array, classes: Iterable[Any] = ()) -> Array:
    """Labels that were read as text become integers if all are, and none is one of the classes."""
    if labels.dtype.kind != "U" or not {*classes}.isdisjoint(labels.tolist()):
        return labels
    if not all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels):
        return labels
    numbers = labels.astype(np.int64)
    # "1" and "01" are two classes.
    return numbers if len(np.unique(numbers)) == len(np.unique(labels)) else labels


_BESIDE = ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "config.json")


def input_paths(*read: FrozenModel | Samples | None) -> list[Path]:
    """Files and folders that models and samples are read from."""
    paths = list[Path]()
    for one in read:
        if one is not None and not isinstance(one, Samples):
            from ntkit.model.class_names import folders_of

            beside = (folder / name for folder in folders_of(one.path) for name in _BESIDE)
            paths += [*one.files, *(file for file in beside if file.exists())]
        elif one is not None:
            paths += one.sources
            for X in (*arrays_of(one.X), one.y):
                tokenizer = getattr(getattr(X, "preprocessing", None), "tokenizer", None)
                files = (tokenizer, getattr(X, "filename", None))  # the latter of a memory map
                paths += [Path(file) for file in files if isinstance(file, str | Path)]
                pictures = () if one.sources else getattr(X, "paths", ())
                paths += [Path(path).parent for path in pictures]
    return [*dict.fromkeys(paths)]
