"""Result of a repair that wrote no model: open questions, or no finding to repair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkit._text import counted, percent, without_controls
from ntkit._version import __version__
from ntkit.attributes.findings import NAMELESS, Finding
from ntkit.jobs.audit import Answers, Audit
from ntkit.jobs.debias._settings import AUDIT_FILES, MODEL_FILE
from ntkit.jobs.report import quoted
from ntkit.model import FrozenModel
from ntkit.pages.audit_page import question_of

_PRINTED = 3  # questions
_WHY = (
    "ntkit wrote no model: errors do not distinguish a shortcut from a hard sample, so a "
    "person must decide."
)


def open_findings(audit: Audit, answers: Answers) -> tuple[Finding, ...]:
    """Questions without a yes or a no, the strongest first."""
    decided = {
        name
        for answer in answers.answers
        if answer.answer != "unsure"
        for name in (answer.name, *(name for side in answer.values for name in side))
    }
    return tuple(f for f in questions_of(audit) if not decided & {f.name, *f.same, *f.opposed})


def questions_of(audit: Audit) -> tuple[Finding, ...]:
    """The strongest findings of the model and of the retrained head; named ones come first."""
    return tuple(
        sorted(
            audit.questions, key=lambda finding: (finding.feature_set in NAMELESS, -finding.score)
        )
    )


@dataclass(frozen=True, eq=False)
class FindingsResult:
    """Result of :func:`ntkit.debias` without a decision of a person: findings, and no new model."""

    model: FrozenModel
    audit: Audit
    answers: Answers
    path: Path | None
    notes: tuple[str, ...]
    kept_original: bool = False
    resumable: bool = False

    written = False
    """No model is written without an answer."""

    @property
    def open(self) -> tuple[Finding, ...]:
        """Findings without a yes or a no."""
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
        """First line of :meth:`summary`: open questions, or the reason for keeping the original."""
        n, n_open = len(questions_of(self.audit)), len(self.open)
        if n_open:
            label = "" if self.model.label is None else f" on the label {self.model.label!r}"
            return f"No decision yet{label}: {counted(n_open, 'question')}."
        if n:
            more = len(self.audit.all_findings) - n
            verb = "is" if more == 1 else "are"
            weaker = f" {counted(more, 'weaker finding')} {verb} in audit.json." if more else ""
            every = "the finding" if n == 1 else f"all {n} findings"
            return f"Kept the original model: the answer to {every} is no.{weaker}"
        n_samples = len(self.audit.predictions.y_index)
        return f"Kept the original model. No finding on {n_samples} validation samples."

    def summary(self, *, verbose: bool = False) -> str:
        """Text that ``ntkit debias`` prints: the reason, three questions, and the next command.

        ``verbose=True`` adds the notes.
        """
        notes = [f"Note: {note}" for note in self.notes] if verbose else []
        lines = [*self._in_short(), *([""] if notes else []), *notes]
        return without_controls("\n".join(lines))

    def _in_short(self) -> list[str]:
        page = None if self.path is None else self.path / AUDIT_FILES[0]
        first = self.headline()
        if self.kept_original:
            first += f" {self.path}: {MODEL_FILE} is the unchanged original."
        if not self.open:
            return [first, *([] if page is None else [f"Next: open {quoted(page)}"])]
        lines = [first, _WHY]
        if page is None or not self.resumable:
            place = repr(str(self.path))
            again = (
                "" if page is None else f", out={place}, settings=DebiasSettings(resume={place})"
            )
            confirm = f"debias(…, answers=result.audit.answers(NAME){again})"
            lines.append(f"Next: {confirm} if it is a shortcut.")
        else:
            lines += [
                f"Answer on {page}, which saves answers.json. Or name a shortcut (--spurious "
                "NAME), a change (--invariant image:border), or a method (--method auto).",
                f"Next: ntkit debias --from {quoted(self.path)} --answers answers.json",
            ]
        lines.append("")
        for finding in self.open[:_PRINTED]:
            lines += [f"  {question_of(finding)}", f"    {shares_of(finding)}"]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON: the content of ``result.json``."""
        return {
            "state": self.state,
            "headline": self.headline(),
            "label": self.model.label,
            "written": False,
            "questions": [{"name": f.name, "question": question_of(f)} for f in self.open],
            "answers": [answer.as_dict() for answer in self.answers.answers],
            "findings": [finding.name for finding in self.audit.all_findings],
            "model": str(self.path / MODEL_FILE) if self.path and self.kept_original else None,
            "notes": list(self.notes),
            "version": __version__,
        }


def shares_of(finding: Finding) -> str:
    """Accuracies of a class with and without a finding's attribute, in words."""
    worst = finding.worst
    other = finding.beside(worst)
    shares = [
        f"{percent(group.value, 0)} of {group.n} right {'with' if group.which else 'without'} it"
        for group in (worst, other)
        if group.n
    ]
    return f"class {worst.name}: {', '.join(shares)}   ({finding.name})"
