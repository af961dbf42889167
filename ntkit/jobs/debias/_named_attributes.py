"""Attributes that the user named, or answered on the findings of an audit."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._checks import known_labels
from ntkit._join import NameIndex, columns_of
from ntkit._labels import listed, meant_instead
from ntkit._types import Array
from ntkit.attributes import (
    CONTENT,
    EMBEDDING,
    FEWEST,
    Answer,
    Answers,
    Attribute,
    Entry,
    Labels,
    Rule,
    check_contradictions,
    contents_here,
    entries_of_table,
    is_channel,
    layer_of,
    read_answer_file,
    read_labels,
)
from ntkit.estimators import DFRClassifier, GroupInference
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, layer_names
from ntkit.jobs.audit import AttributeReader, Names
from ntkit.model import FrozenModel
from ntkit.samples import KEYS, TABLES, check_made_with, names_of, read_table
from ntkit.study import Study

_VALUES = re.compile(r"\|(?=[a-z]+:)")
Refused = Callable[[str, Rule | None], str | None]


@dataclass(frozen=True, eq=False)
class NamedAttributes:
    """Attributes that the user named, or answered on, before anything is read."""

    # `replaced` says, in a sentence each, what was answered and is read differently or not at all;
    # `answers` are all answers on findings, those named on the command line among them.

    names: tuple[Names, ...]
    rules: Mapping[str, Rule]
    replaced: tuple[str, ...] = ()
    answers: Answers = field(default_factory=lambda: Answers(()))

    def __bool__(self) -> bool:
        return bool(self.names)

    @property
    def all_names(self) -> list[str]:
        """Names of all values of all attributes."""
        return [name for names in self.names for of_value in names for name in of_value]

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the model that must be read."""
        layers = (layer_of(name, self.rules.get(name)) for name in self.all_names)
        return tuple(dict.fromkeys(layer for layer in layers if layer is not None))

    def check(self, reader: AttributeReader) -> None:
        """Refuse what cannot be read, and answers that contradict each other, before the work."""
        for names in self.names:
            if not any(layer_of(name) for of_value in names for name in of_value):
                self._read(reader, names)
        rules = {n: rule for answer in self.answers.answers for n, rule in answer.rules.items()}

        def values_of(name: str) -> Array:
            try:
                return reader.values(name, rules.get(name))
            except InputError:  # these samples do not tell it
                return np.full(reader.n, -1)

        check_contradictions(self.answers, values_of)

    def read(self, reader: AttributeReader) -> tuple[Attribute, ...]:
        """Read all of them."""
        return tuple(self._read(reader, names) for names in self.names)

    def _read(self, reader: AttributeReader, names: Names) -> Attribute:
        return varying(reader, names, self.rules)


def varying(
    reader: AttributeReader, names: Names, rules: Mapping[str, Rule] | None = None
) -> Attribute:
    """Read an attribute; refuse one that does not vary within a class."""
    attribute = reader.attribute(names, rules)
    check_varies(attribute, classes_of(reader))
    return attribute


def classes_of(reader: AttributeReader) -> Array:
    return np.concatenate([samples.y for samples in reader.sets])


