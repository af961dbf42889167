"""The result of a repair, and its files: verified, and all or none."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from inspect import signature
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._labels import alike_note, means_unknown
from ntkit._output import new_folder
from ntkit._text import as_json, counted, percent
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.changes.change import as_seen, write_files
from ntkit.estimators import head_of
from ntkit.exceptions import DeployError, NtkitError
from ntkit.extraction import Samples
from ntkit.head import LinearHead
from ntkit.jobs.audit.files import audit_files
from ntkit.jobs.check import REPAIR_LIMITS, toml_of
from ntkit.jobs.command_line import (
    arguments,
    commands,
    from_here,
    options_again,
    quoted,
    settings_files,
)
from ntkit.jobs.debias._candidates import n_suppressed
from ntkit.jobs.debias._choice import Choice, repair_outcome, why_kept
from ntkit.jobs.debias._flips import ByChange
from ntkit.jobs.debias._inputs import Prepared
from ntkit.jobs.debias._lost_groups import GroupCheck
from ntkit.jobs.debias._outcome import PROBABLY, TEST, deciding_groups
from ntkit.jobs.debias._plan import Judges
from ntkit.jobs.debias._repair_limits import comments_on, repair_limits
from ntkit.jobs.debias._result import DebiasResult, FindingsResult
from ntkit.jobs.debias._service import DEPLOYED, write_deployed
from ntkit.jobs.debias._settings import HEADS_FILE, MODEL_FILE, REPORT_FILE, RUN_FILE, Order
from ntkit.jobs.report import facts_of_job
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import batch_note, loaded, name_of, rounding_note
from ntkit.pages.report_page import (
    Conclusion,
    Groups,
    Moved,
    Neurons,
    Report,
    Shown,
    model_card,
    report_html,
)
from ntkit.pages.usage import usage_of
from ntkit.samples.stored import facts_of
from ntkit.verification import Verification, save_verified

ORIGINAL = "original head"
_TITLES = {
    "classes": "Classes",
    "copies": "Originals and changed copies",
    "labelled": "Class × {}, estimated from labels of single samples",
}


def drafted(
    order: Order,
    data: Prepared,
    choice: Choice,
    check: GroupCheck,
    by_change: ByChange | None = None,
) -> DebiasResult:
    """Result of a repair, before anything is written or verified."""
    comparison, clf, new_head = choice.comparison, choice.estimator, order.settings.new_head
    plan, outcome = (
        comparison.plan,
        repair_outcome(comparison, order, choice.name, choice.accuracy_cost.t, choice.after),
    )
    if plan.judges is Judges.TEST and outcome.where != TEST:
        told = "The test set does not judge, but validation samples do: it has too few of a group."
        data = data.noting(told, cautions=[told])
    trail = [answer.as_dict() for answer in plan.said.answers.answers]
    if plan.known is not None:
        digests = [digest for name in data.pooled for digest in data.digests[name]]
        trail.append(plan.known.partly.trail(digests))
    refused = check.refused(order.max_cost, [each.name for each in plan.said.read])
    reason = why_kept(
        choice,
        outcome,
        refused,
        order.max_cost,
        ordered=order.method is not None or plan.known is not None or bool(plan.said),
        shared=data.shared,
        veto="" if by_change is None else by_change.veto,
    )
    # Here is decided what is written: the new head, an ERM head for other classes, or a copy.
    helped, otherwise = not reason, order.settings.otherwise
    written = helped or otherwise == "new head"
    kept_original = not (written or new_head) and otherwise == "original" and order.out is not None
    head = comparison.on_raw_embeddings(choice.head if written else comparison.original)
    suppressed = np.flatnonzero(clf.suppressed_ if n_suppressed(clf) else ())
    debiased = data.model
    if written or new_head:
        facts = {"new_head": str(new_head).lower()}
        facts |= _provenance(data, choice, suppressed, trail) if written else {}
        debiased = data.model.with_head(head, provenance=facts)
    result = DebiasResult(
        model=debiased,
        head=head,
        estimator=clf,
        candidates=choice.candidates,
        suppressed=suppressed,
        n_non_constant=int(comparison.fitted["neurontune"].non_constant_.sum()),
        verification=None,
        evaluated_on="validation set" if comparison.test is None else "test set",
        select=plan.score,
        path=order.out,
        notes=data.notes,
        accuracy_costs=choice.accuracy_costs,
        accuracy_cost=choice.accuracy_cost,
        max_cost=order.max_cost,
        helped=helped,
        reason=reason,
        shared=data.shared,
        written=written,
        outcome=outcome,
        refused=refused,
        check=check,
        answers=tuple(trail),
        kept_original=kept_original,
        balanced_over=choice.balanced_over,
        unjudged=choice.unjudged,
        by_change=by_change,
        cautions=data.cautions,
        ordered_share=order.settings.interpolation,
        limits=repair_limits(choice) if helped and not new_head else None,
        check_command=_check_command(order, data, choice),
    )
    return _with_notes(result, order, data, choice)


def _with_notes(result: DebiasResult, order: Order, data: Prepared, choice: Choice) -> DebiasResult:
    """The result with notes on how the groups were read, on the head, and on what judged it."""
    comparison, plan, original = choice.comparison, choice.comparison.plan, data.model
    of_groups = [batch_note(original)] * bool(data.computed)
    of_groups += [] if order.settings.new_head else [rounding_note(original)]
    if result.model is not original:
        of_groups.append(rounding_note(result.model, "The new model"))
    of_groups = [*filter(None, of_groups), *plan.said.replaced]
    if (known := plan.known) is not None:
        of_groups += [known.source_note(), *filter(None, [known.partly.left])]
    of = "validation samples" if comparison.pool.one_set else "training and validation samples"
    notes = [*of_groups, *(each.sentence(of) for each in plan.said.read)]
    crossed = any(each.source == "crossed" for each in result.outcome.groups)
    if len(plan.said.read) > 1 and not crossed:
        notes.append(
            "Not every combination of the named attributes has 5 samples in the "
            f"{result.outcome.where}, so each attribute is judged by itself."
        )
    for each in plan.attributes:
        notes += alike_note(each.names, f"Values of {each.name}")
    notes += [f"auto: {choice.estimator.reason_}"] if choice.name == "auto" else []
    by_person = list[str]()
    if (share := order.settings.interpolation) is not None:
        by_person.append(
            f"A person chose the share of the new head ({percent(share, 0)}), "
            f"perhaps by results on the {result.evaluated_on}. "
            f"So the outcome is at most {PROBABLY!r}."
        )
    if order.has_shown_test:
        by_person.append(
            f"A person chose the share of the new head after seeing the {result.evaluated_on}, in "
            f"an earlier report. So the outcome is at most {PROBABLY!r}."
        )
    notes += by_person
    if order.settings.new_head and original.head is not None:
        before, now = len(original.head.classes), len(result.head.classes)
        notes.append(f"The new head has {now} classes, and the original head has {before}.")
    if order.settings.new_head and not result.written:
        notes.append("ntkit wrote the ERM head, fitted on the training set.")
    if comparison.test is None:
        parts = f"{len(comparison.halves)} folds" if comparison.pool.one_set else "halves"
        notes.append(
            "There is no test set, so the results are for the validation set, cross-fitted by "
            f"{parts}."
        )
    of_embedding = _below_guessing(result) if result.written and result.by_change else []
    cautions = (*result.cautions, *of_groups, *by_person, *of_embedding)
    return replace(result, notes=(*result.notes, *notes, *of_embedding), cautions=cautions)


def _below_guessing(result: DebiasResult) -> list[str]:
    """A sentence on the worst group of copies if guessing is surely better there."""
    guessing, said = 1 / len(result.head.classes), list[str]()
    for groups in result.outcome.groups:
        row = min(groups.filled, key=attrgetter("value"))
        if groups.source == "copies" and row.bounds(groups.level, groups.level)[1] < guessing:
            said.append(
                f"{row.name} stays surely below guessing ({percent(row.value)} of "
                f"{counted(row.n, 'sample')}, guessing: {percent(guessing, 0)}). Perhaps this "
                "embedding tells little but the change. Then a last layer cannot repair more: "
                "train the network itself with changed copies."
            )
    return said


def _check_command(order: Order, data: Prepared, choice: Choice) -> str:
    """Command that checks the written model on samples that the repair has not seen."""
    old, folder, known = data.model.path, order.out, arguments()
    if order.settings.new_head or old is None or folder is None or known is None:
        return ""
    models = " ".join(quoted(from_here(path)) for path in (old, folder / MODEL_FILE))
    test, plan = data.sets.get("test"), choice.comparison.plan
    digests = data.digests
    fitted = [d for name in data.pooled for d in digests.get(name, ())]
    # The head was chosen on all these samples, and perhaps fitted on them.
    if test is None or not {*fitted}.isdisjoint(digests.get("test", ())):
        return f"ntkit check {models} TEST, with samples as TEST that this repair has not seen"
    if plan.judges is Judges.VALIDATION and plan.said.read and not plan.said.layers:
        return f"ntkit check {models} TEST, with samples as TEST that show what was named"
    source = next(iter(test.sources), None)
    if source is None:
        return ""
    words = ["ntkit check", models, quoted(from_here(source)), options_again(known, folder)]
    return " ".join(filter(None, words))


def _provenance(
    data: Prepared, choice: Choice, suppressed: Array, answers: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Facts about the new head for the model's metadata."""
    model, train = data.model, next(iter(data.sets.values()))
    steps = (train.origin or {}).get("preprocessing", train.preprocessing)
    source = {"model": model.sha256(), "tensor": model.embedding.name, "preprocessing": steps}
    parameters = {
        name: value
        for name, value in choice.estimator.get_params().items()
        if isinstance(value, bool | int | float | str)
    }
    over = choice.balanced_over
    facts = {} if over is None else {"attributes": over}
    if (invariance := choice.comparison.plan.invariance) is not None:
        facts |= {"changes": json.dumps([change.name for change in invariance.changes])}
    if answers:  # a hash identifies the answers
        text = json.dumps(list(answers), sort_keys=True)
        facts["answers_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    facts |= {
        "version": __version__,
        "method": choice.name,
        "parameters": json.dumps(parameters, sort_keys=True),
        "suppressed_neurons": json.dumps(suppressed.tolist()),
        "share_of_new_head": f"{choice.accuracy_cost.t:g}",
    }
    made_with = facts_of(source).items()
    return facts | {name.removeprefix("ntkit."): text for name, text in made_with}


