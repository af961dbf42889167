"""How a question stands: answers, the groups that they give, how often a model is right in each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.estimators import GroupInference
from ntkit.metrics import wilson
from ntkit.questions._folder import ANSWERS, PAGE
from ntkit.questions._labels import Labels
from ntkit.questions._progress import Progress

__all__ = ["THE_MODEL", "GroupStanding", "Labelling", "standing_of"]

Array = NDArray[Any]
THE_MODEL = "the model as it is"
_CONFIDENCE = 0.95
_FEWEST = 5  # samples, below which no share is told


@dataclass(frozen=True)
class GroupStanding:
    """A group of a class and a value of the attribute, as far as it is known.

    Attributes
    ----------
    name : str
        Class and value.
    n_answered : int
        Samples of which a person said so.
    n_taken : int
        Samples that are taken for it, these among them.
    accuracy : float
        Share of those taken for it that the head gets right; NaN for fewer than 5.
    interval : tuple of float
        Wilson's, of 95 %.
    """

    name: str
    n_answered: int
    n_taken: int
    accuracy: float
    interval: tuple[float, float]

    @property
    def share(self) -> str:
        """Accuracy and interval in percent."""
        if np.isnan(self.accuracy):
            return "–"
        low, high = (100 * limit for limit in self.interval)
        return f"{100 * self.accuracy:.1f} % [{low:.1f}, {high:.1f}]"


@dataclass(frozen=True, eq=False)
class Labelling:
    """How far a question has come, and what is asked next.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    labels : Labels
        Answers so far.
    n_new : int
        How many of them are new, or others than the last time.
    asked : tuple of str
        Names of the samples that are asked about now.
    table : str
        Name of the file to fill in, instead of the page.
    progress : Progress or None
        Whether more answers pay; None before the first.
    groups : tuple of GroupStanding
        Groups class × value, as the answers give them.
    view : str or None
        Where the attribute is read from; None where nothing reads it.
    of_head : str
        Whose accuracies these are.
    notes : tuple of str
        What was assumed of the samples.
    about_answers : tuple of str
        Which answers went to samples of other names, were left out, or matched by name.
    """

    path: Path
    labels: Labels
    n_new: int
    asked: tuple[str, ...]
    table: str
    progress: Progress | None
    groups: tuple[GroupStanding, ...]
    view: str | None
    of_head: str
    notes: tuple[str, ...]
    about_answers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*self.about_answers, *self._standing(), *self._next()])

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        done = self.progress
        return {
            "question": self.labels.question,
            "values": list(self.labels.values),
            "n_answers": self.labels.n_answers,
            "n_new": self.n_new,
            "enough": done is not None and done.enough,
            "reason": None if done is None else done.reason,
            "overlap": None if done is None or np.isnan(done.overlap) else done.overlap,
            "view": self.view,
            "groups": [asdict(group) for group in self.groups],
            "asked": list(self.asked),
            "answers": str(self.path / ANSWERS),
            "page": str(self.path / PAGE) if self.asked else None,
            "table": str(self.path / self.table) if self.asked else None,
            "notes": [*self.notes, *self.about_answers],
        }

    def _standing(self) -> list[str]:
        labels, done = self.labels, self.progress
        lines = [f"{labels.question} {_counted(labels.n_answers, 'answer')}, {self.n_new} new."]
        unknown = len(labels.answers) - labels.n_answers
        if unknown:
            lines.append(f"Of {_counted(unknown, 'more sample')} nobody could tell.")
        if done is None:
            return lines
        if self.view is not None:
            lines.append(f"Of all other samples it is read from the view {self.view!r}.")
        width = max(len(group.name) for group in self.groups)
        lines.append(f"{'group':<{width}}  answered  taken for it  right, by {self.of_head}")
        lines += [
            f"{g.name:<{width}}  {g.n_answered:>8}  {g.n_taken:>12}  {g.share}" for g in self.groups
        ]
        known = [group for group in self.groups if not np.isnan(group.accuracy)]
        if known:
            worst = min(known, key=lambda group: group.accuracy)
            lines.append(f"The worst group now: {worst.name}, {worst.share} right.")
            if self.of_head == THE_MODEL:
                lines.append("If the model was fitted on these samples, these shares flatter it.")
        return [*lines, done.reason]

    def _next(self) -> list[str]:
        path, done = self.path, self.progress
        lines = []
        n_classes = len(self.groups) // len(self.labels.values)
        told_apart = sum(group.n_answered > 0 for group in self.groups) > n_classes
        if self.view is not None and told_apart:  # what debias asks for
            answers = shlex.quote(str(path / ANSWERS))
            lines.append(f"To repair with what is known: ntkit debias … --answers {answers}")
        if not self.asked:
            return [*lines, "There is nothing left to ask."]
        more = "To go on all the same" if done is not None and done.enough else "Next"
        return [
            *lines,
            f"{more}: {_counted(len(self.asked), 'sample')}. Open {path / PAGE} in a browser and "
            f"move the labels.csv that it saves to {path} (or fill in {path / self.table}), then "
            "run the same command again.",
        ]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def standing_of(
    y: Array, attribute: Array, inference: GroupInference, right: Array, values: Sequence[str]
) -> tuple[GroupStanding, ...]:
    """All groups of the classes of samples with the values of an attribute.

    Parameters
    ----------
    y, right : ndarray of shape (N,)
        Classes, and whether a head is right.
    attribute : ndarray of object, shape (N,)
        What was answered; None where nobody was asked.
    inference : GroupInference
        Fitted to that.
    values : sequence of str
        Values that could be answered.
    """
    q = inference.label_distributions_
    taken_for = np.where(q.max(axis=1) > 0, inference.classes_[q.argmax(axis=1)].astype(object), "")
    found = list[GroupStanding]()
    for label in np.unique(y):
        for value in values:
            own = (y == label) & (taken_for == value)
            n, accuracy, interval = int(own.sum()), float("nan"), (0.0, 1.0)
            if n >= _FEWEST:
                accuracy = float(right[own].mean())
                low, high = wilson(np.array([accuracy]), np.array([n]), _CONFIDENCE)
                interval = (float(low[0]), float(high[0]))
            answered = int(((y == label) & (attribute == value)).sum())
            found.append(GroupStanding(f"{label} × {value}", answered, n, accuracy, interval))
    return tuple(found)
