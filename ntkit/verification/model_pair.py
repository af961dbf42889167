"""An original model and its debiased version: loaded alike, and compared class by class."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ntkit._labels import composed, listed_in_order, spelt_as
from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import HeadNotFoundError, InputError
from ntkit.head import LinearHead
from ntkit.metrics.class_order import class_order
from ntkit.model import FrozenModel
from ntkit.model.class_names import CLASSES, names_in
from ntkit.model.frozen_model import loaded, name_of, with_columns_of

_FEWEST = 30  # samples that make a correlation of scores meaningful
_NEW_HEAD = "ntkit.new_head"
_SOURCE = "ntkit.source_sha256"


def load_pair(
    original: FrozenModel | str | os.PathLike[str],
    debiased: FrozenModel | str | os.PathLike[str],
    *,
    classes: Any = None,
    label: str | None = None,
    any_scores: bool = False,
    **places: Any,
) -> tuple[FrozenModel, FrozenModel]:
    """Load a model and the same model with another head, with the same embedding."""
    name = label or getattr(original, "label", None)
    if name is not None:
        return _pair_of_labels(original, debiased, name, classes, places)
    if isinstance(original, FrozenModel):
        places = {**original.located_by}
    named = any(places.values())
    try:  # the same tensors, if the file has them; else it names others
        second = loaded(debiased, **(places if named else {}), any_scores=any_scores)
    except (HeadNotFoundError, InputError):
        if not named:
            raise
        second = loaded(debiased, any_scores=any_scores)
    places = places if named else {**second.located_by}
    first = loaded(original, **places, classes=classes, any_scores=any_scores)
    named = second.has_class_names and not first.has_class_names
    if first.head is not None and second.head is not None and named:
        # If ntkit made the second model from the first, their classes have one order.
        made = first.path is not None and second.metadata.get(_SOURCE) == first.sha256()
        alike = made or (CLASSES in second.metadata and same_network(first, second))
        if alike and not is_new_head(first, second):
            names = second.head.classes
            told = None if made else note_on_class_names(name_of(first), "second", names)
            first = first.with_classes(names, matched_by=told)
    if first.head is not None and second.head is not None and not second.label_names:
        classes = spelt_as(second.head.classes, first.head.classes)  # as the first one spells them
        if not np.array_equal(classes, second.head.classes):
            second = second.with_classes(classes)
    return _with_columns(first, second)


def _pair_of_labels(
    original: Any, debiased: Any, name: str, classes: Any, places: dict[str, Any]
) -> tuple[FrozenModel, FrozenModel]:
    """Load one label of two models; a model that does not name its labels has the other's."""
    in_memory = isinstance(original, FrozenModel)
    first = loaded(original, label=name, **({} if in_memory else places | {"classes": classes}))
    try:
        second = loaded(debiased, label=name, **places)
    except InputError:  # it has no such label, or does not name its labels
        whole = loaded(debiased, **places)
        if whole.class_names is not None or len(whole.label_names) != len(first.label_names):
            raise
        second = whole.with_classes(first.label_names).of_label(name)
        note = note_on_class_names(name_of(second), "first", first.label_names)
        second = second.with_classes(second.class_names, matched_by=note)
    return _with_columns(first, second)


def note_on_class_names(name: str, place: str, classes: Any) -> str:
    """The sentence on a model that gets the class names of the first or the second one."""
    return (
        f"{name} does not name its classes, so ntkit takes those of the {place} model in its "
        f"order: {listed_in_order(classes)}."
    )


def _with_columns(first: FrozenModel, second: FrozenModel) -> tuple[FrozenModel, FrozenModel]:
    """Two models with the columns that one of them names, if these are those of its network."""
    columns = [[info.columns for info in each.inputs] for each in (first, second)]
    if columns[0] == columns[1] or not of_one_network(first, second):
        return first, second
    return with_columns_of(first, second), with_columns_of(second, first)


def of_one_network(first: FrozenModel, second: FrozenModel) -> bool:
    """Whether ntkit made one of two models from the other, or they have the same network."""
    made = second.metadata.get(_SOURCE) == first.sha256()
    return made or first.metadata.get(_SOURCE) == second.sha256() or same_network(first, second)


