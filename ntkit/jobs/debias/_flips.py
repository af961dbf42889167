"""Flipped predictions: reliance of the original model on a change, and of the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from ntkit._process import progress_bar
from ntkit._text import percent, plain
from ntkit._types import Array
from ntkit.changes import Change
from ntkit.changes.embedded import embedded_copies
from ntkit.changes.texts import REWRITES
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder, Samples
from ntkit.head import LinearHead
from ntkit.jobs.audit.changes import (
    RELIED,
    displaced,
    flips_in_words,
    panel_of,
    risen_in_words,
    with_rises,
)
from ntkit.jobs.debias._candidates import GROUP_BALANCED
from ntkit.jobs.debias._choice import Choice
from ntkit.jobs.debias._inputs import Prepared
from ntkit.jobs.debias._invariance import CopiesOf
from ntkit.jobs.debias._judge import Likeness
from ntkit.jobs.debias._settings import Order
from ntkit.metrics import Row, compare, worst_of_rows

_LEVEL = 0.05
_TRIED = 150  # validation samples for each change of the bank


def reliance_on(
    changes: Sequence[Change], head: LinearHead, Z: Array, copies: CopiesOf, seed: int
) -> tuple[Row, ...]:
    """Flips by each change, and as *before* those by its control, with exact paired bounds."""
    # If a head does not rely on a change, the change cannot repair it. Retraining on biased samples
    # would then only learn their bias.
    rows, predicted = list[Row](), head.logits(Z).argmax(axis=1)
    for number, change in enumerate(changes):
        some = copies.take(copies.change == number)
        if not len(some.of):
            continue
        rng = np.random.default_rng([seed, number])
        control = displaced(Z, some.Z, some.of, predicted, np.ones(Z.shape[1]), rng)
        stay = [
            head.logits(moved).argmax(axis=1) == predicted[some.of] for moved in (some.Z, control)
        ]
        (row,) = compare(stay, [("change", change.name, np.ones(len(some.of), dtype=bool))])
        level = _LEVEL / len(changes)
        more = row.drop_bounds(upper_level=level, lower_level=level)
        rows.append(replace(row, change_interval=(-more[1], -more[0])))
    return tuple(rows)


def _surely(row: Row) -> float:
    """Lower 95 % bound of the flips beyond the control."""
    return -row.change_interval[1] if row.change_interval is not None else 0.0


def not_relied_on(reliance: Sequence[Row]) -> str:
    """Reason for not repairing by some changes; empty if the model relies on one."""
    if not reliance or max(map(_surely, reliance)) >= RELIED:
        return ""
    told = "; ".join(
        f"{row.name} flips {percent(row.value)} of {row.n} predictions, and a random displacement "
        f"of the same size flips {percent(row.before)}: the lower 95 % bound of the difference is "
        f"{100 * _surely(row):.1f} percentage points"
        for row in reliance
    )
    # Retraining would learn the bias of the labels, which a repair with a keep set does not read.
    rewritten = any(row.name.startswith(REWRITES) and row.value >= RELIED for row in reliance)
    keep = ". Perhaps it does not know these spellings: to give copies the answers of their "
    keep += "originals, pass unlabelled samples with --keep (keep=)"
    return (
        f"it does not significantly rely on the change. {told}. A bound of at least "
        f"{100 * RELIED:g} is needed{keep * rewritten}"
    )


def flip_rates(
    embedder: OnnxEmbedder,
    samples: Samples,
    heads: tuple[LinearHead, LinearHead],
    Z: Array,
    of_repair: Sequence[Row],
    order: Order,
) -> tuple[Row, ...]:
    """Flips of two heads by the repair's changes, then by others; a significant rise fails."""
    rows = np.sort(
        np.random.default_rng(order.settings.random_state).permutation(len(samples))[:_TRIED]
    )
    known = {row.name for row in of_repair}
    changes, rates = [each for each in panel_of(samples) if each.name not in known], [*of_repair]
    quiet, shown = clone(embedder).set_params(verbose=False), order.settings.verbose
    for change in progress_bar(changes, shown=shown, desc="flips", unit=" changes"):
        try:
            copies = embedded_copies(quiet, samples, change, rows, seed=order.settings.random_state)
        except InputError:  # the change applies to no sample
            continue
        if not len(copies.rows):
            continue
        old, new = (h.predict(copies.Z) == h.predict(Z[copies.rows]) for h in heads)
        every = np.ones(len(copies.rows), dtype=bool)
        rates += compare([new, old], [("change", change.name, every)])
    return with_rises(rates)


