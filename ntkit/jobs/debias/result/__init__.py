"""What the main job did: a value, its table and sentences, its folder."""

from ntkit.jobs.debias.result._findings_result import (
    AUDIT_FILES,
    FindingsResult,
    figures_of,
    open_findings,
)
from ntkit.jobs.debias.result._page import report_of_job, write_card, write_deploy
from ntkit.jobs.debias.result._result import MODEL_FILE, MOST_SHARED, DebiasResult
from ntkit.jobs.debias.result._write import (
    ANSWERS_FILE,
    HEADS_FILE,
    ORIGINAL,
    RUN_FILE,
    answers_sha256,
    chosen_by,
    deploy_job,
    described,
    parameters,
    provenance,
    write_findings,
    write_heads,
    write_job,
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
    "answers_sha256",
    "chosen_by",
    "deploy_job",
    "described",
    "figures_of",
    "open_findings",
    "parameters",
    "provenance",
    "report_of_job",
    "write_card",
    "write_deploy",
    "write_findings",
    "write_heads",
    "write_job",
]
