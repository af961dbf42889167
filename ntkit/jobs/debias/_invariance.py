"""Repair by change: copies of the samples, what they may judge, and what else flips afterwards."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from tqdm import tqdm

from ntkit._text import percent
from ntkit._types import Array
from ntkit.attributes import FEWEST, Answer, Answers, Attribute
from ntkit.changes import Change, bank_of, change_named, has_markup
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder, Samples
from ntkit.head import LinearHead
from ntkit.jobs.audit import AttributeReader, Names, displaced
from ntkit.jobs.copies import embedded_copies
from ntkit.jobs.debias._named_attributes import (
    ClassItself,
    NamedAttributes,
    check_varies,
    classes_of,
    varying,
)
from ntkit.metrics import drop_bounds, more_often

ENOUGH = 30
"""Real validation samples of a group, from which on no copy judges it."""
_CHECKABLE = 20  # real samples of a group, below which nobody can tell whether copies are like them
_ALIKE = 0.7  # area under the curve, up to which copies are like real samples
_COMPARED = 600  # copies and real samples of a group
_FOLDS = 5
_LEVEL = 0.05
_SHOWN = 3  # groups, or changes, in a sentence
_RELIED = 0.05  # predictions that a change must surely flip beyond its control
_TRIED = 150  # validation samples that each change of the bank is tried on


def change_offered(names: Names, samples: Samples) -> Change | None:
    """The change of a confirmed word, or of a column that the model takes; None for all else."""
    first = names[0][0]
    kind, _, rest = first.partition(":")
    if samples.embedded:
        return None
    if kind == "word" and samples.kind == "texts" and all(n[0].startswith("word:") for n in names):
        one_side = len(names) == 1
        with suppress(InputError):  # a tag has no other in its place
            return change_named(f"{first}=both" if one_side else "|".join(n[0] for n in names))
    if kind != "column":
        return None
    with suppress(InputError):  # it is no column that the model takes
        column = rest.partition(">=")[0].partition("=")[0].removesuffix(" missing")
        change = change_named(f"column:{column}")
        change.copies(samples, range(min(1, len(samples))))
        return change
    return None


def with_changes(answers: Answers, changes: Sequence[Change]) -> Answers:
    """Answers, and those that name changes after which the right answer stays the same."""
    for change in changes:
        said = Answer.on_change(change.name, "invariant")
        before = next((each for each in answers.answers if each.name == said.name), None)
        if before is not None and before.answer == "legitimate":
            raise InputError(
                f"Somebody answered that the right answer does not stay the same after "
                f"{change.name}; change that answer in {answers.where or 'the answers'}, or leave "
                "the change out."
            )
        if change.kind != "function":  # a file cannot hold one
            answers = answers.with_answer(said.signed())
    return answers


def with_offered(
    named: NamedAttributes, given: Sequence[Change], reader: AttributeReader
) -> tuple[NamedAttributes, tuple[Change, ...]]:
    """Changes that were named, answered, or offered by named words and columns."""
    # An attribute that has one value in each class has no counterexample to balance: then its
    # change alone repairs.
    changes = {change.name: change for change in given}
    changes |= {name: change_named(name) for name in named.answers.invariant if name not in changes}
    kept, replaced = list[Names](), list[str]()
    for names in named.names:
        offered = change_offered(names, reader.sets[0])
        if offered is not None:
            changes.setdefault(offered.name, offered)
            try:
                replace(named, names=(names,)).read(reader)
            except ClassItself:
                replaced.append(
                    f"No sample tells {offered.name} from the class, so no group is balanced: "
                    "changed copies alone repair and judge."
                )
                continue
        kept.append(names)
    told = (*named.replaced, *replaced)
    return replace(named, names=tuple(kept), replaced=told), tuple(changes.values())


Judging = tuple[Callable[[Samples, Samples], Array], Attribute]
"""What reads the values of a set's copies, and the attribute of the samples."""


