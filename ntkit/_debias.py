"""The main job as one function: embed, fit candidates, choose, write, verify, summarise."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ntkit._comparison import (
    CANDIDATES,
    DEFAULT_SCORE,
    OTHER_METHODS,
    Candidate,
    Comparison,
    LabelledEmbeddings,
    Setting,
    is_degenerate,
    n_suppressed,
)
from ntkit._reporting import as_samples, report_of_job, write_card
from ntkit._result import MODEL_FILE, REPORT_FILE, DebiasResult
from ntkit._version import __version__
from ntkit.estimators import BalancedClassifier
from ntkit.exceptions import InputError
from ntkit.export import check_head, random_inputs, save_verified
from ntkit.extraction import (
    ImagePreprocessing,
    OnnxEmbedder,
    Samples,
    TextPreprocessing,
)
from ntkit.extraction._store_samples import fingerprint
from ntkit.frozen_model import FrozenModel
from ntkit.inspection._report import Report, report_html

__all__ = ["debias"]

Array = NDArray[Any]

_VERIFY_ROWS = 256
_SAME_SAMPLES = (
    ("train", "held-out", "its errors say little about samples the model has not seen"),
    ("train", "test", "the figures flatter the model"),
    ("held-out", "test", "the figures flatter what was chosen on it"),
)


def debias(
    model: FrozenModel | str | os.PathLike[str],
    train: Any,
    heldout: Any,
    *,
    test: Any = None,
    out: str | os.PathLike[str] | None = None,
    method: str | None = None,
    select: str | None = None,
    estimator: Any = None,
    new_head: bool = False,
    C: float | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    n_random: int = 5,
    random_state: int = 0,
    force: bool = False,
    verbose: bool = False,
    command: str | None = None,
) -> DebiasResult:
    """Debias a frozen classifier.

    Candidates are fitted on the training set, with the held-out set to find neurons (outcomes of
    the original head on it) or to retrain on; one of them is written into the model and verified
    in ONNX Runtime. Which one is decided without group labels: by the recipe "auto", or by a
    label-free score on halves of the held-out set that a candidate has not seen (``select``).
    Group labels are used for the table only.

    Embeddings are standardised on the training set for fitting, and the scale is folded back
    into the head that is written. (``NeuronTuneClassifier`` on its own fits embeddings as they
    are, with C = 1: its head differs.)

    Parameters
    ----------
    model : FrozenModel or path-like
        The classifier.
    train, heldout, test : path-like, Samples, or (X, y) or (X, y, groups)
        Labelled samples: paths are read by :func:`ntkit.extraction.read_samples`. The held-out
        set must not have trained the model. The test set is for the table; without one, the
        held-out set serves, and the table says so.
    out : path-like, optional
        Folder to write: ``debiased.onnx``, ``report.html`` for people, ``README.md`` (a model
        card), ``table.md``, ``result.json``.
    method : str, optional
        Name of the candidate to write, as the table shows it ("neurontune" for the paper's
        method), or one of "afr", "jtt", "self", "evals", "leace".
    select : str, optional
        Name of the label-free score that chooses among the candidates, and that the table shows.
        By default the candidate "auto" is written
        (:class:`~ntkit.estimators.AutoDebiasClassifier`).
    estimator : estimator with ``head_``, optional
        A candidate of your own to write. Its ``head``, if it has one, is set to the original
        head; its ``C`` is for standardised embeddings.
    new_head : bool
        Give the model a new head for the labels at hand, where they are not its own classes.
        The original head is then an ERM head fitted on the training set.
    C : float, optional
        Inverse penalty on standardised embeddings, in scikit-learn's meaning. The default 1 / N
        is a ridge of weight 1 on the mean loss.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        For image folders and tables of texts; by default as a ``preprocessor_config.json`` or
        ``tokenizer.json`` beside the model says. Without such a file images get the model's input
        size, with pixels scaled to 0 … 1 (0 … 255 for an input of unsigned integers).
    device, batch_size
        As in :class:`~ntkit.OnnxEmbedder`.
    n_random : int
        Draws of the random mask of the same size.
    random_state : int
        Seed of folds and random masks.
    force : bool
        Replace an existing ``out``.
    verbose : bool
        Show progress bars.
    command : str, optional
        How this was started, for the report.

    Returns
    -------
    DebiasResult

    Raises
    ------
    InputError
        If data, labels and model do not fit together; the message says how to mend it.
    VerificationError
        If the head found is not what the model computes with, or the file written would not
        compute the new one.

    Examples
    --------
    >>> from ntkit import debias
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> d = load_marked_digits()
    >>> result = debias(
    ...     marked_digits_model_path(),
    ...     (d.X_train, d.y_train),
    ...     (d.X_heldout, d.y_heldout),
    ...     test=(d.X_test, d.y_test, d.groups_test),
    ...     device="cpu",
    ... )
    >>> result.chosen.worst_group > result.candidates[0].worst_group + 0.2
    True
    """
    asked = {"method": method, "select": select, "estimator": estimator}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]} both say which head to write; give one.")
    folder = _free_folder(out, force)
    model = model if isinstance(model, FrozenModel) else FrozenModel.load(model)
    preprocessing = (
        preprocessing or ImagePreprocessing.for_model(model) or TextPreprocessing.for_model(model)
    )
    sets = {
        name: as_samples(data, preprocessing)
        for name, data in (("train", train), ("held-out", heldout), ("test", test))
        if data is not None
    }
    sets = {name: samples.with_columns_as_in(sets["train"]) for name, samples in sets.items()}
    model, notes = _with_classes(model, sets, new_head)
    inputs = _some_inputs(model, sets)
    if not new_head:
        check_head(model, inputs, device=device)
    embedder = OnnxEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)
    Z = {name: _embedded(samples, embedder) for name, samples in sets.items()}
    notes += _reading_notes(sets, embedder)

    comparison = Comparison(
        Z["train"],
        Z["held-out"],
        Z.get("test"),
        head=None if new_head else model.head,
        C=C,
        select=select or DEFAULT_SCORE,
        seed=random_state,
    )
    settings = _settings(comparison, method, estimator)
    method = "yours" if estimator is not None else method
    fitted, rows = _fit_all(comparison, settings, verbose)
    chosen = method or (_best(rows, fitted) if select else "auto")
    rows[chosen] = replace(rows[chosen], chosen=True)
    clf, paper = fitted[chosen], fitted["neurontune"]
    random = comparison.random_mask_row(clf if _is_masked(clf) else paper, n_random)
    original = comparison.original_row("ERM head" if new_head else "original head")

    head = comparison.on_raw_embeddings(clf.head_)
    suppressed = np.flatnonzero(clf.suppressed_) if n_suppressed(clf) else np.zeros(0, dtype=int)
    made = _provenance(chosen, clf, suppressed, model) | {"new_head": str(new_head).lower()}
    debiased = model.with_head(head, provenance=made)
    notes.append(f"auto: {fitted['auto'].reason_}")
    if new_head and model.head is not None:
        notes.append(
            f"The head is new: {len(model.head.classes)} classes before, {len(head.classes)} now."
        )
    if test is None:
        notes.append(
            "No test set was given: the figures are for the held-out set, from heads that saw "
            "the other half of it."
        )
    first = [name for name in settings if not name.startswith(("neurontune", "auto", "yours"))]
    draft = DebiasResult(
        model=debiased,
        head=head,
        estimator=clf,
        candidates=(
            original,
            *(rows[name] for name in first),
            random,
            *(row for name, row in rows.items() if name not in first),
        ),
        suppressed=suppressed,
        n_live=int(paper.live_.sum()),
        verification=None,
        evaluated_on="test set" if test is not None else "held-out set",
        select=comparison.select,
        path=folder,
        notes=tuple(notes),
    )
    asked = {
        **_described(sets),
        "head written": f"{chosen}{'' if given else ' (the default)'}",
        "its parameters": _parameters(clf) or "the defaults",
        "chosen by": _chosen_by(method, select),
        "random_state": str(random_state),
    }

    def report(result: DebiasResult) -> Report:
        unseen = comparison.heldout_predictions(settings[chosen]) if test is None else None
        return report_of_job(
            result,
            comparison,
            sets,
            original=model,
            paper=paper,
            heldout_pred=unseen,
            asked=asked,
            device=embedder.device_ if not all(s.embedded for s in sets.values()) else None,
            command=command,
        )

    card = partial(write_card, samples=sets, original=model, new_head=new_head)
    return _written(draft, model, inputs, device, force, report, card)


# -- the steps --------------------------------------------------------------------------------


def _free_folder(path: str | os.PathLike[str] | None, force: bool) -> Path | None:
    if path is None:
        return None
    out = Path(path)
    if out.exists() and not force:
        raise InputError(f"{out} exists; choose another name or pass --force (force=True).")
    if not out.absolute().parent.is_dir():
        raise InputError(f"The folder {out.absolute().parent} does not exist; make it first.")
    return out


def _with_classes(
    model: FrozenModel, sets: Mapping[str, Samples], new_head: bool
) -> tuple[FrozenModel, list[str]]:
    """Match the labels with the head's classes; name unnamed classes after the labels."""
    labels = np.unique(sets["train"].y)
    for name, samples in sets.items():
        other = np.unique(samples.y)
        if not np.array_equal(other, labels):
            odd = np.setxor1d(other, labels)[0]
            raise InputError(
                f"The {name} set and the training set do not hold the same classes: {odd} is in "
                "one only. Every class needs samples in each set."
            )
    if new_head:
        return model, []
    notes = []
    if model.head is not None and model.scores_each_class_alone:
        notes.append(
            "The model scores each class on its own (Sigmoid); the new head is trained to tell "
            "one class from the others: the largest score counts, not its value."
        )
    matched = model.matched_to(labels)
    return matched, [*notes, *filter(None, [matched.matched_by])]


