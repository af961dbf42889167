"""Repair a model: compare candidate heads, measure their accuracy cost, and write the best."""

from ntkit.jobs.debias._accuracy_cost import MAX_COST as MAX_COST  # for other packages
from ntkit.jobs.debias._accuracy_cost import AccuracyCost
from ntkit.jobs.debias._candidates import Candidate
from ntkit.jobs.debias._choice import Step as Step
from ntkit.jobs.debias._complaints import ComplaintsResult as ComplaintsResult
from ntkit.jobs.debias._debias import debias
from ntkit.jobs.debias._named_attributes import answers_from as answers_from  # for the command line
from ntkit.jobs.debias._result import DebiasResult
from ntkit.jobs.debias._result import FindingsResult as FindingsResult
from ntkit.jobs.debias._result import shares_of as shares_of
from ntkit.jobs.debias._settings import ANSWERS_FILE as ANSWERS_FILE
from ntkit.jobs.debias._settings import HEADS_FILE as HEADS_FILE
from ntkit.jobs.debias._settings import MODEL_FILE as MODEL_FILE
from ntkit.jobs.debias._settings import REPORT_FILE as REPORT_FILE
from ntkit.jobs.debias._settings import RUN_FILE as RUN_FILE
from ntkit.jobs.debias._settings import DebiasSettings
from ntkit.jobs.debias._write_candidate import check_candidates as check_candidates
from ntkit.jobs.debias._write_candidate import undo
from ntkit.jobs.debias._write_candidate import write_candidate as write_candidate

__all__ = [
    "AccuracyCost",
    "Candidate",
    "DebiasResult",
    "DebiasSettings",
    "debias",
    "undo",
]
