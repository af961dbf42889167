"""Fit every candidate, choose one, and interpolate it with the original head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from tqdm import tqdm

from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.estimators import DFRClassifier, head_of
from ntkit.head import LinearHead
from ntkit.jobs.debias._accuracy_cost import AccuracyCost, mixed, taken
from ntkit.jobs.debias._candidates import (
    BY_CHANGE,
    GROUP_BALANCED,
    Candidate,
    Setting,
    is_degenerate,
    n_suppressed,
)
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._order import Order
from ntkit.metrics import group_report
from ntkit.study import Rows

AT_A_COST = "Accepted at a cost."
_SAME = 1e-9
_METHODS = ("neurontune", "auto", "yours", "copies", "groups and copies")


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracies of the original and the new head, in [0, 1]."""

    where: str
    what: str
    worst_before: float
    worst_after: float
    average_before: float
    average_after: float
    sure: bool

    @property
    def verdict(self) -> str:
        """The change in a few words; "Better" only if worst group and average did not fall."""
        worst = self.worst_after - self.worst_before
        average = self.average_after - self.average_before
        if min(worst, average) >= -_SAME and max(worst, average) > _SAME:
            return "Better." if self.sure else "Better, but chance may explain the difference."
        if worst > _SAME:
            return AT_A_COST
        if max(abs(worst), abs(average)) <= _SAME:
            return f"Written, with equal accuracies on the {self.where}."
        return f"Written, but accuracies are lower on the {self.where}."

    def sentence(self, by: str = "") -> str:
        """The accuracies in a sentence; ``by`` names the head if it is not the written one."""
        return (
            f"{self.where.capitalize()}{by}, {self.what}: {100 * self.worst_before:.1f} → "
            f"{100 * self.worst_after:.1f} %; average: {100 * self.average_before:.1f} → "
            f"{100 * self.average_after:.1f} %."
        )


