"""The result of a check: rows and verdicts, as text for a terminal and as files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._output import check_file, new_file
from ntkit._text import (
    as_json,
    counted,
    escaped,
    listed,
    one_line,
    percent,
    plain,
    plain_table,
    shortened,
    table,
    with_interval,
    without_controls,
)
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics import Row
from ntkit.metrics.rows import ClassRate, Kind, Outcome, Verdict, worst_outcome

_EXIT: dict[Outcome, int] = {"pass": 0, "fail": 1, "too few": 3}


def _called(row: Row) -> str:
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
    rows : tuple of CheckRow
        All samples, each class, each group, each named slice. A row has ``kind`` ("average",
        "class", "group", "slice"), ``name``, ``n``, ``accuracy``, ``before``, ``change``,
        ``new_errors``, ``fixed`` and ``verdicts``. Accuracies and changes are shares: NaN without
        samples, None for one model alone. A verdict has the ``bound``, ``value``, ``interval`` and
        ``outcome`` of a limit. Its ``enough`` is the number of samples that decides the limit with
        a probability of 80 %. Of several labels, each has its own rows, with its ``label``.
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
    changes : tuple of ChangeRow
        Each change of the inputs. A row has ``name``, ``n`` (samples that the change applies to),
        ``flip_rate`` and ``before`` (shares), ``more`` (samples that flip only under the new
        model), ``fewer`` (only under the old model) and ``verdicts``.
    labels : tuple of str
        The labels that were checked, of a model that gives every sample several.
    n_samples : int
        Number of samples.
    rates : tuple of RateRow
        Each rate of a class that has a limit. A row has ``rate`` ("recall", "false positive rate",
        "precision"), ``of_class``, the subset's ``kind`` and ``name``, ``value`` and ``before``
        (shares), ``verdicts``, and ``n``: the samples of the class, of other classes, or predicted
        as the class.
    held_to : str or None
        File of the limits that came with the model, if ntkit found them by itself.
    left_out : tuple of CheckRow
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
            "worst_class": None if self.worst_class is None else _called(self.worst_class),
            "worst_group": None if self.worst_group is None else _called(self.worst_group),
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


# Characters that XML 1.0 cannot represent.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_of(result: CheckResult) -> str:
    """JUnit XML with a test case per limit; too few samples is an error, as it must not pass."""
    cases = [(row, verdict) for row in result.every for verdict in row.verdicts]
    counts = {
        "tests": str(len(cases)),
        "failures": str(len(result.of("fail"))),
        "errors": str(len(result.of("too few"))),
        "skipped": str(len(result.of("unchanged"))),
    }
    suites = ElementTree.Element("testsuites", counts)
    label = "".join(f" of {_writable(each)}" for each in result.labels if len(result.labels) == 1)
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": f"ntkit check{label}{_held_to(result)}", **counts}
    )
    for row, verdict in cases:
        named = {
            "classname": f"ntkit check.{row.kind}",
            "name": _writable(f"{row.title}: {verdict.requirement}"),
        }
        case = ElementTree.SubElement(suite, "testcase", named)
        if verdict.outcome in _TAGS:
            tag, kind = _TAGS[verdict.outcome]
            message = _writable(f"{row.title}: {_sentence(verdict)}")
            ElementTree.SubElement(case, tag, {"message": message, "type": kind})
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(
        suites, encoding="unicode"
    )


_TAGS = {"fail": ("failure", "fail"), "too few": ("error", "too few samples")}
_TAGS |= {"unchanged": ("skipped", "unchanged, too few samples to prove")}


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", without_controls(text))


@documented
def write_check(
    result: CheckResult,
    *,
    json: StrPath | None = None,
    junit: StrPath | None = None,
    markdown: StrPath | None = None,
    force: bool = False,
) -> None:
    """Write the result of a check as JSON, JUnit XML or Markdown.

    Parameters
    ----------
    result : CheckResult
        The result.
    json : path-like, optional
        File for :meth:`CheckResult.to_json`.
    junit : path-like, optional
        File for JUnit XML with one test case per limit. A limit with too few samples is an error
        there, because it must not pass.
    markdown : path-like, optional
        File for a summary in Markdown, for pull requests.
    {replace.force}

    Raises
    ------
    InputError
        If a file exists or cannot be written. ntkit then writes none.

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
    for_people = f"{_text(result, markdown=True)}\n"
    texts = ((json, result.to_json()), (junit, junit_of(result)), (markdown, for_people))
    files = [(Path(path), content) for path, content in texts if path is not None]
    for path, _ in files:
        check_file(path, force=force)
    if len({path.resolve() for path, _ in files}) < len(files):
        raise InputError("Two of the output files have the same name. Rename one.")
    for path, content in files:
        with new_file(path) as file:
            file.write_text(content, encoding="utf-8")


