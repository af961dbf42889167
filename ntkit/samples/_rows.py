"""Rows of what goes into a model: arrays, lazy sequences, or one of these for each input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def by_input(X: Any, change: Callable[[Any], Any]) -> Any:
    """What becomes of the inputs: of each one where there are several."""
    if isinstance(X, Mapping):
        return {name: change(part) for name, part in X.items()}
    return change(X)


def n_rows(X: Any) -> int:
    """How many samples there are."""
    return len(next(iter(X.values()), ()) if isinstance(X, Mapping) else X)


def first_rows(X: Any, n: int) -> Any:
    """The first samples, as the model takes them: images are decoded, texts tokenised."""
    return X.first_inputs(n) if hasattr(X, "first_inputs") else by_input(X, lambda part: part[:n])


def rows_of(X: Any, rows: Sequence[int] | NDArray[Any]) -> Any:
    """Some samples in the order of these rows, of the same kind: images are not decoded."""
    if isinstance(X, Mapping):
        return {name: rows_of(part, rows) for name, part in X.items()}
    if hasattr(X, "paths") or hasattr(X, "texts"):
        return X.take(rows)
    if hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, list | tuple):
        return [X[row] for row in rows]
    return np.asarray(X[np.asarray(rows, dtype=np.intp)])


def arrays_of(X: Any) -> list[Any]:
    """Each input's array, or the only one."""
    return [*X.values()] if isinstance(X, Mapping) else [X]
