"""A check as files: JSON, JUnit's XML, Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._output import check_file, new_file
from ntkit.exceptions import InputError
from ntkit.jobs.check._result import CheckResult
from ntkit.jobs.check._text import markdown_of

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
        said = _writable(
            f"{row.title}: {verdict.asked}, found {verdict.found}"
            f"{f'; {verdict.more}' if verdict.more else ''}."
        )
        if verdict.outcome == "fail":
            ElementTree.SubElement(case, "failure", {"message": said, "type": "fail"})
        elif verdict.outcome == "too few":
            ElementTree.SubElement(case, "error", {"message": said, "type": "too few samples"})
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
    given = ((json, result.to_json()), (junit, junit_of(result)), (markdown, markdown_of(result)))
    files = [(Path(path), content) for path, content in given if path is not None]
    for path, _ in files:
        check_file(path, force=force)
    if len({path.resolve() for path, _ in files}) < len(files):
        raise InputError("Two of the files to write have one name; choose another one.")
    for path, content in files:
        with new_file(path) as file:
            file.write_text(content, encoding="utf-8")
