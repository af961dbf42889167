"""Steps from a text to model inputs, set by the model and the files next to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ntkit.exceptions import InputError

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.graph.tensors import TensorInfo
    from ntkit.model import FrozenModel

Side = Literal["right", "left"]

_TOKENIZER, _SETTINGS = "tokenizer.json", "tokenizer_config.json"
_NOT_HANDED_ON = frozenset(
    {"auto_map", "name_or_path", "tokenizer_file", "vocab_file", "merges_file"}
    | {"special_tokens_map_file"}
)
_DEFAULT_LENGTH = 512
_GIVEN = "as given"
_RECORDED = frozenset({"tokenizer_sha256", "max_length", "truncation", "padding", "pad_token"})
# Words in the names of a model's inputs; the other input is that of the token ids.
_ROLES = {
    "mask": ("mask",),
    "positions": ("position",),
    "types": ("token_type", "segment", "type_ids"),
}
_NO_LIMIT = 1_000_000  # tokenizer_config.json has 1e30 if no limit is known
# These models count positions from pad_token_id + 1 on, so the last positions cannot be used.
_ROBERTAS = frozenset(
    {
        *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"),
        *("longformer", "esm", "data2vec-text", "ibert", "layoutlmv3", "lilt", "luke", "mluke"),
        *("markuplm", "xmod"),
    }
)


@dataclass(frozen=True)
class TextPreprocessing:
    """Preprocessing of texts: how a text becomes model inputs.

    Parameters
    ----------
    tokenizer : path-like or None
        A ``tokenizer.json`` of Hugging Face's tokenizers library. None: the model has one input of
        strings and reads texts directly, and nothing else here applies.
    max_length : int
        Most tokens of a text, special tokens included; longer texts are truncated.
    truncation, padding : {"right", "left"}
        Side that is truncated, and side that is padded.
    pad_token : str or None
        Padding token; None uses the tokenizer's own.
    fixed_length : int or None
        Tokens of every batch, for a model with a fixed length; None pads to the longest text of the
        batch. A model without a mask sees the padding, so it gets texts of one length at a time.
    ids : str
        The model's input of token ids, or of texts.
    mask, types, positions : str or None
        Optional inputs: 1 for a token and 0 for padding; token types; 0, 1, … from the first token
        that is not padding.
    dtype : str
        Element type of these inputs.
    source : str
        Source of the largest length, as the end of a sentence: "as tokenizer.json says".

    Raises
    ------
    InputError
        If a length is not positive or a side is not valid.

    Examples
    --------
    >>> from ntkit.extraction import TextPreprocessing
    >>> steps = TextPreprocessing("tokenizer.json", max_length=64)
    >>> steps.ids, steps.mask
    ('input_ids', 'attention_mask')
    """

    tokenizer: str | Path | None
    max_length: int = _DEFAULT_LENGTH
    truncation: Side = "right"
    padding: Side = "right"
    pad_token: str | None = None
    fixed_length: int | None = None
    ids: str = "input_ids"
    mask: str | None = "attention_mask"
    types: str | None = None
    positions: str | None = None
    dtype: str = "int64"
    source: str = field(default=_GIVEN, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.max_length, Integral) or isinstance(self.max_length, bool):
            raise InputError(
                f"max_length must be a whole number of tokens; got {self.max_length!r}."
            )
        if self.max_length < 1:
            raise InputError(f"max_length must be at least 1 token; got {self.max_length}.")
        for name in ("truncation", "padding"):
            if getattr(self, name) not in ("right", "left"):
                raise InputError(f"{name} must be 'right' or 'left'; got {getattr(self, name)!r}.")
        if self.fixed_length is not None and self.fixed_length < self.max_length:
            raise InputError(
                f"max_length={self.max_length} is more than the model's {self.fixed_length} "
                "tokens; lower it."
            )

    @classmethod
    def for_model(
        cls,
        model: FrozenModel,
        tokenizer: str | Path | None = None,
        max_length: int | None = None,
    ) -> TextPreprocessing | None:
        """Find how a model's texts are preprocessed.

        If its only input has one string for each sample, as in a TF-IDF pipeline, texts go in
        directly. Else the tokenizer is the ``tokenizer.json`` next to the model, or in the parent
        of a folder named ``onnx``. Sides, padding token and largest length come from it and from
        ``tokenizer_config.json`` and ``config.json``; the smallest length counts. ntkit's record in
        the model's metadata overrides these.

        Parameters
        ----------
        model : FrozenModel
            The model.
        tokenizer : path-like, optional
            The ``tokenizer.json``, or its folder, if it is elsewhere.
        max_length : int, optional
            Most tokens of a text. By default the limit of the files, else 512; never more than the
            model's.

        Returns
        -------
        TextPreprocessing or None
            None if the model does not read texts, or its tokenizer is not found.

        Raises
        ------
        InputError
            If a tokenizer is passed for a model that does not read texts, or reads them directly,
            or a file is damaged.
        """
        as_they_are = cls.for_strings(model.inputs)
        if as_they_are is not None:
            if tokenizer is not None or max_length is not None:
                raise InputError(
                    f"The model's input {model.inputs[0]} reads texts directly; leave out "
                    "--tokenizer and --max-length."
                )
            return as_they_are
        inputs = _text_inputs(model.inputs)
        if inputs is None and tokenizer is not None:
            raise InputError(
                f"The model's inputs ({'; '.join(map(str, model.inputs))}) are not those of a text "
                "model, which has token ids (samples, tokens), and optionally an attention mask, "
                "token types and positions. Leave out --tokenizer."
            )
        from ntkit.model.class_names import folders_of

        beside = folders_of(model.path)
        file = _found(beside, _TOKENIZER) if tokenizer is None else _named_tokenizer(tokenizer)
        if inputs is None or file is None:
            return None
        ids = inputs["ids"]
        saved, settings = _read_json(file), _read_json(file.with_name(_SETTINGS))
        config = _read_json(_found([*beside, file.parent], "config.json"))
        padding, truncation = _section(saved, "padding"), _section(saved, "truncation")
        fixed = ids.shape[1] if ids.shape is not None else None
        fixed = fixed if isinstance(fixed, int) else None
        filled = _section(padding, "strategy").get("Fixed")
        limits = {
            f"as {file.name} says": _limit(truncation.get("max_length")),
            f"as {_SETTINGS} says": _limit(settings.get("model_max_length")),
            "as config.json says": _positions(config),
            "as the model's input says": fixed,
        }
        known = {source: n for source, n in limits.items() if n is not None}
        source = min(known, key=known.__getitem__) if known else "because no file has a limit"
        longest, by_user = known.get(source, _DEFAULT_LENGTH), max_length is not None
        if max_length is None:
            max_length = longest
        max_length = max_length if fixed is None else min(max_length, fixed)
        if "mask" not in inputs and fixed is None and isinstance(filled, int):
            fixed = filled if filled >= max_length else None  # it sees the tokenizer's padding
        names: dict[str, Any] = {role: tensor.name for role, tensor in inputs.items()}
        names.setdefault("mask", None)
        steps = cls(
            file,
            max_length=max_length,
            truncation=_side(settings.get("truncation_side"), truncation.get("direction")),
            padding=_side(settings.get("padding_side"), padding.get("direction")),
            pad_token=_content(settings.get("pad_token")) or _content(padding.get("pad_token")),
            fixed_length=fixed,
            dtype=ids.dtype,
            source=_GIVEN if by_user else source,
            **names,
        )
        return steps.as_recorded(model)

    def as_recorded(self, model: FrozenModel) -> TextPreprocessing:
        """These steps as ntkit recorded them when it trained the head of a model.

        They do not change if the model has no record, or a user set the length. If the record is of
        another tokenizer, its padding token is not used.
        """
        from ntkit.model.frozen_model import recorded_preprocessing

        recorded = recorded_preprocessing(model.metadata)
        if self.tokenizer is None or self.source == _GIVEN or not recorded.keys() >= _RECORDED:
            return self
        same = recorded["tokenizer_sha256"] == self.as_dict()["tokenizer_sha256"]
        names = _RECORDED - {"tokenizer_sha256"} - ({"pad_token"} if not same else set())
        source = "as the model's metadata say"
        try:
            return replace(
                self,
                **{name: recorded[name] for name in names},
                source=source if same else f"{source}, though of another tokenizer",
            )
        except (TypeError, InputError):  # not in ntkit's format
            return self

    def describe(self) -> str:
        """Sentence on the limit of texts, and its source."""
        if self.tokenizer is None:
            return f"Texts: as they are, to the input {self.ids!r}."
        apart = ", never padded, because the model has no mask" if self.unpadded else ""
        return (
            f"Texts: at most {self.max_length} tokens, cut off on the {self.truncation}{apart}; "
            f"{self.source}."
        )

    @property
    def unpadded(self) -> bool:
        """bool: Whether texts are never padded: the model has no mask and would see padding."""
        return self.tokenizer is not None and self.mask is None and self.fixed_length is None

    @classmethod
    def for_strings(cls, inputs: Sequence[TensorInfo]) -> TextPreprocessing | None:
        """Steps for texts that go in directly; None unless the only input has strings."""
        if len(inputs) != 1 or inputs[0].dtype != "string":
            return None
        shape = inputs[0].shape or ()
        is_one = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
        return cls(None, ids=inputs[0].name, mask=None) if is_one else None

    @property
    def tokenizer_path(self) -> Path:
        """Path: The tokenizer; an InputError if texts go in directly."""
        if self.tokenizer is None:
            raise InputError(f"Texts go into {self.ids!r} directly, without a tokenizer.")
        return Path(self.tokenizer)

    def as_dict(self) -> dict[str, Any]:
        """Plain values of everything that affects the token ids, for a manifest.

        The tokenizer is the SHA-256 of its file; an InputError if the file cannot be read.
        """
        if self.tokenizer is None:
            return {"input": "as it is"}
        try:
            content = self.tokenizer_path.read_bytes()
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


def saved_pad_token(tokenizer: str | Path) -> str | None:
    """Padding token that a ``tokenizer.json`` was saved with, if any."""
    return _content(_section(_read_json(Path(tokenizer)), "padding").get("pad_token"))


def saved_settings(tokenizer: str | Path) -> dict[str, Any]:
    """Content of the ``tokenizer_config.json`` next to a tokenizer; empty if there is none."""
    # Without entries that name code or paths of the person who saved it.
    try:
        settings = _read_json(Path(tokenizer).with_name(_SETTINGS))
    except InputError:
        return {}
    return {name: value for name, value in settings.items() if name not in _NOT_HANDED_ON}


def _text_inputs(inputs: Sequence[TensorInfo]) -> dict[str, TensorInfo] | None:
    """Inputs of ids, mask, types and positions, by role; None if there are others, or no ids."""
    roles: dict[str, TensorInfo] = {}
    for info in inputs:
        name = info.name.lower()
        role = next(
            (role for role, words in _ROLES.items() if any(w in name for w in words)), "ids"
        )
        if role in roles or (info.shape is not None and len(info.shape) != 2):
            return None
        roles[role] = info
    return roles if "ids" in roles and roles["ids"].dtype in ("int64", "int32") else None


def _found(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _read_json(path: Path | None) -> dict[str, Any]:
    """Content of a file; empty if there is no file."""
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


def _named_tokenizer(path: str | Path) -> Path:
    """The file of a tokenizer that a user names by itself, or by its folder."""
    file = Path(path)
    file = file / _TOKENIZER if file.is_dir() else file
    if not file.is_file():
        raise InputError(f"The tokenizer {file} does not exist; pass a {_TOKENIZER}.")
    return file


def _positions(config: dict[str, Any]) -> int | None:
    """Number of tokens that a network has positions for."""
    positions = _limit(config.get("max_position_embeddings", config.get("n_positions")))
    if positions is not None and config.get("model_type") in _ROBERTAS:
        padding_id = config.get("pad_token_id")
        positions = _limit(positions - (padding_id if isinstance(padding_id, int) else 1) - 1)
    return positions


def _limit(number: Any) -> int | None:
    fits = isinstance(number, int | float) and 0 < number < _NO_LIMIT
    return int(number) if fits else None


def _side(*sides: Any) -> Side:
    chosen = next((side for side in sides if isinstance(side, str)), "right")
    return "left" if chosen.lower() == "left" else "right"


def _content(token: Any) -> str | None:
    """A special token in tokenizer_config.json: a text, or an object with a content."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
