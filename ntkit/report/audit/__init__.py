"""The page of an audit, on which somebody who knows the subject answers."""

from ntkit.report.audit._page import SHOWN, AuditPage, audit_html
from ntkit.report.audit._plain_words import question_of
from ntkit.report.audit._unlabelled import Unlabelled

__all__ = ["SHOWN", "AuditPage", "Unlabelled", "audit_html", "question_of"]
