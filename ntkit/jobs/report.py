"""Write a report on two models on the same samples, and collect facts about a run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._labels import differing_classes, none_if_unknown
from ntkit._output import check_file, new_file
from ntkit._text import listed
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.extraction.session import import_onnxruntime
from ntkit.head import LinearHead
from ntkit.jobs.command_line import commands
from ntkit.metrics.class_order import class_order
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import name_of
from ntkit.model.model_pair import is_new_head, load_pair
from ntkit.pages.report_page import Neurons, Report, Shown, report_html
from ntkit.samples.copies import without_copies
from ntkit.samples.read import read
from ntkit.samples.samples import input_notes, input_paths
from ntkit.samples.stored import check_alike, check_made_with, origin_of_head
from ntkit.spuriousness import spuriousness_scores
from ntkit.store import fingerprint
from ntkit.study import Rows, tuned

_PACKAGES = ("numpy", "scikit-learn", "onnx", "onnx-ir")


def facts_of_job(
    original: FrozenModel,
    debiased: FrozenModel,
    samples: Mapping[str, Samples],
    device: str | None,
    digests: Mapping[str, Array] | None = None,
) -> dict[str, str]:
    """Models, samples, device and versions of a run, in words."""
    facts = {
        "original model": f"{name_of(original)}, sha256 {original.sha256()}",
        "model written": f"sha256 {debiased.sha256()}",
    }
    for name, part in samples.items():
        identity = fingerprint(part, (digests or {}).get(name))
        facts[f"{name} data"] = f"{len(part)} samples, fingerprint {identity}"
    if notes := input_notes(samples.values()):
        kind, _, text = " ".join(notes).partition(": ")
        facts[f"{kind.split(',')[0].lower()} as inputs"] = text
    versions = [f"ntkit {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in _PACKAGES]
    versions += [f"ONNX Runtime {import_onnxruntime().__version__}"]
    return facts | {
        "embeddings computed on": device or "no device (you passed embeddings)",
        "versions": ", ".join(versions),
    }


PAGE = 4 << 20  # approximate size of a page in bytes


def report_of_models(
    original: FrozenModel,
    debiased: FrozenModel,
    samples: Samples,
    *,
    embedder: OnnxEmbedder | None,
    record: Mapping[str, Any] | None = None,
) -> Report:
    """Compare a model and the same model with another head on labelled samples."""
    after = _head(debiased, samples)
    before = None if is_new_head(original, debiased) else _head(original, samples)
    used = before or original.head
    if used is not None and used.n_neurons != after.n_neurons:
        raise InputError(
            f"The models' heads read {used.n_neurons} and {after.n_neurons} neurons. Pass a model "
            "and the same model with another head."
        )
    Z, y = samples.X if embedder is None else embedder.transform(samples.X), samples.y
    predictions = (
        _erm_predictions(Z, y) if before is None else before.predict(Z),
        after.predict(Z),
    )
    notes = list[str]()
    if before is None:
        lack = "has no head"
        if original.head is not None:
            labels = listed(map(repr, original.head.classes.tolist()), 5)
            lack = f"is for other classes ({labels})"
        notes.append(
            f"The original model {lack}. The results before the repair are those of an ERM head: "
            "logistic regression on the same embeddings, cross-fitted on these samples."
        )
    for whose, head, pred in zip(
        ("original", "debiased model"), (before, after), predictions, strict=True
    ):
        order = None if head is None else class_order(y, pred, head.classes)
        notes += [f"The {whose}: {order.sentence()}"] if order is not None else []
    scores = spuriousness_scores(Z, y, predictions[0] != y, after.classes, standardize=True)
    suppressed = (after.coef == 0).all(axis=0) & (Z.std(axis=0, dtype=np.float64) > 0)
    if used is not None:
        suppressed &= (used.coef != 0).any(axis=0)
    record = record or {}
    shown = Shown(y, *predictions, none_if_unknown(samples.groups), samples)
    return Report(
        title=name_of(original),
        label=original.label,
        sentences=[*notes, *filter(None, [record.get("verdict"), *record.get("notes", [])])],
        options=_provenance(debiased),
        candidates=record.get("candidates", []),
        evaluated_on="samples of this report",
        candidates_on=str(record.get("evaluated_on", "test set")) + " of the repair",
        shown=shown,
        neurons=Neurons(
            Z,
            shown,
            scores,
            "Scores are for these samples, in standard deviations of each neuron.",
            after.classes,
            suppressed,
        ),
        facts=facts_of_job(
            original, debiased, {"samples": samples}, embedder.device_ if embedder else None
        ),
        commands=commands(),
    )


@documented
def write_report(
    original: FrozenModel | str | os.PathLike[str],
    debiased: FrozenModel | str | os.PathLike[str],
    data: Any,
    out: str | os.PathLike[str],
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    force: bool = False,
    verbose: bool = False,
    embedder: OnnxEmbedder | None = None,
) -> Path:
    """Write an HTML report that compares a model and the same model with another head.

    :func:`ntkit.debias` writes a report as well. Use this function for other samples, or for models
    that you made in another way. If the second model's folder has a ``result.json``, the report
    shows the compared candidates.

    Parameters
    ----------
    original, debiased : FrozenModel or path-like
        The models.
    data : path-like, Samples, or (X, y) or (X, y, groups)
        Labelled samples that neither model was trained on. Groups are only for the results by
        group.
    out : path-like
        HTML file to write. The page needs no other files and no network.
    {job.preprocessing, job.device, replace.force, verbose}
    embedder : OnnxEmbedder, optional
        Embedder of the original model, to use instead of a new one.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If data and models do not fit together, or the file exists, is an input, or cannot be
        written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder, write_report
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> d = load_marked_digits()
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> Z = OnnxEmbedder(model, device="cpu").transform(d.X_train)
    >>> debiased = model.with_head(NeuronTuneClassifier(head=model.head).fit(Z, d.y_train).head_)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = (d.X_test, d.y_test, d.groups_test)
    ...     page = write_report(model, debiased, data, Path(folder) / "report.html", device="cpu")
    ...     page.read_text(encoding="utf-8").startswith("<!doctype html>")
    True
    """
    path = check_file(out, force=force)
    first, second = load_pair(original, debiased)
    given = read(data, first, preprocessing=preprocessing)
    samples = without_copies([given], [first], verbose=verbose)[0].samples
    of_copies = samples.notes[len(given.notes) :]
    record = [] if second.path is None else [second.path.with_name("result.json")]
    inputs = [*input_paths(first, second, samples), *record]
    check_file(path, inputs=inputs, force=force, size=PAGE)
    set_name, made = samples.called("The set of samples"), origin_of_head(second.metadata)
    samples.check_made_with(first, set_name)
    check_made_with(name_of(second), {"model": made["model"]}, first)
    prepared = {"preprocessing": (samples.origin or {}).get("preprocessing", samples.preprocessing)}
    check_alike((name_of(second), set_name), {"preprocessing": made["preprocessing"]}, prepared)
    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "verbose": verbose}
    embedder = None if samples.embedded else embedder or OnnxEmbedder(first, **options)
    report = report_of_models(first, second, samples, embedder=embedder, record=_record(second))
    page = report_html(replace(report, sentences=[*report.sentences, *of_copies]))
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def write_report_of_predictions(
    y: Array,
    predictions: Sequence[Array],
    samples: Samples,
    names: Sequence[str],
    notes: Sequence[str],
    out: Path,
    *,
    force: bool = False,
) -> Path:
    """Write an HTML report on predictions of two models, the old ones first; it has no neurons."""
    path = check_file(out, force=force, size=PAGE)
    before, after = predictions
    shown = Shown(y, before, after, none_if_unknown(samples.groups), samples)
    report = Report(
        title=" compared with ".join(reversed(names)),
        sentences=notes,
        options={},
        candidates=[],
        evaluated_on="samples of this report",
        candidates_on="",
        shown=shown,
        facts={"old predictions": names[0], "new predictions": names[1]},
        commands=commands(),
    )
    page = report_html(report)
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _record(model: FrozenModel) -> dict[str, Any]:
    """The ``result.json`` in a model's folder, if it is complete and about this model."""
    if model.path is None:
        return {}
    try:
        record = json.loads(model.path.with_name("result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_whole = (
        isinstance(record, dict)
        and Path(str(record.get("model"))).name == model.path.name
        and isinstance(record.get("notes"), list)
        and isinstance(record.get("candidates"), list)
        and all(
            isinstance(row, dict)
            and all(name in row and isinstance(row[name], of) for name, of in _OF_CANDIDATE.items())
            for row in record["candidates"]
        )
        and len({row["worst_group"] is None for row in record["candidates"]}) < 2
    )
    return record if is_whole else {}


_OF_CANDIDATE: dict[str, Any] = {
    **dict.fromkeys(("n_suppressed", "score", "average", "worst_class"), int | float),
    "worst_group": int | float | None,
    "name": str,
    "chosen": bool,
    "spread": dict,
    "note": object,
}


def _head(model: FrozenModel, samples: Samples) -> LinearHead:
    if model.head is None:
        raise InputError(
            f"{name_of(model)} has no linear head, and a report compares two heads. Pass a "
            "classifier."
        )
    try:
        return samples.fit_to(model, every_class=True).model.head or model.head
    except InputError as error:
        raise InputError(
            differing_classes(
                np.unique(samples.y),
                model.head.classes,
                what="The sample",
                where=name_of(model),
                fix="pass the two models of one repair, and samples of all their classes.",
            )
            or str(error)
        ) from error


def _erm_predictions(Z: Array, y: Array) -> Array:
    """Cross-fitted predictions of an ERM head on the samples."""
    rows = Rows.of(Z, y)
    predicted = tuned(rows, rows.weight, alphas=[1.0]).predicted if len(rows.classes) > 1 else None
    if predicted is None:
        raise InputError(
            "The original model has no head for these classes, and ntkit cannot fit one: every "
            "class needs at least two samples. Add samples."
        )
    return np.asarray(rows.classes[predicted])


def _provenance(model: FrozenModel) -> dict[str, str]:
    """Facts about a model's head from the model's metadata."""
    named = {"ntkit.method": "method", "ntkit.parameters": "parameters", "ntkit.version": "ntkit"}
    facts = {label: model.metadata[k] for k, label in named.items() if k in model.metadata}
    with suppress(KeyError, ValueError, AttributeError):  # shown unchanged if it is not JSON
        parameters = json.loads(facts["parameters"])
        facts["parameters"] = ", ".join(f"{k}={value}" for k, value in parameters.items())
    return facts or {"the second model": "was not written by ntkit"}
