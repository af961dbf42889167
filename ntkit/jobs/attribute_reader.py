"""Read attributes of samples by name, from raw inputs, metadata and layers of the model."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ntkit._join import pooled
from ntkit._key import Key, conditions_in, names_apart
from ntkit._labels import listed, plain_value
from ntkit._types import Array
from ntkit.attributes import Attribute, FeatureSet, columns, words
from ntkit.attributes.activations import layer_of, layer_rule, layer_values, layers
from ntkit.attributes.column_values import read_column
from ntkit.attributes.feature_set import FEWEST, Rule, array, both_of
from ntkit.attributes.image_statistics import (
    SEVERAL_SIZES,
    image_feature_set,
    measured_image_statistics,
    scale_of_side,
    scale_of_statistics,
    statistics_of_image,
)
from ntkit.attributes.named import attribute_named, column_notes, values_named
from ntkit.exceptions import InputError
from ntkit.inputs.image_files import MeasuredImages
from ntkit.inputs.image_preprocessing import ImagePreprocessing, upright
from ntkit.samples.columns import named_like_a_prediction
from ntkit.samples.copies import Identified
from ntkit.samples.join import (
    MADE_OF_CLASSES,
    Metadata,
    positions_in,
    table_of,
    without_classes,
)
from ntkit.samples.looks import Inputs
from ntkit.samples.samples import ReadTable, Samples
from ntkit.samples.table import is_aside

if TYPE_CHECKING:  # ONNX Runtime is not needed to read attributes
    from ntkit.extraction.embedder import Embedded

_CAMERA = (0x010F, 0x0110)  # EXIF: maker and model
# Errors of Pillow for damaged metadata of a readable image.
_DAMAGED = (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error)


class AuditedImages(MeasuredImages):
    """Image files whose statistics are computed while a model reads them."""

    def measure(self, image: Image.Image, seen: Array) -> tuple[Array, dict[str, str]]:
        """Statistics of what the model sees, with the size of the file, and facts about it."""
        size = upright(image).size
        return statistics_of_image(seen / np.float32(255), size), _facts(image)

    def statistics(self) -> Array:
        """Statistics of every image, (N, S)."""
        return np.stack([values for values, _ in self.measurements()])

    def file_facts(self) -> dict[str, Sequence[str]]:
        """File format, colour mode and camera; constant columns are left out."""
        facts = [facts for _, facts in self.measurements()]
        columns = {key: [fact[key] for fact in facts] for key in facts[0]}
        return {key: values for key, values in columns.items() if len(set(values)) > 1}


def check_one_scale(sets: Iterable[Samples]) -> None:
    """Raise an error for sets of images some of which have other values for black and white."""
    # Files are measured from 0 to 1. So are arrays whose black and white are known.
    sets = [samples for samples in sets if len(samples) and samples.looks().images is not None]
    ranges = {each.data.pixel_range for each in sets if not each.data.are_files}
    scales = {(low, high) if known else None for low, high, known in ranges}
    if len(scales) > 1 or (None in scales and any(each.data.are_files for each in sets)):
        said = [f"values from {low:.3g} to {high:.3g}" for low, high, _ in sorted(ranges)]
        said += ["image files"] * any(each.data.are_files for each in sets)
        raise InputError(
            f"The sets have images on different scales ({listed(said, 3)}), so their brightness "
            "cannot be compared. Pass all images in one way."
        )


def _facts(image: Image.Image) -> dict[str, str]:
    camera = ""
    with suppress(*_DAMAGED):
        exif = image.getexif()
        camera = " ".join(str(exif[tag]).strip("\0 ") for tag in _CAMERA if exif.get(tag))
    return {"format": image.format or "", "mode": image.mode, "camera": camera}


_AS_GIVEN = "image as given"
"""Scale of statistics of images that are not measured from black to white."""


def _scale_for_model(samples: Samples) -> str | None:
    """Scale of image files as the model sees them; None if they keep their own size."""
    steps = samples.data.steps
    size = steps.crop or steps.resize if isinstance(steps, ImagePreprocessing) else None
    if size is None:
        return None
    return scale_of_side(size if isinstance(size, int) else min(size))


def _scale_of(samples: Samples, statistics: Array) -> str:
    """Scale of statistics of images, which must be that of the rules that cut them."""
    if not samples.data.pixel_range[2]:
        return _AS_GIVEN
    return _scale_for_model(samples) or scale_of_statistics(statistics)


def _common_scale(sets: Sequence[Samples], statistics: Sequence[Array]) -> str:
    """Scale of the statistics of images of several sets."""
    scales = {*map(_scale_of, sets, statistics)}
    return scales.pop() if len(scales) == 1 else SEVERAL_SIZES


def _check_scale(
    name: str, rule: Rule, sets: Sequence[Samples], statistics: Sequence[Array]
) -> None:
    """Raise an error for a rule that cuts images on another scale."""
    here = _common_scale(sets, statistics)
    own = rule.layer == SEVERAL_SIZES and all(_scale_for_model(each) is None for each in sets)
    if rule.layer == here or (own and here != _AS_GIVEN):
        return
    if _AS_GIVEN in (rule.layer, here):
        raise InputError(
            f"{name!r} is cut in images on another scale: one set is normalised, or its black and "
            "white are unknown, and the other is not. Pass these in the same way."
        )
    raise InputError(
        f"{name!r} is cut in images of another size ({rule.layer}, and here {here}), and contrast "
        "and sharpness depend on it. Pass these in the same way, or answer anew from an audit with "
        "this model."
    )


FEATURE_SETS = ("word", "column", "input", "metadata", "image", "file", "layer", "embedding")
"""Kinds of feature sets that ntkit makes from the samples and the model."""


def tested_feature_sets(
    samples: Samples,
    embedded: Embedded,
    metadata: Metadata | None,
    kinds: Sequence[str] | None,
    random_state: int,
) -> tuple[list[FeatureSet], list[str]]:
    """The feature sets of the samples, all or of some kinds, and notes."""
    notes = list[str]()
    given = () if metadata is None else metadata.columns
    feature_sets = [*of_inputs(samples, samples.looks(), notes, replaced=given)]
    if metadata is not None:
        tested, left = without_classes("metadata", metadata.columns)
        feature_sets.append(columns(tested, kind="metadata"))
        notes += [*filter(None, [metadata.note]), *left]
    if embedded.layers:
        feature_sets.append(layers(embedded.layers, random_state=random_state))
    if not embedded.layers or "embedding" in (kinds or ()):
        # Not by default: the errors of any model depend on the embedding, which is next to the
        # prediction.
        feature_sets.append(array(embedded.Z, kind="embedding"))
    present = [feature_set.kind for feature_set in feature_sets]
    for kind in kinds or ():
        if kind not in present:
            raise InputError(
                f"These samples have no feature set {kind!r}. They have {', '.join(present)}."
            )
    feature_sets = [each for each in feature_sets if kinds is None or each.kind in kinds]
    return feature_sets, [*notes, *(note for each in feature_sets for note in each.notes())]


def of_inputs(
    samples: Samples, inputs: Inputs, notes: list[str], replaced: Collection[str] = ()
) -> Iterator[FeatureSet]:
    """Feature sets of what the samples look like; it adds to the notes."""
    # Metadata that the user passes replace the table's own columns of the same names.
    X = samples.X
    if inputs.texts is not None:
        yield words(inputs.texts)
    if samples.table is not None:
        sets, left = _of_table(samples, samples.table, replaced)
        yield from sets
        notes += left
    elif inputs.table is not None:
        yield columns(inputs.table)
    if isinstance(X, AuditedImages):
        statistics = X.statistics()
        yield measured_image_statistics(statistics, _scale_of(samples, statistics))
        facts = X.file_facts()
        if facts:
            yield columns(facts, kind="file")
    elif (images := samples.data.images_from_0_to_1()) is not None:
        measured = cache(lambda: np.stack([*map(statistics_of_image, images)]))
        yield image_feature_set(measured, len(images), lambda: _scale_of(samples, measured()))
    if inputs.table is None and _is_matrix(X) and not samples.embedded:
        yield array(X, kind="input")


def _is_matrix(X: Any) -> bool:
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub"


def _of_table(
    samples: Samples, table: ReadTable, replaced: Collection[str] = ()
) -> tuple[list[FeatureSet], list[str]]:
    """The feature sets of a table's columns, and a note on the columns left out."""
    notes = list[str]()
    taken = table.inputs if samples.data.shows_inputs_in_table else ()
    inputs = {name: table.columns[name] for name in taken if table.columns[name].ndim == 1}
    rest = {name: values for name, values in table.rest.items() if values.ndim == 1}
    left = [name for name, values in rest.items() if _says_nothing(name, values)]
    if left:
        named = ", ".join(map(repr, left[:8]))
        notes.append(f"ntkit did not test columns named like row numbers or predictions: {named}.")
    twice = [name for name in rest if name in replaced and name not in left]
    notes += _note_on_replaced(twice)
    further = {n: values for n, values in rest.items() if n not in left and n not in replaced}
    parts = ((inputs, "column"), (further, "metadata"))
    return [columns(part, kind=kind) for part, kind in parts if part], notes


