"""The main job: candidates compared, priced, and one of them written."""

from ntkit.debiasing._candidates import Candidate
from ntkit.debiasing._debias import debias
from ntkit.debiasing._price import Price
from ntkit.debiasing.result import MAX_COST, DebiasResult

__all__ = ["MAX_COST", "Candidate", "DebiasResult", "Price", "debias"]