def _embedded(samples: Samples, embedder: OnnxEmbedder) -> LabelledEmbeddings:
    Z = samples.X if samples.embedded else embedder.transform(samples.X)
    if len(Z) != len(samples.y):
        raise InputError(f"There are {len(Z)} samples, but {len(samples.y)} labels.")
    return LabelledEmbeddings(Z, samples.y, samples.groups)


def _reading_notes(sets: Mapping[str, Samples], embedder: OnnxEmbedder) -> list[str]:
    notes = [
        f"{name}: left out {len(s.skipped)} image(s) that cannot be decoded: "
        f"{', '.join(str(p) for p in s.skipped[:5])}."
        for name, s in sets.items()
        if s.skipped
    ]
    prints = {name: fingerprint(replace(samples, groups=None)) for name, samples in sets.items()}
    notes += [
        f"The {second} set and the {first} set are the same samples: {meaning}."
        for first, second, meaning in _SAME_SAMPLES
        if second in prints and prints[first] == prints[second]
    ]
    if not all(samples.embedded for samples in sets.values()):
        notes.append(f"Embeddings were computed on: {embedder.device_}.")
    return notes


def _fit_all(
    comparison: Comparison, settings: Mapping[str, Setting], verbose: bool
) -> tuple[dict[str, Any], dict[str, Candidate]]:
    """Every candidate fitted, and its row of the table."""
    fitted, rows = {}, {}
    for name in tqdm(
        settings, desc="candidates", delay=1, disable=None if verbose else True, leave=False
    ):
        fitted[name], note = comparison.fit(settings[name])
        rows[name] = comparison.row(name, settings[name], fitted[name], note)
    return fitted, rows


