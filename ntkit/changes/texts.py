"""Changes of texts: words replaced, removed or added, and mark-up."""

from __future__ import annotations

import html
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._key import parts_of_change
from ntkit._types import Array
from ntkit.attributes.word_lists import comparable, is_tag, pattern_of_word, plain_words
from ntkit.changes._donors import donors, generator
from ntkit.exceptions import InputError
from ntkit.samples.samples import Samples

_TAG = re.compile(
    # No alternative reads past the beginning of another, so that unclosed tags do not take
    # quadratic time.
    r"(?is)<(style|script)\b(?:(?!<\1\b).)*?</\1\s*>|<!--(?:(?!<!--).)*?-->"
    r"|</?[a-z][^<>]*>|<![^<>]*>"
)
_LINE = 70  # characters of a line of mark-up

Parts = tuple[str, ...]
"""A sample: a text, or a pair of texts."""
TextChange = Callable[..., Parts | None]
"""Function of a sample and random numbers, or of a sample, its donor and random numbers."""


@dataclass(frozen=True)
class OfTexts:
    """The first of several changes that applies to a text."""

    name: str
    changes: tuple[TextChange, ...]
    words: tuple[str, ...] = ()
    none: str = ""
    donor: bool = False

    def donors(self, samples: Samples, seed: int, folds: Any) -> Array:
        """Row of the donor of each text, −1 if there is none."""
        if not self.donor:
            return np.full(len(samples), -1, dtype=np.intp)
        return donors(len(samples), samples.y, folds, generator(self.name, seed))

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        """Changed copies and the rows of their originals."""
        texts, changed, at = samples.data.texts(), list[Any](), list[int]()
        if texts is None:
            raise InputError(
                f"{self.name!r} changes texts, but {samples.called('the set')} contains "
                f"{samples.data.without_texts}; name another change, such as column:NAME or "
                "image:border."
            )
        changes, of = self.changes_for(texts), self.donors(samples, seed, folds)
        for row in rows[of[rows] >= 0].tolist() if self.donor else rows.tolist():
            text, rng = texts[row], generator(self.name, seed, row)
            given = [_parts(texts[at]) for at in ([row, of[row]] if self.donor else [row])]
            made = (change(*given, rng) for change in changes)
            new = next((each for each in made if each not in (None, given[0])), None)
            if new is not None:
                changed.append(new[0] if isinstance(text, str) else new)
                at.append(row)
        if self.none and not at and len(rows) == len(texts) > 0:
            raise InputError(
                f"{self.name!r} changes none of the {len(texts)} texts: {self.none}; name a word "
                "that some of them contain."
            )
        kept = np.asarray(at, dtype=np.intp)
        return samples.data.with_texts(kept, changed), kept

    def changes_for(self, texts: Sequence[Any]) -> tuple[TextChange, ...]:
        """The changes, if they depend on all texts."""
        return self.changes

    def control(self, name: str) -> OfTexts:
        """In texts with the words, remove another word of the same frequency."""
        return _OfLikeWords(name, (), self.words)


def _parts(text: Any) -> Parts:
    """A sample as a tuple of one text, or of the two of a pair."""
    return (text,) if isinstance(text, str) else tuple(text)


class _OfLikeWords(OfTexts):
    def changes_for(self, texts: Sequence[Any]) -> tuple[TextChange, ...]:
        """One change for each word."""
        whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
        frequency = Counter(w for text in whole for w in {*plain_words(text)})
        return tuple(of_each(like_word_left_out(word, whole, frequency)) for word in self.words)


class _PutIn(OfTexts):
    def changes_for(self, texts: Sequence[Any]) -> tuple[TextChange, ...]:
        """The changes, and then the word in the spelling that most texts have."""
        return *self.changes, put_in(_usual(self.words[0], texts))


def _usual(word: str, texts: Sequence[Any]) -> str:
    """The most frequent spelling of a word in upper and lower case; if there is none, as it is."""
    found, plain = re.compile(rf"(?i){_places(word)}"), comparable(word)
    parts = (part for text in texts for part in _parts(text))
    forms = Counter(form for part in parts for form in found.findall(part))
    return next((form for form, _ in forms.most_common() if comparable(form) == plain), word)


def word_change(name: str) -> OfTexts:
    """Make a change of words from its text form."""
    first, *others = parts_of_change(name)
    named = (first.what, *(part.what for part in others))
    if len(named) > 1:
        if not all(named) or len({*map(comparable, named)}) < len(named):
            raise InputError(f"{name!r} names a word twice, or no word; write word:ONE|word:OTHER.")
        if any(map(is_tag, named)):
            raise InputError(
                f"{name!r}: a tag cannot be replaced by another one; remove it with "
                f"word:{named[0]}."
            )
        neither = " nor ".join(map(repr, named))
        change = of_each(swapped(named))
        return OfTexts(name, (change,), named, f"they contain neither {neither}")
    word, equals, how = first.what, first.sign, first.value
    if "|" in word:
        other = "|".join(f"word:{part}" for part in word.split("|"))
        raise InputError(f"{name!r}: to replace each word by the other, write {other}.")
    if not word or (equals and how not in ("in", "out", "both")):
        raise InputError(f"{name!r}: write word:WORD, word:WORD=in or word:WORD=both.")
    out = of_each(left_out(word))
    if how == "in":
        return _PutIn(name, (), (word,), "all contain it")
    made = _PutIn if how == "both" else OfTexts
    return made(name, (out,), (word,), f"they contain no {word!r}, or nothing else")


