"""Changes of texts: words, mark-up, what stands around them, letters, marks, names, a sentence."""

from __future__ import annotations

import html
import os
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ntkit._disk import read_bytes
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
        whole = [" ".join(_parts(text)) for text in texts]
        frequency = _n_texts(whole)
        return tuple(of_each(like_word_left_out(word, whole, frequency)) for word in self.words)


def _n_texts(texts: Sequence[str]) -> Counter[str]:
    """Number of texts with each word."""
    return Counter(word for text in texts for word in {*plain_words(text)})


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
        return left_out(_like(own, others, frequency)[0])(text, rng)

    return change


def _like(n: int, words: Sequence[str], frequency: Counter[str]) -> list[str]:
    """Words by the distance of their frequency from another one, the nearest first."""
    distance = [abs(np.log((frequency[word] + 1) / (n + 1))) for word in words]
    return [words[i] for i in np.argsort(distance, kind="stable")]


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


_LARGEST = 1 << 20  # bytes of a file of lines
_FREQUENT = 50  # words that a control draws from
_NEAR = 20  # words of like frequency that a control draws from
_ENDS, _CLOSING = ".!?…。！？", "\"'”’)]"
_SENTENCE = re.compile(  # no mark is looked at twice, or many in a row would take long
    r"(?s).+?(?:(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s|\Z)|[。！？]+|\n|\Z)\s*"
)
_WORD = re.compile(r"[^\W\d_][\w'’]*")
_LETTERS = re.compile(r"[^\W\d_]+")
_RARE = "jkqvwxz"  # letters of words that no text has
_FEWEST_LETTERS = 4  # of a word with a typing error


# -- before and after a text -----------------------------------------------------------------------


@dataclass(frozen=True)
class PutAt(OfTexts):
    """A line before or after each text, or left out; a control has words of the same length."""

    before: bool = False
    lines: tuple[str, ...] = ()
    file: bytes | None = None  # content of the file with the lines
    are_lengths: bool = False

    def changes_for(self, texts: Sequence[Any]) -> tuple[TextChange, ...]:
        """The change; that of a control depends on all texts."""
        words = _frequent(texts, self.lines) if self.are_lengths else ()
        return (of_each(partial(self._put, words)),)

    def control(self, name: str) -> OfTexts:
        """Frequent words of the texts, of the length of a line."""
        return replace(self, name=name, are_lengths=True)

    def _put(self, words: Sequence[str], text: str, rng: np.random.Generator) -> str:
        """A text with a line, or without the one that it has there; with words as a control."""
        line, old = self.lines[int(rng.integers(len(self.lines)))], text.strip()
        has = next((each for each in self.lines if self._is_there(each, old)), None)
        if not old or has is None:
            line = _of_length(len(line), words, rng) if words else line
            return self._joined(line, text) if old else text
        rest = old[len(has) :].lstrip() if self.before else old[: -len(has)].rstrip()
        if not words:
            return rest
        kept = rest.split()
        while kept and len(" ".join(kept)) > len(rest) - len(has):
            kept.pop(0 if self.before else -1)
        return self._joined(has, " ".join(kept))

    def _is_there(self, line: str, text: str) -> bool:
        """Whether a text begins or ends with a line, not only with a part of a word."""
        at = len(line) if self.before else len(text) - len(line)
        cut = 0 < at < len(text) and text[at - 1 : at + 1].isalnum()
        return not cut and (text.startswith(line) if self.before else text.endswith(line))

    def _joined(self, line: str, text: str) -> str:
        return f"{line} {text.lstrip()}" if self.before else f"{text.rstrip()} {line}"


def put_at(name: str, what: str, *, before: bool, below: Path | None) -> PutAt:
    """Make a change that puts a text, or with ``@`` a line of a file, before or after each text."""
    if not what.startswith("@") or what.startswith("@@"):
        return PutAt(name, (), before=before, lines=(what.removeprefix("@"),))
    content, lines = _file_of_lines(_place(name, what[1:], below), name)
    return PutAt(name, (), before=before, lines=lines, file=content)


def lines_of_file(path: Path) -> tuple[str, ...]:
    """The lines of a text file without empty ones."""
    return _file_of_lines(path, str(path))[1]


