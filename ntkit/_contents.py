"""Contents of samples: equal contents are one sample, however often it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._types import Array

Digests = NDArray[np.bytes_]

LENGTH = 16
"""Bytes of a digest."""
CHUNK = 8 << 20
"""Bytes of rows processed at once."""


def hashed(*parts: bytes) -> bytes:
    """Digest of several parts; where one ends and the next begins counts as well."""
    digest = hashlib.blake2b(digest_size=LENGTH)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def digests_of_rows(rows: Array) -> Iterator[bytes]:
    """Digest of each row of an array of numbers or texts."""
    if rows.dtype.kind not in "biufc":
        yield from (
            hashed(b"object", repr(r).encode(errors="surrogatepass")) for r in rows.tolist()
        )
        return
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("="))
    kind = f"{rows.dtype.name}{rows.shape[1:]}".encode()
    for row in rows:
        yield hashed(kind, row.tobytes())


def row_contents(X: Any, dtype: Any = None) -> Digests:
    """Digest of each row of an array, (N,); rows of equal numbers have equal digests.

    With ``dtype``, numbers count as equal if they are equal in this type, such as a model's.
    """
    if hasattr(X, "tocsr"):  # sparse
        X = X.tocsr().sorted_indices()
        cuts = zip(X.indptr[:-1], X.indptr[1:], strict=True)
        rows = (hashed(X.indices[a:b].tobytes(), X.data[a:b].tobytes()) for a, b in cuts)
        return np.fromiter(rows, dtype=f"S{LENGTH}", count=X.shape[0])
    step = max(1, CHUNK // max(1, X.itemsize * int(np.prod(X.shape[1:]))))
    digests = np.empty(len(X), dtype=f"S{LENGTH}")
    for at in range(0, len(X), step):
        block = np.asarray(X[at : at + step])
        if block.dtype.kind in "biuf":
            with np.errstate(over="ignore", invalid="ignore"):
                block = block if dtype is None else block.astype(dtype)
                if block.dtype.kind == "f":
                    block = block + block.dtype.type(0)  # -0.0 as 0.0
        digests[at : at + step] = [*digests_of_rows(block)]
        del block  # before the next one is made
    return digests


def distinct(contents: Array) -> tuple[Array, Array]:
    """First row of each distinct content, in order, and the number of each row's content."""
    _, first, which = np.unique(contents, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[which.reshape(-1)]
