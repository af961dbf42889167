"""Attributes of samples, read from their inputs.

A *feature set* reads attributes: yes or no for every sample. Its source is words of texts, columns
of a table, metadata, statistics of images, layers of a network, or columns of a matrix.
"""

from ntkit.attributes._answers import CONTENT as CONTENT
from ntkit.attributes._answers import Answer as Answer
from ntkit.attributes._answers import Answers as Answers
from ntkit.attributes._answers import Entry as Entry
from ntkit.attributes._answers import Labels as Labels
from ntkit.attributes._answers import answer_in as answer_in
from ntkit.attributes._answers import answers_in as answers_in
from ntkit.attributes._answers import cell_text as cell_text
from ntkit.attributes._answers import check_contradictions as check_contradictions
from ntkit.attributes._answers import content_cell as content_cell
from ntkit.attributes._answers import contents_here as contents_here
from ntkit.attributes._answers import contradiction as contradiction
from ntkit.attributes._answers import entries_of_table as entries_of_table
from ntkit.attributes._answers import joined_answers as joined_answers
from ntkit.attributes._answers import json_of as json_of
from ntkit.attributes._answers import note_on_names as note_on_names
from ntkit.attributes._answers import note_on_unknown as note_on_unknown
from ntkit.attributes._answers import read_answer_file as read_answer_file
from ntkit.attributes._answers import read_answers as read_answers
from ntkit.attributes._answers import read_labels as read_labels
from ntkit.attributes._answers import write_answers as write_answers
from ntkit.attributes._answers import written as written
from ntkit.attributes._attribute import Attribute
from ntkit.attributes._attribute import Group as Group
from ntkit.attributes._columns import columns, metadata
from ntkit.attributes._columns import origins_of as origins_of
from ntkit.attributes._columns import read_column as read_column
from ntkit.attributes._feature_set import FEWEST as FEWEST
from ntkit.attributes._feature_set import SUPPORT as SUPPORT
from ntkit.attributes._feature_set import Block, FeatureSet
from ntkit.attributes._feature_set import Rule as Rule
from ntkit.attributes._feature_set import array as array
from ntkit.attributes._feature_set import both_of as both_of
from ntkit.attributes._feature_set import common_enough as common_enough
from ntkit.attributes._feature_set import rules_of as rules_of
from ntkit.attributes._feature_set import values_by_name as values_by_name
from ntkit.attributes._feature_set import values_of as values_of
from ntkit.attributes._images import OF_IMAGES as OF_IMAGES
from ntkit.attributes._images import SEVERAL_SIZES as SEVERAL_SIZES
from ntkit.attributes._images import SIDE as SIDE
from ntkit.attributes._images import image_feature_set as image_feature_set
from ntkit.attributes._images import image_statistics as image_statistics
from ntkit.attributes._images import measured_image_statistics as measured_image_statistics
from ntkit.attributes._images import scale_of_size as scale_of_size
from ntkit.attributes._images import scale_of_statistics as scale_of_statistics
from ntkit.attributes._images import statistics_of_image as statistics_of_image
from ntkit.attributes._layers import EMBEDDING as EMBEDDING
from ntkit.attributes._layers import is_channel as is_channel
from ntkit.attributes._layers import layer_of as layer_of
from ntkit.attributes._layers import layer_rule as layer_rule
from ntkit.attributes._layers import layer_values as layer_values
from ntkit.attributes._layers import layers as layers
from ntkit.attributes._named import NobodyHas as NobodyHas
from ntkit.attributes._named import attribute_named as attribute_named
from ntkit.attributes._named import column_notes as column_notes
from ntkit.attributes._named import value_named as value_named
from ntkit.attributes._named import values_named as values_named
from ntkit.attributes._words import comparable as comparable
from ntkit.attributes._words import is_tag as is_tag
from ntkit.attributes._words import one_spelling as one_spelling
from ntkit.attributes._words import pattern_of_word as pattern_of_word
from ntkit.attributes._words import places_of as places_of
from ntkit.attributes._words import plain_words as plain_words
from ntkit.attributes._words import words

__all__ = [
    "Attribute",
    "Block",
    "FeatureSet",
    "columns",
    "metadata",
    "words",
]