def write(order: Order, data: Prepared, choice: Choice, draft: DebiasResult) -> DebiasResult:
    """Write and verify in a temporary folder, which is renamed when it is complete."""
    with order.opened() as place:
        result = draft
        if draft.model is not data.model:
            check = _saved(draft, order, data, choice, place / MODEL_FILE)
            result = replace(draft, verification=check)
        elif draft.kept_original:
            copy_original(data.model, place)
        if draft.path is None:
            return result
        write_files(place, choice.comparison.plan.said.changes)
        report = _report(order, data, choice, result)
        if result.verification is not None:
            usage = usage_of(
                result.model, data.raw, data.model, order.settings.new_head, MODEL_FILE
            )
            (place / "README.md").write_text(model_card(report, usage), encoding="utf-8")
            for name, content in usage.files.items():
                (place / name).write_bytes(content)
        raw = choice.comparison.on_raw_embeddings
        heads = {name: raw(head_of(clf)) for name, clf in choice.comparison.fitted.items()}
        write_heads(place / HEADS_FILE, data.model, heads, new_head=order.settings.new_head)
        (place / REPORT_FILE).write_text(report_html(report), encoding="utf-8")
        table = f"{result.summary(verbose=True, markdown=True)}\n"
        (place / "table.md").write_text(table, encoding="utf-8")
        write_record(place, result.as_dict(), data.read)
    return result