def _settings(comparison: Comparison, method: str | None, estimator: Any) -> dict[str, Setting]:
    """The candidates of the table, and the one asked for if it is none of them."""
    settings = dict(CANDIDATES)
    tuned = BalancedClassifier(C=comparison.tuned_C())
    settings["class-balanced-tuned-C"] = Setting(tuned, as_is=True)
    if estimator is not None:
        settings["yours"] = Setting(estimator, as_is=True)
    elif method in OTHER_METHODS:
        settings[method] = Setting(OTHER_METHODS[method])
    elif method is not None and method not in settings:
        known = ", ".join([*settings, *OTHER_METHODS])
        raise InputError(f"There is no candidate {method!r}; choose from {known}.")
    return settings


def _is_masked(clf: Any) -> bool:
    return n_suppressed(clf) > 0 and hasattr(clf, "tuning_weight_")


def _best(rows: Mapping[str, Candidate], fitted: Mapping[str, Any]) -> str:
    """Best label-free score among candidates whose rule singled out some neurons."""
    sound = [name for name in rows if not is_degenerate(fitted[name])]
    return max(sound, key=lambda name: rows[name].score)


def _provenance(name: str, clf: Any, suppressed: Array, model: FrozenModel) -> dict[str, str]:
    plain = {
        k: v
        for k, v in clf.get_params().items()
        if v is not None and isinstance(v, bool | int | float | str)
    }
    return {
        "version": __version__,
        "method": name,
        "parameters": json.dumps(plain, sort_keys=True),
        "suppressed_neurons": json.dumps(suppressed.tolist()),
        "source_sha256": model.sha256(),
    }


