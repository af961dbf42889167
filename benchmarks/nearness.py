"""How near the attributes of an audit are to the true one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit import Audit

Array = NDArray[Any]
ALIKE = 0.35
"""Correlation within classes that makes attributes one family."""


def within(values: Array, a: Array, y: Array) -> float:
    """Correlation of two attributes within classes, all classes together."""
    known = values >= 0
    rows = [known & (y == label) for label in np.unique(y)]
    v = np.concatenate([values[r] - values[r].mean() for r in rows])
    w = np.concatenate([a[r] - a[r].mean() for r in rows])
    scale = np.sqrt((v @ v) * (w @ w))
    return abs(float(v @ w)) / scale if scale else 0.0


def nearest(found: Audit, a: Array, y: Array) -> tuple[float, str]:
    """The attribute that is nearest to the true one, of all looked at, and its correlation."""
    blocks = (block for feature_set in found.feature_sets for block in feature_set.blocks())
    return max((within(b.column(i), a, y), name) for b in blocks for i, name in enumerate(b.names))
