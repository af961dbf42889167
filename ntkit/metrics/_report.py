"""The report of accuracies per class and per group, and how it reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ntkit.exceptions import InputError

__all__ = ["GroupReport", "Interval", "ReportRow"]

Interval = tuple[float, float]
_NO_GROUPS = "No group labels were given: the worst group is the worst class."


@dataclass(frozen=True)
class ReportRow:
    """One line of a :class:`GroupReport`; accuracies are in [0, 1], NaN for an empty group.

    Attributes
    ----------
    kind : {"class", "group", "summary"}
        What the row is about.
    label : object
        The class, the group or the name of the summary.
    count : int
        Samples.
    accuracy, interval : float, (float, float)
        Accuracy and its confidence interval.
    accuracy_before, interval_before : float, (float, float) or None
        The same of the predictions before.
    change_interval : (float, float) or None
        Interval of ``accuracy - accuracy_before``, paired by sample.
    which : object or None
        Of a worst-of summary: the class or group with that accuracy.
    """

    kind: Literal["class", "group", "summary"]
    label: Any
    count: int
    accuracy: float
    interval: Interval
    accuracy_before: float | None = None
    interval_before: Interval | None = None
    change_interval: Interval | None = None
    which: Any = None

    @property
    def change(self) -> float | None:
        """``accuracy - accuracy_before``."""
        return None if self.accuracy_before is None else self.accuracy - self.accuracy_before


@dataclass(frozen=True, repr=False)
class GroupReport:
    """Accuracies per class and per group; made by :func:`group_report`.

    Attributes
    ----------
    rows : tuple of ReportRow
        Classes, groups, then the summaries "average", "worst class" and, where group labels were
        given, "worst group" and "mean of groups".
    confidence : float
        Coverage of the intervals.
    grouped : bool
        Whether group labels were given.
    n_unknown : int
        Samples whose group is not known: they count for the classes and the average alone.
    """

    rows: tuple[ReportRow, ...]
    confidence: float
    grouped: bool
    n_unknown: int = 0

    @property
    def worst_group(self) -> ReportRow:
        """The summary of the worst group; of the worst class, where no groups were given."""
        return self.summary("worst group" if self.grouped else "worst class")

    def summary(self, label: str) -> ReportRow:
        """The summary row of that name, such as "average".

        Raises
        ------
        InputError
            If the report has no such summary.
        """
        rows = {row.label: row for row in self.rows if row.kind == "summary"}
        if label not in rows:
            raise InputError(f"The report has no summary {label!r}, only {', '.join(rows)}.")
        return rows[label]

    def as_dict(self) -> dict[str, Any]:
        """The report as values that JSON can hold; NaN becomes None."""
        return {
            "confidence": self.confidence,
            "grouped": self.grouped,
            "n_unknown": self.n_unknown,
            "worst_group_is": "worst group" if self.grouped else "worst class",
            "rows": [_plain(asdict(row) | {"change": row.change}) for row in self.rows],
        }

    def table(self, *, markdown: bool = True) -> str:
        """The report as a Markdown table, in percent; False shows names as they are."""
        compared = self.rows[0].accuracy_before is not None
        coverage = f"{100 * self.confidence:g} % interval"
        header = ["", "samples", "accuracy", coverage]
        if compared:
            header += ["before", coverage, "change", coverage]
        lines = [_line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        for row in self.rows:
            name = _name(row)
            name = name.replace("|", "\\|") if markdown else name
            cells = [name, str(row.count), _percent(row.accuracy), _range(row.interval)]
            if compared:
                cells += [
                    _percent(row.accuracy_before),
                    _range(row.interval_before),
                    _percent(row.change, "+"),
                    _range(row.change_interval, "+"),
                ]
            lines.append(_line(cells))
        if not self.grouped:
            lines += ["", _NO_GROUPS]
        elif self.n_unknown:
            lines += ["", f"{self._unknown()}: they count for the classes and the average alone."]
        return "\n".join(lines)

    def _unknown(self) -> str:
        return f"The group of {self.n_unknown} sample(s) is not known"

    def __str__(self) -> str:
        return self.table(markdown=False)

    def __repr__(self) -> str:
        parts = []
        for row in self.rows:
            if row.kind == "summary":
                which = "" if row.which is None else f" ({row.which})"
                was = "" if row.accuracy_before is None else f", was {row.accuracy_before:.3f}"
                parts.append(f"{row.label}{which} {row.accuracy:.3f}{was}")
        no_groups = "" if self.grouped else "; no group labels"
        if self.n_unknown:
            no_groups = f"; {self._unknown().lower()}"
        return (
            f"GroupReport({self.summary('average').count} samples: {'; '.join(parts)}{no_groups})"
        )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and np.isnan(value) else value

    return {key: plain(value) for key, value in row.items()}


def _name(row: ReportRow) -> str:
    name = str(row.label) if row.kind == "summary" else f"{row.kind} {row.label}"
    name = name if row.which is None else f"{name} ({row.which})"
    return " ".join(name.split())


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(value: float | None, sign: str = "") -> str:
    return "–" if value is None or np.isnan(value) else f"{100 * value:{sign}.1f}"


def _range(interval: Interval | None, sign: str = "") -> str:
    if interval is None or np.isnan(interval[0]):
        return "–"
    return f"[{_percent(interval[0], sign)}, {_percent(interval[1], sign)}]"
