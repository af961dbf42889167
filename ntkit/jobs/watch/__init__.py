"""Watch what a deployed model relies on, from its traffic, with few labels or none."""

from ntkit.jobs.watch._result import WatchResult
from ntkit.jobs.watch._watch import watch
from ntkit.jobs.watch._watch import watch_read as watch_read  # for the command line

__all__ = ["WatchResult", "watch"]
