"""What samples hold: one class for each kind of data, with what differs between kinds."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkit import _text
from ntkit._types import Array
from ntkit.inputs.image_files import ImageFiles, MeasuredImages
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.inputs.raw import RawInputs
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.samples.looks import Images, images_in_array, images_in_files
from ntkit.samples.table import is_prose

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.model import FrozenModel

_SHOWN_COLUMNS = 20
_ROUNDING = 1e-3  # of values from 0 to 1
_BLACKEST = -0.9  # some pixel of images from −1 to 1; black minus a mean is above


def by_input(X: Any, change: Callable[[Any], Any]) -> Any:
    """Inputs after a transformation, applied to each of several inputs."""
    if isinstance(X, Mapping):
        return {name: change(part) for name, part in X.items()}
    return change(X)


def first_rows(X: Any, n: int) -> Any:
    """The first samples as model inputs: images are decoded, texts tokenised."""
    if hasattr(X, "kept_inputs"):
        return X.kept_inputs(range(min(n, len(X))))
    return by_input(X, lambda part: part[:n])


def spread_rows(X: Any, n_samples: int, n: int) -> Any:
    """Samples from all places of a set as model inputs: sets may be in the order of the classes."""
    rows = np.unique(np.linspace(0, n_samples - 1, min(n, n_samples)).astype(np.intp)).tolist()
    if hasattr(X, "kept_inputs"):
        return X.kept_inputs(rows)
    parts = X.values() if isinstance(X, Mapping) else [X]
    if all(isinstance(x, np.ndarray | list | tuple) or hasattr(x, "take") for x in parts):
        return first_rows(rows_of(X, rows), n)
    return first_rows(X, n)  # computed when it is read, in order


def rows_of(X: Any, rows: Sequence[int] | Array) -> Any:
    """Some samples in the order of these rows, of the same kind: images are not decoded."""
    if isinstance(X, Mapping):
        return {name: rows_of(part, rows) for name, part in X.items()}
    if isinstance(X, RawInputs) or hasattr(X, "seen") or hasattr(X, "texts"):  # copies, files
        return X.take(rows)
    if hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, list | tuple):
        return [X[row] for row in rows]
    return np.asarray(X[np.asarray(rows, dtype=np.intp)])


class Arrays:
    """Arrays of any shape, and what is the same for all kinds that say nothing else."""

    what = "arrays"
    """Word for the kind in a sentence."""
    are_images = False
    """Whether they are images that can be changed; copies cannot be changed again."""
    are_files = False
    """Whether each sample is an image file."""
    may_have_names = False
    """Whether samples come from files or a table, which can name them."""
    are_ordered = True
    """Whether the model reads columns by their order."""
    likely_cause = (
        "Labels, classes or the scale of the inputs may not be those that the model expects."
    )
    """Sentence on why a model only guesses."""

    def __init__(self, X: Any, columns: tuple[str, ...] = (), source: str = "") -> None:
        self.X, self.columns = X, columns
        self._source = source  # of the order of the columns

    @property
    def steps(self) -> ImagePreprocessing | TextPreprocessing | None:
        """Preprocessing of images or texts; else None."""
        return None

    @property
    def pixel_range(self) -> tuple[float, float, bool]:
        """Values of black and white, and whether these are known, as image files have them."""
        return 0.0, 255.0, True

    def note(self) -> str:
        """Sentence on how the samples become model inputs; empty without named columns."""
        if not self._source:
            return ""
        shown = _text.listed(map(repr, self.columns), _SHOWN_COLUMNS, " ({} in all)")
        return f"Columns, in this order: {shown}; {self._source}."

    def cut_note(self) -> str:
        """Sentence on inputs that were cut; empty if there are none."""
        return ""

    def measured(self, by: type[MeasuredImages]) -> Any:
        """Inputs for one run, which hashes and measures image files while a model reads them."""
        return self.X

    def as_recorded(self, model: FrozenModel) -> Any:
        """Inputs with the truncation and padding that ntkit recorded in a model."""
        return self.X

    @property
    def may_be_coarse(self) -> bool:
        """Whether samples are rows or texts, of which different ones may well be equal."""
        return getattr(self.X, "ndim", 0) == 2

    def become_others(self, rows: Array, copies: Any) -> Array:
        """Whether changed copies of some samples are other inputs for the model."""
        return np.ones(len(rows), dtype=bool)

    def as_arguments(self, folder: Path) -> tuple[list[str], Any]:
        """Arguments of a program that reads the samples, and its inputs; files go into a folder."""
        np.save(folder / "samples.npy", self.X)
        return [str(folder / "samples.npy")], self.X

    # -- as people see them ----------------------------------------------------------------

    shows_inputs_in_table = True
    """Whether a person sees the columns of a table that the model reads next to its inputs."""

    @property
    def prose(self) -> tuple[str, ...]:
        """Those of several inputs with texts rather than codes: ``text``, and columns of prose."""
        return ()

    def texts(self, prose: Collection[str] = ()) -> list[Any] | None:
        """The text of each sample, or a tuple if there are several; None if there are none."""
        return None

    def images(self) -> Images | None:
        """Images as people see them; None for other samples."""
        return None

    def images_from_0_to_1(self) -> Images | None:
        """The same images on one scale; as they are, if black and white are unknown."""
        return self.images()

    def table(self) -> dict[str, Array] | None:
        """Columns of single values."""
        return None

    @property
    def without_texts(self) -> str:
        """What there is instead of texts, as the end of a sentence."""
        return self.what

    def with_texts(self, rows: Array, texts: Sequence[Any]) -> Any:
        """Inputs of some samples with these texts in place of their own."""
        cells = np.empty((len(rows), len(self.prose)), dtype=object)
        for row, text in enumerate(texts):
            cells[row] = text
        return self.with_columns(rows, dict(zip(self.prose, cells.T, strict=True)))

    # -- columns that the model reads ------------------------------------------------------

    @property
    def column_names(self) -> list[str]:
        """Columns that go into the model; unnamed ones have their numbers as names."""
        if np.ndim(self.X) != 2:
            return []
        return [str(name) for name in getattr(self.X, "columns", range(np.shape(self.X)[1]))]

    def column(self, name: str) -> Array:
        """Values of one column."""
        i = self.column_names.index(name)
        return _array(self.X.iloc[:, i]) if hasattr(self.X, "iloc") else _array(self.X)[:, i]

    def with_columns(self, rows: Array, new: Mapping[str, Array]) -> Any:
        """Inputs of some samples, with other values in some columns."""
        X, names = _array(self.X)[rows], self.column_names
        if X.dtype.kind in "US":  # a text must not be cut
            X = X.astype(np.result_type(X, *new.values()))
        for name, values in new.items():
            X[:, names.index(name)] = values
        return X


class ImageArrays(Arrays):
    """Images in an array of shape (N, C, H, W) or (N, H, W, C)."""

    are_images = True

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest value; missing values do not count."""
        if not self.X.size:
            return 0.0, 0.0
        low, high = (extreme.reduce(self.X, axis=None) for extreme in (np.fmin, np.fmax))
        return float(low), float(high)

    @property
    def pixel_range(self) -> tuple[float, float, bool]:
        """Values of black and white, and whether these are known."""
        low, high = self.value_range
        if low >= -_ROUNDING:
            if high <= 1 + _ROUNDING:
                return 0.0, 1.0, True
            known = self.X.dtype == np.uint8 or 64 < high <= 255
            return 0.0, 255.0 if known else high, known
        if -1 - _ROUNDING <= low <= _BLACKEST and high <= 1 + _ROUNDING:
            return -1.0, 1.0, True
        return low, max(high, low + 1), False

    def images(self) -> Images | None:
        """Images in their own values."""
        return images_in_array(self.X)

    def images_from_0_to_1(self) -> Images | None:
        """The same images on one scale; as they are, if black and white are unknown."""
        images, (low, high, known) = self.images(), self.pixel_range
        assert images is not None
        if self.X.dtype == np.uint8 and high == 255:
            return images
        low, size = (low, high - low) if known else (0.0, 1.0)
        return Images(len(images), lambda i: (images[i] - np.float32(low)) / np.float32(size))


