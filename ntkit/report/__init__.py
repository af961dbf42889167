"""Pages and cards for people: what was done to a model, and how it is used."""

from ntkit.report._command import arguments as arguments  # for other packages
from ntkit.report._command import commands, started_by
from ntkit.report._command import quoted as quoted
from ntkit.report._facts import facts_of_job, look_of, name_of
from ntkit.report._inputs import Inputs as Inputs  # for pages
from ntkit.report._model_card import model_card
from ntkit.report._page import Report, Shown, outcome, report_html
from ntkit.report._usage import Usage as Usage  # for other rooms
from ntkit.report._usage import usage_of
from ntkit.report._write_report import as_samples, write_report

__all__ = [
    "Report",
    "Shown",
    "as_samples",
    "commands",
    "facts_of_job",
    "look_of",
    "model_card",
    "name_of",
    "outcome",
    "report_html",
    "started_by",
    "usage_of",
    "write_report",
]
