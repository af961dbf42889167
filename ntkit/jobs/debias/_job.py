"""Write the files of a run, verified and all or none, and a folder for a service."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import sha256_of
from ntkit._labels import alike_note, means_unknown
from ntkit._output import new_folder
from ntkit._text import as_json, percent
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.changes import as_seen
from ntkit.estimators import head_of
from ntkit.exceptions import DeployError, InputError, NtkitError, VerificationError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples
from ntkit.head import LinearHead
from ntkit.jobs.audit import Names, audit_files
from ntkit.jobs.check import REPAIR_LIMITS, Limits, toml_of
from ntkit.jobs.debias._candidates import n_suppressed
from ntkit.jobs.debias._choice import Choice, repair_outcome
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._findings_result import FindingsResult
from ntkit.jobs.debias._flips import ByChange
from ntkit.jobs.debias._inputs import MOST_SHARED, Prepared
from ntkit.jobs.debias._lost_groups import GroupCheck
from ntkit.jobs.debias._named_attributes import NamedAttributes
from ntkit.jobs.debias._order import HEADS_FILE, MODEL_FILE, REPORT_FILE, RUN_FILE, Order
from ntkit.jobs.debias._outcome import PROBABLY, deciding_groups
from ntkit.jobs.debias._repair_limits import comments_on, repair_limits
from ntkit.jobs.debias._result import DebiasResult
from ntkit.jobs.report import arguments, commands, facts_of_job, from_here, options_again, quoted
from ntkit.model import FrozenModel, folders_of, loaded, name_of
from ntkit.pages import (
    Answer,
    Groups,
    Moved,
    Report,
    Shown,
    Usage,
    model_card,
    report_html,
    usage_of,
)
from ntkit.samples import TextData, facts_of, read
from ntkit.verification import Verification, random_inputs, save_verified

ORIGINAL = "original head"
DEPLOYED = "model.onnx"
_PROGRAM = "predict.py"
_TITLES = {
    "classes": "Classes",
    "copies": "Originals and changed copies",
    "labelled": "Class × {}, estimated from labels of single samples",
}
_TRIED = 16  # samples for the test run of the program
_SECONDS = 600
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"


@dataclass(frozen=True)
class Job:
    """Options of a run, its data, and the chosen head."""

    order: Order
    data: Prepared
    comparison: Comparison
    choice: Choice
    said: NamedAttributes
    judging: Sequence[Names] = ()  # names of each attribute whose groups judge

    def draft(self, check: GroupCheck, by_change: ByChange | None = None) -> DebiasResult:
        """Result of the run, before anything is written or verified."""
        order, data, comparison, named = self.order, self.data, self.comparison, self.said
        choice = self.choice
        clf = choice.estimator
        new_head, path = order.new_head, order.out
        known = comparison.known
        ordered = order.method is not None or known is not None or bool(named)
        ordered |= by_change is not None
        vetoed = by_change is not None and bool(by_change.veto)
        trail = [answer.as_dict() for answer in named.answers.answers]
        if known is not None:
            digests = [digest for name in data.pooled for digest in data.digests[name]]
            trail.append(known.partly.trail(digests))
        outcome = repair_outcome(comparison, choice, order)
        refused = check.refused(order.max_cost, [each.name for each in comparison.named])
        helped = ordered and outcome.is_better and data.shared <= MOST_SHARED and refused is None
        helped &= not vetoed and (choice.helps or not outcome.of_classes)
        written = helped or order.even_if_worse
        head = comparison.on_raw_embeddings(choice.head if written else comparison.original)
        suppressed = np.flatnonzero(clf.suppressed_ if n_suppressed(clf) else ())
        debiased = data.model
        if written or new_head:
            facts = {"new_head": str(new_head).lower()}
            facts |= self._provenance(suppressed, trail) if written else {}
            debiased = data.model.with_head(head, provenance=facts)
        of_groups = [data.model.batch_note] * bool(data.computed)
        of_groups += [] if new_head else [data.model.rounding_note()]
        of_groups += [debiased.rounding_note("The new model")] * (debiased is not data.model)
        of_groups = [*filter(None, of_groups), *named.replaced]
        if known is not None:
            of_groups += [known.source_note(), *filter(None, [known.partly.left])]
        notes = [*data.notes, *of_groups]
        of = "validation samples" if comparison.one_set else "training and validation samples"
        notes += [each.sentence(of) for each in comparison.named]
        if len(comparison.named) > 1 and all(each.source != "crossed" for each in outcome.groups):
            notes.append(
                "Not every combination of the named attributes has 5 samples in the "
                f"{outcome.where}, so each attribute is judged by itself."
            )
        for each in (*comparison.named, *([] if known is None else [known.attribute])):
            notes += alike_note(each.names, f"Values of {each.name}")
        notes += [f"auto: {clf.reason_}"] if choice.name == "auto" else []
        evaluated_on = "validation set" if comparison.test is None else "test set"
        by_person = list[str]()
        if order.interpolation is not None:
            by_person.append(
                f"A person chose the share of the new head ({percent(order.interpolation, 0)}), "
                f"perhaps by results on the {evaluated_on}. So the outcome is at most {PROBABLY!r}."
            )
        notes += by_person
        if new_head and data.model.head is not None:
            before, now = len(data.model.head.classes), len(head.classes)
            notes.append(f"The new head has {now} classes, and the original head has {before}.")
        if new_head and not written:
            notes.append("ntkit wrote the ERM head, fitted on the training set.")
        if comparison.test is None:
            parts = f"{len(comparison.halves)} folds" if comparison.one_set else "halves"
            notes.append(
                "There is no test set, so the results are for the validation set, cross-fitted by "
                f"{parts}."
            )
        return DebiasResult(
            model=debiased,
            head=head,
            estimator=clf,
            candidates=choice.candidates,
            suppressed=suppressed,
            n_non_constant=int(comparison.fitted["neurontune"].non_constant_.sum()),
            verification=None,
            evaluated_on=evaluated_on,
            select=comparison.select,
            path=path,
            notes=tuple(notes),
            accuracy_costs=choice.accuracy_costs,
            accuracy_cost=choice.accuracy_cost,
            max_cost=order.max_cost,
            helped=helped,
            ordered=ordered,
            shared=data.shared,
            written=written,
            outcome=outcome,
            refused=refused,
            check=check,
            answers=tuple(trail),
            kept_original=order.keep_original and path is not None and debiased is data.model,
            balanced_over=choice.balanced_over,
            unjudged=choice.unjudged,
            by_change=by_change,
            cautions=(*data.cautions, *of_groups, *by_person),
            ordered_share=order.interpolation,
            limits=repair_limits(comparison, choice, named, self.judging)
            if helped and not new_head
            else None,
            check_command=self._check_command(),
        )

    def _check_command(self) -> str:
        """Command that checks the written model on samples that the repair has not seen."""
        old, folder, known = self.data.model.path, self.order.out, arguments()
        if self.order.new_head or old is None or folder is None or known is None:
            return ""
        models = " ".join(quoted(from_here(path)) for path in (old, folder / MODEL_FILE))
        test = self.data.sets.get("test")
        digests = self.data.digests
        fitted = [d for name in self.data.pooled for d in digests.get(name, ())]
        # The head was chosen on all these samples, and perhaps fitted on them.
        if test is None or not {*fitted}.isdisjoint(digests.get("test", ())):
            return f"ntkit check {models} TEST, with samples as TEST that this repair has not seen"
        named = self.comparison.named if self.comparison.known is None else ()
        if named and not (self.said.layers or self.comparison.named_on_test):
            return f"ntkit check {models} TEST, with samples as TEST that show what was named"
        source = next(iter(test.sources), None)
        if source is None:
            return ""
        words = ["ntkit check", models, quoted(from_here(source)), options_again(known)]
        return " ".join(filter(None, words))

    def _provenance(
        self, suppressed: Array, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, str]:
        """Facts about the new head for the model's metadata."""
        comparison, model, train = (
            self.comparison,
            self.data.model,
            next(iter(self.data.sets.values())),
        )
        steps = (train.origin or {}).get("preprocessing", train.preprocessing)
        source = {"model": model.sha256(), "tensor": model.embedding.name, "preprocessing": steps}
        parameters = {
            name: value
            for name, value in self.choice.estimator.get_params().items()
            if isinstance(value, bool | int | float | str)
        }
        over = self.choice.balanced_over
        facts = {} if over is None else {"attributes": over}
        if (invariance := comparison.invariance) is not None:
            facts |= {"changes": json.dumps([change.name for change in invariance.changes])}
        if answers:  # a hash identifies the answers
            text = json.dumps(list(answers), sort_keys=True)
            facts["answers_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        facts |= {
            "version": __version__,
            "method": self.choice.name,
            "parameters": json.dumps(parameters, sort_keys=True),
            "suppressed_neurons": json.dumps(suppressed.tolist()),
            "share_of_new_head": f"{self.choice.accuracy_cost.t:g}",
        }
        made_with = facts_of(source).items()
        return facts | {name.removeprefix("ntkit."): text for name, text in made_with}

    def write(self, draft: DebiasResult) -> DebiasResult:
        """Write and verify in a temporary folder, which is renamed when it is complete."""
        with self.order.opened() as place:
            result = draft
            if draft.model is not self.data.model:
                result = replace(draft, verification=self._saved(draft, place / MODEL_FILE))
            elif draft.kept_original:
                copy_original(self.data.model, place)
            if draft.path is None:
                return result
            report, comparison = self._report(result), self.comparison
            if result.verification is not None:
                usage = self._usage(result, MODEL_FILE)
                (place / "README.md").write_text(model_card(report, usage), encoding="utf-8")
                for name, content in usage.files.items():
                    (place / name).write_bytes(content)
            raw = comparison.on_raw_embeddings
            heads = {name: raw(head_of(clf)) for name, clf in comparison.fitted.items()}
            new_head = self.order.new_head
            write_heads(place / HEADS_FILE, self.data.model, heads, new_head=new_head)
            (place / REPORT_FILE).write_text(report_html(report), encoding="utf-8")
            if result.limits is not None and result.verification is not None:
                self._write_limits(place / MODEL_FILE, result.limits)
            table = f"{result.summary(verbose=True, markdown=True)}\n"
            (place / "table.md").write_text(table, encoding="utf-8")
            write_record(place, result.as_dict())
        return result

    def _write_limits(self, model: Path, limits: Limits) -> None:
        """Write the limits of ``ntkit check`` that fit a written model next to it."""
        written = loaded(model, **self.data.model.located_by)
        facts = {"old": self.data.model.sha256(), "new": written.sha256()}
        facts |= {} if self.data.model.label is None else {"label": self.data.model.label}
        limits = replace(limits, repair={**facts, **limits.repair})
        comments = comments_on(limits, self.comparison, self.said, self.judging)
        model.with_name(REPAIR_LIMITS).write_text(toml_of(limits, comments), encoding="utf-8")

    def deploy(self, result: DebiasResult) -> None:
        """Write the folder for a service, after the folder of the result."""
        # DeployError: it cannot be written, or its program predicts differently from ntkit.
        try:
            with new_folder(self.order.deploy, force=self.order.force) as place:
                self._saved(result, place / DEPLOYED)
                if result.limits is not None:
                    self._write_limits(place / DEPLOYED, result.limits)
                usage = self._usage(result, DEPLOYED)
                card = model_card(self._report(result), usage)
                write_deployed(place, result.model, self.data.model, self._raw, usage, card)
        except (NtkitError, OSError) as error:
            where = "" if result.path is None else f" {result.path} is complete."
            raise DeployError(f"No folder for a service: {error}{where}", result) from error

    def _saved(self, result: DebiasResult, path: Path) -> Verification:
        return save_verified(
            result.model,
            path,
            original=self.data.embedder,
            X=self.data.inputs,
            head=result.head,
            device=self.order.device,
        )

    @property
    def _raw(self) -> Samples:
        """A set with raw inputs, if there is one."""
        sets = self.data.sets
        parts = [sets[name] for name in ("test", "validation", "train") if name in sets]
        return next((part for part in parts if not part.embedded), parts[0])

    def _usage(self, result: DebiasResult, file: str) -> Usage:
        original = self.data.model
        return usage_of(
            result.model, self._raw, original=original, new_head=self.order.new_head, file=file
        )

    def _report(self, result: DebiasResult) -> Report:
        data, comparison, sets = self.data, self.comparison, self.data.sets
        choice = self.choice
        rated = comparison.evaluated
        validation, original = comparison.validation, comparison.original
        before, after = (head.predict(validation.X) for head in (original, choice.head))
        by_change = result.by_change
        others = comparison.fitted["neurontune" if by_change is None else "neurontune-change-50"]
        scored = choice.estimator if hasattr(choice.estimator, "spuriousness_scores_") else others
        suppressed = np.zeros(validation.X.shape[1], dtype=bool)
        suppressed[result.suppressed] = True
        by_copies = suppressed.any() and getattr(scored, "statistic", "") == "change"
        moved = self._moved() if by_copies else None
        device = data.embedder.device_ if data.computed else None  # None if all were read
        unit = "standard deviations of each neuron"  # of scores on standardised embeddings
        if getattr(scored, "statistic", None) == "contribution":
            unit = "standard deviations of its contribution"
        return Report(
            title=name_of(data.model),
            answer=self._answer(result),
            seed=self.order.seed,
            label=data.model.label,
            others=result.others,
            accuracy_costs=[asdict(accuracy_cost) for accuracy_cost in result.accuracy_costs],
            accuracy_cost=asdict(result.accuracy_cost),
            another_share=self._another_share(),
            sentences=[
                *(() if by_change is None else by_change.sentences(written=result.written)),
                *(line.strip() for line in result.check.sentences()),
                *filter(None, [result.named_outcome(), result.verdict()]),
                *result.notes,
            ],
            options=self._options(),
            candidates=[asdict(c) for c in result.candidates],
            evaluated_on=result.evaluated_on,
            candidates_on=result.evaluated_on,
            shown=Shown(
                rated.y,
                original.predict(rated.X),
                choice.after,
                rated.groups,
                sets["validation" if comparison.test is None else "test"],
            ),
            Z=validation.X,
            neurons_on=Shown(validation.y, before, after, validation.groups, sets["validation"]),
            scores=scored.spuriousness_scores_,
            scores_of=(
                f"Scores are for {'the copies' if moved else 'the validation set'}, in {unit}."
            ),
            classes=scored.classes_,
            suppressed=suppressed,
            threshold=scored.threshold if suppressed.any() else None,
            facts=facts_of_job(data.model, result.model, sets, device, data.digests),
            commands=commands(),
            moved=moved,
        )

    def _answer(self, result: DebiasResult) -> Answer:
        """The question that was asked, and its answer by the outcome."""
        outcome, label = result.outcome, self.data.model.label
        names = [each.name for each in outcome.groups if each.source in ("read", "labelled")]
        if not names and result.by_change is not None:
            names = [*result.by_change.changes]
        question = f"Is the new head ({result.chosen.name}) better than the original one?"
        if names:
            question = f"Does the repair help if {' and '.join(names)} must not matter?"
        elif self.order.new_head:
            question = "How accurate is the new last layer?"
        groups, first = list[Groups](), deciding_groups(outcome.groups)
        for each in sorted(outcome.groups, key=lambda each: each not in first):
            what = _TITLES.get(each.source, "Class × {}").format(each.name)
            tags = dict.fromkeys(each.helped, "the shortcut helped")
            groups.append(
                Groups(
                    f"{what}, {outcome.where}",
                    [row.with_intervals() for row in each.rows],
                    tags,
                    first=each in first,
                )
            )
        of = "" if label is None else f"Label {label!r}: "
        cost = result.cost_in_words([each.name for each in self.comparison.scorecard.said])
        return Answer(
            of + question, result.decision(), result.lines(), groups, cost, self._steps(result)
        )

    def _steps(self, result: DebiasResult) -> list[tuple[str, str, str]]:
        """What to do to keep the result, and to go back, with commands."""
        original, folder = self.data.model, self.order.out
        if folder is None:
            return []
        new = from_here(folder / MODEL_FILE)
        if result.verification is None:
            again = f"ntkit debias --from {quoted(from_here(folder))} --even-if-worse"
            again = again if arguments() is not None else "debias(…, even_if_worse=True)"
            nothing = "The original model is unchanged, so there is nothing to do."
            anyway = "Write the new head anyway", "Only if you know why these data mislead."
            return [("Keep the original", nothing, ""), (*anyway, again)]
        if self.order.new_head or original.path is None or len(original.files) != 1:
            keep = f"Use {new} in place of the original model."
            return [("Keep it", keep, ""), ("Go back", "The original model is unchanged.", "")]
        old, copy = quoted(from_here(original.path)), "copy" if os.name == "nt" else "cp"
        folder = from_here(folder)
        back = f"ntkit export --undo {quoted(folder)} -o {old} --force"
        return [
            ("Keep it", "Replace the original model.", f"{copy} {quoted(new)} {old}"),
            ("Go back", f"Put the original back; the folder {folder} keeps its head.", back),
        ]

    def _another_share(self) -> str:
        """Command that writes the step next to the chosen one, to another folder."""
        folder, t = self.order.out, self.choice.accuracy_cost.t
        share = round(t - 0.1, 1) if t > 0.15 else 0.2
        if folder is None or arguments() is None:
            return f"debias(…, interpolation={share:g})"
        here = from_here(folder)
        other = here.with_name(f"{here.name}-{100 * share:.0f}")
        words = ["ntkit", "debias", "--from", quoted(here), "--interpolation", f"{share:g}"]
        return " ".join([*words, "-o", quoted(other)])

    def _moved(self) -> Moved | None:
        """Copies of the validation set by the first change, next to their originals."""
        comparison, samples = self.comparison, self.data.sets["validation"]
        invariance = comparison.invariance
        if invariance is None or samples.embedded:
            return None
        change, copies = invariance.changes[0], invariance.validation
        folds = invariance.folds[-len(samples) :]
        made, _ = change.copies(samples, seed=self.order.seed, folds=folds)
        first = copies.take(copies.change == 0)
        original, head = comparison.original, self.choice.head
        validation, y = comparison.validation, comparison.validation.y

        def shown(Z: Array, y: Array, of: Samples) -> Shown:
            return Shown(y, original.predict(Z), head.predict(Z), samples=of)

        return Moved(
            change.name,
            first.Z,
            first.of,
            shown(validation.X, y, as_seen(samples)),
            shown(first.Z, y[first.of], made),
        )

    def _options(self) -> dict[str, str]:
        """Samples, head and options of the run, in words."""
        facts, order, clf = dict[str, str](), self.order, self.choice.estimator
        for name, samples in self.data.sets.items():
            labels, counts = np.unique(samples.y, return_counts=True)
            shown = [f"{label}: {n}" for label, n in zip(labels[:8], counts[:8], strict=True)]
            shown += [f"{len(labels) - 8} more classes"] if len(labels) > 8 else []
            text = ", ".join(shown)
            if (groups := samples.groups) is not None:
                each = range(groups.shape[1]) if groups.ndim == 2 else {*groups.tolist()}
                known = [group for group in each if groups.ndim == 2 or not means_unknown(group)]
                text += f"; {len(known)} groups"
            facts[f"{name} set"] = f"{len(samples)} samples ({text})"
        defaults = signature(type(clf)).parameters
        parameters = [
            f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in clf.get_params(deep=False).items()
            if name != "random_state"
            and isinstance(value, bool | int | float | str)
            and value != defaults[name].default
        ]
        chosen_by = "your answers" if order.method is None else "you"
        if order.by_score:
            chosen_by = f"the label-free score {order.method} on parts of the validation set"
        whose = self.choice.accuracy_cost.whose
        return facts | {
            "chosen head": self.choice.name,
            "parameters of the head": ", ".join(parameters) or "the defaults",
            "chosen by": chosen_by,
            "limit of the accuracy cost": f"{100 * order.max_cost:g} points of {whose}",
            "random_state": str(order.seed),
        }