_MOST = 40  # rows of a table in Markdown
_MOST_IN_TERMINAL = 12
_FIRST = {"pass": "Passed", "fail": "Failed", "too few": "Too few samples to say"}
_FIRST |= {"unchanged": "Unchanged, too few samples to prove"}
_NOT_PASSED: tuple[Outcome, ...] = ("fail", "too few", "unchanged")
_MARKS = {"pass": "pass", "fail": "**fail**", "too few": "*too few*", "unchanged": "unchanged"}
_RANK = {"fail": 0, "too few": 1}


def summary_of(result: CheckResult) -> str:
    """A check as text for a terminal."""
    return _text(result, markdown=False)


def _text(result: CheckResult, *, markdown: bool) -> str:
    """The outcome, a row for each subset and change, and the limits that do not pass."""
    most, text = (_MOST, _escaped) if markdown else (_MOST_IN_TERMINAL, str)
    several = f" with {len(result.labels)} labels" * (len(result.labels) > 1)
    n = counted(result.n_samples, "sample")
    first = f"{_FIRST[result.outcome]}: {result.title}, {n}{several}{_held_to(result)}."
    average = result.average  # comes first, then the worst
    rows = sorted(result.rows, key=lambda row: (row is not average, _worst_first(row)))[:most]
    compared = ["before", "after", "change", "new errors"]
    columns = ["accuracy"] if average.before is None else compared
    cells = [["", "samples", *columns, "limits"], *(_cells(row, markdown) for row in rows)]
    parts = [f"### {_escaped(first)}", ""] if markdown else [first]
    parts += [text(_main_results(result)), "", _columns(cells, markdown)]
    if result.rates:
        rates = sorted(result.rates, key=_worst_first)[:most]
        parts += ["", _shares(rates, "rate of a class", "rate", markdown)]
    if more := len(result.rows) - len(rows) + max(0, len(result.rates) - most):
        parts += ["", f"{more} more rows are in the JSON (--json)."]
    if result.left_out:
        small = listed([f"{_line(row.title)} ({row.n})" for row in result.left_out], most)
        parts += ["", text(f"Left out, for they have too few samples: {small}.")]
    if result.changes:
        parts += [
            "",
            _shares(
                sorted(result.changes, key=_worst_first),
                "change of the inputs",
                "flip rate",
                markdown,
            ),
        ]
    for title, sentences in _not_passed(result, most):
        parts += ["", f"**{title}**", ""] if markdown else ["", f"{title}:"]
        parts += [f"- {_escaped(each)}" if markdown else f"  {each}" for each in sentences]
    notes = [f"- {_escaped(note)}" for note in result.notes]
    if notes and markdown:
        parts += ["", "<details><summary>Notes</summary>", "", *notes, "", "</details>"]
    return without_controls("\n".join([*parts, "", text(_levels(result))]))


def _columns(cells: list[list[str]], markdown: bool) -> str:
    """A table with numbers at the right; names, and outcomes in Markdown, are at the left."""
    if markdown:
        return table(cells, f"<{'>' * (len(cells[0]) - 2)}<")
    return plain_table(cells, f"<{'>' * (len(cells[0]) - 1)}")


