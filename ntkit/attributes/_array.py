"""Columns of any matrix of numbers, such as an embedding: who is high, and who is low."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit.attributes._rules import Rule, rule_of_column
from ntkit.attributes._view import Block, View, common_enough
from ntkit.exceptions import InputError

__all__ = ["array", "high_and_low"]

Array = NDArray[Any]
_BYTES = 32 << 20  # of a block
_WHAT = ("low", "above the median", "high")


def array(X: ArrayLike, *, kind: str = "array", names: Sequence[str] | None = None) -> View:
    """View of the columns of a matrix, such as another encoder's embedding.

    Each column gives three attributes, ``embedding #5 high`` (the highest quarter of the samples),
    ``low`` (the lowest) and ``above the median``. They are inferred: what such a number stands for
    is for a person to see.

    Parameters
    ----------
    X : array-like of shape (N, D)
        Numbers; NaN counts as not known.
    kind : str, default="array"
        What they are called.
    names : sequence of str, length D, optional
        Of the columns; by default ``#0``, ``#1`` and so on.

    Returns
    -------
    View

    Raises
    ------
    InputError
        If X is not a matrix of numbers, or has not as many columns as names.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.attributes import array
    >>> view = array(np.arange(20.0)[:, None], kind="embedding")
    >>> [name for block in view.blocks() for name in block.names]
    ['embedding #0 low', 'embedding #0 above the median', 'embedding #0 high']
    """
    matrix = X if isinstance(X, np.ndarray) else np.asarray(X)  # a mapped one stays mapped
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
        raise InputError(
            f"{kind} must be a matrix of numbers, one row per sample; got {matrix.dtype} of shape "
            f"{matrix.shape}."
        )
    if names is not None and len(names) != matrix.shape[1]:
        raise InputError(
            f"{kind} has {matrix.shape[1]} columns and {len(names)} names; give one for each."
        )
    shown = [f"#{j}" for j in range(matrix.shape[1])] if names is None else list(names)

    def blocks() -> Iterator[Block]:
        return high_and_low(matrix, [f"{kind} {name}" for name in shown])

    def rule(name: str) -> Rule | None:
        for j, column in enumerate(shown):
            if name.startswith(f"{kind} {column} "):
                what = name.removeprefix(f"{kind} {column} ")
                return rule_of_column(kind, j, matrix[:, j], what)
        return None

    return View(kind, False, len(matrix), blocks, rule=rule)


def high_and_low(X: Array, names: Sequence[str]) -> Iterator[Block]:
    """Blocks of the attributes low, above the median and high of the columns of X (N, D)."""
    step = max(1, _BYTES // max(1, 8 * len(X)))
    for start in range(0, X.shape[1], step):
        part = np.asarray(X[:, start : start + step], dtype=np.float64)
        known = ~np.isnan(part)
        whole = np.flatnonzero(known.all(axis=0)).tolist()
        own = list(names[start : start + step])
        yield from _quarters(part[:, whole], [own[j] for j in whole])
        for j in np.flatnonzero(~known.all(axis=0) & known.any(axis=0)).tolist():
            yield from _quarters(part[:, [j]], [own[j]], known[:, j])


def _quarters(part: Array, names: Sequence[str], known: Array | None = None) -> Iterator[Block]:
    """The three attributes of each column; a block, if any is common enough."""
    if not names:
        return
    there = part if known is None else part[known]
    quartiles = np.quantile(there, (0.25, 0.5, 0.75), axis=0, method="higher")
    reached = part[:, None, :] >= quartiles
    reached[:, 0] = part < quartiles[0]
    values = reached.transpose(0, 2, 1).reshape(len(part), -1)
    kept = np.flatnonzero(common_enough(values.sum(axis=0), len(there)))
    if len(kept):
        shown = [f"{name} {what}" for name in names for what in _WHAT]
        origins = tuple(names[int(i) // len(_WHAT)] for i in kept)
        yield Block(tuple(shown[i] for i in kept), values[:, kept], known, origins)
