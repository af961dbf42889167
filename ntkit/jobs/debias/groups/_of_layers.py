"""Attributes of the model's own layers, by name: read in the pass that embeds the samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ntkit._labels import meant_instead
from ntkit._types import Array
from ntkit.attributes import Rule, rule_of_column
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, layer_names
from ntkit.model import FrozenModel

EMBEDDING = "embedding"
"""The layer that the head reads, as attributes call it."""
_NAME = re.compile(r"(?:layer:(?P<layer>\S+)|(?P<embedding>embedding)) (?P<rest>.+)")
_COLUMN = re.compile(r"#(\d+)(?: (mean|deviation))? (low|above the median|high)")
Refused = Callable[[str, Rule | None], str | None]


@dataclass(frozen=True, eq=False)
class OfLayer:
    """An attribute of a layer, and what reads it."""

    name: str
    layer: str
    rest: str
    rule: Rule | None

    @classmethod
    def named(cls, name: str, rule: Rule | None = None) -> OfLayer | None:
        """An attribute by its name; None if that is of no layer."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        layer = found["layer"] or EMBEDDING
        return cls(name, layer if rule is None else rule.layer, found["rest"], rule)

    @property
    def by_name(self) -> bool:
        """Whether the name says how it is read."""
        column = _COLUMN.fullmatch(self.rest)
        return column is not None and (column[2] is None) == (self.layer == EMBEDDING)

    def values(self, layers: Mapping[str, Array]) -> Array:
        """Who has it: int8 of shape (N,)."""
        if self.layer not in layers:
            raise InputError(
                f"The layer of {self.name!r} gives no row of finite numbers for each sample; name "
                "another attribute."
            )
        X = layers[self.layer]
        rule = self.rule or self._rule_of(X)
        if rule is None:
            raise InputError(
                f"No sample is on a side of {self.name!r}, so there is nothing to balance; name an "
                "attribute that some samples have and others have not."
            )
        return rule.values(X)

    def _rule_of(self, X: Array) -> Rule | None:
        column = _COLUMN.fullmatch(self.rest)
        if column is None:
            raise InputError(f"{self.name!r} does not say how it is read; give the page's answers.")
        channels = X.shape[1] if self.layer == EMBEDDING else X.shape[1] // 2
        if int(column[1]) >= channels:
            raise InputError(
                f"The layer of {self.name!r} has {channels} channels, from #0 on; name one of them."
            )
        j = int(column[1]) + channels * (column[2] == "deviation")
        return rule_of_column(self.layer, j, X[:, j], column[3])


def unreadable_layers(model: FrozenModel, sets: Sequence[Samples]) -> Refused:
    """What says, of an attribute and its rule, why it cannot be read; None where it can."""
    there = cache(lambda: layer_names(model))

    def refused(name: str, rule: Rule | None) -> str | None:
        found = OfLayer.named(name, rule)
        if found is None:
            return None
        if found.layer != EMBEDDING and any(samples.embedded for samples in sets):
            return (
                f"{name} is of a layer of the model, which embeddings in a store do not tell; give "
                "the samples themselves."
            )
        if found.layer != EMBEDDING and found.layer not in there():
            meant = meant_instead(found.layer, list(there()))
            hint = f"did you mean {meant}?" if meant else f"it has {', '.join(there()) or 'none'}."
            return (
                f"{name} is of a layer that the model does not have or that cannot be read; {hint}"
            )
        if rule is None and not found.by_name:
            return (
                f"{name} cannot be read by its name: directions and clusters are those of the "
                "samples of an audit; give the answers saved on its page (--answers), or "
                "audit.answers(name) in Python, which carry them."
            )
        return None

    return refused
