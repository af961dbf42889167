"""What samples have, read from their inputs, and which of it the errors of a model depend on.

A *view* reads attributes, yes or no of every sample: words of texts, columns of a table, metadata,
statistics of pictures, columns of any matrix. A *suspicion* is an attribute that goes with a class
and on which the errors of that class depend.
"""

from ntkit.attributes._array import array
from ntkit.attributes._columns import columns
from ntkit.attributes._groups import groups_from
from ntkit.attributes._metadata import metadata
from ntkit.attributes._pictures import pictures
from ntkit.attributes._predictions import Predictions as Predictions  # for other rooms
from ntkit.attributes._suspicion import Cell, Suspicion
from ntkit.attributes._suspicions import Found as Found
from ntkit.attributes._suspicions import find_suspicions as find_suspicions
from ntkit.attributes._view import FEWEST as FEWEST
from ntkit.attributes._view import SUPPORT as SUPPORT
from ntkit.attributes._view import Block, View
from ntkit.attributes._view import values_of as values_of
from ntkit.attributes._words import words

__all__ = [
    "Block",
    "Cell",
    "Suspicion",
    "View",
    "array",
    "columns",
    "groups_from",
    "metadata",
    "pictures",
    "words",
]
