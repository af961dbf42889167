"""One label of a model that gives every sample several: a row of its head, and its threshold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._labels import composed, meant_instead
from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import InputError, ModelError
from ntkit.head import LinearHead
from ntkit.model.class_names import config_of

THRESHOLDS = "ntkit.thresholds"
"""Thresholds by name in a file that ntkit wrote, next to which no config.json may lie."""


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


@dataclass(frozen=True)
class Thresholds:
    """Probabilities above which a model gives its labels, and their source."""

    values: tuple[float, ...]
    source: str


_ALIKE = 1e-6


def thresholds_of(
    names: Sequence[str],
    metadata: Mapping[str, str],
    path: Path | None,
    in_graph: tuple[float, ...] | None = None,
) -> Thresholds:
    """Threshold of each label: of the graph, the metadata, or config.json, else 0.5."""
    # `thresholds` or `threshold`: a number, a list, or a number for each name or position. OpenVINO
    # writes `model_info confidence_threshold`.
    config = config_of(path)
    places = [
        (_parsed(metadata.get(THRESHOLDS)), f"metadata {THRESHOLDS!r}"),
        (_parsed(metadata.get("thresholds")), "metadata 'thresholds'"),
        (config.get("thresholds"), "config.json (thresholds)"),
        *(
            (_given(_parsed(metadata.get(key))), f"metadata {key!r}")
            for key in ("threshold", "model_info confidence_threshold")
        ),
        (_given(config.get("threshold")), "config.json (threshold)"),
    ]
    written, source = next(((w, s) for w, s in places if w is not None), (None, ""))
    if not names:  # a threshold of 0.5 decides as the class does
        each = [*written.values()] if isinstance(written, dict) else written
        each = each if isinstance(each, list) else [each]
        return Thresholds(
            (), "by default" if {*map(str, each)} <= {"None", "0.5"} else f"of {source}"
        )
    if written is None:
        default = Thresholds((0.5,) * len(names), "by default")
        return default if in_graph is None else Thresholds(in_graph, "of the graph")
    if isinstance(written, dict):
        by_name = {composed(name): value for name, value in written.items()}
        written = [by_name.get(composed(n), by_name.get(str(i))) for i, n in enumerate(names)]
    values = written if isinstance(written, list) else [written] * len(names)
    numbers = tuple(float(x) for x in values if _number(x) is not None)
    if len(numbers) != len(names):
        raise ModelError(
            f"The model's thresholds ({source}) are not a number between 0 and 1 for each of its "
            f"{len(names)} labels; correct them."
        )
    for name, number, shown in zip(names, numbers, in_graph or numbers, strict=True):
        if abs(number - shown) > _ALIKE:
            raise ModelError(
                f"The model's graph decides on the label {name!r} at {shown:g}, but {source} says "
                f"{number:g}; correct one of them."
            )
    return Thresholds(numbers, f"of {source}")


def _parsed(text: str | None) -> Any:
    """An entry of the metadata: JSON, or numbers in a row."""
    for form in ("{}", "[{}]"):
        with suppress(ValueError, RecursionError):
            return None if text is None else json.loads(form.format(text))
    return text


def _given(value: Any) -> Any:
    """The entry ``threshold``; None if it is a single value and no threshold between 0 and 1."""
    return value if isinstance(value, dict | list) else _number(value)


def _number(value: Any) -> float | None:
    """A threshold; None if it is not a number between 0 and 1."""
    return value if isinstance(value, int | float) and 0 < value < 1 else None
