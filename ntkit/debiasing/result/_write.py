"""Write a job's folder: all of it, verified, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ntkit._disk import as_json
from ntkit.auditing import audit_files
from ntkit.debiasing.result._deploy import DEPLOYED
from ntkit.debiasing.result._findings_result import QUESTIONS, FindingsResult
from ntkit.debiasing.result._result import MODEL_FILE, REPORT_FILE, DebiasResult
from ntkit.exceptions import DeployError, NtkitError
from ntkit.frozen_model import FrozenModel
from ntkit.report import Report, arguments, name_of, quoted, report_html
from ntkit.verification import Verification, save_verified

__all__ = ["ANSWERS_FILE", "RUN_FILE", "deploy_job", "write_findings", "write_job"]

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
    opened : callable
        Gives an empty folder, whose files take their place when its block ends well.
    report : callable
        Makes the report of a result.
    card : callable
        Writes the model card into a folder.
    heads : callable
        Writes the heads of all candidates into a folder.
    """

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
    """Write the folder for a service, when that of the result is complete.

    Parameters
    ----------
    result : DebiasResult
        With a model that was written and verified.
    original, X, device, opened, report
        As for :func:`write_job`.
    beside : callable
        Writes into the folder what belongs beside the model.

    Raises
    ------
    DeployError
        If it cannot be written, or its program does not answer as ntkit does.
    """
    try:
        with opened() as place:
            model, head = result.model, result.head
            save_verified(model, place / DEPLOYED, original=original, X=X, head=head, device=device)
            beside(place, report(result), result)
    except (NtkitError, OSError) as error:
        where = "" if result.path is None else f" {result.path} is complete."
        raise DeployError(f"Nothing was deployed: {error}{where}", result) from error


def write_findings(folder: Path, result: FindingsResult, *, page: bool = True) -> None:
    """Write what was found: the page to answer on, its figures, and how the run is gone on with.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.
    result : FindingsResult
        What was found.
    page : bool
        Whether the page is written as well; it does not change with the answers.
    """
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
