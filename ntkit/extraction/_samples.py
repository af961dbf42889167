"""Samples from what a user has: an image folder, arrays, a table, a store."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.extraction._delimited import named_delimiter
from ntkit.extraction._image_files import ImageFiles, decode, image_extensions
from ntkit.extraction._image_preprocessing import ImagePreprocessing
from ntkit.extraction._origin import origin_of
from ntkit.extraction._sample_arrays import samples_from_npy, samples_from_npz
from ntkit.extraction._sample_set import Samples, as_classes
from ntkit.extraction._sample_tables import DEFAULT_LABEL, Columns, samples_from_table
from ntkit.extraction._store import EmbeddingStore
from ntkit.extraction._tables import TABLES, read_table
from ntkit.extraction._text_preprocessing import TextPreprocessing
from ntkit.frozen_model import TensorInfo

__all__ = ["Samples", "read_samples"]

Array = NDArray[Any]


def read_samples(
    path: str | Path,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    inputs: Sequence[TensorInfo] = (),
    labels: Literal["required", "optional"] = "required",
    columns: Sequence[str] | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str = DEFAULT_LABEL,
    group_column: str = "group",
    delimiter: str | None = None,
    skip_bad: bool = False,
) -> Samples:
    r"""Read labelled samples, or samples without labels.

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
    inputs : sequence of TensorInfo
        The inputs of the model that the samples are for. They decide what a table's columns
        become: of several inputs, or of strings, each takes the column of its name; one input of
        D numbers takes D columns. Without them, columns such as ``id``, ``prediction`` or
        ``split`` are left out by their names.
    labels : {"required", "optional"}
        With "optional", an image folder with images but without class folders, an array without
        ``y`` and a table without the label column are read, and ``y`` is None.
    columns : sequence of str, optional
        Columns of a table that go into the model, in its order, instead of those that are found.
    text_column : str, optional
        Column of a table that holds the texts; by default ``text``, or the only one that does.
    text_pair_column : str, optional
        Column of the second texts, where a sample is a pair of texts (premise and hypothesis).
    label_column, group_column : str
        Columns of a table, or of ``metadata.csv``.
    delimiter : str, optional
        What separates the cells of a ``.csv`` or ``.tsv`` file: one character, or "tab". By
        default a tab in a ``.tsv`` file, and in a ``.csv`` file what its header says. Unless it
        is a comma, numbers may have a decimal comma.
    skip_bad : bool
        Leave out images that cannot be decoded instead of stopping at the first.

    Returns
    -------
    Samples
        Images are decoded, and texts tokenised, as they are used; a ``.npy`` file or store is
        mapped, not read. Its ``notes`` say what was assumed and left out.

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
    ...     _ = path.write_text("a;id;b;label\n1,5;7;2;cat\n3;8;4;dog\n")
    ...     samples = read_samples(path)
    >>> samples.y.tolist(), samples.columns, samples.X.tolist()
    (['cat', 'dog'], ('a', 'b'), [[1.5, 2.0], [3.0, 4.0]])
    """
    if labels not in ("required", "optional"):
        raise InputError(f'labels is "required" or "optional", not {labels!r}.')
    asked = Columns(
        label=label_column,
        group=group_column,
        text=text_column,
        pair=text_pair_column,
        inputs=None if columns is None else tuple(columns),
        labels_required=labels == "required",
    )
    path, delimiter = Path(path), named_delimiter(delimiter)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if not path.is_dir():
        samples = _file(path, preprocessing, inputs, asked, delimiter)
    elif EmbeddingStore.is_store(path):
        samples = _store(path, asked.labels_required)
    elif (path / "X.npy").exists():
        samples = samples_from_npy(path / "X.npy", asked.labels_required)
    else:
        samples = _image_folder(path, preprocessing, asked, delimiter, skip_bad)
    return replace(samples, sources=samples.sources or (path,))


def _store(path: Path, labels_required: bool) -> Samples:
    store = EmbeddingStore.open(path)
    if store.y is None and labels_required:
        raise InputError(
            f"The store {path} holds no labels, which are needed here; embed the samples again "
            "with their labels."
        )
    return Samples(
        store.X,
        store.y,
        store.groups,
        embedded=True,
        ids=store.ids,
        origin=origin_of(store.manifest),
    )


def _file(
    path: Path,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    inputs: Sequence[TensorInfo],
    columns: Columns,
    delimiter: str | None,
) -> Samples:
    kind = path.suffix.lower()
    if kind == ".npz":
        return samples_from_npz(path, columns.labels_required)
    if kind == ".npy":
        return samples_from_npy(path, columns.labels_required)
    if kind in TABLES:
        table = read_table(path, delimiter, columns.named)
        return samples_from_table(table, columns, inputs, preprocessing)
    if kind == ".onnx":
        raise InputError(
            f"{path} is a model, and samples are wanted there; the model comes first, as in: "
            "ntkit embed MODEL DATA -o OUT."
        )
    raise InputError(
        f"{path} is none of: an image folder, .npz, X.npy with y.npy, {', '.join(TABLES)}, an "
        "embedding store."
    )


# -- images -------------------------------------------------------------------------------------


def _image_folder(
    path: Path,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    columns: Columns,
    delimiter: str | None,
    skip_bad: bool,
) -> Samples:
    if not isinstance(preprocessing, ImagePreprocessing):
        raise InputError(f"{path} is an image folder; say how images are preprocessed.")
    files, labels, notes = _images_and_classes(path, columns.labels_required)
    skipped = tuple(f for f in files if not _decodes(f)) if skip_bad else ()
    dropped = set(skipped)
    kept = [i for i, f in enumerate(files) if f not in dropped]
    if not kept:
        raise InputError(f"None of the {len(files)} images in {path} can be decoded.")
    names = [files[i].relative_to(path).as_posix() for i in kept]
    classes = None if labels is None else np.asarray([_as_text(labels[i]) for i in kept])
    return Samples(
        ImageFiles([files[i] for i in kept], preprocessing),
        None if classes is None else as_classes(classes),
        _groups_of(path, names, columns.group, delimiter),
        preprocessing=preprocessing.as_dict(),
        skipped=skipped,
        ids=np.asarray([_as_text(name) for name in names]),
        notes=notes,
    )


def _images_and_classes(
    path: Path, labels_required: bool
) -> tuple[list[Path], list[str] | None, tuple[str, ...]]:
    """Image files, the class of each by its folder (or no classes), and what to say about it."""
    shown = [p for p in path.iterdir() if not p.name.startswith(".")]
    folders = sorted(p for p in shown if p.is_dir())
    loose = [p for p in shown if p.suffix.lower() in image_extensions() and not p.is_dir()]
    if loose and not labels_required:
        files = sorted(_images_in(path))
        note = (
            f"{path}: {len(loose)} image(s) lie in it and not in a subfolder, so that its "
            "subfolders are not taken for classes: the samples have no labels."
        )
        return files, None, (note,) if len(files) > len(loose) else ()
    files, labels = [], list[str]()
    for folder in folders:
        images = sorted(_images_in(folder))
        if not images:
            raise InputError(f"The class folder {folder} holds no images; fill or remove it.")
        files += images
        labels += [folder.name] * len(images)
    if not files:
        found = f"{len(loose)} images, but no" if loose else "no"
        raise InputError(
            f"{path} has {found} subfolders with images; make one subfolder per class."
        )
    left = f"{path}: left out {len(loose)} image(s) that lie in no class folder."
    return files, labels, (left,) if loose else ()


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


def _groups_of(
    path: Path, names: list[str], group_column: str, delimiter: str | None
) -> Array | None:
    file = path / "metadata.csv"
    if not file.exists():
        return None
    table = read_table(file, delimiter, ("file_name", group_column))
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
