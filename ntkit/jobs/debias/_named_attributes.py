"""Attributes that the user named, confirmed on an audit's page, or labelled."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._checks import known_labels
from ntkit._key import Key, value_name, values_in
from ntkit._labels import meant_instead, none_if_unknown
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.activations import EMBEDDING, is_channel, layer_of
from ntkit.attributes.answers import (
    Answer,
    Answers,
    Labels,
    check_contradictions,
    read_answer_file,
    read_labels,
)
from ntkit.attributes.feature_set import FEWEST, Rule
from ntkit.attributes.image_statistics import OF_IMAGES
from ntkit.changes import Change
from ntkit.estimators import FEWEST_KNOWN, DFRClassifier, GroupInference, with_rest
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.extraction.embedder import layer_names
from ntkit.jobs.attribute_reader import AttributeReader, AuditedImages, Names
from ntkit.jobs.debias._outcome import Labelled, Told
from ntkit.jobs.debias._pool import Pool
from ntkit.jobs.label_tables import AnswerTable, labels_of_entries
from ntkit.model import FrozenModel
from ntkit.samples.copies import Places, note_on_copies
from ntkit.samples.join import left_out_in_words, names_of, position_notes
from ntkit.samples.stored import check_made_with
from ntkit.samples.table import TABLES
from ntkit.study import Rows


@dataclass(frozen=True, eq=False)
class NamedAttributes:
    """Names of attributes that the user named or confirmed."""

    # `changes` are those that a person named, and those of `added`: the changes of a named word, or
    # of a named column that the model takes. `unseen` names changes of images, which nobody
    # confirmed though a named property is about them. `replaced` holds notes on these, and on
    # confirmed attributes that another one replaces or that cannot be read. `answers` holds all
    # answers on findings, and an answer for each named attribute. `judging` names the attributes
    # whose groups judge, also those of changed words and columns, and `read` has them of the
    # samples. Mark-up has no names, because no attribute of texts is called so.

    names: tuple[Names, ...]
    rules: Mapping[str, Rule]
    changes: tuple[Change, ...] = ()
    added: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    answers: Answers = field(default_factory=lambda: Answers(()))
    judging: tuple[Names, ...] = ()
    read: tuple[Attribute, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.changes)

    @property
    def all_names(self) -> list[str]:
        """Names of all values of all attributes."""
        return [name for names in self.names for of_value in names for name in of_value]

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the model that must be read."""
        layers = (layer_of(name, self.rules.get(name)) for name in self.all_names)
        return tuple(dict.fromkeys(layer for layer in layers if layer is not None))

    def check(self, reader: AttributeReader, *, early: bool = False) -> None:
        """Raise errors for unreadable attributes and contradictory answers."""
        # Early, the model has not read the image files yet, which measures them on the way.
        of_files = early and all(isinstance(each.X, AuditedImages) for each in reader.sets)

        def is_later(name: str) -> bool:
            return of_files and (name in OF_IMAGES or Key.of(name).kind == "file")

        reader.check_spellings(self.all_names)
        for change in self.changes:
            change.check_sets(reader.sets)
        for names in self.names:
            if not any(layer_of(name) or is_later(name) for name in chain(*names)):
                check_varies(reader.attribute(names, self.rules), classes_of(reader))
        rules = self.answers.rules

        def values_of(name: str) -> Array:
            try:
                return np.full(reader.n, -1) if is_later(name) else reader.values(name, rules)
            except InputError:  # these samples do not have the attribute
                return np.full(reader.n, -1)

        check_contradictions(self.answers, values_of)


def classes_of(reader: AttributeReader) -> Array:
    return np.concatenate([samples.y for samples in reader.sets])


