"""Donors: the other sample of which a copy takes a part."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ntkit._types import Array


def generator(name: str, seed: int, *more: int) -> np.random.Generator:
    """Random numbers of a change: the same for the same name and seed."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed, *more])


def donors(
    n: int,
    y: Any,
    folds: Array | None,
    rng: np.random.Generator,
    *,
    differing: Sequence[Any] | None = None,
) -> Array:
    """Row of the donor of each of n samples, −1 where there is none."""
    # It is of the same fold, and of a class drawn uniformly from those that have a donor there:
    # were donors drawn from all samples, or from those of one's own class, what they bring would
    # carry the class. `differing` holds a value of each sample that its donor must not share.
    kinds = np.zeros(n, dtype=np.intp) if y is None else np.unique(y, return_inverse=True)[1]
    fold = np.zeros(n, dtype=np.intp) if folds is None else np.unique(folds, return_inverse=True)[1]
    value = np.arange(n)  # a sample is no donor of itself
    if differing is not None:
        value = np.unique(np.asarray(differing), return_inverse=True)[1].ravel()
    drawn = np.full(n, -1, dtype=np.intp)
    n_kinds = int(kinds.max(initial=0)) + 1
    draws = rng.random((n, 2))
    for number in np.unique(fold):
        inside = np.flatnonzero(fold == number)
        pools = [inside[kinds[inside] == kind] for kind in range(n_kinds)]
        for own in np.unique(value[inside]) if differing is not None else [None]:
            if own is None:
                _draw_any(drawn, inside, [p for p in pools if len(p)], draws)
                continue
            rows = inside[value[inside] == own]
            others = [p for p in (pool[value[pool] != own] for pool in pools) if len(p)]
            if others:
                which = (draws[rows, 0] * len(others)).astype(np.intp)
                for i, pool in enumerate(others):
                    of = rows[which == i]
                    drawn[of] = pool[(draws[of, 1] * len(pool)).astype(np.intp)]
    return drawn


def _draw_any(drawn: Array, inside: Array, pools: list[Array], draws: Array) -> None:
    """Draw donors of all samples of a fold, none of them the sample itself."""
    for i, pool in enumerate(pools):
        which = (draws[inside, 0] * len(pools)).astype(np.intp)
        rows = inside[which == i]
        at = (draws[rows, 1] * len(pool)).astype(np.intp)
        itself = pool[at] == rows
        drawn[rows] = pool[at]
        # The next of the pool; where the sample is alone in it, one of the next pool.
        drawn[rows[itself]] = pool[(at[itself] + 1) % len(pool)]
        if len(pool) == 1:
            rest = np.concatenate([*pools[i + 1 :], *pools[:i]]) if len(pools) > 1 else None
            drawn[rows[itself]] = -1 if rest is None else rest[0]
