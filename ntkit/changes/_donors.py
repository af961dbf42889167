"""Donors: the other sample that a copy takes a part from."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from ntkit._types import Array


def generator(name: str, seed: int, *more: int) -> np.random.Generator:
    """Random numbers of a change, determined by name and seed."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed, *more])


def donors(
    n: int, y: Any, folds: Array | None, rng: np.random.Generator, *, unlike: Array | None = None
) -> Array:
    """Row of the donor of each of n samples, −1 if there is none."""
    # The donor is in the same fold. Its class is drawn uniformly from the classes with a donor in
    # the fold: donors from all samples, or from the sample's own class, would carry the class.
    # `unlike` has a value of each sample that its donor must not share.
    kinds = np.zeros(n, dtype=np.intp) if y is None else _numbered(y)
    fold = np.zeros(n, dtype=np.intp) if folds is None else _numbered(folds)
    value = np.arange(n) if unlike is None else _numbered(unlike)  # a sample is not its own donor
    drawn, draws = np.full(n, -1, dtype=np.intp), rng.random((n, 2))
    for number in range(int(fold.max(initial=-1)) + 1):
        rows = np.flatnonzero(fold == number)
        drawn[rows] = _drawn(rows, kinds[rows], value[rows], draws[rows])
    return drawn


def _drawn(rows: Array, kinds: Array, value: Array, draws: Array) -> Array:
    """Donors of the samples of one fold."""
    n_values = int(value.max(initial=0)) + 1
    # Samples are in the order of class and value. A class is a range of them, and the samples of a
    # class with the same value are a range inside it, which is skipped.
    order = np.lexsort((value, kinds))
    keys = (kinds * n_values + value)[order]
    starts = np.flatnonzero(np.diff(kinds[order], prepend=-1))
    stops = np.append(starts[1:], len(order))
    first_value, last_value = value[order][starts], value[order][stops - 1]
    # A class in which all samples have one value has no donor for samples with that value.
    only = np.where(first_value == last_value, first_value, -1)
    classes = np.argsort(only, kind="stable")
    which, there = _step_over(draws[:, 0], value, only[classes])
    pool = classes[np.minimum(which, len(classes) - 1)]
    own = kinds[order][starts[pool]] * n_values + value
    first, last = (np.searchsorted(keys, own, side=side) for side in ("left", "right"))
    free = stops[pool] - starts[pool] - (last - first)
    at = starts[pool] + (draws[:, 1] * free).astype(np.intp)
    at += np.where(at >= first, last - first, 0)
    return np.where(there, rows[order[np.minimum(at, len(order) - 1)]], -1)


def _step_over(draws: Array, own: Array, among: Array) -> tuple[Array, Array]:
    """Uniform positions of sorted values that differ from a sample's own, and their existence."""
    first, last = (np.searchsorted(among, own, side=side) for side in ("left", "right"))
    free = len(among) - (last - first)
    at = (draws * free).astype(np.intp)
    return at + np.where(at >= first, last - first, 0), free > 0


def _numbered(values: Any) -> Array:
    return np.unique(np.asarray(values), return_inverse=True)[1].ravel()
