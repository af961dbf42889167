"""Which samples to ask a person about, in what file, and when to stop."""

from ntkit.questions._files import read_answers, write_questions
from ntkit.questions._margins import margins_of
from ntkit.questions._next import next_questions
from ntkit.questions._progress import Progress, progress

__all__ = [
    "Progress",
    "margins_of",
    "next_questions",
    "progress",
    "read_answers",
    "write_questions",
]
