"""The result of an audit: ranked findings as values, a table, JSON and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._key import Key, lacking, value_name
from ntkit._labels import listed as listed_labels
from ntkit._shown import InNotebook, NotebookView, ShownTable, bar_of, ends, frame_of
from ntkit._text import (
    Markdown,
    as_json,
    counted,
    escaped,
    listed,
    percent,
    plain_table,
    printable,
    shortened,
    table,
    with_interval,
)
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.attributes import Attribute, FeatureSet
from ntkit.attributes.answers import Answer, Answers
from ntkit.attributes.feature_set import FEWEST, SUPPORT, Rule, rules_of, values_of
from ntkit.attributes.findings import (
    NAMELESS,
    SHOWN,
    AuditedPredictions,
    Finding,
    Findings,
    find_findings,
)
from ntkit.exceptions import InputError
from ntkit.jobs.audit.changes import (
    ChangeFinding,
    ChangeFindings,
    change_for,
)
from ntkit.metrics import Row
from ntkit.samples.looks import Inputs, Unlabelled, thumbnail_of

COLUMNS: dict[str, type] = {
    "name": str, "feature_set": str, "exact": bool, "shown": bool, "correlated_with": object,
    "present": bool, "score": float, "p_value": float, "samples": int, "worst_class": object,
    "worst_with_it": bool, "worst_samples": int, "accuracy": float, "low": float, "high": float,
    "accuracy_rest": float, "accuracy_if_unrelated": float, "same": object, "opposed": object,
}  # fmt: skip
_SHOWN = 10  # rows of a complete table
_STRONGEST = 5  # rows of a table in the terminal
_NAME = 48  # characters of a finding's name in the terminal
_LONG_NAME = 80
_THUMBNAILS, _SIDE = 3, 64  # images of a finding in a notebook, and their pixels


@documented
@dataclass(frozen=True, eq=False)
class Audit(InNotebook):
    """Findings of an audit: attributes that a model's errors depend on.

    :func:`ntkit.audit` and :func:`ntkit.audit_model` return it.

    Parameters
    ----------
    predictions : AuditedPredictions
        True and predicted classes.
    feature_sets : tuple of FeatureSet
        The tested attributes.
    found : Findings
        The findings, how many attributes were tested, and with which correction.
    cross_fitted : bool
        Whether the predictions are those of cross-fitted heads, not of the model.
    inputs : Inputs or None
        Raw inputs, by row.
    {notes}
    model : str or None
        SHA-256 of the model that ran over the samples.
    layers : tuple of str
        Tested layers of the model, in order.
    unlabelled : Unlabelled or None
        How often the findings occur in other samples, which have no labels.
    retraining : Audit or None
        Predictions of a class-balanced retrained last layer, and the findings that only it has.
    changes : ChangeFindings or None
        Changes of the input, the predictions they flip, and controls of the same size.
    additions : tuple of Row
        Lines before or after a text that flip most predictions, on samples that did not choose
        them.
    labelled : bool
        Whether the samples have labels. If not, ntkit tests only changes, and the predicted
        classes take the place of the true ones.
    label : str or None
        The label, of a model that gives every sample several.
    repairable : bool
        Whether :func:`ntkit.debias` takes the model; it needs a linear last layer.
    class_order : tuple or None
        Classes in the order in which the logits fit the labels, if that is evidently not the
        model's.

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

    predictions: AuditedPredictions
    feature_sets: tuple[FeatureSet, ...]
    found: Findings
    cross_fitted: bool
    inputs: Inputs | None = None
    notes: tuple[str, ...] = ()
    model: str | None = None
    layers: tuple[str, ...] = ()
    unlabelled: Unlabelled | None = None
    retraining: Audit | None = None
    changes: ChangeFindings | None = None
    additions: tuple[Row, ...] = ()
    labelled: bool = True
    label: str | None = None
    repairable: bool = True
    class_order: tuple[Any, ...] | None = None

    @property
    def alpha(self) -> float:
        """Largest p-value of a finding, after correction."""
        return self.found.alpha

    @property
    def n_labels(self) -> int:
        """Number of labels that share ``alpha``: the correction counts the tests of all of them."""
        return self.found.n_problems

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings: those of :attr:`shown`, then the weaker ones of inferred kinds."""
        return self.found.findings

    @property
    def shown(self) -> tuple[Finding, ...]:
        """Findings on the page: exact attributes, then at most five of each inferred kind."""
        return self.found.shown

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Findings of the model, then those that only the retrained head has; no name twice."""
        return self.findings + (self.retraining.findings if self.retraining else ())

    @property
    def questions(self) -> tuple[Finding, ...]:
        """Findings that a person is asked about: the first of the model, then of the new head."""
        new = () if self.retraining is None else self.retraining.questions
        return (*self.shown[:SHOWN], *new)

    @property
    def n_positive(self) -> int | None:
        """Number of samples with the label, of a model that gives every sample several."""
        if self.label is None:
            return None
        has = self.predictions.y_index == self.predictions.classes.tolist().index(self.label)
        return int((has & (self.predictions.weight > 0)).sum())

    @property
    def n_looked_at(self) -> dict[str, int]:
        """Number of tested attributes in each kind of feature set."""
        return dict(self.found.n_looked_at)

    def values(self, name: str) -> Array:
        """One attribute of every sample: 1, 0, or −1 if unknown; int8, (N,).

        Raises
        ------
        {attribute.InputError}
        """
        return values_of(self.feature_sets, name)

    def groups(self, *names: str) -> Array:
        """Group labels of all samples: class × value of each attribute.

        Parameters
        ----------
        *names : str
            Attributes. An attribute of a finding has the values of the finding; each value has the
            name of its first attribute, and the rest is ``other``. Any other attribute has two
            values.

        Returns
        -------
        ndarray of str, shape (N,)
            Groups to retrain with, for example in :class:`ntkit.estimators.DFRClassifier`; None for
            a sample whose attribute is unknown.

        Raises
        ------
        {attribute.InputError}
        """
        return self._crossed(*names)[0].labels

    def weights(self, *names: str) -> Array:
        """Weights of all samples for a fit of your own, which make the :meth:`groups` weigh alike.

        Parameters
        ----------
        *names : str
            As of :meth:`groups`.

        Returns
        -------
        ndarray of shape (N,)
            As :meth:`ntkit.attributes.Attribute.weights` returns them: 0 for a sample whose
            attribute is unknown. ``inputs.name(i)`` is the name or the row of sample i. Copies
            count once: :func:`ntkit.audit` has a 0 for each, other audits leave them out.

        Raises
        ------
        {attribute.InputError}
        """
        groups, y = self._crossed(*names)
        return groups.weights(y, self.predictions.weight)

    def _crossed(self, *names: str) -> tuple[Attribute, Array]:
        """Groups class × attributes, and the class of each sample."""
        if not names:
            raise InputError("Groups are class × attribute. Name at least one attribute.")
        y = self.predictions.classes[self.predictions.y_index]
        first, *others = (Attribute.from_labels(name, self._values(name)) for name in names)
        return first.crossed(y, *others), y

    def answers(self, *names: str) -> Answers:
        """Answers that confirm attributes as shortcuts, as a person would on the page.

        Parameters
        ----------
        *names : str
            Attributes. An attribute of a finding stands for the whole finding.

        Returns
        -------
        Answers
            Answers for :func:`ntkit.debias`. For attributes that are cut at quantiles, such as
            brightness, they hold the rule that cuts other samples at the same place.

        Raises
        ------
        {attribute.InputError}
        """
        return Answers(tuple(self._answer(name) for name in dict.fromkeys(names)), self.model)

    def _answer(self, name: str) -> Answer:
        family = self._family(name)
        if family is None:
            self.values(name)  # raises an error for an unknown name
            return Answer(name, "spurious", ((name,),), rules_of([name], self.rule))
        findings, place = family
        finding = findings.findings[place]
        known = {*chain(*finding.values)}
        also = tuple(
            other
            for other in (*finding.same, *finding.opposed)
            if other not in known and Key.of(other).kind not in NAMELESS
        )
        rules = rules_of(chain(*finding.values), self.rule)
        return Answer(finding.name, "spurious", finding.values, rules, also=also)

    def rule(self, name: str) -> Rule | None:
        """Rule that reads an attribute from other samples; None if the name defines it."""
        rules = (feature_set.rule(name) for feature_set in self.feature_sets)
        return next((rule for rule in rules if rule is not None), None)

    def _family(self, name: str) -> tuple[Findings, int] | None:
        """The findings, and the position of the one that an attribute belongs to."""
        for audit in (self, *([self.retraining] if self.retraining else [])):
            for i, finding in enumerate(audit.findings):
                if name in (finding.name, *finding.same, *finding.opposed):
                    return audit.found, i
        return None

    def _values(self, name: str) -> Array:
        family = self._family(name)
        if family is not None:
            findings, place = family
            names = [*map(value_name, findings.findings[place].values)]
            rest = "other" if len(names) > 1 else lacking(names[0])
            return np.asarray([rest, *names, None], dtype=object)[findings.values[:, place]]
        return np.asarray([lacking(name), name, None], dtype=object)[self.values(name)]

    # -- for people and programs ------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        wrong, weight = self.predictions.wrong, self.predictions.weight
        retraining = None if self.retraining is None else self.retraining.as_dict()
        unlabelled: dict[str, Any] | None = None
        if self.unlabelled is not None:
            counts = {f.name: self.unlabelled.counts(f.name) for f in self.findings}
            known = {n: {"having": c[0], "known": c[1]} for n, c in counts.items() if c is not None}
            unlabelled = {"samples": self.unlabelled.n_samples, "findings": known}
        additions = [
            {"name": r.name, "n": r.n, "flips": r.value, "flips_interval": r.interval}
            for r in self.additions
        ]
        findings = [finding.as_dict() for finding in self.findings]
        if self.inputs is not None:
            for each in findings:
                of = each["examples"].items()
                each["examples"] = {kind: [*map(self.inputs.name, rows)] for kind, rows in of}
        return {
            "version": __version__,
            "label": self.label,
            "positives": self.n_positive if self.labelled else None,
            "samples": int((weight > 0).sum()),
            "labelled": self.labelled,
            "errors": int((wrong & (weight > 0)).sum()) if self.labelled else None,
            "accuracy": float(np.average(~wrong, weights=weight)) if self.labelled else None,
            "classes": self.predictions.classes.tolist(),
            "cross_fitted": self.cross_fitted,
            "alpha": self.found.alpha,
            "correction": "Holm",
            "labels_corrected_for": self.found.n_problems,
            "looked_at": dict(self.found.n_looked_at),
            "conjunctions_looked_at": self.found.n_conjunctions,
            "passed": self.found.n_passed,
            "left_out": dict(self.found.n_left_out),
            "notes": list(self.notes),
            "model": self.model,
            "layers": list(self.layers),
            "unlabelled": unlabelled,
            "findings": findings,
            "retraining": retraining and {n: retraining[n] for n in ("accuracy", "findings")},
            **(_NO_CHANGES if self.changes is None else self.changes.as_dict()),
            **({"additions": additions} if additions else {}),
        }

    def to_json(self) -> str:
        """All values as JSON text."""
        return as_json(self.as_dict())

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each of the :attr:`findings`.

        Columns: ``name``, ``feature_set``, ``exact``, ``shown`` (whether the page shows it),
        ``correlated_with``, ``present``, ``score``, ``p_value``, ``samples`` (with the attribute);
        of the worst group ``worst_class``, ``worst_with_it``, ``worst_samples``, ``accuracy``,
        ``low``, ``high``; ``accuracy_rest`` of its class; ``accuracy_if_unrelated``, ``same`` and
        ``opposed``.
        """
        return frame_of([self.facts_of(i) for i in range(len(self.findings))], COLUMNS)

    def facts_of(self, i: int) -> dict[str, Any]:
        """A finding as a row of a frame."""
        finding = self.findings[i]
        worst, unrelated = finding.worst, finding.unrelated
        return {
            "name": finding.name,
            "feature_set": finding.feature_set,
            "exact": finding.exact,
            "shown": i < len(self.shown),
            "correlated_with": finding.goes_with,
            "present": finding.present,
            "score": finding.score,
            "p_value": finding.p_value,
            "samples": finding.n,
            "worst_class": worst.name,
            "worst_with_it": worst.which,
            "worst_samples": worst.n,
            "accuracy": worst.value,
            **ends("", worst.interval),
            "accuracy_rest": finding.beside(worst).value,
            "accuracy_if_unrelated": unrelated and unrelated.value,
            "same": finding.same,
            "opposed": finding.opposed,
        }

    def table(self, most: int = _SHOWN) -> Markdown:
        """The first findings as a Markdown table with escaped names, accuracies in percent."""
        header = ["", "attribute", "correlated with", "score", "p"]
        rows = [[*header, "worst group", "accuracy", "rest of class"]]
        names = list[str]()
        for finding in self.findings[:most]:
            others = len(finding.same) - 1
            more = f", {others} more" * (others > 0)
            twin = f" (and {_signed(finding, finding.same[0])}{more})" if finding.same else ""
            names.append(f"{_signed(finding)}{twin}{self._against(len(names))}")
        names = _cut_apart(names, _LONG_NAME)
        for i, (name, finding) in enumerate(zip(names, self.findings, strict=False), start=1):
            worst = finding.worst
            side = "with" if worst.which == finding.present else "without"  # what it is called
            cells = [
                str(i),
                _code(name),
                f"{_escaped(str(finding.goes_with))}{_PREDICTED * bool(finding.conditions)}",
                f"{finding.score:.1f}",
                f"{finding.p_value:.0e}" if finding.p_value > 0 else "< 1e-300",
                _escaped(f"{worst.name}, {side}"),
                _right(worst),
                _right(finding.beside(worst)),
            ]
            rows.append(cells)
        return table(rows, "><<>><<<")

    def summary(self, *, verbose: bool = False, markdown: bool = False) -> str:
        """A few lines and the first five findings, as ``ntkit audit`` prints them.

        ``verbose=True`` and ``markdown=True`` return all results in Markdown, as in ``table.md``.
        """
        if verbose or markdown:
            return self._complete()
        lines, rows = self._in_short()
        if not rows:
            return "\n".join(lines)
        return "\n".join([*lines, "", plain_table(rows, "<>>" if len(rows[0]) == 3 else "<<<<>>")])

    __str__ = summary

    def _shown(self) -> NotebookView:
        """The same lines and rows; bars, and images that are wrong, of the findings' groups."""
        lines, rows = self._in_short()
        if not rows or not self.labelled:
            return NotebookView(lines, [ShownTable(rows)] if rows else [])
        shown = self.shown[: len(rows) - 1]
        wrong = [finding.examples["conflicting, wrong"][:_THUMBNAILS] for finding in shown]
        images_of = (self.inputs or Inputs()).images_of([*chain(*wrong)])
        small = {row: thumbnail_of(image, _SIDE) for row, image in images_of}
        images = [[small[row] or "" for row in of if small.get(row)] for of in wrong]
        bars = [bar_of(finding.worst) for finding in shown]
        images = images if any(images) else []
        return NotebookView(lines, [ShownTable(rows, bars, images, bars_show="worst group")])

    def _in_short(self) -> tuple[list[str], list[list[str]]]:
        """The first lines, and the table of the strongest findings or changes, header first."""
        lines = self._first_lines()
        if self.retraining and self.retraining.findings:
            named = listed(self.retraining._short_names(), 3, " {} in all")
            lines.append(f"Only in the retrained last layer: {named}.")
        if self.additions:
            flips = [
                f"{_readable(str(r.name))} ({with_interval(r.value, r.interval, r.n)} % of {r.n})"
                for r in self.additions
            ]
            lines.append(f"Lines that flip most predictions: {', '.join(flips)}.")
        changes = self.changes.changes if self.changes is not None else ()
        if not self.labelled and changes:
            rows = [["change of the input", "flips in %", "control in %"]]
            names = _cut_apart([each.row.name for each in changes[:_STRONGEST]], _NAME)
            rows += [[name, *_flips(each)] for name, each in zip(names, changes, strict=False)]
            return [*lines, *_told_most(changes)], rows
        if changes:
            lines += [_flips_most(changes, self.findings), *_told_most(changes)]
        if not self.findings:
            return lines, []
        n, first = len(self.findings), self.shown[:_STRONGEST]
        shown = f"First {len(first)} of {n} findings" if n > len(first) else "Findings"
        rows = [["", "finding", "correlated with", "worst group", "accuracy", "rest of class"]]
        for name, finding in zip(self._short_names(len(first)), first, strict=True):
            worst = finding.worst
            of_class = f"class {_readable(str(finding.goes_with), 20)}"
            of_class += _PREDICTED * bool(finding.conditions)
            side = "with" if worst.which == finding.present else "without"  # what it is called
            group = f"class {_readable(str(worst.name), 20)} {side} it"
            beside = finding.beside(worst)
            i = str(len(rows))
            rows.append([i, name, of_class, group, _right(worst), _right(beside)])
        return [*lines, f"{shown}, accuracies in %:"], rows

    def _complete(self) -> str:
        """All results in Markdown."""
        parts = [" ".join(self._first_lines(long=True))]
        new = self.retraining if self.retraining and self.retraining.findings else None
        if self.findings:
            parts += ["Findings of the model"] * (new is not None) + self._first_findings()
        if new is not None:
            accuracy = percent(new.as_dict()["accuracy"])
            parts += [
                "Findings that only the retrained last layer has",
                *new._first_findings(),
                f"After retraining the last layer with class weights, the model is right on "
                f"{accuracy} of the samples.",
            ]
        if self.changes is not None and not self.changes.changes:
            parts.append("ntkit tested no change of the input on these samples.")
        elif self.changes is not None:
            rows = [["change of the input", "flips", "control", "p", "margin beyond control"]]
            changes = self.changes.changes[:_SHOWN]
            names = _cut_apart([each.row.name for each in changes], _LONG_NAME)
            for name, each in zip(names, changes, strict=True):
                p = f"{each.p_value:.0e}" if each.p_value < 0.01 else f"{each.p_value:.2f}"
                low, high = each.beyond_interval
                margin = f"{each.beyond_control:.2f} [{low:.2f}, {high:.2f}]"
                rows.append([_code(name), *_flips(each), p, margin])
            parts += ["Changes of the input that flip predictions", table(rows, "<>>>>")]
            parts += [_FLIPS, *_all_told(changes)]
        if self.additions:
            rows = [["line before or after the texts", "samples", "flips"]]
            for row in self.additions:
                share = with_interval(row.value, row.interval, row.n)
                rows.append([_code(_readable(str(row.name))), str(row.n), share])
            parts += ["Lines that flip most predictions", table(rows, "<>>")]
        return "\n\n".join([*parts, *[_READ] * bool(self.all_findings)])

    def _against(self, place: int) -> str:
        """The second value of a finding's groups, and whether the samples without it have others.

        Accuracies *without it* are of all samples that lack the first value.
        """
        values, of_sample = self.findings[place].values, self.found.values[:, place]
        if len(values) < 2:
            return ""
        others = bool((~np.isin(of_sample, (-1, 1, 2))).any())
        if not self.findings[place].present:  # samples with the second value are among these
            return f" but {value_name(values[1])}{' or others' * others}"
        return f" against {value_name(values[1])}{' and others' * others}"

    def _short_names(self, most: int | None = None) -> list[str]:
        """The names of the first findings, with their opposites if there is space."""
        names = [*map(_signed, self.findings[:most])]
        both = [f"{name}{self._against(i)}" for i, name in enumerate(names)]
        return _cut_apart(
            [b if len(b) <= _NAME else name for b, name in zip(both, names, strict=True)], _NAME
        )

    def _first_findings(self) -> list[str]:
        n = min(_SHOWN, len(self.shown))
        more = len(self.findings) - n
        return [self.table(n), *[f"{more} more are in `audit.json`."] * (more > 0)]

    def __repr__(self) -> str:
        names = listed((finding.name for finding in self.findings), 3)
        return f"Audit({counted(len(self.findings), 'finding')}{': ' if names else ''}{names})"

    def _first_lines(self, *, long: bool = False) -> list[str]:
        """Accuracy, and the number of tests and of findings."""
        facts = self.as_dict()
        if not self.labelled:
            counts = np.bincount(self.predictions.pred_index, minlength=len(facts["classes"]))
            pairs = zip(facts["classes"], counts, strict=True)
            shown = listed((f"{_readable(str(c))} ({count})" for c, count in pairs), _SHOWN)
            return [
                "The samples have no labels, so ntkit tested only which changes of the input flip "
                "predictions.",
                f"Predicted classes of {facts['samples']} samples: {shown}.",
            ]
        whose = "Cross-fitted heads are" if self.cross_fitted else "The model is"
        first = f"{whose} right on {percent(facts['accuracy'])} of {facts['samples']} samples."
        if self.label is not None:
            first = (
                f"Label {_readable(self.label)!r}: {first[0].lower()}{first[1:-1]}, of which "
                f"{self.n_positive} have the label."
            )
        n_tested = sum(self.found.n_looked_at.values())
        kinds = ", ".join(f"{count} of {kind}" for kind, count in self.found.n_looked_at.items())
        tested = f"ntkit tested {counted(n_tested, 'attribute')}: {kinds}."
        of_two = counted(self.found.n_conjunctions, "conjunction") * bool(self.found.n_conjunctions)
        if of_two:
            tested = f"{tested[:-1]}, and {of_two} of two attributes."
        if not facts["errors"]:
            return [first, f"{tested} Without errors there are no findings."]
        if not n_tested:
            return [
                first,
                f"ntkit tested no attribute. An attribute needs at least {FEWEST} samples and "
                f"{100 * SUPPORT:g} % of them with it, and as many without it.",
            ]
        passed = f"(p ≤ {self.found.alpha:g} after Holm's correction)"
        if self.found.n_problems > 1:
            passed = f"{passed[:-1]} for {self.found.n_problems} labels)"
        if not self.findings:
            of_class = "is correlated with a class and explains errors"
            return [first, f"{tested} None of them {of_class} {passed}."]
        findings = (
            f"The errors depend on {self.found.n_passed} of them {passed}, which form "
            f"{counted(len(self.findings), 'finding')}."
        )
        unclear = [each for each in self.shown if each.n_unknown]
        each_n = (f"{_readable(f.name)} for {counted(f.n_unknown, 'sample')}" for f in unclear)
        unknown = [f"Unknown, so in no group: {listed(each_n, 3)}."] * bool(unclear)
        if not long:
            of = f"of {counted(n_tested, 'attribute')}{f' and {of_two}' if of_two else ''}"
            return [first, findings.replace("of them", of), *unknown]
        kinds_shown = Counter(finding.feature_set for finding in self.shown)
        listed_kinds = [
            f"ntkit lists {kinds_shown[kind]} of {count + kinds_shown[kind]} in {kind}."
            for kind, count in self.found.n_left_out.items()
        ]
        return [first, tested, findings, *listed_kinds, *unknown]