def deploy(order: Order, data: Prepared, choice: Choice, result: DebiasResult) -> None:
    """Write the folder for a service, after the folder of the result."""
    # DeployError: it cannot be written, or its program predicts differently from ntkit.
    try:
        with new_folder(order.deploy, force=order.force) as place:
            _saved(result, order, data, choice, place / DEPLOYED)
            usage = usage_of(result.model, data.raw, data.model, order.settings.new_head, DEPLOYED)
            card = model_card(_report(order, data, choice, result), usage)
            write_deployed(place, result.model, data.model, data.raw, usage, card)
    except (NtkitError, OSError) as error:
        where = "" if result.path is None else f" {result.path} is complete."
        raise DeployError(f"No folder for a service: {error}{where}", result) from error


def _saved(
    result: DebiasResult,
    order: Order,
    data: Prepared,
    choice: Choice,
    path: Path,
) -> Verification:
    """Write and verify the new model, and next to it the limits of a check that fit it."""
    check = save_verified(
        result.model,
        path,
        original=data.embedder,
        X=data.inputs,
        head=result.head,
        device=order.device,
    )
    if result.limits is not None:
        written = loaded(path, **data.model.located_by)
        facts = {"old": data.model.sha256(), "new": written.sha256()}
        facts |= {} if data.model.label is None else {"label": data.model.label}
        limits = replace(result.limits, repair={**facts, **result.limits.repair})
        changes = choice.comparison.plan.said.changes
        kept = {change.name: change.kept_name for change in changes}
        named = {kept.get(name, name): limit for name, limit in limits.changes.items()}
        limits = replace(limits, changes=named)
        write_files(path.parent, changes)
        comments = comments_on(limits, choice.comparison.plan)
        path.with_name(REPAIR_LIMITS).write_text(toml_of(limits, comments), encoding="utf-8")
    return check


