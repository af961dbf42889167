"""What does a model rely on? Predictions or a model, and raw inputs go in, findings come out."""

from ntkit.auditing._answers import Answer, Answers, read_answers
from ntkit.auditing._answers import (
    check_contradictions as check_contradictions,
)  # for other packages
from ntkit.auditing._answers import joined_answers as joined_answers
from ntkit.auditing._answers import write_answers as write_answers
from ntkit.auditing._audit import audit
from ntkit.auditing._from_model import audit_model
from ntkit.auditing._from_model import audit_read as audit_read  # for other packages
from ntkit.auditing._from_tables import Asked as Asked  # for the command line
from ntkit.auditing._from_tables import audit_tables as audit_tables
from ntkit.auditing._guessing import GO_ON as GO_ON
from ntkit.auditing._guessing import like_a_guess as like_a_guess
from ntkit.auditing._guessing import likely_cause as likely_cause
from ntkit.auditing._inputs import inputs_of as inputs_of
from ntkit.auditing._metadata import Metadata as Metadata
from ntkit.auditing._result import Audit
from ntkit.auditing._retraining import with_retraining as with_retraining
from ntkit.auditing._views import VIEWS as VIEWS
from ntkit.auditing._views import Read as Read
from ntkit.auditing._views import views_of_table as views_of_table
from ntkit.auditing._watched_pictures import WatchedPictures as WatchedPictures
from ntkit.auditing._write import audit_files as audit_files
from ntkit.auditing._write import write_audit
from ntkit.report import Inputs

__all__ = [
    "Answer",
    "Answers",
    "Audit",
    "Inputs",
    "audit",
    "audit_model",
    "read_answers",
    "write_audit",
]