def _file_of_lines(path: Path, name: str) -> tuple[bytes, tuple[str, ...]]:
    """Content of a text file, and its lines without empty ones; errors name what names it."""
    content = read_bytes(path, largest=_LARGEST, wanted="a text file, one line for a text")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{name!r}: the file is not UTF-8. Save it as UTF-8.") from error
    stripped = tuple(line.strip() for line in lines if line.strip())
    if not stripped:
        raise InputError(f"{name!r}: the file has no lines. Write one for each text to put in.")
    return content, stripped


def _place(name: str, what: str, below: Path | None) -> Path:
    """Where a file of lines is; a file that another one names must be inside its folder."""
    if below is None:
        return Path(what)
    windows = PureWindowsPath(what)
    try:
        folder = Path(os.path.realpath(below))
        # Nothing outside is even looked at: on Windows, a look at a share tells it who looks.
        outside = Path(what).is_absolute() or windows.drive or windows.root
        path = folder if outside else Path(os.path.realpath(folder / what))
    except (OSError, ValueError) as error:
        raise InputError(f"{name!r} does not name a file ({error}).") from error
    if outside or not path.is_relative_to(folder):
        raise InputError(
            f"{name!r}: a file of answers or limits can only name files inside its folder, "
            f"{below}. Copy the lines into it, or name their file with --invariant (invariant=)."
        )
    return path


def _frequent(texts: Sequence[Any], lines: Sequence[str]) -> list[str]:
    """The words that are in most texts, without those of the lines."""
    counts = Counter[str]()
    for text in texts:
        counts.update({*plain_words(text if isinstance(text, str) else " ".join(text))})
    own = {word for line in lines for word in plain_words(line)}
    by_number = sorted(counts, key=lambda word: (-counts[word], word))
    return [word for word in by_number if word not in own and "<" not in word][:_FREQUENT] or ["–"]


def _of_length(length: int, words: Sequence[str], rng: np.random.Generator) -> str:
    """Words of at least a length in all."""
    line = words[int(rng.integers(len(words)))]
    while len(line) < length:
        line = f"{line} {words[int(rng.integers(len(words)))]}"
    return line


# -- letters and marks -----------------------------------------------------------------------------


def spaced(text: str, rng: np.random.Generator) -> str:
    """Letters apart; accents and the parts of an emoji stay together."""
    return re.sub(r"(?<=[^\s\u200d])(?=[^\s\u0300-\u036f\u200d\ufe0f])", " ", text)


def titled(text: str, rng: np.random.Generator) -> str:
    """Each word with a capital; str.title would write Don'T."""
    return _WORD.sub(lambda word: word[0][:1].upper() + word[0][1:].lower(), text)


def final_mark(text: str, rng: np.random.Generator) -> str:
    """Without the final mark, or with a full stop if there is none."""
    whole = text.rstrip()
    body = whole.rstrip(_CLOSING)
    if (bare := body.rstrip(_ENDS).rstrip()) != body:
        return f"{bare}{whole[len(body) :]}"
    stop = "。" if "\u3040" <= whole[-1:] <= "\u9fff" else "."
    return f"{whole}{stop}" if whole else text


def without_marks(text: str, rng: np.random.Generator) -> str:
    """Without punctuation, except inside words."""
    inside = {match.start() for match in re.finditer(r"(?<=\w)['’\-](?=\w)", text)}
    kept = "".join(
        c for i, c in enumerate(text) if i in inside or not unicodedata.category(c).startswith("P")
    )
    return text if kept == text else re.sub(r"[^\S\n]+", " ", kept).strip()


def mistyped(n: int, text: str, rng: np.random.Generator) -> str:
    """One typing error in each of n words: two letters exchanged, one left out or doubled."""
    words = [m for m in _WORD.finditer(text) if len(m[0]) >= _FEWEST_LETTERS]
    chosen = rng.permutation(len(words))[:n].tolist()
    for match in sorted((words[i] for i in chosen), key=lambda m: -m.start()):
        at, how = match.start() + int(rng.integers(1, len(match[0]) - 2)), int(rng.integers(3))
        one, two = text[at], text[at + 1]
        made = [two + one if one != two else one, two, one + one + two][how]
        text = text[:at] + made + text[at + 2 :]
    return text


# -- given names -----------------------------------------------------------------------------------

