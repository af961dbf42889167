"""Find attributes that a model's errors depend on, from predictions or from the model itself."""

from ntkit.attributes.answers import Answers, read_answers
from ntkit.jobs.audit.from_model import audit_model
from ntkit.jobs.audit.from_predictions import audit
from ntkit.jobs.audit.labels import LabelAudits
from ntkit.jobs.audit.result import Audit
from ntkit.samples.looks import Inputs

__all__ = [
    "Answers",
    "Audit",
    "Inputs",
    "LabelAudits",
    "audit",
    "audit_model",
    "read_answers",
]
