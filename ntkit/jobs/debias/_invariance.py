"""Repair by change: the changes that a person named or confirmed, and changed copies."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ntkit._key import Key, parts_of_change
from ntkit._text import percent
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.answers import Answer, Answers
from ntkit.attributes.feature_set import Rule, rules_of
from ntkit.attributes.image_statistics import CHANGES
from ntkit.changes import Change, change_named
from ntkit.changes.embedded import embedded_copies
from ntkit.changes.texts import has_markup
from ntkit.estimators import MOST_GAP, Reading, ShortcutReader
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.attribute_reader import AttributeReader, Names
from ntkit.jobs.debias._inputs import Prepared
from ntkit.jobs.debias._named_attributes import (
    ClassItself,
    NamedAttributes,
    check_varies,
    classes_of,
    named_attributes,
)
from ntkit.jobs.debias._pool import Pool
from ntkit.jobs.debias._settings import Order
from ntkit.model import FrozenModel
from ntkit.study import Rows, Study, stratified_folds

_FOLDS = 5
_SUBJECT = "image:middle centre"  # the only change of a property that touches it
_OF_PIXELS = ("image:brightness", "image:contrast", "image:grey", "image:blur")


def change_offered(names: Names, samples: Samples) -> Change | None:
    """The change of a confirmed word, or of a column that the model takes; else None."""
    first, *others = (Key.of(value[0]) for value in names)
    if samples.embedded:
        return None
    if samples.data.texts() is not None and all(key.kind == "word" for key in (first, *others)):
        with suppress(InputError):  # a tag has no counterpart
            both = "|".join(map(str, (first, *others)))
            return change_named(both if others else f"{first}=both")
    if first.kind != "column":
        return None
    with suppress(InputError):  # the model does not take this column
        change = change_named(first.origin)
        change.copies(samples, range(min(1, len(samples))))
        return change
    return None


def gather_named(
    spurious: Any,
    user_changes: Sequence[Change],
    answers: Answers,
    model: FrozenModel,
    reader: AttributeReader,
) -> NamedAttributes:
    """The attributes and changes that a person named or confirmed."""
    for change in user_changes:
        answer = Answer.on_change(change.kept_name, "invariant")
        before = next((each for each in answers.answers if each.name == answer.name), None)
        if before is not None and before.answer == "legitimate":
            raise InputError(
                f"{answers.where or 'The answers'} say that {change.name} changes the true class. "
                "Correct that answer, or omit the change."
            )
        if change.kind != "function":  # a file cannot hold a function
            answers = answers.with_answer(answer.signed())
    named = named_attributes(spurious, answers, model, reader.sets)
    # An attribute with one value in each class has no counterexamples to balance. Then only its
    # change can repair the model.
    changes = {change.kept_name: change for change in user_changes}
    changes |= {
        name: change_named(name, below=folder)
        for name, folder in answers.invariant.items()
        if name not in changes
    }
    kept, added, replaced = list[Names](), set[str](), list[str]()
    for names in named.names:
        offered = change_offered(names, reader.sets[0])
        if offered is not None:
            changes.setdefault(offered.name, offered)
            try:
                check_varies(reader.attribute(names, named.rules), classes_of(reader))
            except ClassItself:
                replaced.append(
                    f"{offered.name} has one value in each class, so ntkit cannot balance groups. "
                    "It repairs and judges with changed copies only."
                )
                continue
            added.add(offered.name)
        kept.append(names)
    unseen = _unseen_changes(kept, changes, answers, reader.sets)
    replaced += [
        f"{name} has the change {change}, whose copies may repair more than groups. Look at three "
        "copies on the page of ntkit audit. If they keep their class, pass "
        f'--invariant "{change}" (invariant=) as well.'
        for name, change in unseen.items()
    ]
    return replace(
        named,
        names=tuple(kept),
        changes=tuple(changes.values()),
        added=frozenset(added),
        unseen=tuple(dict.fromkeys(unseen.values())),
        replaced=(*named.replaced, *replaced),
    )


def _unseen_changes(
    names: Sequence[Names], changes: Collection[str], answers: Answers, sets: Sequence[Samples]
) -> dict[str, str]:
    """Changes of images that named properties are about, and that nobody confirmed."""
    unseen, answered = dict[str, str](), {name for a in answers.answers for (name, *_) in a.values}
    if sets[0].embedded or not sets[0].data.are_images:
        return unseen
    for first in (of[0][0] for of in names):
        key = Key.of(first)
        change = CHANGES.get(key.what, _SUBJECT) if key.kind == "image" else _SUBJECT
        # No audit shows changes of the subject, or of pixels without black and white.
        if change in (*changes, *answered, _SUBJECT):
            continue
        with suppress(InputError):
            if change in _OF_PIXELS:
                change_named(change).check_sets(sets)
            unseen[first] = change
    return unseen


def read_attribute(
    reader: AttributeReader, names: Names, rules: Mapping[str, Rule] | None = None
) -> Attribute:
    """An attribute whose groups judge; raises an error if it does not vary within a class."""
    if names:
        attribute = reader.attribute(names, rules)
    else:
        marked = np.fromiter(map(has_markup, reader.texts or ()), int)
        attribute = Attribute("mark-up", marked, ("without mark-up", "with mark-up"))
    check_varies(attribute, classes_of(reader))
    return attribute


def _values_of_copies(
    attribute: Attribute, names: Names, rules: Mapping[str, Rule], originals: Samples, of: Samples
) -> Array:
    """The value of an attribute in each changed copy, −1 if unknown."""
    if not names:
        return np.fromiter(map(has_markup, of.data.texts(originals.data.prose) or ()), int)
    # Copies are read together with the originals, so that a word may be missing from all copies.
    try:
        read = AttributeReader([originals, of]).attribute(names, rules, fewest=1)
    except InputError:  # the copies do not have the attribute
        return np.full(len(of), -1)
    number = {value: i for i, value in enumerate(attribute.names)}
    of_value = np.asarray([*(number.get(value, -1) for value in read.names), -1])
    return np.asarray(of_value[read.value[len(originals) :]])


def with_judging(
    said: NamedAttributes, reader: AttributeReader, model: FrozenModel
) -> NamedAttributes:
    """Read the attributes whose groups judge: named ones, and changed words or columns."""
    # Names and answers get rules: any samples are cut where these are cut.
    rules = rules_of(said.all_names, lambda name: said.rules.get(name) or reader.rule(name))
    answers = tuple(
        replace(each, rules={**rules_of(chain(*each.values), rules.get), **each.rules})
        for each in said.answers.answers
    )
    of_layers = any(each.of_layers for each in answers)
    whole = replace(
        said.answers, answers=answers, model=model.sha256() if of_layers else said.answers.model
    )
    said = replace(said, rules=rules, answers=whole)
    judging = {names: read_attribute(reader, names, said.rules) for names in said.names}
    for change in said.changes:
        readable = change.kind in ("word", "column")
        readable |= change.kind == "markup" and reader.texts is not None
        if readable and change.name not in said.added:  # its attribute is named
            with suppress(InputError):  # one value in each class, or too many values
                names = _names_of(change)
                judging[names] = read_attribute(reader, names, said.rules)
    return replace(said, judging=tuple(judging), read=tuple(judging.values()))


def _names_of(change: Change) -> Names:
    """Names of the values that a change of words or of a column exchanges; mark-up has none."""
    if change.kind == "markup":
        return ()
    parts = parts_of_change(change.name)
    values = parts[0].value.split("|") if change.kind == "column" and parts[0].value else ()
    if values:
        return tuple((f"{parts[0].origin}={value.strip()}",) for value in values)
    return tuple((part.origin,) for part in parts)


@dataclass(frozen=True, eq=False)
class CopiesOf:
    """Changed copies of a set: embeddings, rows of originals, and number of the change."""

    Z: Array
    of: Array
    donor: Array  # row of the sample that a part comes from, −1 if there is none
    change: Array
    values: Array  # value of each judging attribute, −1 if unknown, (n, A)

    def take(self, kept: Array | slice) -> CopiesOf:
        """Some of the copies."""
        return CopiesOf(*(values[kept] for values in vars(self).values()))

    def moved(self, start: int) -> CopiesOf:
        """The same copies, for a set whose rows begin at another number."""
        donor = np.where(self.donor < 0, -1, self.donor + start)
        return replace(self, of=self.of + start, donor=donor)

    def one_of_each(self, attribute: int) -> CopiesOf:
        """The first copy of each original that has a known value of an attribute."""
        rows = np.flatnonzero(self.values[:, attribute] >= 0)
        return self.take(rows[np.unique(self.of[rows], return_index=True)[1]])

    @classmethod
    def joined(cls, parts: Sequence[CopiesOf]) -> CopiesOf:
        """All copies of several parts."""
        arrays = zip(*(vars(each).values() for each in parts), strict=True)
        return cls(*map(np.concatenate, arrays))


def part_of(names: Names) -> str | None:
    """The change of the part that a property of images is about; None for other attributes."""
    return CHANGES.get(Key.of(names[0][0]).what) if names else None


@dataclass(frozen=True, eq=False)
class Invariance:
    """Changes that keep the true class, and changed copies of all samples of a pool."""

    # The copies of the training set come first. `folds` has the fold of each sample. `alphas` has
    # the penalty of the reader of each change (by number) from whose copies groups are read. `veto`
    # says why no head of these changes should be written. `known` has the number of the named
    # attribute, for changes whose part tells no more of the class than the attribute does.

    changes: tuple[Change, ...]
    copies: CopiesOf
    folds: Array
    notes: tuple[str, ...] = ()
    alphas: Mapping[int, float] = field(default_factory=dict)
    veto: str = ""
    known: Mapping[int, int] = field(default_factory=dict)

    def with_readers(self, pool: Pool, seed: int, said: NamedAttributes) -> Invariance:
        """The same with readers of the parts of other samples, and notes on them."""
        # Validation samples judge, so they do not tune.
        rows = pool.of_train
        of_train = Invariance(self.changes, self.of(rows), self.folds[rows])
        study = of_train.added_to(Study(pool.train))
        alphas, known, notes, veto = dict[int, float](), dict[int, int](), list[str](), ""
        assert study.donors is not None
        assert study.changed_values is not None
        for number, change in enumerate(self.changes):
            no_reader = (study.changed_values[:, number] >= 0).any()  # the values are known
            if no_reader or (study.donors[:, number] < 0).all():
                continue
            reader = ShortcutReader(random_state=seed)
            try:
                reading = reader.read_study(study, number)
            except InputError as error:  # a class has too few donors
                notes.append(f"No groups are read from {change.name}: {error}")
                continue
            if reading.doubt:
                notes.append(f"No groups are read from {change.name}: {reading.doubt}.")
                low, high = reading.gap_interval
                if reading.reads and (low > MOST_GAP or high < -MOST_GAP):  # surely too large
                    veto = (
                        f"{change.name} may hold what tells the class: {reading.doubt}. Omit this "
                        "change, or write the head anyway: --even-if-worse"
                    )
                continue
            alphas[number] = reader.alpha_
            groups = "ntkit reads groups from it"
            for at, (each, names) in enumerate(zip(said.read, said.judging, strict=True)):
                if part_of(names) == change.name:  # only what is read balances
                    continue
                if not reader.tells_more(study, each.value[rows]):
                    known[number] = at
                    groups = f"{each.name} tells as much, so its groups are used"
                    break
            of = "" if pool.one_set else " of training samples"
            notes.append(
                f"From copies{of} changed by {change.name}, the class of the other sample can be "
                f"told in {percent(reading.balanced_accuracy, 0)} (mean of classes, guessing: "
                f"{percent(1 / len(pool.train.classes), 0)}). {groups}."
            )
        return replace(self, alphas=alphas, known=known, veto=veto, notes=(*self.notes, *notes))

    def readings(self, study: Study, *, again: bool = True) -> dict[int, Reading]:
        """What the reader of each change (by number) tells of a study's rows, cross-fitted.

        ``again`` says whether also where a named attribute tells as much.
        """
        return {
            change: ShortcutReader(alphas=(alpha,), min_donors=1).read_study(study, change)
            for change, alpha in self.alphas.items()
            if again or change not in self.known
        }

    def of(self, rows: slice) -> CopiesOf:
        """Copies of a set by their numbers in it, as views; ``rows`` is its place in the pool."""
        at = np.flatnonzero((self.copies.of >= rows.start) & (self.copies.of < rows.stop))
        some = self.copies.take(slice(at[0], at[-1] + 1) if len(at) else at)
        return some.moved(-rows.start)

    def scaled(self, mean: Array, std: Array) -> Invariance:
        """The same with standardised embeddings of the copies."""
        Z = np.asarray((self.copies.Z - mean) / std, dtype=self.copies.Z.dtype)
        return replace(self, copies=replace(self.copies, Z=Z))

    def added_to(self, study: Study) -> Study:
        """A study with the copies of each row, NaN without a copy, and their values."""
        copies, shape = self.copies, (len(self.folds), len(self.changes))
        changed = np.full((*shape, copies.Z.shape[1]), np.nan, dtype=copies.Z.dtype)
        values = np.full((*shape, copies.values.shape[1]), -1)
        donors = np.full(shape, -1)
        changed[copies.of, copies.change] = copies.Z
        values[copies.of, copies.change] = copies.values
        donors[copies.of, copies.change] = copies.donor
        return replace(
            study, changed=changed, folds=self.folds, changed_values=values, donors=donors
        )


def donor_folds(rows: Rows, seed: int, n_splits: int = _FOLDS) -> Array:
    """Fold of each sample; the donor of a copy is in the same fold as the original."""
    folds = np.zeros(len(rows), dtype=np.intp)
    parts = stratified_folds(rows.y_index, n_splits, seed, rows.contents)
    for number, (_, tested) in enumerate(parts):
        folds[tested] = number
    return folds


def copies_made(data: Prepared, said: NamedAttributes, order: Order) -> Invariance:
    """Make and embed copies of the training and the validation set; interrupted work resumes."""
    sets, out, changes = {name: data.sets[name] for name in data.pooled}, order.out, said.changes
    # Next to a training set, the validation set has two folds: each half judges heads fitted on
    # the other half.
    pool, seed = data.pool, order.settings.random_state
    parts = zip(sets, pool.sets, (_FOLDS, 2), strict=False)
    folds = {name: donor_folds(rows, seed, n) for name, rows, n in parts}
    n_copies = {name: _counted(changes, sets[name], name, seed, folds[name]) for name in sets}
    for name, counts in n_copies.items():
        idle = [change for change, n in zip(changes, counts, strict=True) if not n]
        if len(idle) == len(changes) or (idle and name == data.pooled[0]):
            raise InputError(
                f"{_titles(idle)} applies to none of the {len(sets[name])} samples of the {name} "
                "set. Name another change."
            )
    if order.settings.verbose:
        total = sum(map(sum, n_copies.values()))
        tqdm.write(f"Embedding {total} copies changed by {_titles(changes)}.", file=sys.stderr)
    place = None if out is None else out.parent / f".{out.name}.copies"
    made = list[CopiesOf]()
    for name, rows in zip(sets, pool.slices, strict=True):
        of_set = _embedded(data, said, name, folds[name], place, seed)
        made.append(of_set.moved(rows.start))
    if place is not None:
        for name, change in product(sets, changes):
            shutil.rmtree(_store(place, name, change), ignore_errors=True)
        with suppress(OSError):  # the folder holds other files
            place.rmdir()
    of_sets = {"train": "training", "validation": "validation"}
    notes = [
        f"Copies changed by {change.name}: "
        + " and ".join(f"{n_copies[n][i]} of {len(sets[n])} {of_sets[n]}" for n in sets)
        + " samples."
        for i, change in enumerate(changes)
    ]
    of_all = np.concatenate([folds[name] for name in sets])
    return Invariance(changes, CopiesOf.joined(made), of_all, tuple(notes))


def _embedded(
    data: Prepared, said: NamedAttributes, name: str, folds: Array, place: Path | None, seed: int
) -> CopiesOf:
    """Copies of a set by each change, with their values of the attributes that judge."""
    parts, samples = list[CopiesOf](), data.sets[name]
    for number, change in enumerate(said.changes):
        store = None if place is None else _store(place, name, change)
        copies = embedded_copies(
            data.embedder, samples, change, seed=seed, folds=folds, store=store
        )
        of = replace(copies.samples, sources=())  # a copy has no table
        values = np.full((len(copies.rows), len(said.read)), -1)
        # Copies with a changed part of the image make groups of their own, because an image
        # statistic does not capture the change.
        if change.kind in ("word", "column", "markup"):
            originals = replace(samples, sources=())
            for i, (each, names) in enumerate(zip(said.read, said.judging, strict=True)):
                values[:, i] = _values_of_copies(each, names, said.rules, originals, of)
        Z = np.array(copies.Z)  # the store is removed at the end of the run
        of_change = np.full(len(Z), number)
        parts.append(CopiesOf(Z, copies.rows, copies.donors, of_change, values))
    return CopiesOf.joined(parts)


def _store(place: Path, name: str, change: Change) -> Path:
    """Where the copies of a set by a change are kept until the end of the run."""
    return place / f"{name}-{sha256(change.name.encode()).hexdigest()[:8]}"


def _counted(
    changes: Sequence[Change], samples: Samples, name: str, seed: int, folds: Array
) -> list[int]:
    """Number of copies by each change."""
    counts = list[int]()
    for change in changes:
        try:
            counts.append(len(change.copies(samples, seed=seed, folds=folds)[1]))
        except InputError as error:
            raise InputError(f"The {name} set: {error}") from error
    return counts


def _titles(changes: Sequence[Change]) -> str:
    return " and ".join(change.name for change in changes)
