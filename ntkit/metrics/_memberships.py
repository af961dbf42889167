"""Which samples are in which group: by a label each, or by a matrix where groups overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import Array, check_labels
from ntkit._partial_labels import known_labels
from ntkit.exceptions import InputError

__all__ = ["Memberships", "memberships", "of_labels", "of_partial_labels"]


@dataclass(frozen=True)
class Memberships:
    """Groups by name, and who is in them.

    Attributes
    ----------
    labels : list
        Names of the groups, some of which may be empty.
    index : ndarray of int, shape (N,), or None
        The one group of each sample; the number of groups where it is not known.
    matrix : ndarray of bool, shape (N, G), or None
        Instead, where groups overlap.
    """

    labels: list[Any]
    index: Array | None = None
    matrix: Array | None = None

    def sums(self, values: Array) -> Array:
        """Sum of values (N,) over each group, (G,)."""
        if self.matrix is not None:
            return np.array([values[member].sum() for member in self.matrix.T], dtype=float)
        assert self.index is not None
        n_groups = len(self.labels)
        return np.asarray(np.bincount(self.index, values, minlength=n_groups + 1)[:n_groups])

    def unknown(self, weight: Array) -> int:
        """Samples of positive weight whose group is not known."""
        if self.index is None:
            return 0
        return int(((self.index == len(self.labels)) & (weight > 0)).sum())

    def means(self, values: Array, weight: Array) -> Array:
        """Weighted mean of values (N,) over each group, (G,); NaN where it has no weight."""
        mass = self.sums(weight)
        found = np.full(len(mass), np.nan)
        np.divide(self.sums(weight * values), mass, out=found, where=mass > 0)
        return found

    def correlations(self, weight: Array) -> Array:
        """How much two groups share, (G, G): correlation of their means of one noise."""
        if self.matrix is None:
            return np.eye(len(self.labels))
        members = self.matrix * weight[:, None]
        shared = members.T @ members
        length = np.sqrt(np.maximum(np.diag(shared), np.finfo(float).tiny))
        return np.asarray(shared / np.outer(length, length))


def memberships(groups: ArrayLike, n: int, name: str = "groups") -> Memberships:
    """Read groups as users give them.

    Parameters
    ----------
    groups : array-like of shape (N,), or of bool (or 0 and 1) and shape (N, G)
        A label of each sample, -1, None or NaN where it is not known; or which samples are in
        which group. The columns of a DataFrame name the groups, else they are numbered.
    n : int
        Number of samples.
    name : str
        What errors call them.

    Returns
    -------
    Memberships

    Raises
    ------
    InputError
        If there are not n of them, none is known, or a matrix holds other values.

    Examples
    --------
    >>> memberships(["b", "a", "b"], 3).labels
    ['a', 'b']
    >>> memberships(["b", -1, "b"], 3).labels
    ['b']
    >>> memberships([[1, 0], [1, 1], [0, 0]], 3).labels
    [0, 1]
    """
    matrix = np.asarray(groups)
    if matrix.ndim != 2 or (matrix.shape[1] == 1 and matrix.dtype != bool):
        return of_partial_labels(groups, n, name)
    _check_length(len(matrix), n, name)
    if matrix.dtype == object and not any(value is None for value in matrix.ravel()):
        matrix = np.array(matrix.tolist())
    if matrix.dtype.kind not in "biuf" or not ((matrix == 0) | (matrix == 1)).all():
        raise InputError(
            f"{name} of shape (N, G) say which samples are in which group, so they hold True and "
            "False (or 1 and 0) and nothing is missing; give one label per sample otherwise."
        )
    names = getattr(groups, "columns", None)
    columns = range(matrix.shape[1]) if names is None else names
    return Memberships(list(columns), matrix=matrix.astype(bool))


def of_labels(labels: Array) -> Memberships:
    """One group for each label that occurs, in sorted order."""
    names, index = np.unique(labels, return_inverse=True)
    return Memberships(names.tolist(), index=index.reshape(-1))


def of_partial_labels(labels: ArrayLike, n: int, name: str) -> Memberships:
    """One group for each label that occurs; -1, None and NaN are in none.

    Raises
    ------
    InputError
        If there are not n of them, or none is known.
    """
    known_ones, known = known_labels(labels, name)
    _check_length(len(known), n, name)
    if not len(known_ones):
        raise InputError(f"{name} is not known of any sample; label some of them.")
    (checked,) = check_labels(**{name: known_ones})
    found = of_labels(checked)
    index = np.full(n, len(found.labels))
    index[known] = found.index
    return Memberships(found.labels, index=index)


def _check_length(found: int, n: int, name: str) -> None:
    if found != n:
        raise InputError(f"{name} holds {found} labels but y_true holds {n}; give one per sample.")
