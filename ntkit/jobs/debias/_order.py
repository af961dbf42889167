"""Options of a repair, and the folder of its results."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ntkit._disk import StrPath
from ntkit._output import (
    RECORD,
    check_folder,
    check_update,
    new_folder,
    refuse_nested,
    updated_folder,
)
from ntkit.exceptions import InputError
from ntkit.jobs.debias._accuracy_cost import MAX_COST
from ntkit.jobs.debias._candidates import asked_for
from ntkit.jobs.debias._settings import DebiasSettings
from ntkit.metrics import LABEL_FREE_SCORES

MODEL_FILE, REPORT_FILE, HEADS_FILE = "debiased.onnx", "report.html", "heads.npz"
ANSWERS_FILE, RUN_FILE = "answers.json", "run.json"
AUDIT_FILES = ("audit.html", "audit.json")


def embeddings_file(name: str) -> str:
    """Name of the file with the embeddings of a set."""
    return f"embedded-{name}.npz"


_KEPT = (*AUDIT_FILES, RUN_FILE, *map(embeddings_file, ("train", "validation", "test")))
"""Files of an audit that a repair keeps in the same folder."""


@dataclass(frozen=True)
class Order:
    """A repair as its caller ordered it; ``goes_on`` if an earlier run wrote the output folder."""

    method: Any
    max_cost: float
    out: Path | None
    resume: Path | None
    deploy: Path | None
    device: str
    force: bool
    settings: DebiasSettings
    goes_on: bool

    @property
    def by_score(self) -> bool:
        """Whether a label-free score chooses the head."""
        return isinstance(self.method, str) and self.method in LABEL_FREE_SCORES

    @classmethod
    def of(
        cls,
        method: Any,
        max_cost: float | None,
        out: StrPath | None,
        *,
        device: str,
        force: bool,
        settings: DebiasSettings,
    ) -> Order:
        """The order by arguments of :func:`ntkit.debias`; checks method, limits and folders."""
        asked_for(method, named=True, partly_known=True, by_change=True)
        max_cost = MAX_COST if max_cost is None else max_cost
        share, goes_on = settings.interpolation, False
        if not 0 <= max_cost <= 1:
            raise InputError(f"max_cost must be a share from 0 to 1. Got {max_cost}.")
        if share is not None and not 0 < share <= 1:
            raise InputError(
                "--interpolation (interpolation=) must be a share of the new head above 0 (the "
                f"original) and at most 1, not {share:g}."
            )
        out, resume, deploy = (
            None if path is None else Path(path) for path in (out, settings.resume, settings.deploy)
        )
        if out is not None and resume is not None and out.exists():
            goes_on = out.resolve() == resume.resolve()
        if out is not None and goes_on:
            check_update(out, _KEPT)
        elif out is not None:
            if force and all((out / name).is_file() for name in (RECORD, ANSWERS_FILE)):
                raise InputError(
                    f"{out} contains {ANSWERS_FILE}, which --force does not replace, because a "
                    "person may have given these answers. Continue with --from (resume=), or "
                    "choose another name."
                )
            check_folder(out, force=force)
        if deploy is not None:
            check_folder(deploy, force=force)
            if out is not None:
                refuse_nested(out, deploy)
        return cls(method, max_cost, out, resume, deploy, device, force, settings, goes_on)

    def going_on(self) -> Order:
        """The order after its folder was written for the first time."""
        return replace(self, goes_on=self.out is not None)

    def opened(self) -> AbstractContextManager[Path]:
        """An empty folder; its files move to the output folder if the block succeeds."""
        if self.out is not None and self.goes_on:
            return updated_folder(self.out, keep=_KEPT)
        return new_folder(self.out, force=self.force)
