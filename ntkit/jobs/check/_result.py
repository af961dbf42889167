"""The result of a check: rows and verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._shown import InNotebook, NotebookView, ShownTable, bar_of, ends, frame_of
from ntkit._text import (
    as_json,
    counted,
    escaped,
    one_line,
    percent,
    plain,
    shortened,
    with_interval,
    without_controls,
)
from ntkit._types import Array
from ntkit.metrics import Row
from ntkit.metrics.rows import ClassRate, Kind, Outcome, Verdict, worst_outcome

_SHOWN = 20  # rows in a notebook
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


_COLUMNS: dict[str, type] = {"label": object, "kind": str, "name": str, "measure": str}
_COLUMNS |= {"samples": int, "value": float, "low": float, "high": float, "before": float}
_COLUMNS |= dict.fromkeys(("change", "change_low", "change_high", "lost", "gained"), float)
_COLUMNS |= {"outcome": object}


def _measure(row: Row) -> str:
    """What the value of a row is."""
    if isinstance(row, ClassRate):
        return row.rate
    return "flip rate" if row.kind == "change" else "accuracy"


_VERDICT = ("limit", "bound", "value", "interval", "outcome", "enough")


@documented
@dataclass(frozen=True, eq=False, repr=False)
class CheckResult(InNotebook):
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

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each subset, rate of a class and change of the inputs.

        Columns: ``label`` (of several), ``kind``, ``name``, ``measure`` ("accuracy", a rate or
        "flip rate"), ``samples``, ``value``, ``low``, ``high``, ``before``, ``change``,
        ``change_low``, ``change_high``, ``lost``, ``gained`` and ``outcome``. Shares are in [0, 1].
        """
        rows = [
            {"label": row.label, "kind": row.kind, "name": called(row), "measure": _measure(row),
             "samples": row.n, "value": row.value, **ends("", row.interval),
             "before": row.before, "change": row.change, **ends("change_", row.change_interval),
             "lost": row.lost, "gained": row.gained, "outcome": row.outcome}
            for row in self.every
        ]  # fmt: skip
        return frame_of(rows, _COLUMNS)

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

    def _shown(self) -> NotebookView:
        """The first lines and the table of the text, then all rates and changes, with bars."""
        shown = rows_in_order(self, _SHOWN)
        rows = [header_of(self), *(row_cells(row, False) for row in shown)]
        lines = [opening_line(self), main_results(self)]
        if more := len(self.rows) - len(shown):
            lines.append(f"{more} more rows are in to_frame().")
        tables = [ShownTable(rows, [*map(bar_of, shown)])]
        if others := [*self.rates, *self.changes]:
            header = ["rate or change of the inputs", "samples", "share [bounds]", "limits"]
            cells = [
                [called(r), str(r.n), with_interval(r.value, r.interval, r.n), r.outcome or ""]
                for r in others
            ]
            tables.append(ShownTable([header, *cells], [*map(bar_of, others)]))
        return NotebookView(lines, tables)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of(each))} {each}" for each in _EXIT)
        several = f", {len(self.labels)} labels" * (len(self.labels) > 1)
        return f"CheckResult({self.outcome}: {counts}; {self.n_samples} samples{several})"


# -- words, for all texts of a check ---------------------------------------------------------------

FIRST = {"pass": "Passed", "fail": "Failed", "too few": "Too few samples to say"}
FIRST |= {"unchanged": "Unchanged, too few samples to prove"}
_MARKS = {"pass": "pass", "fail": "**fail**", "too few": "*too few*", "unchanged": "unchanged"}
_RANK = {"fail": 0, "too few": 1}


def main_results(result: CheckResult) -> str:
    """Sentence with average, worst class, worst group, new errors and errors fixed."""
    average = result.average
    lowest = "" if average.label is None else f", lowest ({line_of(average.label)})"
    accuracies = [f"Average accuracy{lowest} {_accuracy(average)}"]
    for kind, worst in (("class", result.worst_class), ("group", result.worst_group)):
        if worst is None:
            continue
        name = line_of(called(worst))
        rows = [row for row in result.rows if row.kind == kind and row.n]
        first = min(rows, key=lambda row: worst.value if row.before is None else row.before)
        if worst.before is None or first is worst:
            accuracies.append(f"worst {kind} ({name}) {_accuracy(worst)}")
            continue
        accuracies.append(
            f"worst {kind} {percent(first.before, unit='')} ({line_of(called(first))}) → "
            f"{percent(worst.value)} ({name})"
        )
    sentence = ", ".join(accuracies) + "."
    averages = [row for row in result.rows if row.kind == "average"]
    n, new = sum(row.n for row in averages), len(result.new_errors)
    if average.gained is not None and n:
        fixed = int(sum(row.gained or 0 for row in averages))
        of_labels = f" of {n} labels" * (average.label is not None)
        sentence += (
            f" {counted(new, 'new error')} ({percent(new / n)}{of_labels}), "
            f"{counted(fixed, 'error')} fixed."
        )
    return sentence


def _accuracy(row: Row) -> str:
    """Accuracy before and after."""
    if not row.n:
        return "unknown"
    was = "" if row.before is None else f"{percent(row.before, unit='')} → "
    return f"{was}{percent(row.value)}"


def name_and_mark(name: str, outcome: Outcome | None, markdown: bool) -> tuple[str, str]:
    return (
        (escaped_line(name), _MARKS.get(outcome or "", ""))
        if markdown
        else (line_of(name), outcome or "")
    )


def row_cells(row: Row, markdown: bool) -> list[str]:
    name, mark = name_and_mark(row.title, row.outcome, markdown)
    if row.change_interval is None:
        return [name, str(row.n), with_interval(row.value, row.interval, row.n), mark]
    return [
        name,
        str(row.n),
        percent(row.before, unit=""),
        percent(row.value, unit=""),
        with_interval(row.change, row.change_interval, row.n, sign="+"),
        str(row.lost),
        mark,
    ]


def worst_first(row: Row) -> tuple[int, float]:
    """Rows that do not pass come first, then those that change most for the worse."""
    worse = -1.0 if row.counts_errors else 1.0
    before = row.before
    change = row.value if before is None else row.value - before
    return _RANK.get(row.outcome or "", 2), worse * change if row.n else 2.0


def line_of(text: str) -> str:
    """A text on one line, with at most 80 characters."""
    return shortened(one_line(without_controls(text)), 80)


def opening_line(result: CheckResult) -> str:
    """The outcome, what was checked, and on how many samples."""
    several = f" with {len(result.labels)} labels" * (len(result.labels) > 1)
    n = counted(result.n_samples, "sample")
    return f"{FIRST[result.outcome]}: {result.title}, {n}{several}{held_to_in_words(result)}."


def rows_in_order(result: CheckResult, most: int) -> list[Row]:
    """The row of all samples, then the worst ones."""
    average = result.average
    return sorted(result.rows, key=lambda row: (row is not average, worst_first(row)))[:most]


def header_of(result: CheckResult) -> list[str]:
    """The header of the table of accuracies."""
    compared = ["before", "after", "change", "new errors"]
    columns = ["accuracy"] if result.average.before is None else compared
    return ["", "samples", *columns, "limits"]


def held_to_in_words(result: CheckResult) -> str:
    """Words on limits that ntkit found by itself."""
    return "" if result.held_to is None else ", held to the limits that came with this model"


def escaped_line(text: str) -> str:
    """A text on one line, with Markdown's special characters escaped."""
    return escaped(one_line(without_controls(text)))
