"""A check: rows, verdicts, and how they read in a terminal and in files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._output import check_file, new_file
from ntkit._text import (
    as_json,
    counted,
    escaped,
    percent,
    plain,
    plain_table,
    shortened,
    table,
    with_interval,
)
from ntkit._types import Array
from ntkit.exceptions import InputError

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
            "max_flip_rate": f"flip rate at most {percent} %",
            "more_flips": "flip rate not surely higher than before",
        }[self.limit]

    @property
    def found(self) -> str:
        """Verdict in words."""
        if not self.n:
            return "no samples"
        low, high = (f"{100 * bound:.1f}" for bound in self.interval)
        what = "points" if self.limit in ("max_drop", "more_flips") else "%"
        sign = "+" if self.limit == "more_flips" else ""
        return f"{100 * self.value:{sign}.1f} [{low}, {high}] {what} of {self.n} samples"

    @property
    def more(self) -> str:
        """Number of samples that would do if these are too few; else nothing."""
        if self.outcome != "too few":
            return ""
        if self.enough is None:
            return "it stands at the limit, where no number of samples decides"
        if not self.n:
            if_so = {"accuracy": "all are right", "max_flip_rate": "no prediction flips"}
            assumed = if_so.get(self.limit, "none is a new error")
            return f"{self.enough} samples would do if {assumed}"
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
        """Kind of the subset, and its name."""
        return self.name if self.kind in ("average", "slice") else f"{self.kind} {self.name}"

    @property
    def outcome(self) -> Outcome | None:
        """The worst of its verdicts, if it has any."""
        return _worst([verdict.outcome for verdict in self.verdicts])


@dataclass(frozen=True)
class ChangeRow:
    """A change of the inputs that must not alter the right answer, and whose predictions flip."""

    name: str
    n: int
    flip_rate: float
    interval: tuple[float, float]
    before: float | None
    more: int | None
    fewer: int | None
    verdicts: tuple[Verdict, ...]
    kind: Literal["change"] = "change"

    @property
    def title(self) -> str:
        """Its name; a slice may be called alike."""
        return f"change {self.name}"

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
    changes : tuple of ChangeRow
        Each change of the inputs. A row has ``name``, ``n`` (the samples that it applies to),
        ``flip_rate`` and ``before`` (shares), ``more`` and ``fewer`` (samples that flip under the
        new model alone, and under the old one alone) and ``verdicts``.
    """

    rows: tuple[CheckRow, ...]
    alpha: float
    n_comparisons: int
    new_errors: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    new_error_names: tuple[str, ...] = ()
    title: str = "the model"
    notes: tuple[str, ...] = ()
    changes: tuple[ChangeRow, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Of the whole check: the worst of all verdicts."""
        return _worst([row.outcome for row in self._every]) or "pass"

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

    def row(self, name: str) -> CheckRow | ChangeRow:
        """The row of a title: "average", "class 1", "word:film", "change word:film"; a KeyError."""
        for row in self._every:
            if row.title == name:
                return row
        raise KeyError(name)

    def of(self, outcome: Outcome) -> list[tuple[CheckRow | ChangeRow, Verdict]]:
        """Verdicts of one outcome, and the rows that they are of."""
        return [(row, v) for row in self._every for v in row.verdicts if v.outcome == outcome]

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
            "changes": [_change_as_dict(row) for row in self.changes],
            "n_new_errors": len(self.new_errors),
            "new_errors": list(self.new_error_names),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """:meth:`as_dict` as JSON."""
        return as_json(self.as_dict())

    @property
    def _every(self) -> list[CheckRow | ChangeRow]:
        return [*self.rows, *self.changes]

    def _worst_of(self, kind: Kind) -> CheckRow | None:
        rows = [row for row in self.rows if row.kind == kind and row.n]
        return min(rows, key=lambda row: row.accuracy, default=None)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.of(each))} {each}" for each in _EXIT)
        return f"CheckResult({self.outcome}: {counts}; {self.average.n} samples)"


def _worst(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    return next((each for each in reversed(_WORST_LAST) if each in outcomes), None)


_VERDICT = ("limit", "bound", "value", "interval", "outcome", "enough")


def _change_as_dict(row: ChangeRow) -> dict[str, Any]:
    return dict(
        plain(
            {
                "name": row.name,
                "samples": row.n,
                "flip_rate": row.flip_rate,
                "interval": row.interval,
                "before": row.before,
                "more": row.more,
                "fewer": row.fewer,
                "limits": [{name: getattr(v, name) for name in _VERDICT} for v in row.verdicts],
            }
        )
    )


def _row_as_dict(row: CheckRow) -> dict[str, Any]:
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
                "limits": [{name: getattr(v, name) for name in _VERDICT} for v in row.verdicts],
            }
        )
    )


# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_of(result: CheckResult) -> str:
    """A test case for each limit; one with too few samples is an error, for it must not pass."""
    rows: list[CheckRow | ChangeRow] = [*result.rows, *result.changes]
    cases = [(row, verdict) for row in rows for verdict in row.verdicts]
    counts = {
        "tests": str(len(cases)),
        "failures": str(len(result.of("fail"))),
        "errors": str(len(result.of("too few"))),
    }
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "ntkit check", **counts})
    for row, verdict in cases:
        name = _writable(f"{row.title}: {verdict.asked}")
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"ntkit check.{row.kind}", "name": name}
        )
        message = _writable(f"{row.title}: {_sentence(verdict)}")
        if verdict.outcome == "fail":
            ElementTree.SubElement(case, "failure", {"message": message, "type": "fail"})
        elif verdict.outcome == "too few":
            ElementTree.SubElement(case, "error", {"message": message, "type": "too few samples"})
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(
        suites, encoding="unicode"
    )


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)


@documented
def write_check(
    result: CheckResult,
    *,
    json: StrPath | None = None,
    junit: StrPath | None = None,
    markdown: StrPath | None = None,
    force: bool = False,
) -> None:
    """Write the outcome of a check, for programs and for people.

    Parameters
    ----------
    result : CheckResult
        The outcome.
    json : path-like, optional
        File for :meth:`CheckResult.to_json`.
    junit : path-like, optional
        File for JUnit's XML, a test case for each limit; one with too few samples is an error
        there, for it must not pass.
    markdown : path-like, optional
        File for a summary, as pull requests show it.
    {replace.force}

    Raises
    ------
    InputError
        If one exists or cannot be written; none is written then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.jobs.check import check_predictions, write_check
    >>> result = check_predictions([0, 1] * 20, [0, 1] * 20, limits={"average": 90})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "check.md"
    ...     write_check(result, markdown=file)
    ...     print(file.read_text(encoding="utf-8").splitlines()[0])
    ### Passed: the predictions, 40 samples.
    """
    texts = ((json, result.to_json()), (junit, junit_of(result)), (markdown, markdown_of(result)))
    files = [(Path(path), content) for path, content in texts if path is not None]
    for path, _ in files:
        check_file(path, force=force)
    if len({path.resolve() for path, _ in files}) < len(files):
        raise InputError("Two of the files to write have one name; choose another one.")
    for path, content in files:
        with new_file(path) as file:
            file.write_text(content, encoding="utf-8")


_MOST = 40  # rows of the table
_FIRST = {"pass": "Passed", "fail": "Failed", "too few": "Too few samples to say"}
_NOT_PASSED: tuple[Outcome, ...] = ("fail", "too few")
_MARKS = {"pass": "pass", "fail": "**fail**", "too few": "*too few*", None: ""}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


def first_line(result: CheckResult) -> str:
    """The outcome of the whole check, in a sentence."""
    return f"{_FIRST[result.outcome]}: {result.title}, {counted(result.average.n, 'sample')}."


def summary_of(result: CheckResult) -> str:
    """A check as text for a terminal."""
    rows = _shown(result)
    cells = [_header(result), *(_cells(row, result, plain=True) for row in rows)]
    columns = plain_table(cells, f"<{'>' * (len(cells[0]) - 1)}")
    parts = [first_line(result), *_figures(result), "", columns, *_left_out(result, rows)]
    if result.changes:
        cells = _changes(result, plain=True)
        parts += ["", plain_table(cells, f"<{'>' * (len(cells[0]) - 1)}")]
    for title, sentences in _not_passed(result):
        parts += ["", f"{title}:", *(f"  {sentence}" for sentence in sentences)]
    return "\n".join([*parts, "", _levels(result)])


def markdown_of(result: CheckResult) -> str:
    """A check as Markdown for a pull request."""
    rows = _shown(result)
    cells = [_header(result), *(_cells(row, result, plain=False) for row in rows)]
    columns = table(cells, f"<{'>' * (len(cells[0]) - 2)}<")
    parts = [f"### {_escaped(first_line(result))}", ""]
    parts += [_escaped(sentence) for sentence in _figures(result)]
    parts += ["", columns, *_left_out(result, rows)]
    if result.changes:
        cells = _changes(result, plain=False)
        parts += ["", table(cells, f"<{'>' * (len(cells[0]) - 2)}<")]
    for title, sentences in _not_passed(result):
        parts += ["", f"**{title}**", "", *(f"- {_escaped(each)}" for each in sentences)]
    notes = [f"- {_escaped(note)}" for note in result.notes]
    if notes:
        parts += ["", "<details><summary>Notes</summary>", "", *notes, "", "</details>"]
    return "\n".join([*parts, "", _escaped(_levels(result)), ""])


def _not_passed(result: CheckResult) -> Iterator[tuple[str, list[str]]]:
    """Limits that fail or have too few samples: a title, and a sentence for each."""
    for outcome in _NOT_PASSED:
        verdicts = result.of(outcome)
        lines = [f"{_line(row.title)}: {_sentence(verdict)}" for row, verdict in verdicts[:_MOST]]
        lines += [f"… and {len(verdicts) - _MOST} more"] * (len(verdicts) > _MOST)
        if lines:
            yield _FIRST[outcome], lines


def _sentence(verdict: Verdict) -> str:
    more = f"; {verdict.more}" if verdict.more else ""
    return f"{verdict.asked}, found {verdict.found}{more}."


def _figures(result: CheckResult) -> list[str]:
    """Average, worst class, worst group, and what broke."""
    figures = [_figure("Average accuracy", result.average)]
    for title, row in (
        ("worst class", result.worst_class),
        ("worst group", result.worst_group),
    ):
        if row is not None:
            figures.append(_figure(f"{title} ({_line(row.name)})", row))
    sentence = ", ".join(figures) + "."
    average = result.average
    if average.new_errors is not None and average.fixed is not None and average.n:
        sentence += (
            f" {counted(average.new_errors, 'new error')} "
            f"({percent(average.new_errors / average.n)}), {counted(average.fixed, 'error')} fixed."
        )
    return [sentence]


def _figure(title: str, row: CheckRow) -> str:
    if not row.n:
        return f"{title} unknown"
    was = "" if row.before is None else f"{percent(row.before, unit='')} → "
    return f"{title} {was}{percent(row.accuracy)}"


def _levels(result: CheckResult) -> str:
    """A sentence on the numbers in brackets."""
    low, high = 100 * (1 - result.alpha), 100 * (1 - result.alpha / max(1, result.n_comparisons))
    several = f", as {result.n_comparisons} limits are compared" * (result.n_comparisons > 1)
    compared = result.average.change is not None
    within = any(row.within is not None for row in result.rows)
    return (
        f"In brackets: exact bounds{', paired by sample' * compared}. The lower ones hold with "
        f"{low:g} %, the upper ones with {high:.4g} %{several}"
        f"{_other_way(compared=compared, changed=bool(result.changes))}."
        f"{' Slices are held to the largest drop within each class as well.' * within}"
    )


def _other_way(*, compared: bool, changed: bool) -> str:
    names = [*["drops", "new errors"] * compared, *["flip rates"] * changed]
    return f"; those of {' and '.join(names)} the other way round" if names else ""


def _changes(result: CheckResult, *, plain: bool) -> list[list[str]]:
    """Flip rates as a table."""
    compared = any(row.before is not None for row in result.changes)
    rows = [["change of the inputs", "samples", *["before"] * compared, "flip rate", "limits"]]
    for row in result.changes:
        rate = with_interval(row.flip_rate, row.interval, row.n)
        before = [percent(row.before, unit="")] if row.before is not None else []
        name = _line(row.name) if plain else _escaped(row.name)
        mark = (row.outcome or "") if plain else _MARKS[row.outcome]
        rows.append([name, str(row.n), *before, rate, mark])
    return rows


def _header(result: CheckResult) -> list[str]:
    compared = result.average.before is not None
    return [
        "",
        "samples",
        *(["before", "after", "change", "new errors"] if compared else ["accuracy"]),
        "limits",
    ]


def _cells(row: CheckRow, result: CheckResult, *, plain: bool) -> list[str]:
    mark = (row.outcome or "") if plain else _MARKS[row.outcome]
    name = _line(row.title) if plain else _escaped(row.title)
    if row.change_interval is None:
        return [name, str(row.n), with_interval(row.accuracy, row.interval, row.n), mark]
    return [
        name,
        str(row.n),
        percent(row.before, unit=""),
        percent(row.accuracy, unit=""),
        with_interval(row.change, row.change_interval, row.n, sign="+"),
        str(row.new_errors),
        mark,
    ]


def _shown(result: CheckResult) -> Sequence[CheckRow]:
    """The first forty rows; those that do not pass come first."""
    if len(result.rows) <= _MOST:
        return result.rows
    rank = {"fail": 0, "too few": 1, "pass": 2, None: 2}
    first = [i for i, row in enumerate(result.rows) if row.kind == "average"]
    rest = [i for i in range(len(result.rows)) if i not in first]
    rest.sort(key=lambda i: (rank[result.rows[i].outcome], i))
    return [result.rows[i] for i in sorted([*first, *rest][:_MOST])]


def _left_out(result: CheckResult, rows: Sequence[CheckRow]) -> list[str]:
    n = len(result.rows) - len(rows)
    return ["", f"… and {n} rows more, which the JSON has."] if n else []


def _line(text: str) -> str:
    """A text in one line and of readable length."""
    return shortened(_CONTROL.sub(" ", text), 80)


def _escaped(text: str) -> str:
    """A text as Markdown that shows it as it is."""
    return escaped(_CONTROL.sub(" ", text))
