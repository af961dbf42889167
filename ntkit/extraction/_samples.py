"""Labelled samples from what a user has: an image folder, arrays, a table, a store."""

from __future__ import annotations

import os
import re
import unicodedata
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.extraction._image_files import ImageFiles, decode, image_extensions
from ntkit.extraction._image_preprocessing import ImagePreprocessing
from ntkit.extraction._store import EmbeddingStore
from ntkit.extraction._tables import TABLES, Table, read_table
from ntkit.extraction._text import Texts
from ntkit.extraction._text_preprocessing import TextPreprocessing

__all__ = ["Samples", "read_samples"]

Array = NDArray[Any]
_UNREADABLE = (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class Samples:
    """Model inputs (or embeddings) with their labels.

    Parameters
    ----------
    X : array, memory map or lazy sequence of length N, or mapping of str to these
        What goes into the model, or embeddings where ``embedded`` is true. A mapping holds one
        entry per input of a model with several.
    y : ndarray of shape (N,)
        Class labels.
    groups : ndarray of shape (N,) or None
        Group labels, for evaluation only.
    embedded : bool
        Whether X holds embeddings already.
    preprocessing : dict or None
        How X was made, for a store's manifest.
    skipped : tuple of pathlib.Path
        Files left out because they cannot be decoded.
    ids : ndarray of str, shape (N,), or None
        Image files, relative to their folder.
    columns : tuple of str
        Names of the columns of X, where it comes from a table of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.extraction import Samples
    >>> samples = Samples(np.zeros((3, 6)), np.array(["cat", "dog", "dog"]))
    >>> len(samples), samples.embedded
    (3, False)
    """

    X: Any
    y: Array
    groups: Array | None = None
    embedded: bool = False
    preprocessing: dict[str, Any] | None = None
    skipped: tuple[Path, ...] = ()
    ids: Array | None = None
    columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def with_columns_as_in(self, other: Samples) -> Samples:
        """Put the columns into the order they have in another table.

        Parameters
        ----------
        other : Samples
            Where either has no names of columns, nothing happens.

        Returns
        -------
        Samples

        Raises
        ------
        InputError
            If the columns are not the same.
        """
        if not self.columns or not other.columns or self.columns == other.columns:
            return self
        for one, two, which in ((self, other, "lacks"), (other, self, "has in addition")):
            foreign = [name for name in two.columns if name not in one.columns]
            if foreign:
                raise InputError(
                    f"A table {which} the column {foreign[0]!r}, which another one "
                    f"{'has' if which == 'lacks' else 'lacks'}; give all tables the same columns."
                )
        order = [self.columns.index(name) for name in other.columns]
        return replace(self, X=self.X[:, order], columns=other.columns)


def read_samples(
    path: str | Path,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    text_column: str | None = None,
    label_column: str = "label",
    group_column: str = "group",
    skip_bad: bool = False,
) -> Samples:
    r"""Read labelled samples.

    Parameters
    ----------
    path : path-like
        An image folder with one subfolder per class (group labels, if any, in a ``metadata.csv``
        with the columns ``file_name`` and ``group``); an ``.npz`` file with ``X``, ``y`` and
        perhaps ``groups``, or a folder or ``X.npy`` with ``y.npy`` (and ``groups.npy``) beside
        it; a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` table of texts or of numeric columns;
        or an embedding store.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        For images and texts; required there. With a TextPreprocessing a table holds texts.
    text_column : str, optional
        Column of a table that holds the texts; by default ``text``, or the only one that does.
    label_column, group_column : str
        Columns of a table, or of ``metadata.csv``.
    skip_bad : bool
        Leave out images that cannot be decoded instead of stopping at the first.

    Returns
    -------
    Samples
        Images are decoded, and texts tokenised, as they are used; a ``.npy`` file or store is
        mapped, not read.

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
    ...     _ = path.write_text("a,b,label\n1,2,cat\n3,4,dog\n")
    ...     samples = read_samples(path)
    >>> samples.y.tolist(), samples.X.shape
    (['cat', 'dog'], (2, 2))
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if path.is_dir():
        if EmbeddingStore.is_store(path):
            store = EmbeddingStore.open(path)
            ids = getattr(store, "ids", None)
            return Samples(store.X, store.y, store.groups, embedded=True, ids=ids)
        if (path / "X.npy").exists():
            return _arrays(path / "X.npy")
        return _image_folder(path, preprocessing, group_column, skip_bad)
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix == ".npy":
        return _arrays(path)
    if path.suffix.lower() in TABLES:
        table = read_table(path)
        if text_column is not None or isinstance(preprocessing, TextPreprocessing):
            return _texts(table, preprocessing, text_column, label_column, group_column)
        return _numbers(table, label_column, group_column)
    raise InputError(
        f"{path} is none of: an image folder, .npz, X.npy with y.npy, {', '.join(TABLES)}, an "
        "embedding store."
    )


# -- images -------------------------------------------------------------------------------------


def _image_folder(
    path: Path,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    group_column: str,
    skip_bad: bool,
) -> Samples:
    if not isinstance(preprocessing, ImagePreprocessing):
        raise InputError(f"{path} is an image folder; say how images are preprocessed.")
    files, labels = list[Path](), list[str]()
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        images = sorted(_images_in(folder))
        if not images:
            raise InputError(f"The class folder {folder} holds no images; fill or remove it.")
        files += images
        labels += [folder.name] * len(images)
    if not files:
        raise InputError(f"{path} has no subfolders with images; make one subfolder per class.")
    skipped = tuple(f for f in files if not _decodes(f)) if skip_bad else ()
    dropped = set(skipped)
    kept = [i for i, f in enumerate(files) if f not in dropped]
    files = [files[i] for i in kept]
    if not files:
        raise InputError(f"None of the {len(labels)} images in {path} can be decoded.")
    names = [file.relative_to(path).as_posix() for file in files]
    return Samples(
        ImageFiles(files, preprocessing),
        _as_classes(np.asarray([_as_text(labels[i]) for i in kept])),
        _groups_of(path, names, group_column),
        preprocessing=preprocessing.as_dict(),
        skipped=skipped,
        ids=np.asarray([_as_text(name) for name in names]),
    )


def _images_in(folder: Path) -> list[Path]:
    """Image files of a class, in links to folders too, each folder once; hidden ones left out."""
    extensions, seen, images = image_extensions(), set[str](), list[Path]()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        images += [
            Path(root, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions
        ]
    return images


def _as_text(name: str) -> str:
    """A file name as text that can be written; bytes that are no UTF-8 are spelt out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _decodes(path: Path) -> bool:
    try:
        decode(path)
    except InputError:
        return False
    return True


def _groups_of(path: Path, names: list[str], group_column: str) -> Array | None:
    file = path / "metadata.csv"
    if not file.exists():
        return None
    table = read_table(file)
    if group_column not in table.columns:
        return None
    if "file_name" not in table.columns:
        raise InputError(f"{file} has no column 'file_name'.")
    listed = map(_composed, table.columns["file_name"])
    group_of = dict(zip(listed, table.labels(group_column, "group"), strict=True))
    if len(group_of) < len(table):
        raise InputError(f"{file} names a file twice; leave one row per file.")
    missing = [name for name in names if _composed(name) not in group_of]
    if missing:
        raise InputError(f"{file} has no row for {missing[0]!r}.")
    return np.asarray([group_of[_composed(name)] for name in names])


def _composed(name: str) -> str:
    """One spelling of letters with accents: file systems and spreadsheets differ."""
    return unicodedata.normalize("NFC", name)


# -- arrays -------------------------------------------------------------------------------------


def _npz(path: Path) -> Samples:
    try:
        # NumPy leaves a broken archive open if it opened the file itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = [name for name in ("X", "y") if name not in arrays]
            if missing:
                raise InputError(
                    f"{path} has no array {missing[0]!r}; it holds {sorted(arrays)}. Save it with "
                    "np.savez(path, X=..., y=..., groups=...)."
                )
            groups = arrays.get("groups")
            return _checked(path, arrays["X"], arrays["y"], groups)
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"{path} is not a readable .npz file: {error}.") from error


