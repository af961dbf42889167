"""Texts as model inputs: tokenised and padded batch by batch, as the tokenizer's makers do."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.frozen_model import FrozenModel, TensorInfo

__all__ = ["TextPreprocessing", "TextWindow", "Texts"]

Array = NDArray[Any]
Side = Literal["right", "left"]

_DEFAULT_LENGTH = 512
_NO_LIMIT = 1_000_000  # where no limit is known, tokenizer_config.json says 1e30
_AT_ONCE = 1024  # texts; an encoding in memory is far larger than its token ids
_USUAL_PADDING = ("[PAD]", "<pad>", "<PAD>")
# These count positions from pad_token_id + 1 on, so that many of them are out of reach.
_ROBERTAS = frozenset(
    {
        *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"),
        *("longformer", "esm", "data2vec-text", "ibert", "layoutlmv3", "lilt", "luke", "mluke"),
        *("markuplm", "xmod"),
    }
)


@dataclass(frozen=True)
class TextPreprocessing:
    """How a text becomes model inputs.

    Parameters
    ----------
    tokenizer : path-like
        A ``tokenizer.json``, as Hugging Face's tokenizers library writes it.
    max_length : int
        Most tokens of a text, special tokens included; longer texts are truncated.
    truncation : {"right", "left"}
        The end that is cut off.
    padding : {"right", "left"}
        The end that is filled up.
    pad_token : str or None
        What it is filled with; None takes the tokenizer's own.
    fixed_length : int or None
        Tokens of every batch, for a model that takes no other number; None pads to the longest
        text of the batch.
    ids : str
        The model's input of token ids.
    mask : str or None
        Its input that is 1 for a token and 0 for padding, if it has one.
    types : str or None
        Its input of token types, if it has one.
    dtype : str
        Element type of these inputs.

    Raises
    ------
    InputError
        If a length is not positive or a side is not one.

    Examples
    --------
    >>> from ntkit.extraction import TextPreprocessing
    >>> steps = TextPreprocessing("tokenizer.json", max_length=64)
    >>> steps.ids, steps.mask
    ('input_ids', 'attention_mask')
    """

    tokenizer: str | Path
    max_length: int = _DEFAULT_LENGTH
    truncation: Side = "right"
    padding: Side = "right"
    pad_token: str | None = None
    fixed_length: int | None = None
    ids: str = "input_ids"
    mask: str | None = "attention_mask"
    types: str | None = None
    dtype: str = "int64"

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise InputError(f"max_length must be at least 1 token; got {self.max_length}.")
        for name in ("truncation", "padding"):
            if getattr(self, name) not in ("right", "left"):
                raise InputError(f"{name} is 'right' or 'left'; got {getattr(self, name)!r}.")
        if self.fixed_length is not None and self.fixed_length < self.max_length:
            raise InputError(
                f"max_length={self.max_length} is more than the {self.fixed_length} tokens that "
                "the model takes."
            )

    @classmethod
    def for_model(
        cls,
        model: FrozenModel,
        tokenizer: str | Path | None = None,
        max_length: int | None = None,
    ) -> TextPreprocessing | None:
        """Find how texts go into a model.

        The tokenizer is the ``tokenizer.json`` beside the model, or in the folder above one that
        is named ``onnx``. Sides, the padding token and the largest length come from it and from
        ``tokenizer_config.json`` and ``config.json``.

        Parameters
        ----------
        model : FrozenModel
            The model.
        tokenizer : path-like, optional
            The ``tokenizer.json``, or its folder, if it lies elsewhere.
        max_length : int, optional
            Most tokens of a text. By default what the files allow, else 512; never more than
            the model takes.

        Returns
        -------
        TextPreprocessing or None
            None if the model does not take texts, or no tokenizer is given or found.

        Raises
        ------
        InputError
            If a tokenizer is given to a model that does not take texts, or a file is damaged.

        Examples
        --------
        >>> from ntkit import FrozenModel
        >>> from ntkit.datasets import marked_digits_model_path
        >>> from ntkit.extraction import TextPreprocessing
        >>> model = FrozenModel.load(marked_digits_model_path())
        >>> TextPreprocessing.for_model(model) is None  # it takes images
        True
        """
        inputs = _text_inputs(model.inputs)
        if inputs is None and tokenizer is not None:
            raise InputError(
                f"The model's inputs ({'; '.join(map(str, model.inputs))}) are not those of a text "
                "model: whole-numbered token ids (samples, tokens), and perhaps an attention mask "
                "and token types; leave out --tokenizer."
            )
        beside = _folders_of(model)
        file = _tokenizer_file(tokenizer) if tokenizer is not None else _found(beside, _TOKENIZER)
        if inputs is None or file is None:
            return None
        ids, mask, types = inputs
        saved, settings = _read_json(file), _read_json(file.with_name("tokenizer_config.json"))
        config = _read_json(_found([*beside, file.parent], "config.json"))
        padding, truncation = _section(saved, "padding"), _section(saved, "truncation")
        fixed = ids.shape[1] if ids.shape is not None else None
        fixed = fixed if isinstance(fixed, int) else None
        limits = [_limit(settings.get("model_max_length")), _n_positions(config), _NO_LIMIT]
        longest = min(n for n in limits if n is not None)
        if max_length is None:
            max_length = _DEFAULT_LENGTH if longest == _NO_LIMIT else longest
        return cls(
            file,
            max_length=max_length if fixed is None else min(max_length, fixed),
            truncation=_side(settings.get("truncation_side"), truncation.get("direction")),
            padding=_side(settings.get("padding_side"), padding.get("direction")),
            pad_token=_content(settings.get("pad_token")) or _content(padding.get("pad_token")),
            fixed_length=fixed,
            ids=ids.name,
            mask=mask.name if mask else None,
            types=types.name if types else None,
            dtype=ids.dtype,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest.

        Returns
        -------
        dict
            What decides about the token ids, by name: the tokenizer as the SHA-256 of its file.

        Raises
        ------
        InputError
            If the tokenizer cannot be read.
        """
        try:
            content = Path(self.tokenizer).read_bytes()
        except OSError as error:
            raise InputError(f"{self.tokenizer} cannot be read: {error}.") from error
        return {
            "tokenizer_sha256": hashlib.sha256(content).hexdigest(),
            "max_length": self.max_length,
            "truncation": self.truncation,
            "padding": self.padding,
            "pad_token": self.pad_token,
            "fixed_length": self.fixed_length,
        }


