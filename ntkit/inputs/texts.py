"""Texts as model inputs: directly, or tokenised and padded as by the tokenizer's makers."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from ntkit._extras import install_extra
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.inputs.text_preprocessing import TextPreprocessing, saved_pad_token

_AT_ONCE = 1024  # texts; an encoding in memory is far larger than its token ids
_COUNTED = 1000  # texts that tell how many are cut
_USUAL_PADDING = ("[PAD]", "<pad>", "<PAD>")


class Texts:
    """A lazy sequence of texts: a slice gives model inputs, padded to its longest text.

    Without a tokenizer it returns the texts themselves.

    Parameters
    ----------
    texts : iterable of str
        The texts, N of them.
    preprocessing : TextPreprocessing
        Steps of tokenisation.
    pairs : iterable of str, optional
        The second text of each sample, such as the hypothesis of a premise. The tokenizer joins a
        pair in its own way (BERT: ``[CLS] first [SEP] second [SEP]``, with token types 0 and 1),
        and truncates the longer text if both are too long. The attribute ``texts`` then has pairs.

    Raises
    ------
    InputError
        If an entry is not a text, the numbers of first and second texts differ, or there is no
        tokenizer to join them. When sliced: if the tokenizer cannot be read or used.
    MissingDependencyError
        When sliced: if the package tokenizers is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> from ntkit.extraction import TextPreprocessing, Texts
    >>> vocabulary = {"[PAD]": 0, "a": 1, "nice": 2, "bird": 3}
    >>> tokenizer = Tokenizer(models.WordLevel(vocabulary))
    >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tokenizer.json"
    ...     tokenizer.save(str(path))
    ...     X = Texts(["bird", "a nice bird"], TextPreprocessing(path))[:]
    >>> X["input_ids"].tolist(), X["attention_mask"].tolist()
    ([[3, 0, 0], [1, 2, 3]], [[1, 0, 0], [1, 1, 1]])
    """

    texts: Any

    def __init__(
        self,
        texts: Iterable[str],
        preprocessing: TextPreprocessing,
        pairs: Iterable[str] | None = None,
    ) -> None:
        self.texts = list(texts)
        self.preprocessing = preprocessing
        self.paired = pairs is not None
        parts = [self.texts]
        if pairs is not None:
            if preprocessing.tokenizer is None:
                raise InputError(
                    f"The model's input {preprocessing.ids!r} reads one text of each sample "
                    "directly; leave out the second texts (--text-pair-column)."
                )
            second = list(pairs)
            if len(second) != len(self.texts):
                raise InputError(
                    f"There are {len(self.texts)} texts, but {len(second)} second texts of pairs; "
                    "pass one for each."
                )
            parts.append(second)
            self.texts = list(zip(*parts, strict=True))
        for part in parts:
            for i, text in enumerate(part):
                if not isinstance(text, str):
                    raise InputError(f"Sample {i} is {text!r}, not a text.")

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: slice) -> dict[str, Array]:
        texts = self.texts[index]
        return self._encoded(texts).batch(np.arange(len(texts)))

    def with_texts(self, texts: Sequence[Any], steps: TextPreprocessing | None = None) -> Texts:
        """Other texts (or pairs of texts), tokenised in the same way or by other steps."""
        first = [text[0] for text in texts] if self.paired else texts
        second = [text[1] for text in texts] if self.paired else None
        return Texts(first, steps or self.preprocessing, pairs=second)

    def with_absolute_paths(self) -> Texts:
        """Return the same texts, for a process in another folder."""
        if self.preprocessing.tokenizer is None:
            return self
        path = self.preprocessing.tokenizer_path.absolute()
        return self.with_texts(self.texts, replace(self.preprocessing, tokenizer=path))

    def take(self, rows: Iterable[int]) -> Texts:
        """Return some of the texts, in the order of these rows."""
        return self.with_texts([self.texts[row] for row in rows])

    def window(self, start: int, stop: int) -> TextWindow | PlainWindow:
        """Token ids of texts ``start`` to ``stop``, to be padded in batches of similar length."""
        return self._encoded(self.texts[start:stop])

    def become_others(self, rows: Array, copies: Texts) -> Array:
        """Whether each copy becomes other model inputs than the text in its row, (n,)."""
        if self.preprocessing.tokenizer is None:
            return np.ones(len(rows), dtype=bool)
        # The case of letters, if the tokenizer ignores it, and words after the cut do not reach it.
        differ = np.ones(len(rows), dtype=bool)
        for start in range(0, len(rows), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            originals = [self.texts[row] for row in rows[some].tolist()]
            both = map(_inputs_of, (self._encoded(originals), self._encoded(copies.texts[some])))
            differ[some] = [one != other for one, other in zip(*both, strict=True)]
        return differ

    def cut_note(self) -> str:
        """Sentences on how many texts are cut, by at most some taken evenly; else empty."""
        steps = self.preprocessing
        some = self.texts[:: -(-len(self) // _COUNTED)] if len(self) else []
        long = [t for t in some if len("".join(t).encode(errors="replace")) >= steps.max_length]
        if steps.tokenizer is None or not long:
            return ""
        encode = self._tokenizer.encode_batch
        parts = (long[at : at + _AT_ONCE] for at in range(0, len(long), _AT_ONCE))
        n_cut = sum(bool(encoding.overflowing) for part in parts for encoding in encode(part))
        evenly = " taken evenly" * (len(some) < len(self))
        return bool(n_cut) * (
            f"{n_cut} of {counted(len(some), 'text')}{evenly} are cut at {steps.max_length} "
            "tokens. The model does not read the rest, but names such as word:film do."
        )

    def sha256(self) -> str:
        """Fingerprint of the texts, in their order: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for text in self.texts:
            for part in text if self.paired else (text,):
                content = part.encode("utf-8", "surrogatepass")
                digest.update(b"%d:" % len(content) + content)
        return digest.hexdigest()

    def pad_token(self) -> tuple[int, str]:
        """Id and text of the padding token."""
        return self._pad_id, str(self._tokenizer.id_to_token(self._pad_id))

    @cached_property
    def _tokenizer(self) -> Any:
        steps = self.preprocessing
        try:
            tokenizers = importlib.import_module("tokenizers")
        except ImportError as error:
            raise MissingDependencyError(
                f"Texts need the package tokenizers; install it with: {install_extra('text')}"
            ) from error
        if not steps.tokenizer_path.is_file():
            raise InputError(
                f"The tokenizer {steps.tokenizer} does not exist; pass another one with "
                "--tokenizer."
            )
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(steps.tokenizer_path))
        except Exception as error:  # the library has no error class of its own
            raise InputError(
                f"{steps.tokenizer} is not a usable tokenizer.json: {error}; save it again with "
                "the installed version of tokenizers or an older one."
            ) from error
        special = tokenizer.num_special_tokens_to_add(self.paired)
        if steps.max_length <= special:
            what = "a pair of texts" if self.paired else "a text"
            raise InputError(
                f"max_length={steps.max_length} is too short for {what} and the tokenizer's "
                f"{special} special tokens; raise it with --max-length."
            )
        tokenizer.no_padding()
        tokenizer.enable_truncation(
            steps.max_length, strategy="longest_first", direction=steps.truncation
        )
        return tokenizer

    @cached_property
    def _pad_id(self) -> int:
        steps = self.preprocessing
        if steps.pad_token is not None:
            known = self._tokenizer.token_to_id(steps.pad_token)
            if known is None:
                raise InputError(
                    f"The padding token {steps.pad_token!r} is not in {steps.tokenizer}; name one "
                    "of its tokens."
                )
            return int(known)
        for token in (saved_pad_token(steps.tokenizer_path), *_USUAL_PADDING):
            known = self._tokenizer.token_to_id(token) if token is not None else None
            if known is not None:
                return int(known)
        if steps.mask is None:
            raise InputError(
                f"{steps.tokenizer} names no padding token, and the model has no attention mask; "
                'name the token as "pad_token" in tokenizer_config.json.'
            )
        return 0  # the model ignores it

    def _encoded(self, texts: Sequence[Any]) -> TextWindow | PlainWindow:
        if self.preprocessing.tokenizer is None:
            _refuse_broken(texts)
            return PlainWindow(np.asarray([*map(len, texts)], np.int64), texts, self.preprocessing)
        ids, types, lengths = list[Array](), list[Array](), list[int]()
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            _refuse_broken(chain.from_iterable(some) if self.paired else some)
            # The fast way gives both texts of a pair type 0 without a post-processor.
            encode = "encode_batch" if self.paired else "encode_batch_fast"
            for encoding in getattr(self._tokenizer, encode)(some):
                ids.append(np.asarray(encoding.ids, np.int64))
                lengths.append(len(encoding.ids))
                if self.preprocessing.types is not None:
                    types.append(np.asarray(encoding.type_ids, np.int64))
        none = [np.empty(0, np.int64)]
        return TextWindow(
            np.asarray(lengths, np.int64),
            np.concatenate(ids or none),
            np.concatenate(types or none),
            self._pad_id,
            self.preprocessing,
        )


