"""Samples: what a user gives, in memory or as it is read on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError


@dataclass(frozen=True, eq=False)
class ReadTable:
    """All columns of a table of samples, and what became of them."""

    columns: Mapping[str, Array]
    inputs: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def rest(self) -> dict[str, Array]:
        """Columns that are neither."""
        taken = {*self.inputs, *self.labels}
        return {name: values for name, values in self.columns.items() if name not in taken}


@dataclass(frozen=True)
class Samples:
    """Model inputs (or embeddings), with their labels where they have any.

    Parameters
    ----------
    X : array, memory map or lazy sequence of length N, or mapping of str to these
        What goes into the model, or embeddings where ``embedded`` is true. A mapping holds one
        entry per input of a model with several.
    y : ndarray of shape (N,) or None
        Class labels; samples that are only embedded need none.
    groups : ndarray of shape (N,) or None
        Group labels, for evaluation only.
    embedded : bool
        Whether X holds embeddings already.
    preprocessing : dict or None
        How X was made, for a store's manifest.
    skipped : tuple of pathlib.Path
        Files left out because they cannot be decoded.
    ids : ndarray of str, shape (N,), or None
        Image files, relative to their folder.
    columns : tuple of str
        Names of the columns of X, where it comes from a table of numbers.
    columns_source : str
        Who decided about their order; ends a sentence: "as the table has them".
    notes : tuple of str
        What was assumed or left out in reading, one sentence each.
    sources : tuple of pathlib.Path
        Files and folders that were read; nothing that is written may take their place.
    origin : dict or None
        Of embeddings in a store: what its manifest says of the model, tensor and preprocessing.
    table : ReadTable or None
        Where that was asked for: all columns of the table that they were read from.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.extraction import Samples
    >>> samples = Samples(np.zeros((3, 6)), np.array(["cat", "dog", "dog"]))
    >>> len(samples), samples.embedded
    (3, False)
    >>> unlabelled = Samples({"age": np.zeros((4, 1)), "job": np.zeros((4, 1))})
    >>> len(unlabelled), unlabelled.y
    (4, None)
    """

    X: Any
    y: Any = None
    groups: Array | None = None
    embedded: bool = False
    preprocessing: dict[str, Any] | None = None
    skipped: tuple[Path, ...] = ()
    ids: Array | None = None
    columns: tuple[str, ...] = ()
    columns_source: str = ""
    notes: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    origin: dict[str, Any] | None = None
    table: ReadTable | None = None

    def __len__(self) -> int:
        if self.y is not None:
            return len(self.y)
        first = next(iter(self.X.values()), ()) if isinstance(self.X, Mapping) else self.X
        return len(first)

    def with_columns_as_in(self, other: Samples) -> Samples:
        """Put the columns into the order they have in another table.

        Parameters
        ----------
        other : Samples
            Where either has no names of columns, nothing happens.

        Returns
        -------
        Samples

        Raises
        ------
        InputError
            If the columns are not the same.
        """
        if not self.columns or not other.columns or self.columns == other.columns:
            return self
        for one, two, which in ((self, other, "lacks"), (other, self, "has in addition")):
            foreign = [name for name in two.columns if name not in one.columns]
            if foreign:
                raise InputError(
                    f"A table {which} the column {foreign[0]!r}, which another one "
                    f"{'has' if which == 'lacks' else 'lacks'}; give all tables the same columns, "
                    "or name those to take with --columns."
                )
        order = [self.columns.index(name) for name in other.columns]
        steps = {"columns": list(other.columns)} if self.preprocessing is not None else None
        return replace(
            self,
            X=self.X[:, order],
            columns=other.columns,
            columns_source=other.columns_source,
            preprocessing=steps,
        )


def as_classes(labels: Array) -> Array:
    """Labels read as text become integers where all of them are."""
    if labels.dtype.kind != "U" or not all(
        re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels
    ):
        return labels
    numbers = labels.astype(np.int64)
    # "1" and "01" are two classes.
    return numbers if len(np.unique(numbers)) == len(np.unique(labels)) else labels
