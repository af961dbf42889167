"""Choose a candidate and its interpolation with the original head, and tell the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from ntkit._process import progress_bar
from ntkit._text import percent
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.estimators import NeuronTuneClassifier, head_of
from ntkit.head import LinearHead
from ntkit.jobs.debias._accuracy_cost import AccuracyCost, mixed, taken
from ntkit.jobs.debias._candidates import (
    BY_CHANGE,
    GROUP_BALANCED,
    READ,
    YOURS,
    Candidate,
    FittedOn,
    is_degenerate,
    n_suppressed,
)
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._inputs import MOST_SHARED
from ntkit.jobs.debias._lost_groups import LostGroup
from ntkit.jobs.debias._outcome import (
    TEST,
    WORSE,
    NamedGroups,
    RepairOutcome,
    are_worse,
    deciding_groups,
    outcome_of,
)
from ntkit.jobs.debias._plan import Judges
from ntkit.jobs.debias._settings import Order
from ntkit.metrics import compare

_RANDOM_MASKS = 5
_READ = 20  # training samples of each group that is read
_METHODS = ("neurontune", "auto", YOURS, "copies", "groups and copies", READ)


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen candidate, and its interpolation with the original head."""

    # `head` is the interpolated head, on standardised embeddings. `pred` holds its cross-fitted
    # predictions of the validation set, and `after` those of the evaluation set. `gains` says
    # whether it gains on validation samples at an allowed accuracy cost. `unjudged` says whether it
    # balances groups that too few validation samples judge. `scores` are those of candidates by
    # change.

    comparison: Comparison
    name: str
    estimator: Any
    head: LinearHead
    pred: Array
    after: Array
    candidates: tuple[Candidate, ...]
    accuracy_costs: tuple[AccuracyCost, ...]
    accuracy_cost: AccuracyCost
    gains: bool
    unjudged: bool
    balanced_over: str | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Step:
    """A step of the interpolation, as validation samples judge it; no test sample is read."""

    cost: AccuracyCost
    outcome: RepairOutcome
    chosen: bool

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        return {"cost": asdict(self.cost), "outcome": self.outcome.as_dict(), "chosen": self.chosen}


def choose(comparison: Comparison, order: Order) -> Choice:
    """Fit every candidate of the plan and choose one: by name, or by the best score."""
    rows, scores = dict[str, Candidate](), dict[str, float]()
    candidates, name = comparison.plan.candidates, comparison.plan.method
    shown = order.settings.verbose
    for each in progress_bar(candidates, shown=shown, desc="fitting", unit=" candidates"):
        unfitted = candidates[each]
        clf, note = comparison.fit(*unfitted, as_is=each == YOURS)
        rows[each] = comparison.row(each, clf, unfitted.rows, note)
    fitted, rows_of = comparison.fitted, comparison.rows_of
    if name == BY_CHANGE:
        among = [each for each, on in rows_of.items() if on.by_change]
        among += [GROUP_BALANCED] * (rows_of.get(GROUP_BALANCED) is FittedOn.TRAIN)
        name, scores = best_by_change(comparison, among)
    if name is None:  # candidates whose rule flags too many neurons cannot be chosen
        sound = [each for each in candidates if not is_degenerate(fitted[each])]
        name = max(sound, key=lambda each: rows[each].score)
    masked = isinstance(fitted[name], NeuronTuneClassifier) and n_suppressed(fitted[name])
    of = name if masked else "neurontune"
    random = comparison.random_mask_row(fitted[of], _RANDOM_MASKS, rows_of[of])
    rows[name] = replace(rows[name], chosen=True)
    return _interpolated(comparison, name, rows, random, order, scores)


