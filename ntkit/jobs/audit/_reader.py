"""Attributes of samples by name: read from raw inputs, metadata, and layers of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
from PIL import Image

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
    image_statistics,
    layer_of,
    layer_values,
    layers,
    measured_image_statistics,
    statistics_of_image,
    words,
)
from ntkit.exceptions import InputError
from ntkit.extraction import Embedded
from ntkit.inputs import MeasuredImages, shown
from ntkit.samples import (
    MADE_OF_CLASSES,
    Inputs,
    Metadata,
    ReadTable,
    Samples,
    is_aside,
    named_like_a_prediction,
    sample_digests,
    table_of,
)

_SIDE = 128  # pixels that the shorter side keeps; more are shrunk by a whole factor first
_CAMERA = (0x010F, 0x0110)  # EXIF: maker and model


class WatchedPictures(MeasuredImages):
    """Image files whose pixels and files are measured as a model reads them."""

    def measure(self, image: Image.Image) -> tuple[Array, dict[str, str]]:
        """Statistics of an image, and facts about its file."""
        upright = shown(image)
        pixels = np.asarray(upright.reduce(max(1, min(image.size) // _SIDE)))
        return statistics_of_image(pixels, image.width * image.height), _facts(image)

    def _digest(self, row: int) -> bytes:
        """Digest of a file, measured in the same pass if the model has not read it yet."""
        if self._digests[row] is None:
            self._image(row)
        return super()._digest(row)

    def statistics(self) -> Array:
        """Statistics of each image, (N, 19)."""
        return np.stack([values for values, _ in self.measurements()])

    def file_facts(self) -> dict[str, Sequence[str]]:
        """Kind of file, colour mode and camera; a column for each that differs."""
        facts = [facts for _, facts in self.measurements()]
        columns = {key: [fact[key] for fact in facts] for key in facts[0]}
        return {key: values for key, values in columns.items() if len(set(values)) > 1}


def _facts(image: Image.Image) -> dict[str, str]:
    try:
        exif = image.getexif()
        camera = " ".join(str(exif[tag]).strip("\0 ") for tag in _CAMERA if exif.get(tag))
    except Exception:  # damaged metadata of a sound image
        camera = ""
    return {"format": image.format or "", "mode": image.mode, "camera": camera}


VIEWS = ("word", "column", "input", "metadata", "image", "file", "layer", "embedding")
"""Kinds of views that are found by themselves."""


@dataclass(frozen=True, eq=False)
class ModelPass:
    """Samples, and what one pass of the model over them gave."""

    samples: Samples
    embedded: Embedded

    @property
    def watched(self) -> WatchedPictures | None:
        """Image files that were measured as the model read them."""
        return self.samples.X if isinstance(self.samples.X, WatchedPictures) else None


def feature_sets_of(
    read: ModelPass, beside: Metadata | None, asked: Sequence[str] | None, random_state: int
) -> tuple[list[FeatureSet], list[str]]:
    """Views of what there is, or of what of it was asked for."""
    notes = list[str]()
    feature_sets = [*_of_inputs(read, read.samples.looks(), notes)]
    if beside is not None:
        feature_sets.append(columns(beside.columns, kind="metadata"))
        notes += [beside.note] if beside.note else []
    if read.embedded.layers:
        feature_sets.append(layers(read.embedded.layers, random_state=random_state))
    if not read.embedded.layers or "embedding" in (asked or ()):
        # The nearer to the prediction, the more do errors depend on it anyhow.
        feature_sets.append(array(read.embedded.Z, kind="embedding"))
    kinds = [feature_set.kind for feature_set in feature_sets]
    for kind in asked or ():
        if kind not in kinds:
            raise InputError(
                f"There is no view {kind!r} of these samples; there are {', '.join(kinds)}."
            )
    return [
        feature_set for feature_set in feature_sets if asked is None or feature_set.kind in asked
    ], notes


def _of_inputs(read: ModelPass, inputs: Inputs, notes: list[str]) -> Iterator[FeatureSet]:
    if inputs.texts is not None:
        yield words(inputs.texts)
    if read.samples.table is not None:
        sets, left = _of_table(read.samples, read.samples.table)
        yield from sets
        notes += left
    elif inputs.table is not None:
        yield columns(inputs.table)
    if read.watched is not None:
        yield measured_image_statistics(read.watched.statistics())
        facts = read.watched.file_facts()
        if facts:
            yield columns(facts, kind="file")
    elif inputs.images is not None:
        yield image_statistics(inputs.images, len(inputs.images))
    X = read.samples.X
    numbers = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub"
    nameless = numbers and inputs.table is None
    if nameless and not read.samples.embedded:
        yield array(X, kind="input")


def _of_table(samples: Samples, table: ReadTable) -> tuple[list[FeatureSet], list[str]]:
    """The views of a table's columns, and a note on those that were left out."""
    feature_sets, notes = list[FeatureSet](), list[str]()
    taken = table.inputs if samples.kind != "texts" else ()
    inputs = {name: table.columns[name] for name in taken if table.columns[name].ndim == 1}
    if inputs:
        feature_sets.append(columns(inputs))
    rest = {name: values for name, values in table.rest.items() if values.ndim == 1}
    left = [name for name, values in rest.items() if _says_nothing(name, values)]
    if left:
        notes.append(f"Not looked at, by their names: {', '.join(map(repr, left[:8]))}.")
    beside = {name: values for name, values in rest.items() if name not in left}
    if beside:
        feature_sets.append(columns(beside, kind="metadata"))
    return feature_sets, notes


