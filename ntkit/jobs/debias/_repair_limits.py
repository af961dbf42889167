"""Limits of ``ntkit check`` that fit a repair, from validation samples."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from math import ceil, floor, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtri

from ntkit._types import Array
from ntkit.attributes.activations import layer_of
from ntkit.attributes.answers import Answer, Answers
from ntkit.jobs.check import ChangeLimits, Limits, SliceLimits
from ntkit.jobs.debias._choice import Choice
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._named_attributes import NamedAttributes
from ntkit.jobs.debias._outcome import FEW, NamedGroups, named_groups
from ntkit.jobs.debias._plan import Judges, Plan
from ntkit.metrics import Row, compare
from ntkit.metrics.rows import Kind

_WRONG = 0.02  # probability that a right repair does not pass on new data of this size
_WRONG_DROP = 0.005  # the same of drops: the head was chosen on these samples, so it loses more
_REFUSED = 0.95  # probability that the original does not
_WIDEST = 0.25  # margin beyond which a limit is of no use
_LEAST = 0.011  # lowest accuracies up to 1 % are refused in files, as 0.9 often means 90 %


def repair_limits(choice: Choice) -> Limits:
    """Limits of a check that a repair passes on data like its validation set."""
    comparison, plan = choice.comparison, choice.comparison.plan
    average, classes, named = _rows(comparison, choice.pred)
    # The head that is written may lose more in one group and less in another than heads that were
    # fitted on parts of the samples.
    average_of_all, classes_of_all, named_of_all = _rows(
        comparison, choice.head.predict(comparison.validation.X)
    )
    answers, readable = _checkable(plan.said)
    groups, of_all = list[tuple[NamedGroups, Row]](), list[Row]()
    for each, same, is_readable in zip(named, named_of_all, readable, strict=False):
        groups += [(each, row) for row in each.rows if is_readable]
        of_all += same.rows if is_readable else ()
    n_limits = 2 + len(classes) + len(groups)
    # New samples may be as few as those of the test set, whose outcomes say nothing here.
    sizes = dict[str, int]()
    if comparison.test is not None:
        y, on_test = comparison.test.y, plan.on_test
        right = y != y  # whatever is predicted
        groups_on_test = comparison.scorecard.groups(on_test, y, (right, right)) if on_test else []
        sizes = {str(k): int((y == k).sum()) for k in comparison.scorecard.classes}
        sizes |= {str(row.name): row.n for each in groups_on_test for row in each.rows}
        sizes |= {"average": len(y)}
    few = {str(row.name): min(row.n, sizes.get(str(row.name), row.n)) for _, row in groups}
    few |= {str(row.name): min(row.n, sizes.get(str(row.name), row.n)) for row in classes}
    slices, none = dict[str, SliceLimits](), list[str]()
    for (each, row), whole in zip(groups, of_all, strict=True):
        of_group = _of_group(each, row, whole, n_limits, few[str(row.name)])
        if row.name in each.joined:  # no slice of a check has this name
            none.append(f"{row.name}, groups of fewer than {FEW} samples")
        elif of_group == SliceLimits():
            fewer = ", and fewer for the test" * (few[str(row.name)] < row.n)
            none.append(f"{row.name} ({row.n} validation samples{fewer})")
        else:
            slices[str(row.name)] = of_group
    invariance, changes = plan.invariance, list[str]()
    if invariance is not None:  # a check of such samples tests those that apply to some
        copies = invariance.of(comparison.pool.of_validation)
        numbers = np.unique(copies.change).tolist()
        changes = [invariance.changes[number].name for number in numbers]
    drops = dict[str, float]()
    for row, whole in zip(classes, classes_of_all, strict=True):
        drop = _largest_drop(row, whole, n_limits, few[str(row.name)])
        if drop is None:
            none.append(f"class {row.name}")
        else:
            drops[str(row.name)] = drop
    return Limits(
        over=("average",),
        max_drop=_largest_drop(
            average, average_of_all, n_limits, min(average.n, sizes.get("average", average.n))
        ),
        max_recall_drop=drops or None,
        slices=slices,
        changes={name: ChangeLimits() for name in changes},
        answers=answers if slices else Answers(()),
        repair={"without_limit": none},
    )


def _rows(comparison: Comparison, pred: Array) -> tuple[Row, list[Row], list[NamedGroups]]:
    """The average, the classes and the named groups by predictions of validation samples."""
    card, y = comparison.scorecard, comparison.validation.y
    rows = comparison.pool.of_validation
    right = pred == y, card.before[rows]
    subsets: list[tuple[Kind, Any, Array]]
    subsets = [("average", "average", y == y), *(("class", str(k), y == k) for k in card.classes)]
    average, *of_classes = compare(right, subsets)
    named = [
        named_groups(each.take(rows), y, right, helped, card.classes)
        for each, helped in zip(card.said, card.helped, strict=True)
        if comparison.plan.judges is not Judges.LABELS
    ]
    return average, of_classes, named


def comments_on(limits: Limits, plan: Plan) -> list[str]:
    """What the limits are, for the file that holds them."""
    comments = [
        "Limits of ntkit check for this repair, in percent and points, from validation samples.",
        "A drop is the loss on these samples plus a margin for their number.",
        "A lowest accuracy is of a group that the shortcut does not surely help, and that gained.",
    ]
    if plan.judges is Judges.LABELS:
        comments.append("Groups have no limits, because people labelled single samples.")
    else:
        readable = zip(plan.said.read, _checkable(plan.said)[1], strict=True)
        comments += [
            f"Groups of {each.name} have no limits, because a check does not read them by a name."
            for each, is_readable in readable
            if not is_readable
        ]
    none = limits.repair["without_limit"]
    return comments + [f"Too few samples for a useful limit: {each}." for each in none]


def _checkable(said: NamedAttributes) -> tuple[Answers, list[bool]]:
    """Answers that name the attributes for a check, and which of these it reads."""
    # Changed words and columns judge by their groups as well. A check does not read layers, and
    # mark-up has no name.
    spurious = (replace(each, by=None, at=None) for each in said.answers.spurious)
    answers = {
        each.name: each
        for each in spurious
        if not any(layer_of(name, each.rules.get(name)) for name in chain(*each.values))
    }
    for names in filter(None, said.judging[len(said.names) :]):
        answers.setdefault(names[0][0], Answer(names[0][0], "spurious", names))
    readable = [each.values for each in answers.values()]
    return Answers(tuple(answers.values())), [names in readable for names in said.judging]


def _of_group(groups: NamedGroups, row: Row, whole: Row, n_limits: int, few: int) -> SliceLimits:
    """The lowest accuracy of a misled group that surely gained; else the largest drop."""
    if (
        row.name not in groups.helped
        and row.n
        and few
        and row.drop_bounds(upper_level=groups.level, lower_level=groups.level)[1] < 0
    ):
        before = row.before or 0.0
        value = min(row.value, whole.value)
        least = value - _margin(value * (1 - value), row.n, few, n_limits)
        # The original then passes at most so often, for its accuracy is uncertain as well.
        share = (before * row.n + 0.5) / (row.n + 1)
        error = (sqrt(2) - 1) * sqrt(share * (1 - share) / row.n)
        if least > max(_LEAST, before + float(ndtri(_REFUSED)) * error):
            return SliceLimits(accuracy=floor(1000 * least) / 10)
    return SliceLimits(max_drop=_largest_drop(row, whole, n_limits, few))


def _largest_drop(row: Row, whole: Row, n_limits: int, few: int) -> float | None:
    """Percentage points that a subset may lose; None if it is too small to tell."""
    row = min(row, whole, key=lambda each: each.change or 0.0)
    if not row.n or not few:
        return None
    lost, gained = (((count or 0) + 0.5) / (row.n + 1) for count in (row.lost, row.gained))
    variance = lost + gained - (lost - gained) ** 2
    margin = _margin(variance, row.n, few, n_limits, _WRONG_DROP)
    drop = max(0.0, -(row.change or 0.0)) + margin
    return None if margin > _WIDEST else min(100.0, ceil(1000 * drop) / 10)


def _margin(variance: float, n: int, few: int, n_limits: int, wrong: float = _WRONG) -> float:
    """Between n samples and the bound of a few others, for all limits together."""
    # The difference of the means of both, and the bound of the second one at 95 %.
    variance = max(variance, 1 / n)
    difference = float(ndtri(1 - wrong / n_limits)) * sqrt(variance / n + variance / few)
    return difference + float(ndtri(0.95)) * sqrt(variance / few) + 1 / few
