"""What a check found: rows, verdicts, and how they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ntkit._doc import documented
from ntkit._text import as_json, plain
from ntkit._types import Array

Kind = Literal["average", "class", "group", "slice"]
Outcome = Literal["pass", "fail", "too few"]
_WORST_LAST: tuple[Outcome, ...] = ("pass", "too few", "fail")
_EXIT: dict[Outcome, int] = {"pass": 0, "fail": 1, "too few": 3}


@dataclass(frozen=True)
class Verdict:
    """One limit of one row."""

    limit: str
    bound: float
    value: float
    interval: tuple[float, float]
    outcome: Outcome
    n: int
    enough: int | None = None

    @property
    def asked(self) -> str:
        """The limit in words."""
        percent = f"{100 * self.bound:g}"
        return {
            "accuracy": f"accuracy at least {percent} %",
            "max_drop": f"drop at most {percent} points",
            "max_new_errors": f"new errors at most {percent} %",
        }[self.limit]

    @property
    def found(self) -> str:
        """What was found, in words."""
        if not self.n:
            return "no samples"
        low, high = (f"{100 * bound:.1f}" for bound in self.interval)
        what = {"accuracy": "%", "max_drop": "points", "max_new_errors": "%"}[self.limit]
        return f"{100 * self.value:.1f} [{low}, {high}] {what} of {self.n} samples"

    @property
    def more(self) -> str:
        """What would do where the samples are too few; else nothing."""
        if self.outcome != "too few":
            return ""
        if self.enough is None:
            return "it stands at the limit, where no number of samples decides"
        if not self.n:
            if_so = "all are right" if self.limit == "accuracy" else "none is a new error"
            return f"{self.enough} samples would do if {if_so}"
        return f"{self.enough} samples would do if they are as these"


@dataclass(frozen=True)
class CheckRow:
    """A part of the samples: all, a class, a group, or a named slice."""

    kind: Kind
    name: str
    n: int
    accuracy: float
    interval: tuple[float, float]
    before: float | None
    change: float | None
    change_interval: tuple[float, float] | None
    new_errors: int | None
    fixed: int | None
    verdicts: tuple[Verdict, ...]
    within: str | None = None

    @property
    def title(self) -> str:
        """What it is and what it is called."""
        return self.name if self.kind in ("average", "slice") else f"{self.kind} {self.name}"

    @property
    def outcome(self) -> Outcome | None:
        """The worst of its verdicts, if it has any."""
        return _worst([verdict.outcome for verdict in self.verdicts])


@documented
@dataclass(frozen=True, eq=False, repr=False)
class CheckResult:
    """The outcome of a check; :func:`ntkit.check` makes it.

    Attributes
    ----------
    rows : tuple of CheckRow
        All samples, each class, each group, each named slice. A row has ``kind`` ("average",
        "class", "group", "slice"), ``name``, ``n``, ``accuracy``, ``before``, ``change`` (shares in
        [0, 1], NaN without samples, None of one model alone), ``new_errors``, ``fixed``, and
        ``verdicts``: for each limit its ``bound``, ``value``, ``interval`` and ``outcome``, and
        ``enough``, the samples that would decide it four times out of five.
    alpha : float
        Largest chance of a wrong pass, and of a wrong failure, of the whole check.
    n_comparisons : int
        Limits that were compared, over which the chance of a wrong failure is divided.
    new_errors : ndarray of int
        Rows of the samples that were right and are wrong; empty of one model alone.
    new_error_names : tuple of str
        Names of the first thousand of these.
    title : str
        Name of what was checked.
    {notes}
    """

    rows: tuple[CheckRow, ...]
    alpha: float
    n_comparisons: int
    new_errors: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    new_error_names: tuple[str, ...] = ()
    title: str = "the model"
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Of the whole check: the worst of all verdicts."""
        return _worst([row.outcome for row in self.rows]) or "pass"

    @property
    def passed(self) -> bool:
        """Whether every limit is passed."""
        return self.outcome == "pass"

    @property
    def exit_code(self) -> int:
        """0 for "pass", 1 for "fail", 3 for "too few"."""
        return _EXIT[self.outcome]

    @property
    def average(self) -> CheckRow:
        """All samples."""
        return self.rows[0]

    @property
    def worst_class(self) -> CheckRow | None:
        """The class that the new model is worst on."""
        return self._worst_of("class")

    @property
    def worst_group(self) -> CheckRow | None:
        """The group that the new model is worst on."""
        return self._worst_of("group")

    def row(self, name: str) -> CheckRow:
        """The row of a title, such as "average", "class 1" or "word:film", or a KeyError."""
        for row in self.rows:
            if row.title == name:
                return row
        raise KeyError(name)

    def of(self, outcome: Outcome) -> list[tuple[CheckRow, Verdict]]:
        """Verdicts of one outcome, and the rows that they are of."""
        return [(row, v) for row in self.rows for v in row.verdicts if v.outcome == outcome]

    def as_dict(self) -> dict[str, Any]:
        """Plain values: accuracies and limits are shares in [0, 1], None where there is none."""
        return {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "title": self.title,
            "n_samples": self.average.n,
            "alpha": self.alpha,
            "n_comparisons": self.n_comparisons,
            "worst_class": None if self.worst_class is None else self.worst_class.name,
            "worst_group": None if self.worst_group is None else self.worst_group.name,
            "rows": [_row_as_dict(row) for row in self.rows],
            "n_new_errors": len(self.new_errors),
            "new_errors": list(self.new_error_names),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """:meth:`as_dict` as JSON."""
        return as_json(self.as_dict())

    def _worst_of(self, kind: Kind) -> CheckRow | None:
        rows = [row for row in self.rows if row.kind == kind and row.n]
        return min(rows, key=lambda row: row.accuracy, default=None)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of(each))} {each}" for each in _EXIT)
        return f"CheckResult({self.outcome}: {counts}; {self.average.n} samples)"


def _worst(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    return next((each for each in reversed(_WORST_LAST) if each in outcomes), None)


def _row_as_dict(row: CheckRow) -> dict[str, Any]:
    verdict = ("limit", "bound", "value", "interval", "outcome", "enough")
    return dict(
        plain(
            {
                "kind": row.kind,
                "name": row.name,
                "within": row.within,
                "samples": row.n,
                "accuracy": row.accuracy,
                "interval": row.interval,
                "before": row.before,
                "change": row.change,
                "change_interval": row.change_interval,
                "new_errors": row.new_errors,
                "fixed": row.fixed,
                "limits": [{name: getattr(v, name) for name in verdict} for v in row.verdicts],
            }
        )
    )
