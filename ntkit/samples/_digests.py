"""A digest of each sample's content, for fingerprints and for samples that two sets share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ntkit._contents import CHUNK, LENGTH, Digests, digests_of_rows, hashed

if TYPE_CHECKING:
    from ntkit.samples._samples import Samples

_LAZY_ROWS = 64
_MODULUS = 1 << 256


def sample_digests(
    samples: Samples, start: int = 0, stop: int | None = None, *, verbose: bool = False
) -> Digests:
    """Digest of the content of each sample, without its label."""
    stop = len(samples) if stop is None else stop
    digests = tqdm(
        _digests_of(samples.X, start, stop),
        desc="contents",
        total=stop - start,
        delay=1,
        disable=None if verbose else True,
        leave=False,
    )
    return np.fromiter(digests, dtype=f"S{LENGTH}", count=stop - start)


def shared_samples(digests: Mapping[str, Digests]) -> dict[tuple[str, str], int]:
    """Number of samples that two sets share, for all pairs of sets."""
    return {
        (one, two): int(np.isin(digests[two], digests[one]).sum())
        for one, two in combinations(digests, 2)
    }


def sum_of_digests(digests: Digests, first: int = 0) -> str:
    """Sum of digests with their positions; :func:`combined` adds the sums of several parts."""
    total = 0
    for position, digest in enumerate(digests.tolist(), start=first):
        placed = hashlib.sha256(b"%d:" % position + digest).digest()
        total += int.from_bytes(placed, "big")
    return f"{total % _MODULUS:064x}"


def combined(sums: Iterable[str]) -> str:
    """Sum of a whole, from the sums of its parts."""
    return f"{sum(int(text, 16) for text in sums) % _MODULUS:064x}"


def _digests_of(X: Any, start: int, stop: int) -> Iterator[bytes]:
    if isinstance(X, Mapping):
        names = sorted(X)
        columns = (_digests_of(X[name], start, stop) for name in names)
        head = [b"inputs", *map(str.encode, names)]
        return (hashed(*head, *row) for row in zip(*columns, strict=True))
    if hasattr(X, "paths"):
        return iter(X.digests(start, stop))
    if hasattr(X, "texts"):  # single texts, or pairs
        parts = ([text] if isinstance(text, str) else text for text in X.texts[start:stop])
        return (hashed(b"text", *(p.encode("utf-8", "surrogatepass") for p in t)) for t in parts)
    if hasattr(X, "to_numpy"):  # a DataFrame
        X = X.to_numpy()
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    if isinstance(X, np.ndarray):
        step = max(1, CHUNK // max(1, X.itemsize * int(np.prod(X.shape[1:]))))
        cuts = range(start, stop, step)
        return chain.from_iterable(digests_of_rows(X[at : min(at + step, stop)]) for at in cuts)
    return _of_sequence(X, start, stop)


def _of_sequence(X: Any, start: int, stop: int) -> Iterator[bytes]:
    """Digests of anything that returns arrays for slices; several arrays may be padded."""
    step = _LAZY_ROWS
    while start < stop:
        values = X[start : min(start + step, stop)]
        if isinstance(values, Mapping) and step > 1:
            step = 1  # padded to the longest of the batch: not part of the content
            continue
        n = min(step, stop - start)
        yield from _digests_of(values if isinstance(values, Mapping) else np.asarray(values), 0, n)
        start += n
