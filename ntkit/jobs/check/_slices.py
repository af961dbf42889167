"""Slices of samples, named by attributes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.attributes import NobodyHas, lacking, layer_of, read_answers
from ntkit.exceptions import InputError
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.check._limits import Limits, SliceLimits
from ntkit.samples import Samples

DEFAULT_DROP = 5.0
"""Largest drop in percentage points if the user sets no limit."""


def with_default(limits: Limits, *, compared: bool) -> tuple[Limits, list[str]]:
    """Limits with the largest drop if two models are compared without any limit, and a note."""
    if not compared or limits.stated:
        return limits, []
    note = f"No limit is set, so ntkit allows a drop of {DEFAULT_DROP:g} percentage points."
    return replace(limits, max_drop=DEFAULT_DROP), [note]


def levels_of(threshold: Any, n: int) -> list[float | None]:
    """The threshold of each of n models; None if the user sets none."""
    levels = [threshold] * n if threshold is None or np.ndim(threshold) == 0 else [*threshold]
    if len(levels) != n or not all(each is None or 0 <= each <= 1 for each in levels):
        raise InputError(
            f"The threshold must be a number from 0 to 1, or one for each of {n} model(s). Got "
            f"{threshold!r}."
        )
    return levels


def known_groups(samples: Samples) -> Any:
    """Groups of samples; None for those that a table marks as unknown."""
    groups: Any = samples.groups
    if isinstance(groups, np.ndarray) and groups.dtype.kind == "U":
        groups = groups.astype(object)
        groups[groups == "-1"] = None
    return groups


_MOST_VALUES = 50  # values of a column that make slices


class _Reader(AttributeReader):
    """Read attributes; an attribute that no sample has becomes an empty slice and a note."""

    def __init__(self, samples: Samples, metadata: Any, key: str | None) -> None:
        super().__init__([samples], metadata, key)
        self.notes = [] if self.matched_metadata is None else [self.matched_metadata.note]

    def _read(self, name: str, rule: Any) -> Array:
        try:
            return super()._read(name, rule)
        except NobodyHas as error:
            self.notes.append(str(error))
            return np.zeros(self.n, dtype=np.int8)

    def slices(self, names: Sequence[Sequence[str]]) -> dict[str, Array]:
        """Membership in each value of an attribute: 1, 0, or −1 if unknown; int8, (N,)."""
        attribute = self.attribute(tuple(map(tuple, names)), fewest=1, most=_MOST_VALUES)
        if len(attribute.names) > _MOST_VALUES:
            name = attribute.name
            raise InputError(
                f"{name!r} has {len(attribute.names)} different values, and at most {_MOST_VALUES} "
                f"can be slices. Name some of them ({attribute.names[0]}), or a threshold "
                f"({name}>=NUMBER)."
            )
        value, numbered = attribute.value, [*enumerate(attribute.names)]
        if attribute.names[:1] == (lacking(attribute.name),):
            numbered = numbered[::-1]  # samples with the attribute come first
        return {name: np.where(value < 0, -1, value == i).astype(np.int8) for i, name in numbered}


def sliced(
    samples: Samples,
    limits: Limits,
    names: Sequence[str],
    *,
    answers: str | os.PathLike[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
) -> tuple[dict[str, Array], Limits, list[str]]:
    """Membership in each slice, the limits with those of each slice by its name, and notes."""
    names = [*dict.fromkeys([*limits.slices, *names])]
    if not names and answers is None:
        unused = "The metadata are not used, because no slice is named. Name one: --slice NAME"
        return {}, limits, [unused] * (metadata is not None)
    reader = _Reader(samples, metadata, key)
    slices, origins = dict[str, Array](), dict[str, str]()
    for name in names:
        for each, values in reader.slices([[name]]).items():
            if each == lacking(name):
                continue
            if each == name or each not in slices:  # limits of a value precede its column's
                slices[each], origins[each] = values, name
    for answer in [] if answers is None else read_answers(answers).spurious:
        readable = [[name for name in names if layer_of(name) is None] for names in answer.values]
        readable = [names for names in readable if names]
        if not readable:
            reader.notes.append(
                f"{answer.name} makes no slice: it is an attribute of a layer of the model, and "
                "slices are read from the raw inputs."
            )
            continue
        for value, inside in reader.slices(readable).items():
            for label in np.unique(samples.y).tolist():
                slices[f"{label} × {value}"] = np.where(samples.y == label, inside, 0)
    of_slices = {each: limits.slices.get(name, SliceLimits()) for each, name in origins.items()}
    return slices, replace(limits, slices=of_slices), reader.notes
