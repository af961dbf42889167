"""Result of a run without a repair: open questions, or nothing to repair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkit._doc import documented
from ntkit._text import counted, percent
from ntkit._version import __version__
from ntkit.attributes.findings import NAMELESS, Finding
from ntkit.jobs.audit import Answers, Audit
from ntkit.jobs.debias._result import MODEL_FILE
from ntkit.jobs.report import quoted
from ntkit.model import FrozenModel
from ntkit.pages.audit_page import question_of

AUDIT_FILES = ("audit.html", "audit.json")
QUESTIONS = 3
"""Findings of each of the two lists that are asked about; weaker ones are in audit.json."""
_WHY = (
    "ntkit wrote no model: errors on biased data do not tell a shortcut from a hard sample, but a "
    "person can."
)


def open_findings(audit: Audit, answers: Answers) -> tuple[Finding, ...]:
    """Questions that nobody answered yes or no, the strongest first."""
    decided = {
        name
        for answer in answers.answers
        if answer.answer != "unsure"
        for name in (answer.name, *(name for side in answer.values for name in side))
    }
    return tuple(f for f in questions_of(audit) if not decided & {f.name, *f.same, *f.opposed})


def questions_of(audit: Audit) -> tuple[Finding, ...]:
    """The strongest findings of the model and of retraining; those that have a name come first."""
    new = () if audit.retraining is None else audit.retraining.findings
    both = (*audit.findings[:QUESTIONS], *new[:QUESTIONS])
    return tuple(
        sorted(both, key=lambda finding: (finding.feature_set in NAMELESS, -finding.score))
    )


@documented
@dataclass(frozen=True, eq=False)
class FindingsResult:
    """Findings of :func:`ntkit.debias` that nobody answered yet; no model is written.

    Attributes
    ----------
    model : FrozenModel
        The original model.
    audit : Audit
        Attributes that the model relies on, and that class-balanced retraining newly would.
    answers : Answers
        Answers of people so far.
    path : pathlib.Path or None
        The folder written.
    {notes}
    kept_original : bool
        Whether the unchanged original is in the folder.
    resumable : bool
        Whether the command line can go on from the folder.
    train : pathlib.Path or None
        Where the training samples are.
    """

    model: FrozenModel
    audit: Audit
    answers: Answers
    path: Path | None
    notes: tuple[str, ...]
    kept_original: bool = False
    resumable: bool = False
    train: Path | None = None

    written = False
    """No model is written without an answer."""

    @property
    def open(self) -> tuple[Finding, ...]:
        """Findings that nobody answered yes or no on."""
        return open_findings(self.audit, self.answers)

    @property
    def state(self) -> str:
        """``"open"`` if findings wait for an answer, else ``"kept"``."""
        return "open" if self.open else "kept"

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"FindingsResult(state={self.state!r}, open={[f.name for f in self.open]})"

    def headline(self) -> str:
        """First line of :meth:`summary`: open questions, or why the original model was kept."""
        n, n_open = len(questions_of(self.audit)), len(self.open)
        if n_open:
            return f"No decision yet: {counted(n_open, 'question')}."
        if n:
            more = len(self.audit.all_findings) - n
            weaker = f" {more} weaker ones are in audit.json." if more else ""
            return f"Kept the original model: all {n} findings are answered with no.{weaker}"
        n_samples = len(self.audit.predictions.y_index)
        return f"Kept the original model. No finding on {n_samples} validation samples."

    def summary(self, *, verbose: bool = False) -> str:
        """What ``ntkit debias`` prints: why there is no model, three questions, the next command.

        ``verbose=True`` lists more questions, every way to go on, and the notes.
        """
        if not verbose:
            return "\n".join(self._in_short())
        lines = [self.headline()]
        if self.open:
            lines += [_WHY, *self._list("The model relies on", self.audit.findings)]
            if self.audit.retraining is not None:
                new = self.audit.retraining.findings
                lines += self._list("Retraining would newly rely on", new)
            lines += ["", "Go on with one of these:", *self._next()]
        lines += ["", *self.notes] if self.notes else []
        if self.path is not None:
            lines.append(f"Written: {self.path / AUDIT_FILES[0]}")
            if self.kept_original:
                lines.append(f"The unchanged original: {self.path / MODEL_FILE}")
        return "\n".join(lines)

    def _in_short(self) -> list[str]:
        page = None if self.path is None else self.path / AUDIT_FILES[0]
        if not self.open:
            return [self.headline(), *([] if page is None else [f"Next: open {quoted(page)}"])]
        lines = [self.headline(), _WHY]
        if page is None or not self.resumable:
            lines.append("Next: debias(…, answers=result.audit.answers(NAME)) if it is a shortcut.")
        else:
            lines += [
                f"Answer on {page}, which saves answers.json. Or name a shortcut (--spurious "
                "NAME), a change (--invariant image:border), or a method (--method auto).",
                f"Next: ntkit debias --from {quoted(self.path)} --answers answers.json",
            ]
        return [*lines, "", *self._questions(self.open[:QUESTIONS])]

    def _questions(self, findings: Sequence[Finding]) -> list[str]:
        """The question of each finding, and what it rests on."""
        lines = list[str]()
        for finding in findings:
            lines += [f"  {question_of(finding)}", f"    {shares_of(finding)}"]
        return lines

    def _list(self, title: str, findings: Sequence[Finding]) -> list[str]:
        waiting = [finding for finding in findings[:QUESTIONS] if finding in self.open]
        lines = ["", f"{title}:"] if waiting else []
        lines += self._questions(waiting)
        more = len(findings) - QUESTIONS
        return [*lines, *([f"  {more} weaker: see audit.json."] if waiting and more > 0 else [])]

    def _next(self) -> list[str]:
        if self.path is None or not self.resumable:
            there = "" if self.path is None else f"  (out and resume: {str(self.path)!r})"
            return [
                "  a finding is a shortcut:  debias(…, answers=result.audit.answers(NAME))" + there,
                "  order a method:           debias(…, method='auto')" + there,
            ]
        run, page = f"ntkit debias --from {quoted(self.path)}", self.path / AUDIT_FILES[0]
        model, train = (quoted(path or "…") for path in (self.model.path, self.train))
        return [
            f"  answer on the page:     open {page} and save answers.json, then",
            f"                          {run} --answers answers.json",
            f"  name a shortcut:        {run} --spurious NAME",
            f"  name a change:          {run} --invariant image:border   (or word:…, column:…)",
            "  label single samples:",
            f'    ntkit label {model} {train} -o labels/ --question "Is there …?"',
            f"    {run} --answers labels/answers.json",
            f"  order a method:         {run} --method auto",
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values: the content of ``result.json``."""
        return {
            "state": self.state,
            "headline": self.headline(),
            "written": False,
            "questions": [{"name": f.name, "question": question_of(f)} for f in self.open],
            "answers": [answer.as_dict() for answer in self.answers.answers],
            "findings": [finding.name for finding in self.audit.all_findings],
            "model": str(self.path / MODEL_FILE) if self.path and self.kept_original else None,
            "notes": list(self.notes),
            "version": __version__,
        }


def shares_of(finding: Finding) -> str:
    """Shares of a class that are right with a finding and without it, in words."""
    worst = finding.worst
    other = finding.beside(worst)
    shares = [
        f"{percent(cell.accuracy, 0)} of {cell.count} right with{'' if cell.having else 'out'} it"
        for cell in (worst, other)
        if cell.count
    ]
    return f"class {worst.label}: {', '.join(shares)}   ({finding.name})"
