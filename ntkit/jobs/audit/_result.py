"""Findings of an audit: ranked, as values, as a table, as JSON and as files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._output import check_folder, new_folder
from ntkit._text import (
    as_json,
    escaped,
    listed,
    percent,
    printable,
    shortened,
    table,
    with_interval,
)
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.attributes import (
    FEWEST,
    SUPPORT,
    Answer,
    Answers,
    Attribute,
    FeatureSet,
    Rule,
    layer_of,
    values_by_name,
    values_of,
)
from ntkit.attributes.findings import MOST_INFERRED, Finding, FindingGroup, Findings, Predictions
from ntkit.exceptions import InputError
from ntkit.jobs.audit._changes import (
    ChangeFindings,
    change_for,
    change_of_attribute,
    has_attribute,
)
from ntkit.pages import Inputs
from ntkit.pages.audit_page import SHOWN, AuditPage, Unlabelled, audit_html
from ntkit.pages.change_cards import ShownChange

_SHOWN = 10  # rows of a table


@documented
@dataclass(frozen=True, eq=False)
class Audit:
    """Attributes that the errors of a model depend on; :func:`ntkit.audit` makes it.

    Parameters
    ----------
    predictions : Predictions
        True and predicted classes.
    feature_sets : tuple of FeatureSet
        What was looked at.
    found : Findings
        The findings, and what they were chosen from.
    alpha : float
        Largest p-value of a finding, after correction.
    cross_fitted : bool
        Whether the predictions are those of heads that were fitted for it.
    inputs : Inputs or None
        Raw inputs, by row.
    {notes}
    model : str or None
        SHA-256 of the model that ran over the samples.
    layers : tuple of str
        Its layers that were looked at, in order.
    unlabelled : Unlabelled or None
        How often the findings occur in other samples, without labels.
    retraining : Audit or None
        What class-balanced retraining would newly rely on: its own predictions and the findings
        the model itself does not have.
    changes : ChangeFindings or None
        Which changes of the input flip predictions, next to controls of the same size.
    labelled : bool
        Whether the samples have labels. Without, changes alone are looked at, and what is
        predicted stands in the place of the true classes.

    Examples
    --------
    >>> import ntkit
    >>> y, film = [0, 1] * 50, [0, 1, 0, 1, 0, 1, 0, 1, 1, 0] * 10
    >>> texts = [f"a {'film' if f else 'movie'}" for f in film]
    >>> audit = ntkit.audit(y, film, texts=texts)
    >>> [finding.name for finding in audit.findings], audit.findings[0].opposed
    (['word:film'], ('word:movie',))
    >>> audit.values("word:film")[:5].tolist()
    [0, 1, 0, 1, 0]
    >>> audit.groups("word:film")[:2].tolist()
    ['0 × word:movie', '1 × word:film']
    """

    predictions: Predictions
    feature_sets: tuple[FeatureSet, ...]
    found: Findings
    alpha: float
    cross_fitted: bool
    inputs: Inputs | None = None
    notes: tuple[str, ...] = ()
    model: str | None = None
    layers: tuple[str, ...] = ()
    unlabelled: Unlabelled | None = None
    retraining: Audit | None = None
    changes: ChangeFindings | None = None
    labelled: bool = True

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each family: what is exact, then what is inferred, five of a kind at most."""
        return self.found.findings

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Those of the model, then those that only retraining has; no name is there twice."""
        return self.findings + (self.retraining.findings if self.retraining else ())

    @property
    def n_looked_at(self) -> dict[str, int]:
        """Number of attributes that were looked at, by kind of view."""
        return dict(self.found.n_looked_at)

    def values(self, name: str) -> Array:
        """One attribute of every sample: 1, 0, or −1 where it is not known; int8, (N,).

        Raises
        ------
        {attribute.InputError}
        """
        return values_of(self.feature_sets, name)

    def groups(self, *names: str) -> Array:
        """Group labels of all samples: class × their value of each attribute.

        Parameters
        ----------
        *names : str
            Attributes. One of a finding's family stands for the family: its values are called
            after the first attribute of each, the rest ``other``. Any other attribute has two.

        Returns
        -------
        ndarray of str, shape (N,)
            To retrain with, as by :class:`ntkit.estimators.DFRClassifier`.

        Raises
        ------
        {attribute.InputError}
        """
        if not names:
            raise InputError("Groups are class × attribute; name at least one attribute.")
        y = self.predictions.classes[self.predictions.y_index]
        first, *others = (Attribute.from_labels(name, self._values(name)) for name in names)
        return first.crossed(y, *others).labels

    def answers(self, *names: str) -> Answers:
        """Answer, as a person would on the page, that a right answer must not depend on these.

        Parameters
        ----------
        *names : str
            Attributes. One of a finding's family stands for the family; any other for itself.

        Returns
        -------
        Answers
            For :func:`ntkit.debias`. Attributes of layers come with the rule that reads them from
            other samples of the same model.

        Raises
        ------
        {attribute.InputError}
        """
        return Answers(tuple(self._answer(name) for name in dict.fromkeys(names)), self.model)

    def _answer(self, name: str) -> Answer:
        family = self._family(name)
        if family is None:
            self.values(name)  # refuses a name that there is not
            sides: tuple[tuple[str, ...], ...] = ((name,),)
        else:
            findings, place = family
            name, sides = findings.findings[place].name, findings.findings[place].values
        of_layers = [n for side in sides for n in side if layer_of(n) is not None]
        rules = {each: self.rule(each) for each in of_layers}  # pictures are measured anew
        return Answer(name, "spurious", sides, {n: r for n, r in rules.items() if r is not None})

    def rule(self, name: str) -> Rule | None:
        """Rule that reads an attribute from other samples; None if its name says it."""
        rules = (feature_set.rule(name) for feature_set in self.feature_sets)
        return next((rule for rule in rules if rule is not None), None)

    def _family(self, name: str) -> tuple[Findings, int] | None:
        """The findings, and the place of the one whose family an attribute belongs to."""
        for audit in (self, *([self.retraining] if self.retraining else [])):
            for i, finding in enumerate(audit.findings):
                if name in (finding.name, *finding.same, *finding.opposed):
                    return audit.found, i
        return None

    def _values(self, name: str) -> Array:
        family = self._family(name)
        if family is not None:
            findings, place = family
            of_side = findings.value_names[place]
            rest = "other" if len(of_side) > 1 else f"not {of_side[0]}"
            return np.asarray([rest, *of_side, "unknown"])[findings.values[:, place]]
        return np.asarray([f"not {name}", name, "unknown"])[self.values(name)]

    # -- for people and programs ------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        wrong, weight = self.predictions.wrong, self.predictions.weight
        retraining = None if self.retraining is None else self.retraining.as_dict()
        return {
            "version": __version__,
            "samples": int((weight > 0).sum()),
            "labelled": self.labelled,
            "errors": int((wrong & (weight > 0)).sum()) if self.labelled else None,
            "accuracy": float(np.average(~wrong, weights=weight)) if self.labelled else None,
            "classes": self.predictions.classes.tolist(),
            "cross_fitted": self.cross_fitted,
            "alpha": self.alpha,
            "correction": "Holm",
            "looked_at": self.n_looked_at,
            "passed": self.found.n_passed,
            "left_out": dict(self.found.n_left_out),
            "notes": list(self.notes),
            "model": self.model,
            "layers": list(self.layers),
            "unlabelled": self._unlabelled(),
            "findings": [finding.as_dict() for finding in self.findings],
            "retraining": retraining and {n: retraining[n] for n in ("accuracy", "findings")},
            **(_NO_CHANGES if self.changes is None else self.changes.as_dict()),
        }

    def _unlabelled(self) -> dict[str, Any] | None:
        if self.unlabelled is None:
            return None
        counts = {s.name: self.unlabelled.counts(s.name) for s in self.findings}
        shares = {n: {"having": c[0], "known": c[1]} for n, c in counts.items() if c is not None}
        return {"samples": self.unlabelled.n_samples, "findings": shares}

    def to_json(self) -> str:
        """Everything as JSON."""
        return as_json(self.as_dict())

    def table(self, most: int = _SHOWN, *, markdown: bool = True) -> str:
        """The first findings as a table, in percent; in Markdown names are escaped."""
        text, code = (_escaped, _code) if markdown else (_readable, _readable)
        header = ["", "attribute", "goes with", "score", "p", "worst group", "right", "otherwise"]
        rows = [header]
        for i, finding in enumerate(self.findings[:most], start=1):
            worst = finding.worst
            cells = [
                str(i),
                code(_named(finding)),
                text(str(finding.goes_with)),
                f"{finding.score:.1f}",
                f"{finding.p_value:.0e}" if finding.p_value > 0 else "< 1e-300",
                text(f"{worst.label}, {'with' if worst.having else 'without'}"),
                _right(worst),
                _right(finding.beside(worst)),
            ]
            rows.append(cells)
        return table(rows, "><<>><<<")

    def __str__(self) -> str:
        return self.summary()

    def summary(self, *, markdown: bool = False) -> str:
        """Text that ``ntkit audit`` prints; in Markdown, the content of its ``table.md``."""
        parts = [self._first_line()]
        new = self.retraining if self.retraining and self.retraining.findings else None
        if self.findings:
            parts += ["The model relies on"] * (new is not None) + self._shown(markdown)
        if new is not None:
            accuracy = percent(new.as_dict()["accuracy"])
            parts += [
                "Retraining would newly rely on",
                *new._shown(markdown),
                f"With its last layer retrained so that all classes count alike, the model would "
                f"be right on {accuracy}.",
            ]
        parts += self._of_changes(markdown)
        return "\n\n".join([*parts, *[_READ] * bool(self.all_findings)])

    def _shown(self, markdown: bool) -> list[str]:
        more = len(self.findings) - _SHOWN
        return [self.table(markdown=markdown), *[f"{more} more are not shown."] * (more > 0)]

    def _of_changes(self, markdown: bool) -> list[str]:
        """The strongest changes as a table, and what they say next to the findings."""
        if self.changes is None:
            return []
        if not self.changes.changes:
            return ["No change of the input could be tried on these samples."]
        text = _code if markdown else _readable
        rows = [["change of the input", "flips", "control", "p", "margin beyond control"]]
        rows += [
            [
                text(each.name),
                f"{with_interval(each.flips, each.flips_interval, each.n)} of {each.n}",
                with_interval(each.control_flips, each.control_interval, each.n),
                f"{each.p_value:.0e}" if each.p_value < 0.01 else f"{each.p_value:.2f}",
                f"{each.beyond_control:.2f} [{each.beyond_interval[0]:.2f}, "
                f"{each.beyond_interval[1]:.2f}]",
            ]
            for each in self.changes.changes[:_SHOWN]
        ]
        shown = "What changes the prediction", table(rows, "<>>>>")
        return [*shown, *([" ".join(said)] if (said := self.change_sentences()) else []), _FLIPS]

    def change_sentences(self) -> list[str]:
        """Sentences on findings that flip nothing, and on changes that no finding is about."""
        changes = self.changes
        if changes is None or self.cross_fitted or not (self.labelled and self.as_dict()["errors"]):
            return []
        columns = changes.columns
        sentences, about = list[str](), set[str]()
        for finding in self.findings:
            names = (finding.name, *finding.same, *finding.opposed)
            about |= {n for n in (change_of_attribute(name, columns) for name in names) if n}
            change = change_for(finding, columns)
            if change is None:
                continue
            flips, n = changes.flipped(change.name)
            left_out = change.name.partition("|")[0]
            also = changes.flipped(left_out) if left_out != change.name else (0, 0)
            about.add(change.name)
            if n >= _ENOUGH and not flips and not also[0]:
                sentences.append(
                    f"{_readable(finding.name)} is correlated with errors, and changing it flips "
                    f"none of {n} predictions."
                )
        looked_at = {name.partition(":")[0] for name in self.n_looked_at}
        sentences += [
            f"{_readable(each.name)} flips surely more predictions than its control, and no "
            "finding in the errors is about it."
            for each in changes.changes
            if each.is_finding and each.name not in about and has_attribute(each.name, looked_at)
        ]
        return sentences

    def __repr__(self) -> str:
        names = ", ".join(finding.name for finding in self.findings[:3])
        return f"Audit({len(self.findings)} findings{': ' if names else ''}{names})"

    def _first_line(self) -> str:
        facts = self.as_dict()
        if not self.labelled:
            counts = np.bincount(
                self.predictions.pred_index, minlength=len(self.predictions.classes)
            )
            shown = listed(
                (
                    f"{_readable(str(label))} ({count})"
                    for label, count in zip(facts["classes"], counts, strict=True)
                ),
                _SHOWN,
            )
            return (
                "There are no labels, so errors are not looked at, only which changes of the input "
                f"change the prediction. Predicted classes of {facts['samples']} samples: {shown}."
            )
        looked_at = ", ".join(f"{count} of {kind}" for kind, count in self.n_looked_at.items())
        whose = "Cross-fitted heads are" if self.cross_fitted else "The model is"
        sentences = [
            f"{whose} right on {percent(facts['accuracy'])} of {facts['samples']} samples.",
            f"Attributes looked at: {looked_at}.",
        ]
        passed = f"p ≤ {self.alpha:g} after Holm's correction"
        if not facts["errors"]:
            sentences.append("Where nothing is wrong, errors say nothing.")
        elif not sum(self.n_looked_at.values()):
            sentences.append(
                f"None is had by at least {FEWEST} samples and {100 * SUPPORT:g} % of them, and "
                "lacked by as many."
            )
        elif not self.findings:
            sentences.append(
                f"None of them goes with a class and with its errors beyond chance ({passed})."
            )
        else:
            left_out = self.found.n_left_out
            n = len(self.findings) + sum(left_out.values())
            sentences.append(
                f"{self.found.n_passed} go with a class and with its errors beyond chance "
                f"({passed}), in {n} {'families' if n > 1 else 'family'}."
            )
            sentences += [
                f"Of {count + MOST_INFERRED} families of {kind} the {MOST_INFERRED} clearest are "
                "listed."
                for kind, count in left_out.items()
            ]
        return " ".join(sentences)


_ENOUGH = 20  # copies, of which none flips, to say so
_NO_CHANGES = dict.fromkeys(("changes", "changes_tried", "changes_left_out", "copies_embedded"))
_FLIPS = (
    "flips: predictions that differ on changed copies, in % with the 95 % interval; control: the "
    "same of a change of equal size that means nothing; p: of so many more flips by chance, after "
    "Holm's correction; margin: how much the logit of the predicted class loses against the "
    "others. It is evidence if the right answer stays the same, which only a person can tell."
)
_READ = (
    "worst group: of the samples that conflict with what the attribute goes with, those that are "
    "surely wrong most often, with the share that is right in % and its 95 % interval; otherwise: "
    "the other samples of that class. A finding is no verdict: only a person can tell whether it "
    "is a shortcut that the model should ignore."
)


def _named(finding: Finding) -> str:
    others = len(finding.same) - 1
    same = f" (and {finding.same[0]}" if finding.same else ""
    same += f", {others} more)" if others > 0 else ")" if same else ""
    against = f" against {finding.opposed[0]}" if finding.opposed else ""
    return f"{'' if finding.present else 'not '}{finding.name}{same}{against}"


def _right(cell: FindingGroup) -> str:
    share = with_interval(cell.accuracy, cell.interval, cell.count)
    return f"{share} of {cell.count}" if cell.count else share


def _readable(text: str, most: int = 80) -> str:
    """Text that a terminal shows and does not obey."""
    return printable(shortened(text, most))


def _code(text: str) -> str:
    """Text as a code span: a name may hold mark-up, which no page is to run."""
    shown = _readable(text).replace("|", "\\|").replace("`", "'")
    return f"`{shown}`"


def _escaped(text: str) -> str:
    """Text as Markdown that shows it as it is, and leaves a table whole."""
    return escaped(_readable(text))


@documented
def write_audit(
    audit: Audit,
    path: StrPath,
    *,
    inputs: Inputs | None = None,
    title: str = "",
    go_on: str | None = None,
    force: bool = False,
) -> None:
    """Write ``audit.html``, ``audit.json`` and ``table.md`` into a folder, complete or not at all.

    The page is for somebody who knows the subject: each finding in words, with examples, and three
    buttons. It opens offline and saves the answers as ``answers.json``, for :func:`read_answers`.

    Parameters
    ----------
    audit : Audit
        What was found.
    path : path-like
        The folder.
    inputs : Inputs, optional
        Raw inputs to show examples of; by default those that the audit was given.
    title : str
        What was looked at, such as the model's file name.
    go_on : str, optional
        Command that acts on the answers, for the page to show; by default ``ntkit debias`` of the
        model.
    {force}

    Raises
    ------
    InputError
        If it cannot be written, or there are more or fewer inputs than samples.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import ntkit
    >>> from ntkit.jobs.audit import write_audit
    >>> y, film = [0, 1] * 50, [0, 1, 0, 1, 0, 1, 0, 1, 1, 0] * 10
    >>> audit = ntkit.audit(y, film, texts=[f"a {'film' if f else 'movie'}" for f in film])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audit(audit, Path(folder) / "audit")
    ...     sorted(file.name for file in (Path(folder) / "audit").iterdir())
    ['.ntkit.json', 'audit.html', 'audit.json', 'table.md']
    """
    check_folder(path, force=force)
    files = audit_files(audit, inputs=inputs, title=title, go_on=go_on)
    with new_folder(path, force=force) as folder:
        for name, text in (files | {"table.md": f"{audit.summary(markdown=True)}\n"}).items():
            (folder / name).write_text(text, encoding="utf-8")


def audit_files(
    audit: Audit,
    *,
    inputs: Inputs | None = None,
    title: str = "",
    go_on: str | None = None,
    most: int = SHOWN,
) -> dict[str, str]:
    """The page, with the first findings of each list, and the JSON of an audit, by file name."""
    content = audit.to_json()
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    page = _page(audit, digest, inputs or audit.inputs or Inputs(), title, most)
    return {"audit.html": audit_html(replace(page, go_on=go_on)), "audit.json": f"{content}\n"}


def _page(audit: Audit, digest: str, inputs: Inputs, title: str, most: int) -> AuditPage:
    shown, new, changes = audit.findings[:most], audit.retraining, audit.changes
    answers = [answer for one in shown for answer in audit.answers(one.name).answers]
    return AuditPage(
        title=title,
        digest=digest,
        facts=audit.as_dict(),
        findings=audit.findings,
        entries=[
            {name: value for name, value in answer.as_dict().items() if name != "answer"}
            for answer in answers
        ],
        model=audit.model,
        unlabelled=audit.unlabelled,
        values=values_by_name(audit.feature_sets, [finding.name for finding in shown]),
        predictions=audit.predictions,
        inputs=inputs,
        retraining=None if new is None else _page(new, digest, inputs, title, most),
        changes=None
        if changes is None
        else [
            ShownChange(each.as_dict(), each.examples.before, each.examples.after)
            for each in changes.changes
        ],
        tried="" if changes is None else changes.note(),
        flipped={} if changes is None else _flipped(shown, changes),
    )


def _flipped(
    findings: Sequence[Finding], changes: ChangeFindings
) -> dict[str, tuple[str, int, int]]:
    """The change of each finding that was tried: its name, predictions that flip, and copies."""
    flipped = dict[str, tuple[str, int, int]]()
    for finding in findings:
        change = change_for(finding, changes.columns)
        if change is not None and (counts := changes.flipped(change.name))[1]:
            flipped[finding.name] = (change.name, *counts)
    return flipped
