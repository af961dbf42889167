"""What the user named, or may be found, in the raw inputs of a job: sides and views."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.attributes import (
    View,
    attribute_named,
    columns,
    matched,
    sides_of_column,
    sides_of_names,
    words,
)
from ntkit.auditing import Answers, inputs_of, read_answers
from ntkit.debiasing._heldout_groups import HeldoutGroups
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.samples import TABLES, Table, read_table

__all__ = ["Named", "Pool", "groups_balanced", "named_attributes"]

Array = NDArray[Any]
_NOT_TOLD = ("label", "group")  # columns that say the class, or are for the table only
_OF_A_MODEL = re.compile(r"(?:y_?)?(?:pred|prob|logit|score)", re.IGNORECASE)
Sides = tuple[tuple[str, ...], ...]
_OF_LAYERS = ("layer:", "embedding ")
_SIDES = re.compile(r"\|(?=[a-z]+:)")


@dataclass(frozen=True)
class Named:
    """Attributes that a right answer must not depend on.

    Attributes
    ----------
    names : tuple of str
        What each is called.
    sides : ndarray of int, shape (N + M, A)
        The side that each training sample, and then each held-out one, is on; −1 on none.
    side_names : tuple of tuple of str
        What the sides of each are called.
    replaced : tuple of str
        What was answered, and is read otherwise or not at all: a sentence for each.
    """

    names: tuple[str, ...]
    sides: Array
    side_names: tuple[tuple[str, ...], ...]
    replaced: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """All of them."""
        return " and ".join(self.names)

    def counted(self) -> list[str]:
        """How many samples are on which side, a sentence for each attribute."""
        said = list[str]()
        for name, on, called in zip(self.names, self.sides.T, self.side_names, strict=True):
            counts = np.bincount(on[on >= 0], minlength=len(called)).tolist()
            parts = [f"{n} on {side}" for n, side in zip(counts[:6], called[:6], strict=True)]
            parts += [f"{sum(counts[6:])} on others"] * (len(called) > 6)
            none = f", {int((on < 0).sum())} on none" if (on < 0).any() else ""
            said.append(f"{name}, training and held-out samples: {', '.join(parts)}{none}.")
        return [*self.replaced, *said]


class _OneAfterTheOther(Sequence[Any]):
    """Several sequences as one, that copies none."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._parts)

    def __getitem__(self, i: Any) -> Any:
        return next(islice(self, i, None))


class Pool:
    """Raw inputs of the training samples, and then of the held-out ones.

    Parameters
    ----------
    sets : sequence of Samples
        The two.
    metadata : path-like, DataFrame, mapping or None
        What is known beside the inputs, matched by name, or, where samples have none, row by row:
        the training samples first.
    key : str or None
        Column that names the samples; None for ``file_name`` of images, and ``id`` of tables.
    """

    def __init__(
        self, sets: Sequence[Samples], metadata: Any = None, key: str | None = None
    ) -> None:
        self.sets = sets
        self.inputs = [inputs_of(samples) for samples in sets]
        self._given_metadata, self._key = metadata, key

    @cached_property
    def texts(self) -> list[str] | None:
        """Texts, if that is what goes into the model."""
        parts = [each.texts for each in self.inputs]
        return None if any(p is None for p in parts) else [t for p in parts for t in p or ()]

    @property
    def numbers(self) -> Array | None:
        """Rows of numbers, if that is what goes into the model."""
        parts = [np.zeros(0) if samples.embedded else samples.X for samples in self.sets]
        if not all(isinstance(X, np.ndarray) and X.ndim == 2 for X in parts):
            return None
        return np.concatenate(parts)

    @cached_property
    def table(self) -> dict[str, Array] | None:
        """Columns that all files have, or that go into the model where there are no files."""
        files = self._files
        parts: list[Mapping[str, Array] | None] = [each.table for each in self.inputs]
        if files is not None:
            parts = [_plain_columns(file) for file in files]
        return _pooled(parts)

    @cached_property
    def metadata(self) -> dict[str, Array] | None:
        """Metadata of every sample, by column."""
        given = self._given_metadata
        if given is None:
            return None
        if isinstance(given, str | os.PathLike):
            given = read_table(Path(given), None, ("file_name", "id")).columns
        given = {name: values for name, values in given.items() if name not in _NOT_TOLD}
        key = self._key or ("id" if self.inputs[0].ids is None else "file_name")
        ids = [self.names(i, key) for i in range(len(self.sets))]
        if key in given and all(own is not None for own in ids):
            return _pooled([matched(given, own, key) for own in ids])
        n = sum(map(len, self.sets))
        sizes = {len(values) for values in given.values()}
        if self._key is not None or sizes != {n}:
            raise InputError(
                f"Metadata are matched by a column that names the samples ({key!r}, which "
                f"{'they have' if key in given else 'they lack'}, and the samples "
                f"{'lack' if None in ids else 'have'}), or are {n} rows, one for each training "
                "sample and then each held-out one; name the column with --id-column."
            )
        return {name: np.asarray(values) for name, values in given.items()}

    def values(self, name: str) -> Array:
        """One attribute of every sample by its name: 1, 0, or −1 where it is not known."""
        kind = name.partition(":")[0]
        images = [each.images for each in self.inputs]
        pictures = None if None in images else _OneAfterTheOther(images)
        return attribute_named(
            name,
            texts=self.texts,
            table=self.table if kind == "column" else None,
            metadata=self.metadata,
            images=pictures if kind == "picture" else None,
        )

    def views(self, without: Sequence[str] = ()) -> tuple[View, ...]:
        """What may act alone: words and metadata, but for some attributes."""
        found = [] if self.texts is None else [words(self.texts)]
        if self.metadata is not None:
            given = {n: v for n, v in self.metadata.items() if not _OF_A_MODEL.match(n)}
            found.append(columns(given, kind="metadata", alone=True))
        return tuple(view.without(without) for view in found)

    @cached_property
    def _files(self) -> list[Table] | None:
        """Tables that the samples were read from."""
        found = list[Table]()
        for samples in self.sets:
            paths = samples.sources
            if len(paths) != 1 or paths[0].suffix.lower() not in TABLES:
                return None
            table = read_table(paths[0])
            if len(table) != len(samples):
                return None
            found.append(table)
        return found

    def names(self, i: int, key: str) -> list[str] | None:
        """Names of the samples of one set."""
        if self._files is not None and key in self._files[i].columns:
            return [str(name) for name in self._files[i].columns[key]]
        ids = self.inputs[i].ids
        return None if ids is None else list(ids)


