"""Named slices of the samples: who has each value of an attribute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.attributes import NobodyHas, layer_of, read_answers
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.audit import AttributeReader

_MOST_VALUES = 50  # of a column that is named as a whole


class _Reader(AttributeReader):
    """Reads attributes; one that no sample has is noted, and nobody is in its slice."""

    def __init__(self, samples: Samples, metadata: Any, key: str | None) -> None:
        super().__init__([samples], metadata, key)
        self.notes = [] if self.beside is None else [self.beside.note]

    def _read(self, name: str, rule: Any) -> Array:
        try:
            return super()._read(name, rule)
        except NobodyHas as error:
            self.notes.append(str(error))
            return np.zeros(self.n, dtype=np.int8)

    def slices(self, names: Sequence[Sequence[str]]) -> dict[str, Array]:
        """Who has each value of an attribute: 1, 0, or −1 where that is not known; int8, (N,)."""
        attribute = self.attribute(tuple(map(tuple, names)), fewest=1, most=_MOST_VALUES)
        if len(attribute.names) > _MOST_VALUES:
            name = attribute.name
            raise InputError(
                f"{name!r} has {len(attribute.names)} different values; name some of them, as "
                f"{attribute.names[0]}, or cut numbers, as {name}>=NUMBER."
            )
        value, numbered = attribute.value, [*enumerate(attribute.names)]
        if attribute.names[:1] == (f"not {attribute.name}",):
            numbered = numbered[::-1]  # who has it comes first
        return {name: np.where(value < 0, -1, value == i).astype(np.int8) for i, name in numbered}


def slices_of(
    samples: Samples,
    names: Sequence[str],
    *,
    answers: str | os.PathLike[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
) -> tuple[dict[str, Array], dict[str, str], list[str]]:
    """Read slices of samples."""
    if not names and answers is None:
        unused = "The metadata are not looked at, for no slice is named; name one of them."
        return {}, {}, [unused] * (metadata is not None)
    reader = _Reader(samples, metadata, key)
    slices, asked = dict[str, Array](), dict[str, str]()
    for name in names:
        for each, values in reader.slices([[name]]).items():
            if each == f"not {name}":
                continue
            if each == name or each not in slices:  # a value's own limits go before its column's
                slices[each], asked[each] = values, name
    for answer in [] if answers is None else read_answers(answers).spurious:
        sides = [[n for n in side if layer_of(n) is None] for side in answer.sides]
        sides = [side for side in sides if side]
        if not sides:
            reader.notes.append(
                f"{answer.name} is left out: it is of a layer of the model, which raw inputs do "
                "not tell."
            )
            continue
        for value, inside in reader.slices(sides).items():
            for label in np.unique(samples.y).tolist():
                slices[f"{label} × {value}"] = np.where(samples.y == label, inside, 0)
    return slices, asked, reader.notes