class ArrayCopies(Arrays):
    """Changed copies of images in an array, made when they are read."""

    def images(self) -> Images | None:
        """Copies in pixels from 0 to 255."""

        def seen(i: int) -> Array:
            pixels: Array = np.clip(np.rint(self.X.seen(i)), 0, 255).astype(np.uint8)
            return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

        return Images(len(self.X), seen)


class Files(Arrays):
    """Image files."""

    what = "images"
    are_images = are_files = may_have_names = True
    are_ordered = False
    likely_cause = (
        "The preprocessing may differ from the model's. Set it with --preprocessing. "
        "Compare with a service's outputs: ntkit parity MODEL OUTPUTS.npz"
    )

    @property
    def steps(self) -> ImagePreprocessing:
        """Preprocessing of the images."""
        steps: ImagePreprocessing = self.X.preprocessing
        return steps

    def note(self) -> str:
        """Sentence on the preprocessing."""
        return str(self.steps.describe())

    def measured(self, by: type[MeasuredImages]) -> Any:
        """The files, hashed and measured while a model reads them."""
        return self.X if isinstance(self.X, by) else by(self.X)

    def as_arguments(self, folder: Path) -> tuple[list[str], Any]:
        """Copies with simple names, because the original names may hold any character."""
        copies = [folder / f"{i}" for i in range(len(self.X))]
        for path, copy in zip(self.X.paths, copies, strict=True):
            shutil.copyfile(path, copy)
        return [*map(str, copies)], self.X

    def images(self) -> Images | None:
        """The files, upright, in grey or RGB."""
        return images_in_files(self.X.paths)


