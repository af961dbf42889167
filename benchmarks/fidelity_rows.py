"""A row of the table of fidelity, and the arrays that both sides of it get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit import LinearHead

Array = NDArray[Any]
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Row:
    """The largest difference that was seen, and what it should be below."""

    method: str
    what: str
    beside: str
    difference: float
    goal: float


@dataclass(frozen=True)
class Sample:
    """Embeddings, classes, an attribute that goes with them, and a head that relies on it."""

    X: Array
    y: Array
    attribute: Array
    head: LinearHead

    @property
    def groups(self) -> Array:
        """Class × attribute."""
        return (int(self.y.max()) + 1) * self.y + self.attribute

    def halves(self) -> tuple[Sample, Sample]:
        """Every other sample, and the others, with the same head."""
        first, second = (slice(i, None, 2) for i in (0, 1))
        return self[first], self[second]

    def __getitem__(self, rows: slice) -> Sample:
        return Sample(self.X[rows], self.y[rows], self.attribute[rows], self.head)


def sample(seed: int, n_classes: int = 2, n: int = 600, width: int = 8) -> Sample:
    """Signed embeddings with a mark that is right nine times in ten, in double precision."""
    rng = np.random.default_rng(seed)
    y = rng.choice(n_classes, n, p=np.arange(2, n_classes + 2) / np.arange(2, n_classes + 2).sum())
    attribute = np.where(rng.random(n) < 0.8, y, rng.integers(0, n_classes, n))
    source = np.column_stack([np.eye(n_classes)[y], 2 * np.eye(n_classes)[attribute]])
    X = source @ rng.normal(size=(2 * n_classes, width)) + rng.normal(size=(n, width))
    n_logits = 1 if n_classes == 2 else n_classes
    marks = np.eye(n_classes)[attribute] - np.eye(n_classes)[attribute].mean(axis=0)
    coef = np.linalg.lstsq(X - X.mean(axis=0), marks, rcond=None)[0].T
    head = LinearHead(coef, -coef @ X.mean(axis=0), np.arange(n_classes))
    return Sample(X, y, attribute, head.with_logits(n_logits))


def largest(*differences: Any) -> float:
    """The largest absolute entry of all."""
    return max(float(np.max(np.abs(np.asarray(values, dtype=float)))) for values in differences)
