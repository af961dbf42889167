"""The main job: candidates compared, priced, and one of them written."""

from ntkit.jobs.debias._accuracy_cost import MAX_COST as MAX_COST  # for other packages
from ntkit.jobs.debias._accuracy_cost import AccuracyCost
from ntkit.jobs.debias._candidates import Candidate
from ntkit.jobs.debias._debias import debias
from ntkit.jobs.debias._named_attributes import answers_from as answers_from
from ntkit.jobs.debias._write_candidate import undo, write_candidate
from ntkit.jobs.debias.result import ANSWERS_FILE as ANSWERS_FILE
from ntkit.jobs.debias.result import HEADS_FILE as HEADS_FILE
from ntkit.jobs.debias.result import MODEL_FILE as MODEL_FILE
from ntkit.jobs.debias.result import RUN_FILE as RUN_FILE
from ntkit.jobs.debias.result import DebiasResult, FindingsResult
from ntkit.jobs.debias.result import figures_of as figures_of

__all__ = [
    "AccuracyCost",
    "Candidate",
    "DebiasResult",
    "FindingsResult",
    "debias",
    "undo",
    "write_candidate",
]
