"""Check whether a model may replace another, by limits on labelled samples."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntkit.jobs.check._limits import REPAIR_LIMITS as REPAIR_LIMITS
from ntkit.jobs.check._limits import ChangeLimits as ChangeLimits
from ntkit.jobs.check._limits import Limits
from ntkit.jobs.check._limits import SliceLimits as SliceLimits
from ntkit.jobs.check._limits import limits_of as limits_of
from ntkit.jobs.check._limits import limits_of_project as limits_of_project
from ntkit.jobs.check._limits import limits_of_repair as limits_of_repair
from ntkit.jobs.check._limits import limits_with as limits_with
from ntkit.jobs.check._limits import toml_of as toml_of
from ntkit.jobs.check._predictions import check_predictions
from ntkit.jobs.check._result import CheckResult
from ntkit.metrics.rows import Verdict as Verdict

if TYPE_CHECKING:  # tables of predictions need no model and no ONNX Runtime
    from ntkit.jobs.check._check import check
    from ntkit.jobs.check._check import check_read as check_read  # for the command line
    from ntkit.jobs.check._samples import sliced as sliced  # for ntkit watch

__all__ = [
    "CheckResult",
    "Limits",
    "check",
    "check_predictions",
]


_LATER = {"check": "_check", "check_read": "_check", "sliced": "_samples"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"ntkit.jobs.check.{_LATER[name]}"), name)
    raise AttributeError(f"module 'ntkit.jobs.check' has no attribute {name!r}")