def _note_on_replaced(names: Sequence[str]) -> list[str]:
    """A sentence on columns that the samples and the user's metadata have, if there are any."""
    named = ", ".join(map(repr, names[:8]))
    note = f"The metadata replace columns of the same names in the table: {named}."
    return [note] * bool(names)


def _says_nothing(name: str, values: Array) -> bool:
    """Whether a column holds row numbers, the split, or a function of the class."""
    if named_like_a_prediction(name):
        return True
    repeats = len(set(map(str, values.tolist()))) <= len(values) / 2
    return is_aside(name) and not (repeats and name.lower().rstrip("s").endswith("id"))


Names = tuple[tuple[str, ...], ...]
"""The names of each value of an attribute."""


class AttributeReader:
    """Read attributes of the samples of one or several sets, concatenated."""

    # `metadata` holds further columns. They are matched by the column `key`, by `file_name` or
    # `id`, or row by row. The samples' own tables and the `metadata.csv` of image folders are read
    # as well.

    def __init__(
        self, sets: Sequence[Samples], metadata: Any = None, key: str | None = None
    ) -> None:
        self.sets = sets
        prose = {
            name for samples in sets for name in samples.data.prose
        }  # in any set, such as of copies
        self.inputs = [samples.looks(prose) for samples in sets]
        self.n = sum(map(len, sets))
        self._metadata, self._key = metadata, key
        self.layers: Mapping[str, Array] = {}  # of the model's pass: a matrix for each
        self._values: dict[tuple[str | Rule | None, ...], Array] = {}

    def positions(self, n: int, source: Any = None, name: str = "") -> Array | None:
        """Place of each sample in ``n`` values, one for each sample as it was given; else None."""
        return positions_in(self.sets, n, source, name)

    @property
    def n_given(self) -> int:
        """Number of samples with those that were left out, because their label is unknown."""
        return sum(len(samples) + samples.n_left_out for samples in self.sets)

    # -- raw inputs ------------------------------------------------------------------------

    @cached_property
    def texts(self) -> list[str] | None:
        """Texts, if the model reads texts; of several columns of prose, all in one."""
        parts = [each.texts for each in self.inputs]
        return None if None in parts else [text for part in parts for text in part or ()]

    @cached_property
    def images(self) -> list[Any] | None:
        """Images of each set, decoded one by one; None if a set has none."""
        parts = [each.images for each in self.inputs]
        return None if None in parts else parts

    @cached_property
    def _statistics(self) -> list[Array]:
        """Statistics of the images of each set, measured as an audit does, (N, S)."""
        check_one_scale(self.sets)
        parts = list[Array]()
        for samples in self.sets:
            if isinstance(X := samples.measured(AuditedImages).X, AuditedImages):  # as a run does
                parts.append(X.statistics())
            else:
                images = samples.data.images_from_0_to_1()
                assert images is not None
                parts.append(np.stack([statistics_of_image(image) for image in images]))
        return parts

    @property
    def statistics(self) -> Array:
        """Statistics of the images of all sets, (N, S)."""
        return np.concatenate(self._statistics)

    @cached_property
    def files(self) -> dict[str, Array] | None:
        """Format, colour mode and camera of image files; None of other samples."""
        parts = [samples.measured(AuditedImages).X for samples in self.sets]
        if not all(isinstance(part, AuditedImages) for part in parts):
            return None
        facts = [facts for part in parts for _, facts in part.measurements()]
        return {name: np.array([of[name] for of in facts], dtype=object) for name in facts[0]}

    @property
    def numbers(self) -> Array | None:
        """Rows of numbers, if the model reads them."""
        if any(samples.embedded or not _is_matrix(samples.X) for samples in self.sets):
            return None
        return np.concatenate([samples.X for samples in self.sets])

    @cached_property
    def table(self) -> dict[str, Array] | None:
        """Columns in all tables; without tables, the model's input columns."""
        tables = [table_of(samples) for samples in self.sets]
        return pooled([each.table for each in self.inputs] if None in tables else tables)

    @cached_property
    def user_columns(self) -> Mapping[str, Array] | None:
        """Columns of the user's metadata, matched to the samples."""
        user = None if self._metadata is None else self.matched_metadata
        return None if user is None else user.columns

    @cached_property
    def matched_metadata(self) -> Metadata | None:
        """The user's metadata, or those in the folders of the samples."""
        return Metadata.of(self._metadata, self.sets, self._key)

    @cached_property
    def metadata(self) -> dict[str, Array] | None:
        """Metadata of every sample, and the columns of its own table."""
        return self._own_metadata | dict(self.user_columns or {}) or None

    @cached_property
    def _own_metadata(self) -> dict[str, Array]:
        """Columns that the samples have without the user's metadata."""
        if any(table_of(samples) is not None for samples in self.sets):
            labels = {*MADE_OF_CLASSES}
            for samples in self.sets:
                labels |= {*(samples.table.labels if samples.table is not None else ())}
            return {n: v for n, v in (self.table or {}).items() if n not in labels}
        further = pooled([samples.further for samples in self.sets])
        if further:
            return {n: v for n, v in further.items() if n not in MADE_OF_CLASSES}
        folders = Metadata.of(None, self.sets, self._key)
        return {} if folders is None else dict(folders.columns)

    @cached_property
    def identified(self) -> Identified:
        """Digests of all samples, by which files of labels name them."""
        return Identified(self.sets)

    # -- attributes ------------------------------------------------------------------------

    def attribute(
        self,
        names: Names,
        rules: Mapping[str, Rule] | None = None,
        *,
        fewest: int = FEWEST,
        most: int = 0,
    ) -> Attribute:
        """The attribute with these names of its values; a whole column has its own values."""
        kind = Key.of(names[0][0]).kind
        table = self.table if kind == "column" else None
        if kind == "metadata":  # other kinds need no metadata files
            table = self.metadata
        return Attribute.named(
            names,
            lambda name: self.values(name, rules),
            {kind: table or {}},
            fewest=fewest,
            most=most,
        )

    def values(self, name: str, rules: Mapping[str, Rule] | None = None) -> Array:
        """One attribute of every sample by its name: 1, 0, or −1 if unknown; cached."""
        # `rules` say where attributes are cut; without one, that is at a quantile of these samples.
        rules = rules or {}
        key = name, *map(rules.get, [name, *chain(*conditions_in(name))])
        if key not in self._values:
            self._values[key] = self._read(name, rules)
        return self._values[key]

    def column_notes(self, names: Iterable[str]) -> list[str]:
        """Sentences on how the columns were read that attributes name."""
        names = [*names]
        parts = {part for name in names for pair in conditions_in(name) for part in pair}
        kinds = {Key.of(name).kind for name in (*names, *parts)}
        tables = {"column": self.table} if "column" in kinds else {}
        replaced = list[str]()
        if "metadata" in kinds:
            tables |= {"metadata": self.metadata}
            own = self._own_metadata if self.user_columns else {}
            both = [column for column in own if column in (self.user_columns or ())]
            column = dict(zip(names_apart(both), both, strict=True))
            replaced = [column[name] for name in values_named(names, "metadata", column)]
        notes = column_notes(names, {kind: table or {} for kind, table in tables.items()})
        for called, _, one, other in self._values_in_sets(names):
            if one and other and not one & other:
                notes.append(
                    f"{called!r} has no value that occurs in both sets: {listed(sorted(one), 3)} "
                    f"in one, {listed(sorted(other), 3)} in the other."
                )
        return [*_note_on_replaced(replaced), *notes]

    def check_spellings(self, names: Iterable[str]) -> None:
        """Raise an error if two sets spell a named value, or one of a whole column, differently."""
        for called, said, one, other in self._values_in_sets(names):
            twins = {plain_value(value): value for value in other - one}
            for value in sorted(one - other):
                twin, named = twins.get(plain_value(value)), {plain_value(each) for each in said}
                if twin is not None and ("" in said or plain_value(value) in named):
                    raise InputError(
                        f"{called!r} has the value {value!r:.40} in one set and {twin!r:.40} in "
                        "the other. Write one value in one way in both."
                    )

    def _values_in_sets(
        self, names: Iterable[str]
    ) -> Iterator[tuple[str, set[str], set[str], set[str]]]:
        """Each named column of categories, the values that names say, and those in two sets."""
        parts = {part for name in names for part in (name, *chain(*conditions_in(name)))}
        keys = [key for key in map(Key.of, parts) if key.kind in ("column", "metadata")]
        for kind in sorted({key.kind for key in keys}) if len(self.sets) == 2 else ():
            table = (self.table if kind == "column" else self.metadata) or {}
            called = dict(zip(names_apart([*table]), table, strict=True))
            readings = [each for key in keys if key.kind == kind for each in key.readings(called)]
            for name in sorted({each.what for each in readings if each.sign in ("", "=")}):
                cells = read_column(np.asarray(table[called[name]]))
                if cells.numbers is None:
                    codes, labels = cells.categories
                    sets = np.split(codes, [len(self.sets[0])])
                    one, other = ({labels[i] for i in {*codes.tolist()} - {-1}} for codes in sets)
                    said = {each.value for each in readings if each.what == name}
                    yield f"{kind}:{name}", said, one, other

    def rule(self, name: str) -> Rule | None:
        """Where an attribute is cut, if that is at a quantile of these samples."""
        if layer_of(name) is not None:
            return layer_rule(name, self.layers)
        measured = self._measured(name)
        return None if measured is None else measured[0].rule(name)

    def _measured(
        self, name: str, *, cells: bool = True
    ) -> tuple[FeatureSet, Callable[[], Array]] | None:
        """The feature set that an attribute of numbers belongs to, and the numbers."""
        kind = Key.of(name).kind
        if kind == "image" and self.images is not None:
            of_images = image_feature_set(
                lambda: self.statistics,
                self.n,
                lambda: _common_scale(self.sets, self._statistics),
                cells=cells,
            )
            return of_images, lambda: self.statistics
        if kind == "input" and (numbers := self.numbers) is not None:
            return array(numbers, kind="input"), lambda: numbers
        return None

    def _read(self, name: str, rules: Mapping[str, Rule]) -> Array:
        rule = rules.get(name)
        of_size = name.startswith(("image:size ", "image:aspect ratio "))
        if of_size and not all(samples.data.are_files for samples in self.sets):
            raise InputError(
                f"{name!r} is of the size of image files, and images of an array have one size. "
                "Pass image files in every set."
            )
        if layer_of(name) is not None:
            return layer_values(name, self.layers, rule)
        if rule is not None and (measured := self._measured(name)) is not None:
            if measured[0].kind == "image":
                _check_scale(name, rule, self.sets, self._statistics)
            return rule.values(measured[1]())
        pairs = conditions_in(name)
        if not pairs:
            return self._named(name)
        with suppress(InputError):  # a value may contain " and "
            return self._named(name)
        for one, other in pairs[:-1]:
            with suppress(InputError):
                return both_of(self.values(one, rules), self.values(other, rules))
        return both_of(*(self.values(part, rules) for part in pairs[-1]))

    def _named(self, name: str) -> Array:
        """One attribute by its name in full."""
        kind = Key.of(name).kind
        read = {"word": "texts", "column": "table", "metadata": "metadata", "image": "images"}
        read["file"] = "files"
        every = kind not in read or getattr(self, read[kind]) is None  # for the error message
        images = self._measured("image:" if every else name)
        numbers = self._measured(name)
        return attribute_named(
            name,
            texts=self.texts,
            table=self.table if every or kind == "column" else None,
            metadata=self.metadata if every or kind == "metadata" else self.user_columns,
            images=None if images is None else images[0],
            files=self.files if kind == "file" else None,
            numbers=None if numbers is None else numbers[0],
        )

    def feature_sets(self) -> list[FeatureSet]:
        """Feature sets that need no model, without labels, groups and predictions."""
        feature_sets = [] if self.texts is None else [words(self.texts)]
        first, tables = self.sets[0], [samples.table for samples in self.sets]
        metadata = self.user_columns
        if first.table is not None and None not in tables:
            both = pooled([None if table is None else table.columns for table in tables]) or {}
            inputs = tuple(name for name in first.table.inputs if name in both)
            table = ReadTable(both, inputs, first.table.labels)
            feature_sets += _of_table(first, table, metadata or ())[0]
        elif self.table is not None:
            feature_sets.append(columns(without_classes("", self.table)[0]))
        elif self.numbers is not None:
            feature_sets.append(array(self.numbers, kind="input"))
        else:
            metadata = self.metadata
        if metadata is not None:
            feature_sets.append(columns(without_classes("", metadata)[0], kind="metadata"))
        # Cells are many, and most of them are not like any group that a person knows.
        if (measured := self._measured("image:", cells=False)) is not None:
            feature_sets.append(measured[0])
        return feature_sets
