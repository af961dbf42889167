"""Results of a repair: a decision with its tables, or open questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from ntkit._doc import documented
from ntkit._shown import InNotebook, NotebookView, PageInNotebook, ShownTable, bar_of, frame_of
from ntkit._text import (
    Markdown,
    counted,
    escaped,
    listed,
    percent,
    plain,
    plain_table,
    table,
    without_controls,
)
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.attributes.feature_set import FEWEST, OF_ENOUGH
from ntkit.attributes.findings import NAMELESS, Finding
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.jobs.audit import Answers, Audit
from ntkit.jobs.audit.changes import risen_in_words
from ntkit.jobs.audit.files import audit_files
from ntkit.jobs.check import Limits
from ntkit.jobs.command_line import quoted
from ntkit.jobs.debias._accuracy_cost import AccuracyCost
from ntkit.jobs.debias._candidates import GROUP_BALANCED, Candidate
from ntkit.jobs.debias._flips import ByChange
from ntkit.jobs.debias._lost_groups import NOTHING_READABLE, GroupCheck, LostGroup
from ntkit.jobs.debias._outcome import (
    TEST,
    NamedGroups,
    RepairOutcome,
    deciding_groups,
    shares_in_words,
)
from ntkit.jobs.debias._settings import AUDIT_FILES, MODEL_FILE, REPORT_FILE
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import name_of
from ntkit.pages.audit_page import question_of
from ntkit.verification import Verification

_SCORE_IN_WORDS = {
    "worst_class_correctness_group_accuracy": (
        "⅔ the worst class + ⅓ the worst class × correctness group"
    )
}
_COLUMNS: dict[str, type] = {"name": str, "chosen": bool, "n_suppressed": int, "score": float}
_COLUMNS |= dict.fromkeys(("average", "worst_class", "worst_group", "worst_named"), float)
_SHOWN, _OF_ALL = 2, " of {} groups"  # in a sentence
_LOSING = attrgetter("gave_way"), attrgetter("lost")  # of named groups
_DIFFERENT = 0.02  # shares by which two means are worth saying
_SAME = 1e-9
_OF_PARTS = "copies with this part of another sample, class by class"
_MEAN_OF = {
    "read": "the other groups",
    "crossed": "the groups of all",
    "labelled": "the groups by labelled samples, as if all sets were alike",
    "copies": "originals and changed copies, class by class",
}
_CONTROLS = ("class-balanced", "random mask")
_RECORDED = (
    *("candidates", "helped", "written", "state", "outcome", "answers", "balanced_over"),
    *("by_change", "max_cost", "accuracy_cost", "accuracy_costs", "n_non_constant"),
    *("ordered_share", "evaluated_on", "verification", "notes"),
)


def groups_sentence(groups: NamedGroups) -> str:
    """The first number, the mean of groups if it differs, and the worst group."""
    first, mean, worst = groups.first, groups.mean, groups.worst
    parts, joined = list[str](), ", small ones joined," * bool(groups.joined)
    if first is not None:
        shares = shares_in_words(first.before, first.value)
        other = max(abs(mean.value - first.value), abs((mean.before or 0) - (first.before or 0)))
        beside = f" ({mean.name}{joined} {shares_in_words(mean.before, mean.value)})"
        beside *= other > _DIFFERENT
        parts.append(
            f"If {groups.name} and the class were unrelated, on data otherwise like this: "
            f"{shares}{beside}."
        )
        parts += [*filter(None, [groups.without_samples()])]
    elif groups.source != "classes":
        none = f"{groups.without_samples()} ".lstrip()
        what = _MEAN_OF[groups.source] if groups.of_parts is None else _OF_PARTS
        what += joined.rstrip(",")
        parts.append(f"{none}Mean of {what}: {shares_in_words(mean.before, mean.value)}.")
    first_worst = min(groups.filled, key=lambda row: row.before or 0.0)
    last_worst = min(groups.filled, key=lambda row: row.value)
    of_before = f" ({first_worst.name})" * (first_worst is not last_worst)
    before = f"{100 * (worst.before or 0):.1f}{of_before}"
    parts.append(
        f"{str(worst.name).capitalize()}: {before} → {100 * worst.value:.1f} % "
        f"({last_worst.name}, {counted(last_worst.n, groups.counts[:-1])})."
    )
    return " ".join(parts)


def outcome_lines(outcome: RepairOutcome, by: str = "", *, deciding: bool = False) -> list[str]:
    """An outcome in words, a line for each attribute; ``by`` names a head that is not written.

    Groups that decide come first; ``deciding`` leaves out the others. The average follows if it
    falls, or if nothing was named.
    """
    first = deciding_groups(outcome.groups)
    others = [] if deciding else [each for each in outcome.groups if each not in first]
    parts = [*map(groups_sentence, (*first, *others))]
    before, after = outcome.average.before or 0.0, outcome.average.value
    average = shares_in_words(before, after)
    if outcome.of_classes:
        parts[-1] += f" Average: {average}. No shortcut was named."
    elif after < before - _SAME:
        # Where the mean of unrelated values falls too, the new head is no better.
        gains = [(each, (each.first or each.mean).change or 0.0) for each in outcome.groups]
        because = any(each.gave_way and gain > 0 for each, gain in gains)
        reason = ", because here the shortcut helps" * because
        parts[-1] += f" On data as biased as this: {average}{reason}."
    # Heads that were fitted without the samples that judge them; the written head has seen all.
    fitted = "" if outcome.where == TEST else ", cross-fitted"
    return [f"{outcome.where.capitalize()}{fitted}{by}: {parts[0]}", *parts[1:]]


@dataclass(frozen=True, kw_only=True)
class Judgement(InNotebook):
    """How good the candidates of a repair are, and what judged the chosen one."""

    estimator: Any
    candidates: tuple[Candidate, ...]
    n_non_constant: int
    select: str
    evaluated_on: str
    accuracy_costs: tuple[AccuracyCost, ...]
    accuracy_cost: AccuracyCost
    max_cost: float
    shared: float
    outcome: RepairOutcome
    check: GroupCheck
    refused: LostGroup | None = None
    balanced_over: str | None = None
    unjudged: bool = False
    by_change: ByChange | None = None

    @property
    def chosen(self) -> Candidate:
        """Candidate: the row of the chosen head, written or not, as it was interpolated."""
        return next(c for c in self.candidates if c.chosen)

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each candidate, the original head first.

        Columns: ``name``, ``chosen``, ``n_suppressed``, ``score`` (on validation samples), and the
        accuracies ``average``, ``worst_class``, ``worst_group`` and ``worst_named`` in [0, 1].
        """
        rows = [{name: getattr(c, name) for name in _COLUMNS} for c in self.candidates]
        return frame_of(rows, _COLUMNS)

    def table(self, *, markdown: bool = True) -> Markdown:
        """All candidates as a Markdown table, accuracies in percent; ← marks the chosen one.

        ``markdown=False`` leaves names unescaped, for a terminal.
        """
        keys = self._columns_of_accuracies(self.candidates)
        rows = [["candidate", "suppressed", "validation score", *keys.values()]]
        for c in self.candidates:
            score = _with_spread(c.score, c.spread.get("score"), digits=3, factor=1)
            name = f"{c.title}{' ←' if c.chosen else ''}"
            accuracies = [_with_spread(getattr(c, key), c.spread.get(key)) for key in keys]
            rows.append([name, str(c.n_suppressed), score, *accuracies])
        if markdown:
            rows = [[escaped(cell) for cell in row] for row in rows]
        return table(rows, padded=True)

    def _columns_of_accuracies(
        self, values: Sequence[Candidate] | Sequence[AccuracyCost]
    ) -> dict[str, str]:
        """Titles of the accuracies that these values have, by attribute."""
        keys = {"average": "average", "worst_class": "worst class"}
        if any(each.worst_group is not None for each in values):
            keys["worst_group"] = "worst group"
        if self.balanced_over is not None:
            keys["worst_named"] = "worst balanced group"
        return keys

    @property
    def reports_copies(self) -> bool:
        """Whether the worst balanced group may be one of changed copies, not of samples alone."""
        return self.by_change is not None and self.by_change.copies_reported

    def named_outcome(self) -> str:
        """Sentence on the worst group that the candidate is balanced over, with 95 % intervals."""
        before, after = self.accuracy_cost.worst_named_before, self.accuracy_cost.worst_named
        if before is None or after is None:
            return ""
        or_copies = " or changed copies" if self.reports_copies else ""
        then = f"{before.share} of the same" if before.name == after.name else str(before)
        return (
            f"Worst group of class × {self.balanced_over} with at least {FEWEST} validation "
            f"samples{or_copies}: {after} right; with the original head {then}."
        )

    def interpolation(self) -> Markdown:
        """Accuracy cost of every interpolation with the original head, as a Markdown table.

        Accuracies are in percent on validation samples that no head has seen; ← marks
        ``accuracy_cost``.
        """
        keys = self._columns_of_accuracies(self.accuracy_costs)
        if self.accuracy_cost.named is not None:
            told = dict.fromkeys(cost.named_is for cost in self.accuracy_costs)
            keys = {"named": " or ".join(told)} | keys
        rows = [["share of the new head", "fixed", "new errors", *keys.values()]]
        for cost in self.accuracy_costs:
            of_cost = [getattr(cost, key) for key in keys]
            mark = " ←" if cost == self.accuracy_cost else ""
            cells = [f"{percent(cost.t, 0)}{mark}", str(cost.n_fixed), str(cost.n_new_errors)]
            # The worst balanced group is a Group, the others are shares.
            rows.append(cells + [percent(getattr(a, "value", a), unit="") for a in of_cost])
        return table(rows, padded=True)


