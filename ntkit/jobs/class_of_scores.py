"""Which class the scores of a sample name, and which class each column of scores is of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import positions_of
from ntkit._labels import composed, listed, listed_in_order, plain_label, spelt_as, without_case
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics.class_order import class_order
from ntkit.samples.samples import as_classes

TIE = 1e-6
"""Difference of probabilities that the rounding of single precision explains: neither is above."""
_CAPITAL, _DIGIT = re.compile(r"(?<=[a-z])(?=[A-Z])"), re.compile(r"(?<=[^\W\d_])(?=\d)")
_BETWEEN = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")


def are_scores(values: Any, y: Array) -> bool:
    """Whether values in the place of predicted classes are scores: two columns, or fractions."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] > 1:
        return array.dtype.kind in "fiu"
    return _has_fractions(array) and not _has_fractions(y)


def _has_fractions(values: Array) -> bool:
    """Whether numbers are not all whole, apart from missing ones."""
    return values.dtype.kind == "f" and bool((values[np.isfinite(values)] % 1 != 0).any())


def read_scores(
    y: Array,
    scores: ArrayLike,
    classes: ArrayLike | None,
    *,
    what: str = "scores",
    go_on: str = "",
    strict: bool,
) -> tuple[Array, Array, Array, list[str]]:
    """Classes, indices of labels and of the classes with the highest score; and notes.

    The columns are those of ``classes`` in this order, else of the sorted classes of ``y``.
    """
    values = np.asarray(scores)
    if values.dtype.kind not in "fiub":
        raise InputError(f"{what} must be numbers. Got an array of type {values.dtype}.")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != len(y):
        raise InputError(f"{what} needs a row for each of {len(y)} labels. Got {values.shape}.")
    if not np.isfinite(values).all():
        raise InputError(f"There are NaN or infinite values in {what}.")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    labels = np.unique(y) if classes is None else np.asarray(classes)
    if values.shape[1] + (values.shape[1] == 1) != len(labels):
        raise InputError(
            f"{what} has {values.shape[1]} columns, and there are {len(labels)} classes: "
            f"{listed_in_order(labels)}. Pass one column per class in this order (for two classes, "
            "the second's alone is enough), or name the classes of the columns with classes=."
        )
    fix = "name every class in classes=."
    y = spelt_as(y, labels)
    y_index = positions_of(y, labels, what="y", where="classes", fix=fix)
    columns = getattr(scores, "columns", None)
    predicted, notes = class_of_scores(
        values,
        y,
        labels,
        names=None if columns is None else [*columns],
        where=f"{what}: ",
        fix=f"Name the classes in the order of the columns with classes=. {go_on}".strip(),
        ordered=classes is not None,
        strict=strict,
    )
    return labels, y_index, predicted, notes


def class_of_scores(
    values: Array,
    y: Array,
    classes: Array,
    *,
    names: Sequence[Any] | None = None,
    where: str = "",
    fix: str = "",
    level: float | None = None,
    ordered: bool = False,
    strict: bool = True,
) -> tuple[Array, list[str]]:
    """Index of the class with the largest score; notes on named columns and on equal scores.

    Columns count by ``names`` if these are the classes', else by the order of the classes.
    ``ordered`` says that a person has named this order. If ``strict``, an order that evidently
    differs from that of the labels is an error.
    """
    called = None if names is None else [*map(str, names)]
    places: Sequence[int | None] = [None] * values.shape[1]
    places = places if called is None else places_of(called, classes, where)
    if classes.dtype.kind not in "UO" and None in places:
        places = [None] * len(places)  # score_1 and score_2 of the classes 0 and 1
    order, positive = _columns_by_class(places, called, classes, where, ordered=ordered)
    alone, by_name = values.shape[1] == 1, {*places} == {*range(len(classes))}
    values = values[:, order]
    if alone or level is not None:
        name = None if called is None else called[order[-1]]
        index, notes = _above(values[:, -1], level, classes, positive, where, name)
    else:
        notes = list[str]()
        if called is not None and not (by_name or ordered):
            notes.append(
                f"{where}the scores {listed_in_order(called)} are taken for those of the classes "
                f"{listed_in_order(classes)}, in this order. To be sure, name them like "
                f"prob_{classes[0]}."
            )
        index, largest = values.argmax(axis=1), values == values.max(axis=1, keepdims=True)
        equal = "the largest scores are equal, and the first class counts"
        notes += _note_on_ties(largest.sum(axis=1) > 1, equal, where)
    named = ordered or None not in places
    other = class_order(y, classes[index], classes) if strict and not named else None
    if other is not None:
        before, after = (100 * share for share in (other.accuracy, other.permuted_accuracy))
        raise InputError(
            f"{where}the scores seem to be in another order than the classes "
            f"{listed_in_order(classes)}: accuracy is {before:.0f} %, and {after:.0f} % in another "
            f"order. {fix}"
        )
    return index, notes


