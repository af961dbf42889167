"""Labelled samples from what a user has: an image folder, arrays, a table, a store."""

from __future__ import annotations

import csv
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit.exceptions import InputError
from ntkit.extraction._images import ImageFiles, ImagePreprocessing, decode
from ntkit.extraction._store import EmbeddingStore

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

    def __len__(self) -> int:
        return len(self.y)


def read_samples(
    path: str | Path,
    *,
    preprocessing: ImagePreprocessing | None = None,
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
        it; a ``.csv`` table of numeric columns; or an embedding store.
    preprocessing : ImagePreprocessing, optional
        For images; required there.
    label_column, group_column : str
        Columns of a table, or of ``metadata.csv``.
    skip_bad : bool
        Leave out images that cannot be decoded instead of stopping at the first.

    Returns
    -------
    Samples
        Images are decoded as they are used; a ``.npy`` file or store is mapped, not read.

    Raises
    ------
    InputError
        If the data cannot be read; the message names the file, row or column.

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
            return Samples(store.X, store.y, store.groups, embedded=True)
        if (path / "X.npy").exists():
            return _arrays(path / "X.npy")
        return _image_folder(path, preprocessing, group_column, skip_bad)
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix == ".npy":
        return _arrays(path)
    if path.suffix == ".csv":
        return _table(path, label_column, group_column)
    raise InputError(
        f"{path} is none of: an image folder, .npz, X.npy with y.npy, .csv, an embedding store."
    )


def _image_folder(
    path: Path, preprocessing: ImagePreprocessing | None, group_column: str, skip_bad: bool
) -> Samples:
    if preprocessing is None:
        raise InputError(f"{path} is an image folder; say how images are preprocessed.")
    extensions = Image.registered_extensions()
    files, labels = list[Path](), list[str]()
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in extensions)
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
    y = _as_classes(np.asarray([labels[i] for i in kept]))
    groups = _groups_of(path, files, group_column)
    return Samples(
        ImageFiles(files, preprocessing),
        y,
        groups,
        preprocessing=preprocessing.as_dict(),
        skipped=skipped,
    )


def _decodes(path: Path) -> bool:
    try:
        decode(path)
    except InputError:
        return False
    return True


def _groups_of(path: Path, files: list[Path], group_column: str) -> Array | None:
    table = path / "metadata.csv"
    if not table.exists():
        return None
    rows = _read_csv(table)
    if group_column not in rows[0]:
        return None
    if "file_name" not in rows[0]:
        raise InputError(f"{table} has no column 'file_name'.")
    group_of = {row["file_name"]: row[group_column] for row in rows}
    if len(group_of) < len(rows):
        raise InputError(f"{table} names a file twice; leave one row per file.")
    names = [file.relative_to(path).as_posix() for file in files]
    missing = [name for name in names if name not in group_of]
    if missing:
        raise InputError(f"{table} has no row for {missing[0]!r}.")
    return np.asarray([group_of[name] for name in names])


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


def _table(path: Path, label_column: str, group_column: str) -> Samples:
    rows = _read_csv(path)
    if label_column not in rows[0]:
        raise InputError(
            f"{path} has no column {label_column!r}; its columns are {list(rows[0])}. Name it with "
            "--label-column."
        )
    columns = [name for name in rows[0] if name not in (label_column, group_column)]
    if not columns:
        raise InputError(f"{path} has no columns besides {label_column!r}; add the inputs.")
    X = np.empty((len(rows), len(columns)), dtype=np.float32)
    for j, name in enumerate(columns):
        for i, row in enumerate(rows):
            try:
                X[i, j] = float(row[name])
            except ValueError:
                raise InputError(
                    f"{path}, row {i + 2}: {row[name]!r} in column {name!r} is not a number."
                ) from None
    unlabelled = [i for i, row in enumerate(rows) if not row[label_column]]
    if unlabelled:
        raise InputError(
            f"{path}, row {unlabelled[0] + 2} has no label in {label_column!r}; fill it or remove "
            "the row."
        )
    y = _as_classes(np.asarray([row[label_column] for row in rows]))
    groups = np.asarray([row[group_column] for row in rows]) if group_column in rows[0] else None
    return _checked(path, X, y, groups)


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            header, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable CSV table: {error}.") from error
    if not rows:
        raise InputError(f"{path} has no rows.")
    if len(set(header)) < len(header):
        raise InputError(f"{path} has two columns of one name in {header}; rename one.")
    for i, row in enumerate(rows):
        if "" in row.keys() - set(header):
            raise InputError(f"{path}, row {i + 2} has more cells than the {len(header)} columns.")
    return rows


def _as_classes(labels: Array) -> Array:
    """Labels read as text become integers where all of them are."""
    if not all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels):
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
