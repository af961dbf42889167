"""Attributes of samples by name: read from raw inputs, metadata, and layers of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np

from ntkit._join import pooled
from ntkit._types import Array
from ntkit.attributes import (
    FEWEST,
    Attribute,
    FeatureSet,
    Rule,
    array,
    attribute_named,
    columns,
    layer_of,
    layer_values,
    measured_pictures,
    pictures,
    words,
)
from ntkit.jobs.audit._from_model import WatchedPictures, views_of_table
from ntkit.samples import (
    MADE_OF_CLASSES,
    Metadata,
    ReadTable,
    Samples,
    named_like_a_prediction,
    sample_digests,
    table_of,
)

Names = tuple[tuple[str, ...], ...]
"""Names that stand for each value of an attribute."""


class AttributeReader:
    """Reads attributes of one or several sets of samples, one set after the other."""

    # `metadata` is what is known beside the inputs, matched by the column `key`, else `file_name`
    # or `id`, or row by row. The samples' own tables, and the `metadata.csv` of image folders, are
    # read, too.

    def __init__(
        self, sets: Sequence[Samples], metadata: Any = None, key: str | None = None
    ) -> None:
        self.sets = sets
        self.inputs = [samples.looks() for samples in sets]
        self.n = sum(map(len, sets))
        self._metadata, self._key = metadata, key
        self._layers: Mapping[str, Array] = {}
        self._values: dict[tuple[str, bool], Array] = {}

    # -- raw inputs ------------------------------------------------------------------------

    @cached_property
    def texts(self) -> list[str] | None:
        """Texts, if that is what goes into the model."""
        parts = [each.texts for each in self.inputs]
        return None if None in parts else [text for part in parts for text in part or ()]

    @cached_property
    def images(self) -> Sequence[Any] | None:
        """Images, decoded as they are asked for."""
        parts = [each.images for each in self.inputs]
        return None if None in parts else _OneAfterTheOther(parts)

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
        """Columns that all tables have, or that go into the model where there are no tables."""
        tables = [table_of(samples) for samples in self.sets]
        return pooled([each.table for each in self.inputs] if None in tables else tables)

    @cached_property
    def given(self) -> Metadata | None:
        """Metadata that were given."""
        if self._metadata is None:
            return None
        return Metadata.of(self._metadata, self.sets, self._key)

    @cached_property
    def beside(self) -> Metadata | None:
        """Metadata that were given, or that lie in the folders of the samples."""
        return self.given or Metadata.of(None, self.sets, self._key)

    @cached_property
    def metadata(self) -> dict[str, Array] | None:
        """Metadata of every sample, and the columns of its own table."""
        if any(table_of(samples) is not None for samples in self.sets):
            labels = {*MADE_OF_CLASSES}
            for samples in self.sets:
                labels |= {*(samples.table.labels if samples.table is not None else ())}
            own = {n: v for n, v in (self.table or {}).items() if n not in labels}
        else:
            folders = Metadata.of(None, self.sets, self._key)
            own = {} if folders is None else dict(folders.columns)
        return own | ({} if self.given is None else dict(self.given.columns)) or None

    @cached_property
    def digests(self) -> list[str]:
        """Digests of the contents of all samples."""
        return [digest.hex() for samples in self.sets for digest in sample_digests(samples)]

    # -- attributes ------------------------------------------------------------------------

    def add_layers(self, layers: Mapping[str, Array]) -> None:
        """Take in what a pass of the model gave: matrices by layer."""
        self._layers = layers

    def attribute(
        self,
        names: Names,
        rules: Mapping[str, Rule] | None = None,
        *,
        fewest: int = FEWEST,
        most: int = 0,
    ) -> Attribute:
        """The attribute that names stand for; of a whole column, each value."""
        kind = names[0][0].partition(":")[0]
        rules = rules or {}
        return Attribute.named(
            names,
            lambda name: self.values(name, rules.get(name)),
            {kind: self._columns_of(kind) or {}},
            fewest=fewest,
            most=most,
        )

    def values(self, name: str, rule: Rule | None = None) -> Array:
        """One attribute of every sample by its name: 1, 0, or −1 where not known; read once."""
        key = name, rule is None
        if key not in self._values:
            self._values[key] = self._read(name, rule)
        return self._values[key]

    def _read(self, name: str, rule: Rule | None) -> Array:
        if rule is not None or layer_of(name) is not None:
            return layer_values(name, self._layers, rule)
        kind = name.partition(":")[0]
        given = None if self.given is None else self.given.columns
        every = kind not in ("word", "column", "metadata", "picture")  # to say what there is
        return attribute_named(
            name,
            texts=self.texts,
            table=self.table if every or kind == "column" else None,
            metadata=self.metadata if every or kind == "metadata" else given,
            images=self.images if every or kind == "picture" else None,
        )

    def _columns_of(self, kind: str) -> dict[str, Array] | None:
        """Columns that an attribute may be of; files are read only for these."""
        return self.table if kind == "column" else self.metadata if kind == "metadata" else None

    def feature_sets(self, watched: Sequence[WatchedPictures] = ()) -> list[FeatureSet]:
        """What can be read of every sample without the model, except what says the class."""
        feature_sets = [] if self.texts is None else [words(self.texts)]
        first, tables = self.sets[0], [samples.table for samples in self.sets]
        given = None if self.given is None else self.given.columns
        if first.table is not None and None not in tables:
            both = pooled([None if table is None else table.columns for table in tables]) or {}
            inputs = tuple(name for name in first.table.inputs if name in both)
            feature_sets += views_of_table(first, ReadTable(both, inputs, first.table.labels))
        elif self.table is not None:
            feature_sets.append(columns(_telling(self.table)))
        elif self.numbers is not None:
            feature_sets.append(array(self.numbers, kind="input"))
        else:
            given = self.metadata
        if given is not None:
            feature_sets.append(columns(_telling(given), kind="metadata"))
        if watched and len(watched) == len(self.sets):
            feature_sets.append(
                measured_pictures(np.concatenate([w.statistics() for w in watched]))
            )
        elif self.images is not None:
            feature_sets.append(pictures(self.images, self.n))
        return feature_sets


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


def _telling(table: Mapping[str, Array]) -> dict[str, Array]:
    """Columns but for labels, groups, and what a model predicted."""
    return {
        name: values
        for name, values in table.items()
        if name not in MADE_OF_CLASSES and not named_like_a_prediction(name)
    }
