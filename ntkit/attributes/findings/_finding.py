"""A finding: an attribute that goes with a class, and on which the errors depend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntkit._text import interval, percent, plain


@dataclass(frozen=True)
class FindingGroup:
    """Samples of a class that have an attribute, or have not."""

    label: Any
    having: bool
    agrees: bool
    count: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """An attribute that is correlated with a class, and on which the errors of the model depend.

    It is not a verdict: the word *bad* is correlated with bad reviews, and rightly. A person tells.

    Attributes
    ----------
    name : str
        Name of the attribute, as ``word:film``.
    feature_set : str
        Kind of the feature set that it is from, as ``word``.
    exact : bool
        Whether the input says it in so many words, or it is inferred.
    goes_with : object
        The class.
    present : bool
        Whether having it is correlated with the class, rather than not having it.
    n, n_known : int
        Samples that have it, and samples for which it is known.
    share, share_elsewhere : float
        Share of the samples that have it, in the class and in all others.
    association : float
        z of the difference between these shares.
    error_contrast : float
        z of the errors that relying on it explains, within classes.
    score : float
        The smaller of the two.
    p_value : float
        Of both being so large by chance, after Holm's correction for the attributes of its
        kind, and for the number of kinds looked at.
    same, opposed : tuple of str
        Attributes that say the same; and its opposites, which go with another class.
    sides : tuple of tuple of str
        Attributes that groups are made of, for each value; the first are the finding's own. They
        are of its kind, so that a word stands for words only. If no attribute that says the same
        has a name (neurons, clusters), they are of any kind.
    groups : tuple of FindingGroup
        By class (``label``), those ``having`` it and those that have not: ``count``, ``accuracy``
        (NaN if there are none) with Wilson's ``interval`` of 95 %, and whether it ``agrees`` with
        the class.
    examples : dict of str to tuple of int
        Rows of samples: "conflicting, wrong", "conflicting, right", "agreeing, wrong" and
        "agreeing, right", some of each.
    """

    name: str
    feature_set: str
    exact: bool
    goes_with: Any
    present: bool
    n: int
    n_known: int
    share: float
    share_elsewhere: float
    association: float
    error_contrast: float
    score: float
    p_value: float
    same: tuple[str, ...]
    opposed: tuple[str, ...]
    sides: tuple[tuple[str, ...], ...]
    groups: tuple[FindingGroup, ...]
    examples: dict[str, tuple[int, ...]]

    @property
    def worst(self) -> FindingGroup:
        """The conflicting samples that are surely wrong most often: of the lowest upper limit."""
        conflicting = [group for group in self.groups if not group.agrees and group.count]
        return min(conflicting, key=lambda group: group.interval[1])

    def beside(self, group: FindingGroup) -> FindingGroup:
        """The other samples of a cell's class."""
        return next(c for c in self.groups if c.label == group.label and c.having != group.having)

    def as_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; NaN becomes None."""
        return dict(plain(self))

    def __str__(self) -> str:
        worst = self.worst
        other = self.beside(worst)
        what = "Having" if self.present else "Not having"
        sentence = (
            f"{what} {self.name!r} goes with class {_label(self.goes_with)}: "
            f"{percent(self.share)} of its samples have it, "
            f"{percent(self.share_elsewhere)} of the others. "
            f"Of class {_label(worst.label)}, {_right(worst)} {_with(worst)}"
        )
        return f"{sentence}, {_right(other)} {_with(other)}." if other.count else f"{sentence}."


def _with(group: FindingGroup) -> str:
    return "with it" if group.having else "without it"


def _right(group: FindingGroup) -> str:
    return f"{percent(group.accuracy)} {interval(group.interval, 0)} are right"


def _label(label: Any) -> str:
    return repr(label.item() if hasattr(label, "item") else label)