def named_attributes(
    spurious: Any,
    answers: Answers,
    model: FrozenModel,
    sets: Sequence[Samples],
) -> NamedAttributes:
    """Gather what the user named or answered; ``spurious`` and ``answers`` as in debias."""
    rules = {name: rule for answer in answers.spurious for name, rule in answer.rules.items()}
    refused = _unreadable_layers(model, sets)
    spurious = [] if spurious is None else [spurious] if isinstance(spurious, str) else spurious
    on_command_line = [_names_in(each) for each in spurious]
    for name in (name for names in on_command_line for of_value in names for name in of_value):
        if (problem := refused(name, None)) is not None:
            raise InputError(problem)
    readable, replaced = list[Names](), list[str]()
    for answer in answers.spurious:
        first = answer.values[0][0]
        problem = refused(first, rules.get(first))
        names = tuple(
            tuple(name for name in of_value if refused(name, rules.get(name)) is None)
            for of_value in answer.values
        )
        names = tuple(filter(None, names))
        readable += [names] if names else []
        if problem is not None and names:
            replaced.append(
                f"{_titled(names)} stands for {first}, of which the answer says that it is much "
                "the same."
            )
        elif problem is not None:
            replaced.append(f"Left out: {problem}")
    if answers.spurious and not on_command_line and not readable:
        first = answers.spurious[0].values[0][0]
        raise InputError(refused(first, rules.get(first)) or "")
    if any(name in rules for names in readable for of_value in names for name in of_value):
        check_made_with("The answers", {"model": answers.model}, model)
    by_title = {_titled(names): names for names in (*on_command_line, *readable)}
    signed = (Answer(names[0][0], "spurious", names).signed() for names in on_command_line)
    return NamedAttributes(
        tuple(by_title.values()),
        rules,
        tuple(replaced),
        replace(answers, answers=(*signed, *answers.answers)),
    )


def _unreadable_layers(model: FrozenModel, sets: Sequence[Samples]) -> Refused:
    """A function that says why an attribute with a rule cannot be read; None where it can."""
    there = cache(lambda: layer_names(model))

    def refused(name: str, rule: Rule | None) -> str | None:
        layer = layer_of(name, rule)
        if layer is None:
            return None
        if layer != EMBEDDING and any(samples.embedded for samples in sets):
            return (
                f"{name} is of a layer of the model, which embeddings in a store do not tell; give "
                "the samples themselves."
            )
        if layer != EMBEDDING and layer not in there():
            meant = meant_instead(layer, list(there()))
            hint = f"did you mean {meant}?" if meant else f"it has {', '.join(there()) or 'none'}."
            return (
                f"{name} is of a layer that the model does not have or that cannot be read; {hint}"
            )
        if rule is None and not is_channel(name):
            return (
                f"{name} cannot be read by its name: directions and clusters are those of the "
                "samples of an audit; give the answers saved on its page (--answers), or "
                "audit.answers(name) in Python, which carry them."
            )
        return None

    return refused


class ClassItself(InputError):
    """An attribute has one value in each class: there is no counterexample."""


def check_varies(attribute: Attribute, y: Array) -> None:
    """Refuse an attribute that lacks a value, or has one in each class: the class itself."""
    if len(attribute.names) < 2:
        raise InputError(
            f"{attribute.name!r} has no two values that {FEWEST} samples have each, so there is "
            "nothing to balance; name another attribute."
        )
    if not all(attribute.counts):
        missing = attribute.names[int(np.argmin(attribute.counts))]
        raise InputError(
            f"No sample is on the side {missing!r}, so there is nothing to balance; name an "
            "attribute that some samples have and others have not."
        )
    pairs = _classes_with_values(attribute, y)
    if len({*pairs}) <= len({label for label, _ in pairs}):
        shown = "; ".join(f"class {y}: {value}" for y, value in sorted({*pairs}, key=str)[:3])
        raise ClassItself(
            f"{attribute.name!r} has one value in each class ({shown}), so it is the class itself "
            "or cannot be told from it; name an attribute that varies within a class."
        )


def _titled(names: Names) -> str:
    """Name of an attribute, by the first name of each value."""
    return " against ".join(of_value[0] for of_value in names)


def _names_in(attribute: Any) -> Names:
    """Names of each value of an attribute: of a text with | between them, or of nested lists."""
    if isinstance(attribute, str):
        return tuple((name.strip(),) for name in _VALUES.split(attribute))
    names = tuple((each,) if isinstance(each, str) else tuple(each) for each in attribute)
    if not names or not all(each and all(isinstance(n, str) for n in each) for each in names):
        raise InputError(
            f"An attribute is a name, or names for each of its sides as [['word:film'], "
            f"['word:movie']]; got {attribute!r}."
        )
    return names


_FEWEST_KNOWN = 3  # samples of a group, below which those inferred to be of it judge no head
_MOST_VALUES = 9  # that may be nearly as many as the samples: the keys of a page
_BY_CONTENTS = (
    "answers.json of ntkit label tells samples apart by their contents, if it was run on these "
    "very files, arrays or stores"
)


