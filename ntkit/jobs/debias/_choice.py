"""Which head: all candidates fitted, one of them chosen and priced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.estimators import DFRClassifier, head_of
from ntkit.head import LinearHead
from ntkit.jobs.debias._accuracy_cost import Decision
from ntkit.jobs.debias._candidates import (
    Candidate,
    LabelledEmbeddings,
    Setting,
    is_degenerate,
    n_suppressed,
)
from ntkit.jobs.debias._comparison import Comparison
from ntkit.metrics import GroupReport, group_report

AT_A_COST = "Accepted at a cost."
_SAME = 1e-9


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracies before and after, in [0, 1]."""

    where: str
    what: str
    worst_before: float
    worst_after: float
    average_before: float
    average_after: float
    sure: bool

    @classmethod
    def of(cls, figures: GroupReport, where: str) -> AccuracyChange:
        """The change that a report with predictions before shows."""
        worst, average = figures.worst_group, figures.summary("average")
        low, high = worst.change_interval or (0.0, 0.0)
        return cls(
            where,
            str(worst.label),
            float(worst.accuracy_before or 0.0),
            worst.accuracy,
            float(average.accuracy_before or 0.0),
            average.accuracy,
            low > 0 or high < 0,
        )

    @property
    def verdict(self) -> str:
        """A word or two; "Better" only where neither the worst group nor the average fell."""
        worst = self.worst_after - self.worst_before
        average = self.average_after - self.average_before
        if min(worst, average) >= -_SAME and max(worst, average) > _SAME:
            return "Better." if self.sure else "Better, by a margin that chance may explain."
        if worst > _SAME:
            return AT_A_COST
        if max(abs(worst), abs(average)) <= _SAME:
            return f"Written, without a change on the {self.where}."
        return f"Written, though lower on the {self.where}."

    def __str__(self) -> str:
        return self.told()

    def told(self, by: str = "") -> str:
        """The figures in a sentence; ``by`` says which head, where it is not the one written."""
        return (
            f"{self.where.capitalize()}{by}, {self.what}: {100 * self.worst_before:.1f} → "
            f"{100 * self.worst_after:.1f} %; average: {100 * self.average_before:.1f} → "
            f"{100 * self.average_after:.1f} %."
        )


@dataclass(frozen=True)
class Choice:
    """The candidates of a job, and the one chosen."""

    comparison: Comparison
    fitted: Mapping[str, Any]
    rows: Mapping[str, Candidate]
    random: Candidate
    name: str
    decision: Decision
    groups: Attribute | None = None

    @property
    def clf(self) -> Any:
        """The estimator chosen."""
        return self.fitted[self.name]

    @property
    def paper(self) -> Any:
        """The paper's method, whose scores are shown where the chosen one has none."""
        return self.fitted["neurontune"]

    def heads(self) -> dict[str, LinearHead]:
        """Return the head of every candidate, on raw embeddings."""
        raw = self.comparison.on_raw_embeddings
        return {name: raw(head_of(clf)) for name, clf in self.fitted.items()}

    @property
    def rated(self) -> LabelledEmbeddings:
        """The samples of the figures."""
        return self.comparison.test or self.comparison.validation

    @cached_property
    def after(self) -> Array:
        """What the head predicts on them; halves of the held-out set that it has not seen."""
        if self.comparison.test is None:
            return self.comparison.validation_predictions(self.name, self.decision.accuracy_cost.t)
        return self.decision.head.predict(self.rated.Z)

    def change(self) -> AccuracyChange:
        """What becomes of the worst group or class, and of the average."""
        # On the test set, else on the validation set over the groups that the head is judged by.
        rated, before = self.rated, self.comparison.original.predict(self.rated.Z)
        where, groups = "test set", rated.groups
        if self.comparison.test is None:
            where = "validation set"
            if self.groups is not None:
                groups = self.groups.labels
        figures = group_report(rated.y, self.after, groups=groups, y_pred_before=before)
        return AccuracyChange.of(figures, where)

    def told_of_answers(self) -> list[str]:
        """What groups known of some samples came to, where the candidate is balanced over them."""
        comparison, known = self.comparison, self.comparison.known
        if known is None:
            return []
        if not isinstance(self.clf, DFRClassifier):
            return [*filter(None, [known.told(), known.partly.left])]
        parts, y = (comparison.train, comparison.validation), known.y
        t, head = self.decision.accuracy_cost.t, self.decision.head
        after = np.concatenate(
            [head.predict(parts[0].Z), comparison.validation_predictions(self.name, t)]
        )
        before = np.concatenate([comparison.original.predict(part.Z) for part in parts])
        worst = known.worst_known(before == y, after == y)
        return [*filter(None, [known.told(), known.partly.left, worst])]

    def table(self, original: str) -> tuple[Candidate, ...]:
        """All rows: the original head by its name, controls, random masks, then the methods."""
        rows = self.rows
        first = [name for name in rows if not name.startswith(("neurontune", "auto", "yours"))]
        return (
            self._with_named(self.comparison.original_row(original), self.original_predictions),
            *(self._of(name) for name in first),
            self.random,
            *(self._of(name) for name in rows if name not in first),
        )

    @property
    def original_predictions(self) -> Array:
        """What the original head predicts on the held-out set."""
        return self.comparison.original.predict(self.comparison.validation.Z)

    def _of(self, name: str) -> Candidate:
        return self._with_named(self.rows[name], self.comparison.validation_predictions(name))

    def _with_named(self, row: Candidate, pred: Array) -> Candidate:
        if self.groups is None:
            return row
        right = pred == self.comparison.validation.y
        return replace(row, worst_named=self.groups.worst(right).accuracy)


def chosen_among(
    comparison: Comparison,
    settings: Mapping[str, Setting],
    name: str | None,
    max_cost: float,
    n_random: int,
    verbose: bool,
) -> Choice:
    """Fit every candidate, and price one."""
    fitted, rows = {}, {}
    for each in tqdm(
        settings, desc="candidates", delay=1, disable=None if verbose else True, leave=False
    ):
        fitted[each], note = comparison.fit(settings[each])
        rows[each] = comparison.row(each, settings[each], fitted[each], note)
    name = best_of(rows, fitted) if name is None else name
    rows[name] = replace(rows[name], chosen=True)
    clf = fitted[name]
    masked = n_suppressed(clf) > 0 and hasattr(clf, "tuning_weight_")
    random = comparison.random_mask_row(clf if masked else fitted["neurontune"], n_random)
    groups = comparison.groups_of(clf)
    learnable = fitted["auto"].recipe_ not in ("class-balanced", "group-balanced")
    known = comparison.known
    if settings[name].partly_known and known is not None and known.is_read:
        learnable = False  # answers may be of something else than the errors are: the groups tell
    decision = comparison.decided(name, clf, max_cost=max_cost, learnable=learnable)
    return Choice(comparison, fitted, rows, random, name, decision, groups)


def best_of(rows: Mapping[str, Candidate], fitted: Mapping[str, Any]) -> str:
    """Best label-free score among candidates whose rule singled out some neurons."""
    sound = [name for name in rows if not is_degenerate(fitted[name])]
    return max(sound, key=lambda name: rows[name].score)
