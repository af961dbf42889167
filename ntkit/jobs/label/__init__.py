"""Which samples to ask a person about, where to answer, and when to stop."""

from ntkit.jobs.label._files import CONTENT as CONTENT  # for other rooms
from ntkit.jobs.label._files import Entry as Entry
from ntkit.jobs.label._files import answer_in as answer_in
from ntkit.jobs.label._files import cell_text as cell_text
from ntkit.jobs.label._files import check_alike as check_alike
from ntkit.jobs.label._files import content_in as content_in
from ntkit.jobs.label._files import contents_here as contents_here
from ntkit.jobs.label._files import name_text as name_text
from ntkit.jobs.label._files import read_answers, write_questions
from ntkit.jobs.label._label import label_samples
from ntkit.jobs.label._labels import Labels, read_labels
from ntkit.jobs.label._labels import kind_of_json as kind_of_json
from ntkit.jobs.label._next import feature_sets_of, margins_of, next_questions
from ntkit.jobs.label._standing import GroupStanding, Labelling, Progress, progress

__all__ = [
    "GroupStanding",
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
