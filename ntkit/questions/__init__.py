"""Which samples to ask a person about, where to answer, and when to stop."""

from ntkit.questions._entries import CONTENT as CONTENT  # for other rooms
from ntkit.questions._entries import Entry as Entry
from ntkit.questions._entries import check_alike as check_alike
from ntkit.questions._entries import content_in as content_in
from ntkit.questions._entries import contents_here as contents_here
from ntkit.questions._files import answer_in as answer_in
from ntkit.questions._files import cell_text as cell_text
from ntkit.questions._files import name_text as name_text
from ntkit.questions._files import read_answers, write_questions
from ntkit.questions._label import label_samples
from ntkit.questions._labels import Labels, read_labels
from ntkit.questions._labels import kind_of_json as kind_of_json
from ntkit.questions._margins import margins_of
from ntkit.questions._next import next_questions
from ntkit.questions._progress import Progress, progress
from ntkit.questions._standing import GroupStanding, Labelling
from ntkit.questions._views import views_of

__all__ = [
    "GroupStanding",
    "Labelling",
    "Labels",
    "Progress",
    "label_samples",
    "margins_of",
    "next_questions",
    "progress",
    "read_answers",
    "read_labels",
    "views_of",
    "write_questions",
]