def judging_attributes(
    names: Sequence[Names],
    attributes: Sequence[Attribute],
    changes: Sequence[Change],
    reader: AttributeReader,
) -> list[Judging]:
    """Attributes whose groups judge: named ones, and what a change of texts or columns tells."""
    judging = [_by_names(*pair) for pair in zip(names, attributes, strict=True)]
    offered = {c.name for n in names if (c := change_offered(n, reader.sets[0])) is not None}
    for change in changes:
        if change.name in offered:
            continue
        with suppress(InputError):  # it has one value in each class, or too many
            if change.kind in ("word", "column"):
                of_change = _names_of(change)
                judging.append(_by_names(of_change, varying(reader, of_change)))
            elif change.kind == "markup" and reader.texts is not None:
                marked = np.fromiter(map(has_markup, reader.texts), int, reader.n)
                attribute = Attribute("mark-up", marked, ("without mark-up", "with mark-up"))
                check_varies(attribute, classes_of(reader))
                judging.append((_marked_up, attribute))
    return judging


def _by_names(names: Names, attribute: Attribute) -> Judging:
    return partial(_values_of_copies, names=names, attribute=attribute), attribute


def _marked_up(originals: Samples, copies: Samples) -> Array:
    return np.fromiter(map(has_markup, copies.X.texts), int, len(copies))


def _names_of(change: Change) -> Names:
    """Names of the values that a change of words or of a column puts in each other's place."""
    kind, _, rest = change.name.partition(":")
    if kind == "word":
        words = [word.removeprefix("word:") for word in rest.split("|")]
        return tuple((f"word:{word.partition('=')[0]}",) for word in words)
    column, _, values = rest.partition("=")
    return tuple((f"column:{column}={value}",) for value in values.split("|") if values) or (
        (f"column:{column}",),
    )


@dataclass(frozen=True, eq=False)
class CopiesOf:
    """Copies of a set of samples by several changes: embeddings, rows of originals, the change."""

    Z: Array
    of: Array
    change: Array
    values: Array  # value of each named attribute, −1 where a change tells of none, (n, A)

    def take(self, kept: Array) -> CopiesOf:
        """Some of the copies."""
        return CopiesOf(self.Z[kept], self.of[kept], self.change[kept], self.values[kept])


@dataclass(frozen=True, eq=False)
class Invariance:
    """Changes after which the right answer stays the same, and copies of both sets by them."""

    changes: tuple[Change, ...]
    train: CopiesOf
    validation: CopiesOf
    folds: Array
    notes: tuple[str, ...] = ()

    def changed(self, n_train: int, n_validation: int) -> Array:
        """Embeddings of all copies by row and change, NaN where there is none; (N + M, R, D)."""
        width = self.train.Z.shape[1]
        shape = (n_train + n_validation, len(self.changes), width)
        placed = np.full(shape, np.nan, dtype=self.train.Z.dtype)
        placed[self.train.of, self.train.change] = self.train.Z
        placed[n_train + self.validation.of, self.validation.change] = self.validation.Z
        return placed

    def remade(self, validation: Samples, seed: int) -> Samples:
        """The copies of the validation set by the first change, to be shown."""
        folds = self.folds[len(self.folds) - len(validation) :]
        return self.changes[0].copies(validation, seed=seed, folds=folds)[0]


def donor_folds(y: Array, seed: int, n_splits: int = _FOLDS) -> Array:
    """Fold of each sample: donors are of the same one, and cross-validation splits along them."""
    folds = np.zeros(len(y), dtype=np.intp)
    _, counts = np.unique(y, return_counts=True)
    n_splits = min(n_splits, int(counts.min()))
    if n_splits > 1:
        splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
        for number, (_, rows) in enumerate(splitter.split(folds, y)):
            folds[rows] = number
    return folds