def _not_passed(result: CheckResult, most: int) -> Iterator[tuple[str, list[str]]]:
    """Limits that fail or have too few samples: a title, and a sentence for each."""
    for outcome in _NOT_PASSED:
        verdicts = result.of(outcome)
        lines = [f"{_line(row.title)}: {_sentence(verdict)}" for row, verdict in verdicts[:most]]
        lines += [f"… and {len(verdicts) - most} more in the JSON"] * (len(verdicts) > most)
        if lines:
            yield _FIRST[outcome], lines


def _sentence(verdict: Verdict) -> str:
    more = f"; {verdict.more}" if verdict.more else ""
    return f"{verdict.requirement}, measured {verdict.measured}{more}."


def _main_results(result: CheckResult) -> str:
    """Sentence with average, worst class, worst group, new errors and errors fixed."""
    average = result.average
    lowest = "" if average.label is None else f", lowest ({_line(average.label)})"
    accuracies = [f"Average accuracy{lowest} {_accuracy(average)}"]
    for kind, worst in (("class", result.worst_class), ("group", result.worst_group)):
        if worst is None:
            continue
        name = _line(_called(worst))
        rows = [row for row in result.rows if row.kind == kind and row.n]
        first = min(rows, key=lambda row: worst.value if row.before is None else row.before)
        if worst.before is None or first is worst:
            accuracies.append(f"worst {kind} ({name}) {_accuracy(worst)}")
            continue
        accuracies.append(
            f"worst {kind} {percent(first.before, unit='')} ({_line(_called(first))}) → "
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


def _levels(result: CheckResult) -> str:
    """Sentences on the numbers in brackets."""
    low, high = 100 * (1 - result.alpha), 100 * (1 - result.alpha / max(1, result.n_comparisons))
    several = f", as {result.n_comparisons} limits are compared" * (result.n_comparisons > 1)
    compared = result.average.change is not None
    within = any(row.within is not None for row in result.rows)
    separate = any(v.limit == "max_precision_drop" for row in result.rates for v in row.verdicts)
    return (
        f"In brackets: exact confidence bounds{', paired by sample' * compared}. A limit passes if "
        f"the {low:g} % bound keeps it. A limit fails if the {high:.4g} % bound breaks it{several}."
        f"{' The largest drop of a slice also applies to each class within it.' * within}"
        f"{' A drop of precision has two separate bounds, so it is wide.' * separate}"
    )


def _shares(rows: Sequence[Row], what: str, value: str, markdown: bool) -> str:
    """Table of rates of classes, or of flip rates."""
    compared = any(row.before is not None for row in rows)
    cells = [[what, "samples", *["before"] * compared, value, "limits"]]
    for row in rows:
        share = with_interval(row.value, row.interval, row.n)
        before = [percent(row.before, unit="")] * compared
        name, mark = _name_and_mark(_called(row), row.outcome, markdown)
        cells.append([name, str(row.n), *before, share, mark])
    return _columns(cells, markdown)


def _name_and_mark(name: str, outcome: Outcome | None, markdown: bool) -> tuple[str, str]:
    return (
        (_escaped(name), _MARKS.get(outcome or "", ""))
        if markdown
        else (_line(name), outcome or "")
    )


def _cells(row: Row, markdown: bool) -> list[str]:
    name, mark = _name_and_mark(row.title, row.outcome, markdown)
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


def _worst_first(row: Row) -> tuple[int, float]:
    """Rows that do not pass come first, then those that change most for the worse."""
    worse = -1.0 if row.counts_errors else 1.0
    before = row.before
    change = row.value if before is None else row.value - before
    return _RANK.get(row.outcome or "", 2), worse * change if row.n else 2.0


def _line(text: str) -> str:
    """A text on one line, with at most 80 characters."""
    return shortened(one_line(without_controls(text)), 80)


def _held_to(result: CheckResult) -> str:
    """Words on limits that ntkit found by itself."""
    return "" if result.held_to is None else ", held to the limits that came with this model"


def _escaped(text: str) -> str:
    """A text on one line, with Markdown's special characters escaped."""
    return escaped(one_line(without_controls(text)))