def _interpolated(
    comparison: Comparison,
    name: str,
    rows: Mapping[str, Candidate],
    random: Candidate,
    order: Order,
    scores: Mapping[str, float],
) -> Choice:
    """Choose the interpolation of a candidate with the original head, by its accuracy cost."""
    clf, known = comparison.fitted[name], comparison.plan.known
    groups, reported, _ = comparison.groups_of(name)
    # Only the classes, or groups that a shortcut helps, would judge a head that balances groups
    # with too few validation samples.
    unjudged = groups is not None and len(groups.names) <= len(comparison.classes)
    learnable = comparison.fitted["auto"].recipe_ == "cell-balanced"
    learnable &= not comparison.rows_of[name].by_change
    if comparison.rows_of[name] is FittedOn.LABELS:
        # Of groups that a person labelled, the labels may be unrelated to the errors.
        is_read = known is not None and known.is_read
        unjudged, learnable = is_read and groups is None, learnable and not is_read
    costs = comparison.costs_of(name, order.settings.interpolation)
    among = [each for each in costs if order.settings.interpolation in (None, each.t)]
    options = {"learnable": learnable, "largest_gain": comparison.pool.one_set}
    best = taken(() if unjudged else among, order.max_cost, **options)
    cost = best or among[-1]  # else of the whole new head
    if (review := order.settings.review) is not None:
        steps = [
            Step(each, repair_outcome(comparison, order, name, each.t), each is cost)
            for each in costs
        ]
        cost = costs[review(steps)]
    head = mixed(comparison.original, head_of(clf), cost.t, comparison.train.X)
    after = pred = comparison.validation_predictions(name, cost.t)
    if comparison.test is not None:
        after = head.predict(comparison.test.X)
    if cost.t != 1:  # the row of the head that is written
        row = replace(rows[name], share=cost.t, **comparison.rated(head, pred))
        rows = {**rows, name: row}
    return Choice(
        comparison=comparison,
        name=name,
        estimator=clf,
        head=head,
        pred=pred,
        after=after,
        candidates=_table(comparison, order.settings.new_head, rows, random, reported),
        accuracy_costs=costs,
        accuracy_cost=cost,
        gains=best is not None,
        unjudged=unjudged,
        balanced_over=None if groups is None else groups.name,
        scores=scores,
    )


def _table(
    comparison: Comparison,
    new_head: bool,
    rows: Mapping[str, Candidate],
    random: Candidate,
    groups: Attribute | None,
) -> tuple[Candidate, ...]:
    """All rows: the original head, controls, random masks, then the methods."""
    # With groups, a row tells the accuracy of the worst one on validation samples and copies.
    old, X, y = comparison.original, comparison.validation.X, comparison.validation.y
    original = "ERM head" if new_head else "original head"
    first = Candidate(name=original, n_suppressed=0, **comparison.rated(old, old.predict(X)))
    found = list[Candidate]()
    for row in (first, *rows.values()):
        if groups is None:
            found.append(row)
            continue
        right = comparison.scorecard.before[comparison.pool.of_validation]
        if row is not first:
            right = comparison.validation_predictions(row.name, row.share) == y
        if len(groups) > len(y):
            copies = comparison.judge.copies
            pred = (
                old.predict(copies.Z)
                if row is first
                else comparison.copy_predictions(row.name, row.share)
            )
            right = np.append(right, pred == y[copies.of])
        worst = min(each.value for each in groups.rows(right))
        found.append(replace(row, worst_named=worst))
    first, *others = found
    methods = [row for row in others if row.name.startswith(_METHODS)]
    controls = [row for row in others if not row.name.startswith(_METHODS)]
    return (first, *controls, random, *methods)


def best_by_change(comparison: Comparison, names: Sequence[str]) -> tuple[str, dict[str, float]]:
    """The best candidate by cross-fitted predictions of training rows and their copies."""
    # Among candidates within one standard error of the best, the predictions of the chosen one
    # flip least, because a person said that the changes do not matter.
    judge = comparison.judge_of_set(comparison.pool.of_train)
    X, y = comparison.train.X, comparison.train.y
    copies = judge.copies
    scores, errors, flips = dict[str, float](), dict[str, float](), dict[str, float]()
    for name in names:
        pred, of_copies = np.empty_like(y), np.empty_like(y, shape=len(copies.of))
        for head, unseen in comparison.cross_fitted(name):
            pred[unseen] = head.predict(X[unseen])
            of_unseen = np.isin(copies.of, unseen)
            of_copies[of_unseen] = head.predict(copies.Z[of_unseen])
        right = np.concatenate([pred == y, of_copies == y[copies.of]])
        scores[name], errors[name] = judge.score(right)
        same, every = of_copies == pred[copies.of], np.arange(len(copies.of))
        (kept,) = compare([same], [("change", name, every)])
        flips[name] = kept.value
    best = max(scores, key=lambda name: scores[name])
    good = [name for name in scores if scores[name] >= scores[best] - errors[best]]
    if READ in (scores if judge.by_copies_alone else good):
        # Heads that are fitted to copies are the best on copies, which are not real samples. So
        # these are balanced if each group has some.
        read = comparison.estimated_groups(comparison.pool.of_train)
        groups = [each.crossed(y, fewest=_READ).names for each in read]
        n_classes = len(comparison.classes)
        if all(len(of) == n_classes * len(a.names) for a, of in zip(read, groups, strict=True)):
            return READ, scores
    return min(good, key=lambda name: flips[name]), scores


