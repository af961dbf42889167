"""The result of a check as text for a terminal, and as files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._output import check_file, new_file
from ntkit._text import (
    listed,
    percent,
    plain_table,
    table,
    with_interval,
    without_controls,
)
from ntkit.exceptions import InputError
from ntkit.jobs.check._result import (
    FIRST,
    CheckResult,
    called,
    escaped_line,
    header_of,
    held_to_in_words,
    line_of,
    main_results,
    name_and_mark,
    opening_line,
    row_cells,
    rows_in_order,
    worst_first,
)
from ntkit.metrics import Row
from ntkit.metrics.rows import Outcome, Verdict

__all__ = ["summary_of", "write_check"]

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
        suites, "testsuite", {"name": f"ntkit check{label}{held_to_in_words(result)}", **counts}
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
    >>> import ntkit
    >>> from ntkit.jobs.check.files import write_check
    >>> result = ntkit.check_predictions([0, 1] * 20, [0, 1] * 20, limits={"average": 90})
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
_NOT_PASSED: tuple[Outcome, ...] = ("fail", "too few", "unchanged")


def summary_of(result: CheckResult) -> str:
    """A check as text for a terminal."""
    return _text(result, markdown=False)


def _text(result: CheckResult, *, markdown: bool) -> str:
    """The outcome, a row for each subset and change, and the limits that do not pass."""
    most, text = (_MOST, escaped_line) if markdown else (_MOST_IN_TERMINAL, str)
    first = opening_line(result)
    rows = rows_in_order(result, most)
    cells = [header_of(result), *(row_cells(row, markdown) for row in rows)]
    parts = [f"### {escaped_line(first)}", ""] if markdown else [first]
    parts += [text(main_results(result)), "", _columns(cells, markdown)]
    if result.rates:
        rates = sorted(result.rates, key=worst_first)[:most]
        parts += ["", _shares(rates, "rate of a class", "rate", markdown)]
    if more := len(result.rows) - len(rows) + max(0, len(result.rates) - most):
        parts += ["", f"{more} more rows are in the JSON (--json)."]
    if result.left_out:
        small = listed([f"{line_of(row.title)} ({row.n})" for row in result.left_out], most)
        parts += ["", text(f"Left out, for they have too few samples: {small}.")]
    if result.changes:
        parts += [
            "",
            _shares(
                sorted(result.changes, key=worst_first),
                "change of the inputs",
                "flip rate",
                markdown,
            ),
        ]
    for title, sentences in _not_passed(result, most):
        parts += ["", f"**{title}**", ""] if markdown else ["", f"{title}:"]
        parts += [f"- {escaped_line(each)}" if markdown else f"  {each}" for each in sentences]
    notes = [f"- {escaped_line(note)}" for note in result.notes]
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
        lines = [f"{line_of(row.title)}: {_sentence(verdict)}" for row, verdict in verdicts[:most]]
        lines += [f"… and {len(verdicts) - most} more in the JSON"] * (len(verdicts) > most)
        if lines:
            yield FIRST[outcome], lines


def _sentence(verdict: Verdict) -> str:
    more = f"; {verdict.more}" if verdict.more else ""
    return f"{verdict.requirement}, measured {verdict.measured}{more}."


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
        name, mark = name_and_mark(called(row), row.outcome, markdown)
        cells.append([name, str(row.n), *before, share, mark])
    return _columns(cells, markdown)
