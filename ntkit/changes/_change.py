"""Change: what is done to raw samples that must not alter the right answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._join import rows_named
from ntkit._labels import listed, meant_instead
from ntkit._types import Array
from ntkit.changes import _text_changes as texts_
from ntkit.changes._donors import donors, generator
from ntkit.changes._image_changes import (
    NAMES,
    PARTS,
    ImageChange,
    image_change,
    part_elsewhere,
)
from ntkit.changes._lazy import ChangedArray, ChangedImages, Draws
from ntkit.exceptions import InputError
from ntkit.samples import Samples, images_in_array, read_samples, rows_of

_WORDS = re.compile(r"\|(?=word:)")
KINDS = ("word", "markup", "case", "column", "image", "folder")
"""What the text form of a change may begin with."""


@documented
@dataclass(frozen=True)
class Change:
    """A change of raw samples that must not alter the right answer.

    A change is a claim about the world, which only a person can make: *the right answer stays the
    same*. Copies are then evidence of what a model relies on (predictions that flip), rows to
    retrain on, and samples to judge a head by, without a group label.

    Make one with :func:`change_named` or :func:`change_from`.

    Attributes
    ----------
    name : str
        Its text form, such as ``word:film|word:movie`` or ``image:border``.
    kind : str
        Its kind: word, markup, case, column, image, folder or function.

    Examples
    --------
    >>> from ntkit.changes import change_named
    >>> from ntkit.datasets import load_marked_digits
    >>> from ntkit.extraction import Samples
    >>> digits = load_marked_digits()
    >>> samples = Samples(digits.X_train, digits.y_train)
    >>> copies, rows = change_named("image:top left").copies(samples, range(5))
    >>> len(copies), rows.tolist()
    (5, [0, 1, 2, 3, 4])
    """

    name: str
    kind: str
    _apply: Any = field(repr=False, compare=False)

    def copies(
        self,
        samples: Samples,
        rows: Sequence[int] | Array | None = None,
        *,
        seed: int = 0,
        folds: Array | None = None,
    ) -> tuple[Samples, Array]:
        """Copies of the samples that the change applies to.

        Parameters
        ----------
        samples : Samples
            The whole set, of which donors are taken; not embeddings.
        rows : sequence of int, optional
            Those to copy; by default all.
        seed : int
            Decides everything random; a copy does not depend on which others are made.
        folds : ndarray of int, shape (N,), optional
            Fold of each sample; a donor (another image, another row) is of the same fold. Its
            class is drawn uniformly, and it is never the sample itself: else copies would carry
            the class.

        Returns
        -------
        copies : Samples
            One for each row of ``rows`` that the change applies to, with its label. Images are
            made as they are read.
        at : ndarray of int, shape (n,)
            The row of each copy's original.

        Raises
        ------
        InputError
            If the change is not for samples of this kind, or names what they do not have.
        """
        if samples.embedded:
            raise InputError(
                f"{self.name} changes raw samples, and embeddings cannot be changed; give the "
                "samples themselves."
            )
        wanted = np.arange(len(samples)) if rows is None else np.asarray(rows, dtype=np.intp)
        X, at = self._apply(samples, wanted, seed, folds)
        y, groups, ids = (
            None if values is None else np.asarray(values)[at]
            for values in (samples.y, samples.groups, samples.ids)
        )
        made = {**(samples.preprocessing or {}), "change": self.name, "seed": seed}
        return Samples(
            X,
            y,
            groups,
            preprocessing=made,
            ids=ids,
            columns=samples.columns,
            columns_source=samples.columns_source,
            sources=samples.sources,
        ), at

    def applies_to(self, samples: Samples, *, seed: int = 0, folds: Array | None = None) -> Array:
        """Whether there is a copy of each sample; bool, (N,).

        Raises
        ------
        InputError
            If the change is not for samples of this kind, or names what they do not have.
        """
        _, at = self.copies(samples, seed=seed, folds=folds)
        applies = np.zeros(len(samples), dtype=bool)
        applies[at] = True
        return applies

    def __str__(self) -> str:
        return self.name


@documented
def change_named(name: str | Change) -> Change:
    """Make a change from its text form.

    Parameters
    ----------
    name : str
        One of

        - ``word:film|word:movie``: each in the other's place, case and plural kept;
          ``word:please``: left out; ``word:please=in``: put in where it is not; ``=both``: left
          out where it is, put in where it is not;
        - ``markup``: tags stripped, ``markup=both``: and plain texts wrapped into some;
        - ``case:lower`` or ``case:upper``;
        - ``column:sex``: from another row with another value; ``column:sex=Female|Male``: each for
          the other; ``column:sex=Female``: this value for all; ``column:a+column:b``: several
          columns, all from one other row;
        - ``image:top left`` (or another of nine parts), ``image:border`` and ``image:centre``
          (outside and inside of an ellipse of 72 % of the sides; ``image:border=55``): from
          another image, with soft edges; ``image:high frequencies`` of another image;
          ``image:blur=2``, ``image:jpeg=75``, ``image:grey``, ``image:brightness=1.2``,
          ``image:contrast=1.3``, ``image:resize=0.5`` (and back), ``image:noise=0.1``;
        - ``folder:PATH``: copies that you made, matched by name.

    Returns
    -------
    Change

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> from ntkit.changes import change_named
    >>> change_named("word:film|word:movie")
    Change(name='word:film|word:movie', kind='word')
    """
    if isinstance(name, Change):
        return name
    if not isinstance(name, str):
        raise InputError(
            f"A change is a text such as 'word:film|word:movie', or ntkit.changes.change_from of a "
            f"function; got {name!r:.60}."
        )
    text = name.strip()
    kind, _, rest = text.partition(":")
    if text in ("markup", "markup=both"):
        both = (texts_.without_markup, texts_.with_markup)
        change = texts_.one_of(*both) if text == "markup=both" else texts_.without_markup
        return Change(text, "markup", _OfTexts(text, change))
    if kind == "metadata":
        raise InputError(
            f"{text!r} cannot be changed: metadata are beside the samples, and the model does not "
            "take them. Name a word, a column that the model takes, or a part of images; or give "
            "copies that you made with folder:PATH."
        )
    makers: dict[str, Callable[[str, str], Any]] = {
        "word": _words,
        "case": _case,
        "column": _columns,
        "image": lambda name, rest: _OfImages(name, image_change(name, *_number_in(rest))),
        "folder": lambda name, rest: _OfFolder(name, Path(rest)),
    }
    if kind not in makers or not rest.strip():
        meant = meant_instead(kind, list(KINDS))
        raise InputError(
            f"There is no change {text!r}; a change begins with {listed(KINDS)}, such as "
            f"word:film, column:sex or image:border{f' (is it {meant}?)' if meant else ''}."
        )
    return Change(text, kind, makers[kind](text, rest))


@documented
def change_from(
    function: Callable[..., Any], name: str | None = None, *, donor: bool = False
) -> Change:
    """Make a change of a function.

    Parameters
    ----------
    function : callable
        Gets a raw sample and returns its copy, or None where the change does not apply. A sample is
        a text, an image of shape (H, W, C) with values from 0 to 255 as the model sees it, or a
        mapping of column names to values.
    name : str, optional
        By default the function's own.
    donor : bool
        Whether the function gets another sample as its second argument.

    Returns
    -------
    Change

    Examples
    --------
    >>> from ntkit.changes import change_from
    >>> change_from(str.upper, "shouted").name
    'shouted'
    """
    called = str(name or getattr(function, "__name__", "function"))
    return Change(called, "function", _OfFunction(called, function, donor))


def as_seen(samples: Samples) -> Samples:
    """Images as the model sees them, unchanged, to be shown beside their copies."""
    same = Change("unchanged", "image", _OfImages("unchanged", ImageChange()))
    return same.copies(samples)[0] if _is_of_images(samples) else samples


def control_of(change: Change) -> Change | None:
    """A change of the same size that means nothing; None where embeddings must be moved instead."""
    # Of a word, one of like frequency in the same text; of a part, as large a part elsewhere.
    applied = change._apply
    if change.kind == "word" and isinstance(applied, _OfTexts) and applied.words:
        name = f"a word as frequent as {applied.words[0]}"
        return Change(name, "word", _OfLikeWords(name, change._apply))
    if change.kind == "image" and change.name.removeprefix("image:") in PARTS:
        name = f"{change.name}, elsewhere"
        return Change(name, "image", _OfImages(name, part_elsewhere()))
    return None


def bank_of(samples: Samples, words: Sequence[str] = ()) -> list[Change]:
    """Changes to try on samples: of images a list, of tables each column, of texts some words."""
    if samples.embedded:
        return []
    if _is_of_images(samples):
        # The nine parts, then the others; the number of each is its default.
        return [change_named(f"image:{name}") for name in NAMES]
    if samples.kind == "texts":
        return [change_named(f"word:{word}") for word in words]
    return [change_named(f"column:{name}") for name in _column_names(samples)]


def _number_in(rest: str) -> tuple[str, str | None]:
    what, equals, how = rest.partition("=")
    return what.strip(), how.strip() if equals else None


def _is_of_images(samples: Samples) -> bool:
    return samples.kind == "images" or (
        samples.kind == "arrays" and images_in_array(samples.X) is not None
    )


# -- texts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OfTexts:
    name: str
    change: texts_.TextChange
    words: tuple[str, ...] = ()

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        _refuse_unless(self.name, samples, samples.kind == "texts", "texts")
        texts, changed, at = samples.X.texts, list[Any](), list[int]()
        change = self.change_for(texts)
        for row in rows.tolist():
            new = self._changed(texts[row], change, generator(self.name, seed, row))
            if new is not None:
                changed.append(new)
                at.append(row)
        self.check(texts, at, len(rows))
        return samples.X.with_texts(changed), np.asarray(at, dtype=np.intp)

    def change_for(self, texts: Sequence[Any]) -> texts_.TextChange:
        """The change, where it depends on all texts."""
        return self.change

    def _changed(self, text: Any, change: texts_.TextChange, rng: np.random.Generator) -> Any:
        if isinstance(text, str):
            return change(text, rng)
        parts = [change(part, rng) for part in text]  # a pair changes if one of the two does
        if all(part is None for part in parts):
            return None
        return tuple(o if n is None else n for o, n in zip(text, parts, strict=True))

    def check(self, texts: Sequence[Any], at: list[int], n_rows: int) -> None:
        """Refuse a word that no text holds."""
        if self.words and not at and n_rows == len(texts) > 0:
            named = " nor ".join(repr(word) for word in self.words)
            raise InputError(
                f"{self.name!r} changes none of the {len(texts)} texts: they hold "
                f"{'neither ' if len(self.words) > 1 else 'no '}{named}."
            )


@dataclass(frozen=True)
class _OfLikeWords:
    """A word of like frequency left out, of texts that hold one of some words."""

    name: str
    of: _OfTexts

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        texts = [t if isinstance(t, str) else " ".join(t) for t in samples.X.texts]
        like = texts_.one_of(*(texts_.like_word_left_out(word, texts) for word in self.of.words))
        return replace(self.of, name=self.name, change=like, words=())(samples, rows, seed, folds)


def _words(name: str, rest: str) -> _OfTexts:
    parts = [part.removeprefix("word:").strip() for part in _WORDS.split(name)]
    if not all(parts):
        raise InputError(f"{name!r} names an empty word.")
    if len(parts) > 1:
        if len({*map(str.lower, parts)}) < len(parts):
            raise InputError(f"{name!r} names a word twice.")
        return _OfTexts(name, texts_.swapped(parts), tuple(parts))
    word, how = _number_in(parts[0])
    if not word or how not in (None, "in", "out", "both"):
        raise InputError(f"{name!r}: write word:WORD, word:WORD=in or word:WORD=both.")
    by_how = {
        None: texts_.left_out(word),
        "out": texts_.left_out(word),
        "in": texts_.put_in(word),
        "both": texts_.one_of(texts_.left_out(word), texts_.put_in(word)),
    }
    return _OfTexts(name, by_how[how], (word,))


def _case(name: str, rest: str) -> _OfTexts:
    if rest not in ("lower", "upper"):
        raise InputError(f"{name!r}: write case:lower or case:upper.")
    return _OfTexts(name, texts_.cased(rest))


def _refuse_unless(name: str, samples: Samples, fits: bool, what: str) -> None:
    if not fits:
        raise InputError(f"{name!r} changes {what}, and {samples.called()} holds {samples.kind}.")


# -- columns -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OfColumns:
    """Values of some columns: from another row, or named ones."""

    name: str
    columns: tuple[str, ...]
    values: tuple[str, ...] = ()

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        there = _column_names(samples)
        if not there:
            kind = samples.kind
            raise InputError(
                f"{self.name!r} changes columns that the model takes, and {samples.called()} holds "
                f"{kind}."
            )
        for column in self.columns:
            if column not in there:
                meant = meant_instead(column, there)
                hint = f"; did you mean {meant}?" if meant else f"; it takes {listed(there, 12)}."
                raise InputError(
                    f"{self.name!r}: {column!r} is no column that the model takes, and only those "
                    f"can be changed{hint}"
                )
        old = [_column(samples, name) for name in self.columns]
        new = self._named(old[0]) if self.values else self._of_others(samples, old, seed, folds)
        differs = np.any([_unlike(a, b) for a, b in zip(old, new, strict=True)], axis=0)
        at = rows[differs[rows]]
        X = rows_of(samples.X, at)
        for name, values in zip(self.columns, new, strict=True):
            _put(X, samples, name, values[at])
        return X, at

    def _of_others(
        self, samples: Samples, old: list[Array], seed: int, folds: Array | None
    ) -> list[Array]:
        text = [[str(value) for value in values.tolist()] for values in old]
        together = ["\0".join(row) for row in zip(*text, strict=True)]
        rng = generator(self.name, seed)
        of = donors(len(samples), samples.y, folds, rng, differing=together)
        return [np.where(of >= 0, values[of], values) for values in old]

    def _named(self, old: Array) -> list[Array]:
        values = [_as_value(value, old, self.name) for value in self.values]
        if len(values) == 1:
            return [np.full_like(old, values[0])]
        new = old.copy()
        for value, other in zip(values, [*values[1:], values[0]], strict=True):
            new[old == value] = other
        return [new]


def _columns(name: str, rest: str) -> _OfColumns:
    parts = [part.removeprefix("column:").strip() for part in name.split("+column:")]
    column, _, values = parts[0].partition("=")
    if len(parts) > 1:
        return _OfColumns(name, tuple(parts))
    named = tuple(value.strip() for value in values.split("|")) if values else ()
    if len({*named}) < len(named):
        raise InputError(f"{name!r} names a value twice.")
    return _OfColumns(name, (column.strip(),), named)


def _column_names(samples: Samples) -> list[str]:
    """Columns that go into the model; those without a name are called by their numbers."""
    X = samples.X
    if samples.kind == "inputs":
        return [str(n) for n, v in X.items() if np.asarray(v).reshape(len(v), -1).shape[1] == 1]
    if samples.kind == "columns":
        return [*samples.columns]
    if samples.kind != "arrays" or np.ndim(X) != 2:
        return []
    names = getattr(X, "columns", None)
    return [str(n) for n in (range(np.shape(X)[1]) if names is None else names)]


def _column(samples: Samples, name: str) -> Array:
    if samples.kind == "inputs":
        return np.asarray(samples.X[name]).reshape(len(samples))
    X = samples.X.to_numpy() if hasattr(samples.X, "to_numpy") else samples.X
    return np.asarray(X)[:, _column_names(samples).index(name)]


def _put(X: Any, samples: Samples, name: str, values: Array) -> None:
    """Write values of a column into rows that were taken out."""
    if isinstance(X, Mapping):
        X[name] = values.reshape(np.shape(X[name]))  # type: ignore[index]
    else:
        X[:, _column_names(samples).index(name)] = values


def _as_value(text: str, like: Array, name: str) -> Any:
    """A value that a person wrote, as the column holds it."""
    if like.dtype.kind in "fiub":
        try:
            return like.dtype.type(float(text))
        except ValueError:
            raise InputError(
                f"{name!r}: {text!r} is no number, and the column holds some."
            ) from None
    known = {str(value).strip(): value for value in np.unique(like.astype(str)).tolist()}
    if text not in known:
        meant = meant_instead(text, list(known))
        hint = f"did you mean {meant}?" if meant else f"it has {listed(list(known), 12)}."
        raise InputError(f"{name!r}: no sample has the value {text!r}; {hint}")
    return known[text]


def _unlike(one: Array, other: Array) -> Array:
    if one.dtype.kind == "f":
        return np.asarray(~((one == other) | (np.isnan(one) & np.isnan(other))))
    return np.asarray(one != other)


# -- images --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OfImages:
    name: str
    change: ImageChange

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        _refuse_unless(self.name, samples, _is_of_images(samples), "images")
        of = np.full(len(samples), -1)
        if self.change.donor:
            of = donors(len(samples), samples.y, folds, generator(self.name, seed))
            rows = rows[of[rows] >= 0]
        draws = Draws(self.name, seed, rows, of[rows])
        X = samples.X
        if samples.kind == "arrays":
            return ChangedArray(X, X.shape[1] in (1, 3), self.change, draws), rows
        paths, others = [X.paths[i] for i in rows], [X.paths[i] for i in draws.donors]
        return ChangedImages(paths, X.preprocessing, self.change, draws, others), rows


# -- copies that the user made, and functions ------------------------------------------------------


@dataclass(frozen=True)
class _OfFolder:
    """Copies that the user made, matched by name."""

    name: str
    path: Path

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        if not self.path.exists():
            raise InputError(f"{self.name!r}: {self.path} does not exist.")
        if samples.kind not in ("images", "texts", "columns"):
            raise InputError(
                f"{self.name!r}: copies are matched by name, and {samples.called()} holds "
                f"{samples.kind} without names; give an image folder or a table with a column id."
            )
        options: dict[str, Any] = {}
        if samples.kind == "texts" and samples.table is not None:
            first, *second = samples.table.inputs
            options = {"text_column": first} | ({"text_pair_column": second[0]} if second else {})
        elif samples.kind == "columns":
            options = {"columns": samples.columns}
        copies = read_samples(
            self.path, preprocessing=samples.steps, labels="optional", keep_table=True, **options
        )
        names = [str(name) for name in samples.names]
        if "row" in (samples.named_by, copies.named_by):
            raise InputError(
                f"{self.name!r}: copies are matched by name, and "
                f"{(samples if samples.named_by == 'row' else copies).called()} has none; add a "
                "column id to both tables."
            )
        row_of = rows_named([*map(str, copies.names)], names, str(self.path), copies.named_by)
        if (row_of < 0).all():
            raise InputError(
                f"{self.path} holds a copy of none of the {len(names)} samples: the first is "
                f"called {names[0]!r}, the first copy {copies.names[0]!r}; name each as its "
                "original."
            )
        at = rows[row_of[rows] >= 0]
        return rows_of(copies.X, row_of[at]), at


@dataclass(frozen=True)
class _OfFunction:
    name: str
    function: Callable[..., Any]
    donor: bool

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        of = np.full(len(samples), -1)
        if self.donor:
            of = donors(len(samples), samples.y, folds, generator(self.name, seed))
            rows = rows[of[rows] >= 0]
        if _is_of_images(samples):
            change = ImageChange(self._seen, donor=self.donor)
            return _OfImages(self.name, change)(samples, rows, seed, folds)
        if samples.kind == "texts":
            return self._of_texts(samples, rows, of)
        names = _column_names(samples)
        if not names:
            raise InputError(f"{self.name!r} cannot be applied to {samples.kind}.")
        return self._of_rows(samples, names, rows, of)

    def _seen(self, image: Any, donor: Any, rng: Any) -> Any:
        new = self.function(image, donor) if self.donor else self.function(image)
        if np.shape(new) != np.shape(image):
            raise InputError(
                f"{self.name!r} made an image of shape {np.shape(new)} of one of shape "
                f"{np.shape(image)}; return an array of the same shape."
            )
        return np.asarray(new, dtype=np.float32)

    def _of_texts(self, samples: Samples, rows: Array, of: Array) -> tuple[Any, Array]:
        texts, changed, at = samples.X.texts, list[Any](), list[int]()
        for row in rows.tolist():
            more = (texts[of[row]],) if self.donor else ()
            new = self.function(texts[row], *more)
            if new is not None and new != texts[row]:
                changed.append(new)
                at.append(row)
        return samples.X.with_texts(changed), np.asarray(at, dtype=np.intp)

    def _of_rows(
        self, samples: Samples, names: Sequence[str], rows: Array, of: Array
    ) -> tuple[Any, Array]:
        columns = {name: _column(samples, name) for name in names}
        at, new = list[int](), list[Mapping[str, Any]]()
        for row in rows.tolist():
            sample = {name: values[row] for name, values in columns.items()}
            other = {name: values[of[row]] for name, values in columns.items()}
            copy = self.function(sample, other) if self.donor else self.function(dict(sample))
            if copy is not None:
                at.append(row)
                new.append(sample | dict(copy))
        X = rows_of(samples.X, at)
        for name, values in columns.items():
            _put(X, samples, name, np.asarray([row[name] for row in new], dtype=values.dtype))
        return X, np.asarray(at, dtype=np.intp)
