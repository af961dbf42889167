"""Find attributes that a model's errors depend on, from predictions or from the model itself."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntkit.attributes.answers import Answers, read_answers
from ntkit.jobs.audit.from_predictions import audit
from ntkit.jobs.audit.labels import LabelAudits
from ntkit.jobs.audit.result import Audit
from ntkit.samples.looks import Inputs

if TYPE_CHECKING:  # predictions need no model and no ONNX Runtime
    from ntkit.jobs.audit.from_model import audit_model

__all__ = [
    "Answers",
    "Audit",
    "Inputs",
    "LabelAudits",
    "audit",
    "audit_model",
    "read_answers",
]


def __getattr__(name: str) -> Any:
    if name == "audit_model":
        return import_module("ntkit.jobs.audit.from_model").audit_model
    raise AttributeError(f"module 'ntkit.jobs.audit' has no attribute {name!r}")
