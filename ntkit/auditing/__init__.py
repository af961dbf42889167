"""What does a model lean on? Predictions and raw inputs go in, suspicions come out."""

from ntkit.auditing._answers import Answer, Answers, read_answers
from ntkit.auditing._audit import audit
from ntkit.auditing._from_tables import Asked as Asked  # for the command line
from ntkit.auditing._from_tables import audit_tables as audit_tables
from ntkit.auditing._inputs import inputs_of as inputs_of  # for other rooms
from ntkit.auditing._result import Audit
from ntkit.auditing._write import write_audit as write_audit

__all__ = ["Answer", "Answers", "Audit", "audit", "read_answers"]