_NAMES = [
    "James Robert John Michael David William Richard Joseph Thomas Christopher Charles Daniel "
    "Matthew Anthony Donald Steven Andrew Paul Joshua Kenneth Kevin Brian Timothy Ronald Jason "
    "George Edward Jeffrey Ryan Jacob Nicholas Eric Jonathan Stephen Larry Justin Scott Brandon "
    "Benjamin Samuel Gregory Alexander Patrick Dennis Jerry Tyler Aaron Adam Nathan Henry Zachary "
    "Douglas Peter Kyle Noah Ethan Jeremy Keith Roger Terry Sean Carl Dylan Darnell Lamar Jamal "
    "Tyrone Mohammed Ahmed Omar Yusuf Ali Ivan Dmitri Hiroshi Kenji Rajesh Arjun Sanjay Carlos "
    "Miguel Javier Pedro Rafael Hans Giovanni",
    "Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Sarah Karen Lisa Nancy Sandra "
    "Betty Ashley Emily Kimberly Donna Michelle Carol Amanda Melissa Deborah Stephanie Rebecca "
    "Laura Sharon Cynthia Kathleen Amy Angela Shirley Brenda Emma Anna Pamela Nicole Samantha "
    "Katherine Helen Debra Rachel Carolyn Janet Maria Catherine Heather Diane Olivia Julie Joyce "
    "Ruth Lauren Christina Joan Evelyn Judith Andrea Hannah Megan Jacqueline Martha Cheryl Teresa "
    "Sara Kathryn Janice Lakisha Latoya Keisha Aisha Fatima Leila Priya Anjali Mei Yuki Olga "
    "Svetlana Elena Lucia Ingrid Chiara",
]
"""Given names, of men and of women; a name is replaced by one of the same list."""
_ALSO_WORDS = ["Mark Will Frank Bill Grant Art", "Grace Rose Faith Hope Dawn Joy Amber Ruby"]
"""Names that are words as well."""
_OTHERS = [names.split() for names in _NAMES]
_LIST_OF = {
    name.lower(): names for names, more in zip(_OTHERS, _ALSO_WORDS, strict=True)
    for name in (*names, *more.split())
}  # fmt: skip
_AMBIGUOUS = {name.lower() for names in _ALSO_WORDS for name in names.split()}
_NAME = re.compile(r"(?<![\w'’])[^\W\d_]+(?![\w\u0300-\u036f])")
_BEFORE_A_NAME = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Miss|Dr)\.?|(?<![\w'’])"
    r"(?!(?:the|an?|this|that|these|those|my|your|his|her|its|our|their)\s)[^\W\d_A-Z][\w'’]*,?)"
    r"\s+\Z"
)


def renamed(parts: Parts, rng: np.random.Generator) -> Parts | None:
    """Each given name replaced by another one, in both texts of a pair by the same one."""
    others = dict[str, str]()

    def other(match: re.Match[str]) -> str:
        old = match[0]
        key, shouted = old.lower(), old.isupper()
        if key not in _LIST_OF or not (shouted or old.istitle()):
            return old
        if key in _AMBIGUOUS and (shouted or not _at_a_names_place(match)):
            return old
        if key not in others:
            taken = {key, *(name.lower() for name in others.values())}
            free = [name for name in _LIST_OF[key] if name.lower() not in taken]
            others[key] = free[int(rng.integers(len(free)))]
        return others[key].upper() if shouted else others[key]

    new = tuple(_NAME.sub(other, part) for part in parts)
    return None if new == parts else new


def _at_a_names_place(match: re.Match[str]) -> bool:
    """Whether a title, or a word in lower case but no article, precedes a word with a capital.

    *Told Grace* has a name; *Grace came*, *the Grace* and *A New Hope* may have none.
    """
    start = match.start()
    return _BEFORE_A_NAME.search(match.string[max(0, start - 40) : start]) is not None


@dataclass(frozen=True)
class OtherWords(OfTexts):
    """As many words of a text as it has names, replaced by words of the frequency of the new names.

    A network learns each rare word a little, so that any other one flips some predictions.
    """

    def changes_for(self, texts: Sequence[Any]) -> tuple[TextChange, ...]:
        """The change, which depends on the frequencies."""
        frequency = _n_texts([" ".join(_parts(text)) for text in texts])
        words = [word for word in frequency if word.isalpha() and word not in _LIST_OF]
        return (partial(_others_renamed, words, frequency),)


def _others_renamed(
    words: Sequence[str], frequency: Counter[str], parts: Parts, rng: np.random.Generator
) -> Parts | None:
    """The word of the nearest frequency replaced in place of each name."""
    if (copy := renamed(parts, rng)) is None:
        return None
    both = zip(_NAME.findall(" ".join(parts)), _NAME.findall(" ".join(copy)), strict=True)
    names = {old.lower(): new.lower() for old, new in both if old != new}
    own = {*plain_words(" ".join(parts))}
    free = [word for word in words if word in own]
    for old, new in [*names.items()][: len(free)]:
        word = _like(frequency[old], free, frequency)[0]
        free.remove(word)
        near = [w for w in _like(frequency[new], words, frequency) if w != word][:_NEAR]
        if near:
            other = partial(_in_case_of, near[int(rng.integers(len(near)))])
            parts = tuple(re.sub(rf"(?i){_places(word)}", other, part) for part in parts)
    return parts


def _in_case_of(word: str, like: re.Match[str]) -> str:
    """A word in the case of the one that it replaces."""
    return _cased(word, like[0])


# -- a sentence of another text --------------------------------------------------------------------


def with_sentence(first: bool, parts: Parts, others: Parts, rng: np.random.Generator) -> Parts:
    """The first or the last sentence of other texts in place of one's own."""
    return tuple(_with_sentence(*each, first) for each in zip(parts, others, strict=True))


def _with_sentence(text: str, other: str, first: bool) -> str:
    """A text with a sentence of another one; a text of one sentence stays, or nothing would."""
    own, theirs = _SENTENCE.findall(text), _SENTENCE.findall(other)
    if len(own) < 2 or not theirs:
        return text
    at = 0 if first else -1
    space = own[at][len(own[at].rstrip()) :] or " " * first
    own[at] = theirs[at].strip() + space
    return "".join(own)


# -- a control of changes that rewrite words -------------------------------------------------------

REWRITES = ("case", "space", "typos")
"""What changes begin with that rewrite words of any kind, which a network may then not know."""
UNKNOWN_WORDS = "unknown words in place of those that"
"""What the names of their controls begin with."""


def unknown_instead(name: str, change: OfTexts) -> OfTexts:
    """The words that a change rewrites, as words that no text has: rare letters, the same case."""
    return OfTexts(name, tuple(partial(_unknown_instead, each) for each in change.changes))


def _unknown_instead(change: TextChange, parts: Parts, rng: np.random.Generator) -> Parts | None:
    """A sample with rare letters in the words that its changed copy lacks."""
    if (copy := change(parts, rng)) is None:
        return None
    made = list[str]()
    for part, new in zip(parts, copy, strict=True):
        kept = Counter(_WORD.findall(new))

        def other(match: re.Match[str], kept: Counter[str] = kept) -> str:
            word = match[0]
            kept[word] -= 1
            if kept[word] >= 0:
                return word
            return _cased(_LETTERS.sub(partial(_rare, rng), word), word)

        made.append(_WORD.sub(other, part))
    return tuple(made)


def _rare(rng: np.random.Generator, letters: re.Match[str]) -> str:
    """As many rare letters, but three at least: networks of words know single letters."""
    return "".join(_RARE[i] for i in rng.integers(len(_RARE), size=max(len(letters[0]), 3)))


# -- text forms ------------------------------------------------------------------------------------

_FORMS: dict[str, Callable[[str, np.random.Generator], str]] = {
    "space": spaced,
    "punctuation": final_mark,
    "punctuation=all": without_marks,
    "case:title": titled,
    "case:lower": lambda text, rng: text.lower(),
    "case:upper": lambda text, rng: text.upper(),
}


def surface_change(name: str) -> OfTexts | None:
    """Make a change of letters, marks, names or a sentence; None if it is none of these."""
    if name in _FORMS:
        return OfTexts(name, (of_each(_FORMS[name]),))
    if name == "names":
        return OfTexts(name, (renamed,))
    if (number := re.fullmatch(r"typos=([1-9][0-9]?)", name)) is not None:
        return OfTexts(name, (of_each(partial(mistyped, int(number[1]))),))
    if name in ("segment:first", "segment:last"):
        return OfTexts(name, (partial(with_sentence, name == "segment:first"),), donor=True)
    return None


FORMS = {
    "case": "case:lower, case:upper or case:title",
    "space": "space",
    "punctuation": "punctuation or punctuation=all",
    "typos": "typos=N with a number from 1 to 99",
    "names": "names",
    "segment": "segment:first or segment:last",
}
"""The text forms of these changes, by what they begin with."""