def write_heads(
    path: Path, model: FrozenModel, heads: Mapping[str, LinearHead], *, new_head: bool = False
) -> None:
    """Write heads of a run and the head of its original model, and the identity of the model."""
    arrays: dict[str, Any] = {}
    if model.head is not None and not new_head:
        heads = {ORIGINAL: model.head, **heads}
        arrays["model_classes"] = model.head.classes
    about = {
        "source": "" if model.path is None else os.path.abspath(model.path),
        "source_sha256": model.sha256(),
        "located_by": {} if model.labels_apart else dict(model.located_by),
        "new_head": new_head,
        "label": model.label,
        "metadata": {k: v for k, v in model.metadata.items() if k.startswith("ntkit.")},
    }
    arrays |= {"names": np.asarray([*heads]), "about": np.asarray(json.dumps(about))}
    for i, head in enumerate(heads.values()):
        kind = np.float32 if model.label is None else np.float64  # of a shifted intercept
        arrays |= {
            f"coef_{i}": head.coef.astype(kind),
            f"intercept_{i}": head.intercept.astype(kind),
            f"classes_{i}": head.classes,
        }
    np.savez(path, **arrays)


def write_findings(folder: Path, result: FindingsResult, *, page: bool = True) -> None:
    """Write findings: the page to answer on, its JSON, and the record of the run."""
    if page:
        go_on = f"ntkit debias --from {quoted(result.path)} --answers answers.json"
        if not result.resumable:
            go_on = f"debias(…, out={str(result.path)!r}, resume={str(result.path)!r}, answers=…)"
        files = audit_files(result.audit, title=name_of(result.model), go_on=go_on)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    if result.kept_original:
        copy_original(result.model, folder)
    (folder / "table.md").write_text(result.summary(verbose=True) + "\n", encoding="utf-8")
    write_record(folder, result.as_dict())