def named_attributes(
    spurious: Any,
    answers: Answers,
    model: FrozenModel,
    sets: Sequence[Samples],
) -> NamedAttributes:
    """Attributes that the user named or confirmed; ``spurious`` and ``answers`` as in debias."""
    rules = answers.rules
    known_layers = cache(lambda: layer_names(model))
    refused = partial(_unreadable, known_layers=known_layers, sets=sets)
    spurious = [] if spurious is None else [spurious] if isinstance(spurious, str) else spurious
    on_command_line = [_names_in(each) for each in spurious]
    for name in chain.from_iterable(chain(*names) for names in on_command_line):
        if (problem := refused(name, None)) is not None:
            raise InputError(problem)
    readable, replaced = _readable(answers, refused)
    if answers.spurious and not on_command_line and not readable:
        first = answers.spurious[0].values[0][0]
        raise InputError(refused(first, rules.get(first)) or "")
    confirmed = chain.from_iterable(chain(*names) for names in readable)
    if any(name in rules and layer_of(name) is not None for name in confirmed):
        check_made_with("The answers", {"model": answers.model}, model)
    # By the first name of each value.
    by_title = {tuple(v[0] for v in names): names for names in (*on_command_line, *readable)}
    # A run that goes on names an attribute again that its folder has an answer on.
    new = {names[0][0]: names for names in on_command_line}
    kept = [each for each in answers.answers if each.name not in new or each.answer != "unsure"]
    known = {each.name for each in answers.spurious}
    signed = (
        Answer(name, "spurious", names).signed() for name, names in new.items() if name not in known
    )
    return NamedAttributes(
        tuple(by_title.values()),
        rules,
        replaced=tuple(replaced),
        answers=replace(answers, answers=(*signed, *kept)),
    )


def _readable(
    answers: Answers, refused: Callable[[str, Rule | None], str | None]
) -> tuple[list[Names], list[str]]:
    """Names of the confirmed attributes that can be read, and notes on the others."""
    readable, notes, rules = list[Names](), list[str](), answers.rules
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
            title = " against ".join(map(value_name, names))
            notes.append(
                f"ntkit uses {title} instead of {first}, which the answer lists as "
                "correlated with it."
            )
        elif problem is not None:
            notes.append(f"ntkit left out {problem}")
    return readable, notes


def _unreadable(
    name: str,
    rule: Rule | None,
    *,
    known_layers: Callable[[], Sequence[str]],
    sets: Sequence[Samples],
) -> str | None:
    """The reason why an attribute cannot be read; None if it can."""
    layer = layer_of(name, rule)
    if layer is None:
        return None
    if layer != EMBEDDING and any(samples.embedded for samples in sets):
        return (
            f"{name}: a store of embeddings does not hold the layers of the model. Pass the "
            "samples themselves."
        )
    if layer != EMBEDDING and layer not in known_layers():
        meant = meant_instead(layer, list(known_layers()))
        names = ", ".join(known_layers()) or "none"
        hint = f"Did you mean {meant}?" if meant else f"Readable layers: {names}."
        return f"{name}: the model has no such layer, or ntkit cannot read it. {hint}"
    if rule is None and not is_channel(name):
        return (
            f"{name} cannot be read by its name: the samples of an audit define directions and "
            "clusters. Pass the answers of its page (--answers), or audit.answers(name)."
        )
    return None


class ClassItself(InputError):
    """The error for an attribute with one value in each class, without counterexamples."""


def check_varies(attribute: Attribute, y: Array) -> None:
    """Raise an error if an attribute lacks a value, or has only one value in each class."""
    if len(attribute.names) < 2:
        raise InputError(
            f"{attribute.name!r} does not have two values with {FEWEST} samples each, so ntkit "
            "cannot balance it. Name another attribute."
        )
    if not all(attribute.counts):
        missing = attribute.names[int(np.argmin(attribute.counts))]
        alone = " alone" * (attribute.name not in attribute.names)  # others may have it too
        raise InputError(
            f"No sample has the value {missing!r}{alone}, so ntkit cannot balance "
            f"{attribute.name!r}. Name an attribute that only some samples have."
        )
    pairs = _classes_with_values(attribute, y)
    if len({*pairs}) <= len({label for label, _ in pairs}):
        shown = "; ".join(f"class {y}: {value}" for y, value in sorted({*pairs}, key=str)[:3])
        raise ClassItself(
            f"{attribute.name!r} has one value in each class ({shown}), so it cannot be "
            "distinguished from the class. Name an attribute that varies within a class."
        )


def _names_in(attribute: Any) -> Names:
    """Names of each value of an attribute, from a text with | between values or nested lists."""
    if isinstance(attribute, str):
        return tuple((name,) for name in values_in(attribute.strip()))
    names = tuple((each,) if isinstance(each, str) else tuple(each) for each in attribute)
    if not names or not all(each and all(isinstance(n, str) for n in each) for each in names):
        raise InputError(
            f"An attribute must be a name, or names of each value, such as [['word:film'], "
            f"['word:movie']]. Got {attribute!r}."
        )
    return names