@dataclass(frozen=True)
class ByChange:
    """Results of a repair by change besides its accuracies."""

    changes: tuple[str, ...]
    likeness: tuple[Likeness, ...] = ()
    copies_alone: bool = False
    copies_judge: bool = False
    copies_reported: bool = False
    flips: tuple[Row, ...] = ()
    reliance: tuple[Row, ...] = ()
    estimated: tuple[Row, ...] = ()  # groups that a reader tells; they judge nothing
    veto: str = ""
    candidates: Mapping[str, float] = field(default_factory=dict)
    judged: bool = True

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        flips = [
            {"change": r.name, "n": r.n, "before": r.before, "after": r.value, "p_value": r.p_value,
             "rises": r.outcome == "fail"}
            for r in self.flips
        ]  # fmt: skip
        reliance = [
            {"change": r.name, "n": r.n, "flips": r.value, "control_flips": r.before,
             "surely": _surely(r)}
            for r in self.reliance
        ]  # fmt: skip
        estimated = [
            {"group": r.name, "n": r.n, "before": r.before, "after": r.value}
            for r in self.estimated
        ]  # fmt: skip
        known = {"flips": flips, "reliance": reliance, "estimated": estimated}
        return dict(plain(vars(self) | known))

    def sentences(self, *, written: bool = True) -> list[str]:
        """Sentences on the samples that judged, and on changes that the new head relies on more."""
        if not self.judged:
            return []
        lines = list[str]()
        if written and (risen := risen_in_words(self.flips)):
            lines.append(f"The new head relies more on {risen}.")
        if self.copies_alone:
            lines.append("Only changed copies judged the head, not groups of real samples.")
        elif self.likeness:
            lines += map(str, self.likeness)
        elif self.copies_judge:
            lines.append("Groups of real samples and changed copies judged the head.")
        else:
            lines.append("Only real samples judged the head, because every group has enough.")
        if self.copies_judge:
            lines.append("Copies show only the effect of the changes that made them.")
        if self.estimated:
            worst = worst_of_rows(self.estimated)
            before = min(self.estimated, key=lambda row: row.before or 0.0)
            after = min(self.estimated, key=lambda row: row.value)
            of_before = f" ({before.name})" * (before is not after)
            lines.append(
                f"Estimated, as read from copies: worst group {percent(worst.before, unit='')}"
                f"{of_before} → {percent(worst.value)} ({after.name}, {after.n} validation "
                "samples). These groups judge nothing."
            )
        of_repair = [rate for rate in self.flips if rate.name in self.changes]
        lines += [f"{flips_in_words(r)}." for r in of_repair if written and r.outcome != "fail"]
        return lines


def results_by_change(data: Prepared, choice: Choice, order: Order) -> ByChange:
    """Results of a repair by change: its judges, losses of small groups, and flips."""
    comparison = choice.comparison
    judge, invariance = comparison.judge, comparison.plan.invariance
    assert invariance is not None
    changes, Z = invariance.changes, comparison.validation.X
    names = tuple(change.name for change in changes)
    reliance = reliance_on(
        changes, comparison.original, Z, judge.copies, order.settings.random_state
    )
    # For attributes that a person named, the accuracy cost decides. For a change alone, the model
    # must rely on it.
    judged, veto = comparison.judges_by_change(choice.name), ""
    of_copies = comparison.rows_of[choice.name].by_change
    if judged and of_copies:
        veto = _small_groups_lose(choice)
    if judged and not comparison.plan.said.names and (of_copies or choice.name == GROUP_BALANCED):
        veto = not_relied_on(reliance) or invariance.veto or veto
    flips = tuple[Row, ...]()  # of a head that may be written, because they take time
    if (choice.gains and not veto) or order.settings.otherwise == "new head":
        of_repair = _own_flips(choice, names)
        old, new = map(comparison.on_raw_embeddings, (comparison.original, choice.head))
        samples, raw = data.sets["validation"], data.pool.validation.X
        flips = flip_rates(data.embedder, samples, (old, new), raw, of_repair, order)
    return ByChange(
        changes=names,
        likeness=judge.likeness if judged else (),
        copies_alone=judged and judge.by_copies_alone,
        copies_judge=judged and judge.with_copies,
        copies_reported=judged and judge.reports_copies,
        flips=flips,
        reliance=reliance,
        estimated=_estimated(choice),
        veto=veto,
        candidates=choice.scores,
        judged=judged,
    )


def _estimated(choice: Choice) -> tuple[Row, ...]:
    """Accuracy of validation samples in the groups class × value that readers tell."""
    y, X = choice.comparison.validation.y, choice.comparison.validation.X
    right = choice.pred == y, choice.comparison.original.predict(X) == y
    rows = list[Row]()
    for each in choice.comparison.estimated_groups(choice.comparison.pool.of_validation):
        groups = each.crossed(y)
        for at, name in enumerate(groups.names):
            rows += compare(right, [("group", str(name), groups.value == at)])
    return tuple(row for row in rows if row.n)


def _small_groups_lose(choice: Choice) -> str:
    """Reason for not repairing if small groups lose real samples; else an empty text."""
    comparison, small = choice.comparison, choice.comparison.judge.small
    y = comparison.validation.y[small]
    before = comparison.original.predict(comparison.validation.X[small]) == y
    after = choice.pred[small] == y
    (row,) = compare((after, before), [("group", "small groups", np.arange(len(y)))])
    lost = int(row.lost or 0) - int(row.gained or 0)
    if lost <= 0:
        return ""
    return (
        f"{choice.name} loses accuracy in small groups: {row.right + lost} → {row.right} of "
        f"{len(y)} real validation samples are right. Write it anyway: --even-if-worse"
    )


def _own_flips(choice: Choice, changes: Sequence[str]) -> list[Row]:
    """Flips by the changes of a repair, on its copies of validation samples; cross-fitted."""
    comparison, copies = choice.comparison, choice.comparison.judge.copies
    X, old = comparison.validation.X, comparison.original
    of_new = comparison.copy_predictions(choice.name, choice.accuracy_cost.t)
    stay = (
        of_new == choice.pred[copies.of],
        old.predict(copies.Z) == old.predict(X)[copies.of],
    )
    return [
        row
        for number, title in enumerate(changes)
        for row in compare(stay, [("change", title, copies.change == number)])
        if row.n
    ]