def copy_original(model: FrozenModel, folder: Path) -> None:
    """Copy the original model under the name of the new one; a single file byte by byte."""
    if model.path is not None and len(model.files) == 1:
        shutil.copyfile(model.path, folder / MODEL_FILE)
    else:
        model.save(folder / MODEL_FILE)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``result.json``, and the arguments of the command for a later run."""
    if (started := arguments()) is not None:
        (folder / RUN_FILE).write_text(json.dumps(started, indent=2), encoding="utf-8")
    (folder / "result.json").write_text(as_json(record), encoding="utf-8")


def write_deployed(
    folder: Path,
    model: FrozenModel,
    original: FrozenModel,
    samples: Samples,
    usage: Usage,
    card: str,
) -> None:
    """Write the other files of a folder that holds the model, and run the program."""
    named = model.label_names or json.loads(model.metadata["ntkit.classes"])
    names = [str(name) for name in named]
    labels = json.dumps(names, indent=2, ensure_ascii=False) + "\n"
    (folder / "labels.json").write_text(labels, encoding="utf-8")
    for name, content in usage.files.items():
        (folder / name).write_bytes(content)
    _copy_used(folder, original, samples, names)
    written = FrozenModel.load(folder / DEPLOYED)
    # timm's config.json names the preprocessing, but options may have replaced it.
    if samples.data.are_files and not _names_steps(written, samples.X.preprocessing):
        (folder / _CONFIG).unlink(missing_ok=True)
    (folder / _PROGRAM).write_text(usage.program, encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")
    _run(folder, written, samples, usage.snippet)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sums = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def _copy_used(folder: Path, original: FrozenModel, samples: Samples, names: list[str]) -> None:
    """Copy the original's configuration files that were used to read the samples."""
    places = folders_of(original.path)
    existing = {
        name: place / name
        for place in reversed(places)
        for name in (_CONFIG, _PREPROCESSOR)
        if (place / name).is_file()
    }
    if _CONFIG in existing:
        config = _with_names(existing[_CONFIG], names)
        if config is not None:
            (folder / _CONFIG).write_text(config, encoding="utf-8")
    is_used = samples.data.are_files and _names_steps(original, samples.X.preprocessing)
    if is_used and _PREPROCESSOR in existing:
        shutil.copyfile(existing[_PREPROCESSOR], folder / _PREPROCESSOR)


