"""Report of two models on the same samples, and facts about the run for its page."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from sklearn.model_selection import StratifiedKFold

from ntkit._doc import documented
from ntkit._labels import differing_classes
from ntkit._output import check_file, new_file
from ntkit._text import listed
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.estimators import retrain_head
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.head import LinearHead
from ntkit.metrics import class_order
from ntkit.model import FrozenModel
from ntkit.pages import Report, Shown, report_html
from ntkit.samples import (
    check_alike,
    check_made_with,
    input_notes,
    input_paths,
    origin_of_head,
    read,
)
from ntkit.spuriousness import spuriousness_scores
from ntkit.store import fingerprint
from ntkit.verification import is_new_head, load_pair

_COMMAND: ContextVar[str | None] = ContextVar("command", default=None)
_ARGUMENTS: ContextVar[Mapping[str, Any] | None] = ContextVar("arguments", default=None)


@contextmanager
def started_by(command: str | None, arguments: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Let what is written inside say which command line wrote it, and with what to go on."""
    tokens = _COMMAND.set(command), _ARGUMENTS.set(arguments)
    try:
        yield
    finally:
        _COMMAND.reset(tokens[0])
        _ARGUMENTS.reset(tokens[1])


def arguments() -> Mapping[str, Any] | None:
    """Arguments of the command that is at work, as JSON holds them."""
    return _ARGUMENTS.get()


def quoted(word: object) -> str:
    """A word of a command line, as this machine's shell takes it."""
    return subprocess.list2cmdline([str(word)]) if os.name == "nt" else shlex.quote(str(word))


def commands() -> list[str]:
    """The command line that is at work, if there is one."""
    command = _COMMAND.get()
    return [command] if command else []


_PACKAGES = ("numpy", "scikit-learn", "onnx", "onnx-ir")


def name_of(model: FrozenModel) -> str:
    """What a model is called on a page: its file."""
    return model.path.name if model.path is not None else "a model in memory"


def facts_of_job(
    original: FrozenModel,
    debiased: FrozenModel,
    samples: Mapping[str, Samples],
    device: str | None,
    digests: Mapping[str, Array] | None = None,
) -> dict[str, str]:
    """Models, samples, device and versions of a job, in words."""
    digests = digests or {}
    facts = {
        "original model": f"{name_of(original)}, sha256 {original.sha256()}",
        "model written": f"sha256 {debiased.sha256()}",
    }
    for name, part in samples.items():
        facts[f"{name} data"] = (
            f"{len(part)} samples, fingerprint {fingerprint(part, digests.get(name))}"
        )
    if notes := input_notes(samples.values()):
        kind, _, said = " ".join(notes).partition(": ")
        facts[f"{kind.split(',')[0].lower()} as inputs"] = said
    versions = [f"{name} {metadata.version(name)}" for name in _PACKAGES]
    versions.append(f"ONNX Runtime {onnxruntime.__version__}")
    return facts | {
        "embeddings computed on": device or "given as they are",
        "versions": f"ntkit {__version__}, Python {platform.python_version()}, "
        f"{', '.join(versions)}",
    }


_PAGE = 4 << 20  # bytes, about
_FIGURES = ("n_suppressed", "score", "average", "worst_class")
_OTHER = ("name", "worst_group", "spread", "note", "chosen")


