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
    drawn = np.full(n, -1, dtype=np.intp)
    n_kinds = int(kinds.max(initial=0)) + 1
    draws = rng.random((n, 2))
    values = None
    if differing is not None:
        values = np.unique(np.asarray(differing), return_inverse=True)[1].ravel()
    for number in np.unique(fold):
        inside = np.flatnonzero(fold == number)
        pools = [inside[kinds[inside] == kind] for kind in range(n_kinds)]
        pools = [pool for pool in pools if len(pool)]
        if values is None:
            _draw_any(drawn, inside, pools, draws)
        else:
            _draw_differing(drawn, inside, pools, draws, values)
    return drawn


def _draw_differing(
    drawn: Array, inside: Array, pools: list[Array], draws: Array, values: Array
) -> None:
    """Draw donors of another value for all samples of a fold that have one."""
    # In a pool sorted by value, the samples of one's own value are a block that is skipped.
    own = values[inside]
    pools = [pool[np.argsort(values[pool], kind="stable")] for pool in pools]

    def block(pool: Array) -> tuple[Array, Array]:
        start, stop = (np.searchsorted(values[pool], own, side) for side in ("left", "right"))
        return start, stop - start

    n_pools = np.zeros(len(inside), dtype=np.intp)  # that hold another value
    for pool in pools:
        n_pools += block(pool)[1] < len(pool)
    which, seen = (draws[inside, 0] * n_pools).astype(np.intp), np.zeros(len(inside), dtype=np.intp)
    for pool in pools:
        start, length = block(pool)
        has = length < len(pool)
        chosen = np.flatnonzero(has & (seen == which))
        at = (draws[inside[chosen], 1] * (len(pool) - length[chosen])).astype(np.intp)
        at += np.where(at >= start[chosen], length[chosen], 0)
        drawn[inside[chosen]] = pool[at]
        seen += has


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