def copies_made(
    changes: Sequence[Change],
    sets: Mapping[str, Samples],
    embedder: OnnxEmbedder,
    judging: Sequence[Judging],
    *,
    seed: int,
    out: Path | None,
    verbose: bool,
) -> Invariance:
    """Make and embed copies of the training and the validation set; interrupted work resumes."""
    used = ("train", "held-out")
    # Donors of the validation set are of one half, for each half judges heads fitted on the other.
    folds = {
        name: donor_folds(sets[name].y, seed, n) for name, n in zip(used, (_FOLDS, 2), strict=True)
    }
    n_copies = {name: _counted(changes, sets[name], name, seed, folds[name]) for name in used}
    if verbose:
        total = sum(map(sum, n_copies.values()))
        tqdm.write(f"Embedding {total} copies by {_titles(changes)}.", file=sys.stderr)
    made = dict[str, CopiesOf]()
    place = None if out is None else out.parent / f".{out.name}.copies"
    written = list[Path]()
    kept = ("Z", "of", "change", "values")
    for name in used:
        parts = list[CopiesOf]()
        for number, change in enumerate(changes):
            digest = sha256(change.name.encode()).hexdigest()[:8]
            store = None if place is None else place / f"{name}-{digest}"
            copies = embedded_copies(
                embedder, sets[name], change, seed=seed, folds=folds[name], store=store
            )
            written += [] if store is None or not len(copies.rows) else [store]
            of = replace(copies.samples, sources=())  # no table of theirs is read
            values = np.full((len(copies.rows), len(judging)), -1)
            # A part of images is more than a statistic of it: its copies are cells of their own.
            if change.kind in ("word", "column", "markup"):
                for i, (read, _) in enumerate(judging):
                    values[:, i] = read(replace(sets[name], sources=()), of)
            Z = np.array(copies.Z)  # the store goes when the run ends
            parts.append(CopiesOf(Z, copies.rows, np.full(len(Z), number), values))
        made[name] = CopiesOf(
            *(np.concatenate([getattr(part, each) for part in parts]) for each in kept)
        )
    for store in written:
        shutil.rmtree(store, ignore_errors=True)
    if place is not None:
        with suppress(OSError):  # it holds something else
            place.rmdir()
    notes = [
        f"Copies by {change.name}: {n_copies['train'][i]} of {len(sets['train'])} training and "
        f"{n_copies['held-out'][i]} of {len(sets['held-out'])} validation samples."
        for i, change in enumerate(changes)
    ]
    both = np.concatenate([folds[name] for name in used])
    return Invariance(tuple(changes), made["train"], made["held-out"], both, tuple(notes))


def _counted(
    changes: Sequence[Change], samples: Samples, name: str, seed: int, folds: Array
) -> list[int]:
    """Copies by each change of a set; refuse changes that apply to none of its samples."""
    counts = list[int]()
    for change in changes:
        try:
            counts.append(len(change.copies(samples, seed=seed, folds=folds)[1]))
        except InputError as error:
            raise InputError(f"The {name} set: {error}") from error
    if not any(counts):
        raise InputError(
            f"{_titles(changes)} applies to none of the {len(samples)} samples of the {name} set; "
            "name a change that does."
        )
    return counts


def _titles(changes: Sequence[Change]) -> str:
    return " and ".join(change.name for change in changes)


def _values_of_copies(
    originals: Samples, copies: Samples, *, names: Names, attribute: Attribute
) -> Array:
    """Value of a named attribute of copies, by the numbers of the samples' attribute."""
    # Copies are read together with their originals: a word that none of them holds is a value.
    try:
        read = AttributeReader([originals, copies]).attribute(names, fewest=1)
    except InputError:  # they do not tell it
        return np.full(len(copies), -1)
    number = {value: i for i, value in enumerate(attribute.names)}
    of_value = np.asarray([*(number.get(value, -1) for value in read.names), -1])
    return np.asarray(of_value[read.value[len(originals) :]])


@dataclass(frozen=True)
class Likeness:
    """Whether copies by a change are like the real samples of the groups that they enter."""

    # `aucs` are of groups that have enough real samples to tell, `small` the groups, and their real
    # samples, that are too small to be judged by these alone.

    change: str
    aucs: Mapping[str, float]
    small: Mapping[str, int] = field(default_factory=dict)

    @property
    def judges(self) -> bool:
        """Whether copies may judge groups; nobody can tell where no group is large enough."""
        return max(self.aucs.values(), default=0.0) <= _ALIKE

    def __str__(self) -> str:
        groups = "; ".join(f"{name} ({n} real)" for name, n in [*self.small.items()][:_SHOWN])
        more = len(self.small) - _SHOWN
        groups += f"; {more} more" if more > 0 else ""
        if not self.aucs:
            return (
                f"Copies by {self.change} judge {groups}. Whether they are like real samples is "
                f"not checkable: no group has {_CHECKABLE} real ones."
            )
        low, high = min(self.aucs.values()), max(self.aucs.values())
        told = f"AUC {low:.2f}" if low == high else f"AUC {low:.2f} to {high:.2f}"
        if self.judges:
            return f"Copies by {self.change} are like real samples ({told}): they judge {groups}."
        judged = f"real samples alone judge {groups}" if groups else "they judge nothing"
        return f"A classifier tells copies by {self.change} from real samples ({told}): {judged}."


