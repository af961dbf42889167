"""Check predictions of samples, with slices that are named by attributes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from ntkit._key import TIMES, Key, group_name, lacking, values_in, written_otherwise
from ntkit._text import counted, listed
from ntkit._types import Array
from ntkit.attributes.activations import layer_of
from ntkit.attributes.answers import Answer, Answers, Labels, joined_answers, read_answer_file
from ntkit.attributes.feature_set import Rule
from ntkit.attributes.named import NobodyHas, value_named
from ntkit.attributes.word_lists import one_spelling
from ntkit.exceptions import InputError
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.check._judge import check_classes
from ntkit.jobs.check._limits import Limits, SliceLimits, over_default
from ntkit.jobs.check._result import CheckResult
from ntkit.jobs.label_tables import labels_of_entries
from ntkit.samples.columns import copies_in, copy_note
from ntkit.samples.samples import Samples

DEFAULT_DROP = 5.0
"""Largest drop in percentage points if the user sets no limit."""


def with_default(limits: Limits, *, compared: bool) -> tuple[Limits, list[str]]:
    """Limits with the largest drop if no limit holds the accuracies of two models, and a note."""
    of_changes = [n for n in limits.stated if n.startswith("changes.") or n == "max_flip_rate"]
    if not compared or len(of_changes) < len(limits.stated):
        return limits, []
    on = " on accuracies" * bool(of_changes)
    note = f"No limit is set{on}, so ntkit allows a drop of {DEFAULT_DROP:g} percentage points."
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


_MOST_VALUES = 50  # values of a column that make slices


class _Reader(AttributeReader):
    """Read attributes; an attribute that no sample has becomes an empty slice and a note."""

    def __init__(self, samples: Samples, metadata: Any, key: str | None) -> None:
        super().__init__([samples], metadata, key)
        self.notes = [] if self.matched_metadata is None else [self.matched_metadata.note]
        self.cut_here = list[str]()  # attributes without a rule

    def _read(self, name: str, rules: Mapping[str, Rule]) -> Array:
        try:
            if name not in rules and self.rule(name) is not None:
                self.cut_here.append(name)
            return super()._read(name, rules)
        except NobodyHas as error:
            self.notes.append(str(error))
            return np.zeros(self.n, dtype=np.int8)

    def value_of(self, name: str, given: Sequence[str]) -> str:
        """The name as the slices of its column have it, if the whole column is named as well."""
        key = Key.of(name)
        readings = [r.origin for r in key.readings(Key.of(each).what for each in given) if r.value]
        if not {*readings} & {*given}:
            return name
        return value_named(name, (self.table if key.kind == "column" else self.metadata) or {})

    def labelled(self, labels: Labels, key: str | None) -> dict[str, Array]:
        """Membership in each value of the labels that a person gave: 1, 0, or −1 if unknown."""
        entries, left_out = labels.entries, labels.left_out
        given, note = labels_of_entries(labels.where, entries, left_out, self, key or "id", False)
        self.notes += [note] if note else []
        unknown = sum(each is None for each in given)
        if unknown:  # ntkit label asks about errors and rare values first
            self.notes.append(
                f"{labels.where} labels {counted(len(given) - unknown, 'sample')} of {len(given)}. "
                "Where they were not drawn at random, as by ntkit label, accuracies of these "
                "groups are not those of all samples."
            )
        names = [name for name in labels.values if name in given.tolist()]
        known = np.array([each is not None for each in given])
        return {n: np.where(known, given == n, -1).astype(np.int8) for n in names}

    def slices(self, names: Sequence[Sequence[str]], rules: Mapping[str, Rule]) -> dict[str, Array]:
        """Membership in each value of an attribute: 1, 0, or −1 if unknown; int8, (N,)."""
        options = {"fewest": 1, "most": _MOST_VALUES}
        attribute = self.attribute(tuple(map(tuple, names)), rules, **options)
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
    if (answers is not None or limits.answers.answers) and np.ndim(samples.y) == 2:
        raise InputError(
            "The answers are on the errors of one label. Name it with --label (label=), or leave "
            "--answers (answers=) out."
        )
    of_file = None if answers is None else read_answer_file(answers)
    labels, answered = of_file if isinstance(of_file, Labels) else None, limits.answers
    if isinstance(of_file, Answers):
        answered = joined_answers({str(answers): of_file, "The limits": answered})
    given = [*dict.fromkeys(name.strip() for name in [*limits.slices, *names])]
    of_groups = {name for name in limits.slices if TIMES in name and limits.answers.spurious}
    given = [name for name in given if name not in of_groups]
    if not given and not answered.answers and labels is None:
        unused = "The metadata are not used, because no slice is named. Name one: --slice NAME"
        return {}, limits, [unused] * (metadata is not None)
    reader = _Reader(samples, metadata, key)
    names, limits = _named_alike(given, limits, reader)
    slices, stated = _named_slices(names, limits, answered.rules, reader)
    for answer in answered.spurious:
        slices |= _answered_slices(answer, answered.rules, reader, samples.y, slices)
    if labels is not None:
        by_value = reader.labelled(labels, key)
        slices |= _of_classes(by_value, samples.y, repr(labels.question), slices)
    twins = written_otherwise(of_groups, slices)
    if twins is not None:
        raise InputError(
            f"The limits are of {twins[0]!r}, and these samples have {twins[1]!r}. Write one value "
            "in one way in both."
        )
    for title in of_groups:  # none of these samples is in a group that has no slice yet
        slices.setdefault(title, np.zeros(len(samples.y), dtype=np.int8))
        stated[title] = limits.slices[title]
    confirmed = [name for answer in answered.spurious for name in chain(*answer.values)]
    reader.notes += reader.column_notes([*chain(*map(values_in, names)), *confirmed])
    if reader.cut_here:
        reader.notes.append(
            f"{reader.cut_here[0]!r} is cut by the values of these {len(samples)} samples, and "
            "elsewhere in others. An answers.json of audit or debias holds a cut: --answers."
        )
    return slices, replace(limits, slices=stated), reader.notes


def _named_alike(given: Sequence[str], limits: Limits, reader: _Reader) -> tuple[list[str], Limits]:
    """Names of slices as the columns have them, and the limits by these names."""
    first = {one_spelling(name): name for name in reversed(given)}
    whose = {name: reader.value_of(first[one_spelling(name)], given) for name in given}
    for name in whose.keys() & limits.slices.keys():
        twice = [other for other in limits.slices if whose.get(other) == whose[name]]
        if len(twice) > 1:
            raise InputError(
                f"{twice[0]!r} and {twice[1]!r} are one slice. Keep the limits of one of them."
            )
    slices = {whose.get(name, name): each for name, each in limits.slices.items()}
    return [*dict.fromkeys(whose.values())], replace(limits, slices=slices)


def _named_slices(
    names: Sequence[str], limits: Limits, rules: Mapping[str, Rule], reader: _Reader
) -> tuple[dict[str, Array], dict[str, SliceLimits]]:
    """Membership in each slice that is named, or is a value of a named column, and its limits."""
    slices, stated = dict[str, Array](), dict[str, SliceLimits]()
    for name in names:
        parts = values_in(name)
        for each, values in reader.slices([[part] for part in parts], rules).items():
            if len(parts) > 1:  # samples that have two of the values are in no slice
                each = f"{each} of {name}"
            elif each != name and each in (parts[0], lacking(parts[0])):
                continue
            if each == name or each not in slices:
                slices[each] = values
            # Limits of a value precede those of its column, which hold where it states none.
            both = stated.get(each, SliceLimits()), limits.slices.get(name, SliceLimits())
            stated[each] = over_default(*(reversed(both) if each == name else both))
    return slices, stated


def _answered_slices(
    answer: Answer,
    rules: Mapping[str, Rule],
    reader: _Reader,
    y: Array,
    others: Mapping[str, Array],
) -> dict[str, Array]:
    """Membership in each class × value of a confirmed finding that raw inputs can tell."""
    readable = [[name for name in names if layer_of(name) is None] for names in answer.values]
    readable = [names for names in readable if names]
    if not readable:
        reader.notes.append(
            f"{answer.name} makes no slice: it is an attribute of a layer of the model, and "
            "slices are read from the raw inputs."
        )
        return {}
    left = [name for name in chain(*answer.values) if layer_of(name) is not None]
    if left:
        reader.notes.append(
            f"The slices of {answer.name} leave out {listed(map(repr, left), 6)}: it is an "
            "attribute of a layer of the model, and slices are read from the raw inputs."
        )
    return _of_classes(reader.slices(readable, {**rules, **answer.rules}), y, answer.name, others)


def _of_classes(
    values: Mapping[str, Array], y: Array, name: str, others: Mapping[str, Array]
) -> dict[str, Array]:
    """Membership in each class × value; ``others`` are slices that may have the same title."""
    slices = dict[str, Array]()
    for value, inside in values.items():
        for label in np.unique(y).tolist():
            title, members = group_name(label, value), np.where(y == label, inside, 0)
            if title in others and not np.array_equal(others[title], members):
                title = f"{title} (of {name})"  # of another finding with this value
            slices[title] = members
    return slices


def checked(
    samples: Samples, predicted: Sequence[Array], slices: Mapping[str, Array], limits: Limits,
    names: Sequence[str], notes: Sequence[str], *,
    labels: Sequence[str], one: str | None, classes: Any = None, flips: Any = ({}, {}),
) -> CheckResult:  # fmt: skip
    """Check predictions of samples, those of the old model first, against limits."""
    copies = copies_in(samples.y, labels) if labels else ()
    before, before_flips = (predicted[0], flips[0]) if len(predicted) == 2 else (None, {})
    title = " compared with ".join(reversed(names))
    result = check_classes(
        samples.y, predicted[-1], y_pred_before=before, slices=slices,
        groups=samples.groups, flips=flips[-1],
        flips_before=before_flips, classes=classes, labels=labels or None,
        names=samples.names, limits=limits,
        title=title if one is None else f"{title}, label {one!r}",
        notes=[*notes, *(copy_note(*pair) for pair in copies)],
    )  # fmt: skip
    if samples.rows is not None:  # as they were given
        result = replace(result, new_errors=samples.rows[result.new_errors])
    return result if one is None else replace(result, labels=(one,))
