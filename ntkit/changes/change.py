"""Changes of raw samples that must not alter the right answer, and embeddings of their copies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._key import parts_of_change
from ntkit._labels import listed, meant_instead
from ntkit._types import Array
from ntkit.attributes.word_lists import one_spelling
from ntkit.changes import texts
from ntkit.changes._by_user import OfFolder, OfFunction
from ntkit.changes._columns import OfColumns
from ntkit.changes.images import (
    NAMES,
    PARTS,
    ImageChange,
    OfImages,
    check_black_and_white,
    image_change,
    part_elsewhere,
)
from ntkit.exceptions import InputError
from ntkit.samples.columns import by_column_names, names_of_frame
from ntkit.samples.kinds import TextData
from ntkit.samples.samples import ReadTable, Samples

KINDS = ("word", "append", "prepend", *texts.FORMS, "markup", "column", "image", "folder")
"""Prefixes of the text form of a change."""


@documented
@dataclass(frozen=True)
class Change:
    """A change of raw samples that must not alter the right answer.

    A change is a claim that only a person can make: *the right answer stays the same*. Its copies
    show whether a model relies on the changed part (predictions that flip). They can also retrain
    and evaluate a head, without any group label.

    Make one with :func:`change_named` or :func:`change_from`.

    Attributes
    ----------
    name : str
        Text form, such as ``word:film|word:movie`` or ``image:border``.
    kind : str
        What the text form begins with, such as word or image, or function.
    sha256 : str or None
        SHA-256 of the file that ``append:@FILE`` or ``prepend:@FILE`` read.

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
            The whole set, which donors are taken from; not embeddings.
        rows : sequence of int, optional
            Rows to copy; by default all.
        seed : int
            Seed of everything random. A copy does not depend on the other rows.
        folds : ndarray of int, shape (N,), optional
            Fold of each sample; a donor (another image, another row) is in the same fold. The class
            of the donor is drawn uniformly, because copies would else carry the class. A sample is
            never its own donor.

        Returns
        -------
        copies : Samples
            One copy for each row of ``rows`` that the change applies to, with its label. Images are
            made when they are read. A text has a copy only if its tokens change.
        at : ndarray of int, shape (n,)
            Row of each copy's original.

        Raises
        ------
        InputError
            If the change does not suit samples of this kind, or names something that they lack.
        """
        if samples.embedded:
            raise InputError(
                f"{self.name} changes raw samples, and embeddings cannot be changed; pass the "
                "samples themselves."
            )
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InputError(f"A seed must be a whole number from 0 on; got {seed!r}.")
        if folds is not None and np.shape(folds) != (len(samples),):
            raise InputError(
                f"folds has shape {np.shape(folds)} for {len(samples)} samples; pass one for each."
            )
        if names_of_frame(samples.X):
            samples = by_column_names(samples, ())  # copies keep the names of their columns
        X, at = self._apply(samples, _rows(rows, len(samples)), int(seed), folds)
        if not (other := samples.data.become_others(at, X)).all():
            X, at = X.take(np.flatnonzero(other)), at[other]
        made = {**(samples.preprocessing or {}), "change": self.name, "seed": int(seed)}
        if self.file is not None:
            made["change_sha256"] = self.sha256
        copies = replace(samples.take(at, X), preprocessing=made, notes=(), skipped=())
        if copies.table is None:
            return copies, at
        return replace(copies, table=_changed(copies.table, samples, copies, at)), at

    def donors(self, samples: Samples, *, seed: int = 0, folds: Array | None = None) -> Array:
        """Samples that the copies take a part from.

        Parameters
        ----------
        samples : Samples
            The whole set, as for :meth:`copies`.
        seed : int
            Seed, as for :meth:`copies`.
        folds : ndarray of int, shape (N,), optional
            Fold of each sample, as for :meth:`copies`.

        Returns
        -------
        ndarray of int, shape (N,)
            Row of the donor of each sample, −1 if there is none. Copies in a folder have donors if
            a column ``donor`` of their table or ``metadata.csv`` names them.
        """
        of = getattr(self._apply, "donors", None)
        if names_of_frame(samples.X):
            samples = by_column_names(samples, ())
        return np.full(len(samples), -1, dtype=np.intp) if of is None else of(samples, seed, folds)

    @property
    def file(self) -> bytes | None:
        """Content of the file of lines that it draws from."""
        content: bytes | None = getattr(self._apply, "file", None)
        return content

    @property
    def sha256(self) -> str | None:
        """SHA-256 of this file."""
        return None if self.file is None else sha256(self.file).hexdigest()

    @property
    def kept_name(self) -> str:
        """Its name in a folder that ntkit writes; a file that it reads lies there as well."""
        return f"{self.kind}:@lines-{self.sha256[:8]}.txt" if self.sha256 else self.name

    @property
    def unrelates(self) -> bool:
        """Whether a part of each copy is from a sample of any class, so that both are unrelated."""
        return bool(getattr(self._apply, "donor", False))

    @property
    def of_pixels(self) -> bool:
        """Whether it needs black and white, if the samples are images."""
        return bool(getattr(self._apply, "of_pixels", False))

    def check_sets(self, sets: Sequence[Samples]) -> None:
        """Raise an InputError if sets do not suit the change.

        A copy that a user made must not have the name of samples in two sets. Some changes of
        images need black and white.
        """
        if isinstance(self._apply, OfFolder):
            self._apply.check_sets(sets)
        for samples in sets if self.of_pixels else ():
            check_black_and_white(self.name, samples)

    def __str__(self) -> str:
        return self.name


@documented
def change_named(name: str | Change, *, below: Path | None = None) -> Change:
    """Make a change from its text form.

    Parameters
    ----------
    name : str
        One of these:

        - ``word:film|word:movie``: replaces each word by the other, keeping the case; other forms,
          such as *films*, are words of their own;
          ``word:please`` removes it; ``word:please=in`` adds it if it is missing; ``=both`` removes
          it if it is there and adds it if it is missing;
        - ``markup``: removes tags; ``markup=both`` also adds tags to plain texts;
        - ``append:please`` and ``prepend:please`` put a text after or before each text, or leave
          it out where it stands there; ``append:@FILE`` draws a line of a text file for each. For
          pairs, both texts change;
        - ``case:lower``, ``case:upper`` or ``case:title``; ``space``: letters apart;
          ``punctuation``: the final mark removed, or a full stop added; ``punctuation=all``: all
          marks removed; ``typos=2``: typing errors in two words; ``names``: each given name
          replaced by another one of a list of about 170, frequent in the United States;
        - ``segment:first`` or ``segment:last``: this sentence of another text;
        - ``column:sex``: a value from another row with another value; ``column:sex=Female|Male``:
          replaces each value by the other; ``column:sex=Female``: this value for all;
          ``column:a+column:b``: several columns, all from one other row;
        - ``image:top left`` (or another of nine parts), ``image:border`` and ``image:centre``
          (outside and inside of an ellipse of 72 % of the sides; ``image:border=55``): from another
          image, with soft edges; ``image:high frequencies`` of another image; ``image:blur=2``,
          ``image:jpeg=75``, ``image:grey``, ``image:brightness=1.2``, ``image:contrast=1.3``,
          ``image:resize=0.5`` (and back), ``image:noise=0.1``;
        - ``folder:PATH``: copies that you made, matched by name. A subfolder of PATH named like
          the folder or table of a set has the copies of that set alone.

    below : Path, optional
        Folder of the file that holds the name, if other people may have written it, such as
        answers or limits. ``append:@FILE`` then reads only files inside this folder, of at most
        1 MB.

    Returns
    -------
    Change

    Raises
    ------
    InputError
        If it has none of these forms, or its file cannot be read.

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
            "A change must be a text such as 'word:film|word:movie', or ntkit.changes.change_from "
            f"of a function; got {name!r:.60}."
        )
    kind, colon, what = (part.strip() for part in name.partition(":"))
    text = f"{kind}{colon}{what}"
    if kind == "metadata":
        raise InputError(
            f"{text!r} cannot be changed: metadata describe the samples, and the model does not "
            "read them. Name a word, a column that the model reads, or a part of images, or pass "
            "copies that you made with folder:PATH."
        )
    begins = kind.partition("=")[0]
    if text in ("markup", "markup=both"):
        return Change(text, "markup", texts.markup(text))
    if begins in texts.FORMS:
        if (applied := texts.surface_change(text)) is None:
            raise InputError(f"There is no change {text!r}. Write {texts.FORMS[begins]}.")
        return Change(text, begins, applied)
    makers: dict[str, Callable[[], Any]] = {
        "word": lambda: texts.word_change(text),
        "append": lambda: texts.put_at(text, what, before=False, below=below),
        "prepend": lambda: texts.put_at(text, what, before=True, below=below),
        "column": lambda: OfColumns(text),
        "image": lambda: OfImages(text, image_change(text)),
        "folder": lambda: OfFolder(text, Path(what)),
    }
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
    """Make a change from a function.

    Parameters
    ----------
    function : callable
        Function of a raw sample that returns its copy. A sample is a text, an image of shape (H, W,
        C) with values from 0 to 255 as the model sees it, a mapping of column names to values, an
        array of any other shape, or a raw sample of :class:`~ntkit.extraction.RawInputs`, such as
        the bytes of a file. None says that the change does not apply to a sample. Images are made
        when they are read, so the change must apply to all of them.
    name : str, optional
        Name of the change; by default the function's.
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

    Of the bytes of files, whose first four a model reads:

    >>> import numpy as np
    >>> from ntkit.extraction import RawInputs, Samples
    >>> files = RawInputs([b"%PDF", b"<html>"], lambda data: np.frombuffer(data[:4], np.uint8))
    >>> def commented(data, donor):
    ...     return b"<!--" + donor + b"-->" + data if data.startswith(b"<") else None
    >>> copies, rows = change_from(commented, donor=True).copies(Samples(files))
    >>> copies.X.raw, rows.tolist()
    ([b'<!--%PDF--><html>'], [1])
    """
    called = str(name or getattr(function, "__name__", "function"))
    return Change(called, "function", OfFunction(called, function, donor))


