"""Which samples to ask a person about, where to answer, and when to stop."""

from ntkit.attributes import Labels, read_labels
from ntkit.jobs.label._files import read_answers, write_questions
from ntkit.jobs.label._label import label_samples
from ntkit.jobs.label._next import feature_sets_of, margins_of, next_questions
from ntkit.jobs.label._standing import Labelling, Progress, progress

__all__ = [
    "Labelling",
    "Labels",
    "Progress",
    "feature_sets_of",
    "label_samples",
    "margins_of",
    "next_questions",
    "progress",
    "read_answers",
    "read_labels",
    "write_questions",
]
