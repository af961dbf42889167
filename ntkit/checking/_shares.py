"""Exact bounds of a share: Clopper and Pearson's (Biometrika 26, 1934), one for each side."""

from __future__ import annotations

from scipy.special import betaincinv

__all__ = ["share_bounds"]


def share_bounds(
    count: int, n: int, *, lower_level: float, upper_level: float
) -> tuple[float, float]:
    """Lower and upper bound of a share, each with its own chance to miss it.

    Parameters
    ----------
    count, n : int
        Samples that count, of n.
    lower_level, upper_level : float
        Largest chance that the share is below the lower, and above the upper bound.

    Returns
    -------
    low, high : float
        0 and 1 without samples.

    Examples
    --------
    >>> low, high = share_bounds(20, 20, lower_level=0.05, upper_level=0.05)
    >>> round(low, 3), high
    (0.861, 1.0)
    """
    low = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, lower_level))
    high = 1.0 if count == n else float(betaincinv(count + 1, n - count, 1 - upper_level))
    return low, high