@dataclass(frozen=True)
class Choice:
    """The candidates of a run, and the chosen one with its accuracy costs."""

    comparison: Comparison
    fitted: Mapping[str, Any]
    rows: Mapping[str, Candidate]
    random: Candidate
    name: str
    setting: Setting
    max_cost: float
    learnable: bool
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def clf(self) -> Any:
        """The chosen estimator."""
        return self.fitted[self.name]

    @cached_property
    def groups(self) -> Attribute | None:
        """Validation groups that judge the chosen candidate."""
        return self.comparison.groups_of(self.clf)

    @cached_property
    def accuracy_costs(self) -> tuple[AccuracyCost, ...]:
        """Accuracy cost of each interpolation with the original head."""
        return self.comparison.accuracy_costs(self.name, self.clf)

    @cached_property
    def _taken(self) -> AccuracyCost | None:
        return taken(self.accuracy_costs, self.max_cost, learnable=self.learnable)

    @property
    def helped(self) -> bool:
        """Whether an interpolation is better than the original head."""
        return self._taken is not None

    @property
    def accuracy_cost(self) -> AccuracyCost:
        """Accuracy cost of the last interpolation that helps, or else of the whole new head."""
        return self._taken or self.accuracy_costs[-1]

    @cached_property
    def head(self) -> LinearHead:
        """That interpolation, on standardised embeddings."""
        old, X = self.comparison.original, self.comparison.train.X
        return mixed(old, head_of(self.clf), self.accuracy_cost.t, X)

    @property
    def rated(self) -> Rows:
        """The evaluation set: test samples, or validation samples without a test set."""
        test = self.comparison.test
        return self.comparison.validation if test is None else test

    @cached_property
    def after(self) -> Array:
        """Predictions of the evaluation set; cross-fitted by halves on the validation set."""
        if self.comparison.test is None:
            return self.comparison.validation_predictions(self.name, self.accuracy_cost.t)
        return self.head.predict(self.rated.X)

    def change(self) -> AccuracyChange:
        """Accuracies of the worst group or class, and averages, before and after."""
        # Without a test set, these are the groups of the validation set that judge the head.
        rated, comparison, after = self.rated, self.comparison, self.after
        where, y, groups = "test set", rated.y, rated.groups
        before = comparison.original.predict(rated.X)
        average = group_report(y, after, y_pred_before=before).summary("average")
        if comparison.test is None:
            where = "validation set"
            if self.groups is not None:
                groups = self.groups.labels
                if len(groups) > len(y):  # copies judge as well
                    copies = comparison.judge.copies
                    of_copies = comparison.copy_predictions(self.name, self.accuracy_cost.t)
                    before = np.append(before, comparison.original.predict(copies.Z))
                    y, after = np.append(y, y[copies.of]), np.append(after, of_copies)
        report = group_report(y, after, groups=groups, y_pred_before=before)
        worst = report.worst_group
        low, high = worst.change_interval or (0.0, 0.0)
        return AccuracyChange(
            where,
            str(worst.label),
            float(worst.accuracy_before or 0.0),
            worst.accuracy,
            float(average.accuracy_before or 0.0),
            average.accuracy,
            low > 0 or high < 0,
        )

    def notes_on_groups(self) -> list[str]:
        """Sentences on partly known groups."""
        comparison, known = self.comparison, self.comparison.known
        if known is None:
            return []
        notes = [known.source_note(), known.partly.left]
        if isinstance(self.clf, DFRClassifier):
            train_predictions = self.head.predict(comparison.train.X)
            right = comparison.right(self.name, train_predictions, self.accuracy_cost.t)
            notes.append(known.worst_known(*right))
        return [*filter(None, notes)]

    def table(self, original: str) -> tuple[Candidate, ...]:
        """All rows: the original head, controls, random masks, then the methods."""
        comparison, old = self.comparison, self.comparison.original
        first = self._with_named(
            comparison.original_row(original),
            old.predict(comparison.validation.X),
            lambda: old.predict(comparison.judge.copies.Z),
        )
        rows = list[Candidate]()
        for name, row in self.rows.items():
            t = self.accuracy_cost.t if name == self.name else 1.0
            pred = comparison.validation_predictions(name, t)
            if t != 1:  # the row of the head that is written
                row = replace(row, share=t, **comparison.rated(self.head, pred))
            rows.append(self._with_named(row, pred, partial(comparison.copy_predictions, name, t)))
        controls = [row for row in rows if not row.name.startswith(_METHODS)]
        return (first, *controls, self.random, *(r for r in rows if r.name.startswith(_METHODS)))

    def _with_named(self, row: Candidate, pred: Array, of_copies: Callable[[], Array]) -> Candidate:
        if self.groups is None:
            return row
        y = self.comparison.validation.y
        right = pred == y
        if len(self.groups) > len(y):
            right = np.append(right, of_copies() == y[self.comparison.judge.copies.of])
        return replace(row, worst_named=self.groups.worst(right).accuracy)


def chosen_among(
    comparison: Comparison, settings: Mapping[str, Setting], name: str | None, order: Order
) -> Choice:
    """Fit every candidate and choose one: by name, or by the best label-free score."""
    fitted, rows, scores = dict[str, Any](), dict[str, Candidate](), dict[str, float]()
    hidden = None if order.verbose else True
    for each in tqdm(settings, desc="candidates", delay=1, disable=hidden, leave=False):
        fitted[each], note = comparison.fit(settings[each])
        rows[each] = comparison.row(each, settings[each], fitted[each], note)
    if name == BY_CHANGE:
        among = {
            each: setting
            for each, setting in settings.items()
            if setting.by_change or (each == GROUP_BALANCED and not setting.partly_known)
        }
        name, scores = comparison.chosen_by_change(among, fitted)
    if name is None:  # candidates whose rule flags too many neurons cannot be chosen
        sound = [each for each in rows if not is_degenerate(fitted[each])]
        name = max(sound, key=lambda each: rows[each].score)
    rows[name] = replace(rows[name], chosen=True)
    clf, setting = fitted[name], settings[name]
    of = name if n_suppressed(clf) > 0 and hasattr(clf, "tuning_weight_") else "neurontune"
    random = comparison.random_mask_row(fitted[of], order.n_random, settings[of])
    # Of groups that a person labelled, the labels may be unrelated to the errors.
    known = comparison.known
    by_labels = setting.partly_known and known is not None and known.is_read
    learnable = fitted["auto"].recipe_ == "cell-balanced"
    learnable &= not (setting.by_change or by_labels)
    found = (rows, random, name, setting, order.max_cost, learnable, scores)
    return Choice(comparison, fitted, *found)