@dataclass(frozen=True, eq=False)
class PartlyKnown:
    """An attribute known of some of the training and then the validation samples."""

    # `crossed` is false where it is groups, as a rule of one class each, rather than an attribute;
    # `left` says what goes with no sample.

    attribute: Attribute
    crossed: bool = True
    left: str = ""

    @property
    def known_as(self) -> str:
        """Name of the known values, in the plural."""
        return "answers" if self.attribute.source == "person" else "samples"

    def trail(self, digests: Sequence[bytes]) -> dict[str, Any]:
        """Record of the known values: their number, and a hash that tells them from others."""
        labels = self.attribute.labels.tolist()
        pairs = zip(digests, labels, strict=True)
        known = [[digest.hex(), value] for digest, value in pairs if value is not None]
        sha256 = hashlib.sha256(json.dumps(sorted(known)).encode()).hexdigest()
        return {"name": self.attribute.name, self.known_as: len(known), "sha256": sha256}

    def completed(
        self, y: tuple[Array, Array], feature_sets: Mapping[str, Any], seed: int
    ) -> CompletedGroups:
        """Infer what is not known, as :class:`~ntkit.estimators.DFRClassifier` does by itself."""
        attribute, classes = self.attribute, np.concatenate(y)
        if (attribute.value >= 0).all():
            attribute = replace(attribute, known=attribute.value >= 0)
        else:
            attribute = attribute.inferred(GroupInference(random_state=seed), feature_sets, classes)
        missing = np.setdiff1d(classes, classes[attribute.value >= 0])
        if len(missing):
            raise InputError(
                f"Nothing is known of any sample of class {missing.tolist()[0]!r}, and no view "
                "tells it; answer on some of them."
            )
        source = f"{(self.attribute.value >= 0).sum()} {self.known_as}"
        if attribute.inference is not None and attribute.inference.feature_set_ is not None:
            source = f"inferred from {source}"
        attribute = replace(attribute, name=f"{attribute.name} ({source})")
        return CompletedGroups(self, attribute, classes, len(y[0]))


