"""Write what a run is gone on from, and what a look found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._text import as_json
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.extraction import Samples
from ntkit.jobs.audit import audit_files
from ntkit.jobs.debias.result._findings_result import QUESTIONS, FindingsResult
from ntkit.jobs.debias.result._result import MODEL_FILE
from ntkit.jobs.report import arguments, name_of, quoted
from ntkit.model import FrozenModel
from ntkit.samples import facts_of


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