_MOST_VALUES = 9  # the label page has nine keys; more values need several samples each
_WRONG = 0.01  # share of a group's samples that may have a wrong label


@dataclass(frozen=True, eq=False)
class PartlyKnown:
    """An attribute that is known for some of the training and validation samples."""

    # `crossed` is false for groups of one class each, and true for an attribute.
    # `left` is a note on labels without a sample.

    attribute: Attribute
    crossed: bool = True
    left: str = ""

    def without_copies(self, places: Places) -> PartlyKnown:
        """The same of the distinct samples."""
        value, n = places.of(self.attribute.value, -1)
        notes = [self.left, *note_on_copies({self.attribute.name: n})]
        attribute = replace(self.attribute.take(places.kept), value=value)
        return replace(self, attribute=attribute, left=" ".join(filter(None, notes)))

    def trail(self, digests: Sequence[bytes]) -> dict[str, Any]:
        """Record of the known values: their number and their hash."""
        labels = self.attribute.labels.tolist()
        pairs = zip(digests, labels, strict=True)
        known = [[digest.hex(), value] for digest, value in pairs if value is not None]
        sha256 = hashlib.sha256(json.dumps(sorted(known)).encode()).hexdigest()
        count = "answers" if self.attribute.source == "person" else "samples"
        return {"name": self.attribute.name, count: len(known), "sha256": sha256}

    def completed(self, pool: Pool, feature_sets: Mapping[str, Any], seed: int) -> CompletedGroups:
        """Infer unknown values, in the same way as :class:`~ntkit.estimators.DFRClassifier`."""
        attribute = self.attribute
        known = attribute.value >= 0
        attribute = replace(attribute, known=known)
        if not known.all():
            attribute = attribute.inferred(GroupInference(random_state=seed), feature_sets, pool.y)
        source = f"{known.sum()} {'labels' if self.attribute.source == 'person' else 'samples'}"
        if attribute.inference is not None and attribute.inference.feature_set_ is not None:
            source = f"inferred from {source}"
        attribute = replace(attribute, name=f"{attribute.name} ({source})")
        return CompletedGroups(self, attribute, pool)