@dataclass(frozen=True, eq=False)
class CompletedGroups:
    """Groups of the training samples and then the validation ones, as far as anything tells."""

    partly: PartlyKnown
    attribute: Attribute
    y: Array
    n_train: int

    @property
    def inference(self) -> Any:
        """Estimator that inferred the groups that are not known; None where all are."""
        return self.attribute.inference

    @property
    def is_read(self) -> bool:
        """Whether the groups of all samples are known, or a view tells them."""
        return self.inference is None or self.inference.feature_set_ is not None

    @cached_property
    def groups(self) -> Attribute:
        """Class × value that each sample is taken for."""
        return self.attribute.crossed(self.y)

    @cached_property
    def n_known(self) -> dict[str, int]:
        """Groups that any sample is taken for, and how many samples are said to be of each."""
        known = Counter(self.partly.attribute.crossed(self.y).labels.tolist())
        return {name: known[name] for name in self.groups.names}

    @cached_property
    def n_alike(self) -> Array:
        """Number of samples known to be of the group that each sample is taken for, (N + M,)."""
        return np.array([*self.n_known.values(), 0])[self.groups.value]

    def fit(self, clf: DFRClassifier, study: Study, validation: Array | None) -> DFRClassifier:
        """Fit the candidate on the training samples and the validation ones that it may see."""
        rows = study.on("both").train
        index = np.arange(len(self.y))
        if validation is not None:
            index = np.concatenate([index[: self.n_train], index[self.n_train :][validation]])
        kept = np.flatnonzero(self.attribute.value[index] >= 0)
        if len(kept) < len(index) or not isinstance(rows.X, np.ndarray):
            rows = rows.take(kept)
        attribute = self.attribute.take(index[kept])
        weight = np.ones(len(kept)) if attribute.weight is None else attribute.weight
        groups = self.groups.value[index[kept]] if self.partly.crossed else attribute.labels
        clf.fit(rows.X, study.classes[rows.y_index], sample_weight=weight, groups=groups)
        return clf

    def judging(self) -> Attribute | None:
        """Groups of the validation samples, to judge a head by; None where too few are known."""
        # Where no view reads them, they are of the samples alone that somebody was asked about,
        # often because the model errs there: what a head costs is then counted on all samples.
        y = self.y[self.n_train :]
        attribute = self.attribute.where(self.n_alike >= _FEWEST_KNOWN)
        attribute = attribute.take(np.arange(self.n_train, len(self.y)))
        groups = attribute.crossed(y, fewest=FEWEST).where(attribute.value >= 0)
        return groups if len(groups.names) > len(np.unique(y)) else None

    @cached_property
    def known(self) -> Array:
        """Whether the group of each sample is known rather than inferred, (N + M,)."""
        assert self.attribute.known is not None
        return self.attribute.known

    def told(self) -> str:
        """A sentence on the source of the groups."""
        n, n_train = int(self.known.sum()), int(self.known[: self.n_train].sum())
        parts = f"{n_train} training and {n - n_train} held-out samples"
        counted = f"{self.attribute.name}: known of {parts}"
        if self.inference is None:
            return f"{counted}, which are all."
        if self.inference.feature_set_ is None:
            return (
                f"{counted}. No view tells it of the others, so the head is retrained on these "
                "alone."
            )
        score = self.inference.scores_[self.inference.feature_set_]
        rare = [f"{name} ({n})" for name, n in self.n_known.items() if n < _FEWEST_KNOWN]
        return (
            f"{counted}; read for the others from the view {self.inference.feature_set_!r}, which "
            f"is right on {100 * score:.0f} % of those known that it has not seen, the mean over "
            "class × value."
        ) + f" Too few are known of a group to judge by it: {', '.join(rare)}." * bool(rare)

    def worst_known(self, before: Array, after: Array) -> str:
        """The worst group of the samples that are known, by which two heads get right."""
        n, n_train = int(self.known.sum()), int(self.known[: self.n_train].sum())
        at = np.flatnonzero(self.known & (self.n_alike >= FEWEST))
        if not len(at):
            return f"Of no group are {FEWEST} samples known, so none is rated by these alone."
        groups = self.attribute.take(at).crossed(self.y[at], fewest=FEWEST)
        worst, first = groups.worst(after[at]), groups.worst(before[at])
        then = f"{first.share} of the same" if first.name == worst.name else str(first)
        seen = (
            f" ({n_train} of them training samples: the new head was fitted on these, which "
            "flatters it)"
        ) * bool(n_train)
        return (
            f"Of the {n} samples of which it is known{seen}, the worst group with at least "
            f"{FEWEST}, by the share that is right: {worst}; with the original head {then}."
        )


def answers_from(source: Answers | Labels | str | os.PathLike[str]) -> Answers | Labels | Path:
    """Answers, read if they are in JSON; a table of them stays a path."""
    if isinstance(source, Answers | Labels):
        return source
    return Path(source) if Path(source).suffix.lower() in TABLES else read_answer_file(source)


