"""The page and the model card of a job that was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.debiasing._comparison import Comparison
from ntkit.debiasing._result import MODEL_FILE, DebiasResult
from ntkit.extraction import Samples
from ntkit.frozen_model import FrozenModel
from ntkit.head import LinearHead
from ntkit.report import (
    Report,
    Shown,
    commands,
    facts_of_job,
    look_of,
    model_card,
    name_of,
    usage_of,
)

__all__ = ["report_of_job", "write_card"]

Array = NDArray[Any]


def report_of_job(
    result: DebiasResult,
    comparison: Comparison,
    samples: Mapping[str, Samples],
    *,
    original: FrozenModel,
    paper: Any,
    head: LinearHead,
    after: Array,
    asked: Mapping[str, str],
    device: str | None,
    digests: Mapping[str, Array] | None = None,
) -> Report:
    """Put together what a reader of :func:`ntkit.debias`'s result should see.

    Parameters
    ----------
    result : DebiasResult
        What it did.
    comparison : Comparison
        The data, standardised, and the original head.
    samples : mapping of str to Samples
        "train", "held-out" and perhaps "test".
    original : FrozenModel
        The model given.
    paper : NeuronTuneClassifier
        The candidate whose scores are shown where the chosen one has none.
    head : LinearHead
        The head that is shown beside the original one, on standardised embeddings.
    after : ndarray
        What it predicts on the samples of the figures (halves of the held-out set that it has not
        seen, where there is no test set).
    asked : mapping of str to str
        What was asked for.
    device : str, optional
        Where embeddings were computed.
    digests : mapping of str to ndarray, optional
        Of the contents of ``samples``, where they are known.

    Returns
    -------
    Report
    """
    clf, held, original_head = result.estimator, comparison.heldout, comparison.original
    shown = comparison.test if comparison.test is not None else held
    seen = samples["test" if comparison.test is not None else "held-out"]
    scored = clf if hasattr(clf, "spuriousness_scores_") else paper
    silenced = np.zeros(held.Z.shape[1], dtype=bool)
    silenced[result.suppressed] = True
    return Report(
        title=name_of(original),
        headline=result.headline(),
        prices=[asdict(price) for price in result.prices],
        price_taken=asdict(result.price),
        sentences=[result.verdict(), *result.notes],
        asked=asked,
        candidates=[asdict(c) for c in result.candidates],
        evaluated_on=result.evaluated_on,
        candidates_on=result.evaluated_on,
        shown=Shown(
            shown.y, original_head.predict(shown.Z), after, shown.groups, look_of(seen), seen.ids
        ),
        Z=held.Z,
        neurons_on=Shown(
            held.y,
            original_head.predict(held.Z),
            head.predict(held.Z),
            held.groups,
            look_of(samples["held-out"]),
            samples["held-out"].ids,
        ),
        scores=scored.spuriousness_scores_,
        scores_of=f"Scores are for the held-out set, in {_unit_of_scores(scored)}.",
        classes=scored.classes_,
        silenced=silenced,
        threshold=scored.threshold if silenced.any() else None,
        facts=facts_of_job(original, result.model, samples, device, digests),
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
    """Write the model card, and what its program needs beside it, into a job's folder.

    Parameters
    ----------
    folder : pathlib.Path
        Where the model is.
    report : Report
        What the job did.
    result : DebiasResult
        The same, with the model.
    samples : mapping of str to Samples
        "train", "held-out" and perhaps "test".
    original : FrozenModel
        The model given.
    new_head : bool
        Whether the head is for other classes than the original's.
    """
    parts = [samples[name] for name in ("test", "held-out", "train") if name in samples]
    raw = next((part for part in parts if not part.embedded), parts[0])
    usage = usage_of(result.model, raw, original=original, new_head=new_head, file=MODEL_FILE)
    (folder / "README.md").write_text(model_card(report, usage), encoding="utf-8")
    for name, content in usage.files.items():
        (folder / name).write_bytes(content)


def _unit_of_scores(clf: Any) -> str:
    """Of an estimator fitted on standardised embeddings."""
    if getattr(clf, "statistic", None) != "contribution":
        return "standard deviations of each neuron"
    return "standard deviations of its contribution" if clf.standardize else "logits"
