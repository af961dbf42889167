"""Compare ntkit's outputs with a service's recorded outputs, and find causes of differences."""

from ntkit.jobs.verify._check_parity import Parity, check_parity
from ntkit.jobs.verify._recorded import read_recorded as read_recorded  # for other packages

__all__ = ["Parity", "check_parity"]
