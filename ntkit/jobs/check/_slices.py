"""Named slices of the samples, read from their raw inputs: who is in each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.attributes import NobodyHas, attribute_named
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.audit import Metadata, inputs_of, read_answers

_MOST_VALUES = 50  # of a column that is named as a whole
_OF_LAYERS = ("layer:", "embedding ")
_OF_TABLES = ("column", "metadata")


class Slices:
    """Reads slices by name."""

    def __init__(self, samples: Samples, metadata: Any, key: str | None) -> None:
        self._n = len(samples)
        self._inputs = inputs_of(samples)
        columns = {} if samples.table is None else samples.table.columns
        table = {name: values for name, values in columns.items() if values.ndim == 1}
        table = table or dict(self._inputs.table or {})
        beside = Metadata.of(metadata, samples, key)
        self.notes = [] if beside is None else [beside.note]
        rest = {} if samples.table is None else samples.table.rest
        known = {name: values for name, values in rest.items() if values.ndim == 1}
        known |= {} if beside is None else beside.matched()
        self._tables: dict[str, Mapping[str, Any]] = {"column": table, "metadata": known}

    def named(self, name: str) -> dict[str, Array]:
        """Slices of one name: itself, or one for each value of a column that is named whole."""
        kind, _, column = name.partition(":")
        values = self._tables.get(kind, {}).get(column)
        if values is None:
            return {name: self.attribute(name)}
        cells = [None if _is_missing(cell) else str(cell).strip() for cell in values.tolist()]
        distinct = sorted({cell for cell in cells if cell is not None})
        if len(distinct) > _MOST_VALUES:
            raise InputError(
                f"{name!r} has {len(distinct)} different values; name some of them, as "
                f"{name}={distinct[0]}, or cut numbers, as {name}>=NUMBER."
            )
        known = np.asarray([cell is not None for cell in cells])
        return {
            f"{name}={each}": np.where(known, [cell == each for cell in cells], -1).astype(np.int8)
            for each in distinct
        }

    def attribute(self, name: str) -> Array:
        """One attribute of every sample: 1, 0, or −1 where it is not known; int8, (N,)."""
        try:
            return attribute_named(
                name,
                texts=self._inputs.texts,
                table=self._tables["column"] or None,
                metadata=self._tables["metadata"] or None,
                images=self._inputs.images,
            )
        except NobodyHas as error:
            self.notes.append(str(error))
            return np.zeros(self._n, dtype=np.int8)

    def answered(self, answers: str | os.PathLike[str], y: Array) -> dict[str, Array]:
        """Class × side of every attribute that was answered to be spurious."""
        found = dict[str, Array]()
        for answer in read_answers(answers).spurious:
            sides = [[n for n in side if not n.startswith(_OF_LAYERS)] for side in answer.sides]
            sides = [side for side in sides if side]
            if not sides:
                self.notes.append(
                    f"{answer.name} is left out: it is of a layer of the model, which raw inputs "
                    "do not tell."
                )
                continue
            for side, inside in self._sides(sides).items():
                for label in np.unique(y).tolist():
                    found[f"{label} × {side}"] = np.where(y == label, inside, 0).astype(np.int8)
        return found

    def _sides(self, sides: Sequence[Sequence[str]]) -> dict[str, Array]:
        """Who is on each side; a single side has another, of those who are not."""
        # A column as a whole has a side for each of its values.
        found = {}
        if len(sides) == 1 and len(sides[0]) == 1:
            kind, _, column = sides[0][0].partition(":")
            if column in self._tables.get(kind, {}):
                return self.named(sides[0][0])
        for names in sides:
            values = np.stack([self.attribute(name) for name in names])
            has = (values == 1).any(axis=0)
            found[names[0]] = np.where(has, 1, np.where((values < 0).any(axis=0), -1, 0))
        if len(found) == 1:
            name, has = next(iter(found.items()))
            found[f"not {name}"] = np.where(has < 0, -1, 1 - has)
        return found


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
    reader = Slices(samples, metadata, key)
    found, asked = dict[str, Array](), dict[str, str]()
    for name in names:
        for each, values in reader.named(name).items():
            if each == name or each not in found:  # a value's own limits go before its column's
                found[each], asked[each] = values, name
    if answers is not None:
        found |= reader.answered(answers, samples.y)
    return found, asked, reader.notes


def _is_missing(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())
