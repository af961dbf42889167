"""Embeddings that are to be computed, of samples: what a store of them is to hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ntkit._types import Array
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.samples import input_paths, sample_digests, sum_of_digests
from ntkit.store._fill import Job
from ntkit.store._parts import row_range

if TYPE_CHECKING:
    from ntkit.extraction import OnnxEmbedder
    from ntkit.model import FrozenModel
    from ntkit.samples import Samples

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
    """What tells these samples from others without a look at their contents."""
    # Labels, groups, ids, and the kind of the inputs.
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
    """What tells these samples from any others: labels, groups, ids and contents."""
    # `digests` are those of ntkit.samples._digests.sample_digests, where they are known.
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


def samples_job(
    embedder: OnnxEmbedder,
    samples: Samples,
    *,
    part: tuple[int, int] | None,
    dtype: str | None,
    engine: Literal["local", "ray"],
) -> Job:
    """Describe a store of the embeddings of samples; parameters as of ``EmbeddingStore.write``."""
    check_lengths(samples)
    if dtype not in (None, "float16", "float32"):
        raise InputError(f"dtype is float16 or float32, not {dtype!r}.")
    model, computing = embedder.frozen_model, embedder.on(engine)
    identity = {
        "model": model.sha256(),
        "tensor": model.embedding.name,
        "preprocessing": json.loads(json.dumps(samples.preprocessing)),
        "total_rows": len(samples),
        "samples": described(samples),
        "dtype": dtype,
        "device": computing.device_,
        "part": None if part is None else [int(i) for i in part],
    }

    def batches(start: int, stop: int, run: dict[str, Any]) -> Generator[Array, None, None]:
        yield from computing.iter_batches(samples.X, start=start, stop=stop, settings=run)

    def contents(first: int, rows: int) -> str:
        verbose = getattr(embedder, "verbose", False)
        digests = sample_digests(samples, first, first + rows, verbose=verbose)
        return sum_of_digests(digests, first)

    return Job(
        identity=identity,
        facts={
            "ntkit": __version__,
            "skipped": skipped_names(samples),
            "preprocessing_source": source_of(samples),
            **({"labels": False} if samples.y is None else {}),
        },
        files=lambda first, rows: kept_files(samples, model, first, rows),
        settings=lambda: json.loads(json.dumps(computing.settings(samples.X))),
        row_range=lambda run: row_range(len(samples), run["window"], part),
        batches=batches,
        contents=contents,
        inputs=input_paths(model, samples),
        row_bytes=_row_bytes(model, dtype),
    )


def _row_bytes(model: FrozenModel, dtype: str | None) -> int | None:
    """Size of an embedding on disk, where the model says so."""
    shape = model.embedding.shape
    width: Any = shape[1] if shape is not None and len(shape) == 2 else None
    if model.head is not None:
        width = model.head.n_neurons
    known = {"float16": 2, "float32": 4, "float64": 8}
    itemsize = known.get(dtype or model.embedding.dtype or "")
    return width * itemsize if isinstance(width, int) and itemsize is not None else None
