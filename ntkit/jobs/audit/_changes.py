"""Which changes of the input flip predictions, more than changes of the same size do."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import beta, t
from tqdm import tqdm

from ntkit._text import counted, plain
from ntkit._types import Array
from ntkit.attributes import words
from ntkit.attributes.findings import Finding
from ntkit.changes import (
    PARTS,
    Change,
    as_seen,
    bank_of,
    change_named,
    control_of,
    has_markup,
)
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder
from ntkit.head import LinearHead
from ntkit.jobs.copies import embedded_copies
from ntkit.metrics import more_often
from ntkit.pages.audit_page import column_of
from ntkit.samples import Inputs, Samples

MOST_CHANGES = 5
"""Changes that are looked at on a second part of the samples."""
_LEAST_BUDGET = 3000  # copies
_FIRST_SHARE = 0.6  # of the budget, at most, for the first part
_FIRST_LEAST, _FIRST_MOST = 20, 100  # copies of each change at first; and of the strongest
_RANKED = 10  # copies, below which a mean says little
_MOST_WORDS = 160
_POPULATION = 40_000  # samples that copies and their donors are of
_FOR_SCALE = 20_000  # embeddings, for the deviations of neurons
_EXAMPLES = 3
_LEVEL = 0.95  # of the intervals
_DISPLACED = "an equal displacement of the embedding"
_DRAWS = 5  # of a direction, until one has a length
_OF_STATISTICS = {
    "brightness": "brightness",
    "contrast": "contrast",
    "colourfulness": "grey",
    "redness": "grey",
    "blueness": "grey",
    "sharpness": "blur",
    "border brightness": "border",
    "border evenness": "border",
}
_HEIGHT = re.compile(r" (?:high|low|above the median)$")
_CONDITION = re.compile(r"(?s)(.+?)(?:>=.*|=.*| missing)")


@dataclass(frozen=True, eq=False)
class ChangeExamples:
    """Samples whose prediction a change flips, drawn at random, and their copies."""

    rows: tuple[int, ...]
    predicted: tuple[Any, ...]
    predicted_after: tuple[Any, ...]
    before: Inputs
    after: Inputs


@dataclass(frozen=True)
class TriedChange:
    """A change on the first part of the samples, by which changes are ranked.

    Attributes
    ----------
    name : str
        Its text form.
    n : int
        Copies.
    flips : int
        Predictions that flip.
    margin_change : float
        Mean change of the margin, before minus after; NaN without copies.
    beyond_control : float
        The same, beyond that of an equal displacement of the embedding.
    """

    name: str
    n: int
    flips: int
    margin_change: float
    beyond_control: float


@dataclass(frozen=True, eq=False)
class ChangeFinding:
    """A change on samples that it was not chosen by, next to a control of the same size.

    Attributes
    ----------
    name : str
        Text form of the change.
    n : int
        Copies.
    flips : float
        Share of the predictions that flip.
    flips_interval : tuple of float
        Its 95 % interval (Clopper and Pearson's).
    control : str
        Name of the control.
    control_flips, control_interval
        The same of the control, on the same samples.
    margin_change : float
        Mean change of the margin, before minus after. The margin is the logit of the class that is
        predicted before, minus the largest of the others.
    beyond_control : float
        The same, minus that of the control.
    beyond_interval : tuple of float
        Its 95 % interval (Student's).
    p_value : float
        Of so many more flips than under the control by chance (McNemar's exact test, one-sided),
        after Holm's correction for the changes tested.
    is_finding : bool
        Whether it flips surely more predictions than its control.
    examples : ChangeExamples
        Some that flip.
    """

    name: str
    n: int
    flips: float
    flips_interval: tuple[float, float]
    control: str
    control_flips: float
    control_interval: tuple[float, float]
    margin_change: float
    beyond_control: float
    beyond_interval: tuple[float, float]
    p_value: float
    is_finding: bool
    examples: ChangeExamples

    def as_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; of the examples, rows and predictions."""
        e = self.examples
        pairs = zip(e.rows, e.predicted, e.predicted_after, strict=True)
        values = {name: value for name, value in vars(self).items() if name != "examples"}
        examples = [{"row": row, "predicted": a, "after": b} for row, a, b in pairs]
        return dict(plain({**values, "examples": examples}))


@dataclass(frozen=True, eq=False)
class ChangeFindings:
    """Changes that were tried, and a closer look at the strongest.

    Attributes
    ----------
    changes : tuple of ChangeFinding
        The strongest, on samples that they were not chosen by: findings by the share that they
        flip beyond their control, then others by the margin.
    tried : tuple of TriedChange
        All, on the first part of the samples, ranked by the mean change of the margin beyond
        control.
    n_left_out : int
        Changes that were not tried, for the budget.
    n_embedded : int
        Copies that were embedded.
    """

    changes: tuple[ChangeFinding, ...]
    tried: tuple[TriedChange, ...]
    n_left_out: int
    n_embedded: int

    @property
    def columns(self) -> list[str]:
        """Names of the columns that were changed."""
        return [one.name[7:] for one in self.tried if one.name.startswith("column:")]

    def flipped(self, name: str) -> tuple[int, int]:
        """Predictions that a change flips, and its copies, in both parts of the samples."""
        parts = [(one.flips, one.n) for one in self.tried if one.name == name]
        parts += [(round(one.flips * one.n), one.n) for one in self.changes if one.name == name]
        return sum(flips for flips, _ in parts), sum(n for _, n in parts)

    def as_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "changes": [each.as_dict() for each in self.changes],
            "changes_tried": plain(list(self.tried)),
            "changes_left_out": self.n_left_out,
            "copies_embedded": self.n_embedded,
        }

    def note(self) -> str:
        """Sentence on what was tried, and what it cost."""
        left = f"; {self.n_left_out} more were left out, for the budget" * bool(self.n_left_out)
        n = len(self.tried)
        were = f"{counted(n, 'change')} {'was' if n == 1 else 'were'}"
        return f"{were} tried on {self.n_embedded} embedded copies{left}."


def budget_for(n_samples: int) -> int:
    """Copies that a look at changes may embed beyond the samples themselves."""
    return max(n_samples // 2, _LEAST_BUDGET)


def change_for(finding: Finding, columns: Iterable[str] = ()) -> Change | None:
    """The change that takes what a finding is about out of a sample; None if there is none."""
    # `columns` are the names of those that the model takes, to tell where a name ends.
    names = finding.values[0]
    columns = list(columns)
    for name in names:
        change = _change_of(name, columns)
        if change is None:
            continue
        opposed = [n for n in finding.opposed if n.startswith("word:") and "<" not in n]
        if change.kind == "word" and opposed:
            return change_named(f"{change.name}|{opposed[0]}")
        return change
    return None


def change_of_attribute(name: str, columns: Iterable[str] = ()) -> str | None:
    """Name of the change that is about an attribute; None if there is none."""
    change = _change_of(name, list(columns))
    return None if change is None else change.name


def has_attribute(change: str, looked_at: Collection[str]) -> bool:
    """Whether an audit that looked at some kinds of attributes looked at one about a change."""
    kind, _, what = change.partition(":")
    if kind == "image":
        return "image" in looked_at and what in (*PARTS, *_OF_STATISTICS.values())
    kinds = {"word": ("word",), "markup": ("word",), "column": ("column", "input")}
    return any(each in looked_at for each in kinds.get(kind, ()))


def _change_of(name: str, columns: Sequence[str]) -> Change | None:
    kind, _, rest = name.partition(":")
    if kind == "word":
        return _made("markup" if rest.startswith("<") else name)
    if kind == "image":
        what = _HEIGHT.sub("", rest)
        what = _OF_STATISTICS.get(what, what.removesuffix(" brightness"))
        return _made(f"image:{what}")
    if name.startswith("input #"):
        return _made(f"column:{name.removeprefix('input #').partition(' ')[0]}")
    if kind != "column":
        return None
    known, match = column_of(name, kind, columns), _CONDITION.fullmatch(rest)
    column = known[0] if known else match[1] if match else rest
    return _made(f"column:{column}") if _can_be_named(column) else None


def _made(name: str) -> Change | None:
    """A change; None if there is none of that name, as of what users measured themselves."""
    try:
        return change_named(name)
    except InputError:
        return None


def _can_be_named(column: str) -> bool:
    return column == column.strip() != "" and "=" not in column and "+column:" not in column


def changes_for(samples: Samples, findings: Sequence[Finding]) -> list[Change]:
    """Changes to try: of images a bank, of tables each column, of texts the words found."""
    if samples.kind != "texts":
        of_kind = [c for c in bank_of(samples) if c.kind != "column" or _can_be_named(c.name[7:])]
        names = [change.name.removeprefix("column:") for change in of_kind]
        first = {c.name for f in findings if (c := change_for(f, names)) is not None}
        return sorted(of_kind, key=lambda change: change.name not in first)
    texts = [t if isinstance(t, str) else " ".join(t) for t in samples.X.texts]
    named = [c for f in findings if (c := change_for(f)) is not None and c.kind == "word"]
    changes = [c for swap in named for c in (swap, change_named(swap.name.partition("|")[0]))]
    if not changes:
        changes = bank_of(samples, _frequent_words(texts))
    if any(map(has_markup, texts)):
        changes.insert(0, change_named("markup"))
    return list({change.name: change for change in changes}.values())


def _frequent_words(texts: Sequence[str]) -> list[str]:
    """The words that most texts hold, in at least 1 % of them."""
    blocks = words(texts, most=2 * _MOST_WORDS).blocks()
    counted = [
        (int(np.asarray(block.values.sum(axis=0)).ravel()[j]), name.removeprefix("word:"))
        for block in blocks
        for j, name in enumerate(block.names)
    ]
    counted.sort(key=lambda each: (-each[0], each[1]))
    return [word for _, word in counted if not word.startswith("<")][:_MOST_WORDS]


# -- the look itself -------------------------------------------------------------------------------


def changes_of(
    embedder: OnnxEmbedder,
    head: LinearHead | None,
    samples: Samples,
    changes: Sequence[Change],
    Z: Array,
    *,
    seed: int = 0,
    most: int = MOST_CHANGES,
    second: int = 300,
    budget: int | None = None,
    alpha: float = 0.05,
    verbose: bool = False,
) -> ChangeFindings | None:
    """Try changes on a part of the samples, and look at the strongest on others.

    None without a linear head, changes or raw samples. Z (N, D) are the embeddings of the samples.
    """
    # The winners of a ranking look better than they are, so figures with intervals come from
    # samples that no change was ranked by: the samples are halved once, for all changes.
    if head is None or samples.embedded or not changes or not len(samples) or most < 1:
        return None
    budget = budget_for(len(samples)) if budget is None else budget
    for_first = max(1, int(_FIRST_SHARE * budget))
    controls = {change.name: control_of(change) for change in changes}
    tried = changes[: max(1, for_first // _FIRST_LEAST)]
    if verbose:
        tqdm.write(
            f"Note: up to {budget} changed copies are embedded to see which changes flip "
            "predictions; --no-changes (changes=0) leaves that out.",
            file=sys.stderr,
        )
    numbers, rng = np.arange(len(samples)), np.random.default_rng([seed, len(samples)])
    in_memory = getattr(samples.X, "ndim", 0) == 4  # images, which would be copied
    if len(samples) > _POPULATION and not in_memory:
        numbers = np.sort(rng.choice(len(samples), _POPULATION, replace=False))
        samples, Z = samples.take(numbers), Z[numbers]
    order = rng.permutation(len(samples))
    first, others = np.split(order, [(len(samples) + 1) // 2])
    bar = tqdm(
        total=budget, unit=" copies", desc="changing", delay=1, disable=None if verbose else True
    )
    with bar:
        look = _Look(embedder, head, samples, Z, numbers, seed, bar)
        # Here all are compared with displacements, which cost no embedding, and alike.
        tries = [_Try(change, first) for change in tried]
        look.go_on(tries, min(_FIRST_LEAST, for_first // len(tries)))
        tries.sort(key=_Try.rank)
        strongest_tries = tries[: 2 * most]
        left = (for_first - look.n_embedded) // len(strongest_tries)
        look.go_on(strongest_tries, min(left, _FIRST_MOST - _FIRST_LEAST))
        tries.sort(key=_Try.rank)
        fewest = max(1, min(_RANKED, max(each.n for each in tries)))
        strongest = [each.change for each in tries if each.n >= fewest][:most]
        passes = sum(1 + (controls[change.name] is not None) for change in strongest)
        n_second = min(second, max(0, budget - look.n_embedded) // max(1, passes))
        results = [
            look.compared(change, controls[change.name], look.rows(change, others, n_second))
            for change in strongest
        ]
    found = _corrected([each for each in results if each is not None], alpha)
    return ChangeFindings(
        tuple(sorted(found, key=_strength)),
        tuple(each.result() for each in tries),
        len(changes) - len(tried),
        look.n_embedded,
    )


@dataclass(frozen=True)
class _Effect:
    """Classes predicted after a change, which predictions flip, and how the margins change."""

    predicted: Array
    flips: Array
    margin_change: Array


class _Try:
    """A change on the first part of the samples, as far as it has come."""

    def __init__(self, change: Change, among: Array) -> None:
        self.change, self.among = change, among
        self.effects = list[tuple[_Effect, _Effect]]()

    @property
    def n(self) -> int:
        """Copies so far."""
        return sum(len(effect.flips) for effect, _ in self.effects)

    @property
    def beyond_control(self) -> float:
        """Mean change of the margin beyond control."""
        pairs = [one.margin_change - two.margin_change for one, two in self.effects]
        return float(np.concatenate(pairs).mean()) if self.n else float("nan")

    def rank(self) -> float:
        """Key to sort by: the strongest first, those without copies last."""
        return -self.beyond_control if self.n else np.inf

    def result(self) -> TriedChange:
        """The figures."""
        effects = [effect for effect, _ in self.effects]
        flips = sum(int(effect.flips.sum()) for effect in effects)
        margins = np.concatenate([np.empty(0), *(effect.margin_change for effect in effects)])
        mean = float(margins.mean()) if self.n else float("nan")
        return TriedChange(self.change.name, self.n, flips, mean, self.beyond_control)


def displaced(
    Z: Array, copies: Array, rows: Array, predicted: Array, scale: Array, rng: np.random.Generator
) -> Array:
    """Rows of Z moved as far as their copies are, in a direction that means nothing; (n, D)."""
    # It is that between two samples of the predicted class, drawn at random; lengths are those in
    # standard deviations of each neuron.
    far = np.linalg.norm((copies - Z[rows]) / scale, axis=1)
    direction, length = np.zeros((len(rows), len(scale))), np.zeros(len(rows))
    for _ in range(_DRAWS):
        for label in np.unique(predicted[rows]):
            pool = np.flatnonzero(predicted == label)
            pool = pool if len(pool) > 1 else np.arange(len(predicted))
            at = np.flatnonzero((predicted[rows] == label) & (length == 0))
            one, two = pool[rng.integers(0, len(pool), (2, len(at)))]
            direction[at] = (Z[one] - Z[two]) / scale
        length = np.linalg.norm(direction, axis=1)
    gain = np.divide(far, length, out=np.zeros(len(rows)), where=length > 0)
    return np.asarray(Z[rows] + direction * scale * gain[:, None])


class _Look:
    """One model, samples and their embeddings, and the copies made so far."""

    def __init__(
        self,
        embedder: OnnxEmbedder,
        head: LinearHead,
        samples: Samples,
        Z: Array,
        numbers: Array,
        seed: int,
        bar: Any,
    ) -> None:
        # One bar shows all copies.
        self.embedder = replace(embedder, verbose=False) if embedder.verbose else embedder
        self.bar = bar
        self.head, self.samples, self.Z, self.seed = head, samples, Z, seed
        self.numbers = numbers  # of the rows, as the user counts them
        self.logits = head.logits(Z)
        self.predicted = self.logits.argmax(axis=1)
        some = np.asarray(Z[:: -(-len(Z) // _FOR_SCALE)], dtype=np.float64)
        deviations = some.std(axis=0)
        self.scale = np.where(deviations > 0, deviations, 1.0)
        self.n_embedded = 0
        self.lower = (
            [t.lower() if isinstance(t, str) else "\n".join(t).lower() for t in samples.X.texts]
            if samples.kind == "texts"
            else None
        )

    def rows(self, change: Change, among: Array, most: int) -> Array:
        """The first rows, among some, that a change applies to."""
        parts = [part.removeprefix("word:") for part in change.name.split("|")]
        if change.kind == "word" and self.lower is not None and "=" not in change.name:
            # Only a text that holds the letters of a word can hold the word.
            pieces = [part.lower().split(" ")[0] for part in parts]
            holds = [any(piece in self.lower[row] for piece in pieces) for row in among.tolist()]
            among = among[np.asarray(holds, dtype=bool)]
        found, size = np.empty(0, dtype=np.intp), max(most, 1)
        while len(found) < most and len(among):
            chunk, among = among[:size], among[size:]
            found = np.concatenate([found, change.copies(self.samples, chunk, seed=self.seed)[1]])
            size *= 2
        return found[:most]

    def copies(self, change: Change, rows: Array) -> tuple[Samples, Array]:
        """Copies of some rows, and their embeddings."""
        made = embedded_copies(self.embedder, self.samples, change, rows, seed=self.seed)
        self.n_embedded += len(made.rows)
        self.bar.update(len(made.rows))
        return made.samples, made.Z

    def margins(self, logits: Array, rows: Array) -> Array:
        """Logit of the class predicted before, minus the largest of the others."""
        at, own = np.arange(len(rows)), self.predicted[rows]
        others = logits.astype(np.float64)
        of_own = others[at, own].copy()
        others[at, own] = -np.inf
        return np.asarray(of_own - others.max(axis=1))

    def effect(self, Z: Array, rows: Array) -> _Effect:
        """What changed embeddings do to the predictions of some rows."""
        logits = self.head.logits(Z)
        after = logits.argmax(axis=1)
        change = self.margins(self.logits[rows], rows) - self.margins(logits, rows)
        return _Effect(after, after != self.predicted[rows], change)

    def displaced(self, name: str, Z: Array, rows: Array) -> Array:
        """Originals moved as far as their copies are, in a direction that means nothing."""
        rng = np.random.default_rng([self.seed, len(rows), *name.encode()[:64]])
        return displaced(self.Z, Z, rows, self.predicted, self.scale, rng)

    def effects(
        self, change: Change, control: Change | None, rows: Array
    ) -> tuple[_Effect, _Effect, Samples]:
        """What a change and its control do to the same samples, and the changed copies."""
        made, Z = self.copies(change, rows)
        Z_control = (
            self.displaced(change.name, Z, rows)
            if control is None
            else self.copies(control, rows)[1]
        )
        return self.effect(Z, rows), self.effect(Z_control, rows), made

    def go_on(self, tries: Sequence[_Try], n: int) -> None:
        """Embed up to so many more copies of each."""
        for each in tries:
            before = each.n
            rows = self.rows(each.change, each.among, before + max(n, 0))[before:]
            if len(rows):
                effect, of_control, _ = self.effects(each.change, None, rows)
                each.effects.append((effect, of_control))

    def compared(self, change: Change, control: Change | None, rows: Array) -> ChangeFinding | None:
        """A change and its control on the same samples; None without any."""
        if control is not None:
            both = control.copies(self.samples, rows, seed=self.seed)[1]
            if 2 * len(both) >= len(rows):
                rows = both
            else:
                control = None
        if not len(rows):
            return None
        effect, of_control, made = self.effects(change, control, rows)
        flips, flips_too = effect.flips, of_control.flips
        beyond = effect.margin_change - of_control.margin_change
        # McNemar's exact test: of the samples that only one of the two flips, each is as likely to
        # be the change's as the control's.
        more, less = int((flips & ~flips_too).sum()), int((flips_too & ~flips).sum())
        return ChangeFinding(
            name=change.name,
            n=len(rows),
            flips=float(flips.mean()),
            flips_interval=_exact(int(flips.sum()), len(rows)),
            control=_DISPLACED if control is None else control.name,
            control_flips=float(flips_too.mean()),
            control_interval=_exact(int(flips_too.sum()), len(rows)),
            margin_change=float(effect.margin_change.mean()),
            beyond_control=float(beyond.mean()),
            beyond_interval=_of_mean(beyond),
            p_value=more_often(more, less),
            is_finding=False,
            examples=self._examples(made, rows, effect),
        )

    def _examples(self, made: Samples, rows: Array, effect: _Effect) -> ChangeExamples:
        at = np.flatnonzero(effect.flips)[:_EXAMPLES]  # rows are in random order
        classes = self.head.classes
        seen = as_seen(self.samples) if hasattr(made.X, "seen") else self.samples
        seen = replace(seen, table=None)  # copies have none: what goes into the model is shown
        return ChangeExamples(
            tuple(self.numbers[rows[at]].tolist()),
            tuple(classes[self.predicted[rows[at]]].tolist()),
            tuple(classes[effect.predicted[at]].tolist()),
            _looks(seen.take(rows[at])),
            _looks(made.take(at)),
        )


def _looks(samples: Samples) -> Inputs:
    """Looks of samples; columns without names are called by their numbers."""
    looks, X = samples.looks(), samples.X
    if looks.n_samples is None and isinstance(X, np.ndarray) and X.ndim == 2:
        return replace(looks, table={str(j): column for j, column in enumerate(X.T)})
    return looks


def _strength(change: ChangeFinding) -> tuple[bool, float]:
    """Key to sort by: findings by what they flip beyond control, then others by the margin."""
    if change.is_finding:
        return False, change.control_flips - change.flips
    return True, -change.beyond_control


def _exact(hits: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    tail = (1 - _LEVEL) / 2
    low = 0.0 if not hits else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def _of_mean(values: Array) -> tuple[float, float]:
    """Student's interval of a mean; NaN for a single value."""
    if len(values) < 2:
        return float("nan"), float("nan")
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    reach = float(t.ppf((1 + _LEVEL) / 2, len(values) - 1)) * error
    return float(mean - reach), float(mean + reach)


def _corrected(changes: Sequence[ChangeFinding], alpha: float) -> list[ChangeFinding]:
    """The same with Holm's correction for all of them."""
    order = sorted(range(len(changes)), key=lambda i: changes[i].p_value)
    corrected, largest = [*changes], 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(changes) - rank) * changes[i].p_value))
        corrected[i] = replace(changes[i], p_value=largest, is_finding=largest <= alpha)
    return corrected
