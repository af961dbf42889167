"""Embeddings that are to be computed, of samples: what a store of them is to hold."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.samples import input_paths, sample_digests, sum_of_digests
from ntkit.store._fill import Job
from ntkit.store._kept_samples import (
    check_lengths,
    described,
    kept_files,
    skipped_names,
    source_of,
)
from ntkit.store._parts import row_range

if TYPE_CHECKING:
    from ntkit.extraction import OnnxEmbedder
    from ntkit.frozen_model import FrozenModel
    from ntkit.samples import Samples

__all__ = ["samples_job"]

Array = NDArray[Any]


def samples_job(
    embedder: OnnxEmbedder,
    samples: Samples,
    *,
    part: tuple[int, int] | None,
    dtype: str | None,
    engine: Literal["local", "ray"],
) -> Job:
    """Describe a store of the embeddings of samples; parameters as of ``EmbeddingStore.write``.

    Raises
    ------
    InputError
        If there are no samples, inputs and labels differ in number, or the precision is none.
    """
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
