"""Attributes of samples, read from their inputs.

A *feature set* reads attributes: yes or no for every sample. Its source is words of texts, columns
of a table, metadata, statistics of images, layers of a network, or columns of a matrix.
"""

from ntkit.attributes.attribute import Attribute
from ntkit.attributes.column_values import columns, metadata
from ntkit.attributes.feature_set import Block, FeatureSet
from ntkit.attributes.word_lists import words

__all__ = [
    "Attribute",
    "Block",
    "FeatureSet",
    "columns",
    "metadata",
    "words",
]