def _report(order: Order, data: Prepared, choice: Choice, result: DebiasResult) -> Report:
    """Content of the report and of the model card."""
    comparison, sets = choice.comparison, data.sets
    rated = comparison.evaluated
    validation, original = comparison.validation, comparison.original
    before, after = (head.predict(validation.X) for head in (original, choice.head))
    by_change = result.by_change
    others = comparison.fitted["neurontune" if by_change is None else "neurontune-change-50"]
    scored = choice.estimator if hasattr(choice.estimator, "spuriousness_scores_") else others
    suppressed = np.zeros(validation.X.shape[1], dtype=bool)
    suppressed[result.suppressed] = True
    by_copies = suppressed.any() and getattr(scored, "statistic", "") == "change"
    moved = _moved(order, data, choice) if by_copies else None
    device = data.embedder.device_ if data.computed else None  # None if all were read
    scores_on = "the copies" if moved else "the validation set"
    unit = "standard deviations of each neuron"  # of scores on standardised embeddings
    if getattr(scored, "statistic", None) == "contribution":
        unit = "standard deviations of its contribution"
    return Report(
        title=name_of(data.model),
        answer=_answer(order, data, choice, result),
        seed=order.settings.random_state,
        label=data.model.label,
        accuracy_costs=[
            asdict(each) | {"chosen": each.t == result.accuracy_cost.t}
            for each in result.accuracy_costs
        ],
        another_share=_another_share(order, choice),
        sentences=[
            *(() if by_change is None else by_change.sentences(written=result.written)),
            *(line.strip() for line in result.check.sentences()),
            *filter(None, [result.named_outcome(), result.verdict()]),
            *result.notes,
        ],
        options=_options(order, data, choice),
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
        neurons=Neurons(
            Z=validation.X,
            on=Shown(validation.y, before, after, validation.groups, sets["validation"]),
            scores=scored.spuriousness_scores_,
            scores_of=f"Scores are for {scores_on}, in {unit}.",
            classes=scored.classes_,
            suppressed=suppressed,
            threshold=scored.threshold if suppressed.any() else None,
            moved=moved,
        ),
        facts=facts_of_job(data.model, result.model, sets, device, data.digests),
        commands=commands(),
    )


def _answer(order: Order, data: Prepared, choice: Choice, result: DebiasResult) -> Conclusion:
    """The question that was asked, and its answer by the outcome."""
    outcome, label = result.outcome, data.model.label
    names = [each.name for each in outcome.groups if each.source in ("read", "labelled")]
    if not names and result.by_change is not None:
        names = [*result.by_change.changes]
    question = f"Is the new head ({result.chosen.name}) better than the original one?"
    if names:
        question = f"Does the repair help if {' and '.join(names)} must not matter?"
    elif order.settings.new_head:
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
                counts=each.counts,
            )
        )
    of = "" if label is None else f"Label {label!r}: "
    cost = result.cost_in_words([each.name for each in choice.comparison.scorecard.said])
    parts = groups, cost, _steps(order, data, result), result.others
    return Conclusion(of + question, result.decision(), result.lines(), *parts)


def _steps(order: Order, data: Prepared, result: DebiasResult) -> list[tuple[str, str, str]]:
    """What to do to keep the result, and to go back, with commands."""
    original, folder = data.model, order.out
    if folder is None:
        return []
    new = from_here(folder / MODEL_FILE)
    if result.verification is None:
        again = f"ntkit debias --from {quoted(from_here(folder))} --even-if-worse"
        if arguments() is None:
            again = "debias(…, settings=DebiasSettings(otherwise='new head'))"
        nothing = "The original model is unchanged, so there is nothing to do."
        anyway = "Write the new head anyway", "Only if you know why these data mislead."
        return [("Keep the original", nothing, ""), (*anyway, again)]
    if order.settings.new_head or original.path is None or len(original.files) != 1:
        keep = f"Use {new} in place of the original model."
        return [("Keep it", keep, ""), ("Go back", "The original model is unchanged.", "")]
    old, copy = quoted(from_here(original.path)), "copy" if os.name == "nt" else "cp"
    folder = from_here(folder)
    back = f"ntkit export --undo {quoted(folder)} -o {old} --force"
    steps = [
        ("Keep it", "Replace the original model.", f"{copy} {quoted(new)} {old}"),
        ("Go back", f"Put the original back; the folder {folder} keeps its head.", back),
    ]
    sources = data.sets["test"].sources if "test" in data.sets else ()
    if sources and result.check_command and " with samples as TEST" not in result.check_command:
        of_file = {"old": original.path, "new": folder / MODEL_FILE, "data": sources[0]}
        paths = [f"\n    {n}: {json.dumps(str(from_here(path)))}" for n, path in of_file.items()]
        job = f"- uses: OWNER/ntkit@REF\n  with:{''.join(paths)}"
        ci = "This command fails if the new model is worse. Below it, a step for GitHub Actions."
        steps.append(("Check it in CI", ci, f"{result.check_command}\n\n{job}"))
    return steps


