"""Find attributes that a model's errors depend on, from predictions or from the model itself."""

from ntkit.attributes import Answer as Answer
from ntkit.attributes import Answers, read_answers
from ntkit.attributes import check_contradictions as check_contradictions  # for other packages
from ntkit.attributes import joined_answers as joined_answers
from ntkit.attributes import write_answers as write_answers
from ntkit.jobs.attribute_reader import FEATURE_SETS as FEATURE_SETS
from ntkit.jobs.attribute_reader import AttributeReader as AttributeReader
from ntkit.jobs.attribute_reader import AuditedImages as AuditedImages
from ntkit.jobs.attribute_reader import Names as Names
from ntkit.jobs.audit._audit import audit
from ntkit.jobs.audit._audit import with_retraining as with_retraining
from ntkit.jobs.audit._changes import MOST_CHANGES as MOST_CHANGES
from ntkit.jobs.audit._changes import ChangeFinding as ChangeFinding
from ntkit.jobs.audit._changes import ChangeFindings as ChangeFindings
from ntkit.jobs.audit._changes import budget_for as budget_for
from ntkit.jobs.audit._changes import change_for as change_for
from ntkit.jobs.audit._changes import changes_for as changes_for
from ntkit.jobs.audit._changes import changes_of as changes_of
from ntkit.jobs.audit._changes import displaced as displaced
from ntkit.jobs.audit._from_model import audit_model
from ntkit.jobs.audit._from_model import audit_read as audit_read  # for other packages
from ntkit.jobs.audit._from_model import guess_notes as guess_notes
from ntkit.jobs.audit._from_model import like_a_guess as like_a_guess
from ntkit.jobs.audit._from_model import never_changes as never_changes
from ntkit.jobs.audit._from_tables import audit_tables as audit_tables  # for the command line
from ntkit.jobs.audit._labels import LabelAudits, write_audit
from ntkit.jobs.audit._labels import why_not as why_not
from ntkit.jobs.audit._result import Audit
from ntkit.jobs.audit._result import audit_files as audit_files
from ntkit.samples.looks import Inputs

__all__ = [
    "Answers",
    "Audit",
    "Inputs",
    "LabelAudits",
    "audit",
    "audit_model",
    "read_answers",
    "write_audit",
]
