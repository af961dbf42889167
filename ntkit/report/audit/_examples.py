"""Which samples stand for a group on a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Drawn", "examples_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Drawn:
    """Some samples of a group, those that are wrong and those that are right.

    Attributes
    ----------
    wrong, right : tuple of int
        Rows.
    n_wrong, n_right : int
        How many there are to choose from.
    wrong_first : bool
        The order in which to show them.
    """

    wrong: tuple[int, ...]
    right: tuple[int, ...]
    n_wrong: int
    n_right: int
    wrong_first: bool

    def __iter__(self) -> Iterator[int]:
        """Rows in the order in which to show them."""
        both = (self.wrong, self.right) if self.wrong_first else (self.right, self.wrong)
        return iter([*both[0], *both[1]])


def examples_of(
    group: Array, wrong: Array, *, wrong_first: bool, most: int = 6, seed: int = 0
) -> Drawn:
    """Draw some samples of a group.

    Parameters
    ----------
    group, wrong : ndarray of bool, shape (N,)
        Who is in it, and who is predicted wrong.
    wrong_first : bool
        Whether the wrong ones are to the point, or the right ones; two thirds are of these, if
        there are as many, and the others fill what one kind leaves.
    most : int
        How many to draw, at most.
    seed : int
        Decides the draw.

    Returns
    -------
    Drawn

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.report.audit._examples import examples_of
    >>> wrong = np.arange(20) < 10
    >>> found = examples_of(np.ones(20, dtype=bool), wrong, wrong_first=True)
    >>> len(found.wrong), len(found.right)
    (4, 2)
    """
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(group & wrong), np.flatnonzero(group & ~wrong)]
    first, second = kinds if wrong_first else kinds[::-1]
    n_first = min(len(first), max(-(-2 * most // 3), most - len(second)))
    n_second = min(len(second), most - n_first)
    drawn = [_draw(first, n_first, rng), _draw(second, n_second, rng)]
    wrongs, rights = drawn if wrong_first else drawn[::-1]
    return Drawn(wrongs, rights, len(kinds[0]), len(kinds[1]), wrong_first)


def _draw(rows: Array, n: int, rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(np.sort(rng.choice(rows, n, replace=False)).tolist()) if n else ()