def _columns_by_class(
    places: Sequence[int | None],
    names: Sequence[str] | None,
    classes: Array,
    where: str,
    *,
    ordered: bool,
) -> tuple[list[int], int]:
    """Columns of scores in the order of the classes, and the class that a column alone is of."""
    by_name, alone = {*places} == {*range(len(classes))}, len(places) == 1
    # A column alone is of the second class of two, or of the first if it has its name.
    of_first = alone and [*places] == [0] and classes.dtype.kind in "UO" and not ordered
    wrong = [i for i, place in enumerate(places) if place not in (None, alone + i)]
    if names is not None and wrong and (ordered or not (by_name or of_first)):
        raise InputError(
            f"{where}the scores of {classes[alone + wrong[0]].item()!r} would be in "
            f"{names[wrong[0]]!r}. Name one column for each of {listed_in_order(classes)} in this "
            "order; for two classes, the second's alone is enough."
        )
    numbers = range(len(places))
    return [places.index(i) if by_name else i for i in numbers], 0 if of_first else 1


def _above(
    score: Array, level: float | None, classes: Array, positive: int, where: str, name: str | None
) -> tuple[Array, list[str]]:
    """Index of one class of two if its score is above a level, else of the other; and notes."""
    column = "the only column" if name is None else repr(name)
    probable = bool(len(score)) and score.min() >= 0 and score.max() <= 1
    if level is not None and not probable:
        raise InputError(
            f"{where}{column} has scores below 0 or above 1, and the threshold is a "
            "probability. Write probabilities into the table, or omit the threshold."
        )
    if not probable and score.min() >= 0:
        raise InputError(
            f"{where}{column} has scores from 0 to {score.max():g}, which are not "
            "probabilities, and logits have both signs. Write probabilities from 0 to 1."
        )
    limit = (0.5 if probable else 0.0) if level is None else level  # of probabilities or logits
    notes = list[str]()
    if name is not None:
        notes.append(
            f"{where}{classes[positive].item()!r} is predicted where the score {column} is above "
            f"{limit:g}{'' if probable else ', as a logit'}."
        )
    if level is None:  # a person who names the threshold knows the scores
        equal = f"the score is {limit:g} itself, which is not above it"
        notes += _note_on_ties(np.abs(score - limit) <= TIE * probable, equal, where)
    return np.where(score > limit + TIE * probable, positive, 1 - positive), notes


def _note_on_ties(tied: Array, equal: str, where: str) -> list[str]:
    """A note on the share of rows whose scores are equal, if there are any."""
    n = int(tied.sum())
    return [
        f"{where}in {counted(n, 'row')} ({100 * n / len(tied):.1f} %), {equal}. If the "
        "scores are rounded, write them with more digits."
    ] * (n > 0)


def places_of(names: Sequence[str], classes: Array, where: str) -> list[int | None]:
    """Place of the class that each column of scores names, as in ``prob_cat``, or None."""
    own = [*zip(names, names, strict=True)]
    if len(names) > 1:  # without what all names begin and end with
        starts, ends = _n_shared(names), _n_shared([name[::-1] for name in names])
        own = [(name, name[starts : len(name) - ends]) for name in names]
    find, places = _finder(classes, alone=len(names) == 1), list[int | None]()
    for name, rest in own:
        fits = find(name)
        if len(fits) > 1 and rest:
            fits = find(rest) or fits
        if len(fits) > 1:
            both = listed([classes[i].item() for i in fits])
            raise InputError(
                f"{where}the column of scores {name!r} names several classes ({both}). Rename "
                f"it like its class, such as prob_{classes[fits[0]]}."
            )
        places.append(fits[0] if fits else None)
    if None in places:  # pandas writes 0 as 0.0 where a label is missing
        plain = np.asarray([*map(plain_label, classes.tolist())])
        whole = as_classes(plain)
        if whole.dtype.kind == "i" and [*plain] != [*map(str, classes.tolist())]:
            by_number = places_of(names, whole, where)
            return places if None in by_number else by_number
    return places


def _n_shared(names: Sequence[str]) -> int:
    """Number of characters in the words that all names begin with."""
    alike = takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))
    return len(re.sub(r"[^\W_]*$", "", "".join(letters[0] for letters in alike)))


def _finder(classes: Array, *, alone: bool) -> Callable[[str], list[int]]:
    """A function that finds the places of the classes that are words of a column's name."""
    numbers, texts = classes.dtype.kind not in "UO", [composed(label) for label in classes.tolist()]
    changes = [_CAPITAL, _BETWEEN] if not numbers else [] if alone else [_DIGIT]  # p0 and p1
    writings: list[Callable[[str], str]] = [composed]
    further: list[Callable[[str], str]] = [partial(each.sub, "_") for each in changes]
    for change in (*further, without_case):
        changed = [*map(change, texts)]
        if len({*changed}) == len(texts):  # else such differences tell classes apart
            texts, writings = changed, [*writings, change]
    longest = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    end = "$" if numbers and alone else r"(?![^\W_])"  # v1_score is not that of class 1

    def find(column: str) -> list[int]:
        places = list[int]()
        for change in writings:
            column = change(column)
        for i in longest:  # no part of a longer class counts
            if texts[i] in column:
                column, n = re.subn(rf"(?<![^\W_]){re.escape(texts[i])}{end}", "|", column)
                places += [i] * bool(n)
        return places

    return find
