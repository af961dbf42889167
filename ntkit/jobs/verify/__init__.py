"""Whether ntkit computes what a service computes, and what the service does otherwise if not."""

from ntkit.jobs.verify._check_parity import check_parity
from ntkit.jobs.verify._recorded import read_recorded as read_recorded  # for other rooms
from ntkit.jobs.verify._result import Parity

__all__ = ["Parity", "check_parity"]
