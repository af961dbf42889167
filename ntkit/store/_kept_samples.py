"""What a store keeps of the samples besides their embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.samples import sample_digests, sum_of_digests

if TYPE_CHECKING:
    from ntkit.frozen_model import FrozenModel
    from ntkit.samples import Samples

__all__ = [
    "check_lengths",
    "described",
    "fingerprint",
    "kept_files",
    "skipped_names",
    "source_of",
]

Array = NDArray[Any]
_CHUNK = 4096


def check_lengths(samples: Samples) -> None:
    """Refuse samples without rows, or with other numbers of inputs, labels, groups or ids."""
    n = len(samples)
    if not n:
        raise InputError("There are no samples to embed.")
    for array in _inputs(samples):
        if len(array) != n:
            raise InputError(f"There are {len(array)} samples, but {n} labels.")
    for name, values in (("groups", samples.groups), ("ids", samples.ids)):
        if values is not None and len(values) != n:
            what = "samples" if samples.y is None else "labels"
            raise InputError(f"There are {len(values)} {name}, but {n} {what}.")


def kept_files(samples: Samples, model: FrozenModel, first: int, rows: int) -> dict[str, Any]:
    """Contents of labels.npy, groups.npy, ids.npy and head.npz for a range of rows."""
    files: dict[str, Any] = {}
    named = {"labels": samples.y, "groups": samples.groups, "ids": samples.ids}
    for name, values in named.items():
        if values is not None:
            files[f"{name}.npy"] = _plain(values)[first : first + rows]
    head = _original_head(model, samples.y)
    if head is not None:
        files["head.npz"] = {p: getattr(head, p) for p in ("coef", "intercept", "classes")}
    return files


def described(samples: Samples) -> str:
    """What tells these samples from others without a look at their contents.

    Labels, groups, ids, and the kind of the inputs.
    """
    digest = hashlib.sha256()
    for values in (samples.y, samples.groups, samples.ids):
        digest.update(b"none" if values is None else b"given")
        for chunk in _chunks(values):
            digest.update(repr(_plain(chunk).tolist()).encode())
    for array in _inputs(samples):
        if isinstance(array, np.ndarray):
            digest.update(f"{array.dtype} {array.shape}".encode())
    return digest.hexdigest()


def fingerprint(samples: Samples, digests: Any = None) -> str:
    """What tells these samples from any others: labels, groups, ids and contents.

    ``digests`` are those of :func:`~ntkit.samples._digests.sample_digests`, where they are
    known.
    """
    contents = sum_of_digests(sample_digests(samples) if digests is None else digests)
    return hashlib.sha256(f"{described(samples)} {contents}".encode()).hexdigest()


def skipped_names(samples: Samples) -> list[str]:
    """Names of the files left out, relative to the image folder where that is known."""
    root = _root(samples)
    return [
        (path.relative_to(root) if root and path.is_relative_to(root) else path).as_posix()
        for path in map(Path, samples.skipped)
    ]


def source_of(samples: Samples) -> str | None:
    """Where the preprocessing of images comes from: a file, the user, or a guess."""
    return getattr(getattr(samples.X, "preprocessing", None), "source", None)


def _root(samples: Samples) -> Path | None:
    paths: Any = getattr(samples.X, "paths", ())
    if samples.ids is None or not len(paths):
        return None
    path, name = Path(paths[0]), PurePosixPath(str(samples.ids[0]))
    root = Path(*path.parts[: len(path.parts) - len(name.parts)])
    return root if root / name == path else None


def _inputs(samples: Samples) -> list[Any]:
    return [*samples.X.values()] if isinstance(samples.X, Mapping) else [samples.X]


def _chunks(values: Any) -> Iterator[Any]:
    for start in range(0, 0 if values is None else len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _plain(labels: Any) -> Array:
    """Labels without Python objects, which NumPy could write but not read again."""
    labels = np.asarray(labels)
    if labels.dtype == object:
        return np.asarray(labels.tolist())
    return np.asarray(labels, labels.dtype.newbyteorder("="))


def _original_head(model: FrozenModel, y: Array | None) -> LinearHead | None:
    if y is None:
        return model.head
    try:
        return model.matched_to(y).head
    except InputError:
        return None