@dataclass(frozen=True, eq=False)
class CompletedGroups:
    """Known and inferred groups of all samples of a pool."""

    partly: PartlyKnown
    attribute: Attribute
    pool: Pool

    @property
    def inference(self) -> Any:
        """Estimator of the unknown groups; None if all are known."""
        return self.attribute.inference

    @property
    def is_read(self) -> bool:
        """Whether the groups of all samples are known or inferred."""
        return self.inference is None or self.inference.feature_set_ is not None

    @cached_property
    def groups(self) -> Attribute:
        """Known or inferred class × value of each sample."""
        return self.attribute.crossed(self.pool.y)

    @cached_property
    def n_known(self) -> dict[str, int]:
        """Number of labelled samples of each known or inferred group."""
        known = Counter(self.partly.attribute.crossed(self.pool.y).labels.tolist())
        return {name: known[name] for name in self.groups.names}

    @cached_property
    def n_alike(self) -> Array:
        """Number of labelled samples of each sample's group, (N + M,)."""
        return np.array([*self.n_known.values(), 0])[self.groups.value]

    def fit(self, clf: DFRClassifier, rows: Rows, index: Array) -> DFRClassifier:
        """Fit the candidate on rows of the samples with these numbers."""
        groups = self._balanced[0]
        if not isinstance(rows.X, np.ndarray):  # of memory maps
            rows = rows.take(np.arange(len(rows)))
        weight = None if groups.weight is None or not self.is_read else groups.weight[index]
        with warnings.catch_warnings():  # `partly_known` decides for all samples, not for a fold
            warnings.filterwarnings("ignore", "The group .* has several classes", UserWarning)
            return clf.fit(rows.X, rows.y, sample_weight=weight, groups=groups.labels[index])

    @cached_property
    def _balanced(self) -> tuple[Attribute, str]:
        """Groups that the head balances; without an inference, what unknown samples are."""
        groups = self.groups if self.partly.crossed else self.attribute
        if self.is_read:
            return groups, ""
        n_groups = len({*self.pool.y.tolist()}) * len(self.attribute.names) * self.partly.crossed
        return with_rest(groups, self.pool.y, n_groups)

    def judging(self, fewest: int = FEWEST) -> Attribute | None:
        """Groups of the validation samples that judge a head; None with too few labels."""
        # If ntkit cannot infer groups, only labelled samples have one. Often a person labelled them
        # because the model errs there, so the accuracy cost is measured on all samples.
        y = self.pool.validation.y
        attribute = self.attribute.where(self.n_alike >= FEWEST_KNOWN)
        attribute = attribute.take(self.pool.of_validation)
        groups = attribute.crossed(y, fewest=fewest).where(attribute.value >= 0)
        return groups if len(groups.names) > len(np.unique(y)) else None

    @cached_property
    def probabilities(self) -> Array:
        """Probability of each value by heads that did not see the label, (N + M, A)."""
        if self.inference is not None and self.is_read:
            return np.asarray(self.inference.unseen_distributions_)
        # The shares of the labels of the class.
        y_index, n_values = (
            np.unique(self.pool.y, return_inverse=True)[1],
            len(self.attribute.names),
        )
        count = np.full((y_index.max() + 1, n_values), 1 / n_values)
        np.add.at(count, (y_index[self.known], self.attribute.value[self.known]), 1)
        return np.asarray((count / count.sum(axis=1, keepdims=True))[y_index])

    @cached_property
    def known(self) -> Array:
        """Whether the group of each sample is known rather than inferred, (N + M,)."""
        assert self.attribute.known is not None
        return self.attribute.known

    @property
    def labelled(self) -> Attribute:
        """The known values alone, without inferred ones."""
        return replace(self.attribute, value=np.where(self.known, self.attribute.value, -1))

    @cached_property
    def is_estimated(self) -> bool:
        """Whether labels tell groups that not every sample shows."""
        pairs = {*zip(self.pool.y.tolist(), self.attribute.value.tolist(), strict=True)}
        of_one_class = len(pairs) == len({value for _, value in pairs})
        return of_one_class or not self.known.all()

    def told(self, y: Array, rows: slice, of: slice) -> Told:
        """How labels among these rows tell the groups of some of them, such as validation rows."""
        # The model may know training samples by heart.
        counted = np.zeros(len(self.pool.y), dtype=bool)
        counted[of] = True
        parts = self.probabilities[rows], self.labelled.value[rows], counted[rows]
        return Labelled(y, *parts).rows

    def source_note(self) -> str:
        """Sentences on the source of the groups."""
        n_train, n = (
            int(self.known[rows].sum()) for rows in (self.pool.of_train, self.pool.of_validation)
        )
        parts = f"{n} validation samples"
        parts = parts if self.pool.one_set else f"{n_train} training and {parts}"
        counts = f"{self.attribute.name}: known for {parts}"
        if self.inference is None:
            return f"{counts}, which are all."
        if self.inference.feature_set_ is None:
            return f"{counts}. ntkit cannot infer it for the others, so {self._balanced[1]}."
        score = self.inference.scores_[self.inference.feature_set_]
        rare = [f"{name} ({n})" for name, n in self.n_known.items() if n < FEWEST_KNOWN]
        return (
            f"{counts}. ntkit inferred it for the others from the {self.inference.feature_set_}, "
            f"with a cross-validated accuracy of {100 * score:.0f} % (mean over class × value)."
        ) + f" These groups have too few labels to judge a head: {', '.join(rare)}." * bool(rare)


