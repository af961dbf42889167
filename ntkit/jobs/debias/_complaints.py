"""Repair by complaints: samples that the model gets wrong, and traffic that should stay.

Changed copies whose answer is not that of their original are complaints, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax
from scipy.stats import binom

from ntkit._disk import StrPath, size_of
from ntkit._output import check_folder, new_folder
from ntkit._shown import Bar, InNotebook, NotebookView, ShownTable, ends, frame_of
from ntkit._text import (
    Markdown,
    as_json,
    counted,
    interval,
    percent,
    plain,
    table,
    without_controls,
)
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.changes.change import Change
from ntkit.changes.embedded import embedded_copies
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder
from ntkit.extraction.head_check import check_head
from ntkit.head import LinearHead
from ntkit.jobs.command_line import arguments, from_here, options_again, quoted, settings_files
from ntkit.jobs.debias._inputs import check_embedded, check_origins, reading_notes
from ntkit.jobs.debias._job import write_heads
from ntkit.jobs.debias._result import new_layer
from ntkit.jobs.debias._settings import HEADS_FILE, MODEL_FILE, DebiasSettings
from ntkit.metrics import Row, compare
from ntkit.metrics.bounds import share_bounds
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import loaded
from ntkit.samples.copies import contents_by_embedding, contents_of
from ntkit.samples.kinds import spread_rows
from ntkit.samples.read import read
from ntkit.samples.samples import Samples, input_paths
from ntkit.samples.stored import facts_of
from ntkit.solver.fit_head import fit_linear_head
from ntkit.study import Rows, scaler_of
from ntkit.verification import Verification, random_inputs, save_verified

LIMIT = 0.02
"""Largest share of the traffic whose answers may change, unless the caller sets another."""
FEWEST = 5
_RIDGE = 1.0  # on the mean loss, of standardised embeddings
_FOLDS = 10
_MOST = 2000  # rows of the traffic in a fit; the others only judge
_SOFT = 1e-3  # a class of the traffic with a smaller probability has no row
_MOST_STEP = 3.0
_PULL = 0.005  # to the old head, on the mean loss, of heads that are fitted on changed copies
_COPIES = 2  # weight of all changed copies, next to samples and traffic together
_FOLDS_OF_COPIES = 3  # with a head of all logits each
_LEVEL = 0.01  # of the tests whether complaints have a common direction, together (Bonferroni)
_FIXES = 0.05  # level of the test whether a head fixes more complaints than chance
_OTHERS = "other pairs of classes"
_LIMITS = (0.005, 0.01, 0.02, 0.05, 0.1)
_VERIFIED = 256
_SORT = "sort the complaints by their cause"
_COLUMNS: dict[str, type] = {"limit": float, "chosen": bool, "complaints": int, "fixed": int}
_COLUMNS |= dict.fromkeys(("low", "high", "changed"), float)

# Of the test for a common direction.
_STRATA, _ROWS = 20, 20  # most strata of a pair of classes, and fewest rows of one
_COMPLAINTS, _TRAFFIC = 300, 2000  # most rows in the test
_DRAWS = 10  # over the level
_ENOUGH = 20  # as large statistics end the draws: Besag and Clifford, Biometrika 78 (1991)
_PAIRS = 4_000_000  # in one block of draws


@dataclass(frozen=True)
class LargestStep:
    """The largest step from the old head within a limit, and what it does, cross-fitted."""

    step: float
    fixed: Array  # of each complaint, whether the head of the other folds fixes it
    changed: float  # share of the traffic, each content once
    changed_with_copies: float
    n_alike: int  # rows of the traffic that change as surely as half of the fixed complaints
    p: float

    @property
    def helps(self) -> bool:
        """Whether it fixes more unseen complaints than chance."""
        return bool(self.fixed.any()) and self.p < _FIXES

    @property
    def fixed_bounds(self) -> tuple[float, float]:
        """Interval that holds the share of unseen complaints that the head fixes, with 95 %."""
        # Counts of folds vary more than independent ones, and the head that is written has seen
        # all complaints. Bounds of 99 % hold its share in 95 of 100 simulated repairs.
        n = int(self.fixed.sum()), len(self.fixed)
        return share_bounds(*n, lower_level=0.005, upper_level=0.005)


class ComplaintFolds:
    """Heads that are moved towards complaints, and their answers on unseen complaints and traffic.

    Each fold's head has seen neither its complaints nor its rows of the traffic. Nothing is chosen
    by the answers on complaints, so they count the complaints that the head fixes without bias.
    """

    def __init__(
        self,
        head: LinearHead,
        Z: Array,
        right: Array,
        traffic: Array,
        seed: int,
        counts: Array | None = None,
    ) -> None:
        rng, n, m = np.random.default_rng(seed), len(Z), len(traffic)
        scaler = scaler_of(Rows.of(traffic))
        self.mean, self.std = scaler.mean_, scaler.scale_
        n_logits = 1 if len(head.classes) == 2 else len(head.classes)
        classes = np.arange(len(head.classes))
        old = head.with_logits(n_logits).scaled(self.std, -self.mean / self.std)
        self.old = LinearHead(old.coef, old.intercept, classes)
        X = ((np.concatenate([Z, traffic]) - self.mean) / self.std).astype(np.float32)
        n_folds = min(n, _FOLDS)
        fold = np.append(rng.permutation(n), rng.permutation(m)) % n_folds
        fits = n + np.sort(rng.permutation(m)[:_MOST])
        p = self.old.predict_proba(X[fits])
        at, soft = np.nonzero(p > _SOFT)
        rows = np.append(np.arange(n), fits[at])
        y = np.append(right, soft)
        weight = np.append(np.ones(n), p[at, soft])
        data = Rows.of(X[rows], y, classes=classes)
        weights = list[Array]()
        for left in range(n_folds + 1):  # the last head has seen everything
            w = np.where(fold[rows] == left, 0, weight)
            # All complaints together weigh nothing, or as much as the traffic.
            for share in (0, w[n:].sum() / max(1, w[:n].sum())):
                some = np.append(share * w[:n], w[n:])
                weights.append(some / some.sum())
        heads = data.heads(weights, alphas=[_RIDGE] * len(weights), tol=1e-3)
        shape = n_folds + 1, 2, n_logits
        coef = np.reshape([h.coef for h in heads], (*shape, -1)).astype(np.float64)
        bias = np.reshape([h.intercept for h in heads], shape).astype(np.float64)
        # A step leaves the old head for the fitted one, from half-way to what the penalty alone
        # makes of the old head: a step of 0 is the old head, whatever trained it.
        self.coef = coef[:, 1] - (coef[:, 0] + self.old.coef) / 2
        self.bias = bias[:, 1] - (bias[:, 0] + self.old.intercept) / 2
        self.most_step = _MOST_STEP
        self._judge(X, fold, right, n, counts)

    def _judge(self, X: Array, fold: Array, right: Array, n: int, counts: Array | None) -> None:
        """Logits of each row, and their moves by the head of the other folds."""
        m, classes = len(X) - n, self.old.classes
        before = self.old.logits(X).astype(np.float64)
        moves = np.empty_like(before)
        for left in range(len(self.coef) - 1):
            moved = LinearHead(self.coef[left], self.bias[left], classes)
            moves[fold == left] = moved.logits(X[fold == left])
        self.n, self.right, self.before, self.moves = n, right, before, moves
        self.counts = np.ones(m) if counts is None else np.asarray(counts, dtype=float)
        self.answers = before.argmax(axis=1)
        self.changes_at = _changing_steps(before, moves)
        last = LinearHead(self.coef[-1], self.bias[-1], classes)
        self.last_changes_at = _changing_steps(before[n:], last.logits(X[n:]).astype(np.float64))

    def head(self, step: float, classes: Array) -> LinearHead:
        """The head that has seen all complaints, on raw embeddings."""
        coef = self.old.coef + step * self.coef[-1]
        head = LinearHead(coef, self.old.intercept + step * self.bias[-1], classes)
        return head.scaled(1 / self.std, self.mean)

    def choice(self, limit: float) -> LargestStep:
        """The largest step that changes no larger share of the traffic."""
        # Neither heads of folds nor the written one, which has seen everything, change more.
        n, of_folds = self.n, self.changes_at[self.n :]
        both = product((of_folds, self.last_changes_at), (np.ones_like(self.counts), self.counts))
        step = min(_largest_step(at, limit, mass, self.most_step) for at, mass in both)
        after = self.before + step * self.moves
        new, rows = after.argmax(axis=1), np.arange(len(after))
        new[self.changes_at >= step] = self.answers[self.changes_at >= step]
        fixed, changed = new[:n] == self.right, new != self.answers
        sure = after[rows, new] - after[rows, self.answers]
        as_sure = np.median(sure[:n][fixed]) if fixed.any() else np.inf
        n_alike = int((changed & (sure >= as_sure))[n:].sum())
        share = float(changed[n:].mean()), float(np.average(changed[n:], weights=self.counts))
        return LargestStep(step, fixed, *share, n_alike, self.p(new))

    def p(self, new: Array) -> float:
        """P-value of so many fixed complaints, if they changed as often as the traffic does."""
        # Each complaint has the chance of the traffic with its old answer to get its right class,
        # so the number of fixed ones has a Poisson binomial distribution.
        n, chances = self.n, np.ones(1)
        for old, right in zip(self.answers[:n], self.right, strict=True):
            changed = new[n:][self.answers[n:] == old] == right
            p = (changed.sum() + 1) / (len(changed) + 2)
            chances = np.convolve(chances, [1 - p, p])
        return float(chances[int((new[:n] == self.right).sum()) :].sum())


class CopyFolds(ComplaintFolds):
    """Heads fitted on changed copies, which should get the answers of their originals.

    Traffic answers with the old probabilities, and originals half with these and half with their
    answer: it is right, and near a boundary probabilities alone do not keep it. Copies together
    weigh twice as much as both. The penalty pulls to the old head, so that classes without a sample
    keep their weights.
    Each fold's head has seen neither its originals nor their copies. The copies whose answer
    flips are the complaints.
    """

    def __init__(
        self,
        head: LinearHead,
        Z: Array,
        copies: Array,
        of: Array,
        traffic: Array,
        fold: Array,
        seed: int,
        counts: Array,
    ) -> None:
        rng, n, m = np.random.default_rng(seed), len(copies), len(traffic)
        kept = np.concatenate([traffic, Z])
        scaler = scaler_of(Rows.of(kept))
        self.mean, self.std = scaler.mean_, scaler.scale_
        n_logits = 1 if len(head.classes) == 2 else len(head.classes)
        classes = np.arange(len(head.classes))
        old = head.with_logits(n_logits).scaled(self.std, -self.mean / self.std)
        self.old = LinearHead(old.coef, old.intercept, classes)
        X = ((np.concatenate([copies, kept]) - self.mean) / self.std).astype(np.float32)
        answers = self.old.logits(X[n + m :]).argmax(axis=1)
        right = answers[of]
        folds = np.concatenate([fold[of], rng.permutation(m) % (fold.max() + 1), fold])
        fits = n + np.append(np.sort(rng.permutation(m)[:_MOST]), m + np.arange(len(Z)))
        p = self.old.predict_proba(X[fits])
        p[-len(Z) :] = (p[-len(Z) :] + np.eye(len(classes))[answers]) / 2
        at, soft = np.nonzero(p > _SOFT)
        rows, y = np.append(np.arange(n), fits[at]), np.append(right, soft)
        weight, offset = p[at, soft], (X @ old.coef.T + old.intercept)[rows]
        moves = list[Array]()
        for left in range(int(folds.max()) + 2):  # the last head has seen everything
            seen = folds[rows] != left
            share = _COPIES * weight[seen[n:]].sum() / max(1, int(seen[:n].sum()))
            w = np.append(np.full(int(seen[:n].sum()), share), weight[seen[n:]])
            moved = fit_linear_head(
                X[rows[seen]], y[seen], w, classes=classes, C=1 / (_PULL * w.sum()),
                offset=offset[seen], tol=1e-3,
            )  # fmt: skip
            moves.append(moved.coef)
        self.coef = np.stack(moves).astype(np.float64)
        self.bias, self.most_step = np.zeros(self.coef.shape[:2]), 1.0
        self._judge(X, folds, right, n, counts)
        self.of_copies, self.of = (self.before[:n], self.moves[:n], right), of
        self.flips = np.flatnonzero(self.answers[:n] != right)
        judged = np.append(self.flips, np.arange(n, len(X)))
        self._judge(X[judged], folds[judged], right[self.flips], len(self.flips), counts)

    def keeps(self, step: float) -> Array:
        """Whether each copy gets the answer of its original, by the head of the other folds."""
        before, moves, right = self.of_copies
        return np.asarray((before + step * moves).argmax(axis=1) == right)

    def sign_p(self, step: float) -> float:
        """P-value of so many originals with more copies fixed than broken, by a sign test."""
        gain = self.keeps(step).astype(int) - self.keeps(0)
        signs = np.sign(np.bincount(self.of, weights=gain))
        n = int((signs != 0).sum())
        return float(binom.sf(int((signs > 0).sum()) - 1, n, 0.5))


def _changing_steps(before: Array, moves: Array) -> Array:
    """The step from which on an answer is another one, from logits and their moves, (N,)."""
    # The logits change in proportion to the step, so an answer that changed stays changed.
    row, answers = np.arange(len(before)), before.argmax(axis=1)
    lead = before[row, answers][:, None] - before
    gain = moves - moves[row, answers][:, None]
    at_step = np.divide(lead, gain, out=np.full_like(lead, np.inf), where=gain > 0)
    steps: Array = at_step.min(axis=1)
    return steps


def _largest_step(changes_at: Array, limit: float, mass: Array, most_step: float) -> float:
    """The largest step that changes no larger share of the answers, by their mass."""
    order = np.argsort(changes_at, kind="stable")
    at, total = changes_at[order], np.cumsum(mass[order])
    most = int(np.searchsorted(total, limit * total[-1] + 1e-9, side="right"))
    first_kept = at[most] if most < len(at) else np.inf
    last_changed = at[at < first_kept].max(initial=0.0)
    return min(most_step, float(last_changed + first_kept) / 2)


def _direction_p(
    head: LinearHead, Z: Array, right: Array, traffic: Array, level: float, seed: int
) -> float:
    """P-value of complaints that differ from traffic with the same logits in a common direction.

    The null hypothesis: among samples with the same answer and the same probability of the right
    class, complaints have the embeddings of any traffic. It holds for a model that no other head
    improves, as the chance of an error then depends on the logits alone. Complaints near the
    boundary are not evidence: there, any step of the head changes answers.

    The statistic is that of a two-sample test with a linear kernel (Gretton et al., JMLR 13, 2012).
    Complaints and traffic are permuted within strata of old answer, right class and the old
    probability of the right class.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(Z))[:_COMPLAINTS]
    rows = rng.permutation(len(traffic))[:_TRAFFIC]
    n, scaler = len(some), scaler_of(Rows.of(traffic))
    raw = np.concatenate([Z[some], traffic[rows]])
    X = ((raw - scaler.mean_) / scaler.scale_).astype(np.float32)
    log_p = log_softmax(head.logits(raw).astype(np.float64), axis=1)
    old, wanted = log_p.argmax(axis=1), np.append(right[some], np.full(len(rows), -1))
    # A row of the traffic stands in for complaints of one right class.
    for answer in np.unique(old[:n]):
        like = np.flatnonzero(old == answer)
        of_traffic = like[like >= n]
        kinds = np.unique(wanted[like[like < n]])
        wanted[of_traffic] = rng.permutation(np.resize(kinds, len(of_traffic)))
    stratum, count = np.full(len(X), -1), 0
    for answer, kind in np.unique(np.stack([old, wanted])[:, :n], axis=1).T:
        like = np.flatnonzero((old == answer) & (wanted == kind))
        p, n_strata = log_p[like, kind], int(np.clip(len(like) // _ROWS, 1, _STRATA))
        edges = np.quantile(p, np.arange(1, n_strata) / n_strata)
        stratum[like] = count + np.searchsorted(edges, p, side="right")
        trend = np.stack([np.ones_like(p), p, p**2], axis=1)
        X[like] -= trend @ np.linalg.lstsq(trend, X[like], rcond=None)[0]
        count += n_strata
    strata = [np.flatnonzero(stratum == k) for k in np.unique(stratum[:n])]
    for like in strata:
        X[like] -= X[like].mean(axis=0)
    # Two complaints ask for the same change of the logits, for parts of it, or for the opposite.
    agree = (wanted[:, None] == wanted).astype(np.float32) + (old[:, None] == old)
    agree -= (wanted[:, None] == old).astype(np.float32) + (old[:, None] == wanted)
    pairs = (X @ X.T) * agree
    np.fill_diagonal(pairs, 0)

    def statistic(drawn: Array) -> Array:
        return np.asarray(pairs[drawn[:, :, None], drawn[:, None, :]].sum(axis=(1, 2)))

    observed = float(statistic(np.arange(n)[None])[0])
    observed -= 1e-5 * abs(observed)  # of equal draws in another order
    n_draws, done, as_large = int(np.ceil(_DRAWS / level)), 0, 0
    while done < n_draws and as_large < _ENOUGH:
        size = min(n_draws - done, max(1, _PAIRS // n**2), 200)
        drawn = []
        for like in strata:
            keys = rng.random((size, len(like))).argsort(axis=1)
            drawn.append(like[keys[:, : (like < n).sum()]])
        as_large += int((statistic(np.concatenate(drawn, axis=1)) >= observed).sum())
        done += size
    return (1 + as_large) / (1 + done)


@dataclass(frozen=True)
class Repair:
    """What complaints and traffic show: a head, its causes, and whether they have a direction."""

    folds: ComplaintFolds
    choice: LargestStep
    causes: tuple[Row, ...]  # unseen complaints of an old and a right answer, those fixed as right
    used: frozenset[str]  # names of the causes that the head is fitted on
    limit: float
    p: float  # the smallest of the tests for a common direction, times their number
    flip_rates: tuple[tuple[str, float, float], ...] = ()  # of changes: old, new and cross-fitted

    @property
    def has_direction(self) -> bool:
        """Whether complaints differ from traffic with the same logits."""
        return self.p < _LEVEL

    @property
    def helps(self) -> bool:
        """Whether complaints have a common direction, and the head fixes unseen ones."""
        return self.has_direction and self.choice.helps

    @property
    def by_limit(self) -> dict[float, LargestStep]:
        """The choice for several limits."""
        return {limit: self.folds.choice(limit) for limit in sorted({*_LIMITS, self.limit})}


def repaired(
    head: LinearHead,
    Z: Array,
    right: Array,
    traffic: Array,
    limit: float = LIMIT,
    seed: int = 0,
    counts: Array | None = None,
) -> Repair:
    """Test each cause of complaints for a direction, and move the head towards those that have one.

    ``right`` has the numbers of the right classes, and ``limit`` is the largest share of the
    traffic whose answers may change: of its contents, and of its samples, of which each content has
    ``counts``.
    """
    old, names = head.logits(Z).argmax(axis=1), head.classes.tolist()
    pairs, cause = np.unique(np.stack([old, right]), axis=1, return_inverse=True)
    titles = [f"{names[a]} → {names[b]}" for a, b in pairs.T]
    few = np.bincount(cause) < FEWEST
    titles.append(_OTHERS)
    cause = np.where(few[cause], len(few), cause)
    numbers, sizes = np.unique(cause, return_counts=True)

    def p(rows: Array, n_tests: int) -> float:
        given = head, Z[rows], right[rows], traffic
        return min(1.0, n_tests * _direction_p(*given, _LEVEL / n_tests, seed))

    # Half of the level is for a test of all complaints together, if no cause has a direction.
    enough, together = numbers[sizes >= FEWEST].tolist(), len(numbers) > 1
    tested = {i: p(cause == i, 2 * len(enough) if together else 1) for i in enough}
    used = [i for i, value in tested.items() if value < _LEVEL]
    lowest = min(tested.values(), default=1.0)
    if together and not used:
        lowest = min(lowest, p(cause >= 0, 2))
    keep = np.isin(cause, used or numbers)
    folds = ComplaintFolds(head, Z[keep], right[keep], traffic, seed, counts)
    choice = folds.choice(limit)
    fixed = np.empty(len(Z), dtype=bool)
    fixed[keep] = choice.fixed
    if not keep.all():  # the head has seen none of these
        new = folds.head(choice.step, np.arange(len(names)))
        fixed[~keep] = new.logits(Z[~keep]).argmax(axis=1) == right[~keep]
    causes = compare([fixed], [("slice", titles[i], cause == i) for i in numbers.tolist()])
    fitted_on = frozenset(titles[i] for i in used or numbers.tolist())
    causes.sort(key=lambda each: each.name not in fitted_on)
    return Repair(folds, choice, tuple(causes), fitted_on, limit, lowest)


def repaired_by_copies(
    embedder: OnnxEmbedder,
    samples: Samples,
    Z: Array,
    traffic: Array,
    changes: Sequence[Change],
    limit: float,
    seed: int,
    counts: Array,
) -> Repair:
    """Move the head so that changed copies of samples get the answers of their originals.

    Traffic and samples are what should stay. The causes are the changes.
    """
    head = embedder.frozen_model.head
    assert head is not None
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(samples)) % _FOLDS_OF_COPIES  # donors are in the fold of the copy
    made = [embedded_copies(embedder, samples, c, seed=seed, folds=fold) for c in changes]
    copies, of = (np.concatenate([getattr(c, name) for c in made]) for name in ("Z", "rows"))
    of_change = np.repeat(np.arange(len(made)), [len(each.rows) for each in made])
    flips = head.predict(copies) != head.predict(Z[of]) if len(of) else np.zeros(0, bool)
    if (n := int(flips.sum())) < FEWEST:
        raise InputError(
            f"{', '.join(map(str, changes))}: changed copies flip {n} of {len(of)} answers, and at "
            f"least {FEWEST} flipped answers are needed. Name another change, or add samples."
        )
    every = np.append(counts, np.ones(len(Z)))
    folds = CopyFolds(head, Z, copies, of, traffic, fold, seed, every)
    choice = folds.choice(limit)
    changed = np.unique(of_change[folds.flips]).tolist()
    of_flips = of_change[folds.flips]
    causes = compare([choice.fixed], [("slice", changes[i].name, of_flips == i) for i in changed])
    old, new = (~folds.keeps(step) for step in (0, choice.step))
    rates = tuple(
        (changes[i].name, float(old[of_change == i].mean()), float(new[of_change == i].mean()))
        for i in np.unique(of_change).tolist()
    )
    used = frozenset(cause.name for cause in causes)
    return Repair(folds, choice, tuple(causes), used, limit, folds.sign_p(1), rates)


@dataclass(frozen=True, eq=False, repr=False)
class ComplaintsResult(InNotebook):
    """Result of :func:`ntkit.debias` with complaints: the head, and what it changes elsewhere."""

    model: FrozenModel
    head: LinearHead
    repair: Repair
    n_traffic: int
    path: Path | None
    notes: tuple[str, ...]
    next: str
    verification: Verification | None = None

    @property
    def written(self) -> bool:
        """Whether ``model`` has the new head."""
        return self.repair.helps

    @property
    def state(self) -> str:
        """``"written"``, or ``"kept"`` if the original model was kept."""
        return "written" if self.written else "kept"

    def __str__(self) -> str:
        return self.summary()

    @property
    def _what(self) -> str:
        """What is to be fixed: complaints, or flips of copies of samples that are right."""
        return "flips of changed copies" if self.repair.flip_rates else "complaints"

    @property
    def _used(self) -> str:
        """The same, if the head is fitted on those of some causes only."""
        some = {cause.name for cause in self.repair.causes} > self.repair.used
        return self._what + " with a common direction" * some

    def headline(self) -> str:
        """First line of :meth:`summary`: what became of the model, or why it was kept."""
        used = sum(cause.n for cause in self.repair.causes if cause.name in self.repair.used)
        of_used = f"{used} {self._what}"  # at least FEWEST
        if self.written:
            where = "The model has" if self.path is None else f"Wrote {self.path / MODEL_FILE} with"
            return f"{where} {new_layer(self.model)}, moved towards {of_used}."
        n = self.repair.folds.n
        for limit, choice in self.repair.by_limit.items():
            if self.repair.has_direction and limit > self.repair.limit and choice.helps:
                return (
                    f"Kept the original model: too few of {n} {self._used} are fixed if at most "
                    f"{100 * self.repair.limit:g} % of the answers change. Allow more: --max-cost "
                    f"{limit:g}"
                )
        smaller = [k for k, c in self.repair.by_limit.items() if k < self.repair.limit and c.helps]
        if self.repair.has_direction and smaller:
            return (
                "Kept the original model: at this limit so many answers change that as many "
                f"{self._what} are fixed by chance. Allow less: --max-cost {smaller[-1]:g}"
            )
        if self.repair.has_direction:
            return (
                f"Kept the original model: the {n} {self._what} have a common direction, but a "
                "last layer fixes too few of them."
            )
        return (
            f"Kept the original model: found no common direction of these {n} {self._what}"
            f"{'' if self.model.label is None else f' on the label {self.model.label!r}'} that a "
            "last layer can see."
        )

    def _lines(self) -> list[str]:
        choice = self.repair.choice
        fixed, n = int(choice.fixed.sum()), self.repair.folds.n
        lines = [
            f"Unseen {self._used} fixed, cross-fitted: {fixed} of {n} ({percent(fixed / n)}, 95 % "
            f"interval {interval(choice.fixed_bounds)})."
        ]
        lines += [
            f"  {name} flips {percent(old)} → {percent(new)} of the answers."
            for name, old, new in self.repair.flip_rates
        ]
        rates = self.repair.flip_rates
        for cause in self.repair.causes if len(self.repair.causes) > 1 and not rates else ():
            left = "; left out, because no common direction was found"
            left = "" if cause.name in self.repair.used else left
            left = "; left out, because they are too few" if cause.n < FEWEST else left
            lines.append(f"  {cause.name}: {cause.right} of {cause.n} fixed{left}.")
        n_changed = round(choice.changed * self.n_traffic)
        share, limit = percent(choice.changed), f"{100 * self.repair.limit:g} %"
        with_copies = percent(choice.changed_with_copies)
        if with_copies != share:
            share += f", with copies {with_copies} of {int(self.repair.folds.counts.sum())}"
        lines.append(
            f"Answers of the traffic that change, cross-fitted: {n_changed} of {self.n_traffic} "
            f"({share}, limit {limit}). {choice.n_alike} of them change as surely as half of the "
            f"fixed {self._used}."
        )
        return lines

    def summary(self, *, verbose: bool = False) -> str:
        """What ``ntkit debias`` prints; ``verbose=True`` adds the results for other limits."""
        others = "" if self.verification is None else self.verification.on_other_labels()
        lines = [self.headline(), *self._lines(), *filter(None, [others]), f"Next: {self.next}"]
        lines += [f"Note: {note}" for note in self.notes]
        return without_controls("\n".join([*lines, "", self.table()] if verbose else lines))

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each limit on the answers that change.

        Columns: ``limit``, ``chosen``, ``complaints``, of which ``fixed``, as a share between
        ``low`` and ``high``; ``changed`` answers of the traffic. Shares are in [0, 1].
        """
        rows = [
            {"limit": limit, "chosen": limit == self.repair.limit, "complaints": len(choice.fixed),
             "fixed": int(choice.fixed.sum()), **ends("", choice.fixed_bounds),
             "changed": choice.changed}
            for limit, choice in self.repair.by_limit.items()
        ]  # fmt: skip
        return frame_of(rows, _COLUMNS)

    def _shown(self) -> NotebookView:
        """The first lines, and the table with the complaints fixed as bars."""
        bars = [Bar(c.fixed.mean(), interval=c.fixed_bounds) for c in self.repair.by_limit.values()]
        limits = ShownTable(self.table().rows, bars, bars_show=f"{self._used} fixed")
        return NotebookView([self.headline(), *self._lines()], [limits])

    def __repr__(self) -> str:
        fixed, n = int(self.repair.choice.fixed.sum()), self.repair.folds.n
        return f"ComplaintsResult({self.state}: {fixed} of {n} {self._used} fixed)"

    def table(self) -> Markdown:
        """Unseen complaints fixed and answers changed, for several limits, as a Markdown table."""
        rows = [["limit", f"{self._used} fixed", "answers changed"]]
        for limit, choice in self.repair.by_limit.items():
            mark = " ←" if limit == self.repair.limit else ""
            share = percent(float(choice.fixed.mean()))
            rows.append([f"{100 * limit:g} %{mark}", share, percent(choice.changed)])
        return table(rows, "<>>", padded=True)

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON: the content of ``result.json``."""
        choices, kept = self.repair.by_limit.items(), self.path is None or self.verification is None
        record = {
            **{"state": self.state, "headline": self.headline(), "written": self.written},
            "label": self.model.label,
            "causes": [
                {"name": c.name, "n": c.n, "fixed": c.right, "used": c.name in self.repair.used}
                for c in self.repair.causes
            ],
            "p": self.repair.p,
            "flip_rates": [
                {"name": name, "old": old, "new": new} for name, old, new in self.repair.flip_rates
            ],
            "by_limit": {f"{k:g}": vars(c) | {"fixed": int(c.fixed.sum())} for k, c in choices},
            **{"max_cost": self.repair.limit, "n_used": self.repair.folds.n},
            "n_complaints": sum(cause.n for cause in self.repair.causes),
            **{"n_traffic": self.n_traffic, "verification": self.verification},
            "model": None if kept else str(Path(self.path or "") / MODEL_FILE),
            **{"notes": self.notes, "version": __version__},
        }
        return dict(plain(record))


_TAKEN = frozenset({"preprocessing", "batch_size", "random_state", "verbose"})
"""Settings that a repair by complaints takes."""


def refuse_with_complaints(arguments: Sequence[str], settings: DebiasSettings) -> None:
    """Raise an error for arguments and settings that a repair by complaints does not take."""
    default = DebiasSettings()
    in_settings = [n for n, value in vars(settings).items() if value != getattr(default, n)]
    for name in (*arguments, *in_settings):
        if name not in _TAKEN:
            raise InputError(
                f"{name} cannot be combined with keep: complaints and traffic are all that such a "
                f"repair reads. Omit {name}, or omit keep."
            )


def fix_complaints(
    model: FrozenModel | StrPath,
    complaints: Any,
    traffic: Any,
    *,
    max_cost: float | None,
    out: StrPath | None,
    device: str,
    force: bool,
    settings: DebiasSettings,
    changes: Sequence[Change] = (),
) -> ComplaintsResult:
    """Move the head towards complaints, and write it if it fixes unseen ones.

    With ``changes``, complaints are labelled samples that the model gets right. Their changed
    copies whose answers flip are the complaints then, and they belong to the traffic. ``max_cost``
    is the largest share of the traffic whose answers may change. The other arguments are those of
    :func:`ntkit.debias`, whose ``keep`` is the traffic.
    """
    limit, out = LIMIT if max_cost is None else max_cost, None if out is None else Path(out)
    if not 0 < limit <= 1:
        raise InputError(f"max_cost must be a share above 0, at most 1. Got {limit}.")
    model, complaints, traffic, notes = _read(loaded(model), complaints, traffic, settings)
    if out is not None:
        files = input_paths(model, complaints, traffic)
        check_folder(out, inputs=files, force=force, size=size_of(model.files))
    check_origins(model, {"complaints": complaints, "traffic": traffic})
    for samples in (complaints, traffic):
        samples.check_lengths()
    if not changes:
        _check_number(len(complaints))
    notes += reading_notes({"complaints": complaints, "traffic": traffic})
    complaints, traffic, counts, n_shared = _without_copies(complaints, traffic, model, notes)
    _check_traffic(len(traffic), limit)
    embedder = OnnxEmbedder(
        model, device=device, batch_size=settings.batch_size, verbose=settings.verbose
    )
    raw = next((each for each in (traffic, complaints) if not each.embedded), None)
    inputs = random_inputs(model) if raw is None else spread_rows(raw.X, len(raw), _VERIFIED)
    check_head(embedder, inputs)
    Z, T = (s.X if s.embedded else embedder.transform(s.X) for s in (complaints, traffic))
    check_embedded({"traffic": T})
    sets = {"traffic": traffic, "complaints": complaints}  # in other forms, they may share samples
    contents, on_close = contents_by_embedding(sets, None, {"traffic": T, "complaints": Z})
    notes += [on_close] * bool(on_close)
    shared = np.isin(contents["traffic"], contents["complaints"])
    if shared.any():
        n_shared, T, counts = n_shared + int(shared.sum()), T[~shared], counts[~shared]
        traffic = traffic.take(np.flatnonzero(~shared))
        _check_traffic(len(traffic), limit)
    if n_shared:
        notes.append(
            f"{counted(n_shared, 'sample')} of the traffic left out: the complaints have the same "
            "content."
        )
    head = model.head
    assert head is not None  # check_head raised an error
    seed = settings.random_state
    if changes:
        sure = np.flatnonzero(head.predict(Z) == complaints.y)
        if n := len(Z) - len(sure):
            notes.append(f"{counted(n, 'sample')} left out: the model's answer is wrong.")
        asked = complaints.take(sure), np.asarray(Z)[sure]
        repair = repaired_by_copies(embedder, *asked, np.asarray(T), changes, limit, seed, counts)
    else:
        repair = _by_errors(head, Z, complaints, np.asarray(T), counts, limit, seed, notes)
    new, debiased = _moved(model, repair, traffic) if repair.helps else (head, model)
    n_traffic = len(repair.folds.counts)
    result = ComplaintsResult(debiased, new, repair, n_traffic, out, tuple(notes), "")
    result = replace(result, next=_next(result, model, complaints, traffic))
    if out is None:
        return result
    with new_folder(out, force=force) as place:
        if result.written:
            check = save_verified(
                debiased, place / MODEL_FILE, original=embedder, X=inputs, head=new, device=device
            )
            result = replace(result, verification=check)
        _write_files(place, result, model)
    return result


def _by_errors(
    head: LinearHead,
    Z: Array,
    complaints: Samples,
    traffic: Array,
    counts: Array,
    limit: float,
    seed: int,
    notes: list[str],
) -> Repair:
    """The repair by samples that the model gets wrong; the others are left out."""
    wrong = head.predict(Z) != complaints.y
    if n := int((~wrong).sum()):
        notes.append(f"{counted(n, 'complaint')} left out: the model's answer is right.")
    _check_number(int(wrong.sum()))
    right = (complaints.y[wrong, None] == head.classes).argmax(axis=1)
    return repaired(head, np.asarray(Z)[wrong], right, traffic, limit, seed, counts)


def _read(
    model: FrozenModel, complaints: Any, traffic: Any, settings: DebiasSettings
) -> tuple[FrozenModel, Samples, Samples, list[str]]:
    """The model with the classes of the complaints, complaints, traffic without labels, notes."""
    if (problem := model.not_single_label) is not None:
        raise InputError(problem)
    steps = settings.preprocessing
    match = read(complaints, model, preprocessing=steps).fit_to(model)
    samples = read(traffic, match.model, labels="some", keep_unknown=True, preprocessing=steps)
    samples = replace(samples.with_columns_as_in(match.samples), y=None)
    return match.model, match.samples, samples, [*match.notes]


def _without_copies(
    complaints: Samples, traffic: Samples, model: FrozenModel, notes: list[str]
) -> tuple[Samples, Samples, Array, int]:
    """Distinct complaints, distinct traffic without them, its counts, and how many both have."""
    digests = contents_of({"complaints": complaints, "traffic": traffic}, model)
    first, copies = np.unique(digests["complaints"], return_index=True, return_inverse=True)[1:]
    _check_labels(complaints, first[copies])
    if n := len(complaints) - len(first):
        copy = int(np.flatnonzero(first[copies] != np.arange(len(complaints)))[0])
        notes.append(
            f"{counted(n, 'complaint')} left out: the same content is there twice, such as in "
            f"{_two(complaints, int(first[copies][copy]), copy)}."
        )
    shared = np.isin(digests["traffic"], digests["complaints"])
    # Whatever their order.
    of_traffic, counts = np.unique(digests["traffic"], return_index=True, return_counts=True)[1:]
    if n := len(traffic) - len(of_traffic):
        notes.append(f"{counted(n, 'sample')} of the traffic left out: copies of others.")
    alone = ~shared[of_traffic]
    kept = complaints.take(np.sort(first)), traffic.take(of_traffic[alone])
    return *kept, counts[alone], int(shared[of_traffic].sum())


def _write_files(place: Path, result: ComplaintsResult, model: FrozenModel) -> None:
    """Write the result, and the head if the repair has one."""
    if result.written:
        write_heads(place / HEADS_FILE, model, {"complaints": result.head})
    (place / "table.md").write_text(result.summary(verbose=True) + "\n", encoding="utf-8")
    (place / "result.json").write_text(as_json(result.as_dict()), encoding="utf-8")
    for name, text in settings_files().items():
        (place / name).write_text(text, encoding="utf-8")


def _moved(model: FrozenModel, repair: Repair, traffic: Samples) -> tuple[LinearHead, FrozenModel]:
    """The new head, and the model with it and its provenance."""
    choice, old = repair.choice, model.head
    assert old is not None
    new = repair.folds.head(choice.step, old.classes).astype(old.coef.dtype)
    steps = (traffic.origin or {}).get("preprocessing", traffic.preprocessing)
    source = {"model": model.sha256(), "tensor": model.embedding.name, "preprocessing": steps}
    facts = {"method": "complaints", "version": __version__}
    facts |= {name.removeprefix("ntkit."): text for name, text in facts_of(source).items()}
    return new, model.with_head(new, provenance=facts)


def _two(samples: Samples, i: int, j: int) -> str:
    names = samples.unique_names
    which = "rows " if names[i] == str(i) else ""
    return f"{which}{names[i]} and {names[j]}"


def _check_labels(complaints: Samples, first: Array) -> None:
    """Raise an error if complaints with one content have two labels; ``first`` has equal rows."""
    y = np.asarray(complaints.y)
    if len(differ := np.flatnonzero(y != y[first])):
        i, j = int(first[differ[0]]), int(differ[0])
        one, two = y[[i, j]].tolist()
        raise InputError(
            f"{counted(len(np.unique(first[differ])), 'complaint')} with two labels: "
            f"{_two(complaints, i, j)} have the same content, and the labels {one!r} and "
            f"{two!r}. Leave the wrong ones out."
        )


def _check_number(n: int) -> None:
    if n < FEWEST:
        raise InputError(
            f"{counted(n, 'complaint')} that the model gets wrong: at least {FEWEST} are needed, "
            "and thirty are better. Add samples of the same kind with their right labels."
        )


def _check_traffic(n: int, limit: float) -> None:
    """Raise an error for too few samples besides the complaints."""
    if not n:
        raise InputError("The traffic (--keep) has no samples besides the complaints; add others.")
    if n < (needed := int(np.ceil(1 / limit - 1e-9))):
        raise InputError(
            f"The traffic (--keep) has {counted(n, 'sample')} besides the complaints, and at least "
            f"{needed} are needed to see whether {100 * limit:g} % of the answers change. Add "
            "some, or allow more: --max-cost (max_cost=)."
        )


def _next(
    result: ComplaintsResult, model: FrozenModel, complaints: Samples, traffic: Samples
) -> str:
    """The next command: which answers change, or what the model says about the complaints."""
    samples, file = (traffic, "changed.csv") if result.written else (complaints, "predictions.csv")
    source, known = next(iter(samples.sources), None), arguments()
    if None in (model.path, source, known):
        if not result.written:
            return _SORT
        if result.path is None:
            return "debias(…, out='debiased/') writes the model."
        return "ntkit.predict(result.model, …) shows which answers change."
    old, data = quoted(from_here(model.path)), quoted(from_here(source))
    folder = result.path if result.written else None
    again = " ".join(filter(None, [f"-o {file}", options_again(known or {}, folder)]))
    if not result.written:
        return f"{_SORT}: ntkit predict {old} {data} {again}"
    assert result.path is not None  # the command line needs one
    new = quoted(from_here(result.path / MODEL_FILE))
    return f"ntkit predict {new} {data} --before {old} {again}"