def changes_given(*given: Any) -> tuple[Change, ...]:
    """Changes as users pass them (None, one, or several), without repetitions."""
    by_name = dict[str, Change]()
    for some in given:
        several = isinstance(some, Iterable) and not isinstance(some, str)
        for each in () if some is None else some if several else [some]:
            change = change_named(each)
            known = by_name.setdefault(one_spelling(change.name), change)
            if known is not change and isinstance(each, Change):
                raise InputError(
                    f"Two changes have the name {change.name!r}; give each a different name."
                )
    return tuple(by_name.values())


def file_notes(changes: Iterable[Change]) -> list[str]:
    """Sentences on the files that changes draw lines from."""
    notes = list[str]()
    for each in changes:
        if each.sha256 is not None:
            was = re.search(r"lines-([0-9a-f]{8})\.txt", each.name)
            other = ""
            if was is not None and was[1] != each.sha256[:8]:
                other = f" Somebody changed it: its SHA-256 began with {was[1]}."
            notes.append(
                f"{each.name} draws a line of a file for each text. SHA-256 of the file: "
                f"{each.sha256}.{other}"
            )
    return notes


def write_files(folder: Path, changes: Iterable[Change]) -> None:
    """Write copies of the files that changes draw lines from, for their kept names."""
    for each in changes:
        if each.file is not None:
            (folder / parts_of_change(each.kept_name)[0].what[1:]).write_bytes(each.file)


