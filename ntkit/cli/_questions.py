"""Questions about findings in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ntkit._text import counted, one_line, printable, shortened
from ntkit.attributes.answers import Answer
from ntkit.attributes.findings import Finding
from ntkit.cli._say import say
from ntkit.jobs.audit import Audit
from ntkit.jobs.audit.changes import ChangeFinding, change_for
from ntkit.jobs.debias import shares_of
from ntkit.pages.audit_page import question_of
from ntkit.pages.change_cards import KEEPS_THE_CLASS, SEEN, change_in_words, may_confirm

_MOST = 3  # questions of a run
_EXAMPLES, _MORE = 2, 6  # of each value
_LONGEST = 160  # characters of a text
_CHOICES = "[y]es, ignore it / [n]o, it matters / [?] show more / [o]pen a browser / Enter: later"


class ToBrowser(Exception):
    """The person wants to go on in a browser."""


def can_ask() -> bool:
    """Whether a person reads the questions and can answer them."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def asks_in_terminal(page: Path) -> Callable[[Audit, tuple[Finding, ...]], Iterator[Answer]]:
    """Ask about at most three findings on standard error; ``page`` has the same questions."""

    def ask(audit: Audit, findings: tuple[Finding, ...]) -> Iterator[Answer]:
        of_named = [] if findings or audit.changes is None else audit.changes.changes
        for each in of_named:  # of properties on the command line
            answers = _on_change(each, page)
            if answers is None:
                return
            yield from answers
        asked = findings[:_MOST]
        for number, finding in enumerate(asked, start=1):
            subject = "what the model relies on"
            if audit.retraining is not None and finding in audit.retraining.findings:
                subject = "what retraining would newly rely on"
            _say(f"\nQuestion {number} of {len(findings)}, on {subject}:")
            _say(f"  {shares_of(finding)}")
            _show(audit, finding, _EXAMPLES)
            answer_text = _answer_on(audit, finding)
            if answer_text is None:
                return
            if answer_text:
                (answer,) = audit.answers(finding.name).answers
                yield replace(answer, answer=answer_text).signed()
            if answer_text == "spurious" and (change := _shown_change(audit, finding)):
                answers = _on_change(change, page)
                if answers is None:
                    return
                yield from answers
        if more := len(findings) - len(asked):
            _say(f"\n{counted(more, 'more question')} on the page: {page}")

    return ask


def _shown_change(audit: Audit, finding: Finding) -> ChangeFinding | None:
    """The change of images that a finding is about, if the audit tested it."""
    change, found = change_for(finding), audit.changes
    if change is None or change.kind != "image" or found is None:
        return None
    return next((each for each in found.changes if each.row.name == change.name), None)


def _on_change(change: ChangeFinding, page: Path) -> list[Answer] | None:
    """The answer on a change of images, none for later or unseen; None if the input has ended."""
    if not may_confirm(change.row.name, n_seen(change)):
        return []  # nobody can look at three copies
    flips = f"{100 * change.row.value:.0f} % of {change.row.n} predictions flip"
    _say(f"\n{change_in_words(change.row.name)}: {flips}. {SEEN} copies are on the page: {page}")
    stays = _replied(
        f"{KEEPS_THE_CLASS} If it does, changed copies repair the model as well.\n"
        "[y]es / [n]o, the change touches the subject / [o]pen a browser / Enter: later: ",
        {"": "", "y": "invariant", "n": "legitimate"},
    )
    if stays is None:
        return None
    return [Answer.on_change(change.row.name, stays).signed()] if stays else []


def n_seen(change: ChangeFinding) -> int:
    """Number of examples of which original and copy can be shown."""
    every = range(len(change.examples))
    return min(len([*each.images_of(every)]) for each in (change.before, change.after))


def _answer_on(audit: Audit, finding: Finding) -> str | None:
    """The answer on a finding; empty for later, None if the input has ended."""
    return _replied(
        f"{question_of(finding)}\n{_CHOICES}: ",
        {"": "", "y": "spurious", "n": "legitimate"},
        lambda: _show(audit, finding, _MORE),
    )


def _replied(
    prompt: str, answers: Mapping[str, str], show: Callable[[], None] | None = None
) -> str | None:
    """The answer that a typed reply stands for; None if the input has ended."""
    while True:
        say(prompt, err=True, nl=False)
        line = sys.stdin.readline()
        if not line:
            _say("")
            return None
        reply = line.strip().lower()
        if reply in ("", "y", "yes", "n", "no"):
            return answers[reply[:1]]
        if reply in ("o", "open"):
            raise ToBrowser
        elif reply == "?" and show is not None:
            show()
            _say("")
        else:
            keys = "y, n, ? or o" if show is not None else "y, n or o"
            _say(f"Type {keys}, or press Enter to decide later.")


def _show(audit: Audit, finding: Finding, most: int) -> None:
    """A few samples of the class that errs most, with the finding and without it."""
    values, y = audit.values(finding.name), audit.predictions.y_index
    label = finding.worst.name
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
    name = f"row {row}" if inputs is None else inputs.title(row)
    if inputs is not None and inputs.texts is not None:
        return shortened(one_line(inputs.texts[row]), _LONGEST)
    columns = {**((inputs and inputs.table) or {}), **((inputs and inputs.metadata) or {})}
    cells = ", ".join(f"{column}={values[row]}" for column, values in [*columns.items()][:6])
    return f"{name}: {cells}" if cells else name


def _say(text: str) -> None:
    say("\n".join(map(printable, text.split("\n"))), err=True)
