"""Accuracies of the groups of all samples, from labels of some that were not drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.metrics import Kind, Row, compare

Subsets = Iterable[tuple[Kind, Any, Array]]
Told = Callable[[Sequence[Array], Subsets], list[Row]]
"""A row of each subset by outcomes of one or two models, as ``compare`` makes them."""


@dataclass(frozen=True)
class Labelled:
    """Samples of which some are labelled: rows of subsets of these stand for all samples.

    The predictions of all samples are known, so labels only tell their groups. The samples of a
    class with the same inferred value and the same outcomes are a stratum. The share of a group in
    a stratum is that among its labelled samples (poststratification: Holt and Smith, 1979). So it
    does not matter that a person labels errors and rare values first.
    """

    y: Array
    inferred: Array
    known: Array

    def rows(self, outcomes: Sequence[Array], subsets: Subsets) -> list[Row]:
        """Rows like those of ``compare``; subsets hold labelled samples of one class each."""
        # Each row has the effective size at which the number of changes, or of errors, has its
        # variance (Korn and Graubard, 1998): a share of a stratum has that of one label more.
        coarse = np.unique(np.stack([_numbers(self.y), self.inferred]), axis=1, return_inverse=True)
        features = np.stack([coarse[1].ravel(), *outcomes])
        strata, of_sample = np.unique(features, axis=1, return_inverse=True)
        of_sample, of_class = of_sample.ravel(), coarse[0][0][strata[0]]
        n = np.bincount(of_sample).astype(float)
        n_known = np.bincount(of_sample[self.known], minlength=len(n))
        right = strata[1:].astype(float)
        score = right[0] - right[1] if len(right) > 1 else 1 - right[0]
        found = list[Row]()
        for kind, name, inside in subsets:
            count = np.bincount(of_sample[inside], minlength=len(n))
            wide = _summed(count, of_class) / np.maximum(_summed(n_known, of_class), 1)
            alike = (_summed(count, strata[0]) + wide) / (_summed(n_known, strata[0]) + 1)
            share = np.where(n_known > 0, count / np.maximum(n_known, 1), alike)
            size, n_labelled = float(n @ share), int(count.sum())
            if not n_labelled:
                found += compare(outcomes, [(kind, name, inside)])
                continue
            part = n * share / size
            smooth = (count + alike) / (n_known + 1)
            variance = (n**2 * smooth * (1 - smooth) / (n_known + 1)) @ score**2 / size**2
            spread = float(part @ score**2) - (len(right) < 2) * float(part @ score) ** 2
            effective = spread / max(variance, spread / size) if spread else float(n_labelled)
            row = Row(kind, name, n_labelled, float(part @ right[0]) * effective)
            if len(right) > 1:
                lost, gained = (float(part @ (score == step)) * effective for step in (-1, 1))
                row = replace(row, lost=lost, gained=gained)
            found.append(replace(row, effective=effective))
        return found


def _numbers(values: Array) -> Array:
    return np.unique(values, return_inverse=True)[1]


def _summed(counts: Array, parts: Array) -> Array:
    """The sum over all strata of the same part, for each stratum."""
    return np.bincount(parts, weights=counts)[parts]
