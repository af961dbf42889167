"""Attributes: one value for each sample, from any source, and the groups that they form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit import _text
from ntkit._checks import check_index, check_labels, check_weight, index_of, known_labels
from ntkit._key import OF_A_LAYER, Key, group_name, lacking, names_apart, value_name
from ntkit._shown import frame_of
from ntkit._text import counted, interval, percent
from ntkit._types import Array
from ntkit.attributes.column_values import read_column
from ntkit.attributes.feature_set import FEWEST
from ntkit.exceptions import InputError
from ntkit.metrics import Row, compare
from ntkit.metrics.rows import Kind

_SHOWN = 6  # values in a sentence


@dataclass(frozen=True)
class Group(Row):
    """A row of a group, of which some samples are known to be members, and some are copies."""

    n_known: int = 0
    n_copies: int = 0

    @property
    def n_inferred(self) -> int:
        """Number of samples whose group is inferred."""
        return self.n - self.n_known - self.n_copies

    @property
    def share(self) -> str:
        """Accuracy and interval in percent."""
        return f"{percent(self.value)} {interval(self.wilson())}"

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        return {"name": self.name, "count": self.n, "accuracy": self.value,
                "interval": self.wilson(), "n_known": self.n_known,
                "n_copies": self.n_copies}  # fmt: skip

    def __str__(self) -> str:
        inferred = f" ({self.n_inferred} of them inferred)" if self.n_inferred else ""
        of = str(self.n)
        if self.n_copies:
            of = f"{self.n_copies} changed {'copy' if self.n_copies == 1 else 'copies'}"
            if real := self.n - self.n_copies:
                of = f"{counted(real, 'sample')} and {of}"
        return f"{self.share} of the {of} of {self.name}{inferred}"


@dataclass(frozen=True, eq=False)
class Attribute:
    """One value for each of N samples, such as the background of an image.

    Parameters
    ----------
    name : str
        Name, such as ``word:film`` or ``site``.
    value : ndarray of int, shape (N,)
        Index of each sample's value; −1 if it has none of the values, or its value is unknown.
    names : tuple
        The values.
    source : str
        Source: "word", "column", "metadata", "image", "layer", "person", "labels", "inferred".
    weight : ndarray of shape (N,), optional
        Weight of each sample as a member of its group; 1 by default.
    known : ndarray of bool, shape (N,), optional
        If other values are inferred: samples whose value a person named. By default all.
    inference : estimator, optional
        Estimator that inferred the values.
    few : mapping of str to int
        Number of samples of each value of a column that has too few, which counts as unknown.
    index : sequence, optional
        Index of the pandas object that the values come from.

    Examples
    --------
    >>> from ntkit.attributes import Attribute
    >>> site = Attribute.from_labels("site", ["A", "B", None, "A"])
    >>> site.value.tolist(), site.names, site.counts
    ([0, 1, -1, 0], ('A', 'B'), (2, 1))
    >>> groups = site.crossed(["cat", "cat", "dog", "dog"])
    >>> groups.labels.tolist()
    ['cat × A', 'cat × B', None, 'dog × A']
    """

    name: str
    value: Array
    names: tuple[Any, ...]
    source: str = "labels"
    weight: Array | None = None
    known: Array | None = None
    inference: Any = None
    few: Mapping[str, int] = field(default_factory=dict)
    index: Any = field(default=None, repr=False)

    # -- sources ---------------------------------------------------------------------------

    @classmethod
    def from_labels(cls, name: str, labels: ArrayLike, *, source: str = "labels") -> Attribute:
        """Make an attribute of one label per sample, (N,); -1, None and NaN are unknown."""
        of_known, known = known_labels(labels, name)
        names, index = np.unique(of_known, return_inverse=True)
        value = np.full(len(known), -1)
        value[known] = index
        return cls(name, value, tuple(names.tolist()), source, index=index_of(labels))

    @classmethod
    def from_names(cls, names: Sequence[Sequence[str]], read: Callable[[str], Array]) -> Attribute:
        """Make an attribute whose values stand for groups of yes-or-no attributes.

        ``read`` returns such an attribute of every sample by its name: 1, 0, or −1. A single value
        gets a second one: samples without any of its names. Of several values, samples that have
        none or more than one get −1. Thresholds of one column that samples reach together are not
        two values: they raise an InputError.

        Examples
        --------
        >>> import numpy as np
        >>> from ntkit.attributes import Attribute
        >>> has = {"word:film": np.array([1, 0, 1, 0]), "word:movie": np.array([0, 1, 1, 0])}
        >>> Attribute.from_names([["word:film"], ["word:movie"]], has.get).value.tolist()
        [0, 1, -1, -1]
        """
        having = list[Array]()
        for of_value in names:
            values = np.stack([read(name) for name in of_value], axis=1)
            has = (values == 1).any(axis=1)
            having.append(np.where(has | (values >= 0).all(axis=1), has, -1))
        first = tuple(some[0] if len(some) == 1 else value_name(some) for some in names)
        kind = Key.of(first[0]).kind
        source = "layer" if kind in OF_A_LAYER else kind
        if len(names) == 1:
            rest = lacking(first[0]) if first[0] == names[0][0] else f"not ({first[0]})"
            return cls(first[0], having[0].astype(np.int64), (rest, *first), source)
        has = np.stack(having, axis=1) == 1
        for one, other in chain.from_iterable(product(*pair) for pair in combinations(names, 2)):
            of_one = Key.of(one).origin == Key.of(other).origin
            if of_one and ((read(one) == 1) & (read(other) == 1)).any():
                raise InputError(
                    f"Samples have both {one!r} and {other!r}, so they are not two values of one "
                    "attribute. Name only one of them."
                )
        value = np.where(has.sum(axis=1) == 1, has.argmax(axis=1), -1)
        return cls(" against ".join(first), value, first, source)

    @classmethod
    def named(
        cls,
        names: Sequence[Sequence[str]],
        read: Callable[[str], Array],
        tables: Mapping[str, Mapping[str, Any]],
        *,
        fewest: int = FEWEST,
        most: int = 0,
    ) -> Attribute:
        """Make an attribute of a whole column, such as ``metadata:site``, or of the listed names.

        ``tables`` has the columns by the kind that names begin with. A value of fewer than
        ``fewest`` samples counts as unknown. Raises an InputError if a column of numbers has more
        than ``most`` different values.
        """
        name = names[0][0]
        kind = Key.of(name).kind
        there = [*tables.get(kind, ())]
        called = [f"{kind}:{column}" for column in names_apart(there)]
        whole = dict(zip(called, there, strict=True)).get(name)
        if whole is None or len(names) > 1 or len(names[0]) > 1:
            return cls.from_names(names, read)
        cells = read_column(np.asarray(tables[kind][whole]))
        codes, labels = cells.categories
        if cells.codes is None and len(labels) > most:
            raise InputError(
                f"{name!r} has {len(labels)} different values; name a threshold: {name}>=NUMBER."
            )
        counts = np.bincount(codes[codes >= 0], minlength=len(labels))
        kept = np.flatnonzero(counts >= fewest)
        numbers = np.full(len(labels) + 1, -1)
        numbers[kept] = np.arange(len(kept))
        values = [f"{name}={called}" for called in names_apart(labels)]
        few = {values[i]: int(counts[i]) for i in np.flatnonzero((counts > 0) & (counts < fewest))}
        return cls(name, numbers[codes], tuple(values[i] for i in kept), kind, few=few)

    def few_note(self, where: str) -> list[str]:
        """A note on values that count as unknown, because too few samples have them, or none."""
        shown = _text.listed([f"{value} ({n})" for value, n in self.few.items()], 6)
        note = f"{where}: these values have fewer than {FEWEST} samples, so no group: {shown}."
        return [note] if self.few else []

    def inferred(
        self, inference: Any, feature_sets: Any, y: ArrayLike, sample_weight: Array | None = None
    ) -> Attribute:
        """Infer the unknown values, by a clone of a GroupInference; −1 if nothing predicts them."""
        from sklearn.base import clone

        fitted = clone(inference).fit(feature_sets, y, self.labels, sample_weight=sample_weight)
        source = self.source if fitted.feature_set_ is None else "inferred"
        known = self.value >= 0
        return replace(
            self.of_inference(self.name, fitted), source=source, known=known, few=self.few
        )

    @classmethod
    def of_inference(cls, name: str, inference: Any) -> Attribute:
        """Make an attribute of the values that a fitted GroupInference says are likeliest."""
        q, weight = inference.label_distributions_, inference.weights_
        value = np.where(weight > 0, q.argmax(axis=1), -1)
        names = tuple(inference.classes_.tolist())
        return cls(name, value, names, "inferred", weight=weight, inference=inference)

    # -- results ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.value)

    @property
    def labels(self) -> Array:
        """The value of each sample by its name, None if it is not known; (N,)."""
        if (self.value >= 0).all() and self.names:
            return np.asarray(self.names)[self.value]
        names = np.empty(len(self.names) + 1, dtype=object)
        names[:-1] = self.names
        return np.asarray(names[self.value])

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples with each value."""
        counts = np.bincount(self.value[self.value >= 0], minlength=len(self.names))
        return tuple(counts.tolist())

    def having(self, value: int, it: str) -> str:
        """Samples with a value, in a sentence that calls the attribute ``it``."""
        called = str(self.names[value])
        if called in (self.name, lacking(self.name)):
            return f"with {it}" if called == self.name else f"without {it}"
        key = Key.of(called, [Key.of(self.name).what])
        return f"with {key.value if key.origin == self.name and key.sign == '=' else called}"

    def sentence(self, of: str = "samples") -> str:
        """Number of samples of each value."""
        counts = self.counts
        pairs = zip(counts[:_SHOWN], self.names[:_SHOWN], strict=True)
        parts = [f"{n} on {name}" for n, name in pairs]
        parts += [f"{sum(counts[_SHOWN:])} on others"] * (len(counts) > _SHOWN)
        rest = len(self) - sum(counts)
        return f"{self.name}, {of}: {', '.join(parts)}{f', {rest} on none' if rest else ''}."

    def take(self, rows: Array | slice) -> Attribute:
        """The attribute restricted to some samples."""
        return replace(
            self,
            value=self.value[rows],
            weight=None if self.weight is None else self.weight[rows],
            known=None if self.known is None else self.known[rows],
            index=None if self.index is None else self.index[rows],
        )

    def where(self, kept: Array) -> Attribute:
        """The values of some samples (N,); the others have none, and unused values are removed."""
        value = np.where(kept, self.value, -1)
        there = np.unique(value[value >= 0])
        value[value >= 0] = np.searchsorted(there, value[value >= 0])
        return replace(self, value=value, names=tuple(self.names[i] for i in there))

    def crossed(self, y: ArrayLike, *others: Attribute, fewest: int | None = None) -> Attribute:
        """Groups class × value that occur, in the order of the classes; −1 for samples in none.

        ``others`` are more attributes of the same samples. With ``fewest``, groups of fewer samples
        are left out; if a class has no other group, it forms one group.
        """
        attributes = (self, *others)
        columns = {f"attribute {each.name!r}": each.value for each in attributes}
        y = check_labels(y=y, **columns)[0]
        classes, y_index = np.unique(y, return_inverse=True)
        values = np.stack([each.value for each in attributes], axis=1)
        if fewest is None:
            number = group_numbers(y_index, values)
        else:
            number = judged_groups(np.ones(len(y)), y_index, values, fewest)
        names = list[str]()
        numbers, first = np.unique(number, return_index=True)
        for group, row in zip(numbers.tolist(), first.tolist(), strict=True):
            if group < 0:
                continue
            members = values[number == group] if fewest is not None else values[[row]]
            alike = (members == values[row]).all(axis=0) & (values[row] >= 0)
            pairs = zip(attributes, values[row], alike, strict=True)
            of_group = [str(each.names[value]) for each, value, is_one in pairs if is_one]
            names.append(group_name(classes[y_index[row]], *of_group))
        name = " and ".join(each.name for each in attributes)
        return replace(self, name=name, value=number, names=tuple(names))

    def weights(self, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Array:
        """Weights of samples for a fit of your own, such as of trees.

        The classes weigh alike, and within a class its values. A sample whose value is unknown
        weighs 0; an inferred one counts with its probability. No weight exceeds 50 times that of
        balanced classes, so a group of very few samples may weigh less than the others.

        Parameters
        ----------
        y : array-like of shape (N,)
            Class of each sample.
        sample_weight : array-like of shape (N,), optional
            Weights to start from.

        Returns
        -------
        ndarray of shape (N,)
            Weights of the same sum as those of the samples whose value is known.

        Raises
        ------
        InputError
            If lengths or indexes of pandas objects differ, or the value is unknown for all samples
            of a class.

        Examples
        --------
        >>> from ntkit.attributes import Attribute
        >>> site = Attribute.from_labels("site", ["A", "A", "A", "B", "A", "B", None])
        >>> site.weights(["cat", "cat", "cat", "cat", "dog", "dog", "dog"]).tolist()
        [0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 0.0]
        """
        from ntkit.study import group_balanced

        check_index(attribute=self, y=y, sample_weight=sample_weight)
        y = check_labels(y=y, **{f"attribute {self.name!r}": self.value})[0]
        weight = check_weight(sample_weight, len(y)) * (self.value >= 0)
        weight *= 1.0 if self.weight is None else self.weight
        classes, y_index = np.unique(y, return_inverse=True)
        mass = np.bincount(y_index, weights=weight)
        if not mass.all():
            raise InputError(
                f"{self.name!r} is unknown for all samples of class {classes[mass == 0][0]!s}. "
                "Label some of them, or leave the class out."
            )
        return group_balanced(weight, y_index, self.value[:, None])

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each value, or group: ``name`` and ``samples``."""
        pairs = zip(self.names, self.counts, strict=True)
        rows = [{"name": name, "samples": n} for name, n in pairs]
        return frame_of(rows, {"name": object, "samples": int})

    def rows(self, right: Array, n_samples: int | None = None) -> list[Group]:
        """A row of each value that samples have; ``right``, bool (N,), marks correct predictions.

        Values after the first ``n_samples`` are those of changed copies.
        """
        there = np.unique(self.value[self.value >= 0]).tolist()
        members = [np.flatnonzero(self.value == at) for at in there]
        cells: list[tuple[Kind, Any, Array]]
        cells = [
            ("group", str(self.names[at]), some) for at, some in zip(there, members, strict=True)
        ]
        rows = list[Group]()
        for row, of in zip(compare([right], cells), members, strict=True):
            n_copies = 0 if n_samples is None else int((of >= n_samples).sum())
            n_known = row.n - n_copies if self.known is None else int(self.known[of].sum())
            rows.append(Group(**vars(row), n_known=n_known, n_copies=n_copies))
        return rows


def group_numbers(y_index: Array, sides: Array) -> Array:
    """Index of the group of each sample: its class and its value of every attribute."""
    number = np.asarray(y_index, dtype=np.int64)
    for side in sides.T:
        number = np.unique(number * (side.max() + 2) + side + 1, return_inverse=True)[1]
    known = (sides >= 0).all(axis=1)
    numbers = np.full(len(number), -1)
    numbers[known] = np.unique(number[known], return_inverse=True)[1]
    return numbers


def judged_groups(sample_weight: Array, y_index: Array, sides: Array, least: int) -> Array:
    """Indices of groups of at least ``least`` samples, and −1 for other samples."""
    # If a class has no group of this size, all of its samples are one group.
    numbers = group_numbers(y_index, sides)
    sizes = np.bincount(numbers[(numbers >= 0) & (sample_weight > 0)], minlength=numbers.max() + 1)
    small = np.append(sizes < least, True)  # the last count is that of −1
    judged = np.where(small[numbers], -1, numbers)
    for label in np.unique(y_index):
        rows = y_index == label
        if (judged[rows] < 0).all():
            judged[rows] = judged.max() + 1
    kept = np.unique(judged[judged >= 0])
    return np.asarray(np.where(judged >= 0, np.searchsorted(kept, judged), -1))