def audited(
    predictions: AuditedPredictions, sets: Sequence[FeatureSet], alpha: float, **about: Any
) -> Audit:
    """The audit of predictions: which attributes their errors depend on."""
    if not sets:
        raise InputError(
            "There are no attributes to test. Pass raw inputs: texts=, table=, metadata=, images=, "
            "arrays= or feature_sets=."
        )
    present = np.unique(predictions.y_index[predictions.weight > 0])
    if len(present) < 2:
        raise InputError(
            f"y holds only one class, {listed_labels(predictions.classes[present])}. Pass "
            "samples of at least two classes."
        )
    (found,) = find_findings([(sets, predictions)], alpha)
    return Audit(predictions, tuple(sets), found, **about)


def _flips_most(changes: Sequence[ChangeFinding], findings: Sequence[Finding]) -> str:
    """Sentence on the number of changes that flip predictions, and on the one of a finding."""
    n = sum(each.flips_more for each in changes)
    of_finding = {c.name: f for f in findings if (c := change_for(f)) is not None}
    if not n:
        tested = f"{len(changes)} tested changes of the input"
        none = f"None of {tested} flips significantly more predictions than its control."
        for each in changes:
            left = of_finding[each.row.name].words_left if each.row.name in of_finding else ()
            if left:
                words = listed([Key.of(name).what for name in left], 3, " {} in all")
                return f"{none} {_readable(each.row.name, _NAME)} left words in place: {words}."
        return none
    some = [each for each in changes if each.flips_more]
    first = next((each for each in some if each.row.name in of_finding), some[0])
    return (
        f"{n} of {counted(len(changes), 'tested change')} of the input "
        f"{'flip' if n > 1 else 'flips'} significantly more predictions than the control: "
        f"{_readable(first.row.name, _NAME)} flips {percent(first.row.value)} of {first.row.n}, "
        f"the control {percent(first.control.value)}."
    )


