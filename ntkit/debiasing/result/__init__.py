"""What the main job did: a value, its table and sentences, its folder."""

from ntkit.debiasing.result._heads import HEADS_FILE, write_heads
from ntkit.debiasing.result._page import report_of_job, write_card, write_deploy
from ntkit.debiasing.result._record import chosen_by, described, parameters, provenance
from ntkit.debiasing.result._result import MODEL_FILE, MOST_SHARED, DebiasResult
from ntkit.debiasing.result._write import write_job

__all__ = [
    "HEADS_FILE",
    "MODEL_FILE",
    "MOST_SHARED",
    "DebiasResult",
    "chosen_by",
    "described",
    "parameters",
    "provenance",
    "report_of_job",
    "write_card",
    "write_deploy",
    "write_heads",
    "write_job",
]
