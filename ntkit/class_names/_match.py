"""Match the labels of a sample with the classes of a head."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._labels import differing_classes, listed, unknown_labels
from ntkit.exceptions import InputError

__all__ = ["are_positions", "matched", "same_name"]

Array = NDArray[Any]
_NUMBERED = re.compile(r"(?:LABEL_)?(0|[1-9][0-9]{0,8})")


def matched(labels: Array, classes: Array, *, named: bool) -> tuple[Array, str] | None:
    """Match the labels of a sample with the classes of a head.

    Gives the labels in the order of the logits, and how they were found, as a sentence; None where
    labels and classes are the same. ``named`` says that the classes are names, not positions.
    """
    given, own = labels.tolist(), classes.tolist()
    if set(given) == set(own):
        return None
    numbers = [_position(label) for label in given]
    if sorted(numbers) == list(range(len(own))) and not (named and _are_numbers(own)):
        by_position = labels[np.argsort(numbers)]
        return by_position, (
            "The labels are taken as positions of the model's classes: "
            f"{_listed(own if named else by_position.tolist())}."
        )
    if named and len(given) == len(own):
        spelled = {_plain(label): label for label in given}
        if len(spelled) == len(own) and spelled.keys() == {_plain(name) for name in own}:
            found = [spelled[_plain(name)] for name in own]
            pairs = [f"{a!r} = {b!r}" for a, b in zip(found, own, strict=True) if a != b]
            return np.asarray(found), (
                "Labels and names of the model's classes differ in case, blanks or underscores "
                f"only and are taken for the same: {', '.join(pairs[:8])}"
                f"{', …' * (len(pairs) > 8)}."
            )
    if not named and len(given) == len(own) and labels.dtype.kind in "US":
        return labels, (
            "The model does not name its classes; took the labels in sorted order: "
            f"{_listed(given)}."
        )
    raise InputError(_refusal(given, own))


def are_positions(classes: Sequence[Any]) -> bool:
    """Whether classes are the numbers 0 … C-1, in this order."""
    return _are_numbers(classes) and list(classes) == list(range(len(classes)))


def same_name(first: Any, second: Any) -> bool:
    """Whether two names differ in case, blanks and underscores only."""
    return bool(first == second) or _plain(first) == _plain(second)


def _are_numbers(classes: Sequence[Any]) -> bool:
    return all(isinstance(label, int | float) and not isinstance(label, bool) for label in classes)


def _position(label: Any) -> int:
    """The position that a label is: 2, "2" or "LABEL_2"; −1 for any other."""
    if isinstance(label, str):
        number = _NUMBERED.fullmatch(label)
        return int(number[1]) if number else -1
    whole = _are_numbers([label]) and math.isfinite(label) and label == int(label)
    return int(label) if whole else -1


def _plain(name: Any) -> str:
    return " ".join(re.sub(r"[\s_]+", " ", str(name)).split()).casefold()


def _refusal(given: list[Any], own: list[Any]) -> str:
    if len(given) < 2:
        return (
            f"The data holds one class only ({listed(given)}) of the model's head "
            f"({listed(own)}); add samples of the others, or name another label column."
        )
    named = "name its classes in the order of the logits with --classes (classes= in Python)"
    sides = {"what": "The data", "where": "the model's head"}
    unknown = unknown_labels(given, own, **sides, mend=f"use its labels, or {named}.")
    if unknown is None:
        return str(differing_classes(given, own, **sides, mend="add samples of it."))
    return unknown if named in unknown else f"{unknown} If not, {named}."


def _listed(classes: Sequence[Any], most: int = 10) -> str:
    shown = ", ".join(f"{i} = {c}" for i, c in enumerate(classes[:most]))
    return f"{shown}{', …' * (len(classes) > most)}"
