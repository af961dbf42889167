"""How an attribute of a layer is read from other samples than those that it was found on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError

__all__ = ["Rule", "rule_of_column"]

Array = NDArray[Any]
_ROWS = 4096
_MOST = 1 << 22  # numbers of a rule that is read from a file
_QUANTILES = {"low": 0.25, "above the median": 0.5, "high": 0.75}


@dataclass(frozen=True, eq=False)
class Rule:
    """Linear functions of a layer's columns, of which one must be the largest.

    Being high in a channel, high along a direction, or nearest to one of some centres: all are such
    rules, with numbers that were read off the samples of an audit and hold for any others.

    Parameters
    ----------
    layer : str
        Of which layer, as ``relu_2``, or ``embedding``.
    columns : ndarray of int, shape (M,)
        Columns of it that are looked at.
    weights : ndarray of shape (K, M)
        Of K functions.
    offsets : ndarray of shape (K,)
        What is added to each.
    which : int
        The function that must be the largest; of a single one, its value must be at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.attributes import Rule
    >>> rule = Rule("relu_2", np.array([1]), np.array([[1.0]]), np.array([-0.5]), 0)
    >>> rule.values(np.array([[9.0, 0.4], [0.0, 0.6]])).tolist()
    [0, 1]
    """

    layer: str
    columns: Array
    weights: Array
    offsets: Array
    which: int = 0

    def values(self, X: Array) -> Array:
        """Who has the attribute, by the layer's numbers X (N, columns): int8 of shape (N,).

        Raises
        ------
        InputError
            If X has too few columns.
        """
        if X.ndim != 2 or self.columns.max() >= X.shape[1]:
            raise InputError(
                f"A rule reads column {self.columns.max()} of {self.layer!r}, which has "
                f"{X.shape[-1]}; it is of another model."
            )
        found = np.empty(len(X), dtype=np.int8)
        for at in range(0, len(X), _ROWS):
            scores = X[at : at + _ROWS][:, self.columns].astype(np.float64) @ self.weights.T
            scores += self.offsets
            single = scores.shape[1] == 1
            has = scores[:, 0] >= 0 if single else scores.argmax(axis=1) == self.which
            found[at : at + _ROWS] = has
        return found

    def as_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; weights to six digits."""
        return {
            "layer": self.layer,
            "columns": self.columns.tolist(),
            "weights": [[float(f"{w:.6g}") for w in row] for row in self.weights.tolist()],
            "offsets": self.offsets.tolist(),
            "which": self.which,
        }

    @classmethod
    def from_dict(cls, given: Any) -> Rule | None:
        """Read what :meth:`as_dict` wrote; None if it is anything else."""
        if not isinstance(given, Mapping) or not isinstance(given.get("layer"), str):
            return None
        columns, offsets = (_numbers(given.get(key), 1) for key in ("columns", "offsets"))
        weights, which = _numbers(given.get("weights"), 2), given.get("which")
        if columns is None or offsets is None or weights is None or type(which) is not int:
            return None
        whole = columns.dtype.kind == "i" and (columns >= 0).all() and len(columns) > 0
        fits = weights.shape == (len(offsets), len(columns)) and 0 <= which < len(offsets)
        if not whole or not fits:
            return None
        weights, offsets = (np.asarray(v, dtype=np.float64) for v in (weights, offsets))
        return cls(given["layer"], columns, weights, offsets, which)


def rule_of_column(layer: str, column: int, values: Array, what: str) -> Rule | None:
    """Rule of being low, above the median or high in a column.

    The cut lies half-way between the last value on one side and the first on the other, where the
    last bits of a number decide nothing.

    Parameters
    ----------
    layer : str
        Of which layer.
    column : int
        Number of the column.
    values : ndarray of shape (N,)
        The column; NaN is left out.
    what : str
        "low", "above the median" or "high".

    Returns
    -------
    Rule or None
        None if nothing is on one side.
    """
    there = np.asarray(values, dtype=np.float64)
    there = there[~np.isnan(there)]
    if what not in _QUANTILES or not len(there):
        return None
    first = np.quantile(there, _QUANTILES[what], method="higher")
    below = there[there < first]
    if not len(below):
        return None
    cut, sign = (float(first) + float(below.max())) / 2, -1.0 if what == "low" else 1.0
    return Rule(layer, np.array([column]), np.array([[sign]]), np.array([-sign * cut]))


def _numbers(given: Any, rank: int) -> Array | None:
    """A list of finite numbers, or a list of such lists."""
    if not isinstance(given, list) or not given:
        return None
    rows = given if rank == 2 else [given]
    if not all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows):
        return None
    flat = [number for row in rows for number in row]
    if len(flat) > _MOST or not all(type(number) in (int, float) for number in flat):
        return None
    try:
        found = np.asarray(given)
    except (ValueError, OverflowError):
        return None
    return found if found.dtype.kind in "if" and np.isfinite(found).all() else None