def _arrays(path: Path) -> Samples:
    labels, groups = path.with_name("y.npy"), path.with_name("groups.npy")
    if not labels.exists():
        raise InputError(f"{path} needs its labels in {labels}.")
    try:
        found = path
        X = np.lib.format.open_memmap(path, mode="r")
        found = labels
        y = np.array(np.lib.format.open_memmap(labels, mode="r"))
        found = groups
        given = np.array(np.lib.format.open_memmap(groups, mode="r")) if groups.exists() else None
        return _checked(path, X, y, given)
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"{found} is not a readable .npy file: {error}.") from error


# -- tables -------------------------------------------------------------------------------------


def _numbers(table: Table, label_column: str, group_column: str) -> Samples:
    y, groups = _labels_of(table, label_column, group_column)
    names = [name for name in table.columns if name not in (label_column, group_column)]
    if not names:
        raise InputError(f"{table.path} has no columns besides {label_column!r}; add the inputs.")
    X = table.numbers(names)
    return Samples(X, y, groups, preprocessing={"input": "as it is"}, columns=tuple(names))


def _texts(
    table: Table,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    text_column: str | None,
    label_column: str,
    group_column: str,
) -> Samples:
    if not isinstance(preprocessing, TextPreprocessing):
        raise InputError(
            f"The texts in {table.path} need a tokenizer; put its tokenizer.json beside the model, "
            "or name it with --tokenizer (a TextPreprocessing in Python)."
        )
    if text_column is None:
        text_column = _text_column_of(table, (label_column, group_column))
    table.column(text_column, "--text-column")
    y, groups = _labels_of(table, label_column, group_column)
    texts = Texts(table.texts(text_column), preprocessing)
    return Samples(texts, y, groups, preprocessing=preprocessing.as_dict())