def report_of_models(
    original: FrozenModel,
    debiased: FrozenModel,
    samples: Samples,
    *,
    embedder: OnnxEmbedder | None,
    record: Mapping[str, Any] | None = None,
) -> Report:
    """Compare two models on a labelled sample: the second one has another head."""
    after = _head(debiased, samples)
    before = None if is_new_head(original, debiased) else _head(original, samples)
    used = before or original.head
    for head in filter(None, [used]):
        if head.n_neurons != after.n_neurons:
            raise InputError(
                f"The models' heads read {head.n_neurons} and {after.n_neurons} neurons; give a "
                "model and the same model with another head."
            )
    Z = samples.X if embedder is None else embedder.transform(samples.X)
    notes = list[str]()
    if before is None:
        predicted = _erm_predictions(Z, samples.y)
        notes.append(_on_new_head(original))
    else:
        predicted = before.predict(Z)
        order = class_order(samples.y, predicted, before.classes)
        notes += [f"Of the original: {order.sentence()}"] if order is not None else []
    order = class_order(samples.y, after.predict(Z), after.classes)
    notes += [f"Of the debiased model: {order.sentence()}"] if order is not None else []
    scale = Z.std(axis=0, dtype=np.float64)
    predictions = predicted, after.predict(Z)
    scores = spuriousness_scores(
        Z, samples.y, predicted != samples.y, after.classes, standardize=True
    )
    suppressed = _silenced(used, after) & (scale > 0)
    record = record or {}
    shown = Shown(samples.y, *predictions, samples.groups, samples)
    return Report(
        title=name_of(original),
        sentences=[*notes, *filter(None, [record.get("verdict"), *record.get("notes", [])])],
        asked=_provenance(debiased),
        candidates=record.get("candidates", []),
        evaluated_on="samples given",
        candidates_on=str(record.get("evaluated_on", "test set")) + " of that job",
        shown=shown,
        Z=Z,
        neurons_on=shown,
        scores=scores,
        scores_of="Scores are for the samples given, in standard deviations of each neuron.",
        classes=after.classes,
        suppressed=suppressed,
        threshold=None,
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
    batch_size: int | str | None = None,
    force: bool = False,
    verbose: bool = False,
) -> Path:
    """Write a report on two models that differ in their head, on samples of your own.

    :func:`ntkit.debias` writes one by itself. This is for other samples, later, or for models that
    were made in another way. A ``result.json`` beside the second model adds the candidates that
    were compared.

    Parameters
    ----------
    original, debiased : FrozenModel or path-like
        The models.
    data : path-like, Samples, or (X, y) or (X, y, groups)
        Labelled samples, which trained neither; groups are for the figures only.
    out : path-like
        HTML file to write: self-contained, without any external request.
    {job.preprocessing, job.device, replace.force, verbose}

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If data and models do not fit together, the file exists or is read here, or it cannot be
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
    samples = read(data, first, preprocessing=preprocessing)
    record = [] if second.path is None else [second.path.with_name("result.json")]
    inputs = [*input_paths(first, second, samples), *record]
    check_file(path, inputs=inputs, force=force, size=_PAGE)
    _check_origins(first, second, samples)
    embedder = None
    if not samples.embedded:
        embedder = OnnxEmbedder(first, device=device, batch_size=batch_size, verbose=verbose)
    report = report_of_models(first, second, samples, embedder=embedder, record=_record(second))
    page = report_html(report)
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _record(model: FrozenModel) -> dict[str, Any]:
    """The ``result.json`` beside a model, if it is whole and about this model."""
    if model.path is None:
        return {}
    try:
        found = json.loads(model.path.with_name("result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = (
        isinstance(found, dict)
        and Path(str(found.get("model"))).name == model.path.name
        and isinstance(found.get("notes"), list)
        and isinstance(found.get("candidates"), list)
        and all(map(_is_candidate, found["candidates"]))
        and len({row["worst_group"] is None for row in found["candidates"]}) < 2
    )
    return found if whole else {}


def _is_candidate(row: Any) -> bool:
    """Whether it is what a candidate becomes in ``result.json``."""
    if not isinstance(row, dict) or not row.keys() >= {*_FIGURES, *_OTHER}:
        return False
    figures = [row[name] for name in _FIGURES]
    return (
        isinstance(row["name"], str)
        and isinstance(row["chosen"], bool)
        and isinstance(row["spread"], dict)
        and all(isinstance(value, int | float) for value in figures)
        and isinstance(row["worst_group"], int | float | None)
    )


def _head(model: FrozenModel, samples: Samples) -> LinearHead:
    if model.head is None:
        raise InputError(f"{name_of(model)} has no linear head; a report compares two heads.")
    try:
        return samples.fit_to(model, every_class=True).model.head or model.head
    except InputError as error:
        raise InputError(
            differing_classes(
                np.unique(samples.y),
                model.head.classes,
                what="The sample",
                where=name_of(model),
                fix="give the two models of one job, and samples of all their classes.",
            )
            or str(error)
        ) from error


def _silenced(before: LinearHead | None, after: LinearHead) -> Array:
    """Neurons that the first head uses, if there is one, and the second does not."""
    unused = (after.coef == 0).all(axis=0)
    return np.asarray(unused if before is None else (before.coef != 0).any(axis=0) & unused)


def _erm_predictions(Z: Array, y: Array, most_folds: int = 5) -> Array:
    """Predictions of a plain head on the samples themselves, from folds it has not seen."""
    n_folds = min(most_folds, int(np.unique(y, return_counts=True)[1].min()))
    if n_folds < 2:
        raise InputError(
            "The original model has no head for these classes, and a plain one cannot be fitted "
            "in its place: every class needs two samples or more."
        )
    scale = Z.std(axis=0, dtype=np.float64)
    Z = (Z - Z.mean(axis=0, dtype=np.float64)) / np.where(scale > 0, scale, 1.0)
    predicted = np.empty_like(y)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    for fit, rest in folds.split(Z, y):
        head = retrain_head(Z[fit], y[fit], class_weight=None, C=1 / len(fit))
        predicted[rest] = head.predict(Z[rest])
    return predicted


def _on_new_head(original: FrozenModel) -> str:
    own = "has no head"
    if original.head is not None:
        classes = listed(map(repr, original.head.classes.tolist()), 5)
        own = f"is for other classes ({classes})"
    return (
        f"The original model {own}. What stands as before is a plain head (logistic regression on "
        "the same embeddings), fitted on the samples given and rated on folds it has not seen."
    )


def _check_origins(first: FrozenModel, second: FrozenModel, samples: Samples) -> None:
    """Refuse a second model, or samples, that do not belong to the first."""
    called, made = samples.called("The set of samples"), origin_of_head(second.metadata)
    samples.check_made_with(first, called)
    check_made_with(name_of(second), {"model": made["model"]}, first)
    prepared = {"preprocessing": (samples.origin or {}).get("preprocessing", samples.preprocessing)}
    check_alike((name_of(second), called), {"preprocessing": made["preprocessing"]}, prepared)


def _provenance(model: FrozenModel) -> dict[str, str]:
    """What ntkit wrote into a model about how its head was made."""
    named = {"ntkit.method": "method", "ntkit.parameters": "parameters", "ntkit.version": "ntkit"}
    found = {label: model.metadata[k] for k, label in named.items() if k in model.metadata}
    if "parameters" in found:
        found["parameters"] = _as_assignments(found["parameters"])
    return found or {"the second model": "was not written by ntkit"}


def _as_assignments(parameters: str) -> str:
    """JSON as in a call; anything else as it is."""
    try:
        values = json.loads(parameters)
    except ValueError:
        return parameters
    if not isinstance(values, dict):
        return parameters
    return ", ".join(f"{name}={value}" for name, value in values.items())