def _described(sets: Mapping[str, Samples]) -> dict[str, str]:
    """Samples by class and, where known, the number of groups, for each set."""
    found = {}
    for name, samples in sets.items():
        labels, counts = np.unique(samples.y, return_counts=True)
        shown = [f"{label}: {n}" for label, n in zip(labels[:8], counts[:8], strict=True)]
        more = [f"{len(labels) - 8} more classes"] if len(labels) > 8 else []
        groups = "" if samples.groups is None else f"; {_n_groups(samples.groups)} groups"
        found[f"{name} set"] = f"{len(samples)} samples ({', '.join([*shown, *more])}{groups})"
    return found


def _n_groups(groups: Array) -> int:
    return groups.shape[1] if groups.ndim == 2 else len(np.unique(groups))


def _parameters(clf: Any) -> str:
    """Parameters that are not the estimator's defaults."""
    defaults = type(clf)().get_params(deep=False)
    own = {
        name: value
        for name, value in clf.get_params(deep=False).items()
        if name != "random_state"
        and isinstance(value, bool | int | float | str)
        and value != defaults[name]
    }
    return ", ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in own.items())


def _chosen_by(method: str | None, select: str | None) -> str:
    if select is not None:
        return f"the label-free score {select} on halves of the held-out set"
    if method is not None:
        return "you"
    return "the recipe auto, which looks at errors without group labels"


def _some_inputs(model: FrozenModel, sets: Mapping[str, Samples]) -> Any:
    """Inputs to verify on: real ones, where a set holds inputs rather than embeddings."""
    for samples in sets.values():
        if not samples.embedded:
            X = samples.X
            if isinstance(X, Mapping):
                return {name: array[:_VERIFY_ROWS] for name, array in X.items()}
            return X[:_VERIFY_ROWS]
    return random_inputs(model)


def _written(
    draft: DebiasResult,
    original: FrozenModel,
    X: Any,
    device: str,
    force: bool,
    report: Callable[[DebiasResult], Report],
    card: Callable[[Path, Report, DebiasResult], None],
) -> DebiasResult:
    """Write and verify in a temporary folder; it takes its name when everything is in it."""
    parent = draft.path.absolute().parent if draft.path else None
    with tempfile.TemporaryDirectory(prefix=".ntkit-", dir=parent) as temporary:
        folder = Path(temporary) / "out"
        folder.mkdir()
        check = save_verified(
            draft.model, folder / MODEL_FILE, original=original, X=X, head=draft.head, device=device
        )
        result = replace(draft, verification=check)
        if draft.path is not None:
            shown = report(result)
            card(folder, shown, result)
            (folder / REPORT_FILE).write_text(report_html(shown), encoding="utf-8")
            (folder / "table.md").write_text(result.summary() + "\n", encoding="utf-8")
            (folder / "result.json").write_text(json.dumps(result.as_dict(), indent=2))
            if force and draft.path.exists():
                os.replace(draft.path, Path(temporary) / "replaced")
            os.replace(folder, draft.path)
    return result