def markup(name: str) -> OfTexts:
    """Make a change of mark-up from its text form."""
    both = (of_each(without_markup), with_markup)
    return OfTexts(name, both if name == "markup=both" else both[:1])


def of_each(change: Callable[[str, np.random.Generator], str]) -> TextChange:
    """The same for each text of a pair; no copy if nothing changes or nothing remains."""

    def changed(parts: Parts, rng: np.random.Generator) -> Parts | None:
        new = tuple(change(part, rng) for part in parts)
        emptied = any(not n.strip() and o.strip() for n, o in zip(new, parts, strict=True))
        return None if new == tuple(parts) or emptied else new

    return changed


def swapped(named: Sequence[str]) -> Callable[[str, np.random.Generator], str]:
    """Replace each word by another one, keeping the case; *news* is not the plural of *new*."""
    longest = sorted(range(len(named)), key=lambda i: len(named[i]), reverse=True)
    # One group for each word: some letters match others whose lower case is different.
    found = re.compile(rf"(?i){'|'.join(f'({_places(named[i])})' for i in longest)}")

    def change(text: str, rng: np.random.Generator) -> str:
        def other(match: re.Match[str]) -> str:
            i = longest[(match.lastindex or 1) - 1]
            step = 1 if len(named) == 2 else int(rng.integers(1, len(named)))
            return _cased(named[(i + step) % len(named)], match[0])

        return found.sub(other, text)

    return change


def _cased(word: str, like: str) -> str:
    """A word in the case of another one."""
    if like.isupper() and sum(map(str.isalpha, like)) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word.lower()


def _places(word: str) -> str:
    """Pattern of a word; for a tag such as ``<b``, of the whole tag."""
    if is_tag(word):
        return rf"</?{re.escape(word[1:])}(?![a-z0-9])[^<>]*>?"
    return pattern_of_word(word)


def left_out(word: str) -> Callable[[str, np.random.Generator], str]:
    """Remove a word everywhere; for a tag such as ``<b``, the whole tag."""
    if is_tag(word):
        tag = re.compile(rf"(?i){_places(word)}")
        return lambda text, rng: tag.sub(" ", text)
    # The space before the word is removed, too; at the beginning, the space after it and a comma.
    first = re.compile(rf"(?i)\A(\s*){_places(word)}[,;:]*\s*")
    found = re.compile(rf"(?i)[^\S\n]?{_places(word)}")

    def change(text: str, rng: np.random.Generator) -> str:
        while (shorter := first.sub(r"\1", text)) != text:
            text = shorter
        return found.sub("", text)

    return change


def put_in(word: str) -> TextChange:
    """Add a word at a random position between two words, if it is missing."""
    there = re.compile(rf"(?i){_places(word)}")
    word = f"{word}>" if is_tag(word) and not word.endswith(">") else word

    def one(text: str, rng: np.random.Generator) -> str:
        gaps = [0, *(match.end() for match in re.finditer(r"\s+", text)), len(text)]
        at = gaps[int(rng.integers(len(gaps)))]
        before = " " if at and not text[at - 1].isspace() else ""
        after = " " if at < len(text) else ""
        return f"{text[:at]}{before}{word}{after}{text[at:]}"

    def change(parts: Parts, rng: np.random.Generator) -> Parts | None:
        if any(map(there.search, parts)) or not any(map(str.strip, parts)):
            return None
        return tuple(one(part, rng) if part.strip() else part for part in parts)

    return change


def like_word_left_out(
    word: str, texts: Sequence[str], frequency: Counter[str]
) -> Callable[[str, np.random.Generator], str]:
    """In a text with the word, remove the word of the nearest frequency instead."""
    found = re.compile(rf"(?i){_places(word)}")
    own = sum(found.search(text) is not None for text in texts)
    own_words = {*plain_words(word)}

    def change(text: str, rng: np.random.Generator) -> str:
        others = [w for w in dict.fromkeys(plain_words(text)) if w not in own_words]
        if not others or not found.search(text):
            return text
        distance = [abs(np.log((frequency[w] + 1) / (own + 1))) for w in others]
        return left_out(others[int(np.argmin(distance))])(text, rng)

    return change


def has_markup(text: str | tuple[str, ...]) -> bool:
    """Whether a text, or one of a pair, contains tags."""
    return any(map(_TAG.search, _parts(text)))


def without_markup(text: str, rng: np.random.Generator) -> str:
    """Remove tags and resolve entities, if there are tags."""
    if not _TAG.search(text):
        return text
    return re.sub(r"\s+", " ", html.unescape(_TAG.sub(" ", text))).strip()


def with_markup(parts: Parts, rng: np.random.Generator) -> Parts | None:
    """Add mark-up to plain texts."""
    if any(map(_TAG.search, parts)) or not any(map(str.strip, parts)):
        return None
    return tuple(_marked_up(part) for part in parts)


def _marked_up(text: str) -> str:
    lines = [
        line
        for paragraph in html.escape(text, quote=False).splitlines()
        for line in textwrap.wrap(paragraph, _LINE, break_long_words=False, break_on_hyphens=False)
        or [""]
    ]
    body = "<br>".join(lines)
    return f"<html><head></head><body><p><font>{body}</font></p></body></html>"
