"""Words of texts, and mark-up tags such as ``<html``."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._labels import composed
from ntkit._types import Array
from ntkit.attributes._feature_set import SUPPORT, Block, FeatureSet, common_enough
from ntkit.exceptions import InputError

_TOKEN = re.compile(r"</[a-z]\w*|<[a-z][a-z0-9]{0,39}|\w{2,40}")
_LONGEST = 40  # letters of a word
_BLOCK = 4096  # words
_SOME = 2000  # texts that are searched for a similar word


@documented
def words(texts: Sequence[str], *, most: int = 20_000, kind: str = "word") -> FeatureSet:
    """Feature set of the words of texts.

    Letters are read in lower case. An opening mark-up tag is a word of its own, ``<html``. A word
    is left out if fewer than 1 % or more than 99 % of the texts contain it.

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

    def blocks() -> Iterator[Block]:
        found, X = counted()
        for start in range(0, len(found), _BLOCK):
            part = slice(start, start + _BLOCK)
            yield Block(tuple(f"{kind}:{word}" for word in found[part]), X[:, part])

    return FeatureSet(kind, True, len(texts), blocks)


def holding(texts: Sequence[str], word: str) -> tuple[Array, list[str]]:
    """Mask of the texts that contain a word or a run of words; else the words of the texts."""
    texts, parts = _checked(texts), composed(word).lower().split()
    # A tag is a word of its own, so <film has no word film. Long runs of letters are cut.
    whole = r"(?:</[a-z]\w*|\W)+".join(map(re.escape, parts))
    end = "" if len(word) >= _LONGEST else r"(?![a-z0-9])" if word.startswith("<") else r"(?!\w)"
    found_in = re.compile(rf"(?<!\w)(?<!<)(?<!</){whole}{end}").search

    def holds(text: str) -> bool:
        low = text.lower()
        return all(part in low for part in parts) and found_in(low) is not None

    found = map(holds, texts)
    values = np.fromiter(found, np.int8, len(texts))
    if values.any():
        return values, []
    return values, [*dict.fromkeys(each for text in texts[:_SOME] for each in _words_of(text))]


def _checked(texts: Sequence[str]) -> list[str]:
    """Texts in one Unicode form, in which an accent is part of its letter."""
    texts = list(texts)
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InputError(
            f"texts[{wrong}] is {texts[wrong]!r}, which is not a text; fill it, for example with "
            "''."
        )
    return [*map(composed, texts)]


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


def places_of(text: str, words: Container[str]) -> Iterator[tuple[int, int, str]]:
    """Beginning, end and lower-case form of each of some words in a text."""
    for match in _TOKEN.finditer(_lower(text)):
        if match[0] in words and not match[0].startswith("</"):
            yield *match.span(), match[0]


def _lower(text: str) -> str:
    """A text in lower case, of the same length: letters whose lower case is longer stay."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(one if len(one := letter.lower()) == 1 else letter for letter in text)


def _words_of(text: str) -> dict[str, None]:
    """Distinct words of a text."""
    return dict.fromkeys(_tokens(text.lower()))


def _tokens(low: str) -> list[str]:
    return [word for word in _TOKEN.findall(low) if not word.startswith("</")]
