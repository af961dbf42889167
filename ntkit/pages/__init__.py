"""HTML pages for findings, labels and reports, and model cards."""

from ntkit.pages._report_page import Answer, Groups, Report, Shown, model_card, outcome, report_html
from ntkit.pages._report_page import Moved as Moved
from ntkit.pages._report_page import Neurons as Neurons
from ntkit.pages._usage import Usage as Usage  # for other packages
from ntkit.pages._usage import usage_of
from ntkit.samples.looks import Inputs as Inputs

__all__ = [
    "Answer",
    "Groups",
    "Report",
    "Shown",
    "model_card",
    "outcome",
    "report_html",
    "usage_of",
]
