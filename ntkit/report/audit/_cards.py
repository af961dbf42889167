"""A suspicion as a page shows it: in words, with the figures and examples of its two groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ntkit.report._inputs import Inputs
from ntkit.report._looks import shortened
from ntkit.report.audit._examples import Drawn, examples_of
from ntkit.report.audit._look import Look
from ntkit.report.audit._plain_words import Wording, class_name, question_of, wording
from ntkit.suspicions import Cell, Predictions, Suspicion

__all__ = ["Bar", "Card", "Group", "card_of", "percent"]

Array = NDArray[Any]
_MOST_NAMES = 3
_MOST_CLASSES = 12
_LONGEST_NAME = 100
_PICTURES, _OTHERS = 6, 4  # examples of a group


@dataclass(frozen=True)
class Bar:
    """Accuracy of some samples of a class, with its interval, in percent."""

    label: str
    accuracy: float
    low: float
    high: float
    count: int

    @property
    def shown(self) -> str:
        """The accuracy in words."""
        return percent(self.accuracy / 100)


@dataclass(frozen=True)
class Group:
    """One of the two groups: what it is, its figures, and some of its samples."""

    bar: Bar
    examples: Drawn
    conflicting: bool
    looks: tuple[Look, ...] = ()


@dataclass(frozen=True)
class Card:
    """All that is shown of a suspicion.

    Attributes
    ----------
    entry : str
        What ``answers.json`` says of it but for the answer, as JSON.
    name : str
        Of the attribute.
    words : Wording
        What it is.
    question : str
        What is asked of it.
    retrained : bool
        Whether it is about the model as class-balanced retraining would leave it.
    seems, verdict, common : str
        What the model seems to do, how right it is, how common the attribute is: a sentence each.
    really : str
        The class that both groups are of.
    groups : tuple of Group
        The one that is surely wrong most often, and the other samples of its class.
    classes : tuple of (str, tuple of Bar)
        Figures of all classes, as far as shown.
    n_more_classes : int
        Those that are not.
    same, opposed : tuple of str
        Attributes of the family, in words.
    score, p_value : str
        As the table has them.
    elsewhere : str
        How many samples without labels have it; empty where that is not known.
    looks_elsewhere : tuple of Look
        Some of these.
    """

    entry: str
    name: str
    words: Wording
    question: str
    retrained: bool
    seems: str
    verdict: str
    really: str
    common: str
    groups: tuple[Group, ...]
    classes: tuple[tuple[str, tuple[Bar, ...]], ...]
    n_more_classes: int
    same: tuple[str, ...]
    opposed: tuple[str, ...]
    score: str
    p_value: str
    elsewhere: str = ""
    looks_elsewhere: tuple[Look, ...] = ()

    @property
    def rows(self) -> list[int]:
        """Rows of all examples."""
        return [row for group in self.groups for row in group.examples]


def card_of(
    suspicion: Suspicion,
    entry: Mapping[str, Any],
    values: Array,
    predictions: Predictions,
    inputs: Inputs,
    seed: int,
    layers: Sequence[str] = (),
    retrained: bool = False,
) -> Card:
    """Put a suspicion in words, and draw its examples.

    Parameters
    ----------
    suspicion : Suspicion
        What was found.
    entry : mapping
        What ``answers.json`` says of it, but for the answer.
    values : ndarray of int8, shape (N,)
        The attribute of every sample.
    predictions : Predictions
        Of the samples.
    inputs : Inputs
        How they look.
    seed : int
        Decides the draw.
    layers : sequence of str
        Layers of the model that were looked at, in order.
    retrained : bool
        Whether the predictions are those after class-balanced retraining.

    Returns
    -------
    Card
        Its groups have no looks yet.
    """
    columns = [name for table in inputs.tables for name in table]
    words, samples = wording(suspicion.name, suspicion.view, columns, layers), inputs.samples
    worst = suspicion.worst
    two = [cell for cell in (worst, suspicion.beside(worst)) if cell.count]
    most = _PICTURES if inputs.images is not None else _OTHERS
    groups = tuple(
        _group(cell, words, values, predictions, conflicting=cell is worst, most=most, seed=seed)
        for cell in two
    )
    same = _names(suspicion.same, columns)
    agreeing = words.having if suspicion.present else words.lacking
    model, is_right = "The model seems", "it is right"
    if retrained:
        model = "After class-balanced retraining, the model would seem"
        is_right = "it would be right"
    labels = list(dict.fromkeys(cell.label for cell in suspicion.cells))
    return Card(
        entry=json.dumps(dict(entry), separators=(",", ":")),
        name=shortened(suspicion.name, _LONGEST_NAME),
        words=words,
        question=question_of(suspicion, columns),
        retrained=retrained,
        seems=f"{model} to take {samples} {agreeing} for {class_name(suspicion.goes_with)}.",
        verdict=_verdict(groups, class_name(worst.label), samples, is_right),
        really=class_name(worst.label),
        common=f"Of the {samples} of class {class_name(suspicion.goes_with)}, "
        f"{percent(suspicion.share)} are ones {words.having}; of all others, "
        f"{percent(suspicion.share_elsewhere)} are.",
        groups=groups,
        classes=tuple(
            (
                class_name(label),
                tuple(_bar(c, words) for c in suspicion.cells if c.label == label and c.count),
            )
            for label in labels[:_MOST_CLASSES]
        ),
        n_more_classes=max(0, len(labels) - _MOST_CLASSES),
        same=same,
        opposed=_names(suspicion.opposed, columns),
        score=f"{suspicion.score:.1f}",
        p_value=f"{suspicion.p_value:.0e}" if suspicion.p_value > 0 else "< 1e-300",
    )


def _group(
    cell: Cell,
    words: Wording,
    values: Array,
    predictions: Predictions,
    *,
    conflicting: bool,
    most: int,
    seed: int,
) -> Group:
    label = predictions.classes.tolist().index(cell.label)
    group = (predictions.y_index == label) & (values == cell.having) & (predictions.weight > 0)
    examples = examples_of(group, predictions.wrong, wrong_first=conflicting, most=most, seed=seed)
    return Group(_bar(cell, words), examples, conflicting)


def _bar(cell: Cell, words: Wording) -> Bar:
    low, high = (100 * limit for limit in cell.interval)
    label = words.having if cell.having else words.lacking
    return Bar(label, 100 * cell.accuracy, low, high, cell.count)


def _verdict(groups: Sequence[Group], label: str, samples: str, is_right: str) -> str:
    first, *others = (group.bar for group in groups)
    said = f"{first.shown} of those {first.label}"
    for other in others:
        joined = "but" if first.accuracy < other.accuracy else "and"
        said += f", {joined} on {other.shown} of the others"
    return f"Of the {samples} that are really {label}, {is_right} on {said}."


def percent(share: float) -> str:
    """A share in words: whole percents, but never 100 % of what is not all, or 0 % of what is."""
    whole = round(100 * share)
    exact = share in (0, 1) or whole not in (0, 100)
    shown = f"{whole}" if exact else f"{100 * share:.1f}"
    return f"{shown}\N{NO-BREAK SPACE}%"


def _names(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Attributes that a person can make something of, in words, and how many more there are."""
    shown = _readable(names, columns)[:_MOST_NAMES]
    more = len(names) - len(shown)
    return (*shown, *([f"and {more} more"] if more and shown else ()))


def _readable(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    words = (wording(name, _kind(name), columns) for name in names)
    return [each.title for each in words if not each.hint]


def _kind(name: str) -> str:
    """Kind of an attribute by its name, for those that only a name is known of."""
    return name.partition(":")[0] if ":" in name else name.partition(" ")[0]