def _another_share(order: Order, choice: Choice) -> str:
    """Command that writes the step next to the chosen one, to another folder."""
    folder, t = order.out, choice.accuracy_cost.t
    share = round(t - 0.1, 1) if t > 0.15 else 0.2
    if folder is None or arguments() is None:
        return f"debias(…, settings=DebiasSettings(interpolation={share:g}))"
    here = from_here(folder)
    other = here.with_name(f"{here.name}-{100 * share:.0f}")
    words = ["ntkit", "debias", "--from", quoted(here), "--interpolation", f"{share:g}"]
    return " ".join([*words, "-o", quoted(other)])


def _moved(order: Order, data: Prepared, choice: Choice) -> Moved | None:
    """Copies of the validation set by the first change, next to their originals."""
    comparison, samples = choice.comparison, data.sets["validation"]
    invariance = comparison.plan.invariance
    if invariance is None or samples.embedded:
        return None
    change, rows = invariance.changes[0], comparison.pool.of_validation
    copies, folds = invariance.of(rows), invariance.folds[rows]
    made, _ = change.copies(samples, seed=order.settings.random_state, folds=folds)
    first = copies.take(copies.change == 0)
    original, head = comparison.original, choice.head
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


def _options(order: Order, data: Prepared, choice: Choice) -> dict[str, str]:
    """Samples, head and options of the run, in words."""
    facts, clf = dict[str, str](), choice.estimator
    for name, samples in data.sets.items():
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
    chosen_by = "what you named" if order.method is None else "you"
    if choice.comparison.plan.method is None:
        chosen_by = f"the label-free score {order.method} on parts of the validation set"
    whose = "average accuracy"
    if choice.accuracy_cost.by_groups:
        whose = "the balanced groups' mean accuracy"
    return facts | {
        "chosen head": choice.name,
        "parameters of the head": ", ".join(parameters) or "the defaults",
        "chosen by": chosen_by,
        "limit of the accuracy cost": f"{100 * order.max_cost:g} points of {whose}",
        "random_state": str(order.settings.random_state),
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


def write_findings(
    folder: Path, result: FindingsResult, read: Mapping[str, str], *, page: bool = True
) -> None:
    """Write findings: the page to answer on, its JSON, and the record of the run."""
    if page:
        go_on = f"ntkit debias --from {quoted(result.path)} --answers answers.json"
        if not result.resumable:
            place = repr(str(result.path))
            resumed = f"DebiasSettings(resume={place})"
            go_on = f"debias(…, out={place}, answers=…, settings={resumed})"
        files = audit_files(result.audit, title=name_of(result.model), go_on=go_on)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    if result.kept_original:
        copy_original(result.model, folder)
    (folder / "table.md").write_text(result.summary(verbose=True) + "\n", encoding="utf-8")
    write_record(folder, result.as_dict(), read)


def copy_original(model: FrozenModel, folder: Path) -> None:
    """Copy the original model under the name of the new one; a single file byte by byte."""
    if model.path is not None and len(model.files) == 1:
        shutil.copyfile(model.path, folder / MODEL_FILE)
    else:
        model.save(folder / MODEL_FILE)


def write_record(folder: Path, record: Mapping[str, Any], read: Mapping[str, str]) -> None:
    """Write ``result.json``, with what was read, and the arguments of the command."""
    if (started := arguments()) is not None:
        (folder / RUN_FILE).write_text(json.dumps(started, indent=2), encoding="utf-8")
    for name, text in settings_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "result.json").write_text(as_json({**record, "read": {**read}}), encoding="utf-8")
