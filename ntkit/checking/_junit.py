"""A check as JUnit's XML, which continuous integration shows: a test case for each limit."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ntkit.checking._result import CheckResult

__all__ = ["junit_of"]

# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_of(result: CheckResult) -> str:
    """A test case for each limit; one with too few samples is an error, for it must not pass.

    Parameters
    ----------
    result : CheckResult
        What was found.

    Returns
    -------
    str
        An XML document.
    """
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
