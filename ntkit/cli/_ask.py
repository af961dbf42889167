"""Ask in a terminal whether a finding is a shortcut that the model should ignore."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import typer

from ntkit._text import one_line, printable, shortened
from ntkit.attributes.findings import Finding
from ntkit.jobs.audit import Answer, Audit
from ntkit.jobs.debias import figures_of
from ntkit.pages.audit_page import question_of

_MOST = 3  # questions of a run
_EXAMPLES, _MORE = 2, 6  # of each value
_LONGEST = 160  # characters of a text
_CHOICES = "[y]es, ignore it / [n]o, it matters / [?] show more / [o]pen the page / Enter: later"


def can_ask() -> bool:
    """Whether a person reads the questions and can answer them."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def asks_in_terminal(
    page: Path,
) -> Callable[[Audit, tuple[Finding, ...]], Iterator[Answer]]:
    """Ask about at most three findings on standard error; ``page`` has the same questions."""

    def ask(audit: Audit, findings: tuple[Finding, ...]) -> Iterator[Answer]:
        asked = findings[:_MOST]
        for number, finding in enumerate(asked, start=1):
            _say(f"\nQuestion {number} of {len(asked)}, on {_whose(audit, finding)}:")
            _say(f"  {figures_of(finding)}")
            _show(audit, finding, _EXAMPLES)
            said = _answer_on(audit, finding, page)
            if said is None:
                return
            if said:
                (answer,) = audit.answers(finding.name).answers
                yield replace(answer, answer=said).signed()

    return ask


def _answer_on(audit: Audit, finding: Finding, page: Path) -> str | None:
    """The answer; empty for later, None where nobody is there any more."""
    while True:
        typer.echo(f"{question_of(finding)}\n{_CHOICES}: ", err=True, nl=False)
        line = sys.stdin.readline()
        if not line:
            _say("")
            return None
        said = line.strip().lower()
        if said in ("", "y", "yes", "n", "no"):
            return {"": "", "y": "spurious", "n": "legitimate"}[said[:1]]
        if said in ("o", "open"):
            webbrowser.open(page.resolve().as_uri())
            _say(f"The page: {page}")
        elif said == "?":
            _show(audit, finding, _MORE)
            _say("")
        else:
            _say("Type y, n, ? or o, or press Enter to decide later.")


def _whose(audit: Audit, finding: Finding) -> str:
    new = audit.retraining is not None and finding in audit.retraining.findings
    return "what retraining would newly rely on" if new else "what the model relies on"


def _show(audit: Audit, finding: Finding, most: int) -> None:
    """A few samples of the class that errs most, with the finding and without it."""
    values, y = audit.values(finding.name), audit.predictions.y_index
    label = finding.worst.label
    of_class = audit.predictions.classes[y] == label
    for value, title in ((1, "with it"), (0, "without it")):
        rows = (of_class & (values == value)).nonzero()[0][:most].tolist()
        if rows:
            _say(f"  class {label}, {title}:")
        for row in rows:
            _say(f"    {_sample(audit, row)}")


def _sample(audit: Audit, row: int) -> str:
    """One sample in a line: its name, its text, or its columns."""
    inputs = audit.inputs
    name = f"sample {row}" if inputs is None or inputs.ids is None else inputs.ids[row]
    if inputs is not None and inputs.texts is not None:
        return shortened(one_line(inputs.texts[row]), _LONGEST)
    columns = {**((inputs and inputs.table) or {}), **((inputs and inputs.metadata) or {})}
    cells = ", ".join(f"{column}={values[row]}" for column, values in [*columns.items()][:6])
    return f"{name}: {cells}" if cells else name


def _say(text: str) -> None:
    typer.echo("\n".join(map(printable, text.split("\n"))), err=True)
