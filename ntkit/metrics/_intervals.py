"""Confidence intervals of accuracies and of their changes, in closed form.

None is of width 0: not where nothing or everything is right, nor where no prediction changed.
Counts are real numbers, so that weights serve by their effective number of samples.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from ntkit._types import Array

Bounds = tuple[Array, Array]


def wilson(accuracy: Array, n: Array, confidence: float) -> Bounds:
    """Wilson's score interval of proportions (Wilson, 1927)."""
    square = _z(confidence) ** 2
    center = (accuracy + square / (2 * n)) / (1 + square / n)
    half = np.sqrt(square * (accuracy * (1 - accuracy) / n + square / (4 * n**2)))
    half = half / (1 + square / n)
    # Where all or none is right the limit is exact; rounding must not cut it off.
    return np.clip(np.minimum(center - half, accuracy), 0, 1), np.clip(
        np.maximum(center + half, accuracy), 0, 1
    )


def change_of_one(gained: Array, lost: Array, n: Array, confidence: float) -> Bounds:
    """Bonett and Price's interval of the difference of two paired proportions."""
    # Wald's, with one more sample of each kind of change (J. Educ. Behav. Stat. 37, 2012);
    # Fagerland, Lydersen and Laake recommend it (Stat. Med. 33, 2014). Widened to hold the observed
    # difference, which it may miss at a low confidence.
    up, down = (gained * n + 1) / (n + 2), (lost * n + 1) / (n + 2)
    half = _z(confidence) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    observed = gained - lost
    return (
        np.clip(np.minimum(up - down - half, observed), -1, 1),
        np.clip(np.maximum(up - down + half, observed), -1, 1),
    )


def of_worst(accuracy: Array, n: Array, confidence: float) -> tuple[float, float]:
    """Interval of the smallest of G proportions, whichever it is."""
    # From the lowest of Wilson's lower limits to the lowest of the upper limits; one of G upper
    # limits is too low by chance more often than one is, so those are Bonferroni's.
    low, _ = wilson(accuracy, n, confidence)
    _, high = wilson(accuracy, n, 1 - (1 - confidence) / len(n))
    return float(low.min()), float(high.min())


def change_of_worst(
    before: Array, after: Array, paired: Bounds, n: Array, confidence: float
) -> tuple[float, float]:
    """Interval of the difference between two minima."""
    # Where both are of the same group it is that group's own, paired. Else the two limits are
    # combined as if independent (MOVER: Zou and Donner, Stat. Med. 27, 2008).
    b, a = int(before.argmin()), int(after.argmin())
    if before[a] == before[b]:
        return float(paired[0][a]), float(paired[1][a])
    if after[b] == after[a]:
        return float(paired[0][b]), float(paired[1][b])
    (low_b, high_b), (low_a, high_a) = (wilson(x, n, confidence) for x in (before, after))
    change = after[a] - before[b]
    low = change - np.hypot(after[a] - low_a[a], high_b[b] - before[b])
    high = change + np.hypot(high_a[a] - after[a], before[b] - low_b[b])
    return float(max(-1, low)), float(min(1, high))


def of_mean(figures: Array, limits: Bounds, correlations: Array) -> tuple[float, float]:
    """Interval of an unweighted mean, from the intervals of its parts."""
    # By MOVER (Zou and Donner, Stat. Med. 27, 2008); parts that share samples are correlated.
    below, above = figures - limits[0], limits[1] - figures
    mean, count = figures.mean(), len(figures)
    low = mean - np.sqrt(max(0.0, below @ correlations @ below)) / count
    high = mean + np.sqrt(max(0.0, above @ correlations @ above)) / count
    return float(low), float(high)


def _z(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))