def partly_known(
    reader: AttributeReader,
    *,
    answers: Labels | str | os.PathLike[str] | None = None,
    attribute: Any = None,
    groups: Any = None,
    key: str | None,
    match_names: bool = False,
) -> PartlyKnown | None:
    """Match what is known of some samples; ``attribute`` and ``groups`` as in debias."""
    options = {"answers": answers, "attribute": attribute, "groups": groups}
    options = {name: value for name, value in options.items() if value is not None}
    if len(options) > 1:
        raise InputError(f"Of {' and '.join(options)} one at a time is taken; give one of them.")
    if not options:
        return None
    ((name, value),) = options.items()
    crossed, what = name != "groups", "groups" if name == "groups" else "attribute"
    title, source, left = f"the {what} given", "person" if name == "answers" else "labels", ""
    if name == "answers" and (
        isinstance(value, Labels) or Path(value).suffix.lower() not in TABLES
    ):
        labels = value if isinstance(value, Labels) else read_labels(value)
        title, where = repr(labels.question), labels.where or "The answers"
        entries, left_out = labels.entries, labels.left_out
        values, left = _by_entries(where, entries, left_out, reader, "id", match_names)
    elif isinstance(value, str | os.PathLike | Mapping) or hasattr(value, "columns"):
        column, values, left = _by_table(value, what.removesuffix("s"), reader, key, match_names)
        title = repr(column) if crossed else title
    else:
        of_known, known = known_labels(value, name)
        if len(known) != reader.n:
            raise InputError(
                f"{name} holds {len(known)} values, and there are {reader.n} training and held-out "
                "samples; give one for each, the training samples first."
            )
        if not known.any():
            raise InputError(f"{name} is known of no sample; give some.")
        values = np.full(reader.n, None, dtype=object)
        values[known] = [str(each) for each in of_known.tolist()]
    partly = PartlyKnown(Attribute.from_labels(title, values, source=source), crossed, left)
    _check_same(partly, reader)
    _check_crossed(partly.attribute, classes_of(reader))
    return partly


def _by_entries(
    where: str,
    entries: Sequence[Entry],
    left_out: Sequence[Entry],
    reader: AttributeReader,
    key: str,
    match_names: bool,
) -> tuple[Array, str]:
    """Answers by the contents of the samples, or by names where they have none."""
    # Also what is said of them: what is left, and whether names had to do.
    everything = [*left_out, *entries]
    digests = reader.digests if any(entry.content for entry in everything) else []
    here, note = contents_here(where, everything, {*digests}, match_names=match_names)
    by_content = {e.content: e.answer for e in everything if e.answer is not None}
    values = np.full(reader.n, None, dtype=object)
    for row, digest in enumerate(digests):
        values[row] = by_content.get(digest)
    by_name = [e for e in entries if note or e.content is None]
    answers = {e.name: e.answer for e in sorted(by_name, key=lambda e: e.answer is not None)}
    rows = _rows(reader, key, answers, where) if answers else {}
    for name, row in rows.items():
        values[row] = answers[name]
    placed = {e for e in everything if e.content in here} | {e for e in by_name if e.name in rows}
    notes = [note, _left(where, everything, placed)]
    return _some(values, where, len(placed)), " ".join(filter(None, notes))


def _by_table(
    source: Any, wanted: str, reader: AttributeReader, key: str | None, match_names: bool
) -> tuple[str, Array, str]:
    """A column of a table, its values by contents, names or rows, and what is left of them."""
    where, columns = "The table", {}
    if isinstance(source, str | os.PathLike):
        table = read_table(Path(source), None, (*KEYS, wanted))
        where, at = str(source), table.at
        columns = {n: v for n, v in table.columns.items() if table.list_length(n) is None}
    else:
        columns, at = columns_of(source), lambda index: f"The table, row {index + 1}"
    key = key or next((k for k in KEYS if k in columns), None)
    rest = [column for column in columns if column not in (key, CONTENT)]
    if wanted not in rest and len(rest) != 1:
        raise InputError(
            f"{where} has no column {wanted!r}, and {listed(rest, 20) if rest else 'none'} beside "
            "the names of samples; leave one column there, or call it so."
        )
    column, left = wanted if wanted in rest else rest[0], ""
    if key is not None and key in columns:
        entries = entries_of_table(columns, key, column, at)
        values, left = _by_entries(where, entries, (), reader, key, match_names)
    elif key is None and len(columns[column]) == reader.n:
        numbered = {"": np.arange(reader.n), column: columns[column]}
        values = np.full(reader.n, None, dtype=object)
        for entry in entries_of_table(numbered, "", column, at):
            values[int(entry.name)] = entry.answer
    else:
        raise InputError(
            f"{where} names no samples by a column {' or '.join(map(repr, KEYS))} (or that of "
            f"--id-column), and has {len(columns[column])} rows for {reader.n} training and "
            "held-out samples; name the samples, or give a row for each, the training samples "
            "first."
        )
    return column, _some(values, where), left


