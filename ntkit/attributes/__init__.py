"""What samples have, read from their inputs.

A *view* reads attributes, yes or no of every sample: words of texts, columns of a table, metadata,
statistics of pictures, layers of a network, columns of any matrix.
"""

from ntkit.attributes._columns import columns, metadata
from ntkit.attributes._columns import columns_of as columns_of
from ntkit.attributes._columns import matched as matched  # for other rooms
from ntkit.attributes._feature_set import FEWEST as FEWEST
from ntkit.attributes._feature_set import SUPPORT as SUPPORT
from ntkit.attributes._feature_set import Block, FeatureSet, Rule, array
from ntkit.attributes._feature_set import rule_of_column as rule_of_column  # for other rooms
from ntkit.attributes._feature_set import values_by_name as values_by_name
from ntkit.attributes._feature_set import values_of as values_of
from ntkit.attributes._groups import groups_from
from ntkit.attributes._layers import layers
from ntkit.attributes._named import NobodyHas as NobodyHas
from ntkit.attributes._named import attribute_named
from ntkit.attributes._pictures import measured_pictures as measured_pictures
from ntkit.attributes._pictures import picture_statistics as picture_statistics
from ntkit.attributes._pictures import pictures
from ntkit.attributes._sides import sides_of_column as sides_of_column
from ntkit.attributes._sides import sides_of_names as sides_of_names
from ntkit.attributes._words import holding as holding  # for other rooms
from ntkit.attributes._words import places_of as places_of
from ntkit.attributes._words import words

__all__ = [
    "Block",
    "FeatureSet",
    "Rule",
    "array",
    "attribute_named",
    "columns",
    "groups_from",
    "layers",
    "metadata",
    "pictures",
    "words",
]
