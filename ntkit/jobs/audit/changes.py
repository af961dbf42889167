"""Find changes of the input that flip more predictions than a control change of the same size."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t
from tqdm import tqdm

from ntkit._key import Key, conditions_in, parts_of_change, touches_subject
from ntkit._process import progress_bar
from ntkit._text import counted, listed, percent, plain
from ntkit._types import Array
from ntkit.attributes import words
from ntkit.attributes.findings import Finding
from ntkit.attributes.image_statistics import CHANGES
from ntkit.attributes.word_lists import comparable, plain_words
from ntkit.changes import Change, change_named
from ntkit.changes.change import HARMLESS, as_seen, bank_of, control_of
from ntkit.changes.images import has_black_and_white
from ntkit.changes.texts import UNKNOWN_WORDS, has_markup
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.jobs.audit.donor_effect import DonorEffect, donor_effect
from ntkit.metrics import Row, compare
from ntkit.metrics.bounds import holm
from ntkit.metrics.rows import Outcome, Verdict
from ntkit.samples.looks import Inputs
from ntkit.samples.samples import Samples

if TYPE_CHECKING:  # an audit of predictions needs no ONNX Runtime
    from ntkit.extraction import OnnxEmbedder

MOST_CHANGES = 5
"""Number of changes that are tested on the second half of the samples."""
_LEAST_BUDGET = 3000  # copies
_FIRST_SHARE = 0.6  # largest share of the budget for the first half
_FIRST_LEAST, _FIRST_MOST = 20, 100  # copies of every change, and of the strongest changes
_RANKED = 10  # a mean of fewer copies is too uncertain to rank by
_MOST_WORDS = 160
_PANEL_WORDS = 20
_POPULATION = 40_000  # samples that copies and their donors are drawn from
_FOR_SCALE = 20_000  # embeddings for the standard deviations of neurons
_EXAMPLES = 3
_LEVEL = 0.95  # confidence level of the intervals
_DISPLACED = "an equal displacement of the embedding"
RELIED = 0.05
"""Lower bound of flips that shows more than single predictions."""
_TRIES = 5  # random directions, until one has a length


@dataclass(frozen=True, eq=False)
class ChangeFinding:
    """Result of a change on the second half of the samples, next to a control of the same size."""

    # The margin is the logit of the class predicted before the change, minus the largest of the
    # other logits. Intervals have 95 %: Clopper-Pearson's of shares, Student's t of the margin.
    # `p_value` is that of McNemar's exact one-sided test that the change flips more predictions
    # than the control, after Holm's correction for the changes tested. `examples` holds the row and
    # both predictions of random samples, those that flip first; `before` and `after` show these
    # samples. Of other changes than of images, all flip.
    # `of_donor` is None if the copies take no part of other samples.
    row: Row  # flips of the copies
    control: Row  # of as many copies with the control
    margin_change: float
    beyond_control: float  # the change of the margin minus that of the control
    beyond_interval: tuple[float, float]
    p_value: float
    flips_more: bool  # significantly more predictions than the control
    examples: tuple[dict[str, Any], ...]
    before: Inputs
    after: Inputs
    of_donor: DonorEffect | None = None

    @property
    def follows_donor(self) -> bool:
        """Whether the model significantly often changes to the class of the donor."""
        return self.of_donor is not None and self.of_donor.is_significant

    @property
    def is_finding(self) -> bool:
        """Whether the model follows the donor of a part, or another change flips more."""
        # A part of another image looks pasted, so it may flip more than a displacement.
        return self.flips_more if self.of_donor is None else self.follows_donor

    @property
    def reads_as_unknown(self) -> bool:
        """Whether it surely flips predictions, but not more than unknown words in the same places.

        Nor may it surely move the margin more, as capitals do where they tell the class.
        """
        more = self.flips_more or self.beyond_interval[0] > 0
        many = (self.row.interval or (0,))[0] >= RELIED
        return many and not more and self.control.name.startswith(UNKNOWN_WORDS)

    def sentences(self) -> list[str]:
        """What the donors, or unknown words in the same places, tell about the flips."""
        if self.of_donor is not None:
            return self.of_donor.sentences()
        if not self.reads_as_unknown:
            return []
        name, row = self.row.name, self.row
        return [
            f"It flips {percent(row.value)} of {counted(row.n, 'prediction')}, not significantly "
            f"more than unknown words in their places ({percent(self.control.value)}): the model "
            "may not know these spellings.",
            "To give changed texts the answers of their originals: "
            f"debias --keep TRAFFIC --invariant {name}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON; the examples are rows and predictions."""
        row, control = self.row, self.control
        rows = {
            "name": row.name, "n": row.n, "flips": row.value, "flips_interval": row.interval,
            "control": control.name, "control_flips": control.value,
            "control_interval": control.interval,
        }  # fmt: skip
        others = {k: v for k, v in vars(self).items() if not isinstance(v, Inputs | Row)}
        told = {"is_finding": self.is_finding, "reads_as_unknown": self.reads_as_unknown}
        return dict(plain(rows | others | told))


