"""Words of texts, and mark-up tags such as ``<html``."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Sequence, Set
from functools import cache
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._key import Key
from ntkit._labels import composed
from ntkit._text import RUN_ON
from ntkit._types import Array
from ntkit.attributes.feature_set import (
    FEWEST,
    SUPPORT,
    Block,
    FeatureSet,
    common_enough,
)
from ntkit.exceptions import InputError

_TAGS = r"</[a-z]\w*|<[a-z][a-z0-9]{0,39}"
_LONGEST = 40  # letters of a word
_SIMPLE = re.compile(rf"{_TAGS}|\w{{2,{_LONGEST}}}")
_BLOCK = 4096  # words
_NEARLY = 0.9  # share of the texts with a word that contain a phrase
_READ, _LONGEST_PHRASE = 20, 8  # texts in which a phrase is sought, and its words
_SOME = 2000  # texts that are searched for a similar word


@documented
def words(texts: Sequence[str], *, most: int = 20_000, kind: str = "word") -> FeatureSet:
    """Feature set of the words of texts.

    Letters are read in lower case. An opening mark-up tag is a word of its own, ``<html``. A word
    is left out if fewer than 1 % or more than 99 % of the texts contain it. If a word nearly always
    stands in the same phrase, as in ``sent from my iphone``, the phrase is an attribute as well.

    Parameters
    ----------
    texts : sequence of str, length N
        One text for each sample; an empty text has no words.
    most : int, default=20000
        Number of words, the most frequent first.
    kind : str, default="word"
        Prefix of the names.

    {feature_set.returned}

    Raises
    ------
    InputError
        If an entry is not a text.

    Examples
    --------
    >>> from ntkit.attributes import words
    >>> feature_set = words(["A <b>film</b>", "a movie"] * 5)
    >>> [name for block in feature_set.blocks() for name in block.names]
    ['word:<b', 'word:film', 'word:movie']
    """
    texts = _checked(texts)

    @cache
    def counted() -> tuple[tuple[str, ...], Any]:
        return _counted(texts, most)

    @cache
    def of_phrases() -> dict[str, Array]:
        return _phrases(texts, *counted())

    def blocks() -> Iterator[Block]:
        found, X = counted()
        for start in range(0, len(found), _BLOCK):
            part = slice(start, start + _BLOCK)
            yield Block(tuple(f"{kind}:{word}" for word in found[part]), X[:, part])
        if phrases := of_phrases():
            values = np.stack([*phrases.values()], axis=1)
            yield Block(tuple(f"{kind}:{phrase}" for phrase in phrases), values)

    return FeatureSet(kind, True, len(texts), blocks)


def holding(texts: Sequence[str], word: str) -> tuple[Array, list[str]]:
    """Mask of the texts that contain a word or a run of words; else the words of the texts."""
    texts, parts = _checked(texts), comparable(word).split()
    found_in = re.compile(pattern_of_word(comparable(word))).search

    def holds(text: str) -> bool:
        low = text.lower()
        return all(part in low for part in parts) and found_in(low) is not None

    found = map(holds, texts)
    values = np.fromiter(found, np.int8, len(texts))
    if values.any():
        return values, []
    return values, [*dict.fromkeys(each for text in texts[:_SOME] for each in _words_of(text))]


def is_tag(word: str) -> bool:
    """Whether a word is a mark-up tag such as ``<b``; ``<`` and ``<3`` are none."""
    return re.match(r"(?i)</?[a-z]", word) is not None


def pattern_of_word(word: str) -> str:
    """Pattern of a word, or of a run of words, that is not part of a longer one.

    It finds every spelling of accents and of apostrophes. A word that begins or ends with a mark,
    an emoji, or a letter of a script without spaces, may stand next to letters.
    """
    word = " ".join(_plain(word).split())
    # A tag is a word of its own, so <film has no word film. Long runs of letters are cut.
    whole = rf"(?:</[a-z]\w*|[^\w{_marks()}]|\u02bc)+".join(map(_in_any_form, word.split()))
    is_cut = len(word.rpartition(" ")[2]) >= _LONGEST
    if is_tag(word):
        return whole if is_cut else rf"{whole}(?![a-z0-9])"
    letter = rf"(?:[^\W\u02bc]|[{_marks()}])"
    spaced = re.compile(rf"(?![{RUN_ON}]){letter}")
    before = rf"(?:(?<!{letter})(?<!<)(?<!</)|(?<=[{RUN_ON}]))" if spaced.match(word) else ""
    after = rf"(?:(?!{letter})|(?=[{RUN_ON}]))" if spaced.match(word[-1:]) else ""
    return f"{before}{whole}{f'{letter}*' if is_cut else after}"


def _in_any_form(word: str) -> str:
    """Regular expression that finds a word in both Unicode forms, with any apostrophe."""
    forms = [(each, unicodedata.normalize("NFD", each)) for each in word]
    escaped = [(re.escape(one), re.escape(other)) for one, other in forms]
    found = (one if one == other else f"(?:{one}|{other})" for one, other in escaped)
    return "".join(found).replace("'", r"['\u2019\u02bc]")


def _plain(text: str) -> str:
    """A text in one Unicode form, in which an accent is part of its letter, with one apostrophe."""
    return _with_one_apostrophe(composed(text))


def _with_one_apostrophe(text: str) -> str:
    return text.replace("\u2019", "'").replace("\u02bc", "'")


def comparable(text: str) -> str:
    """A text in the form in which words are compared: also in lower case."""
    return _plain(text).lower()


def one_spelling(name: str) -> str:
    """The name of an attribute or a change in the one form in which such names are compared.

    Words have one apostrophe and no case there, as in texts.
    """
    name = composed(name).strip()
    key = Key.of(name)
    key = Key.of(key.what) if key.kind == "not" else key
    return comparable(name) if key.kind == "word" else name


def _checked(texts: Sequence[str]) -> list[str]:
    """Texts in the form of `_plain`."""
    texts = list(texts)
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InputError(
            f"texts[{wrong}] is {texts[wrong]!r}, which is not a text; fill it, for example with "
            "''."
        )
    return [*map(_plain, texts)]


def _counted(texts: list[str], most: int) -> tuple[tuple[str, ...], Any]:
    """Words that are frequent enough, and the texts that contain them: sparse (N, words)."""
    from sklearn.feature_extraction.text import CountVectorizer  # slow to import

    vectorizer = CountVectorizer(
        analyzer=_words_of,
        binary=True,
        dtype=np.float32,
        min_df=SUPPORT,
        max_features=most,
    )
    try:
        X = vectorizer.fit_transform(texts).tocsc()
    except ValueError:  # no text has any word, or all words are rare
        return (), None
    kept = common_enough(np.diff(X.indptr), len(texts))
    names = vectorizer.get_feature_names_out()[kept]
    return tuple(names.tolist()), X[:, np.flatnonzero(kept)]


def _phrases(texts: list[str], found: Sequence[str], X: Any) -> dict[str, Array]:
    """Phrases that nearly all texts with one of the words contain, and the texts with each."""
    phrases, known = dict[str, Array](), {*found}

    @cache
    def tokens(row: int) -> list[str]:
        low = texts[row].lower()
        return re.findall(r"\w+", low) if _is_simple(low) else []

    for j, word in enumerate(found):
        rows = X.indices[X.indptr[j] : X.indptr[j + 1]]
        few = [tokens(row) for row in rows[:: -(-len(rows) // _READ)].tolist()]
        phrase = _extended(word, few, known)
        if phrase != word and phrase not in phrases and len(few) >= FEWEST:
            values = np.zeros(len(texts), dtype=np.int8)
            values[rows] = holding([texts[row] for row in rows.tolist()], phrase)[0]
            if values.sum() >= _NEARLY * len(rows) and common_enough(
                np.asarray(values.sum()), len(texts)
            ):
                phrases[phrase] = values
    return phrases


def _extended(word: str, some: Sequence[Sequence[str]], known: Set[str]) -> str:
    """The longest phrase around a word that nearly all of some texts contain."""
    # It begins and ends with a known word; "the" is none if all texts contain it.
    phrase = [word]
    while len(phrase) < _LONGEST_PHRASE:
        around = Counter[tuple[int, str]]()
        for tokens in some:
            n, ends = len(phrase), set[tuple[int, str]]()
            for i in range(len(tokens) - n + 1):
                if tokens[i : i + n] == phrase:
                    ends |= {(0, each) for each in tokens[max(0, i - 1) : i]}
                    ends |= {(1, each) for each in tokens[i + n : i + n + 1]}
            around.update(ends)
        (side, nearest), count = max(around.items(), key=lambda each: each[1], default=((0, ""), 0))
        if count < _NEARLY * len(some):
            break
        phrase = [nearest, *phrase] if side == 0 else [*phrase, nearest]
    at = [i for i, each in enumerate(phrase) if each in known]
    return " ".join(phrase[at[0] : at[-1] + 1])


def places_of(text: str, words: Container[str]) -> Iterator[tuple[int, int, str]]:
    """Beginning, end and lower-case form of each of some words in a text."""
    for begin, word in _found(_with_one_apostrophe(_lower(text))):
        if word in words:
            yield begin, begin + len(word), word


def _lower(text: str) -> str:
    """A text in lower case, of the same length: letters whose lower case is longer stay."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(one if len(one := letter.lower()) == 1 else letter for letter in text)