@dataclass(frozen=True, eq=False)
class Judge:
    """Cells of one set that a head is judged by: real samples, then copies."""

    # `cells` has a value for each row of the set and then for each of `copies`; `small` marks rows
    # of groups that have too few real samples to be judged by them alone.

    cells: Attribute
    copies: CopiesOf
    small: Array
    likeness: tuple[Likeness, ...] = ()

    grouped: bool = False

    @property
    def by_copies_alone(self) -> bool:
        """Whether no group of real samples tells of the change."""
        return self.with_copies and not self.grouped

    @property
    def with_copies(self) -> bool:
        """Whether any copy judges."""
        return bool((self.cells.value[len(self.small) :] >= 0).any())

    def score(self, right: Array) -> tuple[float, float]:
        """Mean accuracy over the cells, and its standard error."""
        # Of {original, changed} the worse half counts: where copies take a part of another sample,
        # the originals alone carry the bias, and a head that uses it is best on them.
        cells = self.cells
        there = cells.value >= 0
        n = np.bincount(cells.value[there], minlength=len(cells.names))
        share = np.bincount(cells.value[there], weights=right[there], minlength=len(n)) / n
        tempered = (share * n + 1) / (n + 2)  # Agresti and Coull: none is certain
        variance = tempered * (1 - tempered) / (n + 2)
        halves = [np.ones(len(n), dtype=bool)]
        if self.by_copies_alone:
            parts = [name.rpartition(" × ")[::2] for name in cells.names]
            of_original = np.array([end == "original" for _, end in parts])
            split = [of_original, ~of_original]
            labels = [{parts[i][0] for i in np.flatnonzero(half)} for half in split]
            halves = split if labels[0] == labels[1] else halves
        return min(
            (float(share[h].mean()), float(np.sqrt(variance[h].sum()) / h.sum())) for h in halves
        )


def judge_of(
    y: Array,
    values: Array | None,
    names: Sequence[Attribute],
    copies: CopiesOf,
    titles: Sequence[str],
    alike: Mapping[str, Likeness],
) -> Judge:
    """Cells: class × attribute where one is named, class × {original, changed} otherwise."""
    n, y_copies = len(y), y[copies.of]
    of_rows, of_copies = np.full(n, "", dtype=object), np.full(len(y_copies), "", dtype=object)
    if values is not None and values.shape[1]:
        of_rows = _labels(y, values, names)
        of_copies = _labels(y_copies, copies.values, names)
    plain = of_copies == ""  # the change is of no attribute that is named
    for number, title in enumerate(titles):
        rows = plain & (copies.change == number)
        of_copies[rows] = [f"{label} × changed by {title}" for label in y_copies[rows]]
    if values is None or not values.shape[1]:
        of_rows = np.asarray([f"{label} × original" for label in y], dtype=object)
    kept, small = list[str](), np.zeros(n, dtype=bool)
    judging = np.ones(len(of_copies), dtype=bool)
    told_apart = [
        number for number, title in enumerate(titles) if title in alike and not alike[title].judges
    ]
    unlike = np.isin(copies.change, told_apart) & ~plain
    small_of: dict[str, dict[str, int]] = {title: {} for title in titles}
    for name in sorted({*of_rows, *of_copies} - {""}):
        real, copied = of_rows == name, (of_copies == name) & ~plain
        n_real = int(real.sum())
        if copied.any() and n_real >= ENOUGH:
            judging &= ~copied
        elif copied.any():
            small |= real
            judging &= ~(copied & unlike)
            for number in np.unique(copies.change[copied]):
                if number not in told_apart or n_real >= FEWEST:
                    small_of[titles[number]][name] = n_real
        if n_real + int(((of_copies == name) & judging).sum()) >= FEWEST:
            kept.append(name)
    used = [
        replace(alike.get(title, Likeness(title, {})), small=groups)
        for title, groups in small_of.items()
        if groups or (title in alike and not alike[title].judges)
    ]
    for label in np.unique(y):  # a class without a group that can judge is one
        if not any(name.startswith(f"{label} × ") for name in kept):
            of_rows[y == label] = str(label)
            kept.append(str(label))
    number_of = {name: i for i, name in enumerate(kept)}
    value = [number_of.get(name, -1) for name in of_rows]
    value += [
        number_of.get(name, -1) if judges else -1
        for name, judges in zip(of_copies, judging, strict=True)
    ]
    title = " and ".join([*(each.name for each in names), *(t for t in titles if values is None)])
    cells = Attribute(title or " and ".join(titles), np.asarray(value), tuple(kept), "copies")
    grouped = values is not None and bool(values.shape[1])
    return Judge(cells, copies, small, tuple(used), grouped)


