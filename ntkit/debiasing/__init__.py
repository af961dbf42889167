"""The main job: candidates compared, priced, and one of them written."""

from ntkit.debiasing._candidates import Candidate
from ntkit.debiasing._debias import debias
from ntkit.debiasing._price import MAX_COST, Price
from ntkit.debiasing._undo import undo
from ntkit.debiasing._write_candidate import write_candidate
from ntkit.debiasing.groups import holds_labels as holds_labels  # for the command line
from ntkit.debiasing.result import ANSWERS_FILE as ANSWERS_FILE
from ntkit.debiasing.result import HEADS_FILE as HEADS_FILE
from ntkit.debiasing.result import MODEL_FILE as MODEL_FILE
from ntkit.debiasing.result import RUN_FILE as RUN_FILE
from ntkit.debiasing.result import DebiasResult, FindingsResult
from ntkit.debiasing.result import figures_of as figures_of

__all__ = [
    "MAX_COST",
    "Candidate",
    "DebiasResult",
    "FindingsResult",
    "Price",
    "debias",
    "undo",
    "write_candidate",
]
