"""The main job: candidates compared, priced, and one of them written."""

from ntkit.debiasing._candidates import Candidate
from ntkit.debiasing._debias import debias
from ntkit.debiasing._price import MAX_COST, Price
from ntkit.debiasing._write_candidate import write_candidate
from ntkit.debiasing.result import MODEL_FILE as MODEL_FILE  # for the command line
from ntkit.debiasing.result import DebiasResult

__all__ = ["MAX_COST", "Candidate", "DebiasResult", "Price", "debias", "write_candidate"]