def _labels(y: Array, values: Array, names: Sequence[Attribute]) -> Array:
    """Name of the group of each sample; empty where a value is not known."""
    labels = np.full(len(y), "", dtype=object)
    for row in np.flatnonzero((values >= 0).all(axis=1)).tolist():
        of = (str(each.names[value]) for each, value in zip(names, values[row], strict=True))
        labels[row] = " × ".join([str(y[row]), *of])
    return labels


def likeness_of(
    y: Array,
    Z: Array,
    values: Array,
    names: Sequence[Attribute],
    copies: CopiesOf,
    titles: Sequence[str],
    seed: int,
) -> dict[str, Likeness]:
    """Compare the copies that enter each group with its real samples, of both sets together."""
    # The cross-validated area under the curve of a linear classifier between the two, at most 600
    # of each (a classifier two-sample test: Lopez-Paz and Oquab, 2017, arXiv 1610.06545).
    of_rows = _labels(y, values, names)
    of_copies = _labels(y[copies.of], copies.values, names)
    rng = np.random.default_rng(seed)
    found = dict[str, Likeness]()
    for number, title in enumerate(titles):
        aucs = dict[str, float]()
        for name in sorted({*of_copies[copies.change == number]} - {""}):
            real = np.flatnonzero(of_rows == name)
            copied = np.flatnonzero((of_copies == name) & (copies.change == number))
            if min(len(real), len(copied)) >= _CHECKABLE:
                some = [rng.permutation(rows)[:_COMPARED] for rows in (real, copied)]
                aucs[name] = _auc(Z[some[0]], copies.Z[some[1]], seed)
        found[title] = Likeness(title, aucs)
    return found


def _auc(real: Array, copies: Array, seed: int) -> float:
    """How well a linear classifier tells two samples apart, cross-validated."""
    which = np.repeat([0, 1], [len(real), len(copies)])
    classifier = LogisticRegression(C=1e-2, class_weight="balanced", max_iter=300)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    X = np.concatenate([real, copies])
    scores = cross_val_predict(classifier, X, which, cv=folds, method="decision_function")
    return float(roc_auc_score(which, scores))


# -- whether the original model relies on a change -----------------------------------------------


@dataclass(frozen=True)
class Reliance:
    """Predictions of the original head that a change flips, next to an equal displacement."""

    change: str
    n: int
    flips: float
    control_flips: float
    surely: float  # lower 95 % bound of what it flips beyond the control

    def __str__(self) -> str:
        return (
            f"{self.change} flips {percent(self.flips)} of its {self.n} predictions, an equal "
            f"displacement of the embedding that means nothing {percent(self.control_flips)}"
        )


def reliance_on(
    changes: Sequence[Change], head: LinearHead, Z: Array, copies: CopiesOf, seed: int
) -> tuple[Reliance, ...]:
    """How much more each change surely flips than a displacement does, by exact paired bounds."""
    # A head that does not rely on a change has nothing to repair by it, and what retraining on
    # biased samples gains then is the bias of the samples.
    found, predicted = list[Reliance](), head.logits(Z).argmax(axis=1)
    for number, change in enumerate(changes):
        some = copies.take(copies.change == number)
        if not len(some.of):
            continue
        rng = np.random.default_rng([seed, number])
        control = displaced(Z, some.Z, some.of, predicted, np.ones(Z.shape[1]), rng)
        flips, too = (
            head.logits(moved).argmax(axis=1) != predicted[some.of] for moved in (some.Z, control)
        )
        more, less = int((flips & ~too).sum()), int((too & ~flips).sum())
        level = _LEVEL / len(changes)
        surely, _ = drop_bounds(more, less, len(flips), upper_level=level, lower_level=level)
        shares = float(flips.mean()), float(too.mean())
        found.append(Reliance(change.name, len(some.of), *shares, surely))
    return tuple(found)


def not_relied_on(found: Sequence[Reliance]) -> str:
    """Why there is nothing to repair by some changes; empty where one is surely relied on."""
    if not found or max(each.surely for each in found) >= _RELIED:
        return ""
    points = f"{100 * _RELIED:g} points"
    return f"it does not surely rely on the change by {points}: {'; '.join(map(str, found))}"


