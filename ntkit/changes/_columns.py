"""Changes of columns that a model reads: values from another row, or named values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntkit._key import parts_of_change
from ntkit._labels import listed, meant_instead
from ntkit._types import Array
from ntkit.changes._donors import donors, generator
from ntkit.exceptions import InputError
from ntkit.samples.samples import Samples


@dataclass(frozen=True)
class OfColumns:
    """Values of some columns: all from one other row, or named."""

    name: str
    _last: list[Any] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        key = samples, seed, folds
        if not self._last or any(a is not b for a, b in zip(key, self._last[0], strict=True)):
            self._last[:] = key, self._changed(*key)  # of all rows, and asked for a few at a time
        new, differs = self._last[1]
        at = rows[differs[rows]]
        return samples.data.with_columns(at, {n: values[at] for n, values in new.items()}), at

    def donors(self, samples: Samples, seed: int, folds: Any) -> Array:
        """Row of the donor of each sample, −1 if there is none."""
        columns, named = self._read(samples.data.column_names)
        if named:
            return np.full(len(samples), -1, dtype=np.intp)
        return self._drawn(samples, [samples.data.column(each) for each in columns], seed, folds)

    def _drawn(self, samples: Samples, old: list[Array], seed: int, folds: Any) -> Array:
        """Donors with other values."""
        unlike = np.unique(np.stack([*map(_numbered, old)]), axis=1, return_inverse=True)[1]
        rng = generator(self.name, seed)
        return donors(len(samples), samples.y, folds, rng, unlike=unlike)

    def _changed(self, samples: Samples, seed: int, folds: Any) -> tuple[dict[str, Array], Array]:
        """New values of the columns in all rows, and the rows in which one differs."""
        there = samples.data.column_names
        if not there:
            raise InputError(
                f"{self.name!r} changes columns that the model reads, but "
                f"{samples.called('the set')} contains "
                f"{samples.data.what}; name another change, such as word:NAME or image:border."
            )
        columns, named = self._read(there)
        old = [samples.data.column(each) for each in columns]
        if named:
            new = [self._named(old[0], named)]
        else:
            of = self._drawn(samples, old, seed, folds)
            new = [np.where(of >= 0, values[of], values) for values in old]
        differs = np.any([_differ(a, b) for a, b in zip(old, new, strict=True)], axis=0)
        return dict(zip(columns, new, strict=True)), differs

    def _read(self, there: list[str]) -> tuple[list[str], list[str]]:
        """Columns, and values if any are named."""
        parts, named = parts_of_change(self.name), list[str]()
        columns = [f"{part.what}{part.condition}" for part in parts]
        if len(columns) == 1 and columns[0] not in there and parts[0].condition:
            columns = [parts[0].what]
            named = [value.strip() for value in parts[0].value.split("|")]
            if len({*named}) < len(named):
                raise InputError(f"{self.name!r} names a value twice; name it once.")
        for each in columns:
            if each not in there:
                meant = meant_instead(each, there)
                hint = f"did you mean {meant}?" if meant else f"it takes {listed(there, 12)}."
                raise InputError(
                    f"{self.name!r}: {each!r} is not a column that the model reads, and only those "
                    f"can be changed; {hint}"
                )
        return columns, named

    def _named(self, old: Array, named: list[str]) -> Array:
        values = [self._value(text, old) for text in named]
        if len(values) == 1:
            return np.full_like(old, values[0])
        new = old.copy()
        for value, other in zip(values, [*values[1:], values[0]], strict=True):
            new[old == value] = other
        return new

    def _value(self, text: str, old: Array) -> Any:
        """A value written by a person, in the type of the column."""
        known = {str(value).strip(): value for value in old.tolist()}
        if text in known:
            return known[text]
        if old.dtype.kind in "fiub":
            try:
                value = float(text)
            except ValueError:
                raise InputError(
                    f"{self.name!r}: {text!r} is not a number, but the column has numbers; write "
                    "one."
                ) from None
            if old.dtype.type(value) != value and old.dtype.kind != "f":
                raise InputError(
                    f"{self.name!r}: the column has {old.dtype} values, and {text} is not one; "
                    "write one."
                )
            return old.dtype.type(value)
        meant = meant_instead(text, list(known))
        hint = f"did you mean {meant}?" if meant else f"it has {listed(list(known), 12)}."
        raise InputError(f"{self.name!r}: no sample has the value {text!r}; {hint}")


def _numbered(values: Array) -> Array:
    """Values by number; objects of different types have no order."""
    if values.dtype == object:
        values = np.asarray([f"{type(value).__name__} {value}" for value in values.tolist()])
    return np.unique(values, return_inverse=True)[1].ravel()


def _differ(one: Array, other: Array) -> Array:
    """Whether values differ; missing values are equal."""
    return np.asarray((one != other) & ~((one != one) & (other != other)), dtype=bool)