def named_attributes(
    pool: Pool, spurious: Any, answers: str | os.PathLike[str] | None
) -> tuple[Named | None, tuple[str, ...]]:
    """Read what the user named from the raw inputs.

    Parameters
    ----------
    pool : Pool
        The raw inputs.
    spurious, answers
        As in :func:`ntkit.debias`.

    Returns
    -------
    named : Named or None
        None if that is nothing.
    answered : tuple of str
        Attributes that a person was asked about, whatever the answer.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    said = Answers(()) if answers is None else read_answers(answers)
    asked = [_sides_of(each) for each in _listed(spurious)]
    of_answers = [answer.sides for answer in said.spurious]
    readable = [_without_layers(sides) for sides in of_answers]
    # Where nothing that was named can be read, the first answer says why.
    asked += [sides for sides in readable if sides] or ([] if asked else of_answers[:1])
    replaced = [_replaced(*pair) for pair in zip(of_answers, readable, strict=True)]
    answered = tuple(n for answer in said.answers for side in answer.sides for n in side)
    distinct = {" against ".join(side[0] for side in sides): sides for sides in asked}
    if not distinct:
        return None, answered
    tables = {"column": pool.table or {}, "metadata": pool.metadata or {}}
    found = [
        (sides_of_column(name, tables) if sides == ((name,),) else None)
        or sides_of_names(sides, pool.values)
        for name, sides in distinct.items()
    ]
    on = np.stack([each for each, _ in found], axis=1)
    return (
        Named(
            tuple(distinct),
            on,
            tuple(names for _, names in found),
            tuple(sentence for sentence in replaced if sentence),
        ),
        answered,
    )


def groups_balanced(
    clf: Any, named: Named | None, y: Array, y_index: Array
) -> HeldoutGroups | None:
    """Groups of held-out samples, of the attributes that a fitted candidate is balanced over.

    Parameters
    ----------
    clf : estimator
        The candidate.
    named : Named or None
        Attributes that the user named.
    y, y_index : ndarray of shape (M,)
        Classes of the held-out samples, and their indices.
    """
    sides, acted = getattr(clf, "sides_", None), getattr(clf, "attribute_", None)
    if acted is not None:
        named = Named((acted,), clf.sides_, (clf.side_names_,))
    if sides is None or named is None:
        return None
    own, called = sides[len(sides) - len(y) :], named.side_names
    return HeldoutGroups.of(named.title, y, y_index, own, called, by_person=acted is None)


def _listed(spurious: Any) -> list[Any]:
    if spurious is None:
        return []
    return [spurious] if isinstance(spurious, str) else list(spurious)


def _without_layers(sides: Sides) -> Sides:
    """Sides by what raw inputs tell, without what only a pass of the model does."""
    told = (tuple(n for n in side if not n.startswith(_OF_LAYERS)) for side in sides)
    return tuple(side for side in told if side)


def _replaced(sides: Sides, readable: Sides) -> str:
    """What became of an answer, in a sentence; empty where it is read as it was asked."""
    first = sides[0][0]
    if readable and readable[0][0] == first:
        return ""
    if not readable:
        return f"{first} is left out: it is of a layer of the model, which raw inputs do not tell."
    instead = " against ".join(side[0] for side in readable)
    return f"{instead} stands for {first}, of which the answer says that it is much the same."


def _sides_of(given: Any) -> Sides:
    """Sides of an attribute: of a text with | between them, or of nested lists."""
    if isinstance(given, str):
        return tuple((name.strip(),) for name in _SIDES.split(given))
    sides = tuple((side,) if isinstance(side, str) else tuple(side) for side in given)
    if not sides or not all(side and all(isinstance(n, str) for n in side) for side in sides):
        raise InputError(
            f"An attribute is a name, or names for each of its sides as [['word:film'], "
            f"['word:movie']]; got {given!r}."
        )
    return sides


def _plain_columns(table: Table) -> dict[str, Array]:
    return {n: v for n, v in table.columns.items() if table.list_length(n) is None}


def _pooled(parts: Sequence[Mapping[str, Array] | None]) -> dict[str, Array] | None:
    """Columns that all parts have, one after the other."""
    first, *others = parts
    if first is None or any(part is None for part in others):
        return None
    both = [name for name in first if all(part is not None and name in part for part in others)]
    return {name: _joined([np.asarray(part[name]) for part in parts if part]) for name in both}


def _joined(parts: list[Array]) -> Array:
    """Numbers stay numbers where all are; else a text must not become as long as the longest."""
    numbers = all(part.dtype.kind in "fiu" for part in parts)
    return np.concatenate(parts if numbers else [part.astype(object) for part in parts])
