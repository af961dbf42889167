"""A job that was done, and the files that are written of it: all of them, verified, or nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit.exceptions import DeployError, NtkitError
from ntkit.extraction import Samples
from ntkit.jobs.debias._choice import Choice
from ntkit.jobs.debias._inputs import Prepared
from ntkit.jobs.debias.result._deploy import DEPLOYED, write_deployed
from ntkit.jobs.debias.result._result import MODEL_FILE, REPORT_FILE, DebiasResult
from ntkit.jobs.debias.result._write import copy_original, write_record
from ntkit.jobs.report import commands, facts_of_job, name_of
from ntkit.model import FrozenModel
from ntkit.pages import Report, Shown, Usage, model_card, report_html, usage_of
from ntkit.verification import Verification, save_verified

HEADS_FILE, ORIGINAL = "heads.npz", "original head"


@dataclass(frozen=True)
class Job:
    """What was asked for, what it started from, and which head was chosen."""

    given: Prepared
    choice: Choice
    asked: Mapping[str, str]
    new_head: bool
    device: str

    def write(self, draft: DebiasResult, folder: AbstractContextManager[Path]) -> DebiasResult:
        """Write and verify in a folder that takes its name when everything is in it."""
        with folder as place:
            result = draft
            if draft.model is not self.given.model:
                result = replace(draft, verification=self._saved(draft, place / MODEL_FILE))
            elif draft.kept_original:
                copy_original(self.given.model, place)
            if draft.path is not None:
                report = self._report(result)
                if result.verification is not None:
                    usage = self._usage(result, MODEL_FILE)
                    (place / "README.md").write_text(model_card(report, usage), encoding="utf-8")
                    for name, content in usage.files.items():
                        (place / name).write_bytes(content)
                self._write_heads(place / HEADS_FILE)
                (place / REPORT_FILE).write_text(report_html(report), encoding="utf-8")
                table = f"{result.summary(markdown=True)}\n"
                (place / "table.md").write_text(table, encoding="utf-8")
                write_record(place, result.as_dict())
        return result

    def deploy(self, result: DebiasResult, folder: AbstractContextManager[Path]) -> None:
        """Write the folder for a service, when that of the result is complete."""
        # DeployError: it cannot be written, or its program does not answer as ntkit does.
        try:
            with folder as place:
                self._saved(result, place / DEPLOYED)
                usage = self._usage(result, DEPLOYED)
                card = model_card(self._report(result), usage)
                write_deployed(place, result.model, self.given.model, self._raw, usage, card)
        except (NtkitError, OSError) as error:
            where = "" if result.path is None else f" {result.path} is complete."
            raise DeployError(f"Nothing was deployed: {error}{where}", result) from error

    def _saved(self, result: DebiasResult, path: Path) -> Verification:
        given = self.given
        return save_verified(
            result.model,
            path,
            original=given.embedder,
            X=given.inputs,
            head=result.head,
            device=self.device,
        )

    @property
    def _raw(self) -> Samples:
        """A set of inputs, where there is one."""
        sets = self.given.sets
        parts = [sets[name] for name in ("test", "held-out", "train") if name in sets]
        return next((part for part in parts if not part.embedded), parts[0])

    def _usage(self, result: DebiasResult, file: str) -> Usage:
        original, new_head = self.given.model, self.new_head
        return usage_of(result.model, self._raw, original=original, new_head=new_head, file=file)

    def _report(self, result: DebiasResult) -> Report:
        given, choice = self.given, self.choice
        held, original = choice.comparison.validation, choice.comparison.original
        rated, new = choice.rated, choice.decision.head
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
            asked=self.asked,
            candidates=[asdict(c) for c in result.candidates],
            evaluated_on=result.evaluated_on,
            candidates_on=result.evaluated_on,
            shown=Shown(
                rated.y,
                original.predict(rated.Z),
                choice.after,
                rated.groups,
                given.sets["held-out" if choice.comparison.test is None else "test"],
            ),
            Z=held.Z,
            neurons_on=Shown(
                held.y,
                original.predict(held.Z),
                new.predict(held.Z),
                held.groups,
                given.sets["held-out"],
            ),
            scores=scored.spuriousness_scores_,
            scores_of=f"Scores are for the held-out set, in {_unit_of_scores(scored)}.",
            classes=scored.classes_,
            suppressed=suppressed,
            threshold=scored.threshold if suppressed.any() else None,
            facts=facts_of_job(given.model, result.model, given.sets, given.device, given.digests),
            commands=commands(),
        )

    def _write_heads(self, path: Path) -> None:
        """Heads of the candidates and the original one, and which model they are for."""
        model: FrozenModel = self.given.model
        heads = self.choice.heads()
        arrays: dict[str, Any] = {}
        if model.head is not None and not self.new_head:
            heads = {ORIGINAL: model.head, **heads}
            arrays["model_classes"] = model.head.classes
        about = {
            "source": "" if model.path is None else os.path.abspath(model.path),
            "source_sha256": model.sha256(),
            "located_by": dict(model.located_by),
            "new_head": self.new_head,
            "metadata": {k: v for k, v in model.metadata.items() if k.startswith("ntkit.")},
        }
        arrays |= {"names": np.asarray([*heads]), "about": np.asarray(json.dumps(about))}
        for i, head in enumerate(heads.values()):
            arrays |= {
                f"coef_{i}": head.coef.astype(np.float32),
                f"intercept_{i}": head.intercept.astype(np.float32),
                f"classes_{i}": head.classes,
            }
        np.savez(path, **arrays)


def _unit_of_scores(clf: Any) -> str:
    """Of an estimator fitted on standardised embeddings."""
    if getattr(clf, "statistic", None) != "contribution":
        return "standard deviations of each neuron"
    return "standard deviations of its contribution" if clf.standardize else "logits"