def repair_outcome(
    comparison: Comparison, order: Order, name: str, t: float, tested: Array | None = None
) -> RepairOutcome:
    """How a step of the interpolation compares with the original head, by what was named.

    ``tested`` are its predictions of the test set, which is not read without them.
    """
    plan, card, test = comparison.plan, comparison.scorecard, comparison.test
    pool, rows, of_average = comparison.pool, comparison.pool.of_validation, slice(None)
    where = "validation set"
    after = comparison.validation_predictions(name, t) == card.y[rows]
    of_copies = comparison.right_copies(name, t)
    by_copies = card.by_copies((after, card.before[rows]), of_copies)
    by_labels = plan.judges is Judges.LABELS and not pool.one_set  # of both sets
    if by_labels and plan.known is not None and plan.known.is_estimated:
        of_train = comparison.train_predictions(name, t)
        after = np.append(of_train == pool.train.y, after)
        rows, of_average = slice(None), pool.of_validation
        if plan.known.known[pool.of_train].any():
            where = "training and validation set"
    y, right, read = card.y[rows], (after, card.before[rows]), [a.take(rows) for a in card.said]
    groups = card.groups(read, y, right, rows, by_copies)
    instead = by_copies[0].mean if by_copies else None
    if tested is not None and test is not None and plan.judges is Judges.TEST:
        of_test = tested == test.y, comparison.original.predict(test.X) == test.y
        on_test = card.groups(plan.on_test, test.y, of_test, rows)
        # If the test set has too few of a group, validation samples or their copies judge.
        # What it shows of its other groups can still refuse.
        enough = [all(each.first for each in deciding_groups(of)) for of in (on_test, groups)]
        judges = enough[0] or not (by_copies or enough[1])
        if judges or are_worse(on_test, order.max_cost):
            where, y, right, groups, instead = TEST, test.y, of_test, on_test, None
    if not groups:
        of_classes = compare(right, [("class", str(k), y == k) for k in card.classes])
        groups = [NamedGroups("class", tuple(of_classes), source="classes")]
    (average,) = compare(right, [("average", "average", np.arange(len(y))[of_average])])
    # Else a person may have chosen the share by these samples.
    fresh = order.settings.interpolation is None and not order.has_shown_test
    return outcome_of(groups, average, where, order.max_cost, instead, fresh=fresh)


def why_kept(
    choice: Choice,
    outcome: RepairOutcome,
    refused: LostGroup | None,
    max_cost: float,
    *,
    ordered: bool,
    shared: float,
    veto: str,
) -> str:
    """Why the original model is kept; empty if the chosen head is better and may be written.

    ``ordered`` says whether a person ordered a method, named a shortcut, or answered. ``shared`` is
    the share of the validation samples that are in the training set, and ``veto`` is what speaks
    against a repair by change.
    """
    name, cost, limit = choice.name, choice.accuracy_cost, f"{100 * max_cost:g}"
    if not cost.t:
        return "a person kept the original head"
    if not ordered:
        return "no method was ordered and no shortcut was named"
    if shared > MOST_SHARED:
        share = f"{percent(shared, 0)} of the validation samples"
        return f"{share} are in the training set, so they say nothing about unseen samples"
    if veto:
        return veto
    if outcome.word == WORSE:
        return f"{name} is worse, because {outcome.reason}"
    # Without a named shortcut, the limit is for the average, and the classes must gain.
    if outcome.of_classes and not cost.affordable(max_cost):
        allow = f"--max-cost {ceil(100 * cost.cost_high) / 100:g}"
        lost = f"{100 * cost.cost_high:.1f} points of average accuracy"
        return f"{name} may lose {lost}, limit {limit}. Allow more: {allow}"
    if outcome.is_better and refused is not None:
        group = str(refused) if refused.how else f"loses: {refused.in_full}"
        return f"{name} {group.removesuffix(')')}; limit {limit} points)"
    if not outcome.is_better or (outcome.of_classes and not choice.gains):
        return f"{name} makes no difference that can be told{outcome.change_in_words()}"
    return ""
