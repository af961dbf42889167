"""Which attributes the errors of a model depend on: contrasts, tested, ranked, put into families.

A *suspicion* is an attribute that goes with a class and on which the errors of that class depend.
"""

from ntkit.suspicions._families import ALIKE as ALIKE
from ntkit.suspicions._families import within_class_correlation as within_class_correlation
from ntkit.suspicions._find_suspicions import MOST_INFERRED as MOST_INFERRED
from ntkit.suspicions._find_suspicions import NAMELESS as NAMELESS  # for other packages
from ntkit.suspicions._find_suspicions import Found as Found
from ntkit.suspicions._find_suspicions import find_suspicions as find_suspicions
from ntkit.suspicions._predictions import Predictions as Predictions
from ntkit.suspicions._suspicion import Cell, Suspicion
from ntkit.suspicions._tallies import product_of as product_of

__all__ = ["Cell", "Suspicion"]