def _told_most(changes: Sequence[ChangeFinding]) -> list[str]:
    """The first change if the model follows its donor, and those of unknown words, in words."""
    # One whose donor the model follows comes first among the changes.
    return [
        f"{_readable(each.row.name, _NAME)}: {printable(' '.join(each.sentences()))}"
        for at, each in enumerate(changes)
        if each.reads_as_unknown or (not at and each.follows_donor)
    ]


def _all_told(changes: Sequence[ChangeFinding]) -> list[str]:
    """The list of what donors and controls of changes tell, in Markdown."""
    said = [
        f"* {_code(each.row.name)}: {escaped(printable(' '.join(each.sentences())))}"
        for each in changes
        if each.sentences()
    ]
    return ["\n".join(said)] if said else []


def _flips(change: ChangeFinding) -> tuple[str, str]:
    """Predictions that a change and its control flip, in percent."""
    row, control = (
        with_interval(each.value, each.interval or (0, 1), each.n)
        for each in (change.row, change.control)
    )
    return f"{row} of {change.row.n}", control


_NO_CHANGES = dict.fromkeys(("changes", "changes_tried", "changes_left_out", "copies_embedded"))
_FLIPS = (
    "*Flips*: share of predictions that differ on changed copies, in %, with the 95 % interval. "
    "*Control*: the same share for a random change of equal size. "
    "Column *p*: McNemar's test of more flips than under the control, after Holm's correction. "
    "*Margin*: decrease of the predicted class's logit relative to the largest other logit. "
    "A flip shows a shortcut only if the change keeps the true class, which a person must judge."
)
_PREDICTED = " (predicted)"
_READ = (
    "*Worst group*: the samples of a class that conflict with the correlation and are most "
    "certainly wrong most often. "
    "*Accuracy*: of this group, in %, with the 95 % interval. "
    "*Rest of class*: accuracy on the other samples of the class. "
    "*(predicted)*: the class that a conjunction of two attributes is often predicted as. "
    "A finding is not a verdict: only a person can tell whether it is a shortcut."
)


def _signed(finding: Finding, name: str = "") -> str:
    return f"{'' if finding.present else 'not '}{name or finding.name}"


def _cut_apart(texts: Sequence[str], most: int) -> list[str]:
    """Readable texts; a long one is cut, if no other one is cut to the same."""
    cut = [_readable(text, most) for text in texts]
    same = Counter(cut)
    return [
        short if same[short] == 1 else printable(text)
        for short, text in zip(cut, texts, strict=True)
    ]


def _right(group: Row) -> str:
    share = with_interval(group.value, group.interval, group.n)
    return f"{share} of {group.n}" if group.n else share


def _readable(text: str, most: int = _LONG_NAME) -> str:
    """Text without control characters, which a terminal would execute."""
    return printable(shortened(text, most))


def _code(text: str) -> str:
    """Text as a code span, because a name may hold mark-up."""
    shown = printable(text).replace("|", "\\|").replace("`", "'")
    return f"`{shown}`"


def _escaped(text: str) -> str:
    """Text with Markdown's special characters escaped."""
    return escaped(_readable(text))