def _words_of(text: str) -> dict[str, None]:
    """Distinct words of a text."""
    low = text.lower()
    if _is_simple(low):
        return dict.fromkeys(w for w in _SIMPLE.findall(low) if not w.startswith("</"))
    return dict.fromkeys(word for _, word in _found(low))


def plain_words(text: str) -> list[str]:
    """Words of a text in lower case, without tags."""
    return [word for word in _words_of(_plain(text)) if not word.startswith("<")]


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of all words, and of a letter of a script without spaces."""
    letter = rf"(?:[^\W{RUN_ON}]|(?![{RUN_ON}])[{_marks()}])"
    words = rf"{_TAGS}|[{RUN_ON}]{{2,}}|{letter}{{2,{_LONGEST}}}"
    return re.compile(words), re.compile(f"[{RUN_ON}]")


@cache
def _marks() -> str:
    """Vowel signs, accents and joiners, which belong to the letter before, as in `RUN_ON`."""
    found = (chr(code) for code in range(0x300, 0x10000))
    return "".join(c for c in found if unicodedata.category(c).startswith("M")) + "\u200c\u200d"


@cache
def _all_marks() -> frozenset[str]:
    return frozenset(_marks())


def _is_simple(low: str) -> bool:
    """Whether words are runs of letters: no vowel signs, no script without spaces."""
    if low.isascii() or max(low) < "\u0300":
        return True
    return _all_marks().isdisjoint(low) and _patterns()[1].search(low) is None


def _found(low: str) -> Iterator[tuple[int, str]]:
    """Beginning and letters of each word; in scripts without spaces, of each pair of letters."""
    simple = _is_simple(low)
    for match in (_SIMPLE if simple else _patterns()[0]).finditer(low):
        begin, word = match.start(), match[0]
        if not simple and _patterns()[1].match(word):
            yield from ((begin + i, word[i : i + 2]) for i in range(len(word) - 1))
        elif not word.startswith("</"):
            yield begin, word
