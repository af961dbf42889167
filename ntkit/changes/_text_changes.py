"""Changes of texts: words swapped, left out or put in, mark-up, case."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

TextChange = Callable[[str, np.random.Generator], str | None]

_TAG = re.compile(r"(?is)<(style|script)\b.*?</\1\s*>|<!--.*?-->|</?[a-z][^<>]*>|<![^<>]*>")
_LINE = 70  # characters of a line of mark-up


def swapped(words: Sequence[str]) -> TextChange:
    """Put another one of some words in each one's place, case and plural kept."""
    names = {word.lower(): i for i, word in enumerate(words)}
    plural = {f"{word}s": word for word in names}  # "films", unless it is one of the words itself
    forms = sorted({*names, *plural}, key=len, reverse=True)
    found = re.compile(rf"(?i)(?<!\w)({'|'.join(map(re.escape, forms))})(?!\w)")

    def change(text: str, rng: np.random.Generator) -> str | None:
        def other(match: re.Match[str]) -> str:
            word = match[0].lower()
            ending = "" if word in names else "s"
            own = names[word] if word in names else names[plural[word]]
            step = 1 if len(words) == 2 else int(rng.integers(1, len(words)))
            return _cased(words[(own + step) % len(words)].lower() + ending, match[0])

        new = found.sub(other, text)
        return None if new == text else new

    return change


def _cased(word: str, like: str) -> str:
    """A word in the case of another one."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def left_out(word: str) -> TextChange:
    """Leave a word out wherever it stands; of a tag as ``<b``, the whole tag."""
    is_tag, pattern = word.startswith("<"), _places(word).pattern.removeprefix("(?i)")
    space = "" if is_tag else r"[^\S\n]?"  # the one before the word goes with it
    found = re.compile(rf"(?i){space}{pattern}")

    def change(text: str, rng: np.random.Generator) -> str | None:
        new = found.sub(" " if is_tag else "", text)
        return None if new == text else new.strip().lstrip(",;:").strip() or None

    return change


def _places(word: str) -> re.Pattern[str]:
    if word.startswith("<"):
        tag = re.escape(word[1:])
        return re.compile(rf"(?i)</?{tag}(?![a-z0-9])[^<>]*>?")
    parts = r"\W+".join(map(re.escape, word.split(" ")))
    return re.compile(rf"(?i)(?<!\w){parts}(?!\w)")


def put_in(word: str) -> TextChange:
    """Put a word in at a random place between two words, where it is not yet."""
    there = _places(word)

    def change(text: str, rng: np.random.Generator) -> str | None:
        if there.search(text) or not text.strip():
            return None
        gaps = [0, *(match.end() for match in re.finditer(r"\s+", text)), len(text)]
        at = gaps[int(rng.integers(len(gaps)))]
        before = " " if at and not text[at - 1].isspace() else ""
        after = " " if at < len(text) else ""
        return f"{text[:at]}{before}{word}{after}{text[at:]}"

    return change


def like_word_left_out(word: str, texts: Sequence[str]) -> TextChange:
    """Leave out, where a text holds a word, its word of the nearest frequency instead."""
    tokens = re.compile(r"\w{2,40}")
    frequency = Counter(w for text in texts for w in {*tokens.findall(text.lower())})
    own, found = frequency.get(word.lower(), 0), _places(word)

    def change(text: str, rng: np.random.Generator) -> str | None:
        if not found.search(text):
            return None
        own_words = {*tokens.findall(word.lower())}
        others = [w for w in dict.fromkeys(tokens.findall(text.lower())) if w not in own_words]
        if not others:
            return None
        distance = [abs(np.log((frequency[w] + 1) / (own + 1))) for w in others]
        return left_out(others[int(np.argmin(distance))])(text, rng)

    return change


def without_markup(text: str, rng: np.random.Generator) -> str | None:
    """Strip tags and resolve entities, where there are tags."""
    if not _TAG.search(text):
        return None
    plain = re.sub(r"\s+", " ", html.unescape(_TAG.sub(" ", text))).strip()
    return plain or None


def with_markup(text: str, rng: np.random.Generator) -> str | None:
    """Wrap a plain text into mark-up."""
    if _TAG.search(text) or not text.strip():
        return None
    lines = (html.escape(text[i : i + _LINE], quote=False) for i in range(0, len(text), _LINE))
    body = "<br>".join(lines)
    return f"<html><head></head><body><p><font>{body}</font></p></body></html>"


def one_of(*changes: TextChange) -> TextChange:
    """The first of some changes that applies."""

    def change(text: str, rng: np.random.Generator) -> str | None:
        results = (each(text, rng) for each in changes)
        return next((new for new in results if new is not None), None)

    return change


def cased(how: str) -> TextChange:
    """All letters in lower or upper case."""

    def change(text: str, rng: np.random.Generator) -> str | None:
        new = text.lower() if how == "lower" else text.upper()
        return None if new == text else new

    return change