def _with_names(path: Path, names: list[str]) -> str | None:
    """Text of a config.json with the names of these classes; None if it is not readable."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    config.pop("_name_or_path", None)  # a path on another machine
    if "id2label" in config or "model_type" in config:
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _names_steps(original: FrozenModel, steps: ImagePreprocessing) -> bool:
    """Whether the files of a model name this preprocessing."""
    try:
        return ImagePreprocessing.for_model(original) == steps
    except InputError:
        return False


def _run(folder: Path, written: FrozenModel, samples: Samples, snippet: str) -> None:
    """Run the program on some samples, from another folder, and compare with ntkit."""
    with tempfile.TemporaryDirectory(prefix="ntkit-") as elsewhere:
        arguments, X = _some(written, samples, Path(elsewhere))
        try:
            done = subprocess.run(
                [sys.executable, "-B", str(folder / _PROGRAM), *arguments],
                cwd=elsewhere,
                capture_output=True,
                env={**os.environ, "PYTHONUTF8": "1"},  # class names may need UTF-8
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise VerificationError(f"{_PROGRAM} does not run: {error}.") from error
    if done.returncode:
        reason = (_text(done.stderr).strip().splitlines() or ["no reason given"])[-1]
        raise VerificationError(f"{_PROGRAM} of the folder for the service does not run: {reason}.")
    several = bool(written.label_names)
    if (written.head is None and not several) or "    return outputs\n" in snippet:
        return  # no output of the model shows classes
    lines = _predicted(written, X)
    if samples.data.are_files:
        lines = [f"{path} {label}" for path, label in zip(arguments, lines, strict=True)]
    printed = _text(done.stdout)
    if printed != "".join(f"{line}\n" for line in lines):  # as a whole: names hold line breaks
        raise VerificationError(
            f"{_PROGRAM} of the folder for the service predicts {printed.splitlines()[:4]}, but "
            f"ntkit predicts {lines[:4]}."
        )


def _predicted(model: FrozenModel, X: Any) -> list[str]:
    """The class of each sample as a text, or all its labels."""
    names, embedded, has = model.label_names, dict[str, Array](), list[Any]()
    for one in [model.of_label(name) for name in names] or [model]:
        if one.embedding.name not in embedded:
            embedded[one.embedding.name] = OnnxEmbedder(one, device="cpu").transform(X)
        assert one.head is not None
        has.append(one.head.predict(embedded[one.embedding.name]).tolist())
    if not names:
        return list(map(str, has[0]))
    rows = (
        [n for n, y in zip(names, row, strict=True) if y == n] for row in zip(*has, strict=True)
    )
    return [", ".join(row) or "no label" for row in rows]


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").replace(os.linesep, "\n")


def _some(model: FrozenModel, samples: Samples, elsewhere: Path) -> tuple[list[str], Any]:
    """Arguments of the program, and the same samples as inputs."""
    if samples.embedded:
        made = random_inputs(model, _TRIED)
        X = made if len(made) > 1 else next(iter(made.values()))
        samples = read(X, model, labels="optional")
    rows = [*np.unique(np.linspace(0, len(samples) - 1, _TRIED).astype(np.intp))]
    if isinstance(samples.data, TextData):  # short ones, because a command line has a limit
        texts, n = samples.X.texts, len(samples)
        rows = sorted(range(n), key=lambda i: len(str(texts[i])))[:: max(1, n // 8)][:_TRIED]
    some = samples.take(rows)
    return some.data.as_arguments(elsewhere)
