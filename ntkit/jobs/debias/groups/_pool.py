"""Raw inputs of a job, and what layers make of them, read by the names of attributes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.attributes import (
    FeatureSet,
    Rule,
    array,
    attribute_named,
    columns,
    matched,
    measured_pictures,
    pictures,
    sides_of_column,
    sides_of_names,
    words,
)
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.audit import Metadata, WatchedPictures, inputs_of, views_of_table
from ntkit.jobs.debias.groups._of_layers import OfLayer
from ntkit.samples import (
    TABLES,
    ReadTable,
    Table,
    named_like_a_prediction,
    read_table,
    sample_digests,
)

Sides = tuple[tuple[str, ...], ...]
_ROW = "\0row"  # no column is called so
_NOT_TOLD = ("label", "group")  # columns that say the class, or are for the table only


class _OneAfterTheOther(Sequence[Any]):
    """Several sequences as one, that copies none."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._parts)

    def __getitem__(self, i: Any) -> Any:
        return next(islice(self, i, None))


class Pool:
    """Raw inputs of the training samples, and then of the held-out ones."""

    def __init__(
        self, sets: Sequence[Samples], metadata: Any = None, key: str | None = None
    ) -> None:
        self.sets = sets
        self.inputs = [inputs_of(samples) for samples in sets]
        self._given_metadata, self._key = metadata, key
        self._layers: Mapping[str, Array] = {}
        self._values: dict[tuple[str, bool], Array] = {}
        self._read: dict[Sides, tuple[Array, tuple[str, ...]]] = {}

    @cached_property
    def texts(self) -> list[str] | None:
        """Texts, if that is what goes into the model."""
        parts = [each.texts for each in self.inputs]
        return None if any(p is None for p in parts) else [t for p in parts for t in p or ()]

    @property
    def numbers(self) -> Array | None:
        """Rows of numbers, if that is what goes into the model."""
        parts = [np.zeros(0) if samples.embedded else samples.X for samples in self.sets]
        if not all(
            isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub" for X in parts
        ):
            return None
        return np.concatenate(parts)

    @cached_property
    def table(self) -> dict[str, Array] | None:
        """Columns that all files have, or that go into the model where there are no files."""
        files = self._files
        parts: list[Mapping[str, Array] | None] = [each.table for each in self.inputs]
        if files is not None:
            parts = [_plain_columns(file) for file in files]
        return _pooled(parts)

    @cached_property
    def digests(self) -> list[str]:
        """Digests of the contents of all samples."""
        return [digest.hex() for samples in self.sets for digest in sample_digests(samples)]

    @cached_property
    def metadata(self) -> dict[str, Array] | None:
        """Metadata of every sample, by column: what is given, and what stands in its own files."""
        if self._files is not None:
            own = self.table
        else:
            beside = [Metadata.of(None, samples, self._key) for samples in self.sets]
            own = _pooled([None if each is None else each.matched() for each in beside])
        if own is None:
            return self.given
        return {n: v for n, v in own.items() if n not in _NOT_TOLD} | (self.given or {})

    @cached_property
    def given(self) -> dict[str, Array] | None:
        """Metadata that were given, of every sample."""
        given = self._given_metadata
        if given is None:
            return None
        if isinstance(given, str | os.PathLike):
            given = read_table(Path(given), None, ("file_name", "id")).with_decimal_points()
        given = {name: values for name, values in given.items() if name not in _NOT_TOLD}
        key = self._key or ("id" if self.inputs[0].ids is None else "file_name")
        ids = [self.names(i, key) for i in range(len(self.sets))]
        if key in given and all(own is not None for own in ids):
            rows = {_ROW: np.arange(len(given[key]))}
            found = _pooled([matched(given | rows, own, key) for own in ids]) or {}
            counts = Counter(row for row in found.pop(_ROW) if row is not None)
            twice, n = max(counts.items(), key=lambda item: item[1])
            if n > 1:
                raise InputError(
                    f"The metadata say something of {str(given[key][twice])!r:.60}, and {n} "
                    "samples are called so; put them into the table or the metadata.csv of the set "
                    "that they are of, or name another column with --id-column."
                )
            return found
        n = sum(map(len, self.sets))
        sizes = {len(values) for values in given.values()}
        if self._key is not None or sizes != {n}:
            raise InputError(
                f"Metadata are matched by a column that names the samples ({key!r}, which "
                f"{'they have' if key in given else 'they lack'}, and the samples "
                f"{'lack' if None in ids else 'have'}), or are {n} rows, one for each training "
                "sample and then each held-out one; name the column with --id-column."
            )
        return {name: np.asarray(values) for name, values in given.items()}

    def add_layers(self, layers: Mapping[str, Array]) -> None:
        """Take in what a pass of the model gave: matrices by layer, the training samples first."""
        self._layers = layers

    def sides(self, sides: Sides, rules: Mapping[str, Rule]) -> tuple[Array, tuple[str, ...]]:
        """The side that each sample is on, and what each side is called; read once."""
        if sides not in self._read:
            name = sides[0][0]
            tables = {name.partition(":")[0]: self._columns_of(name) or {}}
            whole = sides_of_column(name, tables) if len(sides) == len(sides[0]) == 1 else None
            self._read[sides] = whole or sides_of_names(
                sides, lambda name: self.values(name, rules.get(name))
            )
        return self._read[sides]

    def values(self, name: str, rule: Rule | None = None) -> Array:
        """One attribute of every sample by its name: 1, 0, or −1 where not known; read once."""
        key = name, rule is None
        if key not in self._values:
            self._values[key] = self._value(name, rule)
        return self._values[key]

    def _value(self, name: str, rule: Rule | None) -> Array:
        of_layer = OfLayer.named(name, rule)
        if of_layer is not None:
            return of_layer.values(self._layers)
        kind = name.partition(":")[0]
        every = kind not in ("word", "column", "metadata", "picture")  # to say what there is
        images = [each.images for each in self.inputs]
        pictures = None if None in images else _OneAfterTheOther(images)
        return attribute_named(
            name,
            texts=self.texts,
            table=self.table if every or kind == "column" else None,
            metadata=self.metadata if every or kind == "metadata" else self.given,
            images=pictures if every or kind == "picture" else None,
        )

    def _columns_of(self, name: str) -> dict[str, Array] | None:
        """Columns that an attribute may be of, by its kind; files are read only for these."""
        kind = name.partition(":")[0]
        return self.table if kind == "column" else self.metadata if kind == "metadata" else None

    def feature_sets(self, watched: Sequence[WatchedPictures]) -> list[FeatureSet]:
        """What can be read of every sample without the model, except what says the class."""
        found = [] if self.texts is None else [words(self.texts)]
        first, tables, beside = self.sets[0], [each.table for each in self.sets], self.given
        if first.table is not None and all(table is not None for table in tables):
            both = _pooled([None if table is None else table.columns for table in tables]) or {}
            inputs = tuple(name for name in first.table.inputs if name in both)
            found += views_of_table(first, ReadTable(both, inputs, first.table.labels))
        elif self.table is not None:
            own = {n: v for n, v in self.table.items() if n not in _NOT_TOLD}
            found.append(columns({n: v for n, v in own.items() if not named_like_a_prediction(n)}))
        elif self.numbers is not None:
            found.append(array(self.numbers, kind="input"))
        else:
            beside = self.metadata
        if beside is not None:
            told = {n: v for n, v in beside.items() if not named_like_a_prediction(n)}
            found.append(columns(told, kind="metadata"))
        images = [each.images for each in self.inputs]
        if watched and len(watched) == len(self.sets):
            found.append(measured_pictures(np.concatenate([w.statistics() for w in watched])))
        elif None not in images:
            found.append(pictures(_OneAfterTheOther(images), sum(map(len, self.sets))))
        return found

    @cached_property
    def _files(self) -> list[Table] | None:
        """Tables that the samples were read from."""
        found = list[Table]()
        for samples in self.sets:
            paths = samples.sources
            if len(paths) != 1 or paths[0].suffix.lower() not in TABLES:
                return None
            table = read_table(paths[0])
            if len(table) != len(samples):
                return None
            found.append(table)
        return found

    def names(self, i: int, key: str) -> list[str] | None:
        """Names of the samples of one set."""
        if self._files is not None and key in self._files[i].columns:
            return [str(name) for name in self._files[i].columns[key]]
        ids = self.inputs[i].ids
        return None if ids is None else list(ids)


def _plain_columns(table: Table) -> dict[str, Array]:
    return {n: v for n, v in table.columns.items() if table.list_length(n) is None}


def _pooled(parts: Sequence[Mapping[str, Array] | None]) -> dict[str, Array] | None:
    """Columns that all parts have, one after the other."""
    first, *others = parts
    if first is None or any(part is None for part in others):
        return None
    both = [name for name in first if all(part is not None and name in part for part in others)]
    return {name: _joined([np.asarray(part[name]) for part in parts if part]) for name in both}


def _joined(parts: list[Array]) -> Array:
    """Numbers stay numbers where all are; else a text must not become as long as the longest."""
    numbers = all(part.dtype.kind in "fiu" for part in parts)
    return np.concatenate(parts if numbers else [part.astype(object) for part in parts])
