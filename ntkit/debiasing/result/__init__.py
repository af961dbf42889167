"""What the main job did: a value, its table and sentences, its folder."""

from ntkit.debiasing.result._findings_result import (
    AUDIT_FILES,
    FindingsResult,
    figures_of,
    open_findings,
)
from ntkit.debiasing.result._heads import HEADS_FILE, ORIGINAL, write_heads
from ntkit.debiasing.result._page import report_of_job, write_card, write_deploy
from ntkit.debiasing.result._record import (
    answers_sha256,
    chosen_by,
    described,
    parameters,
    provenance,
)
from ntkit.debiasing.result._result import MODEL_FILE, MOST_SHARED, DebiasResult
from ntkit.debiasing.result._write import (
    ANSWERS_FILE,
    RUN_FILE,
    deploy_job,
    write_findings,
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
