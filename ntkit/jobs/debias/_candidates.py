"""The candidates of a repair, and the row of the table for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from ntkit._text import percent
from ntkit.estimators import (
    LABEL_FREE,
    AutoDebiasClassifier,
    BalancedClassifier,
    DFRClassifier,
    GroupDROClassifier,
    GroupInference,
    InvariantClassifier,
    NeuronTuneClassifier,
)
from ntkit.exceptions import InputError
from ntkit.scorers import LABEL_FREE_SCORES

GROUP_BALANCED = "group-balanced"
YOURS = "yours"
BY_CHANGE = "by change"
"""Method that chooses the best among the candidates by change and the group-balanced ones."""
READ = "groups read"
"""Candidate that balances groups which a reader of changed copies tells."""
_NEARLY_ALL = 0.95  # share of the non-constant neurons
DEFAULT_SCORE = "worst_class_correctness_group_accuracy"


class FittedOn(Enum):
    """What a candidate is fitted on; after the first three, more than the classes of both sets."""

    # A single set is both the training set and the validation set, so the first three are one.
    # `part` is the name of these samples in a study. `tunes_itself` says whether the estimator
    # chooses its penalty, because no other fit has the same rows. `by_change` says whether changed
    # copies tell what must not matter.

    TRAIN = "train", "classes"
    VALIDATION = "validation", "classes"
    BOTH = "both", "classes"
    COPIES = "both", "changed copies"
    READ = "both", "groups that changed copies tell"
    LABELS = "both", "labels of some samples"

    def __init__(self, part: str, known: str) -> None:
        self.part, self.tunes_itself = part, known != "classes"
        self.by_change = "changed copies" in known


class Unfitted(NamedTuple):
    """A candidate before its fit."""

    estimator: Any
    rows: FittedOn = FittedOn.TRAIN


def _default_candidates() -> dict[str, Unfitted]:
    """Candidates of :func:`ntkit.debias` by name, in the order of the table."""
    # "neurontune" has the rule as described; the others suppress only neurons with high scores.
    # With each mask, the optimum and its penalty are found anew.
    rules: dict[str, dict[str, Any]] = {
        "": {},
        "-0.5sd": {"threshold": 0.5},
        "-half": {"max_suppressed": 0.5},
    }
    candidates: dict[str, Unfitted] = {
        "class-balanced": Unfitted(BalancedClassifier()),
        "class-balanced-validation": Unfitted(BalancedClassifier(), FittedOn.VALIDATION),
        "class-balanced-both": Unfitted(BalancedClassifier(), FittedOn.BOTH),
        "cell-balanced": Unfitted(AutoDebiasClassifier(recipe="cell-balanced")),
    }
    for suffix, rule in rules.items():
        clf = NeuronTuneClassifier.as_described(solver="optimum", **rule)
        candidates[f"neurontune{suffix}"] = Unfitted(clf)
    return candidates | {"auto": Unfitted(AutoDebiasClassifier())}


CANDIDATES = _default_candidates()
"""Candidates of :func:`ntkit.debias` by name; they are in the table of every run."""

OTHER_METHODS = {
    name: LABEL_FREE[name]() for name in ("afr", "jtt", "self", "evals", "leace", "leia")
}
"""Further estimators, which the user chooses by name."""


@dataclass(frozen=True)
class Candidate:
    """A fitted candidate with its scores and accuracies.

    Attributes
    ----------
    name : str
        Name of the candidate.
    score : float
        Label-free score on the validation set; larger is better. By default
        ``worst_class_correctness_group_accuracy``.
    average, worst_class : float
        Accuracies on the evaluation set, in [0, 1].
    worst_group : float or None
        Accuracy of the worst group on the evaluation set, with group labels.
    n_suppressed : int
        Number of suppressed neurons.
    worst_named : float or None
        Validation accuracy of the worst group class × named attribute of at least 5 samples.
    spread : dict of str to float
        Standard deviation of the accuracies over seeds (random masks).
    note : str
        Warnings of the estimator.
    chosen : bool
        Whether this is the chosen head. ntkit writes it if it is better than the original.
    share : float
        Share of the new head in its interpolation with the original head. The scores are those of
        the interpolated head.

    Examples
    --------
    >>> from ntkit import Candidate
    >>> row = Candidate(
    ...     "balanced", score=1.2, average=0.9, worst_class=0.8, worst_group=None, n_suppressed=0
    ... )
    >>> row.name, row.average, row.chosen
    ('balanced', 0.9, False)
    """

    name: str
    score: float
    average: float
    worst_class: float
    worst_group: float | None
    n_suppressed: int
    worst_named: float | None = None
    spread: dict[str, float] = field(default_factory=dict)
    note: str = ""
    chosen: bool = False
    share: float = 1.0

    @property
    def title(self) -> str:
        """str: the name, and how far it was interpolated."""
        return (
            self.name
            if self.share == 1
            else f"{self.name}, interpolated at {percent(self.share, 0)}"
        )


def change_candidates(*, named: bool, read: bool = False) -> dict[str, Unfitted]:
    """Candidates of a repair with changed copies; ``read`` if these tell groups of originals."""
    # NeuronTune by change suppresses a share of the neurons: those that the changes move most.
    rule: dict[str, Any] = {"statistic": "change", "threshold": 0.0}
    estimators: dict[str, Any] = {
        "copies": InvariantClassifier(penalties=(0,), originals=True),
        "copies and penalty": InvariantClassifier(originals=False),
    }
    if named:
        estimators["groups and copies"] = AutoDebiasClassifier(recipe="group-balanced")
    for share in (0.3, 0.5, 0.7):
        clf = NeuronTuneClassifier(max_suppressed=share, **rule)
        estimators[f"neurontune-change-{100 * share:.0f}"] = clf
    candidates = {name: Unfitted(clf, FittedOn.COPIES) for name, clf in estimators.items()}
    if read:
        candidates[READ] = Unfitted(AutoDebiasClassifier(recipe="group-balanced"), FittedOn.READ)
    return candidates


def asked_for(
    method: Any,
    *,
    named: bool = False,
    partly_known: bool = False,
    by_change: bool = False,
    read: bool = False,
    validation_balanced: bool = False,
) -> tuple[dict[str, Unfitted], str | None]:
    """All candidates with the user's method, and its name; None if a score chooses."""
    candidates, default = {**CANDIDATES}, "auto"
    if validation_balanced:
        candidates["auto"] = Unfitted(AutoDebiasClassifier(recipe="class-balanced on X_val"))
    if by_change:
        candidates |= change_candidates(named=named, read=read)
        default = BY_CHANGE
    if partly_known:
        default = f"{GROUP_BALANCED} by labels" if named else GROUP_BALANCED
        candidates |= {default: Unfitted(DFRClassifier(variant="weighted"), FittedOn.LABELS)}
    if named:
        default = BY_CHANGE if by_change else GROUP_BALANCED
        candidates |= {GROUP_BALANCED: Unfitted(AutoDebiasClassifier(recipe="group-balanced"))}
    method = default if method is None else method
    if not isinstance(method, str):
        if isinstance(method, type) or not hasattr(method, "get_params"):
            raise InputError(
                f"method must be the name of a candidate or score, or a classifier. Got {method!r}."
            )
        if isinstance(method, DFRClassifier | GroupDROClassifier | GroupInference):
            raise InputError(
                f"{type(method).__name__} needs groups, which a method of yours does not get. Name "
                "what must not matter with spurious= or attribute=, and omit method: debias "
                "balances these groups."
            )
        return candidates | {YOURS: Unfitted(method)}, YOURS
    if method in OTHER_METHODS:
        return candidates | {method: Unfitted(OTHER_METHODS[method])}, method
    if method in LABEL_FREE_SCORES:
        return candidates, None
    if method not in candidates and not (by_change and method == BY_CHANGE):
        known = ", ".join([*candidates, *OTHER_METHODS])
        raise InputError(
            f"There is no candidate {method!r}. Choose one of {known}, or a score that chooses "
            f"among them: {', '.join(LABEL_FREE_SCORES)}."
        )
    return candidates, method


def is_degenerate(clf: Any) -> bool:
    """Whether a fitted NeuronTune suppresses nearly all neurons, an arbitrary mask."""
    if not isinstance(clf, NeuronTuneClassifier):
        return False
    return bool(clf.suppressed_.sum() > _NEARLY_ALL * clf.non_constant_.sum())


def n_suppressed(clf: Any) -> int:
    """Number of neurons that a fitted estimator suppresses."""
    return int(np.sum(getattr(clf, "suppressed_", 0)))