class Texts:
    """A lazy sequence of texts: a slice gives the model's inputs, padded to its longest text.

    Parameters
    ----------
    texts : sequence of str
        The texts, N of them.
    preprocessing : TextPreprocessing
        How they are tokenised.

    Raises
    ------
    InputError
        If one is not a text; on slicing, if the tokenizer cannot be read or used.
    MissingDependencyError
        On slicing, if the package tokenizers is not installed.

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

    def __init__(self, texts: Iterable[str], preprocessing: TextPreprocessing) -> None:
        self.texts = list(texts)
        self.preprocessing = preprocessing
        for i, text in enumerate(self.texts):
            if not isinstance(text, str):
                raise InputError(f"Sample {i} is {text!r}, not a text.")

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: slice) -> dict[str, Array]:
        texts = self.texts[index]
        return self._encoded(texts).batch(np.arange(len(texts)))

    def window(self, start: int, stop: int) -> TextWindow:
        """Tokenise consecutive texts, to be padded in batches of similar length.

        Parameters
        ----------
        start, stop : int
            First text, and the one after the last.

        Returns
        -------
        TextWindow
            Their token ids.
        """
        return self._encoded(self.texts[start:stop])

    def sha256(self) -> str:
        """Fingerprint of the texts, in their order.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        digest = hashlib.sha256()
        for text in self.texts:
            content = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(content) + content)
        return digest.hexdigest()

    @cached_property
    def _tokenizer(self) -> Any:
        return _load_tokenizer(self.preprocessing)

    @cached_property
    def _pad_id(self) -> int:
        return _pad_id(self._tokenizer, self.preprocessing)

    def _encoded(self, texts: Sequence[str]) -> TextWindow:
        ids, types, lengths = list[Array](), list[Array](), list[int]()
        for start in range(0, len(texts), _AT_ONCE):
            for encoding in self._encodings(texts[start : start + _AT_ONCE]):
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

    def _encodings(self, texts: Sequence[str]) -> Any:
        broken = next((text for text in texts if not _is_unicode(text)), None)
        if broken is not None:  # some versions of tokenizers would put another character there
            raise InputError(
                f"The text {broken[:80]!a} holds half a character (a lone surrogate); mend or "
                "remove it."
            )
        return self._tokenizer.encode_batch_fast(texts)


@dataclass(frozen=True)
class TextWindow:
    """Token ids of some consecutive texts, not padded yet.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Tokens of each text.
    ids, types : ndarray of int64
        Token ids and types of all texts, one after the other; no types if the model has no such
        input.
    pad_id : int
        What shorter texts are filled up with.
    preprocessing : TextPreprocessing
        Where the filling goes, and the names of the model's inputs.
    """

    lengths: Array
    ids: Array
    types: Array
    pad_id: int
    preprocessing: TextPreprocessing

    def batch(self, indices: Any) -> dict[str, Array]:
        """Return the model's inputs for some of the texts.

        Parameters
        ----------
        indices : array-like of int
            Which ones, counted from the start of the window.

        Returns
        -------
        dict of str to ndarray, shape (len(indices), length)
            As long as the longest of these texts, or as the model wants it.
        """
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
        return batch


