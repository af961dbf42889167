"""Which views there are of samples that a model ran over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.attributes import (
    View,
    array,
    columns,
    layers,
    measured_pictures,
    pictures,
    words,
)
from ntkit.auditing._inputs import inputs_of, texts_of
from ntkit.auditing._metadata import Metadata
from ntkit.auditing._watched_pictures import WatchedPictures
from ntkit.exceptions import InputError
from ntkit.extraction import Embedded, Samples
from ntkit.report import Inputs
from ntkit.samples import ReadTable, is_aside, named_like_a_prediction

__all__ = ["VIEWS", "Read", "views_of", "views_of_table"]

Array = NDArray[Any]
VIEWS = ("word", "column", "input", "metadata", "picture", "file", "layer", "embedding")
"""Kinds of views that are found by themselves."""


@dataclass(frozen=True, eq=False)
class Read:
    """Samples, and what a pass over them gave.

    Attributes
    ----------
    samples : Samples
        What was given.
    embedded : Embedded
        Embeddings and layers.
    watched : WatchedPictures or None
        Of image files: what was seen of them.
    """

    samples: Samples
    embedded: Embedded
    watched: WatchedPictures | None = None


def views_of(
    read: Read, beside: Metadata | None, asked: Sequence[str] | None, random_state: int
) -> tuple[list[View], list[str]]:
    """Views of what there is, or of what of it was asked for.

    Parameters
    ----------
    read : Read
        Samples that a model ran over.
    beside : Metadata or None
        What is known beside them.
    asked : sequence of str or None
        Kinds; None for all.
    random_state : int
        Decides where clusters begin.

    Returns
    -------
    views : list of View
    notes : list of str
        What was left out or assumed.

    Raises
    ------
    InputError
        If there is nothing of a kind that was asked for.
    """
    notes = list[str]()
    found = [*_of_inputs(read, inputs_of(read.samples), notes)]
    if beside is not None:
        found.append(beside.view())
        notes += [beside.note] if beside.note else []
    if read.embedded.layers:
        found.append(layers(read.embedded.layers, random_state=random_state))
    if not read.embedded.layers or "embedding" in (asked or ()):
        # The nearer to the prediction, the more do errors depend on it anyhow.
        found.append(array(read.embedded.Z, kind="embedding"))
    kinds = [view.kind for view in found]
    for kind in asked or ():
        if kind not in kinds:
            raise InputError(
                f"There is no view {kind!r} of these samples; there are {', '.join(kinds)}."
            )
    return [view for view in found if asked is None or view.kind in asked], notes


def _of_inputs(read: Read, inputs: Inputs, notes: list[str]) -> Iterator[View]:
    if inputs.texts is not None:
        yield words(inputs.texts)
    if read.samples.table is not None:
        own, left = _of_table(read.samples, read.samples.table)
        yield from own
        notes += left
    elif inputs.table is not None:
        yield columns(inputs.table)
    if read.watched is not None:
        yield measured_pictures(read.watched.statistics())
        facts = read.watched.file_facts()
        if facts:
            yield columns(facts, kind="file")
    elif inputs.images is not None:
        yield pictures(inputs.images, len(inputs.images))
    X = read.samples.X
    numbers = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub"
    nameless = numbers and inputs.table is None
    if nameless and not read.samples.embedded:
        yield array(X, kind="input")


def views_of_table(samples: Samples, table: ReadTable) -> list[View]:
    """Columns that the model takes in, and those beside them, except what says nothing."""
    return _of_table(samples, table)[0]


def _of_table(samples: Samples, table: ReadTable) -> tuple[list[View], list[str]]:
    """The views of a table's columns, and a note on those that were left out."""
    found, notes = list[View](), list[str]()
    taken = table.inputs if texts_of(samples.X) is None else ()
    own = {name: table.columns[name] for name in taken if table.columns[name].ndim == 1}
    if own:
        found.append(columns(own))
    rest = {name: values for name, values in table.rest.items() if values.ndim == 1}
    left = [name for name, values in rest.items() if _says_nothing(name, values)]
    if left:
        notes.append(f"Not looked at, by their names: {', '.join(map(repr, left[:8]))}.")
    beside = {name: values for name, values in rest.items() if name not in left}
    if beside:
        found.append(columns(beside, kind="metadata"))
    return found, notes


def _says_nothing(name: str, values: Array) -> bool:
    """Whether a column numbers the rows, splits them, or is made of their class."""
    if named_like_a_prediction(name):
        return True
    few = len(set(map(str, values.tolist()))) <= len(values) / 2
    return is_aside(name) and not (few and name.lower().rstrip("s").endswith("id"))
