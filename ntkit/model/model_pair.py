"""An original model and its debiased version, loaded alike."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ntkit._labels import listed_in_order, spelt_as
from ntkit.exceptions import HeadNotFoundError, InputError
from ntkit.model.class_names import CLASSES
from ntkit.model.frozen_model import FrozenModel, loaded, name_of, with_columns_of

_NEW_HEAD = "ntkit.new_head"
SOURCE = "ntkit.source_sha256"


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
        places["any_scores"] = any_scores
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
    if (told := _named_by_second(first, second)) is not None:
        assert second.head is not None
        first = first.with_classes(second.head.classes, matched_by=told or None)
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
    given = {} if in_memory else places | {"classes": classes}
    try:
        first = loaded(original, label=name, **given)
    except InputError:  # it has no such label, or does not name its labels
        whole, named = loaded(original, **given), loaded(debiased, **places)
        if (told := _named_by_second(whole, named)) is None:
            raise
        first = _label_by_names(whole, name, named.label_names, told)
    try:
        second = loaded(debiased, label=name, **places)
    except InputError:
        whole = loaded(debiased, **places)
        if whole.class_names is not None or len(whole.label_names) != len(first.label_names):
            raise
        note = note_on_class_names(name_of(whole), "first", first.label_names)
        second = _label_by_names(whole, name, first.label_names, note)
    return _with_columns(first, second)


def _label_by_names(
    model: FrozenModel, label: str, names: tuple[str, ...], note: str
) -> FrozenModel:
    """One label of a model that does not name its labels, by the names of another one."""
    one = model.with_classes(names).of_label(label)
    return one.with_classes(one.class_names, matched_by=note or None)


def _named_by_second(first: FrozenModel, second: FrozenModel) -> str | None:
    """The note if the second model names the classes of the first, which does not; else None.

    The note is empty if ntkit made the second model from the first: their classes have one order.
    """
    named = second.has_class_names and not first.has_class_names
    if first.head is None or second.head is None or not named or is_new_head(first, second):
        return None
    if first.path is not None and second.metadata.get(SOURCE) == first.sha256():
        return ""
    if CLASSES not in second.metadata or not same_network(first, second):
        return None
    return note_on_class_names(name_of(first), "second", second.head.classes)


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
    made = second.metadata.get(SOURCE) == first.sha256()
    return made or first.metadata.get(SOURCE) == second.sha256() or same_network(first, second)


def is_new_head(original: FrozenModel, debiased: FrozenModel) -> bool:
    """Whether the second model's head has other classes than the first one's."""
    if original.head is None or debiased.metadata.get(_NEW_HEAD) == "true":
        return True
    if debiased.head is None:
        return False
    a, b = original.head.classes.tolist(), debiased.head.classes.tolist()
    same = set(a) == set(b) or [*range(len(a))] in (a, b)  # one of the two may have positions
    return len(a) != len(b) or not same


def same_network(first: FrozenModel, second: FrozenModel) -> bool:
    """Whether two models compute their embeddings by the same graph, to the byte."""
    if first is second:
        return True
    if {*first.files[1:]} != {*second.files[1:]}:  # weights in files of the same name perhaps
        return False
    one, other = (each.body().SerializeToString(deterministic=True) for each in (first, second))
    return bool(one == other)