def _rows(
    reader: AttributeReader, key: str, answers: Mapping[str, str | None], where: str
) -> dict[str, int]:
    """Row of each sample that is named."""
    names = [names_of(samples, key) for samples in reader.sets]
    if None in names:
        raise InputError(
            f"{where} names samples, and these have no names ({key!r}); {_BY_CONTENTS}, or give a "
            "table with a row for each, and without that column."
        )
    index = NameIndex([name for of_set in names for name in of_set or ()])
    rows_of = dict[str, int]()
    for name, answer in answers.items():
        rows = index.rows(name)
        if len(rows) > 1 and answer is not None:
            raise InputError(
                f"{where} says something of {name!r:.60}, and {len(rows)} samples are called so; "
                f"{_BY_CONTENTS}."
            )
        if rows:
            rows_of[name] = rows[0]
    return rows_of


def _left(where: str, entries: Sequence[Entry], placed: Set[Entry]) -> str:
    """A sentence on the entries that belong to no sample."""
    known = [entry for entry in entries if entry.answer is not None]
    strange = {entry.name for entry in known if entry not in placed}
    if not strange:
        return ""
    n = len(strange)
    return (
        f"{n} of the {len({entry.name for entry in known})} that {where} tells of "
        f"{'is' if n == 1 else 'are'} no training or held-out sample, and left out: "
        f"{listed(sorted(strange))}."
    )


def _some(values: Array, where: str, n_here: int = 0) -> Array:
    if any(value is not None for value in values):
        return values
    if n_here:
        raise InputError(
            f"{where} has {n_here} of the training and held-out samples, and of none of them "
            "could anybody tell; answer on others."
        )
    raise InputError(
        f"{where} knows nothing of any training or held-out sample; are these the samples that "
        "were labelled?"
    )


def _check_same(partly: PartlyKnown, reader: AttributeReader) -> None:
    """Refuse two values of one image or text; rows of numbers may lack what they differ in."""
    if reader.inputs[0].samples == "cases":
        return
    labels = partly.attribute.labels
    classes = classes_of(reader).tolist()
    first, pairs = dict[tuple[str, Any], int](), list[tuple[int, int]]()
    for row in np.flatnonzero(partly.attribute.value >= 0).tolist():
        of_class = None if partly.crossed else classes[row]  # groups are of a class
        before = first.setdefault((reader.digests[row], of_class), row)
        if labels[before] != labels[row]:
            pairs.append((before, row))
    if not pairs:
        return
    called = [
        f"{name!r:.60} ({which})"
        for which, samples in zip(("training", "held-out"), reader.sets, strict=True)
        for name in names_of(samples, "id") or map(str, range(len(samples)))
    ]
    one, two = (f"{labels[row]!r} for {called[row]}" for row in pairs[0])
    more = f" (and {len(pairs) - 1} more such pairs)" * (len(pairs) > 1)
    raise InputError(
        f"{partly.attribute.name} is {one} and {two}, and both are one sample by their "
        f"contents{more}; leave one of them."
    )


def _classes_with_values(attribute: Attribute, y: Array) -> list[tuple[Any, Any]]:
    """Class and value of each sample of which the value is known."""
    known = attribute.value >= 0
    return [*zip(y[known].tolist(), attribute.labels[known].tolist(), strict=True)]


def _check_crossed(attribute: Attribute, classes: Array) -> None:
    """Refuse what has one value in each class, or another in nearly each sample."""
    pairs, n_values = _classes_with_values(attribute, classes), len(attribute.names)
    if n_values > _MOST_VALUES and 2 * n_values > len(pairs):
        raise InputError(
            f"{attribute.name} has {n_values} values in {len(pairs)} samples of which it is known, "
            "as names or measurements have; give an attribute of a few values."
        )
    if len({*pairs}) <= len({y for y, _ in pairs}):
        shown = ", ".join(f"{y!r}: {value!r}" for y, value in sorted({*pairs}, key=str)[:4])
        raise InputError(
            f"All samples of a class of which {attribute.name} is known have one value ({shown}), "
            "so no group can be told from its class; answer on more, misclassified ones above all."
        )