@dataclass(frozen=True, eq=False)
class ChangeFindings:
    """Changes tried on the first half of the samples, and the strongest tested on the second."""

    # Findings come first: where the model follows the donor, sorted by the share beyond that with
    # shuffled donors, then by the share of flips beyond the control. The other changes come last,
    # sorted by the margin beyond the control, like the changes tried. In each of the three, those
    # that a person named come first. Changes of the subject of images are tried, but not tested:
    # they may rightly flip a prediction.
    changes: tuple[ChangeFinding, ...]
    tried: tuple[Row, ...]
    margins: tuple[tuple[float, float], ...]  # of each change tried: mean decrease, beyond control
    n_left_out: int  # changes that the budget had no copies for
    n_embedded: int  # copies

    @property
    def columns(self) -> list[str]:
        """Names of the changed columns."""
        parts = (parts_of_change(one.name)[0] for one in self.tried)
        return [part.what for part in parts if part.kind == "column"]

    def flipped(self, name: str) -> tuple[int, int]:
        """Number of predictions that a change flips, and of its copies."""
        # Those of the second half if it was tested there: the first half chose the strongest.
        rows = [*(one.row for one in self.changes), *self.tried]
        row = next((row for row in rows if row.name == name), Row("change", name, 0, 0))
        return int(row.n - row.right), row.n

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        return {
            "changes": [each.as_dict() for each in self.changes],
            "changes_tried": plain(
                [
                    {
                        "name": one.name,
                        "n": one.n,
                        "flips": one.n - one.right,
                        "margin_change": margin,
                        "beyond_control": beyond,
                        "of_subject": touches_subject(one.name),
                    }
                    for one, (margin, beyond) in zip(self.tried, self.margins, strict=True)
                ]
            ),
            "changes_left_out": self.n_left_out,
            "copies_embedded": self.n_embedded,
        }

    def note(self) -> str:
        """Sentence on the number of changes tried and of copies embedded."""
        left = f" The budget left out {self.n_left_out} more." * bool(self.n_left_out)
        tried = counted(len(self.tried), "change")
        tested = {each.row.name for each in self.changes}
        of_subject = [
            one.name for one in self.tried if touches_subject(one.name) and one.name not in tested
        ]
        changes = "changes" if len(of_subject) == 1 else "change"
        untested = f" It did not test {listed(of_subject, 5)}, which {changes} the subject."
        return (
            f"ntkit tried {tried} of the input on {self.n_embedded} embedded copies.{left}"
            f"{untested * bool(of_subject)}"
        )


