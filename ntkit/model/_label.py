"""One label of a model that gives every sample several: a row of its head, and its threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._labels import composed, meant_instead
from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.model.class_names import Thresholds


@dataclass(frozen=True)
class Label:
    """A label of a model, as a binary problem: the sample has it, or not."""

    name: str
    row: int  # of the head
    names: tuple[str, ...]  # of all labels
    threshold: float  # probability above which the model gives the label
    source: str  # of the threshold, as the end of a sentence
    alone: bool = False  # whether a layer of its own computes it

    @property
    def level(self) -> float:
        """The logit of the threshold."""
        return math.log(self.threshold / (1 - self.threshold))

    @property
    def classes(self) -> tuple[str, str]:
        """Names of the two classes: without and with the label."""
        return f"not {self.name}", self.name

    def of(self, weight: Array, bias: Array, classes: Any) -> LinearHead:
        """The label's head, positive above the threshold, of all rows (K, D) and (K,)."""
        row = slice(self.row, self.row + 1)  # in float64, so that `into` restores its bits
        coef, intercept = weight[row].astype(np.float64), bias[row].astype(np.float64)
        return LinearHead(coef, intercept - self.level, classes)

    def into(self, head: LinearHead, weight: Array, bias: Array) -> tuple[Array, Array]:
        """All rows with the label's replaced by its new head."""
        coef, intercept = weight.astype(np.float64), bias.astype(np.float64)
        coef[self.row], intercept[self.row] = head.coef[0], head.intercept[0] + self.level
        return coef, intercept


def label_named(name: Any, names: Sequence[str], thresholds: Thresholds) -> Label:
    """The label of a name, with the model's threshold for it."""
    alike = [*map(composed, names)]
    if composed(name) not in alike:
        meant = meant_instead(str(name), names)
        raise InputError(
            f"The model has no label {str(name)!r}; its labels are {listed(names, 12)}"
            f"{f' (did you mean {meant}?)' if meant else ''}."
        )
    row = names.index(str(name)) if str(name) in names else alike.index(composed(name))
    return Label(names[row], row, tuple(names), thresholds.values[row], thresholds.source)