# -- what else flips -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlipRate:
    """Predictions that a change flips, of the original head and of the new one."""

    change: str
    n: int
    before: float
    after: float
    p_value: float
    rises: bool = False

    def __str__(self) -> str:
        before, after = percent(self.before, unit=""), percent(self.after)
        return f"{self.change} (it flips {before} → {after} of {self.n} predictions)"


def flip_rates(
    embedder: OnnxEmbedder,
    samples: Samples,
    heads: tuple[LinearHead, LinearHead],
    Z: Array,
    but: Sequence[Change],
    *,
    seed: int,
    verbose: bool,
) -> tuple[FlipRate, ...]:
    """Flips of two heads under all changes of a bank; a rise is tested by Holm's correction."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(samples))[:_TRIED])
    changes = [*but, *(c for c in _bank(samples) if c.name not in {b.name for b in but})]
    rates = list[FlipRate]()
    quiet = clone(embedder).set_params(verbose=False)
    for change in tqdm(
        changes, desc="changes", delay=1, disable=None if verbose else True, leave=False
    ):
        try:
            copies = embedded_copies(quiet, samples, change, rows, seed=seed)
        except InputError:  # it is for no sample of these
            continue
        if not len(copies.rows):
            continue
        flips = [h.predict(copies.Z) != h.predict(Z[copies.rows]) for h in heads]
        more, less = int((flips[1] & ~flips[0]).sum()), int((flips[0] & ~flips[1]).sum())
        p_value = more_often(more, less)
        before, after = (float(each.mean()) for each in flips)
        rates.append(FlipRate(change.name, len(copies.rows), before, after, p_value))
    return _with_rises(rates)


def _with_rises(rates: Sequence[FlipRate]) -> tuple[FlipRate, ...]:
    """Mark the rates that have surely risen (Holm, 1979)."""
    marked, left = dict[str, FlipRate](), len(rates)
    for rate in sorted(rates, key=lambda rate: rate.p_value):
        if rate.p_value > _LEVEL / left:
            break
        marked[rate.change] = FlipRate(
            rate.change, rate.n, rate.before, rate.after, rate.p_value, rises=True
        )
        left -= 1
    return tuple(marked.get(rate.change, rate) for rate in rates)


_MOST_WORDS = 20


def _bank(samples: Samples) -> list[Change]:
    """The bank of a set: of texts the most frequent words, mark-up and case."""
    if samples.kind != "texts":
        return bank_of(samples)
    texts = [t if isinstance(t, str) else " ".join(t) for t in samples.X.texts]
    counts = Counter(w for text in texts for w in {*re.findall(r"\w{2,40}", text.lower())})
    words = [word for word, n in counts.most_common(_MOST_WORDS)]
    others = [change_named(name) for name in ("markup", "case:lower")]
    return [*bank_of(samples, words), *others]


@dataclass(frozen=True)
class ByChange:
    """What a repair by change says besides its accuracies."""

    changes: tuple[str, ...]
    likeness: tuple[Likeness, ...] = ()
    copies_alone: bool = False
    copies_judge: bool = False
    flips: tuple[FlipRate, ...] = ()
    reliance: tuple[Reliance, ...] = ()
    veto: str = ""
    candidates: Mapping[str, float] = field(default_factory=dict)
    judged: bool = True

    def sentences(self, *, written: bool = True) -> list[str]:
        """Which samples judged, and what changes flip more with a head that is written."""
        if not self.judged:
            return []
        lines = list[str]()
        risen = sorted(
            (rate for rate in self.flips if rate.rises), key=lambda rate: rate.before - rate.after
        )
        if risen and written:
            shown = "; ".join(map(str, risen[:_SHOWN]))
            more = f"; and {len(risen) - _SHOWN} more" if len(risen) > _SHOWN else ""
            lines.append(f"The new head now relies more on {shown}{more}.")
        if self.copies_alone:
            lines.append("Changed copies judged, and no group of real samples.")
        elif self.likeness:
            lines += map(str, self.likeness)
        elif self.copies_judge:
            lines.append("Groups of real samples judged, and changed copies as well.")
        else:
            lines.append("Real samples alone judged: each group has enough of them.")
        if self.copies_judge:
            lines.append("Copies cannot show what a change does not touch.")
        own = [rate for rate in self.flips if rate.change in self.changes]
        lines += [f"{rate}." for rate in own if written and not rate.rises]
        return lines
