"""Contents of a store: embeddings of samples, of a Parquet file, or of finished parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

import numpy as np

from ntkit._disk import sha256_of
from ntkit._text import listed
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.model import FrozenModel
from ntkit.samples import (
    EMBEDDINGS,
    IDENTITY,
    Samples,
    arrays_of,
    combined,
    difference,
    input_paths,
    is_list,
    is_number,
    open_parquet,
    read_parquet,
    sample_digests,
    sum_of_digests,
)
from ntkit.store._fill import StoreContents, read_rows

_CHUNK = 8 << 20  # bytes read at once
_SAME = (*(name for name in IDENTITY if name != "part"), "run")


def row_range(total: int, window: int, part: tuple[int, int] | None) -> tuple[int, int]:
    """First row and number of rows of a part: whole windows, spread evenly."""
    if part is None:
        return 0, total
    i, n = part
    if not 1 <= i <= n:
        raise InputError(f"There is no part {i} of {n}; count from 1 of {n} to {n} of {n}.")
    windows = -(-total // window)
    if n > windows:
        raise InputError(
            f"{total} samples in windows of {window} make at most {windows} parts, not {n}; use "
            "fewer parts or a smaller batch size."
        )
    first, stop = ((windows * k // n) * window for k in (i - 1, i))
    return first, min(stop, total) - first


def joined(stores: Sequence[Any]) -> StoreContents:
    """Description of the store that finished parts form."""
    parts = sorted(_checked(stores), key=lambda store: store.manifest["first_row"])
    whole = {**parts[0].manifest, "part": None}
    identifying = (*IDENTITY, "contents", "format", "run")
    sums = [part.manifest.get("contents") for part in parts]
    contents = None if None in sums else combined(sums)
    position = ("first_row", "rows", "finished_rows", "shape", "stored_dtype")
    return StoreContents(
        identity={name: whole[name] for name in IDENTITY},
        facts={k: v for k, v in whole.items() if k not in (*identifying, *position)},
        files=lambda *_: _files(parts),
        settings=lambda: dict(whole["run"]),
        row_range=lambda _: (0, whole["total_rows"]),
        batches=lambda start, stop, run: _stream(parts, start, run["window"]),
        contents=contents,
        inputs=[part.path for part in parts],
        row_bytes=parts[0].X.strides[0],
    )


def _checked(stores: Sequence[Any]) -> Sequence[Any]:
    if not stores:
        raise InputError("There are no parts to merge; name their folders.")
    seen: dict[int, Path] = {}
    for store in stores:
        if store.manifest["part"] is None:
            raise InputError(f"{store.path} is a whole store, not a part; leave it out.")
        _check_alike(stores[0], store)
        i, n = store.manifest["part"]
        if i in seen:
            raise InputError(f"{seen[i]} and {store.path} are both part {i} of {n}; leave one out.")
        seen[i] = store.path
    n = stores[0].manifest["part"][1]
    missing = [str(i) for i in range(1, n + 1) if i not in seen]
    if missing:
        raise InputError(
            f"{len(missing)} of {n} parts are missing: {listed(missing, 10)}; embed them, or name "
            "their folders too."
        )
    _check_rows(stores)
    return stores


def _check_alike(first: Any, second: Any) -> None:
    facts = _what_parts_share(first)
    different = difference(facts, _what_parts_share(second), facts)
    if different is not None:
        field, one, other = different
        raise InputError(
            f"{first.path} and {second.path} are not parts of one store: they differ in {field} "
            f"({one!r} and {other!r}). Embed one again with the settings of the other."
        )


def _what_parts_share(store: Any) -> dict[str, Any]:
    return {
        **{name: store.manifest.get(name) for name in _SAME},
        "number of parts": store.manifest["part"][1],
        "number of neurons": store.X.shape[1],
        "precision": str(store.X.dtype),
        "labels": None if store.y is None else str(store.y.dtype),
        "groups": None if store.groups is None else str(store.groups.dtype),
        "ids": None if store.ids is None else str(store.ids.dtype),
    }


def _check_rows(stores: Sequence[Any]) -> None:
    done = 0
    for store in sorted(stores, key=lambda store: store.manifest["part"][0]):
        if store.manifest["first_row"] != done:
            raise InputError(
                f"{store.path} begins at row {store.manifest['first_row']} instead of {done}; "
                "embed it again with --force."
            )
        done += store.manifest["rows"]
    if done != stores[0].manifest["total_rows"]:
        raise InputError(
            f"The parts have {done} of {stores[0].manifest['total_rows']} rows; embed them again "
            "with --force."
        )


def _files(parts: Sequence[Any]) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for name, attribute in (("labels", "y"), ("groups", "groups"), ("ids", "ids")):
        if getattr(parts[0], attribute) is not None:
            files[f"{name}.npy"] = np.concatenate([getattr(part, attribute) for part in parts])
    return {**files, **_head_file(parts[0].head)}


def _head_file(head: LinearHead | None) -> dict[str, Any]:
    """A head as the content of head.npz; empty without a head."""
    if head is None:
        return {}
    return {"head.npz": {p: getattr(head, p) for p in ("coef", "intercept", "classes")}}


def _stream(parts: Sequence[Any], start: int, window: int) -> Generator[Array, None, None]:
    for part in parts:
        first, stop = (part.manifest[key] for key in ("first_row", "rows"))
        stop += first
        while start < stop:
            edge = min(_edge(start, part.X.strides[0], window), stop)
            yield _read(part, start - first, edge - first)
            start = edge


def _edge(start: int, row_bytes: int, window: int) -> int:
    """Row at which reading stops: after this many whole windows, or rows of one window."""
    edge = start + max(1, _CHUNK // row_bytes)
    end_of_window = start - start % window + window
    return max(edge - edge % window, min(edge, end_of_window))


def _read(part: Any, start: int, stop: int) -> Array:
    try:
        rows = read_rows(part.path / EMBEDDINGS, start, stop)
        if (rows.dtype, rows.shape) != (part.X.dtype, (stop - start, part.X.shape[1])):
            raise ValueError("another array")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{part.path} was changed while it was being merged ({error}); run the same command "
            "again."
        ) from error
    return rows


def kept_files(samples: Samples, model: FrozenModel, first: int, rows: int) -> dict[str, Any]:
    """Contents of labels.npy, groups.npy, ids.npy and head.npz for a range of rows."""
    files: dict[str, Any] = {}
    named = {"labels": samples.y, "groups": samples.groups, "ids": samples.ids}
    for name, values in named.items():
        if values is not None:
            files[f"{name}.npy"] = _plain(values)[first : first + rows]
    return {**files, **_head_file(_original_head(model, samples.y))}


def described(samples: Samples) -> str:
    """Digest of labels, groups, ids and kinds of inputs, without reading the contents."""
    # Labels, groups, ids, and the kind of the inputs.
    digest = hashlib.sha256()
    for values in (samples.y, samples.groups, samples.ids):
        digest.update(b"none" if values is None else b"given")
        if values is not None:
            for start in range(0, len(values), _ROWS):
                digest.update(repr(_plain(values[start : start + _ROWS]).tolist()).encode())
    for array in arrays_of(samples.X):
        if isinstance(array, np.ndarray):
            digest.update(f"{array.dtype} {array.shape}".encode())
    return digest.hexdigest()


def fingerprint(samples: Samples, digests: Any = None) -> str:
    """A digest of labels, groups, ids and contents."""
    # `digests` are those of ntkit.samples._digests.sample_digests, if they are known.
    contents = sum_of_digests(sample_digests(samples) if digests is None else digests)
    return hashlib.sha256(f"{described(samples)} {contents}".encode()).hexdigest()


def skipped_names(samples: Samples) -> list[str]:
    """Names of the files left out, relative to the image folder if that is known."""
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
    """Interface of an OnnxEmbedder for a store; that class belongs to a higher layer."""

    @property
    def frozen_model(self) -> FrozenModel:
        """The model that it runs."""

    def on(self, engine: str) -> Any:
        """The computing object: the embedder itself, or Ray's actors."""


