"""Contents of samples: equal contents are one sample, however often it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ntkit._types import Array

Digests = NDArray[np.bytes_]

LENGTH = 16
"""Bytes of a digest."""
CHUNK = 8 << 20
"""Bytes of rows processed at once."""
_COARSE, _CLEARLY = 0.1, 20
"""Share and number of the repeated rows that are equal to one of another label.

Above them, rows are too coarse to tell samples apart. Then equal ones are different samples.
"""
_ROUNDING = 2e-3  # of the spread of embeddings: inputs of float16 move them by up to 1e-3
_SOME = 1000  # rows that stand for all
_DIRECTIONS = 8
_MOST_NEAR = 5  # rows close to a row, itself included, on average
MORE_OFTEN = 3  # rows that are equal so much more often across sets than within are copies


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


def contents_of_embeddings(
    sets: Mapping[str, Array], known: Mapping[str, Digests] | None = None
) -> dict[str, Digests] | None:
    """Content of each row of several sets; rows that differ by rounding alone have one content.

    None if so many rows are close that this does not tell them apart.
    The same image as a file, and as a row of an array of float16, has almost the same embedding.
    Rows of one ``known`` content have one content as well.
    """
    every = np.concatenate([np.asarray(Z, np.float32) for Z in sets.values()])
    contents = row_contents(every)
    first, number = distinct(contents)
    rows = every[first]
    some = rows[:: max(1, len(rows) // _SOME)].astype(np.float64)
    # Medians, because one filler value such as 60 000 may be larger than all spread.
    spread = np.linalg.norm(some - np.median(some, axis=0), axis=1)
    tolerance = _ROUNDING * float(np.median(spread))
    # Rows that are close have close projections, so few pairs are left to compare in full.
    directions = np.random.default_rng(0).standard_normal((rows.shape[1], _DIRECTIONS))
    places = rows @ (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
    tree = cKDTree(places)
    few = places[:: max(1, len(places) // _SOME)]
    if tree.query_ball_point(few, tolerance, p=np.inf, return_length=True).mean() > _MOST_NEAR:
        return None
    one, other = tree.query_pairs(tolerance, p=np.inf, output_type="ndarray").T
    near = np.linalg.norm(rows[one] - rows[other], axis=1) <= tolerance
    pairs = np.stack([one[near], other[near]])
    graph = csr_array((np.ones(pairs.shape[1]), pairs), shape=(len(rows), len(rows)))
    of_row = connected_components(graph, directed=False)[1][number]
    if known is not None:
        content = distinct(np.concatenate([known[name] for name in sets]))[1]
        n = len(of_row) + len(content)
        edges = np.stack([of_row, len(of_row) + content])
        graph = csr_array((np.ones(len(content)), edges), shape=(n, n))
        of_row = connected_components(graph, directed=False)[1][of_row]
    first, number = distinct(of_row)
    named = contents[first][number]
    cuts = np.cumsum([len(Z) for Z in sets.values()])[:-1]
    return dict(zip(sets, np.split(named, cuts), strict=True))


def are_coarse(number: Array, labels: Array, of_set: Array | None = None) -> bool:
    """Whether contents, by their numbers, are too coarse to tell samples of two labels apart.

    With the numbers of their sets, equal ones must be as frequent within sets as across them.
    """
    often = np.bincount(number)
    one = number[distinct(number * (int(labels.max(initial=0)) + 1) + labels)[0]]
    n_repeated = often[often > 1].sum()
    if often[np.bincount(one) > 1].sum() <= max(_COARSE * n_repeated, _CLEARLY):
        return False
    if of_set is None:
        return True
    # By chance, rows of two sets are equal at most as often as rows of one set (Cauchy–Schwarz).
    # Copies in two sets are equal more often, and a second annotator may have changed labels.
    within, n_within = map(_pairs, (number * (of_set.max() + 1) + of_set, of_set))
    across, n_across = _pairs(number) - within, _pairs(np.zeros_like(of_set)) - n_within
    return across * n_within <= MORE_OFTEN * max(within, 1) * n_across


def _pairs(numbers: Array) -> int:
    """Number of pairs of equal numbers."""
    counts = np.bincount(numbers)
    return int((counts * (counts - 1) // 2).sum())


def told_apart(contents: Digests, names: Sequence[str] | None = None) -> Digests:
    """Contents with the names of their samples; without names, with the set and the row."""
    whole = hashed(np.ascontiguousarray(contents).tobytes()) if names is None else b""
    marks = map(str, range(len(contents)) if names is None else names)
    each = (named_content(c.hex(), m, whole) for c, m in zip(contents.tolist(), marks, strict=True))
    return np.fromiter(each, dtype=f"S{LENGTH}", count=len(contents))


def named_content(content: str, name: str, whole: bytes = b"") -> bytes:
    """Digest of a content, as hexadecimal text, and the name of its sample."""
    return hashed(content.encode(), whole, name.encode(errors="surrogatepass"))


def contents_by_label(X: Any, labels: Array) -> Digests:
    """Contents of rows with label numbers; equal rows that are too coarse are told apart."""
    contents = row_contents(X)
    first, number = distinct(contents)
    if len(first) == len(contents) or not are_coarse(number, labels):
        return contents
    return told_apart(contents)


def distinct(contents: Array) -> tuple[Array, Array]:
    """First row of each distinct content, in order, and the number of each row's content."""
    _, first, which = np.unique(contents, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[which.reshape(-1)]