def _says_nothing(name: str, values: Array) -> bool:
    """Whether a column numbers the rows, splits them, or is made of their class."""
    if named_like_a_prediction(name):
        return True
    repeats = len(set(map(str, values.tolist()))) <= len(values) / 2
    return is_aside(name) and not (repeats and name.lower().rstrip("s").endswith("id"))


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
            columns = {n: v for n, v in (self.table or {}).items() if n not in labels}
        else:
            folders = Metadata.of(None, self.sets, self._key)
            columns = {} if folders is None else dict(folders.columns)
        return columns | ({} if self.given is None else dict(self.given.columns)) or None

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
        table = self.table if kind == "column" else None
        if kind == "metadata":  # files are read only for these
            table = self.metadata
        rules = rules or {}
        return Attribute.named(
            names,
            lambda name: self.values(name, rules.get(name)),
            {kind: table or {}},
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
        metadata = None if self.given is None else self.given.columns
        every = kind not in ("word", "column", "metadata", "image")  # to say what there is
        return attribute_named(
            name,
            texts=self.texts,
            table=self.table if every or kind == "column" else None,
            metadata=self.metadata if every or kind == "metadata" else metadata,
            images=self.images if every or kind == "image" else None,
        )

    def feature_sets(self, watched: Sequence[WatchedPictures] = ()) -> list[FeatureSet]:
        """Feature sets that need no model, without columns that tell the class."""
        feature_sets = [] if self.texts is None else [words(self.texts)]
        first, tables = self.sets[0], [samples.table for samples in self.sets]
        metadata = None if self.given is None else self.given.columns
        if first.table is not None and None not in tables:
            both = pooled([None if table is None else table.columns for table in tables]) or {}
            inputs = tuple(name for name in first.table.inputs if name in both)
            table = ReadTable(both, inputs, first.table.labels)
            feature_sets += _of_table(first, table)[0]
        elif self.table is not None:
            feature_sets.append(columns(_telling(self.table)))
        elif self.numbers is not None:
            feature_sets.append(array(self.numbers, kind="input"))
        else:
            metadata = self.metadata
        if metadata is not None:
            feature_sets.append(columns(_telling(metadata), kind="metadata"))
        if watched and len(watched) == len(self.sets):
            feature_sets.append(
                measured_image_statistics(np.concatenate([w.statistics() for w in watched]))
            )
        elif self.images is not None:
            feature_sets.append(image_statistics(self.images, self.n))
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
