"""Changes of a text's surface: what stands around it, letters, marks, given names, a sentence."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ntkit._disk import read_bytes
from ntkit.attributes.word_lists import plain_words
from ntkit.changes.texts import OfTexts, Parts, TextChange, of_each
from ntkit.exceptions import InputError

_LARGEST = 1 << 20  # bytes of a file of lines
_FREQUENT = 50  # words that a control draws from
_ENDS, _CLOSING = ".!?…。！？", "\"'”’)]"
_SENTENCE = re.compile(  # no mark is looked at twice, or many in a row would take long
    r"(?s).+?(?:(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s|\Z)|[。！？]+|\n|\Z)\s*"
)
_WORD = re.compile(r"[^\W\d_][\w'’]*")
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
    content = read_bytes(
        _place(name, what[1:], below), largest=_LARGEST, wanted="a text file, one line for a text"
    )
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{name!r}: the file is not UTF-8. Save it as UTF-8.") from error
    stripped = tuple(line.strip() for line in lines if line.strip())
    if not stripped:
        raise InputError(f"{name!r}: the file has no lines. Write one for each text to put in.")
    return PutAt(name, (), before=before, lines=stripped, file=content)


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
