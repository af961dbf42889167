"""Options of a repair, and the folder of its results."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ntkit._output import (
    RECORD,
    check_folder,
    check_update,
    new_folder,
    refuse_nested,
    updated_folder,
)
from ntkit.estimators import AutoDebiasClassifier
from ntkit.exceptions import InputError
from ntkit.jobs.debias._candidates import asked_for
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
    """Options of :func:`debias`; ``goes_on`` if an earlier run wrote the output folder."""

    method: Any
    auto: AutoDebiasClassifier
    new_head: bool
    max_cost: float
    even_if_worse: bool
    keep_original: bool
    out: Path | None
    resume: Path | None
    deploy: Path | None
    C: float | None
    device: str
    n_random: int
    seed: int
    force: bool
    verbose: bool
    interpolation: float | None = None
    goes_on: bool = False

    @property
    def by_score(self) -> bool:
        """Whether a label-free score chooses the head."""
        return isinstance(self.method, str) and self.method in LABEL_FREE_SCORES

    def checked(self) -> Order:
        """Check method, limit and folders before the work."""
        asked_for(self.auto, self.method, named=True, partly_known=True, by_change=True)
        if not 0 <= self.max_cost <= 1:
            raise InputError(f"max_cost must be a share from 0 to 1. Got {self.max_cost}.")
        if self.interpolation is not None and not 0 < self.interpolation <= 1:
            raise InputError(
                "--interpolation (interpolation=) must be a share of the new head above 0 (the "
                f"original) and at most 1, not {self.interpolation:g}."
            )
        order, out, resume = self, self.out, self.resume
        if out is not None and resume is not None and out.exists():
            order = replace(self, goes_on=out.resolve() == resume.resolve())
        if out is not None and order.goes_on:
            check_update(out, _KEPT)
        elif out is not None:
            if self.force and all((out / name).is_file() for name in (RECORD, ANSWERS_FILE)):
                raise InputError(
                    f"{out} contains {ANSWERS_FILE}, which --force does not replace, because a "
                    "person may have given these answers. Continue with --from (resume=), or "
                    "choose another name."
                )
            check_folder(out, force=self.force)
        if self.deploy is not None:
            check_folder(self.deploy, force=self.force)
            if out is not None:
                refuse_nested(out, self.deploy)
        return order

    def going_on(self) -> Order:
        """The order after its folder was written for the first time."""
        return replace(self, goes_on=self.out is not None)

    def opened(self) -> AbstractContextManager[Path]:
        """An empty folder; its files move to the output folder if the block succeeds."""
        if self.out is not None and self.goes_on:
            return updated_folder(self.out, keep=_KEPT)
        return new_folder(self.out, force=self.force)
