"""What a batch of traffic counts: predictions in named groups, flips, and errors of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ntkit._contents import hashed, row_contents
from ntkit._disk import StrPath
from ntkit._key import TIMES, Key, conditions_in, values_in
from ntkit._labels import means_unknown, plain_value, spelling, spelt_as
from ntkit._text import listed
from ntkit._types import Array
from ntkit.attributes.answers import Answer, Answers
from ntkit.exceptions import InputError
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.check import Limits, SliceLimits, check_predictions, sliced
from ntkit.jobs.label_tables import AnswerTable
from ntkit.jobs.tables import TableRoles, read_traffic
from ntkit.metrics import Row
from ntkit.metrics.rows import ClassRate
from ntkit.samples.samples import Samples

if TYPE_CHECKING:
    from ntkit.model import FrozenModel

Kind = Literal["accuracy", "flips", "share"]
LEAST = ("accuracy", "min_recall", "min_precision", "min_flip_rate")
"""Limits that state the least share of what does not count against them."""
_ABSOLUTE = (*LEAST, "max_false_positive_rate", "max_flip_rate")
COMPARING = {"max_drop", "max_new_errors", "max_recall_drop", "max_precision_drop"}
COMPARING |= {"max_false_positive_increase"}
_DIFFER = 0.02  # share of samples, above which it may be another model
_MARK = 8  # bytes that tell samples apart
_NUMBERS = ("image", "input")  # kinds of attributes that are cut at a quantile


class Count(NamedTuple):
    """How many of n samples count."""

    k: int
    n: int


@dataclass(frozen=True, eq=False)
class Traffic:
    """Predictions of one batch, or of the reference, with their samples."""

    samples: Samples  # without labels, or with those of a reference
    predicted: Array
    limits: Limits
    marks: Sequence[bytes]
    told_apart: bool  # whether equal marks are one sample
    notes: tuple[str, ...]
    metadata: Any = None
    key: str | None = None
    at: Array | None = None  # place of each sample among all that were given
    n_given: int = 0

    @classmethod
    def read(
        cls,
        predictions: Path,
        data: Path | None,
        roles: TableRoles,
        limits: Limits,
        classes: Sequence[str] = (),
        metadata: Any = None,
    ) -> Traffic:
        """Read a table of predictions, with its samples if they are elsewhere."""
        read = read_traffic(predictions, data or predictions, roles, classes)
        predicted, notes = read.predictions[0], [*read.notes]
        if classes:
            notes += _on_classes(predicted, classes, str(predictions))
        assert read.table is not None
        marks, told_apart = _marks(read.samples, read.table.columns, roles)
        n = len(predicted)
        return cls(
            read.samples, predicted, limits, marks, told_apart, tuple(notes), metadata, roles.key,
            np.arange(n), n,
        )  # fmt: skip

    @property
    def content(self) -> str:
        """Digest of all samples in any order."""
        return hashed(*sorted(self.marks)).hex()

    def take(self, rows: Array) -> Traffic:
        """Some of the samples."""
        marks = [self.marks[row] for row in rows.tolist()]
        samples, predicted = self.samples.take(rows), self.predicted[rows]
        at = None if self.at is None else self.at[rows]
        return replace(self, samples=samples, predicted=predicted, marks=marks, at=at)

    @cached_property
    def slices(self) -> tuple[dict[str, Array], Limits, list[str]]:
        """Membership in each named slice; of class × value by the predicted class."""
        if not len(self.predicted):
            return {}, self.limits, []
        return self._sliced(self.predicted)

    def _sliced(self, y: Array) -> tuple[dict[str, Array], Limits, list[str]]:
        samples = replace(self.samples, y=y)
        return sliced(samples, self.limits, (), metadata=self.metadata, key=self.key)

    def shares(self, classes: Sequence[str]) -> Iterator[tuple[str, Count]]:
        """The share of each class, slice and group, and of each class within them."""
        parts, names = dict(self.slices[0]), self.groups
        known = names != ""
        for name in np.unique(names[known]):
            parts[f"group {name}"] = np.where(known, names == name, -1)
        told = classes[1:] if len(classes) == 2 else classes  # one of two tells the other
        everybody = np.ones(len(self.predicted), bool)
        for name in told:
            yield f"predicted {name}", _count(self.predicted == name, everybody)
        for title, values in parts.items():
            within = f" in {title}" if not self._is_joint(title) else ""
            called = title if within else f"predicted {title}"
            yield called, _count(values == 1, values >= 0)
            for name in told if within else ():
                yield f"predicted {name}{within}", _count(self.predicted == name, values == 1)

    @property
    def groups(self) -> Array:
        """Group of each sample as a text, empty if it is not known; none without groups."""
        groups = [] if self.samples.groups is None else map(str, self.samples.groups)
        return np.asarray(["" if means_unknown(name) else name for name in groups], dtype=str)

    def _is_joint(self, title: str) -> bool:
        """Whether a slice is class × value."""
        return any(title.startswith(f"{name}{TIMES}") for name in np.unique(self.predicted))

    def rows(self, y: Array, classes: Sequence[str]) -> list[Row]:
        """Rows of labelled samples: each subset and rate that has a limit."""
        slices, limits, _ = self._sliced(y)
        found = check_predictions(
            y,
            self.predicted,
            groups=self.samples.groups,
            slices=slices,
            classes=[*classes],
            limits=absolute(limits),
        )
        return found.every

    def flips(
        self, model: FrozenModel, inputs: Samples, changes: Limits, copies: int, **options: Any
    ) -> tuple[list[Row], list[str]]:
        """Rows of the changes, on at most so many samples of the batch, and notes."""
        from ntkit.jobs.check import check_read  # ONNX Runtime is not needed without a model

        rows = self._rows_in(inputs)
        assert model.head is not None
        classes = {str(each): each for each in model.head.classes.tolist()}
        known = np.flatnonzero([name in classes for name in self.predicted.tolist()])
        if not len(known):
            raise InputError(
                f"The model has the classes {listed(map(repr, classes), 6)}, and none of the "
                f"predictions is one, such as {self.predicted[0]!r}. Name the model that made them."
            )
        # By their digests, so that the choice does not depend on the order, and nobody can make it.
        chosen = np.asarray(sorted(known.tolist(), key=self.marks.__getitem__)[:copies])
        y = np.asarray([classes[name] for name in self.predicted[chosen].tolist()])
        match = replace(inputs.take(rows[chosen]), y=y, groups=None, notes=()).for_model(model)
        found = check_read([match], limits=changes, **options)
        differ = found.average.n - round(found.average.right)
        note = (
            f"The model predicts {differ} of {found.average.n} samples differently than the table "
            "says. Was it this model?"
        )
        return list(found.changes), [note] * (differ > _DIFFER * found.average.n)

    def _rows_in(self, inputs: Samples) -> Array:
        """Row of each sample among the inputs of a model, by name, or else by position."""
        if self.samples.named_by == inputs.named_by == "row":
            if self.at is None or len(inputs) != self.n_given:
                raise InputError(
                    f"{inputs.called()} has {len(inputs)} samples for {self.n_given} predictions. "
                    "Name the samples of both in a column id."
                )
            return self.at
        index = {spelling(name): row for row, name in enumerate(inputs.names)}
        rows = [index.get(spelling(name), -1) for name in self.samples.names]
        if -1 in rows:
            name = self.samples.names[rows.index(-1)]
            raise InputError(
                f"{inputs.called()} has no sample {name!r}, which the predictions name. Pass the "
                "samples of the predictions as inputs."
            )
        return np.asarray(rows)

    def chances(self, n: int) -> tuple[Array, Array]:
        """Chance of each sample to be asked, about n in all, and the part of the batch it is in.

        Half of them are of all samples alike, and each part has the same number of the others. A
        part is a slice or group with a limit on its accuracy, without the samples of those before.
        """
        slices, limits, _ = self.slices
        parts, groups = np.zeros(len(self.predicted), int), self.samples.groups
        members = [values == 1 for title, values in slices.items()
                   if limits.of_slice(title) != SliceLimits()]  # fmt: skip
        if groups is not None:
            members += [groups == label for label in np.unique(groups)]
        for number, inside in enumerate(members, 1):
            parts[inside & (parts == 0)] = number
        _, at, sizes = np.unique(parts, return_inverse=True, return_counts=True)
        alike, by_part = 1 / len(parts), 1 / (len(sizes) * sizes[at])
        return np.minimum(1, n * (alike + by_part) / 2), at

    def members(self, row: Row) -> Array | None:
        """Samples among which those of a row are, whatever their labels; None if not known."""
        if row.kind == "group" and self.samples.groups is not None:
            return np.asarray([str(each) == str(row.name) for each in self.samples.groups])
        values = self.slices[0].get(str(row.name)) if row.kind == "slice" else None
        return None if values is None or self._is_joint(str(row.name)) else values == 1

    def labels(
        self, source: StrPath, roles: TableRoles, classes: Sequence[str]
    ) -> tuple[Array, str]:
        """Label of each sample in a table, None where there is none, and a note."""
        reader = AttributeReader([self.samples], self.metadata, self.key)
        table = AnswerTable.read(source, roles.label, roles.key)
        values, note = table.labels(reader, False)
        known = np.asarray([value is not None for value in values])
        given = np.asarray([str(value) for value in values[known]])
        plain = {
            plain_value(name): name for name in (*classes, *np.unique(self.predicted).tolist())
        }
        given = np.asarray(
            [plain.get(plain_value(each), each) for each in spelt_as(given, classes)]
        )
        if odd := sorted({*given.tolist()} - {*plain.values()}):
            raise InputError(
                f"{source} has the label {odd[0]!r}, which the stream has not. The classes "
                f"are {listed(map(repr, classes), 12)}. Correct it, or leave the row out."
            )
        values[known] = given
        return values, note


def _count(counts: Array, among: Array) -> Count:
    return Count(int((counts & among).sum()), int(among.sum()))


def _on_classes(predicted: Array, classes: Sequence[str], where: str) -> list[str]:
    """A note on classes that the reference never had; an error if they are written differently."""
    foreign = [name for name in np.unique(predicted).tolist() if name not in classes]
    plain = {plain_value(name): name for name in classes}
    for name in foreign:
        if (twin := plain.get(plain_value(name))) is not None:
            raise InputError(
                f"{where} predicts {name!r}, and the reference has {twin!r}. Write the same names "
                "in both."
            )
    if foreign and len(foreign) == len(np.unique(predicted)):
        raise InputError(
            f"{where} predicts {listed(map(repr, foreign), 6)}, and the reference has the classes "
            f"{listed(map(repr, classes), 6)}. Pass predictions of the same classes, or name their "
            "column with --prediction-column."
        )
    said = f"{where} predicts {listed(map(repr, foreign), 6)}, which the reference never had."
    return [said] * bool(foreign)


def _marks(
    samples: Samples, columns: Mapping[str, Array], roles: TableRoles
) -> tuple[list[bytes], bool]:
    """A digest of each sample by its name and all that is known of it, and whether it tells apart.

    Names of columns and their order do not matter, nor does a label that came later.
    """
    n = len(samples)
    parts = [columns, {} if samples.table is None else samples.table.columns]
    cells = [
        [*map(str, values.tolist())]
        for part in parts
        for name, values in part.items()
        if values.ndim == 1 and name != roles.label
    ]
    cells = [each for each in cells if not _numbers_rows(each)]
    if samples.ids is not None:
        cells.append(
            [f"{name} {size}" for name, size in zip(samples.names, _sizes(samples), strict=True)]
        )
    elif samples.table is None:
        cells.append([digest.hex() for digest in row_contents(samples.X).tolist()])
    rows = zip(*cells, strict=True) if cells else ((),) * n
    marks = [hashed(*(part.encode(errors="surrogatepass") for part in sorted({*row})))[:_MARK]
             for row in rows]  # fmt: skip
    return marks, len({*marks}) == n


def _numbers_rows(cells: Sequence[str]) -> bool:
    """Whether a column counts its rows from 0 or 1 on, so that each batch has the same numbers."""
    return any(all(cell == str(row) for row, cell in enumerate(cells, start)) for start in (0, 1))


def _sizes(samples: Samples) -> list[int]:
    """Sizes of image files, as another file may have the same name; 0 of other samples."""
    files = getattr(samples.X, "paths", None)
    if files is None or len(files) != len(samples):
        return [0] * len(samples)
    return [Path(file).stat().st_size for file in files]


def absolute(limits: Limits) -> Limits:
    """The limits that one model is held to, without those that compare two and those of changes."""
    some = without(limits, COMPARING | {"max_flip_rate"})
    # The rows are needed without any limit as well, and 0 % is always kept.
    return replace(some, changes={}, answers=Answers(()), average=limits.average or 0)


def without(limits: Limits, names: Set[str]) -> Limits:
    """The limits without some, of all samples, of groups and of slices."""

    def alone(part: Any) -> Any:
        return replace(part, **dict.fromkeys(names & {*vars(part)}))

    slices = {name: alone(each) for name, each in limits.slices.items()}
    some: Limits = replace(alone(limits), slices=slices, groups=alone(limits.groups))
    return some


def cut_by_reference(limits: Limits, traffic: Traffic) -> Limits:
    """The limits with the cuts of numbers, so that each batch is cut as the reference is."""
    reader = AttributeReader([traffic.samples], traffic.metadata, traffic.key)
    names = [part for name in limits.slices for part in values_in(name)]
    names += [name for answer in limits.answers.spurious for side in answer.values for name in side]
    names += [part for name in [*names] for pair in conditions_in(name) for part in pair]
    answers, known = limits.answers, limits.answers.rules
    for name in dict.fromkeys(names):
        if name in known or Key.of(name).kind not in _NUMBERS:
            continue
        if (rule := reader.rule(name)) is not None:
            none = Answer(name, "unsure", ((name,),))
            answer = next((each for each in answers.answers if each.name == name), none)
            answers = answers.with_answer(replace(answer, rules={**answer.rules, name: rule}))
    return replace(limits, answers=answers)


class Limit(NamedTuple):
    """A limit of a row, as the largest share of samples that may count against it."""

    name: str
    most: float


def limits_of_row(row: Row) -> Iterator[tuple[Limit, Count]]:
    """The limits of a row that one model is held to, with what counts against them."""
    right = round(row.right)
    for verdict in row.verdicts:
        if verdict.limit not in _ABSOLUTE:
            continue
        most = 1 - verdict.bound if verdict.limit in LEAST else verdict.bound
        against = right if verdict.limit == "min_flip_rate" else row.n - right
        if most < 1:
            yield Limit(verdict.limit, most), Count(against, row.n)


def largest_drop(row: Row, limits: Limits) -> float | None:
    """The largest drop of the accuracy of a row from that of the reference, as a share."""
    if isinstance(row, ClassRate) or row.kind in ("change", "summary"):
        return None
    if row.kind in ("slice", "group"):
        drop = limits.of_slice(row.name, row.kind).max_drop
    else:
        drop = limits.max_drop if row.kind in limits.over else None
    return None if drop is None else drop / 100
