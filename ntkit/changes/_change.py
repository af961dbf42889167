"""Change: what is done to raw samples that must not alter the right answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._labels import listed, meant_instead
from ntkit._types import Array
from ntkit.changes import _texts
from ntkit.changes._columns import OfColumns, column, column_names
from ntkit.changes._folder import OfFolder
from ntkit.changes._function import OfFunction
from ntkit.changes._image_changes import (
    NAMES,
    PARTS,
    ImageChange,
    image_change,
    part_elsewhere,
)
from ntkit.changes._images import OfImages, of_images
from ntkit.exceptions import InputError
from ntkit.samples import ReadTable, Samples

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
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InputError(f"A seed is a whole number from 0 on; got {seed!r}.")
        if folds is not None and np.shape(folds) != (len(samples),):
            raise InputError(
                f"folds has shape {np.shape(folds)} for {len(samples)} samples; give one each."
            )
        X, at = self._apply(samples, _rows(rows, len(samples)), int(seed), folds)
        y, groups, ids = (
            None if values is None else np.asarray(values)[at]
            for values in (samples.y, samples.groups, samples.ids)
        )
        made = {**(samples.preprocessing or {}), "change": self.name, "seed": int(seed)}
        copies = replace(samples, X=X, y=y, groups=groups, ids=ids, preprocessing=made)
        copies = replace(copies, notes=(), skipped=(), table=None)
        if samples.table is None:
            return copies, at
        table = _changed(samples.table.take(at), samples, copies, at)
        return replace(copies, table=table), at

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
    kind, colon, what = (part.strip() for part in name.partition(":"))
    text = f"{kind}{colon}{what}"
    if kind == "metadata":
        raise InputError(
            f"{text!r} cannot be changed: metadata describe the samples, and the model does not "
            "take them. Name a word, a column that the model takes, or a part of images; or give "
            "copies that you made with folder:PATH."
        )
    makers: dict[str, Callable[[], Any]] = {
        "word": lambda: _texts.words(text),
        "case": lambda: _texts.case(text, what),
        "column": lambda: OfColumns(text),
        "image": lambda: OfImages(text, image_change(text, what)),
        "folder": lambda: OfFolder(text, Path(what)),
    }
    if text in ("markup", "markup=both"):
        return Change(text, "markup", _texts.markup(text))
    if kind not in makers or not what.strip():
        meant = meant_instead(kind, list(KINDS))
        raise InputError(
            f"There is no change {text!r}; a change begins with {listed(KINDS)}, such as "
            f"word:film, column:sex or image:border{f' (is it {meant}?)' if meant else ''}."
        )
    return Change(text, kind, makers[kind]())


@documented
def change_from(
    function: Callable[..., Any], name: str | None = None, *, donor: bool = False
) -> Change:
    """Make a change of a function.

    Parameters
    ----------
    function : callable
        Gets a raw sample and returns its copy: of a text, of an image of shape (H, W, C) with
        values from 0 to 255 as the model sees it, or of a mapping of column names to values. None
        says that the change does not apply to a text or to a row; images are made as they are
        read, so it must apply to all of them.
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
    return Change(called, "function", OfFunction(called, function, donor))


def changes_given(*given: Any) -> tuple[Change, ...]:
    """Changes as users give them, each time None, one, or several; each once."""
    by_name = dict[str, Change]()
    for some in given:
        several = isinstance(some, Iterable) and not isinstance(some, str)
        for each in () if some is None else some if several else [some]:
            change = change_named(each)
            if by_name.setdefault(change.name, change) is not change and isinstance(each, Change):
                raise InputError(f"Two changes are called {change.name!r}; give each its own name.")
    return tuple(by_name.values())


def as_seen(samples: Samples) -> Samples:
    """Images as the model sees them, unchanged, to be shown next to their copies."""
    same = Change("unchanged", "image", OfImages("unchanged", ImageChange()))
    return same.copies(samples)[0] if of_images(samples) else samples


def control_of(change: Change) -> Change | None:
    """A change of the same size that means nothing; None where embeddings must be moved instead."""
    # Of a word, one of like frequency in the same text; of a part, as large a part elsewhere.
    applied = change._apply
    if change.kind == "word":
        name = f"a word as frequent as {applied.words[0]}"
        return Change(name, "word", applied.control(name))
    if change.kind == "image" and change.name.removeprefix("image:") in PARTS:
        name = f"{change.name}, elsewhere"
        return Change(name, "image", OfImages(name, part_elsewhere()))
    return None


def bank_of(samples: Samples, words: Sequence[str] = ()) -> list[Change]:
    """Changes to try on samples: of images a list, of tables each column, of texts some words."""
    if samples.embedded:
        return []
    if of_images(samples):
        # The nine parts, then the others; the number of each is its default.
        return [change_named(f"image:{name}") for name in NAMES]
    if samples.kind == "texts":
        return [change_named(f"word:{word}") for word in words]
    return [change_named(f"column:{name}") for name in column_names(samples)]


def _rows(rows: Sequence[int] | Array | None, n: int) -> Array:
    """Rows to copy, as numbers."""
    if rows is None:
        return np.arange(n)
    given = np.asarray(rows)
    if given.dtype == bool and given.shape == (n,):
        return np.flatnonzero(given)
    at = given.astype(np.intp)
    if at.ndim != 1 or (at != given).any() or (len(at) and not 0 <= at.min() <= at.max() < n):
        raise InputError(f"rows are numbers from 0 to {n - 1}, or one bool for each; got {rows!r}.")
    return at


def _changed(table: ReadTable, samples: Samples, copies: Samples, at: Array) -> ReadTable:
    """The table of copies: what the model takes of it is changed."""
    columns = {**table.columns}
    for i, name in enumerate(table.inputs):
        if samples.kind == "texts":
            texts = copies.X.texts
            new = [text[i] for text in texts] if copies.X.paired else texts
            columns[name] = np.fromiter(new, dtype=object, count=len(new))
        elif name in column_names(samples):
            old, new = column(samples, name)[at], column(copies, name)
            columns[name] = np.where(old != new, new.astype(object), columns[name])
    return replace(table, columns=columns)
