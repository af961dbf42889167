"""The page and the model card of a job that was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ntkit.extraction import Samples
from ntkit.jobs.debias._choice import Choice
from ntkit.jobs.debias._inputs import Prepared
from ntkit.jobs.debias.result._deploy import DEPLOYED, write_deployed
from ntkit.jobs.debias.result._result import MODEL_FILE, DebiasResult
from ntkit.jobs.report import commands, facts_of_job, look_of, name_of
from ntkit.model import FrozenModel
from ntkit.pages import Report, Shown, model_card, usage_of


def report_of_job(
    result: DebiasResult, *, given: Prepared, choice: Choice, asked: Mapping[str, str]
) -> Report:
    """Put together what a reader of :func:`ntkit.debias`'s result should see."""
    held, original_head = choice.comparison.validation, choice.comparison.original
    shown, head = choice.rated, choice.decision.head
    seen = given.sets["held-out" if choice.comparison.test is None else "test"]
    scored = choice.clf if hasattr(choice.clf, "spuriousness_scores_") else choice.paper
    suppressed = np.zeros(held.Z.shape[1], dtype=bool)
    suppressed[result.suppressed] = True
    return Report(
        title=name_of(given.model),
        headline=result.headline(),
        accuracy_costs=[asdict(accuracy_cost) for accuracy_cost in result.accuracy_costs],
        price_taken=asdict(result.accuracy_cost),
        sentences=[
            *(line.strip() for line in result.check.sentences()),
            *filter(None, [result.named_outcome(), result.verdict()]),
            *result.notes,
        ],
        asked=asked,
        candidates=[asdict(c) for c in result.candidates],
        evaluated_on=result.evaluated_on,
        candidates_on=result.evaluated_on,
        shown=Shown(
            shown.y,
            original_head.predict(shown.Z),
            choice.after,
            shown.groups,
            look_of(seen),
            seen.ids,
        ),
        Z=held.Z,
        neurons_on=Shown(
            held.y,
            original_head.predict(held.Z),
            head.predict(held.Z),
            held.groups,
            look_of(given.sets["held-out"]),
            given.sets["held-out"].ids,
        ),
        scores=scored.spuriousness_scores_,
        scores_of=f"Scores are for the held-out set, in {_unit_of_scores(scored)}.",
        classes=scored.classes_,
        suppressed=suppressed,
        threshold=scored.threshold if suppressed.any() else None,
        facts=facts_of_job(given.model, result.model, given.sets, given.device, given.digests),
        commands=commands(),
    )


def write_card(
    folder: Path,
    report: Report,
    result: DebiasResult,
    samples: Mapping[str, Samples],
    *,
    original: FrozenModel,
    new_head: bool,
) -> None:
    """Write the model card, and what its program needs beside it, into a job's folder."""
    raw = _raw(samples)
    usage = usage_of(result.model, raw, original=original, new_head=new_head, file=MODEL_FILE)
    (folder / "README.md").write_text(model_card(report, usage), encoding="utf-8")
    for name, content in usage.files.items():
        (folder / name).write_bytes(content)


def write_deploy(
    folder: Path,
    report: Report,
    result: DebiasResult,
    samples: Mapping[str, Samples],
    *,
    original: FrozenModel,
    new_head: bool,
) -> None:
    """Write what a service takes as it is, beside the model; parameters as in write_card."""
    raw = _raw(samples)
    usage = usage_of(result.model, raw, original=original, new_head=new_head, file=DEPLOYED)
    card = model_card(report, usage)
    write_deployed(folder, result.model, original, raw, usage, card)


def _raw(samples: Mapping[str, Samples]) -> Samples:
    """A set of inputs, where there is one."""
    parts = [samples[name] for name in ("test", "held-out", "train") if name in samples]
    return next((part for part in parts if not part.embedded), parts[0])


def _unit_of_scores(clf: Any) -> str:
    """Of an estimator fitted on standardised embeddings."""
    if getattr(clf, "statistic", None) != "contribution":
        return "standard deviations of each neuron"
    return "standard deviations of its contribution" if clf.standardize else "logits"