# -- the tokenizer ------------------------------------------------------------------------------


def _load_tokenizer(steps: TextPreprocessing) -> Any:
    try:
        tokenizers = importlib.import_module("tokenizers")
    except ImportError as error:
        raise MissingDependencyError(
            "Texts need the package tokenizers; install it with: pip install 'ntkit[text]'"
        ) from error
    if not Path(steps.tokenizer).is_file():
        raise InputError(f"The tokenizer {steps.tokenizer} does not exist.")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(steps.tokenizer))
    except Exception as error:  # the library raises no class of its own
        raise InputError(
            f"{steps.tokenizer} is not a usable tokenizer.json: {error}; save it again with the "
            "installed version of tokenizers or an older one."
        ) from error
    special = tokenizer.num_special_tokens_to_add(False)
    if steps.max_length <= special:
        raise InputError(
            f"max_length={steps.max_length} leaves no room for a text beside the tokenizer's "
            f"{special} special tokens; give a larger one with --max-length."
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(steps.max_length, direction=steps.truncation)
    return tokenizer


def _pad_id(tokenizer: Any, steps: TextPreprocessing) -> int:
    if steps.pad_token is not None:
        known = tokenizer.token_to_id(steps.pad_token)
        if known is None:
            raise InputError(
                f"The padding token {steps.pad_token!r} is not in {steps.tokenizer}; name one that "
                "is."
            )
        return int(known)
    saved = _section(_read_json(Path(steps.tokenizer)), "padding").get("pad_token")
    for token in (saved, *_USUAL_PADDING):
        known = tokenizer.token_to_id(token) if token is not None else None
        if known is not None:
            return int(known)
    if steps.mask is None:
        raise InputError(
            f"{steps.tokenizer} names no padding token, and the model has no attention mask; name "
            'the token as "pad_token" in tokenizer_config.json.'
        )
    return 0  # the model does not look at it


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- the model and its files --------------------------------------------------------------------

_TOKENIZER = "tokenizer.json"


def _text_inputs(
    inputs: Sequence[TensorInfo],
) -> tuple[TensorInfo, TensorInfo | None, TensorInfo | None] | None:
    """Inputs of token ids, mask and token types; None if there are others, or no ids."""
    masks = [info for info in inputs if "mask" in info.name.lower()]
    kinds = [i for i in inputs if any(s in i.name.lower() for s in ("token_type", "segment"))]
    kinds = kinds or [info for info in inputs if "type_ids" in info.name.lower()]
    ids = [info for info in inputs if info not in masks and info not in kinds]
    if len(ids) != 1 or len(masks) > 1 or len(kinds) > 1:
        return None
    if ids[0].dtype not in ("int64", "int32") or any(
        info.shape is not None and len(info.shape) != 2 for info in inputs
    ):
        return None
    return ids[0], masks[0] if masks else None, kinds[0] if kinds else None


def _folders_of(model: FrozenModel) -> list[Path]:
    if model.path is None:
        return []
    folder = model.path.parent
    return [folder, folder.parent] if folder.name == "onnx" else [folder]


def _found(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _tokenizer_file(path: str | Path) -> Path:
    path = Path(path)
    file = path / _TOKENIZER if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"The tokenizer {file} does not exist; give a {_TOKENIZER}.")
    return file


def _read_json(path: Path | None) -> dict[str, Any]:
    """The content of a file; nothing where there is no file."""
    if path is None or not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a readable JSON file: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object; save the tokenizer and its model again.")
    return content


def _section(content: dict[str, Any], name: str) -> dict[str, Any]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def _limit(number: Any) -> int | None:
    fits = isinstance(number, int | float) and 0 < number < _NO_LIMIT
    return int(number) if fits else None


def _n_positions(config: dict[str, Any]) -> int | None:
    positions = _limit(config.get("max_position_embeddings", config.get("n_positions")))
    if positions is None or config.get("model_type") not in _ROBERTAS:
        return positions
    padding = config.get("pad_token_id")
    return _limit(positions - (padding if isinstance(padding, int) else 1) - 1)


def _side(*given: Any) -> Side:
    chosen = next((side for side in given if isinstance(side, str)), "right")
    return "left" if chosen.lower() == "left" else "right"


def _content(token: Any) -> str | None:
    """A special token as tokenizer_config.json writes it: a text, or an object with a content."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