def _inputs_of(window: Any) -> list[tuple[bytes, bytes]]:
    """Token ids and types of each text."""
    cuts = np.cumsum(window.lengths)[:-1]
    parts = (np.split(window.ids, cuts), np.split(window.types, cuts if len(window.types) else []))
    types = parts[1] if len(window.types) else [window.types] * len(window.lengths)
    return [(one.tobytes(), two.tobytes()) for one, two in zip(parts[0], types, strict=True)]


@dataclass(frozen=True)
class PlainWindow:
    """Consecutive texts that go into the model directly."""

    lengths: Array
    texts: Sequence[str]
    preprocessing: TextPreprocessing

    def batch(self, indices: Any) -> dict[str, Array]:
        """Return the model's input for some of the texts, of shape (len(indices), 1)."""
        chosen = np.asarray([self.texts[i] for i in indices], dtype=object)
        return {self.preprocessing.ids: chosen[:, None]}


@dataclass(frozen=True)
class TextWindow:
    """Token ids of some consecutive texts, not padded yet."""

    lengths: Array
    ids: Array
    types: Array
    pad_id: int
    preprocessing: TextPreprocessing

    @property
    def unpadded(self) -> bool:
        """Whether a batch must have texts of one length, because the model sees the padding."""
        return self.preprocessing.unpadded

    def batch(self, indices: Any) -> dict[str, Array]:
        """Return the model's inputs for some of the texts."""
        steps, rows = self.preprocessing, np.asarray(indices, np.int64)
        lengths = self.lengths[rows]
        width = steps.fixed_length or max(1, int(lengths.max(initial=1)))
        filled = np.arange(width) < lengths[:, None]
        starts = np.cumsum(self.lengths)[rows] - lengths
        at = (starts[:, None] + np.arange(width))[filled]
        there = filled if steps.padding == "right" else filled[:, ::-1]
        batch = {steps.ids: np.full(there.shape, self.pad_id, steps.dtype)}
        batch[steps.ids][there] = self.ids[at]
        if steps.mask is not None:
            batch[steps.mask] = there.astype(steps.dtype)
        if steps.types is not None:
            batch[steps.types] = np.zeros(there.shape, steps.dtype)
            batch[steps.types][there] = self.types[at]
        if steps.positions is not None:
            from_first = np.cumsum(there, axis=1) - 1
            batch[steps.positions] = np.maximum(from_first, 0).astype(steps.dtype)
        return batch


def _refuse_broken(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:  # tokenizers may put another character there
            raise InputError(
                f"The text {text[:80]!a} contains half a character (a lone surrogate); correct or "
                "remove it."
            ) from error