def budget_for(n_samples: int) -> int:
    """Largest number of changed copies to embed."""
    return max(n_samples // 2, _LEAST_BUDGET)


def change_for(finding: Finding, columns: Collection[str] = ()) -> Change | None:
    """The change that removes a finding's attribute from a sample; None if there is none."""
    # `columns` names the model's input columns: they tell the column's name from its condition.
    changes = (change_of(name, columns) for name in finding.values[0])
    change = next((each for each in changes if each is not None), None)
    opposed = [n for n in finding.opposed if Key.of(n).kind == "word" and "<" not in n]
    if change is not None and change.kind == "word" and opposed:
        return change_named(f"{change.name}|{opposed[0]}")
    return change


def change_of(name: str, columns: Collection[str] = ()) -> Change | None:
    """The change that removes an attribute; None if there is none."""
    if conditions_in(name):  # a conjunction has two
        return None
    key = Key.of(name, columns)
    if key.kind == "word":
        made = "markup" if key.what.startswith("<") else name
    elif key.kind == "image":
        made = CHANGES.get(key.what, "")
    elif key.kind == "input" and key.what.startswith("#"):
        made = f"column:{key.what.removeprefix('#')}"
    elif key.kind == "column" and _can_be_named(key.what):
        made = key.origin
    else:
        return None
    try:
        return change_named(made)
    except InputError:  # a measurement of the user's own
        return None


def _can_be_named(column: str) -> bool:
    return column == column.strip() != "" and "=" not in column and "+column:" not in column


def changes_for(samples: Samples, findings: Sequence[Finding]) -> list[Change]:
    """Changes to try: a fixed list for images, every column of a table, words of texts."""
    bank = [(change, parts_of_change(change.name)[0]) for change in bank_of(samples)]
    of_kind = [c for c, part in bank if c.kind != "column" or _can_be_named(part.what)]
    names = [part.what for _, part in bank]
    found = [c for f in findings if (c := change_for(f, names)) is not None]
    first, texts = {c.name for c in found}, samples.looks().texts
    others = sorted(of_kind, key=lambda change: change.name not in first)
    if texts is None:
        return others
    changes = list[Change]()
    for swap in [change for change in found if change.kind == "word"]:
        changes += [swap, change_named(parts_of_change(swap.name)[0].origin)]
    frequent = [] if changes else bank_of(samples, _frequent_words(texts))
    changes += [*others, *map(change_named, HARMLESS), *frequent]
    if any(map(has_markup, texts)):
        changes.insert(0, change_named("markup"))
    return list({change.name: change for change in changes}.values())


def panel_of(samples: Samples) -> list[Change]:
    """Changes to compare two models by; of texts the most frequent words, mark-up and case."""
    texts = samples.looks().texts
    if texts is None:
        return bank_of(samples)
    counts = Counter(w for text in texts for w in {*plain_words(text)})
    frequent = [word for word, n in counts.most_common(_PANEL_WORDS)]
    others = [change_named(name) for name in ("markup", "case:lower")]
    return [*bank_of(samples, frequent), *others]


RISES = "more_flips"
"""Limit of a flip rate: not significantly more than under the old head."""


def with_rises(rates: Sequence[Row]) -> tuple[Row, ...]:
    """Flip rates under two models with a verdict: a significant rise fails (Holm's correction)."""
    corrected = holm(np.array([rate.p_value for rate in rates]), len(rates)).tolist()
    level = 1 - _LEVEL
    found = list[Row]()
    for rate, p in zip(rates, corrected, strict=True):
        bounds = rate.drop_bounds(upper_level=level, lower_level=level)
        outcome: Outcome = "fail" if p <= level else "pass"
        rise = Verdict(RISES, 0.0, -(rate.change or 0.0), bounds, outcome, rate.n)
        found.append(replace(rate, verdicts=(rise,)))
    return tuple(found)


def risen_in_words(rates: Sequence[Row], most: int = 3) -> str:
    """Changes that flip significantly more predictions of the new model, largest rise first."""
    risen = sorted([r for r in rates if r.outcome == "fail"], key=lambda rate: rate.change or 0.0)
    return listed(map(flips_in_words, risen), most, " {} changes in all")


def flips_in_words(rate: Row) -> str:
    """Flip rates before and after."""
    before, after = percent(rate.before, unit=""), percent(rate.value)
    return f"{rate.name} (flips {before} → {after} of {rate.n} predictions)"


def _frequent_words(texts: Sequence[str]) -> list[str]:
    """The words that occur in most texts, and in at least 1 % of them."""
    blocks = words(texts, most=2 * _MOST_WORDS).blocks()
    counted = [
        (int(np.asarray(block.values.sum(axis=0)).ravel()[j]), Key.of(name).what)
        for block in blocks
        for j, name in enumerate(block.names)
    ]
    counted.sort(key=lambda each: (-each[0], each[1]))
    return [word for _, word in counted if not word.startswith("<")][:_MOST_WORDS]


# -- trying and testing changes --------------------------------------------------------------------


def changes_of(
    embedder: OnnxEmbedder,
    samples: Samples,
    changes: Sequence[Change],
    Z: Array,
    *,
    named: Sequence[Change] = (),
    seed: int = 0,
    most: int = MOST_CHANGES,
    second: int = 300,
    budget: int | None = None,
    alpha: float = 0.05,
    verbose: bool = False,
) -> ChangeFindings | None:
    """Try changes on one half of the samples, and test the strongest on the other half.

    Those that a person named are tested as well. Returns None without a linear head, changes or raw
    samples. Z (N, D) holds the embeddings.
    """
    # The winners of a ranking look better than they are. So the results with intervals come from
    # the half of the samples that was not used for the ranking.
    if not has_black_and_white(samples):
        changes = [change for change in changes if not change.of_pixels]
        for change in named:
            change.check_sets([samples])
    by_name = {change.name: change for change in (*named, *(changes if most else ()))}
    changes, asked = [*by_name.values()], {change.name for change in named}
    head = embedder.frozen_model.head
    if head is None or samples.embedded or not changes or not len(samples):
        return None
    budget = budget_for(len(samples)) if budget is None else budget
    for_first = max(1, int(_FIRST_SHARE * budget))
    controls = {change.name: control_of(change) for change in changes}
    tried = changes[: max(1, len(named), for_first // _FIRST_LEAST)]
    if verbose:
        tqdm.write(
            f"Note: ntkit embeds up to {budget} changed copies to find changes that flip "
            "predictions. To skip this step: --changes 0 (changes=0)",
            file=sys.stderr,
        )
    rng = np.random.default_rng([seed, len(samples)])
    if samples.rows is None:  # examples have them
        samples = replace(samples, rows=np.arange(len(samples)))
    in_memory = getattr(samples.X, "ndim", 0) == 4  # taking some images would copy them
    if len(samples) > _POPULATION and not in_memory:
        some = np.sort(rng.choice(len(samples), _POPULATION, replace=False))
        samples, Z = samples.take(some), Z[some]
    order = rng.permutation(len(samples))
    first, others = np.split(order, [(len(samples) + 1) // 2])
    bar = progress_bar(shown=verbose, desc="changing", total=budget, unit=" copies", leave=True)
    with bar:
        quiet = replace(embedder, verbose=False) if embedder.verbose else embedder
        look = _Look(quiet, head, samples, Z, seed, bar)
        # The control of every change is a displacement here: it needs no embedding.
        tries = [_Try(change) for change in tried]
        look.go_on(tries, first, min(_FIRST_LEAST, for_first // len(tries)))
        tries.sort(key=attrgetter("rank"))
        testable = [
            each
            for each in tries
            if each.change.name in asked or not touches_subject(each.change.name)
        ]
        left = (for_first - look.n_embedded) // max(1, len(testable[: 2 * most]))
        look.go_on(testable[: 2 * most], first, min(left, _FIRST_MOST - _FIRST_LEAST))
        for each in (tries, testable):
            each.sort(key=attrgetter("rank"))
        fewest = max(1, min(_RANKED, max((each.n for each in testable), default=0)))
        strong = [each.change for each in testable if each.n >= fewest]
        strongest = [each for each in strong if each.name not in asked][:most]
        strongest = [*(each.change for each in tries if each.change.name in asked), *strongest]
        passes = sum(1 + (controls[change.name] is not None) for change in strongest)
        n_second = min(second, max(0, budget - look.n_embedded) // max(1, passes))
        results = [
            look.compared(change, controls[change.name], look.rows(change, others, n_second))
            for change in strongest
        ]
    return ChangeFindings(
        _corrected([each for each in results if each is not None], alpha, asked),
        tuple(Row("change", e.change.name, e.n, e.n - int(e.effects[0].sum())) for e in tries),
        tuple(each.margins for each in tries),
        len(changes) - len(tried),
        look.n_embedded,
    )


def _corrected(
    tested: Sequence[ChangeFinding], alpha: float, asked: Collection[str]
) -> tuple[ChangeFinding, ...]:
    """Results with Holm's correction of both tests, in order."""
    flips = holm(np.array([each.p_value for each in tested]), len(tested)).tolist()
    effects = [each.of_donor for each in tested if each.of_donor is not None]
    follows = iter(holm(np.array([each.p_value for each in effects]), len(effects)).tolist())
    found = list[ChangeFinding]()
    for each, p in zip(tested, flips, strict=True):
        effect = each.of_donor
        if effect is not None:
            of_donor = next(follows)
            effect = replace(effect, p_value=of_donor, is_significant=of_donor <= alpha)
        found.append(replace(each, p_value=p, flips_more=p <= alpha, of_donor=effect))

    def place(each: ChangeFinding) -> tuple[int, bool, float]:
        other = each.row.name not in asked
        if each.of_donor is not None and each.follows_donor:
            return 0, other, each.of_donor.shuffled - each.of_donor.follows
        if each.flips_more:
            return 1, other, each.control.value - each.row.value
        return 2, other, -each.beyond_control

    return tuple(sorted(found, key=place))


@dataclass(eq=False)
class _Try:
    """A change with its flips, changes of the margin, and these beyond the control, so far."""

    change: Change
    effects: Array = field(default_factory=lambda: np.empty((3, 0)))
    n: int = 0  # copies
    margins: tuple[float, float] = (float("nan"), float("nan"))  # mean decrease, beyond control
    rank: float = np.inf  # the strongest change first, changes without copies last


def displaced(
    Z: Array, copies: Array, rows: Array, predicted: Array, scale: Array, rng: np.random.Generator
) -> Array:
    """Rows of Z moved in a random direction, as far as the change moved their copies; (n, D)."""
    # The direction is the difference of two random samples of the predicted class. Lengths are
    # measured in standard deviations of each neuron.
    far = np.linalg.norm((copies - Z[rows]) / scale, axis=1)
    direction, length = np.zeros((len(rows), len(scale))), np.zeros(len(rows))
    for _ in range(_TRIES):
        for label in np.unique(predicted[rows]):
            pool = np.flatnonzero(predicted == label)
            pool = pool if len(pool) > 1 else np.arange(len(predicted))
            at = np.flatnonzero((predicted[rows] == label) & (length == 0))
            one, two = pool[rng.integers(0, len(pool), (2, len(at)))]
            direction[at] = (Z[one] - Z[two]) / scale
        length = np.linalg.norm(direction, axis=1)
    gain = np.divide(far, length, out=np.zeros(len(rows)), where=length > 0)
    return np.asarray(Z[rows] + direction * scale * gain[:, None])


@dataclass(eq=False)
class _Look:
    """One model, the samples with their embeddings, and the number of copies so far."""

    embedder: OnnxEmbedder
    head: LinearHead
    samples: Samples
    Z: Array
    seed: int
    bar: Any  # counts all copies
    n_embedded: int = 0

    def __post_init__(self) -> None:
        self.logits = self.head.logits(self.Z)
        self.predicted = self.logits.argmax(axis=1)
        some = np.asarray(self.Z[:: -(-len(self.Z) // _FOR_SCALE)], dtype=np.float64)
        deviations = some.std(axis=0)
        self.scale = np.where(deviations > 0, deviations, 1.0)
        self.plain = [comparable(text) for text in self.samples.looks().texts or ()]
        numbers = {label: at for at, label in enumerate(self.head.classes.tolist())}
        y = self.samples.y  # without labels, the answers are the classes of donors
        labels = [] if y is None else np.asarray(y).tolist()
        known = np.array([numbers.get(label, -1) for label in labels], dtype=np.intp)
        self.class_of = self.predicted if y is None else known

    def rows(self, change: Change, among: Array, most: int) -> Array:
        """The first rows of `among` that a change applies to."""
        parts = parts_of_change(change.name)
        if change.kind == "word" and self.plain and not parts[0].condition:
            # A substring test is fast, and rules out most texts without the word.
            pieces = [comparable(part.what).split(" ")[0] for part in parts]
            holds = [any(piece in self.plain[row] for piece in pieces) for row in among.tolist()]
            among = among[np.asarray(holds, dtype=bool)]
        found, size = np.empty(0, dtype=np.intp), max(most, 1)
        while len(found) < most and len(among):
            chunk, among = among[:size], among[size:]
            found = np.concatenate([found, change.copies(self.samples, chunk, seed=self.seed)[1]])
            size *= 2
        return found[:most]

    def copies(self, change: Change, rows: Array) -> tuple[Samples, Array]:
        """Changed copies of some rows, and their embeddings."""
        made, _ = change.copies(self.samples, rows, seed=self.seed)
        self.n_embedded += len(made)
        self.bar.update(len(made))
        return made, self.embedder.transform(made.X)

    def margins(self, logits: Array, rows: Array) -> Array:
        """Logit of the class predicted before, minus the largest of the others."""
        at, predicted = np.arange(len(rows)), self.predicted[rows]
        others = logits.astype(np.float64)
        of_predicted = others[at, predicted].copy()
        others[at, predicted] = -np.inf
        return np.asarray(of_predicted - others.max(axis=1))

    def effects(self, change: Change, control: Change | None, Z: Array, rows: Array) -> list[Array]:
        """Effects of a change with these embeddings, and of its control on the same samples.

        Each is the predicted classes and the decrease of the margin.
        """
        if control is None:
            rng = np.random.default_rng([self.seed, len(rows), *change.name.encode()[:64]])
            Z_control = displaced(self.Z, Z, rows, self.predicted, self.scale, rng)
        else:
            Z_control = self.copies(control, rows)[1]
        before, effects = self.margins(self.logits[rows], rows), list[Array]()
        for logits in map(self.head.logits, (Z, Z_control)):
            effects += [logits.argmax(axis=1), before - self.margins(logits, rows)]
        return effects

    def go_on(self, tries: Sequence[_Try], among: Array, n: int) -> None:
        """Embed up to n more copies of each change."""
        for each in tries:
            rows = self.rows(each.change, among, each.n + max(n, 0))[each.n :]
            if len(rows):
                Z = self.copies(each.change, rows)[1]
                after, less, _, of_control = self.effects(each.change, None, Z, rows)
                more = [after != self.predicted[rows], less, less - of_control]
                each.effects = np.append(each.effects, more, axis=1)
                decrease, beyond = each.effects[1:].mean(axis=1).tolist()
                each.n, each.margins, each.rank = each.n + len(rows), (decrease, beyond), -beyond

    def compared(self, change: Change, control: Change | None, rows: Array) -> ChangeFinding | None:
        """Result of a change and its control on the same samples; None without samples."""
        if control is not None:
            both = control.copies(self.samples, rows, seed=self.seed)[1]
            if 2 * len(both) >= len(rows):
                rows = both
            else:
                control = None
        if not len(rows):
            return None
        made, Z = self.copies(change, rows)
        after, decrease, after_control, of_control = self.effects(change, control, Z, rows)
        flips, flips_too = (p != self.predicted[rows] for p in (after, after_control))
        beyond = decrease - of_control
        # McNemar's exact test. Under the null hypothesis, a sample that only one of the two flips
        # is flipped by the change or by the control with equal probability.
        whole, tail = np.arange(len(rows)), (1 - _LEVEL) / 2
        (row,) = compare([~flips, ~flips_too], [("change", change.name, whole)])
        name = _DISPLACED if control is None else control.name
        (of_control_row,) = compare([~flips_too], [("change", name, whole)])
        row, of_control_row = (
            replace(each, interval=each.bounds(tail, tail)) for each in (row, of_control_row)
        )
        # Rows are in random order. Whether a change of images keeps the class is asked with three
        # examples, so those that do not flip are shown as well.
        at = np.argsort(~flips, kind="stable")[:_EXAMPLES]
        at = at if change.kind == "image" else at[flips[at]]
        pairs = (self.head.classes[p].tolist() for p in (self.predicted[rows[at]], after[at]))
        examples = zip(np.asarray(self.samples.rows)[rows[at]].tolist(), *pairs, strict=True)
        seen = as_seen(self.samples) if hasattr(made.X, "seen") else self.samples
        seen = replace(seen, table=None)  # copies have no table, so the model's inputs are shown
        names, _ = self.samples.shown_names
        of_donor = None
        if change.unrelates:
            of_donor = donor_effect(
                parts_of_change(change.name)[0].what,
                Z,
                change.donors(self.samples, seed=self.seed)[rows],
                (self.predicted[rows], after),
                self.class_of,
                of_labels=self.samples.y is not None,
                rng=np.random.default_rng([self.seed, len(rows)]),
            )
        n, mean = len(beyond), float(beyond.mean())
        error = beyond.std(ddof=min(1, n - 1)) / np.sqrt(n)
        reach = float(t.ppf((1 + _LEVEL) / 2, n - 1) * error)  # NaN for a single value
        return ChangeFinding(
            row=row,
            control=of_control_row,
            margin_change=float(decrease.mean()),
            beyond_control=mean,
            beyond_interval=(mean - reach, mean + reach),
            p_value=row.p_value,
            flips_more=False,
            examples=tuple({"row": row, "predicted": a, "after": b} for row, a, b in examples),
            before=replace(_looks(seen.take(rows[at])), ids=names and [names[i] for i in rows[at]]),
            after=_looks(made.take(at)),
            of_donor=of_donor,
        )


def _looks(samples: Samples) -> Inputs:
    """Samples for display; the name of a nameless column is its number."""
    looks, X = samples.looks(), samples.X
    if looks.n_samples is None and isinstance(X, np.ndarray) and X.ndim == 2:
        return replace(looks, table={str(j): column for j, column in enumerate(X.T)})
    return looks