def answers_from(source: Answers | Labels | str | os.PathLike[str]) -> Answers | Labels | Path:
    """Answers or labels, read from JSON; the path if the file is a table."""
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
    """Match labels with samples; ``attribute`` and ``groups`` as in debias."""
    options = {"answers": answers, "attribute": attribute, "groups": groups}
    options = {name: value for name, value in options.items() if value is not None}
    if len(options) > 1:
        raise InputError(f"ntkit takes only one of {' and '.join(options)}. Omit the others.")
    if not options:
        return None
    ((name, value),) = options.items()
    what = "groups" if name == "groups" else "attribute"
    title, source, left = f"your {what}", "person" if name == "answers" else "labels", ""
    if name == "answers" and (
        isinstance(value, Labels) or Path(value).suffix.lower() not in TABLES
    ):
        labels = value if isinstance(value, Labels) else read_labels(value)
        title, where = repr(labels.question), labels.where or "The answers"
        entries, left_out = labels.entries, labels.left_out
        values, left = labels_of_entries(where, entries, left_out, reader, "id", match_names)
    elif isinstance(value, str | os.PathLike | Mapping) or hasattr(value, "columns"):
        table = AnswerTable.read(value, what.removesuffix("s"), key)
        values, left = table.labels(reader, match_names)
        title = title if name == "groups" else repr(table.column)
    else:
        of_known, known = known_labels(none_if_unknown(value), name)
        rows = reader.positions(len(known), value, name)
        if rows is None:
            raise InputError(
                f"{name} holds {len(known)} values, but there are {reader.n_given} training and "
                f"validation samples{left_out_in_words(reader.sets)}. Pass one per sample, the "
                "training samples first."
            )
        if not known.any():
            raise InputError(f"{name} has no known value. Label some samples.")
        values = np.full(len(known), None, dtype=object)
        values[known] = [str(each) for each in of_known.tolist()]
        values, left = values[rows], " ".join(position_notes(value, reader.sets, name))
    partly = PartlyKnown(
        Attribute.from_labels(title, values, source=source), name != "groups", left
    )
    _check_same(partly, reader)
    mixed = None if partly.crossed else _of_several_classes(partly.attribute, classes_of(reader))
    if mixed is not None:
        note = f"The group {mixed!r} has several classes, so ntkit balances class × group."
        partly = replace(partly, crossed=True, left=" ".join(filter(None, [note, left])))
    _check_crossed(partly.attribute, classes_of(reader))
    return partly


def _of_several_classes(groups: Attribute, classes: Array) -> str | None:
    """A group that holds more of a second class than wrong labels explain; None without one."""
    n_of = Counter(_classes_with_values(groups, classes))
    for name, n in Counter(groups.labels[groups.value >= 0].tolist()).items():
        largest = max(count for (_, value), count in n_of.items() if value == name)
        if n - largest > _WRONG * n:
            return str(name)
    return None


def _check_same(partly: PartlyKnown, reader: AttributeReader) -> None:
    """Raise an error if equal images or texts have different values; equal rows may differ."""
    if reader.inputs[0].samples == "cases":
        return
    labels = partly.attribute.labels
    classes = classes_of(reader).tolist()
    first, pairs = dict[tuple[str, Any], int](), list[tuple[int, int]]()
    digests = reader.identified.digests
    for row in np.flatnonzero(partly.attribute.value >= 0).tolist():
        of_class = None if partly.crossed else classes[row]  # a group belongs to a class
        before = first.setdefault((digests[row], of_class), row)
        if labels[before] != labels[row]:
            pairs.append((before, row))
    if not pairs:
        return
    sets = ("training", "validation")[-len(reader.sets) :]
    called = [
        f"{name!r:.60} ({which})"
        for which, samples in zip(sets, reader.sets, strict=True)
        for name in names_of(samples, "id") or map(str, range(len(samples)))
    ]
    one, two = (f"{labels[row]!r} for {called[row]}" for row in pairs[0])
    more = f" There are {len(pairs) - 1} more such pairs." * (len(pairs) > 1)
    raise InputError(
        f"{partly.attribute.name} is {one} and {two}, but both have the same content.{more} Give "
        "both the same label."
    )


def _classes_with_values(attribute: Attribute, y: Array) -> list[tuple[Any, Any]]:
    """Class and value of each sample with a known value."""
    known = attribute.value >= 0
    return [*zip(y[known].tolist(), attribute.labels[known].tolist(), strict=True)]


def _check_crossed(attribute: Attribute, classes: Array) -> None:
    """Raise an error for one value in each class, or nearly as many values as samples."""
    pairs, n_values = _classes_with_values(attribute, classes), len(attribute.names)
    if n_values > _MOST_VALUES and 2 * n_values > len(pairs):
        raise InputError(
            f"{attribute.name} has {n_values} different values in {len(pairs)} samples. Pass an "
            "attribute with a few values."
        )
    if len({*pairs}) <= len({y for y, _ in pairs}):
        shown = ", ".join(f"{y!r}: {value!r}" for y, value in sorted({*pairs}, key=str)[:4])
        raise InputError(
            f"{attribute.name} has one value in each class ({shown}), so groups cannot be "
            "distinguished from classes. Label more samples, misclassified ones first."
        )
