"""Embeddings that are to be computed, of samples: what a store of them is to hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

import numpy as np

from ntkit._types import Array
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.model import FrozenModel
from ntkit.samples import Samples, arrays_of, input_paths, sample_digests, sum_of_digests
from ntkit.store._fill import Job
from ntkit.store._parts import row_range

_CHUNK = 4096


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
        if values is not None:
            for start in range(0, len(values), _CHUNK):
                digest.update(repr(_plain(values[start : start + _CHUNK]).tolist()).encode())
    for array in arrays_of(samples.X):
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


def _root(samples: Samples) -> Path | None:
    paths: Any = getattr(samples.X, "paths", ())
    if samples.ids is None or not len(paths):
        return None
    path, name = Path(paths[0]), PurePosixPath(str(samples.ids[0]))
    root = Path(*path.parts[: len(path.parts) - len(name.parts)])
    return root if root / name == path else None


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


class Embedder(Protocol):
    """What a store asks of an OnnxEmbedder, which lies in a higher layer."""

    @property
    def frozen_model(self) -> FrozenModel:
        """The model that it runs."""

    def on(self, engine: str) -> Any:
        """What computes: itself, or Ray's actors."""


def samples_job(
    embedder: Embedder,
    samples: Samples,
    *,
    part: tuple[int, int] | None,
    dtype: str | None,
    engine: Literal["local", "ray"],
) -> Job:
    """Describe a store of the embeddings of samples; parameters as of ``EmbeddingStore.write``."""
    if not len(samples):
        raise InputError("There are no samples to embed.")
    samples.check_lengths()
    samples = samples.measured()
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
            "preprocessing_source": getattr(samples.steps, "source", None),
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
