"""Pairs of texts as model inputs: premise and hypothesis, put together by the tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from ntkit.exceptions import InputError
from ntkit.extraction import TextPreprocessing, Texts

__all__ = ["TextPairs"]


class TextPairs(Texts):
    """A lazy sequence of pairs of texts; as :class:`~ntkit.extraction.Texts` otherwise.

    The tokenizer joins a pair in its own way (BERT: ``[CLS] first [SEP] second [SEP]``, with token
    types 0 and 1), and takes tokens off the longer text where both are too long.

    Parameters
    ----------
    pairs : iterable of (str, str)
        The pairs, N of them; they stay available as ``texts``.
    preprocessing : TextPreprocessing
        How they are tokenised.

    Raises
    ------
    InputError
        On slicing, if the tokenizer cannot be read or used.
    """

    texts: Any

    def __init__(self, pairs: Iterable[tuple[str, str]], preprocessing: TextPreprocessing) -> None:
        super().__init__((), preprocessing)
        self.texts = list(pairs)

    def sha256(self) -> str:
        """Fingerprint of the pairs, in their order."""
        digest = hashlib.sha256()
        for pair in self.texts:
            for text in pair:
                content = text.encode("utf-8", "surrogatepass")
                digest.update(b"%d:" % len(content) + content)
        return digest.hexdigest()

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = super()._tokenizer
        special = tokenizer.num_special_tokens_to_add(True)
        if self.preprocessing.max_length <= special:
            raise InputError(
                f"max_length={self.preprocessing.max_length} leaves no room for a pair of texts "
                f"beside the tokenizer's {special} special tokens; give a larger one."
            )
        return tokenizer

    def _encodings(self, texts: Sequence[Any]) -> Any:
        return self._tokenizer.encode_batch_fast(texts)
