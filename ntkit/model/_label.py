"""One label of a model that gives every sample several: a row of its head, and its threshold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._labels import meant_instead
from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import InputError, ModelError
from ntkit.head import LinearHead
from ntkit.model.class_names import config_of

THRESHOLDS = "thresholds"
OURS = "ntkit.thresholds"
"""Metadata of a file that ntkit wrote: the thresholds by position, which config.json may hold."""


@dataclass(frozen=True)
class Label:
    """A label of a model, as a binary problem: the sample has it, or not."""

    name: str
    row: int  # of the head
    thresholds: tuple[float, ...]  # of all labels: probabilities above which the model gives them
    source: str  # of the thresholds, as the end of a sentence

    @property
    def threshold(self) -> float:
        """The probability above which the model gives the label."""
        return self.thresholds[self.row]

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
        row = slice(self.row, self.row + 1)
        return LinearHead(weight[row], bias[row] - self.level, classes)

    def into(self, head: LinearHead, weight: Array, bias: Array) -> tuple[Array, Array]:
        """All rows with the label's replaced by its new head."""
        coef, intercept = weight.astype(np.float64), bias.astype(np.float64)
        coef[self.row], intercept[self.row] = head.coef[0], head.intercept[0] + self.level
        return coef, intercept


def label_named(
    name: Any, names: Sequence[Any], metadata: Mapping[str, str], path: Path | None
) -> Label:
    """The label of a name, with the model's threshold for it."""
    known = [str(each) for each in names]
    if str(name) not in known:
        meant = meant_instead(str(name), known)
        raise InputError(
            f"The model has no label {str(name)!r}; its labels are {listed(known, 12)}"
            f"{f' (did you mean {meant}?)' if meant else ''}."
        )
    row = known.index(str(name))
    levels, source = _thresholds(known, metadata, path)
    return Label(known[row], row, tuple(levels), source)


def _thresholds(
    names: Sequence[str], metadata: Mapping[str, str], path: Path | None
) -> tuple[list[float], str]:
    """Threshold of each label, and its source: metadata, config.json, or 0.5."""
    key = OURS if OURS in metadata else THRESHOLDS
    try:
        written = json.loads(metadata.get(key, "null"))
    except (ValueError, RecursionError):
        written = metadata[key]
    source = f"metadata {key!r}"
    if written is None:
        written, source = config_of(path).get(THRESHOLDS), f"config.json ({THRESHOLDS})"
    if written is None:
        return [0.5] * len(names), "the default"
    if isinstance(written, dict):
        written = [written.get(name) for name in names]
    values = written if isinstance(written, list) else [written] * len(names)
    numbers = [x for x in values if isinstance(x, int | float) and 0 < x < 1]
    if len(numbers) != len(names):
        raise ModelError(
            f"The model's thresholds ({source}) are not a number between 0 and 1 for each of its "
            f"{len(names)} labels; correct them."
        )
    return list(map(float, numbers)), source
