"""Write a job's folder: all of it, verified, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import as_json
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.exceptions import DeployError, NtkitError
from ntkit.extraction import Samples
from ntkit.head import LinearHead
from ntkit.jobs.audit import audit_files
from ntkit.jobs.debias.result._deploy import DEPLOYED
from ntkit.jobs.debias.result._findings_result import QUESTIONS, FindingsResult
from ntkit.jobs.debias.result._result import MODEL_FILE, REPORT_FILE, DebiasResult
from ntkit.jobs.report import arguments, name_of, quoted
from ntkit.model import FrozenModel
from ntkit.pages import Report, report_html
from ntkit.store import facts_of
from ntkit.verification import Verification, save_verified

HEADS_FILE, ORIGINAL = "heads.npz", "original head"


def write_heads(
    folder: Path, heads: Mapping[str, LinearHead], model: FrozenModel, *, new_head: bool
) -> None:
    """Write the heads of candidates and the original one, and which model they are for."""
    own = None if new_head or model.head is None else model.head.classes
    if own is not None and model.head is not None:
        heads = {ORIGINAL: model.head, **heads}
    about = {
        "source": "" if model.path is None else os.path.abspath(model.path),
        "source_sha256": model.sha256(),
        "located_by": dict(model.located_by),
        "new_head": new_head,
        "metadata": {k: v for k, v in model.metadata.items() if k.startswith("ntkit.")},
    }
    arrays: dict[str, Any] = {"names": np.asarray([*heads]), "about": np.asarray(json.dumps(about))}
    if own is not None:
        arrays["model_classes"] = own
    for i, head in enumerate(heads.values()):
        arrays |= {
            f"coef_{i}": head.coef.astype(np.float32),
            f"intercept_{i}": head.intercept.astype(np.float32),
            f"classes_{i}": head.classes,
        }
    np.savez(folder / HEADS_FILE, **arrays)


def provenance(
    name: str, clf: Any, suppressed: Array, model: FrozenModel, train: Samples, t: float
) -> dict[str, str]:
    steps = (train.origin or {}).get("preprocessing", train.preprocessing)
    made = facts_of(
        {"model": model.sha256(), "tensor": model.embedding.name, "preprocessing": steps}
    )
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
        "share_of_new_head": f"{t:g}",
        **{key.removeprefix("ntkit."): text for key, text in made.items()},
    }


def described(sets: Mapping[str, Samples]) -> dict[str, str]:
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


def parameters(clf: Any) -> str:
    """Parameters that are not the estimator's defaults."""
    defaults = signature(type(clf)).parameters
    own = {
        name: value
        for name, value in clf.get_params(deep=False).items()
        if name != "random_state"
        and isinstance(value, bool | int | float | str)
        and value != defaults[name].default
    }
    return ", ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in own.items())


def chosen_by(method: Any, *, by_score: bool) -> str:
    """Who decided which head it is."""
    if by_score:
        return f"the label-free score {method} on halves of the validation set"
    return "your answers" if method is None else "you"


def answers_sha256(answers: Sequence[Mapping[str, Any]]) -> str:
    """What tells the answers that a model was made from: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(answers), sort_keys=True).encode()).hexdigest()


ANSWERS_FILE, RUN_FILE = "answers.json", "run.json"


def write_job(
    draft: DebiasResult,
    original: FrozenModel,
    X: Any,
    device: str,
    opened: Callable[[], AbstractContextManager[Path]],
    report: Callable[[DebiasResult], Report],
    card: Callable[[Path, Report, DebiasResult], None],
    heads: Callable[[Path], None],
) -> DebiasResult:
    """Write and verify in a temporary folder; it takes its name when everything is in it."""

    def save(model: FrozenModel, path: Path) -> Verification:
        return save_verified(model, path, original=original, X=X, head=draft.head, device=device)

    with opened() as folder:
        result = draft
        if draft.model is not original:
            result = replace(draft, verification=save(draft.model, folder / MODEL_FILE))
        elif draft.kept_original:
            copy_original(original, folder)
        if draft.path is not None:
            shown = report(result)
            if result.verification is not None:
                card(folder, shown, result)
            heads(folder)
            (folder / REPORT_FILE).write_text(report_html(shown), encoding="utf-8")
            (folder / "table.md").write_text(f"{result.summary(markdown=True)}\n", encoding="utf-8")
            write_record(folder, result.as_dict())
    return result


def deploy_job(
    result: DebiasResult,
    original: FrozenModel,
    X: Any,
    device: str,
    opened: Callable[[], AbstractContextManager[Path]],
    report: Callable[[DebiasResult], Report],
    beside: Callable[[Path, Report, DebiasResult], None],
) -> None:
    """Write the folder for a service, when that of the result is complete."""
    try:
        with opened() as place:
            model, head = result.model, result.head
            save_verified(model, place / DEPLOYED, original=original, X=X, head=head, device=device)
            beside(place, report(result), result)
    except (NtkitError, OSError) as error:
        where = "" if result.path is None else f" {result.path} is complete."
        raise DeployError(f"Nothing was deployed: {error}{where}", result) from error


def write_findings(folder: Path, result: FindingsResult, *, page: bool = True) -> None:
    """Write what was found: the page to answer on, its figures, and how the run is gone on with."""
    if page:
        go_on = f"ntkit debias --from {quoted(result.path)} --answers answers.json"
        if not result.resumable:
            go_on = f"debias(…, out={str(result.path)!r}, resume={str(result.path)!r}, answers=…)"
        files = audit_files(result.audit, title=name_of(result.model), go_on=go_on, most=QUESTIONS)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    if result.kept_original:
        copy_original(result.model, folder)
    (folder / "table.md").write_text(result.summary() + "\n", encoding="utf-8")
    write_record(folder, result.as_dict())


def copy_original(model: FrozenModel, folder: Path) -> None:
    """Put a model under the name of the new one, its file byte by byte where it is one file."""
    if model.path is not None and len(model.files) == 1:
        shutil.copyfile(model.path, folder / MODEL_FILE)
    else:
        model.save(folder / MODEL_FILE)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``result.json``, and what the run can be gone on from."""
    if (started := arguments()) is not None:
        (folder / RUN_FILE).write_text(json.dumps(started, indent=2), encoding="utf-8")
    (folder / "result.json").write_text(as_json(record), encoding="utf-8")
