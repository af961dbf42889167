"""The result of a check: rows and verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._text import (
    as_json,
    plain,
)
from ntkit._types import Array
from ntkit.metrics import Row
from ntkit.metrics.rows import ClassRate, Kind, Outcome, Verdict, worst_outcome

_EXIT: dict[Outcome, int] = {"pass": 0, "fail": 1, "too few": 3}


def called(row: Row) -> str:
    """The name after the label of several, or the title of a rate."""
    if isinstance(row, ClassRate):
        return row.title
    plain = row.label is None or row.kind == "class"  # classes have the label's name
    return row.name if plain else f"{row.label}: {row.name}"


def _facts(row: Row) -> dict[str, Any]:
    """All values of a row for JSON."""
    facts: dict[str, Any] = {"kind": row.kind, "name": row.name}
    if isinstance(row, ClassRate):
        facts |= {"rate": row.rate, "of_class": row.of_class, "samples": row.n, "value": row.value}
        facts |= {"interval": row.interval, "before": row.before}
    elif row.kind == "change":
        facts = {"name": row.name, "samples": row.n, "flip_rate": row.value}
        facts |= {"interval": row.interval, "before": row.before}
        facts |= {"more": row.lost, "fewer": row.gained}
    else:
        facts |= {"within": row.within, "samples": row.n, "accuracy": row.value}
        facts |= {"interval": row.interval, "before": row.before, "change": row.change}
        facts |= {"change_interval": row.change_interval}
        facts |= {"new_errors": row.lost, "fixed": row.gained}
    facts |= {} if row.label is None else {"label": row.label}
    facts["limits"] = [{name: getattr(v, name) for name in _VERDICT} for v in row.verdicts]
    return dict(plain(facts))


_VERDICT = ("limit", "bound", "value", "interval", "outcome", "enough")


@documented
@dataclass(frozen=True, eq=False, repr=False)
class CheckResult:
    """Result of :func:`ntkit.check`: the outcome, and the numbers of every subset.

    Attributes
    ----------
    rows : tuple of Row
        All samples, each class, each group, each named slice. A row has ``kind`` ("average",
        "class", "group", "slice"), ``name``, ``n``, ``value`` (the accuracy), ``before``,
        ``change``, ``lost`` (new errors), ``gained`` (errors fixed) and ``verdicts``. Accuracies
        and changes are shares: NaN without samples, None for one model alone. A verdict has the
        ``bound``, ``value``, ``interval`` and ``outcome`` of a limit. Its ``enough`` is the number
        of samples that decides the limit with a probability of 80 %. Of several labels, each has
        its own rows, with its ``label``.
    alpha : float
        Largest probability that the whole check passes wrongly, or fails wrongly.
    n_comparisons : int
        Number of limits compared, over all labels. Bonferroni's correction of failures divides by
        it.
    new_errors : ndarray of int
        Rows of the samples with new errors; empty for one model alone. Of several labels, a sample
        has an entry for each label with a new error.
    new_error_names : tuple of str
        Names of the first thousand of these samples, after the label of several.
    title : str
        Name of the checked model.
    {notes}
    changes : tuple of Row
        Each change of the inputs. A row has ``name``, ``n`` (samples that the change applies to),
        ``value`` and ``before`` (flip rates), ``lost`` (samples that flip only under the new
        model), ``gained`` (only under the old model) and ``verdicts``.
    labels : tuple of str
        The labels that were checked, of a model that gives every sample several.
    n_samples : int
        Number of samples.
    rates : tuple of Row
        Each rate of a class that has a limit. A row has ``rate`` ("recall", "false positive rate",
        "precision"), ``of_class``, the subset's ``kind`` and ``name``, ``value`` and ``before``
        (shares), ``verdicts``, and ``n``: the samples of the class, of other classes, or predicted
        as the class.
    held_to : str or None
        File of the limits that came with the model, if ntkit found them by itself.
    left_out : tuple of Row
        Slices with fewer samples than ``min_samples``.
    allow_too_few : bool
        Whether too few samples to say have the exit code 0.
    """

    rows: tuple[Row, ...]
    alpha: float
    n_comparisons: int
    new_errors: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    new_error_names: tuple[str, ...] = ()
    title: str = "the model"
    notes: tuple[str, ...] = ()
    changes: tuple[Row, ...] = ()
    labels: tuple[str, ...] = ()
    n_samples: int = 0
    rates: tuple[Row, ...] = ()
    held_to: str | None = None
    left_out: tuple[Row, ...] = ()
    allow_too_few: bool = False

    @property
    def outcome(self) -> Outcome:
        """Outcome of the whole check: the worst of all verdicts.

        Small slices that nothing changed do not count, unless there is nothing else.
        """
        outcomes = {row.outcome for row in self.every} - {None}
        others = outcomes - {"unchanged"} or {"too few" if outcomes else "pass"}
        return worst_outcome(others) or "pass"

    @property
    def passed(self) -> bool:
        """Whether every limit passes."""
        return self.outcome == "pass"

    @property
    def exit_code(self) -> int:
        """0 for "pass", 1 for "fail", 3 for "too few"; 0 if that is allowed."""
        too_few = self.outcome == "too few"
        return 0 if too_few and self.allow_too_few else _EXIT[self.outcome]

    @property
    def average(self) -> Row:
        """The row of all samples; of several labels, that of the lowest accuracy."""
        return self._worst_of("average") or self.rows[0]

    @property
    def worst_class(self) -> Row | None:
        """The class with the lowest accuracy of the new model."""
        return self._worst_of("class")

    @property
    def worst_group(self) -> Row | None:
        """The group with the lowest accuracy of the new model."""
        return self._worst_of("group")

    def row(self, name: str) -> Row:
        """The row with a title: "average", "class 1", "word:film" or "even: change word:film"."""
        for row in self.every:
            if row.title == name:
                return row
        raise KeyError(name)

    def of(self, outcome: Outcome) -> list[tuple[Row, Verdict]]:
        """Pairs of row and verdict with one outcome."""
        return [(row, v) for row in self.every for v in row.verdicts if v.outcome == outcome]

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON: accuracies and limits are shares in [0, 1], or None."""
        return {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "title": self.title,
            "labels": list(self.labels),
            "n_samples": self.n_samples,
            "held_to": self.held_to,
            "alpha": self.alpha,
            "n_comparisons": self.n_comparisons,
            "worst_class": None if self.worst_class is None else called(self.worst_class),
            "worst_group": None if self.worst_group is None else called(self.worst_group),
            "rows": [*map(_facts, self.rows)],
            "rates": [*map(_facts, self.rates)],
            "changes": [*map(_facts, self.changes)],
            "left_out": [{"name": row.title, "samples": row.n} for row in self.left_out],
            "n_new_errors": len(self.new_errors),
            "new_errors": list(self.new_error_names),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """:meth:`as_dict` as JSON."""
        return as_json(self.as_dict())

    @property
    def every(self) -> list[Row]:
        """All rows, with those of rates and changes."""
        return [*self.rows, *self.rates, *self.changes]

    def _worst_of(self, kind: Kind) -> Row | None:
        rows = [row for row in self.rows if row.kind == kind and row.n]
        return min(rows, key=lambda row: row.value, default=None)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of(each))} {each}" for each in _EXIT)
        several = f", {len(self.labels)} labels" * (len(self.labels) > 1)
        return f"CheckResult({self.outcome}: {counts}; {self.n_samples} samples{several})"