class FileCopies(ArrayCopies):
    """Changed copies of image files, made when they are read."""

    what, likely_cause, steps, note = Files.what, Files.likely_cause, Files.steps, Files.note
    are_files = may_have_names = True
    are_ordered = False


class TextData(Arrays):
    """Texts, or pairs of texts."""

    what = "texts"
    likely_cause = (
        "The tokenizer may not be the model's. Set tokenizer and max_length with --preprocessing."
    )
    shows_inputs_in_table = are_ordered = False
    may_have_names = may_be_coarse = True

    @property
    def steps(self) -> TextPreprocessing:
        """Preprocessing of the texts."""
        steps: TextPreprocessing = self.X.preprocessing
        return steps

    def note(self) -> str:
        """Sentence on the tokenizer; empty for a model that reads strings."""
        return str(self.steps.describe()) if self.steps.tokenizer else ""

    def cut_note(self) -> str:
        """Sentence on texts that are longer than the model reads."""
        return str(self.X.cut_note())

    def as_recorded(self, model: FrozenModel) -> Any:
        """Texts with the truncation and padding that ntkit recorded in a model."""
        steps = self.steps.as_recorded(model)
        return self.X if steps == self.steps else self.X.with_texts(self.X.texts, steps)

    def as_arguments(self, folder: Path) -> tuple[list[str], Any]:
        """The texts; those of a pair are two arguments."""
        pairs = ((text,) if isinstance(text, str) else text for text in self.X.texts)
        return [part for parts in pairs for part in parts], self.X

    def become_others(self, rows: Array, copies: Any) -> Array:
        """Whether the tokens of changed texts are others."""
        others: Array = self.X.become_others(rows, copies)
        return others

    def texts(self, prose: Collection[str] = ()) -> list[Any]:
        """The texts."""
        return list[Any](self.X.texts)

    def with_texts(self, rows: Array, texts: Sequence[Any]) -> Any:
        """Other texts, with the same preprocessing."""
        return self.X.with_texts(texts)

    @property
    def column_names(self) -> list[str]:
        """No columns."""
        return []