@documented
@dataclass(frozen=True, kw_only=True)
class DebiasResult(Judgement):
    """Outcome of :func:`ntkit.debias`: the model, the candidates, and how they compare.

    Attributes
    ----------
    model : FrozenModel
        The debiased model; the original one if no head was better.
    head : LinearHead
        Head of ``model``, on raw embeddings.
    estimator : estimator
        The chosen candidate, fitted on standardised embeddings.
    candidates : tuple of Candidate
        All rows, the original head first.
    suppressed : ndarray of int, shape (n_suppressed,)
        Indices of the suppressed neurons.
    n_non_constant : int
        Neurons that vary on the validation set.
    verification : Verification
        Differences between ONNX Runtime and NumPy on the written model.
    evaluated_on : str
        "test set", or "validation set" without a test set.
    select : str
        Name of the label-free score.
    path : pathlib.Path or None
        Folder of the results.
    {notes}
    accuracy_costs : tuple of AccuracyCost
        Accuracy cost of each interpolation of the chosen head with the original one.
    accuracy_cost : AccuracyCost
        Accuracy cost of the head that was written, or would have been.
    max_cost : float
        Largest accuracy cost that was allowed.
    helped : bool
        Whether the head is written without ``even_if_worse``.
    reason : str
        Why the head is not written without ``even_if_worse``; empty if it is.
    shared : float
        Share of the validation samples that are in the training set as well.
    written : bool
        Whether ``model`` has the new head.
    kept_original : bool
        Whether the folder holds the unchanged original instead.
    outcome : RepairOutcome
        Whether the head is better, by the groups class × named attribute, before and after.
    refused : LostGroup or None
        A group of another attribute that surely loses more than the limit.
    check : GroupCheck
        Groups that the new head gets right less often, and those too small to tell.
    answers : tuple of mapping
        Answers and labels of people: name, answer, and if known ``by``, ``at`` and ``from``.
    unjudged : bool
        Whether too few validation samples of the balanced groups are there to judge the head.
    balanced_over : str or None
        Named attributes that the chosen candidate is balanced over.
    by_change : ByChange or None
        For a repair by change: what judged it (samples or copies), and flip rates before and after.
    cautions : tuple of str
        Notes that call the result into question: shared samples, few samples, a broken input.
    check_command : str
        Command that checks the written model on samples that the repair has not seen; empty if
        it is not known.
    ordered_share : float or None
        Share of the new head that a person chose; None if ntkit chose it.
    limits : Limits or None
        Limits of :func:`ntkit.check` that fit the repair, from validation samples; None if the head
        is not found to be better.
    """

    model: FrozenModel
    head: LinearHead
    suppressed: Array
    verification: Verification | None
    path: Path | None
    notes: tuple[str, ...]
    helped: bool
    reason: str
    written: bool
    answers: tuple[Mapping[str, Any], ...] = ()
    kept_original: bool = False
    cautions: tuple[str, ...] = ()
    check_command: str = ""
    limits: Limits | None = None
    ordered_share: float | None = None

    def __repr__(self) -> str:
        return (
            f"DebiasResult(chosen={self.chosen.name!r}, helped={self.helped}, "
            f"written={self.written}, path={str(self.path) if self.path else None!r})"
        )

    @property
    def state(self) -> str:
        """``"written"``, or ``"kept"`` if the original model was kept."""
        return "written" if self.written else "kept"

    def short_table(self) -> str:
        """The original head, the chosen one and the best control, as columns for a terminal.

        Controls are class-balanced retraining and random masks. The best control has the highest
        accuracy in the last column.
        """
        keys = self._columns_of_accuracies(self.candidates)
        if "worst_group" in keys:
            keys.pop("worst_named", None)
        elif "worst_named" in keys:
            large = f"worst group of ≥ {FEWEST}, validation"
            keys["worst_named"] = (
                "worst group, samples and copies" if self.reports_copies else large
            )
        judge = [*keys][-1]
        controls = [
            c
            for c in self.candidates
            if c.name.startswith(_CONTROLS) and not c.chosen and getattr(c, judge) is not None
        ]
        best = max(controls, key=attrgetter(judge))
        titles = {
            self.candidates[0].name: self.candidates[0],
            f"{'written' if self.written else 'not written'}: {self.chosen.title}": self.chosen,
            f"best control: {best.title}": best,
        }
        rows = [[f"{self.evaluated_on}, %", *keys.values()]]
        for title, c in titles.items():
            cells = (_with_spread(getattr(c, key), c.spread.get(key)) for key in keys)
            rows.append([title, *cells])
        return plain_table(rows, "<" + ">" * len(keys))

    def show(self, height: int = 800) -> PageInNotebook:
        """The report, for a notebook's cell.

        Parameters
        ----------
        height : int
            Height of the frame in pixels.

        Returns
        -------
        PageInNotebook
            The report in a frame that sees nothing of the notebook, and works offline.

        Raises
        ------
        InputError
            If the repair had no ``out=``, so that there is no report.
        """
        if self.path is None:
            raise InputError("A repair without out= has no report to show. Pass out=FOLDER.")
        return PageInNotebook((self.path / REPORT_FILE).read_text(encoding="utf-8"), height)

    def _shown(self) -> NotebookView:
        deciding = deciding_groups(self.outcome.groups)
        groups = [row for each in deciding for row in each.rows]
        rows = [["group", deciding[0].counts, "before, %", "after, %"]]
        for row in groups:
            shares = (percent(share, unit="") for share in (row.before, row.value))
            rows.append([str(row.name), str(row.n), *shares])
        named = ShownTable(rows, [*map(bar_of, groups)])
        lines = [self.decision(), *self.lines(deciding=True), self._cost()]
        return NotebookView(lines, [named, ShownTable(self.table(markdown=False).rows)])

    @property
    def others(self) -> str:
        """Sentence on the outputs of the other labels, if the model gives every sample several."""
        return "" if self.verification is None else self.verification.on_other_labels()

    def headline(self) -> str:
        """The outcome in a word, then the results of the named groups before and after."""
        return " ".join([self.decision(), *self.lines()])

    def lines(self, *, deciding: bool = False) -> list[str]:
        """The results in words, of named groups that decide first; ``deciding`` has these alone."""
        by = "" if self.written else f", with {self.chosen.name}"
        first, *others = outcome_lines(self.outcome, by, deciding=deciding)
        label = self.model.label
        if label is not None:
            first = f"Label {label!r}, {first[:1].lower()}{first[1:]}"
        return [first, *others]

    def decision(self) -> str:
        """Sentence that says whether the new head is better, or why the original was kept."""
        copies = self.by_change is not None and self.by_change.copies_alone
        by = ", judged by changed copies alone" * copies
        if self.helped:
            return f"{self.outcome.word.capitalize()}{by}."
        if self.written:
            return f"Written as ordered: {self.reason}{by}."
        kept = "Kept the original model"
        if self.verification is not None:
            kept = "Written: an ERM head for the labels at hand, fitted on the training set"
        return f"{kept}: {self.reason}."

    def cost_in_words(self, names: Collection[str] = ()) -> str:
        """Sentence on groups that lose: those that the shortcut helped, and others surely.

        ``names`` are those of the named attributes.
        """
        named = [each for each in self.outcome.groups if each.source != "crossed"]
        gave, lost = ([row for each in named for row in of(each)] for of in _LOSING)
        others = [
            group.in_full
            for group in sorted(self.check.lost, key=lambda group: not group.relies_more)
            if group.attribute not in names and (group.attribute or self.outcome.of_classes)
        ]
        would = "" if self.written else "would "
        parts = list[str]()
        for rows, why in (
            (gave, "where the shortcut helped"),
            (lost, "where its help is unsure" * (not self.outcome.of_classes)),
        ):
            shown = [
                f"{row.name} {100 * (row.before or 0):.1f} → {percent(row.value)}" for row in rows
            ]
            because = f" ({why})" * bool(why)
            parts += [f"{listed(shown, _SHOWN, _OF_ALL)}{because}"] if shown else []
        if others:
            more = f", and {counted(len(others) - 1, 'more group')}" * (len(others) > 1)
            parts.append(f"{'surely also' if parts else 'surely'} {others[0]}{more}")
        if parts:
            return f"What it {would}cost: {'; '.join(parts)}."
        of = next((each.of_enough for each in named if each.of_enough), "")
        loses = f"{would}lose" if would else "loses"
        rest = "" if self.check.readable else ", and other groups could not be checked"
        if not any(each.helped for each in named):  # nothing tells which groups it helped
            return f"No group{of} surely {loses}{rest}."
        rest = rest or f", and no other group surely {would.strip() or 'does'}"
        return f"No group{of} that the shortcut helped {loses}{rest}."

    def verdict(self) -> str:
        """Sentence that says whether suppressing neurons helped, by the label-free score.

        Empty if a person named groups or attributes, which the score does not know.
        """
        if self.answers or self.balanced_over is not None:
            return ""
        chosen, original, score = self.chosen, self.candidates[0], attrgetter("score")
        others = [c for c in self.candidates if c is not chosen]
        random = next(c for c in others if c.name.startswith("random mask"))
        plain = max((c for c in others if not c.n_suppressed and c is not original), key=score)
        if original.score > max(each.score for each in self.candidates[1:]):
            return (
                f"By the validation score no candidate beats the {original.name} "
                f"({original.score:.3f}; the head chosen {chosen.score:.3f})."
            )
        if not chosen.n_suppressed:
            masks = [c for c in others if c.n_suppressed and c is not random]
            if not masks:
                return "No rule found a neuron to suppress here."
            masked = max(masks, key=score)
            outcome = "would have helped" if masked.score > chosen.score else "did not help"
            return (
                f"Suppressing neurons {outcome} here, by the validation score: {masked.score:.3f} "
                f"for the best with suppression ({masked.name}), {chosen.score:.3f} for the chosen "
                f"head ({chosen.name}), which suppresses none."
            )
        helped = chosen.score > max(random.score, plain.score)
        return (
            f"Suppressing {chosen.n_suppressed} of {self.n_non_constant} non-constant neurons "
            f"{'helped' if helped else 'did not help'}, by the validation score: "
            f"{chosen.score:.3f}. The best retraining without suppression ({plain.name}) has "
            f"{plain.score:.3f}, random masks of the same size {random.score:.3f}."
        )

    def summary(self, *, verbose: bool = False, markdown: bool = False) -> str:
        """What ``ntkit debias`` prints: four lines, and a table of three rows.

        The lines say what was done, accuracies before and after of what decides, the changes on
        validation samples, and the next command. Notes that call the result into question follow.
        ``verbose=True`` gives everything that ``table.md`` holds, with all candidates.
        ``markdown=True`` escapes
        names in that table.
        """
        if verbose:
            return without_controls("\n".join(self._everything(markdown=markdown)))
        done = self.decision()
        if self.written:
            new = self.chosen.name
            if self.balanced_over is not None and new == GROUP_BALANCED:
                new += f" over class × {self.balanced_over}"
            if self.by_change is not None and "copies" in new:
                new += f" changed by {', '.join(self.by_change.changes)}"
            new += self.chosen.title.removeprefix(self.chosen.name)
            wrote = "The model has" if self.path is None else f"Wrote {self.path / MODEL_FILE} with"
            done = f"{done} {wrote} {new_layer(self.model)}: {new}. {self.others}".rstrip()
        elif self.kept_original:
            done += f" {self.path}: {MODEL_FILE} is the unchanged original."
        told = " ".join(self.lines(deciding=True))
        lines = [done, told, self._cost(), f"Next: {self._next()}"]
        cautions = self.cautions if self.check.readable else (*self.cautions, NOTHING_READABLE)
        lines += [f"Note: {caution}" for caution in cautions]
        return without_controls("\n".join([*lines, "", self.short_table()]))

    __str__ = summary

    def _cost(self) -> str:
        """Changes on validation samples, and a group that loses accuracy."""
        # First comes the group that counts against the head: one on which it relies more.
        cost = self.accuracy_cost
        fixed, new = counted(cost.n_fixed, "error"), counted(cost.n_new_errors, "new error")
        average = f"average {-100 * cost.cost:+.1f} points (lower 95 % bound "
        average += f"{-100 * cost.cost_high:+.1f})"
        mean = ""
        if cost.by_groups:  # what the limit is for
            if self.by_change is None or not self.by_change.copies_judge:
                # The first number tells more samples than a person labelled.
                inferred = f" and {cost.n_inferred} inferred" * bool(cost.n_inferred)
                of = (
                    "" if cost.n_known is None else f" of {cost.n_known} labelled{inferred} samples"
                )
                average = f"mean of the groups{of} {100 * cost.class_gain:+.1f}, {average}"
            else:
                mean = f" Groups with changed copies: mean {100 * cost.class_gain:+.1f} points."
        line = f"Validation set, cross-fitted: {average}, {new}, {fixed} fixed.{mean}"
        if (
            risen := risen_in_words(self.by_change.flips, 1)
            if self.by_change and self.written
            else ""
        ):
            line += f" The new head now relies more on {risen}."
        refused = self.check.refused(self.max_cost)
        if lost := sorted(
            self.check.lost, key=lambda group: (group is not refused, not group.relies_more)
        ):
            others = f"; {counted(len(lost) - 1, 'more group')}" if lost[1:] else ""
            line += f" Loses accuracy: {lost[0].in_full}{others}."
        return line

    def _next(self) -> str:
        """The next command."""
        if self.path is None:
            if not self.written:
                return "print(result.summary(verbose=True)) lists every candidate and group."
            return "debias(…, out='debiased/') writes the model and a report."
        if self.written and self.check_command:
            return self.check_command
        return f"open {quoted(self.path / REPORT_FILE)}"

    def _everything(self, *, markdown: bool) -> list[str]:
        """All that is known of the run, a line each."""
        score = _SCORE_IN_WORDS.get(self.select, self.select)
        legend = (
            f"Accuracies in % on the {self.evaluated_on}; ← marks the chosen head"
            f"{' as it was written' if self.written else ', which was not written'}. The "
            f"validation score needs no group labels: {score}."
        )
        if self.balanced_over is not None:
            what = f"{GROUP_BALANCED} is over class × {self.balanced_over}; the"
            if not any(c.name == GROUP_BALANCED for c in self.candidates):
                what = "The"
            copies = " and changed copies" * self.reports_copies
            of = f"the validation set{copies}, {OF_ENOUGH}"
            legend += f" {what} worst balanced group is that of {of}."
        if self.chosen.name.startswith(GROUP_BALANCED):
            legend += " What you named or answered chose the head, not the score."
        cost = self.accuracy_cost  # on validation samples that the head has not seen
        share = "" if cost.t == 1 else f", {percent(cost.t, 0)} of the way to it"
        new_errors = counted(cost.n_new_errors, "new error")
        changed = (
            f"{self.chosen.name}{share}: {cost.n_fixed} validation errors fixed, {new_errors}; "
            f"average {-100 * cost.cost:+.1f} points there "
            f"(lower 95 % bound {-100 * cost.cost_high:+.1f})."
        )
        lines = [self.headline(), changed]
        if self.by_change is not None:
            lines += self.by_change.sentences(written=self.written)
        lines += self.check.sentences()
        lines += [self.named_outcome()] if self.balanced_over is not None else []
        lines += ["", self.table(markdown=markdown), "", legend]
        lines += [*filter(None, [self.others, self.verdict()])]
        if (check := self.verification) is not None:
            lines.append(
                "ONNX Runtime against NumPy: largest relative difference of logits "
                f"{check.logit_difference:.1e} on {check.n_samples} samples; node list "
                f"{'unchanged' if check.kept.nodes else 'changed'}, inputs and outputs "
                f"{'unchanged' if check.kept.signature else 'changed'}."
            )
        lines += self.notes
        if len(self.accuracy_costs) > 2:
            lines += ["", "Interpolation between the old and the new head, validation samples:"]
            lines.append(self.interpolation())
        if self.path is not None:
            lines.append(
                f"Written: {self.path / (MODEL_FILE if self.verification else REPORT_FILE)}"
            )
            if self.kept_original:
                lines.append(f"The unchanged original: {self.path / MODEL_FILE}")
        return [*lines, f"Next: {self._next()}"]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values: the content of ``result.json``; accuracies in [0, 1]."""
        has_model = self.verification is not None or self.kept_original
        everything = {name: getattr(self, name) for name in _RECORDED} | {
            "chosen": self.chosen.name,
            "headline": self.headline(),
            "label": self.model.label,
            "other_labels": self.others or None,
            "lost_groups": self.check.lost,
            "doubtful_groups": self.check.doubtful,
            "unchecked_groups": self.check.unchecked,
            "named_outcome": self.named_outcome() or None,
            "parameters": {
                k: v
                for k, v in self.estimator.get_params().items()
                if v is None or isinstance(v, bool | int | float | str)
            },
            "suppressed_neurons": self.suppressed,
            "classes": (self.model.head or self.head).classes,
            "verdict": self.verdict() or None,
            "model": str(self.path / MODEL_FILE) if self.path is not None and has_model else None,
            "version": __version__,
        }
        return dict(plain(everything))


def new_layer(model: FrozenModel) -> str:
    """What is new in a repaired model, in words."""
    if model.label is None:
        return "a new last layer"
    return f"a new row for the label {model.label!r} in the last layer"


def _with_spread(
    value: float | None, spread: float | None = None, digits: int = 1, factor: float = 100
) -> str:
    if value is None:
        return "–"
    text = f"{factor * value:.{digits}f}"
    return text if spread is None else f"{text} ± {factor * spread:.{digits}f}"


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
class FindingsResult(InNotebook):
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

    def show(self, height: int = 800) -> PageInNotebook:
        """The page of questions, for a notebook's cell; its button saves ``answers.json``.

        Parameters
        ----------
        height : int
            Height of the frame in pixels.

        Returns
        -------
        PageInNotebook
            The page in a frame that sees nothing of the notebook, and works offline.
        """
        files = audit_files(self.audit, title=name_of(self.model))
        return PageInNotebook(files["audit.html"], height)

    def _shown(self) -> NotebookView:
        rows = [["question", "accuracy"]]
        rows += [[question_of(finding), shares_of(finding)] for finding in self.open]
        return NotebookView([self.headline()], [ShownTable(rows)] if self.open else [])

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
