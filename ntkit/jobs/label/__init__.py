"""Choose samples for a person to label, read the labels, and decide when there are enough."""

from ntkit.attributes.answers import Labels
from ntkit.attributes.answers import read_labels as read_labels
from ntkit.jobs.label._check import check_table as check_table  # for the command line
from ntkit.jobs.label._files import PAGE as PAGE
from ntkit.jobs.label._label import label_samples
from ntkit.jobs.label._label import of_one_label as of_one_label
from ntkit.jobs.label._progress import Labelling, margins_of, next_questions, progress
from ntkit.jobs.label._progress import Progress as Progress
from ntkit.jobs.label._progress import feature_sets_of as feature_sets_of

__all__ = [
    "Labelling",
    "Labels",
    "label_samples",
    "margins_of",
    "next_questions",
    "progress",
]
