"""What the classes of a model are called, and which of them a label means."""

from ntkit.class_names._match import are_positions, matched, same_name
from ntkit.class_names._names import CLASSES, ClassNames, names_in, names_of, problem_type, renamed

__all__ = [
    "CLASSES",
    "ClassNames",
    "are_positions",
    "matched",
    "names_in",
    "names_of",
    "problem_type",
    "renamed",
    "same_name",
]