def contents_of_samples(
    embedder: Embedder,
    samples: Samples,
    *,
    part: tuple[int, int] | None,
    dtype: str | None,
    engine: Literal["local", "ray"],
) -> StoreContents:
    """Describe a store of the embeddings of samples; parameters as of ``EmbeddingStore.write``."""
    if not len(samples):
        raise InputError("There are no samples to embed; pass at least one.")
    samples.check_lengths()
    samples = samples.measured()
    if dtype not in (None, "float16", "float32"):
        raise InputError(f"dtype must be float16 or float32, not {dtype!r}.")
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

    return StoreContents(
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
    """Size of an embedding on disk, if the model declares its width."""
    itemsize = {"float16": 2, "float32": 4, "float64": 8}.get(dtype or model.embedding.dtype)
    return None if model.n_neurons is None or itemsize is None else model.n_neurons * itemsize


_ROWS = 4096  # read at once


def contents_of_parquet(
    path: Path, embedding: str | Sequence[str] | None, label: str, group: str | None
) -> StoreContents:
    """Describe a store of the embeddings in a Parquet file."""
    others = [label] if group is None else [label, group]
    with open_parquet(path) as file:
        schema = file.schema_arrow
    names = _embedding_columns(path, schema, embedding, others)
    dtype = _precision(schema, names)
    table = read_parquet(path, others)
    files = {"labels.npy": table.labels(label, "label")}
    if group is not None:
        files["groups.npy"] = table.labels(group, "group")

    def batches(start: int, stop: int, run: dict[str, Any]) -> Generator[Array, None, None]:
        return _matrices(path, names, dtype, start)

    return StoreContents(
        identity={
            **dict.fromkeys(IDENTITY),
            "preprocessing": {"columns": names},
            "total_rows": len(table),
            "samples": hashlib.sha256(repr((sha256_of(path), others)).encode()).hexdigest(),
        },
        facts={"ntkit": __version__, "skipped": []},
        files=lambda *_: files,
        settings=lambda: {"window": 1},
        row_range=lambda _: (0, len(table)),
        batches=batches,
        inputs=[path],
    )


def _embedding_columns(
    path: Path, schema: Any, embedding: str | Sequence[str] | None, others: Sequence[str]
) -> list[str]:
    chosen = [] if embedding is None else [embedding] if isinstance(embedding, str) else embedding
    for name in (*others, *chosen):
        if name not in schema.names:
            raise InputError(
                f"{path} has no column {name!r}; its columns are {schema.names}. Name one of them."
            )
    kinds = {name: schema.field(name).type for name in schema.names}
    lists = [name for name, kind in kinds.items() if is_list(kind) and is_number(kind.value_type)]
    numbers = [name for name, kind in kinds.items() if is_number(kind)]
    if embedding is None:
        free = [name for name in lists if name not in others]
        if len(free) > 1:
            raise InputError(f"{path} has several columns of lists, {free}: pass embedding=.")
        chosen = free or [name for name in numbers if name not in others]
    whole = len(chosen) == 1 and chosen[0] in lists
    if not chosen or not (whole or set(chosen) <= set(numbers)):
        raise InputError(
            f"{path}: embeddings must be one column of lists of numbers, or several columns of "
            f"numbers, but {list(chosen) or 'none'} of its columns {schema.names} are; pass "
            "embedding=."
        )
    return list(chosen)


def _precision(schema: Any, names: Sequence[str]) -> np.dtype[Any]:
    """Precision of the embeddings; whole numbers count as float32."""
    kinds = [schema.field(name).type for name in names]
    values = [kind.value_type if is_list(kind) else kind for kind in kinds]
    dtypes = [np.dtype(value.to_pandas_dtype()) for value in values]
    return np.result_type(*[d if d.kind == "f" else np.float32 for d in dtypes])


def _matrices(
    path: Path, names: Sequence[str], dtype: np.dtype[Any], start: int
) -> Generator[Array, None, None]:
    """Embeddings from a row on, in blocks."""
    with open_parquet(path) as file:
        groups, row = list[int](), 0
        for i in range(file.num_row_groups):
            rows = file.metadata.row_group(i).num_rows
            if groups or row + rows > start:
                groups.append(i)
            else:
                row += rows
        for batch in file.iter_batches(_ROWS, row_groups=groups, columns=list(names)):
            stop = row + len(batch)
            if stop > start:
                kept = batch.slice(max(0, start - row))
                yield _matrix(path, kept, dtype, max(row, start))
            row = stop


def _matrix(path: Path, batch: Any, dtype: np.dtype[Any], row: int) -> Array:
    columns = batch.columns
    for name, column in zip(batch.schema.names, columns, strict=True):
        if column.null_count:
            missing = row + 1 + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise InputError(f"{path}, row {missing} has no value in {name!r}; remove the row.")
    if is_list(columns[0].type):
        widths = columns[0].value_lengths().to_numpy(zero_copy_only=False)
        if (widths != widths[0]).any():
            other = int(np.argmax(widths != widths[0]))
            raise InputError(
                f"{path}, row {row + 1 + other} has {widths[other]} numbers instead of "
                f"{widths[0]}; embeddings must have one length."
            )
        X = columns[0].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
    else:
        X = np.column_stack([column.to_numpy(zero_copy_only=False) for column in columns])
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        raise InputError(
            f"{path}, row {row + 1 + int(np.argmax(bad))} has a value that is not a finite number; "
            "correct or remove the row."
        )
    return np.ascontiguousarray(X, dtype=dtype)
