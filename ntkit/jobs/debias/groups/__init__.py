"""Groups that a head is balanced over and judged by: named, answered, or known of some samples."""

from ntkit.jobs.debias.groups._known_groups import KnownGroups
from ntkit.jobs.debias.groups._known_of_some import KnownOfSome, holds_labels, known_of_some
from ntkit.jobs.debias.groups._named_attributes import (
    Asked,
    Named,
    asked_attributes,
    groups_balanced,
)
from ntkit.jobs.debias.groups._of_layers import EMBEDDING
from ntkit.jobs.debias.groups._pool import Pool
from ntkit.jobs.debias.groups._validation_groups import ValidationGroups, WorstGroup

__all__ = [
    "EMBEDDING",
    "Asked",
    "KnownGroups",
    "KnownOfSome",
    "Named",
    "Pool",
    "ValidationGroups",
    "WorstGroup",
    "asked_attributes",
    "groups_balanced",
    "holds_labels",
    "known_of_some",
]
