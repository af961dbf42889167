"""How many samples would do: with so many a limit is decided four times out of five.

Counts are whole, so that a few less may do as well, and a few more just not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import binom, norm

from ntkit.checking._shares import share_bounds
from ntkit.metrics import below

__all__ = ["POWER", "enough_for_drop", "enough_for_share"]

POWER = 0.8
"""Chance that a limit is decided with the number of samples that is said to do."""
_MOST = 10_000_000  # beyond which no number is named
_SURE = norm.ppf(POWER + 0.02)  # counts are whole, so a little more than asked for


def enough_for_share(
    share: float, limit: float, *, least: bool, good_level: float, bad_level: float
) -> int | None:
    """Samples that would show on which side of a limit a share is, if it is as it looks.

    Parameters
    ----------
    share : float
        As it looks.
    limit : float
        The limit.
    least : bool
        Whether the limit is a minimum; else it is a maximum.
    good_level, bad_level : float
        Largest chance of a wrong pass, and of a wrong failure.

    Returns
    -------
    int or None
        None where it is at the limit, or too near it for ten million samples.

    Examples
    --------
    All right, and 70 % asked for: nine samples can show it.

    >>> enough_for_share(1.0, 0.7, least=True, good_level=0.05, bad_level=0.05)
    9
    """
    if share == limit:
        return None
    above = share > limit
    level = good_level if above == least else bad_level

    def decided(n: int) -> bool:
        unlikely = binom.ppf(1 - POWER, n, share) if above else binom.ppf(POWER, n, share)
        low, high = share_bounds(int(unlikely), n, lower_level=level, upper_level=level)
        return low >= limit if above else high <= limit

    return _fewest(decided)


def enough_for_drop(
    lost: float, gained: float, limit: float, *, good_level: float, bad_level: float
) -> int | None:
    """Samples that would show on which side of a limit the drop is, if it is as it looks.

    Parameters
    ----------
    lost, gained : float
        Shares of samples that were right and are wrong, and the reverse, as they look.
    limit : float
        Largest drop allowed.
    good_level, bad_level : float
        Largest chance of a wrong pass, and of a wrong failure.

    Returns
    -------
    int or None
        None where it is at the limit, or too near it for ten million samples.

    Examples
    --------
    Nothing changes, and a drop of 2 % is allowed:

    >>> enough_for_drop(0.0, 0.0, 0.02, good_level=0.05, bad_level=0.05)
    150
    """
    if lost - gained == limit:
        return None
    if lost - gained < limit:
        return _fewest(lambda n: below(*_unlucky(lost, gained, n), n, limit, good_level))
    return _fewest(lambda n: below(*_unlucky(gained, lost, n), n, -limit, bad_level))


def _unlucky(lost: float, gained: float, n: int) -> tuple[int, int]:
    """Counts of which one draw in five has a larger difference, in their likeliest mixture."""
    changed, drop = lost + gained, lost - gained
    variance = changed - drop**2
    if variance <= 0:
        return round(n * lost), round(n * gained)
    if not gained:
        return int(binom.ppf(POWER, n, lost)), 0
    if not lost:
        return 0, int(binom.ppf(1 - POWER, n, gained))
    more = _SURE * np.sqrt(n * variance)
    both = n * changed + drop * (1 - changed) / variance * more
    difference = n * drop + more
    worse = max(0, int(np.ceil((both + difference) / 2)))
    return min(worse, n), max(0, min(n - worse, int(np.floor((both - difference) / 2))))


def _fewest(decided: Callable[[int], bool]) -> int | None:
    """The fewest samples with which a limit is decided, as if more always helped."""
    high = 2
    while not decided(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return _round(high)


def _round(n: int) -> int:
    """Up to two digits where there are more than three: no more is known."""
    unit = 10 ** max(0, len(str(n)) - 2) if n >= 1000 else 1
    return -(-n // unit) * unit
