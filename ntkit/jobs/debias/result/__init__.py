"""What the main job did: a value, its table and sentences, its folder."""

from ntkit.jobs.debias.result._findings_result import (
    AUDIT_FILES,
    FindingsResult,
    figures_of,
    open_findings,
)
from ntkit.jobs.debias.result._job import HEADS_FILE, ORIGINAL, Job
from ntkit.jobs.debias.result._result import MODEL_FILE, MOST_SHARED, DebiasResult
from ntkit.jobs.debias.result._write import (
    ANSWERS_FILE,
    RUN_FILE,
    answers_sha256,
    chosen_by,
    described,
    parameters,
    provenance,
    write_findings,
)

__all__ = [
    "ANSWERS_FILE",
    "AUDIT_FILES",
    "HEADS_FILE",
    "MODEL_FILE",
    "MOST_SHARED",
    "ORIGINAL",
    "RUN_FILE",
    "DebiasResult",
    "FindingsResult",
    "Job",
    "answers_sha256",
    "chosen_by",
    "described",
    "figures_of",
    "open_findings",
    "parameters",
    "provenance",
    "write_findings",
]
