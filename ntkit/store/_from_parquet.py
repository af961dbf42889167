"""Embeddings that are already there, in a Parquet file: what a store of them is to hold."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import sha256_of
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.samples import IDENTITY, is_list, is_number, open_parquet, read_parquet
from ntkit.store._fill import Job

_ROWS = 4096  # read at once


def parquet_job(
    path: Path, embedding: str | Sequence[str] | None, label: str, group: str | None
) -> Job:
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

    return Job(
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
    given = [] if embedding is None else [embedding] if isinstance(embedding, str) else embedding
    for name in (*others, *given):
        if name not in schema.names:
            raise InputError(f"{path} has no column {name!r}; its columns are {schema.names}.")
    kinds = {name: schema.field(name).type for name in schema.names}
    lists = [name for name, kind in kinds.items() if is_list(kind) and is_number(kind.value_type)]
    numbers = [name for name, kind in kinds.items() if is_number(kind)]
    if embedding is None:
        free = [name for name in lists if name not in others]
        if len(free) > 1:
            raise InputError(f"{path} has several columns of lists, {free}: pass embedding=.")
        given = free or [name for name in numbers if name not in others]
    whole = len(given) == 1 and given[0] in lists
    if not given or not (whole or set(given) <= set(numbers)):
        raise InputError(
            f"{path}: embeddings are one column of lists of numbers, or several columns of "
            f"numbers, but {list(given) or 'none'} of its columns {schema.names} are; pass "
            "embedding=."
        )
    return list(given)


def _precision(schema: Any, names: Sequence[str]) -> np.dtype[Any]:
    """Precision of the embeddings; whole numbers count as float32."""
    kinds = [schema.field(name).type for name in names]
    values = [kind.value_type if is_list(kind) else kind for kind in kinds]
    dtypes = [np.dtype(value.to_pandas_dtype()) for value in values]
    return np.result_type(*[d if d.kind == "f" else np.float32 for d in dtypes])


def _matrices(
    path: Path, names: Sequence[str], dtype: np.dtype[Any], start: int
) -> Generator[Array, None, None]:
    """Embeddings from a row on, a few at a time."""
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
                f"{path}, row {row + 1 + other} holds {widths[other]} numbers instead of "
                f"{widths[0]}; embeddings have one length."
            )
        X = columns[0].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
    else:
        X = np.column_stack([column.to_numpy(zero_copy_only=False) for column in columns])
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        raise InputError(
            f"{path}, row {row + 1 + int(np.argmax(bad))} holds a value that is not a finite "
            "number; mend or remove the row."
        )
    return np.ascontiguousarray(X, dtype=dtype)
