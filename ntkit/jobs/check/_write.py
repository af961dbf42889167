"""A check in words and as files: for a terminal, JSON, JUnit's XML, Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._output import check_file, new_file
from ntkit._text import counted, escaped, percent, plain_table, shortened, table, with_interval
from ntkit.exceptions import InputError
from ntkit.jobs.check._result import CheckResult, CheckRow, Outcome, Verdict

# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_of(result: CheckResult) -> str:
    """A test case for each limit; one with too few samples is an error, for it must not pass."""
    cases = [(row, verdict) for row in result.rows for verdict in row.verdicts]
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
        f"{'; those of drops and new errors the other way round' * compared}."
        f"{' Slices are held to the largest drop within each class as well.' * within}"
    )


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