def is_new_head(original: FrozenModel, debiased: FrozenModel) -> bool:
    """Whether the second model's head has other classes than the first one's."""
    if original.head is None or debiased.metadata.get(_NEW_HEAD) == "true":
        return True
    if debiased.head is None:
        return False
    a, b = original.head.classes.tolist(), debiased.head.classes.tolist()
    same = set(a) == set(b) or [*range(len(a))] in (a, b)  # one of the two may have positions
    return len(a) != len(b) or not same


def no_class_moved(
    first: FrozenModel,
    second: FrozenModel,
    heads: tuple[LinearHead, LinearHead] | None,
    Z: Array,
) -> bool:
    """Whether the same class is at each position, by the names in two files, and two heads."""
    # By their predictions, another order counts if it fits far better (ntkit.metrics.class_order).
    # It also counts if the scores of the moved classes correlate with one another's at .9 or more
    # and with their own at .5 or less; that covers classes that are never predicted.
    before, after = names_in(first.metadata), names_in(second.metadata)
    pairs = [(names, after[key]) for key, names in before.items() if key in after]
    if first.head is not None and second.head is not None:
        pairs.append((tuple(first.head.classes.tolist()), tuple(second.head.classes.tolist())))
    texts = (([*map(composed, a)], [*map(composed, b)]) for a, b in pairs)
    if any(a != b and set(a) == set(b) for a, b in texts):
        return False
    if heads is None or heads[0].n_neurons != heads[1].n_neurons:
        return True
    shown, shown_after = (_numbered(head).predict(Z) for head in heads)
    if class_order(shown, shown_after, np.arange(len(heads[0].classes))) is not None:
        return False
    if len(Z) < _FEWEST:
        return True
    standardised = list[Array]()
    for head in heads:
        scores = head.logits(np.asarray(Z, np.float64))
        scores = scores - scores.mean(axis=1, keepdims=True)
        scores -= scores.mean(axis=0)
        deviation = scores.std(axis=0)
        standardised.append(scores / np.where(deviation > 0, deviation, 1))
    correlation = standardised[0].T @ standardised[1] / len(Z)
    identity = np.arange(len(correlation))
    best = linear_sum_assignment(correlation + 0.05 * np.eye(len(identity)), maximize=True)[1]
    moved = identity[best != identity]
    if not len(moved):
        return True
    crossed = correlation[moved, best[moved]].mean()
    return not (crossed >= 0.9 and correlation[moved, moved].mean() <= 0.5)


def agreement(first: LinearHead, second: LinearHead, Z: Array, others: Array) -> float:
    """Share of samples on which two models of the same classes predict the same one."""
    if set(first.classes.tolist()) != set(second.classes.tolist()):
        first, second = _numbered(first), _numbered(second)
    return float((first.predict(Z) == second.predict(others)).mean())


def notes_on(
    first: FrozenModel, second: FrozenModel, head: LinearHead, Z: Array, y: Any
) -> tuple[str, ...]:
    """Notes on comparisons that are not possible, and on classes and labels."""
    notes = []
    if first.head is None:
        notes.append("The original has no head, so its predictions cannot be compared.")
    elif is_new_head(first, second):
        notes.append(
            f"The head has other classes ({_quoted(head)}) than the original's "
            f"({_quoted(first.head)}), so their predictions cannot be compared."
        )
    made_from = second.metadata.get(_SOURCE)
    if made_from and first.path is not None and made_from != first.sha256():
        notes.append(
            "The debiased file was made from another file than this original, according to its "
            f"metadata (sha256 {made_from[:12]}…)."
        )
    if y is not None:
        if not set(head.classes.tolist()) & set(np.unique(y).tolist()):
            head = _numbered(head)  # labels may be positions
        order = class_order(np.asarray(y), head.predict(Z), head.classes)
        notes += [] if order is None else [f"Of the debiased model: {order.sentence()}"]
    return tuple(notes)


def _numbered(head: LinearHead) -> LinearHead:
    """A head whose classes are their positions."""
    return LinearHead(head.coef, head.intercept, np.arange(len(head.classes)))


def _quoted(head: LinearHead) -> str:
    return listed(map(repr, head.classes.tolist()), 5)


def same_network(first: FrozenModel, second: FrozenModel) -> bool:
    """Whether two models compute their embeddings by the same graph, to the byte."""
    if {*first.files[1:]} != {*second.files[1:]}:  # weights in files of the same name perhaps
        return False
    one, other = (each.body().SerializeToString(deterministic=True) for each in (first, second))
    return bool(one == other)
