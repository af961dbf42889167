"""Samples from an image folder: a subfolder for each class, perhaps a table of groups."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs import (
    ImageFiles,
    ImagePreprocessing,
    TextPreprocessing,
    decode,
    image_extensions,
)
from ntkit.samples._columns import Columns
from ntkit.samples._samples import Samples, as_classes
from ntkit.samples._table_files import read_table


def samples_from_image_folder(
    path: Path,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    columns: Columns,
    delimiter: str | None,
    skip_bad: bool,
) -> Samples:
    """Read an image folder; images are decoded as they are used."""
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