def as_seen(samples: Samples) -> Samples:
    """Images as the model sees them, unchanged, for display next to their copies."""
    same = Change("unchanged", "image", OfImages("unchanged", ImageChange(any_scale=True)))
    return same.copies(samples)[0] if samples.data.are_images else samples


def control_of(change: Change) -> Change | None:
    """A meaningless change of the same size; None if embeddings must be moved instead."""
    # For a word or names, words of similar frequency in the same text; for words rewritten, words
    # that no text has, or each network of words would seem to rely on them; for a part, an equal
    # part elsewhere.
    applied = change._apply
    if change.kind == "word":
        name = f"a word as frequent as {applied.words[0]}"
        return Change(name, "word", applied.control(name))
    if change.kind in ("append", "prepend"):
        name = f"frequent words of the length of {change.name}"
        return Change(name, change.kind, applied.control(name))
    if change.kind in texts.REWRITES:
        name = f"{texts.UNKNOWN_WORDS} {change.name} rewrites"
        return Change(name, change.kind, texts.unknown_instead(name, applied))
    if change.kind == "names":
        name = f"other words, as frequent as {change.name}, replaced"
        return Change(name, change.kind, texts.OtherWords(name, ()))
    if change.kind == "image" and change.name in [f"image:{part}" for part in PARTS]:
        name = f"{change.name}, elsewhere"
        return Change(name, "image", OfImages(name, part_elsewhere()))
    return None


HARMLESS = ("punctuation", "punctuation=all")
"""Changes to try on texts without being asked.

Others take words away from networks that tell cases apart, or know names. There they flip many
predictions even if nothing is wrong, and take the places of words.
"""


def bank_of(samples: Samples, words: Sequence[str] = ()) -> list[Change]:
    """Changes to try: for images a list, for tables each column, and some words of texts."""
    if samples.embedded:
        return []
    if samples.data.are_images:
        # The nine parts, then the others with their default numbers.
        return [change_named(f"image:{name}") for name in NAMES]
    named = [f"column:{name}" for name in samples.data.column_names]
    return [*map(change_named, [*named, *(f"word:{word}" for word in words)])]


def _rows(rows: Sequence[int] | Array | None, n: int) -> Array:
    """Rows to copy, as numbers."""
    if rows is None:
        return np.arange(n)
    given = np.asarray(rows)
    if given.dtype == bool and given.shape == (n,):
        return np.flatnonzero(given)
    at = given.astype(np.intp)
    if at.ndim != 1 or (at != given).any() or (len(at) and not 0 <= at.min() <= at.max() < n):
        raise InputError(
            f"rows must be numbers from 0 to {n - 1}, or one bool for each row; got {rows!r}."
        )
    return at


def _changed(table: ReadTable, samples: Samples, copies: Samples, at: Array) -> ReadTable:
    """The table of copies, with changed values in the columns that the model reads."""
    columns = {**table.columns}
    for i, name in enumerate(table.inputs):
        if isinstance(samples.data, TextData):
            texts = copies.X.texts
            new = [text[i] for text in texts] if copies.X.paired else texts
            columns[name] = np.fromiter(new, dtype=object, count=len(new))
        elif name in samples.data.column_names:
            old, new = samples.data.column(name)[at], copies.data.column(name)
            columns[name] = np.where(old != new, new.astype(object), columns[name])
    return replace(table, columns=columns)
