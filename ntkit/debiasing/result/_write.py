"""Write a job's folder: all of it, verified, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ntkit._output import new_folder
from ntkit.debiasing.result._deploy import DEPLOYED
from ntkit.debiasing.result._result import MODEL_FILE, REPORT_FILE, DebiasResult
from ntkit.frozen_model import FrozenModel
from ntkit.report import Report, report_html
from ntkit.verification import Verification, save_verified

__all__ = ["write_job"]


def write_job(
    draft: DebiasResult,
    original: FrozenModel,
    X: Any,
    device: str,
    force: bool,
    report: Callable[[DebiasResult], Report],
    card: Callable[[Path, Report, DebiasResult], None],
    heads: Callable[[Path], None],
    deploy: Path | None = None,
    deployed: Callable[[Path, Report, DebiasResult], None] | None = None,
) -> DebiasResult:
    """Write and verify in a temporary folder; it takes its name when everything is in it.

    Parameters
    ----------
    draft : DebiasResult
        What the job did, before it was verified.
    original : FrozenModel
        The model given; where it stays, no model is written.
    X : array-like
        Inputs to verify on.
    device : str
        Where to verify.
    force : bool
        Replace what ntkit wrote there.
    report : callable
        Makes the report of a result.
    card : callable
        Writes the model card into a folder.
    heads : callable
        Writes the heads of all candidates into a folder.
    deploy : pathlib.Path, optional
        Another folder, for a service; only where a head was written.
    deployed : callable, optional
        Writes into it what belongs beside the model.
    """

    def save(model: FrozenModel, path: Path) -> Verification:
        return save_verified(model, path, original=original, X=X, head=draft.head, device=device)

    with new_folder(draft.path, force=force) as folder:
        result = draft
        if draft.model is not original:
            result = replace(draft, verification=save(draft.model, folder / MODEL_FILE))
        if draft.path is not None:
            shown = report(result)
            if result.verification is not None:
                card(folder, shown, result)
            heads(folder)
            (folder / REPORT_FILE).write_text(report_html(shown), encoding="utf-8")
            (folder / "table.md").write_text(result.summary() + "\n", encoding="utf-8")
            (folder / "result.json").write_text(
                json.dumps(result.as_dict(), indent=2), encoding="utf-8"
            )
        if deploy is not None and deployed is not None and result.verification is not None:
            with new_folder(deploy, force=force) as place:
                save(draft.model, place / DEPLOYED)
                deployed(place, report(result), result)
    return result