def _text_column_of(table: Table, taken: tuple[str, str]) -> str:
    """The column named "text", or the only one of texts."""
    if "text" in table.columns and "text" not in taken:
        return "text"
    found = [name for name in table.text_columns() if name not in taken]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{table.path} has {'several text columns' if found else 'no text column'}; its columns "
        f"are {list(table.columns)}. Name the one to use with --text-column."
    )


def _labels_of(table: Table, label_column: str, group_column: str) -> tuple[Array, Array | None]:
    table.column(label_column, "--label-column")
    y = _as_classes(table.labels(label_column, "label"))
    return y, table.labels(group_column, "group") if group_column in table.columns else None


def _as_classes(labels: Array) -> Array:
    """Labels read as text become integers where all of them are."""
    if labels.dtype.kind != "U" or not all(
        re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels
    ):
        return labels
    numbers = labels.astype(np.int64)
    # "1" and "01" are two classes.
    return numbers if len(np.unique(numbers)) == len(np.unique(labels)) else labels


def _checked(path: Path, X: Array, y: Array, groups: Array | None) -> Samples:
    if X.ndim < 2 or y.ndim != 1:
        raise InputError(
            f"{path}: X has the shape {X.shape} and y {y.shape}; they are (N, ...) and (N,)."
        )
    if len(X) != len(y):
        raise InputError(f"{path}: X has {len(X)} samples, but y has {len(y)} labels.")
    if not len(y):
        raise InputError(f"{path} holds no samples.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise InputError(f"{path}: y holds NaN or infinite labels.")
    if groups is not None and groups.shape != y.shape:
        raise InputError(f"{path}: groups has shape {groups.shape}, but y has {y.shape}.")
    return Samples(X, y, groups, preprocessing={"input": "as it is"})
