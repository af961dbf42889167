"""Findings: attributes that the errors of a model depend on, tested, ranked and grouped.

A *finding* is an attribute that is correlated with a class, and that the errors of that class
depend on.
"""

from ntkit.attributes.findings._finding import CONJUNCTION as CONJUNCTION
from ntkit.attributes.findings._finding import MOST_INFERRED as MOST_INFERRED
from ntkit.attributes.findings._finding import Finding
from ntkit.attributes.findings._finding import Findings as Findings
from ntkit.attributes.findings._finding import find_findings as find_findings
from ntkit.attributes.findings._statistics import ALIKE as ALIKE
from ntkit.attributes.findings._statistics import NAMELESS as NAMELESS  # for other packages
from ntkit.attributes.findings._statistics import AuditedPredictions as AuditedPredictions
from ntkit.attributes.findings._statistics import one_shortcut as one_shortcut
from ntkit.attributes.findings._statistics import (
    within_class_correlation as within_class_correlation,
)

__all__ = ["Finding"]
