"""How a repair goes, decided once: its candidates, what chooses one of them, and who judges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ntkit.attributes import Attribute
from ntkit.jobs.debias._candidates import CANDIDATES, DEFAULT_SCORE, Unfitted
from ntkit.jobs.debias._invariance import Invariance
from ntkit.jobs.debias._named_attributes import CompletedGroups, NamedAttributes


class Judges(Enum):
    """The samples that tell whether the new head is better."""

    TEST = "groups of the test set"
    VALIDATION = "groups of the validation set, and changed copies where a group has too few"
    LABELS = "labels of some training and validation samples"


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """How a repair goes, decided before the first head is fitted."""

    # `said` is what a person named: attributes, read of the training and validation samples, and
    # changes. `on_test` has the same attributes of the test samples, if these judge. `known` has
    # labels of single samples, and `invariance` has changed copies. `method` is the candidate to
    # write, BY_CHANGE for the best by changed copies, or None for the best by the label-free
    # `score`.

    said: NamedAttributes = field(default_factory=lambda: NamedAttributes((), {}))
    known: CompletedGroups | None = None
    invariance: Invariance | None = None
    on_test: Sequence[Attribute] = ()
    judges: Judges = Judges.VALIDATION
    candidates: Mapping[str, Unfitted] = field(default_factory=lambda: CANDIDATES)
    method: str | None = None
    score: str = DEFAULT_SCORE

    @property
    def attributes(self) -> list[Attribute]:
        """What a person named or labelled, of the training and validation samples."""
        return [*self.said.read, *([] if self.known is None else [self.known.attribute])]