class ColumnData(Arrays):
    """A matrix of columns with names."""

    what, may_have_names = "columns", True
    likely_cause = (
        "The columns may not be the model's, in its order and units. Name them with --columns."
    )

    def as_arguments(self, folder: Path) -> tuple[list[str], Any]:
        """A table in a file."""
        with (folder / "samples.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([self.columns, *self.X.tolist()])
        return [str(folder / "samples.csv")], self.X

    def table(self) -> dict[str, Array] | None:
        """The columns."""
        return dict(zip(self.columns, self.X.T, strict=True))

    @property
    def column_names(self) -> list[str]:
        """The columns."""
        return [*self.columns]


class SeveralInputs(Arrays):
    """An entry for each of several inputs of a model, often a column each."""

    what, are_ordered, without_texts = "inputs", False, "no column of texts"

    def __init__(self, X: Any, columns: tuple[str, ...] = (), source: str = "") -> None:
        super().__init__(X, columns, source)
        if self.columns:
            self.likely_cause = ColumnData.likely_cause

    @property
    def may_be_coarse(self) -> bool:
        """Whether each input is a column of single values."""
        return all(np.size(values) == len(values) for values in self.X.values())

    @cached_property
    def _strings(self) -> dict[str, Array]:
        """Those with one string for each sample."""
        kinds = (
            (str(n), v, getattr(getattr(v, "dtype", None), "kind", "")) for n, v in self.X.items()
        )
        arrays = {n: np.asarray(v) for n, v, kind in kinds if kind in ("O", "U")}
        return {n: v.ravel() for n, v in arrays.items() if v.size == len(v)}

    @property
    def prose(self) -> tuple[str, ...]:
        """Inputs with texts rather than codes: ``text``, and columns of prose."""
        return tuple(n for n, v in self._strings.items() if n == "text" or is_prose(v))

    def texts(self, prose: Collection[str] = ()) -> list[Any] | None:
        """Texts of the columns of prose, or of those named."""
        named = prose or self.prose
        columns = [v.tolist() for n, v in self._strings.items() if n in named]
        cells = [[c if isinstance(c, str) else "" for c in column] for column in columns]
        return [*zip(*cells, strict=True)] if len(cells) > 1 else next(iter(cells), None)

    def as_arguments(self, folder: Path) -> tuple[list[str], Any]:
        """A file with an array for each input."""
        parts = {n: v.astype(str) if v.dtype.kind == "O" else v for n, v in self.X.items()}
        np.savez(folder / "samples.npz", **parts)
        return [str(folder / "samples.npz")], parts

    def table(self) -> dict[str, Array] | None:
        """Inputs of single values."""
        arrays = {str(name): np.asarray(v) for name, v in self.X.items()}
        single = {name: v for name, v in arrays.items() if all(k == 1 for k in v.shape[1:])}
        return {name: v.reshape(len(v)) for name, v in single.items()} or None

    @property
    def column_names(self) -> list[str]:
        """Inputs of single values."""
        return [str(n) for n, v in self.X.items() if np.size(v) == len(v)]

    def column(self, name: str) -> Array:
        """Values of one input."""
        values = next(v for n, v in self.X.items() if str(n) == name)
        return _array(values).reshape(len(values))

    def with_columns(self, rows: Array, new: Mapping[str, Array]) -> Any:
        """Inputs of some samples, with other values in some of them."""
        return {
            n: new[str(n)].reshape((-1, *np.shape(v)[1:])) if str(n) in new else rows_of(v, rows)
            for n, v in self.X.items()
        }


class RawData(Arrays):
    """Raw samples that a function prepares."""

    what = "raw samples"
    are_ordered = may_be_coarse = False

    def as_arguments(self, folder: Path) -> tuple[list[str], Any]:
        """The prepared samples, in a file."""
        return data_of(self.X[:], (), "").as_arguments(folder)

    @property
    def column_names(self) -> list[str]:
        """No columns."""
        return []


class Embeddings(Arrays):
    """Embeddings, which stand for samples that are not there."""

    what = "embeddings"

    @property
    def column_names(self) -> list[str]:
        """No columns that a model reads."""
        return []


def _array(values: Any) -> Array:
    return np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)


def data_of(X: Any, columns: tuple[str, ...], source: str) -> Arrays:
    """What samples hold, of the class of their kind."""
    kind = Arrays
    if isinstance(X, ImageFiles):
        kind = Files if X.measurable else FileCopies
    elif isinstance(X, Texts):
        kind = TextData
    elif isinstance(X, Mapping):
        kind = SeveralInputs
    elif isinstance(X, RawInputs):
        kind = RawData
    elif hasattr(X, "seen"):
        kind = ArrayCopies
    elif columns:
        kind = ColumnData
    elif images_in_array(X) is not None:
        kind = ImageArrays
    return kind(X, columns, source)
