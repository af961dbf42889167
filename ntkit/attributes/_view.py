"""Where attributes are read from: a view gives them in blocks, each a yes or no of every sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._labels import meant_instead
from ntkit.attributes._rules import Rule
from ntkit.exceptions import InputError

__all__ = [
    "FEWEST",
    "SUPPORT",
    "Block",
    "View",
    "common_enough",
    "values_by_name",
    "values_of",
]

Array = NDArray[Any]
SUPPORT = 0.01
"""Share of the samples that must have an attribute, and that must not."""
FEWEST = 5  # samples of either kind, below which no test says anything


@dataclass(frozen=True, eq=False)
class Block:
    """Some attributes of all samples.

    Attributes
    ----------
    names : tuple of str
        B names, as ``word:film``.
    values : scipy sparse array or ndarray, of 0 and 1 and shape (N, B)
        Who has which.
    known : ndarray of bool, shape (N,), or None
        Samples of which it is known; None for all.
    origins : tuple of str
        What each attribute is read from, such as the column that it cuts; by default itself.
    """

    names: tuple[str, ...]
    values: Any
    known: Array | None = None
    origins: tuple[str, ...] = ()

    def origin(self, i: int) -> str:
        """What attribute ``i`` is read from."""
        return self.origins[i] if self.origins else self.names[i]

    def column(self, i: int) -> Array:
        """Attribute ``i`` of every sample: 1, 0, or −1 where it is not known; int8, (N,)."""
        column = self.values[:, [i]]
        dense = column.toarray() if hasattr(column, "toarray") else np.asarray(column)
        values = dense[:, 0].astype(np.int8)
        if self.known is not None:
            values[~self.known] = -1
        return np.asarray(values)


@dataclass(frozen=True, eq=False)
class View:
    """Attributes of one kind, made as they are looked at.

    Parameters
    ----------
    kind : str
        What they are, as ``word``.
    exact : bool
        Whether the input says them in so many words (a word, a category), or they are inferred.
    n_samples : int
        N.
    make : callable
        Gives the blocks, each time it is called.
    rule : callable, optional
        Gives, by the name of an attribute whose name does not say how to read it from other
        samples, what does; None where nothing can.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.attributes import Block, View
    >>> short = np.array([[True], [False], [True]])
    >>> view = View("length", True, 3, lambda: iter([Block(("length:short",), short)]))
    >>> view.values("length:short").tolist()
    [1, 0, 1]
    """

    kind: str
    exact: bool
    n_samples: int
    make: Callable[[], Iterator[Block]]
    rule: Callable[[str], Rule | None] = field(default=lambda name: None)

    def blocks(self) -> Iterator[Block]:
        """Give all attributes, some at a time."""
        return self.make()

    def without(self, names: Collection[str]) -> View:
        """The same view, some attributes left out."""
        left_out = set(names)
        return replace(self, make=lambda: _without(self.blocks(), left_out)) if left_out else self

    def values(self, name: str) -> Array:
        """One attribute of every sample: 1, 0, or −1 where it is not known; int8, (N,).

        Raises
        ------
        InputError
            If there is none of that name.
        """
        return values_of([self], name)


def values_of(views: Iterable[View], name: str) -> Array:
    """One attribute of some views, of every sample: 1, 0, or −1 where it is not known; int8, (N,).

    Raises
    ------
    InputError
        If there is none of that name.
    """
    names = list[str]()
    for view in views:
        for block in view.blocks():
            if name in block.names:
                return block.column(block.names.index(name))
            names += block.names
    full = [one for one in names if one.partition(":")[2].startswith(name)]  # without its kind
    meant = repr(min(full, key=len)) if full else meant_instead(name, names)
    raise InputError(
        f"No attribute is called {name!r}; did you mean {meant}?"
        if meant
        else f"No attribute is called {name!r}, among {len(names)}; take a name from the table."
    )


def _without(blocks: Iterator[Block], left_out: set[str]) -> Iterator[Block]:
    for block in blocks:
        kept = [i for i, name in enumerate(block.names) if name not in left_out]
        if len(kept) == len(block.names):
            yield block
        elif kept:
            origins = tuple(block.origins[i] for i in kept) if block.origins else ()
            names = tuple(block.names[i] for i in kept)
            yield Block(names, block.values[:, kept], block.known, origins)


def values_by_name(views: Iterable[View], names: Sequence[str]) -> list[Array]:
    """Some attributes of every sample, by going through the views once."""
    wanted, found = set(names), dict[str, Array]()
    for view in views if names else ():
        for block in view.blocks():
            for i, name in enumerate(block.names):
                if name in wanted and name not in found:
                    found[name] = block.column(i)
    return [found[name] for name in names]


def common_enough(counts: Array, n: int | Array) -> Array:
    """Whether enough of n samples have an attribute, and enough have not."""
    counts = np.asarray(counts)
    least = np.maximum(FEWEST, SUPPORT * np.asarray(n))
    return np.asarray((counts >= least) & (n - counts >= least))
